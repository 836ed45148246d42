//! A link with a rate in bytes a second, which all connections of a server share.

use std::{
    sync::Mutex,
    time::{Duration, Instant},
};

/// Grants bytes at a rate that can change at any time.
pub(super) struct Rate(Mutex<Link>);

struct Link {
    /// Bytes a second; `None` is unlimited, 0 sends nothing.
    rate: Option<u64>,
    /// The time at which all granted bytes have gone over the link.
    free: Instant,
}

/// The answer of [`Rate::ask`].
pub(super) enum Grant {
    /// This number of bytes may go, at most as many as requested.
    Bytes(usize),
    /// No bytes may go now; ask again after this time.
    Wait(Duration),
}

impl Rate {
    pub(super) fn unlimited() -> Self {
        Self(Mutex::new(Link { rate: None, free: Instant::now() }))
    }

    pub(super) fn set(&self, rate: Option<u64>) {
        *self.0.lock().unwrap() = Link { rate, free: Instant::now() };
    }

    /// Asks for at least one byte and at most `most`.
    pub(super) fn ask(&self, most: usize) -> Grant {
        let mut link = self.0.lock().unwrap();
        let Some(rate) = link.rate else { return Grant::Bytes(most) };
        let now = Instant::now();
        if rate == 0 {
            return Grant::Wait(SLICE);
        }
        if link.free > now {
            return Grant::Wait((link.free - now).min(SLICE));
        }
        // The bytes of one slice of time, so that a change of the rate takes effect within a slice.
        let slice = usize::try_from(rate.div_ceil(SLICES_PER_SECOND)).unwrap_or(most);
        let bytes = slice.min(most);
        // A sleep is sometimes late. The time lost by that is made up for, but no more than one slice.
        let since = link.free.max(now.checked_sub(SLICE).unwrap_or(now));
        link.free = since + time_of(bytes, rate);
        Grant::Bytes(bytes)
    }
}

/// The time that `bytes` take at `rate` bytes a second.
pub(super) fn time_of(bytes: usize, rate: u64) -> Duration {
    let bytes = u64::try_from(bytes).unwrap_or(u64::MAX);
    Duration::from_nanos(bytes.saturating_mul(1_000_000_000) / rate.max(1))
}

const SLICES_PER_SECOND: u64 = 100;
const SLICE: Duration = Duration::from_millis(10);
