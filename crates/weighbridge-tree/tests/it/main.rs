//! Chunk layers, slices, samples and trees over lists: the honest ones agree with other readings, and no others pass.

#![allow(clippy::unwrap_used, reason = "a test may stop where it fails")]

mod attacks;
mod bao;
mod kit;
mod layers;
mod lists;
mod naive;
mod samples;
mod slices;
mod spec_pages;
mod spread;
