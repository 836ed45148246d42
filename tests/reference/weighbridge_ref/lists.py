"""The lists of files and tensors: one entry a line, in one form (spec/lists.md)."""

import re
from typing import NamedTuple, Optional

from . import trees
from .head import Head
from .refused import Refused
from .values import check_path, check_tensor_name, parse_int

MAX_LINE = 8192
MAX_DIMENSIONS = 16
TENSOR_SUFFIXES = (".safetensors", ".gguf")

# The one form of a line. JSON does not permit unescaped control characters below U+0020.
STRING = r'"((?:[^"\\\x00-\x1f]|\\["\\])*)"'
INT = r"(0|[1-9][0-9]*)"
HASH = r'"([0-9a-f]{64})"'
DTYPE = r'"([A-Z][A-Z0-9_]{0,31})"'
SHAPE = r"\[((?:(?:0|[1-9][0-9]*)(?:,(?:0|[1-9][0-9]*))*)?)\]"
FILE_LINE = re.compile(rf'{{"file":{STRING},"size":{INT},"blake3":{HASH}(?:,"sha256":{HASH})?}}')
TENSOR_LINE = re.compile(
    rf'{{"tensor":{STRING},"file":{STRING},"dtype":{DTYPE},"shape":{SHAPE}'
    rf',"offset":{INT},"size":{INT},"blake3":{HASH}}}'
)


class FileEntry(NamedTuple):
    path: str
    size: int
    root: bytes
    sha256: Optional[bytes] = None


class TensorEntry(NamedTuple):
    name: str
    file: str
    dtype: str
    shape: tuple[int, ...]
    offset: int
    size: int
    blake3: bytes


# --- one line -------------------------------------------------------------------------------------

def unescape(text: str) -> str:
    return re.sub(r'\\(["\\])', r"\1", text)


def escape(text: str) -> str:
    return re.sub(r'(["\\])', r"\\\1", text)


def is_tensor_file(path: str) -> bool:
    return path.endswith(TENSOR_SUFFIXES)


def parse_file_line(line: bytes) -> FileEntry:
    path, size, root, sha256 = match_line(FILE_LINE, line)
    entry = FileEntry(unescape(path), canonical_int(size), bytes.fromhex(root), sha256 and bytes.fromhex(sha256))
    check_path(entry.path)
    return entry


def parse_tensor_line(line: bytes) -> TensorEntry:
    name, file, dtype, shape, offset, size, blake3 = match_line(TENSOR_LINE, line)
    dimensions = tuple(map(canonical_int, shape.split(","))) if shape else ()
    if len(dimensions) > MAX_DIMENSIONS:
        raise Refused(1302, f"more than {MAX_DIMENSIONS} dimensions")
    entry = TensorEntry(unescape(name), unescape(file), dtype, dimensions,
                        canonical_int(offset), canonical_int(size), bytes.fromhex(blake3))
    check_tensor_name(entry.name)
    check_path(entry.file)
    return entry


def match_line(form, line: bytes):
    try:
        match = form.fullmatch(line.decode())
    except UnicodeDecodeError:
        match = None
    if not match:
        raise Refused(1302, "a line is not in canonical form")
    return match.groups()


def canonical_int(text: str) -> int:
    try:
        return parse_int(text)
    except ValueError:
        raise Refused(1302, "a number is not below 2^53") from None


def file_line(entry: FileEntry) -> bytes:
    sha256 = f',"sha256":"{entry.sha256.hex()}"' if entry.sha256 else ""
    return f'{{"file":"{escape(entry.path)}","size":{entry.size},"blake3":"{entry.root.hex()}"{sha256}}}'.encode()


def tensor_line(entry: TensorEntry) -> bytes:
    shape = ",".join(map(str, entry.shape))
    return (
        f'{{"tensor":"{escape(entry.name)}","file":"{escape(entry.file)}","dtype":"{entry.dtype}"'
        f',"shape":[{shape}],"offset":{entry.offset},"size":{entry.size},"blake3":"{entry.blake3.hex()}"}}'
    ).encode()


# --- a whole list, in the order of spec/lists.md#opening-a-list ---------------------------------------

def open_file_list(head: Head, data: bytes) -> dict[str, FileEntry]:
    """Opens the file list: the files by path, in order. `head` is verified."""
    if len(data) != head.files.length:
        raise Refused(1301, f"the file list has {len(data)} bytes, expected {head.files.length}")
    entries, lines = {}, split_lines(data)
    before = with_sha256 = None
    for line in lines:
        entry = parse_file_line(checked_line(line))
        if with_sha256 is None:
            with_sha256 = entry.sha256 is not None
        if with_sha256 != (entry.sha256 is not None):
            raise Refused(1311, f"{entry.path!r}: `sha256` is on all files or on none")
        before = in_order(before, (entry.path.encode(),))
        entries[entry.path] = entry
    if len(entries) != head.files.count:
        raise Refused(1306, f"{len(entries)} files, expected {head.files.count}")
    if sum(entry.size for entry in entries.values()) != head.bytes:
        raise Refused(1307, "the sizes do not add up to the signed sum")
    for path in entries:
        components = path.split("/")
        for i in range(1, len(components)):
            if "/".join(components[:i]) in entries:
                raise Refused(1312, f"a parent folder of {path!r} is a file")
    tree = trees.tree_hash([line[:-1] for line in lines])
    if trees.model_root(len(entries), head.bytes, tree) != head.root:
        raise Refused(1308, "the file list does not hash to the signed root")
    return entries


def open_tensor_list(head: Head, files: dict[str, FileEntry], data: bytes) -> list[TensorEntry]:
    """Opens the tensor list: the tensors in order. `head` and `files` are verified."""
    if len(data) != head.tensors.length:
        raise Refused(1301, f"the tensor list has {len(data)} bytes, expected {head.tensors.length}")
    entries, lines = [], split_lines(data)
    before = None
    for line in lines:
        entry = parse_tensor_line(checked_line(line))
        if entry.file not in files or not is_tensor_file(entry.file):
            raise Refused(1309, f"{entry.file!r} is not listed or no tensor file")
        if entry.offset + entry.size > files[entry.file].size:
            raise Refused(1310, f"tensor {entry.name!r} does not lie within its file")
        before = in_order(before, (entry.file.encode(), entry.name.encode()))
        entries.append(entry)
    if len(entries) != head.tensors.count:
        raise Refused(1306, f"{len(entries)} tensors, expected {head.tensors.count}")
    tree = trees.tree_hash([line[:-1] for line in lines]) if lines else b""
    if trees.tensors_root(len(entries), tree) != head.tensors_root:
        raise Refused(1308, "the tensor list does not hash to the signed root")
    return entries


def split_lines(data: bytes) -> list[bytes]:
    """Splits into lines with their LF; the last line may lack its LF."""
    return re.findall(rb"[^\n]*\n|[^\n]+$", data)


def checked_line(line: bytes) -> bytes:
    """The line without its LF."""
    content = line.removesuffix(b"\n")
    if len(content) > MAX_LINE:
        raise Refused(1303, f"a line is longer than {MAX_LINE} bytes")
    if content == line:
        raise Refused(1302, "the last line does not end with LF")
    return content


def in_order(before, key):
    if before is not None and key == before:
        raise Refused(1305, "two lines name the same entry")
    if before is not None and key < before:
        raise Refused(1304, "lines are out of order")
    return key
