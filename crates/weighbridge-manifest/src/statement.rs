//! Challenges, reports and receipts: the signed texts beside heads (`spec/statements.md`).
//!
//! All three are read in the same order: the note, the signature by the key that the reader expects, the text. Only a
//! receipt names that key itself, so its text is read before its signature. That is why a receipt stays a claim.

use alloc::string::{String, ToString};
use core::fmt;

use weighbridge_tree::{ChallengeHash, HeadId, MAX_SAMPLES, ModelRoot, Nonce, ResponseHash};

use crate::{
    belief::signed_by,
    cursor::canonical_number,
    head::MAX_TEXT,
    key::Vkey,
    lines::{LineFault, Lines, Misread},
    name::ModelName,
    note::{Note, NoteError},
    statement_error::{StatementError, StatementFault, StatementKind},
    time::Time,
    trust::VerifiedHead,
};

/// An auditor's request to a prover. The fields are a claim until a [`VerifiedChallenge`] holds them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Challenge {
    /// The id of the release's head.
    pub head: HeadId,
    /// The head's root.
    pub root: ModelRoot,
    /// The prover that has to answer.
    pub prover: Vkey,
    /// A random value that was never used before.
    pub nonce: Nonce,
    /// The time at which the challenge was issued.
    pub issued: Time,
    /// The time by which the whole response must have come; after `issued`.
    pub deadline: Time,
    /// The number of BLAKE3 chunks to show, 1 to [`MAX_SAMPLES`].
    pub samples: u64,
}

/// An auditor's statement about a response. The fields are a claim; [`VerifiedHead::held`](crate::VerifiedHead::held)
/// decides whether a report counts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Report {
    /// The model's name.
    pub name: ModelName,
    /// The id of the release's head.
    pub head: HeadId,
    /// The head's root.
    pub root: ModelRoot,
    /// The prover that answered.
    pub prover: Vkey,
    /// The hash of the challenge.
    pub challenge: ChallengeHash,
    /// The hash of the response.
    pub response: ResponseHash,
    /// The number of BLAKE3 chunks that were shown, 1 to [`MAX_SAMPLES`].
    pub samples: u64,
    /// The number of all BLAKE3 chunks from which the samples were drawn; at least `samples`.
    pub of: u64,
    /// The time at which the challenge was issued.
    pub issued: Time,
    /// The time at which the whole response had come; not before `issued`.
    pub received: Time,
}

/// A node's statement about itself. The fields are a claim, even if they are signed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Receipt {
    /// The model's name.
    pub name: ModelName,
    /// The id of the release's head.
    pub head: HeadId,
    /// The head's root.
    pub root: ModelRoot,
    /// The node that makes the statement.
    pub node: Vkey,
    /// The time at which the node had verified the last byte, as stated by the node.
    pub verified: Time,
    /// The random value of the sender that asked for the receipt: it shows that the receipt is not older than the question. `None`
    /// if nobody asked.
    pub nonce: Option<Nonce>,
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

    /// Writes the text to be signed.
    ///
    /// # Errors
    /// [`StatementError`] if [`parse`](Self::parse) would refuse the text.
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

    /// Writes the text to be signed.
    ///
    /// # Errors
    /// [`StatementError`] if [`parse`](Self::parse) would refuse the text.
    pub fn to_text(&self) -> Result<String, StatementError> {
        to_text(self)
    }

    /// Checks that this report is about that head: its name, its id and its root.
    ///
    /// # Errors
    /// [`StatementFault::OtherHead`] (3302) if the report is about another head.
    pub fn check_is_of(&self, head: &VerifiedHead) -> Result<(), StatementError> {
        check_is_of::<Self>(head, (&self.name, self.head, self.root))
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

    /// Writes the text to be signed.
    ///
    /// # Errors
    /// [`StatementError`] if [`parse`](Self::parse) would refuse the text.
    pub fn to_text(&self) -> Result<String, StatementError> {
        to_text(self)
    }

    /// Checks that this receipt is about that head: its name, its id and its root.
    ///
    /// # Errors
    /// [`StatementFault::OtherHead`] (3302) if the receipt is about another head.
    pub fn check_is_of(&self, head: &VerifiedHead) -> Result<(), StatementError> {
        check_is_of::<Self>(head, (&self.name, self.head, self.root))
    }
}

/// The differences between the three kinds of statement.
trait Statement: Sized + fmt::Display {
    const KIND: StatementKind;

    /// The version that a first line names; `None` if it is that of another text.
    fn version(first: &str) -> Option<u8> {
        (first == Self::KIND.first_line()).then_some(1)
    }

    /// Reads the lines after the first.
    fn read(lines: &mut Lines<'_>, version: u8) -> Result<Self, Misread>;

    fn contradiction(&self) -> Option<&'static str>;
}

impl Statement for Challenge {
    const KIND: StatementKind = StatementKind::Challenge;

