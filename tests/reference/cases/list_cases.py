"""The lists of files and tensors (spec/lists.md)."""

from weighbridge_ref import trees
from weighbridge_ref.lists import FileEntry, TensorEntry, file_line, tensor_line

from .common import Cases, accepted, file_entry, head_of_lists, joined, pattern, refused

EMPTY_ROOT = file_entry("x").root


def cases() -> Cases:
    yield from file_lists()
    yield from file_lines()
    yield from tensor_lists()
    yield from tensor_lines()


def sections(lines, tensor_lines=None, total=None, files=None, tensors=None, **head):
    """A head over these lines. `files` and `tensors` are bytes that are offered instead of the lines."""
    if total is None:
        total = 1570
    result = {"head.txt": head_of_lists(lines, tensor_lines, total, **head)}
    result["files.jsonl"] = joined(lines) if files is None else files
    if tensor_lines is not None:
        result["tensors.jsonl"] = joined(tensor_lines) if tensors is None else tensors
    return result


FILES = [file_entry("README.md", pattern(70)), file_entry("config.json", pattern(500)),
         file_entry("model.safetensors", pattern(1000))]
LINES = [file_line(entry) for entry in FILES]


def bad(name, code, comment, content, rule=None):
    return refused(f"list/{name}", "list", code, comment, content, rule=rule)


def file_lists() -> Cases:
    def good(name, comment, entries):
        return accepted(f"list/{name}", "list", comment,
                        sections([file_line(e) for e in entries], total=sum(e.size for e in entries)))

    yield good("files", "three files", FILES)
    yield good("sha256", "SHA-256 on all files", [file_entry(e.path, pattern(e.size), True) for e in FILES])
    yield good("escaped-quote", "a quotation mark in a path is escaped", [file_entry('a"b')])
    yield good("order-of-bytes", "U+FF5E before U+1F600: by UTF-8 bytes, and not by UTF-16 units",
               [file_entry("\N{FULLWIDTH TILDE}"), file_entry("\N{GRINNING FACE}")])
    yield good("siblings-of-folder", "`a-b`, `a/b` and `a0`: no parent among them",
               [file_entry("a-b"), file_entry("a/b"), file_entry("a0")])

    whole = joined(LINES)
    yield bad("shorter", 1301, "the last line is missing", sections(LINES, files=joined(LINES[:2])), rule=1)
    yield bad("longer", 1301, "a line behind the last",
              sections(LINES, files=whole + file_line(file_entry("z")) + b"\n"), rule=6)
    unsorted = [LINES[1], LINES[0], LINES[2]]
    yield bad("unsorted", 1304, "two lines exchanged", sections(unsorted), rule=6)
    by_utf16 = [file_line(file_entry(c)) for c in ("\N{GRINNING FACE}", "\N{FULLWIDTH TILDE}")]
    yield bad("unsorted-by-utf16", 1304, "sorted by UTF-16 units", sections(by_utf16, total=0), rule=6)
    twice = [LINES[0], file_line(file_entry("README.md", b"other"))]
    yield bad("same-path-twice", 1305, "one path, two contents", sections(twice, total=75), rule=6)
    yield bad("fewer-lines", 1306, "the head counts four", sections(LINES, files_count=4), rule=1)
    yield bad("sum-higher", 1307, "the head's sum is one more", sections(LINES, total=1571), rule=1)
    huge = [file_line(FileEntry(f"{i:04}", 2**53 - 1, EMPTY_ROOT)) for i in range(2049)]
    yield bad("sum-wraps", 1307, "sizes that add up to the head's sum plus 2^64",
              sections(huge, total=2049 * (2**53 - 1) - 2**64), rule=12)
    yield bad("root-of-another", 1308, "well-formed, and another list than the signed one",
              sections(LINES, files=whole.replace(b"README.md", b"README.mp")), rule=3)
    yield bad("root-of-tree", 1308, "the head has the tree's hash: counts are not bound",
              sections(LINES, root=trees.tree_hash(LINES).hex()), rule=1)

    def with_parent(*paths):
        return sections([file_line(file_entry(path)) for path in paths], total=0)

    yield bad("parent", 1312, "`a` and `a/b`", with_parent("a", "a/b"))
    yield bad("parent-apart", 1312, "`a-b` sorts between `a` and `a/b`", with_parent("a", "a-b", "a/b"))
    mixed = [file_line(file_entry("a", b"", True)), file_line(file_entry("b"))]
    mixed = [file_line(file_entry("a")), file_line(file_entry("b", b"", True))]
    yield bad("sha256-on-second", 1311, "SHA-256 on the second file and not on the first", sections(mixed, total=0))


