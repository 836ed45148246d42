//! The arguments of `swarm`, and those by which `fetch` and `serve` take part in one.

use std::{net::SocketAddr, path::PathBuf};

use clap::{Parser, Subcommand};
use weighbridge_bandwidth::Schedule;
use weighbridge_swarm::Address;

use super::{PassphraseSource, duration, rate};
use crate::examples;

/// Let nodes that fetch the same model share it, so that its source gives it about once
///
/// A node that has the ticket of a swarm may join it: `weighbridge fetch --swarm TICKET`. A tracker tells the members of each
/// other: `weighbridge serve MODEL --tracker ADDRESS --ticket TICKET`.
#[derive(Subcommand)]
#[command(after_help = examples::SWARM)]
pub(crate) enum Swarm {
    Ticket(MakeTicket),
    Peers(Peers),
}

/// Make the ticket of a swarm, for one release of a model
///
/// The ticket is a secret: whoever has it may join, until it expires. An open one is for everybody. The model is named by its folder, or by a copy of its head.note;
/// its signature is not judged here, but by each fetch.
#[derive(Parser)]
#[command(after_help = examples::SWARM_TICKET)]
pub(crate) struct MakeTicket {
    /// The weighed folder, or a `head.note`
    pub(crate) model: PathBuf,
    /// The address of a tracker, HOST:PORT; may be given several times
    #[arg(long, value_name = "ADDRESS", value_parser = address)]
    pub(crate) tracker: Vec<Address>,
    /// The time for which nodes may join
    #[arg(long, value_name = "TIME", value_parser = duration, default_value = "7d")]
    pub(crate) valid: u64,
    /// The vkey line of a node that may join, or its file; may be given several times. Then no others may
    #[arg(long, value_name = "VKEY")]
    pub(crate) member: Vec<String>,
    /// Let anybody join: the ticket is no secret and is published beside the model, and members give to those who give
    #[arg(long, conflicts_with = "member")]
    pub(crate) open: bool,
    /// The file to write the ticket to, which must not exist
    #[arg(short, long, value_name = "FILE")]
    pub(crate) output: PathBuf,
}

/// Print the members of a swarm, as its tracker names them, and how far each says that it is
///
/// Of a large swarm the tracker names the addresses of twelve members, which are asked; nobody vouches for what they say.
#[derive(Parser)]
#[command(after_help = examples::SWARM_PEERS)]
pub(crate) struct Peers {
    /// The ticket
    pub(crate) ticket: PathBuf,
    /// The secret key of this node, if the ticket lists members
    #[arg(long, value_name = "FILE")]
    pub(crate) node_key: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) passphrase: PassphraseSource,
}

/// The membership of a fetch in a swarm
#[derive(Parser)]
#[command(next_help_heading = "Swarm")]
pub(crate) struct Membership {
    /// Share with the members of this ticket's swarm: take from them what they have verified, and give them what is verified here
    ///
    /// The ticket is a file, or lies at an address: https://…, or http:// on this machine. --header ADDRESS LINE sends a token along.
    #[arg(long, value_name = "TICKET")]
    pub(crate) swarm: Option<PathBuf>,
    /// The address at which members are let in; port 0 is any that is free
    #[arg(long, value_name = "ADDRESS", default_value = "0.0.0.0:0", requires = "swarm")]
    pub(crate) swarm_listen: SocketAddr,
    /// The address of a member, beside those that trackers name; may be given several times
    #[arg(long, value_name = "ADDRESS", value_parser = address, requires = "swarm")]
    pub(crate) peer: Vec<Address>,
    /// Give others what is verified here, in an open swarm: without this nothing is given there, and little is got. In other swarms
    /// members always give
    #[arg(long, requires = "swarm")]
    pub(crate) share: bool,
    /// The most to send per second, to all members together, written as for --limit-rate
    #[arg(long, value_name = "RATE", value_parser = rate, requires = "swarm")]
    pub(crate) upload_rate: Option<Schedule>,
    /// The time for which to give the model to others once it is here [default: as long as the fetch took, or until all have it]
    #[arg(long, value_name = "TIME", value_parser = duration, requires = "swarm")]
    pub(crate) linger: Option<u64>,
    /// The secret key of this node, which its members know; by default one is made for the run
    #[arg(long, value_name = "FILE", requires = "swarm")]
    pub(crate) node_key: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) passphrase: PassphraseSource,
}

fn address(text: &str) -> Result<Address, String> {
    Address::parse(text).ok_or_else(|| "an address is written HOST:PORT, in lower case".to_owned())
}
