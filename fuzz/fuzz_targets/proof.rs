//! Proofs, under a head that is made for exactly these claims: they are accepted if and only if a second
//! implementation of the specification, with another JSON parser, another base64 decoder and another tree, accepts
//! them.
//!
//! Input: a proof as received. Its note gives the counts, and is then replaced.
#![no_main]

use libfuzzer_sys::fuzz_target;
use weighbridge_fuzz::{
    bounded,
    lines::{BELOW, FileLine, TensorLine},
    naive,
};
use weighbridge_manifest::{
    EntryPath, Expectation, Head, ListSize, ModelName, Note, Proven, SignedProof, Tensors, Time, TrustPolicy,
    tree::{ChunkSize, ModelRoot, TensorsRoot, head_id},
};

fuzz_target!(|data: &[u8]| {
    let received = bounded(data.len(), || SignedProof::parse(data).map(|proof| proof.note().len()));
    let (above, note) = split(data);
    assert_eq!(received.is_ok(), note.is_some_and(|note| Note::parse(note).is_ok()), "{received:?}");
    let claims = Claims::read(above);
    let head = head_for(claims.as_ref(), note);
    let text = head.to_text().expect("a head");
    let proof = [above, format!("\n{text}\n\u{2014} nobody AAAAAAE=\n").as_bytes()].concat();
    let ours = check(&proof, &text);
    let theirs = claims.filter(|claims| claims.hold(&head));
    assert_eq!(ours.is_some(), theirs.is_some());
    let (Some(ours), Some(theirs)) = (ours, theirs) else { return };
    same(&ours, &theirs);
    // A single flipped bit of an entry is refused.
    let first_entry = above.iter().position(|byte| *byte == b'{').expect("an entry");
    let end = above[first_entry..].iter().position(|byte| *byte == b'\n').expect("a line");
    let mut changed = proof.clone();
    changed[first_entry + end / 2] ^= 1;
    assert!(check(&changed, &text).is_none());
    assert!(check(&proof[1..], &text).is_none());
    assert!(check(&proof[..proof.len() - 1], &text).is_none());
});

/// The verdict when the head's own id is pinned.
fn check(proof: &[u8], text: &str) -> Option<Proven> {
    let policy = TrustPolicy::pinned(head_id(text.as_bytes()));
    let checked = bounded(proof.len(), || {
        SignedProof::parse(proof)
            .and_then(|proof| proof.verify(&policy, &Expectation::any().allow_expired(), None))
    });
    checked.ok()
}

fn same(ours: &Proven, theirs: &Claims<'_>) {
    let files = ours.files().iter().map(|(position, file)| (*position, file.to_string()));
    assert!(files.eq(theirs.files.iter().map(|(position, line)| (*position, (*line).to_owned()))));
    let tensors = ours.tensors().iter().map(|(position, tensor)| (*position, tensor.to_string()));
    assert!(tensors.eq(theirs.tensors.iter().map(|(position, line)| (*position, (*line).to_owned()))));
    assert!(ours.absent().iter().map(EntryPath::as_str).eq(theirs.absent.iter().copied()));
    let slice =
        ours.slice().map(|slice| (slice.position, slice.range.range().start, slice.range.range().end));
    assert_eq!(slice, theirs.slice);
}

/// The bytes above the first empty line, and the bytes behind it.
fn split(proof: &[u8]) -> (&[u8], Option<&[u8]>) {
    let lines: Vec<&[u8]> = proof.split_inclusive(|byte| *byte == b'\n').collect();
    match lines.iter().position(|line| *line == b"\n") {
        Some(empty) => {
            let above = lines[..empty].concat().len();
            (&proof[..above], Some(&proof[above + 1..]))
        }
        // Without LF at its end, the last line would run into the empty line that is put behind it.
        None => (if proof.ends_with(b"\n") { proof } else { &[] }, None),
    }
}

