//! Every vector of `spec/vectors` ends as it states. A new vector needs no new code.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    sync::Mutex,
};

use weighbridge_formats::{
    Format, Parsed, TensorSpan,
    index::{Index, Lookup},
    parse,
    split::{Part, Says, Split, check as check_splits},
};
use weighbridge_manifest::{
    Dtype, EntryPath, Expectation, Head, Memory, ModelName, SignedChallenge, SignedHead, SignedProof,
    SignedReceipt, SignedReport, TensorEntry, TensorName, Time, TrustPolicy, VerifiedHead, Vkey, shown,
    unseen_in,
};
use weighbridge_serve::{Claim, PushRoute, Route};
use weighbridge_store::{
    CachedModel, Event, ExtraFiles, FileFault, Metadata, ModelCheck, Outcome, TensorHashing, compare,
};
use weighbridge_swarm::{
    Access, HEADER, Header, Item, MemberKey, Members, Message, Piece, Pieces, Role, Secret, Side, Ticket,
};
use weighbridge_transfer::PushMissing;
use weighbridge_tree::{
    ChunkSize, Coded, EntryHash, FileRoot, Grid, HeadId, Layer, Nonce, SiblingHash, SliceDecoder, SliceRange,
    TensorHash, TreeError, TreeHash, check_slice, draw, head_id, root_of_proof,
};
use weighbridge_verify::{Answered, AuditError};

use crate::command::kit::root;

#[test]
fn every_vector_ends_as_promised() {
    let vectors = Vector::walk(&spec().join("vectors"));
    assert!(vectors.len() > 300, "only {} vectors were found", vectors.len());
    let failures: Vec<String> = vectors.iter().filter_map(|v| v.judge().err()).collect();
    assert!(failures.is_empty(), "{} of {}:\n{}", failures.len(), vectors.len(), failures.join("\n"));
}

fn spec() -> PathBuf {
    root().join("spec")
}

/// The number of an error, as vectors write it.
#[allow(clippy::needless_pass_by_value, reason = "it stands in `map_err`")]
fn code(error: impl Coded) -> u16 {
    error.error_code().get()
}

/// One scenario in the form of `spec/vectors/README.md`.
struct Vector {
    file: PathBuf,
    keys: BTreeMap<String, String>,
    sections: Vec<(String, Vec<u8>)>,
}

/// The result of running a vector.
#[derive(Default)]
struct End {
    /// The codes of the refusal: one code, or all reported codes for a model.
    codes: Vec<u16>,
    /// All released bytes.
    released: Vec<u8>,
    /// The known answers.
    answers: BTreeMap<&'static str, String>,
}

impl End {
    fn refused(code: u16) -> Self {
        Self { codes: vec![code], ..Self::default() }
    }

    fn of(result: Result<(), u16>) -> Self {
        result.map_or_else(Self::refused, |()| Self::default())
    }

    fn of_header(format: Format, split: Option<Split>) -> Self {
        match format {
            Format::Gguf => Self::default().answer("split", &split_line(split)),
            _ => Self::default(),
        }
    }

    fn answer(mut self, key: &'static str, value: &impl ToString) -> Self {
        self.answers.insert(key, value.to_string());
        self
    }
}

