//! Answers to the challenges of auditors (`spec/audits.md`), for those that the server was told of, within a budget.

use std::{
    collections::HashMap,
    fmt,
    sync::{Arc, Mutex},
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use http::{HeaderValue, StatusCode, header};
use http_body_util::{BodyExt as _, LengthLimitError, Limited};
use tokio::{sync::Semaphore, time};
use weighbridge_manifest::{Signature, SignedChallenge, Time, UnverifiedChallenge, Vkey};
use weighbridge_store::ViewError;
use weighbridge_tree::{ChallengeHash, Coded as _, Grid, HeadId, Layer, ResponseHash};
use weighbridge_verify::{Holding, PageBuffer, ResponseError, UnsignedResponse};

use crate::{
    desk::Desk,
    models::Models,
    refusal::{Refusal, failed, unreadable},
    release::Release,
    reply::{Answer, Sent, text},
    room::lock,
    seat::Seat,
};

/// Makes the node's signature over an answer, from the hashes of the challenge and of the response.
type SignResponse = dyn Fn(&ChallengeHash, &ResponseHash) -> Signature + Send + Sync;

/// The audits that a server answers.
///
/// # Cost
/// One answer is made at a time. Each auditor has 4,096 samples, and as many more each minute; a sample reads one chunk.
#[derive(Clone)]
pub struct Audits {
    node: Vkey,
    sign: Arc<SignResponse>,
    auditors: Arc<[Auditor]>,
    /// One answer at a time: each reads up to 4,096 chunks.
    turn: Arc<Semaphore>,
}

struct Auditor {
    vkey: Vkey,
    budget: Mutex<Budget>,
    /// The challenges that were answered, until their deadlines.
    answered: Mutex<HashMap<ChallengeHash, Time>>,
}

/// A challenge of an auditor that the server was told of.
pub(crate) struct Asked {
    claims: UnverifiedChallenge,
    auditor: usize,
}

impl Asked {
    /// The head that the challenge is about.
    pub(crate) fn head(&self) -> HeadId {
        self.claims.challenge().head
    }
}

/// The samples that an auditor may still ask for.
struct Budget {
    left: u64,
    at: Instant,
}

/// The samples of an auditor that has asked for none in the last minute: those of the largest challenge.
const MOST: u64 = 4_096;
/// The time in which they come back.
const PERIOD: Duration = Duration::from_secs(60);

impl Audits {
    /// Answers by the key of `node`, which `sign` signs with, to challenges that are signed by one of `auditors`.
    pub fn new(
        node: Vkey,
        sign: impl Fn(&ChallengeHash, &ResponseHash) -> Signature + Send + Sync + 'static,
        auditors: impl IntoIterator<Item = Vkey>,
    ) -> Self {
        let budget = || Mutex::new(Budget { left: MOST, at: Instant::now() });
        let auditor = |vkey| Auditor { vkey, budget: budget(), answered: Mutex::default() };
        let auditors = auditors.into_iter().map(auditor).collect();
        Self { node, sign: Arc::new(sign), auditors, turn: Arc::new(Semaphore::new(1)) }
    }

    /// Reads a challenge, if one of the auditors has signed it.
    pub(crate) fn read(&self, note: &[u8]) -> Result<Asked, Refusal> {
        let bad = |message: String| Refusal::new(StatusCode::BAD_REQUEST, message);
        let challenge = SignedChallenge::parse(note)
            .map_err(|error| bad(format!("{error} [W{}]", error.error_code())))?;
        let signed = self.auditors.iter().position(|auditor| challenge.verify(&auditor.vkey).is_ok());
        let auditor = signed.ok_or_else(|| {
            Refusal::new(
                StatusCode::FORBIDDEN,
                "the challenge is not signed by an auditor that this node answers",
            )
        })?;
        let claims = challenge.claims().map_err(|error| bad(format!("{error} [W{}]", error.error_code())))?;
        Ok(Asked { claims, auditor })
    }

    /// Answers a challenge from a release.
    pub(crate) async fn respond(
        &self,
        asked: Asked,
        models: Arc<Models>,
        release: Arc<Release>,
        desk: &Desk,
        seat: &Arc<Seat>,
    ) -> Result<Answer, Refusal> {
        self.charge(&asked, &release)?;
        let turn = Arc::clone(&self.turn).acquire_owned().await.map_err(|_| failed())?;
        let audits = self.clone();
        let (hash, auditor) = (asked.claims.hash(), asked.auditor);
        let memory = asked.claims.challenge().samples.saturating_mul(SAMPLE).saturating_add(SAMPLE);
        let make = move || {
            let _turn = turn;
            let response = audits.make(&asked.claims, &models, &release)?;
            let mut answer = text("application/octet-stream", String::new());
            answer.headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
            answer.content = Sent::Whole(response.into());
            Ok(answer)
        };
        let answer = desk.write(memory, seat, make).await;
        if answer.is_err() {
            // It may be asked again, once the node can answer it.
            let auditor = self.auditors.get(auditor);
            auditor.iter().for_each(|auditor| _ = lock(&auditor.answered).remove(&hash));
        }
        answer
    }

    /// Takes the samples of a challenge from the budget of its auditor. Challenges are no secret: one that is not to be answered
    /// costs nothing, nor does one that was answered before, whoever sends it.
    fn charge(&self, asked: &Asked, release: &Release) -> Result<(), Refusal> {
        let challenge = asked.claims.challenge();
        let is_late = now().is_some_and(|now| challenge.deadline < now);
        let is_ours = challenge.prover.public_key() == self.node.public_key();
        if challenge.head != release.id || !is_ours || is_late {
            // The reason is told where the answer would be made.
            return Ok(());
        }
        let auditor = self.auditors.get(asked.auditor).ok_or_else(failed)?;
        let mut answered = lock(&auditor.answered);
        answered.retain(|_, deadline| now().is_none_or(|now| *deadline >= now));
        if answered.contains_key(&asked.claims.hash()) {
            return Err(Refusal::new(
                StatusCode::CONFLICT,
                "this challenge was answered before; a new one is needed",
            ));
        }
        let wait = match answered.len() < MOST_ANSWERED {
            true => lock(&auditor.budget).take(challenge.samples, Instant::now()),
            false => Some(PERIOD),
        };
        if let Some(wait) = wait {
            let refusal = Refusal::new(
                StatusCode::TOO_MANY_REQUESTS,
                "this auditor has asked for enough samples for now",
            );
            return Err(refusal.with(header::RETRY_AFTER, &wait.as_secs().saturating_add(1).to_string()));
        }
        answered.insert(asked.claims.hash(), challenge.deadline);
        Ok(())
    }

    fn make(
        &self,
        claims: &UnverifiedChallenge,
        models: &Models,
        release: &Release,
    ) -> Result<Vec<u8>, Refusal> {
        let holding = Held { models, release };
        let response = UnsignedResponse::make(claims, &self.node, release.files(), &holding, now());
        let response = response.map_err(|error| match error {
            ResponseError::Holding(fault) => unreadable(fault),
            ResponseError::Refused(error) => {
                Refusal::new(StatusCode::BAD_REQUEST, format!("{error} [W{}]", error.error_code()))
            }
            // The view has judged layers and chunks before.
            _ => failed(),
        })?;
        let signature = (self.sign)(&claims.hash(), &response.hash());
        response.sign(&signature).map_err(|_| failed())
    }
}

/// The challenges of an auditor that are remembered. Those with deadlines that are far away use them up.
const MOST_ANSWERED: usize = 4_096;

/// The memory for a sample of an answer, with the path to it.
const SAMPLE: u64 = 4 << 10;

impl Budget {
    /// Takes samples, or says how long it takes until there are as many.
    fn take(&mut self, samples: u64, now: Instant) -> Option<Duration> {
        let passed = u64::try_from(now.saturating_duration_since(self.at).as_millis()).unwrap_or(u64::MAX);
        let period = u64::try_from(PERIOD.as_millis()).unwrap_or(u64::MAX).max(1);
        let back = passed.saturating_mul(MOST).checked_div(period).unwrap_or(0);
        if back > 0 {
            (self.left, self.at) = (self.left.saturating_add(back).min(MOST), now);
        }
        match self.left.checked_sub(samples) {
            Some(left) => {
                self.left = left;
                None
            }
            None => {
                let lacking = samples.saturating_sub(self.left).min(MOST);
                Some(Duration::from_millis(lacking.saturating_mul(period).checked_div(MOST).unwrap_or(0)))
            }
        }
    }
}

/// A release as what answers are made from. Each chunk is judged before it is given.
struct Held<'a> {
    models: &'a Models,
    release: &'a Release,
}

