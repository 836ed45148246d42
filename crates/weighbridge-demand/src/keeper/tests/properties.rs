//! Properties that hold whatever happens.

use std::collections::BTreeSet;

use proptest::prelude::*;

use super::*;

/// Something that happens to a node.
#[derive(Clone, Debug)]
enum Event {
    Ask(u8),
    Serve,
    Close,
    /// Bytes come for a fetch: so many parts of 256 of what there is room for.
    Come(u8),
    /// The fetch that began first ends.
    End,
    Ahead,
    Pin(u8),
    Unpin(u8),
    Describe(u8, u64, u8),
    Revise(u8, u8),
    Budget(u64),
    Seconds(u64),
    Restart,
}

fn event() -> impl Strategy<Value = Event> {
    prop_oneof![
        8 => any::<u8>().prop_map(Event::Ask),
        2 => Just(Event::Serve),
        6 => Just(Event::Close),
        4 => any::<u8>().prop_map(Event::Come),
        6 => Just(Event::End),
        6 => Just(Event::Ahead),
        1 => any::<u8>().prop_map(Event::Pin),
        1 => any::<u8>().prop_map(Event::Unpin),
        2 => (any::<u8>(), 0..40 * GB, any::<u8>()).prop_map(|(of, size, base)| Event::Describe(of, size, base)),
        1 => any::<(u8, u8)>().prop_map(|(new, old)| Event::Revise(new, old)),
        1 => (0..120 * GB).prop_map(Event::Budget),
        8 => prop_oneof![0_u64..900, 0_u64..200_000].prop_map(Event::Seconds),
        1 => Just(Event::Restart),
    ]
}

/// A node that does what its keeper says, checks it, and writes down all decisions.
struct Node {
    keeper: Keeper,
    disk: BTreeMap<Release, u64>,
    /// The most that may be on the disk of each release that is being fetched, in the order in which they began.
    fetches: Vec<(Release, u64)>,
    readers: Vec<Release>,
    pinned: BTreeSet<Release>,
    now: Duration,
    decisions: Vec<String>,
}

impl Node {
    fn new() -> Self {
        Self {
            keeper: Keeper::new(60 * GB, at(0, 0, 0)),
            disk: BTreeMap::new(),
            fetches: Vec::new(),
            readers: Vec::new(),
            pinned: BTreeSet::new(),
            now: at(0, 0, 0),
            decisions: Vec::new(),
        }
    }

    fn release(of: u8) -> Release {
        release(&format!("model-{}", of % 12))
    }

    fn evict(&mut self, evictions: &[Eviction]) {
        for eviction in evictions {
            let Eviction { release, worth, .. } = eviction;
            assert!(!self.pinned.contains(release) && !self.readers.contains(release), "{eviction}");
            assert!(worth.is_finite() && *worth >= 0.0, "{eviction}");
            self.fetches.retain(|(fetched, _)| fetched != release);
            self.disk.remove(release);
        }
    }

    fn keep(&mut self, release: Release, keep: bool) {
        // A release that is not kept is not written here.
        let held = self.disk.get(&release).copied().unwrap_or(0);
        let keep = if keep { self.keeper.shelf.place(self.keeper.names[&release]).size } else { held };
        match self.fetches.iter_mut().find(|(fetched, _)| *fetched == release) {
            Some((_, most)) => *most = keep,
            None => self.fetches.push((release, keep)),
        }
    }

    fn happen(&mut self, event: &Event) {
        match event {
            Event::Ask(of) => {
                let release = Self::release(*of);
                let answer = self.keeper.asked(&release, None, self.now);
                self.readers.push(release.clone());
                self.decisions.push(format!("{answer:?}"));
                match answer {
                    Answer::Held { evict } => self.evict(&evict),
                    Answer::Fetch { keep, evict } => {
                        self.evict(&evict);
                        self.keep(release, keep);
                    }
                }
            }
            Event::Serve => {
                if let Some(release) = self.readers.first() {
                    self.keeper.served(release, GB, Duration::from_secs(3));
                }
            }
            Event::Close => {
                if !self.readers.is_empty() {
                    self.keeper.closed(&self.readers.remove(0));
                }
            }
            Event::Come(part) => {
                for (release, most) in self.fetches.clone() {
                    let held = self.disk.entry(release.clone()).or_default();
                    *held += (most.saturating_sub(*held)) / 256 * u64::from(*part);
                    self.keeper.holds(&release, *held, self.now);
                }
            }
            Event::End => {
                if !self.fetches.is_empty() {
                    let (release, most) = self.fetches.remove(0);
                    self.disk.insert(release.clone(), most);
                    self.keeper.holds(&release, most, self.now);
                    self.keeper.fetched(&release, most, Duration::from_secs(most / GB + 1), self.now);
                }
            }
            Event::Ahead => {
                let prefetch = self.keeper.fetch_ahead(self.now);
                self.decisions.push(format!("{prefetch:?}"));
                if let Some(prefetch) = prefetch {
                    assert!(prefetch.why.saves.is_finite() && (0.0..=1.0).contains(&prefetch.why.chance));
                    assert!(!self.readers.contains(&prefetch.release), "somebody waits for it already");
                    self.evict(&prefetch.evict);
                    self.keep(prefetch.release, true);
                }
            }
            Event::Pin(of) => {
                self.pinned.insert(Self::release(*of));
                self.keeper.pin(&Self::release(*of), self.now);
            }
            Event::Unpin(of) => {
                self.pinned.remove(&Self::release(*of));
                self.keeper.unpin(&Self::release(*of));
            }
            Event::Describe(of, size, base) => {
                let base = Self::release(*base);
                let release = Self::release(*of);
                self.keeper.described(&release, *size, Some(&base), self.now);
                let size = (*size).max(self.disk.get(&release).copied().unwrap_or(0));
                for (_, most) in self.fetches.iter_mut().filter(|(fetched, _)| *fetched == release) {
                    *most = size.min(*most);
                }
            }
            Event::Revise(new, old) => {
                self.keeper.revised(&Self::release(*new), &Self::release(*old), self.now);
            }
            Event::Budget(budget) => {
                let evict = self.keeper.set_budget(*budget, self.now);
                self.decisions.push(format!("{evict:?}"));
                self.evict(&evict);
            }
            Event::Seconds(seconds) => self.now += Duration::from_secs(*seconds),
            Event::Restart => self.restart(),
        }
    }

