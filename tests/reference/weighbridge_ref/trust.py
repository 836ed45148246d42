"""Trust policies: which keys are trusted, for which models, and when (spec/trust.md)."""

from typing import NamedTuple, Optional

from . import ed25519, toml_1_0
from .head import Head, head_id, parse_head
from .note import Note, Signature, VerifierKey, parse_note, parse_vkey
from .refused import Refused
from .values import check_model_name, parse_hash, parse_time

MAX_AHEAD = 86_400  # seconds by which a publisher's clock may be ahead of ours


class DatedKey(NamedTuple):
    """The key of a publisher, dated by `created`, or of an auditor, dated by `received`."""

    vkey: VerifierKey
    begin: Optional[int] = None
    end: Optional[int] = None

    def in_date(self, time: int) -> bool:
        return (self.begin is None or self.begin <= time) and (self.end is None or time < self.end)


class Publisher(NamedTuple):
    scope: str
    threshold: int
    keys: list[DatedKey]

    def covers(self, name: str) -> bool:
        return self.scope in ("*", name) or self.scope.endswith("/*") and name.startswith(self.scope[:-1])


class Held(NamedTuple):
    """The conditions under which a model is held."""

    threshold: int
    auditors: list[DatedKey]


class Policy(NamedTuple):
    publishers: list[Publisher] = []
    revoked: set[bytes] = frozenset()  # public keys
    accepted_heads: set[bytes] = frozenset()
    held: Optional[Held] = None


class Expectation(NamedTuple):
    """The expectation of the caller. No part of it comes from the artifact (rule 9)."""

    name: Optional[str] = None
    head: Optional[bytes] = None
    min_revision: int = 0
    now: Optional[int] = None
    allow_expired: bool = False


class Signed(NamedTuple):
    """The verified signature lines of a note, in order, each with its key."""

    pairs: list[tuple[Signature, VerifierKey]]

    def has(self, key: VerifierKey) -> bool:
        return any(key == other for _, other in self.pairs)


class Verified(NamedTuple):
    head: Head
    head_id: bytes
    signers: list[str]
    text: bytes
    lines: list[Signature]  # of known keys, including revoked keys


# --- the policy -------------------------------------------------------------------------------------

def policy_of_vkeys(lines: list[str]) -> Policy:
    """A policy under which any one of these keys suffices, for any name."""
    return Policy([Publisher("*", 1, [DatedKey(parse_vkey(line)) for line in lines])])


def policy_of_head(head: bytes) -> Policy:
    """A policy that accepts this head without a signature, since a chain or a deployment gave its id."""
    return Policy(accepted_heads={head})


def parse_policy(data: bytes) -> Policy:
    try:
        tree = toml_1_0.loads(data.decode())
    except (ValueError, RecursionError) as error:  # bad UTF-8 and bad TOML raise ValueErrors
        raise Refused(1601, f"not TOML: {error}") from None
    expect_form(tree, {"revoked": [str], "accepted-heads": [str], "publisher": [dict], "held": dict})
    for publisher in tree.get("publisher", []):
        expect_form(publisher, {"scope": str, "threshold": int, "key": [dict]}, required=["scope"])
        expect_key_forms(publisher.get("key", []))
    if "held" in tree:
        expect_form(tree["held"], {"threshold": int, "auditor": [dict]})
        expect_key_forms(tree["held"].get("auditor", []))

    revoked = {parse_vkey(line).public for line in tree.get("revoked", [])}
    accepted_heads = {parse_hash(text) for text in tree.get("accepted-heads", [])}
    publishers = []
    for publisher in tree.get("publisher", []):
        publishers.append(parse_publisher(publisher))
        if publishers[-1].scope in [p.scope for p in publishers[:-1]]:
            raise Refused(1602, f"two publishers have the scope {publishers[-1].scope!r}")
    if not publishers and not accepted_heads:
        raise Refused(1605, "the policy trusts nobody")
    held = None
    if "held" in tree:
        held = Held(*parse_keys("`held`", tree["held"], "auditor"))
    return Policy(publishers, revoked, accepted_heads, held)


def expect_form(table: dict, form: dict, required=()) -> None:
    for key, value in table.items():
        if key not in form:
            raise Refused(1601, f"unknown key {key!r}")
        kind = form[key]
        items, kind = (value, kind[0]) if isinstance(kind, list) else ([value], kind)
        # type() and not isinstance(): a boolean is an int in Python, and not in TOML.
        if type(items) is not list or any(type(item) is not kind for item in items):
            raise Refused(1601, f"{key!r} has a value of another type")
        if key == "threshold" and not 0 <= value < 2**63:
            raise Refused(1601, "a threshold is an integer from 0 up, of 64 bits")
    for key in required:
        if key not in table:
            raise Refused(1601, f"{key!r} is missing")


def expect_key_forms(tables: list[dict]) -> None:
    for table in tables:
        expect_form(table, {"vkey": str, "from": str, "until": str}, required=["vkey"])


