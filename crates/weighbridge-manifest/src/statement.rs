//! Challenges, reports and receipts: what is signed beside heads (`spec/statements.md`).
//!
//! All three are read in one way: the note, the signature of the key that the reader expects, the text. Only a receipt
//! names that key itself, so that its text comes first; that is why it stays a claim.

use alloc::string::{String, ToString};
use core::fmt;

use weighbridge_tree::{ChallengeHash, HeadId, MAX_SAMPLES, ModelRoot, Nonce, ResponseHash};

use crate::{
    cursor::canonical_number,
    head::MAX_TEXT,
    key::Vkey,
    lines::{LineFault, Lines, Misread},
    name::ModelName,
    note::{Note, NoteError},
    statement_error::{StatementError, StatementFault, StatementKind},
    time::Time,
    trust::{VerifiedHead, signed_by},
};

/// What an auditor asks of a prover. Data, not belief: a claim until a [`VerifiedChallenge`] holds it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Challenge {
    /// The release.
    pub head: HeadId,
    /// The head's root.
    pub root: ModelRoot,
    /// Who is to answer.
    pub prover: Vkey,
    /// Random, and never used before.
    pub nonce: Nonce,
    /// When it was asked.
    pub issued: Time,
    /// When the whole answer must have come; after `issued`.
    pub deadline: Time,
    /// How many BLAKE3 chunks to show, 1 to [`MAX_SAMPLES`].
    pub samples: u64,
}

/// What an auditor says of an answer. Data, not belief: whether it counts is what
/// [`VerifiedHead::held`](crate::VerifiedHead::held) decides.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Report {
    /// The model's name.
    pub name: ModelName,
    /// The release.
    pub head: HeadId,
    /// The head's root.
    pub root: ModelRoot,
    /// Who answered.
    pub prover: Vkey,
    /// The hash of the challenge.
    pub challenge: ChallengeHash,
    /// The hash of the response.
    pub response: ResponseHash,
    /// How many BLAKE3 chunks were shown, 1 to [`MAX_SAMPLES`].
    pub samples: u64,
    /// Of how many in all; at least `samples`.
    pub of: u64,
    /// When the challenge was asked.
    pub issued: Time,
    /// When the whole answer had come; not before `issued`.
    pub received: Time,
}

/// What a node says of itself. Data, and a claim even when it is signed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Receipt {
    /// The model's name.
    pub name: ModelName,
    /// The release.
    pub head: HeadId,
    /// The head's root.
    pub root: ModelRoot,
    /// Who says so.
    pub node: Vkey,
    /// When it had verified the last byte, by its own word.
    pub verified: Time,
}

impl Challenge {
    /// Reads a challenge's text.
    ///
    /// # Errors
    /// [`StatementError`], the first in the order of `spec/statements.md`. Exactly one text exists for each challenge
    /// (rule 6).
    pub fn parse(text: &str) -> Result<Self, StatementError> {
        parse(text)
    }

    /// Writes the text that is to be signed.
    ///
    /// # Errors
    /// [`StatementError`] if the fields do not make a challenge that [`parse`](Self::parse) would accept.
    pub fn to_text(&self) -> Result<String, StatementError> {
        to_text(self)
    }
}

impl Report {
    /// Reads a report's text.
    ///
    /// # Errors
    /// [`StatementError`], the first in the order of `spec/statements.md`. Exactly one text exists for each report
    /// (rule 6).
    pub fn parse(text: &str) -> Result<Self, StatementError> {
        parse(text)
    }

    /// Writes the text that is to be signed.
    ///
    /// # Errors
    /// [`StatementError`] if the fields do not make a report that [`parse`](Self::parse) would accept.
    pub fn to_text(&self) -> Result<String, StatementError> {
        to_text(self)
    }

