//! `audit`: can a node produce a model's bytes?

use std::path::Path;

use weighbridge_manifest::{Challenge, Report, SignedChallenge, Time, VerifiedFileList, shown};
use weighbridge_publish::{SecretKey, sign_challenge, sign_report};
use weighbridge_store::{HeldFolder, read_bounded, shown_path};
use weighbridge_tree::{ErrorCode, Nonce};
use weighbridge_verify::{Answered, AuditError, Samples, UnsignedResponse, chance_of_missing};

use crate::{
    answered::Nonces,
    args::{Audit, AuditChallenge, AuditCheck, AuditRespond, Trust, Which},
    check::read_note,
    events::audit,
    failure::Failure,
    keys,
    output::{Output, size},
    place::NewFile,
    trust,
};

pub(crate) fn run(args: &Audit, output: &Output) -> Result<(), Failure> {
    match args {
        Audit::Challenge(args) => challenge(args, output),
        Audit::Respond(args) => respond(args, output),
        Audit::Check(args) => check(args, output),
    }
}

fn challenge(args: &AuditChallenge, output: &Output) -> Result<(), Failure> {
    let prover = trust::vkey(&args.prover)?;
    let key = keys::load(&args.key, &args.passphrase)?;
    let files = audited(&args.target, &args.trust, &args.which, output)?;
    let head = files.head();
    let issued = now()?;
    let deadline = i64::try_from(args.within).ok().and_then(|within| issued.unix().checked_add(within));
    let mut nonce = [0; 32];
    getrandom::fill(&mut nonce)
        .map_err(|error| Failure::new(ErrorCode::IO, format!("the system gives no random bytes: {error}")))?;
    let challenge = Challenge {
        head: head.id(),
        root: head.head().root,
        prover,
        nonce: Nonce::from_bytes(nonce),
        issued,
        deadline: deadline
            .and_then(Time::from_unix)
            .ok_or_else(|| Failure::usage("--within: no time is that far away"))?,
        samples: args.samples,
    };
    let note = sign_challenge(&challenge, &key)?;
    let samples = Samples::of(&challenge.to_text()?, challenge.samples, &files)?;
    NewFile::write(&args.output, note.as_bytes())?;
    let text = format!(
        "asked    {} for {} of {} BLAKE3 chunks, until {}\nwrote    {}",
        shown(challenge.prover.name().as_str()),
        samples.drawn(),
        samples.count(),
        challenge.deadline,
        shown_path(&args.output),
    );
    output.result(&text, || audit::Challenge {
        head: challenge.head.into(),
        prover: challenge.prover.to_string(),
        samples: samples.drawn(),
        of: samples.count(),
        issued: challenge.issued.into(),
        deadline: challenge.deadline.into(),
        file: args.output.to_string_lossy(),
    });
    Ok(())
}

fn respond(args: &AuditRespond, output: &Output) -> Result<(), Failure> {
    let signed = read_challenge(&args.challenge)?;
    let challenge = signed.claims().map_err(|e| Failure::from(e).about(&args.challenge))?;
    let key = keys::load(&args.key, &args.passphrase)?;
    let metadata = trust::metadata(args.meta.as_ref().unwrap_or(&args.model));
    // The auditor decides which head it believes. This node answers for the head it has.
    let head = trust::by_its_word(&trust::note(&metadata)?)?;
    let files = metadata.files(&head)?;
    let folder = HeldFolder::open(&args.model, &metadata, &files)?;
    let response = UnsignedResponse::make(&challenge, key.vkey(), &files, &folder, trust::now())?;
    let signature = key.sign_response(&challenge.hash(), &response.hash());
    let response = response.sign(&signature)?;
    NewFile::write(&args.output, &response)?;
    let asked = challenge.challenge();
    let text = format!(
        "answered a challenge of {}, good until {}\nwrote    {}, {}",
        head.head().name,
        asked.deadline,
        shown_path(&args.output),
        size(response.len() as u64),
    );
    output.result(&text, || audit::Response {
        head: head.id().into(),
        challenge: challenge.hash().into(),
        deadline: asked.deadline.into(),
        bytes: response.len(),
        file: args.output.to_string_lossy(),
    });
    Ok(())
}

