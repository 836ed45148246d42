//! Channels between members: a carrier makes them, and both sides prove that they have the swarm's ticket before
//! anything else is said (`spec/swarm.md`, W5 to W7).

use std::{fmt, io, net::IpAddr, time::Duration};

use async_trait::async_trait;
use futures_util::future::BoxFuture;
use tokio::{
    io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _},
    time::timeout,
};

use crate::{
    member::MemberKey,
    ticket::{Address, Label, Side, SwarmKey},
};

/// A way in which members reach each other: TLS over TCP here, others elsewhere.
///
/// # Contract
/// A [`Link`] is encrypted, and its two ends have proven that they have the secret halves of their keys.
#[async_trait]
pub trait Carrier: fmt::Debug + Send + Sync {
    /// The key of this member.
    fn key(&self) -> MemberKey;

    /// Connects to a member.
    ///
    /// # Errors
    /// Nobody answers at the address, or not in this way.
    async fn connect(&self, address: &Address) -> io::Result<Link>;

    /// Waits for the next member that connects. Its handshake is not part of the wait: others could be kept waiting by it.
    ///
    /// # Errors
    /// No connection can be accepted now.
    async fn accept(&self) -> io::Result<Arriving>;
}

/// A member that connects, before its handshake.
pub struct Arriving {
    /// The address from which it comes.
    pub from: IpAddr,
    /// The handshake.
    pub handshake: BoxFuture<'static, io::Result<Link>>,
}

/// The bytes between two members.
pub trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}
impl<S: AsyncRead + AsyncWrite + Send + Unpin> Stream for S {}

/// A connection to a member whose key is known.
pub struct Link {
    /// The key of the other side.
    pub peer: MemberKey,
    /// Keying material that only the two ends of this connection have.
    pub exporter: [u8; 32],
    /// The connection.
    pub stream: Box<dyn Stream>,
}

/// The purpose of a channel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Purpose {
    News,
    Requests,
}

/// A channel to a member of the same swarm.
pub(crate) struct Channel {
    pub(crate) peer: MemberKey,
    pub(crate) stream: Box<dyn Stream>,
}

/// The time that a side has to prove that it has the ticket.
const PROOF_TIME: Duration = Duration::from_secs(10);

/// Connects to a member, proves the membership of this side, and demands the proof of the other.
pub(crate) async fn connect(
    carrier: &dyn Carrier,
    address: &Address,
    swarm: &SwarmKey,
    purpose: Purpose,
) -> io::Result<Channel> {
    timed(async {
        let Link { peer, exporter, mut stream } = carrier.connect(address).await?;
        let me = carrier.key();
        let mut hello = [0; 48];
        let (label, proof) = hello.split_at_mut(16);
        label.copy_from_slice(swarm.label().as_bytes());
        proof.copy_from_slice(swarm.proof(Side::Connects, &exporter, &me, &peer).as_bytes());
        stream.write_all(&hello).await?;
        stream.flush().await?;
        let mut answer = [0; 32];
        stream.read_exact(&mut answer).await?;
        // Hashes are compared in constant time.
        if blake3::Hash::from_bytes(answer) != swarm.proof(Side::Accepts, &exporter, &me, &peer) {
            return Err(refused("is no member of the swarm"));
        }
        stream.write_all(&[if purpose == Purpose::News { 1 } else { 2 }]).await?;
        stream.flush().await?;
        Ok(Channel { peer, stream })
    })
    .await
}

/// Demands the proof of a member that has connected, and gives that of this side. `find` gives the key of the swarm with a
/// label, if this member of it may come in. Nothing is sent before the proof is right.
pub(crate) async fn accept<T>(
    link: Link,
    me: &MemberKey,
    find: impl FnOnce(&Label, &MemberKey) -> Option<(SwarmKey, T)>,
) -> io::Result<(Channel, Purpose, T)> {
    timed(async {
        let Link { peer, exporter, mut stream } = link;
        let mut hello = [0; 48];
        stream.read_exact(&mut hello).await?;
        let (label, proof) = split(&hello);
        let found = find(&Label::from_bytes(label), &peer);
        // For a label that nobody knows the same is computed, so that the time tells nothing.
        let (swarm, of_swarm) = match found {
            Some((swarm, of_swarm)) => (swarm, Some(of_swarm)),
            None => (SwarmKey::of_nobody(), None),
        };
        let is_right = blake3::Hash::from_bytes(proof) == swarm.proof(Side::Connects, &exporter, &peer, me);
        let Some(of_swarm) = of_swarm.filter(|_| is_right) else {
            return Err(refused("has not proven that it is a member"));
        };
        stream.write_all(swarm.proof(Side::Accepts, &exporter, &peer, me).as_bytes()).await?;
        stream.flush().await?;
        let purpose = match stream.read_u8().await? {
            1 => Purpose::News,
            2 => Purpose::Requests,
            _ => return Err(refused("speaks another language")),
        };
        Ok((Channel { peer, stream }, purpose, of_swarm))
    })
    .await
}

fn split(hello: &[u8; 48]) -> ([u8; 16], [u8; 32]) {
    let (mut label, mut proof) = ([0; 16], [0; 32]);
    label.iter_mut().zip(hello).for_each(|(to, from)| *to = *from);
    proof.iter_mut().zip(hello.iter().skip(16)).for_each(|(to, from)| *to = *from);
    (label, proof)
}

async fn timed<T>(work: impl Future<Output = io::Result<T>>) -> io::Result<T> {
    match timeout(PROOF_TIME, work).await {
        Ok(done) => done,
        Err(_) => Err(io::ErrorKind::TimedOut.into()),
    }
}

fn refused(why: &'static str) -> io::Error {
    io::Error::new(io::ErrorKind::PermissionDenied, why)
}
