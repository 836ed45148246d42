//! A model that is pushed into a bucket, and fetched from it: S3 as moto has it.

use std::process::Command;

use serde_json::Value;

use crate::{
    command::kit::{Ran, skip},
    fleet::Fleet,
    python::{Python, moto},
};

/// A model of four shards, each larger than what is sent at once, and a bucket.
struct Story {
    fleet: Fleet,
    moto: Python,
}

impl Story {
    fn new() -> Option<Self> {
        let fleet = Fleet::of(40_000_000, "1MiB");
        let Some(moto) = moto(&fleet.world.path("nothing")) else {
            skip("moto is not installed");
            return None;
        };
        Some(Self { fleet, moto })
    }

    /// Runs the command with these words, for which buckets lie in moto.
    #[track_caller]
    fn run(&self, line: &str) -> Ran {
        let mut command = self.fleet.world.command(line);
        for proxy in ["HTTP_PROXY", "ALL_PROXY", "http_proxy", "all_proxy"] {
            command.env_remove(proxy);
        }
        Ran::of(command.envs([
            ("AWS_ENDPOINT", self.moto.says.as_str()),
            ("AWS_ALLOW_HTTP", "true"),
            ("AWS_REGION", "us-east-1"),
            ("AWS_ACCESS_KEY_ID", "KEYID"),
            ("AWS_SECRET_ACCESS_KEY", "SECRET"),
        ]))
    }

    /// Fetches from the bucket, and asserts that what comes is this revision.
    #[track_caller]
    fn fetch(&self, into: &str, revision: &str) {
        let Fleet { world, name, vkey, .. } = &self.fleet;
        let line = format!("fetch s3://models/a/tiny -o {into} --name {name} --vkey {vkey}");
        let _ = self.run(&line).done();
        self.fleet.assert_same(&world.path(into), &world.path(revision));
    }

    /// The objects of the bucket: key, ETag, and the noted root.
    fn objects(&self) -> Vec<(String, String, Option<String>)> {
        let output = Command::new("python3").args(["-c", OBJECTS, &self.moto.says]).output().unwrap();
        assert!(output.status.success(), "{output:?}");
        serde_json::from_slice(&output.stdout).unwrap()
    }
}

/// The last progress that a push told.
fn progress(told: &Ran) -> Value {
    told.objects().into_iter().rfind(|object| object["event"] == "progress").unwrap()
}

#[test]
fn a_model_that_is_pushed_into_a_bucket_is_fetched_from_there() {
    let Some(story) = Story::new() else { return };
    let pushed = story.run("push first s3://models/a/tiny --json").done();
    let wanted = progress(&pushed)["wanted"].as_u64().unwrap();
    assert!(wanted > 38_000_000);
    for figure in ["sent", "verified", "durable"] {
        assert_eq!(progress(&pushed)[figure], wanted, "{figure}");
    }
    story.fetch("fetched", "first");

    let objects = story.objects();
    let files = story.fleet.files();
    let keys: Vec<_> = objects.iter().filter_map(|(key, ..)| key.strip_prefix("a/tiny/")).collect();
    assert_eq!(keys.len(), objects.len());
    assert_eq!(keys.iter().filter(|key| !key.starts_with("weighbridge/")).count(), files.len());
    for (key, etag, root) in &objects {
        assert_eq!(
            root.as_ref().is_some_and(|root| root.len() == 64),
            !key.contains("/weighbridge/"),
            "{key}"
        );
        // The ETag of an object that came in parts says in how many.
        assert_eq!(etag.ends_with("-2\""), key.ends_with(".safetensors"), "{key} {etag}");
    }

    // What stands is not sent again; of the next revision, the files that differ are.
    let again = story.run("push first s3://models/a/tiny --json").done();
    assert_eq!(
        (&progress(&again)["sent"], progress(&again)["durable"].as_u64()),
        (&Value::from(0), Some(wanted))
    );
    let second = story.fleet.revise();
    let revised = story.run("push second s3://models/a/tiny --json").done();
    let changed = Fleet::CHANGED.map(|file| second.join(file).metadata().unwrap().len());
    assert_eq!(progress(&revised)["sent"], changed.iter().sum::<u64>());
    story.fetch("fetched-2", "second");
}

#[test]
fn a_bucket_that_is_not_there_or_a_file_that_has_changed_ends_the_push() {
    let Some(story) = Story::new() else { return };
    let none = story.run("push first s3://nobody/tiny").unjudged(9301, "NoSuchBucket");
    assert!(!none.stdout.contains("SECRET") && !none.stderr.contains("SECRET"));
    story.fleet.world.flip(&format!("first/{}", Fleet::CHANGED[1]), 9_000_000);
    let _ = story.run("push first s3://models/a/tiny").refused(2102, "has changed since it was weighed");
    assert!(!story.objects().iter().any(|(key, ..)| key.ends_with("head.note")));
}

/// Prints the objects of the bucket `models` at the endpoint that is its argument. There is no upload in parts.
const OBJECTS: &str = r#"
import sys, json, boto3
s3 = boto3.client("s3", endpoint_url=sys.argv[1], region_name="us-east-1",
                  aws_access_key_id="KEYID", aws_secret_access_key="SECRET")
assert not s3.list_multipart_uploads(Bucket="models").get("Uploads")
keys = [entry["Key"] for entry in s3.list_objects_v2(Bucket="models").get("Contents", [])]
heads = [(key, s3.head_object(Bucket="models", Key=key)) for key in keys]
print(json.dumps([(key, head["ETag"], head["Metadata"].get("weighbridge-root")) for key, head in heads]))
"#;
