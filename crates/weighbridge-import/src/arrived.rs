//! Which bytes of a file have come.

use std::{
    collections::BTreeMap,
    ops::Range,
    sync::{Condvar, Mutex, MutexGuard, PoisonError},
};

use weighbridge_store::scan::Arrivals;

/// The bytes of one file that are written. Whoever hashes the file waits for the beginning of it to grow.
#[derive(Debug, Default)]
pub(crate) struct Arrived {
    state: Mutex<State>,
    grown: Condvar,
}

#[derive(Debug, Default)]
struct State {
    /// The file is there, with or without bytes.
    is_made: bool,
    /// All bytes before this one are there.
    prefix: u64,
    /// Runs of bytes behind a gap: where each begins, and its end.
    ahead: BTreeMap<u64, u64>,
    /// No more bytes will come.
    has_ended: bool,
}

impl Arrived {
    /// Notes that the file is there.
    pub(crate) fn made(&self) {
        self.state().is_made = true;
        self.grown.notify_all();
    }

    /// Adds bytes that are written.
    pub(crate) fn add(&self, bytes: &Range<u64>) {
        let mut state = self.state();
        if bytes.is_empty() {
            return;
        }
        let end = state.ahead.entry(bytes.start).or_default();
        *end = (*end).max(bytes.end);
        let mut prefix = state.prefix;
        while let Some(run) = state.ahead.first_entry()
            && *run.key() <= prefix
        {
            prefix = prefix.max(run.remove());
        }
        state.prefix = prefix;
        drop(state);
        self.grown.notify_all();
    }

    /// Ends the waiting: no more bytes will come.
    pub(crate) fn end(&self) {
        self.state().has_ended = true;
        self.grown.notify_all();
    }

    /// The ranges of a file of this length that are missing, in order.
    pub(crate) fn missing(&self, size: u64) -> Vec<Range<u64>> {
        let state = self.state();
        let (mut missing, mut at) = (Vec::new(), state.prefix);
        for (start, end) in state.ahead.iter().map(|(start, end)| (*start, *end)).chain([(size, size)]) {
            if at < start.min(size) {
                missing.push(at..start.min(size));
            }
            at = at.max(end);
        }
        missing
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Arrivals for Arrived {
    fn wait(&self, end: u64) -> bool {
        let lacks = |state: &mut State| !(state.has_ended || state.is_made && state.prefix >= end);
        let waited = self.grown.wait_while(self.state(), lacks);
        let state = waited.unwrap_or_else(PoisonError::into_inner);
        state.is_made && state.prefix >= end
    }
}

#[cfg(test)]
mod tests {
    use std::{sync::Arc, thread};

    use proptest::{collection::vec, prelude::*};

    use super::*;

    #[test]
    fn runs_in_any_order_make_the_beginning_grow() {
        let arrived = Arrived::default();
        assert_eq!(arrived.missing(100), [0..100; 1]);
        assert!(arrived.missing(0).is_empty());
        arrived.add(&(10..20));
        arrived.add(&(50..60));
        assert_eq!(arrived.missing(100), [0..10, 20..50, 60..100]);
        arrived.add(&(0..10));
        assert_eq!(arrived.missing(60), [20..50; 1]);
        arrived.add(&(20..50));
        arrived.add(&(5..5));
        // What comes twice is there once.
        arrived.add(&(40..60));
        arrived.add(&(0..30));
        assert_eq!(arrived.missing(100), [60..100; 1]);
        assert!(arrived.missing(60).is_empty());
    }

    proptest! {
        #[test]
        fn any_runs_leave_what_none_of_them_has(runs in vec((0..60_u64, 0..20_u64), 0..12), size in 0..70_u64) {
            let arrived = Arrived::default();
            let mut there = [false; 100];
            for (start, len) in runs {
                arrived.add(&(start..start + len));
                (start..start + len).for_each(|at| there[usize::try_from(at).unwrap()] = true);
            }
            let missing = arrived.missing(size);
            prop_assert!(missing.iter().all(|run| run.start < run.end && run.end <= size));
            for at in 0..size {
                let is_missing = missing.iter().any(|run| run.contains(&at));
                prop_assert_eq!(is_missing, !there[usize::try_from(at).unwrap()], "{}", at);
            }
            arrived.made();
            arrived.end();
            let prefix = there.iter().position(|there| !there).unwrap() as u64;
            prop_assert!(arrived.wait(prefix) && !arrived.wait(prefix + 1));
        }
    }

    #[test]
    fn a_waiter_goes_on_when_its_bytes_are_there_and_when_none_will_come() {
        let arrived = Arc::new(Arrived::default());
        let waiter = {
            let arrived = Arc::clone(&arrived);
            thread::spawn(move || [arrived.wait(0), arrived.wait(15), arrived.wait(21)])
        };
        arrived.add(&(10..20));
        arrived.made();
        arrived.add(&(0..10));
        arrived.end();
        assert_eq!(waiter.join().unwrap(), [true, true, false]);
        assert!(arrived.wait(20), "what has come is there after the end, too");
        let never_made = Arrived::default();
        never_made.add(&(0..10));
        never_made.end();
        assert!(!never_made.wait(0));
    }
}
