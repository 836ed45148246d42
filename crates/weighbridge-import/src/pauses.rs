//! The pauses after faults of a source, and its end.

use std::{
    sync::{Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use weighbridge_transfer::Fault;

/// The faults of a source since it last gave something, and the time at which it is asked again.
#[derive(Debug, Default)]
pub(crate) struct Pauses(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    failures: u32,
    until: Option<Instant>,
    why: Option<Fault>,
}

impl Pauses {
    /// Begins a pause after a fault. Faults of other requests that end during a pause are the same fault.
    ///
    /// # Errors
    /// The source is not to be asked again: it has failed too often, or asks to be left alone for too long.
    pub(crate) fn begin(&self, fault: &Fault, now: Instant) -> Result<(), ()> {
        let mut state = self.state();
        if state.until.is_some_and(|until| now < until) {
            return Ok(());
        }
        state.failures += 1;
        let (most, pause) = match fault {
            Fault::Busy { retry_after, .. } => (BUSY, retry_after.unwrap_or(step(state.failures))),
            Fault::Refused(_) => (DENIED, step(state.failures)),
            _ => (BROKEN, step(state.failures)),
        };
        if state.failures > most || pause > LONGEST {
            return Err(());
        }
        state.until = Some(now + pause);
        state.why = Some(fault.clone());
        Ok(())
    }

    /// The source has given something.
    pub(crate) fn end(&self) {
        let mut state = self.state();
        state.failures = 0;
    }

    /// Waits for the end of a pause.
    pub(crate) async fn wait(&self) {
        loop {
            let until = self.state().until;
            match until {
                Some(until) if until > Instant::now() => tokio::time::sleep_until(until.into()).await,
                _ => return,
            }
        }
    }

    /// The fault for which the source is left alone now, and for how long.
    pub(crate) fn now(&self, now: Instant) -> Option<(Fault, Duration)> {
        let state = self.state();
        let left = state.until?.checked_duration_since(now)?;
        Some((state.why.clone()?, left))
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// 1, 2, 4 … seconds.
fn step(failures: u32) -> Duration {
    Duration::from_secs(1 << failures.saturating_sub(1).min(5))
}

/// The number of times, with nothing given in between, that a source may ask to be left alone, deny a request, or break off.
const BUSY: u32 = 20;
const DENIED: u32 = 3;
const BROKEN: u32 = 7;
/// The longest pause that is waited for.
const LONGEST: Duration = Duration::from_secs(600);

#[cfg(test)]
mod tests {
    use super::*;

    fn broken() -> Fault {
        Fault::Unreachable("broken".to_owned())
    }

    #[test]
    fn pauses_grow_until_the_source_is_given_up() {
        let (pauses, mut now) = (Pauses::default(), Instant::now());
        for seconds in [1, 2, 4, 8, 16, 32, 32] {
            pauses.begin(&broken(), now).unwrap();
            assert_eq!(pauses.now(now).unwrap(), (broken(), Duration::from_secs(seconds)));
            now += Duration::from_secs(seconds);
            assert!(pauses.now(now + Duration::from_millis(1)).is_none());
        }
        pauses.begin(&broken(), now).unwrap_err();
        // What it gives in between makes up for it.
        pauses.end();
        pauses.begin(&broken(), now).unwrap();
    }

    #[test]
    fn faults_during_a_pause_count_once() {
        let (pauses, now) = (Pauses::default(), Instant::now());
        (0..100).for_each(|_| pauses.begin(&broken(), now).unwrap());
        assert_eq!(pauses.now(now).unwrap().1, Duration::from_secs(1));
    }

    #[test]
    fn a_busy_source_is_left_alone_for_as_long_as_it_says_within_reason() {
        let busy =
            |seconds| Fault::Busy { retry_after: Some(Duration::from_secs(seconds)), what: "429".to_owned() };
        let (pauses, now) = (Pauses::default(), Instant::now());
        pauses.begin(&busy(300), now).unwrap();
        assert_eq!(pauses.now(now).unwrap(), (busy(300), Duration::from_secs(300)));
        Pauses::default().begin(&busy(86_400), now).unwrap_err();
    }

    #[test]
    fn what_a_source_denies_is_asked_for_three_times_more() {
        let (pauses, mut now) = (Pauses::default(), Instant::now());
        for _ in 0..3 {
            pauses.begin(&Fault::Refused("403".to_owned()), now).unwrap();
            now += Duration::from_secs(60);
        }
        pauses.begin(&Fault::Refused("403".to_owned()), now).unwrap_err();
    }
}
