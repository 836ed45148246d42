"""Models for the tests, weighed and signed by the command whose path is in WEIGHBRIDGE."""

import os
import subprocess
import sys
from pathlib import Path

import numpy
import pytest
from safetensors.numpy import save_file

WEIGHBRIDGE = os.environ["WEIGHBRIDGE"]
NAME = "org/tiny"


class Model:
    """A model folder, its key, and what was saved into it."""

    def __init__(self, home: Path, tensors: dict) -> None:
        self.home, self.tensors = home, tensors
        self.folder = home / "model"
        self.file = self.folder / "model.safetensors"
        self.folder.mkdir()
        save_file(tensors, self.file, metadata={"format": "np"})
        (self.folder / "config.json").write_text("{}")
        self.run("keygen", "alice", "-o", home / "keys", "--unencrypted")
        self.vkey = (home / "keys/alice.vkey").read_text().strip()
        self.weigh()

    def weigh(self, *more) -> None:
        self.run("weigh", self.folder, "--name", NAME, "--key", self.home / "keys/alice.key", "--chunk-size", "16KiB", *more)

    def run(self, *words) -> str:
        environment = os.environ | {"XDG_STATE_HOME": str(self.home / "state"), "HOME": str(self.home)}
        done = subprocess.run([WEIGHBRIDGE, *map(str, words)], capture_output=True, text=True, env=environment)
        assert done.returncode == 0, done.stderr
        return done.stdout

    def flip(self, tensor: str, byte: int = 0) -> int:
        """Flips a bit of a tensor; returns the place of the byte in the file."""
        data = bytearray(self.file.read_bytes())
        place = data.find(self.tensors[tensor].tobytes()) + byte
        data[place] ^= 1
        self.file.write_bytes(data)
        return place

    def python(self, code: str, *, trust: str = "", environment: dict = {}, **words) -> subprocess.CompletedProcess:
        """Runs a program in a process of its own: trust is said once for each."""
        prelude = "import weighbridge, numpy, sys\n" + (trust or f"weighbridge.trust(vkeys=[{self.vkey!r}], name={NAME!r})") + "\n"
        prelude += f"FILE, FOLDER, HOME = {str(self.file)!r}, {str(self.folder)!r}, {str(self.home)!r}\n"
        env = {k: v for k, v in os.environ.items() if not k.startswith("WEIGHBRIDGE")} | environment
        return subprocess.run([sys.executable, "-c", prelude + code], capture_output=True, text=True, env=env, **words)

    def prints(self, code: str, **how) -> str:
        done = self.python(code, **how)
        assert done.returncode == 0, done.stderr
        return done.stdout


def some_tensors() -> dict:
    random = numpy.random.default_rng(7)
    return {
        "first": random.standard_normal((64, 128)).astype("f4"),
        "matrix": random.integers(-9, 9, (50, 40, 30)).astype("i2"),
        "scalar": numpy.array(3.5),
        "empty": numpy.zeros((0, 4), "f4"),
        "bytes": random.integers(0, 255, 100_000).astype("u1"),
        "last": random.standard_normal(70_000).astype("f8"),
    }


@pytest.fixture
def model(tmp_path):
    return Model(tmp_path, some_tensors())


@pytest.fixture(scope="session")
def shared(tmp_path_factory):
    """A model that no test changes, trusted by this process."""
    import weighbridge

    model = Model(tmp_path_factory.mktemp("shared"), some_tensors())
    weighbridge.trust(vkeys=[model.vkey], name=NAME)
    return model
