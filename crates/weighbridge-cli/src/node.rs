//! `node`: a cache of models that is filled while it is asked.

use std::{
    fs,
    path::{Path, PathBuf},
    sync::Arc,
};

#[cfg(unix)]
mod ask;

use tokio::runtime::Builder;
use weighbridge_manifest::{Expectation, ModelName, TrustPolicy, VerifiedHead};
use weighbridge_node::{Config, Judge, Node, NotTaken};
use weighbridge_serve::{Limits, Models, Rules, Site, Supplier, TlsFiles};
use weighbridge_store::{IoError, read_bounded, shown_path};
use weighbridge_transfer::Stop;
use weighbridge_tree::ErrorCode;

use crate::{
    args, bandwidth,
    failure::Failure,
    memory::{Kept, StateFile, Unaccepted},
    output::Output,
    serve, trust,
};

pub(crate) fn run(args: &args::node::Node, output: &Output, stop: &Stop) -> Result<(), Failure> {
    match (&args.ask, &args.config) {
        #[cfg(unix)]
        (Some(ask), _) => ask::run(ask, output),
        #[cfg(not(unix))]
        (Some(_), _) => {
            Err(Failure::usage("nodes answer at a kind of socket that this system does not have"))
        }
        (None, Some(path)) => keep(path, args.log, output, stop),
        (None, None) => Err(Failure::usage("--config is needed")),
    }
}

fn keep(path: &Path, log: args::LogForm, output: &Output, stop: &Stop) -> Result<(), Failure> {
    let mut config = config(path)?;
    fs::create_dir_all(&config.cache).map_err(IoError::at("create", &config.cache))?;
    config.cache = config.cache.canonicalize().map_err(IoError::at("find", &config.cache))?;
    let judge = ByMemory { policy: config.policy.clone(), accepted: config.cache.join(ACCEPTED) };
    // A fault in the policy is said at once.
    let _ = trust::policy_of(&judge.policy)?;
    serve::raise_descriptors();
    let clients = config.tokens.clone().map(serve::clients).transpose()?;
    let tls = config.tls.clone().map(|(certificates, key)| TlsFiles { certificates, key });
    if !output.is_embedded() {
        serve::begin_log(log);
    }
    let (listen, hosts, cache) = (config.listen, config.hosts.clone(), config.cache.clone());
    let models = Arc::new(Models::of(vec![cache.clone()]));
    let changes = models.look();
    let runtime = Builder::new_multi_thread().enable_all().build().map_err(|error| {
        Failure::new(ErrorCode::IO, format!("cannot start the threads of a node: {error}"))
    })?;
    let receive = bandwidth::budget(config.receive.clone());
    // Without a rate nobody knows whether other nodes delay a client at all.
    let fetches_are_peers = config.send.is_some();
    let send = bandwidth::budget(config.send.clone());
    let node = Node::new(config, Arc::new(judge), Arc::clone(&models), receive);
    runtime.block_on(async { node.keep_to_budget() })?;
    let supplier: Option<Arc<dyn Supplier>> = Some(node);
    let rules = Rules { hosts, hub: true, clients, supplier, send, fetches_are_peers, ..Rules::default() };
    let limits = Limits::default();
    let site = Site::new(models, rules, &limits);
    let serving = serve::Serving { runtime, site, listen, limits, tls, hub: true, tracker: None, changes };
    serving.run(output, stop, || output.talk(&format!("models are kept in {}", shown_path(&cache))))
}

/// The file of accepted heads, in the cache.
const ACCEPTED: &str = ".weighbridge-heads.json";

/// The policy of the node, which is read again for each fetch, and the heads that were accepted.
#[derive(Debug)]
struct ByMemory {
    policy: PathBuf,
    accepted: PathBuf,
}

impl Judge for ByMemory {
    fn demand(&self, name: &ModelName) -> Result<(TrustPolicy, Expectation), String> {
        let demand = || {
            let policy = trust::policy_of(&self.policy)?;
            let remembered = StateFile::open(Some(&self.accepted))?.recall(name, &policy)?;
            Ok((policy, remembered.into_iter().fold(Expectation::any(), Expectation::remembering)))
        };
        demand().map_err(|failure: Failure| failure.message)
    }

    fn accept(&self, head: &VerifiedHead, policy: &TrustPolicy) -> Result<(), NotTaken> {
        let memory = |failure: Failure| NotTaken::Memory(failure.message);
        match StateFile::open(Some(&self.accepted)).map_err(memory)?.accept(head, policy) {
            Ok(Kept::Yes { .. }) => Ok(()),
            Ok(Kept::No { trouble }) => Err(NotTaken::Memory(trouble)),
            Err(Unaccepted::Head(error)) => Err(NotTaken::Head(error)),
            Err(Unaccepted::Memory(failure)) => Err(memory(failure)),
        }
    }
}

/// The longest configuration.
const MAX_CONFIG: u64 = 1 << 20;

fn config(path: &Path) -> Result<Config, Failure> {
    let bytes = read_bounded(path, MAX_CONFIG)?;
    let text = String::from_utf8(bytes).map_err(|_| Failure::usage("the text is not UTF-8").about(path))?;
    let beside = path.parent().unwrap_or(Path::new(""));
    Config::parse(&text, beside).map_err(|error| Failure::usage(error.to_string()).about(path))
}
