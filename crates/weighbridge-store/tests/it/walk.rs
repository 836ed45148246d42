//! The rules of `spec/model-folder.md` on the files that count, one by one.

use std::{ffi::OsStr, fs, os::unix::ffi::OsStrExt as _, os::unix::net::UnixListener, path::Path};

use weighbridge_store::{Coded, UnfitFault, walk};
use weighbridge_testkit::{Folder, in_time};

/// The files of a folder, each with the content read through it, then the unfit places, each with its code.
fn seen(model: &Path) -> Vec<String> {
    let walk = walk(model).unwrap();
    let files = walk.files.iter().map(|found| {
        assert!(!found.file.is_symlink(), "links are resolved");
        let content = fs::read_to_string(&found.file).unwrap();
        assert_eq!(found.size, u64::try_from(content.len()).unwrap());
        format!("{} = {content}", found.path.as_str())
    });
    files.chain(walk.unfit.iter().map(|u| format!("{} ! {}", u.place, u.fault.error_code()))).collect()
}

fn folder(files: &[&str]) -> Folder {
    let files: Vec<(&str, Vec<u8>)> = files.iter().map(|path| (*path, b"x".to_vec())).collect();
    Folder::of(&files)
}

#[test]
fn every_file_counts_dot_files_too() {
    let folder =
        folder(&[".gitignore", ".gitattributes", ".hidden/.file", "a", "b/c/d", ".cache/other", "x.git/y"]);
    fs::create_dir(folder.at("empty")).unwrap();
    let all = [".cache/other", ".gitattributes", ".gitignore", ".hidden/.file", "a", "b/c/d", "x.git/y"];
    assert_eq!(seen(folder.path()), all.map(|path| format!("{path} = x")));
}

#[test]
fn git_is_left_out_at_any_depth_and_in_any_case_be_it_folder_file_or_link() {
    let folder =
        folder(&["a", ".git/config", ".GIT/config", "sub/.Git/x/y", "module/.git", "deep/er/.giT/hooks/z"]);
    folder.link("linked/.git", "/etc/passwd");
    assert_eq!(seen(folder.path()), ["a = x"]);
}

#[test]
fn metadata_is_left_out_at_the_top_and_a_hubs_cache_at_any_depth() {
    // `upload_folder` of huggingface_hub leaves the cache out at any depth. Regression: a model weighed with such a
    // cache could be uploaded, and every download of it was refused.
    let folder = folder(&[
        "weighbridge/head.note",
        "weighbridge/sub/x",
        ".cache/huggingface/download/x.metadata",
        "sub/weighbridge/x",
        "sub/.cache/huggingface/x",
        "sub/a.cache/huggingface/x",
        "huggingface/x",
        "weighbridge.txt",
        ".cache/huggingface.txt",
    ]);
    let all = [
        ".cache/huggingface.txt",
        "huggingface/x",
        "sub/a.cache/huggingface/x",
        "sub/weighbridge/x",
        "weighbridge.txt",
    ];
    assert_eq!(seen(folder.path()), all.map(|path| format!("{path} = x")));
}

#[test]
fn each_place_that_is_left_out_is_named_but_for_our_own_metadata() {
    // Regression: a program in `weighbridge/` or under a `.git` was neither listed nor reported.
    let folder = folder(&[
        "a",
        ".git/config",
        "sub/.Git",
        ".cache/huggingface/x",
        "sub/.cache/huggingface/y/z",
        "weighbridge/head.note",
        "weighbridge/head.txt",
        "weighbridge/files.jsonl",
        "weighbridge/tensors.jsonl",
        "weighbridge/chunks.layer",
        "weighbridge/.new/lock",
        "weighbridge/partial/x",
        "weighbridge/run.py",
        "weighbridge/folder/with/more",
        "weighbridge/Head.note",
    ]);
    let named = walk(folder.path()).unwrap().left_out;
    let expected = [
        ".cache/huggingface",
        ".git",
        "sub/.Git",
        "sub/.cache/huggingface",
        "weighbridge/Head.note",
        "weighbridge/folder",
        "weighbridge/run.py",
    ];
    assert_eq!(named, expected);
    // The same holds for a link to metadata that lies elsewhere.
    let linked = self::folder(&["a"]);
    linked.link("weighbridge", folder.at("weighbridge"));
    assert_eq!(walk(linked.path()).unwrap().left_out, expected[4..]);
}

