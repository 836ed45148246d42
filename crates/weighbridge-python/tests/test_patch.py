"""Code that is not touched loads verified tensors."""

import pytest

from conftest import NAME

# A program that knows safetensors alone.
THEIRS = """
from safetensors import safe_open
from safetensors.numpy import load, load_file

def program(file):
    with safe_open(file, framework="np") as opened:
        opened.get_slice("matrix")[0:3]
        total = sum(opened.get_tensor(name).nbytes for name in opened.keys())
    assert total == sum(array.nbytes for array in load_file(file).values())
    with open(file, "rb") as opened:
        assert total == sum(array.nbytes for array in load(opened.read()).values())
    return total
"""


def test_inside_everything_is_verified_and_outside_nothing_has_changed(model):
    code = THEIRS + """
import safetensors, safetensors.numpy
before = (safetensors.safe_open, safetensors.numpy.load, safe_open, safetensors.numpy.safe_open)
with weighbridge.patch(), weighbridge.patch():
    model = weighbridge.safe_open(FILE, "np")
    program(FILE)
    assert issubclass(safe_open, weighbridge.safe_open)
    data = bytearray(open(FILE, "rb").read())
    data[-1] ^= 1
    open(FILE, "wb").write(data)
    for load_it in (lambda: program(FILE), lambda: load_file(FILE), lambda: load(bytes(data))):
        try:
            load_it()
            print("LOADED")
        except weighbridge.Refused as error:
            print(error.code)
assert before == (safetensors.safe_open, safetensors.numpy.load, safe_open, safetensors.numpy.safe_open)
program(FILE)
"""
    assert model.prints(code).split() == ["2102", "2102", "2105"]


def test_what_is_imported_inside_is_patched_and_restored(model):
    code = """
import safetensors
with weighbridge.patch():
    from safetensors import safe_open
    from safetensors.numpy import load_file
    assert issubclass(safe_open, weighbridge.safe_open)
    load_file(FILE)
    try:
        load_file(FOLDER + "/../other.safetensors")
    except weighbridge.CouldNotTell as error:
        print(error.code)
import safetensors.numpy
assert safetensors.numpy.safe_open is safe_open is safetensors.safe_open is not weighbridge.safe_open
print(len(load_file(FOLDER + "/../other.safetensors")))
"""
    (model.home / "other.safetensors").write_bytes(model.file.read_bytes())
    assert model.prints(code).split() == ["9002", str(len(model.tensors))]


def test_what_was_imported_from_here_stays_what_it_is(model):
    code = """
from weighbridge import safe_open
from weighbridge.numpy import deserialize, load_file
before = (safe_open, deserialize, load_file)
with weighbridge.patch():
    assert before == (safe_open, deserialize, load_file)
assert before == (safe_open, deserialize, load_file)
data = bytearray(open(FILE, "rb").read())
data[-1] ^= 1
open(FILE, "wb").write(data)
for load in (lambda: safe_open(FILE, "np").get_tensors(), lambda: load_file(FILE), lambda: deserialize(bytes(data))):
    try:
        load()
        print("LOADED")
    except weighbridge.WeighbridgeError as error:
        print(error.code)
"""
    assert model.prints(code).split() == ["2102", "2102", "9001"]


def test_frameworks_that_safetensors_makes_from_bytes_are_patched_too(model):
    code = """
import weighbridge._frameworks as frameworks
frameworks._OTHERS["other"] = "numpy"
for patched in (False, True):
    with weighbridge.patch() if patched else __import__("contextlib").nullcontext():
        with weighbridge.safe_open(FILE, "other") as file:
            print(file.get_tensor("matrix").shape, file.get_slice("matrix")[3:5].shape)
"""
    assert model.prints(code).splitlines() == ["(50, 40, 30) (2, 40, 30)"] * 2


def test_an_exception_leaves_nothing_patched(model):
    code = """
import safetensors
try:
    with weighbridge.patch():
        raise ValueError
except ValueError:
    print(safetensors.safe_open is weighbridge.safe_open)
"""
    assert model.prints(code).split() == ["False"]


