//! `trust`: the user's own policy, shown and changed.

use std::{
    fs,
    path::{Path, PathBuf},
};

use weighbridge_manifest::{
    KeyName, ModelName, PolicyError, Publisher, Remembered, Role, TrustPolicy, TrustedKey, shown,
};
use weighbridge_store::{IoError, shown_path};
use weighbridge_tree::ErrorCode;

use crate::{
    args::trust_file::{Add, Remove, Revoke, TrustFile},
    events::policy,
    failure::Failure,
    memory::{self, StateFile},
    output::{Output, shown_names},
    place::NewFile,
    trust,
    user_policy::{self, Found},
};

pub(crate) fn run(args: &TrustFile, output: &Output) -> Result<(), Failure> {
    match args {
        TrustFile::Add(args) => change(output, |before| add(args, before)),
        TrustFile::List => list(output),
        TrustFile::Remove(args) => change(output, |before| remove(args, before)),
        TrustFile::Revoke(args) => change(output, |before| revoke(args, before)),
    }
}

fn add(args: &Add, before: Option<&TrustPolicy>) -> Result<TrustPolicy, Failure> {
    let vkey = trust::vkey(&args.vkey)?;
    if *vkey.name() != args.name {
        let (found, wanted) = (shown(vkey.name().as_str()), shown(args.name.as_str()));
        return Err(Failure::usage(format!("the key is of '{found}', not of '{wanted}'")).hint(
            "signatures bear the name in the vkey line; use it only if whoever gave you the key calls it so",
        ));
    }
    let key = TrustedKey { vkey, from: args.from, until: args.until };
    let Some(before) = before else {
        let entry = Publisher { scope: args.scope.clone(), role: args.role, threshold: 1, keys: vec![key] };
        return Ok(TrustPolicy::new(vec![entry], Vec::new(), Vec::new())?);
    };
    if before.revoked().iter().any(|revoked| revoked.public_key() == key.vkey.public_key()) {
        return Err(Failure::usage("the policy revokes this key, which would never count"));
    }
    if args.replace {
        return Ok(before.with_key_alone(args.scope.clone(), args.role, key)?);
    }
    if let Some(stricter) = before.shadowed(&args.scope, args.role, &key) {
        let message = format!(
            "'{}' would take names away from '{}', which believes only what {} signed",
            args.scope,
            stricter.scope,
            signers(stricter)
        );
        return Err(Failure::new(ErrorCode::USER_POLICY_LOSS, message)
            .hint("add it with --replace if this key alone shall decide there"));
    }
    Ok(before.with_key(args.scope.clone(), args.role, key)?)
}

/// The keys that have to sign, for people.
fn signers(entry: &Publisher) -> String {
    let names: Vec<_> = entry.keys.iter().map(|key| key.vkey.name().as_str()).collect();
    let names = shown_names(&names);
    if entry.keys.len() == 1 { names } else { format!("{} of {names}", entry.threshold) }
}

fn remove(args: &Remove, before: Option<&TrustPolicy>) -> Result<TrustPolicy, Failure> {
    let before = before.ok_or_else(nobody)?;
    if !before.publishers().iter().flat_map(|entry| &entry.keys).any(|key| *key.vkey.name() == args.name) {
        return Err(unknown(&args.name));
    }
    before.without_keys_of(&args.name).map_err(|error| {
        let failure = Failure::from(error.clone());
        match error {
            PolicyError::TrustsNobody => failure.hint("to trust nobody, remove the file itself"),
            _ => failure,
        }
    })
}

fn revoke(args: &Revoke, before: Option<&TrustPolicy>) -> Result<TrustPolicy, Failure> {
    let before = before.ok_or_else(nobody)?;
    // No vkey line is a name: it has a '+'.
    let name = KeyName::parse(&args.key).ok();
    let named = name.as_ref().map(|name| before.keys_of(name)).unwrap_or_default();
    let keys = match name {
        Some(_) if !named.is_empty() => named.into_iter().cloned().collect(),
        Some(name) if !Path::new(&args.key).is_file() => return Err(unknown(&name)),
        _ => vec![trust::vkey(&args.key)?],
    };
    Ok(keys.into_iter().fold(before.clone(), |policy, key| policy.revoking(key)))
}

fn nobody() -> Failure {
    Failure::usage("you have no policy yet").hint("`weighbridge trust add` makes one")
}

fn unknown(name: &KeyName) -> Failure {
    Failure::usage(format!("the policy has no key of '{}'", shown(name.as_str())))
        .hint("`weighbridge trust list` shows what it has")
}

fn list(output: &Output) -> Result<(), Failure> {
    match Found::users()? {
        Some(found) => print(&found, output),
        None => output.talk("you have no policy yet; `weighbridge trust add` makes one"),
    }
    Ok(())
}