#[test]
fn metadata_in_another_case_is_no_part_of_a_model() {
    // Regression: on a case-insensitive file system, such a file of a model passed for the signed head.
    let folder = folder(&["a", "Weighbridge/head.note", ".Cache/huggingface/x", "b/.cache/HuggingFace/y"]);
    let all = [
        "a = x",
        ".Cache/huggingface/x ! 1410",
        "Weighbridge/head.note ! 1410",
        "b/.cache/HuggingFace/y ! 1410",
    ];
    assert_eq!(seen(folder.path()), all);
    assert!(walk(folder.path()).unwrap().left_out.is_empty());
}

#[test]
fn order_is_that_of_path_bytes() {
    // '-' < '/' < '0', so other paths sort between a folder and its files.
    let folder = folder(&["a/b", "a-b", "a0", "a/b-c", "B", "é", "z", "a.b", "\u{ffee}", "\u{10000}"]);
    let order = ["B", "a-b", "a.b", "a/b", "a/b-c", "a0", "z", "é", "\u{ffee}", "\u{10000}"];
    assert_eq!(seen(folder.path()), order.map(|path| format!("{path} = x")));
}

#[test]
fn a_link_counts_as_the_file_in_the_model_that_it_leads_to() {
    let folder = folder(&["real/file", ".git/object"]);
    folder.link("relative", "real/file");
    folder.link("sub/up", "../real/file");
    folder.link("absolute", folder.at("real/file"));
    folder.link("chain", "chain2");
    folder.link("chain2", "sub/up");
    folder.link("object", ".git/object");
    let all = ["absolute", "chain", "chain2", "object", "real/file", "relative", "sub/up"];
    assert_eq!(seen(folder.path()), all.map(|path| format!("{path} = x")));
}

#[test]
fn links_that_lead_elsewhere_are_unfit() {
    let outside = folder(&["secret"]);
    let folder = folder(&["file", "folder/file"]);
    folder.link("chain", "out");
    folder.link("dangling", "nothing");
    folder.link("loop", "loop");
    folder.link("out", outside.at("secret"));
    // A link whose target is outside is refused, even if the path goes through the model.
    folder.link("through", "folder/../out");
    folder.link("to-folder", "folder");
    folder.link("to-folder-outside", outside.path());
    folder.link("to-itself", ".");
    folder.fifo("fifo");
    folder.link("to-fifo", "fifo");
    folder.link("to-null", "/dev/null");
    let all = [
        "file = x",
        "folder/file = x",
        "chain ! 5102",
        "dangling ! 5105",
        "fifo ! 5104",
        "loop ! 5105",
        "out ! 5102",
        "through ! 5102",
        "to-fifo ! 5104",
        "to-folder ! 5103",
        "to-folder-outside ! 5102",
        "to-itself ! 5103",
        "to-null ! 5102",
    ];
    assert_eq!(seen(folder.path()), all);
    let out = walk(folder.path()).unwrap().unfit.remove(4);
    let target = fs::canonicalize(outside.at("secret")).unwrap();
    assert_eq!(
        out.fault.to_string(),
        format!("the link leads out of the model, to {}", weighbridge_store::shown_path(&target))
    );
}

#[test]
fn a_folder_whose_name_begins_like_the_models_is_outside() {
    let both = folder(&["model/file", "model-2/file"]);
    both.link("model/link", "../model-2/file");
    assert_eq!(seen(&both.at("model")), ["file = x", "link ! 5102"]);
}

