//! The judgement of what was fetched ahead, and the budgets that depend on it.

use std::{
    collections::{BTreeMap, VecDeque},
    time::Duration,
};

use serde::{Deserialize, Serialize};

use crate::{Release, Signal, Why, number::real, shelf::Id};

/// The outcome of a fetch ahead of a request.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Verdict {
    /// The release was asked for: its reader did not wait for so many seconds.
    Used {
        /// By the measured pace of the release's sources.
        saved: f64,
    },
    /// The bytes went before anybody asked for them.
    Evicted,
    /// Nobody asked for the release for two days.
    NotAsked,
}

/// The outcome of a fetch ahead of a request.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Judgement {
    /// The release.
    pub release: Release,
    /// The reason for which it was fetched.
    pub why: Why,
    /// When the fetch began, since the Unix epoch.
    pub began: Duration,
    /// When it was judged.
    pub judged: Duration,
    /// The bytes that are judged: the fetched ones, or those that were evicted.
    pub bytes: u64,
    /// The outcome.
    pub verdict: Verdict,
}

/// The budget of a kind of forecast, and what it has achieved.
///
/// A fetch begins while there is something left, and takes all its bytes, be it into debt. If they are asked for, they
/// come back, and as many again, up to the node's whole budget; if not, they are lost. What is missing to an eighth of
/// the node's budget fills up again, as much in four days, so that the forecast is tried again.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Account {
    /// The kind of forecast.
    pub signal: Signal,
    /// The bytes that may be fetched now for this reason; a debt, if negative.
    pub budget: i64,
    /// The fetched bytes that were asked for.
    pub used: u64,
    /// The fetched bytes that were not.
    pub wasted: u64,
    /// The seconds for which nobody had to wait.
    pub saved: f64,
}

/// A fetch that has not been judged.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Open {
    pub(crate) why: Why,
    pub(crate) began: Duration,
    pub(crate) bytes: u64,
}

/// All fetches ahead of requests.
#[derive(Clone, Debug)]
pub(crate) struct Ledger {
    pub(crate) accounts: Vec<Account>,
    pub(crate) open: BTreeMap<Id, Open>,
    /// The forecasts for a release that were in vain, until it is asked for.
    pub(crate) in_vain: BTreeMap<Id, Vec<Signal>>,
    pub(crate) judged: VecDeque<Judgement>,
    /// When the accounts were last filled up.
    pub(crate) filled: Duration,
    /// The budget of the node.
    whole: u64,
}

/// The first budget of a kind of forecast, as a part of the node's.
const FIRST_PART: u64 = 8;
/// The time in which an empty budget fills up to its first size.
const FILLS_IN: Duration = Duration::from_secs(4 * 86_400);
/// The time after which bytes that nobody asked for count as wasted.
const PATIENCE: Duration = Duration::from_secs(2 * 86_400);
/// The judgements that are kept for people to read.
pub(crate) const MOST_JUDGED: usize = 256;

impl Ledger {
    pub(crate) fn new(whole: u64, now: Duration) -> Self {
        let account =
            |signal| Account { signal, budget: first_budget(whole), used: 0, wasted: 0, saved: 0.0 };
        Self {
            accounts: Signal::FORECASTS.map(account).to_vec(),
            open: BTreeMap::new(),
            in_vain: BTreeMap::new(),
            judged: VecDeque::new(),
            filled: now,
            whole,
        }
    }

    pub(crate) fn set_whole(&mut self, whole: u64) {
        self.whole = whole;
        for account in &mut self.accounts {
            account.budget = account.budget.min(signed(whole));
        }
    }

    /// Fills up the budgets, and judges what nobody has asked for.
    pub(crate) fn pass(&mut self, now: Duration, name: impl Fn(Id) -> Option<Release>) {
        // In whole minutes, so that no rest is lost.
        let minutes = now.saturating_sub(self.filled).as_secs().checked_div(60).unwrap_or(0);
        self.filled = self.filled.saturating_add(Duration::from_secs(minutes.saturating_mul(60)));
        let first = first_budget(self.whole);
        let in_all = i128::from(FILLS_IN.as_secs().checked_div(60).unwrap_or(1));
        let more = i128::from(first).saturating_mul(i128::from(minutes)).checked_div(in_all);
        let more = more.and_then(|more| i64::try_from(more).ok()).unwrap_or(i64::MAX);
        for account in self.accounts.iter_mut().filter(|account| account.budget < first) {
            account.budget = account.budget.saturating_add(more).min(first);
        }
        let is_late = |open: &Open| now.saturating_sub(open.began) > PATIENCE;
        let late: Vec<_> =
            self.open.iter().filter(|(_, open)| is_late(open)).map(|(id, open)| (*id, open.bytes)).collect();
        for (id, bytes) in late {
            self.waste(id, bytes, Verdict::NotAsked, now, name(id));
        }
    }

