//! A server in this process, and a client that sends bytes.

use std::{
    collections::BTreeMap,
    io::{BufRead as _, BufReader, Read as _, Write as _},
    net::{SocketAddr, TcpStream},
    path::PathBuf,
    sync::Arc,
    thread::JoinHandle,
    time::Duration,
};

use tokio::sync::oneshot;
use weighbridge_serve::{Limits, Models, Rules, Server, Site};
use weighbridge_testkit::{Folder, Signed, bytes};
use weighbridge_verify::tree::ChunkSize;

/// A server that runs until it is dropped.
pub(crate) struct Served {
    pub(crate) address: SocketAddr,
    end: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Served {
    pub(crate) fn of(folder: &Folder) -> Self {
        Self::by(vec![folder.path().to_owned()], Rules { hub: true, ..Rules::default() }, Limits::default())
    }

    pub(crate) fn by(places: Vec<PathBuf>, rules: Rules, limits: Limits) -> Self {
        let models = Arc::new(Models::of(places));
        models.look();
        let site = Site::new(models, rules, &limits);
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
        let server = Server::bind(site, "127.0.0.1:0".parse().unwrap(), limits, None);
        let server = runtime.block_on(server).unwrap();
        let address = server.address().unwrap();
        let (end, ended) = oneshot::channel();
        let thread = std::thread::spawn(move || {
            runtime.block_on(server.run(async { drop(ended.await) }, |_| {}));
        });
        Self { address, end: Some(end), thread: Some(thread) }
    }

    pub(crate) fn connect(&self) -> TcpStream {
        let stream = TcpStream::connect(self.address).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        stream
    }

    /// The answer to a `GET`, on a connection of its own.
    pub(crate) fn get(&self, path: &str) -> Answer {
        self.ask(&format!("GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n"))
    }

    /// The answer to a `GET` with a further header.
    pub(crate) fn get_with(&self, path: &str, header: &str) -> Answer {
        self.ask(&format!("GET {path} HTTP/1.1\r\nHost: localhost\r\n{header}\r\n\r\n"))
    }

    /// The answer to a request of these bytes.
    pub(crate) fn ask(&self, request: &str) -> Answer {
        let mut stream = self.connect();
        stream.write_all(request.as_bytes()).unwrap();
        let has_body = !request.starts_with("HEAD ");
        Answer::read(&mut BufReader::new(stream), has_body)
    }

    /// A figure of `/metrics`, with its labels.
    pub(crate) fn figure(&self, name: &str) -> u64 {
        let text = self.get("/metrics").text();
        let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        line.map_or(0, |value| value.parse().unwrap())
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        drop(self.end.take());
        let ended = self.thread.take().unwrap().join();
        assert!(std::thread::panicking() || ended.is_ok(), "the server panicked");
    }
}

/// An answer as it came.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) headers: BTreeMap<String, String>,
    pub(crate) body: Vec<u8>,
    /// Whether the body has the length that the head says.
    pub(crate) is_whole: bool,
}

impl Answer {
    pub(crate) fn read(stream: &mut BufReader<TcpStream>, has_body: bool) -> Self {
        let mut line = String::new();
        stream.read_line(&mut line).unwrap();
        let status = line.split(' ').nth(1).unwrap_or_else(|| panic!("no answer: {line:?}")).parse().unwrap();
        let mut headers = BTreeMap::new();
        loop {
            let mut line = String::new();
            stream.read_line(&mut line).unwrap();
            let Some((name, value)) = line.trim_end().split_once(": ") else { break };
            headers.insert(name.to_owned(), value.to_owned());
        }
        let length: usize = headers.get("content-length").map_or(0, |length| length.parse().unwrap());
        let length = if has_body && status != 304 { length } else { 0 };
        let mut body = Vec::new();
        let read = stream.take(u64::try_from(length).unwrap()).read_to_end(&mut body);
        let is_whole = read.is_ok() && body.len() == length;
        Self { status, headers, body, is_whole }
    }

    #[track_caller]
    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers.get(name).unwrap_or_else(|| panic!("no {name} in {:?}", self.headers))
    }

    pub(crate) fn text(&self) -> String {
        String::from_utf8(self.body.clone()).unwrap()
    }

    pub(crate) fn json(&self) -> serde_json::Value {
        assert_eq!(self.status, 200, "{}", self.text());
        serde_json::from_slice(&self.body).unwrap()
    }
}

/// A model in chunks of 16 KiB: of no bytes, of less than a chunk, of several pieces, and in a folder.
pub(crate) fn model() -> (Folder, Signed) {
    Folder::weighed(&files(), ChunkSize::MIN)
}

pub(crate) fn files() -> Vec<(&'static str, Vec<u8>)> {
    vec![
        ("config.json", b"{}\n".to_vec()),
        ("empty", Vec::new()),
        ("model.bin", bytes(BIG, 1)),
        ("resolve/main/config.json", b"another\n".to_vec()),
        ("some folder/\u{e4}.bin", bytes(40_000, 2)),
    ]
}

/// Three pieces of 1 MiB and a bit.
pub(crate) const BIG: usize = (3 << 20) + 12_345;
