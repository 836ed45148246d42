"""The places of tensors in GGUF files, and the files that are parts of one model (spec/gguf.md)."""

import json
import re
from math import prod
from typing import NamedTuple, Optional

from .refused import Refused
from .tensors import LFS_POINTER, Tensor, Unlisted
from .values import MAX_INT

MAX_HEADER = 100_000_000
MAX_COUNT = 1_048_576
MAX_KEY = 65_535
MAX_LEVELS = 8
MAX_DIMENSIONS = 16
MAX_ALIGNMENT = 1_048_576

U16, U32, I32, BOOL, STRING, ARRAY = 2, 4, 5, 7, 8, 9
BYTES_OF = {0: 1, 1: 1, 2: 2, 3: 2, 4: 4, 5: 4, 6: 4, 7: 1, 10: 8, 11: 8, 12: 8}  # values of a fixed length
LEAST = {STRING: 8, ARRAY: 12}  # the shortest element of an array

# type: (dtype, elements in a block, bytes of a block)
DTYPES = {
    0: ("F32", 1, 4), 1: ("F16", 1, 2),
    2: ("Q4_0", 32, 18), 3: ("Q4_1", 32, 20),
    6: ("Q5_0", 32, 22), 7: ("Q5_1", 32, 24), 8: ("Q8_0", 32, 34), 9: ("Q8_1", 32, 36),
    10: ("Q2_K", 256, 84), 11: ("Q3_K", 256, 110), 12: ("Q4_K", 256, 144), 13: ("Q5_K", 256, 176),
    14: ("Q6_K", 256, 210), 15: ("Q8_K", 256, 292),
    16: ("IQ2_XXS", 256, 66), 17: ("IQ2_XS", 256, 74), 18: ("IQ3_XXS", 256, 98), 19: ("IQ1_S", 256, 50),
    20: ("IQ4_NL", 32, 18), 21: ("IQ3_S", 256, 110), 22: ("IQ2_S", 256, 82), 23: ("IQ4_XS", 256, 136),
    24: ("I8", 1, 1), 25: ("I16", 1, 2), 26: ("I32", 1, 4), 27: ("I64", 1, 8), 28: ("F64", 1, 8),
    29: ("IQ1_M", 256, 56), 30: ("BF16", 1, 2), 34: ("TQ1_0", 256, 54), 35: ("TQ2_0", 256, 66),
    39: ("MXFP4", 32, 17), 40: ("NVFP4", 64, 36), 41: ("Q1_0", 128, 18),
    42: ("Q2_0", 64, 18),
}


class Split(NamedTuple):
    """The split that a part states; `tensors` is None if the part does not state the number."""

    no: int
    count: int
    tensors: Optional[int]


class Gguf(NamedTuple):
    tensors: list[Tensor] | Unlisted  # by offset, then name
    split: Optional[Split]  # None if the file is no part


def parse_gguf(data: bytes, file_size: int) -> Gguf:
    """Reads a header. `data` is the file's beginning, at least its header."""
    if data.startswith(LFS_POINTER):  # G1
        raise Refused(4117, "a Git LFS pointer, not the model")
    if data[:4] != b"GGUF":  # G2
        raise Refused(4301, "the file does not begin with `GGUF`")
    header = Header(data, file_size)
    version = header.number(4)
    if version in (2 << 24, 3 << 24):  # G3
        raise Refused(4303, "the file is big-endian")
    if version not in (2, 3):
        raise Refused(4302, f"version {version}")
    tensor_count, pair_count = header.number(8), header.number(8)
    if max(tensor_count, pair_count) > MAX_COUNT or 24 + 14 * pair_count + 24 * tensor_count > file_size:  # G4
        raise Refused(4304, f"{tensor_count} tensors and {pair_count} key-values do not fit")

    pairs = [read_pair(header) for _ in range(pair_count)]
    entries = [read_entry(header) for _ in range(tensor_count)]

    values = dict(pairs)
    if len(values) != len(pairs):  # G14
        raise Refused(4316, "a key occurs twice")
    alignment = alignment_of(values)
    split = split_of(values)
    if len({name for name, *_ in entries}) != len(entries):  # G17
        raise Refused(4319, "a tensor's name occurs twice")
    return Gguf(place(entries, header.position, alignment, file_size), split)


