"""safetensors headers, sharded indexes, and headers against tensor lists (spec/tensors.md)."""

import json
from math import prod

from weighbridge_ref.tensors import Tensor, Unlisted, answer_lines, name_lines, parse_safetensors

from .common import Cases, accepted, refused


def cases() -> Cases:
    yield from good_headers()
    yield from bad_files()
    yield from bad_members()
    yield from bad_layouts()
    yield from indexes()
    yield from headers()


def entry(dtype="F32", shape="[2,1]", offsets="[0,8]") -> str:
    return f'{{"dtype":"{dtype}","shape":{shape},"data_offsets":{offsets}}}'


def header_of(*members: tuple[str, str], padding="") -> bytes:
    return ("{" + ",".join(f"{json.dumps(name)}:{value}" for name, value in members) + "}" + padding).encode()


def prefix(header: bytes) -> bytes:
    return len(header).to_bytes(8, "little") + header


def good_headers() -> Cases:
    def good(name, comment, header, buffer_length):
        size = 8 + len(header) + buffer_length
        found = parse_safetensors(prefix(header), size)
        if isinstance(found, Unlisted):
            return accepted(f"safetensors/{name}", "safetensors", comment,
                            {"prefix": prefix(header), "names": name_lines(found.names)}, file_size=size,
                            unlisted=found.code)
        return accepted(f"safetensors/{name}", "safetensors", comment,
                        {"prefix": prefix(header), "tensors": answer_lines(found)}, file_size=size)

    yield good("plain", "metadata, a matrix and a scalar, padded with spaces",
               header_of(("__metadata__", '{"format":"pt"}'), ("b", entry("BF16", "[]", "[8,10]")), ("a", entry()),
                         padding="   "), 10)
    yield good("no-tensors", "no tensor at all", b"{}", 0)
    yield good("empty-tensors-share", "empty tensors at the begin, between and at the end of others",
               header_of(("a", entry()), ("e0", entry("U8", "[0]", "[0,0]")), ("e1", entry("U8", "[0]", "[8,8]")),
                         ("b", entry("U8", "[2]", "[8,10]")), ("e2", entry("U8", "[0]", "[10,10]")),
                         ("e3", entry("I64", "[5,0]", "[10,10]"))), 10)
    yield good("zero-after-overflow", "the product of the first two dimensions does not fit into 64 bits",
               header_of(("a", entry("F32", f"[{2**52},{2**52},0]", "[0,0]"))), 0)
    sixteen = "[" + ",".join("1" * 16) + "]"
    yield good("dimensions-16", "16 dimensions", header_of(("a", entry("U8", sixteen, "[0,1]"))), 1)
    yield good("sub-byte", "four elements of 4 bits, four of 6 bits: whole bytes",
               header_of(("a", entry("F4", "[4]", "[0,2]")), ("b", entry("F6_E2M3", "[4]", "[2,5]"))), 5)
    members, position = [], 0
    for dtype, size in (("BOOL", 1), ("U8", 1), ("I8", 1), ("F8_E5M2", 1), ("F8_E4M3", 1), ("F8_E8M0", 1),
                        ("F8_E4M3FNUZ", 1), ("F8_E5M2FNUZ", 1), ("I16", 2), ("U16", 2), ("F16", 2), ("BF16", 2),
                        ("I32", 4), ("U32", 4), ("F32", 4), ("I64", 8), ("U64", 8), ("F64", 8), ("C64", 8)):
        members.append((dtype.lower(), entry(dtype, "[1]", f"[{position},{position + size}]")))
        position += size
    yield good("dtypes", "one element of each dtype of whole bytes", header_of(*members), position)
    yield good("white-space", "white space of JSON within the object",
               b'{ "a"\t: {"dtype" :"F32",\r\n"shape":[ 2 ],"data_offsets":[0, 8]}\n}', 8)
    yield good("white-space-around", "white space of JSON before and behind the object",
               b"\r\n\t " + header_of(("a", entry())) + b"\t \r\n", 8)
    yield good("metadata-null", "the header as MLX 0.32 writes it: no metadata are `null`",
               b'{"__metadata__":null,"a":{"data_offsets":[8,12],"dtype":"F32","shape":[]},'
               b'"c":{"data_offsets":[0,8],"dtype":"C64","shape":[1]},'
               b'"z":{"data_offsets":[8,8],"dtype":"F32","shape":[0,3]}}', 12)
    yield good("dtype-unknown", "F99 has no bits: no tensor is listed, and nothing is wrong",
               header_of(("b", entry()), ("a", entry("F99", "[3]", "[8,9]"))), 9)
    yield good("dtype-unknown-two", "two that are not known, one of no spelling at all",
               header_of(("é", entry("", "[]", "[0,8]")), ("b", entry("f32", "[2]", "[8,16]"))), 16)
    yield good("escapes", "escapes in names, a pair of surrogates among them",
               b'{"\\u0061\\/\\ud83d\\ude00":{"dtype":"U8","shape":[],"data_offsets":[0,1]}}', 1)


