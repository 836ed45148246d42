"""Paths and names (spec/lists.md), times (spec/head.md), keys (spec/head.md#keys)."""

from weighbridge_ref import ed25519, note

from .common import ALICE, MALLORY, Cases, accepted, refused


def cases() -> Cases:
    yield from paths()
    yield from tensor_names()
    yield from shown_names()
    yield from model_names()
    yield from cache_folders()
    yield from times()
    yield from vkeys()


def paths() -> Cases:
    def good(name, path, comment):
        return accepted(f"path/{name}", "path", comment, {"path": path.encode()})

    def bad(name, code, path, comment, rule=None):
        return refused(f"path/{name}", "path", code, comment, {"path": path.encode()}, rule=rule)

    yield good("plain", "model-00001-of-00004.safetensors", "as models have it")
    yield good("dot-files", ".gitattributes", "dot files are files")
    yield good("spaces-and-unicode", "öffentlich/模型 1.bin", "any character but controls and backslash")
    yield good("not-nfc", "o\N{COMBINING DIAERESIS}.bin", "not NFC: refused by signers, accepted by verifiers")
    yield good("longest-path", "/".join(["a" * 255, "b" * 255, "c" * 255, "d" * 254, "e"]), "1,024 bytes")
    yield good("weighbridge-prefix", "weighbridge.txt", "only the folder `weighbridge` is set aside")
    yield good("weighbridge-below", "docs/weighbridge/a", "only at the top")
    yield good("cache-of-others", ".cache/a/huggingface/b", "not one below the other")
    yield good("windows-names", "a/.git./git~1", "refused by signers, accepted by verifiers")

    yield bad("empty", 1401, "", "no byte")
    yield bad("too-long", 1401, "/".join(["a" * 255, "b" * 255, "c" * 255, "d" * 254, "ee"]), "1,025 bytes")
    yield bad("absolute", 1402, "/etc/passwd", "begins with `/`")
    yield bad("empty-component", 1403, "a//b", "two slashes")
    yield bad("trailing-slash", 1403, "a/", "an empty component at the end")
    yield bad("dot", 1404, "a/./b", "a component `.`")
    yield bad("dot-dot", 1404, "a/../../b", "leads out of the model")
    yield bad("control-nul", 1405, "a\0b", "NUL")
    yield bad("control-c1", 1405, "a\x85", "U+0085 is of category Cc")
    yield bad("backslash", 1406, "a\\b", "a separator on Windows")
    yield bad("drive", 1407, "C:/b", "a drive on Windows")
    yield bad("long-component", 1408, "a/" + "b" * 256, "256 bytes")
    yield bad("long-component-in-bytes", 1408, "ü" * 128, "128 characters, 256 bytes")
    yield bad("git-below", 1409, "a/.GiT/b", "whatever the case, at any depth")
    yield bad("weighbridge", 1410, "weighbridge/head.note", "the metadata is not part of the model")
    yield bad("weighbridge-in-another-case", 1410, "Weighbridge/head.note", "the signed head where case does not count")
    yield bad("hugging-face-cache", 1410, ".cache/huggingface/a", "what hub clients leave behind")
    yield bad("hugging-face-cache-below", 1410, "a/b/.cache/huggingface", "clients of hubs upload it at no depth")
    yield bad("hugging-face-cache-in-another-case", 1410, "a/.cache/HuggingFace/b", "whatever the case")


def tensor_names() -> Cases:
    def good(name, text, comment):
        return accepted(f"tensor-name/{name}", "tensor-name", comment, {"name": text.encode()})

    def bad(name, code, text, comment):
        return refused(f"tensor-name/{name}", "tensor-name", code, comment, {"name": text.encode()})

    yield good("path-like", "../a\\b//C:/.git", "a tensor name is never used as a path")
    yield good("longest", "a" * 1024, "1,024 bytes")
    yield bad("empty", 1431, "", "no byte")
    yield bad("too-long", 1431, "a" * 1023 + "ü", "1,025 bytes")
    yield bad("control-c1", 1432, "a\x9f", "the last of category Cc")


