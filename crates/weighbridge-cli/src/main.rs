//! The `weighbridge` command: weigh a model, sign its head, verify what arrived.
//!
//! Results go to standard output, talk to standard error. Exit status: 0 verified or done, 1 refused, 2 could not tell.

mod args;
mod demo;
mod failure;
mod inspect;
mod keys;
mod memory;
mod output;
mod progress;
mod sign;
mod trust;
mod verify;
mod weigh;

use std::process::ExitCode;

use clap::{CommandFactory, Parser};

use crate::{
    args::{Args, Command},
    failure::Failure,
    output::Output,
};

fn main() -> ExitCode {
    let args = Args::parse();
    let output = Output::new(args.json);
    let result = match args.command {
        Command::Keygen(args) => keys::keygen(&args, &output),
        Command::Vkey(args) => keys::vkey(&args, &output),
        Command::Weigh(args) => weigh::run(&args, &output),
        Command::Sign(args) => sign::run(&args, &output),
        Command::Verify(args) => verify::run(&args, &output),
        Command::Inspect(args) => inspect::run(&args, &output),
        Command::Demo => demo::run(&output),
        Command::Completions { shell } => completions(shell, &output),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => output.fail(&failure),
    }
}

fn completions(shell: clap_complete::Shell, output: &Output) -> Result<(), Failure> {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Args::command(), "weighbridge", &mut script);
    output.raw(&String::from_utf8_lossy(&script));
    Ok(())
}
