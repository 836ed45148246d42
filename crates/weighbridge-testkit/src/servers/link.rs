//! One connection on the server's side. Its reads and writes end when the server is unplugged.

use std::{
    io::{self, ErrorKind, Read as _, Write as _},
    net::TcpStream,
    thread,
    time::{Duration, Instant},
};

use rustix::net::sockopt::set_socket_linger;

use super::{
    fault::End,
    faulty::ServerState,
    rate::{Grant, time_of},
};

pub(super) struct Link<'s> {
    stream: TcpStream,
    state: &'s ServerState,
    /// The server's epoch in which the connection was accepted. The connection is cut in a later epoch.
    epoch: u64,
    /// Bytes that were read and not used yet.
    ahead: Vec<u8>,
    /// The number of body bytes written for the present request.
    pub(super) sent: u64,
}

/// `Err` ends the connection in this way.
pub(super) type Flow<T> = Result<T, End>;

/// The speed of a body.
#[derive(Clone, Copy)]
pub(super) enum Pace {
    /// As fast as the server's rate permits.
    Free,
    /// This number of bytes a second.
    Slow(u64),
    /// This number of bytes, then nothing for this time.
    Dribble(usize, Duration),
}

impl<'s> Link<'s> {
    pub(super) fn new(stream: TcpStream, state: &'s ServerState, epoch: u64) -> io::Result<Self> {
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(TICK))?;
        stream.set_write_timeout(Some(TICK))?;
        Ok(Self { stream, state, epoch, ahead: Vec::new(), sent: 0 })
    }

    /// Reads the head of the next request. A connection that the other side closes ends like any other.
    pub(super) fn read_head(&mut self) -> Flow<String> {
        let mut searched = 0;
        loop {
            let found = self.ahead[searched..].windows(4).position(|bytes| bytes == b"\r\n\r\n");
            if let Some(at) = found {
                let rest = self.ahead.split_off(searched + at + 4);
                let head = std::mem::replace(&mut self.ahead, rest);
                return String::from_utf8(head).map_err(|_| End::Close);
            }
            searched = self.ahead.len().saturating_sub(3);
            if self.ahead.len() > MAX_HEAD {
                return Err(End::Close);
            }
            let mut buffer = [0; 4096];
            let count = self.patiently(|stream| stream.read(&mut buffer))?;
            self.ahead.extend_from_slice(&buffer[..count]);
            // Methods are letters. A request that begins with another byte, as TLS does, is answered with 400.
            if self.ahead.first().is_some_and(|byte| !byte.is_ascii_alphabetic()) {
                self.write(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")?;
                return Err(End::Close);
            }
        }
    }

    /// Writes bytes that do not count as body.
    pub(super) fn write(&mut self, mut bytes: &[u8]) -> Flow<()> {
        while !bytes.is_empty() {
            let count = self.patiently(|stream| stream.write(bytes))?;
            bytes = &bytes[count..];
        }
        Ok(())
    }

    pub(super) fn write_body(&mut self, mut bytes: &[u8]) -> Flow<()> {
        while !bytes.is_empty() {
            let count = self.patiently(|stream| stream.write(bytes))?;
            self.sent += u64::try_from(count).unwrap();
            bytes = &bytes[count..];
        }
        Ok(())
    }

    /// The number of body bytes, at least one and at most `most`, that may be written now. Waits as long as
    /// necessary.
    pub(super) fn allowance(&self, most: usize, pace: Pace) -> Flow<usize> {
        let most = match pace {
            Pace::Free => most,
            Pace::Slow(rate) => most.min(usize::try_from(rate / 20).unwrap_or(most).max(1)),
            Pace::Dribble(bytes, _) => most.min(bytes.max(1)),
        };
        loop {
            match self.state.rate.ask(most) {
                Grant::Bytes(count) => return Ok(count),
                Grant::Wait(time) => self.wait(time)?,
            }
        }
    }

    /// Waits after `count` bytes, as the pace demands.
    pub(super) fn keep_pace(&self, count: usize, pace: Pace) -> Flow<()> {
        match pace {
            Pace::Free => Ok(()),
            Pace::Slow(rate) => self.wait(time_of(count, rate)),
            Pace::Dribble(_, time) => self.wait(time),
        }
    }

    pub(super) fn wait(&self, time: Duration) -> Flow<()> {
        let start = Instant::now();
        loop {
            self.check()?;
            let left = time.saturating_sub(start.elapsed());
            if left.is_zero() {
                return Ok(());
            }
            thread::sleep(left.min(TICK));
        }
    }

    /// Waits until the other side goes away.
    pub(super) fn stall(&mut self) -> End {
        let mut ignored = [0; 4096];
        loop {
            if let Err(end) = self.patiently(|stream| stream.read(&mut ignored)) {
                return end;
            }
        }
    }

    /// Ends the connection.
    pub(super) fn end(mut self, end: End) {
        match end {
            // Closing with a linger time of zero resets. An error of a socket that is gone already does not matter.
            End::Reset => drop(set_socket_linger(&self.stream, Some(Duration::ZERO))),
            End::Stall | End::Close => self.close(),
        }
    }

    /// Closes the connection. Unread input is read first, since closing with unread input would reset.
    fn close(&mut self) {
        let _ = self.stream.shutdown(std::net::Shutdown::Write);
        let start = Instant::now();
        let mut ignored = [0; 4096];
        while start.elapsed() < LINGER {
            if self.patiently(|stream| stream.read(&mut ignored)).is_err() {
                break;
            }
        }
    }

    fn patiently(&mut self, mut act: impl FnMut(&mut TcpStream) -> io::Result<usize>) -> Flow<usize> {
        loop {
            self.check()?;
            match act(&mut self.stream) {
                Ok(0) => return Err(End::Close),
                Ok(count) => return Ok(count),
                Err(error) => match error.kind() {
                    ErrorKind::WouldBlock | ErrorKind::TimedOut | ErrorKind::Interrupted => {}
                    _ => return Err(End::Close),
                },
            }
        }
    }

    fn check(&self) -> Flow<()> {
        if self.state.epoch() == self.epoch { Ok(()) } else { Err(End::Reset) }
    }
}

/// The interval in which a blocked connection checks whether to end.
const TICK: Duration = Duration::from_millis(20);
const LINGER: Duration = Duration::from_secs(2);
const MAX_HEAD: usize = 1 << 16;
