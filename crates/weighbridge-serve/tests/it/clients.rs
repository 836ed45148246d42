//! Clients that a server knows by name.

use weighbridge_serve::{Clients, Limits, Rules};

use crate::kit::{Served, model};

/// The SHA-256 of `test` and of `other`.
const TOKENS: &str = "\
ci     9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08 read test/*
other  d9298a10d1b0735837dc4bd85dac641b0f3cef27a47e5d53a54f2f3f5b2fcffa read other/*
";

#[test]
fn a_client_without_a_token_finds_out_nothing_and_nothing_is_looked_up_for_it() {
    let (folder, _) = model();
    let rules = Rules { hub: true, clients: Some(Clients::parse(TOKENS).unwrap()), ..Rules::default() };
    let served = Served::by(vec![folder.path().to_owned()], rules, Limits::default());
    let shape = |answer: &crate::kit::Answer| {
        let mut headers = answer.headers.clone();
        headers.remove("date");
        (answer.status, headers, answer.body.clone())
    };
    let paths = |model: &str| {
        [
            format!("/{model}/config.json"),
            format!("/{model}/none"),
            format!("/{model}/resolve/main/config.json"),
            format!("/{model}/weighbridge/head.note"),
            format!("/{model}/weighbridge/proof?file=config.json"),
            format!("/{model}/weighbridge/slice?file=config.json"),
            format!("/api/models/{model}"),
            format!("/api/models/{model}/tree/main"),
        ]
    };
    for header in
        ["X: y", "Authorization: Bearer wrong", "Authorization: Basic dGVzdA==", "Authorization: test"]
    {
        let first = shape(&served.get_with("/test/model/config.json", header));
        assert_eq!((first.0, first.1["www-authenticate"].as_str()), (401, "Bearer"));
        for path in paths("test/model")
            .into_iter()
            .chain(paths("test/none"))
            .chain(["/".to_owned(), "/metrics".to_owned()])
        {
            assert_eq!(shape(&served.get_with(&path, header)), first, "{path}");
        }
    }
    // A token for other models: the same for those that are here and those that are not.
    let other = "Authorization: Bearer other";
    let first = shape(&served.get_with("/test/model/config.json", other));
    assert_eq!(first.0, 403);
    for path in paths("test/model").into_iter().chain(paths("test/none")) {
        assert_eq!(shape(&served.get_with(&path, other)), first, "{path}");
    }
    let lookups = || {
        let text = served.get_with("/metrics", other).text();
        text.lines().find_map(|line| line.strip_prefix("weighbridge_lookups_total ")).unwrap().to_owned()
    };
    assert_eq!(lookups(), "0");
    assert!(!served.get_with("/", other).text().contains("test/model"));
    let mine = "Authorization: bearer  test";
    assert_eq!(served.get_with("/test/model/config.json", mine).text(), "{}\n");
    assert_eq!(served.get_with("/other/model/config.json", mine).status, 403);
    assert!(served.get_with("/", mine).text().contains("test/model"));
    assert_eq!(lookups(), "1");
    assert_eq!(served.get("/healthz").status, 200);
    assert_eq!(served.get("/readyz").status, 200);
}

#[test]
fn without_a_tokens_file_tokens_are_not_looked_at() {
    let (folder, _) = model();
    let served = Served::of(&folder);
    assert_eq!(served.get_with("/test/model/config.json", "Authorization: Bearer hf_secret").status, 200);
}
