//! Asks for listings: a hub's revision and the pages of its tree, or a folder's `SHA256SUMS` and the lengths of its files.

use std::{
    collections::HashSet,
    sync::{Mutex, PoisonError},
    time::Duration,
};

use ::http::header::LINK;
use futures_util::stream::{self, StreamExt as _, TryStreamExt as _};
use tokio::time::sleep;
use url::Url;
use weighbridge_manifest::{EntryPath, ListedDigest, ListedFile, shown};

use super::{Base, Fault, HttpSource, Hub, answer, beneath, public, read};
use crate::source::listing::{
    Files, Listing, ListingFault, NotListed, sums,
    tree::{self, Revision},
};

impl HttpSource {
    /// The address that is asked first.
    pub(crate) fn address(&self) -> &Url {
        match &self.base {
            Base::Folder(url) => url,
            Base::Hub(hub) => hub.endpoint(),
        }
    }

    /// Lists the files. A hub's revision is resolved for the source, too: it reads the listed commit from then on.
    pub(crate) async fn list(&self) -> Result<Listing, NotListed> {
        let patience = Patience::default();
        match &self.base {
            Base::Folder(url) => self.list_folder(url, &patience).await,
            Base::Hub(hub) => self.list_hub(hub, &patience).await,
        }
    }

    async fn list_hub(&self, hub: &Hub, patience: &Patience) -> Result<Listing, NotListed> {
        let about = async || hub.about(&self.client, &self.secrets, &["sha", "cardData"], MAX_REVISION).await;
        let answer = patience.ask("the revision", about).await?;
        let Revision { commit, base_models } = Revision::parse(&answer)?;
        hub.fix(&commit);
        let (mut url, mut left, mut files) = (hub.tree(&commit), MAX_TREE, Files::default());
        let mut asked = HashSet::from([url.clone()]);
        for number in 1.. {
            let place = format!("page {number}");
            if number > MAX_PAGES || left == 0 {
                return Err(ListingFault::TooLong.at(place).into());
            }
            let (page, next) =
                patience.ask(&place, async || self.page(url.clone(), left.min(MAX_PAGE)).await).await?;
            left = left.saturating_sub(u64::try_from(page.len()).unwrap_or(u64::MAX));
            tree::page(&page, number, &mut files)?;
            let Some(next) = next else { break };
            // The token goes along, and only this server may see it.
            let next = url.join(&next).ok().filter(|next| next.origin() == url.origin());
            url = next.ok_or_else(|| ListingFault::Elsewhere.at(place.clone()))?;
            if !asked.insert(url.clone()) {
                return Err(ListingFault::Loop.at(place).into());
            }
        }
        let has_head = files.has_head();
        let file = |(path, (size, digest))| ListedFile { path, size, digest };
        let files = files.sorted()?.into_iter().map(file).collect();
        Ok(Listing { origin: hub.at(&commit), commit: Some(commit), base_models, has_head, files })
    }

    /// A page of a tree, and the address of the next one.
    async fn page(&self, url: Url, limit: u64) -> Result<(Vec<u8>, Option<String>), Fault> {
        let answer = self.client.get(url, self.secrets.clone(), None).await?;
        answer::check_whole(&answer.head(), limit).map_err(no_file)?;
        let links = answer.response.headers().get_all(LINK).iter().filter_map(|value| value.to_str().ok());
        let next = tree::next_page(links).map(str::to_owned);
        Ok((read(answer.response, limit).await.map_err(no_file)?, next))
    }

    async fn list_folder(&self, url: &Url, patience: &Patience) -> Result<Listing, NotListed> {
        let whole = async || {
            let answer = self.client.get(beneath(url, [sums::NAME]), self.secrets.clone(), None).await?;
            answer::check_whole(&answer.head(), MAX_PAGE).map_err(no_file)?;
            read(answer.response, MAX_PAGE).await.map_err(no_file)
        };
        let files = sums::parse(&patience.ask(sums::NAME, whole).await?)?;
        let has_head = files.has_head();
        let sized = files.sorted()?.into_iter().map(async |(path, digest)| {
            let size = patience.ask(&shown(path.as_str()), async || self.size(url, &path).await).await?;
            if size >= 1 << 53 {
                return Err(NotListed::from(ListingFault::Size { size }.of(path.as_str())));
            }
            Ok(ListedFile { path, size, digest: ListedDigest::Sha256(digest) })
        });
        let files = stream::iter(sized).buffered(AT_ONCE).try_collect().await?;
        Ok(Listing { origin: public(url), commit: None, base_models: Vec::new(), has_head, files })
    }

    /// The length of a file of a folder. Its first byte is asked for, since addresses that are signed allow no `HEAD`.
    async fn size(&self, url: &Url, path: &EntryPath) -> Result<u64, Fault> {
        let url = beneath(url, path.as_str().split('/'));
        let answer = self.client.get(url, self.secrets.clone(), Some(&(0..1))).await?;
        answer::check_size(&answer.head())
    }
}

/// No answer about a listing is an answer about a file.
fn no_file(fault: Fault) -> Fault {
    match fault {
        Fault::OtherFile(what) => Fault::Refused(what),
        fault => fault,
    }
}

/// Asks a server again that is busy or breaks off, for a bounded number of times, and waits a bounded time in all.
struct Patience(Mutex<Duration>);

impl Default for Patience {
    fn default() -> Self {
        Self(Mutex::new(MAX_WAIT))
    }
}

impl Patience {
    async fn ask<T>(&self, what: &str, ask: impl AsyncFn() -> Result<T, Fault>) -> Result<T, NotListed> {
        let mut pause = FIRST_PAUSE;
        for times in 1.. {
            let fault = match ask().await {
                Ok(answer) => return Ok(answer),
                Err(fault) => fault,
            };
            let (wait, most) = match &fault {
                Fault::Busy { retry_after, .. } => (retry_after.unwrap_or(pause), BUSY_TIMES),
                Fault::Unreachable(_) => (pause, UNREACHABLE_TIMES),
                _ => (pause, 1),
            };
            if times >= most || !self.take(wait) {
                return Err(NotListed::NotGiven { what: what.to_owned(), fault });
            }
            sleep(wait).await;
            pause = pause.saturating_mul(2);
        }
        unreachable!("the loop has no end")
    }

    /// Takes a wait from the time that is left for waiting; false if there is less.
    fn take(&self, wait: Duration) -> bool {
        let mut left = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match left.checked_sub(wait) {
            Some(rest) => {
                *left = rest;
                true
            }
            None => false,
        }
    }
}

const FIRST_PAUSE: Duration = Duration::from_millis(500);
/// How often a server is asked that is busy.
const BUSY_TIMES: u32 = 8;
/// How often a server is asked that cannot be reached.
const UNREACHABLE_TIMES: u32 = 3;
/// The time after which hubs count anew how often they were asked.
const MAX_WAIT: Duration = Duration::from_secs(300);

/// How many files of a folder are asked for their lengths at once.
const AT_ONCE: usize = 8;

/// The longest answer about a revision. A hub that does not know `expand` also lists the repository's files.
const MAX_REVISION: u64 = 8 << 20;
/// The longest page. A hub gives a thousand entries, of some hundred bytes each; others give all entries at once.
const MAX_PAGE: u64 = 8 << 20;
/// The longest tree.
const MAX_TREE: u64 = 64 << 20;
const MAX_PAGES: usize = 1 << 10;
