//! Received pieces, which wait here for a thread that may block on the disk.
//!
//! A few threads take one piece after the other for as long as there are any. With many small files the next piece is
//! there before a thread has ended the last, so that no thread needs to be woken for it.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use tokio::sync::oneshot;

use crate::{board::lock, tasks::Spawner};

/// Tells whether a piece was good, once it was judged and written. The channel closes if that can never be told.
pub(crate) type Landing = oneshot::Receiver<bool>;

type Work = Box<dyn FnOnce() + Send>;

/// The pieces that wait, and the threads that take them.
pub(crate) struct Landings {
    queue: Mutex<Queue>,
    most: usize,
    tasks: Spawner,
}

#[derive(Default)]
struct Queue {
    waiting: VecDeque<Work>,
    threads: usize,
    is_closed: bool,
}

impl Landings {
    /// A set of landings. `most` is the number of threads that work at once.
    pub(crate) fn new(most: usize, tasks: Spawner) -> Arc<Self> {
        Arc::new(Self { queue: Mutex::default(), most: most.max(1), tasks })
    }

    /// Runs `work` on a blocking thread. Needs the runtime.
    pub(crate) fn land(self: &Arc<Self>, work: impl FnOnce() -> bool + Send + 'static) -> Landing {
        let (say, landing) = oneshot::channel();
        let work = Box::new(move || {
            // The receiver may be gone.
            let _ = say.send(work());
        });
        let mut queue = lock(&self.queue);
        if queue.is_closed {
            return landing;
        }
        queue.waiting.push_back(work);
        if queue.threads < self.most {
            queue.threads += 1;
            drop(queue);
            let here = Arc::clone(self);
            here.tasks.clone().blocking(move || here.drain());
        }
        landing
    }

    /// Drops the pieces that wait, and accepts no more. A piece that is being judged is finished.
    pub(crate) fn close(&self) {
        let left = {
            let mut queue = lock(&self.queue);
            queue.is_closed = true;
            std::mem::take(&mut queue.waiting)
        };
        // Each piece may hold the last reference to the fetch that it works for, so it is dropped without the lock.
        drop(left);
    }

    fn drain(self: &Arc<Self>) {
        let ends = Ends(self);
        let begun = Instant::now();
        loop {
            while let Some(work) = ends.take() {
                work();
                if begun.elapsed() >= TURN {
                    // Other work waits for a thread, too, and the runtime may have few threads.
                    let here = Arc::clone(self);
                    here.tasks.clone().blocking(move || here.drain());
                    return;
                }
            }
            // Other tasks may be about to bring the next piece. Yielding costs less than being woken for it.
            std::thread::yield_now();
            match ends.take_or_end() {
                Some(work) => work(),
                None => return,
            }
        }
    }
}

/// How long a thread works before it lets other work run.
const TURN: Duration = Duration::from_millis(100);

/// Counts a thread as gone, also if its work panics. The waiting pieces are dropped then, and their receivers learn
/// that.
struct Ends<'a>(&'a Landings);

impl Ends<'_> {
    fn take(&self) -> Option<Work> {
        lock(&self.0.queue).waiting.pop_front()
    }

    /// Does as [`take`](Self::take). If no piece waits, the thread is counted as gone in the same step, so that no
    /// piece is left behind.
    fn take_or_end(&self) -> Option<Work> {
        let mut queue = lock(&self.0.queue);
        let work = queue.waiting.pop_front();
        if work.is_none() {
            queue.threads -= 1;
        }
        work
    }
}

impl Drop for Ends<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let mut queue = lock(&self.0.queue);
            queue.threads -= 1;
            let left = std::mem::take(&mut queue.waiting);
            drop(queue);
            drop(left);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{
        collections::HashSet,
        sync::atomic::{AtomicUsize, Ordering::SeqCst},
        thread,
    };

    use super::*;
    use crate::tasks::Tasks;

    #[tokio::test]
    async fn every_piece_lands_and_says_what_it_was_on_no_more_threads_than_allowed() {
        let tasks = Tasks::default();
        let landings = Landings::new(3, tasks.spawner());
        let (at_once, most) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
        let threads = Arc::new(Mutex::new(HashSet::new()));
        let land = |number: usize| {
            let (at_once, most, threads) = (Arc::clone(&at_once), Arc::clone(&most), Arc::clone(&threads));
            landings.land(move || {
                most.fetch_max(at_once.fetch_add(1, SeqCst) + 1, SeqCst);
                lock(&threads).insert(thread::current().id());
                thread::sleep(Duration::from_micros(100));
                at_once.fetch_sub(1, SeqCst);
                number.is_multiple_of(3)
            })
        };
        for round in 0..20 {
            let all: Vec<_> = (0..50).map(land).collect();
            for (number, landing) in all.into_iter().enumerate() {
                assert_eq!(landing.await, Ok(number.is_multiple_of(3)), "round {round}");
            }
        }
        assert!((2..=3).contains(&most.load(SeqCst)), "{most:?}");
        assert_eq!(lock(&landings.queue).waiting.len(), 0);
    }

    #[tokio::test]
    async fn once_closed_nothing_lands_any_more() {
        let tasks = Tasks::default();
        let landings = Landings::new(1, tasks.spawner());
        let (begin, begun) = std::sync::mpsc::channel::<()>();
        let (started, is_started) = oneshot::channel();
        let first = landings.land(move || started.send(()).is_ok() && begun.recv().is_err());
        is_started.await.unwrap();
        let second = landings.land(|| true);
        landings.close();
        assert!(second.await.is_err() && landings.land(|| true).await.is_err());
        drop(begin);
        assert_eq!(first.await, Ok(true), "it was under way");
    }

    #[tokio::test]
    async fn after_a_panic_nobody_waits_for_ever_and_the_next_piece_lands() {
        let tasks = Tasks::default();
        let landings = Landings::new(1, tasks.spawner());
        let (begin, begun) = std::sync::mpsc::channel::<()>();
        let bad = landings.land(move || {
            let _ = begun.recv();
            panic!("a fault of this test")
        });
        let behind = landings.land(|| true);
        begin.send(()).unwrap();
        assert!(bad.await.is_err());
        assert!(behind.await.is_err());
        assert_eq!(landings.land(|| true).await, Ok(true));
    }
}
