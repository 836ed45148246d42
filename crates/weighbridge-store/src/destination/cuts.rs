//! The state of the disk after a power cut, at any point of a fetch.

use std::{collections::BTreeSet, fs};

use weighbridge_testkit::{CHUNK, Sample};

use super::*;
use crate::{
    metadata::{FILES, HEAD},
    power_cut::{Dice, PowerCut},
};

const MODEL: [(&str, usize); 3] = [("b", 20_000), ("deep/a", 40_000), ("deep/er/c", 0)];

/// The chunks, files and head that were confirmed, by any process.
#[derive(Debug, Default)]
struct Confirmed {
    chunks: BTreeSet<(usize, u64)>,
    placed: BTreeSet<usize>,
    published: bool,
}

/// A process that fetches.
struct Fetcher<'a> {
    destination: Destination,
    sample: &'a Sample,
    files: Vec<Fetched>,
    staged: Option<Staged>,
}

#[derive(Default)]
struct Fetched {
    partial: Option<PartialFile>,
    stored: BTreeSet<u64>,
    is_durable: bool,
}

impl<'a> Fetcher<'a> {
    fn start(disk: &Arc<PowerCut>, sample: &'a Sample) -> Result<Self, StoreError> {
        let destination = Destination::on(Arc::<PowerCut>::clone(disk), disk.root())?;
        let files = sample.contents.iter().map(|_| Fetched::default()).collect();
        Ok(Self { destination, sample, files, staged: None })
    }

    /// Does something. Whether there is more to do.
    fn step(&mut self, dice: &mut Dice, confirmed: &mut Confirmed) -> Result<bool, StoreError> {
        if self.staged.is_none() {
            let staged = self.destination.stage(self.sample.id)?;
            staged.write(HEAD, &self.sample.note)?;
            staged.write(FILES, &self.sample.files)?;
            let len = self.sample.layers.len().try_into().unwrap();
            staged.layers(len)?.write(0..len, &self.sample.layers)?;
            self.staged = Some(staged);
            return Ok(true);
        }
        let open: Vec<_> = (0..self.files.len()).filter(|file| !self.files[*file].is_durable).collect();
        if open.is_empty() {
            return self.name_all(confirmed).map(|()| false);
        }
        let file = open[usize::try_from(dice.roll(open.len().try_into().unwrap())).unwrap()];
        self.advance(file, dice, confirmed)?;
        Ok(true)
    }

    /// Nobody else gives names meanwhile.
    fn name_all(&mut self, confirmed: &mut Confirmed) -> Result<(), StoreError> {
        let staged = self.staged.take().unwrap();
        let mut naming = self.destination.begin_naming(self.destination.lock()?, &staged)?;
        for (file, fetched) in self.files.iter().enumerate() {
            let path = self.sample.path(file);
            if self.destination.site.look(path.as_str())?.is_some()
                && fs::read(self.destination.site.place(path.as_str())).unwrap() == self.sample.bytes(file)
            {
                // Another process has placed it.
                self.destination.settle(path)?;
            } else {
                naming.place(&self.destination, fetched.partial.as_ref().unwrap(), path)?;
            }
        }
        naming.settle()?;
        confirmed.placed.extend(0..self.files.len());
        staged.publish(&mut naming)?;
        confirmed.published = true;
        naming.sweep(crate::Standing::IsWhole)
    }

    fn advance(&mut self, file: usize, dice: &mut Dice, confirmed: &mut Confirmed) -> Result<(), StoreError> {
        let (sample, fetched) = (self.sample, &mut self.files[file]);
        let Some(partial) = &fetched.partial else {
            let partial = self.destination.partial(sample.root(file), sample.size(file))?;
            // The fetcher reads back the chunks that an earlier run left, or that another process is writing.
            for chunk in 0..sample.count(file) {
                let mut bytes = sample.chunks(file, chunk..chunk + 1).to_vec();
                partial.read_at(&mut bytes, chunk * CHUNK)?;
                if sample.verifier(file).accept(chunk, &bytes).is_ok() {
                    fetched.stored.insert(chunk);
                }
            }
            fetched.partial = Some(partial);
            return Ok(());
        };
        let missing = (0..sample.count(file)).find(|chunk| !fetched.stored.contains(chunk));
        match (missing, dice.roll(3)) {
            (_, 0) => {
                self.destination.sync(&[partial]).remove(0)?;
                confirmed.chunks.extend(fetched.stored.iter().map(|chunk| (file, *chunk)));
            }
            (Some(chunk), _) => {
                let bytes = sample.chunks(file, chunk..chunk + 1);
                partial.write(&sample.verifier(file).accept_run(chunk, bytes).unwrap())?;
                fetched.stored.insert(chunk);
            }
            (None, _) => {
                self.destination.sync(&[partial]).remove(0)?;
                fetched.is_durable = true;
            }
        }
        Ok(())
    }
}

/// Two processes fetch into one folder until both are done or the power fails.
fn fetch(disk: &Arc<PowerCut>, sample: &Sample, seed: u64) -> Confirmed {
    let (mut dice, mut confirmed) = (Dice(seed), Confirmed::default());
    let Ok(mut fetchers) =
        [(); 2].into_iter().map(|()| Fetcher::start(disk, sample)).collect::<Result<Vec<_>, _>>()
    else {
        return confirmed;
    };
    while !fetchers.is_empty() {
        let which = usize::try_from(dice.roll(fetchers.len().try_into().unwrap())).unwrap();
        match fetchers[which].step(&mut dice, &mut confirmed) {
            Ok(true) => {}
            Ok(false) => drop(fetchers.remove(which)),
            Err(_) => return confirmed,
        }
    }
    confirmed
}

