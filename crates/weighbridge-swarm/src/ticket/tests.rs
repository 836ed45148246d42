use proptest::{collection::btree_set, prelude::*};

use super::*;

fn ticket() -> Ticket {
    Ticket {
        name: ModelName::parse("org/model").unwrap(),
        head: HeadId::from_bytes([7; 32]),
        expires: Time::parse("2026-12-07T00:00:00Z").unwrap(),
        access: Access::Secret([0x5a; 32].into()),
        trackers: vec![address("origin.example:7070"), address("[2001:db8::1]:1")],
        members: vec![MemberKey::from_bytes([1; 32]), MemberKey::from_bytes([2; 32])],
    }
}

fn open_ticket() -> Ticket {
    Ticket { access: Access::Open([0x5a; 32]), members: Vec::new(), ..ticket() }
}

fn address(text: &str) -> Address {
    Address::parse(text).unwrap_or_else(|| panic!("{text} is refused"))
}

fn any_address() -> impl Strategy<Value = Address> {
    let host = prop_oneof![
        any::<[u8; 4]>().prop_map(|bytes| Ipv4Addr::from(bytes).to_string()),
        any::<[u16; 8]>().prop_map(|groups| format!("[{}]", Ipv6Addr::from(groups))),
        // Runs of zeros, of any length and at any place.
        any::<[bool; 8]>().prop_map(|ones| format!("[{}]", Ipv6Addr::from(ones.map(u16::from)))),
        "[a-z0-9-]{1,63}(\\.[a-z0-9-]{1,63}){0,2}\\.[0-9]{0,3}[a-z-][a-z0-9-]{0,20}",
    ];
    (host, 1..=u16::MAX).prop_map(|(host, port)| address(&format!("{host}:{port}")))
}

fn any_ticket() -> impl Strategy<Value = Ticket> {
    let name = "[A-Za-z0-9][A-Za-z0-9._-]{0,20}(/[A-Za-z0-9][A-Za-z0-9._-]{0,20}){0,3}";
    let trackers = btree_set(any_address(), 0..=MAX_TRACKERS).prop_map(Vec::from_iter).prop_shuffle();
    let members = btree_set(any::<[u8; 32]>(), 0..=20);
    let access = prop_oneof![
        3 => any::<[u8; 32]>().prop_map(|secret| Access::Secret(secret.into())),
        1 => any::<[u8; 32]>().prop_map(Access::Open),
    ];
    (name, any::<[u8; 32]>(), 0i64..253_402_300_800, access, trackers, members).prop_map(
        |(name, head, expires, access, trackers, members)| Ticket {
            name: ModelName::parse(&name).unwrap(),
            head: HeadId::from_bytes(head),
            expires: Time::from_unix(expires).unwrap(),
            members: match access {
                Access::Secret(_) => members.into_iter().map(MemberKey::from_bytes).collect(),
                Access::Open(_) => Vec::new(),
            },
            access,
            trackers,
        },
    )
}

proptest! {
    #[test]
    fn a_ticket_reads_as_it_was_written(ticket in any_ticket()) {
        let text = ticket.write();
        let read = Ticket::parse(text.as_bytes()).map_err(|error| TestCaseError::fail(error.to_string()))?;
        prop_assert!(read == ticket && read.key() == ticket.key());
        let shown = format!("{ticket:?} {read:#?}");
        prop_assert!(!shows_a_secret(&ticket, &shown));
    }

    #[test]
    fn of_a_changed_ticket_no_error_shows_the_secret(
        ticket in any_ticket(),
        at in any::<prop::sample::Index>(),
        with in "\\PC{0,3}|\n|\r",
    ) {
        let mut text = ticket.write().as_bytes().to_vec();
        let at = at.index(text.len());
        text.splice(at..=at, with.into_bytes());
        match Ticket::parse(&text) {
            Ok(read) => prop_assert!(read.write().as_bytes() == text),
            Err(error) => {
                let shown = format!("{error} {error:?}");
                prop_assert!(!shows_a_secret(&ticket, &shown));
            }
        }
    }

    #[test]
    fn every_address_of_a_socket_is_an_address(
        groups in any::<[u16; 8]>(), ip in any::<[u8; 4]>(), port in 1..=u16::MAX,
    ) {
        for ip in [Ipv6Addr::from(groups).into(), Ipv4Addr::from(ip).into(), Ipv4Addr::from(ip).to_ipv6_mapped().into()] {
            let of_socket = Address::from(std::net::SocketAddr::new(ip, port));
            prop_assert_eq!(Address::parse(of_socket.as_str()), Some(of_socket));
        }
    }

    #[test]
    fn no_bytes_make_the_parser_panic(bytes in any::<Vec<u8>>(), text in "\\PC*") {
        let _ = Ticket::parse(&bytes);
        let _ = Address::parse(&text);
        let lines = [&b"name "[..], b"head ", b"expires ", b"secret ", b"open ", b"tracker "];
        for line in lines.map(|key| [key, &bytes].concat()) {
            for whole in [ticket().write(), open_ticket().write()] {
                for end in (0..whole.len()).filter(|end| whole.as_bytes()[*end] == b'\n') {
                    let _ = Ticket::parse(&[&whole.as_bytes()[..=end], &line].concat());
                }
            }
        }
    }
}

