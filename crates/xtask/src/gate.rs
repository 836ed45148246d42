//! `cargo xtask test`: every check that a change has to pass.

use std::time::{Duration, Instant};

use crate::process::{built, cargo, command, output, run as run_command};
use crate::{
    Result, capi, formats_oracle, freestanding, fuzz, hub, install, python_package, real_model, rules, swarm,
    tools,
};

struct Step {
    name: &'static str,
    run: fn() -> Result<Outcome>,
}

/// The end of a step that did not fail.
pub(crate) enum Outcome {
    Passed,
    /// The step was not run, for this reason.
    Skipped(String),
}

/// The steps in order: those that fail often and fast come first.
///
/// All builds but that for fuzzing use the dev profile, so that lints, tests and docs share as much as they can. The
/// dev profile optimises dependencies where hashing would be slow (`Cargo.toml`).
const STEPS: &[Step] = &[
    Step { name: "tools and model", run: prepare },
    Step { name: "format", run: format },
    Step { name: "lints", run: lints },
    Step { name: "without std", run: without_std },
    Step { name: "light node, freestanding", run: freestanding::check },
    Step { name: "tests", run: tests },
    Step { name: "examples", run: examples },
    Step { name: "install", run: install::check },
    Step { name: "docs", run: docs },
    Step { name: "reference: self test", run: || reference("self_test.py") },
    Step { name: "reference: vectors", run: || reference("run_vectors.py") },
    Step { name: "reference: vectors fresh", run: || reference("make_vectors.py --check") },
    Step { name: "rules and codes", run: || rules::check().map(passed) },
    Step { name: "real model", run: real_model::check },
    Step { name: "formats beside their own writers", run: formats_oracle::check },
    Step { name: "a cache of huggingface_hub", run: hub::cache },
    Step { name: "a server and clients of a hub", run: hub::clients },
    Step { name: "a swarm on shaped links", run: swarm::check },
    Step { name: "Python package", run: python_package::check },
    Step { name: "C library", run: capi::check },
    Step { name: "fuzzing", run: fuzz::smoke },
];

/// Runs the steps up to the first that fails, and prints a summary. If words are given, only the steps with one of them
/// in their names run.
pub(crate) fn run(words: &[String]) -> Result {
    let wanted = |step: &Step| words.is_empty() || words.iter().any(|word| step.name.contains(word.as_str()));
    if let Some(word) = words.iter().find(|word| STEPS.iter().all(|step| !step.name.contains(word.as_str())))
    {
        return Err(format!("no step of the gate has {word:?} in its name").into());
    }
    let start = Instant::now();
    let mut summary = Vec::new();
    let mut failure = None;
    for (number, Step { name, run }) in (1..).zip(STEPS).filter(|(_, step)| wanted(step)) {
        println!("\n== {number}/{} {name}", STEPS.len());
        let step_start = Instant::now();
        let outcome = run();
        let verdict = match &outcome {
            Ok(Outcome::Passed) => "passed".to_owned(),
            Ok(Outcome::Skipped(reason)) => format!("skipped: {reason}"),
            Err(_) => "FAILED".to_owned(),
        };
        println!("-- {name}: {verdict} ({})", seconds(step_start.elapsed()));
        summary.push(format!("{:>8}  {name}: {verdict}", seconds(step_start.elapsed())));
        if let Err(error) = outcome {
            failure = Some(error);
            break;
        }
    }
    println!("\n== summary\n{}\n{:>8}  in all", summary.join("\n"), seconds(start.elapsed()));
    failure.map_or(Ok(()), Err)
}

/// Installs the tools and fetches the model before any test: both Rust and Python tests may need the model.
fn prepare() -> Result<Outcome> {
    tools::prepare()?;
    if let Err(error) = real_model::fetch() {
        println!("{error}; going on, what needs the model is skipped");
    }
    Ok(Outcome::Passed)
}

fn format() -> Result<Outcome> {
    run_command(&mut cargo("fmt --all --check"))?;
    // These folders are workspaces of their own.
    for folder in ["tests/freestanding", "benches/rivals", "fuzz"] {
        run_command(&mut cargo(&format!("fmt --check --manifest-path {folder}/Cargo.toml")))?;
    }
    Ok(Outcome::Passed)
}

fn lints() -> Result<Outcome> {
    run_command(&mut cargo("clippy --workspace --all-targets --all-features -- -D warnings")).map(passed)
}

/// Builds the core crates without the standard library, and checks that no dependency has the feature `std`.
fn without_std() -> Result<Outcome> {
    for name in ["weighbridge-tree", "weighbridge-manifest", "weighbridge-verify"] {
        run_command(&mut cargo(&format!("build -p {name} --no-default-features")))?;
        // The host has a standard library, so a build alone would not notice a dependency that uses it.
        let tree = format!("tree -p {name} --no-default-features -e normal,no-proc-macro --prefix none");
        let tree = output(cargo(&tree).args(["--format", "{p}: {f}"])).ok_or("`cargo tree` failed")?;
        let uses_std = |line: &&str| line.rsplit([' ', ',']).any(|feature| feature == "std");
        if let Some(line) = tree.lines().find(uses_std) {
            return Err(format!("{name} without default features has a dependency with std: {line}").into());
        }
    }
    Ok(Outcome::Passed)
}

fn tests() -> Result<Outcome> {
    let mut test = cargo("test --workspace --all-features");
    // Tests of fetches wait for servers and watchdogs most of the time.
    let threads = std::thread::available_parallelism().map_or(1, std::num::NonZero::get).saturating_mul(2);
    test.env("RUST_TEST_THREADS", threads.to_string());
    run_command(test.envs(real_model::fetched().map(|model| (real_model::VARIABLE, model))))?;
    // Test the verifier again without features, as small nodes link it: on one core.
    run_command(&mut cargo("test -p weighbridge-verify --test it")).map(passed)
}

/// Runs the examples, because people copy them.
fn examples() -> Result<Outcome> {
    for example in ["light_node", "first_tensor", "three_readers", "inference_node"] {
        run_command(&mut command(built(&format!("examples/{example}"))?, ""))?;
    }
    Ok(Outcome::Passed)
}

fn docs() -> Result<Outcome> {
    let mut doc = cargo("doc --workspace --no-deps --all-features");
    run_command(doc.env("RUSTDOCFLAGS", "-Dwarnings")).map(passed)
}

fn reference(script: &str) -> Result<Outcome> {
    run_command(&mut command("python3", &format!("tests/reference/{script}"))).map(passed)
}

fn passed((): ()) -> Outcome {
    Outcome::Passed
}

fn seconds(time: Duration) -> String {
    format!("{:.1} s", time.as_secs_f64())
}
