"""What is loaded is what was signed, as safetensors itself loads it."""

import json
import pickle
import threading

import numpy
import pytest
import safetensors
from safetensors import SafetensorError
from safetensors.numpy import save_file

import weighbridge
import weighbridge.numpy
from conftest import NAME, Model


def theirs(model):
    return safetensors.safe_open(model.file, "np")


def same(one, other) -> bool:
    return one.dtype == other.dtype and one.shape == other.shape and one.tobytes() == other.tobytes()


def test_every_tensor_is_that_of_safetensors(shared):
    with weighbridge.safe_open(shared.file, framework="np") as file:
        assert file.keys() == theirs(shared).keys()
        assert file.offset_keys() == theirs(shared).offset_keys()
        assert file.metadata() == theirs(shared).metadata()
        for name in file.keys():
            array = file.get_tensor(name)
            assert same(array, theirs(shared).get_tensor(name)), name
            assert array.flags.writeable
        for arrays in file.get_tensors(), weighbridge.numpy.load_file(shared.file):
            assert arrays.keys() == shared.tensors.keys()
            assert all(same(arrays[name], array) for name, array in shared.tensors.items())


INDICES = [
    "[...]", "[:]", "[0]", "[-1]", "[3:7]", "[3:7, 5]", "[:, 2:4]", "[..., 0]", "[:, :, ::7]", "[::3]", "[1::2, ::5, 3:9:2]", "[0, 0, 0]",
    "[10, ...]", "[..., 5:6]", "[0, :, 3]", "[49:50, 39, 29]", "[numpy.int64(4)]", "[True]", "[:, 39:40, :]", "[[]]",
]


@pytest.mark.parametrize("index", INDICES)
def test_a_slice_is_that_of_safetensors(shared, index):
    ours = weighbridge.safe_open(shared.file, "np").get_slice("matrix")
    assert ours.get_shape() == theirs(shared).get_slice("matrix").get_shape()
    assert ours.get_dtype() == theirs(shared).get_slice("matrix").get_dtype()
    values = {"numpy": numpy, "ours": ours, "theirs": theirs(shared).get_slice("matrix")}
    assert same(eval(f"ours{index}", values), eval(f"theirs{index}", values))


@pytest.mark.parametrize("index", ["[None]", "[50]", "[-51]", "[0:51]", "[0, 0, 0, 0]", "[[0, 1]]", "[:, [0]]", "[[[]]]", "[3:7, []]", "[..., ...]", "['a']"])
def test_an_index_that_safetensors_refuses_is_refused(shared, index):
    values = {"ours": weighbridge.safe_open(shared.file, "np").get_slice("matrix"), "theirs": theirs(shared).get_slice("matrix")}
    for whose in ("ours", "theirs"):
        with pytest.raises(SafetensorError):
            eval(f"{whose}{index}", values)


# Where safetensors fails by accident, or gives nothing, we do what numpy does.
@pytest.mark.parametrize("index", ["[1:0]", "[-3:]", "[:-1]", "[:, -2:]", "[50:50]", "[5:5, 0]"])
def test_an_index_on_which_safetensors_stumbles_is_that_of_numpy(shared, index):
    ours = weighbridge.safe_open(shared.file, "np").get_slice("matrix")
    assert same(eval(f"ours{index}"), eval(f"numpy.ascontiguousarray(array{index})", {"numpy": numpy, "array": shared.tensors["matrix"]}))


def test_scalars_and_empty_tensors_have_slices(shared):
    file = weighbridge.safe_open(shared.file, "np")
    assert same(file.get_slice("scalar")[...], shared.tensors["scalar"])
    assert same(file.get_slice("scalar")[()], shared.tensors["scalar"])
    assert file.get_slice("empty")[...].shape == (0, 4)


def test_large_tensors_are_loaded_wherever_they_lie_in_the_file(tmp_path):
    """Also where the format allows it and nobody writes it: at places that are no multiple of an element."""
    random, tensors, header, data = numpy.random.default_rng(3), {}, {}, b""
    for at, dtype in enumerate(("u1", "f4", "u1", "f8", "u1", "i2", "u1")):
        name = f"tensor.{at}"
        count = 5 + at if dtype == "u1" else 1_300_000
        tensors[name] = random.integers(0, 100, count).astype(dtype)
        bytes_of = tensors[name].tobytes()
        kind = {"u1": "U8", "f4": "F32", "f8": "F64", "i2": "I16"}[dtype]
        header[name] = {"dtype": kind, "shape": [count], "data_offsets": [len(data), len(data) + len(bytes_of)]}
        data += bytes_of
    model = Model(tmp_path, {"none": numpy.zeros(1)})
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    model.file.write_bytes(len(text).to_bytes(8, "little") + text + data)
    model.weigh("--force")
    numpy.savez(tmp_path / "expected.npz", **tensors)
    code = """
import weighbridge.numpy
loaded, expected = weighbridge.numpy.load_file(FILE), numpy.load(HOME + "/expected.npz")
assert loaded.keys() == set(expected.files)
for name, array in loaded.items():
    other = expected[name]
    assert array.dtype == other.dtype and array.tobytes() == other.tobytes() and array.flags.writeable and array.flags.aligned, name
    array[:] = 0
data = bytearray(open(FILE, "rb").read())
data[-100_000] ^= 1
open(FILE, "wb").write(data)
try:
    weighbridge.safe_open(FILE, "np").get_tensor("tensor.5")
except weighbridge.Refused as error:
    print(error.code, error.tensor)
"""
    assert model.prints(code).split() == ["2102", "tensor.5"]


