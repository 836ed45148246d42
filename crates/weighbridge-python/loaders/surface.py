"""Runs the tests that safetensors has of its own Python package against ours: a plug-in of pytest.

Whatever a test saves is weighed and signed before it is loaded again, so that the tests run as they are. ``DIFFERENT`` has those that
end otherwise, each with the reason; a test that is in it and passes is told, too.
"""

import hashlib
import os
import shutil
import subprocess
import tempfile
import threading
from pathlib import Path

import pytest
import safetensors
import safetensors.numpy
import safetensors.torch

import weighbridge
import weighbridge.numpy
import weighbridge.torch
from weighbridge._frameworks import vouched

NAME = "org/surface"
COMMAND = os.environ["WEIGHBRIDGE"]
HOME = Path(tempfile.mkdtemp(prefix="surface-"))

DIFFERENT = {
    "test_simple.py::ReadmeTestCase::test_numpy_slice": "each message of a refused index ends with the number of the error",
}
one_at_a_time = threading.Lock()


def run(*words) -> None:
    environment = os.environ | {"XDG_STATE_HOME": str(HOME / "state"), "HOME": str(HOME)}
    done = subprocess.run([COMMAND, *map(str, words)], capture_output=True, text=True, env=environment)
    if done.returncode != 0:
        raise safetensors.SafetensorError(done.stderr)


def signed_bytes(data: bytes) -> Path:
    """A model of one file with these bytes, signed."""
    folder = HOME / hashlib.sha256(data).hexdigest()
    with one_at_a_time:
        if not folder.exists():
            folder.mkdir()
            (folder / "model.safetensors").write_bytes(data)
            run("weigh", folder, "--name", NAME, "--key", HOME / "keys/surface.key")
    return folder


def signed(filename) -> Path:
    """The file, where it lies in a signed model; a name without a file stays what it is."""
    path = Path(os.fspath(filename))
    return signed_bytes(path.read_bytes()) / "model.safetensors" if path.is_file() else path


class Opened(weighbridge.safe_open):
    def __init__(self, filename, *more, **named):
        super().__init__(signed(filename), *more, **named)


def of_file(load):
    return lambda filename, *more, **named: load(signed(filename), *more, **named)


def of_bytes(theirs, ours):
    # Ours lets theirs make arrays of what it has verified.
    return lambda data: theirs(data) if vouched.get() is data else ours(data, model=signed_bytes(bytes(data)))


def pytest_configure(config) -> None:
    run("keygen", "surface", "-o", HOME / "keys", "--unencrypted")
    weighbridge.trust(vkeys=[(HOME / "keys/surface.vkey").read_text()], name=NAME)
    safetensors.safe_open = Opened
    for theirs, ours in ((safetensors.numpy, weighbridge.numpy), (safetensors.torch, weighbridge.torch)):
        theirs.safe_open, theirs.load_file = Opened, of_file(ours.load_file)
        theirs.load = of_bytes(theirs.load, ours.load)
    load_model = weighbridge.torch.load_model
    safetensors.torch.load_model = lambda model, filename, *more, **named: load_model(model, signed(filename), *more, **named)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item, call):
    report = yield
    reason = DIFFERENT.get(item.nodeid.split("/")[-1])
    if reason is not None and report.when == "call" and not report.skipped:
        report.outcome = "skipped" if report.failed else "failed"
        where = ("surface.py", 0, f"differs: {reason}")
        report.longrepr = where if report.outcome == "skipped" else f"passes, but is listed as different: {reason}"
    return report


def pytest_unconfigure(config) -> None:
    shutil.rmtree(HOME, ignore_errors=True)
