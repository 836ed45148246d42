//! What a receiver says of an upload. Whatever it says, a sender takes no range that its own list contradicts.

#![no_main]

use libfuzzer_sys::fuzz_target;

#[allow(dead_code, reason = "the target reads what receivers say, and says nothing itself")]
#[path = "../../crates/weighbridge-transfer/src/push/messages.rs"]
mod messages;

use messages::{PushMissing, PushState, parse_push_range, push_range};

/// Two files of a model: their sizes, and the length of a chunk.
const FILES: [(&str, u64); 2] = [("a.bin", 100_000), ("b/c", 16_384)];
const UNIT: u64 = 16_384;

fuzz_target!(|answer: &[u8]| {
    if let Ok(state) = serde_json::from_slice::<PushState>(answer) {
        let again = serde_json::to_vec(&state).expect("a state has a form");
        assert_eq!(serde_json::from_slice::<PushState>(&again).expect("it is read again"), state);
    }
    if let Ok(text) = std::str::from_utf8(answer)
        && let Some(range) = parse_push_range(text)
    {
        assert_eq!(parse_push_range(&push_range(&range)), Some(range));
    }
    let Ok(missing) = serde_json::from_slice::<PushMissing>(answer) else { return };
    let size = |path: &str| FILES.iter().find(|(name, _)| *name == path).map(|(_, size)| *size);
    let Some(files) = missing.chunks(size, UNIT) else { return };
    assert!(files.len() <= FILES.len(), "a file is named twice");
    for (path, ranges) in files {
        let size = size(path).expect("it is a file of the model");
        let mut end = 0;
        for range in ranges {
            assert!(end <= range.start && range.start < range.end && range.end <= size, "{range:?}");
            assert!(range.start % UNIT == 0 && (range.end % UNIT == 0 || range.end == size), "{range:?}");
            end = range.end;
        }
    }
    if let Some(layers) = missing.layers(1000) {
        assert!(layers.iter().all(|range| range.end <= 1000));
    }
});
