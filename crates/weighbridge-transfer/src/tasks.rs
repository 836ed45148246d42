//! The tasks of a fetch. The fetch owns all of them: when it ends or is dropped, they end.

use std::{
    sync::{
        Arc, Mutex, PoisonError, Weak,
        atomic::{AtomicUsize, Ordering::SeqCst},
    },
    time::Duration,
};

use tokio::task::{AbortHandle, JoinHandle, JoinSet};

/// Owns the tasks. Dropping it ends each at its next await point.
#[derive(Debug, Default)]
pub(crate) struct Tasks {
    tasks: Arc<Mutex<JoinSet<()>>>,
    /// The number of calls that wait for the disk and have not returned.
    blocking: Arc<AtomicUsize>,
}

/// Begins tasks that [`Tasks`] owns.
#[derive(Clone, Debug)]
pub(crate) struct Spawner {
    tasks: Weak<Mutex<JoinSet<()>>>,
    blocking: Arc<AtomicUsize>,
}

/// How often the end checks whether a disk has answered.
const MOMENT: Duration = Duration::from_millis(2);

impl Tasks {
    pub(crate) fn spawner(&self) -> Spawner {
        Spawner { tasks: Arc::downgrade(&self.tasks), blocking: Arc::clone(&self.blocking) }
    }

    /// Ends all tasks, and returns when none runs any more, and no call waits for the disk.
    pub(crate) async fn end(self) {
        let Self { tasks, blocking } = self;
        let mut running = std::mem::take(&mut *tasks.lock().unwrap_or_else(PoisonError::into_inner));
        // From here on no task can be begun.
        drop(tasks);
        running.shutdown().await;
        while blocking.load(SeqCst) > 0 {
            tokio::time::sleep(MOMENT).await;
        }
    }
}

/// A call that waits for the disk, or may yet begin to.
struct Blocking(Arc<AtomicUsize>);

impl Drop for Blocking {
    fn drop(&mut self) {
        self.0.fetch_sub(1, SeqCst);
    }
}

impl Spawner {
    /// Begins a task. Once its owner is gone it is dropped instead, and `None` is returned.
    pub(crate) fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) -> Option<AbortHandle> {
        let tasks = self.tasks.upgrade()?;
        let mut tasks = tasks.lock().unwrap_or_else(PoisonError::into_inner);
        while tasks.try_join_next().is_some() {}
        Some(tasks.spawn(task))
    }

    /// Runs a call that may wait for the disk on a thread of its own. A call that has begun cannot be ended.
    pub(crate) fn blocking<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> JoinHandle<T> {
        self.blocking.fetch_add(1, SeqCst);
        let under_way = Blocking(Arc::clone(&self.blocking));
        tokio::task::spawn_blocking(move || {
            let done = work();
            drop(under_way);
            done
        })
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    /// A task that never ends by itself; the returned `Arc` tells whether it was dropped.
    fn endless() -> (impl Future<Output = ()> + Send + 'static, Arc<()>) {
        let token = Arc::new(());
        let held = Arc::clone(&token);
        let task = async move {
            std::future::pending::<()>().await;
            drop(held);
        };
        (task, token)
    }

    #[tokio::test]
    async fn all_tasks_are_gone_when_they_were_ended() {
        let tasks = Tasks::default();
        let spawner = tasks.spawner();
        let (task, token) = endless();
        let _ = spawner.spawn(task);
        tokio::task::yield_now().await;
        assert_eq!(Arc::strong_count(&token), 2);
        tasks.end().await;
        assert_eq!(Arc::strong_count(&token), 1);
        let (task, token) = endless();
        assert!(spawner.spawn(task).is_none());
        assert_eq!(Arc::strong_count(&token), 1, "nothing begins afterwards");
    }

    #[tokio::test]
    async fn calls_that_wait_for_the_disk_are_waited_for() {
        let tasks = Tasks::default();
        let (end, ended) = std::sync::mpsc::channel::<()>();
        let call = tasks.spawner().blocking(move || ended.recv().is_err());
        let ending = tokio::time::timeout(Duration::from_millis(50), tasks.end());
        assert!(ending.await.is_err());
        drop(end);
        assert!(call.await.unwrap());
    }

    #[tokio::test]
    async fn tasks_end_with_their_owner_even_if_they_could_begin_others() {
        let tasks = Tasks::default();
        let spawner = tasks.spawner();
        let (task, token) = endless();
        let own = spawner.clone();
        let _ = spawner.spawn(async move {
            let _ = own.spawn(task);
            std::future::pending::<()>().await;
        });
        tokio::time::sleep(Duration::from_millis(20)).await;
        assert_eq!(Arc::strong_count(&token), 2);
        drop(tasks);
        tokio::time::sleep(Duration::from_millis(20)).await;
        assert_eq!(Arc::strong_count(&token), 1);
    }
}
