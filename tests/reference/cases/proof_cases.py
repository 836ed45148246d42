"""Proofs of entries and absent paths, for a node with neither lists nor model (spec/proofs.md)."""

import itertools
import string
from base64 import b64encode, urlsafe_b64encode

from weighbridge_ref import proof, trees
from weighbridge_ref.head import head_id
from weighbridge_ref.lists import file_line, tensor_line
from weighbridge_ref.proof import Claim, Slice

from .common import (ALICE, BOB, CREATED, MALLORY, NAME, Cases, accepted, file_entry, flip, head_of_lists, pattern,
                     policy, publisher, refused, signed)
from .list_cases import tensor_entry

TRUST = {"vkeys": ALICE.vkey.encode() + b"\n"}


class Model:
    """Lists, and a signed head over them. A signer may sign malformed lines, in any order."""

    def __init__(self, file_lines, total, tensor_lines=None, **head):
        self.files, self.tensors = file_lines, tensor_lines or []
        self.text = head_of_lists(file_lines, tensor_lines, total, **head)
        self.note = signed(self.text, ALICE)

    def prove(self, files=(), absent=(), tensors=(), slice=None, note=None) -> bytes:
        """An honest proof."""
        return proof.prove(note or self.note, self.files, files, absent, self.tensors, tensors, slice)

    def claims(self, files=(), absent=(), tensors=(), slice=None) -> proof.Claims:
        """Exactly these claims, without the neighbours of absent paths and the files of tensors."""
        absent = [path.encode() for path in absent]
        return proof.claims_of(self.files, list(files), absent, self.tensors, list(tensors), slice)

    def write(self, claims: proof.Claims) -> bytes:
        return proof.write(self.note, claims)

    def exactly(self, *arguments, **more) -> bytes:
        return self.write(self.claims(*arguments, **more))


def model_of(entries, tensors=None, **head) -> Model:
    lines = None if tensors is None else [tensor_line(entry) for entry in tensors]
    return Model([file_line(entry) for entry in entries], sum(entry.size for entry in entries), lines, **head)


FILES = [file_entry("README.md", pattern(70)), file_entry("config.json", pattern(500)),
         file_entry("model-1.safetensors", pattern(1000)), file_entry("model-2.safetensors", pattern(600)),
         file_entry("tokenizer.json", pattern(5000)), file_entry("vocab/empty.txt"),
         file_entry("vocab/merges.txt", pattern(300))]
FIRST, SECOND = FILES[2].path, FILES[3].path
TENSORS = [tensor_entry("a", 100, 600, file=FIRST), tensor_entry("b.weight", 700, 300, "F32", (25, 3), FIRST),
           tensor_entry("a", 80, 16, "F16", (8,), SECOND), tensor_entry("b.bias", 96, 4, "F32", (), SECOND),
           tensor_entry("norm", 100, 500, file=SECOND)]
MODEL = model_of(FILES, TENSORS)
ONE = model_of([file_entry("weights.bin", pattern(2000))])


def cases() -> Cases:
    yield from honest()
    yield from honest_trust()
    yield from texts()
    yield from notes()
    yield from grammar()
    yield from sibling_lines()
    yield from file_entries()
    yield from absent_paths()
    yield from forged_trees()
    yield from absences()
    yield from tensor_entries()
    yield from slice_lines()


def good(name, comment, data, /, files=(), absent=(), tensors=(), slice="", model=MODEL, trust=TRUST, **parameters):
    def lines(of, positions):
        return b"".join(b"%d %s\n" % (p, of[p]) for p in positions)

    answers = {"files": lines(model.files, files), "tensors": lines(model.tensors, tensors),
               "absent": "".join(path + "\n" for path in absent).encode(), "slice": slice.encode()}
    return accepted(f"proof/{name}", "proof", comment, {"proof": data} | trust | answers, **parameters)


def bad(name, code, comment, data, /, rule=None, trust=TRUST, **parameters):
    return refused(f"proof/{name}", "proof", code, comment, {"proof": data} | trust, rule=rule, **parameters)


# --- accepted -------------------------------------------------------------------------------------

