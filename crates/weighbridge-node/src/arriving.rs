//! A release that a node fetches, as a server gives it meanwhile.

use std::{
    collections::BTreeMap,
    fmt, io,
    ops::Range,
    path::{Path, PathBuf},
    sync::{Arc, OnceLock},
    time::Duration,
};

use tokio::sync::watch;
use weighbridge_manifest::{VerifiedFileList, VerifiedTensorList};
use weighbridge_serve::{Coming, Waiting, Wished};
use weighbridge_store::{IoError, ModelView, ViewError};
use weighbridge_transfer::{Guide, Holding};
use weighbridge_tree::{FileRoot, Grid, Layer};

/// The stage of a fetch. Each change wakes those who wait for bytes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) enum Stage {
    /// Lists are on their way, and so are files.
    #[default]
    Under,
    /// All of it is in the cache.
    Done,
    /// It has ended without the whole model, for this reason.
    Failed(String),
}

/// The progress of a fetch: the stage, and a number that grows with what is here.
#[derive(Clone, Debug, Default)]
pub(crate) struct News {
    pub(crate) stage: Stage,
    pub(crate) begun: bool,
    chunks: u64,
}

/// Hears what a fetch brings.
pub(crate) struct Ear {
    pub(crate) holding: OnceLock<Holding>,
    pub(crate) news: watch::Sender<News>,
}

impl Ear {
    pub(crate) fn new() -> Arc<Self> {
        Arc::new(Self { holding: OnceLock::new(), news: watch::Sender::default() })
    }

    pub(crate) fn end(&self, stage: Stage) {
        self.news.send_modify(|news| news.stage = stage);
    }
}

impl Guide for Ear {
    fn begin(&self, holding: &Holding) {
        let _ = self.holding.set(holding.clone());
        self.news.send_modify(|news| news.begun = true);
    }

    fn holds(&self, _: usize, _: &Range<u64>) {
        self.news.send_modify(|news| news.chunks = news.chunks.wrapping_add(1));
    }
}

impl fmt::Debug for Ear {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Ear").finish_non_exhaustive()
    }
}

/// A release on its way.
pub(crate) struct Arriving {
    holding: Holding,
    /// By root: the file that is fetched. Others with the same root are made of it.
    fetched: BTreeMap<FileRoot, usize>,
    ear: Arc<Ear>,
    /// The snapshot in which it will be.
    folder: PathBuf,
    /// The files at their last place, once they are there.
    pub(crate) placed: OnceLock<Arc<ModelView>>,
}

/// The longest wait for files that are on the way to their last place.
const MOVING: Duration = Duration::from_secs(30);

impl Arriving {
    pub(crate) fn new(holding: Holding, ear: Arc<Ear>, folder: PathBuf) -> Self {
        let fetched = holding.wanted().map(|(position, root, _)| (root, position)).collect();
        Self { holding, fetched, ear, folder, placed: OnceLock::new() }
    }

    /// The file that is fetched for this one.
    fn fetched(&self, file: usize) -> usize {
        let root = self.holding.files().entries().get(file).map(|entry| entry.root);
        root.and_then(|root| self.fetched.get(&root)).copied().unwrap_or(file)
    }

    fn chunks(&self, file: usize, bytes: &Range<u64>) -> Range<u64> {
        let unit = self.holding.files().chunk_size().bytes().max(1);
        let size = self.holding.files().entries().get(file).map_or(0, |entry| entry.size);
        bytes.start.checked_div(unit).unwrap_or(0)..bytes.end.min(size).div_ceil(unit)
    }

    fn lost(&self, file: usize, why: &str) -> ViewError {
        let path = self.holding.files().entries().get(file).map_or("", |entry| entry.path.as_str());
        IoError::at("fetch", path)(io::Error::other(why.to_owned())).into()
    }

    /// Waits until something is here. `lost` is the error if the fetch ends before.
    fn until(&self, lost: ViewError, is_here: impl Fn() -> bool + Send + Sync + 'static) -> Waiting {
        let mut news = self.ear.news.subscribe();
        Box::pin(async move {
            // Each chunk that comes is news, and so is the end; layers come before the chunks of their files.
            let _ = news.wait_for(|news| is_here() || news.stage != Stage::Under).await;
            if is_here() { Ok(()) } else { Err(lost) }
        })
    }

    /// Reads from the last place of the files, which are moved there at the end.
    fn fill_placed(&self, file: usize, offset: u64, into: &mut [u8]) -> Result<(), ViewError> {
        let mut waited = Duration::ZERO;
        const STEP: Duration = Duration::from_millis(20);
        while self.placed.get().is_none() && waited < MOVING {
            if let Stage::Failed(why) = &self.ear.news.borrow().stage {
                return Err(self.lost(file, why));
            }
            std::thread::sleep(STEP);
            waited = waited.saturating_add(STEP);
        }
        let view = self.placed.get().ok_or_else(|| self.lost(file, "it did not get to its place"))?;
        view.open_file(file)?.fill_at(offset, into)
    }
}

impl Coming for Arriving {
    fn folder(&self) -> &Path {
        &self.folder
    }

    fn note(&self) -> &[u8] {
        self.holding.note()
    }

    fn files(&self) -> &Arc<VerifiedFileList> {
        self.holding.files()
    }

    fn tensors(&self) -> Option<&Arc<VerifiedTensorList>> {
        self.holding.tensors()
    }

    fn layer(&self, file: usize) -> Result<Layer, ViewError> {
        self.holding
            .layer(self.fetched(file))
            .cloned()
            .ok_or_else(|| self.lost(file, "its layer has not come yet"))
    }

    fn has(&self, file: usize, bytes: &Range<u64>) -> bool {
        self.holding.has(self.fetched(file), &self.chunks(file, bytes))
    }

    fn wish(&self, file: usize, bytes: &Range<u64>) -> Wished {
        Box::new(self.holding.wish(self.fetched(file), self.chunks(file, bytes)))
    }

    fn wait(&self, file: usize, bytes: Range<u64>) -> Waiting {
        let (holding, chunks) = (self.holding.clone(), self.chunks(file, &bytes));
        let lost = self.lost(file, "the fetch has ended without these bytes");
        let file = self.fetched(file);
        self.until(lost, move || holding.has(file, &chunks))
    }

    fn wait_for_layers(&self, files: Range<usize>) -> Waiting {
        let holding = self.holding.clone();
        let lost = self.lost(files.start, "the fetch has ended without its layer");
        let with_layer = |file: &usize| {
            let entry = holding.files().entries().get(*file);
            entry.is_some_and(|entry| {
                Grid::new(entry.size, holding.files().chunk_size()).is_ok_and(Grid::has_layer)
            })
        };
        let fetched: Vec<_> = files.filter(with_layer).map(|file| self.fetched(file)).collect();
        let holding = self.holding.clone();
        self.until(lost, move || fetched.iter().all(|file| holding.layer(*file).is_some()))
    }

    fn fill(&self, file: usize, offset: u64, into: &mut [u8]) -> Result<(), ViewError> {
        let len = u64::try_from(into.len()).unwrap_or(u64::MAX);
        let chunks = self.chunks(file, &(offset..offset.saturating_add(len)));
        if self.placed.get().is_none()
            && let Ok(read) = self.holding.read(self.fetched(file), chunks)
            && let Some(read) = read.get(..into.len())
        {
            into.copy_from_slice(read);
            return Ok(());
        }
        self.fill_placed(file, offset, into)
    }
}

impl fmt::Debug for Arriving {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Arriving").field("folder", &self.folder).finish_non_exhaustive()
    }
}
