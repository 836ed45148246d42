//! Members that keep to the specification, with an origin that they spare.

use std::{net::Ipv4Addr, sync::Arc, time::Duration};

use weighbridge_swarm::{Message, Role, Ticket};
use weighbridge_testkit::Sample;

use crate::kit::*;

/// The rate of an origin that gives twelve pieces in two seconds.
const SLOW: u64 = 1_500_000;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn members_get_the_model_and_the_origin_gives_it_about_once() {
    let sample = model(24);
    let mut ticket = ticket(&sample, &[]);
    let _tracking = Tracking::named(&mut ticket).await;
    let origin = Origin::new(&sample, 2 * SLOW);
    let mut joined = Vec::new();
    for _ in 0..4 {
        joined.push(Begin::of(&sample, &ticket).origin(&origin).join().await);
    }
    until("a mesh", || joined.iter().all(|member| member.swarm.figures().members >= 3)).await;
    let nodes: Vec<_> = joined.into_iter().map(Joined::fetch).collect();
    for node in &nodes {
        node.done().await;
    }
    assert!(origin.models() <= 1.1, "the origin gave {} models", origin.models());
    let figures: Vec<_> = nodes.iter().map(|node| node.swarm.figures()).collect();
    let taken: u64 = figures.iter().map(|one| one.taken).sum();
    let sent: u64 = figures.iter().map(|one| one.sent).sum();
    let needed = 4 * size(&sample) - origin.given().min(size(&sample) * 2);
    assert!(taken <= 3 * size(&sample), "{figures:?}: each member had a share of the origin");
    assert!(taken >= needed - 8 * PIECE, "{figures:?}, of {needed}");
    assert!(sent >= taken, "{figures:?}: nobody takes what nobody has sent");
    // Lists and layers are sent too, and the second copies of the end.
    assert!(sent <= taken + 4 * 8 * PIECE, "{figures:?}");
    assert!(figures.iter().all(|one| one.most_members == 3), "{figures:?}: three other members");
    assert!(nodes.iter().all(|node| node.heard.liars() == 0));
}

