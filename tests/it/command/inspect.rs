//! `inspect` shows the claims of a file, and states that nothing was verified.

use crate::command::kit::World;

const NOTHING_VERIFIED: &str = "(claimed: inspect verifies nothing)";

#[test]
fn a_head_is_shown_wherever_it_lies() {
    let world = World::weighed();
    let id = world.head_id("llama");
    for target in ["llama", "llama/weighbridge", "llama/weighbridge/head.note"] {
        let ran = world.run(&format!("inspect {target}")).done().prints("name org/llama\nrevision 1\n");
        ran.prints(&format!("head id  {id}\n")).prints(&format!("signed   by alice {NOTHING_VERIFIED}"));
    }
    world.run("inspect llama/weighbridge/head.txt").done().prints("signed   by nobody").prints(&id);
    let objects = world.run("inspect llama --json").done().objects();
    assert_eq!((&objects[0]["head"], &objects[0]["verified"]), (&id.into(), &false.into()));
}

#[test]
fn a_head_that_nobody_would_believe_is_shown_all_the_same() {
    let world = World::weighed();
    let note = world.text("llama/weighbridge/head.note");
    world.write("altered.note", note.replace("org/llama", "org/other"));
    world.run("inspect altered.note").done().prints("name org/other\n").prints(NOTHING_VERIFIED);
    world.write("next.note", note.replace("head/v1", "head/v2"));
    world.refused("inspect next.note", 1202, "next.note: the head is not of version weighbridge/head/v1");
}

#[test]
fn tensors_and_indexes_are_listed() {
    let world = World::with_model();
    let ran = world.run("inspect llama/model-00001-of-00002.safetensors").done();
    ran.prints("model.embed_tokens.weight\n").prints("BF16").prints(NOTHING_VERIFIED);
    let ran = world.run("inspect llama/model.safetensors.index.json").done();
    ran.prints("model-00001-of-00002.safetensors  model.embed_tokens.weight\n").prints(NOTHING_VERIFIED);
    for file in ["model-00001-of-00002.safetensors", "model.safetensors.index.json"] {
        let objects = world.run(&format!("inspect llama/{file} --json")).done().objects();
        assert_eq!(objects.last().unwrap()["verified"], false);
        assert!(objects.len() > 10);
    }
}

#[test]
fn junk_is_named_as_such() {
    let world = World::with_model();
    world.unjudged(
        "inspect llama/config.json",
        9001,
        "llama/config.json is no head, proof, challenge, report, receipt, tensor file or index",
    );
    world.unjudged("inspect nowhere", 9002, "cannot open nowhere: ");
    world.unjudged("inspect llama", 9002, "cannot open llama/weighbridge/head.txt: ");
    world.write("junk.safetensors", "junk");
    world.refused("inspect junk.safetensors", 4101, "junk.safetensors: the file has 4 bytes");
    world.write("junk.safetensors.index.json", "junk");
    world.refused("inspect junk.safetensors.index.json", 4201, "the index is malformed at byte 0");
}

#[test]
fn a_proof_is_shown_and_not_believed() {
    let world = World::weighed();
    world.run("prove llama --file config.json --absent x.pkl --slice s -o p").done();
    let id = world.head_id("llama");
    let ran = world.run("inspect p").done();
    ran.prints("{\"file\":\"config.json\",\"size\":")
        .prints("\nabsent x.pkl\n")
        .prints("\nslice 3 0..")
        .prints(&format!("head id  {id}\n"))
        .prints(&format!("signed   by alice {NOTHING_VERIFIED}"));
    let objects = world.run("inspect p --json").done().objects();
    assert!(objects.iter().all(|object| object["verified"] == false), "{objects:?}");
    let events: Vec<_> = objects.iter().map(|object| object["event"].as_str().unwrap()).collect();
    let [claims @ .., "proof", "head"] = events.as_slice() else { panic!("{events:?}") };
    assert!(claims.len() == 4 && claims.iter().all(|event| *event == "claim"), "{events:?}");

    // A proof that no verifier accepts is still shown.
    let honest = world.text("p");
    world.write("p", honest.replace("{\"file\":\"config.json\"", "{\"file\":\"config.jsom\""));
    world.run("inspect p").done().prints("config.jsom").prints(NOTHING_VERIFIED);
    // Regression: a text without the form of a proof was shown as a proof.
    for (from, to, code) in [
        ("proof/v1", "proof/v2", 2502),
        ("absent x.pkl\n", "absent x.pkl\nabsent\n", 2503),
        ("absent x.pkl", "absent ../x.pkl", 1404),
        ("\"size\":", "\"size\": ", 1302),
        ("\n\nweighbridge/head/v1", "\n\nweighbridge/head/v2", 1202),
        ("\n\n— alice", "\n\n- alice", 1104),
        ("\n\nweighbridge", "\nweighbridge", 1103),
    ] {
        assert!(honest.contains(from), "{from:?}");
        world.write("p", honest.replace(from, to));
        let ran = world.refused("inspect p", code, "p: ");
        ran.expect(ran.stdout.is_empty(), "nothing shown");
    }
}

