//! Ports on loopback that stay reserved while nothing listens on them.

use std::{
    io::{self, ErrorKind},
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener},
    os::fd::OwnedFd,
    thread,
    time::{Duration, Instant},
};

use rustix::{
    io::{FdFlags, fcntl_setfd},
    net::{AddressFamily, SocketType, bind, getsockname, socket, sockopt},
};

/// One of the two loopback addresses of this machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Loopback {
    /// 127.0.0.1.
    V4,
    /// `[::1]`.
    V6,
}

impl Loopback {
    /// Whether this machine has the address.
    pub fn is_there(self) -> bool {
        TcpListener::bind(self.address(0)).is_ok()
    }

    fn address(self, port: u16) -> SocketAddr {
        let ip = match self {
            Self::V4 => IpAddr::V4(Ipv4Addr::LOCALHOST),
            Self::V6 => IpAddr::V6(Ipv6Addr::LOCALHOST),
        };
        SocketAddr::new(ip, port)
    }
}

/// A port that is bound without listening: connections to it are refused, and the system gives it to no other
/// process. A listener on it has to set `SO_REUSEADDR`, as the standard library and nginx do.
pub(super) struct Port {
    pub(super) address: SocketAddr,
    _socket: OwnedFd,
}

impl Port {
    pub(super) fn any(loopback: Loopback) -> io::Result<Self> {
        Self::bind(loopback.address(0))
    }

    /// The port of this number.
    pub(super) fn of(loopback: Loopback, port: u16) -> io::Result<Self> {
        Self::bind(loopback.address(port))
    }

    fn bind(address: SocketAddr) -> io::Result<Self> {
        let family = if address.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
        let socket = socket(family, SocketType::STREAM, None)?;
        fcntl_setfd(&socket, FdFlags::CLOEXEC)?;
        sockopt::set_socket_reuseaddr(&socket, true)?;
        bind(&socket, &address)?;
        let address = getsockname(&socket)?.try_into()?;
        Ok(Self { address, _socket: socket })
    }

    /// Listens on the port, once no other socket does. One that has just been closed here may be open for a moment
    /// longer: a process that another test is starting has a copy of it until it runs its program.
    pub(super) fn listen(&self) -> TcpListener {
        let start = Instant::now();
        loop {
            match TcpListener::bind(self.address) {
                Err(error)
                    if error.kind() == ErrorKind::AddrInUse && start.elapsed() < Duration::from_secs(10) =>
                {
                    thread::sleep(Duration::from_millis(1));
                }
                bound => return bound.unwrap(),
            }
        }
    }
}
