//! `swarm`: tickets, and who is in a swarm; and the membership of a fetch.

use std::{
    fs,
    io::Write as _,
    path::Path,
    sync::Arc,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use tokio::{runtime::Runtime, sync::Notify};
use weighbridge_manifest::{Head, Note, Time};
use weighbridge_publish::Protection;
use weighbridge_store::{HEAD, IoError, Metadata, read_bounded, shown_path};
use weighbridge_swarm::{
    Access, Identity, MAX_NOTE, MAX_TICKET, MemberKey, Role, Says, Swarm, SwarmOptions, Ticket,
};
use weighbridge_transfer::{SecretError, SourceFactory, SourceOptions, Sources, Stop};
use weighbridge_tree::{ErrorCode, head_id};

use crate::{
    args::{self, PassphraseSource, swarm::Membership},
    bandwidth, events,
    failure::Failure,
    keys,
    output::{Output, count, size},
    signals, trust,
};

pub(crate) fn run(args: &args::swarm::Swarm, output: &Output) -> Result<(), Failure> {
    match args {
        args::swarm::Swarm::Ticket(args) => make(args, output),
        args::swarm::Swarm::Peers(args) => peers(args, output),
    }
}

fn make(args: &args::swarm::MakeTicket, output: &Output) -> Result<(), Failure> {
    let note = if args.model.is_dir() {
        let note = Metadata::of_model(&args.model).folder().join(HEAD);
        read_bounded(&note, MAX_NOTE as u64)?
    } else {
        read_bounded(&args.model, MAX_NOTE as u64)?
    };
    let note = Note::parse(&note).map_err(|error| Failure::of(&error).about(&args.model))?;
    let head = Head::parse(note.text()).map_err(|error| Failure::of(&error).about(&args.model))?;
    let members = args.member.iter().map(|line| Ok(member(trust::vkey(line)?.public_key())));
    let mut members = members.collect::<Result<Vec<_>, Failure>>()?;
    members.sort_unstable();
    members.dedup();
    let ends = now().saturating_add(i64::try_from(args.valid).unwrap_or(i64::MAX));
    let ticket = Ticket {
        name: head.name,
        head: head_id(note.text().as_bytes()),
        expires: Time::from_unix(ends)
            .ok_or_else(|| Failure::usage("--valid: the time ends after the year 9999"))?,
        access: if args.open { Access::open() } else { Access::secret() }.map_err(|error| {
            Failure::new(ErrorCode::IO, format!("the system gives no randomness: {error}"))
        })?,
        trackers: args.tracker.clone(),
        members,
    };
    let text = ticket.write();
    // What the parser refuses is not written.
    Ticket::parse(text.as_bytes()).map_err(|error| Failure::usage(error.to_string()))?;
    write(&args.output, text.as_bytes(), ticket.is_open())?;
    let lines = format!(
        "wrote    {}, for {} head {}, until {}",
        shown_path(&args.output),
        ticket.name,
        ticket.head,
        ticket.expires
    );
    output.result(&lines, || events::swarm::Made {
        path: args.output.to_string_lossy(),
        name: ticket.name.as_str(),
        head: ticket.head.into(),
        expires: ticket.expires.to_string(),
        open: ticket.is_open(),
    });
    if ticket.is_open() {
        output.talk(
            "the ticket is open: publish it beside the model; whoever has it sees who fetches this release",
        );
    }
    if ticket.trackers.is_empty() {
        output.talk("the ticket names no tracker: members find each other by --peer alone");
    }
    Ok(())
}

/// Writes a file that was not there. If it is not for everybody, only its owner may read it.
fn write(path: &Path, bytes: &[u8], is_for_everybody: bool) -> Result<(), Failure> {
    let mut options = fs::OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    if !is_for_everybody {
        std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    }
    let mut file = options.open(path).map_err(IoError::at("create", path))?;
    file.write_all(bytes).and_then(|()| file.sync_all()).map_err(IoError::at("write", path))?;
    Ok(())
}

/// Reads a ticket that has not expired.
pub(crate) fn ticket(path: &Path) -> Result<Ticket, Failure> {
    let bytes = read_bounded(path, MAX_TICKET as u64)?;
    valid(&bytes).map_err(|failure| failure.about(path))
}

/// The address that a ticket is to be had from, if its place is one of the web and no file.
pub(crate) fn address(place: &Path) -> Option<&str> {
    let is_of_web =
        |scheme: &str| scheme.eq_ignore_ascii_case("https") || scheme.eq_ignore_ascii_case("http");
    place.to_str().filter(|text| text.split_once("://").is_some_and(|(scheme, _)| is_of_web(scheme)))
}

/// Does as [`ticket`], for one that a server has.
pub(crate) fn ticket_of(
    factory: &SourceFactory,
    address: &str,
    options: &SourceOptions,
    runtime: &Runtime,
) -> Result<Ticket, Failure> {
    let read = factory.read_secret(address, options, MAX_TICKET as u64);
    let (origin, bytes) = runtime.block_on(read).map_err(|error| {
        let failure = Failure::of(&error);
        match error {
            SecretError::Address(_) => failure,
            SecretError::NoTls { .. } => {
                failure.hint("whoever reads the ticket may join: serve it by https, or copy it to a file")
            }
            _ if error.is_denied() => failure.hint(
                "`weighbridge serve --ticket` gives it at ORG/NAME/weighbridge/ticket, to clients of its tokens file alone: send the token \
                 with --header ADDRESS @FILE, a file with the line `Authorization: Bearer TOKEN`",
            ),
            _ => failure.hint("look at the address, or copy the ticket to a file"),
        }
    })?;
    valid(&bytes).map_err(|failure| Failure { message: format!("{origin}: {}", failure.message), ..failure })
}

/// Parses a ticket that has not expired.
fn valid(bytes: &[u8]) -> Result<Ticket, Failure> {
    let ticket = Ticket::parse(bytes).map_err(|error| {
        Failure::of(&error).hint("tickets are made with `weighbridge swarm ticket`, and used as they are")
    })?;
    if is_over(&ticket) {
        let message = format!("the ticket has expired at {}", ticket.expires);
        return Err(Failure::new(ErrorCode::SWARM_NOT_JOINED, message)
            .hint("make a new one with `weighbridge swarm ticket`, and give it to the tracker too"));
    }
    Ok(ticket)
}

/// Whether the ticket has expired.
pub(crate) fn is_over(ticket: &Ticket) -> bool {
    now() >= ticket.expires.unix()
}

fn now() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_secs()).unwrap_or(i64::MAX)
}