/// Whether a text has eight bytes of the secret in a row, in base64, in hexadecimal digits, or as a list of numbers.
fn shows_a_secret(ticket: &Ticket, text: &str) -> bool {
    let Access::Secret(Secret(secret)) = &ticket.access else { return false };
    let base64 = Base64::encode_string(secret.as_slice());
    let hex: String = secret.iter().map(|byte| format!("{byte:02x}")).collect();
    let numbers = format!("{:?}", &secret[..8]);
    let has_part =
        |whole: &str, len: usize| (0..=whole.len() - len).any(|at| text.contains(&whole[at..at + len]));
    has_part(&base64, 11) || has_part(&hex, 16) || text.contains(numbers.trim_matches(['[', ']']))
}

/// Tampering is never unnoticed: whatever is one byte away is no ticket, or another one that is written as it stands.
#[test]
fn every_change_of_one_byte_is_refused_or_makes_another_ticket() {
    [ticket(), open_ticket()].iter().for_each(change_each_byte);
}

fn change_each_byte(ticket: &Ticket) {
    let text = ticket.write();
    let mut others = 0;
    let mut judge = |changed: &[u8]| {
        let Ok(read) = Ticket::parse(changed) else { return };
        assert!(
            read != *ticket && read.write().as_bytes() == changed,
            "{}",
            String::from_utf8_lossy(changed)
        );
        others += 1;
    };
    for at in 0..text.len() {
        let (before, rest) = text.as_bytes().split_at(at);
        for byte in (0..=u8::MAX).filter(|byte| *byte != rest[0]) {
            judge(&[before, &[byte], &rest[1..]].concat());
        }
        for byte in 0..=u8::MAX {
            judge(&[before, &[byte], rest].concat());
        }
        judge(&[before, &rest[1..]].concat());
        judge(before);
    }
    assert!(others > 1000, "only {others} changes make another ticket");
}

#[test]
fn a_change_of_trackers_and_members_keeps_the_swarm_and_any_other_makes_another() {
    let plain = ticket();
    let same = Ticket { trackers: Vec::new(), members: Vec::new(), ..plain.clone() };
    assert!(same.key() == plain.key() && same.key().label() == plain.key().label());
    let named = Ticket { name: ModelName::parse("org/other").unwrap(), ..plain.clone() };
    assert!(named.key() == plain.key(), "the head names the model");
    for other in [
        Ticket { head: HeadId::from_bytes([8; 32]), ..plain.clone() },
        Ticket { expires: Time::from_unix(plain.expires.unix() + 1).unwrap(), ..plain.clone() },
        Ticket { access: Access::Secret([0x5b; 32].into()), ..plain.clone() },
        // Members of an open swarm are not met by those who take it for one of members that trust each other.
        open_ticket(),
    ] {
        assert!(other.key() != plain.key() && other.key().label() != plain.key().label());
    }
}

#[test]
fn a_proof_is_of_one_side_one_connection_and_two_keys() {
    let key = ticket().key();
    let [one, other] = [1, 2].map(|byte| MemberKey::from_bytes([byte; 32]));
    let proof = key.proof(Side::Connects, &[3; 32], &one, &other);
    assert_eq!(proof, key.proof(Side::Connects, &[3; 32], &one, &other));
    let stranger = Ticket { access: Access::Secret([0; 32].into()), ..ticket() }.key();
    for another in [
        key.proof(Side::Accepts, &[3; 32], &one, &other),
        key.proof(Side::Connects, &[4; 32], &one, &other),
        key.proof(Side::Connects, &[3; 32], &other, &one),
        key.proof(Side::Connects, &[3; 32], &one, &one),
        stranger.proof(Side::Connects, &[3; 32], &one, &other),
    ] {
        assert_ne!(proof, another);
    }
}

#[test]
fn a_tag_is_of_one_member_and_one_swarm() {
    let (key, other) = (ticket().key(), Ticket { head: HeadId::from_bytes([8; 32]), ..ticket() }.key());
    let [one, another] = [1, 2].map(|byte| MemberKey::from_bytes([byte; 32]));
    assert_eq!(key.tag(&one), key.tag(&one));
    assert!(key.tag(&one) != key.tag(&another) && key.tag(&one) != other.tag(&one));
    assert_ne!(key.tag(&one).as_bytes(), key.label().as_bytes());
}