def honest() -> Cases:
    def case(name, comment, files, absent=(), tensors=(), slice=None, asked=None, model=MODEL):
        """The proof has `files`; the prover is asked for `asked`."""
        data = model.prove(files if asked is None else asked, absent, tensors, slice)
        return good(name, comment, data, files, absent, tensors, "%d %d..%d" % slice if slice else "", model)

    yield case("one-file", "one entry and its path", [1])
    yield case("first-file", "position 0", [0])
    yield case("last-file", "the last position", [6])
    yield case("files", "several entries, on two levels of the tree", [0, 1, 4])
    yield case("all-files", "all entries: no line of sibling hashes", list(range(7)))
    yield case("only-file", "a model of one file: no sibling hash", [0], model=ONE)

    yield case("absent-first", "before position 0", [0], ["LICENSE"], asked=[])
    yield case("absent-last", "behind the last position", [6], ["weights.pkl"], asked=[])
    yield case("absent-between", "between neighbours", [3, 4], ["pytorch_model.bin"], asked=[])
    yield case("absent-several", "before the first, two between the same neighbours, behind the last", [0, 2, 3, 6],
               ["LICENSE", "model-1.safetensors.old", "model-10.safetensors", "z"], asked=[])
    yield case("absent-and-present", "an entry, and a path beside it", [1, 2], ["model-0.safetensors"], asked=[1])
    yield case("absent-folder", "a folder is no file: before the first file in it", [4, 5], ["vocab"], asked=[])
    yield case("absent-below-folder", "between two files of a folder", [5, 6], ["vocab/extra.txt"], asked=[])
    yield case("absent-with-spaces", "a path goes on to the end of its line", [3, 4], ["note to  all "], asked=[])
    yield case("absent-like-a-line", "a path that looks like a line of a proof", [0, 1], ["absent slice 0 0..1"],
               asked=[])
    yield case("absent-upper-case", "by bytes, upper case comes first", [0], ["Config.json"], asked=[])
    yield case("absent-by-bytes", "U+FF5E before U+1F600: by UTF-8 bytes, and not by UTF-16 units", [6],
               ["\N{FULLWIDTH TILDE}", "\N{GRINNING FACE}"], asked=[])
    yield case("absent-around-the-only-file", "the only file is the first and the last", [0], ["a", "z"], asked=[],
               model=ONE)

    yield case("tensor", "a tensor and its file", [2], tensors=[1], asked=[])
    yield case("tensors-of-two-files", "tensors of two files, which both are shown", [2, 3], tensors=[0, 2, 4],
               asked=[])
    yield case("all-tensors", "no sibling hash of either tree", list(range(7)), tensors=list(range(5)))
    yield case("only-tensor", "a tensor tree of one: no second line of sibling hashes", [2], tensors=[0], asked=[],
               model=model_of(FILES, TENSORS[:1]))
    yield case("everything", "entries, absent paths, tensors and a slice", [0, 2, 3, 4], ["LICENSE", "n"], [1, 3],
               Slice(3, 96, 100), asked=[])

    yield case("slice", "the proof says what its slice is of", [4], slice=Slice(4, 2000, 2100))
    yield case("slice-all", "a slice of the whole file", [4], slice=Slice(4, 0, 5000))
    yield case("slice-of-empty-file", "0..0, and only of an empty file", [5], slice=Slice(5, 0, 0))
    yield accepted("proof/most-lines", "proof", "4,096 lines, all but one of them absent paths",
                   {"proof": ONE.prove(absent=many_paths()[:4095])} | TRUST)


def many_paths() -> list[str]:
    """4,096 short paths that sort before `weights.bin`."""
    letters = string.digits + string.ascii_uppercase + string.ascii_lowercase + "-_"
    return sorted("".join(pair) for pair in itertools.product("+=" + letters, repeat=2) if pair < ("w", "e"))[:4096]


def honest_trust() -> Cases:
    data, claims = MODEL.prove([1]), {"files": [1]}
    this_id = head_id(MODEL.text).hex()
    yield good("policy", "believed by a policy of publishers", data, **claims,
               trust={"policy.toml": policy(publisher("weighbridge-test/*", ALICE, BOB))}, now=CREATED)
    two = signed(MODEL.text, ALICE, BOB)
    yield good("two-signers", "both sign, as the threshold demands", MODEL.prove([1], note=two), **claims,
               trust={"policy.toml": policy(publisher("*", ALICE, BOB, threshold=2))})
    yield good("expected", "name, head and revision as wanted", data, **claims, name=NAME, head=this_id,
               min_revision=1, now=CREATED)
    by_nobody = MODEL.prove([1], note=signed(MODEL.text, MALLORY))
    yield good("pinned", "a head id alone is trust enough, whoever signed", by_nobody, **claims, trust={},
               head=this_id)
    held = {"held-head.txt": MODEL.text}
    yield good("held", "the head was verified before: no key is needed", data, **claims, trust=held)
    yield good("held-other-signature", "under a held head signatures are not looked at",
               MODEL.prove([1], note=MODEL.text + b"\n" + ALICE.line(bytes(64))), **claims, trust=held)


