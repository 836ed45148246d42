//! The suite of `weighbridge_testkit::conformance` on every kind of source, against servers as they are and servers
//! whose answers are odd and true.

use std::{env, fs, os::unix::fs::symlink, path::Path, process::Command, sync::Arc};

use tempfile::TempDir;
use weighbridge_testkit::{
    conformance::{Content, Suite},
    servers::{Fault, Faulty, Nginx, Rule, Settings},
};
use weighbridge_transfer::{Source, SourceFactory, SourceOptions};

use super::kit::{Fetch, fleet};
use crate::{
    command::kit::skip,
    python::{Python, moto},
};

/// The content of the suite, and a folder that has it.
struct Served {
    content: Content,
    folder: TempDir,
}

impl Served {
    fn new() -> Self {
        let (content, folder) = (Content::new(), tempfile::tempdir().unwrap());
        content.write(&folder.path().join(MODEL));
        Self { content, folder }
    }

    fn at(&self, path: &str) -> std::path::PathBuf {
        self.folder.path().join(path)
    }

    fn server(&self) -> Faulty {
        Faulty::start(&self.at(MODEL))
    }

    fn suite(&self) -> Suite<'_> {
        Suite::of(&self.content)
    }

    /// Runs the suite on a source, and on the same kind of source of an empty folder.
    fn check(&self, source: &dyn Source, without: &dyn Source) {
        block_on(async {
            self.suite().check(source).await;
            self.suite().check_without_content(without).await;
        });
    }

    /// Puts another head where the source reads it.
    fn check_anew(&self, source: &dyn Source) {
        let change =
            async |head: &[u8]| fs::write(self.at(MODEL).join("weighbridge/head.note"), head).unwrap();
        block_on(self.suite().check_anew(source, change));
    }
}

fn source(address: &str) -> Arc<dyn Source> {
    source_of(address, &SourceOptions::default())
}

fn source_of(address: &str, options: &SourceOptions) -> Arc<dyn Source> {
    SourceFactory::new().parse(address, options).unwrap()
}

fn block_on(work: impl Future<Output = ()>) {
    tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap().block_on(work);
}

#[test]
fn a_folder_keeps_the_contract() {
    let served = Served::new();
    let source = source(served.at(MODEL).to_str().unwrap());
    let empty = tempfile::tempdir().unwrap();
    served.check(&*source, &*self::source(empty.path().to_str().unwrap()));
    served.check_anew(&*source);
}

#[test]
fn a_correct_web_server_keeps_the_contract() {
    let (served, empty) = (Served::new(), tempfile::tempdir().unwrap());
    let (server, without) = (served.server(), Faulty::start(empty.path()));
    let source = source(&server.url());
    served.check(&*source, &*self::source(&without.url()));
    served.check_anew(&*source);
}

#[test]
fn nginx_keeps_the_contract() {
    if !Nginx::available() {
        return skip("nginx is not installed");
    }
    let (served, empty) = (Served::new(), tempfile::tempdir().unwrap());
    let settings = Settings { gzip: true, ..Settings::default() };
    let (nginx, without) =
        (Nginx::start(&served.at(MODEL), &settings), Nginx::start(empty.path(), &settings));
    let source = source(&nginx.url());
    served.check(&*source, &*self::source(&without.url()));
    served.check_anew(&*source);
}

/// It knows no ranges, and closes each connection.
#[test]
fn the_web_server_of_python_keeps_the_contract() {
    let (served, empty) = (Served::new(), tempfile::tempdir().unwrap());
    let server = |folder: &Path| {
        let words =
            ["-m", "http.server", "0", "--bind", "127.0.0.1", "--directory", folder.to_str().unwrap()];
        Python::start(&words, |line| {
            // "Serving HTTP on 127.0.0.1 port 36789 (http://127.0.0.1:36789/) ..."
            let url = line.split_once('(')?.1.split_once(')')?.0;
            Some(url.to_owned())
        })
    };
    let (server, without) = (server(&served.at(MODEL)), server(empty.path()));
    let source = source(&server.says);
    served.check(&*source, &*self::source(&without.says));
    served.check_anew(&*source);
}

