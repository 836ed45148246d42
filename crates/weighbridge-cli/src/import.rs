//! `import`: a model that nobody weighed, checked by what its place lists, and signed by the importer.

use std::{
    path::Path,
    sync::{Mutex, MutexGuard, PoisonError},
};

use tokio::runtime::Runtime;
use weighbridge_import::{Earlier, Import, ImportError, Imported, Observer, import};
use weighbridge_manifest::{Expectation, ModelName, SignedHead, TrustPolicy, shown};
use weighbridge_publish::{Previous, SecretKey};
use weighbridge_store::{FOLDER, HEAD, Metadata, shown_path};
use weighbridge_transfer::{Event, Fault, FetchProgress, Listing, SourceFactory};
use weighbridge_tree::ErrorCode;

use crate::{
    args,
    events::{
        import::{self, VouchedBy},
        publish,
    },
    failure::{DENIED_BY_HUB, Failure},
    fetch::{is_of_hub, source_options},
    fetch_json,
    fetch_view::{Counts, View},
    keys,
    output::{Output, count, shown_names, size},
    trust::{self, head_line},
};

pub(crate) fn run(args: &args::Import, output: &Output) -> Result<(), Failure> {
    let name = args.name.clone().map_or_else(|| name_of(&args.place), Ok)?;
    let keys = keys::load_all(&args.key, &args.passphrase)?;
    let signers: Vec<String> = keys.iter().map(|key| key.vkey().name().as_str().to_owned()).collect();
    let earlier = earlier(args, &name, &keys)?;
    let created =
        trust::now().ok_or_else(|| Failure::new(ErrorCode::IO, "this machine's clock tells no time"))?;
    let options = Import {
        address: args.place.clone(),
        options: source_options(&args.place, Vec::new()),
        factory: SourceFactory::new(),
        into: args.output.clone(),
        name,
        keys,
        created,
        earlier,
    };
    let runtime = Runtime::new().map_err(|error| {
        Failure::new(ErrorCode::IO, format!("cannot start the threads of an import: {error}"))
    })?;
    let watcher = Watcher::new(output, &args.place);
    let ended = runtime.block_on(import(options, &watcher));
    // Do not wait for reads of a file system that does not answer.
    runtime.shutdown_background();
    watcher.finish();
    match ended.map_err(|error| failure(error, is_of_hub(&args.place), output))? {
        Some(imported) => print(&imported, &signers, &args.output, output),
        None => output.line("the model in the folder is what is listed: nothing to do"),
    }
    Ok(())
}

/// The name of a model on a hub.
fn name_of(place: &str) -> Result<ModelName, Failure> {
    let unnamed = || Failure::usage("the model's name was not said").hint("name it with --name ORG/MODEL");
    let (scheme, rest) = place.split_once("://").ok_or_else(unnamed)?;
    if !scheme.eq_ignore_ascii_case("hf") {
        return Err(unnamed());
    }
    let repository = rest.split_once('@').map_or(rest, |(repository, _)| repository);
    ModelName::parse(repository).map_err(|_| unnamed())
}

/// The release that the import follows: one that was signed by a key of this importer.
fn earlier(args: &args::Import, name: &ModelName, keys: &[SecretKey]) -> Result<Option<Earlier>, Failure> {
    if !args.update {
        return Ok(None);
    }
    let metadata = Metadata::of_model(&args.output);
    let about = |failure: Failure| failure.about(&args.output.join(FOLDER).join(HEAD));
    let policy = TrustPolicy::any_of(keys.iter().map(|key| key.vkey().clone()).collect())?;
    let expected = Expectation::any().named(name.clone()).allow_expired();
    let note = metadata.note()?;
    let signed = SignedHead::parse(&note).map_err(|error| about(error.into()))?;
    let head = signed.verify(&policy, &expected, trust::now()).map_err(|error| {
        about(error.into()).only_hint("an update follows a head that is signed by --key: an earlier import")
    })?;
    let source = head.head().ext.iter().find(|ext| ext.key == "source").map(|ext| ext.value.clone());
    let files = metadata.files(&head)?;
    Ok(Some(Earlier { previous: Previous::from(&head), source, files }))
}

/// Shows an import.
struct Watcher<'a> {
    output: &'a Output,
    names: [String; 1],
    view: Mutex<View>,
    progress: Mutex<FetchProgress>,
}

impl<'a> Watcher<'a> {
    fn new(output: &'a Output, place: &str) -> Self {
        let names = [place.to_owned()];
        let view = Mutex::new(View::new(output, &names, Counts::Hashed));
        Self { output, names, view, progress: Mutex::default() }
    }

    fn view(&self) -> MutexGuard<'_, View> {
        self.view.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn finish(&self) {
        let progress = *self.progress.lock().unwrap_or_else(PoisonError::into_inner);
        self.view().finish(self.output, &progress);
    }
}

impl Observer for Watcher<'_> {
    fn listed(&self, listing: &Listing) {
        let Listing { origin, commit, files, .. } = listing;
        let (files, bytes) = (u64::try_from(files.len()).unwrap_or(u64::MAX), listing.bytes());
        let text = format!("listed   {}: {}, {}", shown(origin), count(files, "file"), size(bytes));
        self.view().aside(|| {
            self.output.result(&text, || import::Listed { origin, commit: commit.as_deref(), files, bytes });
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

    fn event(&self, event: Event) {
        if let Event::Progress(progress) = &event {
            *self.progress.lock().unwrap_or_else(PoisonError::into_inner) = *progress;
        }
        if !self.output.is_json() {
            self.view().show(&event, self.output);
        } else if let Some(event) = fetch_json::object(&event, &self.names) {
            self.output.object(&*event);
        }
    }
}

fn failure(error: ImportError, is_of_hub: bool, output: &Output) -> Failure {
    if let ImportError::Wrong(wrong) = &error {
        for file in wrong {
            let text =
                format!("wrong    {}  listed {}, came {}", shown(file.path.as_str()), file.listed, file.came);
            output.result(&text, || import::Wrong {
                path: file.path.as_str(),
                listed: &file.listed,
                came: &file.came,
            });
        }
    }
    let failure = Failure::of(&error);
    match error {
        ImportError::Exists { .. } => failure.hint("--update makes what is listed now its next revision"),
        ImportError::Wrong(_) => {
            failure.hint("the next import gets these files anew; if they are wrong again, the place has other bytes than it lists")
        }
        ImportError::Changed { .. } => failure.hint("import again: what has not changed is not fetched again"),
        ImportError::List(error) if error.is_denied() => failure.hint(DENIED_BY_HUB),
        ImportError::Source { fault: Fault::Refused(_), .. } if is_of_hub => failure.hint(DENIED_BY_HUB),
        _ => failure,
    }
}

fn print(imported: &Imported, signers: &[String], folder: &Path, output: &Output) {
    let Imported { head: id, weighed, listing, received } = imported;
    let signers: Vec<&str> = signers.iter().map(String::as_str).collect();
    for (path, dtype) in &weighed.unlisted {
        let (path, code) = (path.as_str(), weighbridge_tree::Coded::error_code(dtype));
        let text = format!("unlisted {}: covered as a file, since {dtype} [W{code}]", shown(path));
        output.result(&text, || publish::Unlisted { path, unknown_dtype: dtype.into() });
    }
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
        vouched_by: VouchedBy::Listing,
        commit_checked: false,
        received: *received,
        says: head.into(),
    });
}
