//! Checks of the bytes that a source gives, and of what becomes of it when they are no longer wanted.

use std::{
    future::{Future, poll_fn},
    ops::Range,
    pin::pin,
    task::Poll,
    time::Duration,
};

use futures_util::future::join_all;
use tokio::time::timeout;
use weighbridge_transfer::What;

use super::{
    Item,
    check::{Check, Reader, Run, asked},
};

impl Run<'_> {
    pub(super) async fn ranges(&self) {
        for item in self.suite.content.files() {
            for range in ranges(item, self.suite.content.chunk()) {
                self.read(Check::Ranges, item, range).await;
            }
        }
    }

    /// Files whose roots are not known. A source that is addressed by content does not have them.
    pub(super) async fn listed(&self) {
        let mut had = None;
        for item in self.suite.content.files() {
            let (range, what) = (0..item.size(), item.listed());
            let opened = self.open(Check::Listed, &what, &range).await;
            let has = opened.is_ok();
            match opened {
                Ok(body) => self.read_on(Check::Listed, Reader::new(item, range.clone(), body)).await,
                Err(fault) => self.expect_missing(Check::Listed, &asked(&what, &range), &Err(fault)),
            }
            if *had.get_or_insert(has) != has {
                self.fail(Check::Listed, "all listed files or none", asked(&what, &range));
            }
        }
    }

    pub(super) async fn metadata(&self) {
        for item in self.suite.content.ranged().filter(|item| item.what.is_metadata()) {
            let size = item.size();
            for range in [0..size, 0..1, size - 1..size, size / 3..size / 2] {
                self.read(Check::Metadata, item, range).await;
            }
        }
    }

    /// Bodies that are open at the same time do not change each other, and none waits for another one to end.
    pub(super) async fn together(&self) {
        let check = Check::Together;
        let content = self.suite.content;
        let large = content.largest();
        let size = large.size();
        let parts = [0..size, 0..size / 2, size / 2..size].map(|range| (large, range));
        let others = content.files().filter(|item| !std::ptr::eq(*item, large));
        let wanted = parts.into_iter().chain(others.map(|item| (item, 0..item.size())));
        let opened: Vec<_> = wanted.map(|(item, range)| self.reader(check, item, range)).collect();
        let mut open = join_all(opened).await;
        let note = content.note();
        let head = self.source.whole(&What::Head, u64::try_from(note.len()).unwrap());
        let head = self.in_time(check, "the head while bodies are open", head).await;
        if !head.as_ref().is_ok_and(|bytes| bytes == note) {
            self.fail(check, "the head while bodies are open", head.map(|bytes| bytes.len()));
        }
        while !open.is_empty() {
            let mut left = Vec::new();
            for mut reader in open {
                if self.step(check, &mut reader).await {
                    left.push(reader);
                }
            }
            open = left;
        }
    }

    /// A body that is dropped takes nothing with it.
    pub(super) async fn dropped_bodies(&self) {
        let check = Check::DroppedBodies;
        let large = self.suite.content.largest();
        let size = large.size();
        for round in 0..ROUNDS {
            let mut dropped = self.reader(check, large, 0..size).await;
            let mut kept = self.reader(check, large, size / 4..size).await;
            for _ in 0..round % 3 {
                let _ = self.step(check, &mut dropped).await;
            }
            drop(dropped);
            if round % 4 == 0 {
                while self.step(check, &mut kept).await {}
            }
        }
        self.read_all(check).await;
    }

    /// A request that is dropped takes nothing with it.
    pub(super) async fn dropped_requests(&self) {
        let check = Check::DroppedRequests;
        let large = self.suite.content.largest();
        for round in 0..ROUNDS {
            let open = self.source.open(&large.what, 0..large.size());
            let whole = self.source.whole(&What::Head, 1 << 20);
            // Most requests are begun, and not waited for.
            match round.checked_sub(ROUNDS * 2 / 3) {
                None => {
                    begin(open).await;
                    begin(whole).await;
                }
                Some(later) => {
                    let soon = Duration::from_micros(u64::from(later) * 300);
                    let _ = timeout(soon, open).await;
                    let _ = timeout(soon, whole).await;
                }
            }
        }
        self.read_all(check).await;
    }

    async fn read_all(&self, check: Check) {
        for item in self.suite.content.ranged() {
            self.read(check, item, 0..item.size()).await;
        }
    }
}

/// Polls a future once, and drops it.
async fn begin<T>(work: impl Future<Output = T>) {
    let mut work = pin!(work);
    poll_fn(|context| {
        let _ = work.as_mut().poll(context);
        Poll::Ready(())
    })
    .await;
}

/// Ranges of a file: all of it, single bytes, at borders of chunks, and across what sources read at once.
fn ranges(item: &Item, chunk: u64) -> Vec<Range<u64>> {
    let size = item.size();
    let mut ranges = vec![0..size, 0..1, size - 1..size, size / 2..size / 2 + 1, size / 3..size];
    for border in [chunk, chunk * 2, chunk * 3, PIECE, PIECE * 2, size / chunk * chunk] {
        ranges.extend([
            border.saturating_sub(1)..border,
            border..border + 1,
            border.saturating_sub(1)..border + 1,
            border..border + chunk,
            0..border,
            border..size,
        ]);
    }
    ranges.retain(|range| range.start < range.end && range.end <= size);
    ranges.sort_by_key(|range| (range.start, range.end));
    ranges.dedup();
    ranges
}

/// The things that many sources read at once.
const PIECE: u64 = 1 << 20;
/// More than any source has connections.
const ROUNDS: u32 = 24;
