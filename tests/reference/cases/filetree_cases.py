"""File roots, chunk layers and chunks (spec/file-tree.md)."""

from weighbridge_ref import blake3, filetree

from .common import CHUNK_SIZE, Cases, accepted, flip, pattern, refused

# Chunk counts with different tree shapes: full, one more, one less, unbalanced on several levels.
CHUNK_COUNTS = (2, 3, 5, 6, 7, 11, 13)


def cases() -> Cases:
    yield from roots()
    yield from layers()
    yield from chunks()


class File:
    """A file of the pattern, with its root and layer."""

    def __init__(self, size: int, start: int = 0, chunk_size: int = CHUNK_SIZE):
        self.data = pattern(size, start)
        self.layer = filetree.layer_of(self.data, chunk_size)
        self.parameters = {"root": blake3.pure_hash(self.data).hex(), "size": size, "chunk_size": chunk_size}

    def chunk(self, index: int) -> bytes:
        return self.data[index * CHUNK_SIZE : (index + 1) * CHUNK_SIZE]

    def cv(self, index: int) -> bytes:
        return self.layer[32 * index : 32 * index + 32]


def roots() -> Cases:
    def root(name, size, chunk_size, comment):
        file = File(size, 0, chunk_size)
        count = filetree.chunk_count(size, chunk_size)
        return accepted(f"root/{name}", "root", comment, {"layer": file.layer}, **file.parameters, chunks=count)

    yield root("empty", 0, CHUNK_SIZE, "the hash of nothing; no chunk")
    yield root("chunk-less-one", CHUNK_SIZE - 1, CHUNK_SIZE, "one byte less than a chunk: no layer")
    yield root("chunk", CHUNK_SIZE, CHUNK_SIZE, "exactly one chunk: no layer")
    yield root("chunk-and-one", CHUNK_SIZE + 1, CHUNK_SIZE, "a last chunk of one byte")
    for count in CHUNK_COUNTS:
        yield root(f"chunks-{count:02}", count * CHUNK_SIZE, CHUNK_SIZE, f"{count} full chunks")
    yield root("chunks-04-and-one", 4 * CHUNK_SIZE + 1, CHUNK_SIZE, "5 chunks, the last of one byte")
    yield root("chunk-size-65536", 3 * 65536 - 1000, 65536, "3 chunks of another size")


def layers() -> Cases:
    def layer(name, file, data, code, comment, rule=3, **changes):
        parameters = file.parameters | changes
        return refused(f"layer/{name}", "layer", code, comment, {"layer": data}, rule=rule, **parameters)

    one, three, five = File(CHUNK_SIZE), File(3 * CHUNK_SIZE), File(5 * CHUNK_SIZE - 7)
    for count, file in (("one-chunk", one), ("three-chunks", three), ("five-chunks", five)):
        yield accepted(f"layer/{count}", "layer", "honest", {"layer": file.layer}, **file.parameters)

    yield layer("one-chunk-with-cv", one, blake3.subtree_cv(one.data, 0), 2201,
                "a file of one chunk has no layer", rule=6)
    yield layer("absent", three, b"", 2201, "a layer of no bytes for a file of three chunks", rule=6)
    yield layer("truncated-by-cv", three, three.layer[:-32], 2201, "the last CV is missing", rule=6)
    yield layer("extended-by-cv", three, three.layer + three.cv(0), 2201, "a CV behind the layer", rule=6)
    yield layer("flipped", five, flip(five.layer, 4 * 32 + 5, 0x80), 2202, "one bit of CV 4 differs")
    yield layer("swapped-siblings", three, three.cv(1) + three.cv(0) + three.cv(2), 2202,
                "CVs 0 and 1 are exchanged: genuine values in wrong places")
    yield layer("zeros", three, bytes(96), 2202, "zeros are hashes like any other, and not absent ones", rule=5)
    yield layer("of-another-file", three, File(3 * CHUNK_SIZE, 1).layer, 2202,
                "the layer of another file of the same size")
    top = blake3.merge(three.cv(0), three.cv(1)) + three.cv(2)
    yield layer("of-inner-nodes", File(3 * CHUNK_SIZE), top, 2201,
                "the two children of the root: they merge to it, but are not this file's layer", rule=1)
    two = File(2 * CHUNK_SIZE)
    wrong = blake3.merge(two.cv(0), two.cv(1)).hex()
    yield layer("root-not-finalised", two, two.layer, 2202,
                "the root given is the top merged as if it were no root", rule=4, root=wrong)
    balanced = blake3.merge_root(five.cv(0), blake3.merge(blake3.merge(five.cv(1), five.cv(2)),
                                                         blake3.merge(five.cv(3), five.cv(4))))
    yield layer("other-shape", five, five.layer, 2202, "the root given merges one chunk left and four right",
                rule=1, root=balanced.hex())
    for name, size in (("too-small", 8192), ("no-power", 3 * 2**13)):
        yield layer(f"chunk-size-{name}", one, b"", 1704, f"a chunk size of {size}", rule=1, chunk_size=size)
    yield layer("empty-file-other-root", File(0), b"", 2101, "the root of an empty file is the hash of nothing",
                rule=13, root=one.parameters["root"])


