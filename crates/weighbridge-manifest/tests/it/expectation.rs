//! What the caller expects: a model, a head, a time, and nothing that leads back or aside.

use weighbridge_manifest::{
    Expectation, Freshness, Head, Remembered, SignedHead, Time, TrustPolicy, tree::head_id,
};

use crate::kit::{
    EXAMPLE, Key, alice, bob, created_plus, mallory, name, policy, publisher, signed, time, verdict,
};

fn trust() -> TrustPolicy {
    policy(vec![publisher("*", 1, &[alice()])], &[])
}

fn by_alice(text: &str) -> SignedHead {
    signed(text, &[alice()])
}

/// A head of the example's model, created `revision` hours later than the first.
fn revision(number: u64, previous: &str) -> String {
    let hours = i64::try_from(number).unwrap() - 1;
    let head = Head {
        revision: number,
        previous: (number > 1).then(|| head_id(previous.as_bytes())),
        created: created_plus(3_600 * hours),
        ..Head::parse(EXAMPLE).unwrap()
    };
    head.to_text().unwrap()
}

#[test]
fn only_the_wanted_model_is_believed() {
    let named = |wanted: &str| Expectation::any().named(name(wanted));
    let code = |expected: &Expectation| verdict(by_alice(EXAMPLE), &trust(), expected, None);
    assert_eq!(code(&named("sentence-transformers/all-MiniLM-L6-v2")), 0);
    for other in ["sentence-transformers/all-minilm-l6-v2", "sentence-transformers", "all-MiniLM-L6-v2"] {
        assert_eq!(code(&named(other)), 3201, "{other}");
    }
    let error = by_alice(EXAMPLE).verify(&trust(), &named("org/x"), None).unwrap_err();
    assert_eq!(
        error.to_string(),
        "the head is of 'sentence-transformers/all-MiniLM-L6-v2', wanted is 'org/x'"
    );
}

#[test]
fn only_the_wanted_head_is_believed() {
    let code = |text: &str| {
        verdict(by_alice(EXAMPLE), &trust(), &Expectation::any().head(head_id(text.as_bytes())), None)
    };
    assert_eq!(code(EXAMPLE), 0);
    assert_eq!(code(&EXAMPLE[..EXAMPLE.len() - 1]), 3202);
    // Wanting a head is not trusting it.
    let wanted = Expectation::any().head(head_id(EXAMPLE.as_bytes()));
    assert_eq!(verdict(signed(EXAMPLE, &[mallory()]), &trust(), &wanted, None), 3102);
}

#[test]
fn no_earlier_revision_than_the_least_wanted() {
    let text = revision(3, "x");
    for (least, expected) in [(0, 0), (2, 0), (3, 0), (4, 3203), (u64::MAX, 3203)] {
        assert_eq!(
            verdict(by_alice(&text), &trust(), &Expectation::any().min_revision(least), None),
            expected
        );
    }
}

#[test]
fn created_at_most_a_day_ahead_of_now() {
    let code = |behind: i64, expected: &Expectation| {
        verdict(by_alice(EXAMPLE), &trust(), expected, Some(created_plus(-behind)))
    };
    assert_eq!(code(86_400, &Expectation::any()), 0);
    assert_eq!(code(86_401, &Expectation::any()), 3206);
    assert_eq!(code(86_401, &Expectation::any().allow_expired()), 3206, "that waives expiry alone");
    let dawn = time("0000-01-01T00:00:00Z");
    assert_eq!(verdict(by_alice(EXAMPLE), &trust(), &Expectation::any(), Some(dawn)), 3206);
}

#[test]
fn a_head_is_good_until_the_second_in_which_it_expires() {
    let expires = created_plus(100);
    let text = EXAMPLE.replace("expires never", &format!("expires {expires}"));
    let verify = |now: Option<Time>, expected: Expectation| {
        let verified = by_alice(&text).verify(&trust(), &expected, now);
        verified.map(|head| head.freshness()).map_err(|error| error.error_code())
    };
    let (strict, lenient) = (Expectation::any, || Expectation::any().allow_expired());
    assert_eq!(verify(Some(created_plus(99)), strict()), Ok(Freshness::Current));
    assert_eq!(verify(Some(created_plus(100)), strict()), Err(3207));
    assert_eq!(verify(Some(created_plus(101)), strict()), Err(3207));
    assert_eq!(verify(None, strict()), Err(3208));
    assert_eq!(verify(Some(created_plus(99)), lenient()), Ok(Freshness::Current));
    assert_eq!(verify(Some(created_plus(100)), lenient()), Ok(Freshness::Expired { at: expires }));
    assert_eq!(verify(None, lenient()), Ok(Freshness::Unknown { at: expires }));
}