/// A Hugging Face cache of one model, and the path of its snapshot.
fn cache() -> (Folder, std::path::PathBuf) {
    let cache = folder(&["m/blobs/0a", "m/blobs/sub/0b", "m/refs/main", "secret"]);
    cache.link("m/snapshots/rev/config.json", "../../blobs/0a");
    cache.link("m/snapshots/rev/onnx/model.onnx", "../../../blobs/0a");
    let snapshot = cache.at("m/snapshots/rev");
    (cache, snapshot)
}

#[test]
fn a_snapshot_of_a_hugging_face_cache_may_lead_to_its_blobs() {
    let (cache, snapshot) = cache();
    // Links may be written whole, and lead on in the snapshot.
    cache.link("m/snapshots/rev/whole", cache.at("m/blobs/0a").canonicalize().unwrap());
    cache.link("m/snapshots/rev/again", "onnx/model.onnx");
    cache.link("m/snapshots/rev/dotted", "./../../blobs/0a");
    let all = ["again = x", "config.json = x", "dotted = x", "onnx/model.onnx = x", "whole = x"];
    assert_eq!(seen(&snapshot), all);
    // The same snapshot, reached by a link.
    cache.link("elsewhere", &snapshot);
    assert_eq!(seen(&cache.at("elsewhere")), all);
}

#[test]
fn a_snapshot_may_lead_to_nothing_else() {
    let (cache, snapshot) = cache();
    cache.link("m/snapshots/rev/deeper", "../../blobs/sub/0b");
    cache.link("m/snapshots/rev/other-rev", "../old/file");
    cache.link("m/snapshots/rev/refs", "../../refs/main");
    cache.link("m/snapshots/rev/secret", "../../../secret");
    cache.link("m/snapshots/rev/to-blobs", "../../blobs");
    cache.write("m/snapshots/old/file", b"x");
    // A blob that is a link itself leads out of `blobs`.
    cache.link("m/blobs/0c", "../../secret");
    cache.link("m/snapshots/rev/via-blob", "../../blobs/0c");
    // No folder that a link names may be a link, or be left again.
    cache.link("m/blobs-too", "blobs");
    cache.link("m/snapshots/rev/around", "../../blobs-too/0a");
    cache.link("m/snapshots/rev/down-and-up", "../../blobs/sub/../0a");
    let all = [
        "config.json = x",
        "onnx/model.onnx = x",
        "around ! 5102",
        "deeper ! 5102",
        "down-and-up ! 5102",
        "other-rev ! 5102",
        "refs ! 5102",
        "secret ! 5102",
        "to-blobs ! 5102",
        "via-blob ! 5102",
    ];
    assert_eq!(seen(&snapshot), all);
}

/// A cache of huggingface_hub 1.32 or later, which keeps the large files of all repositories in one store.
struct Shared {
    cache: Folder,
    hash: String,
}

impl Shared {
    fn new() -> Self {
        let hash = "ab".repeat(32);
        let cache = folder(&["hub/models--o--n/blobs/e1", "hub/secret"]);
        cache.write(&format!("hub/blobs/ab/{hash}"), b"x");
        cache.write("hub/blobs/.huggingface-shared-blobs", b"1\n");
        cache.link("hub/models--o--n/blobs/e2", format!("../../blobs/ab/{hash}"));
        cache.link("hub/models--o--n/snapshots/rev/config.json", "../../blobs/e1");
        cache.link("hub/models--o--n/snapshots/rev/deep/w", "../../../blobs/e2");
        Self { cache, hash }
    }

    fn seen(&self) -> Vec<String> {
        seen(&self.cache.at("hub/models--o--n/snapshots/rev"))
    }
}

const ALL: [&str; 2] = ["config.json = x", "deep/w = x"];
const REFUSED: [&str; 2] = ["config.json = x", "deep/w ! 5102"];

