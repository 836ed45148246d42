//! A server that may send no more than it is asked for: who gets how much, who waits, and who is told when to come again.

use std::{
    io::{BufRead as _, BufReader, Read as _, Write as _},
    net::{IpAddr, Ipv4Addr, SocketAddr, TcpStream},
    sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst},
    thread::JoinHandle,
    time::{Duration, Instant},
};

use socket2::{Domain, Socket, Type};
use weighbridge_bandwidth::Budget;
use weighbridge_serve::{Limits, Rules};
use weighbridge_testkit::{Folder, bytes};
use weighbridge_verify::tree::ChunkSize;

use crate::kit::{Answer, Served};

const MB: usize = 1_000_000;

fn served(rate: u64, limits: Limits) -> (Folder, Served) {
    let (folder, _) = Folder::weighed(
        &[("big.bin", bytes(32 << 20, 1)), ("ten.bin", bytes(10 * MB, 2)), ("one.bin", bytes(MB, 3))],
        ChunkSize::MIN,
    );
    let rules = Rules { send: Budget::of(rate), ..Rules::default() };
    let served = Served::by(vec![folder.path().to_owned()], rules, limits);
    (folder, served)
}

/// A connection from another address of this machine. One that takes nothing has a small buffer.
fn connect_from(last: u8, served: &Served, takes_nothing: bool) -> TcpStream {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    let from = SocketAddr::new(IpAddr::V4(Ipv4Addr::new(127, 0, 1, last)), 0);
    socket.bind(&from.into()).unwrap();
    if takes_nothing {
        socket.set_recv_buffer_size(4096).unwrap();
    }
    socket.connect(&served.address.into()).unwrap();
    let stream: TcpStream = socket.into();
    stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    stream
}

fn ask(stream: &mut TcpStream, path: &str) {
    write!(stream, "GET /test/model/{path} HTTP/1.1\r\nHost: localhost\r\n\r\n").unwrap();
}

/// An answer that has begun: its place, and its seat, are taken. A thread reads the rest, so that the client is not a slow one.
fn begun(mut stream: TcpStream, path: &str) -> JoinHandle<Answer> {
    ask(&mut stream, path);
    let mut stream = BufReader::new(stream);
    assert!(!stream.fill_buf().unwrap().is_empty());
    std::thread::spawn(move || Answer::read(&mut stream, true))
}

/// Asks again whenever it was told to, until there is an answer.
fn ask_until_answered(connect: impl Fn() -> TcpStream, path: &str) -> Answer {
    for _ in 0..20 {
        let mut stream = connect();
        ask(&mut stream, path);
        let answer = Answer::read(&mut BufReader::new(stream), true);
        if answer.status == 200 {
            return answer;
        }
        std::thread::sleep(Duration::from_secs(come_again(&answer)));
    }
    panic!("never answered");
}

/// The seconds after which a client is told to come again.
#[track_caller]
fn come_again(answer: &Answer) -> u64 {
    assert_eq!(answer.status, 503);
    let seconds = answer.header("retry-after").parse().unwrap();
    assert!(answer.text().contains(&format!("come again in {seconds} s")));
    assert!(!answer.headers.contains_key("weighbridge-code"), "the file is good");
    seconds
}

/// The bytes of one client, counted as they come.
fn count(mut stream: TcpStream, came: &AtomicUsize, ends: &AtomicBool) {
    let mut buffer = vec![0; 64 << 10];
    while !ends.load(SeqCst) {
        came.fetch_add(stream.read(&mut buffer).unwrap(), SeqCst);
    }
}

#[test]
fn no_more_is_sent_in_a_second_than_the_server_may() {
    let (_folder, served) = served(5_000_000, Limits::default());
    let began = Instant::now();
    let answer = served.get("/test/model/ten.bin");
    let took = began.elapsed();
    assert!((answer.status, answer.is_whole) == (200, true) && answer.body == bytes(10 * MB, 2));
    assert!(took >= Duration::from_millis(1_950), "{took:?}");
}

/// At this rate they would take hours.
#[test]
fn what_is_of_no_model_waits_for_no_turn() {
    let (_folder, served) = served(1, Limits::default());
    for path in ["/healthz", "/metrics", "/"] {
        assert_eq!(served.get(path).status, 200, "{path}");
    }
}