def test_only_chunks_of_what_is_asked_for_are_read(shared):
    file = weighbridge.safe_open(shared.file, "np")
    reads = file._model.native.reads
    size, chunk = shared.file.stat().st_size, 16 << 10
    before, _ = reads()
    file.get_tensor("first")
    after, _ = reads()
    assert after - before <= shared.tensors["first"].nbytes // chunk + 2
    file.get_tensor("scalar")
    file.get_slice("bytes")[0:10]
    last, _ = reads()
    assert last - after <= 2
    # A chunk of which a part was used is not read again.
    file.get_slice("bytes")[10:20]
    assert reads()[0] == last < size // chunk


def test_threads_share_a_handle(shared):
    file, wrong = weighbridge.safe_open(shared.file, "np"), []

    def load():
        for name, array in shared.tensors.items():
            if not same(file.get_tensor(name), array):
                wrong.append(name)

    threads = [threading.Thread(target=load) for _ in range(8)]
    [thread.start() for thread in threads]
    [thread.join() for thread in threads]
    assert not wrong


def test_a_flipped_bit_is_refused_where_it_is_and_its_neighbours_load(model):
    place = model.flip("bytes", 50_000)
    code = """
import pickle
file = weighbridge.safe_open(FILE, "np")
for name in ("first", "matrix", "last"):
    file.get_tensor(name)
file.get_slice("bytes")[0:1000]
for load in (lambda: file.get_tensor("bytes"), lambda: file.get_slice("bytes")[49_000:51_000], lambda: file.get_tensors()):
    try:
        load()
    except weighbridge.Refused as error:
        error = pickle.loads(pickle.dumps(error))
        print(error.code, error.file, error.tensor, error.chunk, *error.range, error, sep="|")
"""
    lines = model.prints(code).splitlines()
    assert len(lines) == 3
    for line in lines:
        number, file, tensor, chunk, start, end, said = line.split("|")
        assert (number, file, tensor) == ("2102", "model.safetensors", "bytes")
        assert int(start) <= place < int(end) and int(start) == int(chunk) * (16 << 10)
        assert said.endswith("[W2102]") and "model.safetensors" in said


