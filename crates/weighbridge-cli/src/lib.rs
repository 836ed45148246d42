//! The `weighbridge` command: weigh a model, sign its head, fetch it, verify the files, prove what was signed.
//!
//! Results go to standard output, messages to standard error. The exit status is 0 for verified or done, 1 for refused,
//! 2 if the run could not tell, and 128 plus the signal's number if a signal ended the run.
//!
//! The library is the command for a program that does not want to start another: [`call`].

mod answered;
mod args;
mod audit;
mod bandwidth;
mod check;
mod demo;
mod destination;
mod diff;
mod earlier;
mod events;
mod examples;
mod failure;
mod fetch;
mod fetch_json;
mod fetch_view;
mod import;
mod inspect;
mod keys;
mod man;
mod memory;
mod node;
mod output;
mod place;
mod progress;
mod prove;
mod push;
mod push_view;
mod serve;
mod sign;
mod signals;
mod swarm;
mod trust;
mod trust_file;
mod user_policy;
mod verify;
mod verify_hub;
mod verify_partial;
mod weigh;

use std::{env, ffi::OsString, path::PathBuf, process::ExitCode};

use clap::{CommandFactory, Parser, error::ErrorKind};
pub use weighbridge_transfer::Stop;
use weighbridge_tree::ErrorCode;

use crate::{
    args::{Args, Command},
    failure::Failure,
    output::Output,
};

/// The command, with the arguments, streams and signals of this process.
pub fn main() -> ExitCode {
    let args = match Args::try_parse() {
        Ok(args) => args,
        Err(error) => return misuse(&error),
    };
    let output = Output::new(args.json).quiet(args.quiet);
    // These handle signals themselves: they have more to do at their end than to undo something.
    if !matches!(args.command, Command::Fetch(_) | Command::Serve(_) | Command::Push(_) | Command::Node(_)) {
        signals::end_run_on_signal();
    }
    run(args, &output, &Stop::default()).into()
}

/// Runs the command inside another program: `words` are its arguments, without its own name. `tell` gets the objects of `--json`
/// (`spec/events.md`), each as a line of JSON; they come from several threads, one at a time. Returns the exit status.
///
/// # Guarantee
/// Nothing is printed, no handler of signals is set, and the process is not ended. `stop` ends a fetch before its time, after what
/// has come was made durable, and a server, after what is under way was sent; other commands run to their end.
///
/// # Non-guarantee
/// A passphrase that is given in no other way is asked for at the terminal.
///
/// # Example
/// ```
/// use std::sync::{Arc, Mutex};
/// use weighbridge_cli::{Stop, call};
///
/// let folder = tempfile::tempdir()?;
/// let told = Arc::new(Mutex::new(String::new()));
/// let telling = Arc::clone(&told);
/// let keys = folder.path().join("keys");
/// let words = ["keygen".into(), "alice".into(), "-o".into(), keys.clone().into(), "--unencrypted".into()];
/// let status = call(words, &Stop::default(), move |line| telling.lock().unwrap().push_str(line));
/// assert_eq!(status, 0);
/// assert!(told.lock().unwrap().contains("\"event\":\"key\""));
/// assert!(keys.join("alice.vkey").exists());
/// # Ok::<(), std::io::Error>(())
/// ```
pub fn call(
    words: impl IntoIterator<Item = OsString>,
    stop: &Stop,
    tell: impl Fn(&str) + Send + Sync + 'static,
) -> u8 {
    let output = Output::telling(tell);
    let words = ["weighbridge".into(), "--json".into()].into_iter().chain(words);
    match Args::try_parse_from(words) {
        Ok(args) => run(args, &output, stop),
        Err(error) => output.fail(&usage(&error)),
    }
}

/// The user's trust policy, which `weighbridge trust` keeps. `None` if there is none, or if no standard
/// stream is a terminal: services and jobs name a policy.
///
/// # Errors
/// The code and the message: it cannot be read, is no policy, or somebody else could have changed it (9006).
pub fn user_policy() -> Result<Option<UserPolicy>, (ErrorCode, String)> {
    user_policy::Found::of_terminal().map_err(|failure| (failure.code, failure.message))
}

/// A policy that belongs to the user.
#[derive(Clone, Debug)]
pub struct UserPolicy {
    /// The path of the file.
    pub path: PathBuf,
    /// Its text, which is a policy.
    pub text: Vec<u8>,
}

fn run(args: Args, output: &Output, stop: &Stop) -> u8 {
    let result = match args.command {
        Command::Keygen(args) => keys::keygen(&args, output),
        Command::Vkey(args) => keys::vkey(&args, output),
        Command::Weigh(args) => weigh::run(&args, output),
        Command::Sign(args) => sign::run(&args, output),
        Command::Verify(args) => verify::run(&args, output),
        Command::Inspect(args) => inspect::run(&args, output),
        Command::Prove(args) => prove::run(&args, output),
        Command::Check(args) => check::run(&args, output),
        Command::Audit(args) => audit::run(&args, output),
        Command::Fetch(args) => fetch::run(args, output, stop),
        Command::Import(args) => import::run(&args, output),
        Command::Serve(args) => serve::run(args, output, stop),
        Command::Node(args) => node::run(&args, output, stop),
        Command::Push(args) => push::run(&args, output, stop),
        Command::Swarm(args) => swarm::run(&args, output),
        Command::Trust(args) => trust_file::run(&args, output),
        Command::Diff(args) => diff::run(&args, output),
        Command::Demo if args.json => Err(Failure::usage("demo shows what people see; it has no --json")),
        Command::Demo => demo::run(output),
        Command::Completions(args) => completions(args.shell, output),
        Command::Man(args) => man::run(&args, output),
    };
    match result {
        Ok(()) => output.end(),
        Err(failure) => output.fail(&failure),
    }
}

/// Prints an error of the argument parser like any other failure. Help and version are results.
fn misuse(error: &clap::Error) -> ExitCode {
    let asks_for_help = error.kind() == ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand;
    if asks_for_help || !error.use_stderr() {
        // Ignore a broken pipe.
        let _ = error.print();
        return if asks_for_help { ExitCode::from(2) } else { ExitCode::SUCCESS };
    }
    Output::new(env::args_os().any(|word| word == "--json")).fail(&usage(error)).into()
}

fn usage(error: &clap::Error) -> Failure {
    let text = error.render().to_string();
    let mut paragraphs =
        text.split("\n\n").map(|lines| lines.split_whitespace().collect::<Vec<_>>().join(" "));
    let message = paragraphs.next().unwrap_or_default();
    // The parser's last paragraph is about help, in different words for each command.
    let more = paragraphs
        .filter(|text| !text.starts_with("For more"))
        .map(|text| text.replacen("Usage:", "usage:", 1));
    let hint: Vec<_> = more.chain(["--help says more".to_owned()]).collect();
    Failure::usage(message.trim_start_matches("error: ")).hint(hint.join("; "))
}

fn completions(shell: clap_complete::Shell, output: &Output) -> Result<(), Failure> {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Args::command(), "weighbridge", &mut script);
    output.raw(&String::from_utf8_lossy(&script));
    Ok(())
}
