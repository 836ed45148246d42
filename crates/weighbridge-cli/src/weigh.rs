//! `weigh`: writes the lists, layers and head of a model folder.

use std::{
    fs,
    io::{ErrorKind, Write},
    path::{Component, Path},
    sync::atomic::{AtomicU64, Ordering},
};

use globset::{GlobBuilder, GlobSet, GlobSetBuilder};
use weighbridge_manifest::{MAX_NOTE, ModelName, shown};
use weighbridge_publish::{
    Event, Existing, Refusal, RefusalFault, Reuse, SecretKey, Sha256Listing, Signing, Staging, StoreError,
    TensorListing, WeighError, Weighed, Weighing,
};
use weighbridge_store::{FOLDER, HEAD, IoError, Metadata, read_bounded, shown_path};
use weighbridge_tree::{Coded, ErrorCode, head_id};

use crate::{
    args::Weigh,
    earlier::Earlier,
    events::{
        publish::{self, PlaceStatus},
        values::Fault,
    },
    failure::Failure,
    keys,
    output::{List, Output, count, shown_names},
    progress::ReadProgress,
    signals,
    trust::{self, head_line},
};

pub(crate) fn run(args: &Weigh, output: &Output) -> Result<(), Failure> {
    trust::folder(&args.model)?;
    let folder = args.output.clone().unwrap_or_else(|| args.model.join(FOLDER));
    check_outside_of_entries(&args.model, &folder)?;
    // Do everything that can fail early before hours of reading.
    let keys = keys::load_all(&args.key, &args.passphrase)?;
    let earlier = Earlier::open(args, &keys)?;
    let patterns = globs(&args.reuse)?;
    let matches = |path: &str| patterns.is_match(path);
    let as_they_are = globs(&args.take)?;
    let take = |path: &str| as_they_are.is_match(path);
    let weighing = weighing(args, &earlier, &matches, &take)?;
    // A head that cannot be written is misuse: nothing was judged yet.
    weighing.check_head().map_err(|error| Failure::usage(format!("no head can say this: {error}")))?;
    if let Some(replaced) = replaced(&folder, &weighing) {
        output.talk(&format!(
            "this is another revision 1 of {replaced}: whoever accepted the head that it replaces will call it a fork; \
             --previous makes it the next revision"
        ));
    }
    check_not_being_replaced(&args.model)?;
    let existing = if args.force { Existing::Replace } else { Existing::Keep };
    let staging = Staging::open(&folder, existing).map_err(|error| not_written(error, args))?;
    let undone = signals::on_signal(staging.undo());
    let reused = weighing
        .reuse
        .as_ref()
        .map_or(0, |reuse| reuse.files.entries().iter().filter(|file| matches(file.path.as_str())).count());
    let (weighed, left_out) = weigh(&weighing, reused, output)?;
    let signing = sign(&weighed, &keys)?;
    weighed.write(&staging)?;
    if let Some(note) = signing.note() {
        staging.write(HEAD, |w: &mut dyn Write| w.write_all(note.as_bytes()))?;
    }
    let lock = staging.lock()?;
    weighed.check_unchanged().map_err(|error| failure(&error, output))?;
    // The lock is that of the metadata's folder, which may lie elsewhere.
    check_not_being_replaced(&args.model)?;
    signals::uninterrupted(|| staging.publish(lock))?;
    drop(undone);
    print(&weighed, left_out, &keys, &folder, output);
    Ok(())
}

/// The weighing that the caller asks for. `matches` selects the files to reuse, `take` those to weigh as they are.
fn weighing<'a>(
    args: &'a Weigh,
    earlier: &'a Earlier,
    matches: &'a (dyn Fn(&str) -> bool + Sync),
    take: &'a (dyn Fn(&str) -> bool + Sync),
) -> Result<Weighing<'a>, Failure> {
    Ok(Weighing {
        model: &args.model,
        name: args.name.clone(),
        previous: earlier.previous.clone(),
        created: trust::now()
            .ok_or_else(|| Failure::new(ErrorCode::IO, "this machine's clock tells no time"))?,
        expires: args.expires,
        chunk_size: args.chunk_size,
        tensors: if args.no_tensors { TensorListing::Omit } else { TensorListing::List },
        sha256: if args.sha256 { Sha256Listing::List } else { Sha256Listing::Omit },
        ext: sorted(args),
        reuse: earlier.reuse.as_ref().map(|(files, tensors, layers)| Reuse {
            matches,
            files,
            tensors: tensors.as_ref(),
            layers: layers.as_ref(),
        }),
        take: Some(take),
    })
}

