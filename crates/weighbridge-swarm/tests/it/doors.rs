//! Strangers: those that do not prove that they have the ticket. They get no byte but those of TLS.

use std::{
    io,
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::SeqCst},
    },
    time::{Duration, Instant},
};

use rustls::{
    ClientConfig, DigitallySignedStruct, Error, SignatureScheme,
    client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
    pki_types::{CertificateDer, ServerName, UnixTime},
    version::TLS13,
};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpSocket, TcpStream},
    time::timeout,
};
use weighbridge_manifest::Time;
use weighbridge_swarm::{Access, Carrier as _, Identity, Link, MemberKey, Side, Ticket, TlsCarrier};
use weighbridge_testkit::Sample;

use crate::kit::*;

/// Any server is as good as another to a stranger.
#[derive(Debug)]
struct Anybody;

impl ServerCertVerifier for Anybody {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        vec![SignatureScheme::ED25519]
    }

    fn requires_raw_public_keys(&self) -> bool {
        true
    }
}

/// The application bytes that come within the time, until the other side closes; panics if it does not close.
async fn heard(stream: &mut (impl tokio::io::AsyncRead + Unpin), within: Duration) -> Vec<u8> {
    let mut bytes = Vec::new();
    // A channel that is closed may end with an error: what counts is that it ends.
    let read = timeout(within, stream.read_to_end(&mut bytes)).await;
    assert!(read.is_ok(), "the connection stays open");
    bytes
}

/// Passes bytes on, and counts those that come back.
struct Wire {
    address: SocketAddr,
    back: Arc<AtomicU64>,
}

impl Wire {
    async fn to(target: SocketAddr) -> Self {
        let listener = TcpListener::bind(loopback()).await.unwrap();
        let address = listener.local_addr().unwrap();
        let back = Arc::new(AtomicU64::new(0));
        let count = Arc::clone(&back);
        tokio::spawn(async move {
            let (mut near, _) = listener.accept().await?;
            let mut far = TcpStream::connect(target).await?;
            let (mut far_reads, mut far_writes) = far.split();
            let (mut near_reads, mut near_writes) = near.split();
            let forth = async {
                let _ = tokio::io::copy(&mut near_reads, &mut far_writes).await;
                std::future::pending::<io::Result<()>>().await
            };
            let back = async {
                let mut bytes = [0; 4096];
                loop {
                    let len = far_reads.read(&mut bytes).await?;
                    if len == 0 {
                        return io::Result::Ok(());
                    }
                    count.fetch_add(u64::try_from(len).unwrap(), SeqCst);
                    near_writes.write_all(&bytes[..len]).await?;
                }
            };
            tokio::select! { end = forth => end, end = back => end }
        });
        Self { address, back }
    }
}

/// The exporter and keys of a connection, from which the proof is made.
struct Ends {
    exporter: [u8; 32],
    me: MemberKey,
    peer: MemberKey,
}

/// Connects with right TLS, says something, and returns the application bytes and all bytes that come back.
async fn says(to: SocketAddr, identity: &Identity, hello: impl FnOnce(&Ends) -> Vec<u8>) -> (Vec<u8>, u64) {
    let wire = Wire::to(to).await;
    let carrier = TlsCarrier::bind(identity, loopback(), |_| true).await.unwrap();
    let Link { peer, exporter, mut stream } = carrier.connect(&wire.address.into()).await.unwrap();
    let hello = hello(&Ends { exporter, me: identity.key(), peer });
    stream.write_all(&hello).await.unwrap();
    stream.flush().await.unwrap();
    let bytes = heard(&mut stream, SOON).await;
    (bytes, wire.back.load(SeqCst))
}

fn hello(ticket: &Ticket, label: &Ticket, side: Side, ends: &Ends) -> Vec<u8> {
    let proof = ticket.key().proof(side, &ends.exporter, &ends.me, &ends.peer);
    [label.key().label().as_bytes().as_slice(), proof.as_bytes()].concat()
}

