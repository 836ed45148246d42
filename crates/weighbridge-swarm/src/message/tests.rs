use proptest::{
    collection::{btree_set, vec},
    prelude::*,
};

use super::*;

const PIECES: u32 = 13;

fn header(kind: u8, len: u32) -> [u8; HEADER] {
    let [a, b, c, d] = len.to_le_bytes();
    [kind, a, b, c, d]
}

/// Reads a message with its header.
fn read(bytes: &[u8], pieces: u32) -> Result<Option<Message>, MessageError> {
    let (header, content) = bytes.split_first_chunk().ok_or(MessageError::Length)?;
    Message::parse(Header::parse(*header, pieces)?, content, pieces)
}

fn any_address() -> impl Strategy<Value = Address> {
    prop_oneof![
        "[a-z]{1,63}(\\.[a-z]{1,60}){0,3}:[1-9][0-9]{0,3}",
        "10\\.0\\.0\\.[1-9]:[1-9]",
        "\\[::[1-9a-f]\\]:[1-9]"
    ]
    .prop_map(|text| Address::parse(&text).unwrap())
}

fn any_key() -> impl Strategy<Value = MemberKey> {
    any::<[u8; 32]>().prop_map(MemberKey::from_bytes)
}

fn any_message(pieces: u32) -> impl Strategy<Value = Message> {
    let role = prop::sample::select(Role::ALL.to_vec());
    let announce = (role, any::<u16>(), vec(any_address(), 0..=MAX_ADDRESSES));
    let peer = (any_key(), any_address()).prop_map(|(key, address)| Peer { key, address });
    let set = vec(any::<bool>(), usize::try_from(pieces).unwrap()).prop_map(|has| {
        let byte = |bits: &[bool]| (0..).zip(bits).map(|(at, bit)| u8::from(*bit) << at).sum();
        has.chunks(8).map(byte).collect()
    });
    let item = prop_oneof![
        Just(Item::Files),
        Just(Item::Tensors),
        Just(Item::Layers),
        any::<[u8; 32]>().prop_map(|root| Item::File(FileRoot::from_bytes(root))),
    ];
    let range = any::<u64>().prop_flat_map(|start| (Just(start), 1..=(u64::MAX - start).max(1)));
    let range = range.prop_filter("it ends past 2^64", |(start, count)| start.checked_add(*count).is_some());
    prop_oneof![
        announce.prop_map(|(role, port, addresses)| Message::Announce { role, port, addresses }),
        vec(peer, 0..=MAX_PEERS).prop_map(Message::Peers),
        (any::<u64>(), btree_set(any_key(), 0..50))
            .prop_map(|(epoch, keys)| Message::Members { epoch, keys: keys.into_iter().collect() }),
        Just(Message::HaveAll),
        set.prop_map(Message::HaveSet),
        vec(0..pieces, 1..100).prop_map(Message::Have),
        prop::option::of(0..pieces).prop_map(Message::Claim),
        Just(Message::Bye),
        Just(Message::Alive),
        any::<bool>().prop_map(Message::Slot),
        (item, range).prop_map(|(item, (start, count))| Message::Get { item, start, count }),
        Just(Message::Get { item: Item::Head, start: 0, count: 1 }),
        Just(Message::Give),
        any::<u32>().prop_map(Message::Busy),
        Just(Message::Lack),
        vec(any::<u8>(), 1..2000).prop_map(Message::GiveAll),
    ]
}

