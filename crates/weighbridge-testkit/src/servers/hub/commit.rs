//! A commit of a repository: a folder, and what was listed of it when the commit was made.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Write as _,
    fs,
    path::{Path, PathBuf},
};

use serde_json::{Value, json};

pub(super) struct Commit {
    pub(super) id: String,
    pub(super) folder: PathBuf,
    pub(super) files: BTreeMap<String, Entry>,
}

/// A file as it was when the commit was made.
pub(super) struct Entry {
    pub(super) size: u64,
    /// The id of the blob in the repository: that of the content, or of a pointer to it.
    pub(super) id: String,
    /// The SHA-256 of the content of a large file, which lies in the storage.
    pub(super) sha256: Option<String>,
}

impl Commit {
    /// A commit of all files of a folder. `number` tells commits of the same files apart.
    pub(super) fn of(folder: &Path, number: usize) -> Self {
        let mut files = BTreeMap::new();
        add(folder, "", &mut files);
        let mut text = format!("commit {number}\n");
        for (path, Entry { id, .. }) in &files {
            let _ = writeln!(text, "{id} {path}");
        }
        Self { id: sha1(text.as_bytes()), folder: folder.to_owned(), files }
    }

    /// A page of the entries below a folder, and the target of the next page.
    pub(super) fn page(&self, folder: &str, target: &str, page: usize) -> (Value, Option<String>) {
        let (target, query) = target.split_once('?').unwrap_or((target, ""));
        let value = |key: &str| {
            let mut pairs = query.split('&').filter_map(|pair| pair.split_once('='));
            pairs.find(|(name, _)| *name == key).map(|(_, value)| value)
        };
        let is_recursive = value("recursive").is_some_and(|value| value.eq_ignore_ascii_case("true"));
        let from: usize = value("cursor").map_or(0, |cursor| cursor.parse().unwrap());
        let entries: Vec<Value> = self
            .entries()
            .into_iter()
            .filter(|(path, _)| is_in(path, folder, is_recursive))
            .map(|(_, e)| e)
            .collect();
        let end = entries.len().min(from + page);
        let kept: String = query
            .split('&')
            .filter(|pair| !pair.starts_with("cursor="))
            .map(|pair| format!("{pair}&"))
            .collect();
        let next = (end < entries.len()).then(|| format!("{target}?{kept}cursor={end}"));
        (Value::Array(entries[from.min(end)..end].to_vec()), next)
    }

    /// All folders and files, by path.
    fn entries(&self) -> BTreeMap<String, Value> {
        let above =
            |path: &str| path.match_indices('/').map(|(end, _)| path[..end].to_owned()).collect::<Vec<_>>();
        let folders: BTreeSet<String> = self.files.keys().flat_map(|path| above(path)).collect();
        let folder = |path: String| {
            let entry = json!({"type": "directory", "oid": sha1(path.as_bytes()), "size": 0, "path": path});
            (path, entry)
        };
        let file = |(path, Entry { size, id, sha256 }): (&String, &Entry)| {
            let mut entry = json!({"type": "file", "oid": id, "size": size, "path": path});
            if let Some(sha256) = sha256 {
                entry["lfs"] =
                    json!({"oid": sha256, "size": size, "pointerSize": pointer(sha256, *size).len()});
            }
            (path.clone(), entry)
        };
        folders.into_iter().map(folder).chain(self.files.iter().map(file)).collect()
    }
}

fn is_in(path: &str, folder: &str, is_recursive: bool) -> bool {
    let below = match folder {
        "" => Some(path),
        folder => path.strip_prefix(folder).and_then(|rest| rest.strip_prefix('/')),
    };
    below.is_some_and(|rest| is_recursive || !rest.contains('/'))
}

fn add(folder: &Path, above: &str, files: &mut BTreeMap<String, Entry>) {
    for entry in fs::read_dir(folder).unwrap().map(Result::unwrap) {
        let name = entry.file_name().into_string().unwrap();
        let path = if above.is_empty() { name } else { format!("{above}/{name}") };
        if entry.path().is_dir() {
            add(&entry.path(), &path, files);
            continue;
        }
        let bytes = fs::read(entry.path()).unwrap();
        let size = u64::try_from(bytes.len()).unwrap();
        let is_large = LARGE.iter().any(|extension| path.ends_with(extension));
        let sha256 = is_large.then(|| hex(&<sha2::Sha256 as sha2::Digest>::digest(&bytes)));
        let blob = sha256.as_ref().map_or(bytes, |sha256| pointer(sha256, size).into_bytes());
        let id = sha1(&[format!("blob {}\0", blob.len()).as_bytes(), &blob].concat());
        files.insert(path, Entry { size, id, sha256 });
    }
}

/// The extensions of files that hubs keep in their storage, whatever their size.
const LARGE: [&str; 4] = [".bin", ".gguf", ".safetensors", ".pt"];

/// The file in the repository that stands for a large one.
fn pointer(sha256: &str, size: u64) -> String {
    format!("version https://git-lfs.github.com/spec/v1\noid sha256:{sha256}\nsize {size}\n")
}

fn sha1(bytes: &[u8]) -> String {
    let mut sha1 = sha1_checked::Sha1::default();
    sha1_checked::Digest::update(&mut sha1, bytes);
    hex(sha1.try_finalize().hash())
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
