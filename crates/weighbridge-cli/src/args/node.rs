//! The arguments of `node`.

use std::path::PathBuf;

use clap::{Parser, Subcommand};

use super::LogForm;
use crate::examples;

/// Keep models beside an inference server: what is asked for and is not here is fetched while it is given
///
/// Clients of a hub ask it (HF_ENDPOINT=http://127.0.0.1:8080), and get each byte once its chunk is verified; what they ask for comes
/// first. However many ask for a model, it is fetched once. A model is kept in a Hugging Face cache, so that loaders find it there without
/// a network too. With a `budget` in the configuration, what saves the least waiting goes, and what is expected is fetched ahead; the
/// subcommands ask such a node, and tell it what to keep.
///
/// The first Ctrl-C or SIGTERM ends it once the answers under way are sent, with exit status 0; a second one, at least 0.2 s later, at once.
#[derive(Parser)]
#[command(
    after_help = examples::NODE,
    args_conflicts_with_subcommands = true,
    subcommand_negates_reqs = true
)]
pub(crate) struct Node {
    /// Where models come from, whom to believe, and where they are kept, in TOML
    #[arg(long, value_name = "FILE", required = true)]
    pub(crate) config: Option<PathBuf>,
    /// How to write the log on standard error
    #[arg(long, value_name = "FORM", value_enum, default_value_t = LogForm::Text)]
    pub(crate) log: LogForm,
    #[command(subcommand)]
    pub(crate) ask: Option<Ask>,
}

/// A question to a node that runs, or an order.
#[derive(Subcommand)]
pub(crate) enum Ask {
    /// List the models that a running node has, the first to go first
    #[command(after_help = examples::NODE_LS)]
    Ls(Which),
    Pin(Pin),
    /// Judge a pinned model by its worth again
    #[command(after_help = examples::NODE_UNPIN)]
    Unpin(Model),
    /// Remove a model from the disk of a running node, unless it is in use, pinned or being fetched
    ///
    /// It may come back, as any other, when somebody asks for it.
    #[command(after_help = examples::NODE_EVICT)]
    Evict(Model),
    Plan(Plan),
    /// Say how much of its budget a running node has used, and what it fetches
    #[command(after_help = examples::NODE_STATUS)]
    Status(Which),
}

/// The node that is asked.
#[derive(Parser)]
pub(crate) struct Which {
    /// The configuration of the node
    #[arg(long, value_name = "FILE")]
    pub(crate) config: PathBuf,
}

/// A model of a node.
#[derive(Parser)]
pub(crate) struct Model {
    /// The name of the model
    pub(crate) model: String,
    #[command(flatten)]
    pub(crate) node: Which,
}

/// Keep a model on a running node whatever it is worth, and fetch it if it is not there
///
/// The node has to know a release of it: it was asked for once. A newer release is pinned in its place.
#[derive(Parser)]
#[command(after_help = examples::NODE_PIN)]
pub(crate) struct Pin {
    #[command(flatten)]
    pub(crate) of: Model,
}

/// Print what a running node would fetch ahead, and why, or why not; and what came of earlier forecasts
///
/// Each kind of forecast has a budget of bytes, which those use up that nobody asks for.
#[derive(Parser)]
#[command(after_help = examples::NODE_PLAN)]
pub(crate) struct Plan {
    #[command(flatten)]
    pub(crate) node: Which,
}
