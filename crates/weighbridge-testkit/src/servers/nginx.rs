//! Debian's nginx on a folder, for the test alone.

use std::{
    env, fs,
    io::{Read as _, Write as _},
    net::TcpStream,
    ops::Range,
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use serde_json::Value;
use tempfile::TempDir;

use super::port::{Loopback, Port};

/// A running nginx. It ends on drop.
///
/// It needs no privileges, and writes only to a temporary folder of its own.
pub struct Nginx {
    process: Child,
    /// The folder of settings, logs, and nginx's own files.
    home: TempDir,
    folder: PathBuf,
    port: Port,
    /// The same port number at the other loopback address, if this machine has that address.
    other: Option<Port>,
    /// The number of the current settings, which the running nginx also reports.
    generation: u32,
}

/// The settings of the server.
#[derive(Clone, Debug, Default)]
pub struct Settings {
    /// The rate of each answer in bytes a second; answers do not share it. nginx waits between pieces of half a
    /// mebibyte of an answer, so the last piece of an answer, and a shorter answer, are not slowed.
    /// [`Faulty`](super::Faulty) has a rate that connections share.
    pub limit_rate: Option<u64>,
    /// The number of answers that one address may have at once; a further request is answered with 503.
    pub connections: Option<u32>,
    /// Whether answers are compressed for clients that accept it.
    pub gzip: bool,
    /// A user and a password, without which the answer is 401.
    pub login: Option<(String, String)>,
}

/// A line of the access log: a request whose answer has ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Access {
    pub path: String,
    /// The requested range; the end of an open range is `u64::MAX`.
    pub range: Option<Range<u64>>,
    pub status: u16,
    /// The number of sent body bytes.
    pub bytes: u64,
}

impl Nginx {
    /// Whether nginx is installed. A test that is skipped without it prints so.
    pub fn available() -> bool {
        program().is_some()
    }

    pub fn start(folder: &Path, settings: &Settings) -> Self {
        let home = tempfile::tempdir().unwrap();
        let (port, other) = ports();
        let place = home.path().to_owned();
        write(&place, folder, &port, other.is_some(), settings, 0);
        let process = command(&place).stdin(Stdio::null()).spawn().unwrap();
        let mut nginx = Self { process, home, folder: folder.to_owned(), port, other, generation: 0 };
        nginx.wait_for("to start", |nginx| nginx.generation_at_work() == Some(0));
        nginx
    }

    /// The URL of the folder, without a slash at the end.
    pub fn url(&self) -> String {
        format!("http://{}", self.port.address)
    }

    /// The URL at `[::1]`, if this machine has that address.
    pub fn url_v6(&self) -> Option<String> {
        self.other.as_ref().map(|port| format!("http://{}", port.address))
    }

    /// Changes the settings from the next request on. Answers that have begun are not affected, and their connections
    /// end with them.
    pub fn set(&mut self, settings: &Settings) {
        self.generation += 1;
        write(self.home.path(), &self.folder, &self.port, self.other.is_some(), settings, self.generation);
        assert!(command(self.home.path()).args(["-s", "reload"]).status().unwrap().success());
        // The earlier processes still accept connections for a moment, and log when they stop.
        self.wait_for("to take its settings", |nginx| {
            let log = fs::read_to_string(nginx.home.path().join(ERRORS)).unwrap_or_default();
            let stopped = log.lines().filter(|line| line.contains("gracefully shutting down")).count();
            stopped >= usize::try_from(nginx.generation).unwrap()
                && nginx.generation_at_work() == Some(nginx.generation)
        });
    }

    /// The requests whose answers have ended, in the order of their ends.
    pub fn accesses(&self) -> Vec<Access> {
        let log = fs::read_to_string(self.home.path().join(ACCESSES)).unwrap_or_default();
        // A line that is still being written does not count.
        log.split_inclusive('\n').filter(|line| line.ends_with('\n')).map(access).collect()
    }

    /// The settings' number in the process that accepts connections.
    fn generation_at_work(&self) -> Option<u32> {
        let mut stream = TcpStream::connect(self.port.address).ok()?;
        stream.set_read_timeout(Some(DEADLINE)).ok()?;
        write!(stream, "GET {GENERATION} HTTP/1.0\r\n\r\n").ok()?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).ok()?;
        answer.rsplit("\r\n").next()?.parse().ok()
    }

    #[track_caller]
    fn wait_for(&mut self, what: &str, is_so: impl Fn(&Self) -> bool) {
        let start = Instant::now();
        while !is_so(self) {
            let ended = self.process.try_wait().unwrap();
            if ended.is_some() || start.elapsed() > DEADLINE {
                let log = fs::read_to_string(self.home.path().join(ERRORS)).unwrap_or_default();
                panic!("nginx was expected {what} ({ended:?}):\n{log}");
            }
            thread::sleep(Duration::from_millis(5));
        }
    }
}

