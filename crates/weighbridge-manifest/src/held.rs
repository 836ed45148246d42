//! Decides whether auditors found that a model can be had (`spec/trust.md`, levels).

use alloc::{
    collections::{BTreeMap, VecDeque},
    vec::Vec,
};
use core::fmt;

use weighbridge_tree::{Coded, ErrorCode};

use crate::{
    belief::{Signer, counting, signed_by},
    key::{KeyName, PublicKey, Vkey},
    policy::{Auditors, TrustPolicy, distinct},
    shown::shown,
    statement::{Report, SignedReport},
    statement_error::StatementError,
    time::Time,
    trust::{MAX_AHEAD, VerifiedHead},
};

/// The levels of knowledge about a model's availability. A higher level includes the lower ones.
#[non_exhaustive]
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// The policy believes the model's head: there is a [`VerifiedHead`].
    Published,
    /// Listed auditors found that the model can be had: there is a [`Held`].
    Held,
}

impl fmt::Display for Level {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Published => "published",
            Self::Held => "held",
        })
    }
}

/// Enough reports that nodes could produce random bytes of a model.
///
/// # Guarantee
/// A sufficient number of the policy's auditors signed that as many distinct prover keys answered their challenges. All
/// challenges were about exactly the verified head, and were issued recently enough. No auditor key and no prover key
/// counts twice.
///
/// # Non-guarantee
/// Keys are not machines: one node can have several keys. The auditors choose how much they sample. The reports do not
/// show that the nodes store the bytes themselves, nor that the nodes will have them tomorrow. An auditor can lie.
#[derive(Clone, Debug, PartialEq, Eq)]
#[must_use]
pub struct Held {
    counted: Vec<CountedReport>,
    passed_over: Vec<PassedOver>,
}

impl Held {
    /// The reports that count, in the given order. There are at least as many as the policy demands.
    #[must_use]
    pub fn counted(&self) -> &[CountedReport] {
        &self.counted
    }

    /// The reports that do not count, in the given order, each with the reason.
    #[must_use]
    pub fn passed_over(&self) -> &[PassedOver] {
        &self.passed_over
    }
}

/// A report that counts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CountedReport {
    /// The number of the report, counted from 1.
    pub number: usize,
    /// The auditor for whom the report counts.
    pub auditor: Signer,
    /// The prover that answered the challenge.
    pub prover: Vkey,
    /// The time at which the auditor had received the whole response, as stated by the auditor.
    pub received: Time,
}

/// A report that does not count.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PassedOver {
    /// The number of the report, counted from 1.
    pub number: usize,
    /// The reason.
    pub why: NotCounted,
}

/// The reason why a report does not count.
#[non_exhaustive]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NotCounted {
    /// No listed auditor signed the report. Its text was not read.
    UnknownAuditor,
    /// The key that signed the report is revoked.
    Revoked,
    /// The key that signed the report was outside its dates when the response came.
    OutOfDate,
    /// The caller does not know the time.
    TimeUnknown,
    /// The challenge was issued earlier than the caller allows.
    TooOld,
    /// The response came more than a day ahead of the caller's time.
    FromTheFuture,
    /// The report's auditor or prover already counts with another report.
    Repeated,
}

impl fmt::Display for NotCounted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::UnknownAuditor => "no listed auditor signed it",
            Self::Revoked => "its auditor's key is revoked",
            Self::OutOfDate => "its auditor's key was out of date when the response came",
            Self::TimeUnknown => "the time is not known",
            Self::TooOld => "it is too old",
            Self::FromTheFuture => "it is from the future",
            Self::Repeated => "its auditor or its prover counts already",
        })
    }
}

