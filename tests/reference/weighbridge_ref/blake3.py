"""BLAKE3, written to be read: the hash, keyed_hash, derive_key, and the inner parts of the tree.

Two functions are missing in most BLAKE3 libraries: `subtree_cv` gives the chaining value of a
subtree that is not the root, and `merge` merges two chaining values.

If the PyPI module of the same name is installed, it hashes long inputs and nothing else.
self_test.py compares it with this module.
"""

import functools
import itertools
import struct

try:
    import blake3 as pypi_blake3
except ImportError:  # this module works without it, at about a megabyte a second
    pypi_blake3 = None

OUT_LEN = 32
BLOCK_LEN = 64
CHUNK_LEN = 1024  # a "BLAKE3 chunk" in spec/terms.md
LONG_INPUT = 1 << 20  # from this length on, the PyPI module is faster

CHUNK_START = 1 << 0
CHUNK_END = 1 << 1
PARENT = 1 << 2
ROOT = 1 << 3
KEYED_HASH = 1 << 4
DERIVE_KEY_CONTEXT = 1 << 5
DERIVE_KEY_MATERIAL = 1 << 6

IV = (
    0x6A09E667, 0xBB67AE85, 0x3C6EF372, 0xA54FF53A, 0x510E527F, 0x9B05688C, 0x1F83D9AB, 0x5BE0CD19,
)
MSG_PERMUTATION = (2, 6, 3, 10, 7, 0, 4, 13, 1, 11, 12, 5, 9, 14, 15, 8)
MASK32 = 0xFFFFFFFF


# --- the compression function -------------------------------------------------------------------

def _g(v, a, b, c, d, mx, my):
    """Mixes two message words into a column or a diagonal of the state."""
    v[a] = (v[a] + v[b] + mx) & MASK32
    x = v[d] ^ v[a]
    v[d] = (x >> 16) | (x << 16) & MASK32
    v[c] = (v[c] + v[d]) & MASK32
    x = v[b] ^ v[c]
    v[b] = (x >> 12) | (x << 20) & MASK32
    v[a] = (v[a] + v[b] + my) & MASK32
    x = v[d] ^ v[a]
    v[d] = (x >> 8) | (x << 24) & MASK32
    v[c] = (v[c] + v[d]) & MASK32
    x = v[b] ^ v[c]
    v[b] = (x >> 7) | (x << 25) & MASK32


def _rounds(cv, block_words, counter, block_len, flags):
    """The state after the seven rounds."""
    m = list(block_words)
    v = [*cv, *IV[:4], counter & MASK32, counter >> 32, block_len, flags]
    for round_number in range(7):
        _g(v, 0, 4, 8, 12, m[0], m[1])
        _g(v, 1, 5, 9, 13, m[2], m[3])
        _g(v, 2, 6, 10, 14, m[4], m[5])
        _g(v, 3, 7, 11, 15, m[6], m[7])
        _g(v, 0, 5, 10, 15, m[8], m[9])
        _g(v, 1, 6, 11, 12, m[10], m[11])
        _g(v, 2, 7, 8, 13, m[12], m[13])
        _g(v, 3, 4, 9, 14, m[14], m[15])
        if round_number < 6:
            m = [m[i] for i in MSG_PERMUTATION]
    return v


def _compress(cv, block_words, counter, block_len, flags):
    """Returns the first eight words of the compression function's output."""
    v = _rounds(cv, block_words, counter, block_len, flags)
    return [v[i] ^ v[i + 8] for i in range(8)]


def _compress_wide(cv, block_words, counter, block_len, flags):
    """Returns all sixteen words of the compression function's output."""
    v = _rounds(cv, block_words, counter, block_len, flags)
    return [v[i] ^ v[i + 8] for i in range(8)] + [v[i + 8] ^ cv[i] for i in range(8)]


def _block_words(block):
    return struct.unpack("<16I", bytes(block).ljust(BLOCK_LEN, b"\0"))


# --- nodes --------------------------------------------------------------------------------------