/// The claims that the specification permits above the note.
struct Claims<'a> {
    files: Vec<(u64, &'a str)>,
    absent: Vec<&'a str>,
    file_siblings: Vec<naive::Hash>,
    tensors: Vec<(u64, &'a str)>,
    tensor_siblings: Vec<naive::Hash>,
    slice: Option<(u64, u64, u64)>,
}

impl<'a> Claims<'a> {
    fn read(above: &'a [u8]) -> Option<Self> {
        let mut lines: Vec<&str> = str::from_utf8(above).ok()?.strip_suffix('\n')?.split('\n').collect();
        lines.reverse();
        if lines.pop()? != "weighbridge/proof/v1" {
            return None;
        }
        let mut take = |belongs: &dyn Fn(&str) -> bool| {
            let mut taken = Vec::new();
            while lines.last().is_some_and(|line| belongs(line)) {
                taken.extend(lines.pop());
            }
            taken
        };
        let entry = |line: &str, key| line.split_once(' ').is_some_and(|(_, entry)| entry.starts_with(key));
        let files = positions(&take(&|line| entry(line, "{\"file\":")))?;
        let absent: Vec<&str> =
            take(&|line| line.starts_with("absent ")).into_iter().map(|line| &line[7..]).collect();
        let mut siblings = || match take(&|line| !line.contains(' '))[..] {
            [] => Some(Vec::new()),
            [line] => hashes(line),
            _ => None,
        };
        let file_siblings = siblings()?;
        let tensors = positions(&take(&|line| entry(line, "{\"tensor\":")))?;
        let mut siblings = || match take(&|line| !line.contains(' '))[..] {
            [] => Some(Vec::new()),
            [line] => hashes(line),
            _ => None,
        };
        let tensor_siblings = siblings()?;
        let slice = match take(&|line| line.starts_with("slice "))[..] {
            [] => None,
            [line] => {
                let (position, range) = line[6..].split_once(' ')?;
                let (start, end) = range.split_once("..")?;
                Some((number(position)?, number(start)?, number(end)?))
            }
            _ => return None,
        };
        let good = lines.is_empty()
            && !files.is_empty()
            && (tensor_siblings.is_empty() || !tensors.is_empty())
            && files.len() + absent.len() + tensors.len() <= 4096;
        good.then_some(Self { files, absent, file_siblings, tensors, tensor_siblings, slice })
    }

    fn hold(&self, head: &Head) -> bool {
        let files: Option<Vec<FileLine>> = self.files.iter().map(|(_, line)| FileLine::read(line)).collect();
        let tensors: Option<Vec<TensorLine>> =
            self.tensors.iter().map(|(_, line)| TensorLine::read(line)).collect();
        let (Some(files), Some(tensors)) = (files, tensors) else { return false };
        let shown = |tensor: &TensorLine| {
            let has_tensors = tensor.file.ends_with(".safetensors") || tensor.file.ends_with(".gguf");
            let file = files.iter().find(|file| file.file == tensor.file);
            has_tensors && file.is_some_and(|file| tensor.offset + tensor.size <= file.size)
        };
        let sliced = |(at, start, end): (u64, u64, u64)| {
            let file = self.files.iter().zip(&files).find(|((position, _), _)| *position == at);
            file.is_some_and(|(_, file)| {
                (start < end && end <= file.size) || (file.size, start, end) == (0, 0, 0)
            })
        };
        files.is_sorted_by(|a, b| a.file < b.file)
            && self.absent.is_sorted_by(|a, b| a < b)
            && self
                .absent
                .iter()
                .all(|path| EntryPath::parse(path).is_ok() && self.is_absent(path, &files, head))
            && leads(head.files.count, &self.files, &self.file_siblings).is_some()
            && tensors.is_sorted_by(|a, b| (&a.file, &a.tensor) < (&b.file, &b.tensor))
            && tensors.iter().all(shown)
            && (tensors.is_empty()
                || head.tensors.is_some_and(|signed| {
                    leads(signed.list.count, &self.tensors, &self.tensor_siblings).is_some()
                }))
            && self.slice.is_none_or(sliced)
    }

    fn is_absent(&self, path: &str, files: &[FileLine], head: &Head) -> bool {
        let at = |index: usize| self.files[index].0;
        let last = files.len() - 1;
        (path < files[0].file.as_str() && at(0) == 0)
            || (path > files[last].file.as_str() && at(last) + 1 == head.files.count)
            || (1..=last).any(|next| {
                files[next - 1].file.as_str() < path
                    && path < files[next].file.as_str()
                    && at(next - 1) + 1 == at(next)
            })
    }
}

fn positions<'a>(lines: &[&'a str]) -> Option<Vec<(u64, &'a str)>> {
    let parts = lines.iter().map(|line| line.split_once(' ').expect("an entry"));
    parts.map(|(position, entry)| Some((number(position)?, entry))).collect()
}

