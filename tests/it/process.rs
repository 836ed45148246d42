//! Processes of the command that are watched while they run.

use std::{
    io::{BufRead as _, BufReader},
    process::{Child, Command, Stdio},
    sync::mpsc::{self, Receiver},
    thread,
    time::{Duration, Instant},
};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use crate::command::events;

/// A process of the command, whose objects are read while it runs.
pub(crate) struct Process {
    pub(crate) child: Child,
    pub(crate) lines: Receiver<(Instant, Value)>,
}

impl Process {
    pub(crate) fn start(mut command: Command) -> Self {
        let mut child = command.arg("--json").stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
        let (sender, lines) = mpsc::channel();
        let output = BufReader::new(child.stdout.take().unwrap());
        thread::spawn(move || {
            for line in output.split(b'\n').map_while(Result::ok) {
                let Ok(value) = serde_json::from_slice(&line) else { break };
                if sender.send((Instant::now(), value)).is_err() {
                    break;
                }
            }
        });
        Self { child, lines }
    }

    /// The next object for which this holds, and when it came.
    #[track_caller]
    pub(crate) fn wait_for(&self, is: impl Fn(&Value) -> bool) -> (Instant, Value) {
        let until = Instant::now() + Duration::from_secs(60);
        loop {
            let left = until.saturating_duration_since(Instant::now());
            let (at, object) = self.lines.recv_timeout(left).expect("it never said so");
            events::is_in_the_schema(&object);
            if is(&object) {
                return (at, object);
            }
        }
    }

    pub(crate) fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).unwrap();
    }

    pub(crate) fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
