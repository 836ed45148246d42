"""What a receiver says is missing, as a sender reads it (spec/push.md)."""

import json

from .common import CHUNK_SIZE, Cases, accepted, refused

A, B, EMPTY = "a.bin", "b/c d.bin", "empty"
SIZES = {A: 4 * CHUNK_SIZE + 1000, B: CHUNK_SIZE, EMPTY: 0}
FILES = "".join(f"{size} {path}\n" for path, size in SIZES.items()).encode()


def cases() -> Cases:
    yield from read()
    yield from malformed()
    yield from files()
    yield from ranges()


def written(value) -> bytes:
    return json.dumps(value, separators=(",", ":")).encode()


def missing(*files: tuple[str, list], **others) -> bytes:
    """An answer with these paths and ranges."""
    return written({"files": [{"path": path, "bytes": ranges} for path, ranges in files], "more": False} | others)


def chunks(first: int, last: int, path: str = A) -> str:
    """The range of these chunks of a file, the last one included."""
    return f"{first * CHUNK_SIZE}-{min((last + 1) * CHUNK_SIZE, SIZES[path]) - 1}"


ONE = missing((A, [chunks(1, 1)]))
ONE_LINE = "16384..32768 a.bin\n"


def good(name, comment, answer: bytes, lines: str):
    return accepted(f"push-missing/{name}", "push-missing", comment,
                    {"files": FILES, "answer": answer, "ranges": lines.encode()}, chunk_size=CHUNK_SIZE)


def bad(name, comment, answer: bytes, rule=None):
    return refused(f"push-missing/{name}", "push-missing", 9301, comment, {"files": FILES, "answer": answer}, rule=rule,
                   chunk_size=CHUNK_SIZE)


def read() -> Cases:
    yield good("one-range", "one chunk", ONE, ONE_LINE)
    yield good("ascending", "ranges with chunks between them that are there", missing((A, [chunks(0, 0), chunks(2, 3)])),
               "0..16384 a.bin\n32768..65536 a.bin\n")
    yield good("touching", "one range begins where the one before ends", missing((A, [chunks(0, 0), chunks(1, 2)])),
               "0..16384 a.bin\n16384..49152 a.bin\n")
    yield good("last-chunk", "the last chunk is shorter", missing((A, [chunks(4, 4)])), "65536..66536 a.bin\n")
    yield good("whole-file", "all chunks of a file", missing((A, [chunks(0, 4)])), "0..66536 a.bin\n")
    yield good("several-files", "two files", missing((A, [chunks(1, 1)]), (B, [chunks(0, 0, B)])),
               ONE_LINE + "0..16384 b/c d.bin\n")
    yield good("other-order", "files in another order than that of the list",
               missing((B, [chunks(0, 0, B)]), (A, [chunks(1, 1)])), "0..16384 b/c d.bin\n" + ONE_LINE)
    yield good("empty-object", "all keys may be absent", b"{}", "")
    yield good("no-files", "nothing is missing", missing(), "")
    yield good("empty-file", "a file of no bytes has no chunk that could be missing", missing((EMPTY, [])), "")
    yield good("no-ranges", "a file of which nothing is missing", missing((A, [])), "")
    yield good("more", "the answer was cut", missing((A, [chunks(1, 1)]), more=True), ONE_LINE)
    yield good("lists-and-layers", "what comes before chunks is another question",
               missing(lists=["tensors.jsonl"], layers=["0-95"]), "")
    file = {"path": A, "root": "x", "bytes": [chunks(1, 1)], "etc": [{"path": B}]}
    yield good("unknown-keys", "readers pass over keys that they do not know",
               written({"version": 2, "files": [file], "etc": {"files": [1.5e3, None]}}), ONE_LINE)
    yield good("unknown-key-twice", "nor is it looked at how often they occur",
               ONE.replace(b'"more":', b'"etc":1,"etc":2,"more":'), ONE_LINE)
    yield good("white-space", "JSON may have white space around all that it has",
               b"\r\n\t " + json.dumps(json.loads(ONE), indent=2).encode() + b"\n", ONE_LINE)
    yield good("escapes", "characters may be escaped, also in keys",
               ONE.replace(b"a.bin", b"\\u0061.bin").replace(b'"path"', b'"p\\u0061th"'), ONE_LINE)
    yield good("leading-zeros", "digits alone are a number", missing((A, ["016384-" + "0" * 30 + "32767"])), ONE_LINE)


