//! A server on loopback that answers byte for byte as a test says, and child processes for tests of environment
//! variables.

use std::{
    net::SocketAddr,
    process::Command,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering},
    },
};

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
    sync::Notify,
};

/// The bytes that are written for one request, and the fate of the connection.
#[derive(Clone, Default)]
pub(crate) struct Reply {
    bytes: Vec<u8>,
    /// Bytes that follow once the test says so.
    later: Option<(Arc<Notify>, Vec<u8>)>,
    /// Bytes that follow then, repeated until the other side closes the connection.
    flood: Option<(Vec<u8>, Arc<AtomicU64>)>,
    end: End,
}

#[derive(Clone, Copy, Default)]
enum End {
    #[default]
    Keep,
    Close,
    Reset,
}

/// A reply with these lines in its head, the first of them a status such as `200 OK`. Nothing is added but the line
/// ends of HTTP.
pub(crate) fn reply(head: &[&str], body: &[u8]) -> Reply {
    let mut bytes = format!("HTTP/1.1 {}\r\n\r\n", head.join("\r\n")).into_bytes();
    bytes.extend_from_slice(body);
    Reply { bytes, ..Reply::default() }
}

/// A redirect to an address.
pub(crate) fn redirect(to: &str) -> Reply {
    reply(&["302 Found", &format!("Location: {to}"), "Content-Length: 0"], b"")
}

/// A status without a body.
pub(crate) fn status(status: &str) -> Reply {
    reply(&[status, "Content-Length: 0"], b"")
}

impl Reply {
    /// Appends these bytes.
    pub(crate) fn and(mut self, bytes: &[u8]) -> Self {
        self.bytes.extend_from_slice(bytes);
        self
    }

    pub(crate) fn close(self) -> Self {
        Self { end: End::Close, ..self }
    }

    pub(crate) fn reset(self) -> Self {
        Self { end: End::Reset, ..self }
    }

    pub(crate) fn later(self, gate: &Arc<Notify>, bytes: &[u8]) -> Self {
        Self { later: Some((Arc::clone(gate), bytes.to_vec())), ..self }
    }

    /// Ends the reply with a flood of these bytes, and counts those that could be written.
    pub(crate) fn flood(self, bytes: &[u8], written: &Arc<AtomicU64>) -> Self {
        Self { flood: Some((bytes.to_vec(), Arc::clone(written))), ..self }
    }

    /// The bytes that are written at once.
    pub(crate) fn bytes(&self) -> Vec<u8> {
        self.bytes.clone()
    }

    async fn write(self, stream: &mut TcpStream) -> Option<()> {
        stream.write_all(&self.bytes).await.ok()?;
        if let Some((gate, bytes)) = self.later {
            gate.notified().await;
            stream.write_all(&bytes).await.ok()?;
        }
        while let Some((bytes, written)) = &self.flood {
            stream.write_all(bytes).await.ok()?;
            written.fetch_add(bytes.len() as u64, Ordering::Relaxed);
        }
        match self.end {
            End::Keep => Some(()),
            End::Close => None,
            End::Reset => stream.set_zero_linger().ok().and(None),
        }
    }
}

/// A server that answers until the test's runtime ends.
pub(crate) struct Server {
    pub(crate) address: SocketAddr,
    requests: Arc<Mutex<Vec<String>>>,
    /// Each open connection holds a clone.
    connections: Arc<()>,
}

impl Server {
    /// Starts a server. `answer` is given the head of the request, which begins as in `GET /x HTTP/1.1`, and the number of
    /// requests before it.
    pub(crate) async fn start(answer: impl Fn(&str, usize) -> Reply + Send + Sync + 'static) -> Self {
        Self::start_at("127.0.0.1:0", answer).await
    }

    pub(crate) async fn start_at(
        address: &str,
        answer: impl Fn(&str, usize) -> Reply + Send + Sync + 'static,
    ) -> Self {
        let listener = TcpListener::bind(address).await.unwrap();
        let server = Self {
            address: listener.local_addr().unwrap(),
            requests: Arc::default(),
            connections: Arc::default(),
        };
        let (requests, answer) = (Arc::clone(&server.requests), Arc::new(answer));
        let connections = Arc::downgrade(&server.connections);
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let open = connections.upgrade();
                let serving = serve(stream, Arc::clone(&requests), Arc::clone(&answer));
                tokio::spawn(async move {
                    let _open = open;
                    serving.await
                });
            }
        });
        server
    }

    /// The requests so far, with their lines in lower case.
    pub(crate) fn requests(&self) -> Vec<String> {
        self.requests.lock().unwrap().clone()
    }

    /// The number of open connections.
    pub(crate) fn connections(&self) -> usize {
        Arc::strong_count(&self.connections) - 1
    }

    /// The targets of the requests, in lower case.
    pub(crate) fn targets(&self) -> Vec<String> {
        let first = |request: String| request.split_whitespace().nth(1).unwrap().to_owned();
        self.requests().into_iter().map(first).collect()
    }

    pub(crate) fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }
}

async fn serve(
    mut stream: TcpStream,
    requests: Arc<Mutex<Vec<String>>>,
    answer: Arc<impl Fn(&str, usize) -> Reply>,
) -> Option<()> {
    loop {
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            head.push(stream.read_u8().await.ok()?);
        }
        let head = String::from_utf8(head).ok()?;
        let length =
            head.lines().find_map(|line| line.to_lowercase().strip_prefix("content-length: ")?.parse().ok());
        stream.read_exact(&mut vec![0; length.unwrap_or(0)]).await.ok()?;
        let reply = {
            let mut requests = requests.lock().unwrap();
            let reply = answer(&head, requests.len());
            requests.push(head.to_lowercase());
            reply
        };
        reply.write(&mut stream).await?;
    }
}

/// Runs a test once more in a child process that has `environment` and no other settings of proxies and certificates.
/// Panics if the test fails there. Returns the output of the child; in the child itself, returns `None`.
pub(crate) async fn in_child(module: &str, test: &str, environment: &[(&str, String)]) -> Option<String> {
    if std::env::var_os(CHILD).is_some() {
        return None;
    }
    let (_, module) = module.split_once("::").unwrap();
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args([&format!("{module}::{test}"), "--exact", "--nocapture"]).env(CHILD, "1");
    for name in UNSET {
        command.env_remove(name).env_remove(name.to_lowercase());
    }
    command.envs(environment.iter().map(|(name, value)| (name, value)));
    let output = tokio::task::spawn_blocking(move || command.output().unwrap()).await.unwrap();
    let said =
        String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && said.contains("1 passed"), "{said}");
    Some(said)
}

const CHILD: &str = "WEIGHBRIDGE_TEST_CHILD";

const UNSET: [&str; 6] =
    ["HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY", "SSL_CERT_FILE", "SSL_CERT_DIR"];
