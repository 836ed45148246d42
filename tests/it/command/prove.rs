//! `prove` makes proofs and slices that `check` accepts, and writes nothing if it fails.

use std::{fs, ops::Range, time::Duration};

use serde_json::Value;

use crate::command::{
    forge::Forge,
    kit::{Ran, World},
};

const CHECK: &str = "check p --name org/llama --vkey @alice";
/// Files of more than 16 KiB, so that each has a chunk layer.
const SHARDS: [&str; 2] = ["model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"];

impl World {
    /// A weighed world with an empty folder `out` for the results.
    fn with_out() -> Self {
        let world = Self::weighed();
        fs::create_dir(world.path("out")).unwrap();
        world
    }

    /// The names of the files in `out`.
    fn out(&self) -> Vec<String> {
        self.files("out").into_iter().map(|(name, _)| name).collect()
    }

    /// The name of a shard's first tensor, and its byte range in the file.
    fn first_tensor(&self, shard: &str) -> (String, Range<usize>) {
        let objects = self.run(&format!("inspect llama/{shard} --json")).done().objects();
        let number = |key: &str| usize::try_from(objects[0][key].as_u64().unwrap()).unwrap();
        let offset = number("offset");
        (objects[0]["name"].as_str().unwrap().to_owned(), offset..offset + number("size"))
    }
}

/// The objects of this event.
fn events(ran: &Ran, event: &str) -> Vec<Value> {
    ran.objects().into_iter().filter(|object| object["event"] == event).collect()
}

/// The values under a key, from all objects that have it.
fn all<'v>(objects: &'v [Value], key: &str) -> Vec<&'v str> {
    objects.iter().filter_map(|object| object[key].as_str()).collect()
}

#[test]
fn a_file_is_proven_in_a_kilobyte() {
    let world = World::weighed();
    let ran = world.run("prove llama --file config.json").done();
    ran.expect(ran.stderr.is_empty(), "nothing on standard error");
    let printed = ran.stdout;
    let ran = world.run("prove llama --file config.json -o p").done();
    ran.prints(&format!("wrote    p, {} bytes; head {}\n", printed.len(), world.head_id("llama")));
    assert_eq!(world.text("p"), printed);
    assert!(printed.len() < 1_250, "{} bytes", printed.len());

    let root = blake3::hash(&world.read("llama/config.json")).to_hex();
    let size = world.read("llama/config.json").len();
    let ran = world.run(CHECK).done().prints("head     org/llama revision 1, signed by alice\n");
    ran.prints(&format!("file     config.json  {size} bytes, blake3 {root}\n"))
        .prints(&format!("level    published; head {}\n", world.head_id("llama")));
    let ran = world.run_fed(&CHECK.replace(" p ", " - "), "p").done();
    ran.prints("file     config.json ");
}

#[test]
fn files_and_tensors_of_both_shards_are_proven_at_once() {
    let world = World::weighed();
    let tensors = SHARDS.map(|shard| (shard, world.first_tensor(shard)));
    let asked: String =
        tensors.iter().map(|(shard, (name, _))| format!(" --tensor {shard}:{name}")).collect();
    world.run(&format!("prove llama --file config.json --file README.md{asked} -o p")).done();
    let ran = world.run(&format!("{CHECK} --json")).done();
    ran.expect(ran.stderr.is_empty(), "no talk");
    let files = events(&ran, "file");
    assert_eq!(all(&files, "path"), ["README.md", "config.json", SHARDS[0], SHARDS[1]]);
    assert_eq!(all(&files, "status"), ["listed"; 4]);
    let found = events(&ran, "tensor");
    for ((shard, (name, range)), found) in tensors.iter().zip(&found) {
        let bytes = &world.read(&format!("llama/{shard}"))[range.clone()];
        assert_eq!((found["file"].as_str(), found["name"].as_str()), (Some(*shard), Some(name.as_str())));
        assert_eq!((&found["offset"], &found["size"]), (&range.start.into(), &range.len().into()));
        assert_eq!(found["blake3"], blake3::hash(bytes).to_hex().as_str());
        assert_eq!((&found["dtype"], &found["status"]), (&"BF16".into(), &"listed".into()));
    }
    let result = ran.objects().pop().unwrap();
    assert_eq!((&result["event"], &result["verified"]), (&"result".into(), &true.into()));
    assert_eq!((&result["level"], &result["head"]), (&"published".into(), &world.head_id("llama").into()));
    assert_eq!((&result["files"], &result["tensors"], &result["absent"]), (&4.into(), &2.into(), &0.into()));
}