impl Holding for Held<'_> {
    type Error = ViewError;

    fn layer(&self, position: usize) -> Result<Layer, ViewError> {
        self.models.layer(self.release, position)
    }

    fn read_chunk(&self, position: usize, index: u64, bytes: &mut Vec<u8>) -> Result<(), ViewError> {
        let no_such = || ViewError::PastEnd { path: String::new(), range: index..index, size: 0 };
        let entry = self.release.files().entries().get(position).ok_or_else(no_such)?;
        let grid = Grid::new(entry.size, self.release.files().chunk_size()).map_err(|_| no_such())?;
        let range = grid.range(index).ok_or_else(no_such)?;
        let mut chunk =
            PageBuffer::zeroed(usize::try_from(range.end.saturating_sub(range.start)).unwrap_or(0));
        self.models.fill(self.release, position, range.start, &mut chunk)?;
        bytes.clear();
        bytes.extend_from_slice(&chunk);
        Ok(())
    }
}

/// Reads the body of a request: the note of a challenge.
pub(crate) async fn note<B>(body: B) -> Result<Vec<u8>, Refusal>
where
    B: http_body::Body,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    let body = std::pin::pin!(body);
    match time::timeout(BODY_TIME, Limited::new(body, LONGEST).collect()).await {
        Ok(Ok(note)) => Ok(note.to_bytes().to_vec()),
        Ok(Err(error)) if error.is::<LengthLimitError>() => {
            Err(Refusal::new(StatusCode::PAYLOAD_TOO_LARGE, "no challenge is as long").closing())
        }
        Ok(Err(_)) => Err(Refusal::new(StatusCode::BAD_REQUEST, "the request ended early").closing()),
        Err(_) => Err(Refusal::new(StatusCode::REQUEST_TIMEOUT, "the request took too long").closing()),
    }
}

/// The length of a challenge, with more signatures than it needs.
const LONGEST: usize = 32 << 10;

/// The time in which a challenge has to come.
const BODY_TIME: Duration = Duration::from_secs(10);

/// The time, if the clock tells one.
fn now() -> Option<Time> {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).ok()?;
    Time::from_unix(i64::try_from(since.as_secs()).ok()?)
}

impl fmt::Debug for Audits {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Audits for {} auditors", self.auditors.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn samples_come_back_with_the_time() {
        let start = Instant::now();
        let mut budget = Budget { left: MOST, at: start };
        assert_eq!(budget.take(MOST, start), None);
        assert_eq!(budget.take(1, start), Some(Duration::from_millis(14)));
        let later = start.checked_add(PERIOD / 4).unwrap_or(start);
        assert_eq!(budget.take(MOST / 4, later), None);
        assert_eq!(budget.take(MOST, later), Some(PERIOD));
        let much_later = start.checked_add(PERIOD * 100).unwrap_or(start);
        assert_eq!(budget.take(MOST, much_later), None);
        assert!(budget.take(1, much_later).is_some());
    }
}
