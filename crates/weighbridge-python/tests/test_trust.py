"""Trust is said once for a process; without it nothing is loaded."""

import json
import os
import subprocess

import pytest

from conftest import NAME, WEIGHBRIDGE

LOAD = "from weighbridge.numpy import load_file\nload_file(FILE)\nprint('loaded')"
NONE = "pass"


def last(done) -> str:
    assert done.returncode != 0, done.stdout
    return done.stderr.strip().splitlines()[-1]


def test_without_trust_nothing_is_loaded_and_it_is_said_how_to_give_it(model):
    said = last(model.python(LOAD, trust=NONE))
    assert "NoTrust" in said and "weighbridge.trust(" in said and "WEIGHBRIDGE_TRUST" in said and "[W9003]" in said


def test_without_a_name_nothing_is_loaded(model):
    said = last(model.python(LOAD, trust=f"weighbridge.trust(vkeys=[{model.vkey!r}])"))
    assert "which model is meant" in said and "name=" in said


def test_each_way_to_trust(model):
    head = json.loads(model.run("inspect", model.folder, "--json").splitlines()[0])["head"]
    for trust in (
        f"weighbridge.trust(vkeys=[{model.vkey!r}], name={NAME!r})",
        f"weighbridge.trust(head={head!r})",
        f"weighbridge.trust(vkeys=(line for line in [{model.vkey!r} + chr(10)]), name={NAME!r})",
    ):
        assert model.prints(LOAD, trust=trust) == "loaded\n"
    assert model.prints("weighbridge.safe_open(FILE, 'np', name='org/tiny'); print('loaded')",
                        trust=f"weighbridge.trust(vkeys=[{model.vkey!r}])") == "loaded\n"


def test_a_policy_is_taken_from_a_file_or_from_the_environment(model):
    policy = model.home / "config/weighbridge/trust.toml"
    environment = os.environ | {"XDG_CONFIG_HOME": str(model.home / "config"), "HOME": str(model.home)}
    added = subprocess.run([WEIGHBRIDGE, "trust", "add", "alice", model.vkey, "--scope", "org/*"], env=environment)
    assert added.returncode == 0
    assert model.prints(LOAD, trust=f"weighbridge.trust(policy={str(policy)!r}, name={NAME!r})") == "loaded\n"
    load = LOAD.replace("load_file(FILE)", f"load_file(FILE, name={NAME!r})")
    assert model.prints(load, trust=NONE, environment={"WEIGHBRIDGE_TRUST": str(policy)}) == "loaded\n"
    policy.write_text("version = 2")
    assert "Refused" in last(model.python(load, trust=NONE, environment={"WEIGHBRIDGE_TRUST": str(policy)}))


def test_trust_is_not_widened(model):
    first = f"weighbridge.trust(vkeys=[{model.vkey!r}], name={NAME!r})\n"
    other = "0" * 64
    for second in (f"weighbridge.trust(head={other!r})", f"weighbridge.trust(vkeys=[{model.vkey!r}], name='org/other')"):
        assert "told already whom to trust" in last(model.python(second, trust=first))
    # The same words again are no harm, in whatever order.
    again = f"weighbridge.trust(vkeys=[{model.vkey!r}, {model.vkey!r}])\n"
    assert model.prints(first + again + LOAD, trust=first) == "loaded\n"
    # From the first use on, the environment's is fixed too.
    policy = model.home / "p.toml"
    for wrong in ("weighbridge.trust()", f"weighbridge.trust(head={other!r}, vkeys=[])", "weighbridge.trust(vkeys='line')"):
        assert "Misuse" in last(model.python(wrong, trust=NONE))


def test_a_wrong_name_key_or_head_is_refused(model):
    other = model.home / "keys"
    model.run("keygen", "mallory", "-o", other, "--unencrypted")
    mallory = (other / "mallory.vkey").read_text().strip()
    for trust, code in [
        (f"weighbridge.trust(vkeys=[{model.vkey!r}], name='org/other')", "W32"),
        (f"weighbridge.trust(vkeys=[{mallory!r}], name={NAME!r})", "W31"),
        (f"weighbridge.trust(head={'0' * 64!r})", "W3"),
    ]:
        said = last(model.python(LOAD, trust=trust))
        assert "Refused" in said and f"[{code}" in said, said
    assert "Misuse" in last(model.python(LOAD, trust="weighbridge.trust(head='zz')"))


def test_metadata_may_lie_elsewhere(model):
    meta = model.home / "published"
    (model.folder / "weighbridge").rename(meta)
    said = last(model.python(LOAD))
    assert "CouldNotTell" in said and "belongs to no signed model" in said and "WEIGHBRIDGE_META" in said
    load = LOAD.replace("load_file(FILE)", f"load_file(FILE, meta={str(meta)!r})")
    assert model.prints(load) == "loaded\n"
    assert model.prints(LOAD, environment={"WEIGHBRIDGE_META": str(meta)}) == "loaded\n"
    load = LOAD.replace("load_file(FILE)", f"load_file(FILE, meta={str(model.home / 'none')!r})")
    assert "CouldNotTell" in last(model.python(load))


def test_a_snapshot_of_a_cache_says_which_model_it_is(model):
    hub = model.home / "hub"
    model.run("fetch", model.folder, f"--hf-cache={hub}", "--name", NAME, "--vkey", model.vkey)
    snapshot = next((hub / "models--org--tiny/snapshots").iterdir())
    trust = f"weighbridge.trust(vkeys=[{model.vkey!r}])"
    load = LOAD.replace("load_file(FILE)", f"load_file({str(snapshot / 'model.safetensors')!r})")
    assert model.prints(load, trust=trust) == "loaded\n"
    assert "tiny" in model.prints(f"print(weighbridge.verify({str(snapshot)!r}).name)", trust=trust)
    renamed = hub / "models--org--other"
    (hub / "models--org--tiny").rename(renamed)
    said = last(model.python(load.replace("models--org--tiny", "models--org--other"), trust=trust))
    assert "Refused" in said, said


@pytest.mark.parametrize("where", ["onnx", "a/b/c"])
def test_files_below_the_model_are_found(model, where):
    deep = model.folder / where
    deep.mkdir(parents=True)
    model.file.rename(deep / "model.safetensors")
    model.weigh("--force")
    load = LOAD.replace("load_file(FILE)", f"load_file({str(deep / 'model.safetensors')!r})")
    assert model.prints(load) == "loaded\n"


def test_the_users_own_policy_is_used_on_a_terminal_alone(model):
    environment = {"XDG_CONFIG_HOME": str(model.home / "config"), "HOME": str(model.home)}
    added = [WEIGHBRIDGE, "trust", "add", "alice", model.vkey, "--scope", "org/*"]
    subprocess.run(added, env=os.environ | environment, check=True)
    load = LOAD.replace("load_file(FILE)", f"load_file(FILE, name={NAME!r})")
    assert "NoTrust" in last(model.python(load, trust=NONE, environment=environment))
    _, terminal = os.openpty()
    done = model.python(load, trust=NONE, environment=environment, stdin=terminal)
    exposed = [path for path in model.home.parents if path.stat().st_mode & 0o022 and not path.stat().st_mode & 0o1000]
    assert exposed or done.stdout == "loaded\n", done.stderr
    (model.home / "config/weighbridge/trust.toml").chmod(0o666)
    assert "[W9006]" in last(model.python(load, trust=NONE, environment=environment, stdin=terminal))
