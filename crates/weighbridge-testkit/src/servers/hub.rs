//! A hub on loopback that answers as huggingface.co does, and its storage, which is another server.
//!
//! Routes and headers are those that huggingface_hub 0.36 to 2.4 ask for and read.

use std::{
    collections::{BTreeMap, HashMap},
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use serde_json::{Value, json};

use super::{
    answer::{Reply, header},
    content::Content,
    faulty::{Faulty, Located, Site},
    request::{Head, Request, decoded},
};

mod commit;

use commit::{Commit, Entry};

/// A hub and its storage. Faults of either are those of its [`Faulty`]; rules match the path of a file in its model, and
/// for other requests the path of the URL.
pub struct Hub {
    front: Faulty,
    storage: Faulty,
    state: Arc<State>,
}

/// To whom a repository gives its files.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Visibility {
    /// To everybody.
    #[default]
    Public,
    /// To requests with [`Hub::TOKEN`]; without it the repository does not seem to exist.
    Private,
    /// To requests with [`Hub::TOKEN`]; everybody may list them.
    Gated,
}

#[derive(Default)]
struct State {
    repositories: Mutex<BTreeMap<String, Repository>>,
    settings: Mutex<Settings>,
    /// The files of signed URLs, by token.
    signed: Mutex<HashMap<String, Signed>>,
    /// The URL of the storage.
    storage: Mutex<String>,
}

#[derive(Default)]
struct Repository {
    visibility: Visibility,
    card: Value,
    commits: BTreeMap<String, Commit>,
    /// The commits of branches and tags.
    revisions: BTreeMap<String, String>,
}

struct Settings {
    /// The number of entries of a page.
    page: usize,
    /// The number of requests that a signed URL answers.
    uses: u64,
    /// The number of requests that are still denied for being too many, and the seconds to wait.
    limited: (u64, u64),
}

impl Default for Settings {
    fn default() -> Self {
        Self { page: 1_000, uses: u64::MAX, limited: (0, 0) }
    }
}

struct Signed {
    folder: PathBuf,
    path: String,
    left: u64,
}

impl Hub {
    /// The token that opens what is private or gated.
    pub const TOKEN: &str = "hf_of_this_test";

    /// A hub without repositories.
    pub fn start() -> Self {
        let state = Arc::<State>::default();
        let front = Faulty::start_site(Front(Arc::clone(&state)));
        let storage = Faulty::start_site(Storage(Arc::clone(&state)));
        *lock(&state.storage) = storage.url();
        Self { front, storage, state }
    }

    /// The endpoint, as in `HF_ENDPOINT`.
    pub fn url(&self) -> String {
        self.front.url()
    }

    /// Makes a commit of a folder, moves `main` to it, and returns its id. Sizes and digests are those of now; the bytes
    /// are read from the folder when they are asked for. So a folder that is altered later is a storage that decays.
    pub fn commit(&self, repository: &str, folder: &Path) -> String {
        let mut repositories = lock(&self.state.repositories);
        let repository = repositories.entry(repository.to_owned()).or_default();
        let commit = Commit::of(folder, repository.commits.len());
        let id = commit.id.clone();
        repository.commits.insert(id.clone(), commit);
        repository.revisions.insert("main".to_owned(), id.clone());
        id
    }

    /// Names a commit by a tag or a branch.
    pub fn name(&self, repository: &str, revision: &str, commit: &str) {
        self.change(repository, |repository| {
            repository.revisions.insert(revision.to_owned(), commit.to_owned());
        });
    }

    /// Removes a commit, and the names that it has.
    pub fn forget(&self, repository: &str, commit: &str) {
        self.change(repository, |repository| {
            repository.commits.remove(commit);
            repository.revisions.retain(|_, named| named != commit);
        });
    }

    /// Restricts who is given the files of a repository.
    pub fn restrict(&self, repository: &str, visibility: Visibility) {
        self.change(repository, |repository| repository.visibility = visibility);
    }

    /// Sets the metadata of a model's card, such as its `base_model`.
    pub fn describe(&self, repository: &str, card: Value) {
        self.change(repository, |repository| repository.card = card);
    }