def shown_names() -> Cases:
    def case(name, text, shown, unseen, comment):
        return accepted(f"shown/{name}", "shown", comment, {"name": text.encode(), "shown": shown.encode()},
                        unseen=unseen)

    yield case("plain", "model-00001-of-00004.safetensors", "model-00001-of-00004.safetensors", "none", "as it is")
    yield case("letters", "öffentlich/模型 1.bin", "öffentlich/模型 1.bin", "none", "letters of any script; one space")
    yield case("mark-within", "o\u0308.bin", "o\u0308.bin", "none", "a mark on a letter")
    yield case("variation-selector", "m\ufe0fodel.pkl", "m\\u{fe0f}odel.pkl", "U+FE0F", "looks like model.pkl")
    yield case("hangul-filler", "model.pkl\u3164", "model.pkl\\u{3164}", "U+3164", "a letter that is blank")
    yield case("braille-blank", "model\u2800.pkl", "model\\u{2800}.pkl", "U+2800", "a symbol that is blank")
    yield case("no-break-space", "a\xa0b", "a\\u{a0}b", "U+00A0", "white space other than U+0020")
    yield case("right-to-left", "a\u202egnp.exe", "a\\u{202e}gnp.exe", "U+202E", "turns what follows round")
    yield case("tag", "a\U000e0041", "a\\u{e0041}", "U+E0041", "a tag character")
    yield case("escape-sequence", "a\x1b[2Jb", "a\\u{1b}[2Jb", "U+001B", "a terminal would obey it")
    yield case("line-feed", "a\nok", "a\\nok", "U+000A", "a second line of the verdict")
    yield case("c1-control", "a\x9b2J", "a\\u{9b}2J", "U+009B", "ESC [ in one character")
    yield case("private-use", "a\ue000", "a\\u{e000}", "none", "what it looks like is anybody's choice")
    yield case("mark-first", "\u0301a", "\\u{301}a", "U+0301", "drawn over what stands before the name")
    yield case("mark-below", "a/\u0301b", "a/\\u{301}b", "U+0301", "drawn over the slash")
    yield case("mark-behind-escape", "a\u200b\u0301", "a\\u{200b}\\u{301}", "U+200B", "drawn over the escape")
    yield case("space-last", "model.pkl ", "model.pkl\\u{20}", "U+0020", "a space at the end is not seen")
    yield case("space-before-slash", "a /b", "a\\u{20}/b", "U+0020", "nor at the end of a component")
    yield case("spaces", "ok.bin  1 chunk", "ok.bin\\u{20}\\u{20}1 chunk", "none", "columns of a table")
    yield case("quotes", "it's \"x\"", "it\\'s \\\"x\\\"", "none", "the end of a quotation")
    yield case("backslash", "a\\u{fe0f}", "a\\\\u{fe0f}", "none", "passes for no escape")


def model_names() -> Cases:
    def good(name, text, comment):
        return accepted(f"model-name/{name}", "model-name", comment, {"name": text.encode()})

    def bad(name, text, comment):
        return refused(f"model-name/{name}", "model-name", 1701, comment, {"name": text.encode()})

    yield good("longest", "a" * 127 + "/" + "b" * 127, "255 bytes")
    yield bad("empty", "", "no byte")
    yield bad("too-long", "a" * 128 + "/" + "b" * 127, "256 bytes")
    yield bad("leading-dot", "org/.hidden", "a part begins with a letter or digit")
    yield bad("space", "org/my model", "one space separates what stands on a line")
    yield bad("line-feed", "org/model\n", "a LF behind the name")


def cache_folders() -> Cases:
    def good(name, text, folder, comment):
        return accepted(f"cache-folder/{name}", "cache-folder", comment, {"name": text.encode()}, folder=folder)

    def bad(name, text, comment):
        return refused(f"cache-folder/{name}", "cache-folder", 9210, comment, {"name": text.encode()})

    yield good("plain", "org/model", "models--org--model", "as a client of the hub names it")
    yield good("hyphens", "a-b/c-d_e.f", "models--a-b--c-d_e.f", "single hyphens are told from the separator")
    yield good("longest", "org/" + "m" * 96, "models--org--" + "m" * 96, "96 characters")
    yield good("long-first", "o" * 140 + "/model", "models--" + "o" * 140 + "--model", "the first part may be longer")
    yield bad("one-part", "model", "a name of one part")
    yield bad("three-parts", "org/team/model", "would have the folder of org/team--model")
    yield bad("hyphens-in-first", "a--b/c", "would have the folder of a/b--c")
    yield bad("hyphens-in-second", "a/b--c", "would have the folder of a--b/c")
    yield bad("hyphen-before-slash", "a-/b", "where the separator begins cannot be told")
    yield bad("hyphen-last", "org/model-", "no client takes it")
    yield bad("dot-last", "org/model.", "no client takes it")
    yield bad("two-dots", "org/a..b", "no client takes it")
    yield bad("git", "org/model.git", "no client takes it")
    yield bad("too-long", "org/" + "m" * 97, "97 characters")
    yield bad("folder-too-long", "o" * 160 + "/" + "m" * 86, "a folder of 256 bytes")


