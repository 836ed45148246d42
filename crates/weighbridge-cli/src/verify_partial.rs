//! `verify --partial`: shows what an incomplete fetch has on disk.

use std::{
    fs::{self, File},
    io, iter, mem,
    path::{Path, PathBuf},
};

use weighbridge_manifest::{FileEntry, VerifiedFileList, VerifiedHead, VerifiedTensorList, shown};
use weighbridge_store::{
    CHUNKS, ExtraFiles, FOLDER, HEAD, IoError, Layers, LayersError, Metadata, MetadataError, ModelCheck,
    PARTIAL, Summary, TensorHashing, Walk, accept_file, shown_path, walk,
};
use weighbridge_tree::{Grid, HeadId, Layer};
use weighbridge_verify::FileVerifier;

use crate::{
    args::Verify,
    events::{
        self,
        values::Code,
        verify::{PartialFile, PartialResult, PartialStatus},
    },
    failure::Failure,
    output::{List, Output, count, size},
    progress::ReadProgress,
    trust,
    verify::{Codes, aside, check_files, path_width, verdict},
    weigh::globs,
};

pub(crate) fn run(args: &Verify, output: &Output) -> Result<(), Failure> {
    trust::folder(&args.model)?;
    let patterns = globs(&args.only)?;
    let metadata = match &args.meta {
        Some(path) => trust::metadata(path),
        None => metadata(&args.model, args.which.head)?,
    };
    let note = trust::note(&metadata)?;
    let head = trust::believe(&note, &args.trust, &args.which, output)?;
    trust::print(&head, output);
    let files = metadata.files(&head)?;
    let tensors = tensors(&metadata, &files)?;
    let layers = layers(&metadata, &files)?;
    let all = args.only.is_empty();
    let wanted = |path: &str| all || patterns.is_match(path);
    let found = walk(&args.model)?;
    let (named, others): (Vec<_>, Vec<_>) = (files.entries().iter().enumerate())
        .filter(|(_, entry)| wanted(entry.path.as_str()))
        .partition(|(_, entry)| is_occupied(&found, entry.path.as_str()));
    if named.is_empty() && others.is_empty() {
        return Err(Failure::usage("--only: no listed file matches"));
    }
    // A file with its final name is complete or bad.
    let is_named = |path: &str| wanted(path) && is_occupied(&found, path);
    let check = ModelCheck {
        model: &args.model,
        files: &files,
        tensors: tensors.as_ref(),
        // The layers may have holes here, which is no refusal. They would only tell which chunks are bad.
        layers: None,
        only: Some(&is_named),
        tensor_hashes: TensorHashing::Skip,
        extra: ExtraFiles::Report,
    };
    let (summary, codes) = check_files(&check, &files, output)?;
    let mut total = Total {
        files: summary.verified,
        bytes: summary.bytes,
        unknown: summary.unknown,
        tensors: if codes.code().is_none() { Total::of(&named, tensors.as_ref()).tensors } else { 0 },
        ..Total::default()
    };
    let folder = args.model.join(FOLDER).join(PARTIAL);
    let rest = Rest { folder, files: &files, layers: layers.as_ref(), tensors: tensors.as_ref() };
    rest.look(&others, &mut total, output)?;
    let of = Total::of(named.iter().chain(&others), tensors.as_ref());
    print_result(&head, &total, &of, &summary, &codes, tensors.is_some(), output);
    verdict(&summary, &codes)
}

/// Prints the result for all wanted files: the totals on disk, and those `of` the complete files.
fn print_result(
    head: &VerifiedHead,
    total: &Total,
    of: &Total,
    summary: &Summary,
    codes: &Codes,
    has_tensors: bool,
    output: &Output,
) {
    let code = codes.code();
    let text = match code {
        None => total.text(of, has_tensors, &aside(summary), head.id()),
        Some(_) => String::new(),
    };
    output.result(&text, || PartialResult {
        verified: code.is_none(),
        code: code.map(Code::from),
        head: head.id().into(),
        complete: total.files == of.files,
        files: total.files,
        of_files: of.files,
        part: total.part,
        absent: total.absent,
        unknown: total.unknown,
        refused: summary.refused,
        bytes: total.bytes,
        of_bytes: of.bytes,
        tensors: has_tensors.then_some(total.tensors),
        of_tensors: has_tensors.then_some(of.tensors),
        uncompared: summary.uncompared,
    });
}

/// Whether something lies under a file's final name.
fn is_occupied(found: &Walk, path: &str) -> bool {
    let file = found.files.binary_search_by(|found| found.path.as_str().cmp(path));
    file.is_ok() || found.unfit.iter().any(|unfit| unfit.place == path) || found.unread_at(path).is_some()
}