/// On Linux each address of the loopback network may be used.
#[cfg(target_os = "linux")]
#[test]
fn clients_have_equal_shares_however_many_connections_each_has() {
    let (_folder, served) = served(4_000_000, Limits::default());
    let connect = |last: u8| {
        let mut stream = connect_from(last, &served, false);
        ask(&mut stream, "big.bin");
        stream
    };
    let greedy: Vec<_> = (0..9).map(|_| connect(1)).collect();
    let modest = connect(2);
    let (of_greedy, of_modest, ends) = (AtomicUsize::new(0), AtomicUsize::new(0), AtomicBool::new(false));
    std::thread::scope(|scope| {
        for stream in greedy {
            scope.spawn(|| count(stream, &of_greedy, &ends));
        }
        scope.spawn(|| count(modest, &of_modest, &ends));
        // The buffers, which are filled at the beginning, are little beside this.
        while of_modest.load(SeqCst) < 8 * MB {
            std::thread::sleep(Duration::from_millis(5));
        }
        let (greedy, modest) = (of_greedy.load(SeqCst), of_modest.load(SeqCst));
        ends.store(true, SeqCst);
        // Nine shares would be 72 MB.
        assert!((modest / 3..modest * 3).contains(&greedy), "{greedy} beside {modest}");
    });
}

#[cfg(target_os = "linux")]
#[test]
fn those_for_whom_there_is_no_room_are_told_when_there_is() {
    let (_folder, served) = served(1_000_000, Limits { answers: 1, ..Limits::default() });
    let served = &served;
    // Ten seconds: longer than anybody waits for a place.
    let holds = begun(connect_from(1, served, false), "ten.bin");
    std::thread::scope(|scope| {
        // One waits for the place, and there is no room for another one to wait; both are told.
        let both = [2, 3].map(|last| {
            scope.spawn(move || {
                let mut stream = connect_from(last, served, false);
                ask(&mut stream, "one.bin");
                Answer::read(&mut BufReader::new(stream), true)
            })
        });
        for asked in both {
            assert!((1..=120).contains(&come_again(&asked.join().unwrap())));
        }
    });
    assert!(served.figure("weighbridge_requests_total{route=\"file\",status=\"503\"}") >= 2);
    let answer = ask_until_answered(|| connect_from(4, served, false), "one.bin");
    assert!(answer.body == bytes(MB, 3));
    assert!(holds.join().unwrap().body == bytes(10 * MB, 2));
}

#[cfg(target_os = "linux")]
#[test]
fn those_who_wait_have_the_place_of_one_that_ends() {
    let (_folder, served) = served(2_000_000, Limits { answers: 1, ..Limits::default() });
    let first = begun(connect_from(1, &served, false), "one.bin");
    let second = begun(connect_from(2, &served, false), "one.bin");
    for answer in [first, second] {
        let answer = answer.join().unwrap();
        assert!(answer.status == 200 && answer.body == bytes(MB, 3));
    }
}

/// Those who take nothing have all places, and wait for more of them. Without others they could stay for longer than this test waits.
#[cfg(target_os = "linux")]
#[test]
fn clients_that_take_nothing_give_their_places_back() {
    let limits = Limits { answers: 8, write_time: Duration::from_secs(3600), ..Limits::default() };
    let (_folder, served) = served(20_000_000, limits);
    let slow: Vec<_> = (1..=20)
        .map(|last| {
            let mut stream = connect_from(last, &served, true);
            ask(&mut stream, "big.bin");
            stream
        })
        .collect();
    let answer = ask_until_answered(|| connect_from(99, &served, false), "one.bin");
    assert!(answer.body == bytes(MB, 3));
    drop(slow);
}

/// All seats are those of clients that are being answered, for ten seconds.
#[test]
fn a_connection_for_which_there_is_no_seat_is_told_when_to_come_again() {
    let (_folder, served) = served(2_000_000, Limits { connections: 2, ..Limits::default() });
    let busy = [(); 2].map(|()| begun(served.connect(), "ten.bin"));
    let answers: Vec<_> = (0..3).map(|_| served.get("/test/model/config")).collect();
    assert!(busy.iter().all(|busy| !busy.is_finished()), "they are told at once");
    for answer in &answers {
        assert_eq!(answer.header("connection"), "close");
        assert!((1..=120).contains(&come_again(answer)));
    }
    for busy in busy {
        let answer = busy.join().unwrap();
        assert!(answer.status == 200 && answer.body == bytes(10 * MB, 2));
    }
    assert_eq!(served.get("/healthz").status, 200);
}
