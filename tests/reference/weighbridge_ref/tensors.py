"""The places of tensors in model files (spec/tensors.md)."""

import json
from math import prod
from typing import NamedTuple

from .lists import MAX_DIMENSIONS, is_tensor_file
from .refused import Refused
from .strict_json import Number, Object, parse_object
from .values import MAX_INT

MAX_HEADER = 100_000_000
MAX_INDEX = 268_435_456
MAX_INDEX_TENSORS = 2**24
LFS_POINTER = b"version https://git-lfs.github.com/spec/"
JSON_WHITE_SPACE = " \t\n\r"

BITS = {
    "F4": 4,
    "F6_E2M3": 6, "F6_E3M2": 6,
    "BOOL": 8, "U8": 8, "I8": 8,
    "F8_E5M2": 8, "F8_E4M3": 8, "F8_E8M0": 8, "F8_E4M3FNUZ": 8, "F8_E5M2FNUZ": 8,
    "I16": 16, "U16": 16, "F16": 16, "BF16": 16,
    "I32": 32, "U32": 32, "F32": 32,
    "I64": 64, "U64": 64, "F64": 64, "C64": 64,
}


class Tensor(NamedTuple):
    """A tensor of a header. `offset` counts from the beginning of the file."""

    name: str
    dtype: str
    shape: tuple[int, ...]
    offset: int
    size: int


class Unlisted(NamedTuple):
    """A header with an unknown dtype: no tensor of its file is listed."""

    code: int
    names: list[str]


# --- safetensors --------------------------------------------------------------------------------------

def parse_safetensors(data: bytes, file_size: int) -> list[Tensor] | Unlisted:
    """The tensors of a file, by offset, then name. `data` is the file's beginning, at least its header."""
    if data.startswith(LFS_POINTER):  # T1
        raise Refused(4117, "a Git LFS pointer, not the model")
    if file_size < 8:  # T2
        raise Refused(4101, "too short to hold a header length")
    header_length = int.from_bytes(data[:8], "little")
    if header_length > MAX_HEADER:  # T3
        raise Refused(4102, f"the header is longer than {MAX_HEADER} bytes")
    begin_of_buffer = 8 + header_length
    if begin_of_buffer > file_size:  # T4
        raise Refused(4103, "the header is longer than the file")
    header = data[8:begin_of_buffer].lstrip(JSON_WHITE_SPACE.encode())
    if header[:1] != b"{":  # T5
        raise Refused(4104, "the header does not begin with `{`")
    try:  # T6
        members, rest = parse_object(header)
    except ValueError as error:
        raise Refused(4105, f"the header is not one JSON object: {error}") from None
    if rest.strip(JSON_WHITE_SPACE):
        raise Refused(4105, "something else than white space stands behind the header's object")

    tensors, names = [], set()
    for name, value in members:
        refuse_repeated(name, names)  # T7
        if name == "__metadata__":
            check_metadata(value)
        else:
            tensors.append(parse_entry(name, value, begin_of_buffer))

    tensors.sort(key=lambda t: (t.offset, t.size, t.name.encode()))
    position = begin_of_buffer
    for tensor in tensors:
        if tensor.offset > position:  # T16
            raise Refused(4112, f"bytes before {tensor.name!r} belong to no tensor")
        if tensor.offset < position:  # T17
            raise Refused(4113, f"{tensor.name!r} overlaps another tensor")
        position += tensor.size
    if position != file_size:  # T18
        raise Refused(4114, "the file does not end where the last tensor ends")
    if any(tensor.dtype not in BITS for tensor in tensors):  # T10
        return Unlisted(4108, [tensor.name for tensor in tensors])
    return sorted(tensors, key=lambda t: (t.offset, t.name.encode()))


def refuse_repeated(name: str, names: set[str]) -> None:
    if name in names:
        raise Refused(4106, f"{name!r} occurs twice")
    names.add(name)


def check_metadata(value) -> None:  # T8
    if value is None:
        return
    if not isinstance(value, Object):
        raise Refused(4116, "`__metadata__` is not an object")
    names = set()
    for name, text in value:
        refuse_repeated(name, names)
        if not is_string(text):
            raise Refused(4116, "`__metadata__` has a value that is no string")


def parse_entry(name: str, value, begin_of_buffer: int) -> Tensor:  # T9
    if not isinstance(value, Object):
        raise Refused(4107, f"the entry of {name!r} is not an object")
    parsers = {"dtype": parse_dtype, "shape": parse_shape, "data_offsets": parse_data_offsets}
    found = {}
    for key, member in value:
        if key not in parsers or key in found:
            raise Refused(4107, f"{name!r} has an unknown or repeated key {key!r}")
        found[key] = parsers[key](name, member)
    if len(found) != len(parsers):
        raise Refused(4107, f"{name!r} lacks a key")
    dtype, shape, (begin, end) = found["dtype"], found["shape"], found["data_offsets"]

    if begin > end or begin_of_buffer + end >= MAX_INT:  # T13
        raise Refused(4109, f"{name!r} begins after its end, or ends past what a file can hold")
    if dtype in BITS:
        bits = prod(shape) * BITS[dtype]
        if bits % 8:  # T14
            raise Refused(4111, f"{name!r} does not fill whole bytes")
        if bits // 8 != end - begin:  # T15
            raise Refused(4110, f"{name!r} has {end - begin} bytes, its dtype and shape need {bits // 8}")
    return Tensor(name, dtype, shape, begin_of_buffer + begin, end - begin)


