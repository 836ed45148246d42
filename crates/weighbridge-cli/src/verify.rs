//! `verify`: a model folder against its signed head.

use std::{
    collections::BTreeSet,
    io::Write,
    path::Path,
    sync::{
        Mutex,
        atomic::{AtomicU64, Ordering},
    },
};

use weighbridge_manifest::{EntryPath, Receipt, TensorEntry, VerifiedFileList, VerifiedHead, shown};
use weighbridge_publish::{SecretKey, sign_receipt};
use weighbridge_store::{
    BadChunks, BadRun, Event, ExtraFiles, FOLDER, FileFault, FileReport, IoError, Metadata, ModelCheck,
    Outcome, StoreError, Summary, TensorHashing, Uncompared, is_hub_snapshot, shown_path,
};
use weighbridge_tree::{Coded, ErrorCode};

use crate::{
    args::Verify,
    events::{values::Code, verify},
    failure::{BESIDE_THE_CACHE, Failure},
    keys,
    output::{List, Output, count, size},
    place::NewFile,
    progress::ReadProgress,
    trust, verify_hub, verify_partial,
    weigh::globs,
};

pub(crate) fn run(args: &Verify, output: &Output) -> Result<(), Failure> {
    if args.partial {
        return verify_partial::run(args, output);
    }
    if let Some(hub) = &args.hub {
        return verify_hub::run(args, hub, output);
    }
    trust::folder(&args.model)?;
    let patterns = globs(&args.only)?;
    // Do everything that can fail early before hours of reading.
    let key = args.key.as_ref().map(|path| keys::load(path, &args.passphrase)).transpose()?;
    let receipt = args.receipt.as_deref().map(|path| new_receipt(path, &args.model)).transpose()?;
    let metadata = match &args.meta {
        Some(path) => trust::metadata(path),
        None => Metadata::of_model(&args.model),
    };
    // A head says nothing of a folder whose files are those of two releases.
    let own = Metadata::of_model(&args.model);
    check_not_being_replaced(&own)?;
    let note = trust::note(&metadata)?;
    let head = trust::believe(&note, &args.trust, &args.which, output)?;
    trust::print(&head, output);
    let files = metadata.files(&head)?;
    let tensors = metadata.tensors(&files)?;
    if args.tensors && tensors.is_none() {
        return Err(Failure::usage("--tensors: this head lists no tensors"));
    }
    // Layers of a wrong length are refused below. The files can be checked without layers.
    let layers = metadata.layers(&files);
    let only = |path: &str| patterns.is_match(path);
    let check = ModelCheck {
        model: &args.model,
        files: &files,
        tensors: tensors.as_ref(),
        layers: layers.as_ref().ok().and_then(Option::as_ref),
        only: if args.only.is_empty() { None } else { Some(&only) },
        tensor_hashes: if args.tensors { TensorHashing::Check } else { TensorHashing::Skip },
        extra: if args.allow_extra { ExtraFiles::Report } else { ExtraFiles::Refuse },
    };
    let (summary, codes) = check_files(&check, &files, output)?;
    let layers = layers.map(|_| ());
    let refused_layers = layers.as_ref().err().map(Coded::error_code);
    let code = refused_layers.or(codes.code());
    if code.is_none() && !args.only.is_empty() && summary == Summary::default() {
        return Err(Failure::usage("--only: no listed file matches"));
    }
    print_result(args, &head, &summary, &codes, code, output);
    // Another release may have begun to replace this one while it was read.
    if code.is_some() {
        check_not_being_replaced(&own)?;
    }
    layers.map_err(Failure::from)?;
    verdict(&summary, &codes)?;
    match (receipt, key) {
        (Some((path, file)), Some(key)) => write_receipt(path, file, &head, &key, output),
        _ => Ok(()),
    }
}

/// Refuses a model folder in which files of two releases may lie.
pub(crate) fn check_not_being_replaced(own: &Metadata) -> Result<(), Failure> {
    own.being_replaced().map_or(Ok(()), |error| Err(StoreError::BeingReplaced(error).into()))
}