#[test]
fn a_hub_keeps_the_contract_where_it_redirects_too() {
    let served = Served::new();
    for folder in [MODEL, "nothing"] {
        let hub = format!("hub of {folder}");
        fs::create_dir_all(served.at(folder)).unwrap();
        fs::create_dir_all(served.at(&hub).join("api/models/org/llama/revision")).unwrap();
        let commit = format!(r#"{{"sha":"{COMMIT}"}}"#);
        fs::write(served.at(&hub).join("api/models/org/llama/revision/main"), commit).unwrap();
        fs::create_dir_all(served.at(&hub).join("org/llama/resolve")).unwrap();
        symlink(served.at(folder), served.at(&hub).join(format!("org/llama/resolve/{COMMIT}"))).unwrap();
    }
    let hub = |folder: &str| Faulty::start(&served.at(&format!("hub of {folder}")));
    let options = |hub: &Faulty| SourceOptions { hub_endpoint: Some(hub.url()), ..SourceOptions::default() };
    let of_hub = |hub: &Faulty| source_of("hf://org/llama", &options(hub));
    let (server, without) = (hub(MODEL), hub("nothing"));
    served.check(&*of_hub(&server), &*of_hub(&without));
    // Files lie in a content network, and so may small ones.
    let network = Faulty::start(&served.at("hub of model"));
    drop(server.fail(Fault::Redirect(format!("{}/{{path}}", network.url())).on("org/*")));
    block_on(served.suite().check(&*of_hub(&server)));
    assert!(!network.requests().is_empty());
    // Signed URLs that are soon no longer good.
    server.mend();
    let expired = server.fail(Fault::Signed(3).on("org/*"));
    let source = of_hub(&server);
    block_on(served.suite().check(&*source));
    assert!(expired.count() > 3, "URLs have expired");
    served.check_anew(&*source);
}

/// Forms of answers that are odd and true, and whether they say the length of the file.
fn odd_forms() -> Vec<(&'static str, Vec<Rule>, Length)> {
    use Length::{Hidden, Said};
    let header = |name, value: Option<&str>| Fault::Header(name, value.map(str::to_owned));
    vec![
        ("200 in place of 206", vec![Fault::Whole.into()], Said),
        ("206 with a part of what was asked for", vec![Fault::Shorter(150_000).into()], Said),
        ("206 with single bytes less", vec![Fault::Shorter(1_299_999).into()], Said),
        ("206 with more than was asked for", vec![Fault::Wider(70_000).into()], Said),
        ("206 with more, in HTTP's chunks", vec![Fault::Wider(9).into(), Fault::Chunked.into()], Said),
        ("416 for every range", vec![Fault::Unsatisfiable.into()], Said),
        ("206 without Content-Range", vec![header("Content-Range", None).into()], Hidden),
        ("206 with an unreadable Content-Range", vec![header("Content-Range", Some("bytes")).into()], Hidden),
        ("200 with Content-Range", vec![Fault::OtherStatus(200).into()], Said),
        (
            "200 with Content-Range, of a part",
            vec![Fault::OtherStatus(200).into(), Fault::Shorter(150_000).into()],
            Said,
        ),
        ("206 in HTTP's chunks", vec![Fault::Chunked.into()], Said),
        ("206 without a length", vec![Fault::Unframed.into()], Said),
        ("200 in HTTP's chunks", vec![Fault::Whole.into(), Fault::Chunked.into()], Hidden),
        ("200 without a length", vec![Fault::Whole.into(), Fault::Unframed.into()], Hidden),
        (
            "several parts",
            vec![header("Content-Type", Some("multipart/byteranges; boundary=x")).into()],
            Said,
        ),
        ("an encoding that is none", vec![header("Content-Encoding", Some("aws-chunked")).into()], Said),
        ("an encoding of text", vec![header("Content-Encoding", Some("utf-8")).into()], Said),
        (
            "no type and no word of ranges",
            vec![header("Content-Type", None).into(), header("Accept-Ranges", Some("none")).into()],
            Said,
        ),
        ("redirects", vec![Fault::RedirectChain(3).into()], Said),
        ("206 longer than its Content-Range", vec![Fault::Longer(1_000).on("*.safetensors")], Said),
        ("206 without an end", vec![Fault::Endless.on("*.safetensors")], Said),
    ]
}

/// Whether the head of an answer says how long the file is.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Length {
    Said,
    Hidden,
}

