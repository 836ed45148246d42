//! `inspect`: prints what a file claims. Nothing is verified, and the output says so.

use std::{fs, fs::File, io::Read, path::Path};

use weighbridge_formats::{
    Format, GgufAbout, GgufValue, Parsed, TensorSpan, guess, index,
    index::{Index, MAX_INDEX},
    parse,
    split::Split,
};
use weighbridge_manifest::{
    Challenge, Head, MAX_PROOF, Note, NoteSignature, ProofError, Receipt, Report, SignedProof,
    StatementError, shown,
};
use weighbridge_publish::TEXT;
use weighbridge_store::{HEAD, IoError, read_bounded, shown_path};
use weighbridge_tree::{Coded, ErrorCode, head_id};

use crate::{
    args::Inspect,
    events::{
        Event,
        inspect::{self, GgufValue as Shown, Statement},
        values::{Always, UnknownDtype},
    },
    failure::Failure,
    output::{List, Output, count, shown_names},
    trust,
};

pub(crate) fn run(args: &Inspect, output: &Output) -> Result<(), Failure> {
    let target = &args.target;
    let metadata = fs::metadata(target).map_err(IoError::at("open", target))?;
    if metadata.is_dir() {
        let folder = trust::metadata(target).folder().to_owned();
        let note = folder.join(HEAD);
        return if note.exists() { text(&note, output) } else { text(&folder.join(TEXT), output) };
    }
    let name = target.file_name().unwrap_or_default().to_string_lossy();
    if let Some(format) = Format::of(&name) {
        tensor_file(target, format, output)
    } else if index::is_index(&name) {
        sharded(target, output)
    } else if metadata.is_file()
        && let Some(format) = by_first_bytes(target)?
    {
        match tensor_file(target, format, output) {
            // A response to an audit may begin like the tensor file that it samples.
            Err(failure) if failure.code == ErrorCode::SAFETENSORS_NOT_JSON => text(target, output),
            result => result,
        }
    } else {
        text(target, output)
    }
}

/// The format of a file whose name does not show it: the stores of Ollama and of hubs name files by hashes. `weigh`
/// uses names alone, as lists do.
fn by_first_bytes(path: &Path) -> Result<Option<Format>, Failure> {
    let mut beginning = Vec::new();
    let file = File::open(path).map_err(IoError::at("open", path))?;
    file.take(FIRST_BYTES).read_to_end(&mut beginning).map_err(IoError::at("read", path))?;
    Ok(guess(&beginning))
}

/// Enough for a length, some white space, and `{`.
const FIRST_BYTES: u64 = 512;

/// Prints a text of one of our formats, found by its first line.
fn text(path: &Path, output: &Output) -> Result<(), Failure> {
    let bytes = read_bounded(path, MAX_PROOF as u64)?;
    let begins = |with: &str| bytes.starts_with(with.as_bytes());
    let result = if begins("weighbridge/head/") {
        head(&bytes, output)
    } else if begins("weighbridge/proof/") {
        proof(&bytes, output)
    } else if begins("weighbridge/audit-challenge/") {
        statement(&bytes, |text| Challenge::parse(text).map(drop), inspect::Challenge, output)
    } else if begins("weighbridge/audit-report/") {
        statement(&bytes, |text| Report::parse(text).map(drop), inspect::Report, output)
    } else if begins("weighbridge/receipt/") {
        statement(&bytes, |text| Receipt::parse(text).map(drop), inspect::Receipt, output)
    } else {
        return Err(Failure::usage(format!(
            "{} is no head, proof, challenge, report, receipt, tensor file or index",
            shown_path(path)
        )));
    };
    result.map_err(|failure| failure.about(path))
}

/// Prints a signed statement other than a head, and the names of its signers.
fn statement<E: Event>(
    bytes: &[u8],
    parse: impl Fn(&str) -> Result<(), StatementError>,
    event: impl Fn(Statement) -> E,
    output: &Output,
) -> Result<(), Failure> {
    let note = Note::parse(bytes)?;
    parse(note.text())?;
    let (names, by) = names(note.signatures());
    let text = format!("{}\nsigned   by {by} ({CLAIMED})", note.text());
    output.result(&text, || {
        let lines = note.text().lines().skip(1).filter_map(|line| line.split_once(' '));
        let says = lines.map(|(key, value)| (key.to_owned(), value.to_owned())).collect();
        let signers = names.iter().copied().map(str::to_owned).collect();
        event(Statement { verified: Always, signers, says })
    });
    Ok(())
}

