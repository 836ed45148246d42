"""Slices of files (spec/slices.md)."""

import struct

from weighbridge_ref import blake3, slices

from .common import Cases, accepted, flip, pattern, refused

HEADER = slices.SIZE_LEN
PARENT = 2 * slices.CV_LEN
CHUNK = blake3.CHUNK_LEN


def cases() -> Cases:
    yield from honest()
    yield from ranges()
    yield from lengths()
    yield from parts()
    yield from places()


def good(name, comment, data, begin, end):
    return accepted(f"slice/{name}", "slice", comment, {"slice": slices.make(data, begin, end)},
                    root=blake3.hash(data).hex(), size=len(data), range=f"{begin}..{end}",
                    released=blake3.hash(data[begin:end]).hex())


def bad(name, code, comment, root, size, begin, end, data, released=b"", rule=None):
    return refused(f"slice/{name}", "slice", code, comment, {"slice": data}, rule=rule, root=root.hex(), size=size,
                   range=f"{begin}..{end}", released=blake3.hash(released).hex())


# The file of the page, and its slice: header, three parents, chunk 1, the parent of 2 and 3, chunk 2.
FILE = pattern(5000)
ROOT = blake3.hash(FILE)
RANGE = 2000, 2100
SLICE = slices.make(FILE, *RANGE)
CHUNK_1 = HEADER + 3 * PARENT
PARENT_2_3 = CHUNK_1 + CHUNK
CHUNK_2 = PARENT_2_3 + PARENT
BEFORE_CHUNK_2 = FILE[2000:2048]


def of_page(name, code, comment, data, released=b"", rule=None):
    return bad(name, code, comment, ROOT, len(FILE), *RANGE, data, released, rule)


def honest() -> Cases:
    yield good("empty-file", "a header and nothing else", b"", 0, 0)
    yield good("one-byte", "the only BLAKE3 chunk is the root", pattern(1), 0, 1)
    yield good("one-chunk-middle", "bytes inside the only BLAKE3 chunk", pattern(1024), 100, 200)
    yield good("two-chunks-last-byte", "the second chunk has one byte", pattern(1025), 1024, 1025)
    yield good("two-chunks-all", "a whole file of two chunks", pattern(1025), 0, 1025)
    yield good("page", "the example of the page, 2,312 bytes", FILE, *RANGE)
    yield good("same-chunks", "another range in the same chunks is the same slice", FILE, 1024, 3072)
    yield good("first-byte", "the path that is longest", FILE, 0, 1)
    yield good("last-byte", "the chunk that moves up as it is", FILE, 4999, 5000)
    yield good("one-whole-chunk", "from boundary to boundary, and no neighbour", FILE, 1024, 2048)
    yield good("across-a-boundary", "two bytes in two halves of the tree", FILE, 4095, 4097)
    yield good("all", "the whole file", FILE, 0, 5000)
    yield good("seventeen-chunks", "the last byte of the sixteenth BLAKE3 chunk and the only one of the seventeenth",
               pattern(16385), 16383, 16385)
    root, data, _ = deepest()
    yield accepted("slice/largest-file", "slice", "2^53 - 1 bytes: 43 parents, whose right children nobody needs",
                   {"slice": data}, root=root.hex(), size=2**53 - 1, range="0..16",
                   released=blake3.hash(pattern(16)).hex())


def deepest() -> tuple[bytes, bytes, bytes]:
    """Root, slice and first BLAKE3 chunk of a file that does not exist: its other CVs are invented."""
    size, chunk = 2**53 - 1, pattern(CHUNK)
    cv, parents = blake3.subtree_cv(chunk, 0), []
    for level in range(43):
        parents.insert(0, cv + blake3.hash(b"right child %d" % level))
        cv = (blake3.merge_root if level == 42 else blake3.merge)(parents[0][:32], parents[0][32:])
    return cv, struct.pack("<Q", size) + b"".join(parents) + chunk, chunk


