//! `verify --hub`: a model folder against what a hub lists, which nobody signed.

use std::{
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use tokio::{runtime::Runtime, time::sleep};
use weighbridge_manifest::{ListedFile, shown};
use weighbridge_store::{Event, ExtraFiles, FileReport, ListedCheck, Metadata, Outcome, Summary};
use weighbridge_transfer::{Listing, SourceFactory};
use weighbridge_tree::ErrorCode;

use crate::{
    args::Verify,
    events::{values::Always, verify_hub},
    failure::Failure,
    fetch::source_options,
    output::{List, Output, count, size},
    progress::ReadProgress,
    trust,
    verify::{Codes, check_not_being_replaced, path_width, text, verdict},
    weigh::globs,
};

pub(crate) fn run(args: &Verify, hub: &str, output: &Output) -> Result<(), Failure> {
    trust::folder(&args.model)?;
    check_not_being_replaced(&Metadata::of_model(&args.model))?;
    let patterns = globs(&args.only)?;
    let listing = list(hub, output)?;
    tell(&listing, output);
    let only = |path: &str| patterns.is_match(path);
    let check = ListedCheck {
        model: &args.model,
        files: &listing.files,
        only: if args.only.is_empty() { None } else { Some(&only) },
        extra: if args.allow_extra { ExtraFiles::Report } else { ExtraFiles::Refuse },
    };
    let (summary, codes) = check_files(&check, output)?;
    let code = codes.code();
    if code.is_none() && !args.only.is_empty() && summary == Summary::default() {
        return Err(Failure::usage("--only: no listed file matches"));
    }
    let listed = listing.files.len() as u64;
    let done = if code.is_none() { done(&listing, &summary, &codes) } else { String::new() };
    output.result(&done, || verify_hub::Result {
        as_listed: code.is_none(),
        code: code.map(Into::into),
        origin: &listing.origin,
        commit: listing.commit.as_deref(),
        listed,
        complete: args.only.is_empty(),
        extra: codes.extra,
        left_out: codes.left_out,
        files: summary.verified,
        bytes: summary.bytes,
        refused: summary.refused,
        unknown: summary.unknown,
    });
    verdict(&summary, &codes)
}

/// Asks for the listing, and says so if that takes a while.
fn list(hub: &str, output: &Output) -> Result<Listing, Failure> {
    let runtime = Runtime::new().map_err(|error| {
        Failure::new(ErrorCode::IO, format!("cannot start the threads for HTTP: {error}"))
    })?;
    let (factory, options) = (SourceFactory::new(), source_options(hub, Vec::new()));
    runtime.block_on(async {
        let listed = factory.list(hub, &options);
        tokio::pin!(listed);
        tokio::select! {
            listed = &mut listed => return Ok(listed?.0),
            () = sleep(SOON) => output.talk("the server has not listed the files yet; waiting"),
        }
        Ok(listed.await?.0)
    })
}

/// The time after which a person wants to know what is waited for.
const SOON: Duration = Duration::from_secs(2);

/// Prints what a server lists, and what vouches for it.
pub(crate) fn tell(listing: &Listing, output: &Output) {
    let (files, bytes) = (listing.files.len() as u64, listing.bytes());
    let text = format!(
        "listing  {}  {}, {}\n         {NOBODY_SIGNED}",
        shown(&listing.origin),
        count(files, "file"),
        size(bytes)
    );
    output.result(&text, || verify_hub::Listing {
        origin: &listing.origin,
        commit: listing.commit.as_deref(),
        base_models: &listing.base_models,
        files,
        bytes,
        signed: Always,
        commit_checked: Always,
    });
}

const NOBODY_SIGNED: &str =
    "the server says so, now; nobody signed it, and whoever can change files there can change this with them";

fn check_files(check: &ListedCheck<'_>, output: &Output) -> Result<(Summary, Codes), Failure> {
    let wanted = |path: &str| check.only.is_none_or(|only| only(path));
    let files = || check.files.iter().filter(|file| wanted(file.path.as_str()));
    let width = path_width(files().map(|file| &file.path));
    let list = List::new(output, files().count(), "file");
    let progress = ReadProgress::new(output, "comparing");
    progress.total(files().map(|file| file.size).sum());
    let (read, codes) = (AtomicU64::new(0), Mutex::new(Codes::default()));
    let result = check.run(&|event| match event {
        Event::Read(bytes) => {
            read.fetch_add(bytes, Ordering::Relaxed);
            progress.read(bytes);
        }
        Event::File(report) => {
            codes.lock().unwrap_or_else(PoisonError::into_inner).add(&report.outcome);
            let at = check.files.binary_search_by(|file| file.path.as_str().cmp(&report.path));
            let listed = at.ok().and_then(|at| check.files.get(at));
            progress.aside(|| print(report, listed, width, &list));
        }
    });
    progress.finish(output, read.into_inner());
    list.end();
    Ok((result?, codes.into_inner().unwrap_or_else(PoisonError::into_inner)))
}

/// Prints what became of a file.
pub(crate) fn print(report: &FileReport, listed: Option<&ListedFile>, width: usize, list: &List<'_>) {
    let event = || verify_hub::File::new(report, listed);
    let kind = match report.outcome {
        Outcome::Verified => {
            let text = format!("ok       {:width$}  {}", shown(&report.path), size(report.size));
            return list.good("ok", &text, event);
        }
        Outcome::Extra => "extra",
        Outcome::LeftOut(_) => "left out",
        Outcome::Unknown(_) => "unknown",
        Outcome::Refused(_) => "refused",
    };
    list.line(kind, &text(report, width), event);
}

fn done(listing: &Listing, summary: &Summary, codes: &Codes) -> String {
    let listed = listing.files.len() as u64;
    // Unread files must not seem compared.
    let of = if summary.verified < listed { format!("{} of ", summary.verified) } else { String::new() };
    let others = [(codes.extra, "file", "not listed"), (codes.left_out, "place", "left out")];
    let others = others.iter().filter(|(n, ..)| *n > 0);
    let others: String = others.map(|(n, thing, how)| format!("; {} {how}", count(*n, thing))).collect();
    let (files, bytes, origin) = (count(listed, "file"), size(summary.bytes), shown(&listing.origin));
    format!("as listed {of}{files}, {bytes}{others}; by {origin}, whom this trusts")
}
