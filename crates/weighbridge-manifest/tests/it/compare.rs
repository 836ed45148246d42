//! The classes of two lists: each entry is in one class, for any lists.

use proptest::prelude::*;
use weighbridge_manifest::{
    Class, Classes, Comparison, Difference, Dtype, EntryPath, FileEntry, Tally, TensorEntry, TensorName,
    VerifiedFileList, VerifiedTensorList, bytes_in_old, compare_files, compare_tensors,
    tree::{FileRoot, TensorHash},
    write_files, write_tensors,
};

use crate::kit::{believed, head_over};

/// A file of `size` bytes, all of value `fill`.
fn file(path: &str, fill: u8, size: u64) -> FileEntry {
    let root = FileRoot::of(&vec![fill; usize::try_from(size).unwrap()]);
    FileEntry { path: EntryPath::parse(path).unwrap(), size, root, sha256: None }
}

/// A tensor of `size` bytes, all of value `fill`.
fn tensor(file: &str, name: &str, fill: u8, offset: u64, size: u64) -> TensorEntry {
    TensorEntry {
        name: TensorName::parse(name).unwrap(),
        file: EntryPath::parse(file).unwrap(),
        dtype: Dtype::parse("U8").unwrap(),
        shape: vec![size],
        offset,
        size,
        hash: TensorHash::of(&vec![fill; usize::try_from(size).unwrap()]),
    }
}

fn files(entries: &[FileEntry]) -> VerifiedFileList {
    let written = write_files(entries.to_vec()).unwrap();
    believed(&head_over(written.text.as_bytes(), written.bytes, None))
        .open_files(written.text.as_bytes())
        .unwrap()
}

/// A tensor list over four files of 1,024 bytes.
fn tensors(entries: &[TensorEntry]) -> VerifiedTensorList {
    let shards: Vec<_> = SHARDS.iter().map(|path| file(path, 0, 1_024)).collect();
    let (shards, list) = (write_files(shards).unwrap(), write_tensors(entries.to_vec()).unwrap());
    let head = head_over(shards.text.as_bytes(), shards.bytes, Some(list.text.as_bytes()));
    believed(&head).open_files(shards.text.as_bytes()).unwrap().open_tensors(list.text.as_bytes()).unwrap()
}

const SHARDS: [&str; 4] = ["a.safetensors", "b.safetensors", "c.gguf", "d.gguf"];

/// Each difference as `class old new`, with a `+` if the old list has the bytes of the new entry.
fn told<E>(comparison: &Comparison<'_, E>, name: impl Fn(&E) -> String) -> Vec<String> {
    let name = |entry: Option<&E>| entry.map_or("-".to_owned(), &name);
    let told = |d: &Difference<'_, E>| {
        let mark = if d.in_old { " +" } else { "" };
        format!("{} {} {}{mark}", d.class.word(), name(d.old), name(d.new))
    };
    comparison.differences.iter().map(told).collect()
}

fn told_of_files(old: &[FileEntry], new: &[FileEntry]) -> Vec<String> {
    let (old, new) = (files(old), files(new));
    told(&compare_files(&old, &new), |file| file.path.as_str().to_owned())
}

fn told_of_tensors(old: &[TensorEntry], new: &[TensorEntry]) -> Vec<String> {
    let (old, new) = (tensors(old), tensors(new));
    told(&compare_tensors(&old, &new), |tensor| {
        format!("{}:{}", &tensor.file.as_str()[..1], tensor.name.as_str())
    })
}