# --- refused --------------------------------------------------------------------------------------

ABOVE = proof.above_note(MODEL.claims([1, 2], ["d", "e"], [1]))
LINES = ABOVE.decode().split("\n")[:-1]  # version, two files, two absent paths, siblings, tensor, siblings


def proof_of(lines, note=MODEL.note) -> bytes:
    text = b"".join((line.encode() if isinstance(line, str) else line) + b"\n" for line in lines)
    return text + b"\n" + note


def replaced(at: int, line) -> bytes:
    return proof_of(LINES[:at] + [line] + LINES[at + 1 :])


def texts() -> Cases:
    yield bad("no-empty-line", 2503, "a text without an empty line has no note", ABOVE + MODEL.text, 6)
    yield bad("no-byte", 2503, "no byte", b"", 6)
    yield bad("blank-line-missing", 1103, "the note's own empty line is the first one: no text is left", ABOVE
              + MODEL.note, 6)
    yield bad("empty-line-first", 3101, "all that stands behind the first empty line is the note", b"\n" + ABOVE
              + b"\n" + MODEL.note, 8)
    yield bad("two-empty-lines", 3101, "the second empty line belongs to the note", ABOVE + b"\n\n" + MODEL.note, 8)
    yield bad("empty-line-between", 3101, "what stands behind an empty line was not signed",
              proof_of(LINES[:3] + [""] + LINES[3:]), 8)
    yield bad("crlf-everywhere", 2503, "lines that end with CR LF: none is empty",
              proof_of(LINES).replace(b"\n", b"\r\n"), 6)
    yield bad("cut-behind-the-empty-line", 1103, "the note is missing", ABOVE + b"\n", 6)
    yield bad("behind-the-note", 1104, "a line behind the note", proof_of(LINES) + b"# end\n", 6)
    yield bad("empty-line-behind-the-note", 1103, "an empty line behind the note", proof_of(LINES) + b"\n", 6)
    yield bad("slice-behind-the-note", 1102, "a slice is a file of its own", proof_of(LINES) + bytes(8), 6)


def notes() -> Cases:
    data = proof_of(LINES)
    yield bad("signature-bad", 3101, "a signature by a known key over another text",
              proof_of(LINES, MODEL.text + b"\n" + ALICE.sign(ONE.text)), 8)
    yield bad("head-altered", 3101, "another name under the signature", data.replace(b"name weigh", b"name reigh"), 8)
    yield bad("head-altered-and-version", 3101, "signatures come before all that stands above the note",
              data.replace(b"name weigh", b"name reigh").replace(b"proof/v1", b"proof/v2"), 8)
    yield bad("unknown-key", 3102, "the policy does not believe the head",
              proof_of(LINES, signed(MODEL.text, MALLORY)), 8)
    yield bad("unknown-key-and-line", 3102, "nor is anything above it looked at",
              proof_of([*LINES, "comment"], signed(MODEL.text, MALLORY)), 8)
    yield bad("no-publisher", 3106, "no publisher may speak for this model", data, 8,
              {"policy.toml": policy(publisher("org/*", ALICE))})
    yield bad("too-few-signers", 3103, "one signer of two", data, 8,
              {"policy.toml": policy(publisher("*", ALICE, BOB, threshold=2))})
    yield bad("other-model", 3201, "a good proof of another model than the one wanted", data, 8, name="org/other")
    yield bad("pinned-other", 3202, "a good proof of another head than the one that is trusted", data, 3, {},
              head=head_id(ONE.text).hex())
    expiring = model_of(FILES, TENSORS, expires="2026-12-01T00:00:00Z")
    yield bad("expired", 3207, "the head has expired", expiring.prove([1]), now="2026-12-01T00:00:00Z")
    yield bad("no-head", 1202, "signed, and no head", proof_of(LINES, signed(b"weighbridge/report/v1\n", ALICE)), 8)

    later = model_of(FILES, TENSORS, revision="2", previous=head_id(MODEL.text).hex())
    yield bad("held-other", 2506, "the head is of another revision with the same roots", later.prove([1]), 3,
              {"held-head.txt": MODEL.text})
    yield bad("held-other-and-version", 2506, "the head is compared before what stands above it is read",
              later.prove([1]).replace(b"proof/v1", b"proof/v2"), 3, {"held-head.txt": MODEL.text})
    yield bad("held-note-malformed", 1104, "under a held head too a note is a note", MODEL.prove([1]) + b"# end\n", 6,
              {"held-head.txt": MODEL.text})