    /// Whether this is said of that head: of its name, its id and its root.
    ///
    /// # Errors
    /// [`StatementFault::OtherHead`] (3302) if it is not.
    pub fn is_of(&self, head: &VerifiedHead) -> Result<(), StatementError> {
        is_of::<Self>(head, (&self.name, self.head, self.root))
    }
}

impl Receipt {
    /// Reads a receipt's text.
    ///
    /// # Errors
    /// [`StatementError`], the first in the order of `spec/statements.md`. Exactly one text exists for each receipt
    /// (rule 6).
    pub fn parse(text: &str) -> Result<Self, StatementError> {
        parse(text)
    }

    /// Writes the text that is to be signed.
    ///
    /// # Errors
    /// [`StatementError`] if the fields do not make a receipt that [`parse`](Self::parse) would accept.
    pub fn to_text(&self) -> Result<String, StatementError> {
        to_text(self)
    }

    /// Whether this is said of that head: of its name, its id and its root.
    ///
    /// # Errors
    /// [`StatementFault::OtherHead`] (3302) if it is not.
    pub fn is_of(&self, head: &VerifiedHead) -> Result<(), StatementError> {
        is_of::<Self>(head, (&self.name, self.head, self.root))
    }
}

/// What the three kinds do not have in common.
trait Statement: Sized + fmt::Display {
    const KIND: StatementKind;

    /// The lines behind the first.
    fn read(lines: &mut Lines<'_>) -> Result<Self, Misread>;

    fn contradiction(&self) -> Option<&'static str>;
}

impl Statement for Challenge {
    const KIND: StatementKind = StatementKind::Challenge;

    fn read(lines: &mut Lines<'_>) -> Result<Self, Misread> {
        Ok(Self {
            head: lines.value("head", |v| HeadId::from_hex(v).ok())?,
            root: lines.value("root", |v| ModelRoot::from_hex(v).ok())?,
            prover: lines.value("prover", |v| Vkey::parse(v).ok())?,
            nonce: lines.value("nonce", |v| Nonce::from_hex(v).ok())?,
            issued: lines.value("issued", |v| Time::parse(v).ok())?,
            deadline: lines.value("deadline", |v| Time::parse(v).ok())?,
            samples: lines.value("samples", samples)?,
        })
    }

    fn contradiction(&self) -> Option<&'static str> {
        (self.deadline <= self.issued).then_some("its deadline is not after it was issued")
    }
}

impl Statement for Report {
    const KIND: StatementKind = StatementKind::Report;

    fn read(lines: &mut Lines<'_>) -> Result<Self, Misread> {
        let name = lines.value("name", |v| ModelName::parse(v).ok())?;
        let head = lines.value("head", |v| HeadId::from_hex(v).ok())?;
        let root = lines.value("root", |v| ModelRoot::from_hex(v).ok())?;
        let prover = lines.value("prover", |v| Vkey::parse(v).ok())?;
        let challenge = lines.value("challenge", |v| ChallengeHash::from_hex(v).ok())?;
        let response = lines.value("response", |v| ResponseHash::from_hex(v).ok())?;
        let (samples, of) = lines.value("samples", samples_of)?;
        let issued = lines.value("issued", |v| Time::parse(v).ok())?;
        let received = lines.value("received", |v| Time::parse(v).ok())?;
        Ok(Self { name, head, root, prover, challenge, response, samples, of, issued, received })
    }

    fn contradiction(&self) -> Option<&'static str> {
        (self.received < self.issued).then_some("the response was received before the challenge was issued")
    }
}

impl Statement for Receipt {
    const KIND: StatementKind = StatementKind::Receipt;

    fn read(lines: &mut Lines<'_>) -> Result<Self, Misread> {
        Ok(Self {
            name: lines.value("name", |v| ModelName::parse(v).ok())?,
            head: lines.value("head", |v| HeadId::from_hex(v).ok())?,
            root: lines.value("root", |v| ModelRoot::from_hex(v).ok())?,
            node: lines.value("node", |v| Vkey::parse(v).ok())?,
            verified: lines.value("verified", |v| Time::parse(v).ok())?,
        })
    }