/// Refuses a model folder in which files of two releases may lie: half of each could be signed.
fn check_not_being_replaced(model: &Path) -> Result<(), Failure> {
    let Some(error) = Metadata::of_model(model).being_replaced() else { return Ok(()) };
    Err(Failure::from(StoreError::BeingReplaced(error))
        .hint("to weigh what is there as it is, remove the folder `kept` in its metadata"))
}

/// The failure to write the metadata, which goes into the model folder unless `-o` names another.
fn not_written(error: StoreError, args: &Weigh) -> Failure {
    let is_closed = matches!(&error, StoreError::Io(error)
        if matches!(error.source.kind(), ErrorKind::PermissionDenied | ErrorKind::ReadOnlyFilesystem));
    let failure = Failure::from(error);
    if is_closed && args.output.is_none() {
        return failure.hint("metadata may lie elsewhere: name a folder with -o, and verify with --meta");
    }
    failure
}

/// The model's name, if an existing signed head would be replaced by one that does not follow it.
fn replaced(folder: &Path, weighing: &Weighing<'_>) -> Option<ModelName> {
    let note = read_bounded(&folder.join(HEAD), MAX_NOTE as u64).ok()?;
    let earlier = Signing::of_note(&note).ok()?;
    let name = &earlier.head().name;
    (weighing.previous.is_none() && *name == weighing.name).then(|| name.clone())
}

/// Refuses a metadata folder among the model's files, where the metadata would be files of the model.
fn check_outside_of_entries(model: &Path, folder: &Path) -> Result<(), Failure> {
    let model = fs::canonicalize(model).map_err(IoError::at("open", model))?;
    let nearest = folder.ancestors().find_map(|f| {
        Some((f, fs::canonicalize(if f.as_os_str().is_empty() { Path::new(".") } else { f }).ok()?))
    });
    let Some((existing, real)) = nearest else { return Ok(()) };
    let to_be_made = folder.strip_prefix(existing).unwrap_or(Path::new(""));
    if to_be_made.components().any(|part| !matches!(part, Component::Normal(_))) {
        return Err(Failure::usage(format!(
            "-o {}: the folder is not there, and its path has '..'",
            shown_path(folder)
        )));
    }
    let whole = real.join(to_be_made);
    match whole.strip_prefix(&model) {
        Ok(inside) if !inside.starts_with(FOLDER) => Err(Failure::usage(format!(
            "{} lies in the model and would be part of it; leave -o out, or name a folder elsewhere",
            shown_path(folder)
        ))),
        _ => Ok(()),
    }
}

fn sorted(args: &Weigh) -> Vec<weighbridge_manifest::Ext> {
    let mut ext = args.ext.clone();
    ext.sort();
    ext
}

/// Weighs the model, and counts the places that were left out.
fn weigh(weighing: &Weighing<'_>, reused: usize, output: &Output) -> Result<(Weighed, u64), Failure> {
    let list = List::new(output, reused, "file");
    let progress = ReadProgress::new(output, "weighing");
    let (total, left_out) = (AtomicU64::new(0), AtomicU64::new(0));
    let tell = |event: Event<'_>| match event {
        Event::Total(bytes) => {
            total.store(bytes, Ordering::Relaxed);
            progress.total(bytes);
        }
        Event::Read(bytes) => progress.read(bytes),
        Event::Reused(path) => progress.aside(|| {
            let path = path.as_str();
            let text = format!("reused   {} (not read)", shown(path));
            list.good("reused", &text, || publish::Reused { path });
        }),
        Event::LeftOut(place) => {
            left_out.fetch_add(1, Ordering::Relaxed);
            progress.aside(|| {
                let text = format!("left out {}  not looked into, no part of models", shown(place));
                let status = PlaceStatus::LeftOut;
                output.result(&text, || publish::File { path: place, status, faults: None });
            });
        }
    };
    let result = weighing.weigh(&tell);
    progress.finish(output, total.into_inner());
    list.end();
    match result {
        Ok(weighed) => Ok((weighed, left_out.into_inner())),
        Err(error) => Err(failure(&error, output)),
    }
}