def test_every_byte_of_the_file_is_covered(model):
    data = model.file.read_bytes()
    places = [0, 7, 8, 20, *range(100, len(data), len(data) // 40), len(data) - 1]
    code = f"for place in {places}:" + """
    data = bytearray(open(FILE, "rb").read())
    data[place] ^= 64
    open(FILE, "wb").write(data)
    try:
        weighbridge.safe_open(FILE, "np").get_tensors()
        print("LOADED", place)
    except weighbridge.Refused as error:
        print(error.code)
    data[place] ^= 64
    open(FILE, "wb").write(data)
weighbridge.safe_open(FILE, "np").get_tensors()
"""
    assert model.prints(code).split() == ["2102"] * len(places)


def test_a_file_that_is_cut_longer_missing_or_another_is_refused(model):
    data = model.file.read_bytes()
    for content, kind, code in [(data[:-1], "Refused", 2103), (data + b"x", "Refused", 2103), (b"", "Refused", 2103)]:
        model.file.write_bytes(content)
        said = model.python("weighbridge.numpy.load_file(FILE)", trust=TRUST(model)).stderr.splitlines()[-1]
        assert said.startswith(f"weighbridge.{kind}") and said.endswith(f"[W{code}]"), said
    model.file.unlink()
    assert "FileNotFoundError" in model.python("weighbridge.numpy.load_file(FILE)", trust=TRUST(model)).stderr
    save_file(model.tensors, model.folder / "other.safetensors")
    said = model.python("weighbridge.numpy.load_file(FOLDER + '/other.safetensors')", trust=TRUST(model)).stderr
    assert "not in the signed list" in said and "[W2105]" in said


def TRUST(model):
    return f"import weighbridge.numpy\nweighbridge.trust(vkeys=[{model.vkey!r}], name={NAME!r})"


def test_what_was_verified_is_what_is_handed_out(model):
    code = """
file = weighbridge.safe_open(FILE, "np")
array = file.get_tensor("last")
before = array.tobytes()
with open(FILE, "r+b") as other:
    other.seek(-1000, 2)
    other.write(bytes(1000))
assert array.tobytes() == before
with open(FILE, "r+b") as other:
    other.truncate(100)
assert array.tobytes() == before
try:
    file.get_tensor("last")
except weighbridge.Refused as error:
    print(error.code)
"""
    assert model.prints(code).split() == ["2106"]


def test_a_closed_file_and_names_that_are_not_there(shared):
    file = weighbridge.safe_open(shared.file, "np")
    for call in (lambda: file.get_tensor("none"), lambda: file.get_slice("none")):
        with pytest.raises(SafetensorError, match="File does not contain tensor none") as raised:
            call()
        assert isinstance(raised.value, weighbridge.Misuse)
        assert raised.value.tensor == "none"
    with pytest.raises(TypeError):
        file.get_tensor(3)
    with file:
        pass
    with pytest.raises(SafetensorError, match="File is closed"):
        file.keys()
    for wrong in (dict(framework="zz"), dict(framework="np", device="cuda"), dict(framework="np", backend="zz")):
        with pytest.raises(SafetensorError):
            weighbridge.safe_open(shared.file, **wrong)


def test_bytes_are_loaded_if_they_are_those_of_a_file(shared):
    data = shared.file.read_bytes()
    for given in (data, bytearray(data)):
        arrays = weighbridge.numpy.load(given, model=shared.folder)
        assert all(same(arrays[name], array) for name, array in shared.tensors.items())
    weighbridge.numpy.load(data, meta=shared.folder / "weighbridge")
    with pytest.raises(weighbridge.Refused) as refused:
        weighbridge.numpy.load(data[:-1] + b"x", model=shared.folder)
    assert refused.value.code == 2105
    with pytest.raises(weighbridge.NoTrust):
        weighbridge.numpy.load(data)


def test_saving_is_that_of_safetensors(shared, tmp_path):
    weighbridge.numpy.save_file(shared.tensors, tmp_path / "saved.safetensors")
    assert weighbridge.numpy.save(shared.tensors) == (tmp_path / "saved.safetensors").read_bytes()
    with pytest.raises(AttributeError):
        weighbridge.numpy.no_such_thing


def test_a_model_is_verified_with_progress(shared):
    told = []
    verified = weighbridge.verify(shared.folder, progress=lambda read, total: told.append((read, total)))
    assert (verified.name, verified.revision, verified.signers, verified.files) == (NAME, 1, ["alice"], 2)
    assert verified.bytes == shared.file.stat().st_size + 2
    assert told[-1] == (verified.bytes, verified.bytes)
    assert weighbridge.verify(shared.folder, tensors=True) == verified

    def fails(read, total):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        weighbridge.verify(shared.folder, progress=fails)


def test_a_bad_model_is_refused_with_place(model):
    place = model.flip("matrix", 60_000)
    (model.folder / "extra.txt").write_text("")
    code = """
try:
    weighbridge.verify(FOLDER, allow_extra=True)
except weighbridge.Refused as error:
    print(error.code, error.file, error.tensor, *error.range, error, sep="|")
try:
    weighbridge.verify(FOLDER)
except weighbridge.Refused as error:
    print(error)
"""
    first, second = model.prints(code).splitlines()
    number, file, tensor, start, end, said = first.split("|")
    assert (number, file, tensor) == ("2101", "model.safetensors", "matrix") and int(start) <= place < int(end)
    assert "1 of 2 files are not as signed" in said and "2 of 3 files" in second


def test_errors_are_by_blame(shared):
    for kind in (weighbridge.Refused, weighbridge.CouldNotTell, weighbridge.Misuse):
        assert issubclass(kind, weighbridge.WeighbridgeError)
    error = pickle.loads(pickle.dumps(weighbridge.Refused("no", 2102, file="a", chunk=1, range=(0, 5))))
    assert (str(error), error.file, error.chunk, error.range) == ("no [W2102]", "a", 1, (0, 5))


def test_a_process_that_is_forked_off_loads_too(model):
    code = """
import os, multiprocessing
import weighbridge.numpy
weighbridge.numpy.load_file(FILE)
child = os.fork()
if child == 0:
    weighbridge.numpy.load_file(FILE)
    weighbridge.verify(FOLDER)
    os._exit(7)
print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
"""
    assert model.prints(code, timeout=60).split() == ["7"]


def test_a_file_of_the_same_name_in_another_folder_is_not_taken_for_it(model):
    deep = model.folder / "unet"
    deep.mkdir()
    others = {name: array[::-1].copy() if array.ndim else array for name, array in model.tensors.items()}
    save_file(others, deep / "model.safetensors", metadata={"format": "np"})
    model.weigh("--force")
    meta = model.home / "meta"
    (model.folder / "weighbridge").rename(meta)
    code = f"""
import shutil
from weighbridge.numpy import load_file
inner = FOLDER + "/unet/model.safetensors"
assert (load_file(inner, meta={str(meta)!r})["last"] == load_file(FILE, meta={str(meta)!r})["last"][::-1]).all()
shutil.copy(FILE, inner)
try:
    load_file(inner, meta={str(meta)!r})
except weighbridge.Refused as error:
    print(error.code, error.file)
"""
    assert model.prints(code).split() == ["2102", "unet/model.safetensors"]
