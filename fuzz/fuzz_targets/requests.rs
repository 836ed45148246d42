//! A connection to a server of models, as bytes. Whatever comes, the server answers in HTTP or closes, gives no byte of a file that
//! is not listed, and of listed files only their own.

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
use weighbridge_serve::{Clients, Limits, Models, Route, Rules, Site, serve_stream};
use weighbridge_testkit::{Folder, bytes};
use weighbridge_verify::tree::ChunkSize;

/// A text that stands in a file of the folder which is not listed.
const UNLISTED: &[u8] = b"this file is not listed";

struct World {
    runtime: Runtime,
    site: Arc<Site>,
    _folder: Folder,
}

static WORLD: LazyLock<World> = LazyLock::new(|| {
    let files =
        [("config.json", b"{}\n".to_vec()), ("a/b.bin", bytes(40_000, 1)), ("resolve/main/x", b"x".to_vec())];
    let (folder, _) = Folder::weighed(&files, ChunkSize::MIN);
    folder.write("unlisted", UNLISTED);
    folder.write("weighbridge/partial/unlisted", UNLISTED);
    let models = Arc::new(Models::of(vec![folder.path().to_owned()]));
    assert_eq!(models.look().len(), 1);
    let site = Site::new(models, Rules { hub: true, ..Rules::default() }, &Limits::default());
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    World { runtime, site, _folder: folder }
});

fuzz_target!(|connection: &[u8]| {
    if let Ok(text) = str::from_utf8(connection)
        && let Err(error) = Clients::parse(text)
    {
        assert!((1..=text.lines().count()).contains(&usize::try_from(error.line).expect("a line")));
    }
    let world = &*WORLD;
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
    if let Some(path) =
        connection.split(|byte| *byte == b' ').nth(1).and_then(|path| str::from_utf8(path).ok())
        && let Some(Route::File(_, found) | Route::Resolve(_, _, found)) = Route::of(path)
    {
        assert!(!Path::new("/").join(&found).components().any(|part| part.as_os_str() == ".."), "a way up");
        assert!(!found.starts_with('/') && !found.contains("//"));
    }
});