impl VerifiedHead {
    /// Decides whether this model is held by the policy.
    ///
    /// `now` is the caller's time; if it is `None`, no report counts. `max_age` is the greatest age of a report, in
    /// seconds. The number of counted reports does not depend on the order of `reports`, but the report that an error
    /// names does.
    ///
    /// # Errors
    /// [`HeldError`], the first in the order of `spec/trust.md`.
    ///
    /// # Cost
    /// At most [`MAX_REPORTS`] reports. One signature check for each signature line whose key the policy lists, and the
    /// checks of one vkey for each such report. The choice among the reports takes at most the number of auditors times
    /// the number of pairs of auditor and prover.
    pub fn held(
        &self,
        reports: &[SignedReport],
        policy: &TrustPolicy,
        now: Option<Time>,
        max_age: u64,
    ) -> Result<Held, HeldError> {
        let auditors = policy.auditors().ok_or(HeldError::NoAuditors)?;
        if reports.len() > MAX_REPORTS {
            return Err(HeldError::TooManyReports { reports: reports.len() });
        }
        let mut passed_over = Vec::new();
        let mut offers = Offers::new();
        for (number, signed) in (1..).zip(reports) {
            match self.judge(number, signed, policy, auditors, Period { now, max_age })? {
                Ok((counting, report)) => {
                    for auditor in counting {
                        let offer = Offer { number, auditor, report: report.clone() };
                        let pairs = offers.entry(*auditor.public_key()).or_default();
                        let best = pairs.entry(*report.prover.public_key()).or_insert_with(|| offer.clone());
                        if offer.report.received > best.report.received {
                            *best = offer;
                        }
                    }
                }
                Err(why) => passed_over.push(PassedOver { number, why }),
            }
        }
        let provers = |pairs: &BTreeMap<PublicKey, Offer<'_>>| pairs.keys().copied().collect::<Vec<_>>();
        let graph = offers.iter().map(|(auditor, pairs)| (*auditor, provers(pairs))).collect();
        let mut counted: Vec<CountedReport> = largest_matching(&graph)
            .into_iter()
            .filter_map(|(auditor, prover)| offers.get(&auditor)?.get(&prover))
            .map(Offer::counted)
            .collect();
        counted.sort_unstable_by_key(|report| report.number);
        for number in (1..).take(reports.len()) {
            let settled = counted.iter().any(|report| report.number == number)
                || passed_over.iter().any(|report| report.number == number);
            if !settled {
                passed_over.push(PassedOver { number, why: NotCounted::Repeated });
            }
        }
        passed_over.sort_unstable_by_key(|report| report.number);
        let have = distinct(counted.iter().map(|report| &report.auditor.key))
            .min(distinct(counted.iter().map(|report| report.prover.public_key())));
        if have < auditors.threshold {
            return Err(HeldError::TooFew { have, need: auditors.threshold, passed_over });
        }
        Ok(Held { counted, passed_over })
    }

    /// Returns the listed keys for which a report counts, or the reason why it does not count; an error if the report
    /// refuses the whole set of reports.
    fn judge<'p>(
        &self,
        number: usize,
        signed: &SignedReport,
        policy: &TrustPolicy,
        auditors: &'p Auditors,
        period: Period,
    ) -> Result<Result<(Vec<&'p Vkey>, Report), NotCounted>, HeldError> {
        let listed = auditors.keys.iter().map(|key| &key.vkey);
        let is_revoked = |key: &PublicKey| policy.is_revoked(key);
        let signers = signed_by(signed.note(), &listed, is_revoked);
        if let Some(name) = signers.bad {
            return Err(HeldError::BadSignature { number, auditor: name.clone() });
        }
        if signers.keys().next().is_none() {
            return Ok(Err(NotCounted::UnknownAuditor));
        }
        // A report by revoked keys only is not read: anybody may hold a revoked key, and its report must not cause an
        // error.
        if signers.keys().all(|key| is_revoked(key.public_key())) {
            return Ok(Err(NotCounted::Revoked));
        }
        let fail = |error| HeldError::Report { number, error };
        let report = Report::parse(signed.note().text()).map_err(fail)?;
        report.check_is_of(self).map_err(fail)?;
        let counting = counting(&auditors.keys, &signers, report.received, is_revoked);
        if counting.is_empty() {
            return Ok(Err(NotCounted::OutOfDate));
        }
        Ok(period.holds(report.issued, report.received).map(|()| (counting, report)))
    }
}

/// The period in which reports are neither too old nor from the future.
#[derive(Clone, Copy)]
struct Period {
    now: Option<Time>,
    max_age: u64,
}

impl Period {
    fn holds(self, issued: Time, received: Time) -> Result<(), NotCounted> {
        let now = self.now.ok_or(NotCounted::TimeUnknown)?;
        if received.seconds_after(now) > MAX_AHEAD {
            return Err(NotCounted::FromTheFuture);
        }
        // A prover could know its response once the challenge was issued, and then delete the model, so age counts from
        // `issued`. A time ahead of `now` has no age.
        if u64::try_from(now.seconds_after(issued)).is_ok_and(|age| age > self.max_age) {
            return Err(NotCounted::TooOld);
        }
        Ok(())
    }
}

/// For each auditor and each prover, the latest report of that auditor about that prover.
type Offers<'p> = BTreeMap<PublicKey, BTreeMap<PublicKey, Offer<'p>>>;

/// A report that counts for this auditor if the matching chooses it.
#[derive(Clone)]
struct Offer<'p> {
    number: usize,
    auditor: &'p Vkey,
    report: Report,
}