/// The metadata of the model, or the metadata of the unfinished fetch if there is exactly one.
fn metadata(model: &Path, head: Option<HeadId>) -> Result<Metadata, Failure> {
    let unfinished = unfinished(model)?;
    let id_of = |folder: &PathBuf| folder.file_name().map(|name| name.to_string_lossy().into_owned());
    if let Some(id) = head
        && let Some(folder) = unfinished.iter().find(|folder| id_of(folder) == Some(id.to_string()))
    {
        return Ok(Metadata::at(folder));
    }
    let of_model = Metadata::of_model(model);
    match unfinished.as_slice() {
        _ if of_model.folder().join(HEAD).exists() => Ok(of_model),
        [] => Ok(of_model),
        [one] => Ok(Metadata::at(one)),
        several => {
            let message = format!("{} fetches of different heads were not finished here", several.len());
            let failure = Failure::usage(message);
            let choice = several.iter().take(MAX_LINES);
            Err(choice
                .fold(failure, |failure, folder| failure.hint(format!("--meta {}", shown_path(folder)))))
        }
    }
}

/// The metadata folders that unfinished fetches have left, sorted by head id.
fn unfinished(model: &Path) -> Result<Vec<PathBuf>, Failure> {
    let folder = model.join(FOLDER).join(PARTIAL);
    let entries = match fs::read_dir(&folder) {
        Ok(entries) => entries,
        Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => {
            return Ok(Vec::new());
        }
        Err(error) => return Err(IoError::at("read the folder", &folder)(error).into()),
    };
    let mut folders = Vec::new();
    for entry in entries {
        let path = entry.map_err(IoError::at("read the folder", &folder))?.path();
        if path.join(HEAD).is_file() {
            folders.push(path);
        }
    }
    folders.sort();
    Ok(folders)
}

/// The tensor list, if it is there: a fetch without tensors may not have fetched it.
fn tensors(metadata: &Metadata, files: &VerifiedFileList) -> Result<Option<VerifiedTensorList>, Failure> {
    match metadata.tensors(files) {
        Err(MetadataError::Io(error)) if error.source.kind() == io::ErrorKind::NotFound => Ok(None),
        other => Ok(other?),
    }
}

/// The layers, if they are complete. An unfinished fetch may have left a part of them, which is of no use.
fn layers(metadata: &Metadata, files: &VerifiedFileList) -> Result<Option<Layers>, Failure> {
    match metadata.layers(files) {
        Err(MetadataError::LayersLength { .. }) => Ok(None),
        other => Ok(other?),
    }
}

/// The totals of all files.
#[derive(Default)]
struct Total {
    files: u64,
    part: u64,
    absent: u64,
    unknown: u64,
    bytes: u64,
    tensors: u64,
}

impl Total {
    /// The totals of listed files of which nothing is missing.
    fn of<'e>(
        entries: impl IntoIterator<Item = &'e (usize, &'e FileEntry)>,
        tensors: Option<&VerifiedTensorList>,
    ) -> Self {
        let mut of = Self::default();
        for (_, entry) in entries {
            of.files += 1;
            of.bytes += entry.size;
            of.tensors += tensors.map_or(0, |tensors| tensors.of_file(entry.path.as_str()).len() as u64);
        }
        of
    }

    fn text(&self, of: &Self, has_tensors: bool, aside: &str, head: HeadId) -> String {
        let mut parts = vec![format!("{} of {}", self.files, count(of.files, "file"))];
        let further = [(self.part, "in part"), (self.absent, "absent"), (self.unknown, "unknown")];
        parts.extend(further.iter().filter(|(n, _)| *n > 0).map(|(n, what)| format!("{n} {what}")));
        parts.push(format!("{} of {}", size(self.bytes), size(of.bytes)));
        if has_tensors {
            parts.push(format!("{} of {}", self.tensors, count(of.tensors, "tensor")));
        }
        format!("there    {}{aside}; head {head}", parts.join(", "))
    }
}

/// The files without a final name.
struct Rest<'a> {
    folder: PathBuf,
    files: &'a VerifiedFileList,
    layers: Option<&'a Layers>,
    tensors: Option<&'a VerifiedTensorList>,
}

/// The bytes of a file on disk.
enum There {
    Nothing,
    /// There are bytes, but no layer to check them.
    Unknown,
    Chunks(FileVerifier),
}

impl There {
    /// The first word of the file's line.
    fn word(&self) -> &'static str {
        match self {
            Self::Nothing => "absent",
            Self::Unknown => "unknown",
            Self::Chunks(_) => "part",
        }
    }
}

