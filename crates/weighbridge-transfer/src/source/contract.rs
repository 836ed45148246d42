//! Holds every source to its contract, before anybody looks at what it gives: a source may be anybody's code.

use std::{ops::Range, panic::AssertUnwindSafe};

use bytes::Bytes;
use futures_util::FutureExt as _;

use super::{Body, Fault, Source, What};
use crate::guide::Claim;

/// Reads the whole of something small.
///
/// # Errors
/// [`Fault`]: that of the source, or that it gave more than `limit` bytes, or panicked.
pub(crate) async fn whole(source: &dyn Source, what: &What, limit: u64) -> Result<Vec<u8>, Fault> {
    let bytes = held(source.whole(what, limit)).await.map_err(unclaimed)?;
    match u64::try_from(bytes.len()) {
        Ok(len) if len <= limit => Ok(bytes),
        _ => Err(Fault::OtherFile(format!("has more than the {limit} bytes that it may have"))),
    }
}

/// Begins to read a range, which is not empty.
///
/// # Errors
/// [`Fault`]: that of the source, or that its answer begins behind the range, or that it panicked.
pub async fn open(source: &dyn Source, what: &What, range: Range<u64>) -> Result<ExactBody, Fault> {
    opened(held(source.open(what, range.clone())).await.map_err(unclaimed)?, range)
}

/// Does as [`open`], for a range that is claimed or not.
///
/// # Errors
/// [`Fault`]; [`Fault::HeldBack`] only if there is a claim.
pub(crate) async fn open_for(
    source: &dyn Source,
    what: &What,
    range: Range<u64>,
    claim: Option<&Claim>,
) -> Result<ExactBody, Fault> {
    match claim {
        Some(claim) => opened(held(source.open_claimed(what, range.clone(), claim)).await?, range),
        None => open(source, what, range).await,
    }
}

/// The fault of a request without a claim: nothing can be held back from it.
fn unclaimed(fault: Fault) -> Fault {
    match fault {
        Fault::HeldBack(_) => Fault::Refused(fault.to_string()),
        fault => fault,
    }
}

fn opened(body: Body, range: Range<u64>) -> Result<ExactBody, Fault> {
    if body.start() > range.start {
        return Err(Fault::Refused("begins behind what it was asked for".to_owned()));
    }
    Ok(ExactBody { left: range.end.saturating_sub(body.start()), body, ended: None })
}

/// The bytes from where an answer begins to the end of the range: all of them or a fault, and none behind them.
#[derive(Debug)]
pub struct ExactBody {
    body: Body,
    left: u64,
    ended: Option<Fault>,
}

impl ExactBody {
    /// The position in the file of the first byte: at the beginning of the range, or before it.
    #[must_use]
    pub fn start(&self) -> u64 {
        self.body.start()
    }

    /// The next bytes, in order and never empty; `None` at the end of the range.
    ///
    /// # Errors
    /// [`Fault`], also if the source ends before the range does. After a fault each call returns the same fault.
    pub async fn next(&mut self) -> Result<Option<Bytes>, Fault> {
        if let Some(fault) = &self.ended {
            return Err(fault.clone());
        }
        if self.left == 0 {
            return Ok(None);
        }
        let next = held(self.body.next()).await.map_err(unclaimed).and_then(|bytes| {
            let early = || Fault::Unreachable(format!("ended {} bytes early", self.left));
            bytes.ok_or_else(early)
        });
        match next {
            Ok(mut bytes) => {
                bytes.truncate(usize::try_from(self.left).unwrap_or(usize::MAX));
                self.left = self.left.saturating_sub(u64::try_from(bytes.len()).unwrap_or(u64::MAX));
                Ok(Some(bytes))
            }
            Err(fault) => Err(self.ended.insert(fault).clone()),
        }
    }
}

/// A source that panics gives nothing, and does not end the fetch.
async fn held<T>(work: impl Future<Output = Result<T, Fault>>) -> Result<T, Fault> {
    // The source is asked again, if at all, as after any other fault: nothing of ours was half done.
    match AssertUnwindSafe(work).catch_unwind().await {
        Ok(result) => result,
        Err(_) => Err(Fault::Unreachable("its code panicked".to_owned())),
    }
}

#[cfg(test)]
mod tests {
    use async_trait::async_trait;
    use futures_util::stream;

    use super::*;

