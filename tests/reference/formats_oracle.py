"""Compares model files, as the packages that write them read them, with the command and the reference.

    python3 tests/reference/formats_oracle.py WEIGHBRIDGE FOLDER

For every tensor, compares name, dtype, shape, offset and size as the packages read them, as the command WEIGHBRIDGE
shows them and as the reference reads them. The files are all below FOLDER, and files that the packages write here, with
every dtype that each package can write. Then the command weighs and verifies all files. Needs the PyPI packages `gguf`,
`numpy`, `safetensors` and `mlx`.
"""

import json
import os
import struct
import subprocess
import sys
import tempfile
from pathlib import Path

import mlx.core as mx
import numpy
import safetensors
import safetensors.numpy
from gguf import GGUFEndian, GGUFReader, GGUFWriter
from gguf.constants import GGML_QUANT_SIZES, GGMLQuantizationType

from weighbridge_ref.gguf import DTYPES, parse_gguf
from weighbridge_ref.refused import Refused
from weighbridge_ref.tensors import BITS, Tensor, parse_safetensors

NUMPY = {"F32": numpy.float32, "F16": numpy.float16, "F64": numpy.float64, "I8": numpy.int8, "I16": numpy.int16,
         "I32": numpy.int32, "I64": numpy.int64}
BIG_ENDIAN = 4303
# Differences of gguf-py 0.19 and older from ggml.h and ggml-common.h, which the table follows. gguf-py corrected
# `Q8_1` in its sources in September 2026.
MISTAKEN = {9: ("Q8_1", 32, 40)}
MISSING = {42: ("Q2_0", 64, 18)}


def main(weighbridge: str, folder: str) -> int:
    check_the_table()
    check_every_dtype_of_safetensors()
    with tempfile.TemporaryDirectory() as written:
        for name, write_all in (("gguf", write_gguf), ("safetensors", write_safetensors), ("mlx", write_mlx)):
            Path(written, name).mkdir()
            write_all(Path(written, name))
        files = [path for place in (folder, written) for path in sorted(Path(place).rglob("*"))
                 if path.suffix in (".gguf", ".safetensors")]
        dtypes = {(path.suffix, tensor.dtype) for path in files for tensor in compare(weighbridge, path)}
        check_refusal(weighbridge, Path(written, "gguf", "big-endian"), Path(written))
        for name in ("gguf", "safetensors", "mlx"):
            weigh_and_verify(weighbridge, Path(written, name), Path(written, f"{name}-keys"))
    lacking = {dtype.name for dtype in GGML_QUANT_SIZES} - {dtype for suffix, dtype in dtypes if suffix == ".gguf"}
    assert not lacking, f"in no file: {lacking}"
    lacking = set(safetensors.numpy._TYPES) - {dtype for suffix, dtype in dtypes if suffix == ".safetensors"}
    assert not lacking, f"in no file: {lacking}"
    print(f"{len(files)} files and {len(dtypes)} dtypes: read alike, weighed and verified")
    return 0


def check_the_table() -> None:
    """Checks gguf-py's table apart from its known faults, and corrects those to ggml's numbers."""
    theirs = {dtype.value: (dtype.name, *sizes) for dtype, sizes in GGML_QUANT_SIZES.items()}
    for table in (MISTAKEN, MISSING):
        for number, known in table.items():
            assert theirs.get(number) in (None if table is MISSING else known, DTYPES[number]), f"new: {theirs[number]}"
    theirs |= {number: DTYPES[number] for number in MISTAKEN | MISSING}
    assert theirs == DTYPES, f"other dtypes: {set(theirs.items()) ^ set(DTYPES.items())}"
    for number in MISSING.keys() - {dtype.value for dtype in GGMLQuantizationType}:
        add_member(number)
    for number in MISTAKEN | MISSING:
        GGML_QUANT_SIZES[GGMLQuantizationType(number)] = DTYPES[number][1:]


def add_member(number: int) -> None:
    """Adds a dtype to gguf-py's enumeration that its next version will have."""
    member = int.__new__(GGMLQuantizationType, number)
    member._name_, member._value_ = DTYPES[number][0], number
    GGMLQuantizationType._member_map_[member.name] = GGMLQuantizationType._value2member_map_[number] = member


