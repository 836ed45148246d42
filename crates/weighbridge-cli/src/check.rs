//! `check`: checks a proof with nothing but the proof and the caller's trust.

use std::{
    fs::File,
    io::{self, Read, Write},
    ops::Range,
    path::Path,
};

use weighbridge_manifest::{
    FileEntry, Held, HeldError, Level, MAX_NOTE, MAX_PROOF, NoteError, PassedOver, ProofError, Proven,
    SignedProof, SignedReceipt, SignedReport, SliceClaim, TensorEntry, VerifiedHead, readings, shown,
};
use weighbridge_store::{IoError, read_bounded, shown_path};
use weighbridge_tree::{ErrorCode, SliceDecoder};

use crate::{
    args::Check,
    events::{check, values::Always},
    failure::Failure,
    output::{Output, count},
    place::NewFile,
    trust::{self, Demand},
};

pub(crate) fn run(args: &Check, output: &Output) -> Result<(), Failure> {
    let bytes = read_proof(&args.proof)?;
    let proof = SignedProof::parse(&bytes).map_err(|e| {
        let failure = Failure::from(e).about(&args.proof);
        beside_a_proof(&bytes).into_iter().fold(failure, Failure::hint)
    })?;
    let demand = Demand::of(&args.trust, &args.which, output)?;
    let head = demand.believe(proof.note(), output).map_err(|failure| {
        if failure.code == ErrorCode::BAD_SIGNATURE {
            failure.about(&args.proof).only_hint("it was altered: get the proof again")
        } else {
            failure
        }
    })?;
    let proven = proof.under(&head).map_err(|e| Failure::from(e).about(&args.proof))?;
    trust::print(&head, output);
    entries(&proven, output);
    shows(args, &proven)?;
    for path in &args.receipt {
        receipt(path, &head, output)?;
    }
    let held = if args.report.is_empty() { None } else { Some(reports(args, &demand, &head, output)?) };
    // The slice comes last, so that a refused run extracts nothing.
    match (&args.slice, proven.slice()) {
        (Some(path), Some(claim)) => slice(path, &claim, args.extract.as_deref(), output)?,
        (Some(path), None) => {
            let message = "the proof does not say of what the slice is";
            return Err(Failure::new(ErrorCode::SLICE_FILE_NOT_SHOWN, message).about(path));
        }
        (None, Some(claim)) => {
            output.talk(&format!("a slice of {} goes with this proof; --slice checks it", range(&claim)));
        }
        (None, None) => {}
    }
    let level = if held.is_some() { Level::Held } else { Level::Published };
    let by =
        held.map(|held| format!(" by {}", count(held.counted().len() as u64, "report"))).unwrap_or_default();
    output.result(&format!("level    {level}{by}; head {}", head.id()), || check::Result {
        verified: Always,
        code: None,
        head: head.id().into(),
        level: if level == Level::Held { check::Level::Held } else { check::Level::Published },
        files: proven.files().len(),
        tensors: proven.tensors().len(),
        absent: proven.absent().len(),
    });
    Ok(())
}

/// The next step with a file that is no proof, but goes with one.
fn beside_a_proof(bytes: &[u8]) -> Option<String> {
    let (what, option) = if bytes.starts_with(b"weighbridge/receipt/") {
        ("a receipt", "--receipt")
    } else if bytes.starts_with(b"weighbridge/audit-report/") {
        ("a report", "--report")
    } else {
        return None;
    };
    Some(format!("this is {what}: make a proof with `weighbridge prove`, and check it with {option} FILE"))
}