#[test]
fn what_is_asked_for_twice_or_in_another_order_gives_the_same_proof() {
    let world = World::weighed();
    let prove = |words: &str| world.run(&format!("prove llama {words}")).done().stdout;
    let proof = prove("--absent x --file README.md --file config.json --absent y");
    assert_eq!(
        prove("--file config.json --absent y --file README.md --file config.json --absent x --absent y"),
        proof
    );
}

#[test]
fn a_file_is_absent_before_between_and_behind_all_others() {
    let world = World::weighed();
    for (path, neighbours) in [
        ("!first", [".hidden"].as_slice()),
        ("foo.pkl", &["empty.txt", "generation_config.json"]),
        ("zzz", &["tokenizer_config.json"]),
    ] {
        world.run(&format!("prove llama --absent {path} -o p")).done();
        world.run(CHECK).done().prints(&format!("absent   {path}\n"));
        let ran = world.run(&format!("{CHECK} --json")).done();
        let files = events(&ran, "file");
        let (absent, listed): (Vec<_>, Vec<_>) =
            files.into_iter().partition(|file| file["status"] == "absent");
        assert_eq!((all(&absent, "path"), all(&listed, "path")), (vec![path], neighbours.to_vec()));
    }
}

#[test]
fn programs_get_a_proof_as_an_object() {
    let world = World::weighed();
    let objects = world.run("prove llama --absent a.pkl --json").done().objects();
    let [proof] = objects.as_slice() else { panic!("{objects:?}") };
    let text = proof["proof"].as_str().unwrap();
    assert_eq!((&proof["event"], &proof["head"]), (&"proof".into(), &world.head_id("llama").into()));
    assert_eq!(proof["bytes"], text.len());
    world.write("p", text);
    world.run(CHECK).done().prints("absent   a.pkl\n");

    let objects = world.run("prove llama --file config.json -o p --slice s --json").done().objects();
    assert_eq!(all(&objects, "event"), ["slice", "proof"]);
    assert_eq!(objects[0]["bytes"], world.read("s").len());
    assert_eq!((&objects[1]["file"], &objects[1]["bytes"]), (&"p".into(), &world.read("p").len().into()));
}

#[test]
fn a_proof_takes_metadata_alone() {
    let world = World::weighed();
    world.rename("llama/weighbridge", "meta");
    let (name, _) = world.first_tensor(SHARDS[0]);
    fs::remove_dir_all(world.path("llama")).unwrap();
    let what = format!("--file config.json --tensor {}:{name} --absent x", SHARDS[0]);
    let proof = world.run(&format!("prove meta {what}")).done().stdout;
    assert_eq!(world.run(&format!("prove anything --meta meta {what}")).done().stdout, proof);
    // Only slices need layers.
    world.remove("meta/chunks.layer");
    assert_eq!(world.run(&format!("prove meta {what}")).done().stdout, proof);
    world.write("p", proof);
    fs::remove_dir_all(world.path("meta")).unwrap();
    world.run(CHECK).done();
}

/// A safetensors file with a tensor of one byte for each name.
fn safetensors(names: &[&str]) -> Vec<u8> {
    let entry = |(at, name): (usize, &&str)| {
        let name = serde_json::to_string(name).unwrap();
        format!("{name}:{{\"dtype\":\"U8\",\"shape\":[1],\"data_offsets\":[{at},{}]}}", at + 1)
    };
    let header = format!("{{{}}}", names.iter().enumerate().map(entry).collect::<Vec<_>>().join(","));
    let mut file = u64::try_from(header.len()).unwrap().to_le_bytes().to_vec();
    file.extend(header.bytes());
    file.extend(std::iter::repeat_n(7, names.len()));
    file
}

