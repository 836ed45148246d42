//! Audits: answering a challenge, and checking the answer (`spec/audits.md`).
//!
//! The functions here use no clock, no randomness and no secret key. The caller passes in the time, says whether a
//! nonce was answered before, and signs the messages.

use alloc::vec::Vec;
use core::fmt;

use weighbridge_manifest::{
    Challenge, EntryPath, FileEntry, Report, Signature, Time, UnverifiedChallenge, VerifiedChallenge,
    VerifiedFileList, VerifiedHead, Vkey, response_message, shown,
};
use weighbridge_tree::{
    ChunkError, Coded, ErrorCode, FileRoot, FileSamples, Granule, Grid, HeadId, Layer, LayerError,
    MAX_SAMPLES, Nonce, PartError, ResponseHash, SampleError, TooLong, draw,
};

use crate::Holding;

/// The BLAKE3 chunks of a model that a challenge asks for, file by file.
///
/// # Guarantee
/// Everyone who has the challenge's text and the file list computes the same samples.
///
/// # Example
/// ```
/// use weighbridge_verify::Samples;
/// # let sample = weighbridge_testkit::Sample::of(&[("a.bin", 40_000), ("b.bin", 20_000)], 1);
/// # let (files, key) = (&sample.list, weighbridge_testkit::Key::new("node", 2).vkey());
///
/// // The text of a challenge decides which of the 40 + 20 BLAKE3 chunks are drawn.
/// let samples = Samples::of("the text of a challenge\n", 10, files)?;
/// assert_eq!((samples.drawn(), samples.count()), (10, 60));
/// let by_file: usize = samples.files().map(|(_position, samples)| samples.drawn().len()).sum();
/// assert_eq!(by_file, 10);
///
/// // So the auditor knows how long the response has to be before it asks for it.
/// assert!(samples.response_len(&key) > 10 * 32 + 64);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[must_use]
pub struct Samples {
    /// Positions and samples in list order; files without a sample are left out.
    files: Vec<(usize, FileSamples)>,
    count: u64,
    drawn: u64,
    body_len: u64,
}

impl Samples {
    /// Draws `samples` BLAKE3 chunks of all files by a challenge's text, or every BLAKE3 chunk if the model has no
    /// more.
    ///
    /// # Errors
    /// [`AuditError::NoBytes`] (2703) for a model of no bytes.
    ///
    /// # Cost
    /// Two passes over the list, and at most 43 steps for each sample. Memory for the samples' positions.
    pub fn of(text: &str, samples: u64, files: &VerifiedFileList) -> Result<Self, AuditError> {
        let mut count = 0_u64;
        for entry in files.entries() {
            count = count.saturating_add(Grid::new(entry.size, Granule::MIN)?.count());
        }
        if count == 0 {
            return Err(AuditError::NoBytes);
        }
        let drawn = draw(text.as_bytes(), count, samples);
        let mut all =
            Self { files: Vec::new(), count, drawn: u64::try_from(drawn.len()).unwrap_or(0), body_len: 0 };
        let mut rest = drawn.as_slice();
        // The number of the file's first BLAKE3 chunk.
        let mut first = 0_u64;
        for (position, entry) in files.entries().iter().enumerate() {
            let next = first.saturating_add(Grid::new(entry.size, Granule::MIN)?.count());
            let in_file = rest.partition_point(|number| *number < next);
            let (numbers, others) = rest.split_at_checked(in_file).unwrap_or_default();
            if !numbers.is_empty() {
                let places = numbers.iter().map(|number| number.saturating_sub(first)).collect();
                let samples = FileSamples::new(entry.size, places)?;
                all.body_len = all.body_len.saturating_add(samples.part_len());
                all.files.push((position, samples));
            }
            (rest, first) = (others, next);
        }
        Ok(all)
    }

    /// The positions of the files that have a sample, in list order, each with the BLAKE3 chunks drawn from it.
    pub fn files(&self) -> impl Iterator<Item = (usize, &FileSamples)> {
        self.files.iter().map(|(position, samples)| (*position, samples))
    }

