//! Members that send other news than the specification allows (W8, W9): their channels end.

use std::{sync::Arc, time::Duration};

use tokio::net::TcpListener;
use weighbridge_swarm::{Address, Identity, Item, MAX_HAVE, MemberKey, Message, Peer, Role};
use weighbridge_testkit::Sample;

use crate::kit::*;

/// The time in which a channel is closed; one that stays open for so long counts as open.
const CLOSES: Duration = Duration::from_secs(10);
const STAYS: Duration = Duration::from_millis(300);

/// A member with all of a release of eleven pieces, and a listed one that is hostile: it may come as often as it likes.
async fn stage() -> (Node, Hostile, Arc<Sample>) {
    let sample = model(11);
    let listed = [Identity::random().unwrap(), Identity::random().unwrap()];
    let ticket = ticket(&sample, &[&listed[0], &listed[1]]);
    let node = Begin { identity: listed[0].clone(), ..Begin::of(&sample, &ticket) }.seed().await;
    let hostile = Hostile::with(listed[1].clone(), &sample, &ticket).await;
    (node, hostile, sample)
}

fn frame(kind: u8, content: &[u8]) -> Vec<u8> {
    let len = u32::try_from(content.len()).unwrap();
    [&[kind], len.to_le_bytes().as_slice(), content].concat()
}

