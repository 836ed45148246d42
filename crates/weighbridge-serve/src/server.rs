//! Connections: accepting them, ending them, and TLS.

use std::{
    fmt, io,
    net::SocketAddr,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError, RwLock},
    time::{Duration, Instant},
};

use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use rustls::{
    ServerConfig,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject as _},
};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpListener, TcpSocket, TcpStream},
    sync::{OwnedSemaphorePermit, Semaphore, watch},
    task::{JoinSet, spawn_blocking},
    time::{self, MissedTickBehavior},
};
use tokio_rustls::TlsAcceptor;
use tracing::{debug, error, info, warn};
use weighbridge_store::{IoError, Stamp, open_to_read, read_bounded};

use crate::{
    answer::Site,
    models::Change,
    room::{Limits, Taken, lock},
    seat::Seat,
    wire::Wire,
};

/// A certificate and its key, in PEM. They are read again when the files change.
#[derive(Clone, Debug)]
pub struct TlsFiles {
    /// The chain of certificates, that of the server first.
    pub certificates: PathBuf,
    /// The secret key.
    pub key: PathBuf,
}

/// A server of models.
///
/// # Guarantee
/// That of [`Site::answer`]. Every task of the server has ended when [`run`](Self::run) returns, but for reads of a file system that
/// does not answer.
///
/// # Cost
/// [`Limits`] bound connections, and the memory for what they are sent.
///
/// # Example
/// ```no_run
/// // It runs until it is told to end.
/// use std::sync::Arc;
/// use weighbridge_serve::{Limits, Models, Rules, Server, Site};
///
/// # async fn example() -> std::io::Result<()> {
/// let models = Arc::new(Models::of(vec!["models".into()]));
/// let limits = Limits::default();
/// let site = Site::new(models, Rules { hub: true, ..Rules::default() }, &limits);
/// let server = Server::bind(site, "127.0.0.1:8080".parse().unwrap(), limits, None).await?;
/// server.run(std::future::pending(), |change| println!("{change:?}")).await;
/// # Ok(())
/// # }
/// ```
#[must_use]
pub struct Server {
    site: Arc<Site>,
    listener: TcpListener,
    limits: Limits,
    tls: Option<Arc<Tls>>,
}

impl Server {
    /// Listens at an address. Port 0 is any that is free.
    ///
    /// # Errors
    /// The address cannot be had.
    pub async fn bind(
        site: Arc<Site>,
        address: SocketAddr,
        limits: Limits,
        tls: Option<Tls>,
    ) -> io::Result<Self> {
        let socket = if address.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
        // As tokio's own listeners, but for a longer queue: many may come at once.
        #[cfg(unix)]
        socket.set_reuseaddr(true)?;
        socket.bind(address)?;
        Ok(Self { site, listener: socket.listen(BACKLOG)?, limits, tls: tls.map(Arc::new) })
    }

    /// The address at which it listens.
    ///
    /// # Errors
    /// The error of the operating system.
    pub fn address(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }

    /// Serves until `end` is ready; then takes no more connections, and ends once the answers that are under way are sent, or after
    /// [`Limits::end_time`]. `tell` is told what is published, and what changes.
    pub async fn run(self, end: impl Future<Output = ()>, tell: impl Fn(&Change) + Send + Sync + 'static) {
        let Self { site, listener, limits, tls } = self;
        let (ending, ended) = watch::channel(false);
        let looking = tokio::spawn(look(Arc::clone(&site), tls.clone(), ended.clone(), tell));
        let mut connections = JoinSet::new();
        let mut end = std::pin::pin!(end);
        let mut warned = None;
        let mut full_since: Option<Instant> = None;
        let turned_away = Arc::new(Semaphore::new(MOST_TURNED_AWAY));
        loop {
            while connections.try_join_next().is_some() {}
            let accepted = tokio::select! {
                () = &mut end => break,
                accepted = listener.accept() => accepted,
            };
            let (stream, from) = match accepted {
                Ok(accepted) => accepted,
                Err(error) => {
                    // Others are about a connection that was gone before it was accepted.
                    if is_out_of_descriptors(&error) {
                        site.room.lacks_descriptors();
                        if warned.is_none_or(|at: Instant| at.elapsed() >= Duration::from_secs(1)) {
                            warn!(target: "weighbridge", "cannot accept a connection: {error}");
                            warned = Some(Instant::now());
                        }
                        time::sleep(Duration::from_millis(10)).await;
                    }
                    continue;
                }
            };
            let asked = Instant::now();
            let patience = if full_since.is_some_and(|since| since.elapsed() >= FULL) { NEXT } else { FULL };
            let place = tokio::select! {
                () = &mut end => break,
                place = time::timeout(patience, site.room.place()) => place,
            };
            let (site, ended) = (Arc::clone(&site), ended.clone());
            if let Ok(place) = place {
                full_since = None;
                let seat = site.room.seat(place);
                let connection = Connection { site, seat, from, limits, ended, half_close: false };
                connections.spawn(connection.run(stream, tls.clone()));
            } else {
                // All are busy, and have been for a while.
                full_since.get_or_insert(asked);
                if let Ok(place) = Arc::clone(&turned_away).try_acquire_owned() {
                    connections.spawn(turn_away(site, stream, from, tls.clone(), place));
                }
            }
        }
        drop(listener);
        // Nobody has to hear it: there may be no connection.
        let _ = ending.send(true);
        let all_end = async { while connections.join_next().await.is_some() {} };
        if time::timeout(limits.end_time, all_end).await.is_err() {
            warn!(target: "weighbridge", "answers were cut short, since the server ends");
        }
        connections.shutdown().await;
        let _ = looking.await;
        // What has come of a model is there for the next run either way; synced, it outlasts a power cut too.
        if let Some(supplier) = site.supplier() {
            let _ = time::timeout(LAST_SYNC, supplier.end()).await;
        }
        let _ = time::timeout(LAST_SYNC, spawn_blocking(move || site.end())).await;
    }
}

/// Looks at the models, at the clients and at the certificate once a second.
async fn look(
    site: Arc<Site>,
    tls: Option<Arc<Tls>>,
    mut ended: watch::Receiver<bool>,
    tell: impl Fn(&Change) + Send + Sync + 'static,
) {
    let tell = Arc::new(tell);
    let mut ticks = time::interval(Duration::from_secs(1));
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            _ = ended.changed() => return,
            _ = ticks.tick() => {}
        }
        let (site, tls, tell) = (Arc::clone(&site), tls.clone(), Arc::clone(&tell));
        let looked = spawn_blocking(move || {
            for change in site.look() {
                log(&change);
                tell(&change);
            }
            if let Some(tls) = tls {
                tls.look();
            }
        });
        tokio::select! {
            // A file system that does not answer is not waited for.
            _ = ended.changed() => return,
            looked = looked => if looked.is_err() {
                error!(target: "weighbridge", "looking at the models failed; please report this");
            }
        }
    }
}

/// Whether the process, or the system, has as many files and connections open as it may.
fn is_out_of_descriptors(error: &io::Error) -> bool {
    // ENFILE and EMFILE, which have the same numbers on all systems that have them.
    cfg!(unix) && matches!(error.raw_os_error(), Some(23 | 24))
}

fn log(change: &Change) {
    match change {
        Change::Published { name, revision, head, bytes, .. } => {
            info!(target: "weighbridge", model = name.as_str(), revision, head = %head, bytes, "published");
        }
        Change::Withdrawn { name, .. } => info!(target: "weighbridge", model = name.as_str(), "withdrawn"),
        Change::Refused { folder, code, message } => {
            let folder = weighbridge_store::shown_path(folder);
            warn!(target: "weighbridge", folder, code = code.get(), "not published: {message}");
        }
    }
}

/// One connection.
struct Connection {
    site: Arc<Site>,
    seat: Taken,
    from: SocketAddr,
    limits: Limits,
    ended: watch::Receiver<bool>,
    /// Whether a client may close its half of the connection and still get its answer. Where it may not, one that is gone is
    /// noticed while its answer waits for memory.
    half_close: bool,
}

impl Connection {
    async fn run(mut self, stream: TcpStream, tls: Option<Arc<Tls>>) {
        // Small answers are not held back for an acknowledgement.
        let _ = stream.set_nodelay(true);
        // The system holds few bytes that the client has not taken: so it shows soon which it has.
        #[cfg(any(target_os = "linux", target_os = "android"))]
        let _ = socket2::SockRef::from(&stream).set_tcp_notsent_lowat(UNSENT);
        let Some(tls) = tls else { return self.serve(stream).await };
        let shaken = tokio::select! {
            () = self.seat.seat.told_to_leave() => return,
            _ = self.ended.changed() => return,
            shaken = time::timeout(self.limits.head_time, tls.acceptor().accept(stream)) => shaken,
        };
        match shaken {
            Ok(Ok(stream)) => self.serve(stream).await,
            Ok(Err(error)) => debug!(target: "weighbridge", from = %self.from, "no TLS: {error}"),
            Err(_) => {}
        }
    }

