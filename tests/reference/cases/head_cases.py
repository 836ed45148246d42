"""The head's text (spec/head.md), parsed alone."""

from weighbridge_ref.head import head_id

from .common import HEAD, Cases, accepted, head_lines, head_text, refused, text_of

HASH = HEAD["root"]


def cases() -> Cases:
    yield from good()
    yield from lines()
    yield from values()
    yield from contradictions()


def padded_to(length: int) -> bytes:
    """A well-formed text of this length, filled with `ext` lines."""
    room = length - len(head_text()) - 16 * len("ext pad00 \n")
    ext = [f"pad{i:02} {'x' * ((room + i) // 16)}" for i in range(16)]
    text = head_text(ext=ext)
    assert len(text) == length
    return text


def good() -> Cases:
    def case(name, comment, text):
        return accepted(f"head/{name}", "head", comment, {"head.txt": text}, head_id=head_id(text).hex())

    yield case("plain", "every line, no ext", head_text())
    yield case("second-revision", "revision 2 names the head before", head_text(revision="2", previous=HASH))
    yield case("tensors-none", "tensors were not looked at", head_text(tensors="none", tensors_root="none"))
    yield case("tensors-zero", "tensors were looked at, and there are none", head_text(tensors="0 0"))
    yield case("largest-numbers", "the largest of each",
               head_text(revision=str(2**53 - 1), previous=HASH, bytes=str(2**53 - 1),
                         files=f"{2**24} {2**24 * 8193}", tensors=f"{2**24} {2**24 * 8193}", chunk_size=str(2**24)))
    yield case("ext", "known and unknown keys, one key twice with different values",
               head_text(ext=[f"base {HASH} meta-llama/Llama-3.1-8B", "base org/merged", "source https://example.org",
                              "x-unknown ~ any printable ASCII ~"]))
    yield case("ext-16", "16 ext lines", head_text(ext=[f"k{i:02} v" for i in range(16)]))
    yield case("text-4096", "4,096 bytes", padded_to(4096))


def lines() -> Cases:
    def bad(name, code, comment, text, rule=None):
        return refused(f"head/{name}", "head", code, comment, {"head.txt": text}, rule=rule)

    whole = head_lines()
    yield bad("text-4097", 1201, "4,097 bytes, otherwise well-formed", padded_to(4097), rule=12)
    yield bad("empty", 1202, "no byte", b"")
    yield bad("version-2", 1202, "a version that is not known", text_of(["weighbridge/head/v2", *whole[1:]]))

    for i, line in enumerate(whole[1:], 1):
        key = line.split(" ")[0]
        yield bad(f"missing-{key}", 1203, f"no line `{key}`", text_of(whole[:i] + whole[i + 1 :]), rule=6)
    yield bad("doubled-name", 1203, "two equal lines `name`", text_of(whole[:2] + whole[1:]), rule=6)
    yield bad("swapped-name-revision", 1203, "`revision` stands before `name`",
              text_of([whole[0], whole[2], whole[1], *whole[3:]]), rule=6)
    yield bad("unknown-line-at-end", 1203, "behind the last line", text_of(whole + ["license MIT"]), rule=6)
    yield bad("empty-line", 1203, "between `bytes` and `files`", text_of(whole[:7] + [""] + whole[7:]))
    yield bad("no-final-lf", 1203, "the last line is not ended", text_of(whole)[:-1], rule=6)
    yield bad("ext-unsorted", 1203, "ext lines in another order", head_text(ext=["b v", "a v"]), rule=6)
    yield bad("ext-repeated", 1203, "two equal ext lines", head_text(ext=["a v", "a v"]), rule=6)
    yield bad("ext-17", 1203, "17 ext lines", head_text(ext=[f"k{i:02} v" for i in range(17)]), rule=12)


def values() -> Cases:
    def bad(name, comment, /, rule=None, **changes):
        return refused(f"head/{name}", "head", 1204, comment, {"head.txt": head_text(**changes)}, rule=rule)

    yield bad("name-malformed", "a space", name="org/my model")
    yield bad("revision-2-64", "2^64 + 1, which is 1 where numbers wrap", revision=str(2**64 + 1))
    yield bad("previous-upper-case", "upper-case digits", revision="2", previous=HASH.upper())
    yield bad("created-never", "only `expires` may be `never`", created="never")
    yield bad("expires-none", "`never`, not `none`", expires="none")
    yield bad("bytes-2-53", "2^53", rule=1, bytes=str(2**53))
    yield bad("files-zero", "a model has at least one file", rule=1, files="0 0")
    yield bad("files-too-many", "2^24 + 1 files", rule=1, files=f"{2**24 + 1} 2000000000")
    yield bad("files-length-above-count", "one line in 6 GiB, which a reader would make room for", rule=12,
              files="1 6442450944")
    yield bad("tensors-length-above-count", "one byte more than two lines can have", rule=12,
              tensors=f"2 {2 * 8193 + 1}")
    yield bad("root-upper-case", "upper-case digits", root=HASH.upper())
    yield bad("tensors-zero-with-length", "no tensor in one byte", rule=1, tensors="0 1")
    yield bad("tensors-root-short", "63 digits", tensors_root=HASH[1:])
    yield bad("chunk-size-too-large", "32 MiB", rule=1, chunk_size="33554432")
    yield bad("ext-key-upper-case", "an upper-case letter", ext=["Base v"])
    yield bad("ext-value-trailing-space", "a space at the end", ext=["k v "])


def contradictions() -> Cases:
    def bad(name, comment, /, **changes):
        return refused(f"head/{name}", "head", 1205, comment, {"head.txt": head_text(**changes)})

    yield bad("revision-0", "revisions count from 1", revision="0")
    yield bad("revision-1-with-previous", "the first revision follows nothing", previous=HASH)
    yield bad("revision-2-without-previous", "the second revision follows the first", revision="2")
    yield bad("tensors-none-alone", "tensors none, with a root", tensors="none")
    yield bad("expires-when-created", "expires in the second in which it was created", expires=HEAD["created"])
