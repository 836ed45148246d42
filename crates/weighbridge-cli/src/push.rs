//! `push`: a model to receivers.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex, OnceLock, PoisonError,
        atomic::{AtomicBool, Ordering::SeqCst},
    },
};

use tokio::runtime::Runtime;
use weighbridge_bandwidth::{Class, Peer};
use weighbridge_manifest::{Vkey, shown};
use weighbridge_store::{IoError, read_bounded, shown_path};
use weighbridge_transfer::{
    PUSH_PATIENCE, PushError, PushEvent, PushOptions, PushReason, PushTarget, PushTargets, Stop, push,
};
use weighbridge_tree::{Coded as _, ErrorCode};

use crate::{
    args::Push,
    bandwidth, events,
    failure::Failure,
    output::{Output, count, size},
    place::NewFile,
    push_view::View,
    signals::{self, Signal},
    trust,
};

pub(crate) fn run(args: &Push, output: &Output, stop: &Stop) -> Result<(), Failure> {
    let targets = targets(args, output)?;
    if let Some(folder) = &args.receipts {
        fs::create_dir_all(folder).map_err(IoError::at("create", folder))?;
    }
    let names: Vec<String> = targets.iter().map(|target| target.name().to_owned()).collect();
    let runtime = Runtime::new().map_err(|error| {
        Failure::new(ErrorCode::IO, format!("cannot start the threads of a push: {error}"))
    })?;
    let ending = Arc::new(Ending::default());
    if !output.is_embedded() {
        let (ending, is_asked) = (Arc::clone(&ending), Arc::new(AtomicBool::new(false)));
        // If this fails, a signal ends the push like any process. What the targets have they keep.
        let _ = signals::listen(&runtime, move |signal| {
            if is_asked.swap(true, SeqCst) {
                #[allow(clippy::exit, reason = "the second signal asks for this")]
                std::process::exit(signal.status().into());
            }
            *ending.signal.lock().unwrap_or_else(PoisonError::into_inner) = Some(signal);
            ending.stop.ask();
        });
    }
    let watcher = Watcher {
        output,
        names: &names,
        receipts: args.receipts.as_deref(),
        view: Mutex::new(View::new(output, &names)),
        head: OnceLock::new(),
        failures: Mutex::default(),
    };
    let options = PushOptions { model: args.model.clone(), targets, patience: PUSH_PATIENCE };
    let tell = |event: PushEvent| watcher.tell(&event);
    let ended = runtime.block_on(async {
        tokio::select! {
            ended = push(options, &tell, &ending.stop) => ended,
            () = forward(stop, &ending.stop) => Err(PushError::Bug),
        }
    });
    // Reads of a file system that does not answer are not waited for.
    runtime.shutdown_background();
    let Failures { unpushed, unwritten } = watcher.end();
    let done = ended?;
    output.result("", || events::push::Result { pushed: done == names.len(), done, targets: names.len() });
    let signal = *ending.signal.lock().unwrap_or_else(PoisonError::into_inner);
    // A refusal says more than a failure to ask.
    let mut worst: Vec<_> = unpushed.into_values().collect();
    worst.sort_by_key(|failure| !failure.code.is_refusal());
    let Some(mut failure) = worst.into_iter().next() else {
        return unwritten.map_or(Ok(()), Err);
    };
    failure.signal = signal.filter(|_| failure.code == ErrorCode::PUSH_STOPPED);
    if names.len() > 1 {
        let lacking = names.len().saturating_sub(done);
        failure.message =
            format!("{lacking} of {} do not have the model", count(names.len() as u64, "target"));
        failure.hints.clear();
    }
    Err(failure)
}

/// The end that a signal, or the caller, asks for.
#[derive(Default)]
struct Ending {
    stop: Stop,
    signal: Mutex<Option<Signal>>,
}

/// Hands the caller's wish on, and never ends.
async fn forward(from: &Stop, to: &Stop) {
    from.asked().await;
    to.ask();
    std::future::pending::<()>().await;
}