    async fn serve(mut self, stream: impl AsyncRead + AsyncWrite + Unpin) {
        let seat = Arc::clone(&self.seat.seat);
        let service = service_fn(|request: hyper::Request<Incoming>| {
            let (site, from, seat) = (Arc::clone(&self.site), self.from, Arc::clone(&self.seat.seat));
            async move { Ok::<_, std::convert::Infallible>(site.answer_to(request, Some(from), seat).await) }
        });
        let mut builder = http1::Builder::new();
        builder
            .timer(TokioTimer::new())
            .header_read_timeout(self.limits.head_time)
            .half_close(self.half_close)
            .max_headers(MAX_HEADERS)
            .max_buf_size(MAX_HEAD);
        let wire = TokioIo::new(Wire::new(stream, Arc::clone(&seat)));
        let mut connection = std::pin::pin!(builder.serve_connection(wire, service));
        let mut is_ending = false;
        let ended = loop {
            let look_again = self.limits.write_time.saturating_sub(stalled_for(&self.seat)).max(TICK);
            tokio::select! {
                ended = connection.as_mut() => break ended,
                () = seat.told_to_leave() => return,
                _ = self.ended.changed(), if !is_ending => {
                    is_ending = true;
                    connection.as_mut().graceful_shutdown();
                    // A head that has begun may never end.
                    if seat.is_idle() { return }
                }
                () = time::sleep(look_again) => {
                    if stalled_for(&self.seat) >= self.limits.write_time {
                        debug!(target: "weighbridge", from = %self.from, "the client takes no bytes");
                        return;
                    }
                }
            }
        };
        if let Err(error) = ended {
            debug!(target: "weighbridge", from = %self.from, "the connection failed: {error}");
        }
    }
}

/// Tells a client for whose connection there is no seat when to come again.
async fn turn_away(
    site: Arc<Site>,
    stream: TcpStream,
    from: SocketAddr,
    tls: Option<Arc<Tls>>,
    _place: OwnedSemaphorePermit,
) {
    let answer = async {
        match tls {
            None => tell_to_come_again(&site, stream, from).await,
            Some(tls) => match tls.acceptor().accept(stream).await {
                Ok(stream) => tell_to_come_again(&site, stream, from).await,
                Err(error) => debug!(target: "weighbridge", from = %from, "no TLS: {error}"),
            },
        }
    };
    let _ = time::timeout(TURNING_AWAY, answer).await;
}

async fn tell_to_come_again(site: &Site, stream: impl AsyncRead + AsyncWrite + Unpin, from: SocketAddr) {
    let seat = Seat::outside();
    let service = service_fn(|request: hyper::Request<Incoming>| {
        let answer = site.turn_away(&request, from, &seat);
        async move { Ok::<_, std::convert::Infallible>(answer) }
    });
    let mut builder = http1::Builder::new();
    builder.max_headers(MAX_HEADERS).max_buf_size(MAX_HEAD);
    // Nobody hears of one that fails: it was told nothing that it has not known before.
    let _ = builder.serve_connection(TokioIo::new(Wire::new(stream, Arc::clone(&seat))), service).await;
}

/// The time for which all connections have to be busy before others are turned away, and for which each of those is held from then on.
const FULL: Duration = Duration::from_secs(1);
const NEXT: Duration = Duration::from_millis(25);

/// The connections that are told at the same time to come again, and the time that each may take. Others are closed.
const MOST_TURNED_AWAY: usize = 64;
const TURNING_AWAY: Duration = Duration::from_secs(5);

/// The time for which a disk is waited for at the end.
const LAST_SYNC: Duration = Duration::from_secs(2);

/// For how long the client has taken none of the bytes that wait for it.
fn stalled_for(seat: &Taken) -> Duration {
    if seat.seat.is_blocked() { seat.seat.unchanged_for() } else { Duration::ZERO }
}

/// The time between two looks at a client that stalls.
const TICK: Duration = Duration::from_millis(100);

