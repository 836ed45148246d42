//! `man`: writes the manual pages, from the definitions that also parse the command line.

use std::{fs, io, path::Path};

use clap::CommandFactory as _;
use clap_mangen::{
    Man,
    roff::{Roff, roman},
};
use weighbridge_store::{IoError, shown_path};

use crate::{
    args::{self, Args},
    events::common,
    failure::Failure,
    output::{Output, count},
    place::NewFile,
};

pub(crate) fn run(args: &args::Man, output: &Output) -> Result<(), Failure> {
    fs::create_dir_all(&args.output).map_err(IoError::at("create", &args.output))?;
    // The `help` subcommand has no page.
    let mut command = Args::command().disable_help_subcommand(true);
    command.build();
    let mut names = Vec::new();
    write(&command, &args.output, &mut names)?;
    let text = format!("wrote    {} to {}", count(names.len() as u64, "page"), shown_path(&args.output));
    output.result(&text, || common::Man { folder: args.output.to_string_lossy(), pages: &names });
    Ok(())
}

/// Writes the pages of a command and of its subcommands.
fn write(command: &clap::Command, folder: &Path, names: &mut Vec<String>) -> Result<(), Failure> {
    let page = Man::new(command.clone()).manual("Weighbridge");
    let name = page.get_filename();
    let path = folder.join(&name);
    let mut text = Vec::new();
    render(&page, command, &mut text).map_err(IoError::at("write", &path))?;
    NewFile::write(&path, &text)?;
    names.push(name);
    command.get_subcommands().try_for_each(|command| write(command, folder, names))
}

/// Does the same as [`Man::render`], but puts the examples into an EXAMPLES section, line by line.
fn render(page: &Man, command: &clap::Command, text: &mut Vec<u8>) -> io::Result<()> {
    page.render_title(text)?;
    page.render_name_section(text)?;
    page.render_synopsis_section(text)?;
    page.render_description_section(text)?;
    page.render_options_section(text)?;
    if command.has_subcommands() {
        page.render_subcommands_section(text)?;
    }
    let examples = command.get_after_help().map(ToString::to_string).unwrap_or_default();
    let mut roff = Roff::new();
    roff.control("SH", ["EXAMPLES"]).control("nf", []);
    roff.text(examples.lines().skip(1).map(|line| roman(format!("{line}\n"))).collect::<Vec<_>>());
    roff.control("fi", []).to_writer(text)
}
