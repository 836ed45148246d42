//! Whose secrets are sent: those of the environment, and those that other tools keep on the machine.

use std::{fs, os::unix::fs::symlink};

use weighbridge_testkit::servers::Faulty;

use super::{
    kit::{Fetch, fleet},
    places::hub_at,
};

#[test]
fn a_hub_is_asked_with_the_token_of_a_login_unless_the_environment_says_otherwise() {
    let fleet = fleet();
    fleet.world.write("hf/token", "hf_kept\n");
    let home = fleet.world.path("hf");
    let asked = |name: &str, changes: &[(&'static str, &str)]| {
        let hub = hub_at(&fleet, name);
        let fetch = Fetch::from(&fleet, &[]).and("hf://org/llama").env("HF_ENDPOINT", &hub.url());
        let fetch = fetch.env("HF_HOME", home.to_str().unwrap());
        // The settings of this machine are unset.
        let unset = ["HF_TOKEN", "HUGGING_FACE_HUB_TOKEN", "HF_TOKEN_PATH", "HF_HUB_DISABLE_IMPLICIT_TOKEN"];
        let fetch = unset.into_iter().fold(fetch, |fetch, name| fetch.env(name, ""));
        let fetch = changes.iter().fold(fetch, |fetch, (name, value)| fetch.env(name, value));
        let _ = fetch.run().arrived(&fleet);
        let requests = hub.requests();
        let first = requests[0].header("authorization").map(str::to_owned);
        assert!(requests.iter().all(|request| request.header("authorization") == first.as_deref()));
        first
    };
    assert_eq!(asked("kept", &[]).as_deref(), Some("Bearer hf_kept"));
    assert_eq!(asked("given", &[("HF_TOKEN", "hf_given")]).as_deref(), Some("Bearer hf_given"));
    assert_eq!(asked("none", &[("HF_HUB_DISABLE_IMPLICIT_TOKEN", "1")]), None);
    assert_eq!(asked("elsewhere", &[("HF_TOKEN_PATH", "/no/such/file")]), None);
}

#[test]
fn a_bucket_is_asked_with_the_keys_of_a_profile() {
    let fleet = fleet();
    fs::create_dir(fleet.world.path("buckets")).unwrap();
    symlink(&fleet.model, fleet.world.path("buckets/models")).unwrap();
    let server = Faulty::start(&fleet.world.path("buckets"));
    fleet.world.write("credentials", "[me]\naws_access_key_id = MINE\naws_secret_access_key = s\n");
    let settings =
        format!("endpoint_url = {}\nregion = eu-1\n[profile sso]\nsso_session = x\n", server.url());
    fleet.world.write("config", format!("[profile me]\n{settings}"));
    let [credentials, config] = ["credentials", "config"].map(|name| fleet.world.path(name));
    let fetch = |profile: &str| {
        Fetch::from(&fleet, &[])
            .and("s3://models")
            .env("AWS_ALLOW_HTTP", "true")
            .env("AWS_SHARED_CREDENTIALS_FILE", credentials.to_str().unwrap())
            .env("AWS_CONFIG_FILE", config.to_str().unwrap())
            .env("AWS_PROFILE", profile)
    };
    let _ = fetch("me").run().arrived(&fleet);
    let signed = "AWS4-HMAC-SHA256 Credential=MINE/";
    let is_signed =
        |line: Option<&str>| line.is_some_and(|line| line.starts_with(signed) && line.contains("/eu-1/"));
    assert!(server.requests().iter().all(|request| is_signed(request.header("authorization"))));
    let refused = fetch("sso").run();
    let error = refused.events("error").last().unwrap();
    refused.expect(error["message"].as_str().unwrap().contains("single sign-on"), "the way to be named");
    refused.expect(error["hints"].to_string().contains("export-credentials"), "a hint at keys");
}