#[test]
fn files_are_of_five_classes() {
    let old = [file("a", 1, 10), file("b", 2, 20), file("c", 3, 30), file("d", 4, 40)];
    let new = [file("a", 1, 10), file("bb", 2, 20), file("c", 5, 50), file("e", 6, 60)];
    let told = told_of_files(&old, &new);
    assert_eq!(told, ["same a a +", "moved b bb +", "changed c c", "added - e", "gone d -"]);
    let (old, new) = (files(&old), files(&new));
    let comparison = compare_files(&old, &new);
    let entries = |of: &Classes| Class::ALL.map(|class| (of.of(class).entries, of.of(class).bytes));
    assert_eq!(entries(&comparison.old), [(1, 10), (1, 20), (1, 30), (0, 0), (1, 40)]);
    assert_eq!(entries(&comparison.new), [(1, 10), (1, 20), (1, 50), (1, 60), (0, 0)]);
    assert_eq!(comparison.in_old, Tally { entries: 2, bytes: 30 });
    assert_eq!(comparison.new.all(), Tally { entries: 4, bytes: 140 });
    assert_eq!(bytes_in_old(&comparison, None), 30);
    assert!(!comparison.is_same());
}

/// Names come before contents: an entry whose path is in both lists is compared with the entry of that path.
#[test]
fn a_path_in_both_lists_is_the_same_or_changed() {
    let old = [file("a", 1, 10), file("b", 2, 20)];
    let new = [file("a", 2, 20), file("b", 1, 10)];
    assert_eq!(told_of_files(&old, &new), ["changed a a +", "changed b b +"]);
    let old = [file("a", 1, 10)];
    let new = [file("a", 2, 20), file("b", 1, 10)];
    assert_eq!(told_of_files(&old, &new), ["changed a a", "added - b +"]);
    assert_eq!(told_of_files(&new, &old), ["changed a a +", "gone b -"]);
}

#[test]
fn a_copy_is_added_and_its_bytes_are_there() {
    let old = [file("a", 1, 10)];
    let new = [file("a", 1, 10), file("b", 1, 10)];
    assert_eq!(told_of_files(&old, &new), ["same a a +", "added - b +"]);
    assert_eq!(told_of_files(&new, &old), ["same a a +", "gone b -"]);
}

#[test]
fn an_empty_file_never_moves() {
    let old = [file("a", 0, 0), file("b", 1, 1)];
    let new = [file("c", 0, 0), file("b", 1, 1)];
    assert_eq!(told_of_files(&old, &new), ["same b b +", "added - c +", "gone a -"]);
    assert_eq!(told_of_files(&old, &old), ["same a a +", "same b b +"]);
}

/// No honest list has one hash with two sizes, so nothing is concluded from it.
#[test]
fn one_hash_with_two_sizes_is_not_the_same_bytes() {
    let old = [file("a", 1, 10), file("b", 1, 10)];
    let lying = [FileEntry { size: 11, ..file("a", 1, 10) }, FileEntry { size: 12, ..file("c", 1, 10) }];
    assert_eq!(told_of_files(&old, &lying), ["changed a a", "added - c", "gone b -"]);
}

#[test]
fn a_tensor_is_the_same_in_whichever_file_it_lies() {
    let old = [tensor(SHARDS[0], "x", 1, 8, 10), tensor(SHARDS[0], "y", 2, 18, 20)];
    let new = [tensor(SHARDS[1], "y", 2, 100, 20), tensor(SHARDS[0], "x", 1, 50, 10)];
    assert_eq!(told_of_tensors(&old, &new), ["same a:x a:x +", "same a:y b:y +"]);
}

#[test]
fn a_renamed_tensor_moved() {
    let old = [tensor(SHARDS[0], "x", 1, 0, 10)];
    let new = [tensor(SHARDS[2], "blk.0.x", 1, 0, 10)];
    assert_eq!(told_of_tensors(&old, &new), ["moved a:x c:blk.0.x +"]);
}

/// The bytes are there, but are interpreted differently. No loader would call that the same.
#[test]
fn a_tensor_of_another_dtype_or_shape_changed() {
    let old = [tensor(SHARDS[0], "x", 1, 0, 10)];
    let other = tensor(SHARDS[0], "x", 1, 0, 10);
    let dtype = TensorEntry { dtype: Dtype::parse("I8").unwrap(), ..other.clone() };
    let shape = TensorEntry { shape: vec![2, 5], ..other };
    for new in [dtype, shape] {
        assert_eq!(told_of_tensors(&old, &[new]), ["changed a:x a:x +"]);
    }
}

