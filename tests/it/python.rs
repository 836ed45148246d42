//! Servers in Python.

use std::{
    io::{BufRead as _, BufReader, Read as _},
    path::Path,
    process::{Child, Command, Stdio},
};

/// A server in Python. It ends on drop.
pub(crate) struct Python {
    process: Child,
    /// Its address.
    pub(crate) says: String,
}

impl Python {
    /// Whether Python has these modules.
    pub(crate) fn has(modules: &str) -> bool {
        let found = Command::new("python3").args(["-c", &format!("import {modules}")]).output();
        found.is_ok_and(|output| output.status.success())
    }

    /// Starts Python, and waits for the line in which the server says its address.
    pub(crate) fn start(words: &[&str], address: impl Fn(&str) -> Option<String>) -> Self {
        let mut command = Command::new("python3");
        command.arg("-u").args(words).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
        let mut process = command.spawn().expect("python3 is installed");
        let mut lines = BufReader::new(process.stdout.take().unwrap());
        let says = lines.by_ref().lines().find_map(|line| address(&line.unwrap()));
        let Some(says) = says else {
            let _ = process.kill().and_then(|()| process.wait());
            panic!("{words:?} does not say where it serves");
        };
        // The test does not wait for anything that it says later.
        std::thread::spawn(move || lines.read_to_end(&mut Vec::new()));
        Self { process, says }
    }
}

impl Drop for Python {
    fn drop(&mut self) {
        let _ = self.process.kill().and_then(|()| self.process.wait());
    }
}

/// Starts moto, if it is installed, with the files of a folder in the bucket `models`; it says where it is.
pub(crate) fn moto(folder: &Path) -> Option<Python> {
    let is_address = |line: &str| line.starts_with("http://").then(|| line.to_owned());
    Python::has("boto3, moto.server")
        .then(|| Python::start(&["-c", MOTO, folder.to_str().unwrap()], is_address))
}

const MOTO: &str = r#"
import pathlib, sys, boto3
from moto.server import ThreadedMotoServer
server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
server.start()
endpoint = "http://127.0.0.1:%d" % server.get_host_and_port()[1]
s3 = boto3.client("s3", endpoint_url=endpoint, region_name="us-east-1",
                  aws_access_key_id="KEYID", aws_secret_access_key="SECRET")
folder = pathlib.Path(sys.argv[1])
for bucket in "models", "without":
    s3.create_bucket(Bucket=bucket)
for file in folder.rglob("*"):
    if file.is_file():
        s3.put_object(Bucket="models", Key=str(file.relative_to(folder)), Body=file.read_bytes())
print(endpoint, flush=True)
sys.stdin.read()
"#;