    /// Lists this number of entries on a page, in place of a thousand.
    pub fn list_by(&self, page: usize) {
        lock(&self.state.settings).page = page;
    }

    /// Lets each signed URL of the storage answer this number of requests, and deny all others as expired.
    pub fn expire_after(&self, requests: u64) {
        lock(&self.state.settings).uses = requests;
    }

    /// Denies this number of further requests to the hub for being too many, each with `RateLimit` and this many seconds.
    pub fn limit(&self, requests: u64, seconds: u64) {
        lock(&self.state.settings).limited = (requests, seconds);
    }

    /// The server of the API and of small files. Tokens are for it alone.
    pub fn front(&self) -> &Faulty {
        &self.front
    }

    /// The server of large files, to which the hub redirects.
    pub fn storage(&self) -> &Faulty {
        &self.storage
    }

    /// The requests for a file, of both servers, once all answers have ended.
    pub fn requests(&self, path: &str) -> Vec<Request> {
        let all = self.front.settled().into_iter().chain(self.storage.settled());
        all.filter(|request| request.path == path).collect()
    }

    /// The number of bytes of a file that were sent, with those of redirects.
    pub fn sent(&self, path: &str) -> u64 {
        self.requests(path).iter().map(|request| request.sent).sum()
    }

    fn change(&self, repository: &str, change: impl FnOnce(&mut Repository)) {
        change(lock(&self.state.repositories).get_mut(repository).expect("a repository with a commit"));
    }
}

/// The API, and the files.
struct Front(Arc<State>);

impl Site for Front {
    fn at(&self, head: &Head) -> (String, Located) {
        let path = decoded(&head.target).unwrap_or_default();
        {
            let (left, seconds) = &mut lock(&self.0.settings).limited;
            if *left > 0 {
                *left -= 1;
                let limit = header("RateLimit", &format!("\"api\";r=0;t={seconds}"));
                return (path, Located::Reply(Reply::status(429, vec![limit])));
            }
        }
        let names: Vec<String> = path.trim_start_matches('/').split('/').map(str::to_owned).collect();
        let target = head.target.split('?').next().unwrap_or_default();
        // A revision may hold a slash, which is escaped in the target.
        let escaped: Vec<&str> = target.trim_start_matches('/').split('/').collect();
        let located = match &escaped[..] {
            ["api", "models", org, name, rest @ ..] => self.api(head, &format!("{org}/{name}"), rest),
            [org, name, "resolve", revision, file @ ..] => {
                let file = decoded(&file.join("/")).unwrap_or_default();
                let located = self.resolve(head, &format!("{org}/{name}"), revision, &file);
                return (file, located);
            }
            _ => denied(404, "RepoNotFound"),
        };
        (names.join("/"), located)
    }
}

impl Front {
    fn api(&self, head: &Head, repository: &str, rest: &[&str]) -> Located {
        let repositories = lock(&self.0.repositories);
        let Some(of) = repositories.get(repository).filter(|of| of.shows(head)) else {
            return denied(401, "RepoNotFound");
        };
        let (revision, folder) = match rest {
            [] => ("main", None),
            ["revision", revision] => (*revision, None),
            ["tree", revision, folder @ ..] => (*revision, decoded(&folder.join("/"))),
            _ => return denied(404, "RepoNotFound"),
        };
        let Some(commit) = of.find(revision) else { return denied(404, "RevisionNotFound") };
        match folder {
            None => answer(&of.about(repository, commit, &head.target), Vec::new()),
            Some(folder) => {
                let page = lock(&self.0.settings).page;
                let (entries, next) = commit.page(&folder, &head.target, page);
                let host = head.header("host").unwrap_or_default();
                let link = |next| header("Link", &format!("<http://{host}{next}>; rel=\"next\""));
                answer(&entries, next.map(link).into_iter().collect())
            }
        }
    }

