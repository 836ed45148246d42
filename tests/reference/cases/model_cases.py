"""Whole model folders (spec/model-folder.md)."""

import struct

from weighbridge_ref.head import head_id
from weighbridge_ref.lists import TensorEntry, file_line, tensor_line

from . import example
from .common import (ALICE, BOB, CHUNK_SIZE, CREATED, MALLORY, NAME, Cases, accepted, file_entry, flip, head_of_lists,
                     joined, pattern, policy, publisher, refused, signed)
from .gguf_cases import gguf_file, part
from .weighing import Weighed, safetensors, tensor_entries, weigh

# model.safetensors has two chunks, and each other file one.
MODEL = {
    "1_Pooling/config.json": b'{"mean": true}\n',
    "2_Normalize/config.json": b'{"norm": true}\n',
    "README.md": b"# A model of these tests\n",
    "config.json": b"{}\n",
    "empty.txt": b"",
    "model.safetensors": safetensors(
        ("embedding", "F32", (41, 100), pattern(16400)),
        ("norm.bias", "BF16", (4,), bytes(8)),
        ("scale", "F32", (), struct.pack("<f", 0.5)),
        ("void", "U8", (0, 3), b""),
    ),
}
WEIGHED = weigh(MODEL)
VKEYS = {"vkeys": ALICE.vkey.encode() + b"\n"}
WEIGHTS = MODEL["model.safetensors"]


def sections(model=None, weighed: Weighed = WEIGHED, note=None, files=None, without=()) -> dict[str, bytes]:
    """A signed folder. `files` are added, or replace others; the paths in `without` are left out."""
    note = signed(weighed.text, ALICE) if note is None else note
    whole = VKEYS | weighed.metadata(note) | (model or MODEL) | (files or {})
    return {path: data for path, data in whole.items() if path not in without}


def good(name, comment, content, /, **parameters):
    parameters = {"name": NAME, "now": CREATED} | parameters
    note = content["weighbridge/head.note"]
    text = note[: note.rindex(b"\n\n") + 1]
    return accepted(f"model/{name}", "model", comment, content, **parameters, head_id=head_id(text).hex())


def bad(name, code, comment, content, /, rule=None, **parameters):
    parameters = {"name": NAME, "now": CREATED} | parameters
    return refused(f"model/{name}", "model", code, comment, content, rule=rule, **parameters)


def cases() -> Cases:
    yield from honest()
    yield from files()
    yield from layers()
    yield from lists()
    yield from heads()
    yield from tensors()


def honest() -> Cases:
    yield good("honest", "nothing is wrong", sections(), signers=ALICE.name)
    yield good("honest-tensors", "nothing is wrong, tensor hashes compared too", sections(), tensors="yes",
               uncompared="none")
    example_sections = {"policy.toml": example.POLICY} | example.WEIGHED.metadata(example.NOTE) | example.MODEL
    yield good("example", "the running example of the specification", example_sections, name="example/tiny",
               signers="alice")
    yield good("no-layers", "the layers are not published", sections(without=["weighbridge/chunks.layer"]))
    none = weigh(MODEL, no_tensors=True)
    yield good("no-tensors", "tensors were not looked at", sections(weighed=none))
    pointer = MODEL | {"model.safetensors": b"version https://git-lfs.github.com/spec/v1\n"}
    yield good("no-tensors-malformed", "tensors were not looked at, and there are none to see",
               sections(pointer, weigh(pointer, no_tensors=True)))
    yield good("gitattributes-extra", "hubs add `.gitattributes`", sections(files={".gitattributes": b"* text\n"}))
    yield good("not-entries", "`.git`, `.cache/huggingface` and `weighbridge` are not looked into", sections(files={
        ".git/config": b"[core]\n", "1_Pooling/.GIT": b"gitdir: elsewhere\n",
        ".cache/huggingface/download/config.json.metadata": b"\n", "weighbridge/head.txt": b"not read\n"}))
    yield good("not-entries-below", "`.cache/huggingface` at a depth, and what others have put into `weighbridge`",
               sections(files={"1_Pooling/.cache/huggingface/download/x.metadata": b"\n", "1_Pooling/x/.git": b"\n",
                               "weighbridge/run.py": b"import os\n", "weighbridge/mine/x": b"\n"}))
    two = {"policy.toml": policy(publisher("weighbridge-test/*", ALICE, BOB, threshold=2))}
    content = two | {k: v for k, v in sections(note=signed(WEIGHED.text, BOB, ALICE)).items() if k != "vkeys"}
    yield good("two-signers", "two of two have signed", content, signers=f"{ALICE.name} {BOB.name}")
    pinned = {k: v for k, v in sections(note=signed(WEIGHED.text, MALLORY)).items() if k != "vkeys"}
    yield good("pinned", "the head is trusted by its id", pinned, head=head_id(WEIGHED.text).hex())


