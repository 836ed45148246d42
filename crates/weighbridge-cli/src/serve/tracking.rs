//! The tracker of a server.

use std::{fmt::Write as _, net::SocketAddr, path::PathBuf};

use tokio::runtime::Runtime;
use weighbridge_serve::{MoreFigures, Swarms, Tickets};
use weighbridge_swarm::{Identity, Role, Tag, Ticket, Tracker};
use weighbridge_tree::ErrorCode;

use crate::{failure::Failure, swarm};

/// Reads the tickets of the swarms.
pub(super) fn tickets(paths: &[PathBuf]) -> Result<Vec<Ticket>, Failure> {
    paths.iter().map(|path| swarm::ticket(path)).collect()
}

/// The tickets, for clients that may read the model. Of several for one release the one that lasts longest is given.
pub(super) fn for_clients(tickets: Vec<Ticket>) -> Tickets {
    Tickets::new(move |name, head| {
        let is_of = |ticket: &&Ticket| ticket.name == *name && ticket.head == head && !swarm::is_over(ticket);
        let ticket = tickets.iter().filter(is_of).max_by_key(|ticket| ticket.expires.unix())?;
        Some(ticket.write().to_string())
    })
}

/// The swarms of a tracker, by which members that ask the server for pieces are told apart.
pub(super) fn swarms(tracker: &Tracker) -> Swarms {
    let view = tracker.view();
    Swarms::new(move |tag, head| view.swarm_of(&Tag::from_bytes(*tag), head))
}

/// The tracker of the swarms with these tickets.
pub(super) fn tracker(at: SocketAddr, tickets: Vec<Ticket>, runtime: &Runtime) -> Result<Tracker, Failure> {
    let cannot =
        |error: std::io::Error| Failure::new(ErrorCode::IO, format!("cannot be a tracker at {at}: {error}"));
    // Members know a tracker by its proof that it has the ticket.
    let identity = Identity::random().map_err(cannot)?;
    runtime.block_on(Tracker::bind(&identity, at, tickets)).map_err(cannot)
}

/// The figures of a tracker, for Prometheus: members by model and role, and connections by whether they have proven to be members'.
pub(super) fn figures(tracker: &Tracker) -> MoreFigures {
    let view = tracker.view();
    MoreFigures::new(move || {
        let mut text = String::new();
        // Writing to a string does not fail.
        let _ = writeln!(text, "# HELP weighbridge_swarm_members Members of swarms, by model and role.");
        let _ = writeln!(text, "# TYPE weighbridge_swarm_members gauge");
        for swarm in view.swarms() {
            for (role, word) in ROLES {
                let count = swarm.members.iter().filter(|member| member.role == role).count();
                let name = &swarm.name;
                let _ =
                    writeln!(text, "weighbridge_swarm_members{{model=\"{name}\",role=\"{word}\"}} {count}");
            }
        }
        let figures = view.figures();
        let _ = writeln!(text, "# HELP weighbridge_swarm_connections_total Connections to the tracker.");
        let _ = writeln!(text, "# TYPE weighbridge_swarm_connections_total counter");
        for (state, count) in [("admitted", figures.admitted), ("refused", figures.refused)] {
            let _ = writeln!(text, "weighbridge_swarm_connections_total{{state=\"{state}\"}} {count}");
        }
        let _ = writeln!(text, "# HELP weighbridge_swarm_lookups_total Members that were looked up.");
        let _ = writeln!(text, "# TYPE weighbridge_swarm_lookups_total counter");
        let _ = writeln!(text, "weighbridge_swarm_lookups_total {}", figures.lookups);
        text
    })
}

const ROLES: [(Role, &str); 3] =
    [(Role::FetchesAll, "fetches"), (Role::FetchesPart, "fetches_part"), (Role::HasAll, "has_all")];
