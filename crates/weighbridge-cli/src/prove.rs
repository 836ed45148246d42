//! `prove`: writes a proof of entries or of absence, and a slice to go with it.

use std::{io::Write, ops::Range, path::Path};

use weighbridge_manifest::{ProveError, VerifiedFileList, VerifiedTensorList, Wanted, readings, shown};
use weighbridge_store::{HeldFolder, IoError, Metadata, shown_path};
use weighbridge_tree::{ErrorCode, SliceRange, Slicer};
use weighbridge_verify::Holding;

use crate::{
    args::Prove,
    events::prove,
    failure::Failure,
    output::{Output, size},
    place::NewFile,
    trust,
};

pub(crate) fn run(args: &Prove, output: &Output) -> Result<(), Failure> {
    if args.file.is_empty() && args.tensor.is_empty() && args.absent.is_empty() {
        return Err(Failure::usage("prove what? --file, --tensor or --absent"));
    }
    if args.slice.is_some() && args.slice == args.output {
        return Err(Failure::usage("-o and --slice name the same file"));
    }
    let metadata = trust::metadata(args.meta.as_ref().unwrap_or(&args.model));
    let note = trust::note(&metadata)?;
    // The checker of the proof decides whether to believe the head.
    let head = trust::by_its_word(&note)?;
    let files = metadata.files(&head)?;
    let tensors = if args.tensor.is_empty() { None } else { metadata.tensors(&files)? };
    let named = |error: ProveError, asked: &str| {
        let failure = Failure::from(error).about(Path::new(asked));
        if failure.code == ErrorCode::USAGE { failure.hint(NAMES) } else { failure }
    };
    let mut wanted = Wanted::of(&files, tensors.as_ref());
    for path in &args.file {
        wanted = wanted.file(path).map_err(|e| named(e, path))?;
    }
    for asked in &args.tensor {
        wanted = wanted.tensor_named(asked).map_err(|e| named(e, asked))?;
    }
    for path in &args.absent {
        wanted = wanted.absent(path).map_err(|e| named(e, path))?;
    }
    let sliced =
        args.slice.as_deref().map(|to| Ok::<_, Failure>((to, sliced(args, &files, tensors.as_ref())?)));
    let sliced = sliced.transpose()?;
    if let Some((_, (path, range))) = &sliced {
        wanted = wanted.slice(path, range.clone()).map_err(|e| named(e, path))?;
    }
    let proof = wanted.prove(&note)?;
    // Do everything that can fail before either file gets its name.
    let new = args.output.as_deref().map(|to| NewFile::begin(to, proof.as_bytes())).transpose()?;
    if let Some((to, (path, range))) = sliced {
        let written = write_slice(args, &metadata, &files, path, range, to)?;
        if output.is_json() {
            output.object(&prove::Slice { bytes: written, file: to.to_string_lossy() });
        } else {
            // Standard output is for the proof alone.
            output.talk(&format!("wrote {}, {}", shown_path(to), size(written)));
        }
    }
    let (head, bytes) = (head.id(), proof.len());
    let (Some(to), Some(new)) = (&args.output, new) else {
        if output.is_json() {
            output.object(&prove::Proof { head: head.into(), bytes, proof: &proof });
        } else {
            output.raw(&proof);
        }
        return Ok(());
    };
    new.finish()?;
    let text = format!("wrote    {}, {bytes} bytes; head {head}", shown_path(to));
    output.result(&text, || prove::ProofFile { head: head.into(), bytes, file: to.to_string_lossy() });
    Ok(())
}

const NAMES: &str =
    "files.jsonl has the names of all files, tensors.jsonl of all tensors; a tensor is written FILE:NAME";

/// The file and the name of a tensor. The first listed reading wins.
fn split<'a>(asked: &'a str, tensors: Option<&VerifiedTensorList>) -> (&'a str, &'a str) {
    let is_listed = |tensors: &VerifiedTensorList, (file, name)| tensors.find(file, name).is_some();
    let listed = tensors.and_then(|tensors| readings(asked).find(|pair| is_listed(tensors, *pair)));
    listed.or_else(|| readings(asked).next()).unwrap_or((asked, ""))
}

/// The file and the range of bytes that the slice has.
fn sliced<'a>(
    args: &'a Prove,
    files: &VerifiedFileList,
    tensors: Option<&VerifiedTensorList>,
) -> Result<(&'a str, Range<u64>), Failure> {
    match (args.file.as_slice(), args.tensor.as_slice()) {
        ([path], []) => {
            let whole = files.find(path).map_or(0, |(_, entry)| entry.size);
            Ok((path, args.bytes.clone().unwrap_or(0..whole)))
        }
        ([], [_]) if args.bytes.is_some() => Err(Failure::usage(
            "--bytes counts from the beginning of a --file; of a tensor the slice has all bytes",
        )),
        ([], [asked]) => {
            let (file, name) = split(asked, tensors);
            let tensor = tensors.and_then(|tensors| tensors.find(file, name)).map(|(_, tensor)| tensor);
            let range =
                tensor.map_or(0..0, |tensor| tensor.offset..tensor.offset.saturating_add(tensor.size));
            Ok((file, range))
        }
        _ => Err(Failure::usage("--slice goes with one --file or one --tensor")),
    }
}

/// Writes a slice, and returns its length.
fn write_slice(
    args: &Prove,
    metadata: &Metadata,
    files: &VerifiedFileList,
    path: &str,
    range: Range<u64>,
    to: &Path,
) -> Result<u64, Failure> {
    let about = |failure: Failure| failure.about(Path::new(path));
    let (position, entry) = files
        .find(path)
        .ok_or_else(|| Failure::new(ErrorCode::BUG, format!("{} was proven, and is gone", shown(path))))?;
    let folder = HeldFolder::open(&args.model, metadata, files)?;
    let range = SliceRange::new(entry.size, range).map_err(|e| about(e.into()))?;
    let layer = folder.layer(position)?;
    let mut new = NewFile::create(to)?;
    let (mut chunk, mut encoded, mut written) = (Vec::new(), Vec::new(), 0_u64);
    let mut slicer = Slicer::new(&layer, range, &mut encoded).map_err(|e| about(e.into()))?;
    loop {
        new.write_all(&encoded).map_err(IoError::at("write", to))?;
        written = written.saturating_add(encoded.len() as u64);
        encoded.clear();
        let Some(index) = slicer.wanted() else { break };
        folder.read_chunk(position, index, &mut chunk)?;
        slicer.push(&chunk, &mut encoded).map_err(|e| about(e.into()))?;
    }
    slicer.finish().map_err(|e| about(e.into()))?;
    new.finish()?;
    Ok(written)
}