def malformed() -> Cases:
    yield bad("no-bytes", "no answer", b"")
    yield bad("no-json", "not JSON", b"missing: a.bin")
    yield bad("cut", "an object without its end", ONE[:-1])
    yield bad("trailing", "something behind the object", ONE + b"x", rule=6)
    yield bad("trailing-object", "two objects", ONE + ONE, rule=6)
    yield bad("comma-at-end", "JSON has no comma before the end", ONE.replace(b"]}],", b",]}],"))
    yield bad("byte-order-mark", "JSON begins with none", b"\xef\xbb\xbf" + ONE)
    yield bad("array", "the files alone", written(json.loads(ONE)["files"]))
    yield bad("null", "no object", b"null")
    yield bad("key-twice", "one reader would take the first, another the last",
              ONE.replace(b'"more":', b'"files":[],"more":'), rule=6)
    yield bad("path-key-twice", "one reader would take the first, another the last",
              ONE.replace(b'"path":', b'"path":"b/c d.bin","path":'), rule=6)
    yield bad("key-twice-escaped", "the same key, written in two ways",
              ONE.replace(b'"more":', b'"mor\\u0065":true,"more":'), rule=6)
    yield bad("more-no-boolean", "a number for a boolean", missing((A, [chunks(1, 1)]), more=1))
    yield bad("more-null", "null is no boolean", missing((A, [chunks(1, 1)]), more=None))
    yield bad("lists-no-list", "a string for a list", missing(lists="files.jsonl"))
    yield bad("layers-no-strings", "a number for a string", missing(layers=[95]))
    yield bad("files-no-list", "an object for a list", written({"files": {A: [chunks(1, 1)]}}))
    yield bad("files-null", "null for a list", missing(files=None))


def files() -> Cases:
    yield bad("unknown-file", "a file that the model does not have", missing(("c.bin", [chunks(1, 1)])), rule=1)
    yield bad("unknown-file-no-ranges", "even if nothing of it is said to be missing", missing(("c.bin", [])), rule=1)
    yield bad("other-case", "paths are compared byte by byte", missing(("A.bin", [chunks(1, 1)])), rule=1)
    yield bad("metadata", "the lists are no files of the model", missing(("weighbridge/files.jsonl", ["0-16383"])), rule=1)
    yield bad("file-twice", "the same file, with the same range", missing(*[(A, [chunks(1, 1)])] * 2), rule=6)
    yield bad("file-twice-other-ranges", "the same file, with another range",
              missing((A, [chunks(1, 1)]), (B, []), (A, [chunks(2, 2)])), rule=6)
    yield bad("file-as-string", "a path alone", written({"files": [A]}))
    yield bad("no-path", "a file without its path", written({"files": [{"bytes": [chunks(1, 1)]}]}))
    yield bad("no-ranges-key", "a file without its ranges", written({"files": [{"path": A}]}))
    yield bad("path-no-string", "a number for a string", missing((1, [])))
    yield bad("path-not-utf8", "no text", ONE.replace(b"a.bin", b"a\xff.bin"))
    yield bad("path-half-surrogate", "half a character", ONE.replace(b"a.bin", b"a\\ud800.bin"))
    yield bad("bytes-no-list", "a string for a list", missing((A, chunks(1, 1))))
    yield bad("bytes-null", "null for a list", missing((A, None)))
    yield bad("range-no-string", "a number for a string", missing((A, [16384])))
    yield bad("range-as-array", "numbers for a string", missing((A, [[16384, 32767]])))