/// The connections that may wait to be accepted.
const BACKLOG: u32 = 4096;

/// The bytes that the system takes of an answer before it has sent those before.
#[cfg(any(target_os = "linux", target_os = "android"))]
const UNSENT: u32 = 128 << 10;

/// The number of headers that a request may have.
const MAX_HEADERS: usize = 64;

/// The length that a head may have.
const MAX_HEAD: usize = 16 << 10;

/// A certificate with its key, as it is now.
pub struct Tls {
    files: TlsFiles,
    current: RwLock<(Stamps, TlsAcceptor)>,
    /// The files that were not good when they were read last.
    bad: Mutex<Option<Stamps>>,
}

type Stamps = [Option<Stamp>; 2];

impl Tls {
    /// Reads certificate and key.
    ///
    /// # Errors
    /// They cannot be read, or do not belong together; the message names the file.
    pub fn read(files: TlsFiles) -> io::Result<Self> {
        // Before the files: what changes meanwhile is read again.
        let stamps = files.stamps();
        let acceptor = files.acceptor()?;
        Ok(Self { files, current: RwLock::new((stamps, acceptor)), bad: Mutex::default() })
    }

    fn acceptor(&self) -> TlsAcceptor {
        self.current.read().unwrap_or_else(PoisonError::into_inner).1.clone()
    }

    /// Reads the files again if they have changed. If they are not good, what was read before stays, and they are tried again.
    fn look(&self) {
        let stamps = self.files.stamps();
        if self.current.read().unwrap_or_else(PoisonError::into_inner).0 == stamps {
            return;
        }
        match self.files.acceptor() {
            Ok(acceptor) => {
                *self.current.write().unwrap_or_else(PoisonError::into_inner) = (stamps, acceptor);
                info!(target: "weighbridge", "the certificate was read again");
            }
            Err(error) => {
                let mut bad = lock(&self.bad);
                if bad.as_ref() != Some(&stamps) {
                    warn!(target: "weighbridge", "the certificate that was read before stays: {error}");
                    *bad = Some(stamps);
                }
            }
        }
    }
}

impl TlsFiles {
    fn stamps(&self) -> Stamps {
        let stamp = |path: &PathBuf| Stamp::of(&open_to_read(path).ok()?).ok();
        [stamp(&self.certificates), stamp(&self.key)]
    }

    fn acceptor(&self) -> io::Result<TlsAcceptor> {
        let bad = |path: &Path, what: &str| {
            io::Error::other(format!("{}: {what}", weighbridge_store::shown_path(path)))
        };
        let read = |path: &Path| {
            read_bounded(path, MAX_PEM).map_err(|error: IoError| io::Error::other(error.to_string()))
        };
        let pem = read(&self.certificates)?;
        let certificates: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&pem).collect();
        let certificates = certificates.ok().filter(|certificates| !certificates.is_empty());
        let certificates =
            certificates.ok_or_else(|| bad(&self.certificates, "has no certificate in PEM"))?;
        let key = PrivateKeyDer::from_pem_slice(&read(&self.key)?);
        let key = key.map_err(|_| bad(&self.key, "has no secret key in PEM"))?;
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(io::Error::other)?
            .with_no_client_auth()
            .with_single_cert(certificates, key);
        let mut config =
            config.map_err(|error| bad(&self.certificates, &format!("does not go with the key: {error}")))?;
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        Ok(TlsAcceptor::from(Arc::new(config)))
    }
}

/// The longest file of certificates, or of a key.
const MAX_PEM: u64 = 1 << 20;

impl fmt::Debug for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Server").field("listener", &self.listener).finish_non_exhaustive()
    }
}

impl fmt::Debug for Tls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tls").field("files", &self.files).finish_non_exhaustive()
    }
}

/// Serves one connection over any stream, as [`Server`] does: for tests and fuzzing, and for other carriers than TCP.
pub async fn serve_stream(site: &Arc<Site>, stream: impl AsyncRead + AsyncWrite + Unpin, limits: Limits) {
    let seat = site.room.seat(site.room.place().await);
    // Never told to end.
    let (_ending, ended) = watch::channel(false);
    let from = SocketAddr::from(([127, 0, 0, 1], 0));
    Connection { site: Arc::clone(site), seat, from, limits, ended, half_close: true }.serve(stream).await;
}