proptest! {
    #[test]
    fn a_message_reads_as_it_was_written(
        (pieces, message) in (1u32..100).prop_flat_map(|pieces| (Just(pieces), any_message(pieces))),
    ) {
        let bytes = message.write();
        prop_assert_eq!(read(&bytes, pieces), Ok(Some(message.clone())));

        // Each of its bytes is needed, and nothing may follow them.
        let (first, content) = bytes.split_first_chunk().unwrap();
        let whole = Header::parse(*first, pieces).unwrap();
        prop_assert_eq!(whole.len as usize, content.len());
        prop_assert_eq!(Message::parse(whole, &[content, &[0]].concat(), pieces), Err(MessageError::Length));
        for len in 0..content.len() {
            prop_assert_eq!(Message::parse(whole, &content[..len], pieces), Err(MessageError::Length));
        }
    }

    #[test]
    fn a_changed_byte_is_refused_or_makes_another_message(
        message in any_message(PIECES),
        at in any::<prop::sample::Index>(),
        change in 1..=u8::MAX,
    ) {
        let mut bytes = message.write();
        let at = at.index(bytes.len());
        bytes[at] ^= change;
        if let Ok(Some(read)) = read(&bytes, PIECES) {
            prop_assert!(read != message);
            prop_assert_eq!(read.write(), bytes);
        }
    }

    #[test]
    fn no_content_makes_the_parser_panic(kind in 0u8..24, content in vec(any::<u8>(), 0..400), pieces in 0..=MAX_PIECES) {
        let len = u32::try_from(content.len()).unwrap();
        let Ok(header) = Header::parse(header(kind, len), pieces) else { return Ok(()) };
        if let Ok(Some(message)) = Message::parse(header, &content, pieces) {
            prop_assert_eq!(&message.write()[HEADER..], content);
        }
    }

    #[test]
    fn no_header_makes_room_for_more_than_its_kind_has(bytes in any::<[u8; HEADER]>(), pieces in 0..=MAX_PIECES) {
        if let Ok(header) = Header::parse(bytes, pieces) {
            let most = 8 + 32 * u32::try_from(MAX_OWNERS).unwrap();
            prop_assert!(header.len <= most.max(MAX_PIECES / 8));
        }
    }
}

/// The least and the most bytes of each kind, by the table of `spec/swarm.md`.
#[test]
fn the_length_of_each_kind_is_bounded() {
    let kinds = [
        (ANNOUNCE, 4, 1028),
        (PEERS, 0, 3456),
        (MEMBERS, 8, 2_097_160),
        (HAVE_ALL, 0, 0),
        (HAVE_SET, 2, 2),
        (HAVE, 4, 4096),
        (CLAIM, 0, 4),
        (BYE, 0, 0),
        (ALIVE, 0, 0),
        (SLOT, 1, 1),
        (GET, 17, 49),
        (GIVE, 0, 0),
        (BUSY, 4, 4),
        (LACK, 0, 0),
        (GIVE_ALL, 1, 131_072),
    ];
    let known = kinds.map(|(kind, ..)| kind);
    let unknown = (0..=u8::MAX).filter(|kind| !known.contains(kind)).map(|kind| (kind, 0, MAX_UNKNOWN));
    for (kind, least, most) in kinds.into_iter().chain(unknown) {
        let is_taken =
            |len: u32| Header::parse(header(kind, len), PIECES).is_ok_and(|header| header.len == len);
        assert!(is_taken(least) && is_taken(most), "kind {kind}");
        assert!(least == 0 || !is_taken(least - 1), "kind {kind}");
        assert!(!is_taken(most + 1) && !is_taken(1 << 31) && !is_taken(u32::MAX), "kind {kind}");
    }
    for (pieces, len) in [(0, 0), (1, 1), (8, 1), (9, 2), (MAX_PIECES, MAX_PIECES / 8)] {
        for other in [len.wrapping_sub(1), len, len + 1] {
            assert_eq!(
                Header::parse(header(HAVE_SET, other), pieces).is_ok(),
                other == len,
                "{pieces} pieces"
            );
        }
    }
}