def ranges() -> Cases:
    def of(name, comment, *ranges, path=A, rule=None):
        return bad(name, comment, missing((path, list(ranges))), rule)

    yield of("begins-within", "begins a byte behind the beginning of a chunk", "16385-32767", rule=1)
    yield of("begins-before", "begins a byte before a chunk", "16383-32767", rule=1)
    yield of("ends-within", "ends a byte before the end of a chunk", "16384-32766", rule=1)
    yield of("ends-behind", "ends a byte behind a chunk", "16384-32768", rule=1)
    yield of("ends-within-last", "ends a byte before the end of the file", "65536-66534", rule=1)
    yield of("past-end", "ends a byte behind the file", "65536-66536", rule=1)
    yield of("past-end-whole-chunk", "ends where the last chunk would if it were full", "65536-81919", rule=1)
    yield of("behind-end", "begins behind the file", "81920-98303", rule=1)
    yield of("of-empty-file", "an empty file has no byte", "0-0", path=EMPTY, rule=1)
    yield of("of-other-file", "in the file before it this would be a chunk", "16384-32767", path=B, rule=1)

    yield of("overlapping", "begins in the range before", chunks(0, 1), chunks(1, 2), rule=6)
    yield of("same-twice", "the same range twice", chunks(1, 1), chunks(1, 1), rule=6)
    yield of("descending", "stands before the range before", chunks(2, 2), chunks(0, 0), rule=6)
    yield of("reversed", "ends before it begins", "5-4", rule=6)
    yield of("empty-range", "ends where it begins, at a chunk", "16384-16383", rule=6)
    yield of("reversed-chunks", "a chunk back to front", "32767-16384", rule=6)
    yield of("good-then-bad", "the second range is bad", chunks(0, 0), "16384-32766", rule=1)

    yield of("no-text", "no byte", "")
    yield of("hyphen-alone", "no numbers", "-")
    yield of("no-first", "the last bytes, as `Range` has it", "-16384")
    yield of("no-last", "to the end, as `Range` has it", "0-")
    yield of("no-hyphen", "one number", "16384")
    yield of("three-numbers", "two hyphens", "0-16383-16384")
    yield of("two-ranges", "two ranges in one text", "0-16383,16384-32767")
    yield of("dots", "another way to write ranges", "0..16384")
    yield of("with-size", "what follows in `Content-Range`", "0-16383/66536")
    yield of("with-unit", "what precedes in `Content-Range`", "bytes 0-16383")
    yield of("sign", "a plus before a number", "+0-16383")
    yield of("sign-of-last", "a plus before the other number", "0-+16383")
    yield of("minus", "a minus before a number", "0--16383")
    yield of("space", "a space at the beginning", " 0-16383")
    yield of("space-at-end", "a space at the end", "0-16383 ")
    yield of("space-within", "spaces around the hyphen", "0 - 16383")
    yield of("line-feed", "a LF at the end", "0-16383\n")
    yield of("hexadecimal", "other digits", "0x0-0x3fff")
    yield of("underscore", "an underscore between digits", "0-16_383")
    yield of("other-digits", "digits that are not ASCII", "0-1638\N{ARABIC-INDIC DIGIT THREE}")
    yield of("en-dash", "a dash for the hyphen", "0\N{EN DASH}16383")

    yield of("last-of-u64", "the byte behind 2^64 - 1 has no number of 64 bits", "0-18446744073709551615", rule=1)
    yield of("first-and-last-of-u64", "nor here, where it would come round to 0",
             "18446744073709551615-18446744073709551615", rule=1)
    yield of("past-u64", "2^64 + 16,383, which is 16,383 in 64 bits", "0-18446744073709567999", rule=1)
    yield of("first-past-u64", "2^64, which is 0 in 64 bits", "18446744073709551616-16383", rule=1)
    yield of("huge", "a number of 5,000 digits", "0-" + "9" * 5000, rule=12)