/// Attempts what a stranger can, at a member or a tracker that has this ticket.
async fn attack(to: SocketAddr, sample: &Sample, right: &Ticket) {
    // No TLS: another protocol, and what is none.
    let mut plain = TcpStream::connect(to).await.unwrap();
    plain.write_all(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n").await.unwrap();
    let bytes = heard(&mut plain, SOON).await;
    assert!(bytes.is_empty() || bytes[0] == 21, "an alert of TLS, or nothing: {bytes:?}");

    // TLS without a key, and with another protocol in it.
    for (protocol, is_over) in [(b"weighbridge-swarm/1".to_vec(), false), (b"h2".to_vec(), true)] {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let mut config = ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(&[&TLS13])
            .unwrap()
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(Anybody))
            .with_no_client_auth();
        config.alpn_protocols = vec![protocol];
        let tcp = TcpStream::connect(to).await.unwrap();
        let name = ServerName::try_from("localhost").unwrap();
        let connector = tokio_rustls::TlsConnector::from(Arc::new(config));
        if let Ok(mut stream) = connector.connect(name, tcp).await {
            assert!(!is_over, "another protocol is refused in the handshake");
            let _ = stream.write_all(&[0; 48]).await;
            assert_eq!(heard(&mut stream, SOON).await, b"", "a stranger without a key");
        }
    }

    let stranger = Identity::random().unwrap();
    let other = Ticket { access: Access::Secret([8; 32].into()), ..right.clone() };
    let later = Ticket { expires: Time::parse("2999-01-01T00:00:01Z").unwrap(), ..right.clone() };
    let of_accepting = |ends: &Ends| hello(right, right, Side::Accepts, ends);
    let known = says(to, &stranger, |ends| hello(&other, right, Side::Connects, ends)).await;
    let unknown = says(to, &stranger, |ends| hello(&other, &other, Side::Connects, ends)).await;
    let zeros = says(to, &stranger, |_| vec![0; 48]).await;
    let of_other_side = says(to, &stranger, of_accepting).await;
    let altered = says(to, &stranger, |ends| hello(&later, &later, Side::Connects, ends)).await;
    let altered_after = says(to, &stranger, |ends| hello(&later, right, Side::Connects, ends)).await;
    // The proof of one connection on another one of the same two keys, and one for another key.
    let mut first = Vec::new();
    let recorder = Hostile::with(stranger.clone(), sample, right).await;
    let link = recorder.link(to).await.unwrap();
    let ends = Ends { exporter: link.exporter, me: stranger.key(), peer: link.peer };
    first.extend(hello(right, right, Side::Connects, &ends));
    drop(link);
    let replayed = says(to, &stranger, |_| first).await;
    let swapped = says(to, &stranger, |ends| {
        let ends = Ends { exporter: ends.exporter, me: ends.peer, peer: ends.me };
        hello(right, right, Side::Connects, &ends)
    });
    let swapped = swapped.await;
    for (what, seen) in [
        ("a wrong proof for a label that is known", &known),
        ("an unknown label", &unknown),
        ("zeros", &zeros),
        ("the proof of the other side", &of_other_side),
        ("a ticket with another end", &altered),
        ("the same for the right label", &altered_after),
        ("a proof of another connection", &replayed),
        ("a proof for the keys in another order", &swapped),
    ] {
        assert_eq!(seen.0, b"", "{what}");
        assert_eq!(seen.1, known.1, "{what}: the bytes of TLS tell it from a wrong proof");
    }
}

