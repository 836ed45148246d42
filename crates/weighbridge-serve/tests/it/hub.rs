//! The language of a hub.

use serde_json::json;
use weighbridge_serve::{Limits, Rules};

use crate::kit::{Served, model};

#[test]
fn a_model_is_described_as_a_hub_does() {
    let (folder, signed) = model();
    let served = Served::of(&folder);
    let (id, commit) = (signed.head.id().to_string(), &signed.head.id().to_string()[..40]);
    let info = served.get("/api/models/test/model").json();
    assert_eq!((&info["id"], &info["sha"]), (&json!("test/model"), &json!(commit)));
    let names: Vec<_> =
        info["siblings"].as_array().unwrap().iter().map(|file| file["rfilename"].as_str().unwrap()).collect();
    assert_eq!(
        names,
        [
            "config.json",
            "empty",
            "model.bin",
            "resolve/main/config.json",
            "some folder/\u{e4}.bin",
            "weighbridge/chunks.layer",
            "weighbridge/files.jsonl",
            "weighbridge/head.note",
            "weighbridge/tensors.jsonl",
        ]
    );
    for revision in ["main", &id, commit, "revision-1"] {
        let of_revision = served.get(&format!("/api/models/test/model/revision/{revision}")).json();
        assert_eq!(of_revision, info, "{revision}");
        let answer = served.get(&format!("/test/model/resolve/{revision}/config.json"));
        assert_eq!((answer.status, answer.header("x-repo-commit")), (200, commit));
    }
    let sized = served.get("/api/models/test/model?blobs=true").json();
    assert_eq!(sized["siblings"][2]["size"], json!(crate::kit::BIG));
}

#[test]
fn folders_are_listed_as_a_hub_does() {
    let (folder, _) = model();
    let served = Served::of(&folder);
    let list = |path: &str| {
        let entries = served.get(&format!("/api/models/test/model/tree/{path}")).json();
        let entry = |entry: &serde_json::Value| {
            format!("{} {}", entry["type"].as_str().unwrap(), entry["path"].as_str().unwrap())
        };
        entries.as_array().unwrap().iter().map(entry).collect::<Vec<_>>()
    };
    assert_eq!(
        list("main"),
        [
            "file config.json",
            "file empty",
            "file model.bin",
            "directory resolve",
            "directory some folder",
            "directory weighbridge"
        ]
    );
    assert_eq!(
        list("main?recursive=true&expand=false")[3..6],
        ["directory resolve", "directory resolve/main", "file resolve/main/config.json"]
    );
    assert_eq!(list("main/resolve"), ["directory resolve/main"]);
    assert_eq!(
        list("main/resolve?recursive=True"),
        ["directory resolve/main", "file resolve/main/config.json"]
    );
    assert_eq!(list("main/some%20folder"), ["file some folder/\u{e4}.bin"]);
    let none = served.get("/api/models/test/model/tree/main/none");
    assert_eq!((none.status, none.header("x-error-code")), (404, "EntryNotFound"));
}

#[test]
fn what_is_missing_is_told_in_the_words_that_clients_look_for() {
    let (folder, signed) = model();
    let served = Served::of(&folder);
    for (path, code) in [
        ("/api/models/test/none", "RepoNotFound"),
        ("/test/none/resolve/main/config.json", "RepoNotFound"),
        ("/api/models/test/model/revision/none", "RevisionNotFound"),
        ("/api/models/test/model/revision/revision-2", "RevisionNotFound"),
        ("/test/model/resolve/v1/config.json", "RevisionNotFound"),
        ("/test/model/resolve/main/none", "EntryNotFound"),
    ] {
        let answer = served.get(path);
        assert_eq!((answer.status, answer.header("x-error-code")), (404, code), "{path}");
    }
    let commit = &signed.head.id().to_string()[..40];
    assert_eq!(served.get("/test/model/resolve/main/none").header("x-repo-commit"), commit);
}

#[test]
fn a_server_that_is_not_told_to_does_not_answer_clients_that_verify_nothing() {
    let (folder, _) = model();
    let served = Served::by(vec![folder.path().to_owned()], Rules::default(), Limits::default());
    for path in
        ["/api/models/test/model", "/api/models/test/model/tree/main", "/test/model/resolve/main/config.json"]
    {
        assert_eq!(served.get(path).status, 403, "{path}");
    }
    assert_eq!(served.get("/test/model/config.json").status, 200);
}
