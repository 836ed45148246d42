//! Seeds of the fuzz targets: the content of the vectors, in the form that each target reads, and some for forms that
//! are others' and have no vectors.

use std::fs;

use crate::Result;
use crate::process::root;
use crate::vectors::Vector;

/// Writes `fuzz/corpus/TARGET/vector-…`. Inputs that the fuzzer found itself stay.
pub(crate) fn seed() -> Result {
    let mut count = 0;
    for vector in Vector::all()? {
        for (number, (target, bytes)) in (1..).zip(seeds(&vector)) {
            let folder = root().join("fuzz/corpus").join(target);
            fs::create_dir_all(&folder)?;
            let name = vector.name.replace('/', "-");
            fs::write(folder.join(format!("vector-{name}-{number}")), bytes)?;
            count += 1;
        }
    }
    for (target, seeds) in [
        ("profile", &[PROFILE][..]),
        ("listing", &LISTINGS),
        ("requests", &REQUESTS),
        ("push_answer", &PUSH_ANSWERS),
    ] {
        let folder = root().join("fuzz/corpus").join(target);
        fs::create_dir_all(&folder)?;
        for (number, seed) in (1..).zip(seeds) {
            fs::write(folder.join(format!("seed-{number}")), seed)?;
        }
    }
    let folder = root().join("fuzz/corpus/capi");
    fs::create_dir_all(&folder)?;
    fs::write(folder.join("seed-1"), calls())?;
    println!("{count} seeds from spec/vectors");
    Ok(())
}

/// A profile's name, then a file of Amazon's tools that has it.
const PROFILE: &str = "me\n# mine\n[default]\nregion = a\n[profile me]\n[me]\naws_access_key_id = ID\n\
                       aws_secret_access_key = a/b+c= # near\ns3 =\n  x = y\nendpoint_url = https://s3.example\n\
                       sso_session = z\n";

/// The kind of an answer about a listing, then the answer.
const LISTINGS: [&str; 4] = [
    "revision\n{\"id\":\"a/b\",\"sha\":\"0123456789abcdef0123456789abcdef01234567\",\"cardData\":{\"base_model\":[\"a/c\"]}}",
    "tree\n[{\"type\":\"directory\",\"oid\":\"0123456789abcdef0123456789abcdef01234567\",\"size\":0,\"path\":\"d\"},\
     {\"type\":\"file\",\"oid\":\"0123456789abcdef0123456789abcdef01234567\",\"size\":9,\"path\":\"d/m.bin\",\"lfs\":{\"oid\":\
     \"00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff\",\"size\":9,\"pointerSize\":130},\"xetHash\":\"00\"},\
     {\"type\":\"file\",\"oid\":\"0123456789abcdef0123456789abcdef01234567\",\"size\":3,\"path\":\"weighbridge/head.note\"},\
     {\"type\":\"file\",\"oid\":\"0123456789abcdef0123456789abcdef01234567\",\"size\":3,\"path\":\"config.json\"}]",
    "sums\n# made here\r\n00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff  ./a b\n\
     00112233445566778899AABBCCDDEEFF00112233445566778899aabbccddeeff *d/c\n\
     SHA256 (e) = 00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff\n\
     \\00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff  f\\\\g\\n\n",
    "link\n<https://h/a?cursor=b,c>; rel=\"prev\", </d>; title=\"e\"; rel=\"last next\"\n<f>; rel=next\n",
];