#[test]
fn a_head_that_never_expires_needs_no_clock() {
    for now in [None, Some(created_plus(0)), Some(time("9999-12-31T23:59:59Z"))] {
        let verified = by_alice(EXAMPLE).verify(&trust(), &Expectation::any(), now).unwrap();
        assert_eq!(verified.freshness(), Freshness::Current);
    }
}

fn remembered(text: &str) -> Remembered {
    by_alice(text).recall(&trust()).unwrap()
}

fn after(text: &str, then: &str) -> u16 {
    verdict(by_alice(then), &trust(), &Expectation::any().remembering(remembered(text)), None)
}

#[test]
fn memory_refuses_rollback_and_forks_of_both_kinds() {
    let first = revision(1, "");
    let second = revision(2, &first);
    let third = revision(3, &second);
    assert_eq!(after(&second, &second), 0, "the same again");
    assert_eq!(after(&second, &third), 0, "the next");
    assert_eq!(after(&second, &first), 3204, "the one before");
    assert_eq!(after(&third, &first), 3204);
    let other_second = second.replace("91618861", "91618860");
    assert_eq!(after(&second, &other_second), 3205, "the same revision, another head");
    assert_eq!(after(&second, &revision(3, &other_second)), 3205, "the next of another head");
    assert_eq!(after(&second, &revision(3, &first)), 3205);
    // Which heads lay between is not known.
    assert_eq!(after(&second, &revision(4, &third)), 0, "one skipped");
    assert_eq!(after(&second, &revision(4, &other_second)), 0);
    assert_eq!(after(&first, &revision(1000, &third)), 0);
    let expected = Expectation::any().remembering(remembered(&third));
    let error = by_alice(&second).verify(&trust(), &expected, None).unwrap_err();
    assert_eq!(error.to_string(), "rollback: the head is revision 2, revision 3 was accepted before");
}

#[test]
fn memory_is_of_one_name() {
    let other = revision(5, "x").replace("all-MiniLM", "other");
    assert_eq!(after(&other, EXAMPLE), 0);
}

#[test]
fn memory_is_not_asked_where_the_caller_names_the_head() {
    let (first, third) = (revision(1, ""), revision(3, "x"));
    let expected = Expectation::any().remembering(remembered(&third));
    assert_eq!(verdict(by_alice(&first), &trust(), &expected.clone(), None), 3204);
    assert_eq!(verdict(by_alice(&first), &trust(), &expected.head(head_id(first.as_bytes())), None), 0);
}

#[test]
fn memory_comes_last() {
    let (first, third) = (revision(1, ""), revision(3, "x"));
    let expiring = first.replace("expires never", "expires 2026-11-20T16:31:01Z");
    let expected = Expectation::any().remembering(remembered(&third));
    assert_eq!(verdict(by_alice(&expiring), &trust(), &expected, None), 3208);
    assert_eq!(verdict(by_alice(&expiring), &trust(), &expected.allow_expired(), None), 3204);
}

#[test]
fn what_todays_policy_would_not_believe_is_forgotten() {
    // A stolen key's heads must not lock out the publisher after its revocation.
    let text = revision(7, "x");
    let keys = [alice(), bob()];
    let of = |threshold, revoked: &[Key]| policy(vec![publisher("*", threshold, &keys)], revoked);
    assert!(by_alice(&text).recall(&of(1, &[])).is_some());
    assert_eq!(by_alice(&text).recall(&of(1, &[alice()])), None, "revoked");
    assert_eq!(by_alice(&text).recall(&of(2, &[])), None, "another threshold");
    assert_eq!(
        by_alice(&text).recall(&policy(vec![publisher("org/*", 1, &keys)], &[])),
        None,
        "another scope"
    );
    assert_eq!(signed(&text, &[mallory()]).recall(&of(1, &[])), None, "an unknown key");
    assert_eq!(by_alice("no head\n").recall(&of(1, &[])), None);
    let altered = crate::kit::note(&text, &[alice().line(EXAMPLE)]);
    assert_eq!(altered.recall(&of(1, &[])), None, "altered");
    // That it has expired since is no reason to forget it.
    let expired = EXAMPLE.replace("expires never", "expires 2026-11-20T16:31:01Z");
    assert!(by_alice(&expired).recall(&of(1, &[])).is_some());
    // An accepted head is remembered whoever signed it.
    assert!(signed(&text, &[mallory()]).recall(&TrustPolicy::pinned(head_id(text.as_bytes()))).is_some());
}
