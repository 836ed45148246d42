//! Requests that are malformed, ambiguous, or not from here.

use std::io::{BufReader, Read as _, Write as _};

use crate::kit::{Answer, Served, model};

/// The answers to some bytes, until the connection ends.
fn all_answers(served: &Served, bytes: &[u8]) -> Vec<u16> {
    let mut stream = served.connect();
    stream.write_all(bytes).unwrap();
    let mut text = Vec::new();
    // It may be reset, if bytes are left that nobody reads.
    let _ = stream.read_to_end(&mut text);
    let text = String::from_utf8_lossy(&text);
    text.split("HTTP/1.1 ").skip(1).map(|answer| answer[..3].parse().unwrap()).collect()
}

/// Behind each of these heads comes a request that must not be answered.
const HIDDEN: &str = "GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n";

#[test]
fn an_ambiguous_head_is_refused_and_nothing_behind_it_is_answered() {
    let (folder, _) = model();
    let served = Served::of(&folder);
    for head in [
        "GET /healthz HTTP/1.1\nHost: localhost\r\n\r\n",
        "GET /healthz HTTP/1.1\r\nHost: localhost\n\r\n",
        "GET /healthz HTTP/1.1\r\nHost: localhost\r\n\n",
        "GET /healthz HTTP/1.1\r\nHost: localhost\r\nA: b\r\n c\r\n\r\n",
        "GET /healthz HTTP/1.1\r\nHost: localhost\r\nA: b\rc\r\n\r\n",
        "GET /healthz HTTP/1.1\r\nHost: localhost\r\nContent-Length: 5\r\nContent-Length: 5\r\n\r\nabcde",
        "GET /healthz HTTP/1.1\r\nHost: localhost\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        "GET /healthz HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n0\r\n\r\n",
        "GET /healthz HTTP/1.1\r\nHost: localhost\r\nContent-Length: +5\r\n\r\nabcde",
        "GET /healthz HTTP/1.1\r\nHost: localhost\r\nContent-Length: 5, 5\r\n\r\nabcde",
        "GET /healthz HTTP/1.1\r\nHost : localhost\r\n\r\n",
        "GET  /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n",
        "GET /healthz HTTP/1.1\r\nHost: local\0host\r\n\r\n",
        "GET /healthz HTTP/1.1\r\n\r\n",
        "GET http://localhost/healthz HTTP/1.1\r\n\r\n",
        "GET /healthz HTTP/1.1\r\nHost: localhost\r\nHost: localhost\r\n\r\n",
        "GET /healthz\r\n\r\n",
        "nonsense\r\n\r\n",
    ] {
        assert_eq!(all_answers(&served, format!("{head}{HIDDEN}").as_bytes()), [400], "{head:?}");
    }
    // A body of unknown length: nothing behind its head is looked at, whatever else is refused.
    for host in ["localhost", "attacker.example", "localhost\r\nOrigin: http://attacker.example"] {
        let head = format!("POST / HTTP/1.1\r\nHost: {host}\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n");
        let hidden = "GET /healthz HTTP/1.1\nHost: localhost\n\n";
        assert_eq!(all_answers(&served, format!("{head}{hidden}{HIDDEN}").as_bytes()), [411], "{host}");
    }
    // A method that changes something.
    let head = "PUT /test/model/config.json HTTP/1.1\r\nHost: localhost\r\nContent-Length: 5\r\n\r\nabcde";
    assert_eq!(all_answers(&served, format!("{head}{HIDDEN}").as_bytes()), [405]);
    assert_eq!(served.get("/test/model/config.json").text(), "{}\n");
}

/// The parser is told at once, wherever the bytes are cut, and although nothing more comes.
#[test]
fn a_bad_head_is_answered_when_it_is_bad_and_not_when_its_time_is_over() {
    let (folder, _) = model();
    let served = Served::of(&folder);
    for head in [
        "GET /healthz HTTP/1.1\r\nHost: localhost\r\nA: b\r\n c",
        "GET / HTTP/1.1\r\nHost: localhost\r\n\n",
        "GET /\n",
    ] {
        for cut in 0..head.len() {
            let mut stream = served.connect();
            stream.set_nodelay(true).unwrap();
            stream.write_all(&head.as_bytes()[..cut]).unwrap();
            if cut % 7 == 0 {
                std::thread::sleep(std::time::Duration::from_millis(5));
            }
            stream.write_all(&head.as_bytes()[cut..]).unwrap();
            assert_eq!(Answer::read(&mut BufReader::new(stream), true).status, 400, "{head:?} cut at {cut}");
        }
    }
}

