//! Each refusal of a proof, with its code and sentence, and the order of the checks.

use weighbridge_manifest::{Coded, MAX_PROOF, ProofError, SignedProof, TrustPolicy, tree::SiblingHash};

use super::model::{Model, Parts, file, tensor, verdict, verify};
use crate::kit::bob;

fn said(parts: &Parts) -> String {
    verify(parts.text().as_bytes()).unwrap_err().to_string()
}

/// Seven files, of which `f1.safetensors` is at position 6 and holds five tensors, and a proof with every kind of line.
fn whole() -> (Model, Parts) {
    let model = Model::with_tensors(7, 5);
    let parts = model.parts(&[0, 1, 6], &[1, 3]).absent(&["f00x", "f01"]).slice(6, 0..8);
    assert_eq!(parts.verdict(), 0);
    (model, parts)
}

#[test]
fn refuses_what_has_no_note_behind_its_first_empty_line() {
    let (_, parts) = whole();
    let proof = parts.text();
    let longest = [proof.as_bytes(), &vec![b'\n'; MAX_PROOF + 1 - proof.len()]].concat();
    assert_eq!(verdict(&longest), 2501);
    assert_eq!(
        verdict(&longest[..MAX_PROOF]),
        1101,
        "the length is that of a proof, but not that of its note"
    );
    assert_eq!(verdict(b""), 2503);
    assert_eq!(verdict(proof.replace("\n\n", "\n").as_bytes()), 2503);
    assert_eq!(verdict(b"weighbridge/proof/v1\n\n"), 1103);
    assert_eq!(
        verdict(proof.replacen("\n\n", "\n\n\n", 1).as_bytes()),
        3101,
        "an LF more in the signed text"
    );
}

#[test]
fn the_note_is_judged_before_anything_above_it() {
    let (model, parts) = whole();
    let junk = format!("\u{fffd}junk\n\n{}", model.note);
    let strangers = TrustPolicy::any_of(vec![bob().vkey()]).unwrap();
    let proof = SignedProof::parse(junk.as_bytes()).unwrap();
    assert_eq!(proof.note(), model.note.as_bytes());
    let verdict_by = |policy: &TrustPolicy| {
        proof
            .clone()
            .verify(policy, &weighbridge_manifest::Expectation::any(), None)
            .unwrap_err()
            .error_code()
            .get()
    };
    assert_eq!(verdict_by(&strangers), 3102);
    assert_eq!(verdict_by(&super::model::policy()), 2502);
    assert_eq!(proof.under(&Model::of_files(2).head()).unwrap_err(), ProofError::OtherHead);
    // The first line may be empty. Then there is no text above the note.
    assert_eq!(verdict(format!("\n{}", model.note).as_bytes()), 2502);
    assert_eq!(Parts { note: "no note\n".to_owned(), ..parts }.verdict(), 1103);
}

#[test]
fn refuses_other_versions() {
    let (_, parts) = whole();
    for version in
        ["weighbridge/proof/v2", "weighbridge/proof/v1 ", "weighbridge/proof/v1\r", "weighbridge/proof", "x"]
    {
        let version = version.to_owned();
        if !version.contains('\r') {
            assert_eq!(
                said(&Parts { version: version.clone(), ..parts.clone() }),
                "line 1 of the proof: not weighbridge/proof/v1"
            );
        }
        assert_eq!(Parts { version, ..parts.clone() }.verdict(), 2502);
    }
}

