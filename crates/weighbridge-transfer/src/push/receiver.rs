//! A receiver, as its sender sees it: the requests of `spec/push.md`, and what its answers mean.

use std::{ops::Range, time::Duration};

use ::http::{
    HeaderMap, HeaderName, HeaderValue, Method, Request, StatusCode,
    header::{AUTHORIZATION, CONTENT_RANGE, CONTENT_TYPE},
};
use bytes::Bytes;
use url::Url;
use weighbridge_manifest::{Coded as _, MAX_NOTE, Receipt, SignedReceipt, VerifiedHead, Vkey, shown};
use weighbridge_store::FOLDER;
use weighbridge_tree::{ErrorCode, Nonce};

use super::{
    PushError,
    board::Trouble,
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

impl Receiver {
    pub(crate) fn new(client: Client, base: Url, token: Option<HeaderValue>, vkey: Vkey) -> Self {
        Self { client, base, token, vkey }
    }

    /// The bytes per second that may be sent now to all targets together; `None` if there is no limit.
    pub(crate) fn rate(&self) -> Option<u64> {
        self.client.rate()
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
        // A slow line takes its time.
        let length = u64::try_from(body.len()).unwrap_or(u64::MAX);
        let time = match path {
            ["publish"] => PUBLISHING,
            _ => {
                let slowest = Duration::from_secs(length / LEAST_RATE);
                PATIENCE.saturating_add(slowest).saturating_add(self.client.waits())
            }
        };
        let mut request = Request::new(body);
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
        let (status, headers, body) = match tokio::time::timeout(time, asked).await {
            Ok(Ok(answered)) => answered,
            Ok(Err(fault)) => return Err(Trouble::unanswered(fault.to_string())),
            Err(_) => {
                return Err(Trouble::unanswered(format!("has not answered for {} s", time.as_secs())));
            }
        };
        if status.is_success() {
            return Ok(body);
        }
        Err(refusal(status, &headers, &body))
    }

    /// Offers the release.
    pub(crate) async fn offer(&self, head: &VerifiedHead, note: Bytes) -> Result<PushState, Trouble> {
        let answer = self.ask(head, (Method::POST, &[]), None, (None, note), MAX_STATE).await;
        // A server without uploads knows nothing of this one either.
        let answer = answer.map_err(|trouble| match trouble {
            Trouble::Forgotten => {
                let message = "takes no models: is it `weighbridge serve --accept`?".to_owned();
                Trouble::Ended(PushError::Refused { code: None, message })
            }
            trouble => trouble,
        });
        let state = state(&answer?)?;
        // Before anything is sent for nothing. The receipt alone shows whose key it is.
        if !state.receiver.is_empty() && state.receiver != self.vkey.to_string() {
            let message = format!("says that its key is {}, and not {}", shown(&state.receiver), self.vkey);
            return Err(Trouble::Ended(PushError::Refused { code: None, message }));
        }
        Ok(state)
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
        let note = self.ask(head, asked, Some(&query), (None, Bytes::new()), limit).await;
        // It was opened again, and looks for what it has.
        let note = note.map_err(|trouble| match trouble {
            Trouble::Ended(PushError::Refused { code: None, message })
                if message.starts_with("answers 409") =>
            {
                Trouble::Again { why: message, after: None, has_answered: true }
            }
            trouble => trouble,
        })?;
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
/// assert_eq!(check_receipt(note.as_bytes(), node.vkey(), head, old).unwrap_err().code.get(), 3305);
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
        let message = format!("the receipt is by {}, and the receiver's key is {receiver}", receipt.node);
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
        let message = format!("speaks version {} of the protocol, and this is {PUSH_VERSION}", state.version);
        return Err(Trouble::Ended(PushError::Refused { code: None, message }));
    }
    Ok(state)
}

fn malformed(error: &dyn std::fmt::Display) -> Trouble {
    let message = format!("gives an answer that is none of this protocol: {}", shown(&error.to_string()));
    Trouble::Ended(PushError::Refused { code: None, message })
}

/// The meaning of an answer that is no success.
fn refusal(status: StatusCode, headers: &HeaderMap, body: &[u8]) -> Trouble {
    let code = headers.get(CODE).and_then(|code| code.to_str().ok()?.parse::<u16>().ok());
    let words = String::from_utf8_lossy(body.get(..body.len().min(MOST_SHOWN)).unwrap_or_default());
    let words = words.lines().next().unwrap_or_default();
    // A page for people says less than the phrase of the status.
    let is_text = headers.get(CONTENT_TYPE).is_some_and(|kind| kind.as_bytes().starts_with(b"text/plain"));
    let message = match if is_text { words } else { "" } {
        "" => format!("answers {status}"),
        words => format!("answers {}: {}", status.as_u16(), shown(words)),
    };
    match status.as_u16() {
        404 => Trouble::Forgotten,
        // A disk may get room again, but hardly soon.
        507 => Trouble::Ended(PushError::Refused { code, message }),
        408 | 429 | 500..=599 => {
            Trouble::Again { why: message, after: retry_after(headers), has_answered: true }
        }
        _ => Trouble::Ended(PushError::Refused { code, message }),
    }
}

const CODE: HeaderName = HeaderName::from_static("weighbridge-code");

/// The time for which an answer is waited for, beside that in which a body is sent at the least rate.
const PATIENCE: Duration = Duration::from_secs(120);

/// The bytes per second that a line takes at least.
const LEAST_RATE: u64 = 4 << 10;

/// The time for which a receiver may publish; its state shows that it does.
const PUBLISHING: Duration = Duration::from_secs(6 * 3600);

/// The longest answers: a state, ranges of what is missing, words.
const MAX_STATE: u64 = 64 << 10;
const MAX_MISSING: u64 = 16 << 20;
const MAX_WORDS: u64 = 16 << 10;

/// The bytes of an answer that a person is shown.
const MOST_SHOWN: usize = 400;

#[cfg(test)]
mod tests {
    use weighbridge_manifest::{KeyName, Time};
    use weighbridge_publish::{SecretKey, sign_receipt};
    use weighbridge_testkit::Sample;
    use weighbridge_tree::ModelRoot;

    use super::*;

    #[test]
    fn a_receipt_is_by_the_key_that_was_known_of_this_head_and_for_this_question() {
        let [node, other] = [1, 2].map(|_| SecretKey::generate(KeyName::parse("node").unwrap()).unwrap());
        let sample = Sample::of(&[("a", 40_000)], 1);
        let head = sample.list.head();
        let nonce = Nonce::from_bytes([7; 32]);
        let receipt = |by: &SecretKey| Receipt {
            name: head.head().name.clone(),
            head: head.id(),
            root: head.head().root,
            node: by.vkey().clone(),
            verified: Time::parse("2026-11-20T18:00:00Z").unwrap(),
            nonce: Some(nonce),
        };
        let code = |note: &str| {
            let checked = check_receipt(note.as_bytes(), node.vkey(), head, nonce);
            checked.map_or_else(|fault| fault.code.get(), |_| 0)
        };
        let good = sign_receipt(&receipt(&node), &node).unwrap();
        assert_eq!(code(&good), 0);
        let signed = |receipt: &Receipt, by| sign_receipt(receipt, by).unwrap();
        assert_eq!(code(&signed(&receipt(&other), &other)), 3301, "another key, of the same name");
        for (changed, expected) in [
            (Receipt { nonce: None, ..receipt(&node) }, 3305),
            (Receipt { nonce: Some(Nonce::from_bytes([8; 32])), ..receipt(&node) }, 3305),
            (Receipt { root: ModelRoot::from_bytes([9; 32]), ..receipt(&node) }, 3302),
            (Receipt { head: Sample::of(&[("a", 5)], 2).id, ..receipt(&node) }, 3302),
        ] {
            assert_eq!(code(&signed(&changed, &node)), expected);
        }
        let mut flipped = good.clone().into_bytes();
        flipped[30] ^= 1;
        assert!(check_receipt(&flipped, node.vkey(), head, nonce).is_err());
        assert!(check_receipt(b"{}", node.vkey(), head, nonce).is_err());
    }
}
