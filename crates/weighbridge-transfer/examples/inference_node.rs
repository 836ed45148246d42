//! An inference node that uses a model's tensors while the rest is still being fetched, from one honest source and one
//! that lies.
//!
//! `cargo run -p weighbridge-transfer --example inference_node`

use std::{
    error::Error,
    fs::{self, File},
    io::{Seek as _, SeekFrom, Write as _},
    path::{Path, PathBuf},
    sync::{Arc, OnceLock, mpsc},
    thread,
};

use weighbridge_bandwidth::{Budget, Class, Peer};
use weighbridge_formats::generate::Llama;
use weighbridge_manifest::{
    Expectation, KeyName, ModelName, TensorEntry, Time, TrustError, TrustPolicy, VerifiedHead, Vkey, shown,
};
use weighbridge_publish::{Existing, SecretKey, Sha256Listing, Signing, Staging, TensorListing, Weighing};
use weighbridge_store::{Metadata, ModelView, TensorView};
use weighbridge_transfer::{
    AnotherModel, Event, Observer, Options, SourceFactory, SourceOptions, Sources, Stop, Unlisted, Wanted,
    Watchdog, fetch,
};

fn main() -> Result<(), Box<dyn Error>> {
    let folder = tempfile::tempdir()?;
    let (vkey, sources) = publish(folder.path())?;
    let into = folder.path().join("node");
    let options = Options {
        sources,
        metadata: None,
        into: into.clone(),
        policy: TrustPolicy::any_of(vec![vkey])?,
        expected: Expectation::any().named(ModelName::parse("demo/llama")?),
        now: None,
        wanted: Wanted::default(),
        unlisted: Unlisted::Report,
        another_model: AnotherModel::Refuse,
        memory: 128 << 20,
        // Slow enough that a person can watch it.
        receive: Budget::of(2 << 20).share(Class::Rest, Peer::unique()),
        watchdog: Watchdog::default(),
        guide: None,
        nearby: None,
    };
    let (events, heard) = mpsc::channel();
    let node = Node { events, head: OnceLock::new() };
    let loader = thread::spawn(move || load(&into, &heard));
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let fetched = runtime.block_on(fetch(options, &node, &Stop::default()))?;
    drop(node);
    let before_the_end = loader.join().map_err(|_| "the loader panicked")??;
    println!(
        "fetched {} files; {before_the_end} tensors were in use before the last byte had come",
        fetched.files.len()
    );
    assert!(before_the_end > 0);
    Ok(())
}

/// The events of the fetch that the loader needs.
enum Heard {
    Begun(Box<VerifiedHead>, PathBuf),
    Ready(Box<TensorEntry>),
    All,
}

struct Node {
    events: mpsc::Sender<Heard>,
    head: OnceLock<VerifiedHead>,
}

impl Observer for Node {
    fn accept_head(&self, head: &VerifiedHead, _note: &[u8]) -> Result<(), TrustError> {
        // A real node stores the note here, outside this process, and later refuses an older one.
        let _ = self.head.set(head.clone());
        Ok(())
    }

    fn event(&self, event: Event) {
        let heard = match event {
            Event::Wanted { metadata, .. } => {
                self.head.get().map(|head| Heard::Begun(Box::new(head.clone()), metadata))
            }
            Event::Tensor(tensor) => Some(Heard::Ready(tensor)),
            Event::Progress(progress) if progress.verified == progress.wanted => Some(Heard::All),
            Event::Source(status) => {
                if let Some((blame, why)) = status.blame {
                    println!("source {} {blame}: {why}", status.source.number());
                }
                None
            }
            _ => None,
        };
        // The send fails if the loader has ended with an error, which is reported at the end.
        let _ = heard.map(|heard| self.events.send(heard));
    }
}

/// Loads tensors as they become complete. Returns how many were loaded before the fetch ended.
fn load(into: &Path, heard: &mpsc::Receiver<Heard>) -> Result<usize, String> {
    let mut model: Option<TensorView> = None;
    let mut waiting: Vec<Box<TensorEntry>> = Vec::new();
    let (mut used, mut before_the_end) = (0, None);
    for heard in heard {
        match heard {
            Heard::Begun(head, metadata) => model = Some(open(into, &metadata, &head)?),
            Heard::Ready(tensor) => waiting.push(tensor),
            Heard::All => {
                before_the_end.get_or_insert(used);
            }
        }
        let Some(model) = &model else { continue };
        // A tensor is tried again later if the header of its shard has not come yet.
        waiting.retain(|entry| match model.read_in(entry.file.as_str(), entry.name.as_str()) {
            Ok(tensor) => {
                // This is where a loader would hand the bytes to a device.
                let name = shown(entry.name.as_str());
                println!("{name} {} {:?}, {} bytes", entry.dtype, entry.shape, tensor.bytes().len());
                used += 1;
                false
            }
            Err(_) => true,
        });
    }
    if waiting.is_empty() {
        Ok(before_the_end.unwrap_or(used))
    } else {
        Err(format!("{} tensors were never there", waiting.len()))
    }
}

fn open(into: &Path, metadata: &Path, head: &VerifiedHead) -> Result<TensorView, String> {
    let open = || -> Result<TensorView, Box<dyn Error>> {
        let metadata = Metadata::at(metadata);
        let files = Arc::new(metadata.files(head)?);
        let tensors = metadata.tensors(&files)?.ok_or("the head lists no tensors")?;
        Ok(TensorView::new(ModelView::open(into, &metadata, files)?, tensors))
    };
    open().map_err(|error| error.to_string())
}

/// A publisher's part: a model with its signed metadata, and a mirror of it with a flipped bit.
fn publish(folder: &Path) -> Result<(Vkey, Sources), Box<dyn Error>> {
    let key = SecretKey::generate(KeyName::parse("demo")?)?;
    let (honest, lying) = (folder.join("honest"), folder.join("lying"));
    let _made = Llama::small(1).write(&honest)?;
    let weighed = Weighing {
        model: &honest,
        name: ModelName::parse("demo/llama")?,
        previous: None,
        created: Time::parse("2026-11-20T00:00:00Z")?,
        expires: None,
        chunk_size: None,
        sha256: Sha256Listing::Omit,
        tensors: TensorListing::List,
        ext: Vec::new(),
        reuse: None,
        take: None,
    }
    .weigh(&|_| {})?;
    let mut note = Signing::of_text(weighed.text.clone())?;
    note.add(key.vkey(), key.sign(weighed.text.as_bytes()))?;
    let staging = Staging::open(&honest.join("weighbridge"), Existing::Keep)?;
    weighed.write(&staging)?;
    let note = note.note().ok_or("it was signed")?;
    staging.write("head.note", |file| file.write_all(note.as_bytes()))?;
    let lock = staging.lock()?;
    staging.publish(lock)?;
    copy(&honest, &lying)?;
    let mut file = File::options().write(true).open(lying.join("model-00001-of-00002.safetensors"))?;
    file.seek(SeekFrom::Start(1_000_000))?;
    file.write_all(&[0xFF; 8])?;
    let source = |path: &Path| SourceFactory::new().parse(&path.to_string_lossy(), &SourceOptions::default());
    Ok((key.vkey().clone(), vec![source(&lying)?, source(&honest)?].into()))
}

fn copy(from: &Path, to: &Path) -> Result<(), Box<dyn Error>> {
    fs::create_dir_all(to)?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            copy(&entry.path(), &to.join(entry.file_name()))?;
        } else {
            fs::copy(entry.path(), to.join(entry.file_name()))?;
        }
    }
    Ok(())
}