#[test]
fn a_web_server_with_odd_answers_keeps_the_contract() {
    let served = Served::new();
    for (what, rules, length) in odd_forms() {
        println!("{what}");
        let server = served.server();
        let strikes: Vec<_> = rules.into_iter().map(|rule| server.fail(rule)).collect();
        let suite = served.suite();
        let suite = if length == Length::Hidden { suite.may_hide_lengths() } else { suite };
        block_on(suite.check(&*source(&server.url())));
        assert!(strikes.iter().all(|strikes| strikes.count() > 0), "{what}");
    }
}

#[test]
fn a_model_arrives_from_a_web_server_with_odd_answers_and_nobody_is_blamed() {
    let fleet = fleet();
    for (what, rules, _) in odd_forms() {
        let server = Faulty::start(&fleet.model);
        let strikes: Vec<_> = rules.into_iter().map(|rule| server.fail(rule)).collect();
        let fetched = Fetch::from(&fleet, &[&server]).run().arrived(&fleet);
        fetched.expect(fetched.blame(0).is_none(), what);
        assert!(strikes.iter().all(|strikes| strikes.count() > 0), "{what}");
    }
}

#[test]
fn a_bucket_keeps_the_contract() {
    const TEST: &str = "a_bucket_keeps_the_contract";
    if is_child() {
        return check_bucket();
    }
    let served = Served::new();
    symlink(served.at(MODEL), served.at("models")).unwrap();
    fs::create_dir(served.at("without")).unwrap();
    let server = Faulty::start(served.folder.path());
    in_child(TEST, &server.url(), Length::Said);
    assert!(server.requests().iter().all(|request| request.header("authorization").is_some()));
    for (what, rules, length) in odd_forms() {
        println!("{what}");
        server.mend();
        rules.into_iter().for_each(|rule| drop(server.fail(rule)));
        in_child(TEST, &server.url(), length);
    }
}

/// S3 as moto has it.
#[test]
fn a_bucket_of_moto_keeps_the_contract() {
    if is_child() {
        return check_bucket();
    }
    let served = Served::new();
    let Some(server) = moto(&served.at(MODEL)) else {
        return skip("moto is not installed");
    };
    in_child("a_bucket_of_moto_keeps_the_contract", &server.says, Length::Said);
}

/// Checks the buckets `models`, which has the content, and `without`.
fn check_bucket() {
    let content = Content::new();
    let suite = Suite::of(&content);
    let hides = env::var(LENGTHS).is_ok_and(|lengths| lengths == "hidden");
    let suite = if hides { suite.may_hide_lengths() } else { suite };
    block_on(async {
        suite.check(&*source("s3://models")).await;
        suite.check_without_content(&*source("s3://without")).await;
    });
}

fn is_child() -> bool {
    env::var_os(LENGTHS).is_some()
}

/// Runs a test once more in a process of its own, for which the buckets lie at this endpoint: the addresses and
/// credentials of buckets come from the environment.
fn in_child(test: &str, endpoint: &str, length: Length) {
    let (_, module) = module_path!().split_once("::").unwrap();
    let mut command = Command::new(env::current_exe().unwrap());
    command.args([&format!("{module}::{test}"), "--exact", "--nocapture"]);
    for proxy in ["HTTP_PROXY", "ALL_PROXY", "http_proxy", "all_proxy"] {
        command.env_remove(proxy);
    }
    let environment = [
        (LENGTHS, if length == Length::Hidden { "hidden" } else { "said" }),
        ("AWS_ENDPOINT", endpoint),
        ("AWS_ALLOW_HTTP", "true"),
        ("AWS_REGION", "us-east-1"),
        ("AWS_ACCESS_KEY_ID", "KEYID"),
        ("AWS_SECRET_ACCESS_KEY", "SECRET"),
    ];
    let output = command.envs(environment).output().unwrap();
    let said =
        String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && said.contains("1 passed"), "{said}");
}

/// Set in a process that checks buckets: whether they say the lengths of their files.
const LENGTHS: &str = "WEIGHBRIDGE_TEST_BUCKET_LENGTHS";
const MODEL: &str = "model";
const COMMIT: &str = "0123456789abcdef0123456789abcdef01234567";