/// Refuses a proof that does not prove what the caller wants. The maker of a proof chooses its claims.
fn shows(args: &Check, proven: &Proven) -> Result<(), Failure> {
    let wanted = &args.wanted;
    let not_shown = |what: &str| {
        let message = format!("the proof does not show what is wanted: {what}");
        Failure::new(ErrorCode::PROOF_LACKS_WANTED, message)
            .about(&args.proof)
            .hint("ask for a proof of it; this one proves what is printed above")
    };
    let mut slices = Vec::new();
    for path in &wanted.file {
        let file = proven.file(path).ok_or_else(|| not_shown(&shown(path)))?;
        slices.push((file.path.clone(), wanted.bytes.clone()));
    }
    for asked in &wanted.tensor {
        let mut tensors = readings(asked).filter_map(|(file, name)| proven.tensor(file, name));
        let tensor = tensors.next().ok_or_else(|| not_shown(&shown(asked)))?;
        let end = tensor.offset.saturating_add(tensor.size);
        slices.push((tensor.file.clone(), Some(tensor.offset..end)));
    }
    if let Some(path) = wanted.absent.iter().find(|path| !proven.is_absent(path)) {
        return Err(not_shown(&format!("no {}", shown(path))));
    }
    match (args.slice.is_some().then(|| proven.slice()).flatten(), slices.as_slice()) {
        (None, _) | (Some(_), []) => Ok(()),
        (Some(claim), [(path, bytes)]) => {
            let is_wanted =
                claim.file.path == *path && bytes.as_ref().is_none_or(|bytes| *bytes == claim.range.range());
            if is_wanted {
                Ok(())
            } else {
                Err(not_shown(&format!("a slice of {}, not {}", shown(path.as_str()), range(&claim))))
            }
        }
        (Some(_), _) => Err(Failure::usage("--slice goes with one --file or one --tensor")),
    }
}

/// The bytes of a file, or of standard input for `-`.
fn read_proof(path: &Path) -> Result<Vec<u8>, Failure> {
    if path != Path::new("-") {
        return read_bounded(path, MAX_PROOF as u64).map_err(|error| match error.source.kind() {
            io::ErrorKind::InvalidInput => Failure::from(error).hint("- reads a proof from standard input"),
            _ => Failure::unless_longer(error, |bytes| ProofError::TooLong { bytes }.into()),
        });
    }
    let mut bytes = Vec::new();
    // Read one byte more than a proof may have, to notice a proof that is too long.
    let mut input = io::stdin().lock().take(MAX_PROOF as u64 + 1);
    input.read_to_end(&mut bytes).map_err(IoError::at("read", "standard input"))?;
    Ok(bytes)
}

/// Reads a note that is a file of its own.
pub(crate) fn read_note(path: &Path) -> Result<Vec<u8>, Failure> {
    read_bounded(path, MAX_NOTE as u64)
        .map_err(|error| Failure::unless_longer(error, |bytes| NoteError::TooLong { bytes }.into()))
}

fn entries(proven: &Proven, output: &Output) {
    for (position, file) in proven.files() {
        let FileEntry { path, size, root, .. } = file;
        let text = format!("file     {}  {}, blake3 {root}", shown(path.as_str()), count(*size, "byte"));
        output.result(&text, || check::File {
            status: check::Listed::Listed,
            position: *position,
            path: path.as_str(),
            size: *size,
            blake3: (*root).into(),
        });
    }
    for (position, tensor) in proven.tensors() {
        let TensorEntry { file, name, dtype, shape, offset, size, hash, .. } = tensor;
        let dimensions: Vec<String> = shape.iter().map(u64::to_string).collect();
        let text = format!(
            "tensor   {}  {dtype} [{}], bytes {offset}..{} of {}, blake3 {hash}",
            shown(name.as_str()),
            dimensions.join(","),
            offset.saturating_add(*size),
            shown(file.as_str()),
        );
        output.result(&text, || check::Tensor {
            status: check::Listed::Listed,
            position: *position,
            name: name.as_str(),
            file: file.as_str(),
            dtype: dtype.as_str(),
            shape,
            offset: *offset,
            size: *size,
            blake3: (*hash).into(),
        });
    }
    for path in proven.absent() {
        let (path, status) = (path.as_str(), check::Absent::Absent);
        output.result(&format!("absent   {}", shown(path)), || check::AbsentFile { status, path });
    }
}

fn range(claim: &SliceClaim<'_>) -> String {
    let Range { start, end } = claim.range.range();
    format!("bytes {start}..{end} of {}", shown(claim.file.path.as_str()))
}

