//! The rules of a server, in the order in which they were set, and the number of answers that each has struck.

use std::{
    ops::Range,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering},
    },
};

use super::fault::{Fault, Rule};

#[derive(Default)]
pub(super) struct Rules(Mutex<Vec<Set>>);

struct Set {
    rule: Rule,
    /// The number of answers that matched the rule.
    met: u64,
    strikes: Strikes,
}

/// A fault that holds for an answer, and the range of its rule.
pub(super) struct Struck {
    pub(super) fault: Fault,
    pub(super) within: Option<Range<u64>>,
}

/// The number of answers that had a fault.
#[derive(Clone, Debug, Default)]
pub struct Strikes(Arc<AtomicU64>);

impl Strikes {
    pub fn count(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

impl Rules {
    pub(super) fn add(&self, rule: Rule) -> Strikes {
        let strikes = Strikes::default();
        self.0.lock().unwrap().push(Set { rule, met: 0, strikes: strikes.clone() });
        strikes
    }

    pub(super) fn clear(&self) {
        self.0.lock().unwrap().clear();
    }

    /// The faults of an answer with these bytes of this file. A fault that is another answer stands alone; faults of
    /// the file's bytes wait for an answer that has the file's bytes.
    pub(super) fn strike(&self, path: &str, bytes: &Range<u64>, follows: Follows) -> Vec<Struck> {
        let mut rules = self.0.lock().unwrap();
        let mut about: Vec<_> = rules.iter_mut().filter(|set| set.rule.is_about(path, bytes)).collect();
        let is_met = |fault: &Fault| {
            fault.is_another_answer() && !(follows == Follows::Redirect && fault.leads_here())
        };
        for set in about.iter_mut().filter(|set| is_met(&set.rule.fault)) {
            if let Some(struck) = set.meet() {
                return vec![struck];
            }
        }
        about.into_iter().filter(|set| !set.rule.fault.is_another_answer()).filter_map(Set::meet).collect()
    }
}

/// The origin of a request.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Follows {
    Nothing,
    /// A redirect of this server, which is not redirected again.
    Redirect,
}

impl Set {
    /// Counts an answer that matches the rule; returns the fault if the counts permit it.
    fn meet(&mut self) -> Option<Struck> {
        let Rule { fault, within, after, times, .. } = &self.rule;
        let before = self.met;
        self.met += 1;
        before.checked_sub(*after).filter(|before| before < times)?;
        self.strikes.0.fetch_add(1, Ordering::Relaxed);
        Some(Struck { fault: fault.clone(), within: within.clone() })
    }
}
