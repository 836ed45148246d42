//! Running commands: each is printed before it runs, has no standard input, and is named when it fails.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::Result;

/// The root of the repository.
pub(crate) fn root() -> &'static Path {
    let crate_folder = Path::new(env!("CARGO_MANIFEST_DIR"));
    crate_folder.ancestors().nth(2).unwrap_or(crate_folder)
}

/// A command that runs in the root. `arguments` are split at spaces.
pub(crate) fn command(program: impl AsRef<OsStr>, arguments: &str) -> Command {
    let mut command = Command::new(program);
    command.args(arguments.split_whitespace()).current_dir(root());
    command
}

/// The cargo that runs xtask.
pub(crate) fn cargo(arguments: &str) -> Command {
    command(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()), arguments)
}

/// The packages, targets and features that the tests build.
pub(crate) const TESTED: &str = "--workspace --all-features --lib --bins --tests --examples";

/// Builds a binary or an example of the workspace, such as `examples/light_node`, and returns its path.
///
/// The build has the tests' packages and features, so that after the tests there is nothing left to build: other
/// features of a dependency would rebuild that dependency and everything that uses it.
pub(crate) fn built(program: &str) -> Result<PathBuf> {
    run(&mut cargo(&format!("build --quiet {TESTED}")))?;
    Ok(target()?.join(format!("debug/{program}{}", std::env::consts::EXE_SUFFIX)))
}

/// The target folder, in which xtask itself lies too.
pub(crate) fn target() -> Result<PathBuf> {
    let this = std::env::current_exe()?;
    Ok(this.ancestors().nth(2).ok_or("xtask lies in no target folder")?.to_path_buf())
}

/// Prints the command and runs it.
pub(crate) fn run(command: &mut Command) -> Result {
    println!("$ {}", shown(command));
    let status = command.stdin(Stdio::null()).status();
    match status {
        Ok(status) if status.success() => Ok(()),
        Ok(status) => Err(format!("`{}` failed ({status})", shown(command)).into()),
        Err(error) => Err(format!("`{}` did not start: {error}", shown(command)).into()),
    }
}

/// Prints the command and runs it. Returns its output, or prints the output if the command fails.
pub(crate) fn run_quietly(command: &mut Command) -> Result<String> {
    println!("$ {}", shown(command));
    let output = command
        .stdin(Stdio::null())
        .output()
        .map_err(|error| format!("`{}` did not start: {error}", shown(command)))?;
    let said = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
    if output.status.success() {
        return Ok(said);
    }
    println!("{said}");
    Err(format!("`{}` failed ({})", shown(command), output.status).into())
}

/// The standard output of a command, or `None` if it fails or does not exist. Its standard error is not shown.
pub(crate) fn output(command: &mut Command) -> Option<String> {
    let output = command.stdin(Stdio::null()).stderr(Stdio::null()).output().ok()?;
    output.status.success().then(|| String::from_utf8_lossy(&output.stdout).into_owned())
}

/// Whether the program exists and exits with success.
pub(crate) fn succeeds(program: &str, arguments: &str) -> bool {
    output(&mut command(program, arguments)).is_some()
}

/// The command as one would type it in the root: without the folder of the program, and with paths from the root.
fn shown(command: &Command) -> String {
    let program = Path::new(command.get_program()).file_name().unwrap_or(command.get_program());
    let mut words: Vec<_> = command
        .get_envs()
        .filter_map(|(key, value)| Some(format!("{}={}", key.display(), value?.display())))
        .collect();
    words.push(program.display().to_string());
    words.extend(command.get_args().map(|argument| argument.display().to_string()));
    words.join(" ").replace(&format!("{}/", root().display()), "")
}

/// All files below a folder, sorted. A missing folder has no files.
pub(crate) fn files_below(folder: &Path) -> Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    let mut folders = vec![folder.to_path_buf()];
    while let Some(folder) = folders.pop() {
        if !folder.is_dir() {
            continue;
        }
        for entry in std::fs::read_dir(&folder)? {
            let path = entry?.path();
            let into = if path.is_dir() { &mut folders } else { &mut files };
            into.push(path);
        }
    }
    files.sort();
    Ok(files)
}

/// Reads a text file. The error names the file.
pub(crate) fn read(path: &Path) -> Result<String> {
    std::fs::read_to_string(path).map_err(|error| format!("{}: {error}", path.display()).into())
}

/// The path from the root.
pub(crate) fn from_root(path: &Path) -> std::path::Display<'_> {
    path.strip_prefix(root()).unwrap_or(path).display()
}