    /// The number of BLAKE3 chunks of the model.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.count
    }

    /// The number of BLAKE3 chunks that were drawn.
    #[must_use]
    pub fn drawn(&self) -> u64 {
        self.drawn
    }

    /// The exact length of a response by this prover with its signature: less than 10 MB for every model.
    #[must_use]
    pub fn response_len(&self, prover: &Vkey) -> u64 {
        let signature_len = u64::try_from(prover.signature_len()).unwrap_or(u64::MAX);
        self.body_len.saturating_add(signature_len)
    }
}

/// A response that the prover has not signed yet.
///
/// # Example
/// ```
/// use weighbridge_verify::{UnsignedResponse, manifest::{SignedChallenge, Time}};
/// # use weighbridge_testkit::{Draft, Folder, Key, bytes};
/// # use weighbridge_verify::{manifest::Challenge, tree::{ChunkSize, Nonce}};
/// # let model = [("model.bin", bytes(40_000, 1))];
/// # let (folder, signed) = (Folder::of(&model), Draft::of(&model, ChunkSize::MIN).sign());
/// # let (files, prover, auditor) = (&signed.files, Key::new("node", 1), Key::new("auditor", 2));
/// # let holding = weighbridge_store::HeldFolder::open(folder.path(), &signed.metadata, files)?;
/// # let (issued, deadline) = (Time::parse("2026-11-20T18:00:00Z")?, Time::parse("2026-11-20T18:00:30Z")?);
/// # let (head, nonce) = (signed.head.id(), Nonce::from_bytes([7; 32]));
/// # let root = signed.head.head().root;
/// # let text = Challenge { head, root, prover: prover.vkey(), nonce, issued, deadline, samples: 10 }.to_text()?;
/// # let note = format!("{text}\n{}\n", auditor.line(&text));
///
/// // `note` is the challenge of an auditor, and `holding` the model, such as a `HeldFolder` of `weighbridge-store`.
/// let challenge = SignedChallenge::parse(note.as_bytes())?.claims()?;
/// let now = Time::parse("2026-11-20T18:00:02Z")?;
/// let unsigned = UnsignedResponse::make(&challenge, &prover.vkey(), files, &holding, Some(now))?;
/// let signature = prover.sign(unsigned.message());
/// let response = unsigned.sign(&signature)?;
/// assert!(response.len() > 10 * 1_024, "ten samples, their paths and a signature");
///
/// // After the deadline the holding is not even asked.
/// let late = Time::parse("2026-11-20T18:00:31Z")?;
/// assert!(UnsignedResponse::make(&challenge, &prover.vkey(), files, &holding, Some(late)).is_err());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[must_use]
pub struct UnsignedResponse {
    body: Vec<u8>,
    hash: ResponseHash,
    prover: Vkey,
    message: [u8; 94],
}

impl UnsignedResponse {
    /// Makes a prover's response to a challenge from the model that the prover holds.
    ///
    /// `prover` is the key that is going to sign. A caller without a clock passes `None` as `now`; the deadline is then
    /// not checked.
    ///
    /// # Guarantee
    /// An auditor with the same file list accepts the response if it arrives in time: every chunk was checked against
    /// its layer, and every layer is that of its file's signed root.
    ///
    /// # Non-guarantee
    /// Anybody can be the auditor, and each of 4,096 samples can cost the reading of one chunk. A node that answers
    /// only some auditors, or only a limited number of samples, checks the challenge's signatures and its number of
    /// samples itself.
    ///
    /// # Errors
    /// [`ResponseError`]: 2701, 2702, 2704 and 2703, in this order, before `holding` is asked for anything; then the
    /// errors of `holding`, and refusals of its layers and chunks (2201, 2202, 2102, 2107).
    ///
    /// # Cost
    /// Reads exactly the chunks that hold a sample, each once, and the layers of their files; hashes each of these
    /// chunks at most twice. Memory for the response, one layer and one chunk. Challenges can be answered from one holding
    /// on many threads at once.
    pub fn make<H: Holding + ?Sized>(
        challenge: &UnverifiedChallenge,
        prover: &Vkey,
        files: &VerifiedFileList,
        holding: &H,
        now: Option<Time>,
    ) -> Result<Self, ResponseError<H::Error>> {
        let asked = challenge.challenge();
        check_is_of(asked, files.head())?;
        // Only the keys are compared: the auditor is free to choose the prover's name.
        if asked.prover.public_key() != prover.public_key() {
            return Err(AuditError::OtherProver.into());
        }
        if let Some(at) = now {
            check_in_time(asked, at)?;
        }
        let samples = Samples::of(challenge.text(), asked.samples, files)?;
        let mut body = Vec::with_capacity(usize::try_from(samples.response_len(prover)).unwrap_or(0));
        for (position, samples) in samples.files() {
            let entry = entry_at(files, position)?;
            let place = || entry.path.clone();
            let layer = holding.layer(position).map_err(ResponseError::Holding)?;
            let grid = Grid::new(entry.size, files.chunk_size()).map_err(AuditError::from)?;
            check_is_layer_of(&layer, grid, entry.root)
                .map_err(|fault| ResponseError::Layer { path: place(), fault })?;
            let part = samples.part(&layer, |index, bytes| holding.read_chunk(position, index, bytes));
            body.extend(part.map_err(|error| match error {
                PartError::Source(error) => ResponseError::Holding(error),
                PartError::Chunk(fault) => ResponseError::Chunk { path: place(), fault },
                PartError::Misuse(error) => ResponseError::Refused(error.into()),
            })?);
        }
        let hash = ResponseHash::of_body(&body);
        let message = response_message(&challenge.hash(), &hash);
        Ok(Self { body, hash, prover: prover.clone(), message })
    }

