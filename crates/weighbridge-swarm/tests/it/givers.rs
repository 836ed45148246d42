//! Members that say that they have everything, or ask the origin for everything, and give nothing (W14, W15).

use std::{
    ops::Range,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering::SeqCst},
    },
    time::{Duration, Instant},
};

use weighbridge_swarm::{Item, Message, Role, Ticket};
use weighbridge_testkit::Sample;

use crate::kit::*;

/// A fetch from an origin, beside hostile members that announce all of the release. They give heads and lists, and answer
/// requests for files in some way.
async fn beside(
    hostile: usize,
    answer: impl Fn(&Sample, Item, Range<u64>) -> Answer + Clone + Send + Sync + 'static,
) -> (Node, Vec<Serving>, Duration) {
    beside_all(hostile, move |sample, item, range| match item {
        Item::File(_) => answer(sample, item, range),
        Item::Head => Answer::Note(sample.note.clone()),
        _ => Answer::Give(right(sample, item, &range)),
    })
    .await
}

/// The same with members that answer everything in some way.
async fn beside_all(
    hostile: usize,
    answer: impl Fn(&Sample, Item, Range<u64>) -> Answer + Clone + Send + Sync + 'static,
) -> (Node, Vec<Serving>, Duration) {
    let sample = model(12);
    let ticket = ticket(&sample, &[]);
    let origin = Origin::new(&sample, 3_000_000);
    let joined = Begin::of(&sample, &ticket).origin(&origin).join().await;
    let address = std::net::SocketAddr::from(([127, 0, 0, 1], joined.swarm.port()));
    let mut servings = Vec::new();
    let mut channels = Vec::new();
    for _ in 0..hostile {
        let hostile = Arc::new(Hostile::new(&sample, &ticket).await);
        let (answer, of) = (answer.clone(), Arc::clone(&sample));
        servings.push(hostile.serve(move |item, range| answer(&of, item, range)));
        let mut talk = hostile.news(address, Role::HasAll).await.unwrap();
        talk.say(&Message::HaveAll).await.unwrap();
        channels.push(talk.keep());
    }
    let began = Instant::now();
    let node = joined.fetch();
    node.done_within(Duration::from_secs(40)).await;
    (node, servings, began.elapsed())
}

/// The time that a fetch of one second may take beside members that give nothing: two leases, and some for a busy machine.
const BOUND: Duration = Duration::from_secs(20);

