//! Models in several GGUF files: the parts that belong together.

use weighbridge_formats::{
    Coded,
    split::{Part, Says, Split, SplitRefused, check},
};

fn says(number: u16, count: u16, tensors: Option<u32>) -> Says {
    Says::Part(Split { number, count, tensors })
}

fn part(path: &'static str, says: Says, tensors: &[&'static str]) -> Part<'static> {
    Part { path, says, tensors: tensors.into() }
}

/// A model of one whole file and three parts.
fn model() -> Vec<Part<'static>> {
    vec![
        part("mmproj.gguf", Says::Whole, &["a"]),
        part("q4/m-00001-of-00003.gguf", says(0, 3, Some(3)), &[]),
        part("q4/m-00002-of-00003.gguf", says(1, 3, Some(3)), &["a", "b"]),
        part("q4/m-00003-of-00003.gguf", says(2, 3, Some(3)), &["c"]),
    ]
}

/// The code of the verdict, and the file that it names.
fn verdict(parts: &[Part<'_>]) -> (u16, usize) {
    assert!(parts.is_sorted_by_key(|part| part.path));
    match check(parts) {
        Ok(()) => (0, 0),
        Err(SplitRefused { file, error }) => (error.error_code().get(), file),
    }
}

#[test]
fn accepts_a_whole_split_and_what_is_none() {
    assert_eq!(verdict(&[]), (0, 0));
    assert_eq!(verdict(&model()), (0, 0));
    // A name alone does not make a split.
    assert_eq!(verdict(&[part("m-00002-of-00003.gguf", Says::Whole, &[])]), (0, 0));
    // Two splits in one model do not conflict.
    let other = [
        part("m-00001-of-00002.gguf", says(0, 2, None), &["a"]),
        part("m-00002-of-00002.gguf", says(1, 2, None), &["b"]),
    ];
    assert_eq!(verdict(&[&other[..], &model()].concat()), (0, 0));
    // A part's path may be the suffix alone.
    assert_eq!(
        verdict(&[
            part("-00001-of-00002.gguf", says(0, 2, Some(0)), &[]),
            part("-00002-of-00002.gguf", says(1, 2, Some(0)), &[]),
        ]),
        (0, 0)
    );
}

#[test]
fn refuses_a_part_under_another_name() {
    for (number, path) in [
        (1, "q4/m-00001-of-00003.gguf"),
        (0, "q4/m-00001-of-00004.gguf"),
        (0, "q4/m.gguf"),
        (0, "q4/m-1-of-3.gguf"),
        (0, "q4/m-00001-of-00003.GGUF.gguf"),
    ] {
        let misnamed = [part("a.gguf", Says::Whole, &[]), part(path, says(number, 3, Some(3)), &[])];
        assert_eq!(verdict(&misnamed), (4401, 1), "{path}");
    }
    // A wrong name is reported before a missing part.
    let mut model = model();
    model.remove(2);
    model[2].path = "z.gguf";
    assert_eq!(verdict(&model), (4401, 2));
}

#[test]
fn refuses_a_split_of_which_a_part_is_missing() {
    for missing in 1..=3 {
        let mut model = model();
        model.remove(missing);
        assert_eq!(verdict(&model), (4402, 1), "without {missing}");
    }
    // A part in another folder counts as missing.
    let mut model = model();
    model[3].path = "q5/m-00003-of-00003.gguf";
    assert_eq!(verdict(&model), (4402, 1));
    assert_eq!(
        check(&model).unwrap_err().to_string(),
        r#"the split has a part "q4/m-00003-of-00003.gguf", which the model does not have"#
    );
}

#[test]
fn refuses_parts_that_disagree() {
    for other in [says(2, 3, Some(4)), says(2, 3, None), Says::Whole] {
        let mut model = model();
        model[3].says = other;
        assert_eq!(verdict(&model), (4403, 1), "{other:?}");
    }
}

#[test]
fn refuses_a_tensor_in_two_parts_and_another_number_of_them() {
    let mut twice = model();
    twice[3].tensors = vec!["b"];
    assert_eq!(verdict(&twice), (4404, 1));
    let mut more = model();
    more[3].tensors = vec!["c", "d"];
    assert_eq!(verdict(&more), (4405, 1));
    let mut fewer = model();
    fewer[3].tensors = vec![];
    assert_eq!(verdict(&fewer), (4405, 1));
}

#[test]
fn a_part_that_is_not_read_again_is_taken_as_it_was() {
    let mut model = model();
    model[2].says = Says::Unread;
    assert_eq!(verdict(&model), (0, 0));
    // The tensors of an unread part are known from the earlier list, and still count.
    model[2].tensors = vec!["a", "c"];
    assert_eq!(verdict(&model), (4404, 1));
    model.remove(2);
    assert_eq!(verdict(&model), (4402, 1));
}

/// Each part is checked once for its split, not once for every part.
#[test]
fn the_largest_split_is_checked() {
    let paths: Vec<String> = (1..=65_535).map(|number| format!("m-{number:05}-of-65535.gguf")).collect();
    let parts: Vec<_> = paths
        .iter()
        .zip(0..)
        .map(|(path, number)| Part { path, says: says(number, 65_535, Some(0)), tensors: Vec::new() })
        .collect();
    assert_eq!(check(&parts), Ok(()));
}
