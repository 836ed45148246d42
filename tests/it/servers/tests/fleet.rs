//! The models that are served.

use std::fs;

use crate::servers::Fleet;

#[test]
fn a_fleet_has_two_revisions_and_another_model() {
    let fleet = Fleet::of(1_000_000, "16KiB");
    let (second, other) = (fleet.revise(), fleet.other_model());
    let Fleet { world, name, vkey, model, .. } = &fleet;
    let verify = |line: &str| world.run_with(line, &["--vkey", vkey]).done();
    let _ = verify(&format!("verify first --name {name} --tensors"));
    let _ = verify(&format!("verify second --name {name} --min-revision 2"));
    let _ = verify("verify other --name org/other");

    let read = |folder: &std::path::Path, file: &str| fs::read(folder.join(file)).unwrap();
    let files = fleet.files();
    let changed = files.iter().filter(|file| read(model, file) != read(&second, file));
    assert_eq!(changed.collect::<Vec<_>>(), Fleet::CHANGED.as_slice());
    for shard in files.iter().filter(|file| file.ends_with(".safetensors")) {
        let (one, another) = (read(model, shard), read(&other, shard));
        assert!(one.len() == another.len() && one != another, "{shard}");
    }
    fleet.assert_same(model, model);
    let differs = || fleet.assert_same(&second, model);
    assert!(std::panic::catch_unwind(std::panic::AssertUnwindSafe(differs)).is_err());
}