    /// Whether a kind of forecast may have something fetched. A fetch that has begun may always go on.
    pub(crate) fn allows(&self, id: Id, signal: Signal) -> bool {
        let has_budget = self.account(signal).is_some_and(|account| account.budget > 0);
        signal == Signal::Pinned || has_budget || self.open.contains_key(&id)
    }

    /// Whether the last fetch for this reason was in vain, and nobody has asked for the release since.
    pub(crate) fn is_in_vain(&self, id: Id, signal: Signal) -> bool {
        self.in_vain.get(&id).is_some_and(|signals| signals.contains(&signal))
    }

    pub(crate) fn begin(&mut self, id: Id, why: Why, bytes: u64, now: Duration) {
        let open = self.open.entry(id).or_insert(Open { why, began: now, bytes: 0 });
        open.bytes = open.bytes.saturating_add(bytes);
        let signal = open.why.evidence.signal();
        if let Some(account) = self.account_mut(signal) {
            account.budget = account.budget.saturating_sub(signed(bytes));
        }
    }

    /// Gives back what has been taken for bytes that did not come.
    pub(crate) fn give_back(&mut self, id: Id, bytes: u64) {
        let Some(open) = self.open.get_mut(&id) else { return };
        open.bytes = open.bytes.saturating_sub(bytes);
        let (signal, is_empty) = (open.why.evidence.signal(), open.bytes == 0);
        if is_empty {
            self.open.remove(&id);
        }
        self.earn(signal, bytes);
    }

    /// Judges a release that is asked for, of which a byte takes `pace` seconds to come. Returns whether it was fetched
    /// ahead.
    pub(crate) fn ask(&mut self, id: Id, pace: f64, now: Duration, name: Option<Release>) -> bool {
        self.in_vain.remove(&id);
        let Some(open) = self.open.remove(&id) else { return false };
        let signal = open.why.evidence.signal();
        let saved = pace * real(open.bytes);
        if let Some(account) = self.account_mut(signal) {
            account.used = account.used.saturating_add(open.bytes);
            account.saved += saved;
        }
        self.earn(signal, open.bytes.saturating_mul(2));
        self.tell(name, &open, open.bytes, Verdict::Used { saved }, now);
        true
    }

    /// Judges bytes that are evicted.
    pub(crate) fn lose(&mut self, id: Id, bytes: u64, now: Duration, name: Option<Release>) {
        self.waste(id, bytes, Verdict::Evicted, now, name);
    }

    pub(crate) fn forget(&mut self, id: Id) {
        self.open.remove(&id);
        self.in_vain.remove(&id);
    }

    fn waste(&mut self, id: Id, bytes: u64, verdict: Verdict, now: Duration, name: Option<Release>) {
        let Some(open) = self.open.get_mut(&id) else { return };
        let wasted = bytes.min(open.bytes);
        open.bytes = open.bytes.saturating_sub(wasted);
        let open = open.clone();
        let signal = open.why.evidence.signal();
        if open.bytes == 0 {
            self.open.remove(&id);
            let signals = self.in_vain.entry(id).or_default();
            if !signals.contains(&signal) {
                signals.push(signal);
            }
        }
        if wasted > 0 {
            if let Some(account) = self.account_mut(signal) {
                account.wasted = account.wasted.saturating_add(wasted);
            }
            self.tell(name, &open, wasted, verdict, now);
        }
    }

    fn earn(&mut self, signal: Signal, bytes: u64) {
        let whole = self.whole;
        if let Some(account) = self.account_mut(signal) {
            account.budget = account.budget.saturating_add(signed(bytes)).min(signed(whole));
        }
    }

    fn tell(&mut self, name: Option<Release>, open: &Open, bytes: u64, verdict: Verdict, now: Duration) {
        let Some(release) = name else { return };
        if self.judged.len() >= MOST_JUDGED {
            self.judged.pop_front();
        }
        let Open { why, began, .. } = open.clone();
        self.judged.push_back(Judgement { release, why, began, judged: now, bytes, verdict });
    }

    fn account(&self, signal: Signal) -> Option<&Account> {
        self.accounts.iter().find(|account| account.signal == signal)
    }

    fn account_mut(&mut self, signal: Signal) -> Option<&mut Account> {
        self.accounts.iter_mut().find(|account| account.signal == signal)
    }
}

fn first_budget(whole: u64) -> i64 {
    signed(whole.checked_div(FIRST_PART).unwrap_or(0))
}

fn signed(bytes: u64) -> i64 {
    i64::try_from(bytes).unwrap_or(i64::MAX)
}