/// Each of these waits for most of its time, so they run beside each other.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn members_that_give_nothing_delay_little() {
    tokio::join!(
        members_that_lack_what_they_announce_delay_little(),
        members_that_are_busy_for_ever_delay_little(),
        members_that_say_nothing_delay_little(),
        members_that_break_off_delay_little(),
        members_that_give_without_an_end_are_cut_off(),
        a_member_that_gives_one_piece_and_then_goes_is_replaced(),
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn members_that_claim_what_they_do_not_give_delay_little() {
    tokio::join!(
        a_member_that_claims_each_piece_and_never_asks_delays_little(),
        a_member_that_takes_from_the_origin_and_serves_nothing_delays_little(),
    );
}

async fn members_that_lack_what_they_announce_delay_little() {
    let (_, servings, took) = beside(2, |_, _, _| Answer::Say(Message::Lack)).await;
    assert!(took < BOUND, "{took:?}");
    // Each piece may be asked for again ten seconds later.
    let most = 12 * (1 + usize::try_from(took.as_secs() / 10).unwrap());
    assert!(servings.iter().all(|one| one.asked_for_files() <= most), "asked without end");
}

async fn members_that_are_busy_for_ever_delay_little() {
    let busy = |wait| beside(2, move |_, _, _| Answer::Say(Message::Busy(wait)));
    let (short, long) = tokio::join!(busy(0), busy(u32::MAX));
    for (wait, (_, servings, took)) in [(0, short), (u32::MAX, long)] {
        assert!(took < BOUND, "busy for {wait} ms: {took:?}");
        assert!(servings.iter().all(|one| one.asked_for_files() <= 200), "asked without a pause");
    }
}

async fn members_that_say_nothing_delay_little() {
    let (of_files, of_all) =
        tokio::join!(beside(3, |_, _, _| Answer::Silence), beside_all(3, |_, _, _| Answer::Silence));
    let (node, servings, took) = of_files;
    assert!(took < BOUND, "{took:?}");
    assert!(servings.iter().all(|one| one.asked_for_files() >= 1), "the test is not about them");
    assert_eq!(node.heard.liars(), 0);
    let (_, servings, took) = of_all;
    assert!(took < BOUND, "{took:?}, where they do not even give a head");
    assert!(servings.iter().all(|one| !one.asked.lock().unwrap().is_empty()), "the test is not about them");
}

async fn members_that_break_off_delay_little() {
    let (node, _, took) =
        beside(2, |sample, item, range| Answer::Break(right(sample, item, &range)[..1000].to_vec())).await;
    assert!(took < BOUND, "{took:?}");
    assert_eq!(node.heard.liars(), 0, "who breaks off has not lied");
}

async fn members_that_give_without_an_end_are_cut_off() {
    let before = resident();
    let (_, servings, took) = beside(2, |_, _, _| Answer::Endless).await;
    assert!(took < BOUND, "{took:?}");
    assert!(servings.iter().all(|one| one.asked_for_files() <= 1), "a member that lied is asked again");
    assert_is_small(before);
}

/// Claims of others count for a lease, and then no more: also when they are made anew on other channels.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_member_that_claims_a_piece_on_one_channel_after_the_other_keeps_nobody_waiting() {
    let sample = model(2);
    let ticket = ticket(&sample, &[]);
    // A piece takes a quarter of a second, and so a lease one.
    let origin = Origin::new(&sample, 1_000_000);
    let joined = Begin::of(&sample, &ticket).origin(&origin).join().await;
    let address = std::net::SocketAddr::from(([127, 0, 0, 1], joined.swarm.port()));
    let hostile = Hostile::new(&sample, &ticket).await;
    let mut talk = hostile.news(address, Role::FetchesPart).await.unwrap();
    let node = joined.fetch();
    // The member asks for one of two pieces, and the other one is claimed for ever.
    let first = loop {
        if let Message::Claim(Some(piece)) = talk.hear().await.unwrap() {
            break piece;
        }
    };
    let claim = Message::Claim(Some(1 - first));
    talk.say(&claim).await.unwrap();
    let claims = tokio::spawn(async move {
        let mut held = talk.keep();
        loop {
            tokio::time::sleep(Duration::from_millis(700)).await;
            let Ok(mut talk) = hostile.news(address, Role::FetchesPart).await else { continue };
            if talk.say(&claim).await.is_ok() {
                drop(std::mem::replace(&mut held, talk.keep()));
            }
        }
    });
    let ended = tokio::time::timeout(Duration::from_secs(14), node.done()).await;
    claims.abort();
    assert!(ended.is_ok(), "a claim that is made again and again keeps the origin from being asked");
}

async fn a_member_that_claims_each_piece_and_never_asks_delays_little() {
    let sample = model(12);
    let ticket = ticket(&sample, &[]);
    let origin = Origin::new(&sample, 3_000_000);
    let joined = Begin::of(&sample, &ticket).origin(&origin).join().await;
    let address = std::net::SocketAddr::from(([127, 0, 0, 1], joined.swarm.port()));
    let hostile = Hostile::new(&sample, &ticket).await;
    let mut talk = hostile.news(address, Role::FetchesAll).await.unwrap();
    let node = joined.fetch();
    let claims = tokio::spawn(async move {
        for piece in (0..12).cycle() {
            if talk.say(&Message::Claim(Some(piece))).await.is_err() {
                return;
            }
            tokio::time::sleep(Duration::from_millis(3)).await;
        }
    });
    let began = Instant::now();
    node.done_within(Duration::from_secs(40)).await;
    claims.abort();
    assert!(began.elapsed() < BOUND, "{:?}", began.elapsed());
    assert!(origin.models() <= 1.2);
}