/// An origin that tells members apart (W21) says of a piece that another one has it. It was blamed, and left alone for seconds, for any
/// other answer than the bytes.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_origin_that_holds_pieces_back_is_not_blamed_and_gives_others_meanwhile() {
    let sample = model(24);
    let mut ticket = ticket(&sample, &[]);
    let tracking = Tracking::named(&mut ticket).await;
    let origin = Origin::that_holds_back(&sample, 4 * SLOW, Duration::from_millis(700));
    let mut joined = Vec::new();
    for _ in 0..2 {
        joined.push(Begin::of(&sample, &ticket).origin(&origin).join().await);
    }
    until("a mesh", || joined.iter().all(|member| member.swarm.figures().members >= 1)).await;
    let nodes: Vec<_> = joined.into_iter().map(Joined::fetch).collect();
    for node in &nodes {
        node.done().await;
        assert!(node.heard.blames(0).is_empty(), "{:?}", node.heard.blames(0));
    }
    assert!(origin.models() <= 1.2, "the origin gave {} models", origin.models());
    // Each claim has the tag of its member, by which the tracker finds the swarm of this release, and of no other.
    let claims = origin.claims.lock().unwrap().clone();
    let key = ticket.key();
    for node in &nodes {
        let tag = key.tag(&node.swarm.key());
        let of_member = claims.iter().filter(|((of, _), _)| *of == tag);
        assert!(of_member.clone().count() >= 6, "{claims:?}");
        assert_eq!(tracking.view.swarm_of(&tag, sample.id), Some(0));
        assert_eq!(tracking.view.swarm_of(&tag, weighbridge_tree::HeadId::from_bytes([0; 32])), None);
    }
    assert!(claims.values().all(|times| *times <= 3), "it was asked again and again: {claims:?}");
    let tags: std::collections::BTreeSet<_> = claims.keys().map(|(tag, _)| *tag).collect();
    assert_eq!(tags.len(), 2);
    assert_eq!(tracking.view.swarm_of(&weighbridge_swarm::Tag::from_bytes([0; 16]), sample.id), None);
    let gone = key.tag(&nodes[0].swarm.key());
    nodes[0].swarm.leave().await;
    until("its leave", || tracking.view.swarm_of(&gone, sample.id).is_none()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn members_that_join_late_get_it_from_members() {
    let sample = model(12);
    let mut ticket = ticket(&sample, &[]);
    let _tracking = Tracking::named(&mut ticket).await;
    let origin = Origin::new(&sample, SLOW);
    let first = Begin::of(&sample, &ticket).origin(&origin).start().await;
    until("half of it", || origin.given() >= size(&sample) / 2).await;
    let second = Begin::of(&sample, &ticket).origin(&origin).start().await;
    first.done().await;
    second.done().await;
    let before = origin.given();
    let third = Begin::of(&sample, &ticket).origin(&origin).join().await;
    until("neighbours", || third.swarm.figures().members >= 2).await;
    let third = third.fetch();
    third.done().await;
    assert!(origin.models() <= 1.6, "the origin gave {} models", origin.models());
    let more = origin.given() - before;
    assert!(more <= 4 * PIECE, "the origin gave {more} bytes more, though two members have all");
    assert!(third.swarm.figures().taken >= size(&sample) - 4 * PIECE, "{:?}", third.swarm.figures());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_member_that_is_gone_without_a_word_costs_little() {
    let sample = model(12);
    let mut ticket = ticket(&sample, &[]);
    let _tracking = Tracking::named(&mut ticket).await;
    let origin = Origin::new(&sample, SLOW);
    let mut joined = Vec::new();
    for _ in 0..3 {
        joined.push(Begin::of(&sample, &ticket).origin(&origin).join().await);
    }
    until("a mesh", || joined.iter().all(|member| member.swarm.figures().members >= 2)).await;
    let mut nodes: Vec<_> = joined.into_iter().map(Joined::fetch).collect();
    until("half of it", || origin.given() >= size(&sample) / 2).await;
    drop(nodes.pop());
    for node in &nodes {
        node.done().await;
    }
    assert!(origin.models() <= 1.4, "the origin gave {} models", origin.models());
    until("the end of its channels", || nodes.iter().all(|node| node.swarm.figures().members == 1)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_fetch_that_was_stopped_goes_on_as_a_member() {
    let sample = model(12);
    let ticket = ticket(&sample, &[]);
    let origin = Origin::new(&sample, SLOW);
    let mut node = Begin::of(&sample, &ticket).origin(&origin).start().await;
    until("half of it", || origin.given() >= size(&sample) / 2).await;
    node.stop.ask();
    assert!(node.ended(SOON).await.is_err());
    let place = node.place.take();
    drop(node);

    let seed = Begin::of(&sample, &ticket).seed().await;
    // This member has no origin at all.
    let again = Begin { place: place.unwrap(), ..Begin::of(&sample, &ticket).peers(&[seed.address()]) };
    let again = again.join().await;
    assert!(again.swarm.found_somebody(SOON).await);
    let again = again.fetch();
    let fetched = again.done().await;
    assert!(fetched.progress.received <= size(&sample) * 3 / 4, "{:?}", fetched.progress);
    assert!(again.swarm.figures().taken <= size(&sample) * 3 / 4, "{:?}", again.swarm.figures());
    assert!(again.swarm.figures().taken >= size(&sample) / 4, "{:?}", again.swarm.figures());
}

/// An older revision has the same bytes but for some. They are not asked for, nor claimed, and others are told of them first.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_member_with_most_of_it_on_its_disk_announces_that_and_claims_what_it_lacks() {
    const CHANGED: u64 = 20;
    let sample = model(24);
    let ticket = ticket(&sample, &[]);
    let origin = Origin::new(&sample, None);
    let begin = Begin::of(&sample, &ticket).origin(&origin);
    let mut older = sample.bytes(0).to_vec();
    older[at(CHANGED * PIECE)] ^= 1;
    std::fs::create_dir(begin.place.path().join("m")).unwrap();
    std::fs::write(begin.place.path().join("m/model.bin"), older).unwrap();
    // News that are overtaken before they are sent are left out: of a piece that comes at once, no claim is told.
    origin.gives.send_replace(false);
    let joined = begin.join().await;
    let port = joined.swarm.port();
    let neighbour = Hostile::new(&sample, &ticket).await;
    let mut news = neighbour.news((Ipv4Addr::LOCALHOST, port).into(), Role::FetchesPart).await.unwrap();
    let node = joined.fetch();
    let (mut has, mut claims) = (std::collections::BTreeSet::new(), Vec::new());
    while has.len() < 24 {
        match tokio::time::timeout(SOON, news.hear()).await.unwrap().unwrap() {
            Message::HaveAll => has.extend(0..24),
            Message::HaveSet(bits) => {
                has.extend((0..24).filter(|piece| bits[at(u64::from(piece / 8))] >> (piece % 8) & 1 == 1));
            }
            Message::Have(pieces) => has.extend(pieces),
            Message::Claim(Some(piece)) => {
                claims.push((piece, has.len()));
                origin.gives.send_replace(true);
            }
            _ => {}
        }
    }
    assert_eq!(claims, [(20, 23)], "the one piece, once all others are announced");
    node.done().await;
    assert_eq!(origin.given(), weighbridge_testkit::CHUNK, "the one chunk that is another one");
    let asked: Vec<_> = origin.claims.lock().unwrap().keys().map(|(_, start)| *start).collect();
    assert_eq!(asked, [CHANGED * PIECE]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_member_that_wants_a_part_takes_and_gives_that_part() {
    let files = [("a.bin", at(3 * PIECE), 1), ("b.json", at(PIECE), 2), ("c.bin", at(3 * PIECE), 3)];
    let sample = Arc::new(Sample::of_seeds(&files));
    let ticket = ticket(&sample, &[]);
    let seed = Begin::of(&sample, &ticket).seed().await;
    let part = Begin { part: Some("*.json"), ..Begin::of(&sample, &ticket).peers(&[seed.address()]) };
    let part = part.join().await;
    assert!(part.swarm.found_somebody(SOON).await);
    let part = part.fetch();
    let fetched = part.done().await;
    assert_eq!((fetched.files.len(), fetched.bytes), (1, PIECE));
    assert_eq!(part.swarm.figures().taken, PIECE);

    // A third one sees only the part, and gets the rest of an origin.
    drop(seed);
    let origin = Origin::new(&sample, None);
    let third = Begin::of(&sample, &ticket).origin(&origin).peers(&[part.address()]).join().await;
    assert!(third.swarm.found_somebody(SOON).await);
    let third = third.fetch();
    third.done().await;
    assert!(part.swarm.figures().sent <= PIECE + 65_536, "{:?}", part.swarm.figures());
    assert!(origin.given() >= 6 * PIECE);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_fetch_that_finds_nobody_is_an_ordinary_fetch() {
    let sample = model(12);
    let mut ticket = ticket(&sample, &[]);
    let nobody = std::net::TcpListener::bind(loopback()).unwrap().local_addr().unwrap();
    ticket.trackers.push(nobody.into());
    let origin = Origin::new(&sample, None);
    let node = Begin::of(&sample, &ticket).origin(&origin).start().await;
    node.done_within(Duration::from_secs(10)).await;
    assert!(!node.swarm.found_somebody(Duration::ZERO).await);
    let figures = node.swarm.figures();
    assert_eq!(figures, weighbridge_swarm::SwarmFigures { of_origin: size(&sample), ..Default::default() });
    assert_eq!(origin.given(), size(&sample));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_origin_that_dies_after_one_model_is_enough_for_all() {
    let sample = model(12);
    let mut ticket: Ticket = ticket(&sample, &[]);
    let _tracking = Tracking::named(&mut ticket).await;
    let origin = Origin::that_dies(&sample, SLOW);
    let mut joined = Vec::new();
    for _ in 0..4 {
        joined.push(Begin::of(&sample, &ticket).origin(&origin).join().await);
    }
    until("a mesh", || joined.iter().all(|member| member.swarm.figures().members >= 3)).await;
    let nodes: Vec<_> = joined.into_iter().map(Joined::fetch).collect();
    for node in &nodes {
        node.done().await;
    }
    assert!(origin.models() <= 1.3, "the origin gave {} models", origin.models());
}