    fn contradiction(&self) -> Option<&'static str> {
        None
    }
}

/// The text, whether or not it makes a valid challenge.
impl fmt::Display for Challenge {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}", Self::KIND.first_line())?;
        writeln!(f, "head {}", self.head)?;
        writeln!(f, "root {}", self.root)?;
        writeln!(f, "prover {}", self.prover)?;
        writeln!(f, "nonce {}", self.nonce)?;
        writeln!(f, "issued {}", self.issued)?;
        writeln!(f, "deadline {}", self.deadline)?;
        writeln!(f, "samples {}", self.samples)
    }
}

/// The text, whether or not it makes a valid report.
impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}", Self::KIND.first_line())?;
        writeln!(f, "name {}", self.name)?;
        writeln!(f, "head {}", self.head)?;
        writeln!(f, "root {}", self.root)?;
        writeln!(f, "prover {}", self.prover)?;
        writeln!(f, "challenge {}", self.challenge)?;
        writeln!(f, "response {}", self.response)?;
        writeln!(f, "samples {} {}", self.samples, self.of)?;
        writeln!(f, "issued {}", self.issued)?;
        writeln!(f, "received {}", self.received)
    }
}

/// The text, whether or not it makes a valid receipt.
impl fmt::Display for Receipt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}", Self::KIND.first_line())?;
        writeln!(f, "name {}", self.name)?;
        writeln!(f, "head {}", self.head)?;
        writeln!(f, "root {}", self.root)?;
        writeln!(f, "node {}", self.node)?;
        writeln!(f, "verified {}", self.verified)
    }
}

fn parse<S: Statement>(text: &str) -> Result<S, StatementError> {
    let fail = |line, fault| Err(StatementError { kind: S::KIND, line, fault });
    if text.len() > MAX_TEXT {
        return fail(0, StatementFault::TooLong { bytes: text.len() });
    }
    let mut lines = Lines::new(text);
    if lines.next() != Some(S::KIND.first_line()) {
        return fail(lines.number(), StatementFault::FirstLine);
    }
    let statement = match S::read(&mut lines) {
        Ok(statement) => statement,
        Err(Misread { line, key, fault: LineFault::Key }) => {
            return fail(line, StatementFault::Line { expected: key });
        }
        Err(Misread { line, key, fault: LineFault::Value }) => {
            return fail(line, StatementFault::Value { key });
        }
    };
    if !lines.is_at_end() {
        return fail(lines.number().saturating_add(1), StatementFault::Behind);
    }
    match statement.contradiction() {
        Some(what) => fail(0, StatementFault::Contradiction { what }),
        None => Ok(statement),
    }
}

/// Each field has one form, so a text that can be read back is read back as what it was written from.
fn to_text<S: Statement>(statement: &S) -> Result<String, StatementError> {
    let text = statement.to_string();
    parse::<S>(&text).map(|_| text)
}

fn samples(value: &str) -> Option<u64> {
    canonical_number(value).filter(|samples| (1..=MAX_SAMPLES).contains(samples))
}

fn samples_of(value: &str) -> Option<(u64, u64)> {
    let (shown, of) = value.split_once(' ')?;
    let (shown, of) = (samples(shown)?, canonical_number(of)?);
    (shown <= of).then_some((shown, of))
}

/// The text of a note, once it is clear that this key signed it.
fn text_by<'n, S: Statement>(note: &'n Note, key: &Vkey) -> Result<&'n str, StatementError> {
    let fail = |fault| Err(StatementError { kind: S::KIND, line: 0, fault });
    let signed = signed_by(note, &core::iter::once(key), |_| false);
    match (signed.bad, signed.keys().next()) {
        (Some(_), _) => fail(StatementFault::BadSignature),
        (None, None) => fail(StatementFault::NotSigned),
        (None, Some(_)) => Ok(note.text()),
    }
}

