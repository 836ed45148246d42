"""Trust policies: which keys are trusted, for which models, and when (spec/trust.md)."""

from typing import NamedTuple, Optional

from . import ed25519, toml_1_0
from .head import Head, head_id, parse_head
from .note import Note, Signature, VerifierKey, parse_note, parse_vkey
from .refused import Refused
from .values import check_model_name, parse_hash, parse_time

PUBLISHER, IMPORT = "publisher", "import"  # the roles of an entry, and of a believed head

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
    role: str
    threshold: int
    keys: list[DatedKey]

    def covers(self, name: str) -> bool:
        return self.scope in ("*", name) or self.scope.endswith("/*") and name.startswith(self.scope[:-1])

    def closeness(self, name: str) -> tuple[bool, int]:
        """Of two scopes that cover the name, the greater one decides: the name itself, a longer prefix, a shorter one."""
        return self.scope == name, len(self.scope)


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
    role: str  # of the entry that believes it
    signers: list[str]
    text: bytes
    lines: list[Signature]  # of known keys, including revoked keys


# --- the policy -------------------------------------------------------------------------------------

def policy_of_vkeys(lines: list[str]) -> Policy:
    """A policy under which any one of these keys suffices, for any name."""
    return Policy([Publisher("*", PUBLISHER, 1, [DatedKey(parse_vkey(line)) for line in lines])])


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
        expect_form(publisher, {"scope": str, "role": str, "threshold": int, "key": [dict]}, required=["scope"])
        expect_key_forms(publisher.get("key", []))
    if "held" in tree:
        expect_form(tree["held"], {"threshold": int, "auditor": [dict]})
        expect_key_forms(tree["held"].get("auditor", []))

    revoked = {parse_vkey(line).public for line in tree.get("revoked", [])}
    accepted_heads = {parse_hash(text) for text in tree.get("accepted-heads", [])}
    publishers = []
    for publisher in tree.get("publisher", []):
        new = parse_publisher(publisher)
        if (new.scope, new.role) in [(p.scope, p.role) for p in publishers]:
            raise Refused(1602, f"two publishers have the scope {new.scope!r} and the same role")
        publishers.append(new)
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
    role = table.get("role", PUBLISHER)
    if role not in (PUBLISHER, IMPORT):
        raise Refused(1607, f"{role!r} is no role")
    return Publisher(scope, role, *parse_keys(f"the publisher of {scope!r}", table, "key"))


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


def entries_for(policy: Policy, name: str) -> list[Publisher]:
    """The publisher and the importer of a name, as far as it has them. Of each role the longest scope decides alone."""
    covering = [[p for p in policy.publishers if p.role == role and p.covers(name)] for role in (PUBLISHER, IMPORT)]
    entries = [max(entries, key=lambda p: p.closeness(name)) for entries in covering if entries]
    if len(entries) == 2 and entries[1].closeness(name) < entries[0].closeness(name):
        return entries[:1]  # an importer does not go past a stricter publisher
    return entries


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

    role, signers = check_threshold(head, this_id, policy, signed)
    check_time(head, expected)
    return Verified(head, this_id, role, signers, note.text, [line for line, _ in signed.pairs])


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


def check_threshold(head: Head, this_id: bytes, policy: Policy, signed: Signed) -> tuple[str, list[str]]:
    """Step 5. Returns the role of the entry that believes the head, and the signers."""
    entries = entries_for(policy, head.name)
    counts = [count(entry, head, policy, signed) for entry in entries]
    for entry, counted in zip(entries, counts):
        if len(counted.good) >= entry.threshold:
            return entry.role, list(counted.good.values())
    if this_id in policy.accepted_heads:
        of_publisher = [c for entry, c in zip(entries, counts) if entry.role == PUBLISHER]
        return PUBLISHER, [name for counted in of_publisher for name in counted.good.values()]
    if not entries:
        raise Refused(3106, f"no publisher's scope covers {head.name!r}")
    shortages = [shortage(entry, counted) for entry, counted in zip(entries, counts)]
    raise shortages[1] if len(shortages) == 2 and shortages[0].code == 3102 else shortages[0]


class Counted(NamedTuple):
    """The public keys of an entry that signed. A key is here once, under however many names it signed."""

    good: dict[bytes, str]  # the first names that the entry lists for them, in its order
    revoked: set[bytes]
    out_of_date: set[bytes]


def count(entry: Publisher, head: Head, policy: Policy, signed: Signed) -> Counted:
    """Signatures are counted here and nowhere else."""
    counted = Counted({}, set(), set())
    for key in entry.keys:
        vkey = key.vkey
        if not signed.has(vkey):
            continue
        if vkey.public in policy.revoked:
            counted.revoked.add(vkey.public)  # A revoked key never counts, and only decides the refusal.
        elif key.in_date(head.created):
            counted.good.setdefault(vkey.public, vkey.name)
        else:
            counted.out_of_date.add(vkey.public)
    return counted


def shortage(entry: Publisher, counted: Counted) -> Refused:
    good, revoked, out_of_date = counted.good.keys(), counted.revoked, counted.out_of_date
    if len(good | revoked) >= entry.threshold:
        return Refused(3104, "keys that signed are revoked")
    if len(good | revoked | out_of_date) >= entry.threshold:
        return Refused(3105, "keys that signed were out of date when the head was created")
    if not good | revoked | out_of_date:
        return Refused(3102, "no signature is by a known key")
    return Refused(3103, f"{len(good)} distinct keys signed, {entry.threshold} are needed")


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

