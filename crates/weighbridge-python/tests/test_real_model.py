"""A model that nobody here wrote: all-MiniLM-L6-v2, whose folder is in WEIGHBRIDGE_REAL_MODEL. Without it, this is skipped."""

import json
import os
import shutil
from pathlib import Path

import pytest
import safetensors

from conftest import Model

REAL = os.environ.get("WEIGHBRIDGE_REAL_MODEL")
pytestmark = pytest.mark.skipif(not REAL, reason="the real model was not downloaded")
CHUNK = 16 << 10


@pytest.fixture(scope="module")
def real(tmp_path_factory):
    model = Model(tmp_path_factory.mktemp("real"), {})
    shutil.rmtree(model.folder)
    shutil.copytree(REAL, model.folder)
    model.file = next(Path(model.folder).rglob("model.safetensors"))
    model.weigh()
    return model


def test_all_tensors_are_those_of_safetensors(real):
    code = """
import safetensors.numpy, weighbridge.numpy
theirs, ours = safetensors.numpy.load_file(FILE), weighbridge.numpy.load_file(FILE)
assert theirs.keys() == ours.keys()
for name, array in theirs.items():
    assert array.dtype == ours[name].dtype and array.shape == ours[name].shape and array.tobytes() == ours[name].tobytes(), name
print(len(ours), weighbridge.verify(FOLDER).files)
"""
    assert real.prints(code).split() == ["104", "13"]


def test_three_of_its_tensors_need_their_chunks_alone(real):
    opened = safetensors.safe_open(real.file, "np")
    names = opened.offset_keys()
    wanted = [names[at] for at in (0, 50, 100)]
    # Where they lie, from the header as it is.
    data = real.file.read_bytes()
    length = int.from_bytes(data[:8], "little")
    header = json.loads(data[8 : 8 + length])
    chunks = set(range(0, (8 + length - 1) // CHUNK + 1))
    for name in wanted:
        start, end = (8 + length + place for place in header[name]["data_offsets"])
        chunks |= set(range(start // CHUNK, (end - 1) // CHUNK + 1))
    code = f"""
file = weighbridge.safe_open(FILE, "np")
for name in {wanted!r}:
    file.get_tensor(name)
print(file._model.native.reads()[0])
"""
    assert int(real.prints(code)) == len(chunks) < len(data) // CHUNK // 2


def test_a_tampered_tensor_is_named_and_its_neighbours_load(real):
    names = safetensors.safe_open(real.file, "np").offset_keys()
    before, bad, behind = names[40:43]
    data = bytearray(real.file.read_bytes())
    length = int.from_bytes(data[:8], "little")
    start, end = json.loads(data[8 : 8 + length])[bad]["data_offsets"]
    place = 8 + length + (start + end) // 2
    data[place] ^= 1
    whole = real.file.read_bytes()
    real.file.write_bytes(data)
    try:
        code = f"""
file = weighbridge.safe_open(FILE, "np")
for name in {[before, behind]!r}:
    file.get_tensor(name)
try:
    file.get_tensor({bad!r})
except weighbridge.Refused as error:
    print(error.code, error.file, error.tensor, error.chunk)
"""
        assert real.prints(code).split() == ["2102", real.file.name, bad, str(place // CHUNK)]
    finally:
        real.file.write_bytes(whole)
