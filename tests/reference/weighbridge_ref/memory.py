"""The memory of accepted heads, so that nobody leads back to an older one (spec/trust.md#memory)."""

import hashlib
import json
from typing import NamedTuple, Optional

from . import strict_json
from .head import Head, head_id, parse_head
from .note import MAX_NOTE, MAX_SIGNATURES, Note, Signature, parse_note, signature_line
from .refused import Refused
from .trust import Policy, Verified, check_threshold, publisher_keys, signed_by

JSON_SPACE = " \t\r\n"
REVOKED = "revoked"


class Remembered(NamedTuple):
    note: Note
    head: Head
    head_id: bytes

    @property
    def data(self) -> bytes:
        return write_note(self.note)

    @property
    def labels(self) -> set[tuple[str, bytes]]:
        return {label(line) for line in self.note.signatures}


Memory = dict[str, list[Remembered]]  # by name, and for each name by SHA-256


# --- the state file -----------------------------------------------------------------------------------

def parse_state(data: bytes) -> Memory:
    try:
        return read_state(data)
    except (ValueError, RecursionError, Refused) as error:
        raise Refused(9004, f"malformed state file: {error}") from None


def read_state(data: bytes) -> Memory:
    names, rest = strict_json.parse_object(data.lstrip(JSON_SPACE.encode()))
    if rest.strip(JSON_SPACE):
        raise ValueError("something stands behind the object")
    memory = {}
    for name, notes in members(names):
        memory[name] = []
        for digest, text in members(notes):
            if type(text) is not str or sha256(text.encode()) != digest:
                raise ValueError("a note does not stand under its SHA-256")
            memory[name].append(read_note(text.encode()))
            if memory[name][-1].head.name != name:
                raise ValueError(f"a head of another name stands under {name!r}")
    return sort(memory)


def members(value) -> strict_json.Object:
    if not isinstance(value, strict_json.Object):
        raise ValueError("not an object")
    if len({name for name, _ in value}) != len(value):
        raise ValueError("a name occurs twice")
    return value


def read_note(data: bytes) -> Remembered:
    if data.endswith(b"\n\n"):
        note = Note(data[:-1], [])
    else:
        note = parse_note(data)
    return Remembered(note, parse_head(note.text), head_id(note.text))


def write_state(memory: Memory) -> bytes:
    tree = {name: {sha256(note.data): note.data.decode() for note in notes} for name, notes in memory.items()}
    return json.dumps(tree, indent=2, ensure_ascii=False, sort_keys=True).encode() + b"\n"


def write_note(note: Note) -> bytes:
    return note.text + b"\n" + b"".join(signature_line(*line) for line in note.signatures)


def sort(memory: Memory) -> Memory:
    return {name: sorted(notes, key=lambda note: sha256(note.data)) for name, notes in memory.items() if notes}


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


# --- step 7, and the new memory -------------------------------------------------------------------------

def accept(memory: Memory, verified: Verified, policy: Policy) -> tuple[Memory, list[bytes]]:
    """The memory after this head, and the ids of forgotten heads, sorted. Refuses a rollback or a fork."""
    name, notes = verified.head.name, memory.get(verified.head.name, [])
    standings = [standing(note, policy) for note in notes]
    check(verified, [note for note, how in zip(notes, standings) if how == verified.role])

    new, beside = merge(verified, [note for note in notes if note.head_id == verified.head_id])
    kept, forgotten = list(new) + beside, []
    for note, how in zip(notes, standings):
        if note.head_id == verified.head_id:
            continue
        if how == verified.role and any(note.labels <= written.labels for written in new):
            continue
        if how == REVOKED:
            forgotten.append(note.head_id)
            continue
        kept.append(note)
    return sort(memory | {name: kept}), sorted(forgotten)


def standing(note: Remembered, policy: Policy) -> Optional[str]:
    """The role of the entry that believes the note; REVOKED if all its lines are of revoked keys and it would otherwise be
    believed; or None."""
    try:
        signed = signed_by(note.note, publisher_keys(policy), revoked=frozenset())
    except Refused:
        raise Refused(9004, "a remembered signature by a known key does not verify") from None

    def role_under(policy):
        try:
            return check_threshold(note.head, note.head_id, policy, signed)[0]
        except Refused:
            return None

    role = role_under(policy)
    if role is not None:
        return role
    by_revoked = {label(line) for line, key in signed.pairs if key.public in policy.revoked}
    if role_under(policy._replace(revoked=frozenset())) and note.labels == by_revoked:
        return REVOKED
    return None


def check(verified: Verified, believed: list[Remembered]) -> None:
    """Step 7 of the verdict."""
    head, this_id = verified.head, verified.head_id
    for old in believed:
        if head.revision < old.head.revision:
            raise Refused(3204, f"rollback: revision {old.head.revision} was accepted before")
    for old in believed:
        if head.revision == old.head.revision and this_id != old.head_id:
            raise Refused(3205, "fork: another head of this revision was accepted before")
        if head.revision == old.head.revision + 1 and head.previous != old.head_id:
            raise Refused(3205, "fork: this head does not follow one that was accepted before")


def merge(verified: Verified, same: list[Remembered]) -> tuple[list[Remembered], list[Remembered]]:
    """The new note, or two if one has no room; and further notes of this head, which stay."""
    lines, beside = [], []
    for note in same:
        more = lines + [line for line in note.note.signatures if line not in lines]
        if fits(verified.text, more):
            lines = more
        else:
            beside.append(note)
    served = []
    for line in verified.lines:
        if label(line) not in map(label, served):
            served.append(line)
    more = lines + [line for line in served if label(line) not in map(label, lines)]
    new = [more] if fits(verified.text, more) else [lines, served]
    return [read_note(write_note(Note(verified.text, lines))) for lines in new], beside


def fits(text: bytes, lines: list[Signature]) -> bool:
    return len(lines) <= MAX_SIGNATURES and len(write_note(Note(text, lines))) <= MAX_NOTE


def label(line: Signature) -> tuple[str, bytes]:
    return line.name, line.key_id
