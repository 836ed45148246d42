//! Proofs and slices, as whoever receives them checks them.

use weighbridge_verify::{
    manifest::{Expectation, SignedProof, TrustPolicy},
    tree::{SliceRange, check_slice},
};

use crate::kit::{BIG, Served, files, model};

#[test]
fn a_proof_shows_what_was_asked_for() {
    let (folder, signed) = model();
    let served = Served::of(&folder);
    let proof = served.get("/test/model/weighbridge/proof?file=model.bin&absent=none%20such&file=empty");
    assert_eq!(proof.status, 200, "{}", proof.text());
    let policy = TrustPolicy::pinned(signed.head.id());
    let proven = SignedProof::parse(&proof.body).unwrap().verify(&policy, &Expectation::any(), None).unwrap();
    assert_eq!(proven.file("model.bin").unwrap().root, signed.files.find("model.bin").unwrap().1.root);
    assert!(proven.file("empty").is_some() && proven.is_absent("none such"));
}

#[test]
fn a_slice_is_that_of_its_proof() {
    let (folder, signed) = model();
    let served = Served::of(&folder);
    let (first, last) = (100_000, 299_999);
    let query = format!("file=model.bin&bytes={first}-{last}");
    let slice = served.get(&format!("/test/model/weighbridge/slice?{query}"));
    assert_eq!(slice.status, 200);
    let range = SliceRange::new(BIG.try_into().unwrap(), first..last + 1).unwrap();
    let root = signed.files.find("model.bin").unwrap().1.root;
    let content = &files()[2].1;
    assert!(check_slice(root, range, &slice.body).unwrap() == content[100_000..300_000]);
    let proof = served.get(&format!("/test/model/weighbridge/proof?{query}"));
    assert!(proof.text().contains("model.bin"));
    // A whole file, also an empty one.
    assert_eq!(served.get("/test/model/weighbridge/slice?file=empty").body, [0; 8]);
    // Of a chunk that is not the signed one there is no slice.
    folder.alter("model.bin", |bytes| bytes[150_000] ^= 1);
    assert_eq!(served.get(&format!("/test/model/weighbridge/slice?{query}")).status, 503);
}

#[test]
fn a_query_that_makes_no_sense_is_refused() {
    let (folder, _) = model();
    let served = Served::of(&folder);
    for (query, status) in [
        ("proof", 400),
        ("proof?", 400),
        ("proof?path=model.bin", 400),
        ("proof?file=%zz", 400),
        ("proof?file=none", 404),
        ("proof?tensor=model.bin:none", 404),
        ("proof?tensor=none", 404),
        ("proof?absent=model.bin", 400),
        ("proof?absent=a//b", 400),
        ("proof?file=model.bin&bytes=5", 400),
        ("proof?file=model.bin&bytes=5-4", 400),
        ("proof?file=model.bin&bytes=0-99999999", 400),
        ("proof?file=model.bin&bytes=1-2&bytes=1-2", 400),
        ("proof?file=model.bin&file=empty&bytes=1-2", 400),
        ("slice?absent=x", 400),
        ("slice?file=none", 404),
        ("slice?file=model.bin&file=empty", 400),
        ("slice?file=model.bin&bytes=99999999-99999999", 400),
        ("slice?file=model.bin&bytes=0-4194304", 413),
        ("slice?file=model.bin&bytes=0-18446744073709551615", 413),
    ] {
        let answer = served.get(&format!("/test/model/weighbridge/{query}"));
        assert_eq!(answer.status, status, "{query}: {}", answer.text());
    }
}
