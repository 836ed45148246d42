//! Answers that come, wait and go, in the virtual time of a paused runtime.

use super::*;
use crate::room::Limits;

const MB: u64 = 1_000_000;

fn admission(rate: u64, most: usize) -> Arc<Admission> {
    Admission::new(Budget::of(rate), most)
}

async fn admitted(admission: &Arc<Admission>, peer: &Peer) -> Result<Option<Admitted>, Duration> {
    admission.admit(peer, &Seat::outside(), MB).await
}

fn is_idle(admission: &Admission) -> bool {
    let state = admission.state();
    state.under_way.is_empty() && state.waiting.is_empty()
}

#[tokio::test(start_paused = true)]
async fn small_answers_are_not_counted() {
    let (admission, peer) = (admission(1, 1), Peer::unique());
    let _place = admitted(&admission, &peer).await.unwrap().unwrap();
    for _ in 0..100 {
        assert!(admission.admit(&peer, &Seat::outside(), SMALL).await.unwrap().is_none());
    }
}

#[test]
fn the_places_are_those_that_the_rate_is_enough_for() {
    for (rate, most, places) in [(MB, 1024, 16), (100 << 20, 1024, 1024), (10 << 20, 1024, 160), (MB, 8, 8)] {
        assert_eq!(admission(rate, most).places(), places);
    }
    assert_eq!(Admission::new(Budget::unlimited(), 1024).places(), 1024);
    assert_eq!(Limits::default().answers, Limits::default().connections);
}

#[tokio::test(start_paused = true)]
async fn those_who_wait_come_in_their_order_and_one_that_leaves_takes_no_place_along() {
    let admission = admission(100 * MB, 2);
    let peers = [(); 6].map(|()| Peer::unique());
    let first = admitted(&admission, &peers[0]).await.unwrap();
    let second = admitted(&admission, &peers[1]).await.unwrap();
    let ask = |peer: usize| {
        let (admission, peer) = (Arc::clone(&admission), peers[peer].clone());
        tokio::spawn(async move { admitted(&admission, &peer).await })
    };
    let leaves = ask(2);
    time::sleep(Duration::from_millis(10)).await;
    let stays = ask(3);
    time::sleep(Duration::from_millis(10)).await;
    assert!(admitted(&admission, &peers[4]).await.is_err(), "the queue is full");
    leaves.abort();
    let _ = leaves.await;
    let late = ask(5);
    time::sleep(Duration::from_millis(10)).await;
    drop(first);
    let third = stays.await.unwrap().unwrap();
    assert!(third.is_some() && !late.is_finished());
    drop((second, third));
    assert!(late.await.unwrap().unwrap().is_some());
    assert!(is_idle(&admission));
}

/// It was told to go, and left before it heard of it.
#[tokio::test(start_paused = true)]
async fn a_place_that_nobody_takes_goes_to_the_next() {
    let admission = admission(100 * MB, 1);
    let peers = [(); 3].map(|()| Peer::unique());
    let first = admitted(&admission, &peers[0]).await.unwrap();
    let mut leaves = Box::pin(admitted(&admission, &peers[1]));
    assert!(time::timeout(Duration::from_millis(10), leaves.as_mut()).await.is_err());
    drop(first);
    drop(leaves);
    let next = admitted(&admission, &peers[2]).await.unwrap();
    assert!(next.is_some() && admission.state().under_way.len() == 1);
    drop(next);
    assert!(is_idle(&admission));
}

#[tokio::test(start_paused = true)]
async fn those_who_are_sent_away_are_told_apart_when_to_come_again() {
    let admission = admission(100 * MB, 2);
    let peer = Peer::unique;
    let [fast, slow] = [peer(), peer()];
    let fast = admitted(&admission, &fast).await.unwrap().unwrap();
    let slow = admitted(&admission, &slow).await.unwrap().unwrap();
    let waiting: Vec<_> = (0..2)
        .map(|_| {
            let admission = Arc::clone(&admission);
            tokio::spawn(async move { admitted(&admission, &peer()).await })
        })
        .collect();
    time::sleep(Duration::from_secs(1)).await;
    // One has sent a fifth of it in a second, and takes 4 more; the other a twentieth, and takes 19 more.
    fast.send(MB / 5);
    slow.send(MB / 20);
    let mut told = Vec::new();
    for _ in 0..3 {
        told.push(admitted(&admission, &peer()).await.unwrap_err().as_secs());
    }
    // Two wait already, and whoever comes later comes behind those who were told before: one round of both, and 4, or 19, more.
    assert_eq!(told[0], 24, "{told:?}");
    assert!(told[0] < told[1] && told[1] < told[2], "{told:?}");
    drop((fast, slow));
    for waits in waiting {
        assert!(waits.await.unwrap().is_ok());
    }
    assert!(is_idle(&admission));
}

#[tokio::test(start_paused = true)]
async fn nobody_waits_for_longer_than_five_seconds() {
    let admission = admission(100 * MB, 1);
    let _place = admitted(&admission, &Peer::unique()).await.unwrap();
    let began = Instant::now();
    let come_again = admitted(&admission, &Peer::unique()).await.unwrap_err();
    assert!((WAIT..WAIT + 2 * PATIENCE).contains(&began.elapsed()));
    assert!((SOONEST..=LATEST).contains(&come_again) && come_again.subsec_nanos() == 0);
}