def parse_dtype(name: str, value) -> str:  # T10
    if not is_string(value):
        raise Refused(4107, f"the dtype of {name!r} is no string")
    return value


def parse_shape(name: str, value) -> tuple[int, ...]:  # T11
    if not is_array(value):
        raise Refused(4107, f"the shape of {name!r} is no array")
    shape = []
    for element in value:
        if len(shape) == MAX_DIMENSIONS:
            raise Refused(4115, f"{name!r} has more than {MAX_DIMENSIONS} dimensions")
        shape.append(digits(name, element))
        if shape[-1] >= MAX_INT:
            raise Refused(4107, f"a dimension of {name!r} is not below 2^53")
    return tuple(shape)


def parse_data_offsets(name: str, value) -> tuple[int, int]:  # T12
    if not is_array(value) or len(value) != 2:
        raise Refused(4107, f"the data_offsets of {name!r} are not two numbers")
    return digits(name, value[0]), digits(name, value[1])


def digits(name: str, value) -> int:
    try:
        if isinstance(value, Number):
            return value.digits()
    except ValueError:
        pass
    raise Refused(4107, f"{name!r} has a number that is not written as digits alone")


def is_string(value) -> bool:
    return isinstance(value, str) and not isinstance(value, Number)


def is_array(value) -> bool:
    return isinstance(value, list) and not isinstance(value, Object)


# --- the sharded index --------------------------------------------------------------------------------

def check_index(data: bytes, holds: dict[str, set[str]], folder: str = "") -> None:
    """`holds` has the tensor names of each file of the model. `folder` is that of the index, with its `/`."""
    try:
        if len(data) > MAX_INDEX:  # X1
            raise ValueError(f"longer than {MAX_INDEX} bytes")
        members, rest = parse_object(data.lstrip(JSON_WHITE_SPACE.encode()))
        if rest.strip(JSON_WHITE_SPACE):
            raise ValueError("something stands behind the object")
        names = [name for name, _ in members]
        if len(names) != len(set(names)):  # X2
            raise ValueError("a key occurs twice")
        weight_map = dict(members).get("weight_map")
        if not isinstance(weight_map, Object) or len(weight_map) > MAX_INDEX_TENSORS:
            raise ValueError("`weight_map` is missing, no object, or too large")
        if not all(is_string(file) for _, file in weight_map):
            raise ValueError("`weight_map` has a value that is no string")
    except ValueError as error:
        raise Refused(4201, f"the index is malformed: {error}") from None
    if len({name for name, _ in weight_map}) != len(weight_map):  # X3
        raise Refused(4204, "the index names a tensor twice")
    for name, file in sorted(weight_map, key=lambda member: member[0].encode()):
        path = folder + file
        if path not in holds:  # X4
            raise Refused(4202, f"the model has no file {path!r}")
        if not is_tensor_file(path) or name not in holds[path]:  # X5
            raise Refused(4203, f"{path!r} does not hold {name!r}")


# --- a tensor list and a verified header ----------------------------------------------------------------

def compare(listed: list[Tensor], found: list[Tensor]) -> None:
    """Refuses any difference between the listed tensors of a file and its verified header (rule 13)."""
    listed, found = {t.name: t for t in listed}, {t.name: t for t in found}
    for name in sorted(listed | found, key=str.encode):
        if name not in found:  # V1
            raise Refused(2301, f"{name!r} is not in the header")
        if name not in listed:  # V2
            raise Refused(2302, f"{name!r} is not listed")
        for field, code in (("dtype", 2303), ("shape", 2304), ("offset", 2305), ("size", 2306)):  # V3
            if getattr(listed[name], field) != getattr(found[name], field):
                raise Refused(code, f"the {field} of {name!r} differs")


# --- the sections of vectors (spec/vectors/README.md) -----------------------------------------------------

def answer_lines(tensors: list[Tensor]) -> bytes:
    """Lines of the form NAME-AS-JSON DTYPE SHAPE OFFSET SIZE."""
    return "".join(
        f"{json.dumps(t.name, ensure_ascii=False)} {t.dtype} [{','.join(map(str, t.shape))}] {t.offset} {t.size}\n"
        for t in tensors
    ).encode()


def name_lines(names: list[str]) -> bytes:
    return "".join(json.dumps(name, ensure_ascii=False) + "\n" for name in sorted(names, key=str.encode)).encode()


def parse_answer_lines(data: bytes) -> list[Tensor]:
    tensors = []
    for line in data.decode().split("\n")[:-1]:
        name, end = json.JSONDecoder().raw_decode(line)
        dtype, shape, offset, size = line[end + 1 :].split(" ")
        tensors.append(Tensor(name, dtype, tuple(json.loads(shape)), int(offset), int(size)))
    return tensors


def parse_holds(data: bytes) -> dict[str, set[str]]:
    """Parses lines of the form `FILE` or `FILE TENSOR-AS-JSON`."""
    holds: dict[str, set[str]] = {}
    for line in data.decode().split("\n")[:-1]:
        file, _, name = line.partition(" ")
        holds.setdefault(file, set()).update([json.loads(name)] if name else [])
    return holds