    fn resolve(&self, head: &Head, repository: &str, revision: &str, file: &str) -> Located {
        let repositories = lock(&self.0.repositories);
        let Some(of) = repositories.get(repository).filter(|of| of.shows(head)) else {
            return denied(401, "RepoNotFound");
        };
        if of.visibility == Visibility::Gated && !has_token(head) {
            return denied(if head.header("authorization").is_some() { 403 } else { 401 }, "GatedRepo");
        }
        let Some(commit) = of.find(revision) else { return denied(404, "RevisionNotFound") };
        let of_commit = header("X-Repo-Commit", &commit.id);
        let Some(Entry { size, id, sha256 }) = commit.files.get(file) else {
            let error = header("X-Error-Code", "EntryNotFound");
            return Located::Reply(Reply::status(404, vec![error, of_commit]));
        };
        let Some(sha256) = sha256 else {
            let headers = vec![header("ETag", &format!("\"{id}\"")), of_commit];
            return match Content::open(&commit.folder.join(file)) {
                Some(content) => Located::File(content, headers),
                None => denied(500, "Storage"),
            };
        };
        let etag = format!("\"{sha256}\"");
        let mut signed = lock(&self.0.signed);
        let token = format!("t{}", signed.len());
        let at = head.target.split('?').next().unwrap_or_default();
        let location = format!("{}/storage{at}?Expires=1&Signature={token}", lock(&self.0.storage));
        let left = lock(&self.0.settings).uses;
        signed.insert(token, Signed { folder: commit.folder.clone(), path: file.to_owned(), left });
        Located::Reply(Reply::status(
            302,
            vec![
                header("Location", &location),
                header("X-Linked-Size", &size.to_string()),
                header("X-Linked-Etag", &etag),
                header("ETag", &etag),
                of_commit,
            ],
        ))
    }
}

impl Repository {
    /// Whether the repository seems to exist.
    fn shows(&self, head: &Head) -> bool {
        self.visibility != Visibility::Private || has_token(head)
    }

    /// The commit of an escaped revision.
    fn find(&self, revision: &str) -> Option<&Commit> {
        let revision = decoded(revision)?;
        let named = self.revisions.get(&revision).unwrap_or(&revision);
        self.commits.get(named)
    }

    /// The answer about a revision: everything, or only what is asked for by `expand`.
    fn about(&self, repository: &str, commit: &Commit, target: &str) -> Value {
        let mut about = json!({
            "id": repository,
            "modelId": repository,
            "sha": commit.id,
            "private": self.visibility == Visibility::Private,
            "gated": self.visibility == Visibility::Gated,
            "tags": [],
            "downloads": 0,
            "cardData": self.card,
            "siblings": commit.files.keys().map(|path| json!({"rfilename": path})).collect::<Vec<_>>(),
        });
        let query = target.split_once('?').map_or("", |(_, query)| query);
        let expand: Vec<&str> = query.split('&').filter_map(|pair| pair.strip_prefix("expand=")).collect();
        if !expand.is_empty() {
            about.as_object_mut().unwrap().retain(|key, _| key == "id" || expand.contains(&&**key));
        }
        about
    }
}

/// The large files, at signed URLs.
struct Storage(Arc<State>);

impl Site for Storage {
    fn at(&self, head: &Head) -> (String, Located) {
        let token = head.target.rsplit_once("Signature=").map_or("", |(_, token)| token);
        let mut signed = lock(&self.0.signed);
        let Some(Signed { folder, path, left }) = signed.get_mut(token) else {
            return (String::new(), Located::Reply(Reply::status(403, Vec::new())));
        };
        let content = Content::open(&folder.join(&*path)).filter(|_| *left > 0);
        *left = left.saturating_sub(1);
        let located = match content {
            Some(content) => Located::File(content, Vec::new()),
            None => Located::Reply(Reply::status(403, Vec::new())),
        };
        (path.clone(), located)
    }
}

fn has_token(head: &Head) -> bool {
    head.header("authorization").and_then(|value| value.strip_prefix("Bearer ")) == Some(Hub::TOKEN)
}

fn answer(json: &Value, mut headers: Vec<(String, String)>) -> Located {
    headers.push(header("Content-Type", "application/json; charset=utf-8"));
    Located::Reply(Reply::bytes(200, headers, json.to_string().into_bytes()))
}

fn denied(status: u16, code: &str) -> Located {
    Located::Reply(Reply::status(status, vec![header("X-Error-Code", code)]))
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
