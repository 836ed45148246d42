"""The complete binary trees over the lists, and proofs that entries belong to them (spec/trees.md).

A tree of n leaves is an array of 2n - 1 nodes: leaf i is node n - 1 + i, the children of node i are
2i + 1 and 2i + 2, and node 0 is the top. These indices are computed, never read from input (rule 7).
"""

import heapq
import struct

from . import blake3
from .head import MAX_ENTRIES
from .refused import Refused

ENTRY_CONTEXT = "weighbridge 2026-11-20 v1 entry"
NODE_CONTEXT = "weighbridge 2026-11-20 v1 node"
ROOT_CONTEXT = "weighbridge 2026-11-20 v1 model root"
TENSORS_ROOT_CONTEXT = "weighbridge 2026-11-20 v1 tensors root"
MAX_PROOF_ENTRIES = 4096
HASH_LEN = 32


def u64le(number: int) -> bytes:
    return struct.pack("<Q", number)


def leaf_hash(line: bytes) -> bytes:
    """The leaf of an entry. `line` is its exact line without LF."""
    return blake3.derive_key(ENTRY_CONTEXT, line)


def node_hash(left: bytes, right: bytes) -> bytes:
    return blake3.derive_key(NODE_CONTEXT, left + right)


def tree_nodes(leaves: list[bytes]) -> list[bytes]:
    """All nodes of the tree. There is no empty tree (rule 5)."""
    if not leaves:
        raise ValueError("no tree over no leaves")
    nodes = [b""] * (len(leaves) - 1) + leaves
    for i in reversed(range(len(leaves) - 1)):
        nodes[i] = node_hash(nodes[2 * i + 1], nodes[2 * i + 2])
    return nodes


def tree_hash(lines: list[bytes]) -> bytes:
    return tree_nodes([leaf_hash(line) for line in lines])[0]


def model_root(files: int, total_bytes: int, tree: bytes) -> bytes:
    return blake3.derive_key(ROOT_CONTEXT, u64le(files) + u64le(total_bytes) + tree)


def tensors_root(tensors: int, tree: bytes) -> bytes:
    """`tree` is empty if there is no tensor: then only the count is hashed."""
    return blake3.derive_key(TENSORS_ROOT_CONTEXT, u64le(tensors) + tree)


# --- proofs ---------------------------------------------------------------------------------------

def steps(count: int, positions: list[int]):
    """The pairs of nodes whose hashes give their parents' hashes, from the highest heap index down.

    Yields (left, right, missing): `missing` is the node to which no entry leads, or None.
    """
    known = [-(count - 1 + position) for position in positions]  # negative, since heapq pops the lowest
    heapq.heapify(known)
    while known[0] != 0:
        index = -heapq.heappop(known)
        left, right = (index, index + 1) if index % 2 else (index - 1, index)
        if index == right and known and -known[0] == left:
            heapq.heappop(known)
            yield left, right, None
        else:
            yield left, right, left if index == right else right
        heapq.heappush(known, -((index - 1) // 2))


def sibling_indices(count: int, positions: list[int]) -> list[int]:
    """The nodes whose hashes a proof of these positions carries, in strictly descending heap index."""
    return [missing for _, _, missing in steps(count, positions) if missing is not None]


def prove(lines: list[bytes], positions: list[int]) -> list[bytes]:
    nodes = tree_nodes([leaf_hash(line) for line in lines])
    return [nodes[i] for i in sibling_indices(len(lines), positions)]


def check_proof(count: int, positions: list[int], lines: list[bytes], siblings: bytes, tree: bytes) -> None:
    """Returns if the tree with the hash `tree` has the entries at these positions."""
    if node_zero(count, positions, lines, siblings) != tree:
        raise Refused(2405, "the entries do not lead to the signed root")


def node_zero(count: int, positions: list[int], lines: list[bytes], siblings: bytes) -> bytes:
    """The hash to which entries at these positions lead. The caller compares it with the signed hash.

    `count` is signed. `siblings` are the bytes of the proof, 32 for each hash. Every check without hashes is made
    before the first hash (rule 7).
    """
    if not 1 <= count <= MAX_ENTRIES:
        raise Refused(2401, f"a list of {count} entries")
    if not positions:
        raise Refused(2402, "no entry")
    if len(positions) > MAX_PROOF_ENTRIES:
        raise Refused(2406, f"more than {MAX_PROOF_ENTRIES} entries in one proof")
    before = -1
    for position in positions:
        if position <= before:
            raise Refused(2402, f"position {position} does not come after {before}")
        if position >= count:
            raise Refused(2403, f"position {position} is not below {count}")
        before = position
    expected = len(sibling_indices(count, positions))
    if len(siblings) != HASH_LEN * expected:
        raise Refused(2404, f"{len(siblings)} bytes of sibling hashes, expected {expected} hashes")

    nodes = {count - 1 + position: leaf_hash(line) for position, line in zip(positions, lines, strict=True)}
    given = iter(siblings[i : i + HASH_LEN] for i in range(0, len(siblings), HASH_LEN))
    for left, right, missing in steps(count, positions):
        if missing is not None:
            nodes[missing] = next(given)
        nodes[left // 2] = node_hash(nodes[left], nodes[right])
    return nodes[0]
