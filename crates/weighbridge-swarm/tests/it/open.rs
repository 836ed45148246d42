//! Open swarms: anybody may be a member, and nobody is trusted to give (W22 to W28).

use std::{
    io,
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicU64, AtomicUsize, Ordering::SeqCst},
    },
    time::{Duration, Instant},
};

use tokio::{
    net::{TcpListener, TcpSocket},
    task::JoinHandle,
    time::timeout,
};
use weighbridge_swarm::{Access, Address, Item, MemberKey, Message, Peer, Role, Ticket};
use weighbridge_testkit::{CHUNK, Sample};

use crate::kit::*;

fn address_of(joined: &Joined) -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], joined.swarm.port()))
}

/// Passes bytes on to a member, as if they came from 127.0.0.`from`. Returns the address to connect to.
async fn as_from(from: u8, to: SocketAddr) -> SocketAddr {
    let listener = TcpListener::bind(loopback()).await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((mut near, _)) = listener.accept().await {
            tokio::spawn(async move {
                let socket = TcpSocket::new_v4()?;
                socket.bind(SocketAddr::new(other_address(from), 0))?;
                let mut far = socket.connect(to).await?;
                tokio::io::copy_bidirectional(&mut near, &mut far).await
            });
        }
    });
    address
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn members_that_share_spare_the_origin() {
    let sample = model(48);
    let mut ticket = open_ticket(&sample);
    let _tracking = Tracking::named(&mut ticket).await;
    let origin = Origin::new(&sample, 3_000_000);
    let mut joined = Vec::new();
    for _ in 0..3 {
        joined.push(Begin::of(&sample, &ticket).origin(&origin).join().await);
    }
    until("a mesh", || joined.iter().all(|member| member.swarm.figures().members >= 2)).await;
    let nodes: Vec<_> = joined.into_iter().map(Joined::fetch).collect();
    for node in &nodes {
        node.done().await;
        assert_eq!(node.heard.liars(), 0);
    }
    assert!(origin.models() <= 1.5, "the origin gave {} models", origin.models());
    let taken: u64 = nodes.iter().map(|node| node.swarm.figures().taken).sum();
    assert!(taken >= size(&sample), "{taken} bytes of members");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_member_that_does_not_share_gives_nothing_and_is_not_found() {
    let sample = model(12);
    let mut ticket = open_ticket(&sample);
    let tracking = Tracking::named(&mut ticket).await;
    let seed = Begin::of(&sample, &ticket).seed().await;
    let origin = Origin::new(&sample, 500_000);
    let begin = Begin { share: false, ..Begin::of(&sample, &ticket).origin(&origin) };
    let joined = begin.join().await;
    assert_eq!(joined.swarm.port(), 0);
    until("a neighbour", || joined.swarm.figures().members == 1).await;
    let watched: Vec<_> = tracking.view.swarms()[0].members.clone();
    let of_joined = watched.iter().find(|member| member.key == joined.swarm.key()).unwrap();
    assert_eq!((of_joined.role, of_joined.address.clone()), (Role::FetchesPart, None));
    let node = joined.fetch();
    node.done().await;
    // The seed has slots to spare, and gives for nothing.
    let figures = node.swarm.figures();
    assert!(figures.taken >= size(&sample) / 2 && figures.sent == 0, "{figures:?}");
    assert_eq!(seed.swarm.figures().taken, 0, "it has not even said what it has");
    node.swarm.linger(Duration::from_millis(300)).await;
    let there = tracking.view.swarms()[0].members.clone();
    assert!(there.iter().all(|member| member.role != Role::HasAll || member.key != node.swarm.key()));
}

/// What a member that takes and never gives has seen.
#[derive(Default)]
struct Taken {
    bytes: AtomicU64,
    busy: AtomicU64,
    longest_wait: AtomicU64,
    has_slot: AtomicUsize,
}

/// Takes all that it gets, again and again, and gives nothing. It asks whether it has a slot or not.
async fn take_for_ever(
    hostile: Arc<Hostile>,
    sample: Arc<Sample>,
    to: SocketAddr,
    taken: Arc<Taken>,
) -> io::Result<()> {
    let news = hostile.news(to, Role::FetchesPart).await?;
    let requests = hostile.requests(to).await?;
    tokio::select! {
        ended = hear_of_slots(news, &taken) => ended,
        ended = ask_for_each(requests, &sample, &taken) => ended,
    }
}

async fn hear_of_slots(mut news: Talk, taken: &Taken) -> io::Result<()> {
    loop {
        if let Message::Slot(has_slot) = news.hear().await? {
            taken.has_slot.store(usize::from(has_slot), SeqCst);
        }
    }
}

async fn ask_for_each(mut requests: Talk, sample: &Sample, taken: &Taken) -> io::Result<()> {
    for piece in (0..pieces(sample).count()).cycle() {
        let start = u64::from(piece) * PIECE;
        let range = start..(start + PIECE).min(sample.size(0));
        let (answer, bytes) = requests.get(Item::File(sample.root(0)), range).await?;
        match answer {
            Message::Give => _ = taken.bytes.fetch_add(u64::try_from(bytes.len()).unwrap(), SeqCst),
            Message::Busy(wait) => {
                taken.busy.fetch_add(1, SeqCst);
                taken.longest_wait.fetch_max(wait.into(), SeqCst);
            }
            _ => {}
        }
        tokio::time::sleep(Duration::from_millis(3)).await;
    }
    Ok(())
}

/// Ten members, each of another address, that take and never give, beside three that share.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn members_that_take_and_never_give_get_trials_alone() {
    let sample = model(48);
    let mut ticket = open_ticket(&sample);
    let _tracking = Tracking::named(&mut ticket).await;
    let origin = Origin::new(&sample, 1_000_000);
    let mut joined = Vec::new();
    for _ in 0..3 {
        joined.push(Begin::of(&sample, &ticket).origin(&origin).join().await);
    }
    until("a mesh", || joined.iter().all(|member| member.swarm.figures().members >= 2)).await;
    let victim = address_of(&joined[0]);
    let mut takers: Vec<(Arc<Taken>, JoinHandle<_>)> = Vec::new();
    for from in 10..20 {
        let hostile = Arc::new(Hostile::new(&sample, &ticket).await);
        let taken = Arc::new(Taken::default());
        let to = as_from(from, victim).await;
        let takes = take_for_ever(hostile, Arc::clone(&sample), to, Arc::clone(&taken));
        takers.push((taken, tokio::spawn(takes)));
    }
    let began = Instant::now();
    let nodes: Vec<_> = joined.into_iter().map(Joined::fetch).collect();
    let mut most_at_once = 0;
    while nodes[0].swarm.figures().of_origin + nodes[0].swarm.figures().taken < size(&sample) {
        let with_slot = takers.iter().map(|(taken, _)| taken.has_slot.load(SeqCst)).sum::<usize>();
        most_at_once = most_at_once.max(with_slot);
        assert!(began.elapsed() < SOON, "the fetch beside members that give nothing ends");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let took = began.elapsed();
    let bytes: Vec<u64> = takers.iter().map(|(taken, _)| taken.bytes.load(SeqCst)).collect();
    for node in &nodes {
        node.done().await;
        assert_eq!(node.heard.liars(), 0);
    }
    takers.iter().for_each(|(_, task)| task.abort());
    // The line of the origin decides: twelve seconds.
    assert!(took < Duration::from_secs(20), "{took:?}");
    assert!(most_at_once >= 1, "the test is about members that are on trial");
    assert!(most_at_once <= 9, "{most_at_once} had a slot at once");
    // Each trial is of eight pieces, and the requests that are on their way when it ends.
    let trials = took.as_secs() / 10 + 2;
    assert!(bytes.iter().all(|bytes| *bytes <= trials * 11 * PIECE), "{bytes:?} in {took:?}");
    let busy: u64 = takers.iter().map(|(taken, _)| taken.busy.load(SeqCst)).sum();
    let wait = takers.iter().map(|(taken, _)| taken.longest_wait.load(SeqCst)).max();
    assert!(busy > 10 && wait <= Some(10_000), "{busy} times, and {wait:?} ms at most");
    assert!(origin.models() <= 2.0, "the origin gave {} models", origin.models());
}

/// A member that connects for requests alone is no neighbour.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nobody_takes_who_is_no_neighbour_and_metadata_is_given_twice() {
    let sample = model(4);
    let ticket = open_ticket(&sample);
    let seed = Begin::of(&sample, &ticket).seed().await;
    let hostile = Hostile::new(&sample, &ticket).await;
    let mut requests = hostile.requests(seed.address()).await.unwrap();
    let piece = Item::File(sample.root(0));
    let list = 0..u64::try_from(sample.files.len()).unwrap();
    for (item, range) in [(piece, 0..CHUNK), (Item::Files, list.clone()), (Item::Head, 0..1)] {
        let (answer, _) = requests.get(item, range).await.unwrap();
        assert!(matches!(answer, Message::Busy(1..=10_000)), "{item:?}: {answer:?}");
    }
    // Its slot is for bytes of files; before it has one, it gets the lists some times, and then waits.
    let mut news = hostile.news(seed.address(), Role::FetchesAll).await.unwrap();
    let mut answers = 0;
    while let (Message::Give, bytes) = requests.get(Item::Files, list.clone()).await.unwrap() {
        assert_eq!(bytes, sample.files);
        answers += 1;
        assert!(answers < 10_000, "without an end");
        if let Ok(Ok(Message::Slot(true))) = timeout(Duration::from_millis(1), news.hear()).await {
            break;
        }
    }
    assert!(answers >= 2, "{answers} times");
    let slot = async {
        loop {
            if let Message::Slot(true) = news.hear().await.unwrap() {
                return;
            }
        }
    };
    let _ = timeout(Duration::from_secs(2), slot).await;
    let (answer, bytes) = requests.get(piece, 0..CHUNK).await.unwrap();
    assert_eq!((answer, bytes), (Message::Give, right(&sample, piece, &(0..CHUNK))));
}

