//! `import`: a model that nobody weighed, checked by what its place lists, and signed by the importer.

use std::{
    path::Path,
    sync::{Mutex, MutexGuard, OnceLock, PoisonError},
};

use tokio::runtime::Runtime;
use weighbridge_import::{Earlier, Import, ImportError, Imported, Observer, Wrong, import};
use weighbridge_manifest::{
    Expectation, ListedFile, ModelName, SignedHead, TrustPolicy, VerifiedHead, shown,
};
use weighbridge_publish::{SecretKey, TensorListing};
use weighbridge_store::{
    Existing, FileFault, FileReport, HEAD, Metadata, Outcome, scan::ScanError, shown_path,
};
use weighbridge_transfer::{Event, Fault, FetchProgress, Listing, SourceFactory};
use weighbridge_tree::ErrorCode;

use crate::{
    args,
    destination::Destination,
    events::{import, values::Always},
    failure::{DENIED_BY_HUB, Failure},
    fetch::{hub_name, is_of_hub, source_options},
    fetch_json,
    fetch_view::{Counts, PATH_WIDTH, View},
    keys,
    output::{List, Output, shown_names},
    trust::{self, head_line},
    verify_hub,
    weigh::{self, print_unlisted},
};

pub(crate) fn run(args: &args::Import, output: &Output) -> Result<(), Failure> {
    let named = || {
        let failure = Failure::usage("the model's name was not said").hint("name it with --name ORG/MODEL");
        hub_name::wanted(std::slice::from_ref(&args.place))?.ok_or(failure)
    };
    let name = args.name.clone().map_or_else(named, Ok)?;
    let keys = keys::load_all(&args.key, &args.passphrase)?;
    let signers: Vec<String> = keys.iter().map(|key| key.vkey().name().as_str().to_owned()).collect();
    let existing = if args.replace { Existing::Replace } else { Existing::Keep };
    let into = Destination::open(&args.into, Some(&name), existing, output)?;
    let earlier = earlier(args, &into, &name, &keys)?;
    let current = earlier.as_ref().map(|earlier| earlier.folder.clone()).unwrap_or_default();
    let created =
        trust::now().ok_or_else(|| Failure::new(ErrorCode::IO, "this machine's clock tells no time"))?;
    let options = Import {
        address: args.place.clone(),
        options: source_options(&args.place, Vec::new()),
        factory: SourceFactory::new(),
        into: into.folder(),
        name,
        keys,
        created,
        tensors: if args.no_tensors { TensorListing::Omit } else { TensorListing::List },
        earlier,
    };
    let runtime = Runtime::new().map_err(|error| {
        Failure::new(ErrorCode::IO, format!("cannot start the threads of an import: {error}"))
    })?;
    let mut watcher = Watcher::new(output, &args.place, into.is_cache());
    let ended = runtime.block_on(import(options, &watcher));
    // Do not wait for reads of a file system that does not answer.
    runtime.shutdown_background();
    watcher.finish();
    match ended.map_err(|error| unimported(error, is_of_hub(&args.place), output))? {
        Some(imported) => {
            let folder = into.publish(imported.head, |_| true)?;
            print(&imported, &signers, &folder, output);
        }
        None => output.result("the model that is there is of the listed commit: nothing to do", || {
            import::Current { folder: current.to_string_lossy() }
        }),
    }
    Ok(())
}

/// The release that the import follows: one that was signed by a key of this importer. In a cache it is the latest of those
/// that are there, whatever `refs/main` names.
fn earlier(
    args: &args::Import,
    into: &Destination,
    name: &ModelName,
    keys: &[SecretKey],
) -> Result<Option<Earlier>, Failure> {
    let cached = match into {
        Destination::Folder(folder) if args.update => return earlier_in(folder, name, keys).map(Some),
        Destination::Folder(_) => return Ok(None),
        Destination::Cache(cached) => cached,
    };
    let mut heads = Vec::new();
    for metadata in cached.releases()? {
        // Releases of others, and what is no release, are not followed.
        if let Ok(head) = head_of(&metadata, name, keys) {
            heads.push((head, metadata));
        }
    }
    match heads.into_iter().max_by_key(|(head, _)| head.head().revision) {
        Some((head, metadata)) if args.update => {
            let folder = cached.snapshot_of(head.id());
            Ok(Some(Earlier::of(&head, metadata.files(&head)?, folder)))
        }
        Some(_) => Err(failure(ImportError::Exists { name: name.clone() })),
        None if args.update => Err(Failure::usage("--update: no release in the cache is signed by --key")
            .hint("import it without --update")),
        None => Ok(None),
    }
}

fn earlier_in(folder: &Path, name: &ModelName, keys: &[SecretKey]) -> Result<Earlier, Failure> {
    let metadata = Metadata::of_model(folder);
    let head = head_of(&metadata, name, keys)?;
    Ok(Earlier::of(&head, metadata.files(&head)?, folder.to_owned()))
}

/// A head that is signed by a key of this importer.
fn head_of(metadata: &Metadata, name: &ModelName, keys: &[SecretKey]) -> Result<VerifiedHead, Failure> {
    let about = |failure: Failure| failure.about(&metadata.folder().join(HEAD));
    let policy = TrustPolicy::any_of(keys.iter().map(|key| key.vkey().clone()).collect())?;
    let expected = Expectation::any().named(name.clone()).allow_expired();
    let note = metadata.note()?;
    let signed = SignedHead::parse(&note).map_err(|error| about(error.into()))?;
    signed.verify(&policy, &expected, trust::now()).map_err(|error| {
        about(error.into()).only_hint("an update follows a head that is signed by --key: an earlier import")
    })
}

