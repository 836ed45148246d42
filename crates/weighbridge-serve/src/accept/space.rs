//! The room that there is for what is brought: quotas, the disk, the memory of lists and layers.

use std::{collections::HashMap, time::Duration};

use http::{StatusCode, header};
use tracing::warn;
use weighbridge_manifest::VerifiedHead;
use weighbridge_transfer::Upload;
use weighbridge_tree::HeadId;

use super::{
    Accept, Entry, Key, Sender,
    folder::{self, Pushed},
    no_room, unread,
};
use crate::{refusal::Refusal, room::lock, route::ServedName};

/// The time after which an upload that nobody uses is closed where others need its place.
const CLOSES_FOR_OTHERS: Duration = Duration::from_secs(30);

/// The uploads that a client may have at a time.
const MOST_UPLOADS: usize = 16;

/// The uploads that are open at a time: each has some files open.
const MOST_OPEN: usize = 32;

/// The bytes that always stay free on the disk.
const SPARE_DISK: u64 = 64 << 20;

impl Accept {
    /// Refuses what the client may not have here, or what does not fit. Returns the memory for lists and layers.
    pub(super) fn fits(
        &self,
        sender: &Sender,
        name: &ServedName,
        head: HeadId,
        believed: &VerifiedHead,
        most_memory: u64,
    ) -> Result<u64, Refusal> {
        let signed = believed.head();
        let bytes = folder::size(signed);
        let chunks = signed.bytes.checked_div(signed.chunk_size.bytes()).unwrap_or(0);
        let layers = chunks.saturating_add(signed.files.count).saturating_mul(32);
        let metadata = bytes.saturating_sub(signed.bytes).saturating_add(layers);
        if metadata > most_memory {
            let message = format!(
                "the lists and layers of this model take {metadata} bytes of memory, and this server has {most_memory}"
            );
            return Err(Refusal::new(StatusCode::PAYLOAD_TOO_LARGE, message));
        }
        let (used, count) = self.used(sender, name, head, true).map_err(|error| unread(&error))?;
        if used.saturating_add(bytes) > sender.quota {
            let message = format!(
                "the model has {bytes} bytes, and {used} of the {} of this client's quota are taken by models and uploads",
                sender.quota
            );
            return Err(Refusal::new(StatusCode::PAYLOAD_TOO_LARGE, message));
        }
        let many = |message| {
            let refusal = Refusal::new(StatusCode::TOO_MANY_REQUESTS, message);
            Err(refusal.with(header::RETRY_AFTER, "20"))
        };
        if count >= MOST_UPLOADS {
            return many("this client has too many uploads under way");
        }
        let (opened, in_memory) = self.make_room(metadata, most_memory);
        if opened >= MOST_OPEN || in_memory.saturating_add(metadata) > most_memory {
            return many("too many uploads are under way here");
        }
        let uploads: Vec<_> = lock(&self.uploads)
            .iter()
            .filter(|((client, other), _)| (client, other) != (&sender.name, &head))
            .map(|((client, other), entry)| (self.place(&entry.name), Self::key(client, *other), entry.bytes))
            .collect();
        let own = (self.place(name), Self::key(&sender.name, head), bytes);
        let needed = uploads.iter().chain([&own]).fold(SPARE_DISK, |sum, (place, key, bytes)| {
            // Of an upload whose names are being given, all is there.
            let lacks = match Upload::is_marked(place, key) {
                true => 0,
                false => bytes.saturating_sub(folder::allocated(&Upload::area(place, key))),
            };
            sum.saturating_add(lacks)
        });
        if folder::free(&self.folder).is_some_and(|free| free < needed) {
            warn!(target: "weighbridge", model = name.as_str(), bytes, "an upload was refused: the disk has no room for it");
            return Err(no_room());
        }
        Ok(metadata)
    }

    /// Closes uploads that nobody uses, if there are too many, or if this memory is needed. Returns how many are open, and their
    /// memory.
    fn make_room(&self, metadata: u64, most: u64) -> (usize, u64) {
        let mut uploads = lock(&self.uploads);
        let sum = |uploads: &HashMap<Key, Entry>| {
            let open = uploads.values().filter_map(|entry| entry.open.as_ref());
            open.fold((0usize, 0u64), |(count, sum), open| {
                (count.saturating_add(1), sum.saturating_add(open.metadata))
            })
        };
        let (mut count, mut memory) = sum(&uploads);
        if count >= MOST_OPEN || memory.saturating_add(metadata) > most {
            for entry in uploads.values_mut() {
                if !entry.is_used() && entry.clock().unasked() >= CLOSES_FOR_OTHERS {
                    entry.close().into_iter().for_each(|open| open.end());
                }
            }
            (count, memory) = sum(&uploads);
        }
        (count, memory)
    }

    /// The bytes that a client has here, and the number of its uploads, beside this one. The release that stands under the same name
    /// counts if `with_standing`, unless it is this one.
    pub(super) fn used(
        &self,
        sender: &Sender,
        name: &ServedName,
        head: HeadId,
        with_standing: bool,
    ) -> std::io::Result<(u64, usize)> {
        let uploads = lock(&self.uploads);
        let others = uploads.iter().filter(|((client, other), _)| *client == sender.name && *other != head);
        let (reserved, count) = others.fold((0u64, 0usize), |(sum, count), (_, entry)| {
            (sum.saturating_add(entry.bytes), count.saturating_add(1))
        });
        // A release that is being published is an upload still.
        let of_client = uploads.keys().filter(|(client, _)| *client == sender.name);
        let heads: Vec<String> = of_client.map(|(_, other)| other.to_string()).collect();
        drop(uploads);
        let models = folder::models(&self.folder)?;
        let counts = |other: &ServedName, pushed: &Pushed| {
            let is_this = pushed.head == head.to_string() || heads.contains(&pushed.head);
            pushed.client == *sender.name && !is_this && (with_standing || other != name)
        };
        let kept = models.iter().filter_map(|(other, place)| Some((other, Pushed::of(place)?)));
        let kept = kept.filter(|(other, pushed)| counts(other, pushed));
        Ok((kept.fold(reserved, |sum, (_, pushed)| sum.saturating_add(pushed.bytes)), count))
    }
}
