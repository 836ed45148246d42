//! Bytes that go as their turn comes.

use std::{
    pin::Pin,
    task::{Context, Poll, ready},
};

use bytes::Bytes;

use crate::budget::{Share, Take};

/// Lets bytes go piece by piece, as the turn of each comes: for bodies of requests and answers.
///
/// # Cost
/// Nothing is copied. Where nothing is limited, all bytes go at once.
#[derive(Debug)]
pub struct Paced {
    share: Share,
    turn: Option<Take>,
}

impl Paced {
    /// Bytes of a share.
    #[must_use]
    pub fn new(share: Share) -> Self {
        Self { share, turn: None }
    }

    /// The next part of `bytes`, once it may go; it is taken from them. Empty only if they are.
    pub fn poll_next(&mut self, bytes: &mut Bytes, context: &mut Context<'_>) -> Poll<Bytes> {
        if bytes.is_empty() || (self.turn.is_none() && self.share.passes()) {
            return Poll::Ready(std::mem::take(bytes));
        }
        let turn = self.turn.get_or_insert_with(|| self.share.take(bytes.len()));
        let granted = ready!(Pin::new(turn).poll(context));
        self.turn = None;
        Poll::Ready(bytes.split_to(granted.min(bytes.len())))
    }
}

#[cfg(test)]
mod tests {
    use std::{future::poll_fn, time::Duration};

    use tokio::time::Instant;

    use super::*;
    use crate::{Budget, Class, Peer};

    #[tokio::test(start_paused = true)]
    async fn bytes_go_in_their_order_and_time_and_at_once_without_a_rate() {
        let all = Bytes::from((0..100_000u32).map(|at| at.to_le_bytes()[0]).collect::<Vec<_>>());
        for (budget, least, most) in [(Budget::unlimited(), 0, 0), (Budget::of(100_000), 950, 1_050)] {
            let mut paced = Paced::new(budget.share(Class::Awaited, Peer::unique()));
            let (mut left, mut came, began) = (all.clone(), Vec::new(), Instant::now());
            while !left.is_empty() {
                let part = poll_fn(|context| paced.poll_next(&mut left, context)).await;
                assert!(!part.is_empty());
                came.extend_from_slice(&part);
            }
            assert!(came == all);
            let took = began.elapsed();
            assert!((Duration::from_millis(least)..=Duration::from_millis(most)).contains(&took), "{took:?}");
            assert!(poll_fn(|context| paced.poll_next(&mut left, context)).await.is_empty());
        }
    }
}
