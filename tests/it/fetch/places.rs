//! The kinds of sources: hubs, buckets, folders, nginx; with headers, and at either loopback address.

use std::{fs, os::unix::fs::symlink};

use super::kit::{Fetch, SHARDS, fleet};
use crate::{
    command::kit::{Ran, skip},
    fleet::Fleet,
};
use weighbridge_testkit::servers::{Fault, Faulty, Loopback, Nginx, Settings};

const COMMIT: &str = "0123456789abcdef0123456789abcdef01234567";

/// A hub that has the model of a fleet.
fn hub(fleet: &Fleet) -> Faulty {
    hub_at(fleet, "hub")
}

pub(super) fn hub_at(fleet: &Fleet, folder: &str) -> Faulty {
    let world = &fleet.world;
    world.write(&format!("{folder}/api/models/org/llama/revision/main"), format!(r#"{{"sha":"{COMMIT}"}}"#));
    fs::create_dir_all(world.path(&format!("{folder}/org/llama/resolve"))).unwrap();
    symlink(&fleet.model, world.path(&format!("{folder}/org/llama/resolve/{COMMIT}"))).unwrap();
    Faulty::start(&world.path(folder))
}

#[test]
fn the_source_of_a_hub_names_the_model_that_is_wanted() {
    let fleet = fleet();
    let hub = hub_at(&fleet, "named");
    let fetch = |line: &str| {
        let mut command = fleet.world.command(&format!("fetch {line} --vkey {} -o named-out", fleet.vkey));
        Ran::of(command.env("HF_ENDPOINT", hub.url()))
    };
    // The hub's model says that it is another one.
    fs::create_dir_all(fleet.world.path("named/org/copy/resolve")).unwrap();
    fleet.world.write("named/api/models/org/copy/revision/main", format!(r#"{{"sha":"{COMMIT}"}}"#));
    symlink(&fleet.model, fleet.world.path(&format!("named/org/copy/resolve/{COMMIT}"))).unwrap();
    fetch("hf://org/copy").refused(3201, "the head is of 'org/llama', wanted is 'org/copy'");
    assert!(!fleet.world.exists("named-out/config.json"));
    fetch("hf://org/copy --any-name").done();
    fetch("hf://org/llama@main").done().prints("head     org/llama revision 1, ");
}

#[test]
fn a_hub_is_asked_with_the_token_and_where_it_redirects_without() {
    let fleet = fleet();
    let (hub, network) = (hub(&fleet), Faulty::start(&fleet.world.path("hub")));
    drop(hub.fail(Fault::Redirect(format!("{}/{{path}}", network.url())).on(SHARDS)));
    let fetch = Fetch::from(&fleet, &[]).and("hf://org/llama").env("HF_ENDPOINT", &hub.url());
    let _ = fetch.env("HF_TOKEN", "hf_secret").run().arrived(&fleet);
    let of_hub = hub.requests();
    assert!(of_hub.iter().all(|request| request.header("authorization") == Some("Bearer hf_secret")));
    let resolved = of_hub.iter().filter(|request| request.path.starts_with("api/"));
    assert_eq!(resolved.count(), 1, "the revision is resolved once");
    let elsewhere = network.requests();
    assert!(!elsewhere.is_empty());
    assert!(elsewhere.iter().all(|request| request.header("authorization").is_none()));
}

#[test]
fn a_hub_that_denies_a_model_makes_the_error_name_the_token() {
    let fleet = fleet();
    for status in [401, 403] {
        let hub = hub_at(&fleet, &format!("hub-{status}"));
        drop(hub.fail(Fault::status(status)));
        let fetch = Fetch::from(&fleet, &[]).and("hf://org/llama").env("HF_ENDPOINT", &hub.url());
        let fetched = fetch.run().ended(9201);
        let hints = fetched.events("error").last().unwrap()["hints"].to_string();
        fetched.expect(hints.contains("HF_TOKEN"), "a hint at the token");
    }
}

#[test]
fn headers_go_to_their_source_alone() {
    let fleet = fleet();
    let [one, two, network] = [(); 3].map(|()| Faulty::start(&fleet.model));
    drop(one.fail(Fault::Redirect(format!("{}/{{path}}", network.url())).on(SHARDS)));
    two.limit_rate(3_000_000);
    let fetch = Fetch::from(&fleet, &[&one, &two]).with(&["--header", &one.url(), "X-Key: secret"]);
    let _ = fetch.run().arrived(&fleet);
    assert!(one.requests().iter().all(|request| request.header("x-key") == Some("secret")));
    for other in [two, network] {
        let requests = other.requests();
        assert!(!requests.is_empty() && requests.iter().all(|request| request.header("x-key").is_none()));
    }
}

/// Regression: headers went only to the first source of an address, so its `--meta` and its second connection were
/// refused.
#[test]
fn headers_go_to_their_address_wherever_it_is_named() {
    let fleet = fleet();
    let server = Faulty::start(&fleet.model);
    let words = ["--meta", &server.url(), "--header", &server.url(), "X-Key: secret"];
    let _ = Fetch::from(&fleet, &[&server, &server]).with(&words).run().arrived(&fleet);
    let without: Vec<_> =
        server.requests().into_iter().filter(|request| request.header("x-key") != Some("secret")).collect();
    assert!(without.is_empty(), "{without:#?}");
}

#[test]
fn metadata_may_lie_elsewhere() {
    let fleet = fleet();
    let bytes = Faulty::start(&fleet.model);
    drop(bytes.fail(Fault::status(404).on("weighbridge/*")));
    let [alone, with_model] = ["weighbridge", ""].map(|folder| Faulty::start(&fleet.model.join(folder)));
    for meta in [alone.url(), with_model.url(), fleet.model.join("weighbridge").to_str().unwrap().to_owned()]
    {
        let fetched = Fetch::from(&fleet, &[&bytes]).with(&["--meta", &meta]).run().arrived(&fleet);
        fetched.expect(fetched.blame(0).is_none() && fetched.blame(1).is_none(), "nobody to be blamed");
    }
    assert!(with_model.requests().iter().all(|request| request.path.starts_with("weighbridge/")));
}

#[test]
fn sources_of_all_kinds_work_together() {
    let fleet = fleet();
    let web = Faulty::start(&fleet.model);
    let folder = fleet.model.to_str().unwrap();
    let _ = Fetch::from(&fleet, &[]).and(folder).run().arrived(&fleet);
    let fetch = Fetch::from(&fleet, &[&web]).and("hf://org/llama").env("HF_ENDPOINT", &hub(&fleet).url());
    let _ = fetch.and(folder).with(&["--memory", "40MiB"]).run().arrived(&fleet);
}

#[test]
fn a_bucket_is_a_source() {
    let fleet = fleet();
    fs::create_dir(fleet.world.path("buckets")).unwrap();
    symlink(&fleet.model, fleet.world.path("buckets/models")).unwrap();
    let server = Faulty::start(&fleet.world.path("buckets"));
    let fetch = Fetch::from(&fleet, &[])
        .and("s3://models")
        .env("AWS_ENDPOINT", &server.url())
        .env("AWS_ALLOW_HTTP", "true")
        .env("AWS_REGION", "eu-central-1")
        .env("AWS_ACCESS_KEY_ID", "KEYID")
        .env("AWS_SECRET_ACCESS_KEY", "SECRET");
    let _ = fetch.run().arrived(&fleet);
    assert!(server.requests().iter().all(|request| request.header("authorization").is_some()));
}

#[test]
fn the_address_may_be_of_either_kind() {
    if !Loopback::V6.is_there() {
        return skip("no IPv6 on this machine");
    }
    let fleet = fleet();
    let server = Faulty::start_on(Loopback::V6, &fleet.model);
    assert!(server.url().contains('['));
    let _ = Fetch::from(&fleet, &[&server]).run().arrived(&fleet);
}

#[test]
fn nginx_is_a_source_as_it_is() {
    if !Nginx::available() {
        return skip("nginx is not installed");
    }
    let fleet = fleet();
    let nginx = Nginx::start(&fleet.model, &Settings { gzip: true, ..Settings::default() });
    let fetched = Fetch::from(&fleet, &[]).and(&nginx.url()).run().arrived(&fleet);
    fetched.expect(fetched.blame(0).is_none(), "nobody to be blamed");
}

#[test]
fn a_server_that_limits_connections_goes_on_with_those_that_it_takes() {
    if !Nginx::available() {
        return skip("nginx is not installed");
    }
    let fleet = fleet();
    let settings = Settings { limit_rate: Some(1_000_000), connections: Some(1), ..Settings::default() };
    let nginx = Nginx::start(&fleet.model, &settings);
    let fetched = Fetch::from(&fleet, &[]).and(&nginx.url()).run().arrived(&fleet).blames(0, "refused");
    fetched.expect(fetched.why(0).contains("503"), "the server's word");
    fetched.expect(
        !fetched.events("source").any(|status| status["state"] == "waiting"),
        "the connection that is taken not to be given up",
    );
    let refused = nginx.accesses().into_iter().filter(|access| access.status == 503).count();
    fetched.expect((1..=3).contains(&refused), "to ask for no more than it gets");
}

#[test]
fn no_more_comes_per_second_than_is_allowed() {
    let fleet = fleet();
    let server = Faulty::start(&fleet.model);
    let fetched = Fetch::from(&fleet, &[&server]).with(&["--limit-rate", "1MB"]).run().arrived(&fleet);
    // The first bytes come at once, and the operating system buffers some more.
    fetched.expect(fetched.took > std::time::Duration::from_millis(1_500), "to take its time");
    fetched.expect(fetched.blame(0).is_none(), "nobody to be blamed");
}