#[test]
fn refuses_lines_of_no_form_or_out_of_place() {
    let (_, parts) = whole();
    let lines = parts.lines();
    let with = |at: usize, line: &str| {
        let mut lines = lines.clone();
        lines[at] = line.to_owned();
        let proof = format!("{}\n{}", super::model::text(&lines), parts.note);
        let error = verify(proof.as_bytes()).unwrap_err();
        assert_eq!((error.error_code().get(), error.line()), (2503, Some(at + 1)), "{error}: {line}");
        error.to_string()
    };
    let place = "missing, or not a line that may stand here";
    assert_eq!(with(1, "absent a"), format!("line 2 of the proof: {place}"));
    let entry = lines[1].split_once(' ').unwrap().1;
    for position in
        ["", "00", "01", "+0", "-1", "0x0", "9007199254740992", "18446744073709551616", "\u{0660}"]
    {
        assert_eq!(with(1, &format!("{position} {entry}")), "line 2 of the proof: the position is malformed");
    }
    for other in [entry, &format!("0  {entry}"), " ", "0 {}", "files 0"] {
        assert_eq!(with(1, other), format!("line 2 of the proof: {place}"));
    }
    assert_eq!(lines[4], "absent f00x");
    let _ = with(4, "Absent f00x");
    let _ = with(4, "absent\tf00x");
    assert!(lines[7].starts_with("1 {\"tensor\":") && lines[10].starts_with("slice "));
    assert_eq!(with(7, &lines[1]), format!("line 8 of the proof: {place}"));
    for slice in [
        "slice 6",
        "slice 6 0",
        "slice 6 0..",
        "slice 6 00..8",
        "slice 6  0..8",
        "slice 6 0...8",
        "slice 6 0..8 ",
        "slice 06 0..8",
        "slice 6 -1..8",
        "slice 6 0..9007199254740992",
    ] {
        assert_eq!(with(10, slice), "line 11 of the proof: not of the form 'slice POSITION A..B'", "{slice}");
    }
    let _ = with(10, "Slice 6 0..8");
    let _ = with(6, &format!("{} ", lines[6]));
}

#[test]
fn refuses_sibling_hashes_in_any_other_form() {
    let model = Model::of_files(2);
    let good = model.parts(&[0], &[]);
    let encoded = &good.lines()[2];
    assert!(encoded.len() == 44 && encoded.ends_with('=') && good.verdict() == 0);
    for other in [
        encoded.trim_end_matches('='),
        &format!("{encoded}="),
        &format!("={encoded}"),
        &encoded[4..],
        &encoded[..40],
        &encoded.replace('=', "A"),
        &format!("AAAA{encoded}"),
        &encoded.replacen(|c: char| c.is_alphanumeric(), "-", 1),
        &encoded.replacen(|c: char| c.is_alphanumeric(), "\u{e9}", 1),
        // The last digit has two bits that belong to no byte.
        &format!("{}B=", &encoded[..42]),
        "=",
        "AAAA",
    ] {
        // Replaces the sibling hashes, or adds a second line of them.
        let proof = good.text().replace(encoded.as_str(), other);
        let error = verify(proof.as_bytes()).unwrap_err();
        assert_eq!(error.to_string(), "line 3 of the proof: not the base64 of sibling hashes", "{other}");
        assert_eq!(error.error_code().get(), 2503);
    }
}

#[test]
fn refuses_text_above_the_note_that_is_not_utf8() {
    let (_, parts) = whole();
    let proof = parts.text().into_bytes();
    let at = 3 + proof.windows(6).position(|six| six == b"absent").unwrap();
    let mut changed = proof.clone();
    changed[at] = 0xff;
    let error = verify(&changed).unwrap_err();
    assert_eq!(error.to_string(), "line 5 of the proof: not UTF-8");
    assert_eq!(error.error_code().get(), 2503);
    changed = proof;
    changed[3] = 0xff;
    assert_eq!(verdict(&changed), 2502, "the version comes first");
}

#[test]
fn refuses_sibling_hashes_of_a_list_without_entries() {
    let model = Model::of_files(7);
    let mut parts = model.parts(&[3], &[]);
    parts.tensor_siblings = parts.file_siblings.clone();
    assert_eq!(said(&parts), "line 4 of the proof: missing, or not a line that may stand here");
}