/// A fetch from an origin, beside members that announce all of the release and give none of it.
async fn beside_liars(answer: impl Fn() -> Option<Answer> + Clone + Send + Sync + 'static) -> Duration {
    let sample = model(24);
    let ticket = open_ticket(&sample);
    let origin = Origin::new(&sample, 3_000_000);
    let joined = Begin::of(&sample, &ticket).origin(&origin).join().await;
    let mut kept = Vec::new();
    for from in [20, 21, 22] {
        let hostile = Arc::new(Hostile::new(&sample, &ticket).await);
        let (of, answer, gives) = (Arc::clone(&sample), answer.clone(), answer().is_some());
        let serving = hostile.serve(move |item, range| match item {
            Item::File(_) => answer().unwrap_or(Answer::Say(Message::Busy(1000))),
            Item::Head => Answer::Note(of.note.clone()),
            _ => Answer::Give(right(&of, item, &range)),
        });
        let mut talk = hostile.news(as_from(from, address_of(&joined)).await, Role::HasAll).await.unwrap();
        talk.say(&Message::HaveAll).await.unwrap();
        if gives {
            talk.say(&Message::Slot(true)).await.unwrap();
        }
        kept.push((serving, talk.keep()));
    }
    let began = Instant::now();
    joined.fetch().done_within(Duration::from_secs(40)).await;
    began.elapsed()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn members_that_claim_to_share_and_give_nothing_delay_little() {
    let took = tokio::join!(
        beside_liars(|| None),
        beside_liars(|| Some(Answer::Say(Message::Busy(0)))),
        beside_liars(|| Some(Answer::Say(Message::Busy(u32::MAX)))),
        beside_liars(|| Some(Answer::Silence)),
    );
    for (what, took) in [
        ("they give no slot", took.0),
        ("they are busy for no time", took.1),
        ("they are busy for ever", took.2),
        ("they say nothing", took.3),
    ] {
        assert!(took < Duration::from_secs(20), "{what}: {took:?}");
    }
}

/// Keys cost nothing, and so one block of addresses has few places, however many keys come from it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_keys_of_one_address_leave_places_for_others() {
    let sample = model(12);
    let ticket = open_ticket(&sample);
    let seed = Begin::of(&sample, &ticket).seed().await;
    let from_one = as_from(30, seed.address()).await;
    let mut kept = Vec::new();
    for _ in 0..20 {
        let sybil = Hostile::new(&sample, &ticket).await;
        if let Ok(Ok(talk)) = timeout(Duration::from_secs(5), sybil.news(from_one, Role::FetchesAll)).await {
            kept.push(talk.keep());
        }
    }
    until("the end of their channels", || seed.swarm.figures().members <= 4).await;
    assert!(kept.len() <= 6, "{} channels", kept.len());
    let honest = Begin::of(&sample, &ticket).peers(&[seed.address()]).join().await;
    assert!(honest.swarm.found_somebody(SOON).await);
    let honest = honest.fetch();
    honest.done().await;
    assert!(honest.swarm.figures().taken >= size(&sample) - PIECE);
}