/// Shows an import.
struct Watcher<'a> {
    output: &'a Output,
    names: [String; 1],
    /// Whether the model is put into a cache.
    is_cached: bool,
    view: Mutex<View>,
    progress: Mutex<FetchProgress>,
    /// The lines of files, once it is known how many there are.
    files: OnceLock<List<'a>>,
}

impl<'a> Watcher<'a> {
    fn new(output: &'a Output, place: &str, is_cached: bool) -> Self {
        let names = [place.to_owned()];
        let view = Mutex::new(View::new(output, &names, Counts::Hashed));
        Self { output, names, is_cached, view, progress: Mutex::default(), files: OnceLock::new() }
    }

    fn view(&self) -> MutexGuard<'_, View> {
        self.view.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn finish(&mut self) {
        let progress = *self.progress.lock().unwrap_or_else(PoisonError::into_inner);
        self.view().finish(self.output, &progress);
        if let Some(files) = self.files.take() {
            files.end();
        }
    }
}

impl Observer for Watcher<'_> {
    fn listed(&self, listing: &Listing) {
        self.view().aside(|| {
            verify_hub::tell(listing, self.output);
            let _ = self.files.set(List::new(self.output, listing.files.len(), "file"));
            if listing.has_head {
                self.output.talk(
                    "somebody has weighed this model: `weighbridge fetch` gets it by the head that it has",
                );
            }
        });
    }

    fn moved(&self, to: &str) {
        let text = format!("moved    the revision is commit {to} by now; --update imports that");
        self.view().aside(|| self.output.result(&text, || import::Moved { commit: to }));
    }

    fn as_listed(&self, file: &ListedFile) {
        if let Some(files) = self.files.get() {
            self.view().aside(|| print_file(file, Outcome::Verified, files));
        }
    }

    fn event(&self, event: Event) {
        if let Event::Progress(progress) = &event {
            *self.progress.lock().unwrap_or_else(PoisonError::into_inner) = *progress;
        }
        if self.is_cached && matches!(event, Event::Extra { .. }) {
            return;
        }
        if !self.output.is_json() {
            self.view().show(&event, self.output);
        } else if let Some(event) = fetch_json::object(&event, &self.names) {
            self.output.object(&*event);
        }
    }
}

/// The failure of an import, after the files that are wrong were printed.
fn unimported(error: ImportError, is_of_hub: bool, output: &Output) -> Failure {
    if let ImportError::Wrong(wrong) = &error {
        for Wrong { file, found } in wrong {
            let fault = FileFault::ListedMismatch { listed: file.digest, found: *found };
            print_file(file, Outcome::Refused(vec![fault]), &List::new(output, wrong.len(), "file"));
        }
    }
    match error {
        ImportError::Weigh(error) => weigh::failure(&error, output),
        ImportError::Source { fault: Fault::Refused(_), .. } if is_of_hub => {
            failure(error).hint(DENIED_BY_HUB)
        }
        error => failure(error),
    }
}

fn failure(error: ImportError) -> Failure {
    if let ImportError::List(error) = error {
        return error.into();
    }
    if let ImportError::Store(error) = error {
        return error.into();
    }
    let failure = Failure::of(&error);
    match error {
        ImportError::Exists { .. } => failure.hint("--update makes what is listed now its next revision"),
        ImportError::Incomplete { folder, .. } => failure.hint(format!(
            "`weighbridge fetch` gets what is missing by the head that is there: name the same place, with --meta {}",
            shown_path(folder)
        )),
        ImportError::Wrong(_) => {
            failure.hint("the next import gets these files anew; if they are wrong again, the place has other bytes than it lists")
        }
        ImportError::Changed { .. } => failure.hint("import again: what has not changed is not fetched again"),
        ImportError::Scan { error: ScanError::Format(_), .. } => {
            failure.hint("it is as listed; to take it without its tensors: --no-tensors")
        }
        _ => failure,
    }
}

fn print_file(file: &ListedFile, outcome: Outcome, list: &List<'_>) {
    let report = FileReport::of_listed(file, outcome);
    verify_hub::print(&report, Some(file), PATH_WIDTH, list);
}

fn print(imported: &Imported, signers: &[String], folder: &Path, output: &Output) {
    let Imported { head: id, weighed, listing, received } = imported;
    let signers: Vec<&str> = signers.iter().map(String::as_str).collect();
    print_unlisted(weighed, output);
    let head = &weighed.head;
    let (origin, created) = (shown(&listing.origin), head.created);
    let commit = match &listing.commit {
        Some(_) => "; the commit id is its word",
        None => "",
    };
    let text = format!(
        "imported {} revision {}: {}\nid       {id}\nsigned   by {}\nvouched  {origin} said so at {created}: listing and \
         digests come from one server{commit}\nwrote    {}",
        head.name,
        head.revision,
        head_line(head),
        shown_names(&signers),
        shown_path(folder)
    );
    output.result(&text, || import::Imported {
        head: (*id).into(),
        signers: &signers,
        folder: folder.to_string_lossy(),
        origin: &listing.origin,
        signed_by_publisher: Always,
        commit_checked: Always,
        received: *received,
        says: head.into(),
    });
}