/// Each folder on the way to a file of a cache is replaced by a link to itself, under another name.
#[test]
fn what_a_walk_found_in_a_cache_is_opened_there_or_nowhere() {
    let repository = "hub/models--o--n";
    for folder in [repository, "hub/models--o--n/blobs", "hub/blobs", "hub/blobs/ab"] {
        let shared = Shared::new();
        let walked = walk(&shared.cache.at("hub/models--o--n/snapshots/rev")).unwrap();
        let open =
            || walked.files.iter().filter(|found| found.file.open().is_ok()).map(|found| found.path.as_str());
        assert_eq!(open().collect::<Vec<_>>(), ["config.json", "deep/w"]);
        fs::rename(shared.cache.at(folder), shared.cache.at("aside")).unwrap();
        shared.cache.link(folder, shared.cache.at("aside"));
        let still = if folder.starts_with(repository) { "deep/w" } else { "config.json" };
        assert_eq!(open().collect::<Vec<_>>(), [still], "{folder}");
    }
}

/// Regression: the default cache of huggingface_hub 1.32 was refused as a whole.
#[test]
fn a_snapshot_may_lead_to_the_store_that_all_repositories_share() {
    let shared = Shared::new();
    assert_eq!(shared.seen(), ALL);
    // The same holds where the hub's root is reached by a link.
    shared.cache.link("elsewhere", "hub");
    assert_eq!(seen(&shared.cache.at("elsewhere/models--o--n/snapshots/rev")), ALL);
}

#[test]
fn a_store_that_is_none_allows_nothing() {
    type Change = fn(&Shared);
    let changes: [(&str, Change); 9] = [
        ("no mark", |s| fs::remove_file(s.cache.at("hub/blobs/.huggingface-shared-blobs")).unwrap()),
        ("another layout", |s| s.cache.write("hub/blobs/.huggingface-shared-blobs", b"2\n")),
        ("a mark that is a link", |s| {
            fs::rename(s.cache.at("hub/blobs/.huggingface-shared-blobs"), s.cache.at("hub/mark")).unwrap();
            s.cache.link("hub/blobs/.huggingface-shared-blobs", "../mark");
        }),
        ("a store that is a link", |s| {
            fs::rename(s.cache.at("hub/blobs"), s.cache.at("hub/real")).unwrap();
            s.cache.link("hub/blobs", "real");
        }),
        ("another beginning", |s| {
            s.cache.write(&format!("hub/blobs/cd/{}", s.hash), b"x");
            relink(s, "models--o--n/blobs/e2", &format!("../../blobs/cd/{}", s.hash));
        }),
        ("no hash", |s| {
            s.cache.write("hub/blobs/ab/abc", b"x");
            relink(s, "models--o--n/blobs/e2", "../../blobs/ab/abc");
        }),
        ("deeper in the store", |s| {
            s.cache.write(&format!("hub/blobs/ab/ab/{}", s.hash), b"x");
            relink(s, "models--o--n/blobs/e2", &format!("../../blobs/ab/ab/{}", s.hash));
        }),
        ("no link of the repository between", |s| {
            relink(s, "models--o--n/snapshots/rev/deep/w", &format!("../../../../blobs/ab/{}", s.hash));
        }),
        ("one link more", |s| {
            s.cache.link("hub/models--o--n/blobs/e3", "e2");
            relink(s, "models--o--n/snapshots/rev/deep/w", "../../../blobs/e3");
        }),
    ];
    for (what, change) in changes {
        let shared = Shared::new();
        change(&shared);
        assert_eq!(shared.seen(), REFUSED, "{what}");
    }
    // A store beside a folder that is no repository.
    let shared = Shared::new();
    fs::rename(shared.cache.at("hub/models--o--n"), shared.cache.at("hub/other")).unwrap();
    assert_eq!(seen(&shared.cache.at("hub/other/snapshots/rev")), REFUSED);
    // A file of the store that is a link itself leads out of the store.
    let shared = Shared::new();
    relink(&shared, &format!("blobs/ab/{}", shared.hash), "../../secret");
    assert_eq!(shared.seen(), REFUSED);
}