/// Prints the result of the whole check. `code` is the code with which the run ends; `None` if all is as signed.
fn print_result(
    args: &Verify,
    head: &VerifiedHead,
    summary: &Summary,
    codes: &Codes,
    code: Option<ErrorCode>,
    output: &Output,
) {
    let listed = head.head().files.count;
    let text = if code.is_none() { done(summary, listed, codes, head) } else { String::new() };
    output.result(&text, || verify::Result {
        verified: code.is_none(),
        code: code.map(Code::from),
        head: head.id().into(),
        listed,
        complete: args.only.is_empty(),
        extra: codes.extra,
        left_out: codes.left_out,
        files: summary.verified,
        bytes: summary.bytes,
        refused: summary.refused,
        unknown: summary.unknown,
        uncompared: summary.uncompared,
    });
}

/// Creates the file of the receipt, which must not lie among the model's files.
fn new_receipt<'p>(path: &'p Path, model: &Path) -> Result<(&'p Path, NewFile), Failure> {
    check_outside(model, path)?;
    Ok((path, NewFile::create(path)?))
}

/// Refuses a path for the receipt among the model's files, where the receipt would be an unlisted file.
fn check_outside(model: &Path, receipt: &Path) -> Result<(), Failure> {
    let folder = receipt.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let (Ok(model), Ok(folder)) = (model.canonicalize(), folder.canonicalize()) else { return Ok(()) };
    if folder.starts_with(&model) && !folder.starts_with(model.join(FOLDER)) {
        return Err(Failure::usage(
            "--receipt: a file among the model's would not be listed; name a place elsewhere",
        ));
    }
    Ok(())
}

/// Writes this node's signed claim that it verified the whole model.
fn write_receipt(
    path: &Path,
    mut file: NewFile,
    head: &VerifiedHead,
    key: &SecretKey,
    output: &Output,
) -> Result<(), Failure> {
    let receipt = Receipt {
        nonce: None,
        name: head.head().name.clone(),
        head: head.id(),
        root: head.head().root,
        node: key.vkey().clone(),
        verified: trust::now()
            .ok_or_else(|| Failure::new(ErrorCode::IO, "this machine's clock tells no time"))?,
    };
    let note = sign_receipt(&receipt, key)?;
    file.write_all(note.as_bytes()).map_err(IoError::at("write", path))?;
    file.finish()?;
    let text = format!("receipt  {}, signed by {}", shown_path(path), shown(key.vkey().name().as_str()));
    output.result(&text, || verify::Receipt {
        file: path.to_string_lossy(),
        node: key.vkey().to_string(),
        verified: receipt.verified.into(),
    });
    Ok(())
}

fn done(summary: &Summary, listed: u64, codes: &Codes, head: &VerifiedHead) -> String {
    // Unread files must not seem verified.
    let of = if summary.verified < listed { format!("{} of ", summary.verified) } else { String::new() };
    let others = [(codes.extra, "file", "not listed"), (codes.left_out, "place", "left out")];
    let others = others.iter().filter(|(n, ..)| *n > 0);
    let others: String = others.map(|(n, thing, how)| format!("; {} {how}", count(*n, thing))).collect();
    let (bytes, aside) = (size(summary.bytes), aside(summary));
    format!("verified {of}{}, {bytes}{others}{aside}; head {}", count(listed, "file"), head.id())
}

/// The part of a summary that says for how many files only the bytes were verified.
pub(crate) fn aside(summary: &Summary) -> String {
    match summary.uncompared {
        0 => String::new(),
        files => format!("; tensors of {} not compared", count(files, "file")),
    }
}

/// The error codes found so far.
#[derive(Default)]
pub(crate) struct Codes {
    refused: BTreeSet<ErrorCode>,
    unknown: Option<ErrorCode>,
    /// Whether the model is a snapshot of a cache of Hugging Face's clients.
    in_hub_cache: bool,
    /// Whether a fault named the bad chunks.
    chunks_named: bool,
    /// The number of files that are not listed but allowed.
    pub(crate) extra: u64,
    /// The number of places that are not listed and were not looked into.
    pub(crate) left_out: u64,
}

impl Codes {
    /// The code with which the run ends.
    pub(crate) fn code(&self) -> Option<ErrorCode> {
        self.refused.first().copied().or(self.unknown)
    }