#[test]
fn a_ticket_with_as_much_as_is_allowed_is_read_and_no_more() {
    let trackers: Vec<Address> =
        (1..10).map(|port| address(&format!("{}.example:{port}", "a".repeat(63)))).collect();
    let mut members: Vec<MemberKey> = (0..=MAX_MEMBERS)
        .map(|number| {
            let mut key = [0; 32];
            key[..2]
                .copy_from_slice(&[u8::try_from(number / 256).unwrap(), u8::try_from(number % 256).unwrap()]);
            MemberKey::from_bytes(key)
        })
        .collect();
    let stranger = members.pop().unwrap();
    let name = ModelName::parse(&"a".repeat(255)).unwrap();
    let full = Ticket { name, trackers: trackers[..MAX_TRACKERS].to_vec(), members, ..ticket() };
    let text = full.write();
    assert!(text.len() <= MAX_TICKET && Ticket::parse(text.as_bytes()).is_ok_and(|read| read == full));
    assert!(full.members.iter().all(|key| full.lists(key)) && !full.lists(&stranger));

    let fault_of = |ticket: &Ticket| Ticket::parse(ticket.write().as_bytes()).err();
    let one_more = Ticket { members: [&full.members[..], &[stranger]].concat(), ..full.clone() };
    let at = |line, fault| Some(TicketError { line, fault });
    assert_eq!(
        fault_of(&one_more),
        at(5 + MAX_TRACKERS + MAX_MEMBERS + 1, TicketFault::Line("nothing more"))
    );
    let one_more = Ticket { trackers, ..full };
    assert_eq!(fault_of(&one_more), at(5 + MAX_TRACKERS + 1, TicketFault::Line("nothing more")));
}

#[test]
fn an_error_names_the_line() {
    let lines = |changes: &[(usize, &str)]| {
        let text = ticket().write();
        let mut lines: Vec<&str> = text.lines().collect();
        changes.iter().for_each(|(at, line)| lines[at - 1] = line);
        lines.iter().map(|line| format!("{line}\n")).collect::<String>()
    };
    let secret = ticket().write().lines().nth(4).unwrap().to_owned();
    for (changes, line, fault) in [
        (&[(1, "weighbridge/swarm/v2")][..], 1, TicketFault::Version),
        (&[(2, "head 00")], 2, TicketFault::Line("name")),
        (&[(2, "name /")], 2, TicketFault::Value("name")),
        (&[(3, "head 00"), (5, "x")], 3, TicketFault::Value("head")),
        (&[(4, "expires never")], 4, TicketFault::Value("expires")),
        (&[(5, "secret")], 5, TicketFault::Access),
        (&[(5, "open")], 5, TicketFault::Access),
        (&[(5, "opened =")], 5, TicketFault::Access),
        (&[(5, "open =")], 5, TicketFault::Value("open")),
        (&[(5, "secret =")], 5, TicketFault::Value("secret")),
        (&[(6, &secret)], 6, TicketFault::Line("nothing more")),
        (&[(7, "tracker origin.example:7070")], 7, TicketFault::Value("tracker")),
        (&[(8, "member AA==")], 8, TicketFault::Value("member")),
    ] {
        assert_eq!(Ticket::parse(lines(changes).as_bytes()), Err(TicketError { line, fault }), "{changes:?}");
    }
    let too_long = TicketError { line: 1, fault: TicketFault::TooLong };
    assert_eq!(Ticket::parse(&[0; MAX_TICKET + 1]), Err(too_long));
    let no_lf = ticket().write();
    assert_eq!(Ticket::parse(&no_lf.as_bytes()[..no_lf.len() - 1]).map_err(|error| error.line), Err(9));
}

#[test]
fn whoever_has_the_ticket_is_a_member_unless_it_lists_members() {
    let [one, other] = [1, 9].map(|byte| MemberKey::from_bytes([byte; 32]));
    assert!(ticket().lists(&one) && !ticket().lists(&other));
    let open = Ticket { members: Vec::new(), ..ticket() };
    assert!(open.lists(&one) && open.lists(&other));
}

#[test]
fn an_open_ticket_lists_no_members_and_a_ticket_has_one_access() {
    let open = open_ticket();
    assert!(open.is_open() && !ticket().is_open() && open.lists(&MemberKey::from_bytes([9; 32])));
    let text = open.write();
    assert!(
        text.contains("\nopen WlpaWlpaWlpaWlpaWlpaWlpaWlpaWlpaWlpaWlpaWlo=\n") && !text.contains("secret")
    );
    let listed = Ticket { members: ticket().members, ..open.clone() };
    let fault = |line, fault| Some(TicketError { line, fault });
    let fault_of = |text: &str| Ticket::parse(text.as_bytes()).err();
    assert_eq!(fault_of(&listed.write()), fault(8, TicketFault::Line("nothing more")));
    for (one, other) in [("secret", "open"), ("open", "secret"), ("open", "open")] {
        let value = "WlpaWlpaWlpaWlpaWlpaWlpaWlpaWlpaWlpaWlpaWlo=";
        let both = text.replace(&format!("open {value}"), &format!("{one} {value}\n{other} {value}"));
        assert_eq!(fault_of(&both), fault(6, TicketFault::Line("nothing more")), "{one} and {other}");
    }
    let without = text.replace("open WlpaWlpaWlpaWlpaWlpaWlpaWlpaWlpaWlpaWlpaWlo=\n", "");
    assert_eq!(fault_of(&without), fault(5, TicketFault::Access));
    let cut = &text[..text.find("open ").unwrap()];
    assert_eq!(fault_of(cut), fault(5, TicketFault::Access));
}

#[test]
fn secrets_are_random() {
    assert!(Secret::random().unwrap() != Secret::random().unwrap());
}