/// Makes another policy of the user's, and says which verdicts are others now.
fn change(
    output: &Output,
    make: impl FnOnce(Option<&TrustPolicy>) -> Result<TrustPolicy, Failure>,
) -> Result<(), Failure> {
    let path = user_policy::place()
        .ok_or_else(|| Failure::usage("this system names no place for a policy of yours: HOME is not set"))?;
    let folder = folder(&path)?;
    // Where somebody else may write, the policy would not be used.
    user_policy::is_there(&folder)?;
    let _lock = memory::lock(&path)?;
    let found = Found::users()?;
    let before = found.as_ref().map(|found| &found.policy);
    if let Some(found) = found.as_ref().filter(|found| found.text != text(&found.policy).as_bytes()) {
        let message = format!("{} was edited, and comments in it would be lost", shown_path(&found.path));
        return Err(Failure::new(ErrorCode::USER_POLICY_LOSS, message)
            .hint("change it by hand as well; `weighbridge trust list` says whether it is well-formed"));
    }
    let after = make(before)?;
    NewFile::write_private(&path, text(&after).as_bytes())?;
    tell_changes(before, &after, output);
    if let Some(found) = Found::users()? {
        print(&found, output);
    }
    Ok(())
}

/// The folder of the policy, made if it is not there, for this user alone.
fn folder(path: &Path) -> Result<PathBuf, Failure> {
    let folder = path.parent().unwrap_or(path).to_owned();
    let mut builder = fs::DirBuilder::new();
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.recursive(true).create(&folder).map_err(IoError::at("create", &folder))?;
    Ok(folder)
}

/// The text of the file. What differs from it was edited by hand.
fn text(policy: &TrustPolicy) -> String {
    format!(
        "# Written by `weighbridge trust`, which does not change this file once it was edited.\n\n{}",
        policy.to_toml()
    )
}

/// Names each remembered head about which the two policies differ. The policy is changed even if that cannot be told: a key
/// may have to be revoked at once.
fn tell_changes(before: Option<&TrustPolicy>, after: &TrustPolicy, output: &Output) {
    if let Err(failure) = changes(before, after, output) {
        output.talk(&format!("which verdicts change is not known: {}", failure.message));
    }
}

fn changes(before: Option<&TrustPolicy>, after: &TrustPolicy, output: &Output) -> Result<(), Failure> {
    let memory = StateFile::open(None)?;
    for name in memory.names() {
        let recall = |policy| memory.recall(&name, policy);
        let (before, after) = (before.map_or(Ok(Vec::new()), recall)?, recall(after)?);
        let role_in = |heads: &[Remembered], head: &Remembered| {
            heads.iter().find(|other| other.id() == head.id()).map(Remembered::role)
        };
        let gone = before.iter().filter(|head| role_in(&after, head).is_none());
        let other = after.iter().filter(|head| role_in(&before, head) != Some(head.role()));
        for head in gone.chain(other) {
            tell_change(&name, head, role_in(&before, head), role_in(&after, head), output);
        }
    }
    Ok(())
}

fn tell_change(
    name: &ModelName,
    head: &Remembered,
    before: Option<Role>,
    after: Option<Role>,
    output: &Output,
) {
    let word = |role| match role {
        None => "not believed",
        Some(Role::Publisher) => "its publisher's",
        Some(Role::Import) => "imported",
    };
    let text =
        format!("verdict  {name} revision {}: {} so far, {} now", head.revision(), word(before), word(after));
    output.result(&text, || policy::Verdict {
        name: name.as_str(),
        revision: head.revision(),
        head: head.id().into(),
        before: before.map(Into::into),
        after: after.map(Into::into),
    });
}

/// Prints a policy, for people a key a line.
fn print(found: &Found, output: &Output) {
    let Found { policy, path, .. } = found;
    let mut lines = vec![format!("policy   {}, sha256 {}", shown_path(path), found.sha256())];
    for entry in policy.publishers() {
        let word = if entry.role == Role::Import { "imports" } else { "trusted" };
        let of = match entry.threshold {
            1 => String::new(),
            threshold => format!(", {threshold} of {} have to sign", entry.keys.len()),
        };
        lines.extend(entry.keys.iter().map(|key| format!("{word:<8} {}  {}{of}", entry.scope, of_key(key))));
    }
    lines.extend(policy.accepted_heads().iter().map(|id| format!("accepted head {id}")));
    lines.extend(policy.auditor_keys().iter().map(|key| format!("auditor  {}", of_key(key))));
    lines.extend(policy.revoked().iter().map(|vkey| format!("revoked  {}", shown(&vkey.to_string()))));
    output.result(&lines.join("\n"), || policy::Kept {
        file: path.to_string_lossy(),
        sha256: found.sha256().to_string(),
        publishers: policy.publishers().iter().map(Into::into).collect(),
        accepted_heads: policy.accepted_heads().iter().map(|id| (*id).into()).collect(),
        auditors: policy.auditor_keys().iter().map(Into::into).collect(),
        revoked: policy.revoked().iter().map(ToString::to_string).collect(),
    });
}

fn of_key(key: &TrustedKey) -> String {
    let date = |word, date: Option<_>| date.map(|date| format!(", {word} {date}")).unwrap_or_default();
    format!("{}{}{}", shown(&key.vkey.to_string()), date("from", key.from), date("until", key.until))
}