    fn read(lines: &mut Lines<'_>, _version: u8) -> Result<Self, Misread> {
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

    fn read(lines: &mut Lines<'_>, _version: u8) -> Result<Self, Misread> {
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

    fn version(first: &str) -> Option<u8> {
        match first {
            RECEIPT_WITH_NONCE => Some(2),
            first => (first == Self::KIND.first_line()).then_some(1),
        }
    }

    fn read(lines: &mut Lines<'_>, version: u8) -> Result<Self, Misread> {
        Ok(Self {
            name: lines.value("name", |v| ModelName::parse(v).ok())?,
            head: lines.value("head", |v| HeadId::from_hex(v).ok())?,
            root: lines.value("root", |v| ModelRoot::from_hex(v).ok())?,
            node: lines.value("node", |v| Vkey::parse(v).ok())?,
            verified: lines.value("verified", |v| Time::parse(v).ok())?,
            nonce: match version {
                2 => Some(lines.value("nonce", |v| Nonce::from_hex(v).ok())?),
                _ => None,
            },
        })
    }

    fn contradiction(&self) -> Option<&'static str> {
        None
    }
}

/// Writes the text, even if the challenge is not valid.
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

/// Writes the text, even if the report is not valid.
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

/// Writes the text, even if the receipt is not valid.
impl fmt::Display for Receipt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let first = if self.nonce.is_some() { RECEIPT_WITH_NONCE } else { Self::KIND.first_line() };
        writeln!(f, "{first}")?;
        writeln!(f, "name {}", self.name)?;
        writeln!(f, "head {}", self.head)?;
        writeln!(f, "root {}", self.root)?;
        writeln!(f, "node {}", self.node)?;
        writeln!(f, "verified {}", self.verified)?;
        self.nonce.map_or(Ok(()), |nonce| writeln!(f, "nonce {nonce}"))
    }
}

/// The first line of a receipt that answers somebody.
const RECEIPT_WITH_NONCE: &str = "weighbridge/receipt/v2";

fn parse<S: Statement>(text: &str) -> Result<S, StatementError> {
    let fail = |line, fault| Err(StatementError { kind: S::KIND, line, fault });
    if text.len() > MAX_TEXT {
        return fail(0, StatementFault::TooLong { bytes: text.len() });
    }
    let mut lines = Lines::new(text);
    let Some(version) = lines.next().and_then(S::version) else {
        return fail(lines.number(), StatementFault::FirstLine);
    };
    let statement = match S::read(&mut lines, version) {
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

/// Writes the text. Each field has one form, so a text that can be read back gives the same statement.
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

/// The text of a note, if this key signed the note.
fn text_by<'n, S: Statement>(note: &'n Note, key: &Vkey) -> Result<&'n str, StatementError> {
    let fail = |fault| Err(StatementError { kind: S::KIND, line: 0, fault });
    let signed = signed_by(note, &core::iter::once(key), |_| false);
    match (signed.bad, signed.keys().next()) {
        (Some(_), _) => fail(StatementFault::BadSignature),
        (None, None) => fail(StatementFault::NotSigned),
        (None, Some(_)) => Ok(note.text()),
    }
}

fn check_is_of<S: Statement>(
    head: &VerifiedHead,
    (name, id, root): (&ModelName, HeadId, ModelRoot),
) -> Result<(), StatementError> {
    if *name == head.head().name && id == head.id() && root == head.head().root {
        Ok(())
    } else {
        Err(StatementError { kind: S::KIND, line: 0, fault: StatementFault::OtherHead })
    }
}

/// A challenge's note that is well-formed but not yet believed. Only its methods give access to the text.
///
/// A reader that knows the auditor calls [`verify`](Self::verify). A prover need not know the auditor, and calls
/// [`claims`](Self::claims).
#[derive(Clone, Debug)]
#[must_use]
pub struct SignedChallenge {
    note: Note,
}

impl SignedChallenge {
    /// Reads a received note.
    ///
    /// # Errors
    /// [`NoteError`] if the bytes are not exactly one note.
    pub fn parse(bytes: &[u8]) -> Result<Self, NoteError> {
        Note::parse(bytes).map(|note| Self { note })
    }

    /// Reads the challenge, if `auditor` signed it.
    ///
    /// # Errors
    /// [`StatementError`], the first in the order of `spec/statements.md`: first a line under the auditor's name and
    /// key id that does not verify, then the lack of such a line, then the faults of the text. Lines by other keys are
    /// ignored.
    ///
    /// # Cost
    /// One signature check for each signature line under the auditor's name and id; at most 100 checks.
    pub fn verify(&self, auditor: &Vkey) -> Result<VerifiedChallenge, StatementError> {
        text_by::<Challenge>(&self.note, auditor).and_then(UnverifiedChallenge::read).map(VerifiedChallenge)
    }

    /// Reads the challenge without a check of signatures. Only provers use this.
    ///
    /// # Non-guarantee
    /// No signature is checked. Anyone may have written the challenge.
    ///
    /// # Errors
    /// [`StatementError`] if the text is not a challenge.
    pub fn claims(&self) -> Result<UnverifiedChallenge, StatementError> {
        UnverifiedChallenge::read(self.note.text())
    }
}

