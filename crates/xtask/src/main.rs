//! `cargo xtask`: the development tasks of this workspace.
//!
//! The table below has the tasks. Without a task, or with an unknown one, the command lists them.

#![allow(clippy::disallowed_methods, reason = "the files here are the workspace's own")]

mod capi;
mod codes;
mod corpus;
mod formats_oracle;
mod freestanding;
mod fuzz;
mod gate;
mod generate;
mod header;
mod hub;
mod install;
mod process;
mod python_package;
mod real_model;
mod rules;
mod swarm;
mod tools;
mod vectors;

use std::process::ExitCode;

/// The result of a task. Its error message is for people, and names the command that failed.
type Result<T = ()> = std::result::Result<T, Box<dyn std::error::Error>>;

struct Task {
    name: &'static str,
    arguments: &'static str,
    about: &'static str,
    run: fn(&[String]) -> Result,
}

const TASKS: &[Task] = &[
    Task {
        name: "test",
        arguments: "[STEP]...",
        about: "the whole gate: format, lints, builds, tests, docs, vectors, rules, real model, fuzzing; or steps of it",
        run: gate::run,
    },
    Task {
        name: "install",
        arguments: "--prefix DIR",
        about: "builds the command, and installs it with manual pages and completions under a prefix",
        run: install::run,
    },
    Task {
        name: "wheel",
        arguments: "",
        about: "builds the wheel of the Python package into target/wheels, and checks its interface",
        run: |arguments| no_arguments(arguments).and_then(|()| python_package::wheel()),
    },
    Task {
        name: "loaders",
        arguments: "",
        about: "holds the Python package against torch, transformers and safetensors' own tests, which it installs",
        run: |arguments| no_arguments(arguments).and_then(|()| python_package::loaders()),
    },
    Task {
        name: "capi",
        arguments: "--prefix DIR",
        about: "builds the C library, and installs it with its header and a pkg-config file under a prefix",
        run: capi::run,
    },
    Task {
        name: "header",
        arguments: "",
        about: "writes the header of the C library anew",
        run: |arguments| no_arguments(arguments).and_then(|()| header::write()),
    },
    Task {
        name: "rules",
        arguments: "",
        about: "are all rules cited and broken by a vector, all error codes in use and as in the table?",
        run: |arguments| no_arguments(arguments).and_then(|()| rules::check()),
    },
    Task {
        name: "vectors",
        arguments: "",
        about: "writes spec/vectors and the worked examples anew",
        run: |arguments| no_arguments(arguments).and_then(|()| vectors::write()),
    },
    Task {
        name: "schema",
        arguments: "",
        about: "writes spec/events.schema.json anew, from the types of the command's objects",
        run: |arguments| no_arguments(arguments).and_then(|()| write_schema()),
    },
    Task {
        name: "real-model",
        arguments: "",
        about: "fetches all-MiniLM-L6-v2 (92 MB) into models/, unless it is there",
        run: |arguments| no_arguments(arguments).and_then(|()| real_model::fetch()),
    },
    Task {
        name: "generate",
        arguments: "DIR --bytes N [--gguf VARIANT] [--shards N] [--seed N]",
        about: "writes a model of random weights, the same for the same settings; as GGUF if a variant is named",
        run: generate::run,
    },
    Task {
        name: "worlds",
        arguments: "[N]",
        about: "simulates N fetches (100,000 unless said otherwise) with sources and lines of all kinds in virtual time",
        run: simulate,
    },
    Task {
        name: "fuzz",
        arguments: "[SECONDS] [TARGET]",
        about: "fuzzes one target or each, 600 seconds unless said otherwise",
        run: fuzz::run,
    },
];

/// Only the tests of the command see the types: one of them writes the schema when it is told to.
fn write_schema() -> Result {
    let mut test = process::cargo("test --package weighbridge-cli --all-features --lib events::schema");
    process::run(test.env("WEIGHBRIDGE_WRITE_SCHEMA", "1"))
}

/// The gate simulates fewer.
fn simulate(arguments: &[String]) -> Result {
    let count = match arguments {
        [] => 100_000,
        [count] => count.parse::<u64>().map_err(|_| format!("{count:?} is no number"))?,
        _ => return Err("one number, at most".into()),
    };
    let mut test = process::cargo("test --package weighbridge-transfer --lib simulation::every_world");
    process::run(test.env("WEIGHBRIDGE_WORLDS", count.to_string()))
}

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let named = arguments.split_first().map(|(name, rest)| (TASKS.iter().find(|t| t.name == name), rest));
    let Some((Some(task), rest)) = named else {
        eprint!("{}", usage());
        return ExitCode::from(2);
    };
    match (task.run)(rest) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("xtask {}: {error}", task.name);
            ExitCode::FAILURE
        }
    }
}

fn usage() -> String {
    let mut text = String::from("usage: cargo xtask TASK\n\n");
    for Task { name, arguments, about, .. } in TASKS {
        text += &format!("  {}\n      {about}\n", format!("{name} {arguments}").trim_end());
    }
    text
}

fn no_arguments(arguments: &[String]) -> Result {
    match arguments {
        [] => Ok(()),
        [first, ..] => Err(format!("takes no arguments, found '{first}'").into()),
    }
}