def bad(name, code, comment, data, size, rule=None):
    return refused(f"safetensors/{name}", "safetensors", code, comment, {"prefix": data}, rule=rule, file_size=size)


def bad_files() -> Cases:
    pointer = b"version https://git-lfs.github.com/spec/v1\noid sha256:" + b"0" * 64 + b"\nsize 90868376\n"
    yield bad("lfs-pointer", 4117, "a Git LFS pointer", pointer, len(pointer))
    yield bad("seven-bytes", 4101, "7 bytes", bytes(7), 7)
    yield bad("header-too-long", 4102, "100,000,001 bytes of header in a file that has them",
              (100_000_001).to_bytes(8, "little") + b"{", 200_000_000, rule=12)
    yield bad("header-past-end", 4103, "a header one byte longer than the file", prefix(b"{}")[:9], 9, rule=1)
    yield bad("header-empty", 4104, "a header of no byte", bytes(8), 8)
    for name, comment, header in (
        ("header-white-space", "white space alone", b" \r\n\t"),
        ("header-byte-order-mark", "a byte order mark", b"\xef\xbb\xbf{}"),
        ("header-vertical-tab", "a vertical tab, which is no white space of JSON", b"\v{}"),
        ("header-no-break-space", "U+00A0, which is no white space of JSON", "\u00a0{}".encode()),
    ):
        yield bad(name, 4104, comment, prefix(header), 8 + len(header))
    deep = b'{"__metadata__":' + b"[" * 64 + b"]" * 64 + b"}"
    for name, comment, header in (
        ("json-nul", "NUL behind the object", b"{}\0"),
        ("json-form-feed", "a form feed, which is no white space of JSON, behind the object", b"{}\f"),
        ("json-spaces-then-more", "bytes behind the spaces", b"{}    PK\x03\x04"),
        ("json-line-feed-then-more", "bytes behind white space", b"{}\r\n{}"),
        ("json-nan", "NaN", header_of(("a", entry(shape="[NaN]")))),
        ("json-half-surrogate", "half of a pair", b'{"a\\ud800":1}'),
        ("json-depth-65", "65 levels", deep),
        ("json-deep", "20,000 levels", b'{"a":' + b"[" * 20_000),
        ("json-before-content", "bad JSON behind an unknown dtype", header_of(("a", entry("F99")))[:-1]),
    ):
        rule = 12 if name in ("json-depth-65", "json-deep", "json-nul") else None
        yield bad(name, 4105, comment, prefix(header), 8 + len(header) + 8, rule=rule)


