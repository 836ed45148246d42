//! Clients that take all there is: others are served all the same.

use std::{
    io::{Read as _, Write as _},
    net::TcpStream,
    time::{Duration, Instant},
};

use weighbridge_serve::{Limits, Rules};
use weighbridge_testkit::{Folder, bytes};
use weighbridge_verify::tree::ChunkSize;

use crate::kit::Served;

fn limited(limits: Limits) -> (Folder, Served) {
    let (folder, _) = Folder::weighed(
        &[("big.bin", bytes(32 << 20, 1)), ("ten.bin", bytes(10_000_000, 2))],
        ChunkSize::MIN,
    );
    let served = Served::by(vec![folder.path().to_owned()], Rules::default(), limits);
    (folder, served)
}

/// An honest client has its 10 MB within five seconds.
#[track_caller]
fn honest(served: &Served) {
    let began = Instant::now();
    let answer = served.get("/test/model/ten.bin");
    assert_eq!((answer.status, answer.is_whole), (200, true));
    assert!(answer.body == bytes(10_000_000, 2));
    assert!(began.elapsed() < Duration::from_secs(5), "it took {:?}", began.elapsed());
}

#[test]
fn connections_that_ask_for_nothing_give_way() {
    let (_folder, served) = limited(Limits { connections: 64, ..Limits::default() });
    let idle: Vec<TcpStream> = (0..250).map(|_| served.connect()).collect();
    honest(&served);
    drop(idle);
}

/// Each asks for next to nothing, again and again, and has always asked a moment ago.
#[test]
fn connections_that_ask_for_little_give_way() {
    let (_folder, served) = limited(Limits { connections: 16, ..Limits::default() });
    std::thread::scope(|scope| {
        for _ in 0..32 {
            scope.spawn(|| {
                let until = Instant::now() + Duration::from_secs(3);
                let mut stream = served.connect();
                while Instant::now() < until {
                    let path = "/test/model/ten.bin HTTP/1.1\r\nRange: bytes=0-0";
                    let asked = write!(stream, "GET {path}\r\nHost: localhost\r\n\r\n");
                    if asked.is_err() || stream.read(&mut [0; 1024]).unwrap_or(0) == 0 {
                        stream = served.connect();
                    }
                    std::thread::sleep(Duration::from_millis(20));
                }
            });
        }
        std::thread::sleep(Duration::from_millis(300));
        honest(&served);
    });
}

/// Nobody else comes: whoever is here stays.
#[test]
fn a_full_server_keeps_its_clients_as_long_as_nobody_else_comes() {
    let (_folder, served) = limited(Limits { connections: 1, ..Limits::default() });
    let mut stream = served.connect();
    for _ in 0..3 {
        stream.write_all(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n").unwrap();
        assert!(stream.read(&mut [0; 1024]).unwrap() > 0);
        std::thread::sleep(Duration::from_millis(600));
    }
}

/// Each holds more than a chunk, and takes a little of it.
#[test]
fn slices_that_are_taken_slowly_give_way() {
    let (_folder, served) = limited(Limits { memory: 24 << 20, ..Limits::default() });
    let ask = |_| {
        let mut stream = served.connect();
        let path = "/test/model/weighbridge/slice?file=big.bin&bytes=0-4194303";
        write!(stream, "GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n").unwrap();
        stream
    };
    let slow: Vec<TcpStream> = (0..12).map(ask).collect();
    std::thread::sleep(Duration::from_millis(500));
    honest(&served);
    drop(slow);
}

#[test]
fn heads_that_never_end_give_way() {
    let (_folder, served) = limited(Limits { connections: 16, ..Limits::default() });
    let begin = |at: usize| {
        let mut stream = served.connect();
        let _ = write!(stream, "GET /{at} HTTP/1.1\r\nHost: localhost\r\nX: ");
        stream
    };
    let mut endless: Vec<TcpStream> = (0..64).map(begin).collect();
    std::thread::scope(|scope| {
        let writing = scope.spawn(|| {
            let until = Instant::now() + Duration::from_secs(4);
            while Instant::now() < until {
                endless.iter_mut().for_each(|stream| drop(stream.write_all(b"x")));
                std::thread::sleep(Duration::from_millis(20));
            }
        });
        std::thread::sleep(Duration::from_millis(500));
        honest(&served);
        writing.join().unwrap();
    });
}

#[test]
fn a_head_has_its_time() {
    let (_folder, served) = limited(Limits { head_time: Duration::from_millis(300), ..Limits::default() });
    let mut stream = served.connect();
    stream.write_all(b"GET / HTTP/1.1\r\nHost: ").unwrap();
    let began = Instant::now();
    let _ = stream.read_to_end(&mut Vec::new());
    assert!(began.elapsed() < Duration::from_secs(10));
}

/// More clients than the memory has chunks for ask for a large file, and take nothing.
#[test]
fn clients_that_take_nothing_give_their_memory_back() {
    let (_folder, served) = limited(Limits { memory: 1 << 20, ..Limits::default() });
    let ask = |_| {
        let mut stream = served.connect();
        stream.write_all(b"GET /test/model/big.bin HTTP/1.1\r\nHost: localhost\r\n\r\n").unwrap();
        stream
    };
    let slow: Vec<TcpStream> = (0..200).map(ask).collect();
    std::thread::sleep(Duration::from_millis(100));
    honest(&served);
    drop(slow);
}

#[test]
fn a_client_that_takes_nothing_is_left_after_a_while() {
    let (_folder, served) = limited(Limits { write_time: Duration::from_millis(300), ..Limits::default() });
    let mut stream = served.connect();
    stream.write_all(b"GET /test/model/big.bin HTTP/1.1\r\nHost: localhost\r\n\r\n").unwrap();
    std::thread::sleep(Duration::from_millis(1_500));
    let mut came = Vec::new();
    let _ = stream.read_to_end(&mut came);
    assert!(came.len() < 32 << 20, "all of it came");
}

#[test]
fn a_server_that_ends_sends_what_is_under_way_and_takes_nothing_new() {
    let (_folder, served) = limited(Limits::default());
    let address = served.address;
    let mut stream = served.connect();
    stream.write_all(b"GET /test/model/big.bin HTTP/1.1\r\nHost: localhost\r\n\r\n").unwrap();
    let idle = served.connect();
    let mut half = served.connect();
    half.write_all(b"GET / HTTP/1.1\r\nHost: ").unwrap();
    std::thread::sleep(Duration::from_millis(200));
    let began = Instant::now();
    let ending = std::thread::spawn(move || drop(served));
    std::thread::sleep(Duration::from_millis(300));
    assert!(TcpStream::connect(address).is_err());
    let mut came = Vec::new();
    stream.read_to_end(&mut came).unwrap();
    assert!(came.ends_with(&bytes(32 << 20, 1)[(32 << 20) - 1_000..]));
    ending.join().unwrap();
    assert!(began.elapsed() < Duration::from_secs(10), "a head that does not end was waited for");
    drop((idle, half));
}
