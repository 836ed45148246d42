//! Tests of nginx, skipped where it is not installed.

use std::{
    net::{SocketAddr, TcpStream},
    time::{Duration, Instant},
};

use super::{Client, Folder, LENGTH, a, header};
use crate::{
    servers::{Access, Nginx, Settings},
    skip,
};

fn address(url: &str) -> SocketAddr {
    url.strip_prefix("http://").unwrap().parse().unwrap()
}

/// A folder with an nginx on it; without nginx, prints that the test is skipped.
fn nginx(settings: &Settings) -> Option<(Folder, Nginx)> {
    if !Nginx::available() {
        skip("nginx is not installed");
        return None;
    }
    let folder = Folder::new();
    let nginx = Nginx::start(&folder.path(), settings);
    Some((folder, nginx))
}

#[test]
fn nginx_serves_a_folder_and_logs_it() {
    let Some((_folder, nginx)) = nginx(&Settings::default()) else { return };
    let mut client = Client::to(address(&nginx.url()));
    client.get("/a.bin", &[]).gives_whole(&a());
    client.get("/a.bin", &[&header(5..300_000)]).gives_range(&a(), 5..300_000);
    client.get("/sub/100%20%25.txt", &["Range: bytes=2-"]).gives_range(b"escaped", 2..7);
    assert_eq!(client.get("/none", &["Connection: close"]).status, 404);

    // nginx writes a log line once the answer has ended.
    let start = Instant::now();
    while nginx.accesses().len() < 4 && start.elapsed() < Duration::from_secs(20) {
        std::thread::sleep(Duration::from_millis(5));
    }
    let access = |path: &str, range, status, bytes| Access { path: path.to_owned(), range, status, bytes };
    let accesses = nginx.accesses();
    assert_eq!(accesses[0], access("/a.bin", None, 200, 1_000_000));
    assert_eq!(accesses[1], access("/a.bin", Some(5..300_000), 206, 299_995));
    assert_eq!(accesses[2], access("/sub/100 %.txt", Some(2..u64::MAX), 206, 5));
    assert_eq!((&*accesses[3].path, accesses[3].status, accesses.len()), ("/none", 404, 4));
}

#[test]
fn nginx_serves_at_either_address() {
    let Some((_folder, nginx)) = nginx(&Settings::default()) else { return };
    let Some(url) = nginx.url_v6() else { return skip("this machine has no [::1]") };
    Client::to(address(&url)).get("/a.bin", &[]).gives_whole(&a());
}

#[test]
fn nginx_is_gone_when_dropped() {
    let Some((_folder, nginx)) = nginx(&Settings::default()) else { return };
    let address = address(&nginx.url());
    drop(nginx);
    assert!(TcpStream::connect(address).is_err());
}

#[test]
fn nginx_asks_for_a_password() {
    let login = Some(("me".to_owned(), "secret".to_owned()));
    let Some((_folder, nginx)) = nginx(&Settings { login, ..Settings::default() }) else { return };
    let mut client = Client::to(address(&nginx.url()));
    assert_eq!(client.get("/a.bin", &[]).status, 401);
    assert_eq!(client.get("/a.bin", &["Authorization: Basic bWU6d3Jvbmc="]).status, 401);
    client.get("/a.bin", &["Authorization: Basic bWU6c2VjcmV0"]).gives_whole(&a());
}

#[test]
fn nginx_compresses_for_whoever_accepts_it() {
    let Some((_folder, nginx)) = nginx(&Settings { gzip: true, ..Settings::default() }) else { return };
    let mut client = Client::to(address(&nginx.url()));
    client.get("/a.bin", &["Accept-Encoding: identity"]).gives_whole(&a());
    let got = client.get("/a.bin", &["Accept-Encoding: gzip", "Connection: close"]);
    assert_eq!((got.status, got.header("Content-Encoding")), (200, Some("gzip")));
}

#[test]
fn nginx_can_be_slowed_while_it_runs() {
    let Some((folder, mut nginx)) = nginx(&Settings::default()) else { return };
    let large = [a(), a(), a()].concat();
    folder.write("large.bin", &large);
    let to = address(&nginx.url());
    Client::to(to).get("/large.bin", &[]).gives_whole(&large);

    nginx.set(&Settings { limit_rate: Some(LENGTH as u64), ..Settings::default() });
    let start = Instant::now();
    Client::to(to).get("/large.bin", &[]).gives_whole(&large);
    // The file takes three seconds, less the time of the last pieces, which nginx does not slow.
    assert!(start.elapsed() > Duration::from_millis(900), "{:?}", start.elapsed());

    nginx.set(&Settings::default());
    Client::to(to).get("/large.bin", &[]).gives_whole(&large);
}
