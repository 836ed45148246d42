//! A server from its start to its end.

use std::{
    io,
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::SeqCst},
        mpsc,
    },
    thread,
    time::Duration,
};

use tokio::{
    runtime::Runtime,
    sync::{Notify, oneshot},
};
use weighbridge_serve::{Change, Limits, Server, Site, Tls, TlsFiles};
use weighbridge_swarm::Tracker;
use weighbridge_transfer::Stop;
use weighbridge_tree::ErrorCode;

use super::tell;
use crate::{events::serve, failure::Failure, output::Output, signals};

/// A server that is about to begin.
pub(crate) struct Serving {
    pub(crate) runtime: Runtime,
    pub(crate) site: Arc<Site>,
    pub(crate) listen: SocketAddr,
    pub(crate) limits: Limits,
    pub(crate) tls: Option<TlsFiles>,
    /// Whether clients of a hub are answered.
    pub(crate) hub: bool,
    pub(crate) tracker: Option<Tracker>,
    /// The changes that a first look at the models has found.
    pub(crate) changes: Vec<Change>,
}

impl Serving {
    /// Serves until a signal or the caller asks for the end. `greet` is called once the address is told.
    pub(crate) fn run(self, output: &Output, stop: &Stop, greet: impl FnOnce()) -> Result<(), Failure> {
        let Self { runtime, site, listen, limits, tls, hub, tracker, changes } = self;
        let is_tls = tls.is_some();
        let cannot_listen = |error: io::Error| {
            let is_taken = error.kind() == io::ErrorKind::AddrInUse;
            let failure = Failure::new(ErrorCode::IO, format!("cannot listen at {listen}: {error}"));
            if is_taken {
                failure.hint(
                "another program has this port: name another one with --listen; port 0 is any that is free",
            )
            } else {
                failure
            }
        };
        let tls = tls
            .map(Tls::read)
            .transpose()
            .map_err(|error| Failure::new(ErrorCode::IO, format!("cannot use the certificate: {error}")))?;
        let server = runtime.block_on(Server::bind(site, listen, limits, tls)).map_err(cannot_listen)?;
        let address = server.address().map_err(cannot_listen)?;
        let url = format!("{}://{address}", if is_tls { "https" } else { "http" });
        // Whoever has read the address may end the server.
        let end = Arc::new(Notify::new());
        if !output.is_embedded() {
            let (end, is_asked) = (Arc::clone(&end), Arc::new(AtomicBool::new(false)));
            // If this fails, a signal ends the server at once.
            let _ = signals::listen(&runtime, move |signal| {
                if is_asked.swap(true, SeqCst) {
                    #[allow(clippy::exit, reason = "the second signal asks for this")]
                    std::process::exit(signal.status().into());
                }
                end.notify_one();
            });
        }
        // Nothing is served before the address is had.
        changes.iter().for_each(|change| tell(change, output));
        output.result(&format!("at       {url}"), || serve::Listening { url: &url, hub });
        if let Some(tracker) = &tracker {
            let address = tracker.address().map_err(cannot_listen)?;
            output
                .result(&format!("tracker  {address}"), || serve::Tracking { address: address.to_string() });
        }
        greet();
        let (told, heard) = mpsc::channel();
        thread::scope(|scope| {
            // A look at a file system that does not answer may keep its sender for ever: the end is told.
            scope.spawn(move || {
                heard.iter().map_while(|change| change).for_each(|change| tell(&change, output));
            });
            let end = async {
                tokio::select! {
                    () = end.notified() => {}
                    () = stop.asked() => {}
                }
            };
            let telling = told.clone();
            let tell = move |change: &Change| {
                // It is heard for as long as the server runs.
                let _ = telling.send(Some(change.clone()));
            };
            runtime.block_on(async {
                // A tracker ends with the server.
                let (ending, ended) = oneshot::channel::<()>();
                let serving = async {
                    server.run(end, tell).await;
                    drop(ending);
                };
                let tracking = async {
                    if let Some(tracker) = tracker {
                        tracker.run(async { _ = ended.await }).await;
                    }
                };
                tokio::join!(serving, tracking)
            });
            let _ = told.send(None);
        });
        // A look that is under way holds the releases, and the last reader of one removes what was kept for it. A file system that does
        // not answer is not waited for longer.
        runtime.shutdown_timeout(Duration::from_secs(1));
        Ok(())
    }
}