impl Vector {
    fn walk(folder: &Path) -> Vec<Self> {
        let mut vectors = Vec::new();
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                vectors.extend(Self::walk(&path));
            } else if path.file_name().unwrap() != "README.md" {
                vectors.push(Self::parse(path));
            }
        }
        vectors
    }

    fn parse(file: PathBuf) -> Self {
        let bytes = fs::read(&file).unwrap();
        let (header, mut rest) =
            split_header(&bytes).unwrap_or_else(|| panic!("{}: no empty line", file.display()));
        let pair = |line: &str| line.split_once(": ").map(|(key, value)| (key.to_owned(), value.to_owned()));
        let keys = header
            .lines()
            .map(|line| pair(line).unwrap_or_else(|| panic!("{}: {line}", file.display())))
            .collect();
        let mut sections = Vec::new();
        while !rest.is_empty() {
            let end = rest.iter().position(|&b| b == b'\n').unwrap();
            let title = std::str::from_utf8(&rest[..end]).unwrap().strip_prefix("--- ").unwrap();
            let (name, length) = title.rsplit_once(' ').unwrap();
            let (content, behind) = rest[end + 1..].split_at(length.parse().unwrap());
            sections.push((name.to_owned(), content.to_vec()));
            rest = behind.strip_prefix(b"\n").unwrap_or_else(|| panic!("{}: {name}: length", file.display()));
        }
        Self { file, keys, sections }
    }

    fn key(&self, name: &str) -> Option<&str> {
        self.keys.get(name).map(String::as_str)
    }

    fn number(&self, name: &str) -> u64 {
        self.key(name).unwrap_or_else(|| panic!("{}: no {name}", self.file.display())).parse().unwrap()
    }

    fn section(&self, name: &str) -> Option<&[u8]> {
        self.sections.iter().find(|(n, _)| n == name).map(|(_, bytes)| bytes.as_slice())
    }

    fn bytes(&self, name: &str) -> &[u8] {
        self.section(name).unwrap_or_else(|| panic!("{}: no section {name}", self.file.display()))
    }

    /// The text of a section; `None` for malformed UTF-8, which only parsers of bytes have to judge.
    fn text(&self, name: &str) -> Option<&str> {
        std::str::from_utf8(self.bytes(name)).ok()
    }

    fn text_if_any(&self, name: &str) -> Option<&str> {
        self.section(name).map(|bytes| std::str::from_utf8(bytes).unwrap())
    }

    fn judge(&self) -> Result<(), String> {
        // The decisions about sources are no public interface: `weighbridge-transfer` has the test.
        if self.key("test") == Some("blame") {
            return Ok(());
        }
        let end = self.run();
        let place = self.file.strip_prefix(spec()).unwrap_or(&self.file).display();
        let fail = |what: String| Err(format!("{place}: {what} ({})", self.key("comment").unwrap_or("")));
        let expected: Option<u16> = match self.key("expect") {
            Some("accepted") => None,
            Some("refused") => Some(self.number("code").try_into().unwrap()),
            other => panic!("{place}: expect: {other:?}"),
        };
        match expected {
            None if !end.codes.is_empty() => return fail(format!("refused with {:?}", end.codes)),
            Some(code) if end.codes.is_empty() => return fail(format!("accepted instead of {code}")),
            Some(code) if !end.codes.contains(&code) => {
                return fail(format!("refused with {:?} instead of {code}", end.codes));
            }
            _ => {}
        }
        if let Some(released) = self.key("released")
            && released != blake3::hash(&end.released).to_hex().as_str()
        {
            return fail(format!("{} bytes were released", end.released.len()));
        }
        for (key, answer) in &end.answers {
            let section = self.section(key).map(|bytes| std::str::from_utf8(bytes).unwrap());
            if let Some(known) = self.key(key).or(section)
                && known != answer
            {
                return fail(format!("{key} is {answer}, not {known}"));
            }
        }
        Ok(())
    }

    fn run(&self) -> End {
        match self.key("test").unwrap() {
            "root" => self.run_root(),
            "layer" => End::of(self.layer().map(|_| ())),
            "chunk" => self.run_chunk(),
            "path" => self.run_text("path", 1411, |t| EntryPath::parse(t).map(|_| ()).map_err(code)),
            "tensor-name" => self.run_text("name", 0, |t| TensorName::parse(t).map(|_| ()).map_err(code)),
            "shown" => {
                let name = self.text("name").unwrap();
                let unseen = name.split('/').find_map(unseen_in);
                let unseen = unseen.map_or("none".to_owned(), |c| format!("U+{:04X}", u32::from(c)));
                End::default().answer("shown", &shown(name)).answer("unseen", &unseen)
            }
            "model-name" => self.run_text("name", 1701, |t| ModelName::parse(t).map(|_| ()).map_err(code)),
            "cache-folder" => {
                let name = ModelName::parse(self.text("name").unwrap()).unwrap();
                match CachedModel::folder_of(&name) {
                    Ok(folder) => End::default().answer("folder", &folder),
                    Err(error) => End::refused(code(error)),
                }
            }
            "route" => self.run_route(),
            "push-missing" => self.run_push_missing().unwrap_or_else(|| End::refused(9301)),
            "swarm-ticket" => self.run_swarm_ticket(),
            "swarm-proof" => self.run_swarm_proof(),
            "swarm-claim" => self.run_swarm_claim(),
            "swarm-header" => self.run_swarm_header(),
            "swarm-message" => self.run_swarm_message().unwrap_or_else(End::refused),
            "swarm-pieces" => self.run_swarm_pieces(),
            "swarm-owners" => self.run_swarm_owners(),
            "time" => self.run_text("time", 1702, |t| Time::parse(t).map(|_| ()).map_err(code)),
            "vkey" => self.run_text("vkey", 1501, |t| Vkey::parse(t).map(|_| ()).map_err(code)),
            "policy" => {
                let policy = TrustPolicy::from_toml(self.bytes("policy.toml"));
                End::of(policy.map(|policy| reads_as_it_is_written(&policy)).map_err(code))
            }
            "head" => self.run_head(),
            "list" => End::of(self.run_list()),
            "trust" => self.trust().map_or_else(End::refused, |head| answers_of(&head)),
            "memory" => self.run_memory().unwrap_or_else(End::refused),
            "tree" => self.run_tree(),
            "safetensors" => self.run_tensors(Format::Safetensors),
            "gguf" => self.run_tensors(Format::Gguf),
            "split" => End::of(self.run_split()),
            "index" => End::of(self.run_index()),
            "header" => self.run_header(),
            "model" => self.run_model(),
            "proof" => self.run_proof().unwrap_or_else(End::refused),
            "slice" => self.run_slice(),
            "samples" => self.run_samples(),
            "statement" => self.run_statement().unwrap_or_else(End::refused),
            "audit" => self.run_audit().unwrap_or_else(End::refused),
            "held" => self.run_held().unwrap_or_else(End::refused),
            other => panic!("{}: unknown test {other}", self.file.display()),
        }
    }

    fn run_text(&self, section: &str, not_utf8: u16, parse: impl Fn(&str) -> Result<(), u16>) -> End {
        match self.text(section) {
            Some(text) => End::of(parse(text)),
            None => End::refused(not_utf8),
        }
    }

    fn grid(&self) -> Result<Grid, u16> {
        let chunk_size = ChunkSize::new(self.number("chunk-size")).map_err(code)?;
        Grid::new(self.number("size"), chunk_size).map_err(code)
    }

    fn run_route(&self) -> End {
        // The target of a request is ASCII: what an HTTP parser lets through.
        let Some(route) = Route::of(self.text("target").unwrap()) else {
            return End::default().answer("route", &"none");
        };
        let mut end = End::default().answer("route", &route.kind());
        if let Some(name) = route.model() {
            end = end.answer("model", name);
        }
        match &route {
            Route::File(_, path) => end.answer("path", path),
            Route::Metadata(_, file) => end.answer("path", &file.name()),
            Route::Push(_, head, part) => {
                let (part, path) = match part {
                    PushRoute::Upload => ("upload", None),
                    PushRoute::Missing => ("missing", None),
                    PushRoute::Publish => ("publish", None),
                    PushRoute::Metadata(file) => ("metadata", Some(file.name())),
                    PushRoute::File(path) => ("file", Some(path.as_str())),
                };
                end = end.answer("head", head).answer("part", &part);
                match path {
                    Some(path) => end.answer("path", &path),
                    None => end,
                }
            }
            Route::Info(_, Some(revision)) => end.answer("revision", revision),
            Route::Tree(_, revision, path) | Route::Resolve(_, revision, path) => {
                end.answer("revision", revision).answer("path", path)
            }
            _ => end,
        }
    }

    fn run_push_missing(&self) -> Option<End> {
        let files = self.text("files").unwrap();
        let files: Vec<(u64, &str)> = files
            .lines()
            .map(|line| {
                let (size, path) = line.split_once(' ').unwrap();
                (size.parse().unwrap(), path)
            })
            .collect();
        let answer: PushMissing = serde_json::from_slice(self.bytes("answer")).ok()?;
        let size = |path: &str| files.iter().find(|(_, name)| *name == path).map(|(size, _)| *size);
        let mut ranges = String::new();
        for (path, of_file) in answer.chunks(size, self.number("chunk-size"))? {
            of_file.iter().for_each(|range| ranges += &format!("{}..{} {path}\n", range.start, range.end));
        }
        Some(End::default().answer("ranges", &ranges))
    }

    fn run_swarm_ticket(&self) -> End {
        let ticket = match Ticket::parse(self.bytes("ticket")) {
            Ok(ticket) => ticket,
            Err(error) => return End::refused(code(error)),
        };
        assert_eq!(ticket.write().as_bytes(), self.bytes("ticket"), "{}", self.file.display());
        let end = End::default().answer("name", &ticket.name).answer("head", &ticket.head);
        let end = end.answer("label", &hex(ticket.key().label().as_bytes()));
        end.answer("trackers", &ticket.trackers.len()).answer("members", &ticket.members.len())
    }

    fn run_swarm_proof(&self) -> End {
        let bytes = |name: &str| from_hex(self.key(name).unwrap());
        let ticket = Ticket {
            name: ModelName::parse("org/model").unwrap(),
            head: HeadId::from_bytes(bytes("head")),
            expires: Time::parse(self.key("expires").unwrap()).unwrap(),
            access: match self.key("open") {
                Some(open) => Access::Open(from_hex(open)),
                None => Access::Secret(Secret::from(bytes("secret"))),
            },
            trackers: Vec::new(),
            members: Vec::new(),
        };
        let key = ticket.key();
        let (connecting, accepting) = (bytes("connecting"), bytes("accepting"));
        let both = (MemberKey::from_bytes(connecting), MemberKey::from_bytes(accepting));
        let proof = |side| key.proof(side, &bytes("exporter"), &both.0, &both.1).to_hex();
        let end = End::default().answer("label", &hex(key.label().as_bytes()));
        let end = end.answer("connects", &proof(Side::Connects)).answer("accepts", &proof(Side::Accepts));
        end.answer("tag", &hex(key.tag(&both.0).as_bytes()))
    }

    fn run_swarm_claim(&self) -> End {
        let claim = Claim::parse(str::from_utf8(self.bytes("claim")).unwrap());
        let none = || "none".to_owned();
        let tag = claim.map_or_else(none, |claim| hex(&claim.tag));
        let lease = claim.map_or_else(none, |claim| claim.lease.as_millis().to_string());
        End::default().answer("tag", &tag).answer("lease", &lease)
    }

    fn pieces(&self) -> u32 {
        self.number("pieces").try_into().unwrap()
    }

    fn run_swarm_header(&self) -> End {
        match Header::parse(from_hex(self.key("header").unwrap()), self.pieces()) {
            Ok(header) => End::default().answer("length", &header.len),
            Err(error) => End::refused(code(error)),
        }
    }

    fn run_swarm_message(&self) -> Result<End, u16> {
        let bytes = self.bytes("message");
        let (header, content) = bytes.split_first_chunk::<HEADER>().ok_or(1911u16)?;
        let header = Header::parse(*header, self.pieces()).map_err(code)?;
        let Some(message) = Message::parse(header, content, self.pieces()).map_err(code)? else {
            return Ok(End::default().answer("says", &"UNKNOWN\n"));
        };
        assert_eq!(message.write(), bytes, "{}", self.file.display());
        Ok(End::default().answer("says", &said(&message)))
    }

    fn run_swarm_pieces(&self) -> End {
        let chunk_size = match ChunkSize::new(self.number("chunk-size")) {
            Ok(chunk_size) => chunk_size.bytes(),
            Err(error) => return End::refused(code(error)),
        };
        let files = self.text("files").unwrap().lines().map(|line| {
            let (size, root) = line.split_once(' ').unwrap();
            (FileRoot::from_hex(root).unwrap(), size.parse().unwrap())
        });
        let Some(pieces) = Pieces::of(files, chunk_size) else {
            return End::default().answer("pieces", &"none");
        };
        let end = End::default().answer("pieces", &pieces.count()).answer("length", &pieces.len());
        if self.section("places").is_none() {
            return end;
        }
        let places: String = (0..pieces.count())
            .map(|piece| {
                let place = pieces.place(piece).unwrap();
                let start = place.chunks.start * chunk_size;
                format!("{start}..{} {}\n", start + pieces.bytes(piece), place.root)
            })
            .collect();
        end.answer("places", &places)
    }

    fn run_swarm_owners(&self) -> End {
        let keys: Vec<MemberKey> =
            self.text("keys").unwrap().lines().map(|line| MemberKey::from_bytes(from_hex(line))).collect();
        let members = Members::new(keys.clone(), self.pieces());
        let position = |key: &MemberKey| keys.iter().position(|one| one == key).unwrap().to_string();
        let owners: Vec<String> =
            (0..self.pieces()).map(|piece| position(members.owner(Piece(piece)).unwrap())).collect();
        let owners = if owners.is_empty() { "none".to_owned() } else { owners.join(" ") };
        End::default().answer("owners", &owners)
    }

    fn run_root(&self) -> End {
        let bytes: Vec<u8> = (0..self.number("size")).map(|i| u8::try_from(i % 251).unwrap()).collect();
        let grid = self.grid().unwrap();
        let size = usize::try_from(grid.granule().bytes()).unwrap();
        let mut layer = Vec::new();
        let mut values = Vec::new();
        if grid.has_layer() {
            for (index, chunk) in (0..).zip(bytes.chunks(size)) {
                let value = grid.chaining_value(index, chunk).unwrap();
                layer.extend_from_slice(value.as_bytes());
                values.push(value);
            }
            assert_eq!(grid.merge_root(&values), Ok(FileRoot::of(&bytes)));
        }
        assert_eq!(layer, self.bytes("layer"), "{}", self.file.display());
        End::default().answer("root", &FileRoot::of(&bytes)).answer("chunks", &grid.count())
    }

    fn layer(&self) -> Result<Layer, u16> {
        let root = FileRoot::from_hex(self.key("root").unwrap()).unwrap();
        Layer::accept(self.grid()?, root, self.bytes("layer")).map_err(code)
    }

    fn run_chunk(&self) -> End {
        let layer = match self.layer() {
            Ok(layer) => layer,
            Err(code) => return End::refused(code),
        };
        let mut end = End::default();
        for (name, bytes) in &self.sections {
            let Some(index) = name.strip_prefix("chunk ") else { continue };
            match layer.check(index.parse().unwrap(), bytes) {
                Ok(()) => end.released.extend_from_slice(bytes),
                Err(error) => {
                    end.codes.push(code(error));
                    break;
                }
            }
        }
        end
    }

    fn run_head(&self) -> End {
        let Some(text) = self.text("head.txt") else { return End::refused(1203) };
        match Head::parse(text) {
            Ok(head) => {
                assert_eq!(head.to_text().as_deref(), Ok(text), "{}", self.file.display());
                End::default().answer("head-id", &head_id(text.as_bytes()))
            }
            Err(error) => End::refused(code(error)),
        }
    }

    fn run_list(&self) -> Result<(), u16> {
        let head = believed(self.text("head.txt").unwrap());
        let files = head.open_files(self.bytes("files.jsonl")).map_err(code)?;
        if let Some(bytes) = self.section("tensors.jsonl") {
            files.open_tensors(bytes).map_err(code)?;
        }
        Ok(())
    }

    /// The policy that the vector names. It must load, since these vectors do not test loading.
    fn policy(&self) -> TrustPolicy {
        if let Some(text) = self.section("policy.toml") {
            return TrustPolicy::from_toml(text).unwrap();
        }
        if let Some(lines) = self.section("vkeys") {
            let lines = std::str::from_utf8(lines).unwrap().lines();
            return TrustPolicy::any_of(lines.map(|l| Vkey::parse(l).unwrap()).collect()).unwrap();
        }
        TrustPolicy::pinned(HeadId::from_hex(self.key("head").unwrap()).unwrap())
    }

    fn now(&self) -> Option<Time> {
        self.key("now").map(|t| Time::parse(t).unwrap())
    }

    fn trust(&self) -> Result<VerifiedHead, u16> {
        let note = self.section("head.note").or(self.section("weighbridge/head.note")).unwrap();
        let signed = SignedHead::parse(note).map_err(code)?;
        let (policy, expected) = self.policy_and_expectation();
        signed.verify(&policy, &expected, self.now()).map_err(code)
    }

    fn policy_and_expectation(&self) -> (TrustPolicy, Expectation) {
        let policy = self.policy();
        let mut expected = Expectation::any();
        if let Some(name) = self.key("name") {
            expected = expected.named(ModelName::parse(name).unwrap());
        }
        if let Some(id) = self.key("head") {
            expected = expected.head(HeadId::from_hex(id).unwrap());
        }
        if self.key("min-revision").is_some() {
            expected = expected.min_revision(self.number("min-revision"));
        }
        if self.key("allow-expired") == Some("yes") {
            expected = expected.allow_expired();
        }
        (policy, expected)
    }

    fn run_memory(&self) -> Result<End, u16> {
        let (policy, expected) = self.policy_and_expectation();
        let asked = if self.key("head").is_some() { Asked::No } else { Asked::Yes };
        let (note, state) = (self.bytes("head.note"), self.section("state"));
        let after = remember(note, &policy, &expected, self.now(), (asked, state))?;
        if let (Asked::Yes, Some(known)) = (asked, self.section("state-after")) {
            assert_eq!(Memory::from_json(known).as_ref(), Ok(&after.memory), "{}", self.file.display());
        }
        Ok(answers_of(&after.head).answer("forgotten", &after.forgotten.join(" ")))
    }

    fn run_proof(&self) -> Result<End, u16> {
        let proof = SignedProof::parse(self.bytes("proof")).map_err(code)?;
        let proven = match self.text_if_any("held-head.txt") {
            Some(text) => proof.under(&believed(text)),
            None => {
                let (policy, expected) = self.policy_and_expectation();
                proof.verify(&policy, &expected, self.now())
            }
        };
        let proven = proven.map_err(code)?;
        fn lines<E: ToString>(entries: &[(u64, E)]) -> String {
            entries.iter().map(|(position, entry)| format!("{position} {}\n", entry.to_string())).collect()
        }
        let absent: String = proven.absent().iter().map(|path| format!("{}\n", path.as_str())).collect();
        let slice = proven.slice().map(|claim| {
            let range = claim.range.range();
            format!("{} {}..{}", claim.position, range.start, range.end)
        });
        Ok(End::default()
            .answer("files", &lines(proven.files()))
            .answer("tensors", &lines(proven.tensors()))
            .answer("absent", &absent)
            .answer("slice", &slice.unwrap_or_default()))
    }

    fn run_slice(&self) -> End {
        let (begin, end) = self.key("range").unwrap().split_once("..").unwrap();
        let range = begin.parse().unwrap()..end.parse().unwrap();
        let root = FileRoot::from_hex(self.key("root").unwrap()).unwrap();
        let range = match SliceRange::new(self.number("size"), range) {
            Ok(range) => range,
            Err(error) => return End::refused(code(error)),
        };
        let slice = self.bytes("slice");
        let at_once = check_slice(root, range, slice);
        // The streaming decoder does not know the slice's length in advance. It releases the same bytes up to a
        // fault.
        let mut end = End::default();
        let mut decoder = SliceDecoder::new(root, range);
        let mut rest = slice;
        let streamed = loop {
            match decoder.next(&mut rest) {
                Ok(Some(bytes)) => end.released.extend_from_slice(bytes),
                Ok(None) => break decoder.finish(&[]),
                Err(error) => break Err(error),
            }
        };
        assert_eq!(streamed.is_ok(), at_once.is_ok(), "{}", self.file.display());
        match at_once {
            Ok(bytes) => assert_eq!(bytes, end.released, "{}", self.file.display()),
            Err(error) => {
                end.codes.push(code(error));
                if end.codes == [2602] {
                    end.released.clear();
                }
            }
        }
        end
    }

    fn run_samples(&self) -> End {
        if self.number("count") == 0 {
            // Sampling is refused when the file list is read, and this kind of vector has no file list.
            return End::refused(code(AuditError::NoBytes));
        }
        let drawn = draw(self.bytes("text"), self.number("count"), self.number("samples"));
        End::default().answer("drawn", &drawn.iter().map(u64::to_string).collect::<Vec<_>>().join(" "))
    }

    fn run_statement(&self) -> Result<End, u16> {
        let note = self.bytes("note");
        let vkey = || Vkey::parse(self.text("vkey").unwrap().trim_end()).unwrap();
        Ok(match self.key("kind").unwrap() {
            "challenge" => {
                let signed = SignedChallenge::parse(note).map_err(code)?;
                let challenge = signed.verify(&vkey()).map_err(code)?;
                End::default().answer("hash", &challenge.hash())
            }
            "report" => {
                let signed = SignedReport::parse(note).map_err(code)?;
                End::of(signed.verify(&vkey()).map(drop).map_err(code))
            }
            "receipt" => {
                let signed = SignedReceipt::parse(note).map_err(code)?;
                End::of(signed.check().map(drop).map_err(code))
            }
            other => panic!("{}: unknown kind {other}", self.file.display()),
        })
    }

    fn run_audit(&self) -> Result<End, u16> {
        let head = believed(self.text("head.txt").unwrap());
        let files = head.open_files(self.bytes("files.jsonl")).map_err(code)?;
        let auditor = Vkey::parse(self.text("vkey").unwrap().trim_end()).unwrap();
        let signed = SignedChallenge::parse(self.bytes("challenge.note")).map_err(code)?;
        let challenge = signed.verify(&auditor).map_err(code)?;
        let received = Time::parse(self.key("received").unwrap()).unwrap();
        let answered = |nonce: &Nonce| {
            self.key("answered").unwrap_or("").split(' ').any(|before| before == nonce.to_string())
        };
        let answered =
            Answered::check(&challenge, &files, self.bytes("response"), received, answered).map_err(code)?;
        Ok(End::default().answer("response-hash", &answered.report().response))
    }

    fn run_held(&self) -> Result<End, u16> {
        let head = believed(self.text("head.txt").unwrap());
        let mut reports = Vec::new();
        for (name, note) in &self.sections {
            if name.starts_with("report ") {
                reports.push(SignedReport::parse(note).map_err(code)?);
            }
        }
        let held = head.held(&reports, &self.policy(), self.now(), self.number("max-age"));
        Ok(End::default().answer("reports", &held.map_err(code)?.counted().len()))
    }

    fn run_tree(&self) -> End {
        let positions =
            self.key("positions").unwrap_or("").split_whitespace().map(|p| p.parse::<u64>().unwrap());
        let lines =
            self.bytes("lines").split_inclusive(|&b| b == b'\n').map(|l| l.strip_suffix(b"\n").unwrap());
        let entries: Vec<(u64, EntryHash)> = positions.zip(lines.map(EntryHash::of_line)).collect();
        let (siblings, rest) = self.bytes("siblings").as_chunks::<32>();
        let siblings: Vec<SiblingHash> = siblings.iter().map(|s| SiblingHash::from_bytes(*s)).collect();
        if !rest.is_empty() {
            return End::refused(2404);
        }
        let wanted = self.key("tree-hash").map(|hex| TreeHash::from_hex(hex).unwrap());
        End::of(match root_of_proof(self.number("count"), &entries, &siblings) {
            Ok(tree) if wanted.is_none_or(|wanted| wanted == tree.hash()) => Ok(()),
            Ok(_) => Err(code(TreeError::WrongRoot)),
            Err(error) => Err(code(error)),
        })
    }

    fn run_tensors(&self, format: Format) -> End {
        let prefix = self.bytes("prefix");
        let mut known = 0;
        loop {
            match parse(format, &prefix[..known], self.number("file-size")) {
                Ok(Parsed::NeedPrefix(length)) => {
                    assert!(known < prefix.len(), "{}: the header is not there", self.file.display());
                    // The parser may ask for more bytes although the prefix ends with the header.
                    known = prefix.len().min(usize::try_from(length).unwrap());
                }
                Ok(Parsed::Tensors { mut tensors, split, .. }) => {
                    tensors.sort_by(|a, b| (a.offset, &a.name).cmp(&(b.offset, &b.name)));
                    assert_eq!(tensors, spans(self.text("tensors").unwrap()), "{}", self.file.display());
                    return End::of_header(format, split).answer("unlisted", &"none");
                }
                Ok(Parsed::UnknownDtype { dtype, mut names, split }) => {
                    names.sort();
                    let line = |line| serde_json::from_str::<String>(line).unwrap();
                    let theirs: Vec<String> = self.text("names").unwrap().lines().map(line).collect();
                    assert_eq!(names, theirs, "{}", self.file.display());
                    return End::of_header(format, split).answer("unlisted", &code(dtype));
                }
                Err(error) => return End::refused(code(error)),
            }
        }
    }

    fn run_split(&self) -> Result<(), u16> {
        let mut parts: BTreeMap<&str, Part<'_>> = BTreeMap::new();
        let mut names: Vec<(&str, String)> = Vec::new();
        for line in self.text("files").unwrap().lines() {
            let (path, what) = line.split_once(' ').unwrap();
            if what.starts_with('"') {
                names.push((path, serde_json::from_str(what).unwrap()));
                continue;
            }
            let numbers: Vec<u32> = what.split(' ').filter_map(|number| number.parse().ok()).collect();
            let short = |at: usize| u16::try_from(numbers[at]).unwrap();
            let says = match what {
                "none" => Says::Whole,
                "unread" => Says::Unread,
                _ => {
                    Says::Part(Split { number: short(0), count: short(1), tensors: numbers.get(2).copied() })
                }
            };
            parts.insert(path, Part { path, says, tensors: Vec::new() });
        }
        for (path, name) in &names {
            parts.get_mut(path).unwrap().tensors.push(name);
        }
        let parts: Vec<Part<'_>> = parts.into_values().collect();
        check_splits(&parts).map_err(|refused| code(refused.error))
    }

    fn run_index(&self) -> Result<(), u16> {
        let index = Index::parse(self.bytes("index")).map_err(code)?;
        let holds = self.text("holds").unwrap();
        let held = |file: &str, tensor: &str| {
            let of_file = |line: &&str| line.split(" \"").next() == Some(file);
            let named = |line: &str| {
                let json = line.get(file.len() + 1..)?;
                serde_json::from_str::<String>(json).ok()
            };
            let lines: Vec<&str> = holds.lines().filter(of_file).collect();
            match (lines.is_empty(), lines.iter().any(|l| named(l).as_deref() == Some(tensor))) {
                (true, _) => Lookup::NoFile,
                (false, false) => Lookup::NoTensor,
                (false, true) => Lookup::Tensor,
            }
        };
        index.check("model.safetensors.index.json", held).map_err(code)
    }

    fn run_header(&self) -> End {
        let listed = spans(self.text("listed").unwrap());
        let entries: Vec<TensorEntry> = listed
            .into_iter()
            .map(|span| TensorEntry {
                name: TensorName::parse(&span.name).unwrap(),
                file: EntryPath::parse("model.safetensors").unwrap(),
                dtype: Dtype::parse(&span.dtype).unwrap(),
                shape: span.shape,
                offset: span.offset,
                size: span.size,
                hash: TensorHash::of(b""),
            })
            .collect();
        let fault = compare(&entries, &spans(self.text("found").unwrap()));
        End::of(fault.map_or(Ok(()), |fault| Err(code(fault))))
    }

    fn run_model(&self) -> End {
        let folder = tempfile::tempdir().unwrap();
        for (name, bytes) in &self.sections {
            if matches!(name.as_str(), "policy.toml" | "vkeys") {
                continue;
            }
            let path = folder.path().join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, bytes).unwrap();
        }
        let head = match self.trust() {
            Ok(head) => head,
            Err(code) => return End::refused(code),
        };
        let metadata = Metadata::of_model(folder.path());
        let mut end = answers_of(&head);
        let opened = metadata.files(&head).and_then(|files| {
            let tensors = metadata.tensors(&files)?;
            Ok((files, tensors))
        });
        let (files, tensors) = match opened {
            Ok(opened) => opened,
            Err(error) => return End::refused(code(error)),
        };
        let layers = metadata.layers(&files);
        end.codes.extend(layers.as_ref().err().map(|error| error.error_code().get()));
        let check = ModelCheck {
            model: folder.path(),
            files: &files,
            tensors: tensors.as_ref(),
            layers: layers.as_ref().ok().and_then(Option::as_ref),
            only: None,
            tensor_hashes: match self.key("tensors") {
                Some("yes") => TensorHashing::Check,
                _ => TensorHashing::Skip,
            },
            extra: ExtraFiles::Refuse,
        };
        let codes = Mutex::new(&mut end.codes);
        let uncompared = Mutex::new(Vec::new());
        let summary = check.run(&|event| {
            let Event::File(report) = event else { return };
            if report.uncompared.is_some() && matches!(report.outcome, Outcome::Verified) {
                uncompared.lock().unwrap().push(report.path.clone());
            }
            match &report.outcome {
                Outcome::Refused(faults) => {
                    let mut codes = codes.lock().unwrap();
                    codes.extend(faults.iter().map(|fault| fault.error_code().get()));
                    if faults.iter().any(|f| matches!(f, FileFault::Mismatch { chunks: Some(_), .. })) {
                        codes.push(2102);
                    }
                }
                Outcome::Unknown(error) => codes.lock().unwrap().push(error.error_code().get()),
                Outcome::Verified | Outcome::Extra | Outcome::LeftOut(_) => {}
            }
        });
        let summary = summary.unwrap();
        let uncompared = uncompared.into_inner().unwrap();
        assert_eq!(summary.uncompared, uncompared.len() as u64, "{}", self.file.display());
        assert_eq!(summary.refused > 0, end.codes.iter().any(|c| *c != 2201), "{}", self.file.display());
        let uncompared = if uncompared.is_empty() { "none".to_owned() } else { uncompared.join(" ") };
        end.answer("uncompared", &uncompared)
    }
}