fn check(args: &AuditCheck, output: &Output) -> Result<(), Failure> {
    let key = keys::load(&args.key, &args.passphrase)?;
    let challenge = read_challenge(&args.challenge)?;
    let challenge = challenge.verify(key.vkey()).map_err(|error| {
        let failure = Failure::from(error).about(&args.challenge);
        if failure.code == ErrorCode::STATEMENT_NOT_SIGNED {
            failure.hint("check with the key that signed the challenge: your own")
        } else {
            failure
        }
    })?;
    let files = audited(&args.target, &args.trust, &args.which, output)?;
    // A response longer than any good one is not read (rule 1). The check below refuses its length.
    let asked = challenge.challenge();
    let samples = Samples::of(challenge.text(), asked.samples, &files);
    let longest = samples.map_or(0, |samples| samples.response_len(&asked.prover));
    let response = match read_bounded(&args.response, longest) {
        Err(error) if error.source.kind() == std::io::ErrorKind::FileTooLarge => None,
        read => Some(read?),
    };
    // Take the time only now, when the whole response is known to be there.
    let received = match args.received {
        Some(time) => time,
        None => now()?,
    };
    let mut nonces = Nonces::open(args.answered.as_ref())?;
    let bytes = response.as_deref().unwrap_or_default();
    let answered = Answered::check(&challenge, &files, bytes, received, |nonce| nonces.contains(nonce));
    let answered = answered.map_err(|error| {
        let error = match error {
            AuditError::WrongLength { expected, .. } if response.is_none() => {
                let actual = std::fs::metadata(&args.response).map_or(u64::MAX, |found| found.len());
                AuditError::WrongLength { expected, actual }
            }
            other => other,
        };
        Failure::from(error).about(&args.response)
    })?;
    let report = answered.report();
    let note = sign_report(report, &key)?;
    // Make sure that the report can be written before the nonce is used up.
    let new = NewFile::begin(&args.output, note.as_bytes())?;
    nonces.add(challenge.challenge().nonce)?;
    new.finish()?;
    print(report, &key, &args.output, output);
    Ok(())
}

/// Prints what the audit shows, what it does not show, and how likely it missed a loss.
fn print(report: &Report, key: &SecretKey, path: &Path, output: &Output) {
    let Report { name, prover, samples, of, issued, received, .. } = report;
    let prover_name = shown(prover.name().as_str());
    let missing = LOSSES.map(|(per_mille, loss)| {
        let lost = of.saturating_mul(per_mille).div_ceil(1_000);
        (loss, chance_of_missing(lost, *of, *samples))
    });
    let chances: Vec<String> =
        missing.iter().map(|(loss, chance)| format!("of {loss} {}", percent(*chance))).collect();
    let text = format!(
        "held     {prover_name} produced {samples} of {of} BLAKE3 chunks of {name}, within {} s\n\
         shows    that random bytes of this model could be had through {prover_name}, from {issued} to {received}\n\
         not      that it stores them itself, or alone, nor that it will have them tomorrow\n\
         missed   chance that a loss went unseen: {}\n\
         wrote    {}, signed by {}",
        received.seconds_after(*issued),
        chances.join(", "),
        shown_path(path),
        shown(key.vkey().name().as_str()),
    );
    output.result(&text, || audit::Report {
        name: name.as_str(),
        head: report.head.into(),
        prover: prover.to_string(),
        auditor: key.vkey().to_string(),
        challenge: report.challenge.into(),
        response: report.response.into(),
        samples: *samples,
        of: *of,
        issued: (*issued).into(),
        received: (*received).into(),
        chance_of_missing: missing.iter().map(|(loss, chance)| (loss.replace(' ', ""), *chance)).collect(),
        file: path.to_string_lossy(),
    });
}

/// Losses in thousandths, each with its words.
const LOSSES: [(u64, &str); 3] = [(100, "10 %"), (10, "1 %"), (1, "0.1 %")];

/// A percentage with two significant digits; very small values are only said to be small.
fn percent(chance: f64) -> String {
    let percent = chance * 100.0;
    if percent == 0.0 {
        "0 %".to_owned()
    } else if percent < 0.001 {
        "below 0.001 %".to_owned()
    } else {
        // Choose the digits by the rounded value.
        let digits = if percent >= 9.95 {
            0
        } else if percent >= 0.995 {
            1
        } else if percent >= 0.0995 {
            2
        } else {
            4
        };
        format!("{percent:.digits$} %")
    }
}

/// The file list under a believed head. An auditor needs no more of a model.
fn audited(
    target: &Path,
    trust: &Trust,
    which: &Which,
    output: &Output,
) -> Result<VerifiedFileList, Failure> {
    let metadata = trust::metadata(target);
    let head = trust::believe(&trust::note(&metadata)?, trust, which, output)?;
    trust::print(&head, output);
    Ok(metadata.files(&head)?)
}

fn read_challenge(path: &Path) -> Result<SignedChallenge, Failure> {
    let note = read_note(path)?;
    SignedChallenge::parse(&note).map_err(|e| Failure::from(e).about(path))
}

fn now() -> Result<Time, Failure> {
    trust::now().ok_or_else(|| Failure::new(ErrorCode::IO, "this machine's clock tells no time"))
}
