"""Bao slices: a range of a file's bytes with its tree path (spec/slices.md)."""

import struct
from collections.abc import Iterator
from typing import NamedTuple

from . import blake3
from .refused import Refused

CV_LEN = 32
SIZE_LEN = 8


class Node(NamedTuple):
    """A subtree of a file. It is a parent if it is longer than one BLAKE3 chunk."""

    offset: int
    length: int

    @property
    def is_parent(self) -> bool:
        return self.length > blake3.CHUNK_LEN

    def children(self) -> tuple["Node", "Node"]:
        left = blake3.left_length(self.length)
        return Node(self.offset, left), Node(self.offset + left, self.length - left)

    def touches(self, begin: int, end: int) -> bool:
        return self.offset < end and begin < self.offset + self.length


def check_range(size: int, begin: int, end: int) -> None:
    if not (0 <= begin < end <= size or size == begin == end == 0):
        raise Refused(2601, f"the range {begin}..{end} of a file of {size} bytes")


def nodes(node: Node, begin: int, end: int) -> Iterator[Node]:
    """The subtrees of `node` that have a byte of the range: `node` itself first, left before right."""
    if node.touches(begin, end):
        yield node
        for child in node.children() if node.is_parent else ():
            yield from nodes(child, begin, end)


def encoded_length(size: int, begin: int, end: int) -> int:
    encoded = (2 * CV_LEN if node.is_parent else node.length for node in nodes(Node(0, size), begin, end))
    return SIZE_LEN + sum(encoded)


def make(data: bytes, begin: int, end: int) -> bytes:
    check_range(len(data), begin, end)

    def encoded(node: Node) -> bytes:
        if not node.is_parent:
            return bytes_of(node)
        return b"".join(blake3.subtree_cv(bytes_of(child), child.offset) for child in node.children())

    def bytes_of(node: Node) -> bytes:
        return data[node.offset : node.offset + node.length]

    return struct.pack("<Q", len(data)) + b"".join(map(encoded, nodes(Node(0, len(data)), begin, end)))


def check(root: bytes, size: int, begin: int, end: int, data: bytes) -> Iterator[bytes]:
    """Yields the bytes of the range, one accepted BLAKE3 chunk at a time (rule 2).

    `root` and `size` are signed. `data` is the whole slice, so its length is known in advance.
    """
    check_range(size, begin, end)
    if len(data) >= SIZE_LEN and data[:SIZE_LEN] != struct.pack("<Q", size):
        raise Refused(2603, f"the slice is not of a file of {size} bytes")
    if len(data) != encoded_length(size, begin, end):
        raise Refused(2602, f"a slice of {len(data)} bytes, expected {encoded_length(size, begin, end)}")
    if size == 0 and root != blake3.hash(b""):
        raise Refused(2604, "the root of an empty file is the hash of nothing")

    rest = data[SIZE_LEN:]
    awaited = {Node(0, size): root}
    for node in nodes(Node(0, size), begin, end):
        is_top = node.length == size
        wanted = awaited.pop(node)
        taken = 2 * CV_LEN if node.is_parent else node.length
        part, rest = rest[:taken], rest[taken:]
        if (parent_value if node.is_parent else chunk_value)(node, part, is_top) != wanted:
            raise Refused(2604, f"bytes {node.offset}..{node.offset + node.length} do not lead to the file's root")
        if node.is_parent:
            children = zip(node.children(), (part[:CV_LEN], part[CV_LEN:]), strict=True)
            awaited.update((child, cv) for child, cv in children if child.touches(begin, end))
        else:
            yield part[max(begin - node.offset, 0) : end - node.offset]


def parent_value(_: Node, part: bytes, is_top: bool) -> bytes:
    left, right = part[:CV_LEN], part[CV_LEN:]
    return blake3.merge_root(left, right) if is_top else blake3.merge(left, right)


def chunk_value(node: Node, part: bytes, is_top: bool) -> bytes:
    """The CV of a chunk. Its place gives the counter, and a chunk that is the whole file has ROOT (rule 4)."""
    return blake3.hash(part) if is_top else blake3.subtree_cv(part, node.offset)
