//! Servers on loopback for tests of fetches: nginx, and a server that lies and stalls as a test demands.
//!
//! [`Nginx`] is Debian's nginx on a folder. [`Faulty`] serves a folder too, correctly until a [`Rule`] says
//! otherwise, and records every request. A [`Hub`] is two of these, which answer as huggingface.co and its storage do.

mod answer;
mod content;
mod fault;
mod faulty;
mod gzip;
mod hub;
mod link;
mod nginx;
mod port;
mod rate;
mod request;
mod rules;
#[cfg(test)]
mod tests;

pub use fault::{End, Fault, Rule};
pub use faulty::Faulty;
pub use hub::{Hub, Visibility};
pub use nginx::{Access, Nginx, Settings};
pub use port::Loopback;
pub use request::Request;
pub use rules::Strikes;