    /// The hash of the response without its signature.
    pub fn hash(&self) -> ResponseHash {
        self.hash
    }

    /// The message that the prover's key has to sign.
    #[must_use]
    pub fn message(&self) -> &[u8; 94] {
        &self.message
    }

    /// The whole response: the body, and the signature behind it.
    ///
    /// # Errors
    /// [`AuditError::BadSignature`] (2708) if the signature is not the prover's over [`message`](Self::message): an
    /// auditor would refuse the response.
    pub fn sign(mut self, signature: &Signature) -> Result<Vec<u8>, AuditError> {
        if !self.prover.has_signed(&self.message, signature) {
            return Err(AuditError::BadSignature);
        }
        self.body.extend_from_slice(signature.as_bytes());
        Ok(self.body)
    }
}

/// A response that was checked and answers its challenge.
///
/// # Guarantee
/// The prover's key signed these very bytes for this challenge, and they are the drawn BLAKE3 chunks of the model.
///
/// # Non-guarantee
/// The prover may have fetched the bytes when it was asked instead of storing them, and may lose them tomorrow. About
/// BLAKE3 chunks that were not drawn, only [`chance_of_missing`] says anything.
///
/// # Example
/// ```
/// use weighbridge_verify::{Answered, Coded, manifest::{SignedChallenge, Time}};
/// # use weighbridge_testkit::{Draft, Folder, Key, bytes};
/// # use weighbridge_verify::{UnsignedResponse, manifest::Challenge, tree::{ChunkSize, Nonce}};
/// # let model = [("model.bin", bytes(40_000, 1))];
/// # let (folder, signed) = (Folder::of(&model), Draft::of(&model, ChunkSize::MIN).sign());
/// # let (files, prover, auditor) = (&signed.files, Key::new("node", 1), Key::new("auditor", 2));
/// # let holding = weighbridge_store::HeldFolder::open(folder.path(), &signed.metadata, files)?;
/// # let (issued, deadline) = (Time::parse("2026-11-20T18:00:00Z")?, Time::parse("2026-11-20T18:00:30Z")?);
/// # let (head, nonce) = (signed.head.id(), Nonce::from_bytes([7; 32]));
/// # let root = signed.head.head().root;
/// # let text = Challenge { head, root, prover: prover.vkey(), nonce, issued, deadline, samples: 10 }.to_text()?;
/// # let note = format!("{text}\n{}\n", auditor.line(&text));
/// # let claims = SignedChallenge::parse(note.as_bytes())?.claims()?;
/// # let unsigned = UnsignedResponse::make(&claims, &prover.vkey(), files, &holding, None)?;
/// # let signature = prover.sign(unsigned.message());
/// # let response = unsigned.sign(&signature)?;
///
/// // The auditor reads back its own challenge, `note`, and checks the response of the node.
/// let challenge = SignedChallenge::parse(note.as_bytes())?.verify(&auditor.vkey())?;
/// let received = Time::parse("2026-11-20T18:00:02Z")?;
/// let answered = Answered::check(&challenge, files, &response, received, |_nonce| false)?;
/// assert_eq!((answered.report().samples, answered.report().of), (10, 40));
///
/// // The auditor keeps the nonces that were answered: the same response does not count twice.
/// let nonce = challenge.challenge().nonce;
/// let again = Answered::check(&challenge, files, &response, received, |answered| *answered == nonce);
/// assert_eq!(again.unwrap_err().error_code().get(), 2706);
///
/// // Nor does a response with other bytes.
/// let mut forged = response.clone();
/// forged[0] ^= 1;
/// assert!(Answered::check(&challenge, files, &forged, received, |_| false).is_err());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[must_use]
pub struct Answered {
    report: Report,
}