class Header:
    """Reads a header piece by piece (G5, G6)."""

    def __init__(self, data: bytes, file_size: int):
        self.data, self.file_size, self.position = data, file_size, 4

    def must_fit(self, length: int) -> None:
        end = self.position + length
        if end > self.file_size:  # G5
            raise Refused(4305, "the header goes on after the file's end")
        if end > MAX_HEADER:  # G6
            raise Refused(4306, f"the header is longer than {MAX_HEADER} bytes")

    def piece(self, length: int) -> bytes:
        self.must_fit(length)
        begin, self.position = self.position, self.position + length
        if self.position > len(self.data):
            raise ValueError("`data` does not hold the whole header")
        return self.data[begin : self.position]

    def number(self, length: int) -> int:
        return int.from_bytes(self.piece(length), "little")

    def text(self, length: int, code: int) -> str:
        try:
            return self.piece(length).decode()
        except UnicodeDecodeError:
            raise Refused(code, "a key or name is not UTF-8") from None


# --- key-values -----------------------------------------------------------------------------------------

def read_pair(header: Header) -> tuple[str, tuple[int, Optional[bytes]]]:
    """A key, the type of its value, and the value's bytes if the type has a fixed length."""
    length = header.number(8)
    if not 1 <= length <= MAX_KEY:  # G7
        raise Refused(4307, f"a key of {length} bytes")
    key = header.text(length, 4307)
    kind = read_kind(header)
    return key, (kind, read_value(header, kind, 1))


def read_kind(header: Header) -> int:
    kind = header.number(4)
    if kind > 12:  # G8
        raise Refused(4308, f"values of type {kind}")
    return kind


def read_value(header: Header, kind: int, level: int) -> Optional[bytes]:
    """Reads a value. `level` is the nesting level if the value is an array."""
    if kind == STRING:
        header.piece(header.number(8))
    elif kind == ARRAY:
        read_array(header, level)
    else:
        return read_plain(header, kind, 1)


def read_plain(header: Header, kind: int, count: int) -> bytes:
    data = header.piece(BYTES_OF[kind] * count)
    if kind == BOOL and data.strip(b"\0\1"):  # G10
        raise Refused(4310, "a bool is neither 0 nor 1")
    return data


def read_array(header: Header, level: int) -> None:
    if level > MAX_LEVELS:  # G9
        raise Refused(4309, f"arrays are nested deeper than {MAX_LEVELS} levels")
    kind = read_kind(header)
    count = header.number(8)
    if kind in LEAST:
        header.must_fit(LEAST[kind] * count)
        for _ in range(count):
            read_value(header, kind, level + 1)
    else:
        read_plain(header, kind, count)


def alignment_of(values) -> int:
    kind, data = values.get("general.alignment", (U32, (32).to_bytes(4, "little")))
    alignment = int.from_bytes(data, "little") if kind == U32 else 0
    if not 8 <= alignment <= MAX_ALIGNMENT or alignment.bit_count() != 1:  # G15
        raise Refused(4317, "`general.alignment` is no 32-bit power of two from 8 to 1,048,576")
    return alignment


def split_of(values) -> Optional[Split]:  # G16
    def value(key: str, kind: int, signed=False) -> int:
        found, data = values.get(key, (None, None))
        if found != kind:
            raise Refused(4318, f"`{key}` is missing, or of another type")
        return int.from_bytes(data, "little", signed=signed)

    if "split.count" not in values:
        return None
    count = value("split.count", U16)
    if count <= 1:
        return None
    no = value("split.no", U16)
    tensors = value("split.tensors.count", I32, signed=True) if "split.tensors.count" in values else None
    if no >= count or (tensors is not None and tensors < 0):
        raise Refused(4318, "the keys of the split contradict each other")
    return Split(no, count, tensors)


# --- tensors --------------------------------------------------------------------------------------------

def read_entry(header: Header) -> tuple[str, str | None, tuple[int, ...], int, int]:
    """Name, dtype (None if unknown), shape, offset within the data, size."""
    name = header.text(header.number(8), 4311)  # G11
    count = header.number(4)
    if count > MAX_DIMENSIONS:  # G12
        raise Refused(4325, f"{name!r} has more than {MAX_DIMENSIONS} dimensions")
    dimensions = []
    for _ in range(count):
        dimensions.append(header.number(8))
        if dimensions[-1] >= MAX_INT:
            raise Refused(4313, f"a dimension of {name!r} is not below 2^53")
    kind = header.number(4)
    dtype, elements, length = DTYPES.get(kind, (None, 1, 0))  # G13
    first = dimensions[0] if dimensions else 1
    if first % elements:
        raise Refused(4315, f"a row of {name!r} does not fill its blocks")
    return name, dtype, tuple(reversed(dimensions)), header.number(8), prod(dimensions) // elements * length


