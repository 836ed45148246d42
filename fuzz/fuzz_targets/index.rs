//! The index of a sharded model: an accepted index has the content that another JSON library reads.
#![no_main]

use std::collections::BTreeMap;

use libfuzzer_sys::fuzz_target;
use serde_json::Value;
use weighbridge_formats::{
    Coded,
    index::{Index, Lookup},
};
use weighbridge_fuzz::bounded;

fuzz_target!(|data: &[u8]| {
    let Ok(index) = bounded(data.len(), || Index::parse(data)) else { return };

    let pairs: Vec<(&str, &str)> = index.weight_map().collect();
    assert!(pairs.is_sorted_by(|a, b| a.0 < b.0), "each tensor once");
    // That library refuses some numbers as too large, which are skipped here.
    if let Ok(theirs) = serde_json::from_slice::<Value>(data) {
        let ours: BTreeMap<String, Value> = pairs.iter().map(|(t, f)| ((*t).into(), (*f).into())).collect();
        assert_eq!(theirs.get("weight_map"), Some(&ours.into_iter().collect()));
    }

    // The index agrees with the model that it describes, and with no model that lacks a file or a tensor.
    let has = |path: &str, tensor: &str| {
        let file = path.strip_prefix("sub/").expect("files are looked for in the index's folder");
        match index.weight_map().any(|pair| pair == (tensor, file)) {
            true => Lookup::Tensor,
            false => Lookup::NoTensor,
        }
    };
    const PATH: &str = "sub/model.safetensors.index.json";
    assert_eq!(index.check(PATH, has), Ok(()));
    let code = |held| index.check(PATH, |_, _| held).map_err(|error| error.error_code().get());
    let refused = |with| if pairs.is_empty() { Ok(()) } else { Err(with) };
    assert_eq!(code(Lookup::NoFile), refused(4202));
    assert_eq!(code(Lookup::NoTensor), refused(4203));
});