/// Prints the lines of a proof, and the head below them.
fn proof(bytes: &[u8], output: &Output) -> Result<(), Failure> {
    let proof = SignedProof::parse(bytes)?;
    // A well-formed proof has claims to print. Whether they lead to the roots is not checked here.
    let malformed = |error: &ProofError| {
        use ProofError::{Entry, Form, Path, TooMany, Version};
        matches!(error, Version | Form { .. } | TooMany { .. } | Entry { .. } | Path { .. })
    };
    match proof.clone().under(&trust::by_its_word(proof.note())?) {
        Err(error) if malformed(&error) => return Err(error.into()),
        _ => {}
    }
    let above = bytes.len().saturating_sub(proof.note().len());
    for line in String::from_utf8_lossy(&bytes[..above]).lines().filter(|line| !line.is_empty()) {
        // Lines with a space are entries and absences. Hashes are not printed, since they tell people nothing.
        if line.contains(' ') {
            output.result(line, || inspect::Claim { verified: Always, line });
        }
    }
    output.result("", || inspect::Proof { verified: Always, bytes: bytes.len() });
    head(proof.note(), output)
}

/// The names on signature lines, for programs and for people.
fn names(lines: &[NoteSignature]) -> (Vec<&str>, String) {
    let names: Vec<&str> = lines.iter().map(|s| s.name().as_str()).collect();
    let by = match names.as_slice() {
        [] => "nobody".to_owned(),
        names => shown_names(names),
    };
    (names, by)
}

const CLAIMED: &str = "claimed: inspect verifies nothing";

/// Prints a head, signed or not.
fn head(bytes: &[u8], output: &Output) -> Result<(), Failure> {
    let unsigned =
        std::str::from_utf8(bytes).ok().and_then(|text| Head::parse(text).ok().map(|head| (text, head)));
    let (text, head, lines) = match unsigned {
        Some((text, head)) => (text.to_owned(), head, Vec::new()),
        None => {
            let note = Note::parse(bytes)?;
            let head = Head::parse(note.text())?;
            (note.text().to_owned(), head, note.signatures().to_vec())
        }
    };
    let id = head_id(text.as_bytes());
    let (names, by) = names(&lines);
    let shown = format!("{text}\nhead id  {id}\nsigned   by {by} ({CLAIMED})");
    output.result(&shown, || inspect::Head {
        verified: Always,
        head: id.into(),
        signers: &names,
        says: (&head).into(),
    });
    Ok(())
}

fn tensor_file(path: &Path, format: Format, output: &Output) -> Result<(), Failure> {
    let mut file = File::open(path).map_err(IoError::at("open", path))?;
    let size = file.metadata().map_err(IoError::at("look at", path))?.len();
    let mut prefix = Vec::new();
    let (tensors, unknown, split) = loop {
        let parsed = parse(format, &prefix, size);
        match parsed.map_err(|e| Failure::of(&e).about(path))? {
            Parsed::Tensors { tensors, split, .. } => break (tensors, None, split),
            Parsed::UnknownDtype { dtype, names, split } => {
                break (Vec::new(), Some((names.len(), dtype)), split);
            }
            Parsed::NeedPrefix(length) => {
                let more = length.saturating_sub(prefix.len() as u64);
                (&mut file).take(more).read_to_end(&mut prefix).map_err(IoError::at("read", path))?;
                if (prefix.len() as u64) < length {
                    return Err(Failure::new(ErrorCode::FILE_CHANGED, "the file changed while it was read")
                        .about(path));
                }
            }
        }
    };
    if format == Format::Gguf
        && let Some(about) = GgufAbout::read(&prefix, size)
    {
        gguf(&about, split, output);
    }
    let list = List::new(output, tensors.len(), "tensor");
    for TensorSpan { name, dtype, shape, offset, size } in &tensors {
        let dimensions: Vec<String> = shape.iter().map(u64::to_string).collect();
        let text = format!(
            "{offset:>12} {size:>12}  {dtype:<8} {:<20} {}",
            format!("[{}]", dimensions.join(",")),
            shown(name)
        );
        let (offset, size) = (*offset, *size);
        list.line("", &text, || inspect::Tensor { name, dtype, shape, offset, size });
    }
    list.end();
    let (number, dtype) = unknown.map_or((tensors.len(), None), |(number, dtype)| (number, Some(dtype)));
    let why = dtype.as_ref().map_or(String::new(), |d| format!(", not shown: {d} [W{}]", d.error_code()));
    let text = format!("{}{why} ({CLAIMED})", count(number as u64, "tensor"));
    output.result(&text, || inspect::Tensors {
        verified: Always,
        count: number,
        unknown_dtype: dtype.as_ref().map(UnknownDtype::from),
    });
    Ok(())
}

