"""Challenges, reports and receipts by themselves (spec/statements.md)."""

from weighbridge_ref import ed25519
from weighbridge_ref.note import parse_note
from weighbridge_ref.statements import challenge_hash

from .common import HEAD, MALLORY, NAME, Cases, TestKey, accepted, flip, head_text, pattern, refused, signed, text_of
from .policy_cases import weak_vkey

AUDITOR = TestKey("auditor.example/1")
PROVER = TestKey("mirror.example/7")
HASH = HEAD["root"]
OTHER_HASH = HEAD["tensors-root"]
ISSUED, DEADLINE, RECEIVED = "2026-11-21T08:00:00Z", "2026-11-21T08:00:30Z", "2026-11-21T08:00:02Z"

# The lines of each kind, with good values. A receipt has two forms.
GOOD = {
    "challenge": {
        "weighbridge/audit-challenge/v1": None,
        "head": OTHER_HASH,
        "root": HASH,
        "prover": PROVER.vkey,
        "nonce": pattern(32, 7).hex(),
        "issued": ISSUED,
        "deadline": DEADLINE,
        "samples": "90",
    },
    "report": {
        "weighbridge/audit-report/v1": None,
        "name": NAME,
        "head": OTHER_HASH,
        "root": HASH,
        "prover": PROVER.vkey,
        "challenge": pattern(32, 40).hex(),
        "response": pattern(32, 80).hex(),
        "samples": "90 89475",
        "issued": ISSUED,
        "received": RECEIVED,
    },
    "receipt": {
        "weighbridge/receipt/v1": None,
        "name": NAME,
        "head": OTHER_HASH,
        "root": HASH,
        "node": PROVER.vkey,
        "verified": RECEIVED,
    },
    "receipt-v2": {
        "weighbridge/receipt/v2": None,
        "name": NAME,
        "head": OTHER_HASH,
        "root": HASH,
        "node": PROVER.vkey,
        "verified": RECEIVED,
        "nonce": pattern(32, 120).hex(),
    },
}
SIGNERS = {"challenge": AUDITOR, "report": AUDITOR, "receipt": PROVER, "receipt-v2": PROVER}


def is_receipt(kind: str) -> bool:
    return kind.startswith("receipt")


def statement_lines(kind: str, **changes) -> list[str]:
    values = GOOD[kind] | changes
    return [key if value is None else f"{key} {value}" for key, value in values.items()]


def statement(kind: str, **changes) -> bytes:
    """The text of a good statement with some values changed."""
    return text_of(statement_lines(kind, **changes))


def cases() -> Cases:
    for kind in GOOD:
        yield from good(kind)
        yield from signatures(kind)
        yield from lines(kind)
        yield from values(kind)
    yield from contradictions()
    yield from nonces_of_receipts()


def sections(kind, note, key=None):
    """The note, and the key that has to have signed it. A receipt names its key itself."""
    vkey = {} if is_receipt(kind) else {"vkey": (key or AUDITOR).vkey.encode()}
    return {"note": note} | vkey


def known(kind, text) -> dict:
    return {"hash": challenge_hash(text).hex()} if kind == "challenge" else {}


def good_case(kind, name, comment, note):
    return accepted(f"statement/{kind}-{name}", "statement", comment, sections(kind, note),
                    kind=kind.removesuffix("-v2"), **known(kind, parse_note(note).text))


def bad_case(kind, name, code, comment, note, rule=None):
    return refused(f"statement/{kind}-{name}", "statement", code, comment, sections(kind, note), rule=rule,
                   kind=kind.removesuffix("-v2"))


def padded(kind: str, length: int) -> bytes:
    """A text of this length, filled by the long name of its key."""
    place = "node" if is_receipt(kind) else "prover"
    key = TestKey("k" * (length - len(statement(kind, **{place: TestKey("").vkey}))))
    text = statement(kind, **{place: key.vkey})
    assert len(text) == length
    return text


