//! The models of a trace.

use super::random::{Random, Weights};

/// A model, or a revision of one.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Model {
    /// Its size.
    pub bytes: u64,
    /// The most bytes a second that its origin gives.
    pub rate: f64,
    /// Its base, if it is an adapter.
    pub base: Option<usize>,
}

/// Kinds of models: the part of all that are of the kind, and their sizes in tenths of a gigabyte, as published models
/// have them, rounded.
const KINDS: [(f64, &[u64]); 7] = [
    // Embeddings, rerankers, speech.
    (0.18, &[1, 4, 13, 16, 23, 31]),
    // Language models of 0.5 to 4 billion parameters.
    (0.17, &[10, 25, 31, 52, 64, 76]),
    // Of 7 to 9 billion.
    (0.28, &[145, 152, 161, 164, 185]),
    // Quantised ones of 8 to 120 billion.
    (0.15, &[49, 85, 138, 199, 425, 652]),
    // Of 12 to 33 billion.
    (0.12, &[245, 295, 545, 611, 655]),
    // Images.
    (0.05, &[69, 238, 286, 337]),
    // Of 47 to 73 billion.
    (0.05, &[934, 1411, 1454]),
];

/// Origins: the part of all models that come from one, and what it gives. A store beside the cluster, a hub, one far away.
const ORIGINS: [(f64, f64); 3] = [(0.4, 1.25e9), (0.4, 0.4e9), (0.2, 0.15e9)];

const TENTH: u64 = 100_000_000;

/// A number of models, of kinds and origins that are drawn.
pub(super) fn draw(count: usize, random: &mut Random) -> Vec<Model> {
    let kinds = Weights::new(KINDS.iter().map(|kind| kind.0));
    let model = |_| {
        let (_, sizes) = KINDS[kinds.draw(random)];
        let bytes = random.choose(sizes) * TENTH;
        Model { bytes, rate: origin(random), base: None }
    };
    (0..count).map(model).collect()
}

/// A base for adapters: a language model of 7 to 70 billion parameters.
pub(super) fn base(random: &mut Random) -> Model {
    let bytes = random.choose(&[145, 152, 161, 164, 295, 655, 1411]) * TENTH;
    Model { bytes, rate: origin(random), base: None }
}

/// An adapter of a base, with 0.4 % to 2 % of its size.
pub(super) fn adapter(base: usize, of: Model, random: &mut Random) -> Model {
    let bytes = (of.bytes as f64 * random.between(0.004, 0.02)) as u64;
    Model { bytes, rate: origin(random), base: Some(base) }
}

fn origin(random: &mut Random) -> f64 {
    let origins = Weights::new(ORIGINS.iter().map(|origin| origin.0));
    ORIGINS[origins.draw(random)].1
}