fn is_of<S: Statement>(
    head: &VerifiedHead,
    (name, id, root): (&ModelName, HeadId, ModelRoot),
) -> Result<(), StatementError> {
    if *name == head.head().name && id == head.id() && root == head.head().root {
        Ok(())
    } else {
        Err(StatementError { kind: S::KIND, line: 0, fault: StatementFault::OtherHead })
    }
}

/// A challenge's note that is well-formed and not yet believed. Its text cannot be read.
///
/// Who knows the auditor calls [`verify`](Self::verify). A prover need not know it, and calls [`claims`](Self::claims).
#[derive(Clone, Debug)]
#[must_use]
pub struct SignedChallenge {
    note: Note,
}

impl SignedChallenge {
    /// Takes a received note apart.
    ///
    /// # Errors
    /// [`NoteError`] if the bytes are not exactly one note.
    pub fn parse(bytes: &[u8]) -> Result<Self, NoteError> {
        Note::parse(bytes).map(|note| Self { note })
    }

    /// Reads the challenge, if `auditor` signed it.
    ///
    /// # Errors
    /// [`StatementError`], the first in the order of `spec/statements.md`: a line under the auditor's name and key id
    /// that does not verify, no such line, then the text. Lines of other keys are ignored.
    ///
    /// # Cost
    /// One Ed25519 check for each signature line under the auditor's name and id; at most 100.
    pub fn verify(&self, auditor: &Vkey) -> Result<VerifiedChallenge, StatementError> {
        text_by::<Challenge>(&self.note, auditor).and_then(UnverifiedChallenge::read).map(VerifiedChallenge)
    }

    /// Reads the challenge by its form alone, whoever signed it: for provers.
    ///
    /// # Non-guarantee
    /// No signature was looked at. Anyone may have written it.
    ///
    /// # Errors
    /// [`StatementError`] if the text is no challenge.
    pub fn claims(&self) -> Result<UnverifiedChallenge, StatementError> {
        UnverifiedChallenge::read(self.note.text())
    }
}

/// A well-formed challenge by anyone. Enough to answer, not enough to believe.
#[derive(Clone, Debug, PartialEq, Eq)]
#[must_use]
pub struct UnverifiedChallenge {
    challenge: Challenge,
    hash: ChallengeHash,
    text: String,
}

impl UnverifiedChallenge {
    fn read(text: &str) -> Result<Self, StatementError> {
        let challenge = Challenge::parse(text)?;
        Ok(Self { challenge, hash: ChallengeHash::of_text(text.as_bytes()), text: text.into() })
    }

    /// What it says.
    #[must_use]
    pub fn challenge(&self) -> &Challenge {
        &self.challenge
    }

    /// The hash of its text.
    pub fn hash(&self) -> ChallengeHash {
        self.hash
    }

    /// The text exactly as it was received, its final LF included: what the samples are drawn from.
    #[must_use]
    pub fn text(&self) -> &str {
        &self.text
    }
}

/// A challenge that the wanted auditor signed.
///
/// # Guarantee
/// The auditor's key signed exactly [`text`](Self::text).
///
/// # Non-guarantee
/// Nothing was compared with a head, a prover or a clock.
#[derive(Clone, Debug, PartialEq, Eq)]
#[must_use]
pub struct VerifiedChallenge(UnverifiedChallenge);

impl VerifiedChallenge {
    /// What it says.
    #[must_use]
    pub fn challenge(&self) -> &Challenge {
        self.0.challenge()
    }

    /// The hash of its text.
    pub fn hash(&self) -> ChallengeHash {
        self.0.hash()
    }

    /// The text exactly as it was signed, its final LF included: what the samples are drawn from.
    #[must_use]
    pub fn text(&self) -> &str {
        self.0.text()
    }
}