/// All places of a member are taken by members of many addresses, who give nothing: one that comes later gets in all the same.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn members_that_give_nothing_do_not_keep_others_out() {
    let sample = model(40);
    let ticket = open_ticket(&sample);
    let origin = Origin::new(&sample, 200_000);
    let node = Begin::of(&sample, &ticket).origin(&origin).start().await;
    let mut kept = Vec::new();
    for from in 0..10 {
        let hostile = Hostile::new(&sample, &ticket).await;
        let talk = hostile.news(as_from(40 + from, node.address()).await, Role::FetchesAll).await.unwrap();
        kept.push(talk.keep());
    }
    until("a full house", || node.swarm.figures().members == 10).await;
    let began = Instant::now();
    let late = Begin::of(&sample, &ticket).peers(&[as_from(60, node.address()).await]).join().await;
    until_within("a place", Duration::from_secs(60), || late.swarm.figures().members == 1).await;
    assert!(began.elapsed() > Duration::from_secs(20), "the others had the time to give something");
    let late = late.fetch();
    until("a piece", || late.swarm.figures().taken > 0).await;
    assert!(node.swarm.figures().members <= 10);
}

/// A member is not led to an address at which nobody has connected to it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn addresses_that_strangers_name_are_few() {
    let sample = model(1);
    let mut ticket = open_ticket(&sample);
    let tracking = Tracking::named(&mut ticket).await;
    let seed = Begin::of(&sample, &ticket).seed().await;
    let target = TcpListener::bind(loopback()).await.unwrap();
    let address = Address::from(target.local_addr().unwrap());
    let dials = Arc::new(AtomicU64::new(0));
    let count = Arc::clone(&dials);
    let accepts = tokio::spawn(async move {
        loop {
            drop(target.accept().await);
            count.fetch_add(1, SeqCst);
        }
    });
    // It says that it lets others in there, to the member and to the tracker.
    let hostile = Hostile::new(&sample, &ticket).await;
    let announce = Message::Announce { role: Role::HasAll, port: 0, addresses: vec![address.clone()] };
    let mut kept = Vec::new();
    for to in [seed.address(), tracking.address] {
        let mut talk = hostile.prove(to).await.unwrap();
        talk.raw(&[1]).await.unwrap();
        talk.say(&announce).await.unwrap();
        kept.push(talk);
    }
    tokio::time::sleep(Duration::from_secs(1)).await;
    let named =
        tracking.view.swarms()[0].members.iter().find(|one| one.key == hostile.identity.key()).cloned();
    assert_eq!(named.and_then(|member| member.address), None);
    assert_eq!(dials.load(SeqCst), 0);
    // It names others there, and its second word on that counts for nothing.
    for turn in 0..20_u8 {
        let peer = |number: u8| Peer {
            key: MemberKey::from_bytes([turn, number].repeat(16).try_into().unwrap()),
            address: address.clone(),
        };
        kept[0].say(&Message::Peers((0..12).map(peer).collect())).await.unwrap();
    }
    tokio::time::sleep(Duration::from_secs(2)).await;
    accepts.abort();
    let dials = dials.load(SeqCst);
    assert!((1..=12).contains(&dials), "{dials} dials");
}