/// A well-formed challenge by anyone. A prover may answer it, but it must not be believed.
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

    /// The fields of the challenge.
    #[must_use]
    pub fn challenge(&self) -> &Challenge {
        &self.challenge
    }

    /// The hash of the challenge's text.
    pub fn hash(&self) -> ChallengeHash {
        self.hash
    }

    /// The text exactly as received, its final LF included. The samples are drawn from this text.
    #[must_use]
    pub fn text(&self) -> &str {
        &self.text
    }
}

/// A challenge that the expected auditor signed.
///
/// # Guarantee
/// The auditor's key signed exactly [`text`](Self::text).
///
/// # Non-guarantee
/// The challenge was not compared with a head, a prover or a clock.
#[derive(Clone, Debug, PartialEq, Eq)]
#[must_use]
pub struct VerifiedChallenge(UnverifiedChallenge);

impl VerifiedChallenge {
    /// The fields of the challenge.
    #[must_use]
    pub fn challenge(&self) -> &Challenge {
        self.0.challenge()
    }

    /// The hash of the challenge's text.
    pub fn hash(&self) -> ChallengeHash {
        self.0.hash()
    }

    /// The text exactly as signed, its final LF included. The samples are drawn from this text.
    #[must_use]
    pub fn text(&self) -> &str {
        self.0.text()
    }
}

/// A report's note that is well-formed but not yet believed. Only its methods give access to the text.
///
/// [`VerifiedHead::held`](crate::VerifiedHead::held) decides by a policy whether reports count.
#[derive(Clone, Debug)]
#[must_use]
pub struct SignedReport {
    note: Note,
}

impl SignedReport {
    /// Reads a received note.
    ///
    /// # Errors
    /// [`NoteError`] if the bytes are not exactly one note.
    pub fn parse(bytes: &[u8]) -> Result<Self, NoteError> {
        Note::parse(bytes).map(|note| Self { note })
    }

    /// Reads the report, if `auditor` signed it.
    ///
    /// # Guarantee
    /// The holder of this key made the statement.
    ///
    /// # Non-guarantee
    /// The report does not count by that: no policy, head or clock was consulted.
    ///
    /// # Errors
    /// [`StatementError`], the first in the order of `spec/statements.md`. Lines by other keys are ignored.
    ///
    /// # Cost
    /// One signature check for each signature line under the auditor's name and id; at most 100 checks.
    pub fn verify(&self, auditor: &Vkey) -> Result<VerifiedReport, StatementError> {
        let report = Report::parse(text_by::<Report>(&self.note, auditor)?)?;
        Ok(VerifiedReport { report })
    }

    pub(crate) fn note(&self) -> &Note {
        &self.note
    }
}

/// A report that the expected auditor signed. It is the auditor's statement and proves nothing more.
#[derive(Clone, Debug, PartialEq, Eq)]
#[must_use]
pub struct VerifiedReport {
    report: Report,
}

impl VerifiedReport {
    /// The fields of the report.
    #[must_use]
    pub fn report(&self) -> &Report {
        &self.report
    }
}

/// A receipt's note that is well-formed. There is no access to its text before its signature is checked.
#[derive(Clone, Debug)]
#[must_use]
pub struct SignedReceipt {
    note: Note,
}

impl SignedReceipt {
    /// Reads a received note.
    ///
    /// # Errors
    /// [`NoteError`] if the bytes are not exactly one note.
    pub fn parse(bytes: &[u8]) -> Result<Self, NoteError> {
        Note::parse(bytes).map(|note| Self { note })
    }

    /// Reads the receipt, if the key that the receipt names signed it.
    ///
    /// # Errors
    /// [`StatementError`] if the text is not a receipt, or if the named key's signature does not verify (3101) or is
    /// missing (3301). Lines by other keys are ignored.
    ///
    /// # Cost
    /// One signature check for each signature line under the named key's name and id; at most 100 checks.
    pub fn check(&self) -> Result<ReceiptClaim, StatementError> {
        let receipt = Receipt::parse(self.note.text())?;
        text_by::<Receipt>(&self.note, &receipt.node)?;
        Ok(ReceiptClaim { receipt })
    }
}

/// A node's claim that it verified the whole of a model.
///
/// # Guarantee
/// The holder of the key that the receipt names made the claim.
///
/// # Non-guarantee
/// A receipt does not show that the node read any byte, nor who owns the key. It counts for nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
#[must_use]
pub struct ReceiptClaim {
    receipt: Receipt,
}

impl ReceiptClaim {
    /// The fields of the receipt.
    #[must_use]
    pub fn receipt(&self) -> &Receipt {
        &self.receipt
    }
}

/// The message that a prover signs for its response: `"weighbridge/audit-response/v1" LF ‖ challenge hash ‖ response
/// hash`.
///
/// The first line distinguishes the message from every other text that a key may sign.
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
