//! The servers do what other tests rely on: each fault as a client on a plain socket sees it.

use std::{
    io::{ErrorKind, Read as _, Write as _},
    net::{SocketAddr, TcpStream},
    ops::Range,
    path::PathBuf,
    time::Duration,
};

use tempfile::TempDir;

use super::Faulty;

mod bodies;
mod heads;
mod honest;
mod hub;
mod nginx;
mod ways;

/// A folder with two files of the same length, an empty file, and a file whose name needs escapes.
struct Folder(TempDir);

impl Folder {
    fn new() -> Self {
        let folder = Self(tempfile::tempdir().unwrap());
        folder.write("a.bin", &a());
        folder.write("b.bin", &b());
        folder.write("empty", b"");
        folder.write("sub/100 %.txt", b"escaped");
        folder
    }

    fn path(&self) -> PathBuf {
        self.0.path().to_owned()
    }

    fn write(&self, name: &str, bytes: &[u8]) {
        let path = self.0.path().join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, bytes).unwrap();
    }

    fn serve(&self) -> Faulty {
        Faulty::start(&self.path())
    }
}

/// The bytes of `a.bin`. The period is no power of two, so chunks of such a size differ.
fn a() -> Vec<u8> {
    (0..LENGTH).map(|at| u8::try_from(at % 251).unwrap()).collect()
}

/// The bytes of `b.bin`.
fn b() -> Vec<u8> {
    (0..LENGTH).map(|at| u8::try_from(at % 241).unwrap()).collect()
}

const LENGTH: usize = 1_000_000;

/// The result of a request.
#[derive(Debug)]
struct Got {
    status: u16,
    headers: Vec<(String, String)>,
    /// The received bytes, at most as many as the head announces.
    body: Vec<u8>,
    ended: Ended,
}

/// The reason why reading ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Ended {
    /// All bytes that the head announces have arrived.
    Complete,
    Closed,
    Reset,
    /// Nothing arrived for a while.
    Silent,
}

impl Got {
    fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(given, _)| given.eq_ignore_ascii_case(name)).map(|(_, value)| &**value)
    }

    /// Expects the whole file, without a fault.
    #[track_caller]
    fn gives_whole(self, bytes: &[u8]) {
        assert_eq!((self.status, self.ended), (200, Ended::Complete));
        assert!(self.body == bytes, "other bytes");
    }

    /// Expects a range of the file, without a fault.
    #[track_caller]
    fn gives_range(self, bytes: &[u8], range: Range<usize>) {
        assert_eq!((self.status, self.ended), (206, Ended::Complete));
        let said = format!("bytes {}-{}/{}", range.start, range.end - 1, bytes.len());
        assert_eq!(self.header("Content-Range"), Some(&*said));
        assert!(self.body == bytes[range], "other bytes");
    }
}

/// A connection.
struct Client(TcpStream);

impl Client {
    fn to(address: SocketAddr) -> Self {
        let stream = TcpStream::connect(address).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        Self(stream)
    }

    /// Makes the client take a short pause for silence.
    fn impatient(self) -> Self {
        self.0.set_read_timeout(Some(Duration::from_millis(300))).unwrap();
        self
    }

    fn get(&mut self, target: &str, headers: &[&str]) -> Got {
        self.ask("GET", target, headers);
        self.answer(true)
    }

    fn ask(&mut self, method: &str, target: &str, headers: &[&str]) {
        let headers: String = headers.iter().map(|header| format!("{header}\r\n")).collect();
        let request = format!("{method} {target} HTTP/1.1\r\nHost: localhost\r\n{headers}\r\n");
        self.0.write_all(request.as_bytes()).unwrap();
    }

    /// Reads an answer. A body without a length ends with the connection.
    fn answer(&mut self, has_body: bool) -> Got {
        let mut got = Got { status: 0, headers: Vec::new(), body: Vec::new(), ended: Ended::Complete };
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            match self.read(1) {
                Ok(bytes) => head.extend(bytes),
                Err(ended) => return Got { ended, body: head, ..got },
            }
        }
        let head = String::from_utf8(head).unwrap();
        let mut lines = head.lines();
        got.status = lines.next().unwrap().split(' ').nth(1).unwrap().parse().unwrap();
        got.headers = lines
            .filter_map(|line| line.split_once(": "))
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .collect();
        if !has_body {
            return got;
        }
        let length = got.header("Content-Length").map_or(usize::MAX, |length| length.parse().unwrap());
        while got.body.len() < length {
            match self.read((length - got.body.len()).min(1 << 16)) {
                Ok(bytes) => got.body.extend(bytes),
                Err(ended) => return Got { ended, ..got },
            }
        }
        got
    }

    fn read(&mut self, most: usize) -> Result<Vec<u8>, Ended> {
        let mut bytes = vec![0; most];
        match self.0.read(&mut bytes) {
            Ok(0) => Err(Ended::Closed),
            Ok(count) => {
                bytes.truncate(count);
                Ok(bytes)
            }
            Err(error) => match error.kind() {
                ErrorKind::WouldBlock | ErrorKind::TimedOut => Err(Ended::Silent),
                ErrorKind::ConnectionReset => Err(Ended::Reset),
                _ => panic!("{error}"),
            },
        }
    }
}

impl Faulty {
    fn client(&self) -> Client {
        Client::to(self.address())
    }

    /// Requests a file on a connection of its own.
    fn get(&self, target: &str) -> Got {
        self.client().get(target, &[])
    }

    /// Requests a range of a file on a connection of its own.
    fn range(&self, target: &str, range: Range<usize>) -> Got {
        self.client().get(target, &[&header(range)])
    }
}

fn header(range: Range<usize>) -> String {
    format!("Range: bytes={}-{}", range.start, range.end - 1)
}
