//! Notes: a head's text, or a statement's, with signatures behind it.

use weighbridge_manifest::{
    Challenge, Head, HeadError, Note, NoteError, NoteSignature, Receipt, Report, SignedChallenge,
    SignedReceipt, SignedReport, StatementError, Vkey,
};

use crate::key::SecretKey;

/// A head's text on its way to being a note.
///
/// The text is never re-encoded: what was read is what is signed and written.
#[derive(Clone, Debug)]
pub struct Signing {
    text: String,
    head: Head,
    signatures: Vec<NoteSignature>,
}

/// Whether a signature was added, or was there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Added {
    /// The note has changed: the key's signature stands in it now, and nothing else under its name.
    Added,
    /// The same key's signature stood there already. Nothing has changed.
    AlreadyThere,
}

impl Signing {
    /// A text without signatures.
    ///
    /// # Errors
    /// [`HeadError`] if it is no head: nobody should sign what no verifier accepts.
    pub fn of_text(text: String) -> Result<Self, HeadError> {
        let head = Head::parse(&text)?;
        Ok(Self { text, head, signatures: Vec::new() })
    }

    /// A note, to be signed once more.
    ///
    /// # Errors
    /// [`SigningError`] if it is no note, or not of a head.
    pub fn of_note(bytes: &[u8]) -> Result<Self, SigningError> {
        let note = Note::parse(bytes).map_err(SigningError::Note)?;
        let signing = Self::of_text(note.text().to_owned()).map_err(SigningError::Head)?;
        Ok(Self { signatures: note.signatures().to_vec(), ..signing })
    }

    /// The exact bytes to sign.
    #[must_use]
    pub fn text(&self) -> &str {
        &self.text
    }

    /// What they say.
    #[must_use]
    pub fn head(&self) -> &Head {
        &self.head
    }

    /// Adds a signature that `vkey` made over [`text`](Self::text). A line that this key signed before stays as it is;
    /// bad lines under the key's name and id, for which verifiers would refuse the note, go.
    ///
    /// # Errors
    /// [`SigningError`] if it is not this key's signature of this text, or if the note could not be read with it.
    pub fn add(&mut self, vkey: &Vkey, signature: NoteSignature) -> Result<Added, SigningError> {
        let text = self.text.as_bytes();
        let claims = |line: &NoteSignature| line.name() == vkey.name() && line.id() == vkey.id();
        if !claims(&signature) || !vkey.has_signed(text, signature.signature()) {
            return Err(SigningError::NotByThisKey);
        }
        let unchanged = self.signatures.clone();
        let before = self.signatures.len();
        let mut signed = false;
        self.signatures.retain(|line| {
            if !claims(line) {
                return true;
            }
            let good = vkey.has_signed(text, line.signature());
            signed |= good;
            good
        });
        if signed && self.signatures.len() == before {
            return Ok(Added::AlreadyThere);
        }
        if !signed {
            self.signatures.push(signature);
        }
        let readable = self.note().map(|note| Note::parse(note.as_bytes()));
        if let Some(Err(error)) = readable {
            self.signatures = unchanged;
            return Err(SigningError::Note(error));
        }
        Ok(Added::Added)
    }

    /// The note; `None` without a signature.
    #[must_use]
    pub fn note(&self) -> Option<String> {
        (!self.signatures.is_empty()).then(|| note(&self.text, &self.signatures))
    }
}

/// A text, an empty line, and the signatures behind it.
fn note(text: &str, signatures: &[NoteSignature]) -> String {
    let lines = signatures.iter().map(|s| format!("{s}\n"));
    [text.to_owned(), "\n".to_owned()].into_iter().chain(lines).collect()
}

/// An auditor's challenge as a note, signed by the auditor.
///
/// # Errors
/// [`SigningError`] if nobody could read it.
///
/// # Cost
/// Signing, and reading what was signed: about three Ed25519 operations.
pub fn sign_challenge(challenge: &Challenge, auditor: &SecretKey) -> Result<String, SigningError> {
    let note = statement(challenge.to_text(), auditor)?;
    let signed = SignedChallenge::parse(note.as_bytes()).map_err(SigningError::Note)?;
    let _ = signed.verify(auditor.vkey()).map_err(SigningError::Statement)?;
    Ok(note)
}

/// An auditor's report as a note, signed by the auditor.
///
/// # Errors
/// [`SigningError`] if nobody could read it.
///
/// # Cost
/// As [`sign_challenge`].
pub fn sign_report(report: &Report, auditor: &SecretKey) -> Result<String, SigningError> {
    let note = statement(report.to_text(), auditor)?;
    let signed = SignedReport::parse(note.as_bytes()).map_err(SigningError::Note)?;
    let _ = signed.verify(auditor.vkey()).map_err(SigningError::Statement)?;
    Ok(note)
}

/// A node's receipt as a note, signed by the node.
///
/// # Errors
/// [`SigningError`] if nobody could read it; so too if `node` is not the key that the receipt names (3301).
///
/// # Cost
/// As [`sign_challenge`].
pub fn sign_receipt(receipt: &Receipt, node: &SecretKey) -> Result<String, SigningError> {
    let note = statement(receipt.to_text(), node)?;
    let signed = SignedReceipt::parse(note.as_bytes()).map_err(SigningError::Note)?;
    let _ = signed.check().map_err(SigningError::Statement)?;
    Ok(note)
}

fn statement(text: Result<String, StatementError>, key: &SecretKey) -> Result<String, SigningError> {
    let text = text.map_err(SigningError::Statement)?;
    Ok(note(&text, &[key.sign(text.as_bytes())]))
}

/// Why a note is not signed.
#[non_exhaustive]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SigningError {
    /// It is no note.
    Note(NoteError),
    /// It is not of a head.
    Head(HeadError),
    /// The signature is not by this key over this text.
    NotByThisKey,
    /// The statement is none, or is not this key's to sign.
    Statement(StatementError),
}

impl SigningError {
    /// The code of `spec/error-codes.md`.
    #[must_use]
    pub fn error_code(&self) -> u16 {
        match self {
            Self::Note(error) => error.error_code(),
            Self::Head(error) => error.error_code(),
            Self::NotByThisKey => 5401,
            Self::Statement(error) => error.error_code(),
        }
    }
}

impl std::fmt::Display for SigningError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Note(error) => error.fmt(f),
            Self::Head(error) => error.fmt(f),
            Self::NotByThisKey => f.write_str("the signature is not by this key over this head"),
            Self::Statement(error) => error.fmt(f),
        }
    }
}

impl std::error::Error for SigningError {}
