//! Checks of what a source answers: its name, whole files, and what it does not have.

use weighbridge_manifest::EntryPath;
use weighbridge_transfer::{Fault, FileRoot, What};

use super::check::{Check, Run, asked};

impl Run<'_> {
    pub(super) fn name(&self) {
        let name = self.source.name().to_owned();
        if name.is_empty() || name.chars().any(char::is_control) {
            self.fail(Check::Name, "a name that can be shown", &name);
        }
        if self.source.name() != name {
            self.fail(Check::Name, &format!("the name {name:?} again"), self.source.name());
        }
    }

    pub(super) fn folder(&self) {
        if let Some(folder) = self.source.folder().filter(|folder| !folder.is_dir()) {
            self.fail(Check::Folder, "a folder of this machine, or none", folder);
        }
    }

    pub(super) async fn whole(&self) {
        let note = self.suite.content.note();
        let exact = u64::try_from(note.len()).unwrap();
        for limit in [exact, exact + 1, u64::MAX] {
            self.expect_head(Check::Whole, limit, note).await;
        }
    }

    /// A limit that the head exceeds.
    pub(super) async fn limit(&self) {
        let exact = u64::try_from(self.suite.content.note().len()).unwrap();
        for limit in [exact - 1, 0] {
            let expected = format!("OtherFile for a head of {exact} bytes, of which {limit} may come");
            match self.in_time(Check::Limit, &expected, self.source.whole(&What::Head, limit)).await {
                Err(Fault::OtherFile(_)) => {}
                Ok(bytes) => self.fail(Check::Limit, &expected, format_args!("{} bytes", bytes.len())),
                Err(fault) => self.fail(Check::Limit, &expected, fault),
            }
        }
    }

    pub(super) async fn twice(&self) {
        let note = self.suite.content.note();
        for _ in 0..3 {
            self.expect_head(Check::Twice, u64::try_from(note.len()).unwrap(), note).await;
        }
    }

    /// The source gives another head as soon as it has another one.
    pub(super) async fn anew(&self, change: impl AsyncFnOnce(&[u8])) {
        self.expect_head(Check::Anew, LIMIT, self.suite.content.note()).await;
        let other = [self.suite.content.note(), b"\xe2\x80\x94 somebody AAAAAAE=\n"].concat();
        change(&other).await;
        self.expect_head(Check::Anew, LIMIT, &other).await;
    }

    async fn expect_head(&self, check: Check, limit: u64, head: &[u8]) {
        let expected = format!("the head, of which {limit} bytes may come");
        match self.in_time(check, &expected, self.source.whole(&What::Head, limit)).await {
            Ok(bytes) if bytes == head => {}
            Ok(bytes) => {
                let got = format_args!("other bytes ({} instead of {})", bytes.len(), head.len());
                self.fail(check, &expected, got)
            }
            Err(fault) => self.fail(check, &expected, fault),
        }
    }

    /// Files of which the source has nothing. One would lie below a file of the content.
    pub(super) async fn missing(&self) {
        for path in ["no-such-file", "no/such/file.bin", "config.json/below"] {
            let root = FileRoot::of(path.as_bytes());
            let what = What::File { path: EntryPath::parse(path).unwrap(), root, size: 5 };
            for range in [0..5, 4..5] {
                let got = self.open(Check::Missing, &what, &range).await.map(drop);
                self.expect_missing(Check::Missing, &asked(&what, &range), &got);
            }
        }
    }

    /// The same as [`missing`](Self::missing), of all items.
    pub(super) async fn nothing(&self) {
        let whole = self.source.whole(&What::Head, LIMIT);
        let got = self.in_time(Check::Nothing, "an answer about the head", whole).await.map(drop);
        self.expect_missing(Check::Nothing, "the head", &got);
        for item in self.suite.content.ranged() {
            let range = 0..item.size();
            let got = self.open(Check::Nothing, &item.what, &range).await.map(drop);
            self.expect_missing(Check::Nothing, &asked(&item.what, &range), &got);
        }
    }

    /// Items that have another length than the one that is signed.
    pub(super) async fn other_lengths(&self) {
        for item in self.suite.content.ranged() {
            let size = item.size();
            let shorter = size.checked_sub(1).filter(|size| *size > 0);
            for signed in [Some(size + 1), shorter, Some(size * 2)].into_iter().flatten() {
                for range in [0..1, signed - 1..signed, 0..signed] {
                    let what = item.of_size(signed);
                    let expected =
                        format!("OtherFile for {}, since it has {size} bytes", asked(&what, &range));
                    match self.open(Check::OtherLengths, &what, &range).await {
                        Err(Fault::OtherFile(_)) => {}
                        // A source that knows no lengths notices it later, or leaves it to the fetch.
                        Ok(_) | Err(Fault::Unreachable(_) | Fault::Refused(_))
                            if self.suite.may_hide_lengths => {}
                        Ok(_) => self.fail(Check::OtherLengths, &expected, format_args!("an answer")),
                        Err(fault) => self.fail(Check::OtherLengths, &expected, fault),
                    }
                }
            }
        }
    }
}

/// More than any head of the suite has.
const LIMIT: u64 = 1 << 20;
