//! `inspect`: what a file claims. Nothing here is verified, and it says so.

use std::{fs, fs::File, io::Read, path::Path};

use serde_json::json;
use weighbridge_formats::{
    Format, Parsed, TensorSpan, index,
    index::{Index, MAX_INDEX},
};
use weighbridge_manifest::{Head, MAX_NOTE, Note};
use weighbridge_publish::TEXT;
use weighbridge_tree::head_id;
use weighbridge_verify::{HEAD, IoError, read_bounded};

use crate::{
    args::Inspect,
    failure::Failure,
    output::{Output, count, shown},
    trust::{self, head_json},
};

pub(crate) fn run(args: &Inspect, output: &Output) -> Result<(), Failure> {
    let target = &args.target;
    let is_folder = fs::metadata(target).map_err(IoError::at("open", target))?.is_dir();
    if is_folder {
        let folder = trust::metadata(target).folder().to_owned();
        let note = folder.join(HEAD);
        return if note.exists() { head(&note, output) } else { head(&folder.join(TEXT), output) };
    }
    let name = target.file_name().unwrap_or_default().to_string_lossy();
    if let Some(format) = Format::of(&name) {
        tensor_file(target, format, output)
    } else if index::is_index(&name) {
        sharded(target, output)
    } else {
        head(target, output)
    }
}

/// A head, signed or not.
fn head(path: &Path, output: &Output) -> Result<(), Failure> {
    let bytes = read_bounded(path, MAX_NOTE as u64)?;
    if !bytes.starts_with(b"weighbridge/head/") {
        return Err(Failure::usage(format!("{} is no head, tensor file or index", path.display())));
    }
    let unsigned =
        std::str::from_utf8(&bytes).ok().and_then(|text| Head::parse(text).ok().map(|head| (text, head)));
    let (text, head, lines) = match unsigned {
        Some((text, head)) => (text.to_owned(), head, Vec::new()),
        None => {
            let note = Note::parse(&bytes).map_err(|e| Failure::from(e).about(path))?;
            let head = Head::parse(note.text()).map_err(|e| Failure::from(e).about(path))?;
            (note.text().to_owned(), head, note.signatures().to_vec())
        }
    };
    let id = head_id(text.as_bytes());
    let names: Vec<&str> = lines.iter().map(|s| s.name().as_str()).collect();
    let by = if names.is_empty() {
        "nobody".to_owned()
    } else {
        names.iter().map(|n| shown(n)).collect::<Vec<_>>().join(", ")
    };
    let shown = format!("{text}\nhead id  {id}\nsigned   by {by} (claimed: inspect verifies nothing)");
    output.result(&shown, || {
        json!({ "event": "head", "verified": false, "head": id.to_string(), "signers": names, "says": head_json(&head) })
    });
    Ok(())
}

fn tensor_file(path: &Path, format: Format, output: &Output) -> Result<(), Failure> {
    let mut file = File::open(path).map_err(IoError::at("open", path))?;
    let size = file.metadata().map_err(IoError::at("look at", path))?.len();
    let mut prefix = Vec::new();
    let tensors = loop {
        let parsed = format.parse(&prefix, size);
        match parsed.map_err(|e| Failure::new(e.error_code(), e.to_string()).about(path))? {
            Parsed::Tensors { tensors, .. } => break tensors,
            Parsed::NeedPrefix(length) => {
                let more = length.saturating_sub(prefix.len() as u64);
                (&mut file).take(more).read_to_end(&mut prefix).map_err(IoError::at("read", path))?;
                if (prefix.len() as u64) < length {
                    return Err(Failure::new(2106, "the file changed while it was read").about(path));
                }
            }
        }
    };
    for TensorSpan { name, dtype, shape, offset, size } in &tensors {
        let dimensions: Vec<String> = shape.iter().map(u64::to_string).collect();
        let text = format!(
            "{offset:>12} {size:>12}  {dtype:<8} {:<20} {}",
            format!("[{}]", dimensions.join(",")),
            shown(name)
        );
        output.result(&text, || {
            json!({ "event": "tensor", "name": name, "dtype": dtype, "shape": shape, "offset": offset, "size": size })
        });
    }
    let text = format!("{} (claimed: inspect verifies nothing)", count(tensors.len() as u64, "tensor"));
    output.result(&text, || json!({ "event": "tensors", "verified": false, "count": tensors.len() }));
    Ok(())
}

fn sharded(path: &Path, output: &Output) -> Result<(), Failure> {
    let bytes = read_bounded(path, MAX_INDEX)?;
    let index = Index::parse(&bytes).map_err(|e| Failure::new(e.error_code(), e.to_string()).about(path))?;
    for (tensor, file) in index.weight_map() {
        output.result(
            &format!("{}  {}", shown(file), shown(tensor)),
            || json!({ "event": "placed", "tensor": tensor, "file": file }),
        );
    }
    let placed = index.weight_map().len();
    let text = format!("{} (claimed: inspect verifies nothing)", count(placed as u64, "tensor"));
    output.result(&text, || json!({ "event": "index", "verified": false, "count": placed }));
    Ok(())
}