def check_every_dtype_of_safetensors() -> None:
    """Checks the reader of safetensors, since numpy lacks some dtypes, so that no writer here writes them."""
    for dtype, bits in BITS.items():
        for suffix, is_known in (("", True), ("_NEW", False)):
            members = {"a": {"dtype": dtype + suffix, "shape": [8], "data_offsets": [0, bits]}}
            header = json.dumps(members).encode()
            try:
                [(name, found)] = safetensors.deserialize(struct.pack("<Q", len(header)) + header + bytes(bits))
                assert is_known and (name, found["dtype"], len(found["data"])) == ("a", dtype, bits), found
            except safetensors.SafetensorError:
                assert not is_known, f"safetensors does not know {dtype}"


def compare(weighbridge: str, path: Path) -> list[Tensor]:
    """The tensors of a file; asserts that package, command and reference read the same."""
    data = path.read_bytes()
    ours = shown(weighbridge, path)
    if path.suffix == ".gguf":
        reference = parse_gguf(data, len(data)).tensors
        theirs = [Tensor(t.name, t.tensor_type.name, tuple(map(int, reversed(t.shape))), int(t.data_offset),
                         int(t.n_bytes)) for t in GGUFReader(path).tensors]
    else:
        reference = parse_safetensors(data, len(data))
        # The package gives bytes instead of offsets, so the bytes at our offsets are compared.
        places = {tensor.name: tensor for tensor in ours}
        theirs = []
        for name, found in safetensors.deserialize(data):
            offset, size = places[name].offset, len(found["data"])
            assert data[offset : offset + size] == found["data"], f"{path.name}: other bytes of {name!r}"
            theirs.append(Tensor(name, found["dtype"], tuple(found["shape"]), offset, size))
        if path.parent.name == "mlx":
            shapes = {name: tuple(array.shape) for name, array in mx.load(str(path)).items()}
            assert shapes == {tensor.name: tensor.shape for tensor in ours}, f"{path.name}: {shapes}"
    assert sorted(reference) == sorted(theirs), f"{path.name}: the reference reads {reference}, not {theirs}"
    theirs.sort(key=lambda tensor: (tensor.offset, tensor.size, tensor.name.encode()))
    assert ours == theirs, f"{path.name}: {set(ours) ^ set(theirs)}"
    return ours


def shown(weighbridge: str, path: Path) -> list[Tensor]:
    """The tensors of a file as the command shows them."""
    run = subprocess.run([weighbridge, "inspect", path, "--json"], capture_output=True, text=True)
    assert run.returncode == 0, f"{path.name}: {run.stderr}"
    events = [event for line in run.stdout.splitlines() if (event := json.loads(line))["event"] == "tensor"]
    return [Tensor(e["name"], e["dtype"], tuple(e["shape"]), e["offset"], e["size"]) for e in events]


def weigh_and_verify(weighbridge: str, model: Path, keys: Path) -> None:
    """Weighs and verifies all files of a folder with tensor hashes, and checks the number of tensors."""
    def run(*words) -> list[dict]:
        # The memory of accepted heads lies in a folder of this run.
        place = os.environ | {"XDG_STATE_HOME": str(keys / "state"), "HOME": str(keys)}
        done = subprocess.run([weighbridge, *words, "--json"], capture_output=True, text=True, env=place)
        assert done.returncode == 0, f"{words}: {done.stdout}{done.stderr}"
        return [json.loads(line) for line in done.stdout.splitlines()]

    run("keygen", "oracle", "-o", keys, "--unencrypted")
    weighed = run("weigh", model, "--name", "oracle/files", "--key", keys / "oracle.key")
    assert [event["event"] for event in weighed] == ["weighed"], weighed
    vkey = (keys / "oracle.vkey").read_text().strip()
    *_, result = run("verify", model, "--name", "oracle/files", "--vkey", vkey, "--tensors")
    assert result["verified"] and result["uncompared"] == 0, result
    tensors = sum(len(shown(weighbridge, path)) for path in model.iterdir() if path.suffix in (".gguf", ".safetensors"))
    assert weighed[0]["says"]["tensors"] == tensors > 0, weighed


def check_refusal(weighbridge: str, path: Path, aside: Path) -> None:
    """A big-endian file, which only its version tells from a little-endian file, is refused."""
    data = path.read_bytes()
    try:
        parse_gguf(data, len(data))
        raise AssertionError("the reference reads a big-endian file")
    except Refused as refused:
        assert refused.code == BIG_ENDIAN, refused
    named = path.rename(aside / "big-endian.gguf")
    run = subprocess.run([weighbridge, "inspect", named], capture_output=True, text=True)
    assert run.returncode == 1 and f"[W{BIG_ENDIAN}]" in run.stderr, run.stderr


