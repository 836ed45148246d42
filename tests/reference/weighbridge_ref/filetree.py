"""File roots, chunks and chunk layers (spec/file-tree.md)."""

from . import blake3
from .refused import Refused

CV_LEN = 32


def chunk_count(size: int, chunk_size: int) -> int:
    """The number of chunks. No chunk is empty, and an empty file has none."""
    return -(-size // chunk_size)


def layer_length(size: int, chunk_size: int) -> int:
    """The length of the layer; 0 for a file of at most one chunk, whose only subtree is the root."""
    count = chunk_count(size, chunk_size)
    return CV_LEN * count if count > 1 else 0


def chunk_range(index: int, size: int, chunk_size: int) -> tuple[int, int]:
    return index * chunk_size, min((index + 1) * chunk_size, size)


def layer_of(data, chunk_size: int) -> bytes:
    """The layer of a whole file, as a publisher writes it."""
    if layer_length(len(data), chunk_size) == 0:
        return b""
    view = memoryview(data)
    return b"".join(
        blake3.subtree_cv(view[begin : begin + chunk_size], begin)
        for begin in range(0, len(data), chunk_size)
    )


def _merge(cvs, is_root: bool) -> bytes:
    if len(cvs) == 1:
        return cvs[0]
    # All chunks but the last are full and of one size, so the tree over them splits as BLAKE3 splits.
    split = 1 << ((len(cvs) - 1).bit_length() - 1)
    left, right = _merge(cvs[:split], False), _merge(cvs[split:], False)
    return blake3.merge_root(left, right) if is_root else blake3.merge(left, right)


def accept_layer(root: bytes, size: int, chunk_size: int, layer: bytes) -> list[bytes]:
    """Returns the CVs of one file's chunks if they merge to its root (rule 3)."""
    if len(layer) != layer_length(size, chunk_size):
        raise Refused(2201, f"layer of {len(layer)} bytes, expected {layer_length(size, chunk_size)}")
    if size == 0 and root != blake3.hash(b""):
        raise Refused(2101, "the root of an empty file is the hash of nothing")
    if not layer:
        return []
    cvs = [layer[i : i + CV_LEN] for i in range(0, len(layer), CV_LEN)]
    if _merge(cvs, True) != root:
        raise Refused(2202, "the layer does not merge to the file's root")
    return cvs


class FileVerifier:
    """Checks the chunks of one file, in any order."""

    def __init__(self, root: bytes, size: int, chunk_size: int, layer: bytes):
        self.root, self.size, self.chunk_size = root, size, chunk_size
        self.cvs = accept_layer(root, size, chunk_size, layer)

    def accept(self, index: int, data: bytes) -> None:
        """Returns if `data` is the chunk at `index`, and refuses it otherwise."""
        if index >= chunk_count(self.size, self.chunk_size):
            raise Refused(2108, f"chunk {index} is past the end of the file")
        begin, end = chunk_range(index, self.size, self.chunk_size)
        if len(data) != end - begin:
            raise Refused(2107, f"chunk {index} has {len(data)} bytes, expected {end - begin}")
        if not self.matches(index, data):
            raise Refused(2102, f"chunk {index} (bytes {begin}..{end}) does not match the signed root")

    def matches(self, index: int, data) -> bool:
        if not self.cvs:
            return blake3.hash(data) == self.root
        return blake3.subtree_cv(data, index * self.chunk_size) == self.cvs[index]