def parse_publisher(table: dict) -> Publisher:
    scope = table["scope"]
    try:
        if scope != "*":
            check_model_name(scope.removesuffix("/*"))
    except Refused:
        raise Refused(1603, f"malformed scope {scope!r}") from None
    return Publisher(scope, *parse_keys(f"the publisher of {scope!r}", table, "key"))


def parse_keys(owner: str, table: dict, place: str) -> tuple[int, list[DatedKey]]:
    """The threshold of `table`, and the keys that it counts."""
    threshold, keys = table.get("threshold", 1), []
    for key in table.get(place, []):
        vkey = parse_vkey(key["vkey"])
        begin, end = (parse_time(key[k]) if k in key else None for k in ("from", "until"))
        if begin is not None and end is not None and begin >= end:
            raise Refused(1606, "`from` is not before `until`")
        keys.append(DatedKey(vkey, begin, end))
    if not keys:
        raise Refused(1605, f"{owner} has no keys")
    if not 1 <= threshold <= len({key.vkey.public for key in keys}):
        raise Refused(1604, f"threshold {threshold} can never be met, or always is")
    return threshold, keys


def publisher_for(policy: Policy, name: str) -> Publisher:
    """The publisher with the longest scope decides alone: the name itself, a longer prefix, a shorter one, `*`."""
    covering = [p for p in policy.publishers if p.covers(name)]
    if not covering:
        raise Refused(3106, f"no publisher's scope covers {name!r}")
    return max(covering, key=lambda p: (p.scope == name, len(p.scope)))


# --- the verdict ------------------------------------------------------------------------------------

def verify(note_bytes: bytes, policy: Policy, expected: Expectation) -> Verified:
    """The first six steps of spec/trust.md, in their order (rule 8); the seventh is `memory.accept`."""
    note = parse_note(note_bytes)
    signed = signed_by(note, publisher_keys(policy), policy.revoked)
    head, this_id = parse_head(note.text), head_id(note.text)

    if expected.name not in (None, head.name):
        raise Refused(3201, f"this is {head.name!r}")
    if expected.head not in (None, this_id):
        raise Refused(3202, f"this is head {this_id.hex()}")
    if head.revision < expected.min_revision:
        raise Refused(3203, f"this is revision {head.revision}")

    signers = check_threshold(head, this_id, policy, signed)
    check_time(head, expected)
    return Verified(head, this_id, signers, note.text, [line for line, _ in signed.pairs])


def publisher_keys(policy: Policy) -> list[VerifierKey]:
    return [key.vkey for publisher in policy.publishers for key in publisher.keys]


def signed_by(note: Note, known: list[VerifierKey], revoked: set[bytes]) -> Signed:
    """Step 2. One bad signature line of a known key that is not in `revoked` refuses the note."""
    pairs = []
    for line in note.signatures:
        claimed = [key for key in known if (line.name, line.key_id) == (key.name, key.key_id)]
        verified = [key for key in claimed if ed25519.verify(key.public, note.text, line.signature)]
        if verified:
            pairs.append((line, verified[0]))
        elif any(key.public not in revoked for key in claimed):
            raise Refused(3101, f"the signature by {line.name!r} does not verify")
    return Signed(pairs)


def check_threshold(head: Head, this_id: bytes, policy: Policy, signed: Signed) -> list[str]:
    """Step 5. Returns the signers. Signatures are counted here and nowhere else.

    A signer is a key. It has the first name that the publisher lists for it, and signers are in the publisher's order.
    """
    accepted = this_id in policy.accepted_heads
    if accepted and not any(p.covers(head.name) for p in policy.publishers):
        return []
    publisher = publisher_for(policy, head.name)
    counted: dict[bytes, str] = {}  # names by public key
    out_of_date, revoked = set(), set()
    for key in publisher.keys:
        vkey = key.vkey
        if not signed.has(vkey):
            continue
        if vkey.public in policy.revoked:
            revoked.add(vkey.public)  # A revoked key never counts, and only decides the refusal.
        elif key.in_date(head.created):
            counted.setdefault(vkey.public, vkey.name)
        else:
            out_of_date.add(vkey.public)
    if accepted or len(counted) >= publisher.threshold:
        return list(counted.values())
    if len(counted.keys() | revoked) >= publisher.threshold:
        raise Refused(3104, "keys that signed are revoked")
    if len(counted.keys() | revoked | out_of_date) >= publisher.threshold:
        raise Refused(3105, "keys that signed were out of date when the head was created")
    if not counted.keys() | revoked | out_of_date:
        raise Refused(3102, "no signature is by a known key")
    raise Refused(3103, f"{len(counted)} distinct keys signed, {publisher.threshold} are needed")


def check_time(head: Head, expected: Expectation) -> None:
    """Step 6."""
    if expected.now is None:
        if head.expires is not None and not expected.allow_expired:
            raise Refused(3208, "the head expires, and the time is not known")
        return
    if head.created > expected.now + MAX_AHEAD:
        raise Refused(3206, "the head was created more than a day in the future")
    if head.expires is not None and head.expires <= expected.now and not expected.allow_expired:
        raise Refused(3207, "the head has expired")