def files() -> Cases:
    def changed(name, code, comment, path, data, rule=2):
        return bad(name, code, comment, sections(files={path: data}), rule=rule)

    yield changed("metadata-name-of-a-file", 1410, "`.cache/huggingface` is a file", ".cache/huggingface", b"", rule=9)

    yield changed("metadata-name-of-a-file-below", 1410, "the same at a depth", "1_Pooling/.cache/huggingface", b"",
                  rule=9)
    yield changed("metadata-in-another-case", 1410, "a folder that is `weighbridge` where case does not count",
                  "Weighbridge/run.py", b"import os\n", rule=9)
    yield changed("extra-of-a-bad-path", 1406, "a file that is not listed, and cannot be", "a\\b", b"", rule=9)

    yield changed("flipped", 2101, "one bit of a small file differs", "config.json", b"{|\n", rule=13)
    yield changed("flipped-first-chunk", 2102, "one bit of the first chunk differs", "model.safetensors",
                  flip(WEIGHTS, 9000))
    yield bad("flipped-no-layers", 2101, "one bit differs, and the layers are not published",
              sections(files={"model.safetensors": flip(WEIGHTS, 9000)}, without=["weighbridge/chunks.layer"]), rule=13)
    yield changed("truncated", 2103, "the last byte is missing", "model.safetensors", WEIGHTS[:-1], rule=1)
    yield changed("extended", 2103, "a byte too many", "model.safetensors", WEIGHTS + b"\0", rule=6)
    yield bad("missing", 2104, "a listed file is absent", sections(without=["config.json"]), rule=9)
    yield changed("extra", 2105, "a file that is not listed", "modeling_tiny.py", b"import os\n", rule=9)
    yield changed("extra-gitattributes-below", 2105, "`.gitattributes`, and not at the top", "1_Pooling/.gitattributes",
                  b"", rule=9)
    a, b = "1_Pooling/config.json", "2_Normalize/config.json"
    yield bad("swapped", 2101, "two files of the same size, exchanged", sections(files={a: MODEL[b], b: MODEL[a]}),
              rule=13)


def layers() -> Cases:
    def with_layers(name, code, comment, data, rule=3):
        return bad(name, code, comment, sections(files={"weighbridge/chunks.layer": data}), rule=rule)

    layer = WEIGHED.layers
    yield with_layers("layer-flipped", 2202, "one bit of the layer differs; the files are good", flip(layer, 33))
    yield with_layers("layer-swapped", 2202, "the two CVs are exchanged", layer[32:] + layer[:32])
    yield with_layers("layer-cut", 2201, "a CV is missing", layer[:32], rule=1)
    twins = MODEL | {"another.bin": pattern(CHUNK_SIZE + 616, 7), "other.bin": pattern(CHUNK_SIZE + 616)}
    weighed = weigh(twins)
    # In list order: another.bin, model.safetensors, other.bin, with two chunks each.
    a, m, o = (weighed.layers[i : i + 64] for i in (0, 64, 128))
    content = sections(twins, weighed)
    yield bad("layers-exchanged", 2202, "the layers of two files of the same size, exchanged",
              content | {"weighbridge/chunks.layer": o + m + a}, rule=3)


