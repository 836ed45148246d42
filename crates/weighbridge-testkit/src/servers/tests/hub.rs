//! The hub answers as huggingface.co does, in what the clients of it read.

use std::{env, process::Command};

use serde_json::{Value, json};

use super::{Client, Folder, Got, a, b};
use crate::servers::{Fault, Hub, Visibility};

const NAME: &str = "org/name";

/// A hub with one commit: a large file, and two small ones.
fn hub() -> (Folder, Hub, String) {
    let folder = Folder(tempfile::tempdir().unwrap());
    folder.write("model.bin", &a());
    folder.write("config.json", b"{}");
    folder.write("sub/100 %.txt", b"escaped");
    let hub = Hub::start();
    let commit = hub.commit(NAME, &folder.path());
    (folder, hub, commit)
}

fn ask(hub: &Hub, target: &str, headers: &[&str]) -> Got {
    hub.front().client().get(target, headers)
}

fn json_of(got: &Got) -> Value {
    assert_eq!(got.status, 200);
    serde_json::from_slice(&got.body).unwrap()
}

/// Follows the redirect of an answer, without a token.
fn follow(got: &Got) -> Got {
    assert_eq!(got.status, 302);
    let location = got.header("Location").unwrap();
    let (address, target) = location.strip_prefix("http://").unwrap().split_once('/').unwrap();
    Client::to(address.parse().unwrap()).get(&format!("/{target}"), &[])
}

#[test]
fn a_revision_is_a_commit_and_says_what_is_asked_for() {
    let (_folder, hub, commit) = hub();
    hub.describe(NAME, json!({"base_model": "org/base"}));
    hub.name(NAME, "v/1", &commit);
    for revision in ["", "/revision/main", "/revision/v%2F1", &format!("/revision/{commit}")] {
        let all = json_of(&ask(&hub, &format!("/api/models/{NAME}{revision}"), &[]));
        assert_eq!((&all["sha"], all["siblings"].as_array().unwrap().len()), (&json!(commit), 3));
    }
    let some = json_of(&ask(&hub, &format!("/api/models/{NAME}?expand=sha&expand=cardData"), &[]));
    assert_eq!(some, json!({"id": NAME, "sha": commit, "cardData": {"base_model": "org/base"}}));
    let got = ask(&hub, &format!("/api/models/{NAME}/revision/none"), &[]);
    assert_eq!((got.status, got.header("X-Error-Code")), (404, Some("RevisionNotFound")));
}

#[test]
fn a_tree_comes_in_pages_and_says_both_digests() {
    let (_folder, hub, commit) = hub();
    let target = format!("/api/models/{NAME}/tree/{commit}?recursive=true&expand=false");
    let all = json_of(&ask(&hub, &target, &[]));
    let paths: Vec<_> = all.as_array().unwrap().iter().map(|entry| entry["path"].as_str().unwrap()).collect();
    assert_eq!(paths, ["config.json", "model.bin", "sub", "sub/100 %.txt"]);
    // What `git hash-object` prints.
    assert_eq!(all[0]["oid"], "9e26dfeeb6e641a33dae4961196235bdb965b21b");
    assert_eq!(all[1]["lfs"]["size"], json!(a().len()));
    assert_eq!(all[1]["lfs"]["oid"].as_str().unwrap().len(), 64);

    hub.list_by(3);
    let first = ask(&hub, &target, &[]);
    assert_eq!(json_of(&first).as_array().unwrap().len(), 3);
    let link = first.header("Link").unwrap().split(['<', '>']).nth(1).unwrap().to_owned();
    let (_, next) = link.strip_prefix("http://").unwrap().split_once('/').unwrap();
    let second = ask(&hub, &format!("/{next}"), &[]);
    assert_eq!(json_of(&second)[0], all[3]);
    assert_eq!(second.header("Link"), None);
}

