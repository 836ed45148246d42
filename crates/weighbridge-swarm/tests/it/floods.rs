//! Members that say very much, and very many members (W17, W18).

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::SeqCst},
    },
    time::{Duration, Instant},
};

use tokio::net::TcpListener;
use weighbridge_swarm::{Identity, MemberKey, Message, Peer, Role};

use crate::kit::*;

fn key(number: u64) -> MemberKey {
    let mut bytes = [0xf7; 32];
    bytes[..8].copy_from_slice(&number.to_le_bytes());
    MemberKey::from_bytes(bytes)
}

/// A fetch of about a second, beside members that send as fast as they can.
async fn beside_flood(messages: impl Fn(u64) -> Vec<u8> + Clone + Send + 'static) -> Duration {
    let sample = model(24);
    let ticket = ticket(&sample, &[]);
    let origin = Origin::new(&sample, 6_000_000);
    let seed = Begin::of(&sample, &ticket).seed().await;
    let joined = Begin::of(&sample, &ticket).origin(&origin).peers(&[seed.address()]).join().await;
    let address = SocketAddr::from(([127, 0, 0, 1], joined.swarm.port()));
    let before = resident();
    let mut floods = Vec::new();
    for _ in 0..3 {
        let hostile = Hostile::new(&sample, &ticket).await;
        let messages = messages.clone();
        let mut talk = hostile.news(address, Role::FetchesAll).await.unwrap();
        floods.push(tokio::spawn(async move {
            for number in 0.. {
                if talk.raw(&messages(number)).await.is_err() {
                    return;
                }
            }
        }));
    }
    tokio::time::sleep(Duration::from_millis(500)).await;
    let began = Instant::now();
    let node = joined.fetch();
    node.done_within(Duration::from_secs(40)).await;
    floods.iter().for_each(tokio::task::JoinHandle::abort);
    assert_is_small(before);
    began.elapsed()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn floods_of_news_cost_little_time_and_memory() {
    let claims = |number: u64| {
        let piece = u32::try_from(number % 24).unwrap();
        (0..64).flat_map(|_| Message::Claim(Some(piece)).write()).collect::<Vec<u8>>()
    };
    let peers = |number: u64| {
        let address = weighbridge_swarm::Address::parse("127.0.0.1:9").unwrap();
        let peer = |at| Peer { key: key(number * 12 + at), address: address.clone() };
        Message::Peers((0..12).map(peer).collect()).write()
    };
    let unknown = |_| [[99, 0, 0, 1, 0].as_slice(), &[0; 65_536]].concat();
    let took = tokio::join!(beside_flood(claims), beside_flood(peers), beside_flood(unknown));
    for (what, took) in [("claims", took.0), ("peers", took.1), ("messages of another kind", took.2)] {
        assert!(took < Duration::from_secs(15), "{what}: {took:?}");
    }
}

/// A member dials at a bounded rate whatever it is told, so that nobody turns it against others.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_member_that_names_thousands_of_addresses_does_not_make_others_dial_them_at_once() {
    let sample = model(1);
    let ticket = ticket(&sample, &[]);
    let node = Begin::of(&sample, &ticket).seed().await;
    let target = TcpListener::bind(loopback()).await.unwrap();
    let address = weighbridge_swarm::Address::from(target.local_addr().unwrap());
    let dials = Arc::new(AtomicU64::new(0));
    let count = Arc::clone(&dials);
    let accepts = tokio::spawn(async move {
        loop {
            drop(target.accept().await);
            count.fetch_add(1, SeqCst);
        }
    });
    let hostile = Hostile::new(&sample, &ticket).await;
    let mut talk = hostile.news(node.address(), Role::FetchesAll).await.unwrap();
    let began = Instant::now();
    let mut number = 0u64;
    while began.elapsed() < Duration::from_secs(2) {
        let peer = |at| Peer { key: key(number * 12 + at), address: address.clone() };
        talk.say(&Message::Peers((0..12).map(peer).collect())).await.unwrap();
        number += 1;
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    let dials = dials.load(SeqCst);
    accepts.abort();
    assert!(dials > 0, "the test is about dials");
    assert!(dials <= 2 * 50, "{dials} dials in two seconds");
}

/// The table of addresses of a member takes in what others say, and still knows those that the tracker named.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn twenty_thousand_names_do_not_crowd_out_those_of_the_tracker() {
    let sample = model(1);
    let mut ticket = ticket(&sample, &[]);
    let tracking = Tracking::named(&mut ticket).await;
    let joined = Begin::of(&sample, &ticket).origin(&Origin::new(&sample, None)).join().await;
    let address = SocketAddr::from(([127, 0, 0, 1], joined.swarm.port()));
    let hostile = Hostile::new(&sample, &ticket).await;
    let mut talk = hostile.news(address, Role::FetchesAll).await.unwrap();
    let nobody = std::net::TcpListener::bind(loopback()).unwrap().local_addr().unwrap();
    for number in 0..1700u64 {
        let peer = |at| Peer { key: key(number * 12 + at), address: nobody.into() };
        talk.say(&Message::Peers((0..12).map(peer).collect())).await.unwrap();
    }
    let _kept = talk.keep();
    // It is read at the rate of bursts.
    tokio::time::sleep(Duration::from_millis(1200)).await;
    let honest = Hostile::new(&sample, &ticket).await;
    let _entry = honest.news(tracking.address, Role::FetchesAll).await.unwrap().keep();
    let dialled = tokio::time::timeout(Duration::from_secs(8), honest.accept()).await;
    assert!(matches!(dialled, Ok(Ok(_))), "a member that the tracker names is dialled");
}