/// The verdict for a caller that keeps a memory.
pub(crate) struct Remembered {
    pub(crate) head: VerifiedHead,
    pub(crate) memory: Memory,
    /// The ids of forgotten heads, sorted.
    pub(crate) forgotten: Vec<String>,
}

/// Whether the memory is asked; it is not if the caller named the head.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Asked {
    Yes,
    No,
}

/// Verifies a note with a state file; returns the verdict and the memory afterwards.
pub(crate) fn remember(
    note: &[u8],
    policy: &TrustPolicy,
    expected: &Expectation,
    now: Option<Time>,
    (asked, state): (Asked, Option<&[u8]>),
) -> Result<Remembered, u16> {
    let signed = SignedHead::parse(note).map_err(code)?;
    let verify = |expected: &Expectation| signed.clone().verify(policy, expected, now).map_err(code);
    let head = verify(expected)?;
    if asked == Asked::No {
        return Ok(Remembered { head, memory: Memory::default(), forgotten: Vec::new() });
    }
    let mut memory = state.map_or_else(|| Ok(Memory::default()), Memory::from_json).map_err(code)?;
    // A caller that knows the name may ask the memory first, and must get the same verdict.
    let recalled = memory.recall(&head.head().name, policy).map_err(code)?;
    let beforehand = verify(&recalled.into_iter().fold(expected.clone(), Expectation::remembering));
    let accepted = memory.accept(&head, policy).map_err(code);
    assert_eq!(accepted.as_ref().err(), beforehand.as_ref().err());
    let mut forgotten: Vec<String> = accepted?.iter().map(|head| head.id().to_string()).collect();
    forgotten.sort_unstable();
    assert_eq!(Memory::from_json(memory.to_json().as_bytes()).as_ref(), Ok(&memory));
    Ok(Remembered { head, memory, forgotten })
}