impl Drop for Nginx {
    fn drop(&mut self) {
        // nginx's main process ends the others; if it were killed, they would stay.
        let _ = command(self.home.path()).args(["-s", "stop"]).status();
        let start = Instant::now();
        while start.elapsed() < DEADLINE {
            match self.process.try_wait() {
                Ok(None) => thread::sleep(Duration::from_millis(2)),
                _ => return,
            }
        }
        let _ = self.process.kill().and_then(|()| self.process.wait());
    }
}

/// The path of nginx. Debian installs it in a folder that is only in root's `PATH`.
fn program() -> Option<PathBuf> {
    let path = env::var_os("PATH").unwrap_or_default();
    let folders = env::split_paths(&path).chain(["/usr/sbin".into(), "/usr/local/sbin".into()]);
    folders.map(|folder| folder.join("nginx")).find(|program| program.is_file())
}

fn command(home: &Path) -> Command {
    let mut command = Command::new(program().expect("whoever starts nginx has asked whether it is there"));
    command.arg("-p").arg(home).arg("-c").arg(home.join(SETTINGS)).arg("-e").arg(home.join(ERRORS));
    command
}

/// A free port, at both loopback addresses if there are two.
fn ports() -> (Port, Option<Port>) {
    if !Loopback::V6.is_there() {
        return (Port::any(Loopback::V4).unwrap(), None);
    }
    let both = || {
        let port = Port::any(Loopback::V4).ok()?;
        let other = Port::of(Loopback::V6, port.address.port()).ok()?;
        Some((port, Some(other)))
    };
    (0..100).find_map(|_| both()).expect("a port is free at both addresses")
}

/// Writes the settings, and renames them into place.
fn write(home: &Path, folder: &Path, port: &Port, has_v6: bool, settings: &Settings, generation: u32) {
    let place = home.display();
    // Started by root, nginx's processes would run as a user who cannot read the served folder.
    let user = if fs::metadata(home).unwrap().uid() == 0 { "user root;" } else { "" };
    let port = port.address.port();
    let v6 = if has_v6 { format!("listen [::1]:{port};") } else { String::new() };
    let rate = settings.limit_rate.map(|rate| format!("limit_rate {rate};")).unwrap_or_default();
    let connections =
        settings.connections.map(|most| format!("limit_conn address {most};")).unwrap_or_default();
    let gzip = if settings.gzip { "gzip on; gzip_types *; gzip_min_length 1;" } else { "" };
    let login = settings.login.as_ref().map(|(user, password)| {
        fs::write(home.join("logins"), format!("{user}:{{PLAIN}}{password}\n")).unwrap();
        format!("auth_basic models; auth_basic_user_file {place}/logins;")
    });
    let temporary: String = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
        .map(|what| format!("{what}_temp_path {place}/{what};"))
        .concat();
    let text = format!(
        r#"
daemon off;
{user}
worker_processes 1;
pid {place}/pid;
error_log {place}/{ERRORS} notice;
events {{ worker_connections 512; }}
http {{
    {temporary}
    log_format line escape=json '{{"path":"$uri","range":"$http_range","status":$status,"bytes":$body_bytes_sent}}';
    access_log {place}/{ACCESSES} line;
    default_type application/octet-stream;
    sendfile on;
    sendfile_max_chunk 512k;
    tcp_nopush on;
    limit_conn_zone $binary_remote_addr zone=address:1m;
    {rate}
    {gzip}
    server {{
        listen 127.0.0.1:{port};
        {v6}
        location / {{ root "{}"; {} {connections} }}
        location = {GENERATION} {{ access_log off; return 200 {generation}; }}
    }}
}}
"#,
        folder.display(),
        login.unwrap_or_default(),
    );
    fs::write(home.join("new"), text).unwrap();
    fs::rename(home.join("new"), home.join(SETTINGS)).unwrap();
}

fn access(line: &str) -> Access {
    let line: Value = serde_json::from_str(line).unwrap();
    let range = |text: &str| {
        let (first, last) = text.strip_prefix("bytes=")?.split_once('-')?;
        let end = if last.is_empty() { u64::MAX } else { last.parse::<u64>().ok()? + 1 };
        Some(first.parse().ok()?..end)
    };
    Access {
        path: line["path"].as_str().unwrap().to_owned(),
        range: range(line["range"].as_str().unwrap()),
        status: line["status"].as_u64().and_then(|status| status.try_into().ok()).unwrap(),
        bytes: line["bytes"].as_u64().unwrap(),
    }
}

const SETTINGS: &str = "nginx.conf";
const ERRORS: &str = "errors.log";
const ACCESSES: &str = "accesses.log";
/// A path that answers with the number of the settings, and is not logged.
const GENERATION: &str = "/.generation";
const DEADLINE: Duration = Duration::from_secs(20);
