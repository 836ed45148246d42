//! Whose secrets are sent: those of the environment, and those that other tools keep on the machine.

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
        // Whatever this machine has is unset.
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