def chunks() -> Cases:
    def chunk(name, file, code, comment, *offered, released=b"", rule=2, layer=None, **changes):
        sections = [("layer", file.layer if layer is None else layer)]
        sections += [(f"chunk {index}", data) for index, data in offered]
        parameters = file.parameters | changes | {"released": blake3.hash(released).hex()}
        if code is None:
            return accepted(f"chunk/{name}", "chunk", comment, sections, **parameters)
        return refused(f"chunk/{name}", "chunk", code, comment, sections, rule=rule, **parameters)

    empty, one, full = File(0), File(1000), File(CHUNK_SIZE)
    three = File(2 * CHUNK_SIZE + 1000)  # the last chunk has 1,000 bytes
    wide = File(3 * CHUNK_SIZE)

    yield chunk("empty-file", empty, None, "no chunk: nothing to check but the root")
    yield chunk("one-chunk", one, None, "a file of one chunk, checked by its root", (0, one.data), released=one.data)
    yield chunk("in-order", three, None, "all chunks, first to last",
                *((i, three.chunk(i)) for i in range(3)), released=three.data)
    yield chunk("any-order", three, None, "last, first: each is released as it is accepted",
                (2, three.chunk(2)), (0, three.chunk(0)), released=three.chunk(2) + three.chunk(0))

    yield chunk("flipped", three, 2102, "one bit differs; nothing is released", (0, flip(three.chunk(0), 9000)))
    yield chunk("flipped-after-good", three, 2102, "chunk 2 is released, chunk 1 is bad",
                (2, three.chunk(2)), (1, flip(three.chunk(1), 16383)), released=three.chunk(2))
    yield chunk("again-altered", three, 2102, "a chunk that was accepted, offered again with one bit changed",
                (2, three.chunk(2)), (2, flip(three.chunk(2))), rule=10, released=three.chunk(2))
    yield chunk("exchanged", wide, 2102, "chunk 1 offered as chunk 0: genuine, in another place",
                (0, wide.chunk(1)), rule=4)
    yield chunk("of-another-file", three, 2102, "chunk 0 of another file of the same size",
                (0, File(three.parameters["size"], 1).chunk(0)))
    yield chunk("one-chunk-flipped", one, 2102, "a file of one chunk, one bit differs", (0, flip(one.data, 999)))
    yield chunk("short", three, 2107, "a byte is missing", (1, three.chunk(1)[:-1]), rule=6)
    yield chunk("long", three, 2107, "a byte too many", (0, three.data[: CHUNK_SIZE + 1]), rule=6)
    yield chunk("last-too-long", three, 2107, "the last chunk, filled up with zeros",
                (2, three.chunk(2).ljust(CHUNK_SIZE, b"\0")), rule=1)
    yield chunk("empty-file-with-chunk", empty, 2108, "an empty file has no chunk, not even an empty one", (0, b""),
                rule=6)
    yield chunk("empty-file-other-root", empty, 2101, "no chunk of an empty file would show that its root is wrong",
                rule=13, root=one.parameters["root"])
    yield chunk("past-the-end", three, 2108, "there is no chunk 3", (3, three.chunk(2)), rule=1)
    yield chunk("past-the-end-of-full", full, 2108, "a file of exactly one chunk has no empty chunk behind it",
                (1, b""), rule=1)
    yield chunk("far-past-the-end", three, 2108, "an index whose offset needs more than 64 bits",
                (2**52, three.chunk(0)), rule=12)
    yield chunk("under-refused-layer", three, 2202, "the layer is refused, so no chunk is looked at",
                (0, three.chunk(0)), rule=3, layer=flip(three.layer, 95))