def grammar() -> Cases:
    version, first, second, d, e, siblings, tensor, tensor_siblings = LINES

    def of(name, comment, *lines, code=2503, rule=6):
        return bad(name, code, comment, proof_of(lines), rule)

    yield bad("version-2", 2502, "a version that is not known", replaced(0, "weighbridge/proof/v2"))
    yield bad("version-crlf", 2502, "CR behind the version", replaced(0, version + "\r"), 6)
    yield bad("version-space", 2502, "a space behind the version", replaced(0, version + " "), 6)
    yield of("version-missing", "an entry on the first line", *LINES[1:], code=2502)
    yield bad("byte-order-mark", 2502, "U+FEFF before the first line", b"\xef\xbb\xbf" + proof_of(LINES), 6)
    yield of("nothing-but-version", "a proof of nothing", version)
    yield bad("not-utf8", 2503, "a byte that is no UTF-8, in an absent path", replaced(4, b"absent e\xff"), 6)

    yield of("unknown-line", "a line of no known form", *LINES, "comment for people")
    yield of("unknown-line-first", "a line of no known form before the entries", version, "files 2", *LINES[1:])
    yield of("absent-before-entries", "absent paths come behind the entries", version, d, e, first, second, *LINES[5:])
    yield of("entry-behind-absent", "an entry behind an absent path", version, first, d, e, second, *LINES[5:])
    yield of("entry-behind-siblings", "an entry behind its sibling hashes", version, first, d, e, siblings, second,
             *LINES[6:])
    yield of("absent-behind-siblings", "absent paths behind the sibling hashes", version, first, second, siblings, d, e,
             *LINES[6:])
    yield of("tensors-first", "the tensor list before the file list", version, tensor, tensor_siblings, first, second,
             d, e, siblings)
    yield of("tensors-alone", "tensors without a file", version, tensor, tensor_siblings)
    yield of("absent-alone", "an absent path without an entry", version, d, siblings)
    yield of("tensor-among-files", "a tensor offered as a file", version, first, tensor, d, e, siblings)
    yield of("file-among-tensors", "a file offered as a tensor", version, second, siblings, first, tensor_siblings)
    yield of("file-behind-tensors", "a file entry behind the tensors", version, first, d, e, siblings, tensor, second,
             tensor_siblings)
    inner = MODEL_NODES[3] + MODEL_NODES[4]
    yield of("inner-node-as-entry", "the two hashes below node 1, offered as entry 0", version, b"0 " + inner,
             b64encode(MODEL_NODES[2]), rule=7)
    yield of("entry-of-neither-list", "an entry that names neither a file nor a tensor", version,
             first.replace('{"file":', '{"fole":'), siblings)

    def position(name, comment, text):
        return bad(f"position-{name}", 2503, comment, replaced(1, text + first[1:]), 6)

    yield position("leading-zero", "position 01", "01")
    yield position("sign", "position +1", "+1")
    yield position("2-53", "position 2^53", str(2**53))
    yield position("2-64", "2^64 + 1, which is 1 in 64 bits", str(2**64 + 1))
    yield position("missing", "no digit", "")
    yield position("two-spaces", "two spaces behind the position", "1 ")
    yield position("other-digits", "ARABIC-INDIC DIGIT ONE", "\N{ARABIC-INDIC DIGIT ONE}")
    yield bad("space-before-line", 2503, "a space before the position", replaced(1, " " + first), 6)
    yield bad("absent-without-space", 2503, "`absent` and nothing else", replaced(3, "absent"), 6)

    paths = many_paths()
    yield bad("lines-4097", 2406, "4,097 lines, all but one of them absent paths", ONE.exactly([0], paths), 12)


MODEL_NODES = trees.tree_nodes([trees.leaf_hash(line) for line in MODEL.files])


