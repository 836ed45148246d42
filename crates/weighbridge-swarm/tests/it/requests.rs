//! Requests that ask for what is not there, and members that ask for much and take little (W10, W16).

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use weighbridge_swarm::{Identity, Item, Message};
use weighbridge_testkit::{CHUNK, Sample};
use weighbridge_transfer::FileRoot;

use crate::kit::*;

const CLOSES: Duration = Duration::from_secs(10);

/// A member with all of a release of three files, and one that asks.
async fn stage() -> (Node, Hostile, Arc<Sample>) {
    let files = [("a.bin", at(3 * PIECE - 5)), ("b.bin", 100), ("c.bin", at(17 << 20))];
    let sample = Arc::new(Sample::of(&files, 1));
    let listed = [Identity::random().unwrap(), Identity::random().unwrap()];
    let ticket = ticket(&sample, &[&listed[0], &listed[1]]);
    let node = Begin { identity: listed[0].clone(), ..Begin::of(&sample, &ticket) }.seed().await;
    let hostile = Hostile::with(listed[1].clone(), &sample, &ticket).await;
    (node, hostile, sample)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_request_is_answered_with_its_bytes_or_a_lack() {
    let (node, hostile, sample) = stage().await;
    let mut talk = hostile.requests(node.address()).await.unwrap();
    let (a, b, c) = (Item::File(sample.root(0)), Item::File(sample.root(1)), Item::File(sample.root(2)));
    let size = sample.size(0);
    let list = u64::try_from(sample.files.len()).unwrap();
    let layers = u64::try_from(sample.layers.len()).unwrap();
    let mut sent = 0;
    for (item, range) in [
        (a, 0..1),
        (a, size - 1..size),
        (a, CHUNK - 1..CHUNK + 1),
        (a, CHUNK..2 * CHUNK),
        (a, 777..PIECE + 778),
        (a, 0..size),
        (b, 0..100),
        (b, 99..100),
        (c, 0..16 << 20),
        (Item::Files, 0..list),
        (Item::Files, 1..2),
        (Item::Layers, 0..layers),
        (Item::Layers, 31..33),
        (Item::Layers, layers - 1..layers),
    ] {
        let (answer, bytes) = talk.get(item, range.clone()).await.unwrap();
        assert!(
            answer == Message::Give && bytes == right(&sample, item, &range),
            "{item:?} {range:?}: {answer:?}"
        );
        sent += if matches!(item, Item::File(_)) { range.end - range.start } else { 0 };
    }
    let (answer, _) = talk.get(Item::Head, 0..1).await.unwrap();
    assert_eq!(answer, Message::GiveAll(sample.note.clone()));
    for (item, range) in [
        (Item::File(FileRoot::from_bytes([9; 32])), 0..1),
        (a, size - 1..size + 1),
        (a, size..size + 1),
        (a, 0..size + 1),
        (a, 1 << 63..(1 << 63) + 1),
        (a, 0..1 << 63),
        (a, 1 << 63..u64::MAX),
        (a, u64::MAX - 1..u64::MAX),
        (a, 0..u64::MAX),
        (b, 100..101),
        (Item::Files, 0..list + 1),
        (Item::Files, list..list + 1),
        (Item::Files, 0..u64::MAX),
        (Item::Layers, 0..layers + 1),
        (Item::Layers, u64::MAX - 1..u64::MAX),
        (Item::Layers, 0..u64::MAX),
        (Item::Tensors, 0..1),
        (Item::Tensors, 0..u64::MAX),
    ] {
        let count = range.end - range.start;
        talk.say(&Message::Get { item, start: range.start, count }).await.unwrap();
        let answer = tokio::time::timeout(SOON, talk.hear()).await.unwrap();
        assert_eq!(answer.unwrap(), Message::Lack, "{item:?} {range:?}");
    }
    assert!(node.swarm.figures().sent >= sent, "{:?}", node.swarm.figures());
}

/// The figure is of bytes of files: lists and layers do not count.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sent_bytes_are_those_of_files() {
    let (node, hostile, sample) = stage().await;
    let mut talk = hostile.requests(node.address()).await.unwrap();
    talk.get(Item::File(sample.root(1)), 0..100).await.unwrap();
    talk.get(Item::Files, 0..10).await.unwrap();
    talk.get(Item::Layers, 0..64).await.unwrap();
    talk.get(Item::Head, 0..1).await.unwrap();
    assert_eq!(node.swarm.figures().sent, 100);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_malformed_request_ends_the_channel() {
    let (node, hostile, sample) = stage().await;
    let get = |content: &[u8]| {
        let len = u32::try_from(content.len()).unwrap();
        [&[16], len.to_le_bytes().as_slice(), content].concat()
    };
    let of = |item: u8, root: &[u8], start: u64, count: u64| {
        get(&[&[item], root, &start.to_le_bytes(), &count.to_le_bytes()].concat())
    };
    let root = sample.root(0);
    let root = root.as_bytes();
    for (what, bytes) in [
        ("too short", get(&[0; 16])),
        ("too long", get(&[4; 50])),
        ("another item", of(5, &[], 0, 1)),
        ("a file without a root", of(4, &[], 0, 1)),
        ("a list with a root", of(1, root, 0, 1)),
        ("no bytes", of(4, root, 0, 0)),
        ("no bytes of the list", of(1, &[], 5, 0)),
        ("beyond 2^64", of(4, root, u64::MAX, 1)),
        ("beyond 2^64, by half", of(4, root, 1 << 63, 1 << 63)),
        ("all beyond 2^64", of(4, root, u64::MAX, u64::MAX)),
        ("a head from its second byte", of(0, &[], 1, 1)),
        ("two bytes of a head", of(0, &[], 0, 2)),
        ("a head without bytes", of(0, &[], 0, 0)),
        ("an answer", Message::Give.write()),
        ("news", Message::HaveAll.write()),
        ("a head", Message::GiveAll(vec![0; 9]).write()),
    ] {
        let mut talk = hostile.requests(node.address()).await.unwrap();
        talk.raw(&bytes).await.unwrap();
        assert!(talk.is_closed_within(CLOSES).await, "{what}: the channel stays open");
    }
}

/// Asks on so many channels for much, and reads nothing.
async fn ask_and_take_nothing(hostile: &Hostile, node: &Node, channels: usize) -> Vec<Talk> {
    let root = node.sample.root(2);
    let mut held = Vec::new();
    for _ in 0..channels {
        let Ok(mut talk) = hostile.requests(node.address()).await else { continue };
        let get = Message::Get { item: Item::File(root), start: 0, count: 16 << 20 };
        if talk.say(&get).await.is_ok() {
            held.push(talk);
        }
    }
    tokio::time::sleep(Duration::from_millis(300)).await;
    held
}

async fn honest_beside(channels: usize) {
    let files = [("a.bin", at(3 * PIECE)), ("b.bin", 100), ("c.bin", at(17 << 20))];
    let sample = Arc::new(Sample::of(&files, 1));
    let listed = [(); 3].map(|()| Identity::random().unwrap());
    let ticket = ticket(&sample, &[&listed[0], &listed[1], &listed[2]]);
    let node = Begin { identity: listed[0].clone(), ..Begin::of(&sample, &ticket) }.seed().await;
    let hostile = Hostile::with(listed[1].clone(), &sample, &ticket).await;
    let honest = Hostile::with(listed[2].clone(), &sample, &ticket).await;
    let held = ask_and_take_nothing(&hostile, &node, channels).await;
    let mut talk = honest.requests(node.address()).await.unwrap();
    let began = Instant::now();
    let item = Item::File(sample.root(0));
    let answer = tokio::time::timeout(Duration::from_secs(8), talk.get(item, 0..PIECE)).await;
    let (answer, bytes) = answer.expect("the honest one is answered beside a slow one").unwrap();
    assert!(answer == Message::Give && bytes == right(&sample, item, &(0..PIECE)), "{answer:?}");
    assert!(began.elapsed() < Duration::from_secs(8));
    drop(held);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_member_that_takes_nothing_holds_one_place() {
    honest_beside(1).await;
}

/// A member has one channel for requests (W7), so it cannot take all places.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_member_that_takes_nothing_on_many_channels_keeps_nobody_waiting() {
    honest_beside(12).await;
}
