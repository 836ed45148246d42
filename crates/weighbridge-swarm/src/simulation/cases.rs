//! The scenes that must hold, with their limits.

use super::{Hostile, Outcome, Scene};

/// A scene and the limits within which it must end.
#[derive(Clone, Debug)]
pub struct Case {
    /// The scene.
    pub scene: Scene,
    /// The most time, in parts of the bound, or of the time of `beside` if there is one.
    pub ratio: f64,
    /// The most bytes from the origin, in models.
    pub egress: f64,
    /// A scene to compare with.
    pub beside: Option<Scene>,
    /// The most of the model that free riders may have when the last of the others has all of it.
    pub free_riders: f64,
}

/// The most time of a late joiner, in parts of its own bound.
const JOINER: f64 = 1.3;

impl Case {
    fn new(name: &str, scene: Scene, ratio: f64, egress: f64) -> Self {
        let free_riders = 1.0;
        Self { scene: Scene { name: name.into(), ..scene }, ratio, egress, beside: None, free_riders }
    }

    /// The case with this seed.
    #[must_use]
    pub fn with_seed(&self, seed: u64) -> Self {
        let seeded = |scene: &Scene| Scene { seed, ..scene.clone() };
        Self { scene: seeded(&self.scene), beside: self.beside.as_ref().map(seeded), ..self.clone() }
    }

    /// Plays the case. Returns the outcome, and its time in the parts that `ratio` limits.
    #[must_use]
    pub fn play(&self) -> (Outcome, f64) {
        let outcome = self.scene.play();
        let ratio = match &self.beside {
            Some(beside) => outcome.seconds / beside.play().seconds,
            None => outcome.ratio(),
        };
        (outcome, ratio)
    }

    /// Whether an outcome of this case is within the limits.
    #[must_use]
    pub fn holds(&self, outcome: &Outcome, ratio: f64) -> bool {
        outcome.unfinished == 0
            && ratio <= self.ratio
            && outcome.egress <= self.egress
            && outcome.joiners.iter().all(|ratio| *ratio <= JOINER)
            && outcome.free_riders.is_none_or(|riders| riders.part <= self.free_riders)
    }

    /// The cases that take less than a second each.
    #[must_use]
    pub fn small() -> Vec<Self> {
        let equal = Scene::of_equal;
        let eight = equal(8, 20.0, 20.0, 10.0, 200.0);
        let tight = equal(8, 20.0, 20.0, 20.0, 300.0);
        let slow = |nodes: &Scene| {
            let mut scene = Scene { not_waited_for: 1, ..nodes.clone() };
            scene.links[7] = (0.2, 0.2);
            scene
        };
        let without = |nodes: &Scene| Scene { links: nodes.links[1..].to_vec(), ..nodes.clone() };
        let hostile = |kind| Scene { hostile: Some(kind), not_waited_for: 1, ..eight.clone() };
        vec![
            Self::new("5 nodes 20/20/20", equal(5, 20.0, 20.0, 20.0, 200.0), 1.20, 1.05),
            Self::new("8 nodes 20/20/10", eight.clone(), 1.15, 1.05),
            Self::new("8 nodes 20/20/20", tight.clone(), 1.20, 1.05),
            Self::new("16 nodes 10/10/5", equal(16, 10.0, 10.0, 5.0, 120.0), 1.15, 1.05),
            Self::new("32 nodes 5/5/3", equal(32, 5.0, 5.0, 3.0, 75.0), 1.15, 1.05),
            Self::new(
                "two of 8 leave 20/20/10",
                Scene { leave: Some((2, 0.3)), ..eight.clone() },
                1.40,
                1.10,
            ),
            Self::new(
                "two of 8 leave 20/20/20",
                Scene { leave: Some((2, 0.3)), ..tight.clone() },
                1.40,
                1.10,
            ),
            Self {
                beside: Some(without(&eight)),
                ..Self::new("one of 8 at 1 %, 20/20/10", slow(&eight), 1.05, 1.05)
            },
            Self {
                beside: Some(without(&tight)),
                ..Self::new("one of 8 at 1 %, 20/20/20", slow(&tight), 1.05, 1.05)
            },
            Self::new(
                "five join 8 at half time",
                Scene { join: Some((5, 0.5)), ..tight.clone() },
                1.40,
                1.05,
            ),
            Self::new("origin goes", Scene { origin_goes: true, ..tight.clone() }, 1.20, 1.05),
            Self::new("one of 8 is silent", hostile(Hostile::Silent), 1.25, 1.05),
            Self::new("one of 8 gives wrong bytes", hostile(Hostile::Wrong), 1.25, 1.05),
            Self::new(
                "32, origin holds back",
                Scene { origin_holds_back: true, ..equal(32, 5.0, 5.0, 3.0, 75.0) },
                1.15,
                1.05,
            ),
        ]
    }

    /// The cases of open swarms, which take some seconds each.
    #[must_use]
    pub fn open() -> Vec<Self> {
        let open = |nodes, up, down, origin, model| Scene {
            is_open: true,
            ..Scene::of_equal(nodes, up, down, origin, model)
        };
        let tight = open(8, 20.0, 20.0, 20.0, 300.0);
        let many = open(24, 4.0, 20.0, 10.0, 300.0);
        let spare = open(32, 5.0, 5.0, 3.0, 150.0);
        // The time is that of the others in parts of what they take without the free riders.
        let ridden = |name: &str, nodes: &Scene, riders: usize, ratio, free_riders| Self {
            beside: Some(Scene { links: nodes.links[riders..].to_vec(), ..nodes.clone() }),
            free_riders,
            ..Self::new(name, Scene { free_riders: riders, ..nodes.clone() }, ratio, 1.25)
        };
        let of_origin = Scene { riders_ask_origin: true, ..tight.clone() };
        vec![
            Self::new("8 open nodes 20/20/20", tight.clone(), 1.20, 1.05),
            Self::new("24 open nodes 4/20/10", many.clone(), 1.25, 1.25),
            ridden("2 of 8 never give 20/20/20", &tight, 2, 1.10, 0.15),
            ridden("6 of 24 never give 4/20/10", &many, 6, 1.20, 0.60),
            ridden("8 of 32 never give 5/5/3", &spare, 8, 1.05, 1.0),
            // They take from the origin what any fetch beside a swarm takes: a share of its line.
            ridden("2 of 8 take from the origin", &of_origin, 2, 1.40, 0.40),
        ]
    }

    /// The cases with 1,000 nodes, which take about half a minute each.
    #[must_use]
    pub fn large() -> Vec<Self> {
        let many =
            |model| Scene { neighbours: 12, batch: 0.05, ..Scene::of_equal(1000, 20.0, 20.0, 10.0, model) };
        let mut quarter = many(200.0);
        quarter.links.iter_mut().step_by(4).for_each(|(up, _)| *up /= 4.0);
        vec![
            Self::new("1,000 nodes 20/20/10", many(100.0), 1.20, 1.01),
            Self::new("200 of 1,000 leave", Scene { leave: Some((200, 0.3)), ..many(100.0) }, 1.15, 1.05),
            Self::new("250 of 1,000 send a quarter", quarter, 1.15, 1.05),
        ]
    }

    /// The case with 10,000 nodes, which takes some minutes.
    #[must_use]
    pub fn largest() -> Vec<Self> {
        let nodes = Scene { neighbours: 12, batch: 0.05, ..Scene::of_equal(10_000, 20.0, 20.0, 10.0, 250.0) };
        vec![Self::new("10,000 nodes 20/20/10", nodes, 1.20, 1.01)]
    }
}