def good(kind) -> Cases:
    def case(name, comment, note):
        return good_case(kind, name, comment, note)

    text = statement(kind)
    yield case("plain", "every line", signed(text, SIGNERS[kind]))
    yield case("signed-by-others-too", "unknown keys, one with a bad signature, are ignored",
               signed(text, MALLORY, SIGNERS[kind]) + TestKey("somebody").line(bytes(64)))
    unicode_key = TestKey("Prüfer\N{EM DASH}例")
    place = "node" if is_receipt(kind) else "prover"
    yield case("key-name-unicode", "the name of a key may be any but white space, controls and `+`",
               signed(statement(kind, **{place: unicode_key.vkey}), unicode_key if is_receipt(kind) else AUDITOR))
    if kind == "challenge":
        yield case("samples-1", "the fewest samples", signed(statement(kind, samples="1"), AUDITOR))
        yield case("samples-4096", "the most samples", signed(statement(kind, samples="4096"), AUDITOR))
        yield case("deadline-next-second", "a second to answer",
                   signed(statement(kind, deadline="2026-11-21T08:00:01Z"), AUDITOR))
    if kind == "report":
        yield case("text-4096", "4,096 bytes, by the long name of a key", signed(padded(kind, 4096), AUDITOR))
        yield case("samples-all", "all that there are", signed(statement(kind, samples="29 29"), AUDITOR))
        yield case("received-when-issued", "answered within the second",
                   signed(statement(kind, received=ISSUED), AUDITOR))


def signatures(kind) -> Cases:
    def bad(name, code, comment, note, rule=8):
        return bad_case(kind, name, code, comment, note, rule=rule)

    signer, text = SIGNERS[kind], statement(kind)
    genuine = ed25519.sign(signer.seed, text)
    yield bad("not-signed-by-it", 3301, "signed, by another key", signed(text, MALLORY))
    same_key = TestKey("another.example", owner=signer.name)
    yield bad("other-name", 3301, "the right key under another name", signed(text, same_key))
    yield bad("signature-flipped", 3101, "one bit of the signature differs",
              text + b"\n" + signer.line(flip(genuine, 40)))
    yield bad("signature-of-another-text", 3101, "a signature over a head",
              text + b"\n" + signer.line(ed25519.sign(signer.seed, head_text())))
    yield bad("bad-beside-good", 3101, "a good signature, and a bad one of the same key",
              signed(text, signer) + signer.line(flip(genuine)))
    yield bad("no-final-lf", 1103, "a note without its last LF", signed(text, signer)[:-1], rule=6)
    if not is_receipt(kind):
        unread = statement(kind, samples="0")
        yield bad("malformed-and-unsigned", 3301, "the signature comes before the text", signed(unread, MALLORY))
    else:
        unread = statement(kind, verified="never")
        yield bad("malformed-and-unsigned", 1804, "who has to sign is read in the text", signed(unread, MALLORY),
                  rule=None)


def lines(kind) -> Cases:
    def bad(name, code, comment, text, rule=6):
        return bad_case(kind, name, code, comment, signed(text, SIGNERS[kind]), rule=rule)

    whole = statement_lines(kind)
    yield bad("text-4097", 1801, "4,097 bytes, otherwise well-formed", padded(kind, 4097), rule=12)
    unknown = "3" if is_receipt(kind) else "2"
    yield bad(f"version-{unknown}", 1802, "a version that is not known",
              text_of([whole[0][:-1] + unknown, *whole[1:]]), rule=None)
    others = {"challenge": "report", "report": "challenge", "receipt": "report", "receipt-v2": "report"}
    yield bad("another-kind", 1802, f"a {others[kind]} in its place", statement(others[kind]), rule=None)
    yield bad("a-head", 1802, "a head in its place", head_text(), rule=None)
    yield bad("missing-first-line", 1802, "begins with the second line", text_of(whole[1:]))

    for i, line in enumerate(whole):
        key, named = line.split(" ")[0], "first-line" if i == 0 else line.split(" ")[0]
        if i > 0:
            yield bad(f"missing-{named}", 1803, f"no line `{key}`", text_of(whole[:i] + whole[i + 1 :]))
            if i + 1 < len(whole):
                after = whole[i + 1].split(" ")[0]
                yield bad(f"swapped-{key}-{after}", 1803, f"`{after}` stands before `{key}`",
                          text_of([*whole[:i], whole[i + 1], line, *whole[i + 2 :]]))
        yield bad(f"doubled-{named}", 1803, f"`{key}` twice", text_of(whole[: i + 1] + whole[i:]))
    yield bad("trailing-line", 1803, "an unknown line behind the last", text_of(whole + ["ext note read me"]))
    yield bad("trailing-empty-line", 1803, "an empty line behind the last", text_of(whole + [""]))
    yield bad("empty-line", 1803, "between the first line and the second", text_of([whole[0], "", *whole[1:]]))
    yield bad("other-key", 1803, "a key in upper case",
              text_of([whole[0], whole[1].replace(whole[1].split(" ")[0], whole[1].split(" ")[0].upper()), *whole[2:]]))