/// A member that takes each piece of the origin, says so, and serves none: the others get them all the same.
async fn a_member_that_takes_from_the_origin_and_serves_nothing_delays_little() {
    let sample = model(12);
    let ticket: Ticket = ticket(&sample, &[]);
    let origin = Origin::new(&sample, 3_000_000);
    let hostile = Arc::new(Hostile::new(&sample, &ticket).await);
    let serving = hostile.serve(|_, _| Answer::Silence);
    let mut joined = Vec::new();
    joined.push(Begin::of(&sample, &ticket).origin(&origin).join().await);
    let first = std::net::SocketAddr::from(([127, 0, 0, 1], joined[0].swarm.port()));
    joined.push(Begin::of(&sample, &ticket).origin(&origin).peers(&[first]).join().await);
    let mut channels = Vec::new();
    for member in &joined {
        let address = std::net::SocketAddr::from(([127, 0, 0, 1], member.swarm.port()));
        channels.push(hostile.news(address, Role::FetchesAll).await.unwrap());
    }
    until("a mesh", || joined.iter().all(|member| member.swarm.figures().members == 2)).await;
    let began = Instant::now();
    let nodes: Vec<_> = joined.into_iter().map(Joined::fetch).collect();
    let lies = tokio::spawn(async move {
        for piece in 0..12 {
            for talk in &mut channels {
                let _ = talk.say(&Message::Claim(Some(piece))).await;
            }
            tokio::time::sleep(Duration::from_millis(30)).await;
            for talk in &mut channels {
                let _ = talk.say(&Message::Have(vec![piece])).await;
            }
        }
        std::future::pending::<()>().await;
    });
    for node in &nodes {
        node.done_within(Duration::from_secs(40)).await;
        assert_eq!(node.heard.liars(), 0);
    }
    lies.abort();
    assert!(began.elapsed() < BOUND, "{:?}", began.elapsed());
    assert!(origin.models() <= 2.0, "the origin gave {} models", origin.models());
    drop(serving);
}

/// A piece is announced when it has been accepted and written (W12): it can be had at once, and is right.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_piece_that_a_member_announces_can_be_had_of_it() {
    let sample = model(12);
    let ticket = ticket(&sample, &[]);
    let origin = Origin::new(&sample, 3_000_000);
    // One member of three lies: what it gives is announced by nobody.
    let liar = Arc::new(Hostile::new(&sample, &ticket).await);
    let of = Arc::clone(&sample);
    let _lies = liar.serve(move |item, range| match item {
        Item::File(_) => Answer::Give(vec![0x5a; at(range.end - range.start)]),
        _ => Answer::Note(of.note.clone()),
    });
    let joined = Begin::of(&sample, &ticket).origin(&origin).join().await;
    let address = std::net::SocketAddr::from(([127, 0, 0, 1], joined.swarm.port()));
    let mut talk = liar.news(address, Role::FetchesAll).await.unwrap();
    talk.say(&Message::HaveAll).await.unwrap();
    let _kept = talk.keep();
    let watcher = Hostile::new(&sample, &ticket).await;
    let mut news = watcher.news(address, Role::FetchesPart).await.unwrap();
    let mut requests = watcher.requests(address).await.unwrap();
    let node = joined.fetch();
    let places = pieces(&sample);
    let mut announced = Vec::new();
    let watches = async {
        while announced.len() < 12 {
            let new = match news.hear().await.unwrap() {
                Message::HaveAll => (0..12).collect(),
                Message::HaveSet(bits) => {
                    (0..12).filter(|piece| bits[at(u64::from(piece / 8))] >> (piece % 8) & 1 == 1).collect()
                }
                Message::Have(pieces) => pieces,
                _ => continue,
            };
            for piece in new {
                assert!(!announced.contains(&piece), "piece {piece} is announced twice");
                announced.push(piece);
                let start = places.place(piece).unwrap().chunks.start * weighbridge_testkit::CHUNK;
                let (item, range) = (Item::File(sample.root(0)), start..start + places.bytes(piece));
                let (answer, bytes) = requests.get(item, range.clone()).await.unwrap();
                let is_right = answer == Message::Give && bytes == right(&sample, item, &range);
                assert!(is_right, "piece {piece} is announced: {answer:?}");
            }
        }
    };
    tokio::time::timeout(SOON, watches).await.expect("each piece is announced");
    node.done().await;
}

/// A member that has gone leaves its requests to others, though it was asked for the last piece.
async fn a_member_that_gives_one_piece_and_then_goes_is_replaced() {
    let given = Arc::new(AtomicU64::new(0));
    let count = Arc::clone(&given);
    let first = Arc::new(Mutex::new(true));
    let (_, _, took) = beside(2, move |sample, item, range| {
        if !std::mem::take(&mut *first.lock().unwrap()) {
            return Answer::Close;
        }
        count.fetch_add(range.end - range.start, SeqCst);
        Answer::Give(right(sample, item, &range))
    })
    .await;
    assert!(took < BOUND, "{took:?}");
    assert!(given.load(SeqCst) > 0, "the test is about a member that gives");
}