fn targets(args: &Push, output: &Output) -> Result<Vec<PushTarget>, Failure> {
    let send = bandwidth::budget(args.limit_rate.clone()).share(Class::Rest, Peer::unique());
    let factory = PushTargets::new(send);
    let receiver = args.receiver.as_deref().map(trust::vkey).transpose()?;
    let tokens = tokens(args)?;
    let target = |text: &String| {
        let (address, key) = text.split_once('#').map_or((text.as_str(), None), |(a, key)| (a, Some(key)));
        let named = |error: String| Failure::usage(format!("{}: {error}", shown(without_secrets(address))));
        if is_bucket(address) {
            return factory.bucket(address).map_err(named);
        }
        let key: Option<Vkey> = key.map(Vkey::parse).transpose()?.or_else(|| receiver.clone());
        let key = key.ok_or_else(|| {
            named("the key of the receiver was not said".to_owned()).hint(
                "name it by --receiver VKEY, or as TARGET#VKEY: what a server says of itself shows nothing, and the receipt is \
                 signed by this key",
            )
        })?;
        let token = tokens.get(text.as_str()).map(String::as_str);
        if token.is_some() && is_open(address) {
            output.talk(&format!(
                "the token goes to {} unencrypted: whoever is on the way can read it",
                shown(without_secrets(address))
            ));
        }
        factory.receiver(address, key, token).map_err(named)
    };
    args.targets.iter().map(target).collect()
}

/// Whether what is sent to an address leaves the machine without TLS.
fn is_open(address: &str) -> bool {
    let Some(rest) = address.strip_prefix("http://") else { return false };
    let host = without_secrets(rest).split('/').next().unwrap_or_default();
    let host = host.rsplit_once(':').map_or(host, |(host, _)| host);
    let is_local = host == "localhost"
        || host.trim_matches(['[', ']']).parse::<std::net::IpAddr>().is_ok_and(|ip| ip.is_loopback());
    !is_local
}

fn is_bucket(address: &str) -> bool {
    let scheme = address.split_once("://").map(|(scheme, _)| scheme.to_ascii_lowercase());
    scheme.is_some_and(|scheme| matches!(scheme.as_str(), "s3" | "s3a" | "gs" | "az" | "abfs" | "abfss"))
}

/// An address for messages: user, password and query are left out.
fn without_secrets(address: &str) -> &str {
    let address = address.split_once('?').map_or(address, |(address, _)| address);
    address.rsplit_once('@').map_or(address, |(_, host)| host)
}

/// The tokens by target, as it is named on the command line.
fn tokens(args: &Push) -> Result<BTreeMap<&str, String>, Failure> {
    let mut tokens = BTreeMap::new();
    for pair in args.token.chunks_exact(2) {
        let [target, file] = pair else { continue };
        if !args.targets.contains(target) {
            let message = format!("--token: {} is no target of this push", shown(without_secrets(target)));
            return Err(Failure::usage(message).hint("name the target in the same words as above"));
        }
        let text = read_bounded(Path::new(file), MAX_TOKEN)?;
        let text = String::from_utf8(text)
            .map_err(|_| Failure::usage(format!("--token: {} has no text", shown_path(file))))?;
        tokens.insert(target.as_str(), text.trim().to_owned());
    }
    Ok(tokens)
}

/// The longest file of a token.
const MAX_TOKEN: u64 = 64 << 10;

struct Watcher<'a> {
    output: &'a Output,
    names: &'a [String],
    receipts: Option<&'a Path>,
    view: Mutex<View>,
    head: OnceLock<String>,
    failures: Mutex<Failures>,
}

/// Why targets do not have the model, and why a receipt could not be kept.
#[derive(Default)]
struct Failures {
    unpushed: BTreeMap<usize, Failure>,
    unwritten: Option<Failure>,
}