/// Says nothing after TLS, or less than a proof, and waits for the end.
async fn stay_silent(to: SocketAddr) {
    let wait = |hello: Vec<u8>| async move {
        let carrier = TlsCarrier::bind(&Identity::random().unwrap(), loopback(), |_| true).await.unwrap();
        let mut link = carrier.connect(&to.into()).await.unwrap();
        link.stream.write_all(&hello).await.unwrap();
        link.stream.flush().await.unwrap();
        let began = Instant::now();
        assert_eq!(heard(&mut link.stream, SOON).await, b"");
        assert!(began.elapsed() < Duration::from_secs(15), "the proof was waited for too long");
    };
    tokio::join!(wait(Vec::new()), wait(vec![0; 47]));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stranger_gets_no_byte_but_those_of_tls() {
    // The time for a proof is waited for, so both run beside each other.
    tokio::join!(a_member_tells_a_stranger_nothing(), a_tracker_tells_a_stranger_nothing());
}

async fn a_member_tells_a_stranger_nothing() {
    let sample = model(12);
    let ticket = ticket(&sample, &[]);
    let origin = Origin::new(&sample, 1_000_000);
    let node = Begin::of(&sample, &ticket).origin(&origin).start().await;
    let other = Begin::of(&sample, &ticket).origin(&origin).peers(&[node.address()]).start().await;
    tokio::join!(attack(node.address(), &sample, &ticket), stay_silent(node.address()));
    node.done().await;
    other.done().await;
    assert_eq!((node.swarm.figures().most_members, node.heard.liars()), (1, 0));
}

async fn a_tracker_tells_a_stranger_nothing() {
    let sample = model(12);
    let mut ticket = ticket(&sample, &[]);
    let tracking = Tracking::named(&mut ticket).await;
    tokio::join!(attack(tracking.address, &sample, &ticket), stay_silent(tracking.address));
    let figures = tracking.view.figures();
    assert_eq!((figures.admitted, figures.lookups), (0, 0), "{figures:?}");
    assert!(figures.refused >= 12, "{figures:?}");
    assert!(tracking.view.swarms()[0].members.is_empty());
    // It is in order all the same.
    let origin = Origin::new(&sample, None);
    let node = Begin::of(&sample, &ticket).origin(&origin).start().await;
    node.done().await;
    until("an entry", || tracking.view.swarms()[0].members.len() == 1).await;
    assert_eq!(tracking.view.figures().lookups, 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_key_that_the_ticket_does_not_list_is_refused() {
    let sample = model(1);
    let listed = [Identity::random().unwrap(), Identity::random().unwrap()];
    let mut ticket = ticket(&sample, &[&listed[0], &listed[1]]);
    let tracking = Tracking::named(&mut ticket).await;
    let node = Begin { identity: listed[0].clone(), ..Begin::of(&sample, &ticket) }.seed().await;
    let admitted = tracking.view.figures().admitted;
    for to in [node.address(), tracking.address] {
        // The unlisted one has the whole ticket, and so the right proof.
        let unlisted = Hostile::new(&sample, &ticket).await;
        if let Ok(Link { peer, exporter, mut stream }) = unlisted.link(to).await {
            let ends = Ends { exporter, me: unlisted.identity.key(), peer };
            let _ = stream.write_all(&hello(&ticket, &ticket, Side::Connects, &ends)).await;
            let _ = stream.flush().await;
            assert_eq!(heard(&mut stream, SOON).await, b"");
        }
    }
    assert_eq!(tracking.view.figures().admitted, admitted);
    // The unlisted one cannot be a server for a member either: nothing but TLS is said to it.
    let unlisted = Hostile::new(&sample, &ticket).await;
    let carrier = TlsCarrier::bind(&listed[1], loopback(), {
        let ticket = ticket.clone();
        move |key| ticket.lists(key)
    });
    let carrier = carrier.await.unwrap();
    let address = unlisted.address().into();
    let (connected, _) = tokio::join!(carrier.connect(&address), async {
        unlisted.carrier.accept().await.unwrap().handshake.await
    });
    assert!(connected.is_err());
    let listed = Hostile::with(listed[1].clone(), &sample, &ticket).await;
    listed.prove(node.address()).await.unwrap();
    listed.prove(tracking.address).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nobody_is_let_in_once_the_ticket_has_expired() {
    let sample = model(1);
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
    let soon = Time::from_unix(i64::try_from(now.as_secs()).unwrap() + 3).unwrap();
    let over = Ticket { expires: soon, ..ticket(&sample, &[]) };
    let tracking = Tracking::start(vec![over.clone()]).await;
    let origin = Origin::new(&sample, None);
    let node = Begin::of(&sample, &over).origin(&origin).start().await;
    node.done().await;
    tokio::time::sleep(Duration::from_secs(3)).await;
    let refused = Begin::of(&sample, &over).try_join().await.err().map(|error| error.to_string());
    assert_eq!(refused.as_deref(), Some("the ticket has expired"));
    for to in [tracking.address, node.address()] {
        let late = Hostile::new(&sample, &over).await;
        let Ok(Link { peer, exporter, mut stream }) = late.link(to).await else { continue };
        let ends = Ends { exporter, me: late.identity.key(), peer };
        let _ = stream.write_all(&hello(&over, &over, Side::Connects, &ends)).await;
        let _ = stream.flush().await;
        assert_eq!(heard(&mut stream, SOON).await, b"");
    }
    assert_eq!((tracking.view.figures().admitted, tracking.view.figures().lookups), (0, 0));
    assert_eq!(node.swarm.figures().most_members, 0);
}

/// Opens so many connections from one address, and says nothing on them.
async fn hold(from: u8, to: SocketAddr, count: usize) -> Vec<TcpStream> {
    let mut held = Vec::new();
    for _ in 0..count {
        let socket = TcpSocket::new_v4().unwrap();
        socket.bind(SocketAddr::new(other_address(from), 0)).unwrap();
        held.push(socket.connect(to).await.unwrap());
    }
    held
}

/// Places of members are for members: strangers that hold connections open keep nobody out.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn strangers_do_not_take_the_places_of_members() {
    let sample = model(1);
    let ticket = ticket(&sample, &[]);
    let node = Begin::of(&sample, &ticket).seed().await;
    let tracking = Tracking::start(vec![ticket.clone()]).await;
    let mut held = Vec::new();
    for from in [2, 3] {
        held.extend(hold(from, node.address(), 64).await);
    }
    // One address is enough for a tracker.
    held.extend(hold(2, tracking.address, 300).await);
    tokio::time::sleep(Duration::from_millis(200)).await;
    let member = Hostile::new(&sample, &ticket).await;
    for (what, to) in [("member", node.address()), ("tracker", tracking.address)] {
        let proven = timeout(Duration::from_secs(5), member.prove(to)).await;
        assert!(matches!(proven, Ok(Ok(_))), "a member does not get in at a {what} beside strangers");
    }
    drop(held);
}
