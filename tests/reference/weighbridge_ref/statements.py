"""Challenges, reports and receipts, which are signed like heads (spec/statements.md)."""

from typing import NamedTuple, Optional, Union

from . import blake3, ed25519
from .head import Head
from .note import Note, VerifierKey, parse_note, parse_vkey
from .refused import Refused
from .values import check_model_name, parse_hash, parse_int, parse_time

CHALLENGE_CONTEXT = "weighbridge 2026-11-20 v1 audit challenge"
MAX_TEXT = 4096
MAX_SAMPLES = 4096


# The fields of each statement are its lines in order, after the first.

class Challenge(NamedTuple):
    head: bytes
    root: bytes
    prover: VerifierKey
    nonce: bytes
    issued: int
    deadline: int
    samples: int


class Report(NamedTuple):
    name: str
    head: bytes
    root: bytes
    prover: VerifierKey
    challenge: bytes
    response: bytes
    samples: tuple[int, int]  # the number drawn, and the number there are
    issued: int
    received: int


class Receipt(NamedTuple):
    name: str
    head: bytes
    root: bytes
    node: VerifierKey
    verified: int
    nonce: Optional[bytes] = None  # of whoever asked for the receipt, from v2 on


Statement = Union[Challenge, Report, Receipt]


def parse_samples(value: str) -> int:
    samples = parse_int(value)
    if not 1 <= samples <= MAX_SAMPLES:
        raise ValueError(f"samples are 1 to {MAX_SAMPLES}")
    return samples


def parse_samples_of_count(value: str) -> tuple[int, int]:
    first, count = value.split(" ")
    samples, count = parse_samples(first), parse_int(count)
    if samples > count:
        raise ValueError("more samples than there are BLAKE3 chunks")
    return samples, count


# The first lines of each kind, each with the keys of the lines that follow it.
FORMS = {
    Challenge: {"weighbridge/audit-challenge/v1": Challenge._fields},
    Report: {"weighbridge/audit-report/v1": Report._fields},
    Receipt: {
        "weighbridge/receipt/v1": Receipt._fields[:-1],
        "weighbridge/receipt/v2": Receipt._fields,
    },
}
VALUES = {
    "name": check_model_name,
    "head": parse_hash,
    "root": parse_hash,
    "prover": parse_vkey,
    "node": parse_vkey,
    "nonce": parse_hash,
    "challenge": parse_hash,
    "response": parse_hash,
    "issued": parse_time,
    "deadline": parse_time,
    "received": parse_time,
    "verified": parse_time,
}
SAMPLES = {Challenge: parse_samples, Report: parse_samples_of_count}


# --- reading, in the order of spec/statements.md#reading-a-statement ------------------------------------

def read_challenge(note_bytes: bytes, auditor: VerifierKey) -> tuple[Challenge, bytes]:
    """The challenge, and its text, from which hash and samples are computed."""
    note = parse_note(note_bytes)
    check_signed(note, auditor)
    return parse_text(Challenge, note.text), note.text


def read_unsigned_challenge(note_bytes: bytes) -> tuple[Challenge, bytes]:
    """Checks only the form, for a prover, who need not know the auditor."""
    text = parse_note(note_bytes).text
    return parse_text(Challenge, text), text


def read_report(note_bytes: bytes, auditor: VerifierKey) -> Report:
    note = parse_note(note_bytes)
    check_signed(note, auditor)
    return parse_text(Report, note.text)


def read_receipt(note_bytes: bytes) -> Receipt:
    """A receipt is signed by the key that it names, so its text is read before its signature."""
    note = parse_note(note_bytes)
    receipt = parse_text(Receipt, note.text)
    check_signed(note, receipt.node)
    return receipt


def check_signed(note: Note, key: VerifierKey) -> None:
    """Every line of this key must verify, and one must exist. Lines of other keys are ignored."""
    lines = [line for line in note.signatures if (line.name, line.key_id) == (key.name, key.key_id)]
    if not all(ed25519.verify(key.public, note.text, line.signature) for line in lines):
        raise Refused(3101, f"the signature by {key.name!r} does not verify")
    if not lines:
        raise Refused(3301, f"not signed by {key.name!r}")


def parse_text(kind: type[Statement], text: bytes) -> Statement:
    """Parses the text of a note, which is UTF-8 with LF at the end of each line."""
    if len(text) > MAX_TEXT:
        raise Refused(1801, f"the text is longer than {MAX_TEXT} bytes")
    first, *lines = text.decode().removesuffix("\n").split("\n")
    if first not in FORMS[kind]:
        raise Refused(1802, "another kind of text, or a version that is not known")
    keys = FORMS[kind][first]
    found = dict(zip(keys, lines))
    values = []
    for key in keys:
        # The key is the part before the first space. The end of the text is no key.
        found_key, _, value = found.get(key, "").partition(" ")
        if found_key != key:
            raise Refused(1803, f"line {key!r} is missing")
        try:
            values.append((SAMPLES[kind] if key == "samples" else VALUES[key])(value))
        except (Refused, ValueError):
            raise Refused(1804, f"the value of {key!r} is malformed") from None
    if len(lines) > len(keys):
        raise Refused(1803, "a line behind the last")
    statement = kind(*values)
    if kind is Challenge and statement.deadline <= statement.issued:
        raise Refused(1805, "the deadline is not after `issued`")
    if kind is Report and statement.received < statement.issued:
        raise Refused(1805, "received before it was issued")
    return statement


def check_is_of(statement: Union[Report, Receipt], head: Head, head_id: bytes) -> None:
    """Checks that a report or receipt is of this verified head."""
    if (statement.name, statement.head, statement.root) != (head.name, head_id, head.root):
        raise Refused(3302, "of another head")


def challenge_hash(text: bytes) -> bytes:
    return blake3.derive_key(CHALLENGE_CONTEXT, text)