impl Watcher<'_> {
    fn end(self) -> Failures {
        self.view.into_inner().unwrap_or_else(PoisonError::into_inner).finish();
        self.failures.into_inner().unwrap_or_else(PoisonError::into_inner)
    }

    fn tell(&self, event: &PushEvent) {
        let mut view = self.view.lock().unwrap_or_else(PoisonError::into_inner);
        let name = |target: usize| self.names.get(target).map_or("", String::as_str);
        if !self.output.is_json() {
            view.show(event, self.output);
        }
        match event {
            PushEvent::Begun { name, head, bytes } => {
                let _ = self.head.set(head.to_string());
                let text = format!("pushing  {}, {}, head {head}", shown(name), size(*bytes));
                let object = || events::push::Pushing { name, head: (*head).into(), bytes: *bytes };
                view.aside(|| self.output.result(&text, object));
            }
            PushEvent::Progress(target, progress) if self.output.is_json() => {
                self.output.object(&events::push::Progress {
                    target: *target,
                    name: name(*target),
                    sent: progress.sent,
                    verified: progress.verified,
                    durable: progress.durable,
                    wanted: progress.wanted,
                });
            }
            PushEvent::Waiting(target, waiting) if self.output.is_json() => {
                let (reason, why, again_in) = match &waiting.reason {
                    PushReason::Silent(_) => ("silent", None, None),
                    PushReason::Working(work) => ("working", Some(work.as_str()), None),
                    PushReason::Again(why, time) => ("again", Some(why.as_str()), Some(time.as_secs_f64())),
                    PushReason::Reading => ("reading", None, None),
                    _ => ("sending", None, None),
                };
                self.output.object(&events::push::Waiting {
                    target: *target,
                    name: name(*target),
                    reason,
                    path: waiting.path.as_deref(),
                    why,
                    again_in,
                    since: waiting.since.as_secs_f64(),
                });
            }
            PushEvent::Done(target, receipt) => {
                let file = receipt.as_deref().and_then(|note| self.keep(*target, note));
                let shown_file = file.as_ref().map(|file| format!("; receipt {}", shown_path(file)));
                let text = format!("pushed   to {}{}", shown(name(*target)), shown_file.unwrap_or_default());
                view.aside(|| {
                    self.output.result(&text, || events::push::Pushed {
                        target: *target,
                        name: name(*target),
                        receipt: receipt.as_deref(),
                        file: file.as_ref().map(|file| file.to_string_lossy().into_owned()),
                    });
                });
            }
            PushEvent::Failed(target, error) => {
                let failure = failure(error, name(*target));
                if self.output.is_json() || self.names.len() > 1 {
                    let of_target = match &**error {
                        PushError::Refused { code, .. } => *code,
                        _ => None,
                    };
                    view.aside(|| {
                        let hints: String = failure.hints.iter().map(|hint| format!("; {hint}")).collect();
                        let text = format!(
                            "failed   {}: {}{hints} [W{}]",
                            shown(name(*target)),
                            failure.message,
                            failure.code
                        );
                        self.output.result(&text, || events::push::Unpushed {
                            target: *target,
                            name: name(*target),
                            code: failure.code.into(),
                            of_target,
                            message: &failure.message,
                        });
                    });
                }
                self.failures().unpushed.insert(*target, failure);
            }
            _ => {}
        }
    }

    fn failures(&self) -> std::sync::MutexGuard<'_, Failures> {
        self.failures.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Writes a receipt. If it cannot be written, the target has the model all the same.
    fn keep(&self, target: usize, note: &str) -> Option<PathBuf> {
        let folder = self.receipts?;
        let head = self.head.get().map(|head| head.get(..HEAD_DIGITS).unwrap_or(head)).unwrap_or_default();
        let path = folder.join(format!("{}.{head}.receipt", file_name(self.names.get(target)?)));
        let written = NewFile::write(&path, note.as_bytes());
        match written {
            Ok(()) => Some(path),
            Err(failure) => {
                self.failures().unwritten.get_or_insert(failure);
                None
            }
        }
    }
}

/// The digits of a head's id in the name of a receipt's file: receipts of other releases stay.
const HEAD_DIGITS: usize = 12;

/// A target's name as that of a file.
fn file_name(name: &str) -> String {
    let name = name.split_once("://").map_or(name, |(_, rest)| rest);
    let is_plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-');
    name.chars().map(|c| if is_plain(c) { c } else { '_' }).collect()
}