# For each key, values that its line may not have, and the reason.
MALFORMED = {
    "name": [("space", "org/my model", "a space")],
    "head": [("none", "none", "there is always a head"), ("short", OTHER_HASH[1:], "63 digits")],
    "root": [("upper-case", HASH.upper(), "upper-case digits")],
    "nonce": [("short", pattern(31).hex(), "31 bytes"), ("absent", "", "nothing behind the space"),
              ("upper-case", pattern(32, 7).hex().upper(), "upper-case digits")],
    "challenge": [("long", pattern(33).hex(), "33 bytes")],
    "response": [("none", "none", "a report is of a response that was accepted")],
    "prover": [("weak", weak_vkey("weak.example"), "a key that anyone can sign for"),
               ("id", PROVER.vkey.replace("mirror", "mirrow"), "a vkey under another name"),
               ("two", f"{PROVER.vkey} {AUDITOR.vkey}", "two keys")],
    "node": [("weak", weak_vkey("weak.example"), "a key that anyone can sign for"),
             ("no-key", "mirror.example/7", "a name alone")],
    "issued": [("leap-second", "2016-12-31T23:59:60Z", "no such time")],
    "deadline": [("never", "never", "a challenge has a deadline"),
                 ("offset", "2026-11-21T08:00:30+00:00", "UTC is written `Z`")],
    "received": [("fraction", "2026-11-21T08:00:02.5Z", "whole seconds alone")],
    "verified": [("date", "2026-11-21", "a date without time")],
}
SAMPLES = {
    "challenge": [("zero", "0", "an audit of nothing", 6), ("too-many", "4097", "4,097", 12),
                  ("leading-zero", "090", "a zero in front", None), ("all", "all", "no number", None),
                  ("of-count", "90 89475", "a challenge does not say of how many", None)],
    "report": [("zero", "0 89475", "an audit of nothing", 6), ("too-many", "4097 89475", "4,097", 12),
               ("above-count", "90 89", "more than there are", None),
               ("none-of-none", "0 0", "a model of no bytes", None),
               ("no-count", "90", "of how many is not said", None), ("three", "90 89475 0", "three numbers", None),
               ("count-2-53", f"90 {2**53}", "2^53 and more is no number here", 1)],
}


def values(kind) -> Cases:
    def bad(key, name, comment, value, rule=None):
        return bad_case(kind, f"{key}-{name}", 1804, comment,
                        signed(statement(kind, **{key: value}), SIGNERS[kind]), rule=rule)

    for key in list(GOOD[kind])[1:]:
        if key == "samples":
            for name, value, comment, rule in SAMPLES[kind]:
                yield bad(key, name, comment, value, rule)
        else:
            for name, value, comment in MALFORMED[key]:
                yield bad(key, name, comment, value)


def contradictions() -> Cases:
    def bad(kind, name, comment, **changes):
        return bad_case(kind, name, 1805, comment, signed(statement(kind, **changes), AUDITOR))

    yield bad("challenge", "deadline-when-issued", "no time to answer", deadline=ISSUED)
    yield bad("challenge", "deadline-before-issued", "the deadline was before", deadline="2026-11-21T07:59:59Z")
    yield bad("report", "received-before-issued", "answered before it was asked", received="2026-11-21T07:59:59Z")


def nonces_of_receipts() -> Cases:
    def bad(kind, name, code, comment, note, rule=None):
        return bad_case(kind, name, code, comment, note, rule=rule)

    plain, asked = statement_lines("receipt"), statement_lines("receipt-v2")
    nonce, others = asked[-1], asked[1:-1]
    yield bad("receipt", "nonce", 1803, "a nonce, which `v1` does not have", signed(text_of([*plain, nonce]), PROVER),
              rule=6)
    yield bad("receipt-v2", "nonce-first", 1803, "the nonce is not the last line",
              signed(text_of([asked[0], nonce, *others]), PROVER), rule=6)
    flipped = flip(pattern(32, 120), 31).hex()
    yield bad("receipt-v2", "nonce-flipped", 3101, "one bit of the nonce differs from the signed one",
              statement("receipt-v2", nonce=flipped) + b"\n" + PROVER.sign(text_of(asked)), rule=8)
    yield bad("receipt-v2", "nonce-added", 3101, "a nonce, put behind a receipt that was signed without one",
              text_of(asked) + b"\n" + PROVER.sign(text_of(plain)), rule=8)
    yield bad("receipt", "nonce-taken", 3101, "a receipt that was signed with a nonce, without it",
              text_of(plain) + b"\n" + PROVER.sign(text_of(asked)), rule=8)
