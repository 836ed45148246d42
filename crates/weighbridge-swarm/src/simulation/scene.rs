//! The scenes, and what comes of them.

use std::fmt;

use super::{PIECE, world::World};
use crate::Rules;

/// A swarm to play. Rates are in megabytes per second, times in seconds.
#[derive(Clone, Debug)]
pub struct Scene {
    /// The name that is shown.
    pub name: String,
    /// The up and down rates of each node that is there from the start.
    pub links: Vec<(f64, f64)>,
    /// The rate of the origin.
    pub origin: f64,
    /// The size of the model, in megabytes.
    pub model: f64,
    /// The number of neighbours below which a node dials more; it admits up to four more. Up to eight nodes are all
    /// neighbours of each other.
    pub neighbours: usize,
    /// The number of the first nodes that leave, and the time in parts of the bound.
    pub leave: Option<(usize, f64)>,
    /// The number of nodes that join later, with the links of the first one, and the time in parts of the bound.
    pub join: Option<(usize, f64)>,
    /// The behaviour of the last node, if it is hostile.
    pub hostile: Option<Hostile>,
    /// The number of the last nodes that are not waited for, nor counted in the bound.
    pub not_waited_for: usize,
    /// Whether the origin tells the members apart, and holds pieces back that it has just given to another one (W21).
    pub origin_holds_back: bool,
    /// Whether the swarm is open: nodes give to those that give, by their [`Slots`](crate::Slots).
    pub is_open: bool,
    /// The number of the last nodes that take and never give, in an open swarm. They are not waited for, nor counted in
    /// the bound, and leave when they have all.
    pub free_riders: usize,
    /// Whether free riders take from the origin too, before all others have all.
    pub riders_ask_origin: bool,
    /// Whether the origin goes away when each piece has come to some node.
    pub origin_goes: bool,
    /// The time for which a node gathers positions before it tells them, in seconds.
    pub batch: f64,
    /// The constants of all plans.
    pub rules: Rules,
    /// The seed of everything that is random.
    pub seed: u64,
}

/// The behaviour of a hostile node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hostile {
    /// It announces all pieces, claims one after another, and answers nothing.
    Silent,
    /// It announces all pieces and gives wrong bytes.
    Wrong,
}

/// The time below which no distribution can be, and the reason.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Bound {
    /// In seconds.
    pub seconds: f64,
    /// The term that is largest.
    pub term: Term,
}

/// A term of the bound.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Term {
    /// The origin has to send each byte once.
    Origin,
    /// The slowest node has to receive each byte.
    Download,
    /// All nodes together have to send each byte to all.
    Upload,
}

impl fmt::Display for Term {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Origin => "origin",
            Self::Download => "download",
            Self::Upload => "upload",
        })
    }
}

/// The outcome of a scene.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// When the last node that is waited for, and was there from the start, had all pieces; in seconds.
    pub seconds: f64,
    /// The bound of the nodes that were there from the start and stay.
    pub bound: Bound,
    /// The bytes that the origin sent to others than free riders, in models.
    pub egress: f64,
    /// The bytes that were sent beyond the pieces that came, in parts of those: copies that were cut short, wrong
    /// bytes, and transfers that were under way at the end.
    pub twice: f64,
    /// The nodes that are waited for and did not end.
    pub unfinished: usize,
    /// The time of each late joiner in parts of its own bound: that of a node alone, or that of all that are left to
    /// send when it joins.
    pub joiners: Vec<f64>,
    /// The part of all pieces of all nodes that is there, at times.
    pub progress: Vec<(f64, f64)>,
    /// What came of the free riders, if there are any.
    pub free_riders: Option<FreeRiders>,
}

/// What came of nodes that took and never gave.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct FreeRiders {
    /// The part of the model that they had when the last node that is waited for had all of it, on average.
    pub part: f64,
    /// The time of the first that had all, in parts of that time.
    pub first: f64,
}

impl Outcome {
    /// The time in parts of the bound.
    #[must_use]
    pub fn ratio(&self) -> f64 {
        self.seconds / self.bound.seconds
    }
}

impl Scene {
    /// A scene of equal nodes: so many, with these rates, and a model of this size.
    #[must_use]
    pub fn of_equal(nodes: usize, up: f64, down: f64, origin: f64, model: f64) -> Self {
        Self {
            name: format!("{nodes} nodes {up}/{down}/{origin}"),
            links: vec![(up, down); nodes],
            origin,
            model,
            neighbours: 8,
            leave: None,
            join: None,
            hostile: None,
            not_waited_for: 0,
            origin_holds_back: false,
            is_open: false,
            free_riders: 0,
            riders_ask_origin: false,
            origin_goes: false,
            batch: 0.02,
            rules: Rules::default(),
            seed: 1,
        }
    }

    /// Plays the scene.
    ///
    /// # Cost
    /// Some tens of microseconds for each node and piece.
    #[must_use]
    pub fn play(&self) -> Outcome {
        World::new(self).play()
    }

    /// The number of the first nodes, behind which those stand that are not waited for.
    pub(super) fn waited_for(&self) -> usize {
        self.links.len() - self.not_waited_for - self.free_riders
    }

    /// The number of pieces of the model.
    #[must_use]
    pub fn pieces(&self) -> u32 {
        (self.model * 1e6 / PIECE as f64).ceil() as u32
    }

    /// The bound of the nodes that are waited for (Kumar and Ross 2006): the largest of the times in which the origin
    /// sends each byte once, the slowest node receives each, and all nodes together send each to all.
    #[must_use]
    pub fn bound(&self) -> Bound {
        let leaving = self.leave.map_or(0, |(count, _)| count);
        let links = &self.links[leaving..self.waited_for()];
        let bytes = f64::from(self.pieces()) * PIECE as f64 / 1e6;
        let up: f64 = links.iter().map(|(up, _)| up).sum();
        let down = links.iter().map(|(_, down)| *down).fold(f64::INFINITY, f64::min);
        let terms = [
            (bytes / self.origin, Term::Origin),
            (bytes / down, Term::Download),
            (links.len() as f64 * bytes / (self.origin + up), Term::Upload),
        ];
        let (seconds, term) =
            terms.into_iter().rev().max_by(|one, other| one.0.total_cmp(&other.0)).unwrap_or(terms[0]);
        Bound { seconds, term }
    }
}