/// The next step after a refusal for this reason.
fn after_reason(reason: ErrorCode) -> Option<&'static str> {
    match reason {
        ErrorCode::ROLLBACK | ErrorCode::FORK => {
            Some("it has accepted another head of this model before: push a later revision")
        }
        ErrorCode::CHUNK_MISMATCH => Some(
            "the file is good here, so that something on the way changes bytes; the same command goes on",
        ),
        reason if (ErrorCode::BAD_SIGNATURE..=ErrorCode::OUT_OF_SCOPE).contains(&reason) => Some(
            "its policy does not know the signers for this model: sign the head by a key that it trusts (`weighbridge sign`)",
        ),
        ErrorCode::EXPIRED => Some("weigh the model anew with a later date of expiry"),
        _ => None,
    }
}

/// The next step after an answer with this status.
fn after_status(status: &str) -> Option<&'static str> {
    match status {
        "401" => Some("name its token by --token TARGET FILE"),
        "403" => Some("ask whoever runs the server for the right to push models of this name"),
        "413" => Some("ask whoever runs the server for more room, or remove what this client has there"),
        "507" => Some("what it has verified stays there: the same command goes on once there is room"),
        _ if status.starts_with('3') => Some("it is elsewhere: name the address that it redirects to"),
        _ => None,
    }
}

fn failure(error: &PushError, name: &str) -> Failure {
    let code = error.error_code();
    let of_target = format!("{} {error}", shown(name));
    match error {
        PushError::Refused { code: None, .. } if is_bucket(name) => {
            Failure::new(code, of_target).hint("look at the credentials and the address of the bucket")
        }
        PushError::Refused { code: reason, message } => {
            let failure = Failure::new(code, of_target);
            let reason = ErrorCode::ALL.iter().copied().find(|known| Some(known.get()) == *reason);
            let status = message.strip_prefix("answers ").and_then(|answer| answer.get(..3));
            reason.and_then(after_reason).or_else(|| after_status(status?)).into_iter().fold(failure, Failure::hint)
        }
        PushError::Unreachable { .. } => Failure::new(code, of_target).hint(
            "look at the address, or try again later: what it has verified stays there, and the same command goes on from there",
        ),
        PushError::Receipt(_) => Failure::new(code, format!("{}: {error}", shown(name))).hint(
            "the model may be there, and the receipt does not show it: compare --receiver with the server's .vkey",
        ),
        PushError::Changed { .. } => Failure::new(code, error.to_string())
            .hint("`weighbridge verify` says what is wrong; weigh it anew if the change is wanted"),
        PushError::NoLayers => {
            Failure::new(code, error.to_string()).hint("get chunks.layer from where the metadata came from")
        }
        PushError::Stopped => Failure::new(code, "stopped")
            .hint("what the target has verified stays there: the same command goes on from there"),
        PushError::Model(_) => Failure::new(code, error.to_string()).hint(
            "a model is weighed before it is pushed: `weighbridge weigh`; `weighbridge verify` says what is wrong with it",
        ),
        _ => Failure::new(code, error.to_string()),
    }
}

impl From<PushError> for Failure {
    fn from(error: PushError) -> Self {
        failure(&error, "")
    }
}

#[cfg(test)]
mod tests {
    use super::{ErrorCode, PushError, failure};

    #[test]
    fn each_refusal_names_the_next_step() {
        for (code, status, words) in [
            (None, "401", "--token TARGET FILE"),
            (None, "403", "the right to push models of this name"),
            (None, "413", "more room"),
            (Some(ErrorCode::IO), "507", "once there is room"),
            (None, "301", "the address that it redirects to"),
            (Some(ErrorCode::FORK), "409", "a later revision"),
            (Some(ErrorCode::BAD_SIGNATURE), "403", "a key that it trusts"),
            (Some(ErrorCode::OUT_OF_SCOPE), "403", "a key that it trusts"),
            (Some(ErrorCode::EXPIRED), "403", "a later date of expiry"),
            (Some(ErrorCode::CHUNK_MISMATCH), "422", "on the way"),
        ] {
            let refused = PushError::Refused {
                code: code.map(ErrorCode::get),
                message: format!("answers {status}: not taken"),
            };
            let failure = failure(&refused, "http://other");
            assert!(failure.message.starts_with("http://other answers "), "{}", failure.message);
            assert!(
                matches!(failure.hints.as_slice(), [hint] if hint.contains(words)),
                "{:?}",
                failure.hints
            );
        }
    }
}