def sibling_lines() -> Cases:
    version, first, second, d, e, siblings, tensor, tensor_siblings = LINES
    hashes = MODEL.claims([1, 2]).siblings
    assert b64encode(hashes).decode() == siblings and len(hashes) == 64 and siblings.endswith("==")

    def line(name, comment, *lines, code=2503, rule=6):
        return bad(f"siblings-{name}", code, comment, proof_of(LINES[:5] + list(lines) + LINES[6:]), rule)

    yield line("unpadded", "base64 without its padding", siblings.rstrip("="))
    index = string.ascii_uppercase + string.ascii_lowercase + string.digits + "+/"
    bit_more = index[index.index(siblings[-3]) + 1]
    yield line("trailing-bits", "bits behind the last byte that are not zero", siblings[:-3] + bit_more + "==")
    yield line("wrapped", "base64 on two lines", siblings[:76], siblings[76:])
    yield line("wrapped-whole-hashes", "the hashes on two lines, each of them good base64", b64encode(hashes[:32]),
               b64encode(hashes[32:]))
    yield line("url-alphabet", "base64 with - and _", urlsafe_b64encode(b"\xff" * 64))
    yield line("hexadecimal", "128 digits, which are base64 of three hashes", hashes.hex(),
               code=2404, rule=7)
    yield line("trailing-space", "a space behind the hashes", siblings + " ")
    yield line("crlf", "CR behind the hashes", siblings + "\r")
    yield line("part-of-a-hash", "two hashes less a byte", b64encode(hashes[:-1]))
    yield line("byte-more", "two hashes and a byte", b64encode(hashes + b"\0"))
    yield bad("tensor-siblings-without-tensors", 2503, "a second line of hashes and no tensor",
              proof_of([version, first, second, siblings, tensor_siblings]), 6)

    yield line("missing", "the line is missing", code=2404, rule=7)
    yield line("one-less", "the last hash is missing", b64encode(hashes[:-32]), code=2404, rule=7)
    yield line("one-more", "a hash too many", b64encode(hashes + bytes(32)), code=2404, rule=7)
    yield line("ascending", "in ascending heap index", b64encode(hashes[32:] + hashes[:32]), code=2405, rule=7)
    yield line("flipped", "one bit of a hash differs", b64encode(flip(hashes, 50)), code=2405, rule=3)
    yield line("zeros", "zeros for what is not known", b64encode(bytes(64)), code=2405, rule=5)
    whole = MODEL.claims(range(7))._replace(siblings=MODEL_NODES[0])
    yield bad("siblings-not-needed", 2404, "all entries, and node 0 beside them", MODEL.write(whole), 7)


def file_entries() -> Cases:
    """Malformed lines of a signed list that no verifier opens."""
    def signed_line(name, code, comment, changed, rule=6):
        changed = changed if isinstance(changed, bytes) else changed.encode()
        broken = Model([MODEL.files[0], changed, *MODEL.files[2:]], 7470)
        return bad(f"line-{name}", code, comment, broken.exactly([1]), rule)

    line = MODEL.files[1].decode()
    yield signed_line("white-space", 1302, "a space behind a comma", line.replace(",", ", ", 1))
    yield signed_line("trailing-space", 1302, "a space behind the entry", line + " ")
    yield signed_line("crlf", 1302, "CR behind the entry", line + "\r")
    yield signed_line("key-unknown", 1302, "a key more", line.replace("}", ',"mode":420}'))
    yield signed_line("key-twice", 1302, "JSON libraries keep one of two",
                      line.replace('{"file"', '{"file":"other.json","file"'))
    yield signed_line("8193", 1303, "an entry of 8,193 bytes", line.replace("config", "x" * (8193 - len(line) + 6)), 12)
    yield signed_line("path-dot-dot", 1404, "a path that leads out of the model", line.replace("config", "../config"),
                      12)

    unordered = Model([MODEL.files[1], MODEL.files[0], *MODEL.files[2:]], 7470)
    yield bad("unordered-list", 1304, "a publisher signed an unordered list: `README.md` hides behind `config.json`",
              unordered.exactly([0, 1], ["README.md"]), 6)
    twice = Model([MODEL.files[0], MODEL.files[1], file_line(file_entry("config.json", b"other")), *MODEL.files[2:]],
                  7475)
    yield bad("path-twice", 1305, "a publisher signed two contents of one path", twice.exactly([1, 2]), 6)
    by_utf16 = model_of([file_entry("\N{GRINNING FACE}"), file_entry("\N{FULLWIDTH TILDE}")])
    yield bad("unordered-by-utf16", 1304, "a list sorted by UTF-16 units", by_utf16.exactly([0, 1]), 6)