# --- files that the packages write ----------------------------------------------------------------------

def write_safetensors(folder: Path) -> None:
    """Writes files of every dtype that numpy has, with metadata and without."""
    arrays = {}
    for dtype, kind in safetensors.numpy._TYPES.items():
        arrays |= {f"{dtype}.{rank}": numpy.ones([2, 3, 1, 2, 1, 7][:rank], kind) for rank in range(7)}
        arrays[f"{dtype}.empty"] = numpy.ones([3, 0, 2], kind)
    safetensors.numpy.save_file(arrays, folder / "every.safetensors")
    safetensors.numpy.save_file(arrays, folder / "metadata.safetensors", {"format": "np", "字": "\n\u2028"})
    safetensors.numpy.save_file({}, folder / "none.safetensors")


def write_mlx(folder: Path) -> None:
    """Writes files by MLX: `null` for no metadata, no padding, and GGUF files that end with the last tensor."""
    kinds = (mx.bool_, mx.uint8, mx.uint16, mx.uint32, mx.uint64, mx.int8, mx.int16, mx.int32, mx.int64, mx.float16,
             mx.bfloat16, mx.float32, mx.complex64)
    arrays = {f"{kind}.{rank}": mx.ones([2, 3, 1, 2, 7][:rank]).astype(kind) for kind in kinds for rank in range(6)}
    mx.save_safetensors(str(folder / "null.safetensors"), arrays)
    mx.save_safetensors(str(folder / "metadata.safetensors"), arrays, {"format": "mlx"})
    assert b'{"__metadata__":null' in (folder / "null.safetensors").read_bytes()[:100], "MLX writes otherwise now"
    mx.save_gguf(str(folder / "mlx.gguf"), {f"a.{rank}": mx.ones([2, 3, 5, 7][:rank]) for rank in range(5)})


def write_gguf(folder: Path) -> None:
    write(folder / "every.gguf", values, every_dtype)
    write(folder / "aligned.gguf", values, every_dtype, alignment=4096)
    write(folder / "split.gguf", values, every_dtype, split_max_tensors=50)
    write(folder / "vocabulary.gguf", values)
    write(folder / "weights.gguf", lambda writer: writer.add_tensor("a", numpy.ones(3, numpy.float32)))
    write(folder / "big-endian", values, every_dtype, endianess=GGUFEndian.BIG)


def write(path: Path, *parts, alignment=None, **options) -> None:
    writer = GGUFWriter(path, "llama", **options)
    if alignment is not None:
        writer.add_custom_alignment(alignment)
    for part in parts:
        part(writer)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    if any(writer.tensors):
        writer.write_tensors_to_file()
    writer.close()


def values(writer: GGUFWriter) -> None:
    """Adds a key-value pair of every type."""
    for add, value in ((writer.add_uint8, 1), (writer.add_int8, -1), (writer.add_uint16, 2), (writer.add_int16, -2),
                       (writer.add_uint32, 3), (writer.add_int32, -3), (writer.add_uint64, 4), (writer.add_int64, -4),
                       (writer.add_float32, 0.5), (writer.add_float64, 0.25), (writer.add_bool, True),
                       (writer.add_string, "字")):
        add(f"test.{add.__name__}", value)
    writer.add_array("test.tokens", [f"t{i}" for i in range(5000)])
    writer.add_array("test.numbers", list(range(100)))
    writer.add_array("test.bools", [True, False])
    writer.add_array("test.nested", [[1, 2], [3]])


def every_dtype(writer: GGUFWriter) -> None:
    """Adds tensors of each dtype, with one to six dimensions, and a scalar."""
    for dtype, (elements, length) in GGML_QUANT_SIZES.items():
        for rank in range(1, 7):
            rows, name = [2, 3, 5, 2, 1][: rank - 1], f"{dtype.name}.{rank}"
            if dtype.name in NUMPY:
                writer.add_tensor(name, numpy.ones([*rows, 7], NUMPY[dtype.name]))
            else:
                blocks = numpy.full([*rows, length * 3], 7, numpy.uint8)
                writer.add_tensor(name, blocks, raw_dtype=GGMLQuantizationType(dtype))
    writer.add_tensor("scalar", numpy.array(1.0, numpy.float32))


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
