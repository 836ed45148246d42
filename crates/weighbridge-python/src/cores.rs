//! The threads that read and hash, of this process.

use std::sync::{Arc, Mutex, PoisonError};

use rayon::{ThreadPool, ThreadPoolBuilder};
use weighbridge_tree::ErrorCode;

use crate::failure::{Failure, Result};

/// The pool, and the process to which its threads belong: a process that was forked off has none of them.
static POOL: Mutex<Option<(u32, Arc<ThreadPool>)>> = Mutex::new(None);

/// Does something with all cores. Where that is one, the calling thread does it, so that callers on several threads do not wait for
/// each other: `work` is told whether it is on a pool.
///
/// # Errors
/// Those of `work`, and one if no threads can be started (9002).
pub(crate) fn on_all<T: Send>(work: impl FnOnce(bool) -> Result<T> + Send) -> Result<T> {
    match pool()? {
        None => work(false),
        Some(pool) => pool.install(|| work(true)),
    }
}

fn pool() -> Result<Option<Arc<ThreadPool>>> {
    let process = std::process::id();
    // A fork copies the lock as it is. Nothing that waits is done under it.
    let mut pool = POOL.lock().unwrap_or_else(PoisonError::into_inner);
    let found = match &*pool {
        Some((of, pool)) if *of == process => Arc::clone(pool),
        _ => {
            // `RAYON_NUM_THREADS` counts here too. A pool of a parent is forgotten: to drop it would wait for its threads.
            let built = ThreadPoolBuilder::new().build();
            let built = built.map_err(|error| Failure::new(ErrorCode::IO, format!("no threads: {error}")))?;
            let built = Arc::new(built);
            if let Some((_, parents)) = pool.replace((process, Arc::clone(&built))) {
                std::mem::forget(parents);
            }
            built
        }
    };
    Ok(Some(found).filter(|pool| pool.current_num_threads() > 1))
}
