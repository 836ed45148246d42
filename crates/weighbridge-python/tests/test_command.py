"""What the command does, as functions."""

import json

import pytest

import weighbridge
from conftest import NAME


def test_a_model_is_weighed_signed_proven_and_checked(model):
    model.run("keygen", "bob", "-o", model.home / "keys", "--unencrypted")
    code = f"""
weighed = weighbridge.weigh(FOLDER, name={NAME!r}, key=HOME + "/keys/alice.key", chunk_size=32768, force=True)
assert (weighed.name, weighed.revision, weighed.signers, weighed.files) == ({NAME!r}, 1, ["alice"], 2), weighed
signed = weighbridge.sign(FOLDER, key=HOME + "/keys/bob.key")
assert (signed.signer, signed.added, signed.head) == ("bob", True, weighed.head)
assert weighbridge.verify(FOLDER).head == weighed.head
length = weighbridge.prove(FOLDER, HOME + "/proof", files=["config.json"], absent=["evil.pkl"])
assert length == len(open(HOME + "/proof", "rb").read())
checked = weighbridge.check(HOME + "/proof", files=["config.json"], absent=["evil.pkl"])
assert (checked.head, checked.files, checked.absent) == (weighed.head, 2, 1), checked  # a neighbour of what is absent is shown
for wrong in (dict(files=["other.json"]), dict(name="org/other")):
    try:
        weighbridge.check(HOME + "/proof", **wrong)
    except weighbridge.Refused as error:
        print(error.code)
try:
    weighbridge.weigh(FOLDER, name={NAME!r})
except weighbridge.CouldNotTell as error:
    print(error.code, "--force" in str(error))
try:
    weighbridge.weigh(FOLDER, name="not a name")
except weighbridge.Misuse as error:
    print(error.code)
"""
    lines = model.prints(code).splitlines()
    assert len(lines) == 4 and lines[2:] == ["9101 True", "9001"], lines


def test_a_model_is_fetched_with_events(model):
    code = """
with weighbridge.fetch([FOLDER], HOME + "/into") as fetching:
    events = [event["event"] for event in fetching]
    fetched = fetching.result()
assert events[0] in ("source", "head") and "wanted" in events and events[-1] == "result", events
assert fetched.files == 2 and fetched.folder == HOME + "/into"
assert weighbridge.verify(HOME + "/into").head == fetched.head
snapshot = weighbridge.fetch(FOLDER, hf_cache=HOME + "/hub", only=["*.safetensors"]).result().folder
print(sorted(weighbridge.numpy.load_file(snapshot + "/model.safetensors")))
try:
    weighbridge.fetch("http://127.0.0.1:1", HOME + "/none").result()
except weighbridge.CouldNotTell as error:
    print(error.code)
with weighbridge.fetch(FOLDER, HOME + "/stopped", limit_rate=1000) as fetching:
    for event in fetching:
        if event["event"] == "wanted":
            break
import os
print(os.path.exists(HOME + "/stopped/model.safetensors"))
"""
    lines = model.prints("import weighbridge.numpy\n" + code).splitlines()
    assert lines == [str(sorted(model.tensors)), "9201", "False"]


def test_a_fetch_is_of_the_model_that_is_trusted(model):
    for how, kind in [
        ("name='org/other'", "Refused"),
        ("head='" + "0" * 64 + "'", "Refused"),
    ]:
        done = model.python(f"weighbridge.fetch(FOLDER, HOME + '/into', {how}).result()")
        assert kind in done.stderr.splitlines()[-1], done.stderr
    assert "NoTrust" in model.python("weighbridge.fetch(FOLDER, HOME + '/into')", trust="pass").stderr
    done = model.prints("print(weighbridge.fetch(FOLDER, HOME + '/into').result().files)",
                        trust=f"weighbridge.trust(vkeys=[{model.vkey!r}], name={NAME!r})")
    assert done == "2\n"


def test_python_and_the_command_agree_about_refusals():
    for code, refused in [(2101, True), (4108, False), (4314, False), (9001, False), (9999, False)]:
        assert weighbridge._errors.is_refusal(code) is refused
    with pytest.raises(TypeError):
        weighbridge.weigh("x")


def test_no_argument_passes_for_an_option(model):
    model.run("keygen", "evil", "-o", model.home / "keys", "--unencrypted")
    evil = (model.home / "keys/evil.vkey").read_text().strip()
    model.weigh("--force")
    code = f"""
weighbridge.weigh(FOLDER, name={NAME!r}, key=HOME + "/keys/evil.key", force=True)
for sources in ([FOLDER, "--vkey={evil}"], ["--vkey={evil}", FOLDER], [FOLDER, "--any-name"]):
    try:
        print(weighbridge.fetch(sources, HOME + "/into").result())
    except weighbridge.WeighbridgeError as error:
        print("no")
for call in (lambda: weighbridge.fetch(FOLDER, HOME + "/into", only=["--vkey={evil}"]).result(),
             lambda: weighbridge.check("--help"), lambda: weighbridge.sign("--help", key="x")):
    try:
        print(call())
    except weighbridge.WeighbridgeError:
        print("no")
"""
    assert model.prints(code).split() == ["no"] * 6


def test_trust_in_a_head_is_that_head_alone(model):
    code = f"""
import json
other = weighbridge.weigh(FOLDER, name={NAME!r}, key=HOME + "/keys/alice.key", chunk_size=65536, force=True)
for call in (lambda: weighbridge.fetch(FOLDER, HOME + "/into", head=other.head).result(),
             lambda: weighbridge.verify(FOLDER, head=other.head), lambda: weighbridge.fetch(FOLDER, HOME + "/into").result()):
    try:
        print(call())
    except weighbridge.Refused as error:
        print(error.code)
"""
    head = json.loads(model.run("inspect", model.folder, "--json").splitlines()[0])["head"]
    lines = model.prints(code, trust=f"weighbridge.trust(head={head!r})").split()
    assert lines[:2] == ["3106", "3106"] and len(lines) == 3, lines


def test_a_fetch_that_failed_fails_again_and_one_that_is_dropped_ends(model):
    code = """
import gc, time, os
failed = weighbridge.fetch("http://127.0.0.1:1", HOME + "/none")
for _ in range(2):
    try:
        print(failed.result())
    except weighbridge.CouldNotTell as error:
        print(error.code)
slow = weighbridge.fetch(FOLDER, HOME + "/slow", limit_rate=1000)
for event in slow:
    if event["event"] == "wanted":
        break
call = slow._call
del slow, event
gc.collect()
while call.next() is not None:
    pass
print("ended")
"""
    assert model.prints(code, timeout=60).split() == ["9201", "9201", "ended"]
