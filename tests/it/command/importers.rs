//! Models that an importer weighed and signed, beside those that their publisher did.

use serde_json::{Value, json};
use weighbridge_manifest::Head;

use crate::command::{forge::sign_text, kit::World};

impl World {
    /// A world with a model in three folders of metadata: the publisher's revision 1 in `own` and 2 in `own-two`, and the
    /// importer's revision 7 in `imported`. The policy in `both.toml` has both.
    fn with_importer() -> Self {
        let world = Self::with_model();
        let weigh = |rest: &str| world.run(&format!("weigh llama --name org/llama {rest}")).done();
        weigh("--key @alice.key -o own");
        weigh("--key @alice.key -o own-two --previous own/head.note");
        weigh("--key @platform.key -o imported --ext source=hf://org/llama@0f9c");
        world.set_revision("imported", 7);
        world.write(
            "both.toml",
            format!(
                "[[publisher]]\nscope = 'org/*'\nkey = [{{ vkey = '{}' }}]\n\
                 [[publisher]]\nscope = 'org/*'\nrole = 'import'\nkey = [{{ vkey = '{}' }}]\n",
                world.vkey("alice"),
                world.vkey("platform")
            ),
        );
        world
    }

    /// Makes the platform's head in a folder one of this revision.
    fn set_revision(&self, metadata: &str, revision: u64) {
        let head = Head::parse(&self.text(&format!("{metadata}/head.txt"))).unwrap();
        let previous = Some(weighbridge_tree::head_id(b"earlier"));
        let text = Head { revision, previous, ..head }.to_text().unwrap();
        sign_text(&self.path(metadata), &text, &[&self.key("platform")]);
    }
}

fn verify(metadata: &str) -> String {
    format!("verify llama --meta {metadata} --only config.json --name org/llama --trust both.toml")
}

const IMPORTED: &str =
    "head     org/llama revision 7, imported by platform from hf://org/llama@0f9c; not signed by org\n";
const OWN: &str = "head     org/llama revision 1, signed by alice\n";

/// The object of the head that was verified.
fn head_of(objects: &[Value]) -> &Value {
    objects.iter().find(|object| object["event"] == "head").unwrap()
}

#[test]
fn a_verdict_on_an_imported_model_says_so_in_words_and_to_programs() {
    let world = World::with_importer();
    world.run(&verify("imported")).done().prints(IMPORTED);
    let objects = world.run(&format!("{} --json", verify("imported"))).done().objects();
    assert_eq!(
        head_of(&objects)["imported"],
        json!({"from": ["hf://org/llama@0f9c"], "not_signed_by": "org"})
    );
    assert_eq!(head_of(&objects)["signers"], json!(["platform"]));
    world.run(&verify("own")).done().prints(OWN);
    let objects = world.run(&format!("{} --json", verify("own"))).done().objects();
    assert_eq!(head_of(&objects)["imported"], Value::Null);

    // Every command that judges a head says the same.
    let ran = world.run("diff own imported --trust both.toml").done();
    ran.prints("old      org/llama revision 1, signed by alice\n").prints(
        "new      org/llama revision 7, imported by platform from hf://org/llama@0f9c; not signed by org\n",
    );
    let objects = world.run("diff own imported --trust both.toml --json").done().objects();
    assert_eq!(
        (&objects[0]["imported"], &objects[1]["imported"]["not_signed_by"]),
        (&Value::Null, &"org".into())
    );
    world.run("prove llama --meta imported --file config.json -o proof").done();
    world.run("check proof --name org/llama --trust both.toml").done().prints(IMPORTED);
    // Without a policy the head is only a claim, and so is who signed it.
    world.run("diff own imported").done().prints("revision 7, signed by platform (claimed: ");
    // For whom the platform is a publisher like any other, it has not imported.
    let by_vkey = format!("{} --vkey @platform", verify("imported").replace(" --trust both.toml", ""));
    world.forget();
    world.run(&by_vkey).done().prints("revision 7, signed by platform\n");
}

#[test]
fn an_imported_head_that_names_no_source_or_several_says_so() {
    let world = World::with_importer();
    let weigh = |rest: &str| {
        world.run(&format!("weigh llama --name llama --key @platform.key --force -o bare{rest}")).done()
    };
    world.write(
        "any.toml",
        format!(
            "[[publisher]]\nscope = '*'\nrole = 'import'\nkey = [{{ vkey = '{}' }}]",
            world.vkey("platform")
        ),
    );
    let verify = "verify llama --meta bare --only config.json --trust any.toml --state state.json";
    weigh("");
    world.run(verify).done().prints("head     llama revision 1, imported by platform; not signed by llama\n");
    world.remove("state.json");
    weigh(" --ext source=hf://a/b@1 --ext source=https://c.example --ext by=x");
    world
        .run(verify)
        .done()
        .prints("imported by platform from hf://a/b@1, https://c.example; not signed by llama\n");
}

#[test]
fn importer_and_publisher_do_not_get_in_each_others_way_in_any_order() {
    let world = World::with_importer();
    for sequence in 0..8_u8 {
        world.forget();
        for step in 0..3 {
            let (metadata, text) =
                if sequence >> step & 1 == 1 { ("own", OWN) } else { ("imported", IMPORTED) };
            world.run(&verify(metadata)).done().prints(text);
        }
    }
    // Each goes on by itself, and neither is led back.
    world.run(&verify("own-two")).done();
    world.refused(&verify("own"), 3204, "rollback: the head is revision 1, revision 2 was accepted before");
    world.run(&verify("imported")).done();
    world.copy("imported", "earlier");
    world.set_revision("earlier", 6);
    world.refused(
        &verify("earlier"),
        3204,
        "rollback: the head is revision 6, revision 7 was accepted before",
    );
}

#[test]
fn a_publishers_own_head_is_fetched_before_an_imported_one_and_replaces_it() {
    let world = World::with_importer();
    for metadata in ["own", "imported"] {
        let folder = format!("of-{metadata}");
        world.copy("llama", &folder);
        world.copy(metadata, &format!("{folder}/weighbridge"));
    }
    let fetch = "-o fetched --name org/llama --trust both.toml";
    world.run(&format!("fetch of-imported {fetch}")).done().prints(IMPORTED);
    for sources in ["of-imported of-own", "of-own of-imported"] {
        world.run(&format!("fetch {sources} {fetch}")).done().prints(OWN);
        assert_eq!(world.read("fetched/weighbridge/head.note"), world.read("own/head.note"));
    }
}
