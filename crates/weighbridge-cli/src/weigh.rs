//! `weigh`: lists, layers and head of a model folder.

use std::{
    fs,
    io::Write,
    path::{Path, PathBuf},
};

use globset::{GlobBuilder, GlobSet, GlobSetBuilder};
use serde_json::json;
use weighbridge_manifest::{
    Expectation, Head, HeadError, ListSize, ModelName, SignedHead, TrustPolicy, VerifiedFileList,
    VerifiedTensorList,
};
use weighbridge_publish::{
    Event, Existing, Previous, Reuse, SecretKey, Sha256Listing, Signing, Staging, TensorListing, WeighError,
    Weighed, Weighing,
};
use weighbridge_tree::{ChunkSize, ModelRoot, head_id};
use weighbridge_verify::{FOLDER, HEAD, IoError, Layers};

use crate::{
    args::Weigh,
    failure::Failure,
    keys,
    output::{Output, shown},
    progress::Progress,
    trust::{self, head_json, head_line},
};

pub(crate) fn run(args: &Weigh, output: &Output) -> Result<(), Failure> {
    trust::folder(&args.model)?;
    let folder = args.output.clone().unwrap_or_else(|| args.model.join(FOLDER));
    outside_of_entries(&args.model, &folder)?;
    // Everything that can fail before hours of reading fails before.
    let keys =
        args.key.iter().map(|path| keys::load(path, &args.passphrase)).collect::<Result<Vec<_>, _>>()?;
    let earlier = Earlier::open(args, &keys)?;
    let patterns = globs(&args.reuse)?;
    let matches = |path: &str| patterns.is_match(path);
    let existing = if args.force { Existing::Replace } else { Existing::Keep };
    let weighing = Weighing {
        model: &args.model,
        name: args.name.clone(),
        previous: earlier.previous.clone(),
        created: trust::now().ok_or_else(|| Failure::new(9002, "this machine's clock tells no time"))?,
        expires: args.expires,
        chunk_size: args.chunk_size,
        tensors: if args.no_tensors { TensorListing::Omit } else { TensorListing::List },
        sha256: if args.sha256 { Sha256Listing::List } else { Sha256Listing::Omit },
        ext: sorted(args),
        reuse: earlier.reuse.as_ref().map(|(files, tensors, layers)| Reuse {
            matches: &matches,
            files,
            tensors: tensors.as_ref(),
            layers: layers.as_ref(),
        }),
    };
    can_be_said(&weighing)?;
    if let Some(replaced) = replaced(&folder, &weighing) {
        output.talk(&format!(
            "this is another revision 1 of {replaced}: whoever accepted the head that it replaces will call it a fork; \
             --previous makes it the next revision"
        ));
    }
    let staging = Staging::open(&folder, existing)?;
    let weighed = weigh(&weighing, output)?;
    let signing = sign(&weighed, &keys)?;
    staging.write_weighed(&weighed)?;
    if let Some(note) = signing.note() {
        staging.write(HEAD, |w: &mut dyn Write| w.write_all(note.as_bytes()))?;
    }
    staging.publish()?;
    print(&weighed, &keys, &folder, output);
    Ok(())
}

/// The model whose signed head is replaced by one that does not follow it.
fn replaced(folder: &Path, weighing: &Weighing<'_>) -> Option<ModelName> {
    let note = fs::read(folder.join(HEAD)).ok()?;
    let earlier = Signing::of_note(&note).ok()?;
    let name = &earlier.head().name;
    (weighing.previous.is_none() && *name == weighing.name).then(|| name.clone())
}

/// Whether any head can say what was asked for: tried on the shortest one.
fn can_be_said(weighing: &Weighing<'_>) -> Result<(), HeadError> {
    let shortest = Head {
        name: weighing.name.clone(),
        revision: 1,
        previous: None,
        created: weighing.created,
        expires: weighing.expires,
        bytes: 0,
        files: ListSize { count: 1, length: 1 },
        // Any will do: all are of one length.
        root: ModelRoot::from_bytes([0xff; 32]),
        tensors: None,
        chunk_size: ChunkSize::MIN,
        ext: weighing.ext.clone(),
    };
    shortest.to_text().map(drop)
}

/// Metadata inside the model would be an entry of it, but for its own folder.
fn outside_of_entries(model: &Path, folder: &Path) -> Result<(), Failure> {
    let model = fs::canonicalize(model).map_err(IoError::at("open", model))?;
    let nearest = folder.ancestors().find_map(|f| {
        Some((f, fs::canonicalize(if f.as_os_str().is_empty() { Path::new(".") } else { f }).ok()?))
    });
    let Some((existing, real)) = nearest else { return Ok(()) };
    let whole = real.join(folder.strip_prefix(existing).unwrap_or(Path::new("")));
    match whole.strip_prefix(&model) {
        Ok(inside) if !inside.starts_with(FOLDER) => Err(Failure::usage(format!(
            "{} lies in the model and would be part of it; leave -o out, or name a folder elsewhere",
            folder.display()
        ))),
        _ => Ok(()),
    }
}

fn sorted(args: &Weigh) -> Vec<weighbridge_manifest::Ext> {
    let mut ext = args.ext.clone();
    ext.sort();
    ext
}

/// What is taken from an earlier release.
struct Earlier {
    previous: Option<Previous>,
    reuse: Option<(VerifiedFileList, Option<VerifiedTensorList>, Option<Layers>)>,
}

