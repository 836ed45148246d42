//! Releases that are asked for after another one.

use std::{collections::VecDeque, time::Duration};

use serde::{Deserialize, Serialize};

use crate::shelf::Id;

/// The time within which a release follows another one.
pub(super) const WINDOW: Duration = Duration::from_secs(1200);
/// The most followers that are remembered of one release.
const MOST_FOLLOWERS: usize = 32;
/// The most releases that one ask is said to follow.
const MOST_LEADERS: usize = 24;
/// The occasions after which older ones count half.
const MOST_OCCASIONS: f64 = 64.0;
/// The least times that a release has followed before another follow is expected.
const LEAST: f64 = 2.0;

/// The releases that were asked for within twenty minutes after this one.
///
/// Of more followers than fit, those that come most often stay: each one that finds no place takes a part off all others.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Followers {
    /// How often the release was asked for, where asks within twenty minutes are one occasion. Old ones count less.
    occasions: f64,
    /// The start of the last occasion.
    began: Duration,
    followers: Vec<Follower>,
}

#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
struct Follower {
    id: Id,
    /// The occasions on which it followed.
    count: f64,
    /// The recent mean of the seconds until it did.
    gap: f64,
    is_base: bool,
}

/// A release that is likely to be asked for.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Next {
    pub(super) id: Id,
    pub(super) chance: f64,
    pub(super) gap: f64,
    pub(super) is_base: bool,
}

impl Followers {
    /// Names the base of an adapter: it is expected to be asked for after the adapter, until that turns out otherwise.
    pub(super) fn set_base(&mut self, id: Id) {
        self.followers.retain(|follower| !follower.is_base && follower.id != id);
        self.followers.push(Follower { id, count: 0.0, gap: BASE_GAP, is_base: true });
    }

    /// Records an ask for the release itself. Returns whether it begins a new occasion.
    pub(super) fn lead(&mut self, now: Duration) -> bool {
        let begins = self.occasions == 0.0 || now.saturating_sub(self.began) > WINDOW;
        if begins {
            self.began = now;
            self.occasions += 1.0;
            if self.occasions > MOST_OCCASIONS {
                self.occasions /= 2.0;
                self.followers.iter_mut().for_each(|follower| follower.count /= 2.0);
            }
        }
        begins
    }

    /// Records that a release was asked for so many seconds after the start of the last occasion, and not before in it.
    pub(super) fn follow(&mut self, id: Id, gap: f64) {
        if let Some(follower) = self.followers.iter_mut().find(|follower| follower.id == id) {
            follower.count += 1.0;
            follower.gap += (gap - follower.gap) / follower.count.clamp(1.0, 8.0);
        } else if self.followers.len() < MOST_FOLLOWERS {
            self.followers.push(Follower { id, count: 1.0, gap, is_base: false });
        } else {
            for follower in &mut self.followers {
                follower.count -= 1.0 / 32.0;
            }
            self.followers.retain(|follower| follower.is_base || follower.count > 0.0);
        }
    }

    /// The releases that are likely to be asked for now that an occasion has begun.
    pub(super) fn next(&self) -> impl Iterator<Item = Next> {
        let occasions = self.occasions;
        self.followers.iter().filter(|follower| follower.is_base || follower.count >= LEAST).map(
            move |follower| {
                // Nothing is known of a base at first, so that it follows half of the time.
                let chance = if follower.is_base {
                    (follower.count + 1.0) / (occasions + 1.0)
                } else {
                    (follower.count - 0.5) / (occasions + 1.0)
                };
                Next {
                    id: follower.id,
                    chance: chance.clamp(0.0, 0.95),
                    gap: follower.gap,
                    is_base: follower.is_base,
                }
            },
        )
    }

    pub(crate) fn is_well_formed(&self) -> bool {
        let is_number = |number: f64| (0.0..=1e6).contains(&number);
        is_number(self.occasions)
            && self.followers.len() <= MOST_FOLLOWERS.saturating_add(1)
            && self.followers.iter().all(|follower| is_number(follower.count) && is_number(follower.gap))
    }
}

/// The seconds until the base of an adapter is asked for, as long as nothing is known of it.
const BASE_GAP: f64 = 30.0;

/// The releases that were asked for in the last twenty minutes, each at the start of its occasion.
#[derive(Clone, Debug, Default)]
pub(super) struct Recent(VecDeque<(Id, Duration)>);

/// The most that are kept.
const MOST_RECENT: usize = 256;

impl Recent {
    pub(super) fn push(&mut self, id: Id, now: Duration) {
        self.0.push_back((id, now));
        while self.0.len() > MOST_RECENT
            || self.0.front().is_some_and(|(_, at)| now.saturating_sub(*at) > WINDOW)
        {
            self.0.pop_front();
        }
    }

    /// The releases that this one follows: asked for after its own last ask, each with the seconds since then.
    pub(super) fn leaders(&self, id: Id, last: Option<Duration>, now: Duration) -> Vec<(Id, f64)> {
        let leaders = self.0.iter().rev().filter(|(leader, at)| {
            *leader != id && now.saturating_sub(*at) <= WINDOW && last.is_none_or(|last| last < *at)
        });
        leaders
            .take(MOST_LEADERS)
            .map(|(leader, at)| (*leader, now.saturating_sub(*at).as_secs_f64()))
            .collect()
    }
}
