"""GGUF headers, and the parts of split models (spec/gguf.md)."""

from weighbridge_ref.gguf import (ARRAY, BOOL, DTYPES, I32, MAX_COUNT, STRING, U16, U32, Split, parse_gguf,
                                  split_line)
from weighbridge_ref.tensors import Unlisted, answer_lines, name_lines

from .common import Cases, accepted, pattern, refused

U8, U64 = 0, 10


def cases() -> Cases:
    yield from good_headers()
    yield from bad_starts()
    yield from bad_pairs()
    yield from bad_entries()
    yield from bad_keys()
    yield from bad_layouts()
    yield from in_order()
    yield from splits()


# --- writing --------------------------------------------------------------------------------------------

def number(value: int, length: int) -> bytes:
    return (value % 2 ** (8 * length)).to_bytes(length, "little")


def u32(value: int) -> bytes:
    return number(value, 4)


def u64(value: int) -> bytes:
    return number(value, 8)


def text(value: str | bytes) -> bytes:
    value = value.encode() if isinstance(value, str) else value
    return u64(len(value)) + value


def pair(key: str | bytes, kind: int, value: bytes) -> bytes:
    return text(key) + u32(kind) + value


def array(kind: int, count: int, elements: bytes = b"") -> bytes:
    return u32(kind) + u64(count) + elements


def entry(name: str | bytes, kind=0, dimensions=(1,), offset=0) -> bytes:
    return text(name) + u32(len(dimensions)) + b"".join(map(u64, dimensions)) + u32(kind) + u64(offset)


def alignment(value: int) -> bytes:
    return pair("general.alignment", U32, u32(value))


def part(no: int, count: int, tensors: int | None = None) -> list[bytes]:
    pairs = [pair("split.no", U16, number(no, 2)), pair("split.count", U16, number(count, 2))]
    return pairs if tensors is None else [*pairs, pair("split.tensors.count", I32, u32(tensors))]


def header(pairs=(), entries=(), version=3, tensor_count=None, pair_count=None) -> bytes:
    counts = (len(entries) if tensor_count is None else tensor_count, len(pairs) if pair_count is None else pair_count)
    return b"GGUF" + u32(version) + b"".join(map(u64, counts)) + b"".join(pairs) + b"".join(entries)