/// Keys cost nothing, so new ones of one address are few.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn few_of_two_hundred_keys_of_one_address_are_let_in() {
    let sample = model(12);
    let ticket = ticket(&sample, &[]);
    let origin = Origin::new(&sample, 3_000_000);
    let joined = Begin::of(&sample, &ticket).origin(&origin).join().await;
    let address = SocketAddr::from(([127, 0, 0, 1], joined.swarm.port()));
    let sybils = async {
        let (mut there, mut kept) = (0, Vec::new());
        for _ in 0..200 {
            let hostile = Hostile::with(Identity::random().unwrap(), &sample, &ticket).await;
            let Ok(Ok(mut talk)) =
                tokio::time::timeout(Duration::from_secs(5), hostile.news(address, Role::FetchesAll)).await
            else {
                continue;
            };
            if talk.say(&Message::HaveAll).await.is_ok() {
                there += 1;
                kept.push(talk);
            }
        }
        (there, kept)
    };
    let node = joined.fetch();
    let (sybils, fetched) = tokio::join!(sybils, node.done_within(Duration::from_secs(40)));
    assert_eq!(fetched.files.len(), 1);
    assert!(sybils.0 <= 32, "{} keys of one address were let in", sybils.0);
    assert!(node.swarm.figures().most_members <= 12, "{:?}", node.swarm.figures());
}

/// A member that has come under many keys, and each time gives nothing, does not keep an honest one out for good.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_member_that_connects_again_and_again_costs_little() {
    let sample = model(12);
    let ticket = ticket(&sample, &[]);
    let origin = Origin::new(&sample, 1_500_000);
    let joined = Begin::of(&sample, &ticket).origin(&origin).join().await;
    let address = SocketAddr::from(([127, 0, 0, 1], joined.swarm.port()));
    let hostile = Hostile::new(&sample, &ticket).await;
    let mut held = hostile.news(address, Role::FetchesAll).await.unwrap().keep();
    let before = resident();
    let node = joined.fetch();
    let again = tokio::spawn(async move {
        loop {
            // Two channels at once: the key is known all the time.
            let Ok(mut talk) = hostile.news(address, Role::FetchesAll).await else {
                tokio::time::sleep(Duration::from_millis(20)).await;
                continue;
            };
            let _ = talk.say(&Message::HaveAll).await;
            drop(std::mem::replace(&mut held, talk.keep()));
        }
    });
    let began = Instant::now();
    node.done_within(Duration::from_secs(40)).await;
    again.abort();
    assert!(began.elapsed() < Duration::from_secs(20), "{:?}", began.elapsed());
    assert_is_small(before);
}
