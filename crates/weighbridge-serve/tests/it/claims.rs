//! Members of swarms that claim pieces here (`spec/swarm.md`, W21).

use std::io::Write as _;

use weighbridge_serve::{Limits, Rules, Swarms};
use weighbridge_testkit::{Folder, bytes};
use weighbridge_verify::tree::ChunkSize;

use crate::kit::{Answer, Served};

/// A server, and a model of 100,000 bytes in chunks of 16 KiB. Members of its swarm are those whose tags begin with a zero.
fn served() -> (Folder, Served) {
    let (folder, signed) = Folder::weighed(&[("model.bin", bytes(100_000, 1))], ChunkSize::MIN);
    let id = signed.head.id();
    let swarms = Swarms::new(move |tag, head| (tag[0] == 0 && head == id).then_some(0));
    let rules = Rules { hub: true, swarms: Some(swarms), ..Rules::default() };
    let served = Served::by(vec![folder.path().to_owned()], rules, Limits::default());
    (folder, served)
}

fn claim(member: u8) -> String {
    format!("Range: bytes=0-32767\r\nWeighbridge-Claim: {member:032x} 60000")
}

fn figure(served: &Served, given: &str) -> u64 {
    served.figure(&format!("weighbridge_swarm_claimed_bytes_total{{model=\"test/model\",given=\"{given}\"}}"))
}

#[test]
fn a_piece_is_given_to_one_member_and_held_back_from_the_others() {
    let (_folder, served) = served();
    assert_eq!(served.get_with("/test/model/model.bin", &claim(1)).status, 206);
    let held = served.get_with("/test/model/model.bin", &claim(2));
    assert_eq!(held.status, 409);
    let time: u64 = held.header("weighbridge-claim").parse().unwrap();
    assert!((50_000..=60_000).contains(&time), "{time}");
    assert_eq!(held.header("cache-control"), "no-store");
    assert_eq!(held.text(), "another member of the swarm is given these bytes now\n");
    // The path of a hub leads to the same file.
    assert_eq!(served.get_with("/test/model/resolve/main/model.bin", &claim(3)).status, 409);
    // The member itself, another range, and a claim of its own for that.
    assert_eq!(served.get_with("/test/model/model.bin", &claim(1)).status, 206);
    let next = claim(2).replace("0-32767", "32768-65535");
    assert_eq!(served.get_with("/test/model/model.bin", &next).status, 206);
    assert_eq!((figure(&served, "once"), figure(&served, "same_member")), (65_536, 32_768));
    assert_eq!(figure(&served, "after_lease"), 0);
    assert_eq!(served.figure("weighbridge_swarm_held_back_total{model=\"test/model\"}"), 2);
    let given = |given: &str| {
        served.figure(&format!("weighbridge_model_bytes_total{{model=\"test/model\",given=\"{given}\"}}"))
    };
    assert_eq!((given("first"), given("again")), (65_536, 32_768), "nothing was read for what was held back");
}

#[test]
fn requests_of_nobody_who_is_a_member_are_answered_whatever_members_were_given() {
    let (_folder, served) = served();
    assert_eq!(served.get_with("/test/model/model.bin", &claim(1)).status, 206);
    let tag = "0".repeat(31);
    for header in [
        "Range: bytes=0-32767".to_owned(),
        claim(2).replace("Claim: 00", "Claim: f0"),
        claim(2).replace(" 60000", " 6000000"),
        claim(2).replace(" 60000", ""),
        format!("{}\r\nWeighbridge-Claim: {tag}3 60000", claim(2)),
    ] {
        assert_eq!(served.get_with("/test/model/model.bin", &header).status, 206, "{header}");
    }
    // What is no part of a file is nobody's, and a request for the head of an answer takes nothing.
    assert_eq!(served.get_with("/test/model/weighbridge/chunks.layer", &claim(2)).status, 206);
    let head = format!("HEAD /test/model/model.bin HTTP/1.1\r\nHost: localhost\r\n{}\r\n\r\n", claim(2));
    assert_eq!(served.ask(&head).status, 200);
    assert_eq!(served.get_with("/test/model/model.bin", &claim(2)).status, 409, "it is held back still");
}

/// A request that goes on, on the connection of one that was held back.
#[test]
fn the_connection_goes_on_after_a_piece_was_held_back() {
    let (_folder, served) = served();
    assert_eq!(served.get_with("/test/model/model.bin", &claim(1)).status, 206);
    let mut stream = served.connect();
    let request = |range: &str| {
        let header = claim(2).replace("0-32767", range);
        format!("GET /test/model/model.bin HTTP/1.1\r\nHost: localhost\r\n{header}\r\n\r\n")
    };
    stream.write_all((request("0-32767") + &request("32768-65535")).as_bytes()).unwrap();
    let mut reader = std::io::BufReader::new(stream);
    // `Answer::read` takes the reader's stream, so the bytes of both are read through one buffer.
    let first = Answer::read(&mut reader, true);
    let second = Answer::read(&mut reader, true);
    assert_eq!((first.status, second.status, second.is_whole), (409, 206, true));
}

#[test]
fn a_file_that_cannot_be_read_is_held_back_from_nobody() {
    let (folder, served) = served();
    folder.alter("model.bin", |bytes| bytes[1] ^= 1);
    for member in [1, 2] {
        let answer = served.get_with("/test/model/model.bin", &claim(member));
        assert_eq!((answer.status, answer.header("weighbridge-code")), (503, "2102"), "member {member}");
    }
    folder.alter("model.bin", |bytes| bytes[1] ^= 1);
    assert_eq!(served.get_with("/test/model/model.bin", &claim(2)).status, 206);
    assert_eq!(figure(&served, "once"), 32_768);
}

#[test]
fn a_server_that_is_no_tracker_passes_claims_over() {
    let (folder, _) = Folder::weighed(&[("model.bin", bytes(100_000, 1))], ChunkSize::MIN);
    let served = Served::of(&folder);
    for member in [1, 2] {
        assert_eq!(served.get_with("/test/model/model.bin", &claim(member)).status, 206);
    }
    assert!(!served.get("/metrics").text().contains("swarm"));
}