#[test]
fn refuses_entries_and_absent_paths_of_no_form() {
    let (_, parts) = whole();
    let with = |line: String| {
        let mut parts = parts.clone();
        parts.files[1] = line;
        (parts.verdict(), said(&parts))
    };
    let entry = parts.files[1].clone();
    assert_eq!(
        with(entry.replace("\"size\":", "\"size\": ")),
        (1302, "line 3 of the proof: not in canonical form at byte 22".to_owned())
    );
    assert_eq!(with(entry.replace("f02", "")).0, 1401);
    assert_eq!(with(entry.replace("f02", "f02/../f03")).0, 1404);
    assert_eq!(with(entry.replace("f02", &"f".repeat(8_200))).0, 1303);
    assert_eq!(
        with(entry.replace("f02", "e")),
        (1304, "line 3 of the proof: sorts before the entry above it".to_owned())
    );
    assert_eq!(
        with(entry.replace("f02", "f00")),
        (1305, "line 3 of the proof: the same entry twice".to_owned())
    );
    let absent = |paths: &[&str]| {
        let parts = parts.clone().absent(paths);
        (parts.verdict(), said(&parts))
    };
    assert_eq!(absent(&[""]).0, 1401);
    assert_eq!(absent(&["f01", "/f02"]), (1402, "line 6 of the proof: the path is absolute".to_owned()));
    assert_eq!(
        absent(&["f01", "f00x"]),
        (2503, "line 6 of the proof: not greater than the absent path above it".to_owned())
    );
    assert_eq!(absent(&["f01", "f01"]).0, 2503);
    assert_eq!(parts.absent(&["f01 "]).verdict(), 0, "a space is part of a path");
}

#[test]
fn refuses_tensor_entries_of_no_form() {
    let (_, parts) = whole();
    let with = |line: String| {
        let mut parts = parts.clone();
        parts.tensors[1] = line;
        parts.verdict()
    };
    let entry = parts.tensors[1].clone();
    assert_eq!(with(entry.replace("BF16", "bf16")), 1302);
    assert_eq!(with(entry.replace("t03", "")), 1431);
    assert_eq!(with(entry.replace("f1.safetensors", "f1//safetensors")), 1403);
    assert_eq!(with(entry.replace("t03", "t00")), 1304);
    assert_eq!(with(entry.replace("t03", "t01")), 1305);
}

#[test]
fn refuses_too_many_lines_once_all_have_their_form() {
    let model = Model::of_files(2);
    let paths: Vec<String> = (0..4_096).map(|i| format!("g{i:04}")).collect();
    let paths: Vec<&str> = paths.iter().map(String::as_str).collect();
    let mut parts = model.parts(&[1], &[]).absent(&paths[..4_095]);
    assert_eq!(parts.verdict(), 0);
    parts = parts.absent(&paths);
    assert_eq!(said(&parts), "a proof has at most 4096 entries and absent paths, this one 4097");
    assert_eq!(parts.verdict(), 2406);
    parts.files[0] = parts.files[0].replace("f02", "");
    assert_eq!(parts.verdict(), 2406, "the number comes before the entries");
    parts.slice = Some((1 << 53, 0..1));
    assert_eq!(parts.verdict(), 2503, "and the forms come before the number");
}

#[test]
fn refuses_a_path_as_absent_unless_its_neighbours_are_shown() {
    let model = Model::of_files(9);
    let code = |positions: &[u64], paths: &[&str]| model.parts(positions, &[]).absent(paths).verdict();
    assert_eq!(code(&[3, 4], &["f07"]), 0);
    // A listed path, with distant neighbours and with its own entry; then paths next to the gap.
    assert_eq!(code(&[3, 5], &["f08"]), 2505);
    assert_eq!(code(&[3, 4, 5], &["f08"]), 2505);
    assert_eq!(code(&[0], &["f00"]), 2505);
    assert_eq!(code(&[3, 4], &["f05"]), 2505);
    assert_eq!(code(&[3, 4], &["f09"]), 2505);
    assert_eq!(code(&[3], &["f07"]), 2505);
    assert_eq!(code(&[4], &["f07"]), 2505);
    assert_eq!(code(&[3, 5], &["f07"]), 2505);
    // At the ends of the list, and only there, one neighbour is enough.
    assert_eq!((code(&[0], &["a"]), code(&[1], &["a"]), code(&[0, 1], &["a"])), (0, 2505, 0));
    assert_eq!((code(&[8], &["z"]), code(&[7], &["z"]), code(&[7, 8], &["z"])), (0, 2505, 0));
    assert_eq!(code(&[0, 8], &["f05"]), 2505);
    let parts = model.parts(&[3, 4], &[]).absent(&["f07", "f11"]);
    assert_eq!(said(&parts), "line 5 of the proof: the path is not shown to be absent");
}

