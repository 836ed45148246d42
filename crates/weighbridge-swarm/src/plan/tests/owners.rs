//! The table of owners.

use super::*;

fn keys(count: u32) -> Vec<MemberKey> {
    let key = |index: u32| {
        let mut bytes = [0; 32];
        bytes[..4].copy_from_slice(&index.to_le_bytes());
        MemberKey::from_bytes(bytes)
    };
    (0..count).map(key).collect()
}

fn owners(members: &Members, pieces: u32) -> BTreeMap<u32, MemberKey> {
    let mut owners = BTreeMap::new();
    for key in members.keys() {
        for piece in members.owned_by(key) {
            assert_eq!(owners.insert(piece.0, *key), None, "one owner");
        }
    }
    assert_eq!(owners.len(), pieces as usize, "every piece is owned");
    owners
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 32, ..ProptestConfig::default() })]

    #[test]
    fn every_piece_is_owned_and_nobody_owns_more_than_the_cap(count in 1_u32..40, pieces in 0_u32..500) {
        let members = Members::new(keys(count), pieces);
        let owners = owners(&members, pieces);
        let cap = pieces.div_ceil(count) as usize;
        prop_assert!(members.keys().iter().all(|key| members.owned_by(key).count() <= cap));
        prop_assert!(owners.iter().all(|(piece, owner)| members.owner(Piece(*piece)) == Some(owner)));
        prop_assert_eq!(members.owner(Piece(pieces)), None);
        let mut reversed = keys(count);
        reversed.reverse();
        prop_assert_eq!(owners, self::owners(&Members::new(reversed, pieces), pieces));
    }

    #[test]
    fn a_leaving_member_moves_few_pieces_beyond_its_own(count in 3_u32..30, leaving: prop::sample::Index) {
        let pieces = 600;
        let mut keys = keys(count);
        let before = owners(&Members::new(keys.clone(), pieces), pieces);
        let gone = keys.remove(leaving.index(keys.len()));
        let after = owners(&Members::new(keys, pieces), pieces);
        let moved = before.iter().filter(|(piece, owner)| **owner != gone && after[piece] != **owner).count();
        prop_assert!(moved <= pieces as usize / 4, "{moved} pieces of others moved");
    }
}

#[test]
fn without_members_no_piece_is_owned() {
    let members = Members::new([], 10);
    assert_eq!(members.owner(Piece(0)), None);
    assert_eq!(members.owned_by(&key(1)).count(), 0);
}

/// The vectors of the specification: the members are the keys of 32 equal bytes 0, 1, 2 and 3.
#[test]
fn the_table_is_the_specified_one() {
    let members = Members::new((0..4).map(key), 16);
    let owners: Vec<u8> = (0..16).map(|piece| members.owner(Piece(piece)).unwrap().as_bytes()[0]).collect();
    assert_eq!(owners, VECTOR);
    let scores: Vec<u64> = (0..2).map(|piece| Score::of_member(&key(1)).of(piece)).collect();
    assert_eq!(scores, SCORES);
}

const VECTOR: [u8; 16] = [0, 3, 1, 1, 2, 2, 1, 1, 0, 0, 0, 3, 2, 3, 2, 3];
const SCORES: [u64; 2] = [0xab10_7c42_94e9_25e4, 0x8845_8c3d_8b53_6cad];