impl Answered {
    /// Checks a response to the auditor's own challenge, in the order of `spec/audits.md`.
    ///
    /// `received` is the time at which the last byte of `response` arrived. `answered` says whether a nonce was
    /// answered before. If this function accepts, and only then, the caller adds the challenge's nonce to the answered
    /// ones. The caller holds one lock from before `answered` is asked until after the nonce is added.
    ///
    /// # Errors
    /// [`AuditError`], the first of 2701, 2705, 2704, 2706, 2703, 2707, 2708, 2709.
    ///
    /// # Cost
    /// The cost of [`Samples::of`] until the length is checked. Then two passes over the response, one signature
    /// check, and at most 43 compressions for each sample. Memory for the samples' positions.
    pub fn check(
        challenge: &VerifiedChallenge,
        files: &VerifiedFileList,
        response: &[u8],
        received: Time,
        answered: impl FnOnce(&Nonce) -> bool,
    ) -> Result<Self, AuditError> {
        let asked = challenge.challenge();
        check_is_of(asked, files.head())?;
        if received < asked.issued {
            return Err(AuditError::Early { received, issued: asked.issued });
        }
        check_in_time(asked, received)?;
        if answered(&asked.nonce) {
            return Err(AuditError::Replayed { nonce: asked.nonce });
        }
        let samples = Samples::of(challenge.text(), asked.samples, files)?;
        let (expected, actual) =
            (samples.response_len(&asked.prover), u64::try_from(response.len()).unwrap_or(u64::MAX));
        let body_len = response.len().checked_sub(asked.prover.signature_len());
        let split = body_len.and_then(|at| response.split_at_checked(at)).filter(|_| actual == expected);
        let Some((body, signature)) = split else {
            return Err(AuditError::WrongLength { expected, actual });
        };
        let (hash, response) = (challenge.hash(), ResponseHash::of_body(body));
        if !asked.prover.has_signed(&response_message(&hash, &response), &Signature::new(signature)) {
            return Err(AuditError::BadSignature);
        }
        let mut rest = body;
        for (position, samples) in samples.files() {
            let entry = entry_at(files, position)?;
            let length = usize::try_from(samples.part_len()).unwrap_or(usize::MAX);
            let (part, others) = rest.split_at_checked(length).unwrap_or_default();
            if samples.root_of(part)? != entry.root {
                return Err(AuditError::WrongSamples { path: entry.path.clone() });
            }
            rest = others;
        }
        Ok(Self {
            report: Report {
                name: files.head().head().name.clone(),
                head: asked.head,
                root: asked.root,
                prover: asked.prover.clone(),
                challenge: hash,
                response,
                samples: samples.drawn(),
                of: samples.count(),
                issued: asked.issued,
                received,
            },
        })
    }

    /// The report that the auditor may now sign: both hashes, how many BLAKE3 chunks of how many were shown, and when.
    #[must_use]
    pub fn report(&self) -> &Report {
        &self.report
    }
}