def ranges() -> Cases:
    def case(name, comment, begin, end, data=SLICE, rule=6, size=len(FILE), root=ROOT):
        return bad(f"range-{name}", 2601, comment, root, size, begin, end, data, rule=rule)

    yield case("empty", "an empty range shows nothing", 2000, 2000)
    yield case("empty-at-start", "0..0 of a file that has bytes", 0, 0)
    yield case("empty-at-end", "5000..5000 of 5,000", 5000, 5000)
    yield case("turned-round", "2100..2000", 2100, 2000)
    yield case("past-the-end", "one byte too many", 4999, 5001, rule=1)
    yield case("behind-the-end", "wholly behind the file", 5000, 5001, rule=1)
    nothing = slices.make(b"", 0, 0)
    yield case("of-empty-file", "0..1 of no bytes", 0, 1, nothing, 1, 0, blake3.hash(b""))


def lengths() -> Cases:
    yield of_page("cut", 2602, "the last byte is missing; the length is compared before any part is looked at",
                  SLICE[:-1], rule=6)
    yield of_page("cut-behind-chunk", 2602, "ends behind BLAKE3 chunk 1", SLICE[:PARENT_2_3], rule=6)
    yield of_page("header-alone", 2602, "ends behind the header", SLICE[:HEADER], rule=6)
    yield of_page("header-cut", 2602, "seven bytes", SLICE[:7], rule=6)
    yield of_page("nothing", 2602, "no byte", b"", rule=6)
    yield of_page("longer", 2602, "a byte behind the end", SLICE + b"\0", rule=6)
    yield of_page("another-chunk-behind", 2602, "a slice of more than was asked for", slices.make(FILE, 2000, 4097),
                  rule=6)
    yield bad("empty-file-longer", 2602, "a byte behind the header", blake3.hash(b""), 0, 0, 0, bytes(9), rule=6)
    yield bad("whole-file-for-middle", 2602, "the whole file for a part of it", ROOT, 5000, 0, 1024,
              slices.make(FILE, 0, 5000), rule=6)

    def sized(size, data=SLICE):
        return struct.pack("<Q", size) + data[HEADER:]

    yield of_page("size-flipped", 2603, "one bit of the header differs", flip(SLICE, 0), rule=1)
    yield of_page("size-in-two-bytes", 2603, "a header as short as the size allows",
                  SLICE[:2] + SLICE[HEADER:], rule=6)
    yield of_page("size-big-endian", 2603, "most significant byte first", SLICE[:8][::-1] + SLICE[8:], rule=6)
    # The path of 2000..2100 is the same in every file of 4,097 to 8,192 bytes.
    yield of_page("size-other-same-path", 2603, "a size of which every node of this slice would be accepted",
                  sized(6000), rule=1)
    yield of_page("size-largest", 2603, "2^64 - 1", sized(2**64 - 1), rule=1)
    yield bad("size-zero", 2603, "an empty file's slice for one that has bytes", ROOT, 5000, 0, 1,
              slices.make(b"", 0, 0), rule=1)
    yield bad("size-of-empty", 2603, "bytes for an empty file", blake3.hash(b""), 0, 0, 0, slices.make(b"\0", 0, 1),
              rule=1)
    yield bad("other-file-other-size", 2603, "a good slice of a file of another size: told by the size and not by "
              "its length", ROOT, 5000, *RANGE, slices.make(pattern(9000), *RANGE), rule=1)