/// The first colon need not be the one between a file's name and a tensor's.
#[cfg(unix)]
#[test]
fn names_with_colons_are_told_apart() {
    let world = World::empty();
    let file = "odd:one.safetensors";
    world.write(&format!("m/{file}"), safetensors(&["a:b", "one.safetensors:a:b", ":"]));
    world.run("weigh m --name org/m --key @alice.key").done();
    for name in ["a:b", "one.safetensors:a:b", ":"] {
        world.run(&format!("prove m --tensor {file}:{name} --slice s -o p")).done();
        let ran = world.run("check p --vkey @alice --slice s --extract out --json").done();
        assert_eq!(all(&events(&ran, "tensor"), "name"), [name]);
        assert_eq!(world.read("out"), [7]);
    }
}

/// A name that changes the direction of text, or begins another line, could show people a false result.
#[cfg(unix)]
#[test]
fn names_cannot_steer_a_terminal() {
    let world = World::empty();
    let (file, tensor) = ("a \"b\" \u{202e}gpj.exe", "say \"hi\" \u{202e}\u{2066} é \\ '");
    // Weighbridge signs no such names, but another signer may.
    let seen = |name: &str| name.replace(['\u{202e}', '\u{2066}'], "_");
    world.write(&format!("m/{}", seen(file)), "x");
    world.write("m/model.safetensors", safetensors(&[&seen(tensor)]));
    world.run("weigh m --name org/m --key @alice.key").done();
    let mut forge = Forge::open(world.path("m/weighbridge"));
    for line in forge.files.iter_mut().chain(&mut forge.tensors) {
        *line = line.replace("__", "\u{202e}\u{2066}").replace(" _", " \u{202e}");
    }
    forge.sign(&world.key("alice"));
    let absent = "é \u{202e}.pkl";
    let words =
        ["--file", file, "--tensor", &format!("model.safetensors:{tensor}"), "--absent", absent, "-o", "p"];
    world.run_with("prove m", &words).done();
    for line in ["check p --vkey @alice", "inspect p"] {
        let ran = world.run(line).done();
        let is_safe = !ran.stdout.contains(|c: char| c.is_control() && c != '\n')
            && !ran.stdout.contains(['\u{202e}', '\u{2066}']);
        ran.expect(is_safe, "nothing that a terminal obeys");
        ran.prints("\\u{202e}gpj.exe")
            .prints("\\u{202e}\\u{2066} é ")
            .prints("absent")
            .prints("é \\u{202e}.pkl");
    }
    // Programs get names unescaped.
    let ran = world.run("check p --vkey @alice --json").done();
    assert_eq!(all(&events(&ran, "tensor"), "name"), [tensor]);
    assert!(all(&events(&ran, "file"), "path").contains(&file));
    let ran = world.run_with("prove m", &["--file", "no \u{202e}"]).misused();
    ran.expect(!ran.stderr.contains('\u{202e}'), "no raw name in an error");
    ran.says("no \\u{202e}: ");
}

