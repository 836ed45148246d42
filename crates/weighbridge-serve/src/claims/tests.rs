#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use http::HeaderValue;
use proptest::prelude::*;
use weighbridge_manifest::ModelName;

use super::*;

const HEAD: HeadId = HeadId::from_bytes([7; 32]);

/// The claims of two swarms of one release, of which the second has the members with tags from 100 on.
fn claims() -> Arc<Claims> {
    Claims::new(Swarms::new(|tag, head| (head == HEAD && tag[0] < 200).then_some(usize::from(tag[0] >= 100))))
}

fn model() -> ServedName {
    ServedName::of(ModelName::parse("org/model").unwrap()).unwrap()
}

fn header(member: u8, lease: u64) -> HeaderMap {
    let tag = format!("{member:02x}").repeat(16);
    let mut headers = HeaderMap::new();
    headers.insert(CLAIM, HeaderValue::try_from(format!("{tag} {lease}")).unwrap());
    headers
}

struct Desk {
    claims: Arc<Claims>,
    began: Instant,
}

/// The end of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Asked {
    Unclaimed,
    Given,
    HeldBack(u64),
}

impl Desk {
    fn new() -> Self {
        Self { claims: claims(), began: Instant::now() }
    }

    fn decide(&self, member: u8, range: Range<u64>, ms: u64) -> Verdict {
        let now = self.began + Duration::from_millis(ms);
        self.claims.decide(&header(member, 2_000), (&model(), HEAD), 3, &range, now)
    }

    /// Asks for a piece at this time. The answer is whole, if there is one.
    fn ask(&self, member: u8, ms: u64) -> Asked {
        self.ask_for(member, 0..100, ms)
    }

    fn ask_for(&self, member: u8, range: Range<u64>, ms: u64) -> Asked {
        match self.decide(member, range, ms) {
            Verdict::Unclaimed => Asked::Unclaimed,
            Verdict::Given(claimed) => {
                claimed.end(100, true);
                Asked::Given
            }
            Verdict::HeldBack(time) => Asked::HeldBack(u64::try_from(time.as_millis()).unwrap()),
        }
    }

    fn figures(&self) -> ClaimFigures {
        self.claims.figures().first().map(|(_, figures)| *figures).unwrap_or_default()
    }
}

#[test]
fn a_piece_is_held_back_for_a_lease_from_everybody_but_the_member_that_was_given_it() {
    let desk = Desk::new();
    assert_eq!(desk.ask(1, 0), Asked::Given);
    assert_eq!(desk.ask(2, 1), Asked::HeldBack(1_999));
    assert_eq!(desk.ask(1, 500), Asked::Given, "it asks again, and its lease is not renewed");
    assert_eq!(desk.ask(3, 1_999), Asked::HeldBack(1));
    assert_eq!(desk.ask_for(2, 0..99, 1), Asked::Given, "another range");
    assert_eq!(
        desk.ask(100, 1),
        Asked::Given,
        "a member of another swarm, which hears nothing from this one"
    );
    assert_eq!(desk.ask(2, 2_000), Asked::Given);
    let figures = ClaimFigures { once: 300, same_member: 100, after_lease: 100, held_back: 2 };
    assert_eq!(desk.figures(), figures);
}

/// Others waited for a member with a hundredth of their line, for its whole lease: they took twice as long.
#[test]
fn nobody_waits_for_longer_than_its_own_lease() {
    let desk = Desk::new();
    let decide = |member, lease, ms| {
        let now = desk.began + Duration::from_millis(ms);
        desk.claims.decide(&header(member, lease), (&model(), HEAD), 3, &(0..100), now)
    };
    let Verdict::Given(slow) = decide(1, 60_000, 0) else { panic!("nothing is held back yet") };
    slow.end(100, true);
    let held_back = |verdict| if let Verdict::HeldBack(time) = verdict { time.as_millis() } else { 0 };
    assert_eq!(held_back(decide(2, 1_000, 400)), 600);
    assert_eq!(held_back(decide(3, 5_000, 400)), 4_600);
    assert_eq!(held_back(decide(2, 1_000, 1_000)), 0);
}

/// Members of a small swarm waited for the lease of a slow one, though all of them had heard its claim.
#[test]
fn a_claim_without_a_lease_counts_and_holds_nothing_back() {
    let desk = Desk::new();
    let ask = |member, lease, ms| {
        let now = desk.began + Duration::from_millis(ms);
        match desk.claims.decide(&header(member, lease), (&model(), HEAD), 3, &(0..100), now) {
            Verdict::Unclaimed => Asked::Unclaimed,
            Verdict::Given(claimed) => {
                claimed.end(100, true);
                Asked::Given
            }
            Verdict::HeldBack(time) => Asked::HeldBack(u64::try_from(time.as_millis()).unwrap()),
        }
    };
    assert_eq!(
        (ask(1, 0, 0), ask(2, 2_000, 1)),
        (Asked::Given, Asked::Given),
        "nothing is held back for the first"
    );
    assert_eq!(
        (ask(1, 0, 2), ask(3, 2_000, 3)),
        (Asked::Given, Asked::HeldBack(1_998)),
        "but for the second"
    );
    assert_eq!(desk.figures(), ClaimFigures { once: 100, same_member: 0, after_lease: 200, held_back: 1 });
}

/// Whoever asks without end, by a copied tag or as a member, could otherwise keep a piece from all others for ever.
#[test]
fn three_leases_follow_in_which_nothing_is_held_back() {
    let desk = Desk::new();
    assert_eq!(desk.ask(1, 0), Asked::Given);
    for ms in (2_000..8_000).step_by(100) {
        assert_eq!(desk.ask(1, ms), Asked::Given);
        assert_eq!((desk.ask(2, ms), desk.ask(3, ms)), (Asked::Given, Asked::Given), "at {ms}");
    }
    assert_eq!((desk.ask(3, 8_000), desk.ask(2, 8_001)), (Asked::Given, Asked::HeldBack(1_999)));
}