#[test]
fn refuses_neighbours_of_another_tree() {
    // Two neighbouring tensors are offered as files, and files as tensors.
    let model = Model::with_tensors(5, 5);
    let mut parts = model.parts(&[0], &[1, 2]).absent(&["f00x"]);
    assert_eq!(parts.verdict(), 2505);
    parts.files.append(&mut parts.tensors.clone());
    assert_eq!(parts.verdict(), 2503);
    parts.files = parts.tensors.clone();
    assert_eq!(parts.verdict(), 2503);
    let mut parts = model.parts(&[0, 1, 2], &[1]);
    parts.tensors = parts.files.split_off(1);
    assert_eq!(parts.verdict(), 2503);
    // Sibling hashes belong to one tree too.
    let mut parts = model.parts(&[4], &[4]);
    std::mem::swap(&mut parts.file_siblings, &mut parts.tensor_siblings);
    assert_eq!(parts.verdict(), 2405);
}

#[test]
fn refuses_neighbours_out_of_order_that_a_publisher_signed() {
    // `f02` is hidden behind `f08`: its neighbours seem to be `f00` and `f04`.
    let lines = ["f00", "f04", "f08", "f02"].iter().map(|path| file(path, 1)).collect();
    let model = Model::of(lines, None);
    assert_eq!(
        model.head().open_files(super::model::text(&model.files).as_bytes()).unwrap_err().error_code().get(),
        1304
    );
    // Two neighbours show only themselves. Only a reader that opens the list sees the rest.
    assert_eq!(model.parts(&[0, 1], &[]).absent(&["f02"]).verdict(), 0);
    assert_eq!(model.parts(&[0, 3], &[]).verdict(), 0);
    assert_eq!(model.parts(&[2, 3], &[]).absent(&["f06"]).verdict(), 1304);
    assert_eq!(model.parts(&[0, 1, 2, 3], &[]).verdict(), 1304);
    let twice = Model::of(["f00", "f00"].iter().map(|path| file(path, 1)).collect(), None);
    assert_eq!(twice.parts(&[0, 1], &[]).verdict(), 1305);
}

#[test]
fn refuses_tensors_without_the_file_that_holds_them() {
    let files = || vec![file("a.bin", 99), file("b.gguf", 99), file("c.gguf", 99)];
    let model = |tensors: Vec<String>| Model::of(files(), Some(tensors));
    let good = model(vec![tensor("b.gguf", "t", 0, 98), tensor("c.gguf", "t", 1, 98)]);
    assert_eq!(good.parts(&[1, 2], &[0, 1]).verdict(), 0);
    assert_eq!(good.parts(&[1], &[0, 1]).verdict(), 2504);
    assert_eq!(
        said(&good.parts(&[0, 2], &[0])),
        "line 5 of the proof: the tensor's file is not among the proof's files"
    );
    let elsewhere = model(vec![tensor("a.bin", "t", 0, 8)]);
    assert_eq!(
        said(&elsewhere.parts(&[0], &[0])),
        "line 4 of the proof: the tensor's file is no tensor file"
    );
    assert_eq!(elsewhere.parts(&[0], &[0]).verdict(), 1309);
    for (offset, size) in [(2, 98), (100, 0), ((1 << 53) - 1, 8)] {
        let outside = model(vec![tensor("b.gguf", "t", offset, size)]).parts(&[1], &[0]);
        assert_eq!(
            said(&outside),
            "line 4 of the proof: the tensor does not lie within its file of 99 bytes"
        );
        assert_eq!(outside.verdict(), 1310);
    }
    assert_eq!(model(vec![tensor("b.gguf", "t", 99, 0)]).parts(&[1], &[0]).verdict(), 0);
}