def absent_paths() -> Cases:
    def case(name, code, comment, *paths, rule=6):
        return bad(f"absent-{name}", code, comment, MODEL.exactly([1, 2], list(paths)), rule)

    yield case("empty-path", 1401, "nothing behind the space", "")
    yield case("long-path", 1401, "a path of 1,025 bytes", "d/" * 512 + "d", rule=12)
    yield case("dot-dot", 1404, "no path", "d/../config.json", rule=12)
    yield case("leading-space", 2505, "two spaces: the second is the path's first byte, and comes before all", " d")
    yield case("crlf", 1405, "CR behind a path", "d\r")
    yield case("metadata", 1410, "a path that no model can have", "weighbridge/head.note", rule=None)
    yield case("unsorted", 2503, "in descending order", "e", "d")
    yield case("twice", 2503, "one path on two lines", "d", "d")


def forged_trees() -> Cases:
    """Trees that rule 7 forbids, and entries that are not the signed ones."""
    forged = file_line(file_entry("config.json.pickle", b"forged"))
    second = MODEL.claims([1])

    def case(name, code, comment, claims, rule=7, model=MODEL):
        return bad(name, code, comment, model.write(claims), rule)

    yield case("position-twice", 2402, "a forged entry at the position of a true one",
               second._replace(files=[*second.files, Claim(1, forged)]))
    yield case("position-twice-more-siblings", 2402, "a forged entry at a true one's position, and hashes for both",
               second._replace(files=[*second.files, Claim(1, forged)], siblings=second.siblings * 2))
    descending = [Claim(4, MODEL.files[1]), Claim(1, MODEL.files[4])]
    yield case("positions-descending", 2402, "true lines in the order of their paths, positions exchanged",
               MODEL.claims([1, 4])._replace(files=descending))
    last = MODEL.claims([6])
    yield case("position-is-count", 2403, "position 7 of 7", last._replace(files=[Claim(7, MODEL.files[6])]))
    beyond = Claim(7, file_line(file_entry("weights.pickle")))
    yield case("position-forged-beyond", 2403, "all true entries, and a forged one behind the last",
               MODEL.claims(range(7))._replace(files=[*MODEL.claims(range(7)).files, beyond]))
    wraps = Claim(2**32 - 7 + 1, file_line(file_entry("weights.pickle")))
    yield case("position-wraps", 2403, "a position whose node index wraps round in 32 bits",
               second._replace(files=[*second.files, wraps]), 12)

    yield case("entry-forged", 2405, "another entry in place of the true one",
               second._replace(files=[Claim(1, forged)]), 3)
    yield case("entry-at-other-position", 2405, "entry 1 offered at position 2",
               MODEL.claims([2])._replace(files=[Claim(2, MODEL.files[1])]))
    grown = model_of([*FILES, file_entry("z", pattern(10))], TENSORS)
    claims = grown.claims([2])
    assert len(claims.siblings) == len(MODEL.claims([2]).siblings)
    yield case("count-one-more", 2405, "a good proof of a model of one file more", claims, 1)
    shrunk = model_of(FILES[:-1], TENSORS)
    yield case("count-one-less", 2405, "a good proof of a model of one file less", shrunk.claims([2]), 1)
    yield case("count-far-less", 2404, "a good proof of a model of three files", model_of(FILES[:3]).claims([0]), 1)
    # Node 0 of three entries, the first of them alone: offered as entry 2 of 3, 1 of 4 and 0 of 5.
    three, five = model_of(FILES[:3]), model_of(FILES[:5])
    moved = three.claims([2])._replace(files=[Claim(0, three.files[2])])
    assert len(moved.siblings) == len(five.claims([0]).siblings)
    total = sum(entry.size for entry in FILES[:3])
    root = trees.model_root(3, total, trees.tree_hash(three.files))
    yield case("entry-2-of-3-as-0-of-5", 2405, "the same hashes lead to the same node 0: the count tells them apart",
               moved, 1, model_of(FILES[:5], bytes=str(total), root=root.hex()))
    yield case("root-without-counts", 2405, "the head has the tree's hash for its root", MODEL.claims([1]), 1,
               model_of(FILES, TENSORS, root=MODEL_NODES[0].hex()))
    yield case("sum-not-bound", 2405, "the head has another sum than its root", MODEL.claims([1]), 1,
               model_of(FILES, TENSORS, bytes="7471"))


