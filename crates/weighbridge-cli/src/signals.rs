//! Ctrl-C and SIGTERM: what is half done is undone, and the run ends with the status that shells give to such an end.

use std::{
    collections::BTreeMap,
    future, io, process,
    sync::{Mutex, MutexGuard, PoisonError, mpsc},
    thread,
    time::Duration,
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
    /// The exit status of a run that it ends: 128 and the signal's number.
    pub(crate) fn status(self) -> u8 {
        match self {
            Self::Interrupt => 128 + 2,
            Self::Terminate => 128 + 15,
        }
    }
}

/// Tells of each signal as long as the runtime lives. From the return on, signals end the process no more by themselves.
///
/// # Errors
///
/// What the system says if it takes no handlers: then signals end the process as ever, and nothing is undone.
pub(crate) fn listen(runtime: &Runtime, tell: impl Fn(Signal) + Clone + Send + 'static) -> io::Result<()> {
    let _context = runtime.enter();
    for (signal, mut handler) in handlers()? {
        let tell = tell.clone();
        runtime.spawn(async move {
            while handler.recv().await.is_some() {
                tell(signal);
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

/// From the return on a signal ends the run at once, after everything registered by [`on_signal`] was undone.
pub(crate) fn end_at_once() {
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
        // Nothing new is begun while the process ends.
        loop {
            thread::park();
        }
    });
    // A disk or a terminal that does not answer must not hold up the end.
    let _ = waits.recv_timeout(GRACE);
    #[allow(clippy::exit, reason = "this is the end that the signal asks for")]
    process::exit(signal.status().into())
}

/// How long undoing may take.
const GRACE: Duration = Duration::from_secs(1);

type Unfinished = BTreeMap<u64, Box<dyn FnOnce() + Send>>;

/// The work that a signal undoes, in the order in which it was begun.
static UNFINISHED: Mutex<Unfinished> = Mutex::new(BTreeMap::new());

fn unfinished() -> MutexGuard<'static, Unfinished> {
    UNFINISHED.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Something that a signal undoes as long as this lives.
#[must_use]
pub(crate) struct OnSignal(u64);

/// Registers what has to be undone should a signal end the run: a process that ends drops nothing.
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

/// Does something short that a signal does not cut in two: the run ends before or after it.
pub(crate) fn uninterrupted<T>(action: impl FnOnce() -> T) -> T {
    let _held = unfinished();
    action()
}

/// Waits for the end, after a signal has come in another way than [`listen`] hears.
pub(crate) fn wait_for_end() -> ! {
    loop {
        thread::park();
    }
}
