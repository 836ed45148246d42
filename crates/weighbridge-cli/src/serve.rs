//! `serve`: models over HTTP.

use std::{fs, io, net::IpAddr, path::PathBuf, sync::Arc};

use tokio::runtime::Builder;
use tracing_subscriber::filter::LevelFilter;
use weighbridge_manifest::shown;
use weighbridge_serve::{Audits, Change, Clients, ClientsFileError, Limits, Models, Rules, Site, TlsFiles};
use weighbridge_store::{IoError, shown_path};
use weighbridge_transfer::Stop;
use weighbridge_tree::ErrorCode;

use crate::{
    args::{LogForm, Serve},
    bandwidth,
    events::serve,
    failure::Failure,
    keys,
    output::{Output, size},
    trust,
};

mod serving;
mod taking;
mod tracking;
pub(crate) use serving::Serving;

pub(crate) fn run(mut args: Serve, output: &Output, stop: &Stop) -> Result<(), Failure> {
    for place in &args.models {
        fs::read_dir(place).map_err(IoError::at("open", place))?;
    }
    if let Some(host) = args.host.iter().find(|host| host.contains([':', '/'])) {
        let message = format!("--host {}: it takes a name, without scheme and port", shown(host));
        return Err(Failure::usage(message));
    }
    let is_tls = args.cert.is_some();
    let hub = is_tls || args.insecure_http || is_loopback(args.listen.ip());
    raise_descriptors();
    let key =
        args.node_key.as_ref().map(|path| keys::load(path, &args.passphrase).map(Arc::new)).transpose()?;
    if args.node_key.is_some() && args.auditor.is_empty() && args.accept.is_none() {
        return Err(Failure::usage("--node-key signs nothing without --auditor or --accept"));
    }
    let auditors: Result<Vec<_>, _> = args.auditor.iter().map(|line| trust::vkey(line)).collect();
    let auditors = auditors?;
    let audits = key.clone().filter(|_| !auditors.is_empty()).map(|key| {
        let node = key.vkey().clone();
        Audits::new(node, move |asked, response| key.sign_response(asked, response), auditors)
    });
    let clients = args.tokens.clone().map(clients).transpose()?;
    let accept = taking::accept(&mut args, key)?.map(Arc::new);
    let limits = Limits {
        connections: args.connections.into(),
        memory: usize::try_from(args.memory).unwrap_or(usize::MAX),
        ..Limits::default()
    };
    let tls = args.cert.zip(args.tls_key).map(|(certificates, key)| TlsFiles { certificates, key });
    // A program that calls the command has a log of its own.
    if !output.is_embedded() {
        begin_log(args.log);
    }
    let taking = args.accept;
    // The folder of pushed models is published by the name by which they are put there.
    let is_other = |place: &PathBuf| taking.is_none() || place.canonicalize().ok() != taking;
    let places = args.models.into_iter().filter(is_other).chain(taking.clone()).collect();
    let models = Arc::new(Models::of(places));
    let changes = models.look();
    if models.is_empty() && accept.is_none() {
        changes.iter().for_each(|change| tell(change, output));
        let refused = changes.iter().find_map(|change| match change {
            Change::Refused { code, message, .. } => Some(Failure::new(*code, message)),
            _ => None,
        });
        let failure = refused.unwrap_or_else(|| {
            Failure::new(ErrorCode::USAGE, "there is no weighed model to serve")
                .hint("make one with `weighbridge weigh`, or get one with `weighbridge fetch`")
        });
        return Err(failure);
    }
    let runtime = Builder::new_multi_thread().enable_all().build().map_err(|error| {
        Failure::new(ErrorCode::IO, format!("cannot start the threads of a server: {error}"))
    })?;
    let swarm_tickets = tracking::tickets(&args.ticket)?;
    let tracker =
        args.tracker.map(|at| tracking::tracker(at, swarm_tickets.clone(), &runtime)).transpose()?;
    let more_figures = tracker.as_ref().map(tracking::figures);
    let swarms = tracker.as_ref().map(tracking::swarms);
    // A ticket is a secret, and so is a token.
    let is_private = is_tls || is_loopback(args.listen.ip());
    let tickets = (is_private && !swarm_tickets.is_empty()).then(|| tracking::for_clients(swarm_tickets));
    let accept = accept.clone();
    let send = bandwidth::budget(args.limit_rate);
    let rules = Rules {
        hosts: args.host,
        hub,
        clients,
        audits,
        accept,
        tickets,
        swarms,
        more_figures,
        send,
        ..Rules::default()
    };
    let site = Site::new(models, rules, &limits);
    let serving = Serving { runtime, site, listen: args.listen, limits, tls, hub, tracker, changes };
    serving.run(output, stop, || {
        if let Some(folder) = &taking {
            output.talk(&format!("models that are pushed are taken into {}", shown_path(folder)));
        }
        if !hub {
            output.talk(
                "clients of a hub are not answered, since they verify nothing: that takes --cert and --key, or --insecure-http",
            );
        }
    })
}

/// Lets the process have as many connections and files open as the system allows it: the usual limit is meant for programs that wait
/// for descriptors in an old way.
pub(crate) fn raise_descriptors() {
    #[cfg(unix)]
    {
        use rustix::process::{Resource, getrlimit, setrlimit};
        let mut limit = getrlimit(Resource::Nofile);
        limit.current = limit.maximum;
        // Where it fails the server has fewer connections.
        let _ = setrlimit(Resource::Nofile, limit);
    }
}

/// Writes to standard error what the server logs.
pub(crate) fn begin_log(form: LogForm) {
    let log = tracing_subscriber::fmt().with_writer(io::stderr).with_max_level(LevelFilter::INFO);
    // It fails if there is a log already: then that one has it.
    let _ = match form {
        LogForm::Text => log.with_ansi(false).try_init(),
        LogForm::Json => log.json().flatten_event(true).try_init(),
        LogForm::Off => Ok(()),
    };
}

pub(crate) fn clients(path: PathBuf) -> Result<Clients, Failure> {
    Clients::read(path).map_err(|error| match error {
        ClientsFileError::Io(error) => error.into(),
        error => Failure::usage(error.to_string()).hint(
            "a line is `NAME SHA-256 read ORG/*`, or `NAME SHA-256 push ORG/* 500GiB`; `printf %s TOKEN | sha256sum` gives the SHA-256 of a token",
        ),
    })
}

fn is_loopback(address: IpAddr) -> bool {
    address.to_canonical().is_loopback()
}

fn tell(change: &Change, output: &Output) {
    match change {
        Change::Published { folder, name, revision, head, bytes } => {
            let text = format!("serving  {name} revision {revision}, {}, head {head}", size(*bytes));
            output.result(&text, || serve::Published {
                folder: folder.to_string_lossy(),
                name: name.as_str(),
                revision: *revision,
                head: (*head).into(),
                bytes: *bytes,
            });
        }
        Change::Withdrawn { folder, name } => output.result(&format!("ended    {name}"), || {
            serve::Withdrawn { folder: folder.to_string_lossy(), name: name.as_str() }
        }),
        Change::Refused { folder, code, message } => {
            let text = format!("{} is not served: {message} [W{code}]", shown_path(folder));
            output.event(&text, || serve::Unpublished {
                folder: folder.to_string_lossy(),
                code: (*code).into(),
                message,
            });
        }
        _ => {}
    }
}