/// The folder as an older release left it.
fn older(root: &Path, old: &Sample) {
    for (path, bytes) in &old.contents {
        fs::create_dir_all(root.join(path.as_str()).parent().unwrap()).unwrap();
        fs::write(root.join(path.as_str()), bytes).unwrap();
    }
    fs::create_dir_all(root.join("weighbridge")).unwrap();
    fs::write(root.join("weighbridge/head.note"), &old.note).unwrap();
    fs::write(root.join("weighbridge/files.jsonl"), &old.files).unwrap();
    fs::write(root.join("weighbridge/chunks.layer"), &old.layers).unwrap();
}

/// Asserts the conditions that have to hold, whenever the power failed.
fn check(root: &Path, old: Option<&Sample>, new: &Sample, confirmed: &Confirmed) {
    let read = |path: &str| fs::read(root.join(path)).ok();
    for file in 0..new.contents.len() {
        let there = read(new.path(file).as_str());
        let is_new = there.as_deref() == Some(new.bytes(file));
        let is_old = there.as_deref() == old.map(|old| old.bytes(file));
        assert!(is_new || is_old, "something else is under the final name of file {file}");
        assert!(is_new || !confirmed.placed.contains(&file), "file {file} was placed and is not there");
    }
    let releases = || [Some(new), old].into_iter().flatten();
    if let Some(note) = read("weighbridge/head.note") {
        let release = releases().find(|release| release.note == note).expect("a head that is nobody's");
        release.assert_stands(root);
        let kept = format!("weighbridge/kept/{}/chunks.layer", release.id);
        let layers = [read(&kept), read("weighbridge/chunks.layer")];
        assert!(layers.contains(&Some(release.layers.clone())), "a head without its layers");
        assert!(!confirmed.published || release.id == new.id, "the old head is back");
    } else {
        assert!(!confirmed.published, "the head was published and is not there");
    }
    // The next run finds each chunk that was confirmed.
    let destination = Destination::on(PowerCut::over(root), root).unwrap();
    for (file, chunk) in &confirmed.chunks {
        if read(new.path(*file).as_str()).as_deref() == Some(new.bytes(*file)) {
            continue;
        }
        let partial = destination.partial(new.root(*file), new.size(*file)).unwrap();
        let mut bytes = new.chunks(*file, *chunk..*chunk + 1).to_vec();
        let range = chunk * CHUNK..(chunk + 1) * CHUNK;
        partial.read_at(&mut bytes, range.start).unwrap();
        assert!(new.verifier(*file).accept(*chunk, &bytes).is_ok(), "chunk {chunk} of {file} is lost");
        assert!(partial.extents().unwrap().iter().any(|part| part.contains(&range.start)));
    }
}

/// Every point of a few schedules at which the power may fail, and some of what it may leave.
fn cut_everywhere(schedules: u64, old: Option<&Sample>) {
    let new = Sample::of(&MODEL, 1);
    let begin = |at: &Path| {
        if let Some(old) = old {
            older(at, old);
        }
        PowerCut::over(at)
    };
    for seed in 0..schedules {
        let place = tempfile::tempdir().unwrap();
        let disk = begin(&place.path().join("whole"));
        let confirmed = fetch(&disk, &new, seed);
        assert!(confirmed.published && confirmed.placed.len() == 3, "{confirmed:?}");
        check(disk.root(), old, &new, &confirmed);
        for operations in 0..=disk.operations() {
            let place = tempfile::tempdir().unwrap();
            let disk = begin(&place.path().join("live"));
            disk.fail_after(operations);
            let confirmed = fetch(&disk, &new, seed);
            // A reader that looks before the power fails sees nothing wrong either.
            check(disk.root(), old, &new, &confirmed);
            for fate in 0..3 {
                let cut = place.path().join(format!("cut{fate}"));
                disk.cut(&cut, seed * 1_000_003 + operations * 3 + fate);
                check(&cut, old, &new, &confirmed);
                if fate > 0 {
                    continue;
                }
                let again = fetch(&PowerCut::over(&cut), &new, seed + 1);
                assert!(again.published && again.placed.len() == 3, "{again:?}");
                check(&cut, old, &new, &again);
            }
        }
    }
}

#[test]
fn a_first_fetch_outlasts_a_power_cut_at_any_point() {
    cut_everywhere(2, None);
}

#[test]
fn an_update_outlasts_a_power_cut_at_any_point() {
    cut_everywhere(3, Some(&Sample::of(&MODEL, 2)));
}

#[test]
fn a_chunk_outlasts_a_power_cut_once_it_is_synced() {
    let (place, sample) = (tempfile::tempdir().unwrap(), Sample::of(&MODEL, 1));
    let disk = PowerCut::over(&place.path().join("live"));
    let mut fetcher = Fetcher::start(&disk, &sample).unwrap();
    let mut confirmed = Confirmed::default();
    for seed in 0.. {
        fetcher.advance(1, &mut Dice(seed), &mut confirmed).unwrap();
        if !confirmed.chunks.is_empty() {
            break;
        }
    }
    for fate in 0..50 {
        let cut = place.path().join(format!("cut{fate}"));
        disk.cut(&cut, fate);
        check(&cut, None, &sample, &confirmed);
    }
}