/// The chance that an audit misses a loss: of `samples` BLAKE3 chunks drawn from `count`, none is among the `lost`
/// ones.
///
/// Exactly 0 if more BLAKE3 chunks are drawn than are left, and 1 if nothing is lost or nothing is drawn. At most
/// [`MAX_SAMPLES`] are drawn, as in every audit.
///
/// # Non-guarantee
/// The chance holds for a challenge that the prover could not choose.
///
/// # Cost
/// One division for each sample.
///
/// # Example
/// ```
/// use weighbridge_verify::chance_of_missing;
///
/// // A node has lost one hundredth of a model of 1 GiB. Few samples hardly tell, 500 do.
/// let count = 1 << 20;
/// assert!(chance_of_missing(count / 100, count, 10) > 0.9);
/// assert!(chance_of_missing(count / 100, count, 500) < 0.01);
///
/// // A single lost BLAKE3 chunk is found only by luck.
/// assert!(chance_of_missing(1, count, 500) > 0.999);
/// ```
#[must_use]
pub fn chance_of_missing(lost: u64, count: u64, samples: u64) -> f64 {
    let left = count.saturating_sub(lost);
    let samples = samples.min(count).min(MAX_SAMPLES);
    if samples > left {
        return 0.0;
    }
    let factor = |drawn| to_f64(left.saturating_sub(drawn)) / to_f64(count.saturating_sub(drawn));
    (0..samples).map(factor).product()
}

/// The nearest `f64`. It is exact for every number of BLAKE3 chunks, since these are below 2^53.
fn to_f64(number: u64) -> f64 {
    let half = |bits: u64| f64::from(u32::try_from(bits).unwrap_or(u32::MAX));
    half(number >> 32) * 4_294_967_296.0 + half(number & 0xffff_ffff)
}

/// Never fails: the positions of samples come from the same list.
fn entry_at(files: &VerifiedFileList, position: usize) -> Result<&FileEntry, AuditError> {
    files.entries().get(position).ok_or(AuditError::Misuse(SampleError::NothingDrawn))
}

fn check_is_of(asked: &Challenge, head: &VerifiedHead) -> Result<(), AuditError> {
    if asked.head == head.id() && asked.root == head.head().root {
        Ok(())
    } else {
        Err(AuditError::OtherHead { asked: asked.head, held: head.id() })
    }
}

fn check_in_time(asked: &Challenge, at: Time) -> Result<(), AuditError> {
    if at > asked.deadline { Err(AuditError::Late { at, deadline: asked.deadline }) } else { Ok(()) }
}

pub(crate) fn check_is_layer_of(layer: &Layer, grid: Grid, root: FileRoot) -> Result<(), LayerError> {
    let (expected, actual) = (grid.layer_len(), layer.grid().layer_len());
    if actual != expected {
        return Err(LayerError::WrongLength { expected, actual });
    }
    // A layer with the right number of values may still be of another file or of other chunks.
    let is_other = layer.grid() != grid || layer.root() != root;
    if is_other { Err(LayerError::DoesNotMerge { expected: root }) } else { Ok(()) }
}

/// The reason why a challenge is not answered, or a response is refused.
#[non_exhaustive]
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AuditError {
    /// The challenge is of another head.
    OtherHead {
        /// The head that the challenge names.
        asked: HeadId,
        /// The head that the prover or auditor holds.
        held: HeadId,
    },
    /// The challenge is for another prover.
    OtherProver,
    /// The model has no bytes to sample.
    NoBytes,
    /// The deadline has passed.
    Late {
        /// The time at which the response arrived; for a prover, the current time.
        at: Time,
        /// The challenge's deadline.
        deadline: Time,
    },
    /// The response arrived before the challenge was issued: a clock is wrong, or somebody lies.
    Early {
        /// The time at which the response arrived.
        received: Time,
        /// The time at which the challenge was issued.
        issued: Time,
    },
    /// The challenge's nonce was answered before.
    Replayed {
        /// The nonce.
        nonce: Nonce,
    },
    /// The length of the response is not the one that the samples give (rules 1 and 6).
    WrongLength {
        /// The length that the samples give, in bytes.
        expected: u64,
        /// The length found, in bytes.
        actual: u64,
    },
    /// The prover's signature is not over this challenge and response.
    BadSignature,
    /// The samples of a file do not give its signed root (rule 3).
    WrongSamples {
        /// The file.
        path: EntryPath,
    },
    /// Samples that no file can have. Data never causes this error.
    Misuse(SampleError),
}