def lists() -> Cases:
    newer_model = MODEL | {"README.md": b"# A model of those tests\n"}
    previous = head_id(WEIGHED.text).hex()
    newer = weigh(newer_model, revision="2", previous=previous, created="2026-11-20T17:00:00Z")
    note = signed(newer.text, ALICE)
    stale = sections(newer_model, note=note)
    yield good("second-revision", "the next revision, with lists of its own", sections(newer_model, newer),
               now="2026-11-21T00:00:00Z")
    yield bad("list-of-another-revision", 1308, "the head of revision 2, the lists of revision 1", stale, rule=3,
              now="2026-11-21T00:00:00Z")


def heads() -> Cases:
    yield bad("unknown-signer", 3102, "signed by a key that is not trusted",
              sections(note=signed(WEIGHED.text, MALLORY)), rule=8)
    yield bad("another-model", 3201, "another model of the same publisher",
              sections(weighed=weigh(MODEL, name="org/a")), rule=9)


def tensors() -> Cases:
    """Signed models whose tensor list disagrees with the file's own header."""

    def signed_with(change):
        def change_all(entries: list[TensorEntry]):
            by_name = {entry.name: entry for entry in entries}
            change(by_name)
            return list(by_name.values())

        return sections(weighed=weigh(MODEL, change_all))

    def disagreeing(name, code, comment, change, **parameters):
        return bad(f"tensors-{name}", code, comment, signed_with(change), rule=13, **parameters)

    def replaced(tensor, **values):
        def change(entries):
            entries[tensor] = entries[tensor]._replace(**values)

        return change

    def add(entries):
        entries["zzz"] = entries["scale"]._replace(name="zzz")

    yield disagreeing("listed-only", 2301, "a tensor that the file does not have", add)
    yield disagreeing("found-only", 2302, "a tensor is not listed", lambda entries: entries.pop("scale"))
    yield disagreeing("renamed", 2302, "a tensor under another name", replaced("norm.bias", name="norm.weight"))
    yield disagreeing("dtype", 2303, "a tensor's dtype is another", replaced("norm.bias", dtype="F16"))
    yield disagreeing("shape", 2304, "a tensor's shape is another", replaced("embedding", shape=(100, 41)))
    yield disagreeing("offset", 2305, "a tensor is listed 4 bytes before its place",
                      replaced("scale", offset=len(WEIGHTS) - 8))
    yield disagreeing("size", 2306, "a tensor is listed with one element less", replaced("norm.bias", size=6))
    other = file_entry("x", b"other").root
    yield disagreeing("hash", 2307, "a tensor's hash is of other bytes", replaced("embedding", blake3=other),
                      tensors="yes")
    yield good("tensors-hash-not-asked", "a tensor's hash is of other bytes: it accepts nothing, and is not asked",
               signed_with(replaced("embedding", blake3=other)))
    yield malformed_file()
    yield from not_compared()
    yield from of_gguf()


