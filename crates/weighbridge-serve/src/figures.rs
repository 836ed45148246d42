//! What a server counts, and what it says of each answer in its log.

use std::{
    collections::BTreeMap,
    fmt::Write as _,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};

use http::StatusCode;
use tracing::{error, info};
use weighbridge_bandwidth::{Paced, Share};
use weighbridge_store::ViewError;
use weighbridge_tree::Coded as _;

use crate::{
    admission::Admitted,
    claims::{ClaimFigures, Claimed},
    room::lock,
    route::ServedName,
    seat::Seat,
};

/// The figures of a server. None has a label that grows with clients; those of models are bounded.
#[derive(Debug)]
pub(crate) struct Figures {
    began: Instant,
    /// By route and status; no status, if the client left before there was one.
    requests: Mutex<BTreeMap<(&'static str, Option<u16>), u64>>,
    sent: AtomicU64,
    received: AtomicU64,
    received_verified: AtomicU64,
    chunks_refused: AtomicU64,
    /// When a verified byte was sent last, in milliseconds since the server began.
    verified_at: AtomicU64,
}

/// Figures that others count.
pub(crate) struct Gauges {
    pub(crate) models: usize,
    pub(crate) connections: usize,
    pub(crate) lookups: u64,
    pub(crate) uploads: usize,
    /// By model: the bytes of files that were given for the first time, and those that were given again.
    pub(crate) given: Vec<(String, u64, u64)>,
    /// By model: the bytes that members of swarms have claimed; `None` if no claims are looked at.
    pub(crate) claims: Option<Vec<(String, ClaimFigures)>>,
}

impl Figures {
    pub(crate) fn new() -> Self {
        Self {
            began: Instant::now(),
            requests: Mutex::default(),
            sent: AtomicU64::new(0),
            received: AtomicU64::new(0),
            received_verified: AtomicU64::new(0),
            chunks_refused: AtomicU64::new(0),
            verified_at: AtomicU64::new(0),
        }
    }

    fn note_verified(&self) {
        let now = u64::try_from(self.began.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.verified_at.store(now, Relaxed);
    }

    /// The figures in the text format of Prometheus, version 0.0.4.
    pub(crate) fn text(&self, gauges: &Gauges) -> String {
        let mut text = String::new();
        let mut one = |name: &str, kind: &str, help: &str, samples: &[(String, u64)]| {
            // Writing to a string does not fail.
            let _ = writeln!(text, "# HELP {name} {help}\n# TYPE {name} {kind}");
            for (labels, value) in samples {
                let _ = writeln!(text, "{name}{labels} {value}");
            }
        };
        let plain = |value| [(String::new(), value)];
        let verified = Duration::from_millis(self.verified_at.load(Relaxed));
        one(
            "weighbridge_bytes_total",
            "counter",
            "Bytes of models, by direction and by what is known of them.",
            &[
                ("{direction=\"sent\",state=\"verified\"}".to_owned(), self.sent.load(Relaxed)),
                ("{direction=\"received\",state=\"any\"}".to_owned(), self.received.load(Relaxed)),
                (
                    "{direction=\"received\",state=\"verified\"}".to_owned(),
                    self.received_verified.load(Relaxed),
                ),
            ],
        );
        one(
            "weighbridge_chunks_refused_total",
            "counter",
            "Chunks that were not the signed ones, and were neither sent nor taken.",
            &plain(self.chunks_refused.load(Relaxed)),
        );
        one(
            "weighbridge_seconds_since_verified",
            "gauge",
            "Seconds since a verified byte was sent or taken, or since the start.",
            &plain(self.began.elapsed().saturating_sub(verified).as_secs()),
        );
        let requests = lock(&self.requests);
        let requests: Vec<_> = requests
            .iter()
            .map(|((route, status), count)| {
                let status = status.map_or_else(|| "left".to_owned(), |status| status.to_string());
                (format!("{{route=\"{route}\",status=\"{status}\"}}"), *count)
            })
            .collect();
        one("weighbridge_requests_total", "counter", "Requests that were answered.", &requests);
        one(
            "weighbridge_lookups_total",
            "counter",
            "Names that were looked up among the models.",
            &plain(gauges.lookups),
        );
        let number = |value: usize| plain(u64::try_from(value).unwrap_or(u64::MAX));
        let given = gauges.given.iter().flat_map(|(model, first, again)| {
            let of = |given: &str| format!("{{model=\"{model}\",given=\"{given}\"}}");
            [(of("first"), *first), (of("again"), *again)]
        });
        one(
            "weighbridge_model_bytes_total",
            "counter",
            "Bytes of files, by model, and by whether they were given before since the release was opened.",
            &given.collect::<Vec<_>>(),
        );
        if let Some(claims) = &gauges.claims {
            let claimed = claims.iter().flat_map(|(model, figures)| {
                let of = |given: &str| format!("{{model=\"{model}\",given=\"{given}\"}}");
                [
                    (of("once"), figures.once),
                    (of("same_member"), figures.same_member),
                    (of("after_lease"), figures.after_lease),
                ]
            });
            one(
                "weighbridge_swarm_claimed_bytes_total",
                "counter",
                "Bytes of pieces that members of swarms were given, by whom they were given to before.",
                &claimed.collect::<Vec<_>>(),
            );
            let held_back =
                claims.iter().map(|(model, figures)| (format!("{{model=\"{model}\"}}"), figures.held_back));
            one(
                "weighbridge_swarm_held_back_total",
                "counter",
                "Requests for pieces that another member was given at that time.",
                &held_back.collect::<Vec<_>>(),
            );
        }
        one("weighbridge_models", "gauge", "Models that are served.", &number(gauges.models));
        one("weighbridge_connections", "gauge", "Open connections.", &number(gauges.connections));
        one("weighbridge_uploads", "gauge", "Uploads that have not ended.", &number(gauges.uploads));
        text
    }
}

/// A request that is being answered. It is counted and written to the log when its answer has ended.
#[derive(Debug)]
pub(crate) struct Record {
    figures: Arc<Figures>,
    seat: Arc<Seat>,
    began: Instant,
    method: http::Method,
    pub(crate) route: &'static str,
    pub(crate) model: Option<ServedName>,
    /// The address of the client, for the log alone.
    from: String,
    /// The name of the client, if it has one.
    pub(crate) client: Option<Arc<str>>,
    /// `None` until there is an answer.
    pub(crate) status: Option<StatusCode>,
    /// The share of what the server may send that its body waits for.
    pub(crate) share: Share,
    /// The place of an answer that is counted.
    pub(crate) admitted: Option<Admitted>,
    /// The bytes of the body that nobody has asked for yet.
    pub(crate) left: u64,
    sent: u64,
    is_of_model: bool,
    /// The claim of the member that is given the body.
    pub(crate) claimed: Option<Claimed>,
}

impl Record {
    pub(crate) fn begin(
        figures: Arc<Figures>,
        seat: Arc<Seat>,
        method: http::Method,
        from: String,
        share: Share,
    ) -> Self {
        seat.begin_request();
        Self {
            figures,
            seat,
            began: Instant::now(),
            method,
            route: "other",
            model: None,
            from,
            client: None,
            status: None,
            share,
            admitted: None,
            left: 0,
            sent: 0,
            is_of_model: false,
            claimed: None,
        }
    }