def place(entries, end_of_header: int, alignment: int, file_size: int) -> list[Tensor] | Unlisted:
    def pad(n: int) -> int:
        return -(-n // alignment) * alignment

    data = pad(end_of_header)
    tensors = []
    for name, dtype, shape, offset, size in entries:
        if offset % alignment:  # G18
            raise Refused(4320, f"the offset of {name!r} is no multiple of {alignment}")
        if data + offset + size > file_size or data + offset + size >= MAX_INT:  # G19
            raise Refused(4321, f"{name!r} would end after the file")
        tensors.append(Tensor(name, dtype, shape, data + offset, size))
    if any(tensor.dtype is None for tensor in tensors):
        return Unlisted(4314, [tensor.name for tensor in tensors])

    position = data
    tensors.sort(key=lambda t: (t.offset, t.size, t.name.encode()))
    for tensor in tensors:
        if tensor.offset > pad(position):  # G20
            raise Refused(4322, f"bytes before {tensor.name!r} belong to no tensor")
        if tensor.offset < pad(position):  # G21
            raise Refused(4323, f"{tensor.name!r} overlaps another tensor or its padding")
        position = tensor.offset + tensor.size
    if not tensors:
        position = end_of_header
    if file_size not in (position, pad(position)):  # G22
        raise Refused(4324, "the file ends neither with its last tensor nor with that one's padding")
    return sorted(tensors, key=lambda t: (t.offset, t.name.encode()))


# --- models in several files ----------------------------------------------------------------------------

UNREAD = "unread"
PART = re.compile(r"(.*)-([0-9]{5})-of-([0-9]{5})\.gguf", re.DOTALL)


class File(NamedTuple):
    """A file of a model: the split that its header states (or UNREAD), and the names of its tensors."""

    split: Split | str | None
    names: list[str]


def check_splits(files: dict[str, File]) -> None:
    """Compares the parts of all split models among `files`, which all end in `.gguf`."""
    groups: dict[tuple[str, int], Split] = {}
    for path in sorted(files, key=str.encode):
        split = files[path].split
        if not isinstance(split, Split):
            continue
        match = PART.fullmatch(path)
        if not match or (int(match[2]), int(match[3])) != (split.no + 1, split.count):  # S1
            raise Refused(4401, f"{path!r} is not called as its header says")
        groups.setdefault((match[1], split.count), split)

    for (stem, count), first in groups.items():
        parts = []
        for number in range(1, count + 1):
            path = f"{stem}-{number:05}-of-{count:05}.gguf"
            if path not in files:  # S2
                raise Refused(4402, f"{path!r} is missing")
            split = files[path].split
            if split != UNREAD and (split is None or split.tensors != first.tensors):  # S3
                raise Refused(4403, f"{path!r} says something else about the split")
            parts.append(files[path])
        names = [name for part in parts for name in part.names]
        all_named = all(part.names for part in parts if part.split == UNREAD)
        if len(names) != len(set(names)):  # S4
            raise Refused(4404, f"two parts of {stem!r} have a tensor of the same name")
        if all_named and first.tensors is not None and first.tensors != len(names):  # S5
            raise Refused(4405, f"{stem!r} has {len(names)} tensors, not {first.tensors}")


# --- the sections of vectors (spec/vectors/README.md) ---------------------------------------------------

def split_line(split: Split | str | None) -> str:
    """`none`, `unread`, or NO COUNT, followed by TENSORS if the part states it."""
    if isinstance(split, Split):
        return " ".join(str(number) for number in split if number is not None)
    return split or "none"


def parse_files(data: bytes) -> dict[str, File]:
    """Lines `FILE none`, `FILE unread`, `FILE NO COUNT`, `FILE NO COUNT TENSORS`, or `FILE TENSOR-AS-JSON`."""
    files: dict[str, File] = {}
    for line in data.decode().split("\n")[:-1]:
        path, what = line.split(" ", 1)
        if what.startswith('"'):
            files[path].names.append(json.loads(what))
        elif what in ("none", UNREAD):
            files[path] = File(None if what == "none" else UNREAD, [])
        else:
            no, count, *tensors = map(int, what.split(" "))
            files[path] = File(Split(no, count, tensors[0] if tensors else None), [])
    return files
