"""GGUF files beside the PyPI package `gguf`, which is the format's own: are its tensors ours?

    python3 tests/reference/gguf_oracle.py WEIGHBRIDGE FOLDER

Compares name, dtype, shape, offset and size of every tensor as the package reads them, as the command WEIGHBRIDGE shows
them and as the reference reads them: of all files below FOLDER, and of files that the package writes here, of every
dtype that it can write. Needs the packages `gguf` and `numpy`.
"""

import json
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy
from gguf import GGUFEndian, GGUFReader, GGUFWriter
from gguf.constants import GGML_QUANT_SIZES, GGMLQuantizationType

from weighbridge_ref.gguf import DTYPES, parse_gguf
from weighbridge_ref.refused import Refused
from weighbridge_ref.tensors import Tensor

NUMPY = {"F32": numpy.float32, "F16": numpy.float16, "F64": numpy.float64, "I8": numpy.int8, "I16": numpy.int16,
         "I32": numpy.int32, "I64": numpy.int64}
BIG_ENDIAN = 4303


def main(weighbridge: str, folder: str) -> int:
    check_the_table()
    with tempfile.TemporaryDirectory() as written:
        write_files(Path(written))
        files = [path for place in (folder, written) for path in sorted(Path(place).rglob("*.gguf"))]
        dtypes = {tensor.dtype for path in files for tensor in compare(weighbridge, path)}
        check_refusal(weighbridge, Path(written, "big-endian"))
    assert dtypes == {dtype.name for dtype in GGML_QUANT_SIZES}, "a dtype is in no file"
    print(f"{len(files)} files and {len(dtypes)} dtypes: read alike")
    return 0


def check_the_table() -> None:
    theirs = {dtype.value: (dtype.name, *sizes) for dtype, sizes in GGML_QUANT_SIZES.items()}
    assert theirs == DTYPES, f"other dtypes: {set(theirs.items()) ^ set(DTYPES.items())}"


def compare(weighbridge: str, path: Path) -> list[Tensor]:
    """The tensors of a file, which all three read alike."""
    theirs = [Tensor(t.name, t.tensor_type.name, tuple(map(int, reversed(t.shape))), int(t.data_offset), int(t.n_bytes))
              for t in GGUFReader(path).tensors]
    theirs.sort(key=lambda tensor: (tensor.offset, tensor.size, tensor.name.encode()))
    data = path.read_bytes()
    reference = parse_gguf(data, len(data)).tensors
    assert sorted(reference) == sorted(theirs), f"{path.name}: the reference reads {reference}, not {theirs}"
    run = subprocess.run([weighbridge, "inspect", path, "--json"], capture_output=True, text=True)
    assert run.returncode == 0, f"{path.name}: {run.stderr}"
    events = [event for line in run.stdout.splitlines() if (event := json.loads(line))["event"] == "tensor"]
    ours = [Tensor(e["name"], e["dtype"], tuple(e["shape"]), e["offset"], e["size"]) for e in events]
    assert ours == theirs, f"{path.name}: {set(ours) ^ set(theirs)}"
    return ours


def check_refusal(weighbridge: str, path: Path) -> None:
    """What nobody can tell from a little-endian file but by its version is refused."""
    data = path.read_bytes()
    try:
        parse_gguf(data, len(data))
        raise AssertionError("the reference reads a big-endian file")
    except Refused as refused:
        assert refused.code == BIG_ENDIAN, refused
    named = path.rename(path.with_suffix(".gguf"))
    run = subprocess.run([weighbridge, "inspect", named], capture_output=True, text=True)
    assert run.returncode == 1 and f"[W{BIG_ENDIAN}]" in run.stderr, run.stderr


# --- files that the package writes ----------------------------------------------------------------------

def write_files(folder: Path) -> None:
    write(folder / "every.gguf", values, every_dtype)
    write(folder / "aligned.gguf", values, every_dtype, alignment=4096)
    write(folder / "split.gguf", values, every_dtype, split_max_tensors=30)
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
    """A key-value of every type."""
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
    """Tensors of each dtype, of one to four dimensions, and a scalar."""
    for dtype, (elements, length) in GGML_QUANT_SIZES.items():
        for rank in range(1, 5):
            rows, name = [2, 3, 5][: rank - 1], f"{dtype.name}.{rank}"
            if dtype.name in NUMPY:
                writer.add_tensor(name, numpy.ones([*rows, 7], NUMPY[dtype.name]))
            else:
                blocks = numpy.full([*rows, length * 3], 7, numpy.uint8)
                writer.add_tensor(name, blocks, raw_dtype=GGMLQuantizationType(dtype))
    writer.add_tensor("scalar", numpy.array(1.0, numpy.float32))


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
