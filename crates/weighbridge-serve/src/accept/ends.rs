//! Ends of uploads that their client does not publish: given up, expired, closed, and ended by a server that was started anew.

use std::{
    sync::{Arc, atomic::Ordering::Relaxed},
    thread,
    time::{Duration, Instant},
};

use http::StatusCode;
use tracing::{error, info, warn};
use weighbridge_transfer::{Known, Upload};
use weighbridge_tree::HeadId;

use super::{
    Accept, EXPIRES, Entry, Sender, folder, no_upload, not_taken,
    open::{Clock, InUse, Open},
    unwritten,
};
use crate::{models::Models, refusal::Refusal, room::lock, route::ServedName};

/// The time after which the lists and layers of an upload that nobody uses leave the memory. What has come of it stays.
const CLOSES: Duration = Duration::from_secs(600);

/// The time for which the end of requests is waited for before an upload is removed.
const END_TIME: Duration = Duration::from_secs(5);

/// The time after which a publication that could not be ended is tried again.
const AGAIN: Duration = Duration::from_secs(30);

impl Accept {
    /// Gives an upload up. Waits for the disk.
    pub(crate) fn give_up(&self, sender: &Sender, name: &ServedName, head: HeadId) -> Result<(), Refusal> {
        self.give_up_if(sender, name, head, |_| true)
    }

    fn give_up_if(
        &self,
        sender: &Sender,
        name: &ServedName,
        head: HeadId,
        is_due: impl Fn(&Entry) -> bool,
    ) -> Result<(), Refusal> {
        let key = (Arc::clone(&sender.name), head);
        let open = {
            let mut uploads = lock(&self.uploads);
            let entry = uploads.get_mut(&key).filter(|entry| entry.name == *name && is_due(entry));
            entry.ok_or_else(no_upload)?.open.clone()
        };
        let published = open.as_ref().map(|open| open.is_published.try_lock());
        match published.as_ref().map(Result::as_deref) {
            Some(Err(_)) => return Err(Refusal::new(StatusCode::CONFLICT, "the release is being published")),
            Some(Ok(true)) => return Err(no_upload()),
            _ => {}
        }
        if let Some(open) = &open {
            open.end();
            let until = Instant::now().checked_add(END_TIME);
            while open.is_used() && until.is_some_and(|until| Instant::now() < until) {
                thread::sleep(Duration::from_millis(5));
            }
        }
        let place = self.place(name);
        let aside = {
            let _turn = lock(&self.deciding);
            let mut uploads = lock(&self.uploads);
            // Somebody may have offered it again meanwhile.
            let is_same = |entry: &&mut Entry| match (&entry.open, &open) {
                (None, _) => true,
                (Some(there), Some(open)) => Arc::ptr_eq(there, open),
                (Some(_), None) => false,
            };
            let entry = uploads.get_mut(&key).filter(is_same).filter(|entry| is_due(entry));
            entry.ok_or_else(no_upload)?.close();
            // An area that cannot be set aside stays reserved.
            let aside = Upload::set_aside(&place, &Self::key(&sender.name, head));
            let aside = aside.map_err(|error| unwritten(&error.into()))?;
            uploads.remove(&key);
            aside
        };
        let removed = aside.map_or(Ok(()), |aside| Upload::remove_area(&place, &aside));
        removed.map_err(|error| unwritten(&error.into()))
    }

    /// Gives up what nobody has used for a day, closes what nobody uses now, and at first ends what a killed server had begun.
    pub(crate) fn look(self: &Arc<Self>, models: &Arc<Models>) {
        if !self.has_looked.swap(true, Relaxed) && lock(&self.uploads).values().any(|entry| entry.is_marked) {
            let (accept, models) = (Arc::clone(self), Arc::clone(models));
            // It may read much, and ends with the server.
            drop(thread::spawn(move || accept.end_what_was_begun(&models)));
        }
        let is_due = |entry: &Entry| !entry.is_used() && !entry.is_marked && entry.clock().idle() >= EXPIRES;
        let mut gone = Vec::new();
        for (key, entry) in lock(&self.uploads).iter_mut() {
            if is_due(entry) {
                gone.push((key.clone(), entry.name.clone()));
            } else if !entry.is_used() && entry.clock().unasked() >= CLOSES {
                entry.close().into_iter().for_each(|open| open.end());
            }
        }
        for ((client, head), name) in gone {
            let sender = Sender { name: client, client: None, quota: 0 };
            match self.give_up_if(&sender, &name, head, is_due) {
                Ok(()) => {
                    info!(target: "weighbridge", client = &*sender.name, model = name.as_str(), head = %head, "upload given up");
                }
                Err(refusal) => {
                    let why = refusal.message();
                    warn!(target: "weighbridge", model = name.as_str(), "an upload that has expired stays: {why}");
                }
            }
        }
    }