impl Rest<'_> {
    fn look(
        &self,
        entries: &[(usize, &FileEntry)],
        total: &mut Total,
        output: &Output,
    ) -> Result<(), Failure> {
        let width = path_width(entries.iter().map(|(_, entry)| &entry.path));
        let progress = ReadProgress::new(output, "looking");
        let list = List::new(output, entries.len(), "file");
        let mut read = 0;
        for (position, entry) in entries {
            let there = self.there(*position, entry, &progress)?;
            match &there {
                There::Nothing => total.absent += 1,
                There::Unknown => total.unknown += 1,
                There::Chunks(file) => {
                    read += entry.size;
                    total.part += 1;
                    total.bytes += file.accepted_bytes();
                    total.tensors += self.tensors_of(entry, file);
                }
            }
            progress.aside(|| {
                let text = text(entry, &there, width, self.grid(entry));
                list.line(there.word(), &text, || self.event(entry, &there));
            });
        }
        progress.finish(output, read);
        list.end();
        Ok(())
    }

    fn there(&self, position: usize, entry: &FileEntry, progress: &ReadProgress) -> Result<There, Failure> {
        let path = self.folder.join(entry.root.to_string());
        // A link or a folder of this name was not made by a fetch.
        if !fs::symlink_metadata(&path).is_ok_and(|there| there.is_file()) {
            return Ok(There::Nothing);
        }
        let Some(layer) = self.layer(position, entry)? else { return Ok(There::Unknown) };
        let Ok(verifier) = FileVerifier::new(self.files, position, layer) else { return Ok(There::Unknown) };
        let file = File::open(&path).map_err(IoError::at("open", &path))?;
        progress.total(entry.size);
        accept_file(&verifier, &file, |bytes| progress.read(bytes)).map_err(IoError::at("read", &path))?;
        Ok(if verifier.accepted() == 0 { There::Nothing } else { There::Chunks(verifier) })
    }

    /// The layer of a file, if the fetch has it.
    fn layer(&self, position: usize, entry: &FileEntry) -> Result<Option<Layer>, Failure> {
        match (self.grid(entry), self.layers) {
            (Some(grid), _) if !grid.has_layer() => Ok(Layer::accept(grid, entry.root, &[]).ok()),
            (Some(_), Some(layers)) => match layers.of(self.files, position) {
                Ok(layer) => Ok(Some(layer)),
                Err(LayersError::Layer(_)) => Ok(None),
                Err(LayersError::Io(error)) => Err(error.into()),
            },
            _ => Ok(None),
        }
    }

    fn grid(&self, entry: &FileEntry) -> Option<Grid> {
        Grid::new(entry.size, self.files.chunk_size()).ok()
    }

    /// The number of complete tensors of a file.
    fn tensors_of(&self, entry: &FileEntry, file: &FileVerifier) -> u64 {
        let tensors = self.tensors.map_or(&[][..], |tensors| tensors.of_file(entry.path.as_str()));
        let range = |offset: u64, size| offset..offset.saturating_add(size);
        tensors.iter().filter(|tensor| file.has(&range(tensor.offset, tensor.size))).count() as u64
    }

    fn event<'e>(&self, entry: &'e FileEntry, there: &There) -> PartialFile<'e> {
        let (status, there) = match there {
            There::Nothing => (PartialStatus::Absent, None),
            There::Unknown => (PartialStatus::Unknown, None),
            There::Chunks(file) => {
                let part = events::verify::There {
                    there: file.accepted(),
                    bytes: file.accepted_bytes(),
                    runs: runs(file).map(|(first, end)| [first, end]).collect(),
                    tensors: self.tensors.map(|_| self.tensors_of(entry, file)),
                };
                (PartialStatus::Part, Some(part))
            }
        };
        let chunks = self.grid(entry).map(Grid::count);
        PartialFile { path: entry.path.as_str(), status, size: entry.size, chunks, there }
    }
}

/// The runs of accepted chunks, each with its first position and the position behind its last.
fn runs(file: &FileVerifier) -> impl Iterator<Item = (u64, u64)> {
    let end = file.count();
    let gaps = file.missing().chain(iter::once(end..end));
    let before = gaps.scan(0, |from, gap| Some((mem::replace(from, gap.end), gap.start)));
    before.filter(|(first, end)| first < end)
}

fn text(entry: &FileEntry, there: &There, width: usize, grid: Option<Grid>) -> String {
    let (word, path) = (there.word(), format!("{:width$}", shown(entry.path.as_str())));
    match there {
        There::Nothing => format!(
            "{word:<8} {path}  {:>12}  {}",
            count(grid.map_or(0, Grid::count), "chunk"),
            size(entry.size)
        ),
        There::Unknown => format!("{word:<8} {path}  {CHUNKS} does not have its layer"),
        There::Chunks(file) => {
            let chunks = format!("{} of {}", file.accepted(), count(file.count(), "chunk"));
            let bytes = format!("{} of {}", size(file.accepted_bytes()), size(entry.size));
            format!("{word:<8} {path}  {chunks:>12}  {bytes}{}", places(file))
        }
    }
}

/// The line that names the accepted chunks.
fn places(file: &FileVerifier) -> String {
    if file.count() <= 1 {
        return String::new();
    }
    let run = |(first, end): (u64, u64)| {
        if end - first == 1 { first.to_string() } else { format!("{first} to {}", end - 1) }
    };
    let shown: Vec<String> = runs(file).take(MAX_LINES).map(run).collect();
    let more = if runs(file).nth(MAX_LINES).is_some() { " and more" } else { "" };
    format!("\n         chunks {} (from 0){more}", shown.join(", "))
}

/// The maximum number of runs, and of folders, that are printed; `--json` has all runs.
const MAX_LINES: usize = 8;