/// Most pieces would belong to somebody who gives none, if each of his keys were an owner.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_tracker_names_few_owners_of_one_address() {
    let sample = model(1);
    let mut ticket = open_ticket(&sample);
    let tracking = Tracking::named(&mut ticket).await;
    let from_one = as_from(70, tracking.address).await;
    let mut kept = Vec::new();
    for _ in 0..12 {
        let sybil = Hostile::new(&sample, &ticket).await;
        kept.push(sybil.news(from_one, Role::FetchesAll).await.unwrap().keep());
    }
    let honest = Hostile::new(&sample, &ticket).await;
    let mut talk = honest.news(tracking.address, Role::FetchesAll).await.unwrap();
    let owners = loop {
        if let Message::Members { keys, .. } = talk.hear().await.unwrap()
            && keys.contains(&honest.identity.key())
        {
            break keys;
        }
    };
    assert_eq!(owners.len(), 5, "four of one address, and the honest one");
    assert_eq!(tracking.view.swarms()[0].members.len(), 13);
}

/// Whoever makes a secret ticket of an open one, by a word, meets none of the open swarm.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_ticket_that_was_made_secret_is_of_another_swarm() {
    let sample = model(1);
    let mut ticket = open_ticket(&sample);
    let tracking = Tracking::named(&mut ticket).await;
    let seed = Begin::of(&sample, &ticket).seed().await;
    let secret = Ticket { access: Access::Secret([7; 32].into()), ..ticket.clone() };
    assert!(secret.key() != ticket.key());
    let origin = Origin::new(&sample, None);
    let node = Begin::of(&sample, &secret).origin(&origin).peers(&[seed.address()]).start().await;
    node.done().await;
    assert!(!node.swarm.found_somebody(Duration::from_secs(1)).await);
    assert_eq!(tracking.view.swarms()[0].members.len(), 1);
}
