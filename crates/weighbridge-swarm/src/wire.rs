//! Messages on a stream.

use std::{io, time::Duration};

use tokio::{
    io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _},
    time::timeout,
};

use crate::message::{HEADER, Header, Message};

/// Reads the next message of a known kind; others are passed over. `pieces` bounds what is read: it is 0 as long as the number of
/// pieces is not known.
///
/// # Errors
/// The stream ends, is silent for longer than `patience`, or brings what is no message.
pub(crate) async fn read(
    stream: &mut (impl AsyncRead + Unpin),
    pieces: u32,
    patience: Duration,
) -> io::Result<Message> {
    loop {
        let header = header(stream, pieces, patience).await?;
        if let Some(message) = content(stream, header, pieces, patience).await? {
            return Ok(message);
        }
    }
}

/// Reads the kind and length of the next message.
pub(crate) async fn header(
    stream: &mut (impl AsyncRead + Unpin),
    pieces: u32,
    patience: Duration,
) -> io::Result<Header> {
    let mut header = [0; HEADER];
    timed(patience, stream.read_exact(&mut header)).await?;
    Header::parse(header, pieces).map_err(malformed)
}

/// Reads the content of a message; `None` if its kind is not known.
pub(crate) async fn content(
    stream: &mut (impl AsyncRead + Unpin),
    header: Header,
    pieces: u32,
    patience: Duration,
) -> io::Result<Option<Message>> {
    // The length is bounded by the kind.
    let mut content = vec![0; usize::try_from(header.len).unwrap_or(0)];
    timed(patience, stream.read_exact(&mut content)).await?;
    Message::parse(header, &content, pieces).map_err(malformed)
}

/// Sends a message.
///
/// # Errors
/// The stream has ended, or takes nothing for longer than `patience`.
pub(crate) async fn write(
    stream: &mut (impl AsyncWrite + Unpin),
    message: &Message,
    patience: Duration,
) -> io::Result<()> {
    let bytes = message.write();
    timed(patience, async {
        stream.write_all(&bytes).await?;
        stream.flush().await
    })
    .await
}

pub(crate) async fn timed<T>(patience: Duration, work: impl Future<Output = io::Result<T>>) -> io::Result<T> {
    match timeout(patience, work).await {
        Ok(done) => done,
        Err(_) => Err(io::ErrorKind::TimedOut.into()),
    }
}

fn malformed(error: crate::message::MessageError) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, error)
}