/// A report's note that is well-formed and not yet believed. Its text cannot be read.
///
/// Whether reports count is for [`VerifiedHead::held`](crate::VerifiedHead::held) to say, by a policy.
#[derive(Clone, Debug)]
#[must_use]
pub struct SignedReport {
    note: Note,
}

impl SignedReport {
    /// Takes a received note apart.
    ///
    /// # Errors
    /// [`NoteError`] if the bytes are not exactly one note.
    pub fn parse(bytes: &[u8]) -> Result<Self, NoteError> {
        Note::parse(bytes).map(|note| Self { note })
    }

    /// Reads the report, if `auditor` signed it.
    ///
    /// # Guarantee
    /// The holder of this key says so.
    ///
    /// # Non-guarantee
    /// It counts for nothing by that: no policy was asked, no head, no clock.
    ///
    /// # Errors
    /// [`StatementError`], the first in the order of `spec/statements.md`. Lines of other keys are ignored.
    ///
    /// # Cost
    /// One Ed25519 check for each signature line under the auditor's name and id; at most 100.
    pub fn verify(&self, auditor: &Vkey) -> Result<VerifiedReport, StatementError> {
        let report = Report::parse(text_by::<Report>(&self.note, auditor)?)?;
        Ok(VerifiedReport { report })
    }

    pub(crate) fn note(&self) -> &Note {
        &self.note
    }
}

/// A report that the wanted auditor signed. What the auditor says, and nothing more.
#[derive(Clone, Debug, PartialEq, Eq)]
#[must_use]
pub struct VerifiedReport {
    report: Report,
}

impl VerifiedReport {
    /// What it says.
    #[must_use]
    pub fn report(&self) -> &Report {
        &self.report
    }
}

/// A receipt's note that is well-formed. Its text cannot be read before its signature was checked.
#[derive(Clone, Debug)]
#[must_use]
pub struct SignedReceipt {
    note: Note,
}

impl SignedReceipt {
    /// Takes a received note apart.
    ///
    /// # Errors
    /// [`NoteError`] if the bytes are not exactly one note.
    pub fn parse(bytes: &[u8]) -> Result<Self, NoteError> {
        Note::parse(bytes).map(|note| Self { note })
    }

    /// Reads the receipt, if the key that it names signed it.
    ///
    /// # Errors
    /// [`StatementError`] if the text is no receipt, or if the named key's signature does not verify (3101) or is not
    /// there (3301). Lines of other keys are ignored.
    ///
    /// # Cost
    /// One Ed25519 check for each signature line under the named key's name and id; at most 100.
    pub fn check(&self) -> Result<ReceiptClaim, StatementError> {
        let receipt = Receipt::parse(self.note.text())?;
        text_by::<Receipt>(&self.note, &receipt.node)?;
        Ok(ReceiptClaim { receipt })
    }
}

/// What a node says of itself: that it verified the whole of a model.
///
/// # Guarantee
/// The holder of the key that the receipt names says so.
///
/// # Non-guarantee
/// Nothing shows that the node looked at a single byte, nor whose key it is. It counts for nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
#[must_use]
pub struct ReceiptClaim {
    receipt: Receipt,
}

impl ReceiptClaim {
    /// What it says.
    #[must_use]
    pub fn receipt(&self) -> &Receipt {
        &self.receipt
    }
}

/// What a prover signs for its response: `"weighbridge/audit-response/v1" LF ‖ challenge hash ‖ response hash`.
///
/// The first line keeps it apart from every other text that a key may sign.
#[must_use]
pub fn response_message(challenge: &ChallengeHash, response: &ResponseHash) -> [u8; 94] {
    let parts = RESPONSE.iter().chain(challenge.as_bytes()).chain(response.as_bytes());
    let mut message = [0; 94];
    for (to, from) in message.iter_mut().zip(parts) {
        *to = *from;
    }
    message
}

const RESPONSE: &[u8; 30] = b"weighbridge/audit-response/v1\n";