fn member(key: &[u8; 32]) -> MemberKey {
    MemberKey::from_bytes(*key)
}

/// The key of a file, or one that is made for this run.
pub(crate) fn identity(node_key: Option<&Path>, passphrase: &PassphraseSource) -> Result<Identity, Failure> {
    let cannot =
        |error: std::io::Error| Failure::new(ErrorCode::IO, format!("cannot use the node's key: {error}"));
    let Some(path) = node_key else { return Identity::random().map_err(cannot) };
    let key = keys::load(path, passphrase)?;
    let pem = key.to_pem(Protection::Unencrypted).map_err(Failure::from)?;
    Identity::from_pem(&pem).map_err(cannot)
}

/// The membership of a fetch.
pub(crate) struct Joined {
    swarm: Swarm,
    /// Whether others are given what is verified here.
    gives: bool,
    linger: Option<Duration>,
    began: Instant,
}

/// The time in which a tracker, or a member, is expected to answer.
const ANSWER: Duration = Duration::from_secs(2);

impl Joined {
    /// Joins the swarm of the ticket. Its members become sources.
    pub(crate) fn join(
        args: &Membership,
        ticket: Ticket,
        is_whole: bool,
        sources: &Sources,
        runtime: &Runtime,
        output: &Output,
    ) -> Result<Self, Failure> {
        let gives = args.share || !ticket.is_open();
        let in_vain = [("--linger", args.linger.is_some()), ("--upload-rate", args.upload_rate.is_some())];
        if let Some((flag, _)) = in_vain.iter().find(|(_, is_said)| *is_said && !gives) {
            let message =
                format!("{flag}: the swarm is open, and nothing is given to others without --share");
            return Err(Failure::usage(message));
        }
        if ticket.is_open() {
            output.talk(match gives {
                true => "the swarm is open: anybody may be a member, and sees the address of this node",
                false => "the swarm is open, and nothing is given to others without --share: they give little in return",
            });
        }
        let identity = identity(args.node_key.as_deref(), &args.passphrase)?;
        let options = SwarmOptions {
            ticket,
            identity,
            listen: args.swarm_listen,
            addresses: Vec::new(),
            peers: args.peer.clone(),
            is_whole,
            upload: bandwidth::budget(args.upload_rate.clone()),
            share: args.share,
        };
        let sources = sources.clone();
        let swarm = runtime.block_on(async {
            let swarm = Swarm::join(options, sources).await?;
            if !swarm.found_somebody(ANSWER).await {
                output.talk(
                    "no tracker or member of the swarm answers: this is an ordinary fetch until one does",
                );
            }
            Ok(swarm)
        });
        let swarm = swarm.map_err(|error: std::io::Error| match error.kind() {
            std::io::ErrorKind::PermissionDenied => {
                Failure::new(ErrorCode::SWARM_NOT_JOINED, error.to_string())
                    .hint("name the key of this node with --node-key; the ticket lists its public half")
            }
            _ => Failure::new(ErrorCode::IO, format!("cannot listen at {}: {error}", args.swarm_listen)),
        })?;
        let linger = args.linger.map(Duration::from_secs);
        Ok(Self { swarm, gives, linger, began: Instant::now() })
    }