RUN = "import subprocess, sys\nsys.exit(subprocess.call([sys.executable, '-m', 'weighbridge', 'run', *{words}]))"


@pytest.fixture
def script(model):
    script = model.home / "script.py"
    script.write_text(THEIRS + "import sys\nprint(program(sys.argv[1]), sys.argv[0] == __file__, __name__)\n")
    return script


def run(model, *words, **how):
    policy = {"WEIGHBRIDGE_TRUST": str(policy_of(model))}
    return model.python(RUN.format(words=[str(word) for word in words]), trust="pass", environment=policy | how.pop("environment", {}))


def policy_of(model):
    policy = model.home / "config/weighbridge/trust.toml"
    if not policy.exists():
        import os
        import subprocess

        from conftest import WEIGHBRIDGE

        environment = os.environ | {"XDG_CONFIG_HOME": str(model.home / "config"), "HOME": str(model.home)}
        subprocess.run([WEIGHBRIDGE, "trust", "add", "alice", model.vkey, "--scope", "org/*"], env=environment, check=True)
    return policy


def test_a_script_is_run_with_verified_tensors(model, script):
    done = run(model, "--name", NAME, "--model", model.folder, script, model.file)
    total = sum(array.nbytes for array in model.tensors.values())
    assert done.stdout.split() == [str(total), "True", "__main__"], done.stderr
    assert run(model, script, model.file).returncode != 0, "no name"


def test_a_model_of_which_another_file_is_bad_is_refused_before_the_script_uses_it(model, script):
    (model.folder / "config.json").write_text("{x")
    done = run(model, "--name", NAME, script, model.file)
    assert done.returncode != 0 and "config.json" in done.stderr and "[W21" in done.stderr, done.stderr


def test_children_verify_too_and_pickles_are_refused(model, script):
    parent = model.home / "parent.py"
    parent.write_text("import subprocess, sys\nsys.exit(subprocess.call([sys.executable, *sys.argv[1:]]))\n")
    assert run(model, "--name", NAME, parent, script, model.file).returncode == 0
    data = bytearray(model.file.read_bytes())
    data[-1] ^= 1
    model.file.write_bytes(data)
    done = run(model, "--name", NAME, parent, script, model.file)
    assert done.returncode != 0 and "Refused" in done.stderr, done.stderr
    (model.home / "torch.py").write_text("def load(*_, **__):\n    print('LOADED')\n")
    pickled, asked = model.home / "pickled.py", model.home / "asked.py"
    pickled.write_text("import torch\ntorch.load('x.pt')\n")
    asked.write_text("import importlib.util\nimportlib.util.find_spec('torch')\nimport torch\ntorch.load('x.pt')\n")
    for words in ([pickled], [parent, pickled], [asked], [parent, asked]):
        done = run(model, "--name", NAME, *words)
        assert done.returncode != 0 and "torch.load" in done.stderr and "LOADED" not in done.stdout, done.stderr


def test_a_child_that_cannot_verify_does_not_begin(model, script):
    parent = model.home / "parent.py"
    parent.write_text(
        "import os, subprocess, sys\nos.environ['WEIGHBRIDGE_TRUST'] = '/nowhere'\n"
        "sys.exit(subprocess.call([sys.executable, '-c', 'print(\\'BEGUN\\')']))\n"
    )
    done = run(model, "--name", NAME, parent)
    assert done.returncode != 0 and "BEGUN" not in done.stdout, done
    # A relative path means the same to a child with another working directory.
    parent.write_text("import subprocess, sys\nsys.exit(subprocess.call([sys.executable, *sys.argv[1:]], cwd='/'))\n")
    done = model.python(RUN.format(words=["--name", NAME, str(parent), str(script), str(model.file)]), trust="pass",
                        environment={"WEIGHBRIDGE_TRUST": "trust.toml"}, cwd=policy_of(model).parent)
    assert done.returncode == 0, done.stderr
