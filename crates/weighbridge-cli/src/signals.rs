//! Ctrl-C and SIGTERM: what is half done is undone, and the run ends with the status that shells give to such an end.

use std::{
    collections::BTreeMap,
    future, process,
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

/// Tells of each signal as long as the runtime lives. The signals end the process no more by themselves.
pub(crate) fn listen(runtime: &Runtime, tell: impl Fn(Signal) + Clone + Send + 'static) {
    let told = tell.clone();
    runtime.spawn(async move {
        while tokio::signal::ctrl_c().await.is_ok() {
            told(Signal::Interrupt);
        }
    });
    #[cfg(unix)]
    runtime.spawn(async move {
        use tokio::signal::unix::{SignalKind, signal};
        let Ok(mut terminate) = signal(SignalKind::terminate()) else { return };
        while terminate.recv().await.is_some() {
            tell(Signal::Terminate);
        }
    });
    #[cfg(not(unix))]
    drop(tell);
}

/// From now on a signal ends the run at once, after everything registered by [`on_signal`] was undone.
pub(crate) fn end_at_once() {
    thread::spawn(|| {
        // Without it signals end the process as ever, and nothing is undone.
        let Ok(runtime) = Builder::new_current_thread().enable_all().build() else { return };
        listen(&runtime, end);
        runtime.block_on(future::pending::<()>());
    });
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
