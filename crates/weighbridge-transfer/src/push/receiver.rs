//! A receiver, as its sender sees it: the requests of `spec/push.md`, and what its answers mean.

use std::{ops::Range, time::Duration};

use ::http::{
    HeaderMap, HeaderName, HeaderValue, Method, Request, StatusCode,
    header::{AUTHORIZATION, CONTENT_RANGE},
};
use bytes::Bytes;
use http_body_util::Full;
use url::Url;
use weighbridge_manifest::{Coded as _, MAX_NOTE, Receipt, SignedReceipt, VerifiedHead, Vkey, shown};
use weighbridge_store::FOLDER;
use weighbridge_tree::{ErrorCode, Nonce};

use super::{
    PushError,
    messages::{PUSH_VERSION, PushMissing, PushState},
};
use crate::source::{
    Fault,
    http::{Client, answer::retry_after, beneath, read},
};

/// The address of a receiver, its key, and the token that it knows the sender by.
#[derive(Clone)]
pub(crate) struct Receiver {
    client: Client,
    base: Url,
    token: Option<HeaderValue>,
    vkey: Vkey,
}

/// The reason why a request was not answered as it should have been.
#[derive(Debug)]
pub(crate) enum Trouble {
    /// It may be another time.
    Again { why: String, after: Option<Duration> },
    /// The receiver does not know the upload: it was started anew, or has given it up.
    Forgotten,
    /// A chunk was refused.
    WrongChunk(String),
    /// It will not be.
    Ended(PushError),
}

impl Receiver {
    pub(crate) fn new(client: Client, base: Url, token: Option<HeaderValue>, vkey: Vkey) -> Self {
        Self { client, base, token, vkey }
    }

    async fn ask(
        &self,
        head: &VerifiedHead,
        (method, path): (Method, &[&str]),
        query: Option<&str>,
        (range, body): (Option<&str>, Bytes),
        limit: u64,
    ) -> Result<Vec<u8>, Trouble> {
        let (name, id) = (head.head().name.as_str(), head.id().to_string());
        let above = ["api", "push", "v1"].into_iter().chain(name.split('/')).chain([id.as_str()]);
        let mut url = beneath(&self.base, above.chain(path.iter().copied()));
        url.set_query(query);
        let mut request = Request::new(Full::new(body));
        *request.method_mut() = method;
        if let Some(token) = &self.token {
            request.headers_mut().insert(AUTHORIZATION, token.clone());
        }
        if let Some(range) = range.and_then(|range| HeaderValue::try_from(range).ok()) {
            request.headers_mut().insert(CONTENT_RANGE, range);
        }
        let asked = async {
            let response = self.client.send(request, url).await?;
            let (status, headers) = (response.status(), response.headers().clone());
            Ok::<_, Fault>((status, headers, read(response, limit).await?))
        };
        let answered = tokio::time::timeout(PATIENCE, asked).await;
        let unanswered = |why: String| Trouble::Again { why, after: None };
        let (status, headers, body) = match answered {
            Ok(Ok(answered)) => answered,
            Ok(Err(fault)) => return Err(unanswered(fault.to_string())),
            Err(_) => return Err(unanswered(format!("has not answered for {} s", PATIENCE.as_secs()))),
        };
        if status.is_success() {
            return Ok(body);
        }
        Err(refusal(status, &headers, &body))
    }

    /// Offers the release.
    pub(crate) async fn offer(&self, head: &VerifiedHead, note: Bytes) -> Result<PushState, Trouble> {
        let answer = self.ask(head, (Method::POST, &[]), None, (None, note), MAX_STATE).await;
        // Where there are no uploads at all, nothing is known of this one either.
        let answer = answer.map_err(|trouble| match trouble {
            Trouble::Forgotten => {
                let message = "it takes no models: is it `weighbridge serve --accept`?".to_owned();
                Trouble::Ended(PushError::Refused { code: None, message })
            }
            trouble => trouble,
        });
        state(&answer?)
    }

    pub(crate) async fn state(&self, head: &VerifiedHead) -> Result<PushState, Trouble> {
        state(&self.ask(head, (Method::GET, &[]), None, (None, Bytes::new()), MAX_STATE).await?)
    }

    pub(crate) async fn missing(&self, head: &VerifiedHead) -> Result<PushMissing, Trouble> {
        let answer = self.ask(head, (Method::GET, &["missing"]), None, (None, Bytes::new()), MAX_MISSING);
        serde_json::from_slice(&answer.await?).map_err(|error| malformed(&error))
    }

    /// Brings metadata: all of a list, or a range of the layers.
    pub(crate) async fn put_metadata(
        &self,
        head: &VerifiedHead,
        name: &str,
        range: Option<&str>,
        bytes: Bytes,
    ) -> Result<(), Trouble> {
        let path: &[&str] = &[FOLDER, name];
        self.ask(head, (Method::PUT, path), None, (range, bytes), MAX_WORDS).await.map(drop)
    }

    /// Brings chunks of a file.
    pub(crate) async fn put_chunks(
        &self,
        head: &VerifiedHead,
        path: &str,
        range: &Range<u64>,
        size: u64,
        bytes: Bytes,
    ) -> Result<(), Trouble> {
        let names: Vec<&str> = std::iter::once("files").chain(path.split('/')).collect();
        let range = content_range(range, size);
        self.ask(head, (Method::PUT, &names), None, (Some(&range), bytes), MAX_WORDS).await.map(drop)
    }

