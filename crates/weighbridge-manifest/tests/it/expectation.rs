//! The caller's expectation: a model, a head, a time. The module `memory` tests what the caller remembers.

use weighbridge_manifest::{Coded, Expectation, Freshness, SignedHead, Time, TrustPolicy, tree::head_id};

use crate::kit::{
    EXAMPLE, alice, created_plus, mallory, name, policy, publisher, revision, signed, time, verdict,
};

fn trust() -> TrustPolicy {
    policy(vec![publisher("*", 1, &[alice()])], &[])
}

fn by_alice(text: &str) -> SignedHead {
    signed(text, &[alice()])
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
    // A wanted head is not yet a trusted head.
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
        verified.map(|head| head.freshness()).map_err(|error| error.error_code().get())
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