#[test]
fn large_files_are_elsewhere_and_their_addresses_expire() {
    let (folder, hub, commit) = hub();
    let small = ask(&hub, &format!("/{NAME}/resolve/main/sub/100%20%25.txt"), &[]);
    assert_eq!(small.header("X-Repo-Commit"), Some(&*commit));
    small.gives_whole(b"escaped");
    hub.expire_after(1);
    let large = ask(&hub, &format!("/{NAME}/resolve/{commit}/model.bin"), &[]);
    assert_eq!(large.header("X-Linked-Size"), Some(&*a().len().to_string()));
    assert_eq!(large.header("X-Linked-Etag").unwrap().len(), 66);
    follow(&large).gives_whole(&a());
    assert_eq!(follow(&large).status, 403);
    assert!(hub.sent("model.bin") > u64::try_from(a().len()).unwrap());
    // The listing is that of the commit, whatever becomes of the bytes.
    folder.write("model.bin", &b());
    let large = ask(&hub, &format!("/{NAME}/resolve/{commit}/model.bin"), &[]);
    follow(&large).gives_whole(&b());
    let _ = hub.storage().fail(Fault::Flip.on("model.bin").at(7));
    let large = ask(&hub, &format!("/{NAME}/resolve/{commit}/model.bin"), &[]);
    assert_ne!(follow(&large).body, b());
    let none = ask(&hub, &format!("/{NAME}/resolve/{commit}/none"), &[]);
    assert_eq!((none.status, none.header("X-Error-Code")), (404, Some("EntryNotFound")));
}

#[test]
fn commits_come_and_go() {
    let (folder, hub, first) = hub();
    folder.write("config.json", b"{} ");
    let second = hub.commit(NAME, &folder.path());
    assert_ne!(first, second);
    let sha = |revision: &str| ask(&hub, &format!("/api/models/{NAME}/revision/{revision}"), &[]).status;
    assert_eq!(json_of(&ask(&hub, &format!("/api/models/{NAME}"), &[]))["sha"], json!(second));
    assert_eq!((sha(&first), sha(&second)), (200, 200));
    hub.forget(NAME, &first);
    assert_eq!((sha(&first), sha(&second)), (404, 200));
}

#[test]
fn what_is_not_for_everybody_is_denied_as_hubs_deny_it() {
    let (_folder, hub, _) = hub();
    let about = format!("/api/models/{NAME}");
    let file = format!("/{NAME}/resolve/main/config.json");
    let token = format!("Authorization: Bearer {}", Hub::TOKEN);
    let wrong = "Authorization: Bearer hf_wrong";
    let statuses = |headers: &[&str]| [&about, &file].map(|target| ask(&hub, target, headers).status);
    hub.restrict(NAME, Visibility::Private);
    assert_eq!((statuses(&[]), statuses(&[wrong]), statuses(&[&token])), ([401; 2], [401; 2], [200; 2]));
    hub.restrict(NAME, Visibility::Gated);
    assert_eq!((statuses(&[]), statuses(&[wrong]), statuses(&[&token])), ([200, 401], [200, 403], [200; 2]));
    hub.restrict(NAME, Visibility::Public);
    hub.limit(2, 7);
    assert_eq!(ask(&hub, &about, &[]).header("RateLimit"), Some("\"api\";r=0;t=7"));
    assert_eq!(statuses(&[]), [429, 200]);
}

/// Runs with the interpreter of `WEIGHBRIDGE_HUB_PYTHON`, which has the package `huggingface_hub`.
#[test]
fn the_hubs_own_client_takes_it_for_a_hub() {
    let Some(python) = env::var_os("WEIGHBRIDGE_HUB_PYTHON") else {
        return crate::skip("WEIGHBRIDGE_HUB_PYTHON names no interpreter with huggingface_hub");
    };
    let (folder, hub, commit) = hub();
    hub.list_by(2);
    hub.restrict(NAME, Visibility::Private);
    let cache = tempfile::tempdir().unwrap();
    let output = Command::new(python)
        .args(["-c", CLIENT, NAME])
        .env("HF_ENDPOINT", hub.url())
        .env("HF_TOKEN", Hub::TOKEN)
        .env("HF_HOME", cache.path())
        .env("HF_HUB_DISABLE_XET", "1")
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{said}{}", String::from_utf8_lossy(&output.stderr));
    let snapshot = std::path::Path::new(said.trim());
    assert!(snapshot.ends_with(&commit), "{said}");
    for file in ["model.bin", "config.json", "sub/100 %.txt"] {
        assert_eq!(
            std::fs::read(snapshot.join(file)).unwrap(),
            std::fs::read(folder.path().join(file)).unwrap()
        );
    }
    let storage = hub.storage().settled();
    assert!(!storage.is_empty() && storage.iter().all(|request| request.header("authorization").is_none()));
}

const CLIENT: &str = "\
import sys, huggingface_hub as hub
hub.hf_hub_download(sys.argv[1], 'model.bin')
print(hub.snapshot_download(sys.argv[1]))
";
