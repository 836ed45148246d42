//! Connections that stay open while they are unused.

use std::{
    iter,
    sync::Arc,
    time::{Duration, Instant},
};

use tokio::sync::Notify;

use super::{FILE, Web, good, good_range, range, whole};
use crate::source::{
    SourceFactory, SourceOptions,
    http::scripted::{Reply, Server},
};

/// One server for each of `count` sources of one factory.
async fn servers(count: usize) -> Vec<(Server, Web)> {
    let factory = SourceFactory::new();
    let mut all = Vec::new();
    for _ in 0..count {
        let server =
            Server::start(|request, _| if request.contains("\r\nrange: ") { good() } else { whole() }).await;
        let source = factory.web("http", &server.url(""), &SourceOptions::default()).unwrap();
        all.push((server, source));
    }
    all
}

fn open(servers: &[(Server, Web)]) -> usize {
    servers.iter().map(|(server, _)| server.connections()).sum()
}

/// The number of open connections, once others had the time to end.
async fn settled(expected: usize, open: impl Fn() -> usize) -> usize {
    let begun = Instant::now();
    while open() != expected && begun.elapsed() < Duration::from_secs(5) {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    tokio::time::sleep(Duration::from_millis(50)).await;
    open()
}

/// Regression: each of a thousand sources kept the connection on which its head was asked for, and the process had no
/// file left to open.
#[tokio::test]
async fn many_sources_keep_no_connection_from_asking_for_heads() {
    for (count, kept) in [(32, 32), (33, 0), (100, 0)] {
        let servers = servers(count).await;
        for (_, source) in &servers {
            assert_eq!(source.whole_at("x", 10).await, Ok(FILE.to_vec()));
        }
        assert_eq!(settled(kept, || open(&servers)).await, kept, "{count}");
        let closes = |request: &String| request.contains("\r\nconnection: close\r\n");
        assert!(
            servers
                .iter()
                .flat_map(|(server, _)| server.requests())
                .all(|request| closes(&request) == (kept == 0))
        );
    }
}

#[tokio::test]
async fn the_sources_that_give_bytes_keep_their_connections_among_many() {
    let servers = servers(40).await;
    for _ in 0..3 {
        for (_, source) in &servers[..2] {
            assert_eq!(range(source).await, good_range());
        }
    }
    assert_eq!(settled(2, || open(&servers)).await, 2);
}

#[tokio::test]
async fn no_more_than_eight_connections_to_one_server_stay_open() {
    let gate = Arc::new(Notify::new());
    let waiting = Arc::clone(&gate);
    let server = Server::start(move |_, _| Reply::default().later(&waiting, &good().bytes())).await;
    let factory = SourceFactory::new();
    let source = factory.web("http", &server.url(""), &SourceOptions::default()).unwrap();
    let asking = futures_util::future::join_all(iter::repeat_with(|| range(&source)).take(20));
    let answering = async {
        assert_eq!(settled(20, || server.connections()).await, 20);
        loop {
            gate.notify_waiters();
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    let answers = tokio::select! {
        answers = asking => answers,
        () = answering => panic!("it goes on"),
    };
    assert!(answers.into_iter().all(|answer| answer == good_range()));
    assert_eq!(settled(8, || server.connections()).await, 8);
}
