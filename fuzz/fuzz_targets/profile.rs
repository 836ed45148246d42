//! Files of Amazon's tools: the first line of the input is the profile's name, the rest the text of the file.
#![no_main]

use libfuzzer_sys::fuzz_target;
use weighbridge_fuzz::bounded;

#[path = "../../crates/weighbridge-transfer/src/source/bucket/profile.rs"]
mod profile;

use profile::{File, Keys, Profile, read};

fuzz_target!(|data: &[u8]| {
    let Ok(text) = str::from_utf8(data) else { return };
    let (name, text) = text.split_once('\n').unwrap_or(("default", text));
    bounded(text.len(), || {
        for file in [File::Credentials, File::Config] {
            match read(text, file, name) {
                Ok(Some(profile)) => {
                    assert!(text.contains(name), "a profile that is there is named");
                    are_words_of(text, &profile);
                    let _ = profile.other_way;
                }
                Ok(None) => {}
                Err(error) => assert!(error.to_string().len() < 100, "no value of the file is shown"),
            }
        }
    });
});

/// Each value that is taken stands in the text as it is, behind an equals sign and before the end of a line or space.
fn are_words_of(text: &str, profile: &Profile) {
    let Profile { keys, region, endpoint, .. } = profile;
    let keys =
        keys.iter().flat_map(|Keys { id, secret, session }| [Some(id), Some(secret), session.as_ref()]);
    for value in keys.flatten().chain(region).chain(endpoint) {
        assert!(!value.is_empty() && value.bytes().all(|byte| byte.is_ascii_graphic()));
        let is_value = |(at, _): (usize, char)| {
            let (before, rest) = text.split_at(at);
            let behind = rest.strip_prefix(value.as_str());
            before.trim_end_matches([' ', '\t', '\r']).ends_with('=')
                && behind.is_some_and(|behind| behind.is_empty() || behind.starts_with(char::is_whitespace))
        };
        assert!(text.char_indices().any(is_value), "{value}");
    }
}