    /// Adds those of one file.
    pub(crate) fn add(&mut self, outcome: &Outcome) {
        match outcome {
            Outcome::Refused(faults) => {
                self.refused.extend(faults.iter().map(Coded::error_code));
                self.chunks_named |= faults.iter().any(names_chunks);
            }
            Outcome::Unknown(error) => self.unknown = Some(error.error_code()),
            Outcome::Extra => self.extra += 1,
            Outcome::LeftOut(_) => self.left_out += 1,
            Outcome::Verified => {}
        }
    }
}

pub(crate) fn check_files(
    check: &ModelCheck<'_>,
    files: &VerifiedFileList,
    output: &Output,
) -> Result<(Summary, Codes), Failure> {
    let wanted = |path: &str| check.only.is_none_or(|only| only(path));
    let paths = || files.entries().iter().filter(|e| wanted(e.path.as_str()));
    let width = path_width(paths().map(|entry| &entry.path));
    let list = List::new(output, paths().count(), "file");
    let progress = ReadProgress::new(output, "verifying");
    progress.total(paths().map(|e| e.size).sum());
    let read = AtomicU64::new(0);
    let in_hub_cache = is_hub_snapshot(check.model);
    let codes = Mutex::new(Codes { in_hub_cache, ..Codes::default() });
    let result = check.run(&|event| match event {
        Event::Read(bytes) => {
            read.fetch_add(bytes, Ordering::Relaxed);
            progress.read(bytes);
        }
        Event::File(report) => {
            codes.lock().unwrap_or_else(std::sync::PoisonError::into_inner).add(&report.outcome);
            progress.aside(|| print(report, width, &list));
        }
    });
    progress.finish(output, read.into_inner());
    list.end();
    Ok((result?, codes.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner)))
}

/// The width of the path column.
pub(crate) fn path_width<'a>(paths: impl Iterator<Item = &'a EntryPath>) -> usize {
    paths.map(|path| shown(path.as_str()).chars().count()).max().unwrap_or(0).min(MAX_WIDTH)
}

pub(crate) fn verdict(summary: &Summary, codes: &Codes) -> Result<(), Failure> {
    let looked_at = summary.verified + summary.refused + summary.unknown;
    if let Some(code) = codes.refused.first() {
        let message = format!("{} of {} refused", summary.refused, count(looked_at, "file"));
        let failure = Failure::new(*code, message);
        return Err(hints(codes).into_iter().fold(failure, Failure::hint));
    }
    match codes.unknown {
        Some(code) => {
            Err(Failure::new(code, format!("{} of {} not read", summary.unknown, count(looked_at, "file"))))
        }
        None => Ok(()),
    }
}

fn names_chunks(fault: &FileFault) -> bool {
    matches!(fault, FileFault::Mismatch { chunks: Some(_), .. })
}

/// The next step for each kind of refusal.
fn hints(codes: &Codes) -> Vec<&'static str> {
    let mut hints = Vec::new();
    let of_a_path = ErrorCode::PATH_LENGTH..=ErrorCode::PATH_NOT_UTF8;
    for code in &codes.refused {
        let hint = match *code {
            ErrorCode::FILE_MISMATCH | ErrorCode::FILE_LENGTH | ErrorCode::FILE_MISSING
                if codes.in_hub_cache =>
            {
                BESIDE_THE_CACHE
            }
            ErrorCode::FILE_MISMATCH if codes.chunks_named => {
                "fetch the chunks named above again; everything else stays valid"
            }
            ErrorCode::FILE_MISMATCH | ErrorCode::FILE_LENGTH | ErrorCode::FILE_MISSING => {
                "fetch the files named above again"
            }
            ErrorCode::FILE_NOT_LISTED => {
                "remove files that are not part of the model, or report them only: --allow-extra"
            }
            ErrorCode::LISTED_MISMATCH | ErrorCode::LISTED_LENGTH => {
                "download the files named above again, in the commit named above"
            }
            ErrorCode::SHA1_COLLISION => "do not use these files: somebody made two contents with one id",
            ErrorCode::FILE_CHANGED => "wait until nothing writes to the model, and verify again",
            ErrorCode::LAYER_MISMATCH => {
                "get chunks.layer again, or remove it: the files can be verified without it"
            }
            ErrorCode::LINK_OUT | ErrorCode::LINK_BROKEN if codes.in_hub_cache => {
                "let the hub's client download these files again: it makes the links of its cache"
            }
            ErrorCode::LINK_OUT
            | ErrorCode::LINK_TO_FOLDER
            | ErrorCode::SPECIAL_FILE
            | ErrorCode::LINK_BROKEN => "remove the links and special files named above",
            code if of_a_path.contains(&code) => "rename or remove the files named above",
            _ => continue,
        };
        if !hints.contains(&hint) {
            hints.push(hint);
        }
    }
    hints
}