def parts() -> Cases:
    """Bytes that are not the signed ones, and the bytes released before them."""
    def flipped(name, comment, at, released=b"", rule=3):
        return of_page(f"flipped-{name}", 2604, comment, flip(SLICE, at), released, rule)

    yield flipped("root-left", "the left CV of the topmost parent", HEADER)
    yield flipped("root-right", "a CV below which nothing is read", HEADER + PARENT - 1)
    yield flipped("parent", "the parent of 0..3", HEADER + PARENT + 3)
    yield flipped("lowest-parent", "the parent of 0 and 1", HEADER + 2 * PARENT + 40)
    yield flipped("chunk", "a byte of BLAKE3 chunk 1", CHUNK_1 + 1000, rule=2)
    yield flipped("chunk-outside-range", "a byte of BLAKE3 chunk 1 that was not asked for", CHUNK_1, rule=2)
    yield flipped("later-parent", "the parent of 2 and 3: chunk 1 is released before", PARENT_2_3, BEFORE_CHUNK_2)
    yield flipped("later-chunk", "a byte of BLAKE3 chunk 2", CHUNK_2, BEFORE_CHUNK_2, 2)
    yield flipped("last-byte", "the last byte, which was not asked for", len(SLICE) - 1, BEFORE_CHUNK_2, 2)

    def swapped(at):
        return SLICE[:at] + SLICE[at + 32 : at + 64] + SLICE[at : at + 32] + SLICE[at + 64 :]

    yield of_page("children-exchanged", 2604, "right and left of the topmost parent", swapped(HEADER), rule=3)
    yield of_page("lowest-children-exchanged", 2604, "right and left of the parent of 0 and 1",
                  swapped(HEADER + 2 * PARENT), rule=3)
    chunks_exchanged = SLICE[:CHUNK_1] + SLICE[CHUNK_2:] + SLICE[PARENT_2_3:CHUNK_2] + SLICE[CHUNK_1:PARENT_2_3]
    yield of_page("chunks-exchanged", 2604, "BLAKE3 chunks 1 and 2, each in the other's place", chunks_exchanged,
                  rule=4)
    yield of_page("zeros", 2604, "zeros for the CVs that are not known", SLICE[:HEADER + 32] + bytes(32)
                  + SLICE[HEADER + 64 :], rule=5)
    yield bad("another-range", 2604, "a good slice of BLAKE3 chunk 0 for a range in chunk 1", ROOT, 5000, 1024, 1100,
              slices.make(FILE, 0, 76), rule=4)
    yield bad("another-half", 2604, "chunks 0 and 1 for a range in chunks 2 and 3", ROOT, 5000, 2048, 4096,
              slices.make(FILE, 0, 2048), rule=4)
    yield of_page("another-file", 2604, "a good slice of another file of the same size",
                  slices.make(flip(FILE, 4999), *RANGE), rule=3)
    yield bad("one-chunk-flipped", 2604, "a byte of the only BLAKE3 chunk", blake3.hash(pattern(700)), 700, 0, 10,
              flip(slices.make(pattern(700), 0, 10), 500), rule=2)
    yield bad("empty-file-other-root", 2604, "an empty file whose root is that of another", ROOT, 0, 0, 0,
              slices.make(b"", 0, 0), rule=13)
    yield bad("empty-file-root-zero", 2604, "zeros for the root of an empty file", bytes(32), 0, 0, 0,
              slices.make(b"", 0, 0), rule=5)
    root, data, _ = deepest()
    yield bad("largest-file-flipped", 2604, "2^53 - 1 bytes: the lowest of 43 parents", root, 2**53 - 1, 0, 16,
              flip(data, HEADER + 42 * PARENT), rule=3)


def places() -> Cases:
    """Roots that only a verifier with a misplaced ROOT flag or counter would accept (rule 4)."""
    def case(name, comment, root, size, begin, end, *after_header):
        data = struct.pack("<Q", size) + b"".join(after_header)
        assert len(data) == slices.encoded_length(size, begin, end)
        return bad(name, 2604, comment, root, size, begin, end, data, rule=4)

    same = bytes(CHUNK)
    cv_0, cv_1 = blake3.subtree_cv(same, 0), blake3.subtree_cv(same, CHUNK)
    yield case("equal-chunk-relocated", "equal bytes: chunk 0 offered as chunk 1, with the CV that it has as chunk 0",
               blake3.merge_root(cv_0, cv_0), 2048, 1024, 2048, cv_0, cv_0, same)
    yield case("equal-chunks-exchanged", "equal bytes: the CVs of chunks 0 and 1 exchanged",
               blake3.merge_root(cv_0, cv_1), 2048, 0, 1024, cv_1, cv_0, same)

    one, two, four = pattern(1000), pattern(2048), pattern(4096)
    yield case("one-chunk-without-root", "the CV of the only BLAKE3 chunk for its hash", blake3.subtree_cv(one, 0),
               1000, 0, 1000, one)
    pair = blake3.subtree_cv(two[:CHUNK], 0), blake3.subtree_cv(two[CHUNK:], CHUNK)
    yield case("top-without-root", "the topmost parent merged as one below the top", blake3.merge(*pair),
               2048, 0, 10, *pair, two[:CHUNK])
    left, right = blake3.merge_root(*pair), blake3.subtree_cv(four[2048:], 2048)
    yield case("root-below-top", "ROOT set one level below the top too", blake3.merge_root(left, right),
               4096, 0, 10, left, right, *pair, four[:CHUNK])
    yield case("parent-as-chunk", "the two CVs of a parent offered as a file of 64 bytes", blake3.hash(two),
               64, 0, 64, *pair)
