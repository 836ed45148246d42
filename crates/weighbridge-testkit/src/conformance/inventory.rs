//! Checks of what a source says it has.

use std::{collections::BTreeSet, ops::Range, time::Duration};

use tokio::time::sleep;
use weighbridge_transfer::{FileRoot, Inventory};

use super::{
    Item,
    check::{Check, Run, asked},
};

impl Run<'_> {
    /// A source that serves everything says that it has everything, and no more.
    pub(super) async fn inventory(&self) {
        let check = Check::Inventory;
        let Some(inventory) = self.source.inventory() else { return };
        for item in self.suite.content.files() {
            for chunk in 0..item.chunks() {
                if !inventory.has(&root(item), chunk) {
                    let expected = format!("the inventory to have chunk {chunk} of {}", item.what.name());
                    self.fail(check, &expected, "an inventory without it");
                }
                self.read(check, item, self.bytes(item, chunk)).await;
            }
        }
        self.expect_no_more(check, inventory);
    }

    /// A chunk is given if and only if the inventory has it, whatever was gained since.
    pub(super) async fn growth(&self, mut grow: impl AsyncFnMut() -> bool) {
        let check = Check::Growth;
        let Some(inventory) = self.source.inventory() else {
            self.fail(check, "an inventory", "none");
        };
        let mut before = BTreeSet::new();
        loop {
            let now = self.has(inventory);
            if let Some((file, chunk)) = before.difference(&now).next() {
                let expected = format!("chunk {chunk} of {file} to stay in the inventory");
                self.fail(check, &expected, "an inventory without it");
            }
            self.expect_no_more(check, inventory);
            for item in self.suite.content.files() {
                for chunk in 0..item.chunks() {
                    self.is_given_if_it_is_there(inventory, item, chunk).await;
                }
            }
            before = now;
            if !grow().await {
                break;
            }
            let grown = async {
                while self.has(inventory) == before {
                    sleep(Duration::from_millis(2)).await;
                }
            };
            self.in_time(check, "the inventory to have more after the source gained some", grown).await;
        }
        if before.is_empty() {
            self.fail(check, "a source that gains chunks", "an empty inventory at the end");
        }
    }

    async fn is_given_if_it_is_there(&self, inventory: &Inventory, item: &Item, chunk: u64) {
        let check = Check::Growth;
        let (root, range) = (root(item), self.bytes(item, chunk));
        if inventory.has(&root, chunk) {
            return self.read(check, item, range).await;
        }
        let got = self.open(check, &item.what, &range).await.map(drop);
        // It may have come meanwhile.
        if !inventory.has(&root, chunk) {
            let asked =
                format!("chunk {chunk}, {}, which is not in the inventory", asked(&item.what, &range));
            self.expect_missing(check, &asked, &got);
        }
    }

    /// Neither chunks behind the end of a file, nor files that the content does not have.
    fn expect_no_more(&self, check: Check, inventory: &Inventory) {
        for item in self.suite.content.files() {
            for chunk in [item.chunks(), item.chunks() + 1, u64::MAX - 1] {
                if inventory.has(&root(item), chunk) {
                    let expected = format!("{} to have {} chunks", item.what.name(), item.chunks());
                    self.fail(check, &expected, format_args!("an inventory with chunk {chunk}"));
                }
            }
        }
        if inventory.has(&FileRoot::of(b"no file of the content"), 0) {
            self.fail(check, "an inventory of files that are there", "one with another file");
        }
    }

    fn has(&self, inventory: &Inventory) -> BTreeSet<(&str, u64)> {
        let files = self.suite.content.files();
        let chunks = files.flat_map(|item| (0..item.chunks()).map(move |chunk| (item, chunk)));
        let there = chunks.filter(|(item, chunk)| inventory.has(&root(item), *chunk));
        there.map(|(item, chunk)| (item.what.name(), chunk)).collect()
    }

    fn bytes(&self, item: &Item, chunk: u64) -> Range<u64> {
        let size = self.suite.content.chunk();
        chunk * size..((chunk + 1) * size).min(item.size())
    }
}

fn root(item: &Item) -> FileRoot {
    match item.what {
        weighbridge_transfer::What::File { root, .. } => root,
        _ => unreachable!("the inventory is about files"),
    }
}
