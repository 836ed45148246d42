//! The small values: paths, names, scopes, times, hashes, vkeys. Each input is offered to all of their parsers.
#![no_main]

use std::path::{Component, Path};

use libfuzzer_sys::fuzz_target;
use weighbridge_fuzz::bounded;
use weighbridge_manifest::{
    EntryPath, KeyName, ModelName, Scope, Signature, TensorName, Time, Vkey, tree::FileRoot,
};

fuzz_target!(|data: &[u8]| {
    let Ok(text) = str::from_utf8(data) else { return };
    bounded(text.len(), || {
        path(text);
        tensor_name(text);
        model_name(text);
        time(text);
        vkey(text);
        hash(text);
    });
});

fn path(text: &str) {
    let Ok(path) = EntryPath::parse(text) else { return };
    assert_eq!(path.as_str(), text);
    // The operating system splits the path into the same components, and none leads out of the folder.
    let parts: Vec<_> = Path::new(text).components().collect();
    assert!(parts.iter().all(|part| matches!(part, Component::Normal(_))), "{text:?}");
    assert!(parts.iter().map(|part| part.as_os_str()).eq(text.split('/').map(std::ffi::OsStr::new)));
    assert!(!text.contains(|c: char| c.is_control() || c == '\\'));
    let slashed = format!("/{}/", text.to_ascii_lowercase());
    assert!(!slashed.starts_with("/weighbridge/") && !slashed.contains("/.cache/huggingface/"), "{text:?}");
    for part in text.split('/') {
        assert!(part.len() <= 255 && !part.eq_ignore_ascii_case(".git"));
        assert!(!(part.starts_with(|c: char| c.is_ascii_alphabetic()) && part[1..].starts_with(':')));
    }
    // Every folder above an accepted path has an acceptable path too.
    let parents: Vec<_> = text.match_indices('/').map(|(end, _)| &text[..end]).collect();
    assert_eq!(parents.len(), parts.len() - 1);
    assert!(parents.iter().all(|parent| EntryPath::parse(parent).is_ok()), "{text:?}");
    assert!(EntryPath::parse(&format!("{text}/")).is_err() && EntryPath::parse(&format!("/{text}")).is_err());
}

fn tensor_name(text: &str) {
    let expected = (1..=1024).contains(&text.len()) && !text.chars().any(char::is_control);
    assert_eq!(TensorName::parse(text).is_ok(), expected, "{text:?}");
}

fn model_name(text: &str) {
    let part = |part: &str| {
        part.starts_with(|c: char| c.is_ascii_alphanumeric())
            && part.bytes().all(|b| b.is_ascii_alphanumeric() || b"._-".contains(&b))
    };
    let expected = text.len() <= 255 && text.split('/').all(part);
    assert_eq!(ModelName::parse(text).is_ok(), expected, "{text:?}");
    if let Ok(scope) = Scope::parse(text) {
        assert_eq!(scope.to_string(), text);
        let name = text.strip_suffix("/*").unwrap_or(text);
        assert!(text == "*" || ModelName::parse(name).is_ok());
    }
}

fn time(text: &str) {
    let Ok(time) = Time::parse(text) else { return };
    assert_eq!(time.to_string(), text);
    assert_eq!(Time::from_unix(time.unix()), Some(time));
    // The days are counted year by year and month by month.
    let number = |range: std::ops::Range<usize>| text[range].parse::<i64>().expect("digits");
    let leap = |year: i64| (year % 4 == 0 && year % 100 != 0) || year % 400 == 0;
    let year = number(0..4);
    let february = if leap(year) { 29 } else { 28 };
    let months = [31, february, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31];
    let before = usize::try_from(number(5..7) - 1).expect("a month");
    assert!((1..=months[before]).contains(&number(8..10)));
    let years = (0..year).map(|y| if leap(y) { 366 } else { 365 }).sum::<i64>();
    let days = years + months[..before].iter().sum::<i64>() + number(8..10) - 1 - 719_528;
    let seconds = number(11..13) * 3600 + number(14..16) * 60 + number(17..19);
    assert_eq!(time.unix(), days * 86_400 + seconds, "{text}");
}

fn vkey(text: &str) {
    let name = KeyName::parse(text);
    assert!(name.is_err() || name.is_ok_and(|name| name.as_str() == text));
    let Ok(vkey) = Vkey::parse(text) else { return };
    assert_eq!(vkey.to_string(), text);
    assert_eq!(Vkey::new(vkey.name().clone(), vkey.public_key()), Ok(vkey.clone()));
    for signature in [&[][..], &[0; 63], &[0; 64], &[0; 65]] {
        assert!(!vkey.has_signed(text.as_bytes(), &Signature::new(signature)));
    }
}

fn hash(text: &str) {
    let digits = text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
    match FileRoot::from_hex(text) {
        Ok(root) => assert_eq!(root.to_string(), text),
        Err(_) => assert!(text.len() != 64 || !digits),
    }
}
