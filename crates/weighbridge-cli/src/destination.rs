//! The place where `fetch` and `import` put a model: a folder, or a Hugging Face cache.

use std::path::PathBuf;

use weighbridge_manifest::{EntryPath, ModelName, shown};
use weighbridge_store::{CachedModel, Existing, StoreError};
use weighbridge_tree::HeadId;

use crate::{args, failure::Failure, fetch::hub_home, output::Output};

/// The place of a model that is fetched or imported.
pub(crate) enum Destination {
    /// A folder of the caller's.
    Folder(PathBuf),
    /// The model's place in a cache.
    Cache(CachedModel),
}

impl Destination {
    /// Opens the place; a cache has one for each model. If another process writes there, this waits, and says so.
    pub(crate) fn open(
        args: &args::Destination,
        name: Option<&ModelName>,
        existing: Existing,
        output: &Output,
    ) -> Result<Self, Failure> {
        if let Some(folder) = &args.output {
            return Ok(Self::Folder(folder.clone()));
        }
        let hub =
            args.hf_cache.clone().flatten().or_else(hub_home::cache_of_environment).ok_or_else(|| {
                Failure::usage("--hf-cache: where the cache is cannot be told")
                    .hint("name it: --hf-cache=DIR")
            })?;
        let name = name.ok_or_else(|| {
            Failure::usage("--hf-cache: the model's name was not said").hint("name it with --name ORG/MODEL")
        })?;
        let waits = |holder: Option<&str>| {
            let holder = holder.map(|holder| format!(": {}", shown(holder))).unwrap_or_default();
            output.talk(&format!("another process puts {name} into the cache; waiting for it{holder}"));
        };
        Ok(Self::Cache(CachedModel::open(&hub, name, existing, waits).map_err(failure)?))
    }

    /// The folder in which the model comes to be.
    pub(crate) fn folder(&self) -> PathBuf {
        match self {
            Self::Folder(folder) => folder.clone(),
            Self::Cache(cached) => cached.incoming(),
        }
    }

    /// Puts the model of this head where it is looked for, and returns that place. `is_there` says which files of its list have
    /// come.
    pub(crate) fn publish(
        self,
        head: HeadId,
        is_there: impl Fn(&EntryPath) -> bool,
    ) -> Result<PathBuf, Failure> {
        Ok(match self {
            Self::Folder(folder) => folder,
            Self::Cache(cached) => cached.publish(head, is_there).map_err(failure)?,
        })
    }

    /// Whether this is a cache: what is not listed does not get there, and is not worth a word.
    pub(crate) fn is_cache(&self) -> bool {
        matches!(self, Self::Cache(_))
    }
}

/// As for a folder that is fetched into, with advice for what a file system may refuse.
fn failure(error: StoreError) -> Failure {
    let advice = match &error {
        StoreError::Io(error) => weighbridge_store::hint(&error.source),
        _ => None,
    };
    advice.into_iter().fold(error.into(), Failure::hint)
}