#[test]
fn what_is_not_there_is_not_proven() {
    let world = World::weighed();
    let names = "files.jsonl has the names of all files, tensors.jsonl of all tensors";
    for (what, sentence) in [
        ("--file nope", "nope: files.jsonl has no such entry"),
        ("--file llama/config.json", "llama/config.json: files.jsonl has no such entry"),
        ("--tensor model.norm.weight", "model.norm.weight: tensors.jsonl has no such entry"),
        ("--tensor config.json:x", "config.json:x: tensors.jsonl has no such entry"),
    ] {
        world.unjudged(&format!("prove llama {what}"), 9001, sentence).hints(names);
    }
    world.refused(
        "prove llama --absent config.json",
        2505,
        "config.json: the path is listed, and so not absent",
    );
    world.refused("prove llama --absent ../x", 1404, "../x: the path has a component '.' or '..'");
    world.refused("prove llama --absent weighbridge/head.note", 1410, "weighbridge/head.note: ");
    world.unjudged("prove llama", 9001, "prove what? --file, --tensor or --absent");
    world.unjudged("prove llama --slice s", 9001, "prove what? ");
    world.unjudged(
        "prove llama --file config.json -o p --slice p",
        9001,
        "-o and --slice name the same file",
    );
    world.unjudged("prove nowhere --file x", 9002, "cannot open nowhere/weighbridge/head.note: ");
    assert!(!world.exists("s") && !world.exists("p"));
}

#[test]
fn a_head_without_tensors_proves_none() {
    let world = World::with_model();
    world.run("weigh llama --name org/llama --no-tensors --key @alice.key").done();
    let ran = world.unjudged(
        &format!("prove llama --tensor {}:model.norm.weight", SHARDS[1]),
        9001,
        "a tensor takes tensors.jsonl, which is not there",
    );
    ran.hints("a tensor is written FILE:NAME");
    world.run("prove llama --file config.json -o p").done();
    world.run(CHECK).done();
}

#[test]
fn a_release_that_is_not_signed_yet_is_not_proven() {
    let world = World::with_model();
    world.run("weigh llama --name org/llama").done();
    let ran =
        world.unjudged("prove llama --file config.json", 9002, "cannot open llama/weighbridge/head.note: ");
    ran.hints("this release is not signed yet: `weighbridge sign`");
}

#[test]
fn metadata_that_was_altered_proves_nothing() {
    let world = World::weighed();
    for (list, what) in [
        ("files.jsonl", "--file config.json".to_owned()),
        ("tensors.jsonl", format!("--tensor {}:model.norm.weight", SHARDS[1])),
    ] {
        let list = format!("llama/weighbridge/{list}");
        let honest = world.text(&list);
        let (before, hash) = honest.split_once("\"blake3\":\"").unwrap();
        let other = if hash.starts_with('0') { '1' } else { '0' };
        world.write(&list, format!("{before}\"blake3\":\"{other}{}", &hash[1..]));
        world.refused(&format!("prove llama {what} -o p"), 1308, "");
        assert!(!world.exists("p"));
        world.write(&list, honest);
    }
    // `prove` needs no trusted signature: the receiver decides whom to trust. No signature of this head is by a
    // trusted key.
    world.write(
        "llama/weighbridge/head.note",
        world.text("llama/weighbridge/head.note").replace("alice", "eve"),
    );
    world.run("prove llama --file config.json -o p").done();
    world.refused(CHECK, 3102, "none of the signatures is by a trusted key");
}

#[test]
fn a_publishers_list_out_of_order_does_not_hide_a_file() {
    let world = World::weighed();
    // Entries 3 and 4 are exchanged, so that config.json does not stand where a search looks for it.
    let mut forged = Forge::open(world.path("llama/weighbridge"));
    forged.files.swap(3, 4);
    forged.sign(&world.key("alice"));
    world.run("prove llama --absent config.json").refused(1304, "");
    world.run("prove llama --file config.json").refused(1304, "");
}