fn relink(shared: &Shared, link: &str, target: &str) {
    let link = format!("hub/{link}");
    fs::remove_file(shared.cache.at(&link)).unwrap();
    shared.cache.link(&link, target);
}

#[test]
fn blobs_are_allowed_for_snapshots_alone() {
    let cache = folder(&["m/blobs/0a"]);
    cache.link("m/models/rev/file", "../../blobs/0a");
    assert_eq!(seen(&cache.at("m/models/rev")), ["file ! 5102"]);
    // A folder below a snapshot, or above one, is no snapshot.
    cache.link("m/snapshots/rev/sub/file", "../../../blobs/0a");
    assert_eq!(seen(&cache.at("m/snapshots/rev/sub")), ["file ! 5102"]);
    cache.link("n/snapshots/rev/file", "../../../m/blobs/0a");
    assert_eq!(seen(&cache.at("n/snapshots")), ["rev/file ! 5102"]);
}

#[test]
fn blobs_that_are_a_link_allow_nothing() {
    // Regression: a download with `blobs -> /etc` made files of /etc part of the model.
    let outside = folder(&["secret"]);
    let cache = folder(&["m/snapshots/rev/own"]);
    cache.link("m/blobs", outside.path());
    cache.link("m/snapshots/rev/file", "../../blobs/secret");
    cache.link("m/snapshots/rev/straight", outside.at("secret"));
    let snapshot = cache.at("m/snapshots/rev");
    assert_eq!(seen(&snapshot), ["own = x", "file ! 5102", "straight ! 5102"]);
    // If `snapshots` is a link, the folder to which it leads counts.
    let real = folder(&["m/blobs/0a", "m/snapshots/rev/own", "n/blobs/0b"]);
    real.link("m/snapshots/rev/file", real.at("n/blobs/0b"));
    real.link("n/snapshots", "../m/snapshots");
    assert_eq!(seen(&real.at("n/snapshots/rev")), ["own = x", "file ! 5102"]);
}

#[test]
fn what_is_left_out_is_a_folder_or_a_link_to_one() {
    // Regression: a file of such a name was in the model and was not reported.
    type Make = fn(&Folder, &str);
    let file: Make = |folder, path| folder.write(path, b"x");
    let unfit: [Make; 4] = [
        file,
        |folder, path| folder.fifo(path),
        |folder, path| folder.link(path, folder.at("a")),
        |folder, path| folder.link(path, "nothing"),
    ];
    for path in ["weighbridge", ".cache/huggingface", "b/.cache/huggingface"] {
        for make in unfit {
            let folder = folder(&[".cache/b", "a", "b/.cache/c"]);
            make(&folder, path);
            assert_eq!(
                seen(folder.path()),
                [".cache/b = x", "a = x", "b/.cache/c = x", &format!("{path} ! 1410")]
            );
            assert!(walk(folder.path()).unwrap().left_out.is_empty());
        }
        let (folder, metadata) = (folder(&["a"]), folder(&["head.note"]));
        folder.link(path, metadata.path());
        assert_eq!(seen(folder.path()), ["a = x"]);
    }
}

#[test]
fn what_a_terminal_would_obey_is_not_printed() {
    let folder = folder(&["a"]);
    let fault = |target: String| UnfitFault::LinkOut { target: target.into() }.to_string();
    let said = fault("/x/\u{1b}]0;evil\u{7}\n\u{202e}y".into());
    assert_eq!(said, r"the link leads out of the model, to /x/\u{1b}]0;evil\u{7}\n\u{202e}y");
    let said = fault("/y".repeat(2_000));
    assert_eq!(said, format!("the link leads out of the model, to {}…", "/y".repeat(150)));
    let error = walk(&folder.at("\u{1b}[2J")).unwrap_err();
    assert!(error.to_string().contains(r"/\u{1b}[2J: "), "{error}");
}

#[test]
fn fifos_and_sockets_are_unfit_and_never_opened() {
    let folder = folder(&["a"]);
    folder.fifo("fifo");
    let _socket = UnixListener::bind(folder.at("socket")).unwrap();
    let path = folder.path().to_owned();
    assert_eq!(in_time(move || seen(&path)), ["a = x", "fifo ! 5104", "socket ! 5104"]);
}