def bad_members() -> Cases:
    def member(name, code, comment, *members, buffer_length=8, rule=None):
        header = header_of(*members)
        return bad(name, code, comment, prefix(header), 8 + len(header) + buffer_length, rule=rule)

    yield member("name-twice", 4106, "one name, two tensors", ("a", entry()), ("a", entry(offsets="[8,16]")),
                 buffer_length=16, rule=6)
    header = b'{"a":' + entry().encode() + b',"\\u0061":' + entry().encode() + b"}"
    yield bad("name-twice-escaped", 4106, "one name, once with an escape", prefix(header), 16 + len(header), rule=6)
    yield member("metadata-key-twice", 4106, "a key of `__metadata__` twice", ("__metadata__", '{"a":"1","a":"2"}'),
                 buffer_length=0, rule=6)
    yield member("metadata-null-twice", 4106, "`__metadata__` twice, both none", ("__metadata__", "null"),
                 ("__metadata__", "null"), buffer_length=0, rule=6)
    yield member("metadata-false", 4116, "`false`, not `null`", ("__metadata__", "false"), buffer_length=0)
    yield member("metadata-number", 4116, "a value that is a number", ("__metadata__", '{"a":1}'), buffer_length=0)

    whole = entry()
    for name, comment, value in (
        ("entry-no-shape", "no shape", '{"dtype":"F32","data_offsets":[0,8]}'),
        ("entry-unknown-key", "a key more", whole[:-1] + ',"strides":[1]}'),
        ("entry-key-twice", "dtype twice", whole[:-1] + ',"dtype":"F32"}'),
        ("shape-float", "2.0", entry(shape="[2.0]")),
        ("offsets-negative", "-0", entry(offsets="[-0,8]")),
    ):
        yield member(name, 4107, comment, ("a", value))
    yield member("dtype-unknown-shape", 4107, "a shape that is none, behind an unknown dtype",
                 ("a", '{"dtype":"F99","shape":7,"data_offsets":[0,8]}'))
    yield member("shape-17", 4115, "17 dimensions", ("a", entry("U8", "[" + ",".join("1" * 17) + "]", "[0,1]")),
                 buffer_length=1, rule=12)


def bad_layouts() -> Cases:
    def layout(name, code, comment, *members, buffer_length, rule=None):
        header = header_of(*members)
        return bad(name, code, comment, prefix(header), 8 + len(header) + buffer_length, rule=rule)

    yield layout("begin-after-end", 4109, "[8,0]", ("a", entry(offsets="[8,0]")), buffer_length=8)
    yield layout("end-2-64", 4109, "2^64 + 8, which is 8 where numbers wrap", ("a", entry(offsets=f"[0,{2**64 + 8}]")),
                 buffer_length=8, rule=12)
    yield layout("end-of-5000-digits", 4109, "an end of 5,000 digits", ("a", entry(offsets=f"[0,{'9' * 5000}]")),
                 buffer_length=8, rule=12)
    unknown = ("u", entry("F99", "[1]", "[0,4]"))
    yield layout("dtype-unknown-hole", 4112, "a byte between a tensor of an unknown dtype and the next", unknown,
                 ("b", entry("U8", "[3]", "[5,8]")), buffer_length=8)
    yield layout("dtype-unknown-size", 4110, "an unknown dtype, and another tensor that is too small", unknown,
                 ("b", entry("F32", "[2]", "[4,8]")), buffer_length=8)
    yield layout("dtype-unknown-cut", 4114, "an unknown dtype, and the last byte of the file is missing", unknown,
                 buffer_length=3)
    yield layout("size-too-small", 4110, "4 bytes for 2 elements of F32", ("a", entry(offsets="[0,4]")),
                 buffer_length=4)
    factors = (5, 5581, 8681, 49477, 384773)
    assert prod(factors) == 2**62 + 1
    yield layout("product-wraps", 4110, "2^62 + 1 elements of 4 bytes: 4 bytes where numbers wrap",
                 ("a", entry("F32", json.dumps(factors), "[0,4]")), buffer_length=4, rule=12)
    yield layout("sub-byte-rest", 4111, "three elements of 4 bits", ("a", entry("F4", "[3]", "[0,2]")), buffer_length=2)
    yield layout("gap-between", 4112, "a byte between two tensors", ("a", entry("U8", "[3]", "[0,3]")),
                 ("b", entry("U8", "[4]", "[4,8]")), buffer_length=8)
    yield layout("gap-before-empty", 4112, "an empty tensor behind a hole", ("a", entry("U8", "[3]", "[0,3]")),
                 ("b", entry("U8", "[0]", "[8,8]")), buffer_length=8)
    yield layout("overlap", 4113, "a byte of two tensors", ("a", entry("U8", "[5]", "[0,5]")),
                 ("b", entry("U8", "[4]", "[4,8]")), buffer_length=8)
    yield layout("overlap-empty-within", 4113, "an empty tensor within another", ("a", entry()),
                 ("b", entry("U8", "[0]", "[4,4]")), buffer_length=8)
    yield layout("file-cut", 4114, "the last byte of the file is missing", ("a", entry()), buffer_length=7)
    yield layout("file-extended", 4114, "a byte behind the last tensor", ("a", entry()), buffer_length=9, rule=6)