#[test]
fn refuses_tensors_of_a_head_that_binds_none() {
    let with = Model::with_tensors(3, 2);
    let none = Model::of(with.files.clone(), None);
    let proof = Parts { note: none.note, ..with.parts(&[2], &[0]) };
    assert_eq!(said(&proof), "tensors.jsonl: the head binds no tensor list");
    assert_eq!(proof.verdict(), 2401);
    let zero = Model::of(with.files.clone(), Some(Vec::new()));
    let proof = Parts { note: zero.note, ..with.parts(&[2], &[0]) };
    assert_eq!(said(&proof), "tensors.jsonl: a list has 1 to 16777216 entries, not 0");
    assert_eq!(proof.verdict(), 2401);
}

#[test]
fn refuses_slices_of_what_is_not_shown() {
    let (_, parts) = whole();
    let code = |position, range| parts.clone().slice(position, range).verdict();
    assert_eq!(code(6, 999..1_000), 0);
    assert_eq!(code(2, 0..8), 2605);
    assert_eq!(code(7, 0..8), 2605);
    assert_eq!(code(6, 0..0), 2601);
    assert_eq!(code(6, 8..8), 2601);
    assert_eq!(code(6, 0..1_001), 2601);
    assert_eq!(code(0, 0..0), 0);
    assert_eq!(
        said(&parts.clone().slice(7, 0..8)),
        "line 11 of the proof: the slice's file is not among the proof's files"
    );
}

/// A proof with every fault. The faults are then mended one by one, from the first on: each verdict is that of the
/// first fault left.
#[test]
fn the_first_fault_in_the_order_of_the_page_is_the_verdict() {
    let (_, good) = whole();
    let swapped = |hashes: &[SiblingHash]| hashes.iter().rev().copied().collect::<Vec<_>>();
    let mut parts = good.clone();
    parts.version = "weighbridge/proof/v0".to_owned();
    parts.files[0] = good.files[0].replace("\"size\":0", "\"size\":00");
    parts.absent[1] = "absent ../f01".to_owned();
    parts.file_siblings = swapped(&good.file_siblings);
    parts.tensors[0] = good.tensors[0].replace("\"f1.safetensors\"", "\"f1.gguf\"");
    parts.tensor_siblings = swapped(&good.tensor_siblings);
    parts.slice = Some((5, 0..8));
    parts.note = good.note.replace("revision 1", "revision 2");
    let mut verdicts = vec![parts.verdict()];
    let mut mend = |what: &dyn Fn(&mut Parts)| {
        what(&mut parts);
        verdicts.push(parts.verdict());
    };
    mend(&|parts| parts.note.clone_from(&good.note));
    mend(&|parts| parts.version.clone_from(&good.version));
    mend(&|parts| parts.files.clone_from(&good.files));
    mend(&|parts| parts.absent = vec!["absent f00x".to_owned(), "absent f03".to_owned()]);
    mend(&|parts| parts.file_siblings.clone_from(&good.file_siblings));
    mend(&|parts| parts.absent.clone_from(&good.absent));
    mend(&|parts| parts.tensors.clone_from(&good.tensors));
    mend(&|parts| parts.tensor_siblings.clone_from(&good.tensor_siblings));
    mend(&|parts| parts.slice = Some((6, 0..1_001)));
    mend(&|parts| parts.slice.clone_from(&good.slice));
    assert_eq!(verdicts, [3101, 2502, 1302, 1404, 2405, 2505, 2504, 2405, 2605, 2601, 0]);
}