#[test]
fn heads_have_a_length_and_a_number_of_lines() {
    let (folder, _) = model();
    let served = Served::of(&folder);
    let path = "a".repeat(20_000);
    assert!(matches!(
        all_answers(&served, format!("GET /{path} HTTP/1.1\r\nHost: localhost\r\n\r\n").as_bytes())[..],
        [414 | 431]
    ));
    let lines = "A: b\r\n".repeat(100);
    assert_eq!(
        all_answers(&served, format!("GET / HTTP/1.1\r\n{lines}Host: localhost\r\n\r\n").as_bytes()),
        [431]
    );
    let lines = "A: b\r\n".repeat(10_000);
    assert_eq!(all_answers(&served, format!("GET / HTTP/1.1\r\n{lines}").as_bytes()), [431]);
}

#[test]
fn a_request_names_a_host_that_the_server_has() {
    let (folder, _) = model();
    let rules = weighbridge_serve::Rules { hosts: vec!["models.example".to_owned()], ..Default::default() };
    let served = Served::by(vec![folder.path().to_owned()], rules, weighbridge_serve::Limits::default());
    let status = |host: &str| served.ask(&format!("GET /healthz HTTP/1.1\r\nHost: {host}\r\n\r\n")).status;
    for host in [
        "localhost",
        "LOCALHOST:80",
        "127.0.0.1:1",
        "[::1]:8080",
        "10.1.2.3",
        "models.example",
        "Models.Example.:443",
    ] {
        assert_eq!(status(host), 200, "{host}");
    }
    for host in [
        "attacker.example",
        "models.example.attacker.example",
        "localhost.attacker.example",
        "127.0.0.1.nip.example",
        "",
        "[::1",
        "[models.example]",
        "[::1]evil",
        "localhost:80@evil",
        "127.0.0.1:xyz",
        "localhost:1:2",
        "[127.0.0.1]",
    ] {
        assert_eq!(status(host), 421, "{host}");
    }
    let answer = served.ask("GET http://attacker.example/healthz HTTP/1.1\r\nHost: localhost\r\n\r\n");
    assert_eq!(answer.status, 421, "the target goes before the header");
    assert_eq!(served.ask("GET http://localhost/healthz HTTP/1.1\r\nHost: localhost\r\n\r\n").status, 200);
    assert_eq!(served.ask("GET /healthz HTTP/1.0\r\nHost: localhost\r\n\r\n").status, 200);
    assert_eq!(served.ask("GET /healthz HTTP/1.0\r\n\r\n").status, 400);
}

#[test]
fn pages_of_others_may_not_ask() {
    let (folder, _) = model();
    let served = Served::of(&folder);
    let with_origin = |origin: &str| served.get_with("/test/model/config.json", &format!("Origin: {origin}"));
    assert_eq!(with_origin("http://localhost").status, 200);
    for origin in [
        "http://attacker.example",
        "null",
        "http://localhost:1",
        "localhost",
        "http://localhost.attacker.example",
    ] {
        let answer = with_origin(origin);
        assert_eq!(answer.status, 403, "{origin}");
        assert!(!answer.headers.contains_key("access-control-allow-origin"));
    }
}

#[test]
fn a_connection_goes_on_after_a_refusal_that_is_clear() {
    let (folder, _) = model();
    let served = Served::of(&folder);
    let mut stream = served.connect();
    let with_body = "GET /none/of/this HTTP/1.1\r\nHost: localhost\r\nContent-Length: 3\r\n\r\na\nb";
    stream.write_all(format!("{with_body}{HIDDEN}").as_bytes()).unwrap();
    let mut stream = BufReader::new(stream);
    assert_eq!(Answer::read(&mut stream, true).status, 404);
    assert_eq!(Answer::read(&mut stream, true).status, 200);
}