    /// Bytes that are sent from now on are those of a model.
    pub(crate) fn is_of_model(&mut self) {
        self.is_of_model = true;
    }

    /// The turns that the body waits for. What is not of a model goes at once: who asks whether the server runs is not to wait for others.
    pub(crate) fn paced(&self) -> Option<Paced> {
        self.is_of_model.then(|| Paced::new(self.share.clone()))
    }

    pub(crate) fn send(&mut self, bytes: u64) {
        self.sent = self.sent.saturating_add(bytes);
        self.left = self.left.saturating_sub(bytes);
        if let Some(admitted) = &self.admitted {
            admitted.send(bytes);
        }
        if self.is_of_model {
            self.figures.sent.fetch_add(bytes, Relaxed);
            self.figures.note_verified();
        }
    }

    /// Bytes of chunks have come.
    #[cfg(feature = "accept")]
    pub(crate) fn receive(&self, bytes: u64) {
        self.figures.received.fetch_add(bytes, Relaxed);
    }

    /// Bytes that have come are verified, and were not there before.
    #[cfg(feature = "accept")]
    pub(crate) fn verify(&self, bytes: u64) {
        if bytes > 0 {
            self.figures.received_verified.fetch_add(bytes, Relaxed);
            self.figures.note_verified();
        }
    }

    /// A chunk that has come is not the signed one.
    #[cfg(feature = "accept")]
    pub(crate) fn refuse_received(&self) {
        self.figures.chunks_refused.fetch_add(1, Relaxed);
        let model = self.model.as_ref().map(ServedName::as_str);
        error!(target: "weighbridge", model, client = self.client.as_deref(), "a chunk was brought that is not the signed one");
    }

    /// A chunk cannot be sent.
    pub(crate) fn refuse(&self, fault: &ViewError) {
        if matches!(fault, ViewError::Chunk { .. }) {
            self.figures.chunks_refused.fetch_add(1, Relaxed);
        }
        let model = self.model.as_ref().map(ServedName::as_str);
        error!(target: "weighbridge", model, code = fault.error_code().get(), "not sent: {fault}");
    }
}

impl Drop for Record {
    fn drop(&mut self) {
        self.seat.end_request();
        if let Some(claimed) = self.claimed.take() {
            claimed.end(self.sent, self.left == 0);
        }
        let status = self.status.map(|status| status.as_u16());
        let mut requests = lock(&self.figures.requests);
        let count = requests.entry((self.route, status)).or_default();
        *count = count.saturating_add(1);
        drop(requests);
        info!(
            target: "weighbridge::request",
            method = %self.method,
            route = self.route,
            model = self.model.as_ref().map(ServedName::as_str),
            status,
            bytes = self.sent,
            microseconds = u64::try_from(self.began.elapsed().as_micros()).unwrap_or(u64::MAX),
            from = self.from,
            client = self.client.as_deref(),
            whole = self.status.is_some() && self.left == 0,
        );
    }
}
