//! Servers in Python.

use std::{
    io::{BufRead as _, BufReader, Read as _},
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
