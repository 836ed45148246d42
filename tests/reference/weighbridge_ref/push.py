"""The answer of a receiver about missing chunks, as a sender reads it (spec/push.md, P7).

The sender believes no number of it that the signed file list contradicts.
"""

import re

from .refused import Refused
from .strict_json import Object, parse_object

JSON_WHITE_SPACE = " \t\n\r"
MAX_U64 = 2**64 - 1
RANGE = re.compile(r"([0-9]+)-([0-9]+)")
Missing = tuple[str, int, int]  # a path, and where the range begins and ends (exclusive)


def missing_chunks(answer: bytes, sizes: dict[str, int], chunk_size: int) -> list[Missing]:
    """The missing ranges of all files, in the order of the answer. `sizes` has each file of the model."""
    try:
        return [missing for path, ranges in read_files(answer)
                for missing in check_file(path, ranges, sizes, chunk_size)]
    except ValueError as error:
        raise Refused(9301, f"the answer about missing chunks is malformed: {error}") from None


# --- the form of the answer -------------------------------------------------------------------------

def read_files(answer: bytes) -> list[tuple[str, list[str]]]:
    """The path and the ranges, still as text, of each file. All keys of the answer may be absent."""
    value, rest = parse_object(answer.lstrip(JSON_WHITE_SPACE.encode()))
    if rest.strip(JSON_WHITE_SPACE):
        raise ValueError("something stands behind the object")
    found = known(value, "lists", "layers", "files", "more")
    strings(found.get("lists", []))
    strings(found.get("layers", []))
    if type(found.get("more", False)) is not bool:
        raise ValueError("`more` is no boolean")
    files = [read_file(file) for file in array(found.get("files", []))]
    if len({path for path, _ in files}) != len(files):
        raise ValueError("a file is named twice")
    return files


def read_file(value) -> tuple[str, list[str]]:
    found = known(value, "path", "bytes")
    if len(found) != 2:
        raise ValueError("a file lacks a key")
    if type(found["path"]) is not str:
        raise ValueError("`path` is no string")
    return found["path"], strings(found["bytes"])


def known(value, *keys: str) -> dict[str, object]:
    """The members of an object that a reader knows; none of them may occur twice. It passes over all others."""
    if not isinstance(value, Object):
        raise ValueError("not an object")
    members = [member for member in value if member[0] in keys]
    if len(dict(members)) != len(members):
        raise ValueError("a key occurs twice")
    return dict(members)


def array(value) -> list:
    if type(value) is not list:
        raise ValueError("not an array")
    return value


def strings(value) -> list[str]:
    if not all(type(element) is str for element in array(value)):
        raise ValueError("not a string")
    return value


# --- its ranges ---------------------------------------------------------------------------------------

def check_file(path: str, ranges: list[str], sizes: dict[str, int], chunk_size: int) -> list[Missing]:
    if path not in sizes:
        raise ValueError(f"the model has no file {path!r}")
    size, before, checked = sizes[path], 0, []
    for begin, end in map(parse_range, ranges):
        if begin < before or end > size:
            raise ValueError(f"the range {begin}..{end} overlaps or precedes another, or ends behind the file")
        if begin % chunk_size or end % chunk_size and end != size:
            raise ValueError(f"the range {begin}..{end} cuts a chunk")
        checked.append((path, begin, end))
        before = end
    return checked


def parse_range(text: str) -> tuple[int, int]:
    """Where a range `FIRST-LAST` begins and ends, below 2^64. Zeros may stand before a number."""
    match = RANGE.fullmatch(text)
    if not match:
        raise ValueError(f"{text!r} is no range")
    first, last = (digits.lstrip("0") or "0" for digits in match.groups())
    # A text of more than 20 digits is not converted into a number (rule 12).
    if max(len(first), len(last)) > 20 or int(first) > int(last) or int(last) + 1 > MAX_U64:
        raise ValueError(f"{text!r} is empty, or of numbers of more than 64 bits")
    return int(first), int(last) + 1


# --- the sections of vectors (spec/vectors/README.md) ---------------------------------------------------

def parse_sizes(data: bytes) -> dict[str, int]:
    """Lines `SIZE PATH`."""
    lines = (line.split(" ", 1) for line in data.decode().split("\n")[:-1])
    return {path: int(size) for size, path in lines}


def missing_lines(missing: list[Missing]) -> bytes:
    """Lines `A..B PATH`."""
    return "".join(f"{begin}..{end} {path}\n" for path, begin, end in missing).encode()