#[test]
fn names_that_could_not_stand_in_a_list_are_unfit() {
    let folder = folder(&["a", "back\\slash", "con\u{1}trol", "C:", "line\nfeed/x", "\u{85}"]);
    fs::write(folder.path().join(OsStr::from_bytes(b"latin-\xe9")), b"x").unwrap();
    fs::create_dir(folder.path().join(OsStr::from_bytes(b"folder-\xff"))).unwrap();
    fs::write(folder.path().join(OsStr::from_bytes(b"folder-\xff/inside")), b"x").unwrap();
    let all = [
        "a = x",
        "C: ! 1407",
        "back\\slash ! 1406",
        "con\u{1}trol ! 1405",
        "folder-\u{fffd} ! 1411",
        "latin-\u{fffd} ! 1411",
        "line\nfeed/x ! 1405",
        "\u{85} ! 1405",
    ];
    assert_eq!(seen(folder.path()), all);
}

#[test]
fn a_path_that_is_too_long_is_unfit() {
    let folder = folder(&["a"]);
    let long = vec!["d".repeat(200); 6].join("/");
    folder.write(&long, b"x");
    assert_eq!(seen(folder.path()), ["a = x".to_owned(), format!("{long} ! 1401")]);
}

#[test]
fn depth_costs_neither_stack_nor_open_files() {
    // More nested folders than a process may usually have files open.
    let folder = folder(&["a"]);
    let deep = vec!["d"; 1_100].join("/");
    folder.write(&format!("{deep}/x"), b"x");
    let path = folder.path().to_owned();
    let cut = format!("{}…", &deep[..200]);
    let thread = std::thread::Builder::new().stack_size(128 << 10);
    let seen = thread.spawn(move || seen(&path)).unwrap().join().unwrap();
    assert_eq!(seen, ["a = x".to_owned(), format!("{cut} ! 1401")]);
}

#[test]
fn folders_too_deep_to_be_opened_are_unfit_and_the_rest_is_seen() {
    // Regression: a path longer than the system takes ended the whole check.
    let folder = folder(&["a", "b/c"]);
    let component = "d".repeat(200);
    let [first, second] = [0, 1].map(|i| format!("{i}/{}", [component.as_str(); 15].join("/")));
    for path in [&first, &second] {
        fs::create_dir_all(folder.at(path)).unwrap();
    }
    fs::rename(folder.at("1"), folder.at(&first).join("1")).unwrap();
    assert!(fs::read_dir(folder.at(&first).join(&second)).is_err(), "the path is not too long");
    let expected = ["a = x".to_owned(), "b/c = x".to_owned(), format!("0/{}… ! 1401", &component[..198])];
    assert_eq!(seen(folder.path()), expected);
}

#[test]
fn a_folder_is_looked_into_as_long_as_files_in_it_could_be_listed() {
    let folder = folder(&["a"]);
    // Folders whose paths have 1,020, 1,024 and 1,025 bytes.
    let base = ["d".repeat(203).as_str(); 5].join("/");
    let cut = format!("{}…", "d".repeat(200));
    assert_eq!(base.len(), 1_019);
    folder.write(&format!("{base}/abc"), b"x");
    folder.write(&format!("{base}/abcd/e"), b"x");
    folder.write(&format!("{base}/abcde/f"), b"x");
    let expected = [
        "a = x".to_owned(),
        format!("{base}/abc = x"),
        format!("{base}/abcd/e ! 1401"),
        format!("{cut} ! 1401"),
    ];
    assert_eq!(seen(folder.path()), expected);
}

#[test]
fn a_model_that_is_no_folder_is_an_error() {
    let folder = folder(&["file"]);
    for path in ["file", "nothing"] {
        assert_eq!(walk(&folder.at(path)).unwrap_err().error_code().get(), 9002);
    }
}