    /// Has the release take its place. Returns the receipt's note, which is checked: it is by the receiver's key, of this head, and
    /// answers the nonce.
    pub(crate) async fn publish(&self, head: &VerifiedHead, nonce: Nonce) -> Result<String, Trouble> {
        let query = format!("nonce={nonce}");
        let limit = u64::try_from(MAX_NOTE).unwrap_or(u64::MAX);
        let asked = (Method::POST, ["publish"].as_slice());
        let note = self.ask(head, asked, Some(&query), (None, Bytes::new()), limit).await?;
        check_receipt(&note, &self.vkey, head, nonce)
            .map_err(|error| Trouble::Ended(PushError::Receipt(error)))?;
        String::from_utf8(note).map_err(|error| malformed(&error))
    }
}

/// Why a receipt shows nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReceiptFault {
    /// The stable code of the reason.
    pub code: ErrorCode,
    /// The reason, as a sentence.
    pub message: String,
}

/// Checks that a receipt is signed by this key, of this head, and not older than the question.
///
/// # Errors
/// [`ReceiptFault`].
///
/// # Example
/// ```
/// use weighbridge_manifest::{Receipt, Time};
/// use weighbridge_publish::sign_receipt;
/// use weighbridge_transfer::check_receipt;
/// # use weighbridge_manifest::KeyName;
/// # use weighbridge_publish::SecretKey;
/// # use weighbridge_tree::Nonce;
/// # let sample = weighbridge_testkit::Sample::of(&[("model.bin", 40_000)], 1);
/// # let (head, node) = (sample.list.head(), SecretKey::generate(KeyName::parse("node")?)?);
/// # let (mine, old) = (Nonce::from_bytes([1; 32]), Nonce::from_bytes([2; 32]));
///
/// let receipt = Receipt {
///     name: head.head().name.clone(),
///     head: head.id(),
///     root: head.head().root,
///     node: node.vkey().clone(),
///     verified: Time::parse("2026-11-20T18:00:00Z")?,
///     nonce: Some(mine),
/// };
/// let note = sign_receipt(&receipt, &node)?;
/// check_receipt(note.as_bytes(), node.vkey(), head, mine)?;
/// assert_eq!(check_receipt(note.as_bytes(), node.vkey(), head, old).unwrap_err().code.get(), 3303);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub fn check_receipt(
    note: &[u8],
    receiver: &Vkey,
    head: &VerifiedHead,
    nonce: Nonce,
) -> Result<Receipt, ReceiptFault> {
    let fault = |code: ErrorCode, message: String| ReceiptFault { code, message };
    let signed = SignedReceipt::parse(note).map_err(|error| fault(error.error_code(), error.to_string()))?;
    let claim = signed.check().map_err(|error| fault(error.error_code(), error.to_string()))?;
    let receipt = claim.receipt();
    if receipt.node != *receiver {
        let message = format!(
            "the receipt is by {}, and not by the receiver's key",
            shown(receipt.node.name().as_str())
        );
        return Err(fault(ErrorCode::STATEMENT_NOT_SIGNED, message));
    }
    receipt.check_is_of(head).map_err(|error| fault(error.error_code(), error.to_string()))?;
    if receipt.nonce != Some(nonce) {
        let message =
            "the receipt has another nonce than the one that was sent: it may be an old one".to_owned();
        return Err(fault(ErrorCode::STATEMENT_NONCE, message));
    }
    Ok(receipt.clone())
}

impl std::fmt::Display for ReceiptFault {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for ReceiptFault {}

/// The value of `Content-Range`.
pub(crate) fn content_range(range: &Range<u64>, size: u64) -> String {
    format!("bytes {}/{size}", super::messages::push_range(range))
}

fn state(answer: &[u8]) -> Result<PushState, Trouble> {
    let state: PushState = serde_json::from_slice(answer).map_err(|error| malformed(&error))?;
    if state.version != PUSH_VERSION {
        let message =
            format!("it speaks version {} of the protocol, and this is {PUSH_VERSION}", state.version);
        return Err(Trouble::Ended(PushError::Refused { code: None, message }));
    }
    Ok(state)
}

fn malformed(error: &dyn std::fmt::Display) -> Trouble {
    let message = format!("its answer is none of this protocol: {}", shown(&error.to_string()));
    Trouble::Ended(PushError::Refused { code: None, message })
}

/// The meaning of an answer that is no success.
fn refusal(status: StatusCode, headers: &HeaderMap, body: &[u8]) -> Trouble {
    let code = headers.get(CODE).and_then(|code| code.to_str().ok()?.parse::<u16>().ok());
    let words = String::from_utf8_lossy(body.get(..body.len().min(MOST_SHOWN)).unwrap_or_default());
    let words = words.lines().next().unwrap_or_default();
    let message = match words {
        "" => format!("answers {status}"),
        words => format!("answers {}: {}", status.as_u16(), shown(words)),
    };
    match status.as_u16() {
        404 => Trouble::Forgotten,
        422 if code == Some(ErrorCode::CHUNK_MISMATCH.get()) => Trouble::WrongChunk(message),
        // A disk may get room again, but hardly soon.
        507 => Trouble::Ended(PushError::Refused { code, message }),
        408 | 429 | 500..=599 => Trouble::Again { why: message, after: retry_after(headers) },
        _ => Trouble::Ended(PushError::Refused { code, message }),
    }
}

const CODE: HeaderName = HeaderName::from_static("weighbridge-code");

/// The time for which an answer is waited for.
const PATIENCE: Duration = Duration::from_secs(120);

/// The longest answers: a state, ranges of what is missing, words.
const MAX_STATE: u64 = 64 << 10;
const MAX_MISSING: u64 = 16 << 20;
const MAX_WORDS: u64 = 16 << 10;

/// The bytes of an answer that a person is shown.
const MOST_SHOWN: usize = 400;