#[test]
fn tied_tensors_are_told_apart_by_their_names() {
    let tied = [tensor(SHARDS[0], "embed", 1, 0, 10), tensor(SHARDS[0], "head", 1, 10, 10)];
    let untied = [tensor(SHARDS[0], "embed", 1, 0, 10), tensor(SHARDS[0], "head", 2, 10, 10)];
    let alone = [tensor(SHARDS[0], "embed", 1, 0, 10)];
    assert_eq!(told_of_tensors(&tied, &tied), ["same a:embed a:embed +", "same a:head a:head +"]);
    assert_eq!(told_of_tensors(&tied, &untied), ["same a:embed a:embed +", "changed a:head a:head"]);
    assert_eq!(told_of_tensors(&untied, &tied), ["same a:embed a:embed +", "changed a:head a:head +"]);
    assert_eq!(told_of_tensors(&tied, &alone), ["same a:embed a:embed +", "gone a:head -"]);
    // The two are renamed and a third is added: pairs follow the order of the names.
    let renamed: Vec<_> = ["e", "h", "i"].iter().map(|name| tensor(SHARDS[0], name, 1, 0, 10)).collect();
    assert_eq!(
        told_of_tensors(&tied, &renamed),
        ["moved a:embed a:e +", "moved a:head a:h +", "added - a:i +"]
    );
    // Entries that stay in their file are paired before the others.
    let old = [tensor(SHARDS[0], "x", 1, 0, 10), tensor(SHARDS[1], "y", 1, 0, 10)];
    let new = [tensor(SHARDS[1], "p", 1, 0, 10), tensor(SHARDS[2], "q", 1, 0, 10)];
    assert_eq!(told_of_tensors(&old, &new), ["moved b:y b:p +", "moved a:x c:q +"]);
}

/// Folders may hold several variants of one model, each with the same names.
#[test]
fn a_name_in_several_files_is_compared_file_by_file() {
    let old = [tensor(SHARDS[0], "x", 1, 0, 10), tensor(SHARDS[1], "x", 2, 0, 10)];
    let new = [tensor(SHARDS[0], "x", 3, 0, 10), tensor(SHARDS[1], "x", 4, 0, 10)];
    assert_eq!(told_of_tensors(&old, &new), ["changed a:x a:x", "changed b:x b:x"]);
    // Unchanged tensors are paired first, in any file. The others of the same name are then paired with each other.
    let new = [tensor(SHARDS[0], "x", 2, 0, 10), tensor(SHARDS[3], "x", 4, 0, 10)];
    assert_eq!(told_of_tensors(&old, &new), ["same b:x a:x +", "changed a:x d:x"]);
    // Another variant was added, and no old one changed.
    let new = [old[0].clone(), old[1].clone(), tensor(SHARDS[2], "x", 5, 0, 10)];
    assert_eq!(told_of_tensors(&old, &new), ["same a:x a:x +", "same b:x b:x +", "added - c:x"]);
}

#[test]
fn models_without_tensors_have_nothing_to_differ_in() {
    let none = tensors(&[]);
    let comparison = compare_tensors(&none, &none);
    assert!(comparison.differences.is_empty() && comparison.is_same());
    assert_eq!(comparison.new.all(), Tally { entries: 0, bytes: 0 });
    assert_eq!(told_of_tensors(&[], &[tensor(SHARDS[0], "x", 1, 0, 1)]), ["added - a:x"]);
}

