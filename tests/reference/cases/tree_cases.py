"""Proofs that entries stand in a list (spec/trees.md)."""

from weighbridge_ref import trees
from weighbridge_ref.lists import file_line

from .common import Case, Cases, accepted, file_entry, flip, joined, refused

FORGED = b'{"file":"forged.pickle","size":0,"blake3":"' + b"0" * 64 + b'"}'


class Tree:
    def __init__(self, count: int):
        # A tree may have any lines; large trees get short ones.
        self.lines = [file_line(file_entry(f"file-{i:02}")) if count < 100 else str(i).encode() for i in range(count)]
        self.nodes = trees.tree_nodes([trees.leaf_hash(line) for line in self.lines])
        self.hash = self.nodes[0].hex()

    def siblings(self, *positions) -> bytes:
        return b"".join(trees.prove(self.lines, list(positions)))


def sections(lines, siblings):
    return [("lines", joined(lines)), ("siblings", siblings)]


def text(positions) -> str:
    return " ".join(map(str, positions))


def cases() -> Cases:
    yield from honest()
    yield from refusals()


def honest() -> Cases:
    def case(name, count, positions, comment) -> Case:
        tree = Tree(count)
        return accepted(f"tree/{name}", "tree", comment,
                        sections([tree.lines[p] for p in positions], tree.siblings(*positions)),
                        count=count, positions=text(positions), tree_hash=tree.hash)

    yield case("one-entry", 1, [0], "the leaf's hash is the tree's")
    yield case("three-entries-first", 3, [0], "position 0 lies lowest")
    yield case("five-entries", 5, [1, 4], "leaves on two levels")
    yield case("seven-entries-all", 7, list(range(7)), "all entries, no sibling hash")
    yield case("neighbours", 11, [4, 5], "the two between which another would have to stand")
    yield case("thirteen-entries", 13, [0, 1, 5, 11, 12], "five of thirteen, on two levels")
    many = Tree(4096)
    yield accepted("tree/most-entries", "tree", "4,096 entries in one proof", sections(many.lines, b""),
                   count=4096, positions=text(range(4096)), tree_hash=many.hash)


def refusals() -> Cases:
    def case(name, code, comment, tree, positions, lines, siblings, rule=7, count=None, tree_hash=None) -> Case:
        return refused(f"tree/{name}", "tree", code, comment, sections(lines, siblings), rule=rule,
                       count=len(tree.lines) if count is None else count,
                       positions=text(positions), tree_hash=tree_hash or tree.hash)

    five, six, eight = Tree(5), Tree(6), Tree(8)
    line, proof = eight.lines, eight.siblings

    yield case("count-zero", 2401, "nothing is in a list of nothing", eight, [0], line[:1], proof(0), rule=1, count=0)
    yield case("count-too-high", 2401, "2^24 + 1 entries", eight, [0], line[:1], proof(0), rule=1, count=2**24 + 1)
    yield case("no-position", 2402, "a proof of nothing", eight, [], [], eight.nodes[0], rule=6)
    yield case("position-repeated-forged", 2402, "a forged entry at the position of a true one", eight, [3, 3],
               [line[3], FORGED], proof(3) + proof(3))
    yield case("positions-descending", 2402, "5 before 2", eight, [5, 2], [line[5], line[2]], proof(2, 5))
    yield case("position-is-count", 2403, "position 8 of 8", eight, [8], [line[7]], proof(7))
    yield case("position-forged-beyond", 2403, "all true entries, and a forged one behind the last", eight,
               [*range(8), 8], [*line, FORGED], b"")
    yield case("position-2-32-less-one", 2403, "a node index that wraps in 32 bits", eight, [0, 2**32 - 1],
               [line[0], FORGED], proof(0), rule=12)
    yield case("sibling-missing", 2404, "the last sibling hash is missing", eight, [3], [line[3]], proof(3)[:-32])
    yield case("sibling-extra", 2404, "a sibling hash too many", eight, [3], [line[3]], proof(3) + bytes(32))
    too_many = Tree(4097)
    yield case("too-many-entries", 2406, "4,097 entries in one proof", too_many, range(4097), too_many.lines, b"",
               rule=12)

    yield case("entry-forged", 2405, "another entry in place of the true one", eight, [3], [FORGED], proof(3), rule=3)
    yield case("entry-at-other-position", 2405, "entry 3 offered at position 4", eight, [4], [line[3]], proof(3))
    yield case("entries-exchanged", 2405, "two true entries, each at the other's position", eight, [2, 6],
               [line[6], line[2]], proof(2, 6))
    yield case("sibling-flipped", 2405, "one bit of a sibling hash differs", eight, [3], [line[3]],
               flip(proof(3), 40), rule=3)
    yield case("siblings-zero", 2405, "zeros for what is not known", eight, [3], [line[3]], bytes(96), rule=5)
    yield case("count-one-more", 2405, "a proof of 5 entries read as one of 6", five, [0], five.lines[:1],
               five.siblings(0), rule=1, count=6)
    yield case("count-one-less", 2405, "a proof of 6 entries read as one of 5", six, [0], six.lines[:1],
               six.siblings(0), rule=1, count=5)
    yield case("other-tree", 2405, "a true proof, in another list", eight, [3], [line[3]], proof(3), rule=3,
               tree_hash=Tree(9).hash)

    # The input of a node's hash, offered as an entry. Entries and nodes have different hash contexts.
    inner, top = eight.nodes[3] + eight.nodes[4], eight.nodes[1] + eight.nodes[2]
    assert b"\n" not in inner + top
    yield case("inner-node-as-entry", 2405, "the two hashes below node 1, offered as entry 0 of 2", eight, [0], [inner],
               eight.nodes[2], count=2)
    yield case("root-as-entry", 2405, "the two hashes below node 0, offered as the only entry", eight, [0], [top], b"",
               count=1)