#[test]
fn a_slice_has_the_bytes_of_its_range() {
    let world = World::weighed();
    let (shard, chunk) = (SHARDS[0], 16_384);
    let file = world.read(&format!("llama/{shard}"));
    let size = file.len();
    let ranges = [
        0..1,
        size - 1..size,
        chunk - 1..chunk + 1,
        chunk..2 * chunk,
        1_023..1_025,
        5 * chunk + 7..9 * chunk + 11,
        size - chunk - 3..size,
        0..size,
    ];
    for Range { start, end } in ranges {
        let ran = world.run(&format!("prove llama --file {shard} --bytes {start}..{end} --slice s -o p"));
        ran.done().prints("wrote    p, ");
        let ran = world.run(&format!("{CHECK} --slice s --extract out")).done();
        ran.prints(&format!("slice    bytes {start}..{end} of {shard} -> out\n"));
        assert!(world.read("out") == file[start..end], "other bytes of {start}..{end}");
        // The slice has at most the chunks that the range touches and their paths, and nothing else of the file.
        assert!(world.read("s").len() < 2 * (end - start) + 8 * 1_024, "{} bytes", world.read("s").len());
    }
    // Without a range, the slice is of the whole file, and the proof can be checked without the slice.
    world.run(&format!("prove llama --file {shard} --slice s -o p")).done().says("wrote s, ");
    let ran = world.run(CHECK).done();
    ran.says(&format!(
        "weighbridge: a slice of bytes 0..{size} of {shard} goes with this proof; --slice checks it"
    ));
    world.run(&format!("{CHECK} --slice s --extract out")).done();
    assert!(world.read("out") == file);
}

#[test]
fn ranges_that_no_slice_can_have_are_refused() {
    let world = World::with_out();
    let size = world.read("llama/config.json").len();
    for range in ["5..5".to_owned(), "9..3".to_owned(), format!("0..{}", size + 1), format!("{size}..{size}")]
    {
        let sentence = format!("config.json: a file of {size} bytes has no slice of the bytes {range}");
        let line = format!("prove llama --file config.json --bytes {range} --slice out/s -o out/p");
        world.refused(&line, 2601, &sentence);
    }
    world.refused(
        "prove llama --file empty.txt --bytes 0..1 --slice out/s",
        2601,
        "empty.txt: a file of 0 bytes has no slice of the bytes 0..1",
    );
    for range in ["5", "5..", "..5", "-1..5", "a..b", "0..99999999999999999999", "0..=5"] {
        world.run(&format!("prove llama --file config.json --bytes {range} --slice out/s")).misused();
    }
    world.run("prove llama --file config.json --bytes 0..1").misused();
    assert!(world.out().is_empty(), "{:?}", world.out());
}

#[test]
fn an_empty_file_has_one_slice() {
    let world = World::weighed();
    for bytes in ["", " --bytes 0..0"] {
        world.run(&format!("prove llama --file empty.txt{bytes} --slice s -o p")).done();
        assert_eq!(world.read("s"), [0; 8]);
        world
            .run(&format!("{CHECK} --slice s --extract out"))
            .done()
            .prints("slice    bytes 0..0 of empty.txt");
        assert!(world.read("out").is_empty());
        world.remove("out");
    }
}

#[test]
fn a_tensors_slice_has_its_bytes() {
    let world = World::weighed();
    for shard in SHARDS {
        let (name, range) = world.first_tensor(shard);
        world.run(&format!("prove llama --tensor {shard}:{name} --slice s -o p")).done();
        world
            .run(&format!("{CHECK} --slice s --extract out"))
            .done()
            .prints(&format!("tensor   {name}  BF16 ["));
        assert!(world.read("out") == world.read(&format!("llama/{shard}"))[range]);
    }
    let (name, _) = world.first_tensor(SHARDS[0]);
    let tensor = format!("--tensor {}:{name}", SHARDS[0]);
    for (line, sentence) in [
        (format!("{tensor} --bytes 0..1"), "--bytes counts from the beginning of a --file"),
        (format!("{tensor} --file config.json"), "--slice goes with one --file or one --tensor"),
        ("--absent x".to_owned(), "--slice goes with one --file or one --tensor"),
    ] {
        world.unjudged(&format!("prove llama {line} --slice none"), 9001, sentence);
    }
    assert!(!world.exists("none"));
}

