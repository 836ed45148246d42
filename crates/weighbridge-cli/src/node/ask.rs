//! `node ls`, `pin`, `unpin`, `evict`, `plan` and `status`: a running node is asked.

use std::{io, path::Path, time::Duration};

use weighbridge_demand::{Held, Judgement, Release, Verdict};
use weighbridge_manifest::Time;
use weighbridge_node::{Passing, Reply, Request, State};
use weighbridge_tree::ErrorCode;

use crate::{
    args::node::{Ask, Model, Which},
    events::{node as events, values::Rfc3339},
    failure::Failure,
    output::{Output, count, size},
};

pub(super) fn run(ask: &Ask, output: &Output) -> Result<(), Failure> {
    match ask {
        Ask::Ls(node) => ls(&state(node)?, output),
        Ask::Plan(args) => plan(&state(&args.node)?, output),
        Ask::Status(node) => status(&state(node)?, output),
        Ask::Pin(args) => {
            tell(&args.of, |model| Request::Pin { model })?;
            done("pinned", &args.of, output);
        }
        Ask::Unpin(args) => {
            tell(args, |model| Request::Unpin { model })?;
            done("unpinned", args, output);
        }
        Ask::Evict(args) => {
            tell(args, |model| Request::Evict { model })?;
            done("evicted", args, output);
        }
    }
    Ok(())
}

fn state(node: &Which) -> Result<State, Failure> {
    match ask(node, &Request::Show)? {
        Reply::Shown(state) => Ok(*state),
        Reply::Done | Reply::Refused(_) => {
            Err(Failure::new(ErrorCode::NODE_REFUSED, "the node gives no state; is it of another version?"))
        }
    }
}

fn tell(args: &Model, request: impl FnOnce(String) -> Request) -> Result<(), Failure> {
    match ask(&args.node, &request(args.model.clone()))? {
        Reply::Refused(why) => {
            let model = weighbridge_manifest::shown(&args.model);
            Err(Failure::new(ErrorCode::NODE_REFUSED, format!("{model}: {why}")))
        }
        Reply::Done | Reply::Shown(_) => Ok(()),
    }
}

fn ask(node: &Which, request: &Request) -> Result<Reply, Failure> {
    let cache = super::config(&node.config)?.cache;
    weighbridge_node::ask(&cache, request).map_err(|error| {
        let is_absent = matches!(
            error.source.kind(),
            io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused | io::ErrorKind::NotADirectory
        );
        if is_absent { absent(&cache) } else { error.into() }
    })
}

fn absent(cache: &Path) -> Failure {
    Failure::new(ErrorCode::NO_NODE, "no node that answers runs with this cache")
        .about(cache)
        .hint("start it with `weighbridge node --config FILE`, with a `budget` in the configuration")
}

fn done(what: &'static str, args: &Model, output: &Output) {
    let model = weighbridge_manifest::shown(&args.model);
    output.result(&format!("{what:<8} {model}"), || events::Done { name: &args.model, done: what });
}

fn ls(state: &State, output: &Output) {
    let fetching = |release: &Release| state.fetching.iter().any(|name| name == release.name().as_str());
    for held in &state.plan.held {
        let Held { release, size: whole, held: bytes, worth, pinned, in_use, asks, .. } = held;
        let is_coming = fetching(release);
        let mut line = format!("kept     {:<40} {:>10}", release.name().as_str(), size(*bytes));
        if bytes < whole {
            line.push_str(&format!(" of {}", size(*whole)));
        }
        line.push_str(&format!("  worth {worth:.2} s per GB and day"));
        let words = [(*pinned, ", pinned"), (*in_use, ", in use"), (is_coming, ", being fetched")];
        words.iter().filter(|(is, _)| *is).for_each(|(_, word)| line.push_str(word));
        output.result(&line, || events::Model {
            name: release.name().as_str(),
            head: release.head().into(),
            kept: true,
            bytes: *bytes,
            size: Some(*whole),
            worth: Some(*worth),
            asks: Some(*asks),
            pinned: *pinned,
            in_use: *in_use,
            fetching: is_coming,
        });
    }
    for Passing { release, bytes, in_use } in &state.passing {
        let is_coming = fetching(release);
        let mut line = format!("passing  {:<40} {:>10}", release.name().as_str(), size(*bytes));
        let words = [(*in_use, ", in use"), (is_coming, ", being fetched")];
        words.iter().filter(|(is, _)| *is).for_each(|(_, word)| line.push_str(word));
        output.result(&line, || events::Model {
            name: release.name().as_str(),
            head: release.head().into(),
            kept: false,
            bytes: *bytes,
            size: None,
            worth: None,
            asks: None,
            pinned: false,
            in_use: *in_use,
            fetching: is_coming,
        });
    }
    let models = state.plan.held.len().saturating_add(state.passing.len());
    output.talk(&count(u64::try_from(models).unwrap_or(u64::MAX), "model"));
}