def absences() -> Cases:
    def case(name, comment, files, *paths, model=MODEL, tensors=()):
        return bad(f"not-absent-{name}", 2505, comment, model.exactly(files, list(paths), tensors))

    yield case("listed", "the path is one of the entries", [1, 2], "config.json")
    yield case("listed-first", "the path is the entry at position 0", [0], "README.md")
    yield case("listed-only", "the path is the only entry, at the first and the last position", [0], "weights.bin",
               model=ONE)
    yield case("listed-between", "the path lies between entries that are no neighbours", [1, 3], "model-1.safetensors")
    yield case("distant", "nothing lies there, and entries 1 and 3 do not show it", [1, 3], "d")
    yield case("one-neighbour-below", "entry 1 alone", [1], "d")
    yield case("one-neighbour-above", "entry 2 alone", [2], "d")
    yield case("before-second", "below entry 1, which is not the first", [1], "LICENSE")
    yield case("behind-last-but-one", "above entry 5, which is not the last", [5], "z")
    yield case("first-and-last", "between the first and the last", [0, 6], "d")
    yield case("other-neighbours", "neighbours, and the path lies elsewhere", [1, 2], "pytorch_model.bin")
    yield case("one-of-two", "the first path is shown to be absent, the second is not", [1, 2], "d", "n")
    yield case("by-locale", "neighbours in the order of a locale, where case does not count", [1, 2], "Debug.json")
    tensors = model_of(FILES, TENSORS)
    yield case("tensors-as-neighbours", "two neighbours of the tensor list enclose it: another tree", [2, 3], "b",
               tensors=[1, 2], model=tensors)
    yield case("tensor-behind-file", "the last file shown and the first tensor are no neighbours", [2, 4], "model-10",
               tensors=[0], model=tensors)


def tensor_entries() -> Cases:
    def case(name, code, comment, claims, rule=None, model=MODEL):
        return bad(f"tensor-{name}", code, comment, model.write(claims), rule)

    def signed_as(name, code, comment, tensors, files=(2,), positions=(0,), rule=6):
        """Signs these tensor lines, well-formed or not."""
        lines = [entry if isinstance(entry, bytes) else tensor_line(entry) for entry in tensors]
        model = Model(MODEL.files, 7470, lines)
        return case(name, code, comment, model.claims(files, tensors=positions), rule, model)

    line = MODEL.tensors[1]
    yield signed_as("white-space", 1302, "a space behind a comma", [line.replace(b",", b", ", 1)])
    yield signed_as("crlf", 1302, "CR behind the entry", [line + b"\r"])
    yield signed_as("8193", 1303, "an entry of 8,193 bytes", [line.replace(b"b.w", b"x" * (8193 - len(line) + 3)),
                    TENSORS[2]], rule=12)
    yield signed_as("name-control", 1432, "U+007F in a name", [line.replace(b"b.", b"b\x7f")], rule=12)
    yield signed_as("file-dot-dot", 1404, "a file that lies outside the model", [line.replace(b"model-1", b"../model")],
                    rule=12)
    yield signed_as("unordered-list", 1304, "a publisher signed an unordered list", [TENSORS[1], TENSORS[0]],
                    positions=(0, 1))
    yield signed_as("sorted-by-name", 1304, "sorted by name, then by file", [TENSORS[2], TENSORS[1]], (2, 3), (0, 1))
    yield signed_as("twice", 1305, "a publisher signed one name twice in one file",
                    [TENSORS[0], tensor_entry("a", 0, 100, file=FIRST)], positions=(0, 1))
    yield case("without-file", 2504, "a tensor whose file is not shown", MODEL.claims([1], tensors=[1]), 13)
    yield case("without-its-file", 2504, "two tensors, and the file of the first", MODEL.claims([2], tensors=[1, 2]),
               13)
    unlisted = model_of(FILES, [tensor_entry("a", 0, 1, file="d.gguf")])
    yield case("file-absent", 2504, "a tensor whose file is shown to be absent",
               unlisted.claims([1, 2], ["d.gguf"], [0]), 13, unlisted)
    yield signed_as("of-other-file", 1309, "a file whose name ends otherwise", [tensor_entry("a", 0, 1,
                    file="config.json")], (1,), rule=13)
    yield signed_as("beyond-file", 1310, "ends a byte behind its file", [tensor_entry("a", 401, 600, file=FIRST)],
                    rule=1)

    one = MODEL.claims([2], tensors=[1])
    forged = tensor_line(tensor_entry("c", 0, 1, file=FIRST))
    yield case("forged", 2405, "another tensor in place of the true one", one._replace(tensors=[Claim(1, forged)]), 3)
    yield case("position-twice", 2402, "a forged tensor at the position of a true one",
               one._replace(tensors=[*one.tensors, Claim(1, forged)]), 7)
    yield case("position-is-count", 2403, "position 5 of 5", one._replace(tensors=[Claim(5, line)]), 7)
    yield case("position-of-file-list", 2403, "position 6: below the number of files, and not of tensors",
               one._replace(tensors=[Claim(6, line)]), 7)
    yield case("siblings-missing", 2404, "no sibling hashes of the tensor tree", one._replace(tensor_siblings=b""), 7)
    yield case("siblings-one-more", 2404, "a hash too many",
               one._replace(tensor_siblings=one.tensor_siblings + bytes(32)), 7)
    same = MODEL.claims([3], tensors=[4])
    assert len(same.siblings) == len(same.tensor_siblings) == 96
    yield case("siblings-of-files", 2405, "the hashes of the file tree once more",
               same._replace(tensor_siblings=same.siblings), 7)
    yield case("of-another-model", 2405, "a true tensor of another tensor list",
               model_of(FILES, TENSORS[:4] + [tensor_entry("z", 100, 500, file=SECOND)]).claims([2], tensors=[1]), 3)
    yield case("list-none", 2401, "the head says that tensors were not looked at", one, 1, model_of(FILES))
    yield case("list-empty", 2401, "the head says that there are no tensors", one, 1, model_of(FILES, []))