/// What a client sends on one connection.
const REQUESTS: [&str; 9] = [
    "GET /test/model/config.json HTTP/1.1\r\nHost: localhost\r\nRange: bytes=1-2\r\nIf-Range: \"a\"\r\n\r\n\
     HEAD /test/model/a%2Fb.bin HTTP/1.1\r\nHost: [::1]:80\r\n\r\n",
    "GET /test/model/resolve/main/a/b.bin HTTP/1.1\r\nHost: localhost\r\nRange: bytes=-20000\r\n\r\n\
     GET /test/model/resolve/revision-1/resolve/main/x HTTP/1.0\r\n\r\n",
    "GET /api/models/test/model/tree/main/a?recursive=true HTTP/1.1\r\nHost: localhost\r\nOrigin: http://localhost\r\n\r\n\
     GET /api/models/test/model?blobs=1 HTTP/1.1\r\nHost: localhost\r\nContent-Length: 3\r\n\r\nabc\
     GET /metrics HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n",
    "GET /test/model/weighbridge/proof?file=a/b.bin&absent=c&bytes=5-9 HTTP/1.1\r\nHost: localhost\r\n\r\n\
     GET /test/model/weighbridge/slice?file=a/b.bin&bytes=16000-17000 HTTP/1.1\r\nHost: localhost\r\n\r\n\
     GET /test/model/weighbridge/chunks.layer HTTP/1.1\r\nHost: localhost\r\nRange: bytes=5-\r\n\r\n",
    // Of two members with other tags, one waits for the other.
    "GET /test/model/a/b.bin HTTP/1.1\r\nHost: localhost\r\nRange: bytes=0-16383\r\n\
     Weighbridge-Claim: 000102030405060708090a0b0c0d0e0f 1000\r\n\r\n\
     GET /test/model/a/b.bin HTTP/1.1\r\nHost: localhost\r\nRange: bytes=0-16383\r\n\
     Weighbridge-Claim: 000102030405060708090a0b0c0d0e10 60000\r\n\r\n\
     GET /test/model/weighbridge/ticket HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer test\r\n\r\n",
    "000102030405060708090a0b0c0d0e0f 8000",
    "PUT /test/model/x HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n0\r\n\r\n",
    // The target puts the metadata of its model in place of the words behind `@`, and their lengths in place of those behind `#`.
    "POST /api/push/v1/test/model/@ID HTTP/1.1\r\nHost: localhost\r\nContent-Length: #NOTE\r\n\r\n@NOTE\
     PUT /api/push/v1/test/model/@ID/weighbridge/files.jsonl HTTP/1.1\r\nHost: localhost\r\nContent-Length: #LIST\r\n\r\n@LIST\
     PUT /api/push/v1/test/model/@ID/weighbridge/tensors.jsonl HTTP/1.1\r\nHost: localhost\r\nContent-Length: 0\r\n\r\n\
     PUT /api/push/v1/test/model/@ID/weighbridge/chunks.layer HTTP/1.1\r\nHost: localhost\r\nContent-Length: #LAYERS\r\n\r\n@LAYERS\
     PUT /api/push/v1/test/model/@ID/files/config.json HTTP/1.1\r\nHost: localhost\r\nContent-Length: 3\r\n\r\n{}\n\
     GET /api/push/v1/test/model/@ID/missing HTTP/1.1\r\nHost: localhost\r\n\r\n",
    "PUT /api/push/v1/test/model/@ID/files/a/b.bin HTTP/1.1\r\nHost: localhost\r\nContent-Length: 3\r\n\
     Content-Range: bytes 0-2/40000\r\n\r\nabc\
     POST /api/push/v1/test/model/@ID/publish?nonce=0000000000000000000000000000000000000000000000000000000000000000 HTTP/1.1\r\n\
     Host: localhost\r\nContent-Length: 0\r\n\r\nDELETE /api/push/v1/test/model/@ID HTTP/1.1\r\nHost: localhost\r\n\r\n",
];

/// What a receiver says of an upload.
const PUSH_ANSWERS: [&str; 3] = [
    "{\"version\":1,\"needs\":\"chunks\",\"wanted\":9,\"received\":8,\"verified\":7,\"durable\":6,\"looking\":true,\
     \"doing\":{\"work\":\"reading\",\"path\":\"a.bin\",\"seconds\":5},\"expires_in\":4}",
    "{\"files\":[{\"path\":\"a.bin\",\"bytes\":[\"0-16383\",\"32768-99999\"]},{\"path\":\"b/c\",\"bytes\":[\"0-16383\"]}],\"more\":true}",
    "{\"lists\":[\"files.jsonl\"],\"layers\":[\"0-95\"],\"more\":false}",
];

/// Each function of the C interface once, in an order in which it has what it needs: the examples of the specification.
fn calls() -> Vec<u8> {
    let order = [0, 2, 3, 4, 5, 6, 7, 12, 13, 14, 15, 16, 11, 10, 9, 17, 18, 19, 8, 20, 21, 22, 23, 1];
    order.iter().flat_map(|what| [*what, 0, 0xff, 0xff, 0, 0, 0, 0]).collect()
}

fn seeds(vector: &Vector) -> Vec<(&'static str, Vec<u8>)> {
    let mut seeds = Vec::new();
    let mut add = |target, bytes: &[u8]| seeds.push((target, bytes.to_vec()));
    for (name, bytes) in vector.sections() {
        match name.strip_prefix("weighbridge/").unwrap_or(name) {
            "head.note" => {
                add("note", bytes);
                add("head", text_of(bytes));
            }
            statement
                if matches!(statement, "note" | "challenge.note") || statement.starts_with("report ") =>
            {
                add("note", bytes);
                add("statement", bytes);
                add("statement", text_of(bytes));
            }
            "head.txt" => add("head", bytes),
            "policy.toml" => add("policy", bytes),
            "state" | "state-after" => add("memory", bytes),
            "path" | "name" | "time" | "vkey" => add("vkey_path", bytes),
            "vkeys" => bytes.split(|byte| *byte == b'\n').for_each(|line| add("vkey_path", line)),
            "index" => add("index", bytes),
            "proof" => add("proof", bytes),
            "ticket" => add("swarm_ticket", bytes),
            proof if proof.ends_with(".proof") => add("proof", bytes),
            model_file if model_file.ends_with(".safetensors") => add("safetensors", &with_size(bytes)),
            model_file if model_file.ends_with(".gguf") => add("gguf", &with_size(bytes)),
            model_file if model_file.ends_with(".index.json") => add("index", bytes),
            _ => {}
        }
    }
    seeds.extend(lists(vector).map(|bytes| ("lists", bytes)));
    seeds.extend(header(vector));
    seeds.extend(tree_proof(vector).map(|bytes| ("tree_proof", bytes)));
    seeds.extend(layer(vector).map(|bytes| ("layer", bytes)));
    seeds.extend(audit(vector).map(|bytes| ("audit", bytes)));
    seeds.extend(slice(vector).map(|bytes| ("slice", bytes)));
    seeds.extend(message(vector).map(|bytes| ("swarm_message", bytes)));
    seeds
}

