//! The rules of a server, which the program that runs it gives.

use std::{fmt, sync::Arc};

use weighbridge_bandwidth::Budget;

#[cfg(feature = "accept")]
use crate::accept::Accept;
use crate::{
    audit::Audits,
    claims::Swarms,
    clients::{Clients, Tickets},
    coming::Supplier,
};

/// Whom a server answers, and what.
#[derive(Debug, Default)]
pub struct Rules {
    /// The names under which the server is reached, beside `localhost` and addresses. A request that names another host is refused:
    /// otherwise a web page could have a browser ask for private models, under a name that leads here (DNS rebinding).
    pub hosts: Vec<String>,
    /// Whether the routes of a hub are answered. Their clients verify nothing, so that whoever is on the way could change bytes,
    /// unless the connection is encrypted or does not leave the machine.
    pub hub: bool,
    /// The clients that may ask; anybody, if `None`.
    pub clients: Option<Clients>,
    /// The audits that are answered; none, if `None`.
    pub audits: Option<Audits>,
    /// The folder into which models are taken; none are, if `None`. The folder is to be one of those that are published. Without
    /// [`clients`](Self::clients), whoever reaches the server may bring models: it is to listen on loopback alone.
    #[cfg(feature = "accept")]
    pub accept: Option<Arc<Accept>>,
    /// The party that gets models which are asked for and not published; none, if `None`.
    pub supplier: Option<Arc<dyn Supplier>>,
    /// The tickets that are given to [`clients`](Self::clients) who may read their models; none are, if `None`, or without clients.
    /// A ticket is a secret: the connections are to be encrypted, or not to leave the machine.
    pub tickets: Option<Tickets>,
    /// The swarms whose members are told apart; none are, if `None`.
    pub swarms: Option<Swarms>,
    /// Figures of other parts of the program; none, if `None`.
    pub more_figures: Option<MoreFigures>,
    /// The budget that bytes of models wait for. Clients have equal shares, by name, else by address.
    pub send: Budget,
    /// True if those that ask by no route of a hub are peers: other nodes, whose bytes go after those of this node's clients.
    pub fetches_are_peers: bool,
}

impl Rules {
    pub(crate) fn takes_models(&self) -> bool {
        #[cfg(feature = "accept")]
        return self.accept.is_some();
        #[cfg(not(feature = "accept"))]
        false
    }
}

/// Figures of other parts of the program, in the text format of Prometheus, which stand behind those of the server.
pub struct MoreFigures(Box<dyn Fn() -> String + Send + Sync>);

impl MoreFigures {
    /// The figures that this function gives whenever somebody asks.
    pub fn new(text: impl Fn() -> String + Send + Sync + 'static) -> Self {
        Self(Box::new(text))
    }

    pub(crate) fn text(&self) -> String {
        (self.0)()
    }
}

impl fmt::Debug for MoreFigures {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("MoreFigures")
    }
}