def slice_lines() -> Cases:
    def case(name, code, comment, slice, rule=6, files=(4, 5)):
        return bad(f"slice-{name}", code, comment, MODEL.exactly(files, slice=Slice(*slice)), rule)

    yield case("of-no-entry", 2605, "a file that the proof does not show", (1, 0, 10), rule=1)
    yield case("of-no-file", 2605, "a position behind the list", (7, 0, 10), rule=1)
    tensors = MODEL.exactly([2], tensors=[1], slice=Slice(1, 0, 10))
    yield bad("slice-of-tensor-position", 2605, "the position of a tensor is not that of a file", tensors, 1)
    yield case("empty-range", 2601, "an empty range shows nothing", (4, 100, 100))
    yield case("empty-range-at-start", 2601, "0..0 of a file that has bytes", (4, 0, 0))
    yield case("turned-round", 2601, "200..100", (4, 200, 100))
    yield case("past-the-end", 2601, "a byte behind the file", (4, 4999, 5001), rule=1)
    yield case("behind-empty-file", 2601, "0..1 of no bytes", (5, 0, 1), rule=1)

    above = proof.above_note(MODEL.claims([4])).decode().split("\n")[:-1]

    def line(name, comment, *lines):
        return bad(f"slice-line-{name}", 2503, comment, proof_of(above + list(lines)), 6)

    whole = "slice 4 0..10"
    yield line("twice", "two slices", whole, "slice 4 10..20")
    yield line("repeated", "one slice on two lines", whole, whole)
    yield bad("slice-line-early", 2503, "the slice before the sibling hashes",
              proof_of([*above[:-1], whole, above[-1]]), 6)
    yield line("before-tensors", "the slice before the tensors", whole, *LINES[6:])
    yield line("trailing-space", "a space behind the range", whole + " ")
    yield line("crlf", "CR behind the range", whole + "\r")
    yield line("leading-zero", "0..010", "slice 4 0..010")
    yield line("2-53", "ends at 2^53", f"slice 4 0..{2**53}")
    yield line("one-dot", "one dot", "slice 4 0.10")
    yield line("three-dots", "three dots", "slice 4 0...10")
    yield line("open-end", "no end", "slice 4 0..")
    yield line("no-position", "no position", "slice 0..10")
    yield line("length", "offset and length", "slice 4 0 10")
    yield line("path", "a path for a position", "slice tokenizer.json 0..10")
