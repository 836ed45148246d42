//! A connection to a server of models, as bytes. Whatever comes, the server answers in HTTP or closes, gives no byte of a file that
//! is not listed, and of listed files only their own. What it is brought it takes only if its chunk is the signed one.

#![no_main]

use std::{
    path::Path,
    sync::{Arc, LazyLock},
};

use libfuzzer_sys::fuzz_target;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    runtime::Runtime,
};
use weighbridge_serve::{
    Accept, Claim, Clients, Judge, Limits, Models, NotTaken, Route, Rules, Site, Swarms, serve_stream,
};
use weighbridge_testkit::{Folder, Key, bytes};
use weighbridge_verify::{
    manifest::{Expectation, SignedHead, TrustPolicy, VerifiedHead},
    tree::{ChunkSize, ErrorCode, HeadId},
};

/// A text that stands in a file of the folder which is not listed.
const UNLISTED: &[u8] = b"this file is not listed";

struct World {
    runtime: Runtime,
    site: Arc<Site>,
    _folder: Folder,
    taken: Folder,
    /// What stands in inputs for the metadata of the model and their lengths, which no input can guess.
    words: Vec<(Vec<u8>, Vec<u8>)>,
}

/// Takes the model of the seeds alone.
struct One(HeadId);

impl Judge for One {
    fn judge(&self, note: &[u8]) -> Result<VerifiedHead, NotTaken> {
        let refused = || NotTaken { code: ErrorCode::ANOTHER_HEAD, message: String::new() };
        let signed = SignedHead::parse(note).map_err(|_| refused())?;
        signed.verify(&TrustPolicy::pinned(self.0), &Expectation::any(), None).map_err(|_| refused())
    }

    fn accept(&self, note: &[u8]) -> Result<VerifiedHead, NotTaken> {
        self.judge(note)
    }
}

static WORLD: LazyLock<World> = LazyLock::new(|| {
    let files =
        [("config.json", b"{}\n".to_vec()), ("a/b.bin", bytes(40_000, 1)), ("resolve/main/x", b"x".to_vec())];
    let (folder, signed) = Folder::weighed(&files, ChunkSize::MIN);
    folder.write("unlisted", UNLISTED);
    folder.write("weighbridge/partial/unlisted", UNLISTED);
    let models = Arc::new(Models::of(vec![folder.path().to_owned()]));
    assert_eq!(models.look().len(), 1);
    // The same model may be brought, with the notes of the seeds.
    let taken = Folder::new();
    let accept =
        Accept::new(taken.path().to_owned(), Key::new("node", 1).vkey(), One(signed.head.id()), |receipt| {
            receipt.to_text().ok()
        });
    let accept = Some(Arc::new(accept.expect("a folder for models")));
    // The members are those whose tags begin with a zero.
    let swarms = Some(Swarms::new(|tag, _| (tag[0] == 0).then_some(0)));
    let rules = Rules { hub: true, accept, swarms, ..Rules::default() };
    let site = Site::new(models, rules, &Limits::default());
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    let mut words = vec![(b"@ID".to_vec(), signed.head.id().to_string().into_bytes())];
    for (word, name) in [("NOTE", "head.note"), ("LIST", "files.jsonl"), ("LAYERS", "chunks.layer")] {
        let bytes = std::fs::read(signed.folder.at(name)).expect("metadata");
        words.push((format!("#{word}").into_bytes(), bytes.len().to_string().into_bytes()));
        words.push((format!("@{word}").into_bytes(), bytes));
    }
    World { runtime, site, _folder: folder, taken, words }
});

/// The input with each place of a word replaced.
fn replaced(input: &[u8], word: &[u8], bytes: &[u8]) -> Vec<u8> {
    let mut output = Vec::new();
    let mut rest = input;
    while let Some(at) = rest.windows(word.len()).position(|part| part == word) {
        output.extend_from_slice(&rest[..at]);
        output.extend_from_slice(bytes);
        rest = &rest[at + word.len()..];
    }
    output.extend_from_slice(rest);
    output
}

fuzz_target!(|connection: &[u8]| {
    if let Ok(text) = str::from_utf8(connection)
        && let Err(error) = Clients::parse(text)
    {
        assert!((1..=text.lines().count()).contains(&usize::try_from(error.line).expect("a line")));
    }
    if let Ok(text) = str::from_utf8(connection)
        && let Some(claim) = Claim::parse(text)
    {
        let tag: String = claim.tag.iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(text, format!("{tag} {}", claim.lease.as_millis()), "a claim has one text");
    }
    let world = &*WORLD;
    let connection =
        world.words.iter().fold(connection.to_vec(), |input, (word, bytes)| replaced(&input, word, bytes));
    let connection = connection.as_slice();
    let answers = world.runtime.block_on(async {
        let (mut client, server) = tokio::io::duplex(1 << 20);
        let site = Arc::clone(&world.site);
        let serving = async { serve_stream(&site, server, Limits::default()).await };
        let asking = async {
            // The server may close before everything is written. A client may close its half once it has asked.
            let _ = client.write_all(connection).await;
            let _ = client.shutdown().await;
            let mut answers = Vec::new();
            let _ = client.read_to_end(&mut answers).await;
            answers
        };
        tokio::join!(serving, asking).1
    });
    assert!(answers.is_empty() || answers.starts_with(b"HTTP/1."), "an answer that is none");
    assert!(!answers.windows(UNLISTED.len()).any(|part| part == UNLISTED), "a file that is not listed");
    // A file of the model has its name only if it is the signed one.
    if let Ok(config) = std::fs::read(world.taken.at("test/model/config.json")) {
        assert_eq!(config, b"{}\n");
    }
    if let Some(path) =
        connection.split(|byte| *byte == b' ').nth(1).and_then(|path| str::from_utf8(path).ok())
        && let Some(Route::File(_, found) | Route::Resolve(_, _, found)) = Route::of(path)
    {
        assert!(!Path::new("/").join(&found).components().any(|part| part.as_os_str() == ".."), "a way up");
        assert!(!found.starts_with('/') && !found.contains("//"));
    }
});