def file_lines() -> Cases:
    """The second line is replaced by a bad one. The head is over the bad lines, so only the line's form is wrong."""
    line = LINES[1].decode()

    def with_line(changed: str | bytes, name, comment, code=1302, rule=6):
        changed = changed if isinstance(changed, bytes) else changed.encode()
        return bad(name, code, comment, sections([LINES[0], changed, LINES[2]]), rule=rule)

    def replaced(old, new, name, comment, **more):
        assert line.count(old) == 1
        return with_line(line.replace(old, new), name, comment, **more)

    yield replaced(',"size":', ', "size":', "white-space", "a space behind a comma")
    yield bad("byte-order-mark", 1302, "U+FEFF before the first line",
              sections([b"\xef\xbb\xbf" + LINES[0], *LINES[1:]]), rule=6)
    yield bad("crlf", 1302, "lines end with CR LF", sections([e + b"\r" for e in LINES]), rule=6)
    yield with_line("", "blank-line", "a line of no bytes")
    no_lf = joined(LINES)[:-1]
    yield bad("no-final-lf", 1302, "the last line is not ended",
              sections(LINES, files=no_lf, files_length=len(no_lf)), rule=6)
    path, size, root = FILES[1].path, FILES[1].size, FILES[1].root.hex()
    yield with_line(f'{{"size":{size},"file":"{path}","blake3":"{root}"}}', "key-order", "`size` before `file`")
    yield with_line(f'{{"file":"{path}","size":{size}}}', "key-missing", "no hash")
    yield with_line(f'{{"file":"{path}","size":{size},"blake3":"{root}","mode":420}}', "key-unknown", "a key more")
    yield with_line(f'{{"file":"{path}","file":"{path}","size":{size},"blake3":"{root}"}}', "key-twice",
                    "JSON libraries keep one of two")
    for label, text in (("leading-zero", "0500"), ("float", "500.0"), ("2-53", str(2**53)),
                        ("2-64", str(2**64 + 500))):
        yield replaced(":500,", f":{text},", f"size-{label}", f"the size is written {text}")
    yield replaced(root, root.upper(), "hash-upper-case", "upper-case digits")
    yield replaced("config", "c\\u006fnfig", "escape-unicode", "`o` written as an escape")
    yield with_line(line.encode().replace(b"config", b"c\xffnfig"), "not-utf8", "a byte that is no UTF-8")
    yield with_line(line.encode().replace(b"config", b"c\xed\xa0\x80nfig"), "surrogate", "a surrogate in UTF-8")
    yield replaced("config.json", "x" * (8193 - len(line) + len(path)), "line-8193", "a line of 8,193 bytes",
                   code=1303, rule=12)
    yield replaced("config.json", "../config.json", "path-dot-dot", "a path that leads out of the model", code=1404,
                   rule=12)
    yield with_line(f'{{"file":"../b","size":{size},"blake3":"{root}","mode":420}}', "two-faults-form-path-of-file",
                    "a path that leads out, and a key more behind it")
    yield with_line(file_line(file_entry("../b", b"", True)), "two-faults-path-sha256",
                    "a path that leads out, and a SHA-256 where the first line has none", code=1404)
    yield with_line(file_line(file_entry("A", b"", True)), "two-faults-sha256-order",
                    "a SHA-256 where the first line has none, and a path before the first", code=1311)
    yield replaced("config.json", "b\x85", "path-control", "U+0085, which JSON allows and a path does not", code=1405,
                   rule=12)


def tensor_entry(name, offset, size, dtype="U8", shape=None, file="model.safetensors"):
    return TensorEntry(name, file, dtype, (size,) if shape is None else shape, offset, size, file_entry("x").root)


TENSORS = [tensor_entry("a", 100, 600), tensor_entry("b.weight", 700, 300, "F32", (25, 3)),
           tensor_entry("c", 1000, 0, "BF16", (0,))]
TENSOR_LINES = [tensor_line(entry) for entry in TENSORS]


