//! Connections: directly or through a proxy, with TLS or without. Each is metered: a server that keeps sending, and
//! gives no byte of a body, is cut off.
//!
//! The HTTP parser below drops interim responses (`100 Continue` and such) silently, and TLS has messages of its own
//! that no upper layer sees. So bytes are counted below TLS, where they come in.

use std::{
    error::Error,
    fmt, io,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    task::{Context, Poll},
    time::Duration,
};

use ::http::{Extensions, HeaderMap, HeaderValue, Uri, header::USER_AGENT, uri::Scheme};
use futures_util::future::BoxFuture;
use hyper::rt;
use hyper_rustls::{HttpsConnector, MaybeHttpsStream};
use hyper_util::{
    client::{
        legacy::connect::{Connected, Connection, HttpConnector, proxy::Tunnel},
        proxy::matcher::Matcher,
    },
    rt::TokioIo,
};
use rustls::ClientConfig;
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::TcpStream,
};
use tower_service::Service;

/// Counts the bytes that come on one connection while no byte of a body is handed on.
#[derive(Clone, Default)]
pub(super) struct Meter(Arc<AtomicU64>);

impl Meter {
    /// Resets the count: a request was sent, or a part of a body was handed on.
    pub(super) fn restart(&self) {
        self.0.store(0, Ordering::Relaxed);
    }

    fn count(&self, bytes: usize) {
        self.0.fetch_add(u64::try_from(bytes).unwrap_or(u64::MAX), Ordering::Relaxed);
    }

    fn check(&self) -> io::Result<()> {
        match self.0.load(Ordering::Relaxed) {
            bytes if bytes >= MAX_UNANSWERED => Err(io::Error::other(Flood { bytes })),
            _ => Ok(()),
        }
    }
}

/// The server sent this many bytes, and none of them was part of an answer.
#[derive(Debug)]
pub(super) struct Flood {
    bytes: u64,
}

impl fmt::Display for Flood {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "sends {} bytes without an answer", self.bytes)
    }
}

impl Error for Flood {}

/// The most bytes that the parser reads at a time, and so the longest head of an answer.
pub(super) const READ_AT_ONCE: usize = 128 << 10;

/// The bytes without an answer after which a connection is cut off. One read may bring a head with the beginning of its
/// body, and the next may come before the reader had time to restart the meter: honest servers stay below three reads.
const MAX_UNANSWERED: u64 = 4 * READ_AT_ONCE as u64;

/// Makes connections to servers.
#[derive(Clone)]
pub(super) struct Connector {
    route: HttpsConnector<Route>,
    timeout: Duration,
}

impl Connector {
    pub(super) fn new(tls: ClientConfig, proxies: Arc<Matcher>, timeout: Duration) -> Self {
        let mut http = HttpConnector::new();
        // TLS for https is added in the layer above.
        http.enforce_http(false);
        http.set_nodelay(true);
        http.set_keepalive(Some(KEEPALIVE));
        http.set_keepalive_interval(Some(KEEPALIVE));
        http.set_keepalive_retries(Some(3));
        #[cfg(target_os = "linux")]
        http.set_tcp_user_timeout(Some(2 * KEEPALIVE));
        let mut of_proxies = tls.clone();
        of_proxies.alpn_protocols.clear();
        let of_proxies = Arc::new(of_proxies);
        let [direct, proxy] = [false, true].map(|is_proxy| Tcp { http: http.clone(), is_proxy });
        let tunnel = HttpsConnector::from((direct.clone(), Arc::clone(&of_proxies)));
        let proxy = HttpsConnector::from((proxy, of_proxies));
        let route = Route { proxies, direct, proxy, tunnel };
        Self { route: HttpsConnector::from((route, tls)), timeout }
    }
}

impl Service<Uri> for Connector {
    type Response = Metered;
    type Error = BoxError;
    type Future = BoxFuture<'static, Result<Metered, BoxError>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, to: Uri) -> Self::Future {
        let (connecting, timeout) = (self.route.call(to), self.timeout);
        Box::pin(async move {
            let connected = tokio::time::timeout(timeout, connecting).await;
            let stream = connected.map_err(|_| TakesNoConnection { within: timeout })??;
            let mut extras = Extensions::new();
            stream.connected().get_extras(&mut extras);
            let meter = extras.remove().unwrap_or_default();
            Ok(Metered { stream, meter })
        })
    }
}