/// The maximum width of the path column.
const MAX_WIDTH: usize = 48;
/// The maximum number of runs of bad chunks, and of tensors of each run, that are printed; `--json` has all.
const MAX_LINES: usize = 8;

fn print(report: &FileReport, width: usize, list: &List<'_>) {
    let (text, event) = (text(report, width), || verify::File::from(report));
    match report.outcome {
        Outcome::Verified => list.good("ok", &text, event),
        Outcome::Extra => list.line("extra", &text, event),
        Outcome::LeftOut(_) => list.line("left out", &text, event),
        Outcome::Unknown(_) => list.line("unknown", &text, event),
        Outcome::Refused(_) => list.line("refused", &text, event),
    }
}

pub(crate) fn text(report: &FileReport, width: usize) -> String {
    let path = format!("{:width$}", shown(&report.path));
    match &report.outcome {
        Outcome::Verified => {
            let tensors = match &report.uncompared {
                None => String::new(),
                Some(Uncompared::NotListed) => {
                    "\n         covered as a file: no tensor of it is listed".to_owned()
                }
                Some(Uncompared::UnknownDtype(dtype)) => {
                    format!(
                        "\n         tensors not compared with the list: {dtype} [W{}]",
                        dtype.error_code()
                    )
                }
            };
            format!("ok       {path}  {:>12}  {}{tensors}", count(report.chunks, "chunk"), size(report.size))
        }
        Outcome::Extra => format!("extra    {path}  not listed, not part of the model"),
        Outcome::LeftOut(None) => format!("left out {path}  not looked into, no part of models"),
        Outcome::LeftOut(Some(error)) => format!("left out {path}  {error}"),
        Outcome::Unknown(error) => format!("unknown  {path}  {error} [W{}]", error.error_code()),
        Outcome::Refused(faults) => {
            let mut lines = Vec::new();
            for (number, fault) in faults.iter().enumerate() {
                let label =
                    if number == 0 { format!("refused  {path}") } else { format!("         {:width$}", "") };
                lines.push(format!("{label}  {fault} [W{}]", fault.error_code()));
                if let FileFault::Mismatch { chunks, .. } = fault {
                    lines.extend(places(report.chunks, chunks.as_ref()));
                }
            }
            lines.join("\n")
        }
    }
}

/// The lines that name the bad places of a file.
fn places(count: u64, chunks: Option<&BadChunks>) -> Vec<String> {
    if count <= 1 {
        // The only chunk is the whole file.
        return Vec::new();
    }
    let Some(BadChunks { runs, bad, of }) = chunks else {
        return vec!["         which chunks is not known without chunks.layer".to_owned()];
    };
    let mut lines = Vec::new();
    for BadRun { chunks: (first, last), bytes, tensors } in runs.iter().take(MAX_LINES) {
        let which =
            if first == last { format!("chunk {first}") } else { format!("chunks {first} to {last}") };
        lines.push(format!(
            "         {which} of {of} (from 0), bytes {}..{}{}",
            bytes.start,
            bytes.end,
            of_tensors(tensors)
        ));
    }
    if runs.len() > MAX_LINES {
        lines.push(format!("         and more: {bad} of {of} chunks in all"));
    }
    lines
}

fn of_tensors(tensors: &[TensorEntry]) -> String {
    let names: Vec<String> = tensors.iter().take(MAX_LINES).map(|t| shown(t.name.as_str())).collect();
    match (names.as_slice(), tensors.len().saturating_sub(MAX_LINES)) {
        ([], _) => String::new(),
        ([name], _) => format!(", in tensor {name}"),
        (names, 0) => format!(", in tensors {}", names.join(", ")),
        (names, more) => format!(", in tensors {} and {more} more", names.join(", ")),
    }
}