    fn restart(&mut self) {
        let budget = self.keeper.budget();
        self.keeper = Keeper::restore(self.keeper.record(), budget, self.now).unwrap();
        self.fetches.clear();
        self.readers.clear();
        for (release, bytes) in &self.disk {
            self.keeper.holds(release, *bytes, self.now);
        }
    }

    fn check(&self, event: &Event) {
        let Keeper { shelf, .. } = &self.keeper;
        assert_eq!(shelf.used(), shelf.places().map(|(_, place)| place.room).sum::<u64>());
        if matches!(event, Event::Ask(_) | Event::Budget(_)) && shelf.is_over() {
            let is_stuck = shelf.places().all(|(_, place)| place.room == 0 || place.is_in_use());
            assert!(is_stuck, "{:?}", self.decisions.last());
        }
        for (id, place) in shelf.places() {
            assert!(place.held <= place.room && place.room <= place.size.max(place.held), "{place:?}");
            let release = &self.keeper.releases[&id].release;
            assert_eq!(place.held, self.disk.get(release).copied().unwrap_or(0), "{release}");
        }
        for account in &self.keeper.ledger.accounts {
            assert!(account.budget <= i64::try_from(shelf.budget()).unwrap(), "{account:?}");
        }
    }
}

fn play(events: &[Event]) -> Node {
    let mut node = Node::new();
    for of in 0..12 {
        let size = (u64::from(of) % 5 + 1) * 7 * GB;
        node.keeper.described(&Node::release(of), size, None, node.now);
    }
    for event in events {
        node.happen(event);
        node.check(event);
    }
    node
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 128, ..ProptestConfig::default() })]

    #[test]
    fn the_budget_holds_and_nothing_in_use_goes(events in proptest::collection::vec(event(), 1..160)) {
        let node = play(&events);
        let plan = node.keeper.plan();
        prop_assert_eq!(plan.used, node.keeper.used());
        prop_assert!(plan.held.iter().all(|held| held.worth.is_finite()));
    }

    #[test]
    fn equal_events_give_equal_decisions(events in proptest::collection::vec(event(), 1..120)) {
        prop_assert_eq!(play(&events).decisions, play(&events).decisions);
    }

    #[test]
    fn no_forecast_wastes_more_than_it_has_earned(events in proptest::collection::vec(event(), 1..160)) {
        let events: Vec<_> = events.into_iter().filter(|event| !matches!(event, Event::Budget(_))).collect();
        let node = play(&events);
        let first = 60 * GB / 8;
        let days = (node.now.as_secs() - START).div_ceil(86_400);
        for account in node.keeper.ledger.accounts.iter() {
            let largest = 40 * GB;
            let most = first + account.used + first * days / 4 + largest;
            prop_assert!(account.wasted <= most, "{account:?}");
        }
    }
}

#[test]
fn decisions_are_the_same_on_every_platform() {
    // Two weeks of requests from a linear congruence. The digest changes with the rules, and with nothing else.
    let mut random = 7_u64;
    let mut draw = |most: u64| {
        random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (random >> 33) % most
    };
    let mut events = Vec::new();
    for _ in 0..1500 {
        events.extend([
            Event::Seconds(draw(1600)),
            Event::Ask(u8::try_from(draw(12) * draw(12) / 11).unwrap()),
            Event::Ahead,
        ]);
        events.extend([Event::End, Event::End, Event::Close]);
    }
    let node = play(&events);
    let fnv = |digest: u64, byte: u8| (digest ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
    let digest = node.decisions.concat().bytes().fold(0xcbf2_9ce4_8422_2325, fnv);
    assert_eq!(format!("{digest:016x}"), "18e959c6791b0813");
}