    /// A source that answers as it is told, whatever it is asked.
    #[derive(Debug)]
    struct Odd(fn() -> Body);

    #[async_trait]
    impl Source for Odd {
        fn name(&self) -> &'static str {
            "odd"
        }

        async fn whole(&self, _: &What, _: u64) -> Result<Vec<u8>, Fault> {
            let mut body = (self.0)();
            let mut all = Vec::new();
            while let Some(bytes) = body.next().await? {
                all.extend_from_slice(&bytes);
            }
            Ok(all)
        }

        async fn open(&self, _: &What, _: Range<u64>) -> Result<Body, Fault> {
            Ok((self.0)())
        }
    }

    const LIST: What = What::FileList { size: 10 };

    /// Bytes 2 to 5 of ten, as the source gives them.
    async fn read(source: Odd) -> Result<(u64, Vec<u8>), Fault> {
        let mut body = open(&source, &LIST, 2..6).await?;
        let mut all = Vec::new();
        while let Some(bytes) = body.next().await? {
            all.extend_from_slice(&bytes);
        }
        assert_eq!(body.next().await, Ok(None));
        Ok((body.start(), all))
    }

    #[tokio::test]
    async fn a_body_is_exactly_the_range_and_what_comes_before_it() {
        assert_eq!(read(Odd(|| Body::of(2, b"2345".to_vec()))).await, Ok((2, b"2345".to_vec())));
        assert_eq!(read(Odd(|| Body::of(0, b"012345".to_vec()))).await, Ok((0, b"012345".to_vec())));
        // One byte long, and without an end.
        assert_eq!(read(Odd(|| Body::of(2, b"23456".to_vec()))).await, Ok((2, b"2345".to_vec())));
        let endless = Odd(|| Body::new(2, stream::repeat_with(|| Ok(Bytes::from_static(b"2")))));
        assert_eq!(read(endless).await, Ok((2, b"2222".to_vec())));
    }

    #[tokio::test]
    async fn a_body_that_ends_early_or_begins_behind_the_range_is_a_fault() {
        for (short, left) in [(&b"234"[..], 1), (b"", 4)] {
            let source: fn() -> Body =
                if left == 1 { || Body::of(2, b"234".to_vec()) } else { || Body::of(2, b"".to_vec()) };
            let expected = Err(Fault::Unreachable(format!("ended {left} bytes early")));
            assert_eq!(read(Odd(source)).await, expected, "{short:?}");
        }
        let behind: [fn() -> Body; 3] = [
            || Body::of(3, b"345".to_vec()),
            || Body::of(1 << 63, b"345".to_vec()),
            || Body::of(u64::MAX, b"x".to_vec()),
        ];
        for source in behind {
            assert!(matches!(read(Odd(source)).await, Err(Fault::Refused(_))));
        }
    }

    #[tokio::test]
    async fn code_that_panics_is_a_fault_and_stays_one() {
        let opens = Odd(|| panic!("a fault of this test"));
        assert_eq!(read(opens).await, Err(Fault::Unreachable("its code panicked".to_owned())));
        let opens = Odd(|| panic!("a fault of this test"));
        assert!(matches!(whole(&opens, &What::Head, 9).await, Err(Fault::Unreachable(_))));
        let streams = Odd(|| Body::new(2, stream::once(async { panic!("a fault of this test") })));
        let mut body = open(&streams, &LIST, 2..6).await.unwrap();
        for _ in 0..2 {
            assert!(matches!(body.next().await, Err(Fault::Unreachable(_))));
        }
    }

    /// On one thread, a body that is always ready would keep everything else from running.
    #[tokio::test]
    async fn empty_pieces_without_an_end_let_others_run() {
        let empty = Odd(|| Body::new(2, stream::repeat_with(|| Ok(Bytes::new()))));
        let waited = tokio::time::timeout(std::time::Duration::from_millis(20), read(empty));
        assert!(waited.await.is_err());
    }

    #[tokio::test]
    async fn the_whole_is_never_longer_than_its_limit() {
        let source = Odd(|| Body::of(0, b"0123456789".to_vec()));
        assert_eq!(whole(&source, &What::Head, 10).await, Ok(b"0123456789".to_vec()));
        assert!(matches!(whole(&source, &What::Head, 9).await, Err(Fault::OtherFile(_))));
    }
}