#[test]
fn the_longest_messages_are_read() {
    let address = format!("{}:1", [63, 63, 63, 61].map(|len| "a".repeat(len)).join("."));
    let address = Address::parse(&address).unwrap();
    assert_eq!(address.as_str().len(), MAX_ADDRESS);
    let keys = |count: usize| {
        let key = |number: u32| {
            let mut key = [0; 32];
            key[..4].copy_from_slice(
                &[0, 8, 16, 24].map(|shift| u8::try_from(number >> (24 - shift) & 255).unwrap()),
            );
            MemberKey::from_bytes(key)
        };
        (0..u32::try_from(count).unwrap()).map(key).collect::<Vec<_>>()
    };
    let peers = |count| keys(count).into_iter().map(|key| Peer { key, address: address.clone() }).collect();
    let announce =
        |count| Message::Announce { role: Role::HasAll, port: 1, addresses: vec![address.clone(); count] };
    let members = |count| Message::Members { epoch: u64::MAX, keys: keys(count) };
    let have = |count| Message::Have(vec![0; count]);
    let give_all = |count| Message::GiveAll(vec![1; count]);
    for (longest, too_long) in [
        (announce(MAX_ADDRESSES), announce(MAX_ADDRESSES + 1)),
        (Message::Peers(peers(MAX_PEERS)), Message::Peers(peers(MAX_PEERS + 1))),
        (members(MAX_OWNERS), members(MAX_OWNERS + 1)),
        (have(MAX_HAVE), have(MAX_HAVE + 1)),
        (give_all(MAX_NOTE), give_all(MAX_NOTE + 1)),
    ] {
        assert_eq!(read(&longest.write(), PIECES), Ok(Some(longest)));
        assert_eq!(read(&too_long.write(), PIECES), Err(MessageError::Length));
    }
    // More of what is shorter has room, and is refused all the same.
    let short = Address::parse("a:1").unwrap();
    let announce = Message::Announce { role: Role::HasAll, port: 1, addresses: vec![short.clone(); 5] };
    let peers = keys(MAX_PEERS + 1).into_iter().map(|key| Peer { key, address: short.clone() }).collect();
    for too_many in [announce, Message::Peers(peers)] {
        assert_eq!(read(&too_many.write(), PIECES), Err(MessageError::Value));
    }
}

#[test]
fn kinds_that_are_not_known_are_passed_over() {
    for kind in [0, 10, 15, 21, u8::MAX] {
        assert_eq!(read(&[&header(kind, 3)[..], b"abc"].concat(), PIECES), Ok(None));
        assert_eq!(read(&header(kind, 0), PIECES), Ok(None));
        assert_eq!(read(&[&header(kind, 3)[..], b"ab"].concat(), PIECES), Err(MessageError::Length));
    }
}

#[test]
fn a_slot_is_given_or_taken_away_and_nothing_else() {
    for value in 0..=u8::MAX {
        let expected = match value {
            0 => Ok(Some(Message::Slot(false))),
            1 => Ok(Some(Message::Slot(true))),
            _ => Err(MessageError::Value),
        };
        assert_eq!(read(&[&header(SLOT, 1)[..], &[value]].concat(), PIECES), expected, "{value}");
    }
}

#[test]
fn only_what_is_about_pieces_waits_for_their_number() {
    let about: Vec<u8> = (0..=u8::MAX).filter(|kind| Header::is_about_pieces(header(*kind, 0))).collect();
    assert_eq!(about, [HAVE_ALL, HAVE_SET, HAVE, CLAIM]);
}

#[test]
fn a_range_that_ends_past_64_bits_is_refused() {
    for (item, start, count, is_good) in [
        (Item::Files, 0, 0, false),
        (Item::Files, u64::MAX, 1, false),
        (Item::Files, u64::MAX - 1, 1, true),
        (Item::Files, 0, u64::MAX, true),
        (Item::Files, u64::MAX, u64::MAX, false),
        (Item::Head, 0, 1, true),
        (Item::Head, 1, 1, false),
        (Item::Head, 0, 2, false),
    ] {
        let get = Message::Get { item, start, count };
        let expected = if is_good { Ok(Some(get.clone())) } else { Err(MessageError::Value) };
        assert_eq!(read(&get.write(), PIECES), expected, "{get:?}");
    }
}