#[test]
fn a_tensor_of_no_bytes_has_no_slice() {
    let world = World::empty();
    let header = r#"{"none":{"dtype":"F32","shape":[0],"data_offsets":[0,0]}}"#;
    world.write(
        "m/model.safetensors",
        [&[header.len().try_into().unwrap(), 0, 0, 0, 0, 0, 0, 0], header.as_bytes()].concat(),
    );
    world.run("weigh m --name org/m --key @alice.key").done();
    world.run("prove m --tensor model.safetensors:none -o p").done();
    world
        .run("check p --vkey @alice")
        .done()
        .prints("tensor   none  F32 [0], bytes 65..65 of model.safetensors");
    world.refused(
        "prove m --tensor model.safetensors:none --slice s",
        2601,
        "a file of 65 bytes has no slice",
    );
    assert!(!world.exists("s"));
}

/// `prove` never writes a slice that a receiver would refuse.
#[test]
fn a_prover_whose_model_is_bad_writes_nothing() {
    let world = World::with_out();
    let shard = format!("llama/{}", SHARDS[0]);
    let prove = format!("prove llama --file {} --bytes 20000..40000 --slice out/s -o out/p", SHARDS[0]);
    let honest = world.read(&shard);

    world.flip(&shard, 30_000);
    world.refused(&prove, 2102, &format!("{}: chunk 1 (bytes 16384..32768) does not match", SHARDS[0]));
    assert!(world.out().is_empty(), "{:?}", world.out());
    // Bytes outside of the range are not read.
    world.run(&prove.replace("20000..40000", "40000..50000")).done();
    fs::remove_dir_all(world.path("out")).unwrap();
    fs::create_dir(world.path("out")).unwrap();

    fs::write(world.path(&shard), &honest[..honest.len() - 1]).unwrap();
    world.refused(
        &prove,
        2103,
        &format!("{} has {} bytes, the signed length is ", SHARDS[0], honest.len() - 1),
    );
    world.remove(&shard);
    world.refused(&prove, 2104, &format!("{} is missing", SHARDS[0]));
    fs::create_dir(world.path(&shard)).unwrap();
    world.refused(&prove, 2104, &format!("{} is missing", SHARDS[0]));
    fs::remove_dir(world.path(&shard)).unwrap();
    fs::write(world.path(&shard), &honest).unwrap();

    let layers = world.read("llama/weighbridge/chunks.layer");
    world.flip("llama/weighbridge/chunks.layer", 40);
    world.refused(&prove, 2202, "");
    world.write("llama/weighbridge/chunks.layer", &layers[1..]);
    world.refused(&prove, 2201, "");
    world.remove("llama/weighbridge/chunks.layer");
    let ran = world.unjudged(&prove, 9106, "its chunk layer is needed, and there is no chunks.layer");
    ran.hints("get chunks.layer from where the metadata came from");
    assert!(world.out().is_empty(), "{:?}", world.out());
    // A file of one chunk has no layer.
    world.run("prove llama --file config.json --slice out/s -o out/p").done();
    assert_eq!(world.out(), ["p", "s"]);
    world.flip("llama/config.json", 3);
    world.write("out/s", "before");
    world.refused("prove llama --file config.json --slice out/s", 2102, "config.json: chunk 0 ");
    assert_eq!(world.text("out/s"), "before");
}

#[cfg(unix)]
#[test]
fn only_files_are_replaced() {
    use std::os::unix::fs::symlink;

    let world = World::with_out();
    world.write("precious", "precious");
    fs::create_dir(world.path("out/folder")).unwrap();
    world.fifo("out/fifo");
    symlink("../precious", world.path("out/link")).unwrap();
    let before = world.out();
    for place in ["out/folder", "out/fifo", "out/link", "/dev/null"] {
        let sentence = format!("{place} is there, and is no regular file");
        world.unjudged(&format!("prove llama --file config.json -o {place}"), 9001, &sentence);
        let line = format!("prove llama --file config.json --slice {place} -o out/p");
        world.unjudged(&line, 9001, &sentence);
    }
    world.unjudged("prove llama --file config.json -o nowhere/p", 9002, "cannot create a file in nowhere: ");
    assert_eq!((world.out(), world.text("precious").as_str()), (before, "precious"));
    assert!(fs::symlink_metadata("/dev/null").is_ok_and(|there| !there.is_file()));
}