/// The text of a note up to its last empty line, or the whole note if it has no empty line.
fn text_of(note: &[u8]) -> &[u8] {
    let end = note.windows(2).rposition(|pair| pair == b"\n\n");
    end.and_then(|end| note.get(..=end)).unwrap_or(note)
}

/// Both lists, with an empty line between them.
fn lists(vector: &Vector) -> Option<Vec<u8>> {
    let list = |name| vector.section(name).or_else(|| vector.section(&format!("weighbridge/{name}")));
    let (files, tensors) = (list("files.jsonl")?, list("tensors.jsonl").unwrap_or_default());
    Some([files, b"\n", tensors].concat())
}

/// The size of a whole file, then the file.
fn with_size(file: &[u8]) -> Vec<u8> {
    let size = u64::try_from(file.len()).unwrap_or(u64::MAX);
    [&size.to_le_bytes(), file].concat()
}

/// The seed of a header vector: the file's size, then its beginning.
fn header(vector: &Vector) -> Option<(&'static str, Vec<u8>)> {
    let target = match vector.value("test")? {
        "safetensors" => "safetensors",
        "gguf" => "gguf",
        _ => return None,
    };
    let (size, prefix) = (vector.number("file-size")?, vector.section("prefix")?);
    Some((target, [&size.to_le_bytes(), prefix].concat()))
}

/// The count, the number of entries, the entries, the siblings. Any 32 bytes stand for the hashes of lines.
fn tree_proof(vector: &Vector) -> Option<Vec<u8>> {
    let positions: Vec<u64> =
        vector.value("positions")?.split(' ').map(|position| position.parse().ok()).collect::<Option<_>>()?;
    let mut seed = vector.number("count")?.to_le_bytes().to_vec();
    seed.push(u8::try_from(positions.len()).ok()?);
    for position in positions {
        seed.extend(position.to_le_bytes());
        seed.extend([0x5a; 32]);
    }
    seed.extend(vector.section("siblings").unwrap_or_default());
    Some(seed)
}

/// The file's size, the chunk size, the root, the layer.
fn layer(vector: &Vector) -> Option<Vec<u8>> {
    let root = vector.value("root").and_then(from_hex)?;
    let mut seed = [vector.number("size")?, vector.number("chunk-size")?].map(u64::to_le_bytes).concat();
    seed.extend(root);
    seed.extend(vector.section("layer").unwrap_or_default());
    Some(seed)
}

/// The file's size, both ends of the range, the root, the slice.
fn slice(vector: &Vector) -> Option<Vec<u8>> {
    let root = vector.value("root").and_then(from_hex)?;
    let (start, end) = vector.value("range")?.split_once("..")?;
    let numbers = [vector.number("size")?, start.parse().ok()?, end.parse().ok()?];
    Some(
        [&numbers.map(u64::to_le_bytes).concat(), &root, vector.section("slice").unwrap_or_default()]
            .concat(),
    )
}

/// The number of pieces, then a message of a member, or its header alone.
fn message(vector: &Vector) -> Option<Vec<u8>> {
    let header = || vector.value("header").and_then(from_hex);
    let message = vector.section("message").map(<[u8]>::to_vec).or_else(header)?;
    let pieces = u32::try_from(vector.number("pieces")?).ok()?;
    Some([&pieces.to_le_bytes()[..], &message].concat())
}

/// The number of BLAKE3 chunks, the number of samples, the text.
fn audit(vector: &Vector) -> Option<Vec<u8>> {
    let numbers = [vector.number("count")?, vector.number("samples")?].map(u64::to_le_bytes).concat();
    Some([&numbers, vector.section("text")?].concat())
}

fn from_hex(text: &str) -> Option<Vec<u8>> {
    let byte = |at| u8::from_str_radix(text.get(at..at + 2)?, 16).ok();
    (0..text.len()).step_by(2).map(byte).collect()
}