#[test]
fn an_answer_that_breaks_off_does_not_count() {
    let desk = Desk::new();
    let Verdict::Given(claimed) = desk.decide(1, 0..100, 0) else { panic!("nothing is held back yet") };
    assert_eq!(desk.ask(2, 1), Asked::HeldBack(1_999), "it is on its way");
    claimed.end(40, false);
    assert_eq!(desk.ask(2, 2), Asked::Given);
    // One that is dropped before it has begun, such as for a file that cannot be read.
    drop(desk.decide(1, 100..200, 3));
    assert_eq!(desk.ask_for(2, 100..200, 4), Asked::Given);
    // Another answer to the member that has it changes nothing.
    drop(desk.decide(2, 0..100, 5));
    assert_eq!(desk.ask(3, 6), Asked::HeldBack(1_996));
    assert_eq!(desk.figures().once, 240);
}

#[test]
fn requests_without_a_claim_that_counts_are_answered_as_ever() {
    let desk = Desk::new();
    assert_eq!(desk.ask(1, 0), Asked::Given);
    let now = desk.began + Duration::from_millis(1);
    let about = |headers: &HeaderMap, head| desk.claims.decide(headers, (&model(), head), 3, &(0..100), now);
    let is_unclaimed = |verdict| matches!(verdict, Verdict::Unclaimed);
    assert!(is_unclaimed(about(&HeaderMap::new(), HEAD)));
    // Nobody has this tag, and the swarm shares another release.
    assert!(is_unclaimed(about(&header(200, 2_000), HEAD)));
    assert!(is_unclaimed(about(&header(2, 2_000), HeadId::from_bytes([8; 32]))));
    // Malformed, and two of them.
    assert!(is_unclaimed(about(&header(2, 999), HEAD)));
    let mut twice = header(2, 2_000);
    twice.append(CLAIM, HeaderValue::from_static("x"));
    assert!(is_unclaimed(about(&twice, HEAD)));
    assert!(matches!(about(&header(2, 2_000), HEAD), Verdict::HeldBack(_)));
}

#[test]
fn a_claim_is_written_in_one_way() {
    let tag = "000102030405060708090a0b0c0d0e0f";
    for (lease, is_good) in [
        ("0", true),
        ("1000", true),
        ("60000", true),
        ("", false),
        ("00", false),
        ("1", false),
        ("999", false),
        ("60001", false),
        ("01000", false),
        ("+1000", false),
    ] {
        assert_eq!(Claim::parse(&format!("{tag} {lease}")).is_some(), is_good, "{lease}");
    }
    for text in [
        "",
        " ",
        tag,
        &format!("{tag} "),
        &format!("{tag}  1000"),
        &format!("{tag} 1000 "),
        &format!(" {tag} 1000"),
        &format!("{tag};1000"),
        &format!("{} 1000", &tag[1..]),
        &format!("{tag}0 1000"),
        &format!("{} 1000", tag.to_uppercase()),
        &format!("+{} 1000", &tag[1..]),
        &format!("{} 1000", "\u{e4}".repeat(16)),
        &format!("{tag} 99999999999999999999999"),
    ] {
        assert_eq!(Claim::parse(text), None, "{text}");
    }
}

#[test]
fn no_more_ranges_are_remembered_than_there_is_room_for() {
    let desk = Desk::new();
    let most = u64::try_from(MOST_GRANTS).unwrap();
    for start in 0..most {
        assert_eq!(desk.ask_for(1, start..start + 1, 0), Asked::Given);
    }
    // There is no room: it is given, and not held back.
    assert_eq!((desk.ask(1, 1_500), desk.ask(2, 1_501)), (Asked::Given, Asked::Given));
    // The others are held back as before, and make room when their cycle is over.
    assert_eq!(desk.ask_for(2, 0..1, 1_502), Asked::HeldBack(498));
    assert_eq!((desk.ask(1, 8_000), desk.ask(2, 8_001)), (Asked::Given, Asked::HeldBack(1_999)));
    assert_eq!(lock(&desk.claims.given).grants.len(), 1);
}

proptest! {
    #[test]
    fn a_claim_reads_as_it_was_written(tag: [u8; 16], lease in prop_oneof![Just(0_u64), 1_000_u64..=60_000]) {
        let digits: String = tag.iter().map(|byte| format!("{byte:02x}")).collect();
        let claim = Claim { tag, lease: Duration::from_millis(lease) };
        prop_assert_eq!(Claim::parse(&format!("{digits} {lease}")), Some(claim));
    }

    #[test]
    fn no_text_panics(text in "[0-9a-fg ]{0,40}|\\PC{0,60}") {
        if let Some(claim) = Claim::parse(&text) {
            let digits: String = claim.tag.iter().map(|byte| format!("{byte:02x}")).collect();
            prop_assert_eq!(format!("{digits} {}", claim.lease.as_millis()), text);
        }
    }

    /// Whatever others claim: a member that is held back is given the piece at the time that it was told, at the latest after its
    /// own lease.
    #[test]
    fn who_comes_again_when_told_is_given_the_piece(
        asks in proptest::collection::vec((0_u8..6, 0_u64..4_000), 1..100),
    ) {
        let desk = Desk::new();
        let mut ms = 0;
        for (member, pause) in asks {
            ms += pause;
            if let Asked::HeldBack(time) = desk.ask(member, ms) {
                prop_assert!((1..=2_000).contains(&time));
                ms += time;
                prop_assert_eq!(desk.ask(member, ms), Asked::Given);
            }
        }
    }
}