/// Prints the values of a GGUF header other than the tensors.
fn gguf(about: &GgufAbout<'_>, split: Option<Split>, output: &Output) {
    let set = about.values.iter().find_map(|(key, value)| match value {
        GgufValue::Unsigned(value) if *key == "general.alignment" => Some(*value),
        _ => None,
    });
    let (version, alignment) = (about.version, set.unwrap_or(32));
    let part = split.map_or(String::new(), |split| {
        format!(", part {} of {}", u32::from(split.number).saturating_add(1), split.count)
    });
    let keys = count(about.values.len() as u64, "key-value");
    output.result(&format!("GGUF version {version}, alignment {alignment}{part}, {keys}"), || {
        let part = split.map(|Split { number, count, tensors }| inspect::Part { number, count, tensors });
        inspect::Gguf { verified: Always, version, alignment, part }
    });
    for (key, value) in &about.values {
        let (key, (text, value)) = (short(key.as_bytes()), in_short(value));
        output.result(&format!("  {} = {text}", shown(&key)), || inspect::Value { key: &key, value });
    }
}

/// A value for people, and for programs.
fn in_short(value: &GgufValue<'_>) -> (String, Shown) {
    match *value {
        GgufValue::Unsigned(number) => (number.to_string(), Shown::Unsigned(number)),
        GgufValue::Signed(number) => (number.to_string(), Shown::Signed(number)),
        GgufValue::Float(number) => (number.to_string(), Shown::Float(number)),
        GgufValue::Bool(truth) => (truth.to_string(), Shown::Bool(truth)),
        GgufValue::String(bytes) => {
            let text = short(bytes);
            (format!("\"{}\"", shown(&text)), Shown::Text(text))
        }
        GgufValue::Array { kind, count } => {
            (format!("[{count} of {kind}]"), Shown::Array { array: kind, count })
        }
    }
}

/// The beginning of a text. Templates and licences may be megabytes long.
fn short(bytes: &[u8]) -> String {
    const MOST: usize = 80;
    // No character has more than four bytes.
    let beginning = String::from_utf8_lossy(bytes.get(..MOST * 4 + 4).unwrap_or(bytes)).into_owned();
    let mut text: String = beginning.chars().take(MOST).collect();
    if text.len() < beginning.len() {
        text.push('\u{2026}');
    }
    text
}

fn sharded(path: &Path, output: &Output) -> Result<(), Failure> {
    let bytes = read_bounded(path, MAX_INDEX)?;
    let index = Index::parse(&bytes).map_err(|e| Failure::of(&e).about(path))?;
    let list = List::new(output, index.weight_map().len(), "tensor");
    for (tensor, file) in index.weight_map() {
        let text = format!("{}  {}", shown(file), shown(tensor));
        list.line("", &text, || inspect::Placed { tensor, file });
    }
    list.end();
    let placed = index.weight_map().len();
    let text = format!("{} ({CLAIMED})", count(placed as u64, "tensor"));
    output.result(&text, || inspect::Index { verified: Always, count: placed });
    Ok(())
}
