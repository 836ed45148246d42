//! Clients that a server knows by name.

use weighbridge_serve::{Clients, Limits, Rules, Tickets};

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
            format!("/{model}/weighbridge/ticket"),
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

/// The answer without its date.
fn shape(mut answer: crate::kit::Answer) -> (u16, std::collections::BTreeMap<String, String>, Vec<u8>) {
    answer.headers.remove("date");
    (answer.status, answer.headers, answer.body)
}

const TICKET: &str = "/test/model/weighbridge/ticket";

#[test]
fn a_ticket_is_given_to_a_client_that_may_read_its_model_and_to_nobody_else() {
    let (folder, signed) = model();
    let id = signed.head.id();
    let tickets = move || {
        Tickets::new(move |name, head| {
            (name.as_str() == "test/model" && head == id).then(|| "the ticket\n".to_owned())
        })
    };
    let rules = |clients: bool, tickets: Option<Tickets>| Rules {
        hub: true,
        clients: clients.then(|| Clients::parse(TOKENS).unwrap()),
        tickets,
        ..Rules::default()
    };
    let by = |rules| Served::by(vec![folder.path().to_owned()], rules, Limits::default());
    let (ci, other) = ("Authorization: Bearer test", "Authorization: Bearer other");

    let served = by(rules(true, Some(tickets())));
    let given = served.get_with(TICKET, ci);
    assert_eq!((given.status, given.text().as_str()), (200, "the ticket\n"));
    assert_eq!(given.header("cache-control"), "no-store");
    let ask = |method: &str| {
        served.ask(&format!(
            "{method} {TICKET} HTTP/1.1\r\nHost: localhost\r\n{ci}\r\nContent-Length: 0\r\n\r\n"
        ))
    };
    assert_eq!((ask("HEAD").status, ask("HEAD").body.len()), (200, 0));
    assert_eq!(ask("POST").status, 405);
    for (header, status) in [("X: y", 401), ("Authorization: Bearer wrong", 401), (other, 403)] {
        let answer = served.get_with(TICKET, header);
        assert_eq!(answer.status, status, "{header}");
        assert!(!answer.text().contains("the ticket"));
    }
    // The ticket is that of the model that the client may read: there is none of another one, here or not.
    let unknown =
        |served: &Served, header: &str| shape(served.get_with("/test/model/weighbridge/none", header));
    assert_eq!(shape(served.get_with("/test/none/weighbridge/ticket", ci)), unknown(&served, ci));

    // Without clients, and without a ticket, it is a path that names nothing.
    let open = by(rules(false, Some(tickets())));
    for header in ["X: y", ci] {
        assert_eq!(shape(open.get_with(TICKET, header)), unknown(&open, header));
    }
    assert_eq!(open.figure("weighbridge_lookups_total"), 0);
    for none in [None, Some(Tickets::new(|_, _| None))] {
        let served = by(rules(true, none));
        assert_eq!(shape(served.get_with(TICKET, ci)), unknown(&served, ci));
        assert_eq!(unknown(&served, ci).0, 404);
    }
}
