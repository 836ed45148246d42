//! The body of a request, which goes as its turn comes.

use std::{
    convert::Infallible,
    pin::Pin,
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use hyper::body::{Body, Frame, SizeHint};
use weighbridge_bandwidth::{Paced, Share};

/// The bytes of a request that are not sent yet.
#[derive(Debug)]
pub(crate) struct Outgoing {
    bytes: Bytes,
    paced: Option<Paced>,
}

impl Outgoing {
    pub(crate) fn new(bytes: Bytes, share: Option<&Share>) -> Self {
        Self { bytes, paced: share.cloned().map(Paced::new) }
    }
}

impl Body for Outgoing {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let Self { bytes, paced } = self.get_mut();
        let part = match paced {
            Some(paced) => ready!(paced.poll_next(bytes, context)),
            None => std::mem::take(bytes),
        };
        Poll::Ready((!part.is_empty()).then(|| Ok(Frame::data(part))))
    }

    fn is_end_stream(&self) -> bool {
        self.bytes.is_empty()
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(u64::try_from(self.bytes.len()).unwrap_or(u64::MAX))
    }
}
