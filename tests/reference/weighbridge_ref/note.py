"""Signed notes and the keys that sign them (spec/head.md; C2SP signed-note)."""

import hashlib
import re
import unicodedata
from base64 import b64encode
from typing import NamedTuple

from . import ed25519
from .refused import Refused
from .values import WHITE_SPACE, decode_base64

MAX_NOTE = 131_072
MAX_SIGNATURES = 100
ED25519 = 0x01
EM_DASH = "\N{EM DASH}"


class VerifierKey(NamedTuple):
    name: str
    key_id: bytes
    public: bytes


class Signature(NamedTuple):
    name: str
    key_id: bytes
    signature: bytes


class Note(NamedTuple):
    text: bytes
    signatures: list[Signature]


def parse_note(data: bytes) -> Note:
    """Parses a note, and verifies nothing in it."""
    if len(data) > MAX_NOTE:
        raise Refused(1101, f"the note is longer than {MAX_NOTE} bytes")
    try:
        text = data.decode()
    except UnicodeDecodeError:
        raise Refused(1102, "the note is not UTF-8") from None
    if any(c < " " and c != "\n" for c in text):
        raise Refused(1102, "the note has a control character")
    if not text.endswith("\n"):
        raise Refused(1103, "the note does not end with LF")
    lines = text[:-1].split("\n")
    # The last empty line divides the note. The text has at least one line, and so have the signatures.
    empty = [i for i, line in enumerate(lines) if line == ""]
    if not empty or empty[-1] == 0 or empty[-1] == len(lines) - 1:
        raise Refused(1103, "no blank line between a text and its signatures")
    signed, signature_lines = lines[: empty[-1]], lines[empty[-1] + 1 :]
    if len(signature_lines) > MAX_SIGNATURES:
        raise Refused(1105, f"more than {MAX_SIGNATURES} signature lines")
    signatures = [parse_signature_line(line) for line in signature_lines]
    return Note("".join(line + "\n" for line in signed).encode(), signatures)


def parse_signature_line(line: str) -> Signature:
    try:
        dash, name, base64 = line.split(" ")
        data = decode_base64(base64)
    except ValueError:
        raise Refused(1104, "malformed signature line") from None
    if dash != EM_DASH or not is_key_name(name) or len(data) < 5:
        raise Refused(1104, "malformed signature line")
    return Signature(name, data[:4], data[4:])


def is_key_name(name: str) -> bool:
    controls = any(unicodedata.category(character) == "Cc" for character in name)
    return name != "" and "+" not in name and not WHITE_SPACE & set(name) and not controls


def key_id(name: str, public: bytes, signature_type: int = ED25519) -> bytes:
    return hashlib.sha256(name.encode() + b"\n" + bytes([signature_type]) + public).digest()[:4]


def parse_vkey(line: str) -> VerifierKey:
    """Parses and checks a key, so that verifying a signature needs no further check of the key."""
    name, _, rest = line.partition("+")
    id_hex, plus, base64 = rest.partition("+")
    try:
        data = decode_base64(base64)
    except ValueError:
        raise Refused(1501, "the vkey's key is not base64") from None
    if not is_key_name(name) or not re.fullmatch("[0-9a-f]{8}", id_hex) or not plus or len(data) != 33:
        raise Refused(1501, "the vkey line is malformed")
    signature_type, public = data[0], data[1:]
    if signature_type != ED25519:
        raise Refused(1503, f"signature type 0x{signature_type:02x} is not Ed25519")
    if key_id(name, public) != bytes.fromhex(id_hex):
        raise Refused(1502, "the key id is not that of this name and key")
    point = ed25519.decode(public)
    if point is None:
        raise Refused(1504, "the key is no canonical encoding of a curve point")
    if ed25519.has_small_order(point):
        raise Refused(1505, "the key is weak: a point of small order")
    if not ed25519.is_torsion_free(point):
        raise Refused(1506, "the key has a torsion component")
    return VerifierKey(name, key_id(name, public), public)


# --- for writing vectors ----------------------------------------------------------------------------

def vkey_line(name: str, public: bytes, signature_type: int = ED25519) -> str:
    data = bytes([signature_type]) + public
    return f"{name}+{key_id(name, public, signature_type).hex()}+{b64encode(data).decode()}"


def signature_line(name: str, key_id: bytes, signature: bytes) -> bytes:
    return f"{EM_DASH} {name} {b64encode(key_id + signature).decode()}\n".encode()
