//! The name that a verdict gives for an auditor. The vectors of reports cannot express this.

use weighbridge_manifest::{
    Expectation, Head, Report, SignedReport, TrustPolicy, Vkey,
    tree::{ChallengeHash, HeadId, ResponseHash},
};

use crate::kit::{EXAMPLE, Key, alice, bob, created_plus, publisher, signed, trusted};

/// A report that an auditor signed under each of these names.
fn report(prover: &Vkey, id: HeadId, names: &[Key]) -> SignedReport {
    let head = Head::parse(EXAMPLE).unwrap();
    let report = Report {
        name: head.name,
        head: id,
        root: head.root,
        prover: prover.clone(),
        challenge: ChallengeHash::from_bytes([1; 32]),
        response: ResponseHash::from_bytes([2; 32]),
        samples: 1,
        of: 1,
        issued: created_plus(0),
        received: created_plus(1),
    };
    let text = report.to_text().unwrap();
    let lines: String = names.iter().map(|key| format!("{}\n", key.line(&text))).collect();
    SignedReport::parse(format!("{text}\n{lines}").as_bytes()).unwrap()
}

#[test]
fn an_auditor_goes_by_the_first_name_that_the_policy_has_for_its_key() {
    // The order of the report's lines once decided the name, but the party that brings a report chooses that order.
    let (day, night) = (Key::new("day", 7), Key::new("night", 7));
    for listed in [[day.clone(), night.clone()], [night.clone(), day.clone()]] {
        let policy = TrustPolicy::new(vec![publisher("*", 1, &[alice()])], Vec::new(), Vec::new()).unwrap();
        let policy = policy.with_auditors(1, trusted(&listed)).unwrap();
        let head = signed(EXAMPLE, &[alice()]).verify(&policy, &Expectation::any(), None).unwrap();
        for lines in [[day.clone(), night.clone()], [night.clone(), day.clone()]] {
            let report = report(&bob().vkey(), head.id(), &lines);
            let held = head.held(&[report], &policy, Some(created_plus(2)), 60).unwrap();
            assert_eq!(held.counted()[0].auditor.name, *listed[0].vkey().name());
        }
    }
}