    pub(crate) fn guide(&self) -> Arc<dyn weighbridge_transfer::Guide> {
        self.swarm.guide()
    }

    pub(crate) fn figures(&self) -> weighbridge_swarm::SwarmFigures {
        self.swarm.figures()
    }

    /// Gives the model to others for a while, if the fetch `has_ended_well`, and takes leave.
    pub(crate) fn end(self, has_ended_well: bool, runtime: &Runtime, output: &Output, stop: &Stop) {
        let began = Instant::now();
        let time = self.linger.unwrap_or_else(|| self.began.elapsed());
        if has_ended_well && self.gives && !time.is_zero() {
            let end = Arc::new(Notify::new());
            if !output.is_embedded() {
                let end = Arc::clone(&end);
                // If this fails, a signal ends the process at once.
                let _ = signals::listen(runtime, move |_| end.notify_one());
            }
            output.talk(&format!(
                "sharing for {} s{}; Ctrl-C ends it",
                time.as_secs_f64().ceil(),
                if self.linger.is_none() { " at most" } else { "" }
            ));
            let lingering = async {
                match self.linger {
                    Some(_) => self.swarm.linger(time).await,
                    None => self.swarm.linger_while_needed(time).await,
                }
            };
            runtime.block_on(async {
                tokio::select! {
                    () = lingering => {}
                    () = end.notified() => {}
                    () = stop.asked() => {}
                }
            });
        }
        runtime.block_on(self.swarm.leave());
        let figures = self.swarm.figures();
        let members = u64::try_from(figures.most_members).unwrap_or(u64::MAX);
        let text = format!("shared   {} with up to {}", size(figures.sent), count(members, "member"));
        output.event(&text, || events::swarm::Shared {
            sent: figures.sent,
            members,
            seconds: began.elapsed().as_secs_f64(),
        });
    }
}

fn peers(args: &args::swarm::Peers, output: &Output) -> Result<(), Failure> {
    let ticket = ticket(&args.ticket)?;
    let identity = identity(args.node_key.as_deref(), &args.passphrase)?;
    let runtime = Runtime::new()
        .map_err(|error| Failure::new(ErrorCode::IO, format!("cannot start threads: {error}")))?;
    let found = runtime.block_on(weighbridge_swarm::ask_members(&ticket, &identity));
    let found = found.map_err(|error| {
        Failure::new(ErrorCode::IO, format!("no tracker of the ticket answers: {error}")).hint(
            "a tracker is `weighbridge serve MODEL --tracker ADDRESS --ticket TICKET`, with this very ticket",
        )
    })?;
    for (key, member) in &found {
        let address = member.address.as_ref().map_or("", |address| address.as_str());
        let line = format!("member   {key}  {address:<21}  {}", said(member.says.as_ref()));
        output.result(line.trim_end(), || events::swarm::Member {
            key: key.to_string(),
            address: member.address.as_ref().map(ToString::to_string),
            role: member.says.map(|says| says.role.word()),
            has: member.says.and_then(|says| says.has),
            claim: member.says.and_then(|says| says.claim),
        });
    }
    output.talk(&count(u64::try_from(found.len()).unwrap_or(u64::MAX), "member"));
    Ok(())
}

/// The things that a member says of itself, for people.
fn said(says: Option<&Says>) -> String {
    let Some(Says { role, has, claim }) = says else { return String::new() };
    let mut line = role.word().to_owned();
    if let Some(has) = has.filter(|_| *role != Role::HasAll) {
        // All of it is 100 %, and nothing less.
        line.push_str(&format!(", has {} %", (has * 100.0).floor()));
    }
    if let Some(piece) = claim {
        line.push_str(&format!(", asks the origin for piece {piece}"));
    }
    line
}