impl From<SampleError> for AuditError {
    fn from(error: SampleError) -> Self {
        Self::Misuse(error)
    }
}

impl From<TooLong> for AuditError {
    fn from(error: TooLong) -> Self {
        Self::Misuse(error.into())
    }
}

impl Coded for AuditError {
    fn error_code(&self) -> ErrorCode {
        match self {
            Self::OtherHead { .. } => ErrorCode::CHALLENGE_OF_ANOTHER_HEAD,
            Self::OtherProver => ErrorCode::CHALLENGE_FOR_ANOTHER_PROVER,
            Self::NoBytes => ErrorCode::CHALLENGE_NO_BYTES,
            Self::Late { .. } => ErrorCode::RESPONSE_LATE,
            Self::Early { .. } => ErrorCode::RESPONSE_EARLY,
            Self::Replayed { .. } => ErrorCode::CHALLENGE_REPLAYED,
            Self::WrongLength { .. } => ErrorCode::RESPONSE_LENGTH,
            Self::BadSignature => ErrorCode::RESPONSE_SIGNATURE,
            Self::WrongSamples { .. } => ErrorCode::RESPONSE_MISMATCH,
            Self::Misuse(error) => error.error_code(),
        }
    }
}

impl fmt::Display for AuditError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::OtherHead { asked, held } if asked == held => {
                write!(f, "the challenge has another root than its head {held}")
            }
            Self::OtherHead { asked, held } => {
                write!(f, "the challenge is of head {asked}, held is {held}")
            }
            Self::OtherProver => f.write_str("the challenge is for another prover"),
            Self::NoBytes => f.write_str("the model has no bytes to sample"),
            Self::Late { at, deadline } => write!(f, "the deadline was {deadline}, and had passed at {at}"),
            Self::Early { received, issued } => {
                write!(f, "the response came at {received}, and the challenge was issued at {issued}")
            }
            Self::Replayed { nonce } => write!(f, "the nonce {nonce} was answered before"),
            Self::WrongLength { expected, actual } => {
                write!(f, "the response has {actual} bytes, expected {expected}")
            }
            Self::BadSignature => {
                f.write_str("the prover's signature is not over this challenge and this response")
            }
            Self::WrongSamples { path } => {
                write!(f, "{}: its samples do not lead to the signed root", shown(path.as_str()))
            }
            Self::Misuse(error) => error.fmt(f),
        }
    }
}

impl core::error::Error for AuditError {}

/// The reason why no response was made.
#[non_exhaustive]
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ResponseError<E> {
    /// The challenge is not one that this prover can answer.
    Refused(AuditError),
    /// The holding did not give a layer or chunk.
    Holding(E),
    /// The holding gave a layer that is not the one of the file's signed root.
    Layer {
        /// The file.
        path: EntryPath,
        /// The fault of the layer.
        fault: LayerError,
    },
    /// A chunk that holds a sample is not the signed chunk.
    Chunk {
        /// The file.
        path: EntryPath,
        /// The chunk and its fault.
        fault: ChunkError,
    },
}

impl<E> From<AuditError> for ResponseError<E> {
    fn from(error: AuditError) -> Self {
        Self::Refused(error)
    }
}

impl<E> ResponseError<E> {
    /// The code of `spec/error-codes.md`; `None` for an error of the holding, which has its own.
    #[must_use]
    pub fn error_code(&self) -> Option<ErrorCode> {
        match self {
            Self::Refused(error) => Some(error.error_code()),
            Self::Holding(_) => None,
            Self::Layer { fault, .. } => Some(fault.error_code()),
            Self::Chunk { fault, .. } => Some(fault.error_code()),
        }
    }
}

impl<E: fmt::Display> fmt::Display for ResponseError<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Refused(error) => error.fmt(f),
            Self::Holding(error) => error.fmt(f),
            Self::Layer { path, fault } => write!(f, "{}: {fault}", shown(path.as_str())),
            Self::Chunk { path, fault } => write!(f, "{}: {fault}", shown(path.as_str())),
        }
    }
}

impl<E: fmt::Debug + fmt::Display> core::error::Error for ResponseError<E> {}
