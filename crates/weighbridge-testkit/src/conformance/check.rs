//! The vocabulary of the checks: their names, how they fail, and how they read.

use std::{fmt, future::Future, ops::Range};

use tokio::time::timeout;
use weighbridge_transfer::{Body, Fault, Source, What};

use super::{Item, Suite};

/// A check of the suite. A failure names it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Check {
    Name,
    Folder,
    Whole,
    Limit,
    Twice,
    Ranges,
    Listed,
    Metadata,
    Together,
    Missing,
    OtherLengths,
    DroppedBodies,
    DroppedRequests,
    Inventory,
    Anew,
    Nothing,
    Growth,
}

impl fmt::Display for Check {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Name => "it has a name",
            Self::Folder => "its folder is a folder",
            Self::Whole => "it gives the whole head",
            Self::Limit => "it gives no more than the limit",
            Self::Twice => "it gives the head again",
            Self::Ranges => "it gives ranges of files",
            Self::Listed => "it gives files that are listed without a root, or does not have them",
            Self::Metadata => "it gives ranges of lists and layers",
            Self::Together => "it gives several things at the same time",
            Self::Missing => "it says what it does not have",
            Self::OtherLengths => "it says that a file has another length",
            Self::DroppedBodies => "it goes on after a body was dropped",
            Self::DroppedRequests => "it goes on after a request was dropped",
            Self::Inventory => "its inventory is true",
            Self::Anew => "it reads the head anew",
            Self::Nothing => "it says that it has nothing",
            Self::Growth => "it gives what its inventory has, while that grows",
        })
    }
}

/// The suite at work on a source.
pub(super) struct Run<'r> {
    pub(super) suite: &'r Suite<'r>,
    pub(super) source: &'r dyn Source,
}

impl Run<'_> {
    pub(super) fn fail(&self, check: Check, expected: &str, got: impl fmt::Debug) -> ! {
        let name = self.source.name();
        panic!("the source {name:?} fails the check \"{check}\": expected {expected}, got {got:?}")
    }

    /// The result of a request, if it comes in time.
    pub(super) async fn in_time<T>(&self, check: Check, asked: &str, work: impl Future<Output = T>) -> T {
        match timeout(self.suite.patience, work).await {
            Ok(result) => result,
            Err(_) => self.fail(check, asked, format_args!("nothing for {:?}", self.suite.patience)),
        }
    }

    pub(super) async fn open(&self, check: Check, what: &What, range: &Range<u64>) -> Result<Body, Fault> {
        let asked = asked(what, range);
        let opened = self.in_time(check, &asked, self.source.open(what, range.clone())).await;
        if let Ok(body) = &opened
            && body.start() > range.start
        {
            let expected = format!("{asked} from a body that begins there or before");
            self.fail(check, &expected, format_args!("a body that begins at {}", body.start()));
        }
        opened
    }

    /// Opens a range that the source has.
    pub(super) async fn reader<'i>(&self, check: Check, item: &'i Item, range: Range<u64>) -> Reader<'i> {
        match self.open(check, &item.what, &range).await {
            Ok(body) => Reader::new(item, range, body),
            Err(fault) => self.fail(check, &asked(&item.what, &range), fault),
        }
    }

    /// Reads a range that the source has, to its end.
    pub(super) async fn read(&self, check: Check, item: &Item, range: Range<u64>) {
        let reader = self.reader(check, item, range).await;
        self.read_on(check, reader).await;
    }

    /// Reads to the end of a range.
    pub(super) async fn read_on(&self, check: Check, mut reader: Reader<'_>) {
        while self.step(check, &mut reader).await {}
    }

    /// Reads the next bytes of a range, and compares them. Returns false if the range is over.
    pub(super) async fn step(&self, check: Check, reader: &mut Reader<'_>) -> bool {
        let Reader { item, range, at, body } = reader;
        if *at >= range.end {
            return false;
        }
        let asked = asked(&item.what, range);
        let bytes = match self.in_time(check, &asked, body.next()).await {
            Ok(Some(bytes)) => bytes,
            Ok(None) => self.fail(check, &asked, format_args!("an end at {at}")),
            Err(fault) => self.fail(check, &asked, fault),
        };
        // Nobody looks at what lies behind the range.
        let wanted = &item.bytes[index(*at)..index(range.end)];
        let wanted = &wanted[..wanted.len().min(bytes.len())];
        if let Some(other) = wanted.iter().zip(&bytes).position(|(wanted, got)| wanted != got) {
            let place = *at + u64::try_from(other).unwrap();
            let expected = format!("{asked} from a body that begins at {}", body.start());
            self.fail(check, &expected, format_args!("another byte at {place}"));
        }
        *at += u64::try_from(bytes.len()).unwrap();
        *at < range.end
    }

    /// Expects that the source says it does not have something.
    pub(super) fn expect_missing(&self, check: Check, asked: &str, got: &Result<(), Fault>) {
        match got {
            Err(Fault::Missing) => {}
            Err(Fault::Refused(_)) if self.suite.may_deny => {}
            Ok(()) => self.fail(check, &format!("Missing for {asked}"), format_args!("an answer")),
            Err(fault) => self.fail(check, &format!("Missing for {asked}"), fault),
        }
    }
}

/// A body that is being read and compared.
pub(super) struct Reader<'i> {
    item: &'i Item,
    range: Range<u64>,
    /// The place of the next byte.
    at: u64,
    body: Body,
}

impl<'i> Reader<'i> {
    pub(super) fn new(item: &'i Item, range: Range<u64>, body: Body) -> Self {
        Self { item, at: body.start(), range, body }
    }
}

pub(super) fn asked(what: &What, range: &Range<u64>) -> String {
    let size = what.size().unwrap_or_default();
    format!("bytes {}..{} of {} ({size} bytes)", range.start, range.end, what.name())
}

fn index(offset: u64) -> usize {
    usize::try_from(offset).unwrap()
}