def of_gguf() -> Cases:
    """The same for GGUF. Verifying does not compare the parts of a split."""
    files = {"config.json": b"{}\n", "model.gguf": gguf_file(
        ("embedding", 0, (100, 41), pattern(16400)), ("rows", 8, (32, 3), pattern(102)), ("scale", 0, (), bytes(4)))}
    yield good("gguf", "a GGUF model, tensor hashes compared too", sections(files, weigh(files)), tensors="yes",
               uncompared="none")

    def other_shape(entries):
        return [e._replace(shape=(41, 96)) if e.name == "embedding" else e for e in entries]

    yield bad("gguf-shape", 2304, "the list says another shape than the header",
              sections(files, weigh(files, change_tensors=other_shape)), rule=13)
    broken = files | {"model.gguf": files["model.gguf"] + b"\0"}
    lines = [file_line(file_entry(path, broken[path])) for path in sorted(broken)]
    entries = [tensor_line(e) for e in sorted(tensor_entries("model.gguf", files["model.gguf"]), key=lambda e: e.name)]
    text = head_of_lists(lines, entries, sum(map(len, broken.values())))
    yield bad("gguf-malformed", 4324, "the list agrees with the header, and a byte lies behind the padding",
              sections(broken, Weighed(text, joined(lines), joined(entries), None)), rule=13)
    lone = {"m-00001-of-00002.gguf": gguf_file(("a", 0, (8,), bytes(32)), pairs=part(0, 2))}
    yield good("gguf-part-alone", "a part without the other: parts are compared when weighing",
               sections(lone, weigh(lone)))


def malformed_file():
    """A signed model with a file that weighing refuses."""
    broken = MODEL | {"model.safetensors": WEIGHTS + b"\0"}
    lines = [file_line(file_entry(path, broken[path])) for path in sorted(broken, key=str.encode)]
    entries = [tensor_line(e) for e in sorted(tensor_entries("model.safetensors", WEIGHTS), key=lambda e: e.name)]
    text = head_of_lists(lines, entries, sum(map(len, broken.values())))
    weighed = Weighed(text, joined(lines), joined(entries), None)
    return bad("tensors-malformed-file", 4114,
               "the list agrees with the header, and a byte lies behind the last tensor", sections(broken, weighed),
               rule=13)


def not_compared() -> Cases:
    """Headers that are not compared with the tensor list. The files are reported as such, and not refused."""
    new = safetensors(("a", "F32", (2,), bytes(8)), ("b", "F99", (3,), b"new"))
    files = {"a.safetensors": safetensors(("z", "U8", (1,), b"z")), "new.safetensors": new}

    def aside(name, comment, listed, content=new, **parameters):
        """`listed` are the tensors listed for `new.safetensors`, whatever the file holds."""
        path, model = "new.safetensors", files | {"new.safetensors": content}
        entries = [TensorEntry(name, path, dtype, shape, len(content) - 11 + begin, len(data), file_entry("x", data).root)
                   for name, dtype, shape, begin, data in listed]
        weighed = weigh(model, entries=[*tensor_entries("a.safetensors", model["a.safetensors"]), *entries])
        return name, comment, sections(model, weighed), parameters

    both = [("a", "F32", (2,), 0, bytes(8)), ("b", "F99", (3,), 8, b"new")]
    for name, comment, content, parameters in (
        aside("dtype-unknown", "no tensor is listed of a file with a dtype that is not known", []),
        aside("dtype-unknown-listed", "a newer signer knew the dtype: nothing is compared but hashes", both, tensors="yes"),
        aside("dtype-unknown-listed-otherwise", "nothing is compared, not even what could be",
              [("x", "F16", (7,), 0, bytes(8))]),
        aside("none-listed", "no tensor is listed of a file whose dtypes are known: the signer did not know them", [],
              safetensors(("a", "F32", (2,), bytes(8)), ("b", "U8", (3,), b"new"))),
        aside("none-listed-malformed", "no tensor is listed, and the header is not judged", [], new + b"\0"),
    ):
        yield good(f"tensors-{name}", comment, content, uncompared="new.safetensors", **parameters)
    name, comment, content, parameters = aside(
        "dtype-unknown-hash", "a newer signer knew the dtype, and a listed hash is of other bytes",
        [both[0], ("b", "F99", (3,), 8, b"old")], tensors="yes")
    yield bad(f"tensors-{name}", 2307, comment, content, rule=13, **parameters)
    nothing = {"none.safetensors": safetensors()}
    yield good("tensors-none-there", "a header without tensors is compared with a list of none",
               sections(nothing, weigh(nothing)), uncompared="none")
