//! A connection as the HTTP parser sees it: no ambiguous head comes through, and others see whether its client takes what it is sent.

use std::{
    io::{self, IoSlice},
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
    time::Duration,
};

use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    time::{Sleep, sleep},
};

use crate::{heads::Heads, seat::Seat};

pub(crate) struct Wire<S> {
    stream: S,
    heads: Heads,
    seat: Arc<Seat>,
    /// The bytes that still tell the parser of a refused head.
    refusal: &'static [u8],
    ending: Option<Ending>,
}

/// The end of a connection: what the client still sends is read for a moment. If the connection were closed with bytes that nobody
/// has read, the client's system could throw the last answer away (RFC 9112, section 9.6).
struct Ending {
    time: Pin<Box<Sleep>>,
    left: usize,
    is_shut: bool,
}

/// The time, and the bytes, for which a connection is read that has ended.
const LAST_READ: Duration = Duration::from_secs(1);
const MOST_READ: usize = 4 << 20;

/// Ends any head, and makes it one that the parser answers with 400: no head has a NUL.
const REFUSAL: &[u8] = b"\0\r\n\r\n";

impl<S> Wire<S> {
    pub(crate) fn new(stream: S, seat: Arc<Seat>) -> Self {
        Self { stream, heads: Heads::new(), seat, refusal: REFUSAL, ending: None }
    }

    fn written(&self, result: &Poll<io::Result<usize>>) {
        match result {
            Poll::Ready(Ok(bytes)) => self.seat.take(*bytes),
            Poll::Ready(Err(_)) => {}
            Poll::Pending => self.seat.block(),
        }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Wire<S> {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let wire = self.get_mut();
        if !wire.heads.is_refused() {
            let before = buffer.filled().len();
            let read = Pin::new(&mut wire.stream).poll_read(context, buffer);
            let passed = wire.heads.pass(buffer.filled().get(before..).unwrap_or_default());
            let has_more = buffer.filled().len() > before.saturating_add(passed);
            buffer.set_filled(before.saturating_add(passed));
            if has_more && passed == 0 && !wire.heads.is_refused() {
                // Bytes behind the last request of the connection. To the parser they would look like its end, which it is.
                return Poll::Ready(Ok(()));
            }
            if !wire.heads.is_refused() {
                return read;
            }
        }
        // The rest of the buffer, or the next one, has the end of the head.
        let (now, later) = wire.refusal.split_at(wire.refusal.len().min(buffer.remaining()));
        buffer.put_slice(now);
        wire.refusal = later;
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncWrite for Wire<S> {
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let wire = self.get_mut();
        let result = Pin::new(&mut wire.stream).poll_write(context, bytes);
        wire.written(&result);
        result
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        parts: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let wire = self.get_mut();
        let result = Pin::new(&mut wire.stream).poll_write_vectored(context, parts);
        wire.written(&result);
        result
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let wire = self.get_mut();
        let flushed = Pin::new(&mut wire.stream).poll_flush(context);
        // TLS takes bytes into memory of its own before they are taken by the client.
        match &flushed {
            Poll::Pending => wire.seat.block(),
            Poll::Ready(_) if wire.seat.has_bytes_waiting() => wire.seat.take(0),
            Poll::Ready(_) => {}
        }
        flushed
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let wire = self.get_mut();
        let ending = wire.ending.get_or_insert_with(|| Ending {
            time: Box::pin(sleep(LAST_READ)),
            left: MOST_READ,
            is_shut: false,
        });
        if ending.time.as_mut().poll(context).is_ready() {
            return Poll::Ready(Ok(()));
        }
        if !ending.is_shut {
            ready!(Pin::new(&mut wire.stream).poll_shutdown(context))?;
            ending.is_shut = true;
        }
        let mut rest = [0; 4096];
        while ending.left > 0 {
            let mut rest = ReadBuf::new(&mut rest);
            match ready!(Pin::new(&mut wire.stream).poll_read(context, &mut rest)) {
                Ok(()) if !rest.filled().is_empty() => {
                    ending.left = ending.left.saturating_sub(rest.filled().len());
                }
                _ => break,
            }
        }
        Poll::Ready(Ok(()))
    }
}
