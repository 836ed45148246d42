//! Builds, runs and measures a light node without the standard library, linked into a C program.

use std::fs;

use crate::Result;
use crate::gate::Outcome;
use crate::process::{cargo, command, output, root, run, run_quietly};

const MANIFEST: &str = "tests/freestanding/Cargo.toml";
/// The folder of the header of the C library.
const HEADER: &str = "crates/weighbridge-capi/include";
/// The build folder, below the root.
const TARGET: &str = "target/freestanding";

/// Builds and links the light node, lets it check the specification's example, and prints its size.
pub(crate) fn check() -> Result<Outcome> {
    let program = format!("{TARGET}/light-node");
    run(&mut cargo(&format!("build --release --manifest-path {MANIFEST} --target-dir {TARGET}")))?;
    let library = format!("{TARGET}/release/libweighbridge_freestanding.a");
    let arguments = format!(
        "-O2 -Wl,--gc-sections -Wall -Wextra -Werror -I {HEADER} tests/freestanding/main.c {library} -o {program}"
    );
    // Rust itself needs `cc` to link.
    run(&mut command("cc", &arguments))?;
    run(&mut command(root().join(&program), "spec/examples/scale.proof spec/examples/vkey"))?;
    run_quietly(&mut command("strip", &program))?;
    let size = fs::metadata(root().join(&program))?.len();
    println!("{} dependencies, {} KiB stripped, with the C library's startup", dependencies()?, size / 1024);
    Ok(Outcome::Passed)
}

/// The number of crates that a light node compiles, without its own crate and the workspace's.
fn dependencies() -> Result<usize> {
    let tree =
        format!("tree --manifest-path {MANIFEST} -e normal,no-proc-macro --prefix none --format {{p}}");
    let tree = output(&mut cargo(&tree)).ok_or("`cargo tree` failed")?;
    let mut names: Vec<_> = tree.lines().filter_map(|line| line.split(' ').next()).collect();
    names.sort_unstable();
    names.dedup();
    Ok(names.iter().filter(|name| !name.is_empty() && !name.starts_with("weighbridge-")).count())
}