def padded(position: int, multiple=32) -> int:
    return -(-position // multiple) * multiple


def gguf_file(*tensors: tuple[str, int, tuple[int, ...], bytes], pairs=()) -> bytes:
    """A file of tensors (name, type, dimensions as in the file, bytes), padded at its end."""
    entries, data = [], b""
    for name, kind, dimensions, content in tensors:
        entries.append(entry(name, kind, dimensions, len(data)))
        data += content + bytes(-len(content) % 32)
    top = header(pairs, entries)
    return top + bytes(-len(top) % 32) + data


# --- headers --------------------------------------------------------------------------------------------

def good(name, comment, data, size):
    found = parse_gguf(data, size)
    answers = {"split": split_line(found.split)}
    if isinstance(found.tensors, Unlisted):
        answers["unlisted"], section = found.tensors.code, {"names": name_lines(found.tensors.names)}
    else:
        section = {"tensors": answer_lines(found.tensors)}
    return accepted(f"gguf/{name}", "gguf", comment, {"prefix": data} | section, file_size=size, **answers)


def bad(name, code, comment, data, size=None, rule=None):
    size = len(data) if size is None else size
    return refused(f"gguf/{name}", "gguf", code, comment, {"prefix": data}, rule=rule, file_size=size)


def good_headers() -> Cases:
    two = header([alignment(8)], [entry("a", 0, (1, 2)), entry("b", 30, (), 8)])
    yield good("plain", "the file of the page: a matrix and a scalar, 8 bytes apart", two, 144)
    yield good("end-without-padding", "the padding after the last tensor is missing", two, 138)
    yield good("version-2", "version 2, which differs in nothing else", header(entries=[entry("a")], version=2), 68)
    empty = header()
    yield good("nothing", "no key-value and no tensor: the header alone", empty, 24)
    yield good("nothing-padded", "the same with padding", empty, 32)
    pairs = [pair(f"k{kind}", kind, bytes(length)) for kind, length in
             ((0, 1), (1, 1), (2, 2), (3, 2), (4, 4), (5, 4), (6, 4), (10, 8), (11, 8), (12, 8))]
    pairs += [pair("bool", BOOL, b"\1"), pair("string", STRING, text(b"\xff is not UTF-8, nor has it to be")),
              pair("numbers", ARRAY, array(U16, 3, bytes(6))), pair("bools", ARRAY, array(BOOL, 2, b"\1\0")),
              pair("strings", ARRAY, array(STRING, 2, text("a") + text(""))), pair("none", ARRAY, array(STRING, 0)),
              pair("Großschreibung", U8, b"\0")]
    data = header(pairs, [entry("a")])
    yield good("values", "a value of every type, keys that are not in lower case", data, padded(len(data)) + 4)
    deep = array(U8, 1, b"\7")
    for _ in range(7):
        deep = array(ARRAY, 1, deep)
    data = header([pair("k", ARRAY, deep)])
    yield good("arrays-of-8-levels", "arrays in arrays, eight levels", data, len(data))
    deep = array(ARRAY, 0)
    for _ in range(7):
        deep = array(ARRAY, 1, deep)
    data = header([pair("k", ARRAY, deep)])
    yield good("arrays-of-8-levels-and-none", "the eighth level has room for arrays, and none", data, len(data))
    data = header([pair("k" * 65535, U8, b"\0")])
    yield good("key-longest", "a key of 65,535 bytes", data, len(data))

    entries, offset = [], 0
    for kind, (dtype, elements, length) in DTYPES.items():
        entries.append(entry(dtype.lower(), kind, (elements * 2, 3), offset))
        offset = padded(offset + length * 6)
    data = header(entries=entries)
    yield good("dtypes", "two by three blocks of each dtype", data, padded(len(data)) + offset)
    data = header(entries=[entry("four", 24, (2, 3, 5, 7)), entry("block", 8, (32, 1, 1, 2), 224)])
    yield good("dimensions-4", "four dimensions", data, padded(len(data)) + 224 + 68)
    data = header(entries=[entry("five", 24, (2, 3, 5, 7, 11)), entry("sixteen", 8, (32, *[1] * 14, 2), 2336)])
    yield good("dimensions-16", "five dimensions, as gguf-py writes them, and sixteen", data,
               padded(len(data)) + 2336 + 68)
    for kind in (4, 5, 31, 33, 36, 38, 43, 2**32 - 1):
        data = header(entries=[entry("a", 0, (8,)), entry("u", kind, (256,), 32), entry("b", 0, (1,), 64)])
        yield good(f"dtype-{kind}", f"type {kind} is not known: no tensor is listed, and nothing is wrong", data,
                   padded(len(data)) + 1000)
    data = header(part(1, 3, 5), [entry("b", 99, (), 0), entry("a", 0, (1,), 4096)])
    yield good("dtype-unknown-part", "a part with an unknown dtype says which it is, and its names", data,
               padded(len(data)) + 4100)
    data = header(entries=[entry("b", 0, (1,), 32), entry("", 0, (3,), 0)])
    yield good("any-order", "entries that do not stand in the order of their offsets; an empty name", data,
               padded(len(data)) + 36)
    data = header(entries=[entry("a", 0, (1,)), entry("e0", 8, (0,), 0), entry("e1", 0, (5, 0), 32),
                           entry("b", 0, (1,), 32), entry("e2", 0, (0, 7), 64)])
    yield good("empty-tensors-share", "empty tensors before, between and behind others", data, padded(len(data)) + 64)
    data = header(entries=[entry("a", 0, (2**52, 2**52, 2**52, 0))])
    yield good("zero-after-overflow", "a product that fits into no 128 bits, and then 0", data, padded(len(data)))
    for value in (8, 1_048_576):
        data = header([alignment(value)], [entry("a", 24, (1,)), entry("b", 24, (1,), value)])
        yield good(f"alignment-{value}", f"tensors {value} bytes apart", data, padded(len(data), value) + value + 1)
    data = header([pair("x", U8, b"\0"), *part(1, 3, 5), pair("y", U8, b"\0")], [entry("a")])
    yield good("part", "the second of three parts", data, padded(len(data)) + 4)
    data = header(part(65534, 65535), [entry("a")])
    yield good("part-of-most", "the last of 65,535 parts, which says no number of tensors", data, padded(len(data)) + 4)
    data = header([pair("split.no", STRING, text("x")), pair("split.count", U16, b"\0\0")], [entry("a")])
    yield good("part-of-none", "parts that were merged: a count of 0, and the other keys are not looked at", data,
               padded(len(data)) + 4)
    data = header([pair("split.no", U16, b"\5\0")], [entry("a")])
    yield good("part-without-count", "`split.no` alone makes no part", data, padded(len(data)) + 4)


def bad_starts() -> Cases:
    pointer = b"version https://git-lfs.github.com/spec/v1\noid sha256:" + b"0" * 64 + b"\nsize 90868376\n"
    yield bad("lfs-pointer", 4117, "a Git LFS pointer", pointer)
    yield bad("magic", 4301, "`GGML`", b"GGML" + header()[4:])
    yield bad("empty-file", 4301, "no byte", b"")
    yield bad("three-bytes", 4301, "three bytes", b"GGU")
    yield bad("four-bytes", 4305, "the magic alone", b"GGUF", rule=6)
    yield bad("version-1", 4302, "version 1", header(version=1))
    yield bad("version-4", 4302, "version 4", header(version=4))
    yield bad("version-0", 4302, "version 0", header(version=0))
    for version in (2, 3):
        big = b"GGUF" + version.to_bytes(4, "big") + bytes(16)
        yield bad(f"big-endian-{version}", 4303, f"version {version} in the other byte order", big)
    for name, counts in (("tensors", {"tensor_count": MAX_COUNT + 1}), ("values", {"pair_count": MAX_COUNT + 1})):
        yield bad(f"{name}-too-many", 4304, "1,048,577, for which the file has room", header(**counts), 2**40, rule=12)
    for name, counts in (("tensors", {"tensor_count": 2**63}), ("values", {"pair_count": 2**64 - 1})):
        yield bad(f"{name}-2-63", 4304, "a number that no memory holds", header(**counts), 2**52, rule=1)
    data = header([pair("k", U8, b"\0")], [entry("")], pair_count=2)
    yield bad("counts-no-room", 4304, "room for one key-value and one tensor, and two are claimed", data, rule=1)
    yield bad("counts-cut", 4305, "the file ends within the second count", header()[:20])


def bad_pairs() -> Cases:
    def pairs(name, code, comment, *pairs, size=None, rule=None):
        # The bytes behind make room for the claimed counts.
        return bad(name, code, comment, header(pairs) + bytes(24), size, rule=rule)

    yield pairs("key-empty", 4307, "a key of no byte", pair("", U8, b"\0"))
    yield pairs("key-too-long", 4307, "65,536 bytes", pair("k" * 65536, U8, b"\0"))
    yield pairs("key-2-64", 4307, "a key of 2^64 - 1 bytes", u64(2**64 - 1), rule=12)
    yield pairs("key-not-utf8", 4307, "a surrogate", pair(b"\xed\xa0\x80", U8, b"\0"))
    yield pairs("kind-13", 4308, "type 13", pair("k", 13, b"\0"))
    yield pairs("element-kind-13", 4308, "an empty array of type 13", pair("k", ARRAY, array(13, 0)))
    nine = array(U8, 0)
    for _ in range(8):
        nine = array(ARRAY, 1, nine)
    yield pairs("arrays-of-9-levels", 4309, "nine levels", pair("k", ARRAY, nine), rule=12)
    yield pairs("arrays-without-end", 4309, "2,000 levels", pair("k", ARRAY, array(ARRAY, 1) * 2_000), rule=12)
    yield pairs("bool-2", 4310, "2", pair("k", BOOL, b"\2"))
    yield pairs("bool-in-array", 4310, "255 in an array", pair("k", ARRAY, array(BOOL, 3, b"\0\1\xff")))

    yield pairs("string-past-end", 4305, "a string longer than the file", pair("k", STRING, u64(1000)), rule=1)
    yield pairs("string-2-64", 4305, "2^64 - 8 bytes, which end before they begin where numbers wrap",
                pair("k", STRING, u64(2**64 - 8)), rule=12)
    yield pairs("array-2-63", 4305, "2^63 elements of two bytes: none where numbers wrap",
                pair("k", ARRAY, array(U16, 2**63)), rule=12)
    yield pairs("array-of-strings-2-61", 4305, "2^61 strings, at least 8 bytes each: none where numbers wrap",
                pair("k", ARRAY, array(STRING, 2**61)), rule=12)
    yield pairs("array-of-arrays-past-end", 4305, "ten arrays where there is room for nine",
                pair("k", ARRAY, array(ARRAY, 10, array(U8, 0) * 7)), rule=1)
    size = 200_000_000
    yield pairs("header-too-long", 4306, "an array that ends behind byte 100,000,000",
                pair("k", ARRAY, array(U8, 100_000_000)), size=size, rule=12)
    yield pairs("header-too-long-strings", 4306, "20,000,000 strings, whose lengths alone end behind it",
                pair("k", ARRAY, array(STRING, 20_000_000)), size=size, rule=12)
    cut = header([pair("k", U64, bytes(8))], pair_count=1)
    yield bad("value-cut", 4305, "the file ends within a value", cut[:-1])


def bad_entries() -> Cases:
    def entries(name, code, comment, *entries, size=None, rule=None):
        return bad(name, code, comment, header(entries=entries) + bytes(64), size, rule=rule)

    yield entries("name-not-utf8", 4311, "an overlong `/`", entry(b"\xc0\xaf"))
    yield entries("name-past-end", 4305, "a name of 2^63 bytes", u64(2**63), rule=12)
    yield entries("dimensions-17", 4325, "17 dimensions", entry("a", 24, (1,) * 17), rule=12)
    yield entries("dimensions-2-32", 4325, "2^32 - 1 dimensions", text("a") + u32(2**32 - 1), rule=12)
    yield entries("dimension-2-53", 4313, "2^53", entry("a", 24, (1, 2**53)), size=2**54, rule=12)
    unknown = entry("u", 99)
    yield entries("dtype-unknown-name-twice", 4319, "an unknown dtype, and a name twice", unknown, unknown)
    yield entries("dtype-unknown-unaligned", 4320, "an offset of 8, of an unknown dtype", entry("u", 99, (1,), 8))
    yield entries("dtype-unknown-past-end", 4321, "an unknown dtype beginning behind the file",
                  entry("u", 99, (1,), 4096), rule=1)
    yield entries("dtype-unknown-cut", 4321, "an unknown dtype, and the file ends within another tensor", unknown,
                  entry("b", 0, (100,), 32))
    yield entries("block-scalar", 4315, "a scalar of blocks", entry("a", 8, ()))
    yield entries("block-31", 4315, "31 elements in blocks of 32", entry("a", 2, (31, 32)))
    yield entries("block-in-other-dimension", 4315, "the shape's first dimension fills blocks, the file's does not",
                  entry("a", 12, (2, 256)))
    data = header(entries=[entry("abc", 0, (1, 1))])
    yield bad("entry-cut", 4305, "the file ends within an entry", data[:-1])


def bad_keys() -> Cases:
    def keys(name, code, comment, *pairs, rule=None):
        data = header(pairs, [entry("a")])
        return bad(f"{name}", code, comment, data + bytes(padded(len(data)) - len(data) + 4), rule=rule)

    yield keys("key-twice", 4316, "a key twice", pair("k", U8, b"\0"), pair("j", U8, b"\0"), pair("k", U32, u32(0)),
               rule=6)
    yield keys("alignment-twice", 4316, "two alignments, the same", alignment(32), alignment(32), rule=6)
    for value in (0, 1, 4, 12, 33, 2**21, 2**31):
        yield keys(f"alignment-{value}", 4317, f"{value}", alignment(value))
    yield keys("alignment-u64", 4317, "an alignment of 64 bits", pair("general.alignment", U64, u64(32)))
    yield keys("alignment-array", 4317, "an array", pair("general.alignment", ARRAY, array(U32, 1, u32(32))))
    count = pair("split.count", U16, b"\3\0")
    no = pair("split.no", U16, b"\1\0")
    yield keys("split-count-u32", 4318, "a count of 32 bits", no, pair("split.count", U32, u32(3)))
    yield keys("split-count-string", 4318, "a count that is a string", no, pair("split.count", STRING, text("\3\0")))
    yield keys("split-no-missing", 4318, "no number", count)
    yield keys("split-no-i16", 4318, "a number with a sign", count, pair("split.no", 3, b"\1\0"))
    yield keys("split-no-is-count", 4318, "the fourth of three", count, pair("split.no", U16, b"\3\0"))
    yield keys("split-tensors-u32", 4318, "a number of tensors without sign", count, no,
               pair("split.tensors.count", U32, u32(1)))
    yield keys("split-tensors-negative", 4318, "-1 tensors", *part(1, 3, -1))


def bad_layouts() -> Cases:
    def layout(name, code, comment, *entries, length, pairs=(), rule=None):
        data = header(pairs, entries)
        return bad(name, code, comment, data, padded(len(data)) + length, rule=rule)

    one = entry("a", 24, (8,))
    yield layout("name-twice", 4319, "a name twice", one, entry("a", 24, (8,), 32), length=64, rule=6)
    yield layout("offset-unaligned", 4320, "an offset of 8 where 32 is the alignment", one, entry("b", 24, (8,), 8),
                 length=64)
    yield layout("offset-aligned-by-default", 4320, "32, with an alignment of 64", one, entry("b", 24, (8,), 32),
                 pairs=[alignment(64)], length=128)
    yield layout("file-cut", 4321, "the last byte of the last tensor is missing", one, entry("b", 24, (8,), 32),
                 length=39, rule=1)
    yield layout("offset-2-64", 4321, "an offset that wraps to within the file", entry("a", 24, (8,), 2**64 - 32),
                 length=64, rule=12)
    yield layout("product-wraps", 4321, "2^32 by 2^32 by 4 bytes: none where numbers wrap",
                 entry("a", 0, (2**32, 2**32)), length=64, rule=12)
    data = header(entries=[entry("a", 24, (2**53 - 1,))])
    yield bad("past-2-53", 4321, "a tensor that a file of 2^54 bytes has room for", data, 2**54, rule=12)
    yield layout("padding-missing", 4321, "the file ends before the data begin, with an empty tensor",
                 entry("a", 0, (0,)), length=-1)
    yield layout("hole", 4322, "32 bytes that belong to no tensor", one, entry("b", 24, (8,), 64), length=96)
    yield layout("hole-before-first", 4322, "the first tensor does not begin where the data do",
                 entry("b", 24, (8,), 32), length=64)
    yield layout("hole-before-empty", 4322, "an empty tensor behind a hole", one, entry("b", 0, (0,), 64), length=64)
    yield layout("overlap", 4323, "two tensors in the same place", one, entry("b", 24, (9,)), length=32)
    yield layout("overlap-by-a-byte", 4323, "a tensor of 33 bytes, the next one at 32", entry("a", 24, (33,)),
                 entry("b", 24, (8,), 32), length=64)
    yield layout("overlap-empty-within", 4323, "an empty tensor within another", entry("a", 24, (64,)),
                 entry("b", 0, (0,), 32), length=64)
    yield layout("file-extended", 4324, "a byte behind the padding", one, length=33, rule=6)
    yield layout("file-in-padding", 4324, "half of the padding", one, length=16, rule=6)
    yield bad("nothing-extended", 4324, "no tensor, and a byte behind the padding", header(), 33, rule=6)


def in_order() -> Cases:
    """With two faults, the first one in the file is reported."""
    yield bad("first-big-endian", 4303, "big-endian, before its counts are read", b"GGUF" + (3).to_bytes(4, "big"))
    yield bad("first-magic", 4301, "no `GGUF`, and a version 9", b"GGUX" + u32(9))
    yield bad("first-counts", 4304, "counts without room, before the key-values",
              header([pair("", 99, b"")], tensor_count=1000))
    yield bad("first-key-length", 4307, "a key that is too long for the file, too", header([u64(70_000)]) + bytes(24))
    yield bad("first-key-bytes", 4305, "a key that ends behind the file, its beginning not UTF-8",
              header([u64(60_000) + b"\xff"]) + bytes(24))
    yield bad("first-kind", 4308, "an unknown type of elements, before their number",
              header([pair("k", ARRAY, u32(99))]) + u32(0))
    yield bad("first-least-length", 4305, "a ninth level for which there is no room",
              header([pair("k", ARRAY, array(ARRAY, 1) * 8)]))
    yield bad("first-bool", 4310, "a bool of 2, before the next pair's empty key",
              header([pair("k", BOOL, b"\2"), pair("", U8, b"\0")]) + b"\0")
    yield bad("first-end", 4305, "an end of the file that is an end of the header's limit, too",
              header([pair("k", STRING, u64(2**40))]), 2**30)
    yield bad("first-dimensions", 4325, "17 dimensions, not all of which are there",
              header(entries=[text("a") + u32(17) + bytes(16)]))
    yield bad("first-dimension", 4313, "2^60, before the second dimension is there",
              header(entries=[text("a") + u32(2) + u64(2**60)]) + u32(0))
    yield bad("first-dtype", 4305, "an unknown dtype, and the offset is not all there",
              header(entries=[entry("a", 99, (1, 1))[:-1]]))
    yield bad("first-block", 4315, "a block that is not full, before the offset is there",
              header(entries=[entry("a", 2, (31, 1))[:-1]]))
    data = header([alignment(7), alignment(7)], [entry("a"), entry("a")])
    yield bad("first-key-twice", 4316, "a key twice, of a value that is none, and a name twice", data)
    data = header([alignment(7), pair("split.count", U8, b"\3")], [entry("a"), entry("a")])
    yield bad("first-alignment", 4317, "no alignment, no split, and a name twice", data)
    data = header([pair("split.count", U8, b"\3")], [entry("a"), entry("a")])
    yield bad("first-split", 4318, "no split, and a name twice", data)
    data = header(entries=[entry("a", offset=1), entry("a", offset=2**40)])
    yield bad("first-name-twice", 4319, "a name twice, at offsets that are none", data)
    data = header(entries=[entry("a", offset=1), entry("b", offset=2**40)])
    yield bad("first-offset", 4320, "the first tensor is not aligned, the second not in the file", data, 1024)
    data = header(entries=[entry("a", offset=2**40), entry("b", offset=1)])
    yield bad("first-tensor-past-end", 4321, "the first tensor is not in the file, the second not aligned", data, 1024)
    data = header(entries=[entry("a", 24, (8,)), entry("b", 24, (8,), 64), entry("c", 24, (8,), 64)])
    yield bad("first-hole", 4322, "a hole, and then an overlap", data, 1024)
    data = header(entries=[entry("a", 24, (8,)), entry("c", 24, (8,)), entry("b", 24, (8,), 64)])
    yield bad("first-overlap", 4323, "an overlap, and then a hole", data, 1024)
    # `e` is empty, so its size puts it first, whatever the names.
    data = header(entries=[entry("z", 24, (0,)), entry("a", 24, (8,))])
    yield good("sorted-by-size", "an empty tensor where another begins, its name behind", data, padded(len(data)) + 8)


# --- split models ---------------------------------------------------------------------------------------

def files_section(files: dict[str, tuple[Split | str | None, list[str]]]) -> bytes:
    lines = []
    for path, (split, names) in files.items():
        lines += [f"{path} {split_line(split)}", *(f'{path} "{name}"' for name in names)]
    return "".join(line + "\n" for line in lines).encode()


def splits() -> Cases:
    def path(number, count=2, stem="m"):
        return f"{stem}-{number:05}-of-{count:05}.gguf"

    def accept(name, comment, files):
        return accepted(f"split/{name}", "split", comment, {"files": files_section(files)})

    def refuse(name, code, comment, files, rule=None):
        return refused(f"split/{name}", "split", code, comment, {"files": files_section(files)}, rule=rule)

    first, second = (Split(0, 2, 3), ["a", "b"]), (Split(1, 2, 3), ["c"])
    two = {path(1): first, path(2): second}
    whole = (None, ["a", "b"])
    yield accept("plain", "two parts, and a file that is whole", two | {"other.gguf": whole})
    yield accept("silent", "parts that say no number of tensors", {
        path(1): (Split(0, 2, None), ["a"]), path(2): (Split(1, 2, None), [])})
    yield accept("two-splits", "two splits of one stem, told apart by their counts", two | {
        path(n, 3): (Split(n - 1, 3, None), [f"a{n}"]) for n in (1, 2, 3)})
    yield accept("folders", "the stem is a path", {f"sub/{p}": says for p, says in two.items()})
    yield accept("name-only", "names that speak of a split, headers that do not", {path(1): whole, path(3): whole})
    yield accept("unread", "a part that was not read says the same", {path(1): ("unread", ["a", "b"]), path(2): second})
    yield accept("all-unread", "nothing was read, nothing is compared", {path(1): ("unread", ["a"])})
    yield accept("unread-unlisted", "a part that was not read, and of which no tensor is listed, has those that lack",
                 {path(1): ("unread", []), path(2): second})
    yield accept("most", "numbers have five digits, and counts no more", {
        path(n, 300): (Split(n - 1, 300, 300), [f"a{n}"]) for n in range(1, 301)})

    yield refuse("name", 4401, "a part under another name", {"m.gguf": first, path(2): second})
    yield refuse("name-number", 4401, "the two parts' names are exchanged", {path(1): second, path(2): first})
    yield refuse("name-count", 4401, "two parts that are called as if there were three", {
        path(1, 3): first, path(2, 3): second, path(3, 3): whole})
    yield refuse("name-digits", 4401, "four digits", {"m-0001-of-0002.gguf": first, path(2): second})
    yield refuse("name-before-missing", 4401, "the last file's name, before what lacks of the first", {
        path(1): first, "z.gguf": second})
    yield refuse("missing", 4402, "the second part is missing", {path(1): first}, rule=6)
    yield refuse("missing-first", 4402, "the first part is missing", {path(2): second}, rule=6)
    yield refuse("missing-other-stem", 4402, "the second part is of another stem", {
        path(1): first, path(2, stem="n"): second})
    yield refuse("missing-most", 4402, "65,534 parts are missing",
                 {path(1, 65535): (Split(0, 65535, None), [])}, rule=12)
    yield refuse("no-part", 4403, "a file in the place of a part that says to be whole", {
        path(1): first, path(2): whole})
    yield refuse("other-tensors", 4403, "another number of tensors", {path(1): first, path(2): (Split(1, 2, 4), ["c"])})
    yield refuse("silent-second", 4403, "only one part says how many tensors there are", {
        path(1): first, path(2): (Split(1, 2, None), ["c"])})
    yield refuse("no-part-before-missing", 4403, "the second part is none, and the third is missing", {
        path(1, 3): (Split(0, 3, 2), ["a"]), path(2, 3): whole})
    yield refuse("tensor-twice", 4404, "a tensor in two parts", {
        path(1): first, path(2): (Split(1, 2, 3), ["b"])}, rule=6)
    yield refuse("tensor-twice-unread", 4404, "one of them in a file that was not read", {
        path(1): ("unread", ["a", "b"]), path(2): (Split(1, 2, 3), ["b"])})
    yield refuse("tensors-too-few-unread", 4405, "all tensors of the part that was not read are known",
                 {path(1): ("unread", ["a"]), path(2): second})
    yield refuse("tensor-twice-unread-unlisted", 4404, "two of three parts have a tensor, whatever the third has", {
        path(1, 3): ("unread", []), path(2, 3): (Split(1, 3, 9), ["b"]), path(3, 3): (Split(2, 3, 9), ["b"])})
    yield refuse("tensors-too-few", 4405, "three tensors, and four are said", {
        path(1): (Split(0, 2, 4), ["a", "b"]), path(2): (Split(1, 2, 4), ["c"])})
    yield refuse("tensors-too-many", 4405, "three tensors, and none is said", {
        path(1): (Split(0, 2, 0), ["a", "b"]), path(2): (Split(1, 2, 0), ["c"])})