#[test]
fn challenges_reports_and_receipts_are_shown_and_not_believed() {
    let world = World::weighed();
    world.run("audit challenge llama --vkey @alice --prover @mirror --key @ann.key -o challenge").done();
    world.run("audit respond llama challenge --key @mirror.key -o response").done();
    world.run("audit check llama challenge response --vkey @alice --key @ann.key -o report").done();
    world.run("verify llama --vkey @alice --key @node.key --receipt receipt").done();
    let id = world.head_id("llama");
    for (kind, signer, key, named) in [
        ("challenge", "ann", "prover", "mirror"),
        ("report", "ann", "prover", "mirror"),
        ("receipt", "node", "node", "node"),
    ] {
        let ran = world.run(&format!("inspect {kind}")).done().prints(&format!("\nhead {id}\n"));
        ran.prints(&format!("\n\nsigned   by {signer} {NOTHING_VERIFIED}\n"));
        let objects = world.run(&format!("inspect {kind} --json")).done().objects();
        let [object] = objects.as_slice() else { panic!("{objects:?}") };
        assert_eq!((&object["event"], &object["verified"]), (&kind.into(), &false.into()));
        assert_eq!((&object["signers"][0], &object["says"]["head"]), (&signer.into(), &id.as_str().into()));
        assert_eq!(object["says"][key], world.vkey(named).to_string());

        let honest = world.text(kind);
        // An altered text is shown as well.
        world.write("altered", honest.replace(&id, &"0".repeat(64)));
        world.run("inspect altered").done().prints(&"0".repeat(64)).prints(NOTHING_VERIFIED);
        let text = honest.split("\n\n").next().unwrap();
        let last = text.lines().last().unwrap();
        for (from, to, code) in [
            ("/v1\n", "/v9\n", 1802),
            ("\nroot ", "\nrood ", 1803),
            (last, &format!("{last}\nmore x"), 1803),
            ("\nhead ", "\nhead x", 1804),
            ("\n\n", "\n", 1103),
        ] {
            world.write("altered", honest.replacen(from, to, 1));
            let ran = world.refused("inspect altered", code, "altered: ");
            ran.expect(ran.stdout.is_empty(), "nothing shown");
        }
    }
    world.unjudged("inspect response", 9001, "response is no head, proof, challenge, report, receipt, ");
}

/// Regression: a key's name was shown unescaped, and may change the direction of text.
#[test]
fn names_of_keys_cannot_steer_a_terminal() {
    let world = World::weighed();
    let name = weighbridge_manifest::KeyName::parse("evil\u{202e}\u{2066}").unwrap();
    let key = weighbridge_publish::SecretKey::generate(name).unwrap();
    let head = weighbridge_manifest::Head::parse(&world.text("llama/weighbridge/head.txt")).unwrap();
    let receipt = weighbridge_manifest::Receipt {
        nonce: None,
        name: head.name.clone(),
        head: weighbridge_tree::head_id(head.to_string().as_bytes()),
        root: head.root,
        node: key.vkey().clone(),
        verified: head.created,
    };
    world.write("receipt", weighbridge_publish::sign_receipt(&receipt, &key).unwrap());
    world.run("prove llama --file config.json -o p").done();
    for line in ["inspect receipt", "check p --vkey @alice --receipt receipt"] {
        let ran = world.run(line).done().prints("evil\\u{202e}\\u{2066}");
        ran.expect(!ran.stdout.contains(['\u{202e}', '\u{2066}']), "nothing that a terminal obeys");
    }
}

/// Ollama and hubs name model files by their hashes. Regression: `inspect` did not recognise such a file.
#[test]
fn a_model_file_without_a_suffix_is_told_by_its_first_bytes() {
    let world = World::with_model();
    let _ = weighbridge_formats::generate_gguf::Gguf::small(1).write(&world.path("g")).unwrap();
    let [(gguf, _)] = &world.files("g")[..] else { panic!("one file was written") };
    for (file, blob, shown) in [
        (format!("g/{gguf}"), "sha256-6a0746a1ec1a", "GGUF version 3"),
        ("llama/model-00001-of-00002.safetensors".to_owned(), "blob", "model.embed_tokens.weight"),
    ] {
        world.write(blob, world.read(&file));
        let ran = world.run(&format!("inspect {blob}")).done().prints(shown).prints(NOTHING_VERIFIED);
        assert_eq!(ran.stdout, world.run(&format!("inspect {file}")).done().stdout);
    }
    // White space before the header, and files that only begin like model files.
    let text = b"\n {}";
    world.write("spaced", [&4_u64.to_le_bytes()[..], text].concat());
    world.run("inspect spaced").done().prints("0 tensors");
    world.write("cut", &world.read("blob")[..1_000]);
    world.refused("inspect cut", 4103, "cut: the header claims");
    world.write("magic", "GGUF and no more");
    world.refused("inspect magic", 4302, "magic: GGUF version");
    // A suffix outranks the first bytes: a file with a known suffix and other content is malformed.
    world.write("junk.gguf", [&2_u64.to_le_bytes()[..], b"{}"].concat());
    world.refused("inspect junk.gguf", 4301, "junk.gguf: the file does not begin with `GGUF`");
    // Lists go by names: a model file without a known suffix is listed without tensors.
    world.write("m/blob", world.read("blob"));
    world.run("weigh m --name org/m").done().prints("1 file").prints("0 tensors");
}