/// Returns the header, and the bytes behind the empty line that ends it.
fn split_header(bytes: &[u8]) -> Option<(&str, &[u8])> {
    let end = bytes.windows(2).position(|pair| pair == b"\n\n")?;
    Some((std::str::from_utf8(&bytes[..end]).ok()?, &bytes[end + 2..]))
}

pub(crate) fn reads_as_it_is_written(policy: &TrustPolicy) {
    let text = policy.to_toml();
    let again = TrustPolicy::from_toml(&text).unwrap();
    assert_eq!((format!("{again:?}"), again.to_toml()), (format!("{policy:?}"), text));
}

fn answers_of(head: &VerifiedHead) -> End {
    let signers: Vec<&str> = head.signers().iter().map(|s| s.name.as_str()).collect();
    let end = End::default().answer("head-id", &head.id()).answer("signers", &signers.join(" "));
    end.answer("role", &head.role().word())
}

/// A head that is taken as verified, since its own id pins it.
fn believed(text: &str) -> VerifiedHead {
    let note = format!("{text}\n\u{2014} nobody AAAAAAE=\n");
    let policy = TrustPolicy::pinned(head_id(text.as_bytes()));
    let signed = SignedHead::parse(note.as_bytes()).unwrap();
    signed.verify(&policy, &Expectation::any().allow_expired(), None).unwrap()
}

