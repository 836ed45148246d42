//! The `weighbridge` command: weigh a model, sign its head, fetch it, verify the files, prove what was signed.
//!
//! Results go to standard output, messages to standard error. The exit status is 0 for verified or done, 1 for refused,
//! 2 if the run could not tell, and 128 plus the signal's number if a signal ended the run.

mod answered;
mod args;
mod audit;
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
mod output;
mod place;
mod progress;
mod prove;
mod sign;
mod signals;
mod trust;
mod trust_file;
mod user_policy;
mod verify;
mod verify_hub;
mod verify_partial;
mod weigh;

use std::{env, process::ExitCode};

use clap::{CommandFactory, Parser, error::ErrorKind};

use crate::{
    args::{Args, Command},
    failure::Failure,
    output::Output,
};

fn main() -> ExitCode {
    let args = match Args::try_parse() {
        Ok(args) => args,
        Err(error) => return misuse(&error),
    };
    let output = Output::new(args.json).quiet(args.quiet);
    // A fetch handles signals itself: it has more to do at its end than to undo something.
    if !matches!(args.command, Command::Fetch(_)) {
        signals::end_run_on_signal();
    }
    let result = match args.command {
        Command::Keygen(args) => keys::keygen(&args, &output),
        Command::Vkey(args) => keys::vkey(&args, &output),
        Command::Weigh(args) => weigh::run(&args, &output),
        Command::Sign(args) => sign::run(&args, &output),
        Command::Verify(args) => verify::run(&args, &output),
        Command::Inspect(args) => inspect::run(&args, &output),
        Command::Prove(args) => prove::run(&args, &output),
        Command::Check(args) => check::run(&args, &output),
        Command::Audit(args) => audit::run(&args, &output),
        Command::Fetch(args) => fetch::run(args, &output),
        Command::Import(args) => import::run(&args, &output),
        Command::Trust(args) => trust_file::run(&args, &output),
        Command::Diff(args) => diff::run(&args, &output),
        Command::Demo if args.json => Err(Failure::usage("demo shows what people see; it has no --json")),
        Command::Demo => demo::run(&output),
        Command::Completions(args) => completions(args.shell, &output),
        Command::Man(args) => man::run(&args, &output),
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
    let text = error.render().to_string();
    let mut paragraphs =
        text.split("\n\n").map(|lines| lines.split_whitespace().collect::<Vec<_>>().join(" "));
    let message = paragraphs.next().unwrap_or_default();
    // The parser's last paragraph is about help, in different words for each command.
    let more = paragraphs
        .filter(|text| !text.starts_with("For more"))
        .map(|text| text.replacen("Usage:", "usage:", 1));
    let hint: Vec<_> = more.chain(["--help says more".to_owned()]).collect();
    let failure = Failure::usage(message.trim_start_matches("error: ")).hint(hint.join("; "));
    Output::new(env::args_os().any(|word| word == "--json")).fail(&failure)
}

fn completions(shell: clap_complete::Shell, output: &Output) -> Result<(), Failure> {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Args::command(), "weighbridge", &mut script);
    output.raw(&String::from_utf8_lossy(&script));
    Ok(())
}