fn number(digits: &str) -> Option<u64> {
    digits.parse().ok().filter(|number: &u64| *number < BELOW && number.to_string() == digits)
}

/// Decodes base64 bit by bit, without a library.
fn hashes(line: &str) -> Option<Vec<naive::Hash>> {
    const ALPHABET: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let digits = line.trim_end_matches('=');
    let (mut bits, mut held, mut bytes) = (0_u32, 0, Vec::new());
    for digit in digits.bytes() {
        bits = bits << 6 | ALPHABET.iter().position(|letter| *letter == digit)? as u32;
        held += 6;
        if held >= 8 {
            held -= 8;
            bytes.push((bits >> held) as u8);
            bits &= (1 << held) - 1;
        }
    }
    // Padded to a multiple of four by the right number of signs, with no set bit outside of the bytes.
    let canonical = line.len() % 4 == 0 && line.len() - digits.len() <= 2 && held < 6 && bits == 0;
    let (hashes, rest) = bytes.as_chunks::<32>();
    (canonical && rest.is_empty() && !hashes.is_empty()).then(|| hashes.to_vec())
}

fn leads(count: u64, entries: &[(u64, &str)], siblings: &[naive::Hash]) -> Option<naive::Hash> {
    let leaves: Vec<_> = entries.iter().map(|(at, line)| (*at, naive::leaf(line.as_bytes()))).collect();
    naive::root_of_proof(count, &leaves, siblings)
}

/// A head that signs the result of these claims, with the counts of the note's head.
fn head_for(claims: Option<&Claims<'_>>, note: Option<&[u8]>) -> Head {
    let size = |count| ListSize { count, length: 1 };
    let root_of_nothing = TensorsRoot::from_bytes([0; 32]);
    let fallback = Head {
        name: ModelName::parse("fuzzed/model").expect("a name"),
        revision: 1,
        previous: None,
        created: Time::from_unix(0).expect("a time"),
        expires: None,
        bytes: 0,
        files: size(4),
        root: ModelRoot::from_bytes([0; 32]),
        tensors: Some(Tensors { list: size(3), root: root_of_nothing }),
        chunk_size: ChunkSize::DEFAULT_MIN,
        ext: Vec::new(),
    };
    let claimed = note.and_then(|note| Head::parse(Note::parse(note).ok()?.text()).ok());
    let mut head = claimed.unwrap_or(fallback);
    let Some(claims) = claims else { return head };
    if let Some(top) = leads(head.files.count, &claims.files, &claims.file_siblings) {
        let text = [&head.files.count.to_le_bytes()[..], &head.bytes.to_le_bytes(), &top].concat();
        head.root = ModelRoot::from_bytes(blake3::derive_key("weighbridge 2026-11-20 v1 model root", &text));
    }
    if let Some(tensors) = &mut head.tensors
        && let Some(top) = leads(tensors.list.count, &claims.tensors, &claims.tensor_siblings)
    {
        let text = [&tensors.list.count.to_le_bytes()[..], &top].concat();
        tensors.root =
            TensorsRoot::from_bytes(blake3::derive_key("weighbridge 2026-11-20 v1 tensors root", &text));
    }
    head
}