fn plan(state: &State, output: &Output) {
    for candidate in &state.plan.ahead {
        let why = candidate.why.to_string();
        let hindrance = candidate.hindrance.map(|hindrance| hindrance.to_string());
        let word = if hindrance.is_some() { "not" } else { "next" };
        let name = candidate.release.name().as_str();
        let but = hindrance.as_ref().map(|why| format!("; {why}")).unwrap_or_default();
        let line = format!("{word:<8} {name}, {}: {why}{but}", size(candidate.missing));
        output.result(&line, || events::Candidate {
            name,
            head: candidate.release.head().into(),
            missing: candidate.missing,
            worth: candidate.worth,
            signal: candidate.why.evidence.signal().to_string(),
            why,
            chance: candidate.why.chance,
            within: candidate.why.within.as_secs_f64(),
            saves: candidate.why.saves,
            hindrance,
        });
    }
    for account in &state.plan.accounts {
        let (signal, left) = (account.signal.to_string(), account.budget);
        let amount = size(left.unsigned_abs());
        let left_text = if left < 0 { format!("owes {amount}") } else { format!("{amount} left") };
        let line = format!(
            "forecast {signal:<9} {left_text}; {} were asked for, {} were not; saved {:.1} s",
            size(account.used),
            size(account.wasted),
            account.saved
        );
        output.result(&line, || events::Forecast {
            signal,
            budget: left,
            used: account.used,
            wasted: account.wasted,
            saved: account.saved,
        });
    }
    for judgement in &state.plan.judged {
        let Judgement { release, why, began, judged, bytes, verdict } = judgement;
        let (word, saved) = match verdict {
            Verdict::Used { saved } => ("used", Some(*saved)),
            Verdict::Evicted => ("evicted", None),
            _ => ("not asked for", None),
        };
        let (name, why_text) = (release.name().as_str(), why.to_string());
        let line = format!("judged   {name}, {}, {word}: {why_text}", size(*bytes));
        output.result(&line, || events::Judged {
            name,
            head: release.head().into(),
            signal: why.evidence.signal().to_string(),
            why: why_text,
            began: time(*began),
            judged: time(*judged),
            bytes: *bytes,
            verdict: word,
            saved,
        });
    }
}

fn time(since: Duration) -> Option<Rfc3339> {
    Time::from_unix(i64::try_from(since.as_secs()).ok()?).map(Into::into)
}

fn status(state: &State, output: &Output) {
    let State { plan, passing, fetching, ahead } = state;
    let held: u64 = plan.held.iter().map(|held| held.held).fold(0, u64::saturating_add);
    let passes = passing.iter().map(|passing| passing.bytes).fold(0, u64::saturating_add);
    let mut lines = vec![format!(
        "budget   {} of {} used, {} of it there",
        size(plan.used),
        size(plan.budget),
        size(held)
    )];
    if !passing.is_empty() {
        let models = count(u64::try_from(passing.len()).unwrap_or(u64::MAX), "model");
        lines.push(format!("passing  {} of {models} that go when nobody reads them", size(passes)));
    }
    for name in fetching {
        let is_ahead = ahead.as_ref() == Some(name);
        lines.push(format!("fetching {name}{}", if is_ahead { ", for which nobody waits" } else { "" }));
    }
    output.result(&lines.join("\n"), || events::Status {
        budget: plan.budget,
        used: plan.used,
        held,
        passing: passes,
        fetching,
        ahead: ahead.as_deref(),
    });
}