/// Decodes a slice to its end. The extracted file gets its name only then (rule 2).
fn slice(
    path: &Path,
    claim: &SliceClaim<'_>,
    extract: Option<&Path>,
    output: &Output,
) -> Result<(), Failure> {
    let about = |failure: Failure| failure.about(path);
    let mut decoder = SliceDecoder::new(claim.file.root, claim.range);
    let mut new = extract.map(NewFile::create).transpose()?;
    let mut file = File::open(path).map_err(IoError::at("open", path))?;
    let mut buffer = vec![0; BUFFER];
    loop {
        let read = file.read(&mut buffer).map_err(IoError::at("read", path))?;
        if read == 0 {
            break;
        }
        let mut rest = &buffer[..read];
        while let Some(bytes) = decoder.next(&mut rest).map_err(|e| about(e.into()))? {
            if let (Some(new), Some(name)) = (&mut new, extract) {
                new.write_all(bytes).map_err(IoError::at("write", name))?;
            }
        }
    }
    decoder.finish(&[]).map_err(|e| about(e.into()))?;
    new.map(NewFile::finish).transpose()?;
    let to = extract.map(|name| format!(" -> {}", shown_path(name))).unwrap_or_default();
    let Range { start, end } = claim.range.range();
    output.result(&format!("slice    {}{to}", range(claim)), || check::Slice {
        file: claim.file.path.as_str(),
        start,
        end,
        extracted: extract.map(Path::to_string_lossy),
    });
    Ok(())
}

const BUFFER: usize = 64 << 10;

/// Checks a receipt of this head, and prints it as a claim.
fn receipt(path: &Path, head: &VerifiedHead, output: &Output) -> Result<(), Failure> {
    let about = |failure: Failure| failure.about(path);
    let note = read_note(path)?;
    let claim = SignedReceipt::parse(&note).map_err(|e| about(e.into()))?;
    let claim = claim.check().map_err(|e| about(e.into()))?;
    let receipt = claim.receipt();
    receipt.check_is_of(head).map_err(|e| about(e.into()))?;
    let node = receipt.node.name();
    let text = format!(
        "claim    {} says that it verified the whole of this head at {}; nothing shows that it did",
        shown(node.as_str()),
        receipt.verified
    );
    output.result(&text, || check::Receipt {
        claim: Always,
        node: receipt.node.to_string(),
        verified: receipt.verified.into(),
    });
    Ok(())
}

/// Checks that enough auditors of the policy found that the model can be had.
fn reports(args: &Check, demand: &Demand<'_>, head: &VerifiedHead, output: &Output) -> Result<Held, Failure> {
    if demand.is_by_id_alone {
        return Err(
            Failure::usage("--report: auditors are listed in a policy").hint("name it with --trust FILE")
        );
    }
    let mut reports = Vec::new();
    for path in &args.report {
        let note = read_note(path)?;
        reports.push(SignedReport::parse(&note).map_err(|e| Failure::from(e).about(path))?);
    }
    let max_age = args.max_age.ok_or_else(|| Failure::usage("--report: how old may it be? --max-age"))?;
    let held = head.held(&reports, &demand.policy, trust::now(), max_age).map_err(|error| {
        let why = match &error {
            HeldError::TooFew { passed_over, .. } => {
                passed_over.iter().map(|over| passed_over_line(over, args)).collect()
            }
            HeldError::BadSignature { number, .. } | HeldError::Report { number, .. } => {
                vec![format!("report {number} is {}", report_path(*number, args))]
            }
            _ => Vec::new(),
        };
        why.into_iter().fold(Failure::from(error), Failure::hint)
    })?;
    for counted in held.counted() {
        let (auditor, prover) = (&counted.auditor.name, counted.prover.name());
        let text = format!(
            "report   {} found at {} that the model can be had through {}",
            shown(auditor.as_str()),
            counted.received,
            shown(prover.as_str())
        );
        output.result(&text, || check::Report {
            auditor: auditor.as_str(),
            prover: counted.prover.to_string(),
            received: counted.received.into(),
        });
    }
    held.passed_over().iter().for_each(|over| output.talk(&passed_over_line(over, args)));
    Ok(held)
}

fn passed_over_line(over: &PassedOver, args: &Check) -> String {
    format!("{} does not count: {}", report_path(over.number, args), over.why)
}

/// The path of a report by its number, counted from 1.
fn report_path(number: usize, args: &Check) -> String {
    args.report.get(number.saturating_sub(1)).map(shown_path).unwrap_or_default()
}
