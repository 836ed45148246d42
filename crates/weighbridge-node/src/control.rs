//! The socket by which a person asks a running node, and tells it what to do (`spec/node.md`, N14 and N15).

use std::{
    fs::{File, TryLockError},
    io::{self, Read as _, Write as _},
    os::unix::{
        fs::{DirBuilderExt as _, MetadataExt as _, PermissionsExt},
        net::UnixStream,
    },
    path::{Path, PathBuf},
    sync::Weak,
    time::Duration,
};

use serde::{Deserialize, Serialize};
use tokio::{
    io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader},
    net::UnixListener,
    sync::oneshot,
    time::timeout,
};
use tracing::warn;
use weighbridge_demand::{Plan, Release};
use weighbridge_store::IoError;

use crate::{keeping::Told, node::Node};

/// A request to a running node. A name is that of a model.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "do", rename_all = "kebab-case")]
pub enum Request {
    /// To say what it keeps, and why.
    Show,
    /// To keep a model whatever it is worth, and to fetch it if it is not here.
    Pin {
        /// The model.
        model: String,
    },
    /// To judge a pinned model by its worth again.
    Unpin {
        /// The model.
        model: String,
    },
    /// To remove a model.
    Evict {
        /// The model.
        model: String,
    },
}

/// The answer of a node.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Reply {
    /// It is done.
    Done,
    /// It is not done, for this reason, in a sentence without a full stop.
    Refused(String),
    /// The state of the node.
    Shown(Box<State>),
}

/// The models that a node keeps and fetches.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct State {
    /// The models that are kept, and those that would be fetched ahead.
    pub plan: Plan,
    /// The models that are on the disk besides: each goes when its readers have gone.
    pub passing: Vec<Passing>,
    /// The names of the models that are being fetched.
    pub fetching: Vec<String>,
    /// The one of them for which nobody waits.
    pub ahead: Option<String>,
}

/// A release that is given, and not kept.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Passing {
    /// The release.
    pub release: Release,
    /// The bytes that are there. They are counted when its fetch has ended.
    pub bytes: u64,
    /// Whether it was asked for a minute ago at the most, or is read.
    pub in_use: bool,
}

/// The folder of the socket in a cache: nobody but its owner gets into it.
const FOLDER: &str = ".weighbridge-node";
const SOCKET: &str = "socket";
/// The longest request.
const MAX_REQUEST: u64 = 4096;
/// The longest answer that is read.
const MAX_REPLY: u64 = 64 << 20;
/// The time in which a request has to come, and its answer to be taken.
const PATIENCE: Duration = Duration::from_secs(10);

fn place(cache: &Path) -> PathBuf {
    cache.join(FOLDER).join(SOCKET)
}

/// Asks the node that runs with this cache. Blocks until it has answered.
///
/// # Errors
/// [`IoError`]: no node that has a budget runs there (not found, or connection refused), or it does not answer.
pub fn ask(cache: &Path, request: &Request) -> Result<Reply, IoError> {
    let place = place(cache);
    let ask = || {
        let mut stream = UnixStream::connect(&place)?;
        let mut line = serde_json::to_vec(request)?;
        line.push(b'\n');
        stream.write_all(&line)?;
        let mut reply = Vec::new();
        stream.take(MAX_REPLY).read_to_end(&mut reply)?;
        Ok(serde_json::from_slice(&reply)?)
    };
    ask().map_err(IoError::at("ask a node at", &place))
}

fn not_ours() -> io::Error {
    io::Error::new(io::ErrorKind::NotADirectory, "something else than a folder has the name of its folder")
}

/// The socket of a node. The process that holds the lock of its folder is the only one that makes it or removes it.
#[derive(Debug)]
pub(crate) struct Control {
    listener: UnixListener,
    place: PathBuf,
    _lock: File,
}

impl Control {
    /// Takes the socket of a cache.
    ///
    /// # Errors
    /// [`IoError`]: another node has it (address in use), or it cannot be made.
    pub(crate) fn bind(cache: &Path) -> Result<Self, IoError> {
        let (folder, place) = (cache.join(FOLDER), place(cache));
        let bind = || {
            match std::fs::DirBuilder::new().mode(0o700).create(&folder) {
                Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
                _ => {}
            }
            // The cache may be shared: a link leads to no folder of somebody else.
            let there = std::fs::symlink_metadata(&folder)?;
            let lock = if there.is_dir() { File::open(&folder)? } else { return Err(not_ours()) };
            let opened = lock.metadata()?;
            if (opened.dev(), opened.ino()) != (there.dev(), there.ino()) {
                return Err(not_ours());
            }
            lock.set_permissions(PermissionsExt::from_mode(0o700))?;
            lock.try_lock().map_err(|error| match error {
                TryLockError::WouldBlock => io::ErrorKind::AddrInUse.into(),
                TryLockError::Error(error) => error,
            })?;
            // A node that was killed has left it.
            match std::fs::remove_file(&place) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
                _ => Ok((lock, UnixListener::bind(&place)?)),
            }
        };
        let (lock, listener) = bind().map_err(IoError::at("listen at", &place))?;
        Ok(Self { listener, place, _lock: lock })
    }

    /// Answers requests, one after another, for as long as the node lives.
    pub(crate) async fn run(self, node: Weak<Node>) {
        loop {
            let Ok((stream, _)) = self.listener.accept().await else {
                tokio::time::sleep(Duration::from_millis(100)).await;
                continue;
            };
            if node.strong_count() == 0 {
                return;
            }
            let answered = timeout(PATIENCE, answer(stream, &node)).await;
            if let Ok(Err(error)) = answered {
                warn!(target: "weighbridge", "a request at the socket is not answered: {error}");
            }
        }
    }
}

impl Drop for Control {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.place);
    }
}

async fn answer(mut stream: tokio::net::UnixStream, node: &Weak<Node>) -> io::Result<()> {
    let (reader, mut writer) = stream.split();
    let mut line = Vec::new();
    BufReader::new(reader.take(MAX_REQUEST)).read_until(b'\n', &mut line).await?;
    let reply = match serde_json::from_slice(&line) {
        Ok(request) => reply(request, node).await,
        Err(error) => Reply::Refused(format!("that is no request: {error}")),
    };
    writer.write_all(&serde_json::to_vec(&reply)?).await?;
    writer.shutdown().await
}

async fn reply(request: Request, node: &Weak<Node>) -> Reply {
    let (tell, hear) = oneshot::channel();
    if let Some(node) = node.upgrade() {
        node.tell(Told::Request(request, tell));
    }
    hear.await.unwrap_or_else(|_| Reply::Refused("the node is ending".to_owned()))
}
