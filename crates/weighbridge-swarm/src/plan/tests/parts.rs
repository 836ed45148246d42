//! The neighbours and the uploads.

use super::*;

proptest! {
    #[test]
    fn uploads_keep_their_limits_and_serve_every_peer(asks in proptest::collection::vec(0_u8..20, 1..200)) {
        let mut uploads = Uploads::new(UploadRules::default());
        let mut waiting: BTreeMap<u8, usize> = BTreeMap::new();
        let mut served: Vec<u8> = Vec::new();
        for peer in asks {
            match uploads.ask(key(peer)) {
                Admission::Serve => served.push(peer),
                Admission::Wait => *waiting.entry(peer).or_default() += 1,
                Admission::Busy(time) => {
                    prop_assert!(time >= UploadRules::default().least_retry);
                    prop_assert_eq!(waiting[&peer], 2);
                }
            }
            prop_assert!(served.len() <= 8 && waiting.values().all(|count| *count <= 2));
            prop_assert_eq!(uploads.served_at_once(), served.len());
        }
        while let Some(peer) = served.pop() {
            uploads.done(&key(peer), Duration::from_millis(10));
            while let Some(next) = uploads.serve_next() {
                let next = next.as_bytes()[0];
                *waiting.get_mut(&next).unwrap() -= 1;
                served.push(next);
            }
            prop_assert!(served.len() <= 8);
        }
        prop_assert!(waiting.values().all(|count| *count == 0), "every waiting request is served");
    }
}

#[test]
fn peers_are_served_in_turn() {
    let mut uploads = Uploads::new(UploadRules { at_once: 1, ..UploadRules::default() });
    assert_eq!(uploads.ask(key(9)), Admission::Serve);
    for peer in [1, 1, 2, 3] {
        assert_eq!(uploads.ask(key(peer)), Admission::Wait);
    }
    let mut order = Vec::new();
    let mut last = key(9);
    loop {
        uploads.done(&last, seconds(1));
        let Some(next) = uploads.serve_next() else { break };
        order.push(next);
        last = next;
    }
    assert_eq!(order, [key(1), key(2), key(3), key(1)]);
}

#[test]
fn a_peer_that_left_frees_its_places() {
    let mut uploads = Uploads::new(UploadRules::default());
    (0..8).for_each(|_| assert_eq!(uploads.ask(key(1)), Admission::Serve));
    assert_eq!(uploads.ask(key(2)), Admission::Wait);
    uploads.left(&key(1));
    assert_eq!(uploads.serve_next(), Some(key(2)));
    uploads.done(&key(1), seconds(1));
    assert_eq!(uploads.served_at_once(), 1);
}

fn known(count: u8, discovery: u8, neighbours: &mut Neighbours) {
    (0..count).for_each(|index| neighbours.found(key(index), Discovery(discovery)));
}

fn dial_all(neighbours: &mut Neighbours, now: Duration) -> Vec<MemberKey> {
    let dialled: Vec<_> = std::iter::from_fn(|| neighbours.dial(now)).collect();
    assert!(dialled.iter().all(|key| neighbours.connected(*key, true)));
    dialled
}

#[test]
fn up_to_eight_members_are_all_neighbours_and_of_more_eight_are_dialled() {
    for (count, expected) in [(1, 0), (5, 4), (8, 7), (9, 8), (100, 8)] {
        let mut neighbours = Neighbours::new(key(0), Degree::default(), 1);
        known(count, 0, &mut neighbours);
        assert_eq!(dial_all(&mut neighbours, seconds(0)).len(), expected, "of {count}");
        assert!(neighbours.iter().all(|other| *other != key(0)));
    }
}

#[test]
fn no_more_than_twelve_are_admitted() {
    let mut neighbours = Neighbours::new(key(0), Degree::default(), 1);
    known(100, 0, &mut neighbours);
    let admitted = (1..100).filter(|index| neighbours.connected(key(*index), false)).count();
    assert_eq!(admitted, 12);
}

#[test]
fn those_who_come_to_an_open_swarm_leave_places_for_those_who_are_dialled() {
    let mut neighbours = Neighbours::new(key(0), Degree::open(), 1);
    let admitted = (1..100).filter(|index| neighbours.connected(key(*index), false)).count();
    assert_eq!(admitted, 10, "of those that have come");
    (100..120).for_each(|index| neighbours.found(key(index), Discovery(0)));
    let dialled = dial_all(&mut neighbours, seconds(0));
    assert_eq!(dialled.len(), 6, "whoever has come");
    assert!(!neighbours.connected(key(99), false) && neighbours.iter().count() == 16);
    // One that was dialled makes room for another that is dialled, and not for one that comes.
    neighbours.lost(&dialled[0], seconds(0));
    assert!(!neighbours.connected(key(99), false));
    assert_eq!(dial_all(&mut neighbours, seconds(0)).len(), 1);
    neighbours.lost(&key(1), seconds(0));
    assert!(neighbours.connected(key(99), false));
    // One whose address the user names is dialled too, whoever knows its key.
    neighbours.lost(&key(2), seconds(0));
    neighbours.lost(&dialled[1], seconds(0));
    assert!(neighbours.connected(key(3 + 200), true) && neighbours.connected(key(98), false));
}

#[test]
fn a_lost_neighbour_is_replaced_and_later_dialled_again() {
    let mut neighbours = Neighbours::new(key(0), Degree::default(), 1);
    known(3, 0, &mut neighbours);
    dial_all(&mut neighbours, seconds(0));
    neighbours.lost(&key(1), seconds(0));
    assert_eq!(neighbours.dial(seconds(0)), None, "it is left alone for a while");
    let at = neighbours.wake(seconds(0)).unwrap();
    assert_eq!(neighbours.dial(at), Some(key(1)));
    known(100, 0, &mut neighbours);
    let more = dial_all(&mut neighbours, at);
    neighbours.lost(&more[0], at);
    let replaced = dial_all(&mut neighbours, at);
    assert!(replaced.len() == 1 && replaced[0] != more[0]);
}

#[test]
fn a_banned_key_is_neither_dialled_nor_admitted() {
    let mut neighbours = Neighbours::new(key(0), Degree::default(), 1);
    known(3, 0, &mut neighbours);
    dial_all(&mut neighbours, seconds(0));
    assert!(neighbours.ban(key(2)));
    known(3, 1, &mut neighbours);
    assert!(!neighbours.connected(key(2), false) && neighbours.is_banned(&key(2)));
    assert!(dial_all(&mut neighbours, seconds(999)).is_empty());
}

#[test]
fn two_neighbours_come_from_a_second_discovery() {
    for seed in 0..20 {
        let mut neighbours = Neighbours::new(key(0), Degree::default(), seed);
        known(100, 0, &mut neighbours);
        (200..210).for_each(|index| neighbours.found(key(index), Discovery(1)));
        let dialled = dial_all(&mut neighbours, seconds(0));
        assert!(dialled.iter().filter(|key| key.as_bytes()[0] >= 200).count() >= 2, "{dialled:?}");
        assert!(dialled.len() <= 12);
    }
}

#[test]
fn a_member_that_vanished_from_all_discoveries_is_forgotten() {
    let mut neighbours = Neighbours::new(key(0), Degree::default(), 1);
    known(2, 0, &mut neighbours);
    known(2, 1, &mut neighbours);
    neighbours.vanished(&key(1), Discovery(0));
    neighbours.vanished(&key(1), Discovery(1));
    assert_eq!(neighbours.dial(seconds(0)), None);
}