#[test]
fn bytes_in_old_are_those_of_whole_files_and_of_tensors_elsewhere_each_once() {
    let old_files = files(&[file("a.safetensors", 0, 1_024), file("same", 7, 100)]);
    let new_files =
        files(&[file("a.safetensors", 0, 1_024), file("b.safetensors", 9, 1_024), file("same", 7, 100)]);
    let old = tensors(&[tensor(SHARDS[0], "x", 1, 0, 10), tensor(SHARDS[0], "y", 2, 10, 20)]);
    let entries = [
        // A tensor in a file that the old model has as a whole.
        tensor(SHARDS[0], "x", 1, 0, 10),
        // Three tensors that overlap: bytes 100 to 130.
        tensor(SHARDS[1], "x", 1, 100, 10),
        tensor(SHARDS[1], "y", 2, 105, 20),
        tensor(SHARDS[1], "z", 2, 110, 20),
        // One more tensor, apart from those, and one that the old model lacks.
        tensor(SHARDS[1], "u", 1, 200, 10),
        tensor(SHARDS[1], "v", 3, 300, 10),
    ];
    let new = tensors(&entries);
    let (files, tensors) = (compare_files(&old_files, &new_files), compare_tensors(&old, &new));
    assert_eq!(bytes_in_old(&files, None), 1_124);
    assert_eq!(bytes_in_old(&files, Some(&tensors)), 1_124 + 30 + 10);
}

/// Sizes whose sum exceeds every number do not wrap.
#[test]
fn sums_stop_at_the_largest_number() {
    let most = (1_u64 << 53) - 1;
    let shard = write_files(vec![FileEntry { size: most, ..file("a.gguf", 0, 0) }]).unwrap();
    let many: Vec<_> = (0..2_100)
        .map(|i| TensorEntry { size: most, ..tensor("a.gguf", &format!("{i:04}"), 0, 0, 0) })
        .collect();
    let list = write_tensors(many).unwrap();
    let head = believed(&head_over(shard.text.as_bytes(), shard.bytes, Some(list.text.as_bytes())));
    let files = head.open_files(shard.text.as_bytes()).unwrap();
    let tensors = files.open_tensors(list.text.as_bytes()).unwrap();
    let comparison = compare_tensors(&tensors, &tensors);
    assert_eq!(comparison.new.of(Class::Same), Tally { entries: 2_100, bytes: u64::MAX });
    assert!(comparison.is_same());
}

/// The specification of the classes, followed literally: three times, pairs are taken out of both lists, in the order
/// of the lists, first within files of the same path.
fn by_definition(old: &[TensorEntry], new: &[TensorEntry]) -> Vec<(Class, Option<Place>, Option<Place>)> {
    let (mut old, mut new) = (old.to_vec(), new.to_vec());
    let mut told = Vec::new();
    let mut take = |class: Class, alike: &dyn Fn(&TensorEntry, &TensorEntry) -> bool| {
        for same_file in [true, false] {
            let mut left = Vec::new();
            for a in std::mem::take(&mut old) {
                let is_counterpart = |b: &TensorEntry| alike(&a, b) && (!same_file || a.file == b.file);
                match new.iter().position(is_counterpart) {
                    Some(at) => told.push((class, Some(place(&a)), Some(place(&new.remove(at))))),
                    None => left.push(a),
                }
            }
            old = left;
        }
    };
    take(Class::Same, &|a, b| {
        (&a.name, &a.dtype, &a.shape, a.hash, a.size) == (&b.name, &b.dtype, &b.shape, b.hash, b.size)
    });
    take(Class::Changed, &|a, b| a.name == b.name);
    take(Class::Moved, &|a, b| a.size > 0 && (a.hash, a.size) == (b.hash, b.size));
    told.extend(new.iter().map(|entry| (Class::Added, None, Some(place(entry)))));
    told.extend(old.iter().map(|entry| (Class::Gone, Some(place(entry)), None)));
    told.sort();
    told
}

/// The sort key of an entry.
type Place = (String, String);

fn place(entry: &TensorEntry) -> Place {
    (entry.file.as_str().to_owned(), entry.name.as_str().to_owned())
}

