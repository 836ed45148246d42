//! `sign`: adds a signature to a head, without reading a weight.

use std::{io::Write, path::Path};

use weighbridge_manifest::{MAX_NOTE, MAX_TEXT, NoteSignature, TrustError, Vkey, shown};
use weighbridge_publish::{Added, Existing, Signing, Staging, TEXT, external_signature};
use weighbridge_store::{HEAD, read_bounded};
use weighbridge_tree::{ErrorCode, head_id};

use crate::{
    args::Sign,
    events::publish,
    failure::Failure,
    keys,
    output::Output,
    signals,
    trust::{self, head_line},
};

pub(crate) fn run(args: &Sign, output: &Output) -> Result<(), Failure> {
    let metadata = trust::metadata(&args.target);
    let mut signing = open(metadata.folder())?;
    let (found, wanted) = (&signing.head().name, args.name.as_ref());
    if let Some(wanted) = wanted.filter(|wanted| *wanted != found) {
        let (found, wanted) = (found.clone(), wanted.clone());
        return Err(TrustError::OtherModel { found, wanted }.into());
    }
    let (vkey, signature) = signature(args, signing.text())?;
    let added = signing.add(&vkey, signature)?;
    if added == Added::Added {
        write(metadata.folder(), &signing)?;
    }
    print(&signing, &vkey, added, output);
    Ok(())
}

/// Opens the note, or the text if nobody has signed it yet.
fn open(folder: &Path) -> Result<Signing, Failure> {
    let (note, text) = (folder.join(HEAD), folder.join(TEXT));
    if note.exists() {
        let bytes = read_bounded(&note, MAX_NOTE as u64)?;
        return Signing::of_note(&bytes).map_err(|e| Failure::from(e).about(&note));
    }
    let bytes = read_bounded(&text, MAX_TEXT as u64)
        .map_err(|e| Failure::from(e).hint("there is nothing to sign here; `weighbridge weigh` makes it"))?;
    let words = String::from_utf8(bytes)
        .map_err(|_| Failure::new(ErrorCode::HEAD_LINE, "not a head").about(&text))?;
    Signing::of_text(words).map_err(|e| Failure::from(e).about(&text))
}

fn signature(args: &Sign, text: &str) -> Result<(Vkey, NoteSignature), Failure> {
    if let Some(path) = &args.key {
        let key = keys::load(path, &args.passphrase)?;
        return Ok((key.vkey().clone(), key.sign(text.as_bytes())));
    }
    let (Some(path), Some(line)) = (&args.signature, &args.vkey) else {
        return Err(Failure::usage("sign with --key, or with --signature and --vkey"));
    };
    let vkey = trust::vkey(line)?;
    let bytes = read_bounded(path, MAX_SIGNATURE)?;
    let signature =
        external_signature(&vkey, text.as_bytes(), &bytes).map_err(|e| Failure::from(e).about(path))?;
    Ok((vkey, signature))
}

/// A limit above the length of every signature; a longer file is refused for its length.
const MAX_SIGNATURE: u64 = 4_096;

fn write(folder: &Path, signing: &Signing) -> Result<(), Failure> {
    let staging = Staging::open(folder, Existing::Replace)?;
    let _undone = signals::on_signal(staging.undo());
    if let Some(note) = signing.note() {
        staging.write(HEAD, |w: &mut dyn Write| w.write_all(note.as_bytes()))?;
    }
    let lock = staging.lock()?;
    if open(folder)?.text() != signing.text() {
        let failure = Failure::new(ErrorCode::FILE_CHANGED, "the head was replaced while it was signed")
            .about(&folder.join(HEAD));
        return Err(failure.hint("look at the new one, and sign again"));
    }
    Ok(signals::uninterrupted(|| staging.publish_note(lock))?)
}

fn print(signing: &Signing, vkey: &Vkey, added: Added, output: &Output) {
    let (head, id) = (signing.head(), head_id(signing.text().as_bytes()));
    let how = match added {
        Added::Added => "signed   by",
        Added::AlreadyThere => "unchanged: signed already by",
    };
    let text = format!(
        "head     {} revision {}: {}\nid       {id}\n{how} {}",
        head.name,
        head.revision,
        head_line(head),
        shown(vkey.name().as_str())
    );
    output.result(&text, || publish::Signed {
        head: id.into(),
        name: head.name.as_str(),
        revision: head.revision,
        signer: vkey.name().as_str(),
        added: added == Added::Added,
    });
}