    /// Publishes the releases that were being published when the server was killed: all of their chunks were there.
    fn end_what_was_begun(&self, models: &Models) {
        loop {
            let marked: Vec<_> = lock(&self.uploads)
                .iter()
                .filter(|(_, entry)| entry.is_marked)
                .map(|(key, entry)| (key.clone(), entry.name.clone()))
                .collect();
            for ((client, head), name) in marked {
                if self.is_ended.load(Relaxed) {
                    return;
                }
                let sender = Sender { name: client, client: None, quota: u64::MAX };
                let ended = self.end_one(&sender, &name, head, models);
                if let Err(refusal) = &ended {
                    let why = refusal.message();
                    error!(target: "weighbridge", client = &*sender.name, model = name.as_str(), head = %head, "a publication that was begun is not ended: {why}");
                }
                // A fault that may pass is tried again; any other is left to the client.
                if (ended.is_ok() || self.is_final(&sender, &name, head))
                    && let Some(entry) = lock(&self.uploads).get_mut(&(sender.name, head))
                {
                    (entry.is_marked, entry.clock) = (false, Clock::new(Duration::ZERO));
                }
            }
            if !lock(&self.uploads).values().any(|entry| entry.is_marked) {
                return;
            }
            let until = Instant::now().checked_add(AGAIN);
            while until.is_some_and(|until| Instant::now() < until) {
                if self.is_ended.load(Relaxed) {
                    return;
                }
                thread::sleep(Duration::from_millis(100));
            }
        }
    }

    /// Whether a head is refused, and not only for now.
    fn is_final(&self, sender: &Sender, name: &ServedName, head: HeadId) -> bool {
        let note = folder::note_of(&self.place(name), &self.area(name, &sender.name, head), head);
        note.is_none_or(|note| self.judge.judge(&note).is_err_and(|reason| reason.code.get() < 9000))
    }

    fn end_one(
        &self,
        sender: &Sender,
        name: &ServedName,
        head: HeadId,
        models: &Models,
    ) -> Result<(), Refusal> {
        let place = self.place(name);
        let note = folder::note_of(&place, &self.area(name, &sender.name, head), head);
        let note = note.ok_or_else(no_upload)?;
        let believed = self.judge.judge(&note).map_err(|reason| not_taken(&reason))?;
        let key = (Arc::clone(&sender.name), head);
        let open = {
            let _turn = lock(&self.deciding);
            match lock(&self.uploads).get(&key) {
                None => return Err(no_upload()),
                // The client was quicker, and ends it itself.
                Some(entry) if entry.open.is_some() => return Ok(()),
                Some(_) => {}
            }
            let upload = Upload::open(&place, &Self::key(&sender.name, head), believed, &note);
            let open = Open::of(upload.map_err(|error| unwritten(&error))?, 0, Clock::new(Duration::ZERO));
            let used = InUse::of(&open);
            let mut uploads = lock(&self.uploads);
            uploads.get_mut(&key).ok_or_else(no_upload)?.open = Some(open);
            used
        };
        if open.begins() {
            let nothing: Known<()> = Known::default();
            let goes_on = || !self.is_ended.load(Relaxed) && !open.is_ended();
            let looked = open.upload.look(&nothing, &mut |_, _, _| false, &goes_on);
            looked.map_err(|error| self.broken(open.open(), &error))?;
        }
        self.put_in_place(sender, name, &open, models)
    }

    /// Ends all work, and makes durable what has come.
    pub(crate) fn end(&self) {
        self.is_ended.store(true, Relaxed);
        let all: Vec<_> = lock(&self.uploads).values_mut().filter_map(Entry::close).collect();
        for open in all {
            open.end();
            if let Err(error) = open.upload.sync() {
                warn!(target: "weighbridge", "an upload cannot be synced: {error}");
            }
        }
    }
}
