//! The turns of members that are given bytes.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::{Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use tokio::sync::oneshot;

use crate::{
    member::MemberKey,
    plan::{Admission, UploadRules, Uploads},
};

/// The requests that are answered now, and those that wait for it.
#[derive(Debug)]
pub(crate) struct Turns(Mutex<Queue>);

#[derive(Debug)]
struct Queue {
    uploads: Uploads,
    waiting: BTreeMap<MemberKey, VecDeque<oneshot::Sender<()>>>,
}

/// A request that is answered now. Dropping it gives the turn to another.
pub(crate) struct Turn<'a> {
    turns: &'a Turns,
    of: MemberKey,
    since: Instant,
}

/// A request that waits. If it is given up in the moment in which its turn comes, another one has that turn.
struct Waiting<'a> {
    turns: &'a Turns,
    of: MemberKey,
    comes: oneshot::Receiver<()>,
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.comes.close();
        if self.comes.try_recv().is_ok() {
            let mut queue = self.turns.queue();
            queue.uploads.done(&self.of, Duration::ZERO);
            queue.pass_on();
        }
    }
}

impl Turns {
    pub(crate) fn new(rules: UploadRules) -> Self {
        Self(Mutex::new(Queue { uploads: Uploads::new(rules), waiting: BTreeMap::new() }))
    }

    /// Waits for a turn.
    ///
    /// # Errors
    /// The time for which the member is to leave this one alone.
    pub(crate) async fn take(&self, of: MemberKey) -> Result<Turn<'_>, Duration> {
        let wait = {
            let mut queue = self.queue();
            match queue.uploads.ask(of) {
                Admission::Serve => None,
                Admission::Wait => {
                    let (turn, comes) = oneshot::channel();
                    queue.waiting.entry(of).or_default().push_back(turn);
                    Some(comes)
                }
                Admission::Busy(time) => return Err(time),
            }
        };
        if let Some(comes) = wait {
            let mut waiting = Waiting { turns: self, of, comes };
            // A sender that is gone never names this request: it is not answered.
            (&mut waiting.comes).await.map_err(|_| Duration::from_secs(1))?;
        }
        Ok(Turn { turns: self, of, since: Instant::now() })
    }

    fn queue(&self) -> MutexGuard<'_, Queue> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Queue {
    /// Gives free places to those who wait.
    fn pass_on(&mut self) {
        while let Some(member) = self.uploads.serve_next() {
            let next = self.waiting.get_mut(&member).and_then(VecDeque::pop_front);
            self.waiting.retain(|_, waiting| !waiting.is_empty());
            // A request that was given up takes no time.
            if next.is_none_or(|turn| turn.send(()).is_err()) {
                self.uploads.done(&member, Duration::ZERO);
            }
        }
    }
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        let mut queue = self.turns.queue();
        queue.uploads.done(&self.of, self.since.elapsed());
        queue.pass_on();
    }
}
