//! Tickets of swarms: each ticket has exactly one text, and another reading of the page comes to the same verdict.
#![no_main]

use libfuzzer_sys::fuzz_target;
use weighbridge_fuzz::{bounded, swarm};
use weighbridge_manifest::Coded;
use weighbridge_swarm::{Address, MemberKey, Ticket};

fuzz_target!(|data: &[u8]| {
    if let Ok(text) = str::from_utf8(data) {
        assert_eq!(Address::parse(text).is_some(), swarm::is_address(text), "an address");
    }
    let expected = swarm::ticket(data);
    let ticket = match bounded(data.len(), || Ticket::parse(data)) {
        Ok(ticket) => ticket,
        Err(error) => {
            assert_eq!(expected.map(|_| ()), Err(error.error_code().get()), "{error}");
            // The error has no room for the ticket's text. Its line is one of the ticket, or the one behind them.
            assert!(error.line <= data.iter().filter(|byte| **byte == b'\n').count() + 1);
            return;
        }
    };
    assert_eq!(ticket.write().as_bytes(), data, "written again it is another ticket");

    let expected = expected.expect("it is well-formed");
    let found = swarm::Ticket {
        name: ticket.name.to_string(),
        head: ticket.head.to_string(),
        expires: u64::try_from(ticket.expires.unix()).expect("it ends after 1970"),
        is_open: ticket.is_open(),
        secret: expected.secret.clone(),
        trackers: ticket.trackers.iter().map(ToString::to_string).collect(),
        members: ticket.members.iter().map(|key| key.as_bytes().to_vec()).collect(),
    };
    assert_eq!(found, expected);

    // The secret cannot be read, so the key of the swarm shows that it is the right one.
    let material = [&expected.secret[..], ticket.head.as_bytes(), &expected.expires.to_le_bytes()].concat();
    let word = if expected.is_open { "open key" } else { "key" };
    let key = blake3::derive_key(&format!("weighbridge swarm v1 {word}"), &material);
    assert_eq!(ticket.key().label().as_bytes(), &blake3::keyed_hash(&key, b"label").as_bytes()[..16]);
    let debug = format!("{ticket:?}");
    let line = data.split(|byte| *byte == b'\n').nth(4).expect("there are five lines");
    let key_of_line: &[u8] = if expected.is_open { b"open " } else { b"secret " };
    let secret =
        str::from_utf8(line.strip_prefix(key_of_line).expect("the fifth has it")).expect("it is ASCII");
    assert!(!debug.contains(secret), "it shows its secret");

    // The listed members are members, and others are if none is listed.
    assert!(ticket.members.iter().all(|key| ticket.lists(key)));
    let stranger = MemberKey::from_bytes(key);
    assert_eq!(ticket.lists(&stranger), ticket.members.is_empty() || ticket.members.contains(&stranger));
    let tag = blake3::keyed_hash(&key, &[b"origin", stranger.as_bytes().as_slice()].concat());
    assert_eq!(ticket.key().tag(&stranger).as_bytes(), &tag.as_bytes()[..16]);

    // The parser consumes its input exactly (rule 6). Short tickets show it; long ones only take time.
    if data.len() > 4096 {
        return;
    }
    let text = str::from_utf8(data).expect("it is ASCII");
    for changed in [format!("{text}\n"), format!("{text} "), format!("\u{feff}{text}"), text.repeat(2)] {
        assert!(Ticket::parse(changed.as_bytes()).is_err(), "accepted: {} bytes", changed.len());
    }
    assert!(Ticket::parse(&data[..data.len() - 1]).is_err(), "the last LF is missing");
});
