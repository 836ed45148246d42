//! A hub: repositories with revisions, over HTTP. The revision is resolved to a commit once, so that one fetch sees one
//! state of the repository.

use std::fmt;

use tokio::sync::OnceCell;
use url::Url;

use super::{Client, Secrets, answer::check_whole, beneath, body::read};
use crate::source::{Fault, listing::tree::Revision};

/// A revision of a repository of models.
pub(crate) struct Hub {
    endpoint: Url,
    /// `org/name`, or `name` for the few models that have no organisation.
    repository: String,
    revision: String,
    commit: OnceCell<String>,
}

impl Hub {
    /// Parses `text`: `org/name` or `name`, optionally followed by `@revision`.
    ///
    /// # Errors
    /// The reason why the text is wrong.
    pub(crate) fn parse(text: &str, endpoint: Url) -> Result<Self, &'static str> {
        let (repository, revision) = text.split_once('@').unwrap_or((text, "main"));
        let names: Vec<_> = repository.split('/').collect();
        if names.len() > 2 {
            return Err("it has to be hf://org/name[@revision]");
        }
        if !names.into_iter().all(is_name) {
            return Err("an organisation or a model has letters, digits, '.', '_' and '-' in its name");
        }
        if revision.is_empty() || revision.chars().any(char::is_control) {
            return Err("the revision is empty, or no text");
        }
        let (repository, revision) = (repository.to_owned(), revision.to_owned());
        Ok(Self { endpoint, repository, revision, commit: OnceCell::new() })
    }

    /// The URL of a file, in the commit that the revision named when it was first resolved.
    ///
    /// # Errors
    /// [`Fault`]. If the commit could not be resolved, the next call tries again.
    pub(crate) async fn file(&self, client: &Client, secrets: &Secrets, path: &str) -> Result<Url, Fault> {
        let commit = self.commit.get_or_try_init(|| self.resolve(client, secrets)).await?;
        let names = self.repository.split('/').chain(["resolve", commit]).chain(path.split('/'));
        Ok(beneath(&self.endpoint, names))
    }

    async fn resolve(&self, client: &Client, secrets: &Secrets) -> Result<String, Fault> {
        // Asks for the commit alone: the whole answer lists every file of the repository.
        let body = self.about(client, secrets, &["sha"], MAX_ANSWER).await?;
        let said = Revision::parse(&body).map_err(|_| "does not say which commit the revision is");
        said.map(|revision| revision.commit).map_err(|why| Fault::Refused(why.to_owned()))
    }

    /// Asks for these properties of the revision. A hub that does not know `expand` answers with all.
    ///
    /// # Errors
    /// [`Fault`], also if the answer has more than `limit` bytes.
    pub(super) async fn about(
        &self,
        client: &Client,
        secrets: &Secrets,
        properties: &[&str],
        limit: u64,
    ) -> Result<Vec<u8>, Fault> {
        // A revision such as `refs/pr/1` is one path segment.
        let mut url = self.api(["revision", &self.revision]);
        url.query_pairs_mut().extend_pairs(properties.iter().map(|property| ("expand", property)));
        let answer = client.get(url, secrets.clone(), None).await?;
        let of_no_file = |fault| match fault {
            Fault::Missing => Fault::Refused("has no such model, or no such revision of it".to_owned()),
            Fault::OtherFile(what) => Fault::Refused(format!("its answer about the revision {what}")),
            fault => fault,
        };
        check_whole(&answer.head(), limit).map_err(of_no_file)?;
        read(answer.response, limit).await.map_err(of_no_file)
    }

    /// Reads this commit from now on, unless the revision was resolved before.
    pub(super) fn fix(&self, commit: &str) {
        // The commit that was resolved first counts.
        let _ = self.commit.set(commit.to_owned());
    }

    /// The URL of the first page of a commit's tree.
    pub(super) fn tree(&self, commit: &str) -> Url {
        let mut url = self.api(["tree", commit]);
        url.query_pairs_mut().extend_pairs([("recursive", "true"), ("expand", "false")]);
        url
    }

    fn api(&self, names: [&str; 2]) -> Url {
        let repository = self.repository.split('/');
        beneath(&self.endpoint, ["api", "models"].into_iter().chain(repository).chain(names))
    }

    pub(super) fn endpoint(&self) -> &Url {
        &self.endpoint
    }

    /// The address of a commit, as people write it.
    pub(super) fn at(&self, commit: &str) -> String {
        format!("hf://{}@{commit}", self.repository)
    }
}

/// Shows the hub as people write it.
impl fmt::Display for Hub {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "hf://{}@{}", self.repository, self.revision)
    }
}

fn is_name(text: &str) -> bool {
    let plain = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-');
    !text.is_empty() && text.bytes().all(plain) && !matches!(text, "." | "..")
}

/// The longest answer of the hub that is read. A hub that does not know `expand` also lists the repository's files.
const MAX_ANSWER: u64 = 1 << 20;
