//! The command, run in this process.

use std::{
    ffi::OsString,
    sync::{Arc, Mutex, PoisonError, mpsc},
    thread,
    time::Duration,
};

use pyo3::prelude::*;
use weighbridge_cli::{Stop, call};

/// A run of the command. Its objects wait here until they are asked for.
#[pyclass(frozen, module = "weighbridge._native")]
pub(crate) struct Call {
    stop: Arc<Stop>,
    lines: Mutex<mpsc::Receiver<String>>,
}

#[pymethods]
impl Call {
    /// Begins a run with these arguments, on a thread of its own.
    #[staticmethod]
    fn begin(words: Vec<OsString>) -> Self {
        let (tell, lines) = mpsc::channel();
        let stop = Arc::new(Stop::default());
        let stopped = Arc::clone(&stop);
        thread::spawn(move || {
            let tell = Mutex::new(tell);
            call(words, &stopped, move |line| {
                // Nobody listens any more once the iterator is closed.
                let _ = tell.lock().unwrap_or_else(PoisonError::into_inner).send(line.to_owned());
            })
        });
        Self { stop, lines: Mutex::new(lines) }
    }

    /// Waits for the next object, a line of JSON; None at the end of the run.
    fn next(&self, py: Python<'_>) -> PyResult<Option<String>> {
        loop {
            let waited =
                py.detach(|| self.lines.lock().unwrap_or_else(PoisonError::into_inner).recv_timeout(PAUSE));
            match waited {
                Ok(line) => return Ok(Some(line)),
                Err(mpsc::RecvTimeoutError::Disconnected) => return Ok(None),
                Err(mpsc::RecvTimeoutError::Timeout) => py.check_signals()?,
            }
        }
    }

    /// Asks a fetch to end. What has come stays.
    fn stop(&self) {
        self.stop.ask();
    }
}

/// How long Ctrl-C may wait.
const PAUSE: Duration = Duration::from_millis(100);