#[cfg(unix)]
#[test]
fn a_proof_or_slice_that_cannot_be_written_whole_is_not_there() {
    let world = World::with_out();
    let prove = format!("prove llama --file {} --slice out/s -o out/p", SHARDS[0]);
    for (blocks, place) in [(0, "out/p"), (1, "out/p"), (8, "out/s"), (100, "out/s")] {
        let ran = world.run_limited(&prove, blocks).unjudged(9002, &format!("cannot write {place}: "));
        ran.expect(world.out().is_empty(), "nothing written");
    }
    world.write("out/s", "before");
    world.run_limited(&prove, 100).unjudged(9002, "cannot write out/s: ");
    assert_eq!((world.out(), world.text("out/s").as_str()), (vec!["s".to_owned()], "before"));
}

#[test]
fn what_is_killed_leaves_no_half_of_a_slice() {
    let world = World::with_out();
    world.write("big/weights.bin", vec![7; 48 << 20]);
    world.run("weigh big --name org/big --key @alice.key").done();
    let (mut killed, mut step) = (0, 1);
    // Each run is killed a little later than the one before, until one completes.
    while world
        .is_killed("prove big --file weights.bin --slice out/s -o out/p", Duration::from_millis(8 * step))
    {
        killed += 1;
        step += 1;
        // The slice is written first, and is complete once it has its name.
        if world.exists("out/s") {
            assert!(world.read("out/s").len() > 48 << 20);
            world.remove("out/s");
        }
        if step > 100 {
            break;
        }
    }
    assert!(killed > 2, "only {killed} were killed in time");
    world.run("prove big --file weights.bin --slice out/s -o out/p").done();
    let check = "check out/p --vkey @alice --slice out/s --extract out/x";
    for step in 1..=5 {
        let _ = world.is_killed(check, Duration::from_millis(8 * step));
        if world.exists("out/x") {
            assert!(world.read("out/x") == world.read("big/weights.bin"), "half a file");
            world.remove("out/x");
        }
    }
    world.run(check).done();
}

/// A link counts as the file to which it leads, and may not lead out of the model.
#[cfg(unix)]
#[test]
fn slices_and_answers_come_through_the_links_of_a_cache() {
    use std::os::unix::fs::symlink;

    let world = World::weighed();
    let shard = format!("llama/{}", SHARDS[0]);
    fs::create_dir_all(world.path("hub/models--org--llama/snapshots")).unwrap();
    fs::create_dir_all(world.path("hub/models--org--llama/blobs")).unwrap();
    let snapshot = "hub/models--org--llama/snapshots/0123abcd";
    let blob = "hub/models--org--llama/blobs/89ab";
    world.rename(&shard, blob);
    symlink("../../blobs/89ab", world.path(&shard)).unwrap();
    world.rename("llama/weighbridge", "meta");
    world.rename("llama", snapshot);

    let slice = format!("prove {snapshot} --meta meta --file {} --bytes 9..99999 --slice s -o p", SHARDS[0]);
    world.run(&slice).done();
    world.run(&format!("{CHECK} --slice s --extract out")).done();
    assert!(world.read("out") == world.read(blob)[9..99_999]);
    world
        .run("audit challenge meta --vkey @alice --prover @mirror --key @ann.key --samples 4096 -o c")
        .done();
    let respond = format!("audit respond {snapshot} c --meta meta --key @mirror.key -o r");
    world.run(&respond).done();
    world.run("audit check meta c r --vkey @alice --key @ann.key -o report").done();

    world.remove("s");
    world.remove("r");
    world.rename(blob, "outside");
    let link = format!("{snapshot}/{}", SHARDS[0]);
    world.remove(&link);
    symlink("../../../../outside", world.path(&link)).unwrap();
    for line in [&slice, &respond] {
        world.refused(line, 5102, "the link leads out of the model");
    }
    assert!(!world.exists("s") && !world.exists("r"));
}