type BoxError = Box<dyn Error + Send + Sync>;

/// The connection, with its TLS, was not made within the time limit.
#[derive(Debug)]
pub(super) struct TakesNoConnection {
    within: Duration,
}

impl fmt::Display for TakesNoConnection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "takes no connection within {} s", self.within.as_secs())
    }
}

impl Error for TakesNoConnection {}

/// Connects to a server, or to the proxy before it.
#[derive(Clone)]
struct Route {
    proxies: Arc<Matcher>,
    direct: Tcp,
    /// Connects to a proxy that forwards requests.
    proxy: HttpsConnector<Tcp>,
    /// Connects to a proxy that tunnels TLS.
    tunnel: HttpsConnector<Tcp>,
}

type Link = MaybeHttpsStream<TokioIo<Counted>>;

impl Service<Uri> for Route {
    type Response = Link;
    type Error = BoxError;
    type Future = BoxFuture<'static, Result<Link, BoxError>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, to: Uri) -> Self::Future {
        let Some(proxy) = self.proxies.intercept(&to) else {
            let connecting = self.direct.call(to);
            return Box::pin(async move { Ok(MaybeHttpsStream::Http(connecting.await?)) });
        };
        if !matches!(proxy.uri().scheme_str(), Some("http" | "https")) {
            return Box::pin(async { Err("its proxy speaks no HTTP".into()) });
        }
        if to.scheme() != Some(&Scheme::HTTPS) {
            return self.proxy.call(proxy.uri().clone());
        }
        let headers = HeaderMap::from_iter([(USER_AGENT, HeaderValue::from_static(AGENT))]);
        let mut tunnel = Tunnel::new(proxy.uri().clone(), self.tunnel.clone()).with_headers(headers);
        if let Some(secret) = proxy.basic_auth() {
            tunnel = tunnel.with_auth(secret.clone());
        }
        let connecting = tunnel.call(to);
        Box::pin(async move { Ok(connecting.await?) })
    }
}

#[derive(Clone)]
struct Tcp {
    http: HttpConnector,
    is_proxy: bool,
}

impl Service<Uri> for Tcp {
    type Response = TokioIo<Counted>;
    type Error = BoxError;
    type Future = BoxFuture<'static, Result<TokioIo<Counted>, BoxError>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, to: Uri) -> Self::Future {
        let (connecting, is_proxy) = (self.http.call(to), self.is_proxy);
        Box::pin(async move {
            let stream = connecting.await?.into_inner();
            Ok(TokioIo::new(Counted { stream, meter: Meter::default(), is_proxy }))
        })
    }
}

/// A connection that counts received bytes, and ends when they are too many.
pub(super) struct Counted {
    stream: TcpStream,
    meter: Meter,
    is_proxy: bool,
}

impl Connection for Counted {
    fn connected(&self) -> Connected {
        Connected::new().proxy(self.is_proxy).extra(self.meter.clone())
    }
}

impl AsyncRead for Counted {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        self.meter.check()?;
        let before = buffer.filled().len();
        let result = Pin::new(&mut self.stream).poll_read(cx, buffer);
        self.meter.count(buffer.filled().len().saturating_sub(before));
        result
    }
}

impl AsyncWrite for Counted {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        parts: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(cx, parts)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }
}

/// A connection that restarts its meter with each request. Messages that TLS sends by itself, which a server can
/// provoke at any time, do not restart it.
pub(super) struct Metered {
    stream: MaybeHttpsStream<Link>,
    meter: Meter,
}

impl Connection for Metered {
    fn connected(&self) -> Connected {
        self.stream.connected()
    }
}

impl rt::Read for Metered {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: rt::ReadBufCursor<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buffer)
    }
}

impl rt::Write for Metered {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.meter.restart();
        Pin::new(&mut self.stream).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        parts: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.meter.restart();
        Pin::new(&mut self.stream).poll_write_vectored(cx, parts)
    }
}

/// The time between the packets that test a silent connection.
const KEEPALIVE: Duration = Duration::from_secs(15);

pub(super) const AGENT: &str = concat!("weighbridge/", env!("CARGO_PKG_VERSION"));