impl Offer<'_> {
    fn counted(&self) -> CountedReport {
        CountedReport {
            number: self.number,
            auditor: Signer { name: self.auditor.name().clone(), key: *self.auditor.public_key() },
            prover: self.report.prover.clone(),
            received: self.report.received,
        }
    }
}

/// Finds a largest set of pairs of which no two share an end, by Berge's augmenting paths, searched breadth first.
///
/// A greedy choice is not enough: of (a, p), (a, q), (b, p) it can take the first pair, and then no other.
fn largest_matching<K: Copy + Ord>(graph: &BTreeMap<K, Vec<K>>) -> BTreeMap<K, K> {
    let mut right_of: BTreeMap<K, K> = BTreeMap::new();
    let mut left_of: BTreeMap<K, K> = BTreeMap::new();
    for &start in graph.keys() {
        // Each right end that was reached, with the left end from which it was reached.
        let mut reached: BTreeMap<K, K> = BTreeMap::new();
        let mut queue = VecDeque::from([start]);
        let mut free = None;
        'search: while let Some(left) = queue.pop_front() {
            for &right in graph.get(&left).into_iter().flatten() {
                if reached.contains_key(&right) {
                    continue;
                }
                reached.insert(right, left);
                match left_of.get(&right) {
                    Some(&taken_by) => queue.push_back(taken_by),
                    None => {
                        free = Some(right);
                        break 'search;
                    }
                }
            }
        }
        // Goes back along the path. Each left end takes the right end that it reached, and gives up its previous one.
        // The start had none to give up.
        while let Some(right) = free {
            let Some(&left) = reached.get(&right) else { break };
            left_of.insert(right, left);
            free = right_of.insert(left, right);
        }
    }
    right_of
}

/// The most reports that are judged at once (rule 12).
pub const MAX_REPORTS: usize = 1_000;

/// The reason why a model is not held.
#[non_exhaustive]
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum HeldError {
    /// The policy lists no auditors.
    NoAuditors,
    /// There are more than [`MAX_REPORTS`] reports. None was judged. The content of reports never causes this.
    TooManyReports {
        /// The number of reports.
        reports: usize,
    },
    /// A signature line names a listed auditor, but the signature is not by the auditor's key.
    BadSignature {
        /// The number of the report, counted from 1.
        number: usize,
        /// The auditor's name.
        auditor: KeyName,
    },
    /// A listed auditor signed a text that is not a report or is about another head.
    Report {
        /// The number of the report, counted from 1.
        number: usize,
        /// The fault of the report.
        error: StatementError,
    },
    /// Fewer reports count than the policy demands.
    TooFew {
        /// The number of reports that count.
        have: usize,
        /// The number of reports that the policy demands.
        need: usize,
        /// The reports that do not count, each with the reason.
        passed_over: Vec<PassedOver>,
    },
}

impl Coded for HeldError {
    fn error_code(&self) -> ErrorCode {
        match self {
            Self::NoAuditors => ErrorCode::NO_AUDITORS,
            Self::TooManyReports { .. } => ErrorCode::USAGE,
            Self::BadSignature { .. } => ErrorCode::BAD_SIGNATURE,
            Self::Report { error, .. } => error.error_code(),
            Self::TooFew { .. } => ErrorCode::TOO_FEW_REPORTS,
        }
    }
}

impl fmt::Display for HeldError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoAuditors => f.write_str("the policy lists no auditors"),
            Self::TooManyReports { reports } => {
                write!(f, "at most {MAX_REPORTS} reports are judged at once, these are {reports}")
            }
            Self::BadSignature { number, auditor } => {
                write!(
                    f,
                    "report {number}: the signature by '{}' does not verify: it was altered",
                    shown(auditor.as_str())
                )
            }
            Self::Report { number, error } => write!(f, "report {number}: {error}"),
            Self::TooFew { have, need, .. } => write!(f, "{have} of {need} demanded reports count"),
        }
    }
}

