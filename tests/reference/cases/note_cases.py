"""Signed notes, as a verifier meets them first (spec/head.md#the-note)."""

from base64 import b64encode

from weighbridge_ref import note
from weighbridge_ref.head import head_id

from .common import ALICE, CREATED, Cases, accepted, head_lines, head_text, refused, signed, text_of

DASH = "\N{EM DASH}"


def cases() -> Cases:
    text = head_text()
    whole = signed(text, ALICE)
    line = ALICE.sign(text)
    trust = {"vkeys": ALICE.vkey.encode() + b"\n"}

    def good(name, comment, data):
        return accepted(f"note/{name}", "trust", comment, {"head.note": data} | trust, now=CREATED,
                        head_id=head_id(text).hex(), signers=ALICE.name)

    def bad(name, code, comment, data, rule=8):
        return refused(f"note/{name}", "trust", code, comment, {"head.note": data} | trust, rule=rule, now=CREATED)

    def unknown(i: int) -> bytes:
        return note.signature_line(f"unknown.example/{i}", bytes(4), bytes(64))

    yield good("plain", "one signature", whole)
    yield good("unknown-type", "a longer signature of an unknown type",
               text + b"\n" + note.signature_line("pq.example", b"\1\2\3\4", bytes(2420)) + line)
    yield good("signatures-100", "100 signature lines", whole + b"".join(map(unknown, range(99))))
    yield good("same-line-twice", "the same good line twice", whole + line)
    yield good("largest", "131,072 bytes", padded(whole, 131_072))
    yield bad("too-large", 1101, "131,073 bytes", padded(whole, 131_073), rule=12)

    yield bad("not-utf8", 1102, "a byte that is no UTF-8 in the name of a signature",
              whole + f"{DASH} ".encode() + b"\xff AAAAAAA=\n")
    yield bad("carriage-return", 1102, "CR LF at the ends of lines", whole.replace(b"\n", b"\r\n"))
    yield bad("no-empty-line", 1103, "the signature follows the text at once", text + line)
    yield bad("no-text", 1103, "begins with the empty line", b"\n" + line)
    yield bad("no-signature", 1103, "ends with the empty line", text + b"\n")
    yield bad("no-final-lf", 1103, "the last line is not ended", whole[:-1])
    yield bad("signatures-101", 1105, "101 signature lines", whole + b"".join(map(unknown, range(100))), rule=12)

    base64 = line.decode().split(" ")[2].strip()

    def malformed(name, comment, bad_line: str):
        return bad(f"line-{name}", 1104, comment, text + b"\n" + line + bad_line.encode() + b"\n", rule=6)

    yield malformed("hyphen", "a hyphen for the em dash", f"- {ALICE.name} {base64}")
    yield malformed("name-with-plus", "a `+` in the name", f"{DASH} alice+1 {base64}")
    yield malformed("name-with-white-space", "U+2003 in the name", f"{DASH} alice\N{EM SPACE}1 {base64}")
    one = b64encode(bytes(5)).decode()  # AAAAAAA=
    yield malformed("not-canonical", "unused bits are not zero", f"{DASH} unknown.example {one.replace('A=', 'B=')}")
    yield malformed("four-bytes", "a key id and no signature", f"{DASH} unknown.example {b64encode(bytes(4)).decode()}")
    yield malformed("not-a-line", "a line that is no signature, behind a good one", "revision 1")

    # The last empty line divides a note. Everything before it is signed text.
    inner = text_of(head_lines()[:5] + [""] + head_lines()[5:])
    yield bad("empty-line-in-text", 1203, "a signed text with an empty line in it", signed(inner, ALICE))
    yield bad("text-behind-signature", 1203, "a whole note, and behind it another signature over all of it",
              signed(whole, ALICE), rule=6)


def padded(whole: bytes, length: int) -> bytes:
    """A note of this length, filled by a signature line of an unknown key with a long name."""
    line = note.signature_line("", bytes(4), b"\0")
    filled = whole + note.signature_line("f" * (length - len(whole) - len(line)), bytes(4), b"\0")
    assert len(filled) == length
    return filled
