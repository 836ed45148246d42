//! Servers on loopback for tests of fetches: nginx, a server that lies and stalls as a test demands, and models to
//! serve.
//!
//! [`Nginx`] is Debian's nginx on a folder. [`Faulty`] serves a folder too, correctly until a [`Rule`] says
//! otherwise, and records every request. [`Fleet`] is a model in two revisions, weighed and signed.

mod answer;
mod content;
mod fault;
mod faulty;
mod fleet;
mod gzip;
mod link;
mod nginx;
mod port;
mod rate;
mod request;
mod rules;
mod tests;

pub(crate) use fault::{End, Fault, Rule};
pub(crate) use faulty::Faulty;
pub(crate) use fleet::Fleet;
pub(crate) use nginx::{Access, Nginx, Settings};
pub(crate) use port::Loopback;
pub(crate) use request::Request;
pub(crate) use rules::Strikes;