def times() -> Cases:
    def good(name, text, comment):
        return accepted(f"time/{name}", "time", comment, {"time": text.encode()})

    def bad(name, text, comment):
        return refused(f"time/{name}", "time", 1702, comment, {"time": text.encode()})

    yield good("plain", "2026-11-20T16:31:00Z", "as heads have it")
    yield good("leap-day-2000", "2000-02-29T00:00:00Z", "divisible by 400")
    yield good("first", "0000-01-01T00:00:00Z", "the first there is")
    yield good("last", "9999-12-31T23:59:59Z", "the last there is")
    yield bad("leap-day-1900", "1900-02-29T00:00:00Z", "divisible by 100 and not by 400")
    yield bad("month-13", "2026-13-01T00:00:00Z", "months end with 12")
    yield bad("second-60", "2016-12-31T23:59:60Z", "a leap second that was, and has no place here")
    yield bad("lower-case", "2026-11-20t16:31:00z", "RFC 3339 would allow it")
    yield bad("offset", "2026-11-20T16:31:00+00:00", "UTC is written `Z`")
    yield bad("empty", "", "no byte")
    yield bad("line-feed", "2026-11-20T16:31:00Z\n", "a LF behind the time")


def vkeys() -> Cases:
    def bad(name, code, line, comment):
        return refused(f"vkey/{name}", "vkey", code, comment, {"vkey": line.encode()})

    def with_key(public: bytes, name="test.example/bad"):
        return note.vkey_line(name, public)

    name, key_id, base64 = ALICE.vkey.split("+", 2)
    yield accepted("vkey/plain", "vkey", "as `weighbridge keygen` writes it", {"vkey": ALICE.vkey.encode()})
    go = "PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW"
    yield accepted("vkey/of-go", "vkey", "the key in the documentation of golang.org/x/mod/sumdb/note",
                   {"vkey": go.encode()})
    yield bad("no-name", 1501, f"+{key_id}+{base64}", "the name is empty")
    yield bad("name-with-no-break-space", 1501, with_key(ALICE.public, "alice\xa0example"),
              "U+00A0 is Unicode white space")
    yield bad("id-upper-case", 1501, f"{name}+{key_id.upper()}+{base64}", "upper-case digits")
    yield bad("id-too-short", 1501, f"{name}+{key_id[:7]}+{base64}", "7 digits")
    yield bad("key-too-short", 1501, note.vkey_line(name, ALICE.public[:31]), "31 bytes of key")
    yield bad("line-feed", 1501, ALICE.vkey + "\n", "a LF behind the line")
    yield bad("id-of-another-key", 1502, f"{name}+{key_id}+{MALLORY.vkey.split('+', 2)[2]}",
              "the id was made for another key")
    yield bad("ecdsa", 1503, note.vkey_line(name, ALICE.public, 0x02), "type 0x02")

    p = ed25519.P
    yield bad("not-on-curve", 1504, with_key((2).to_bytes(32, "little")), "no x belongs to y = 2")
    yield bad("y-not-reduced", 1504, with_key((p + 3).to_bytes(32, "little")), "y = p + 3, a point of the curve")
    yield bad("negative-zero", 1504, with_key((1 | 1 << 255).to_bytes(32, "little")),
              "the identity with the sign bit set")
    small = small_order_points()
    yield bad("weak-identity", 1505, with_key(ed25519.encode(small[1])), "the identity, a point of order 1")
    yield bad("weak-order-8", 1505, with_key(ed25519.encode(small[8])), "a point of order 8")
    scalar, _ = ed25519.expand(ALICE.seed)
    mixed = ed25519.add(ed25519.multiply(scalar, ed25519.BASE), small[8])
    yield bad("torsion", 1506, with_key(ed25519.encode(mixed)), "a good key plus a point of order 8")


def small_order_points() -> dict:
    """A point of each small order, with the order as its key."""
    y = 2
    while (point := ed25519.decode(y.to_bytes(32, "little"))) is None or \
            ed25519.equal(ed25519.multiply(4 * ed25519.L, point), ed25519.IDENTITY):
        y += 1
    eighth = ed25519.multiply(ed25519.L, point)
    return {order: ed25519.multiply(8 // order, eighth) for order in (1, 2, 4, 8)}