class _Node:
    """A node before its last compression, which decides whether the node is the root."""

    def __init__(self, cv, block_words, counter, block_len, flags):
        self.parts = cv, block_words, counter, block_len, flags

    def chaining_value(self) -> bytes:
        return struct.pack("<8I", *_compress(*self.parts))

    def root_hash(self) -> bytes:
        cv, block_words, _, block_len, flags = self.parts
        return struct.pack("<8I", *_compress(cv, block_words, 0, block_len, flags | ROOT))

    def extended_output(self):
        """The endless output, in blocks of 64 bytes. Its first 32 bytes are the root hash."""
        cv, block_words, _, block_len, flags = self.parts
        for block in itertools.count():
            yield struct.pack("<16I", *_compress_wide(cv, block_words, block, block_len, flags | ROOT))


def _leaf(data, chunk_counter, key, flags):
    """The node of one BLAKE3 chunk, at most 1,024 bytes."""
    cv = key
    blocks = [data[i : i + BLOCK_LEN] for i in range(0, len(data), BLOCK_LEN)] or [b""]
    for i, block in enumerate(blocks):
        start = CHUNK_START if i == 0 else 0
        if i == len(blocks) - 1:
            return _Node(cv, _block_words(block), chunk_counter, len(block), flags | start | CHUNK_END)
        cv = _compress(cv, _block_words(block), chunk_counter, BLOCK_LEN, flags | start)


def _parent(left, right, key, flags):
    return _Node(key, struct.unpack("<16I", left + right), 0, BLOCK_LEN, flags | PARENT)


def left_length(length: int) -> int:
    """The length of the left subtree: the largest power of two of BLAKE3 chunks below `length`."""
    if length <= CHUNK_LEN:
        raise ValueError("one BLAKE3 chunk has no children")
    full_chunks = (length - 1) // CHUNK_LEN
    return CHUNK_LEN << (full_chunks.bit_length() - 1)


def _subtree(data, chunk_counter, key, flags):
    if len(data) <= CHUNK_LEN:
        return _leaf(data, chunk_counter, key, flags)
    split = left_length(len(data))
    left = _subtree(data[:split], chunk_counter, key, flags)
    right = _subtree(data[split:], chunk_counter + split // CHUNK_LEN, key, flags)
    return _parent(left.chaining_value(), right.chaining_value(), key, flags)


# --- the functions for other modules --------------------------------------------------------------

def hash(data) -> bytes:
    """The standard BLAKE3 hash, which `b3sum` prints."""
    if pypi_blake3 is not None and len(data) >= LONG_INPUT:
        return pypi_blake3.blake3(data).digest()
    return pure_hash(data)


def pure_hash(data) -> bytes:
    return _subtree(memoryview(data), 0, IV, 0).root_hash()


def keyed_hash(key: bytes, data: bytes) -> bytes:
    """BLAKE3 in keyed mode: a MAC. The key has 32 bytes."""
    return _subtree(data, 0, struct.unpack("<8I", key), KEYED_HASH).root_hash()


def derive_key(context: str, material: bytes) -> bytes:
    """BLAKE3 in derive_key mode: one function for each context."""
    return _subtree(material, 0, _context_key(context), DERIVE_KEY_MATERIAL).root_hash()


def derive_key_extended(context: str, material: bytes):
    """BLAKE3 in derive_key mode with endless output, in blocks of 64 bytes."""
    return _subtree(material, 0, _context_key(context), DERIVE_KEY_MATERIAL).extended_output()


@functools.cache
def _context_key(context: str):
    return struct.unpack("<8I", _subtree(context.encode(), 0, IV, DERIVE_KEY_CONTEXT).root_hash())


def subtree_cv(data, offset: int) -> bytes:
    """The chaining value of the subtree over `data`, which begins at `offset` of its file."""
    if offset % CHUNK_LEN:
        raise ValueError("a subtree begins at a BLAKE3 chunk")
    return _subtree(memoryview(data), offset // CHUNK_LEN, IV, 0).chaining_value()


def merge(left: bytes, right: bytes) -> bytes:
    """The chaining value of a parent that is not the root."""
    return _parent(left, right, IV, 0).chaining_value()


def merge_root(left: bytes, right: bytes) -> bytes:
    """The hash of the root, merged from its two children. Only the top is hashed as root (rule 4)."""
    return _parent(left, right, IV, 0).root_hash()
