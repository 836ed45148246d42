//! The objects that the command prints with `--json`: one type for each row of `spec/events.md`.
//!
//! The table below has the rows. `cargo xtask schema` makes `spec/events.schema.json` from it and from the types.

pub(crate) mod audit;
pub(crate) mod check;
pub(crate) mod common;
pub(crate) mod diff;
pub(crate) mod fetch;
pub(crate) mod import;
pub(crate) mod inspect;
pub(crate) mod node;
pub(crate) mod policy;
pub(crate) mod prove;
pub(crate) mod publish;
pub(crate) mod push;
#[cfg(test)]
mod schema;
pub(crate) mod serve;
pub(crate) mod swarm;
pub(crate) mod values;
pub(crate) mod verify;
pub(crate) mod verify_hub;

use serde::Serialize;
use serde_json::Value;

/// An object that the command prints with `--json`. The table below implements this for the types of its rows, and
/// nothing else does, so that the schema has every object.
pub(crate) trait Event {
    /// The object, with its key `event`. Its keys are in alphabetical order.
    fn object(&self) -> Value;
}

/// Reads the table: the event, the commands that print it (both as in `spec/events.md`), and the type of the object.
macro_rules! events {
    ($($event:literal, $printed_by:literal: $object:ty;)*) => {
        $(
            impl Event for $object {
                fn object(&self) -> Value {
                    object($event, self)
                }
            }
        )*

        /// The schemas of all rows, in the order of the table.
        #[cfg(test)]
        fn rows(generator: &mut schemars::SchemaGenerator) -> Vec<Value> {
            vec![$(schema::row::<$object>($event, $printed_by, generator)),*]
        }
    };
}

events! {
    "note", "all": common::Note<'_>;
    "error", "all, last, if it did not end well": common::Error<'_>;

    "key", "keygen": publish::Key<'_>;
    "vkey", "vkey": publish::Vkey;
    "reused", "weigh": publish::Reused<'_>;
    "unlisted", "weigh, of a file with a dtype that is not known": publish::Unlisted<'_>;
    "weighed", "weigh": publish::Weighed<'_>;
    "signed", "sign": publish::Signed<'_>;
    "moved", "import, of a branch that has another commit since": import::Moved<'_>;
    "current", "import --update": import::Current<'_>;
    "imported", "import": import::Imported<'_>;
    "policy", "verify, check, audit, fetch, if the command line names none": policy::InUse<'_>;
    "policy", "trust": policy::Kept<'_>;
    "verdict", "trust, of a head with another verdict than before": policy::Verdict<'_>;
    "head", "verify, check, audit, fetch": common::Head<'_>;
    "head", "inspect": inspect::Head<'_>;
    "head", "diff": diff::Head<'_>;
    "forgotten", "verify, check, audit, fetch": common::Forgotten<'_>;
    "listing", "verify --hub, import": verify_hub::Listing<'_>;
    "file", "weigh, of what is left out or refused": publish::File<'_>;
    "file", "verify": verify::File<'_>;
    "file", "verify --partial": verify::PartialFile<'_>;
    "file", "verify --hub, import": verify_hub::File<'_>;
    "file", "check": check::File<'_>;
    "file", "check, of a file that is absent": check::AbsentFile<'_>;
    "file", "fetch": fetch::File<'_>;
    "file", "diff": diff::Difference<diff::FileEntry<'_>>;
    "tensor", "inspect": inspect::Tensor<'_>;
    "tensor", "check": check::Tensor<'_>;
    "tensor", "fetch": fetch::Tensor<'_>;
    "tensor", "diff": diff::Difference<diff::TensorEntry<'_>>;
    "receipt", "verify": verify::Receipt<'_>;
    "receipt", "check": check::Receipt;
    "receipt", "inspect": inspect::Receipt;
    "result", "verify": verify::Result;
    "result", "verify --partial": verify::PartialResult;
    "result", "verify --hub": verify_hub::Result<'_>;
    "result", "check": check::Result;
    "result", "diff": diff::Result;
    "result", "fetch": fetch::Result<'_>;
    "proof", "prove, to a file": prove::ProofFile<'_>;
    "proof", "prove, to standard output": prove::Proof<'_>;
    "proof", "inspect": inspect::Proof;
    "claim", "inspect": inspect::Claim<'_>;
    "slice", "prove": prove::Slice<'_>;
    "slice", "check": check::Slice<'_>;
    "challenge", "audit challenge": audit::Challenge<'_>;
    "challenge", "inspect": inspect::Challenge;
    "response", "audit respond": audit::Response<'_>;
    "report", "audit check": audit::Report<'_>;
    "report", "check": check::Report<'_>;
    "report", "inspect": inspect::Report;
    "tensors", "inspect": inspect::Tensors;
    "gguf", "inspect": inspect::Gguf;
    "value", "inspect": inspect::Value<'_>;
    "placed", "inspect": inspect::Placed<'_>;
    "index", "inspect": inspect::Index;
    "summary", "diff": diff::Summary;
    "summary", "diff, without tensor lists": diff::NotCompared<'_>;
    "wanted", "fetch, import": fetch::Wanted<'_>;
    "progress", "fetch, import": fetch::Progress;
    "source", "fetch, import": fetch::Source<'_>;
    "waiting", "fetch, import": fetch::Waiting<'_>;
    "durable", "fetch": fetch::Durable<'_>;
    "naming", "fetch, import": fetch::Naming;
    "extra", "fetch, import": fetch::Extra<'_>;
    "listening", "serve, node": serve::Listening<'_>;
    "tracking", "serve --tracker": serve::Tracking;
    "published", "serve, node": serve::Published<'_>;
    "withdrawn", "serve, node": serve::Withdrawn<'_>;
    "unpublished", "serve, node, of a folder that cannot be served as it is": serve::Unpublished<'_>;
    "pushing", "push": push::Pushing<'_>;
    "progress", "push": push::Progress<'_>;
    "waiting", "push": push::Waiting<'_>;
    "pushed", "push": push::Pushed<'_>;
    "unpushed", "push, of a target that does not have the model": push::Unpushed<'_>;
    "result", "push": push::Result;
    "ticket", "swarm ticket": swarm::Made<'_>;
    "member", "swarm peers": swarm::Member;
    "shared", "fetch --swarm, at its end": swarm::Shared;
    "model", "node ls": node::Model<'_>;
    "candidate", "node plan": node::Candidate<'_>;
    "forecast", "node plan": node::Forecast;
    "judged", "node plan": node::Judged<'_>;
    "node", "node status": node::Status<'_>;
    "done", "node pin, node unpin, node evict": node::Done<'_>;
    "man", "man": common::Man<'_>;
}

fn object(event: &str, keys: &impl Serialize) -> Value {
    let mut object = serde_json::to_value(keys).expect("the keys of an event are strings");
    object["event"] = event.into();
    object
}
