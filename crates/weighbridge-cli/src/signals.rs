//! Ctrl-C and SIGTERM: unfinished work is undone, and the run ends with the usual exit status for a signal.

use std::{
    collections::BTreeMap,
    future, io, process,
    sync::{Arc, Mutex, MutexGuard, PoisonError, mpsc},
    thread,
    time::{Duration, Instant},
};

use tokio::runtime::{Builder, Runtime};

/// A signal that asks a run to end.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Signal {
    /// Ctrl-C, SIGINT.
    Interrupt,
    /// SIGTERM.
    #[cfg_attr(not(unix), allow(dead_code, reason = "other systems have no such signal"))]
    Terminate,
}

impl Signal {
    /// The exit status of a run that this signal ends: 128 plus the signal's number.
    pub(crate) fn status(self) -> u8 {
        match self {
            Self::Interrupt => 128 + 2,
            Self::Terminate => 128 + 15,
        }
    }
}

/// Signals that follow each other within this time count as one. `timeout` sends each of its signals twice, to the process and to
/// its group, and the second signal of a person ends a run at once.
const SAME: Duration = Duration::from_millis(200);

/// Calls `tell` for each signal as long as the runtime lives. Once this returns `Ok`, signals no longer end the process
/// by themselves.
///
/// # Errors
///
/// The error of a system that takes no handlers. Signals then end the process as usual, and nothing is undone.
pub(crate) fn listen(runtime: &Runtime, tell: impl Fn(Signal) + Clone + Send + 'static) -> io::Result<()> {
    let _context = runtime.enter();
    let last = Arc::new(Mutex::new(None::<Instant>));
    for (signal, mut handler) in handlers()? {
        let (tell, last) = (tell.clone(), Arc::clone(&last));
        runtime.spawn(async move {
            while handler.recv().await.is_some() {
                let now = Instant::now();
                let before = last.lock().unwrap_or_else(PoisonError::into_inner).replace(now);
                if before.is_none_or(|before| now.duration_since(before) > SAME) {
                    tell(signal);
                }
            }
        });
    }
    Ok(())
}

#[cfg(unix)]
fn handlers() -> io::Result<[(Signal, tokio::signal::unix::Signal); 2]> {
    use tokio::signal::unix::{SignalKind, signal};
    Ok([
        (Signal::Interrupt, signal(SignalKind::interrupt())?),
        (Signal::Terminate, signal(SignalKind::terminate())?),
    ])
}

#[cfg(not(unix))]
fn handlers() -> io::Result<[(Signal, tokio::signal::windows::CtrlC); 1]> {
    Ok([(Signal::Interrupt, tokio::signal::windows::ctrl_c()?)])
}

/// From the return on, a signal first undoes everything registered by [`on_signal`], and then ends the run at once.
pub(crate) fn end_run_on_signal() {
    let Ok(runtime) = Builder::new_current_thread().enable_all().build() else { return };
    if listen(&runtime, end).is_ok() {
        thread::spawn(move || runtime.block_on(future::pending::<()>()));
    }
}

fn end(signal: Signal) {
    let (done, waits) = mpsc::channel();
    thread::spawn(move || {
        let mut unfinished = unfinished();
        while let Some((_, undo)) = unfinished.pop_last() {
            undo();
        }
        let _ = done.send(());
        // Hold the lock for ever, so that no new work begins while the process ends.
        loop {
            thread::park();
        }
    });
    // Do not wait longer for a disk or a terminal that does not answer.
    let _ = waits.recv_timeout(GRACE);
    #[allow(clippy::exit, reason = "this is the end that the signal asks for")]
    process::exit(signal.status().into())
}

/// The maximum time for undoing unfinished work.
const GRACE: Duration = Duration::from_secs(1);

type Unfinished = BTreeMap<u64, Box<dyn FnOnce() + Send>>;

/// The actions that undo unfinished work, in the order in which the work began.
static UNFINISHED: Mutex<Unfinished> = Mutex::new(BTreeMap::new());

fn unfinished() -> MutexGuard<'static, Unfinished> {
    UNFINISHED.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A registered action that a signal runs as long as this lives.
#[must_use]
pub(crate) struct OnSignal(u64);

/// Registers an action that undoes work if a signal ends the run. The process then exits without dropping values.
pub(crate) fn on_signal(undo: impl FnOnce() + Send + 'static) -> OnSignal {
    let mut unfinished = unfinished();
    let number = unfinished.last_key_value().map_or(0, |(last, _)| last + 1);
    unfinished.insert(number, Box::new(undo));
    OnSignal(number)
}

impl Drop for OnSignal {
    fn drop(&mut self) {
        unfinished().remove(&self.0);
    }
}

/// Runs a short action that no signal interrupts: the run ends before or after the action.
pub(crate) fn uninterrupted<T>(action: impl FnOnce() -> T) -> T {
    let _held = unfinished();
    action()
}

/// Waits for the end of the process, after the caller has noticed a signal that [`listen`] receives too.
pub(crate) fn wait_for_end() -> ! {
    loop {
        thread::park();
    }
}