def indexes() -> Cases:
    holds = b'model-1.safetensors\nmodel-1.safetensors "a"\nmodel-2.safetensors\nmodel-2.safetensors "b"\nconfig.json\n'

    def index(weight_map: str, more="") -> bytes:
        return f'{{"metadata":{{"total_size":10}},"weight_map":{{{weight_map}}}{more}}}'.encode()

    def good(name, comment, data):
        return accepted(f"index/{name}", "index", comment, {"index": data, "holds": holds})

    def bad(name, code, comment, data, rule=None):
        return refused(f"index/{name}", "index", code, comment, {"index": data, "holds": holds}, rule=rule)

    both = '"a":"model-1.safetensors","b":"model-2.safetensors"'
    yield good("plain", "two tensors in two files", index(both))
    yield good("partial", "a tensor is left out", index('"b":"model-2.safetensors"'))
    yield good("white-space", "white space of JSON around the object", b"\r\n\t " + index(both) + b"\n")
    yield good("unknown-keys", "other keys are stepped over", index(both, ',"x":[null,{"y":1e5}]'))
    for name, comment, data in (
        ("not-json", "a comma at the end", index(both, ",")),
        ("no-weight-map", "no `weight_map`", b'{"metadata":{}}'),
        ("weight-map-twice", "two members `weight_map`", index(both, ',"weight_map":{}')),
        ("value-number", "a file that is a number", index('"a":1')),
        ("deep", "65 levels", index(both, ',"x":' + "[" * 64 + "]" * 64)),
    ):
        yield bad(name, 4201, comment, data, rule=12 if name == "deep" else None)
    yield bad("file-missing", 4202, "no such file", index('"a":"model-3.safetensors"'))
    yield bad("file-outside", 4202, "a path that leads out of the model", index('"a":"../model-1.safetensors"'))
    yield bad("tensor-in-other-file", 4203, "the tensor is in the other file", index('"a":"model-2.safetensors"'),
              rule=13)
    yield bad("no-tensor-file", 4203, "a file that holds no tensors", index('"a":"config.json"'))
    yield bad("tensor-twice", 4204, "one tensor in two files",
              index('"a":"model-1.safetensors","a":"model-2.safetensors"'), rule=6)
    yield bad("tensor-twice-escaped", 4204, "one tensor twice, once with an escape",
              index('"a":"model-1.safetensors","\\u0061":"model-1.safetensors"'), rule=6)


def headers() -> Cases:
    found = [Tensor("a", "F32", (2, 1), 152, 8), Tensor("b", "BF16", (), 160, 2), Tensor("c", "U8", (0,), 162, 0)]

    def case(name, code, comment, listed):
        sections = {"listed": answer_lines(listed), "found": answer_lines(found)}
        if code is None:
            return accepted(f"header/{name}", "header", comment, sections)
        return refused(f"header/{name}", "header", code, comment, sections, rule=13)

    def changed(i, **values):
        return [t._replace(**values) if n == i else t for n, t in enumerate(found)]

    yield case("equal", None, "list and header agree", found)
    yield case("listed-only", 2301, "a tensor that the header does not have", [*found, Tensor("d", "U8", (), 161, 1)])
    yield case("found-only", 2302, "a tensor that the list does not have", found[:2])
    yield case("renamed", 2301, "`a` under another name: `B` comes before `a`", changed(0, name="B"))
    yield case("dtype", 2303, "U16 for BF16", changed(1, dtype="U16"))
    yield case("shape", 2304, "[1,2] for [2,1]", changed(0, shape=(1, 2)))
    yield case("offset", 2305, "a tensor of no bytes, elsewhere", changed(2, offset=160))
    yield case("size", 2306, "one byte less", changed(0, size=7))