def tensor_lists() -> Cases:
    def good(name, comment, entries, files=LINES, total=1570):
        return accepted(f"list/{name}", "list", comment, sections(files, [tensor_line(e) for e in entries], total))

    def of(*entries, **more):
        return sections(LINES, [tensor_line(e) for e in entries], **more)

    yield good("tensors", "three tensors, the last of no bytes at the end of its file", TENSORS)
    yield good("tensors-zero", "tensors were looked at, and there are none", [])
    yield good("tensor-16-dimensions", "16 dimensions", [tensor_entry("t", 0, 1, "U8", (1,) * 16)])
    yield good("tensor-name-like-path", "a tensor's name is never a path", [tensor_entry("../\\x//C:", 0, 1)])
    shards = [file_entry("b.safetensors", pattern(10)), file_entry("c.gguf", pattern(10))]
    yield good("tensors-of-two-files", "sorted by file, then by name; both kinds of tensor files",
               [tensor_entry("z", 0, 10, file="b.safetensors"), tensor_entry("a", 0, 10, file="c.gguf")],
               [file_line(e) for e in shards], 20)

    whole = joined(TENSOR_LINES)
    yield bad("tensors-unsorted", 1304, "names exchanged", of(TENSORS[1], TENSORS[0], TENSORS[2]), rule=6)
    by_name = [tensor_entry("a", 0, 10, file="c.gguf"), tensor_entry("z", 0, 10, file="b.safetensors")]
    yield bad("tensors-sorted-by-name", 1304, "sorted by name, then by file",
              sections([file_line(e) for e in shards], [tensor_line(e) for e in by_name], 20), rule=6)
    yield bad("tensor-twice", 1305, "one name, twice in one file", of(TENSORS[0], tensor_entry("a", 0, 100)), rule=6)
    yield bad("tensors-root", 1308, "well-formed, and another list than the signed one",
              of(*TENSORS, tensors=whole.replace(b"b.weight", b"b.weighs")), rule=3)
    zero = sections(LINES, [])
    zero["head.txt"] = head_of_lists(LINES, [], 1570, tensors_root="0" * 64)
    yield bad("tensors-zero-root", 1308, "no tensor, and zeros for a root", zero, rule=5)
    yield bad("tensor-of-unlisted-file", 1309, "no such file", of(tensor_entry("a", 0, 1, file="other.safetensors")),
              rule=13)
    yield bad("tensor-of-other-file", 1309, "a file whose name ends otherwise", of(tensor_entry("a", 0, 1,
              file="config.json")), rule=13)
    yield bad("tensor-beyond-file", 1310, "ends a byte behind its file", of(tensor_entry("a", 401, 600)), rule=1)


def tensor_lines() -> Cases:
    line = TENSOR_LINES[1].decode()

    def replaced(old, new, name, comment, code=1302, rule=6):
        assert line.count(old) == 1
        lines = [TENSOR_LINES[0], line.replace(old, new).encode(), TENSOR_LINES[2]]
        return bad(name, code, comment, sections(LINES, lines), rule=rule)

    yield replaced("[25,3]", f"[{','.join('1' * 17)}]", "shape-17", "17 dimensions", rule=12)
    yield replaced('"F32"', '"f32"', "dtype-lower-case", "f32")
    yield replaced('"b.weight"', '"b.\x7fweight"', "tensor-name-control", "U+007F in a name", code=1432, rule=12)

    # Two faults in one line: the fault that the page names first is reported.
    yield replaced('"tensor":"b.weight","file":"model.safetensors"', '"tensor":"b.\x7fweight","file":"../x.safetensors"',
                   "two-faults-name-path", "a control character in the name, and a path that leads out", code=1432,
                   rule=12)
    yield replaced('"file":"model.safetensors","dtype":"F32"', '"file":"../x.safetensors","dtype":"f32"',
                   "two-faults-form-path", "a path that leads out, and a malformed dtype behind it")
    yield replaced('"tensor":"b.weight","file":"model.safetensors"', '"tensor":"","file":"other.safetensors"',
                   "two-faults-name-unlisted", "no name, and a file that is not listed", code=1431)
    yield replaced('"file":"model.safetensors"', '"file":"/x"', "two-faults-path-unlisted",
                   "an absolute path, and no file of this list", code=1402)
    yield replaced('"file":"model.safetensors","dtype":"F32","shape":[25,3],"offset":700',
                   '"file":"other.safetensors","dtype":"F32","shape":[25,3],"offset":9000',
                   "two-faults-unlisted-beyond", "a file that is not listed, and an offset past any of them", code=1309)
    yield replaced('"tensor":"b.weight","file":"model.safetensors","dtype":"F32","shape":[25,3],"offset":700',
                   '"tensor":"a","file":"model.safetensors","dtype":"F32","shape":[25,3],"offset":9000',
                   "two-faults-beyond-order", "past the end of its file, and the name of the line before", code=1310)
