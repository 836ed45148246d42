//! Fuzzing: runs each target for some seconds, with the vectors as seeds.

use std::num::NonZero;
use std::sync::{Mutex, PoisonError};
use std::{iter, thread};

use crate::gate::Outcome;
use crate::process::{command, files_below, root, run as run_command, run_quietly, succeeds};
use crate::{Result, corpus, tools};

/// `cargo xtask fuzz [SECONDS] [TARGET]`
pub(crate) fn run(arguments: &[String]) -> Result {
    let (seconds, target) = match arguments {
        [] => (600, None),
        [one] => one.parse().map_or((600, Some(one)), |seconds| (seconds, None)),
        [seconds, target] => (seconds.parse().map_err(|_| "SECONDS is a number")?, Some(target)),
        _ => return Err("takes SECONDS and TARGET".into()),
    };
    let all = targets()?;
    let chosen = match target {
        None => all,
        Some(name) if all.contains(name) => vec![name.clone()],
        Some(name) => return Err(format!("no target '{name}'; there are {}", all.join(", ")).into()),
    };
    match fuzz(&chosen, seconds)? {
        Outcome::Passed => Ok(()),
        Outcome::Skipped(reason) => Err(reason.into()),
    }
}

/// The gate's step: five seconds for each target.
pub(crate) fn smoke() -> Result<Outcome> {
    fuzz(&targets()?, 5)
}

/// The names of the targets, taken from their files.
fn targets() -> Result<Vec<String>> {
    let files = files_below(&root().join("fuzz/fuzz_targets"))?;
    Ok(files.iter().filter_map(|file| Some(file.file_stem()?.to_str()?.to_owned())).collect())
}

/// Fuzzes with the address sanitizer, cargo-fuzz's default. Our crates forbid `unsafe`, but their dependencies do not,
/// and the build takes little longer.
fn fuzz(targets: &[String], seconds: u32) -> Result<Outcome> {
    let Some(nightly) = tools::nightly() else {
        return Ok(Outcome::Skipped("no nightly toolchain is installed, and none is downloaded".to_owned()));
    };
    if !succeeds("cargo-fuzz", "--version") {
        return Ok(Outcome::Skipped(
            "cargo-fuzz is not installed (`cargo install cargo-fuzz --locked`)".to_owned(),
        ));
    }
    corpus::seed()?;
    let cargo_fuzz = |arguments: &str| {
        let mut command = command("rustup", &format!("run {nightly} cargo fuzz {arguments}"));
        // A target folder of its own: flags and toolchain differ from the main one's, so nothing could be shared.
        command.current_dir(root().join("fuzz")).env("CARGO_TARGET_DIR", root().join("fuzz/target"));
        command
    };
    run_command(&mut cargo_fuzz("build"))?;
    let fuzz_one = |target: &String| -> std::result::Result<(), String> {
        let mut arguments = format!(
            "run {target} -- -max_total_time={seconds} -rss_limit_mb=2048 -timeout=10 -verbosity=0 -print_final_stats=1"
        );
        if root().join(format!("fuzz/dictionaries/{target}.dict")).exists() {
            arguments += &format!(" -dict=dictionaries/{target}.dict");
        }
        let said = run_quietly(&mut cargo_fuzz(&arguments)).map_err(|error| error.to_string())?;
        let inputs = said.lines().find_map(|line| line.strip_prefix("stat::number_of_executed_units: "));
        println!("{target}: {} inputs", inputs.unwrap_or("no count of").trim());
        Ok(())
    };
    // A target has one thread, so run as many targets at once as there are cores.
    let next = Mutex::new(targets.iter());
    let take = || next.lock().unwrap_or_else(PoisonError::into_inner).next();
    let work = || iter::from_fn(take).try_for_each(fuzz_one);
    let cores = thread::available_parallelism().map_or(1, NonZero::get);
    thread::scope(|scope| {
        let workers: Vec<_> = (0..cores.min(targets.len())).map(|_| scope.spawn(work)).collect();
        workers
            .into_iter()
            .try_for_each(|worker| worker.join().map_err(|_| "a worker panicked".to_owned())?)
    })?;
    Ok(Outcome::Passed)
}