/// The failure of a weighing. Each refused place is printed.
pub(crate) fn failure(error: &WeighError, output: &Output) -> Failure {
    let failure = Failure::of(error);
    if error.is_about_tensors() {
        // The file may be good: formats have forks, and lists have limits.
        return failure
            .hint("if a download was cut short, get the file again")
            .hint("if the file is as it should be, weigh it without its tensors: --no-tensors");
    }
    match error {
        WeighError::Refused(refused) => {
            refused.iter().for_each(|refusal| print_refused(refusal, output));
            hints(refused).into_iter().fold(failure, Failure::hint)
        }
        WeighError::Io(error) if error.source.kind() == ErrorKind::PermissionDenied => {
            failure.hint("let it be read, or move it out of the model folder")
        }
        WeighError::Reuse { .. } => failure.hint("leave --reuse out to read the files"),
        _ => failure,
    }
}

fn print_refused(Refusal { place, fault }: &Refusal, output: &Output) {
    let text = format!("refused  {}  {fault} [W{}]", shown(place), fault.error_code());
    output.result(&text, || publish::File {
        path: place,
        status: PlaceStatus::Refused,
        faults: Some([Fault::of(fault)]),
    });
}

/// The next step for each kind of refusal.
fn hints(refused: &[Refusal]) -> Vec<&'static str> {
    let mut hints = Vec::new();
    for Refusal { fault, .. } in refused {
        let hint = match fault {
            RefusalFault::LfsPointer => {
                "the files themselves are not here: run `git lfs pull`; or take pointers as they are: --take GLOB"
            }
            RefusalFault::Unfinished { .. } | RefusalFault::BesideUnfinished { .. } => {
                "end the download, or remove what it left; or take files as they are: --take GLOB"
            }
            RefusalFault::OfASystem { .. } => {
                "remove what is no part of the model; or take files as they are: --take GLOB"
            }
            RefusalFault::Unfit(_) => "move it out of the model folder",
            _ => "rename it",
        };
        if !hints.contains(&hint) {
            hints.push(hint);
        }
    }
    hints
}

fn sign(weighed: &Weighed, keys: &[SecretKey]) -> Result<Signing, Failure> {
    let mut signing = Signing::of_text(weighed.text.clone())?;
    for key in keys {
        let signature = key.sign(signing.text().as_bytes());
        signing.add(key.vkey(), signature)?;
    }
    Ok(signing)
}

fn print(weighed: &Weighed, left_out: u64, keys: &[SecretKey], folder: &Path, output: &Output) {
    let (head, id) = (&weighed.head, head_id(weighed.text.as_bytes()));
    let signers: Vec<&str> = keys.iter().map(|k| k.vkey().name().as_str()).collect();
    let signed = if signers.is_empty() {
        format!(
            "unsigned: sign {}, then `weighbridge sign`",
            shown_path(folder.join(weighbridge_publish::TEXT))
        )
    } else {
        format!("signed   by {}", shown_names(&signers))
    };
    print_unlisted(weighed, output);
    let places = match left_out {
        0 => String::new(),
        n => format!("; {} left out", count(n, "place")),
    };
    let text = format!(
        "weighed  {} revision {}: {}{places}\nid       {id}\n{signed}\nwrote    {}",
        head.name,
        head.revision,
        head_line(head),
        shown_path(folder)
    );
    output.result(&text, || publish::Weighed {
        head: id.into(),
        signers: &signers,
        folder: folder.to_string_lossy(),
        left_out,
        says: head.into(),
    });
}

/// Prints which tensor files are covered without their tensors.
pub(crate) fn print_unlisted(weighed: &Weighed, output: &Output) {
    for (path, dtype) in &weighed.unlisted {
        let (path, code) = (path.as_str(), dtype.error_code());
        let text = format!("unlisted {}: covered as a file, since {dtype} [W{code}]", shown(path));
        output.result(&text, || publish::Unlisted { path, unknown_dtype: dtype.into() });
    }
}

/// The patterns as globs over paths in the model: `*` stays within a folder, `**` does not.
pub(crate) fn globs(patterns: &[String]) -> Result<GlobSet, Failure> {
    let mut set = GlobSetBuilder::new();
    for pattern in patterns {
        let glob = GlobBuilder::new(pattern).literal_separator(true).build();
        set.add(glob.map_err(|e| Failure::usage(format!("a pattern is malformed: {e}")))?);
    }
    set.build().map_err(|e| Failure::usage(format!("the patterns are too large: {e}")))
}