impl Earlier {
    fn open(args: &Weigh, keys: &[SecretKey]) -> Result<Self, Failure> {
        let given = args.trust.policy()?;
        let by_keys = given.is_none();
        let policy = match given {
            Some(policy) => Some(policy),
            None if keys.is_empty() => None,
            None => Some(TrustPolicy::any_of(keys.iter().map(|k| k.vkey().clone()).collect())?),
        };
        let explained = |mut failure: Failure| {
            if by_keys && failure.code == 3102 {
                failure.hint = Some(
                    "the earlier head is not signed by --key: pass its signer's key with --vkey LINE, or a policy with \
                     --trust FILE"
                        .to_owned(),
                );
            }
            failure
        };
        let previous = args.previous.as_ref().map(|path| previous(path, policy.as_ref())).transpose();
        let previous = previous.map_err(explained)?;
        let Some(from) = &args.from else { return Ok(Self { previous, reuse: None }) };
        let policy = policy.ok_or_else(|| {
            Failure::new(9003, "whom to trust for the earlier release was not said").hint(
                "pass its publisher's key with --vkey LINE, a policy with --trust FILE, or sign with --key",
            )
        })?;
        let metadata = trust::metadata(from);
        let note = metadata.note()?;
        // Its age does not matter: what is taken from it is signed anew.
        let expected = Expectation::any().allow_expired();
        let head = SignedHead::parse(&note)?.verify(&policy, &expected, trust::now());
        let head = head.map_err(|e| explained(e.into()))?;
        let files = metadata.files(&head)?;
        let tensors = metadata.tensors(&files)?;
        let layers = metadata.layers(&files)?;
        Ok(Self { previous, reuse: Some((files, tensors, layers)) })
    }
}

/// The previous head: believed by the policy if there is one, else taken by its own word, as a signer without keys on
/// this machine has to.
fn previous(path: &PathBuf, policy: Option<&TrustPolicy>) -> Result<Previous, Failure> {
    let note = fs::read(path).map_err(IoError::at("read", path))?;
    if let Some(policy) = policy {
        let expected = Expectation::any().allow_expired();
        let head = SignedHead::parse(&note).map_err(|e| Failure::from(e).about(path))?;
        let head = head.verify(policy, &expected, trust::now()).map_err(|e| Failure::from(e).about(path))?;
        return Ok(Previous::from(&head));
    }
    let signing = Signing::of_note(&note).map_err(|e| Failure::from(e).about(path))?;
    let head = signing.head();
    Ok(Previous { id: head_id(signing.text().as_bytes()), revision: head.revision, name: head.name.clone() })
}

fn weigh(weighing: &Weighing<'_>, output: &Output) -> Result<Weighed, Failure> {
    let progress = Progress::new(output, "weighing");
    let total = std::sync::atomic::AtomicU64::new(0);
    let tell = |event: Event<'_>| match event {
        Event::Total(bytes) => {
            total.store(bytes, std::sync::atomic::Ordering::Relaxed);
            progress.total(bytes);
        }
        Event::Read(bytes) => progress.read(bytes),
        Event::Reused(path) => progress.aside(|| {
            let path = path.as_str();
            output.result(
                &format!("reused   {} (not read)", shown(path)),
                || json!({ "event": "reused", "path": path }),
            );
        }),
    };
    let result = weighing.weigh(&tell);
    progress.finish(output, total.load(std::sync::atomic::Ordering::Relaxed));
    result.map_err(|error| failure(&error))
}

fn failure(error: &WeighError) -> Failure {
    let failure = Failure::new(error.error_code(), error.to_string());
    if error.is_lfs_pointer() {
        failure.hint("the model itself is not here: run `git lfs pull`")
    } else if error.is_about_tensors() {
        failure.hint("mend the file, or weigh without tensors: --no-tensors")
    } else {
        match error {
            WeighError::Unfit { .. } => failure.hint("move it out of the model folder"),
            WeighError::Reuse { .. } => failure.hint("leave --reuse out to read the files"),
            _ => failure,
        }
    }
}

fn sign(weighed: &Weighed, keys: &[SecretKey]) -> Result<Signing, Failure> {
    let mut signing = Signing::of_text(weighed.text.clone())?;
    for key in keys {
        let signature = key.sign(signing.text().as_bytes());
        signing.add(key.vkey(), signature)?;
    }
    Ok(signing)
}

fn print(weighed: &Weighed, keys: &[SecretKey], folder: &Path, output: &Output) {
    let (head, id) = (&weighed.head, head_id(weighed.text.as_bytes()));
    let signers: Vec<&str> = keys.iter().map(|k| k.vkey().name().as_str()).collect();
    let signed = if signers.is_empty() {
        format!(
            "unsigned: sign {}, then `weighbridge sign`",
            folder.join(weighbridge_publish::TEXT).display()
        )
    } else {
        format!("signed   by {}", signers.join(", "))
    };
    let text = format!(
        "weighed  {} revision {}: {}\nid       {id}\n{signed}\nwrote    {}",
        head.name,
        head.revision,
        head_line(head),
        folder.display()
    );
    output.result(&text, || {
        let folder = folder.display().to_string();
        json!({ "event": "weighed", "head": id.to_string(), "signers": signers, "folder": folder, "says": head_json(head) })
    });
}

/// Patterns over paths in the model: `*` stays within a folder, `**` does not.
pub(crate) fn globs(patterns: &[String]) -> Result<GlobSet, Failure> {
    let mut set = GlobSetBuilder::new();
    for pattern in patterns {
        let glob = GlobBuilder::new(pattern).literal_separator(true).build();
        set.add(glob.map_err(|e| Failure::usage(format!("a pattern is malformed: {e}")))?);
    }
    set.build().map_err(|e| Failure::usage(format!("the patterns are too large: {e}")))
}