fn pieces_of(message: &[u32]) -> Vec<u8> {
    message.iter().flat_map(|piece| piece.to_le_bytes()).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn news_that_are_not_allowed_end_the_channel() {
    let (node, hostile, _) = stage().await;
    let address = |text: &str| [&[u8::try_from(text.len()).unwrap()], text.as_bytes()].concat();
    let peer = |seed: u8| [[seed; 32].as_slice(), &address("127.0.0.1:9")].concat();
    let keys = |seeds: &[u8]| {
        [0u64.to_le_bytes().to_vec(), seeds.iter().flat_map(|seed| [*seed; 32]).collect()].concat()
    };
    let have = |pieces: &[u32]| frame(6, &pieces_of(pieces));
    let all = frame(4, &[]);
    let set = |bytes: &[u8]| frame(5, bytes);
    let again = frame(1, &[1, 9, 0, 0]);
    let get = Message::Get { item: Item::Head, start: 0, count: 1 }.write();
    let twice = |one: &[u8]| [one, one].concat();
    let ended = [
        ("ANNOUNCE, too short", frame(1, &[1, 0, 0])),
        ("ANNOUNCE, too long", frame(1, &[0; 4 + 4 * 256 + 1])),
        ("ANNOUNCE, role 4", frame(1, &[4, 0, 0, 0])),
        ("ANNOUNCE, five addresses", frame(1, &[vec![1, 0, 0, 5], address("a:1").repeat(5)].concat())),
        ("ANNOUNCE, fewer addresses than it counts", frame(1, &[vec![1, 0, 0, 2], address("a:1")].concat())),
        ("ANNOUNCE, more addresses than it counts", frame(1, &[vec![1, 0, 0, 0], address("a:1")].concat())),
        ("ANNOUNCE, no address", frame(1, &[vec![1, 0, 0, 1], address("a:0")].concat())),
        ("ANNOUNCE for the ninth time", again.repeat(8)),
        ("PEERS, thirteen", frame(2, &(1..=13).flat_map(&peer).collect::<Vec<_>>())),
        ("PEERS, cut short", frame(2, &peer(1)[..40])),
        ("PEERS, no address", frame(2, &[[1; 32].as_slice(), &address("127.0.0.1:0")].concat())),
        ("PEERS, not UTF-8", frame(2, &[[1; 32].as_slice(), &[3, 0xff, 0xfe, 0xfd]].concat())),
        ("PEERS, longer than any", frame(2, &[0; 12 * 288 + 1])),
        ("MEMBERS by a member", frame(3, &keys(&[1, 2]))),
        ("MEMBERS without an epoch", frame(3, &[0; 7])),
        ("MEMBERS with a part of a key", frame(3, &[0; 9])),
        ("MEMBERS, not ascending", frame(3, &keys(&[2, 1]))),
        ("MEMBERS, one key twice", frame(3, &keys(&[1, 1]))),
        (
            "MEMBERS, too many",
            frame(3, &[0; 8])[..1].iter().copied().chain((8u32 + 32 * 65_537).to_le_bytes()).collect(),
        ),
        ("HAVE_ALL with content", frame(4, &[0])),
        ("HAVE_ALL twice", twice(&all)),
        ("HAVE_ALL and HAVE_SET", [all.clone(), set(&[1, 0])].concat()),
        ("HAVE_ALL and HAVE", [all.clone(), have(&[3])].concat()),
        ("HAVE_SET twice", twice(&set(&[1, 0]))),
        ("HAVE_SET, too short", set(&[1])),
        ("HAVE_SET, too long", set(&[1, 0, 0])),
        ("HAVE_SET, empty", set(&[])),
        ("HAVE_SET with an unused bit", set(&[1, 0b1000])),
        ("HAVE_SET and HAVE of the same piece", [set(&[0, 1]), have(&[8])].concat()),
        ("HAVE, empty", have(&[])),
        ("HAVE, a part of a piece", frame(6, &[0; 5])),
        ("HAVE, too many", have(&vec![0; MAX_HAVE + 1])),
        ("HAVE, the same piece twice", have(&[3, 3])),
        ("HAVE, the same piece in two", twice(&have(&[3]))),
        ("HAVE beyond the pieces", have(&[11])),
        ("HAVE far beyond the pieces", have(&[u32::MAX])),
        ("CLAIM, one byte", frame(7, &[0])),
        ("CLAIM, three bytes", frame(7, &[0; 3])),
        ("CLAIM, five bytes", frame(7, &[0; 5])),
        ("CLAIM beyond the pieces", frame(7, &pieces_of(&[11]))),
        ("BYE with content", frame(8, &[0])),
        ("BYE", frame(8, &[])),
        ("ALIVE with content", frame(9, &[0])),
        ("another kind, too long", [vec![99], 65_537u32.to_le_bytes().to_vec()].concat()),
        ("the longest of all", [vec![99], u32::MAX.to_le_bytes().to_vec()].concat()),
        ("GET among news", get.clone()),
        ("GIVE among news", frame(17, &[])),
        ("BUSY among news", frame(18, &[0; 4])),
        ("LACK among news", frame(19, &[])),
    ];
    for (what, bytes) in ended {
        let mut talk = hostile.news(node.address(), Role::FetchesAll).await.unwrap();
        talk.raw(&bytes).await.unwrap();
        assert!(talk.is_closed_within(CLOSES).await, "{what}: the channel stays open");
    }
    // The first message has to be an announcement.
    for (what, bytes) in [("HAVE_ALL", all.clone()), ("ALIVE", frame(9, &[])), ("GET", get)] {
        let mut talk = hostile.prove(node.address()).await.unwrap();
        talk.raw(&[&[1], bytes.as_slice()].concat()).await.unwrap();
        assert!(talk.is_closed_within(CLOSES).await, "{what} before ANNOUNCE: the channel stays open");
    }
    for purpose in [0, 3, 255] {
        let mut talk = hostile.prove(node.address()).await.unwrap();
        talk.raw(&[purpose]).await.unwrap();
        assert!(talk.is_closed_within(CLOSES).await, "purpose {purpose}: the channel stays open");
    }
    let stays = [
        ("another kind", frame(99, &[0; 65_536])),
        ("another kind without content", frame(0, &[])),
        ("eight announcements", again.repeat(7)),
        ("no peers", frame(2, &[])),
        ("twelve peers", frame(2, &(1..=12).flat_map(&peer).collect::<Vec<_>>())),
        ("pieces, one after the other", (0..11).flat_map(|piece| have(&[piece])).collect()),
        ("HAVE_SET and the others", [set(&[0b1111, 0]), have(&[4, 5, 6, 7, 8, 9, 10])].concat()),
        ("claims", (0..11).flat_map(|piece| frame(7, &pieces_of(&[piece]))).chain(frame(7, &[])).collect()),
    ];
    for (what, bytes) in stays {
        let mut talk = hostile.news(node.address(), Role::FetchesAll).await.unwrap();
        talk.raw(&bytes).await.unwrap();
        assert!(!talk.is_closed_within(STAYS).await, "{what}: the channel is closed");
    }
    until("the end of all channels", || node.swarm.figures().members == 0).await;
}

/// Only the tracker that the ticket or the user names is believed about who fetches: each of its keys costs work, and
/// owns pieces for which others wait.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_member_that_calls_itself_a_tracker_delays_nobody() {
    let sample = model(12);
    let ticket = ticket(&sample, &[]);
    let origin = Origin::new(&sample, None);
    let hostile = Hostile::new(&sample, &ticket).await;
    let joined = Begin::of(&sample, &ticket).origin(&origin).join().await;
    let address = std::net::SocketAddr::from(([127, 0, 0, 1], joined.swarm.port()));
    // Its channel may have ended before it says more.
    let talk = hostile.news(address, Role::Tracker).await.ok();
    // A neighbour keeps the plan in charge.
    let second = Hostile::new(&sample, &ticket).await;
    let neighbour = second.news(address, Role::FetchesPart).await.unwrap().keep();
    let mut keys: Vec<_> = (0..60_000u64)
        .map(|key| {
            let mut bytes = [0x55; 32];
            bytes[..8].copy_from_slice(&(key << 8).to_le_bytes());
            MemberKey::from_bytes(bytes)
        })
        .collect();
    keys.sort_unstable();
    let node = joined.fetch();
    let floods = tokio::spawn(async move {
        let Some(mut talk) = talk else { return };
        for epoch in 1.. {
            keys.pop();
            if talk.say(&Message::Members { epoch, keys: keys.clone() }).await.is_err() {
                return;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    });
    let began = std::time::Instant::now();
    node.done_within(Duration::from_secs(60)).await;
    floods.abort();
    drop(neighbour);
    // All pieces are its own, and the origin is as fast as memory.
    assert!(began.elapsed() < Duration::from_secs(4), "the fetch has taken {:?}", began.elapsed());
}

/// Whether a member that the tracker names is dialled, beside one that says that it is elsewhere.
async fn is_dialled(beside_a_lie: bool) -> bool {
    let sample = model(1);
    let mut ticket = ticket(&sample, &[]);
    let tracking = Tracking::named(&mut ticket).await;
    let nobody = TcpListener::bind(loopback()).await.unwrap();
    let dead = Address::from(nobody.local_addr().unwrap());
    drop(nobody);
    let hostile = Hostile::new(&sample, &ticket).await;
    let joined = Begin::of(&sample, &ticket).origin(&Origin::new(&sample, None)).join().await;
    until("the tracker", || tracking.view.swarms()[0].members.len() == 1).await;
    let address = std::net::SocketAddr::from(([127, 0, 0, 1], joined.swarm.port()));
    let mut talk = hostile.news(address, Role::FetchesAll).await.unwrap();
    // It connects to nobody by itself: it says to the tracker who it is, and listens.
    let honest = Hostile::new(&sample, &ticket).await;
    let lie = Message::Peers(vec![Peer { key: honest.identity.key(), address: dead }]);
    let lies = tokio::spawn(async move {
        while beside_a_lie && talk.say(&lie).await.is_ok() {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
        let _kept = talk.keep();
        std::future::pending::<()>().await;
    });
    tokio::time::sleep(Duration::from_millis(50)).await;
    let _entry = honest.news(tracking.address, Role::FetchesAll).await.unwrap().keep();
    let dialled = tokio::time::timeout(Duration::from_secs(8), honest.accept()).await;
    lies.abort();
    matches!(dialled, Ok(Ok(_)))
}

/// The word of a member does not replace what a tracker has said.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_member_that_names_wrong_addresses_hides_nobody() {
    assert!(is_dialled(false).await, "the test is about members that are dialled");
    assert!(is_dialled(true).await, "the member is dialled where the tracker says");
}
