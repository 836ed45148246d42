//! Model folders, and releases of them that are signed, written, and opened as a verifier opens them.

use std::{
    collections::BTreeMap,
    fs,
    io::{self, Write},
    path::Path,
    sync::LazyLock,
};

use weighbridge_manifest::{
    Expectation, KeyName, ModelName, SignedHead, Time, TrustPolicy, VerifiedFileList, VerifiedHead,
    VerifiedTensorList,
};
use weighbridge_publish::{
    Existing, SecretKey, Sha256Listing, Signing, Staging, StoreError, TensorListing, WeighError, Weighed,
    Weighing,
};
use weighbridge_store::{HEAD, Layers, Metadata};
use weighbridge_testkit::Folder;

/// A safetensors file with this header and these bytes behind it.
pub(crate) fn safetensors(header: &str, rest: &[u8]) -> Vec<u8> {
    let mut file = u64::try_from(header.len()).unwrap().to_le_bytes().to_vec();
    file.extend(header.bytes());
    file.extend(rest);
    file
}

pub(crate) static KEY: LazyLock<SecretKey> =
    LazyLock::new(|| SecretKey::generate(KeyName::parse("test").unwrap()).unwrap());

/// The content of a folder's files by name, for comparing before and after; `None` for a folder.
pub(crate) fn snapshot(folder: &Path) -> BTreeMap<String, Option<Vec<u8>>> {
    let entries = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    entries
        .map(|path| (path.file_name().unwrap().to_str().unwrap().to_owned(), fs::read(&path).ok()))
        .collect()
}

pub(crate) fn name(text: &str) -> ModelName {
    ModelName::parse(text).unwrap()
}

/// A weighing of a folder with default settings.
pub(crate) fn weighing(model: &Path) -> Weighing<'_> {
    Weighing {
        model,
        name: name("test/model"),
        previous: None,
        created: Time::parse("2026-11-20T16:31:00Z").unwrap(),
        expires: None,
        chunk_size: None,
        tensors: TensorListing::List,
        sha256: Sha256Listing::Omit,
        ext: Vec::new(),
        reuse: None,
        take: None,
    }
}

pub(crate) fn weigh(model: &Path) -> Result<Weighed, WeighError> {
    weighing(model).weigh(&|_| {})
}

/// A release that was written to a folder, and opened as a verifier opens it.
pub(crate) struct Release {
    pub(crate) folder: Folder,
    pub(crate) head: VerifiedHead,
    pub(crate) files: VerifiedFileList,
    pub(crate) tensors: Option<VerifiedTensorList>,
    pub(crate) layers: Layers,
}

/// Signs and publishes a weighed model, and opens the release.
pub(crate) fn release(weighed: &Weighed) -> Release {
    let folder = Folder::new();
    publish(weighed, folder.path(), Existing::Keep);
    let metadata = Metadata::at(folder.path());
    let policy = TrustPolicy::any_of(vec![KEY.vkey().clone()]).unwrap();
    let signed = SignedHead::parse(&metadata.note().unwrap()).unwrap();
    let head = signed.verify(&policy, &Expectation::any(), None).unwrap();
    let files = metadata.files(&head).unwrap();
    let tensors = metadata.tensors(&files).unwrap();
    let layers = metadata.layers(&files).unwrap().unwrap();
    Release { folder, head, files, tensors, layers }
}

pub(crate) fn publish(weighed: &Weighed, folder: &Path, existing: Existing) {
    let staging = Staging::open(folder, existing).unwrap();
    weighed.write(&staging).unwrap();
    staging.write(HEAD, all(note(&weighed.text).as_bytes())).unwrap();
    put_in_place(staging).unwrap();
}

pub(crate) fn note(text: &str) -> String {
    let mut signing = Signing::of_text(text.to_owned()).unwrap();
    signing.add(KEY.vkey(), KEY.sign(text.as_bytes())).unwrap();
    signing.note().unwrap()
}

/// A write function that writes exactly these bytes.
pub(crate) fn all(bytes: &[u8]) -> impl FnOnce(&mut dyn Write) -> io::Result<()> {
    move |writer| writer.write_all(bytes)
}

/// Locks the folder and publishes every staged file.
pub(crate) fn put_in_place(staging: Staging) -> Result<(), StoreError> {
    let lock = staging.lock()?;
    staging.publish(lock)
}

/// Locks the folder and publishes the staged note alone.
pub(crate) fn put_note_in_place(staging: Staging) -> Result<(), StoreError> {
    let lock = staging.lock()?;
    staging.publish_note(lock)
}