fn places(differences: &[Difference<'_, TensorEntry>]) -> Vec<(Class, Option<Place>, Option<Place>)> {
    let mut places: Vec<_> =
        differences.iter().map(|d| (d.class, d.old.map(place), d.new.map(place))).collect();
    places.sort();
    places
}

/// The number of entries in each class, counted one by one.
fn tallies<'a>(
    differences: &[Difference<'a, TensorEntry>],
    side: impl Fn(&Difference<'a, TensorEntry>) -> Option<&'a TensorEntry>,
) -> [Tally; 5] {
    Class::ALL.map(|class| {
        let of_class = differences.iter().filter(|d| d.class == class).filter_map(&side);
        Tally { entries: of_class.clone().count() as u64, bytes: of_class.map(|e| e.size).sum() }
    })
}

/// Lists with few names, files and contents, so that they coincide in every way.
fn lists() -> impl Strategy<Value = Vec<TensorEntry>> {
    let entry =
        (0..4_usize, 0..5_u8, 0..5_u8, 0..3_u64, 0..8_u8).prop_map(|(shard, name, fill, size, form)| {
            let entry = tensor(SHARDS[shard], &name.to_string(), fill, 0, size);
            match form {
                0 => TensorEntry { dtype: Dtype::parse("I8").unwrap(), ..entry },
                1 => TensorEntry { shape: vec![1, size], ..entry },
                _ => entry,
            }
        });
    prop::collection::vec(entry, 0..14).prop_map(|mut entries| {
        entries.sort_by(|a, b| (&a.file, &a.name).cmp(&(&b.file, &b.name)));
        entries.dedup_by(|a, b| (&a.file, &a.name) == (&b.file, &b.name));
        entries
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn every_entry_is_told_once_and_as_the_definition_has_it(old in lists(), new in lists()) {
        let (old_list, new_list) = (tensors(&old), tensors(&new));
        let comparison = compare_tensors(&old_list, &new_list);
        prop_assert_eq!(places(&comparison.differences), by_definition(&old, &new));
        for (list, told) in [(&old, comparison.old.all()), (&new, comparison.new.all())] {
            let bytes = list.iter().map(|entry| entry.size).sum();
            prop_assert_eq!(told, Tally { entries: list.len() as u64, bytes });
        }
        prop_assert_eq!(Class::ALL.map(|c| comparison.old.of(c)), tallies(&comparison.differences, |d| d.old));
        prop_assert_eq!(Class::ALL.map(|c| comparison.new.of(c)), tallies(&comparison.differences, |d| d.new));
    }

    #[test]
    fn bytes_are_in_the_old_list_wherever_they_stand_there(old in lists(), new in lists()) {
        let (old_list, new_list) = (tensors(&old), tensors(&new));
        let comparison = compare_tensors(&old_list, &new_list);
        let has = |entry: &TensorEntry| entry.size == 0 || old.iter().any(|e| e.hash == entry.hash);
        for difference in &comparison.differences {
            prop_assert_eq!(difference.in_old, difference.new.is_some_and(has));
        }
        let there: Vec<_> = new.iter().filter(|entry| has(entry)).collect();
        let bytes = there.iter().map(|entry| entry.size).sum();
        prop_assert_eq!(comparison.in_old, Tally { entries: there.len() as u64, bytes });
    }

    #[test]
    fn a_model_is_the_same_as_itself(list in lists()) {
        let list = tensors(&list);
        let comparison = compare_tensors(&list, &list);
        prop_assert!(comparison.is_same());
        prop_assert!(comparison.differences.iter().all(|d| d.old == d.new && d.in_old));
        prop_assert_eq!(comparison.differences.len(), list.entries().len());
        prop_assert_eq!(comparison.in_old, comparison.new.all());
    }

    #[test]
    fn exchanging_the_lists_exchanges_the_sides_and_nothing_else(old in lists(), new in lists()) {
        let (old, new) = (tensors(&old), tensors(&new));
        let (there, back) = (compare_tensors(&old, &new), compare_tensors(&new, &old));
        let mirrored: Vec<_> = back.differences.iter().map(|d| {
            let class = match d.class {
                Class::Added => Class::Gone,
                Class::Gone => Class::Added,
                class => class,
            };
            Difference { class, old: d.new, new: d.old, in_old: d.in_old }
        }).collect();
        prop_assert_eq!(places(&there.differences), places(&mirrored));
        prop_assert_eq!((there.old.all(), there.new.all()), (back.new.all(), back.old.all()));
    }
}
