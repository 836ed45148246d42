"""The head: the text that names a model and binds its lists (spec/head.md)."""

import functools
import re
from typing import NamedTuple, Optional

from . import blake3
from .refused import Refused
from .values import check_chunk_size, check_model_name, parse_hash, parse_int, parse_time

HEAD_ID_CONTEXT = "weighbridge 2026-11-20 v1 head id"
MAX_TEXT = 4096
MAX_ENTRIES = 2**24
MAX_EXT = 16
FIRST_LINE = b"weighbridge/head/v1"
EXT_KEY = re.compile(r"[a-z0-9.-]{1,32}")
EXT_VALUE = re.compile(r"[!-~](?:[ -~]{0,254}[!-~])?")


class Listed(NamedTuple):
    """The values of the head for one list."""

    count: int
    length: int


class Head(NamedTuple):
    name: str
    revision: int
    previous: Optional[bytes]
    created: int
    expires: Optional[int]
    bytes: int
    files: Listed
    root: bytes
    tensors: Optional[Listed]
    tensors_root: Optional[bytes]
    chunk_size: int
    ext: list[tuple[str, str]]


@functools.lru_cache(maxsize=4096)
def head_id(text: bytes) -> bytes:
    return blake3.derive_key(HEAD_ID_CONTEXT, text)


def parse_head(text: bytes) -> Head:
    if len(text) > MAX_TEXT:
        raise Refused(1201, f"the text is longer than {MAX_TEXT} bytes")
    # LF ends each line: text behind the last LF is no line.
    *lines, rest = text.split(b"\n")
    if lines[:1] != [FIRST_LINE]:
        raise Refused(1202, "the first line names a version that is not known")
    lines = iter(lines[1:])

    def line(key: str, parse):
        found, _, value = next(lines, b"").partition(b" ")
        if found != key.encode():
            raise Refused(1203, f"line {key!r} is missing")
        return value_of(key, value, parse)

    name = line("name", check_model_name)
    revision = line("revision", parse_int)
    previous = line("previous", unless("none", parse_hash))
    created = line("created", parse_time)
    expires = line("expires", unless("never", parse_time))
    total = line("bytes", parse_int)
    files = line("files", lambda value: parse_listed(value, 1))
    root = line("root", parse_hash)
    tensors = line("tensors", unless("none", lambda value: parse_listed(value, 0)))
    tensors_root = line("tensors-root", unless("none", parse_hash))
    chunk_size = line("chunk-size", lambda value: check_chunk_size(parse_int(value)))

    ext, before = [], b""
    for whole in lines:
        key, _, value = whole.partition(b" ")
        if key != b"ext" or len(ext) == MAX_EXT:
            raise Refused(1203, "an unknown line, or too many")
        ext.append(value_of("ext", value, parse_ext))
        if whole <= before:
            raise Refused(1203, "ext lines are repeated or out of order")
        before = whole
    if rest:
        raise Refused(1203, "the last line does not end with LF")

    if revision == 0 or (revision == 1) != (previous is None):
        raise Refused(1205, "revision and previous contradict each other")
    if (tensors is None) != (tensors_root is None):
        raise Refused(1205, "tensors and tensors-root contradict each other")
    if expires is not None and expires <= created:
        raise Refused(1205, "expires is not after created")
    return Head(name, revision, previous, created, expires, total, files, root, tensors, tensors_root,
                chunk_size, ext)


def value_of(key, value: bytes, parse):
    try:
        return parse(value.decode("ascii"))
    except (Refused, ValueError):  # UnicodeDecodeError is a ValueError
        raise Refused(1204, f"the value of {key!r} is malformed") from None


def unless(word, parse):
    return lambda value: None if value == word else parse(value)


LONGEST_LINE = 8_193  # a line of a list with its LF


def parse_listed(value: str, least: int) -> Listed:
    count, length = map(parse_int, value.split(" "))
    if not least <= count <= MAX_ENTRIES or length > count * LONGEST_LINE:
        raise ValueError("count out of range")
    return Listed(count, length)


def parse_ext(value: str) -> tuple[str, str]:
    key, _, rest = value.partition(" ")
    if not EXT_KEY.fullmatch(key) or not EXT_VALUE.fullmatch(rest):
        raise ValueError("malformed ext line")
    return key, rest
