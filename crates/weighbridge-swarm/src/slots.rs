//! The upload slots of an open swarm, as they are given and taken away.

use std::{sync::Arc, time::Duration};

use weighbridge_transfer::Holding;
use weighbridge_tree::Grid;

use crate::{
    member::MemberKey,
    message::{Item, Role},
    neighbour::Near,
    swarm::{Member, State},
};

/// The time between two looks at the slots.
const LOOK: Duration = Duration::from_millis(250);
/// The time that others are told to wait for a member that has no list yet.
const SOON: Duration = Duration::from_secs(1);

/// Gives slots and takes them away, as long as the member is there.
pub(crate) async fn give(member: Arc<Member>) {
    loop {
        tokio::time::sleep(LOOK).await;
        let now = member.now();
        let mut state = member.state();
        let State { work, near, .. } = &mut *state;
        let Some(work) = work else { continue };
        let (plan, Some(slots)) = (&work.plan, &mut work.slots) else { return };
        let fetches = |near: &Near| matches!(near.role, Role::FetchesAll | Role::FetchesPart);
        let wants = |key: &MemberKey| near.get(key).is_some_and(fetches) && plan.has_for(key);
        for change in slots.choose(plan.is_complete(), wants, now) {
            near.get(&change.member).into_iter().for_each(|near| near.outbox.slot(change.has_slot));
        }
    }
}

impl Member {
    /// Whether a request of another member is answered, in an open swarm.
    ///
    /// # Errors
    /// The time for which it is to wait.
    pub(crate) fn may_answer(&self, key: &MemberKey, item: Item, count: u64) -> Result<(), Duration> {
        let now = self.now();
        let mut state = self.state();
        let Some(work) = &mut state.work else { return Err(SOON) };
        let note = u64::try_from(work.shelf.holding.note().len()).unwrap_or(u64::MAX);
        let slots = work.slots.as_mut().ok_or(SOON)?;
        match item {
            Item::File(_) => slots.may_take(key, now),
            Item::Head => slots.may_take_metadata(key, note, now),
            Item::Files | Item::Tensors | Item::Layers => slots.may_take_metadata(key, count, now),
        }
    }

    /// Records bytes of a file that were sent.
    pub(crate) fn has_sent(&self, key: &MemberKey, bytes: u64) {
        let now = self.now();
        let mut state = self.state();
        state.figures.sent = state.figures.sent.saturating_add(bytes);
        if let Some(slots) = state.work.as_mut().and_then(|work| work.slots.as_mut()) {
            slots.took(key, bytes, now);
        }
    }
}

impl State {
    /// Ends the neighbour of least use, if the swarm is open and there is one. The caller ends its channels.
    pub(crate) fn make_room(&mut self, now: Duration) -> Option<Near> {
        let work = self.work.as_mut()?;
        let key = work.slots.as_ref()?.least(now)?;
        work.part(&key, now);
        self.neighbours.lost(&key, now);
        self.told.remove(&key);
        self.near.remove(&key)
    }
}

/// The bytes of the head, the lists and the layers of a release.
pub(crate) fn metadata(holding: &Holding) -> u64 {
    let files = holding.files();
    let layer = |size| Grid::new(size, files.chunk_size()).map_or(0, |grid| grid.layer_len());
    let layers = files.entries().iter().fold(0u64, |sum, entry| sum.saturating_add(layer(entry.size)));
    let tensors = files.tensors().map_or(0, |tensors| tensors.list.length);
    let lists = files.head().head().files.length.saturating_add(tensors);
    let note = u64::try_from(holding.note().len()).unwrap_or(u64::MAX);
    layers.saturating_add(lists).saturating_add(note)
}