impl core::error::Error for HeldError {
    fn source(&self) -> Option<&(dyn core::error::Error + 'static)> {
        match self {
            Self::Report { error, .. } => Some(error),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::collections::BTreeSet;
    use proptest::prelude::*;

    type Graph = BTreeMap<u8, Vec<u8>>;

    fn graph(pairs: &[(u8, u8)]) -> Graph {
        let mut graph = Graph::new();
        for &(left, right) in pairs {
            graph.entry(left).or_default().push(right);
        }
        graph
    }

    /// Tries every way to give each left end one of its right ends, or none.
    fn by_trying_all(graph: &Graph, left: u8, taken: &mut BTreeSet<u8>) -> usize {
        let Some((&next, rights)) = graph.range(left..).next() else { return 0 };
        let mut best = by_trying_all(graph, next + 1, taken);
        for &right in rights {
            if taken.insert(right) {
                best = best.max(1 + by_trying_all(graph, next + 1, taken));
                taken.remove(&right);
            }
        }
        best
    }

    fn is_matching_of(graph: &Graph, matching: &BTreeMap<u8, u8>) -> bool {
        let rights: BTreeSet<u8> = matching.values().copied().collect();
        rights.len() == matching.len()
            && matching.iter().all(|(left, right)| graph.get(left).is_some_and(|all| all.contains(right)))
    }

    #[test]
    fn a_matching_takes_back_what_a_greedy_choice_would_keep() {
        for (pairs, size) in [
            (&[][..], 0),
            (&[(1, 1)], 1),
            (&[(1, 1), (1, 2), (2, 1)], 2),
            (&[(1, 1), (2, 1), (3, 1)], 1),
            (&[(1, 1), (1, 2), (1, 3)], 1),
            // Each start except the first moves all pairs before it.
            (&[(1, 1), (1, 2), (2, 1), (2, 3), (3, 1), (3, 4), (4, 1)], 4),
            (&[(1, 1), (1, 2), (2, 2), (2, 3), (3, 3), (3, 4), (4, 1), (4, 2), (5, 1)], 4),
        ] {
            let graph = graph(pairs);
            let matching = largest_matching(&graph);
            assert_eq!(matching.len(), size, "{pairs:?}");
            assert!(is_matching_of(&graph, &matching), "{pairs:?}");
        }
    }

    #[test]
    fn a_chain_as_long_as_there_may_be_reports_is_walked_to_its_end() {
        // Left end i reaches the right ends i and i + 1, and the last left end reaches only the first right end. So the
        // last path moves all pairs before it.
        let count = 1_000_u32;
        let mut graph: BTreeMap<u32, Vec<u32>> = (0..count).map(|i| (i, [i, i + 1].to_vec())).collect();
        graph.insert(count, [0].to_vec());
        assert_eq!(largest_matching(&graph).len(), 1_001);
        graph.insert(count + 1, [0].to_vec());
        assert_eq!(largest_matching(&graph).len(), 1_001);
    }

    proptest! {
        #[test]
        fn a_matching_is_as_large_as_trying_all_finds(
            pairs in proptest::collection::vec((0u8..6, 0u8..6), 0..18)
        ) {
            let graph = graph(&pairs);
            let matching = largest_matching(&graph);
            prop_assert!(is_matching_of(&graph, &matching));
            prop_assert_eq!(matching.len(), by_trying_all(&graph, 0, &mut BTreeSet::new()));
        }
    }

    #[test]
    fn a_report_may_be_as_old_as_the_caller_allows_and_a_day_ahead() {
        let at = |seconds| Time::from_unix(seconds).unwrap();
        let holds =
            |received, now, max_age| Period { now: Some(at(now)), max_age }.holds(at(received), at(received));
        assert_eq!(holds(0, 10, 10), Ok(()));
        assert_eq!(holds(0, 11, 10), Err(NotCounted::TooOld));
        assert_eq!(holds(5, 5, 0), Ok(()));
        // The challenge was issued long ago and answered now.
        assert_eq!(Period { now: Some(at(11)), max_age: 10 }.holds(at(0), at(11)), Err(NotCounted::TooOld));
        assert_eq!(holds(6, 5, 0), Ok(()));
        assert_eq!(holds(86_400, 0, 0), Ok(()));
        assert_eq!(holds(86_401, 0, u64::MAX), Err(NotCounted::FromTheFuture));
        let (first, last) = ("0000-01-01T00:00:00Z", "9999-12-31T23:59:59Z");
        let ends = |received, now| {
            let now = Time::parse(now).ok();
            let received = Time::parse(received).unwrap();
            Period { now, max_age: u64::MAX }.holds(received, received)
        };
        assert_eq!(ends(first, last), Ok(()));
        assert_eq!(ends(last, first), Err(NotCounted::FromTheFuture));
        assert_eq!(Period { now: None, max_age: u64::MAX }.holds(at(0), at(0)), Err(NotCounted::TimeUnknown));
    }

    #[test]
    fn levels_are_named_and_ordered() {
        use alloc::string::ToString;
        assert_eq!([Level::Published, Level::Held].map(|level| level.to_string()), ["published", "held"]);
        assert!(Level::Published < Level::Held);
    }
}