/// `none`, or the split as the header of a part states it.
fn split_line(split: Option<Split>) -> String {
    match split {
        None => "none".to_owned(),
        Some(Split { number, count, tensors: None }) => format!("{number} {count}"),
        Some(Split { number, count, tensors: Some(tensors) }) => format!("{number} {count} {tensors}"),
    }
}

/// Parses lines of the form `NAME-AS-JSON DTYPE SHAPE OFFSET SIZE`.
fn spans(lines: &str) -> Vec<TensorSpan> {
    let span = |line: &str| {
        let mut words = line.rsplitn(5, ' ');
        let mut word = || words.next().unwrap();
        let (size, offset, shape, dtype, name) = (word(), word(), word(), word(), word());
        TensorSpan {
            name: serde_json::from_str(name).unwrap(),
            dtype: dtype.to_owned(),
            shape: serde_json::from_str(shape).unwrap(),
            offset: offset.parse().unwrap(),
            size: size.parse().unwrap(),
        }
    };
    lines.lines().map(span).collect()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn from_hex<const N: usize>(text: &str) -> [u8; N] {
    assert_eq!(text.len(), 2 * N, "{text}");
    std::array::from_fn(|at| u8::from_str_radix(&text[2 * at..2 * at + 2], 16).unwrap())
}

/// The content of a member's message in lines, as `spec/vectors/README.md` has it.
fn said(message: &Message) -> String {
    let key = |key: &MemberKey| hex(key.as_bytes());
    let mut lines = Vec::new();
    match message {
        Message::Announce { role, port, addresses } => {
            let role = match role {
                Role::Tracker => 0,
                Role::FetchesAll => 1,
                Role::FetchesPart => 2,
                Role::HasAll => 3,
            };
            lines.push(format!("ANNOUNCE {role} {port}"));
            lines.extend(addresses.iter().map(ToString::to_string));
        }
        Message::Peers(peers) => {
            lines.push("PEERS".to_owned());
            lines.extend(peers.iter().map(|peer| format!("{} {}", key(&peer.key), peer.address)));
        }
        Message::Members { epoch, keys } => {
            lines.push(format!("MEMBERS {epoch}"));
            lines.extend(keys.iter().map(key));
        }
        Message::Slot(has_slot) => lines.push(format!("SLOT {}", u8::from(*has_slot))),
        Message::HaveAll => lines.push("HAVE_ALL".to_owned()),
        Message::HaveSet(bits) => {
            lines.push("HAVE_SET".to_owned());
            let has = |piece: &usize| bits[piece / 8] >> (piece % 8) & 1 == 1;
            lines.extend((0..8 * bits.len()).filter(has).map(|piece| piece.to_string()));
        }
        Message::Have(pieces) => {
            lines.push("HAVE".to_owned());
            lines.extend(pieces.iter().map(ToString::to_string));
        }
        Message::Claim(None) => lines.push("CLAIM".to_owned()),
        Message::Claim(Some(piece)) => lines.push(format!("CLAIM {piece}")),
        Message::Bye => lines.push("BYE".to_owned()),
        Message::Alive => lines.push("ALIVE".to_owned()),
        Message::Get { item, start, count } => {
            let item = match item {
                Item::Head => "0".to_owned(),
                Item::Files => "1".to_owned(),
                Item::Tensors => "2".to_owned(),
                Item::Layers => "3".to_owned(),
                Item::File(root) => format!("4 {root}"),
            };
            lines.push(format!("GET {item} {start} {count}"));
        }
        Message::Give => lines.push("GIVE".to_owned()),
        Message::Busy(milliseconds) => lines.push(format!("BUSY {milliseconds}")),
        Message::Lack => lines.push("LACK".to_owned()),
        Message::GiveAll(bytes) => lines.push(format!("GIVE_ALL {}", blake3::hash(bytes))),
    }
    lines.iter().map(|line| format!("{line}\n")).collect()
}
