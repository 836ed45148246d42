"""The memory of accepted heads, and the heads that it refuses (spec/trust.md#memory)."""

import json
from hashlib import sha256

from weighbridge_ref import ed25519, note
from weighbridge_ref.head import head_id

from .common import (ALICE, BOB, CAROL, MALLORY, NAME, Cases, TestKey, accepted, flip, head_text, policy, publisher,
                     refused, signed)
from .policy_cases import quoted
from .trust_cases import trusting

NOW = "2026-11-23T00:00:00Z"
FIRST = head_text()
SECOND = head_text(revision="2", previous=head_id(FIRST).hex(), created="2026-11-21T00:00:00Z")
THIRD = head_text(revision="3", previous=head_id(SECOND).hex(), created="2026-11-22T00:00:00Z")
TWIN = head_text(created="2026-11-20T16:31:01Z")
ASIDE = head_text(revision="2", previous=head_id(TWIN).hex(), created="2026-11-21T00:00:00Z")
OTHER = head_text(name="org/other")

BY_ALICE = trusting(ALICE)
BY_EITHER = trusting(ALICE, BOB)


def cases() -> Cases:
    yield from kept()
    yield from lines()
    yield from policies()
    yield from importers()
    yield from refusals()
    yield from malformed()
    yield from bad_lines()


def state(*notes: bytes, **others: bytes) -> bytes:
    """A state file with these notes of one name, and with the notes of other names."""
    tree = {NAME: {sha256(data).hexdigest(): data.decode() for data in notes}}
    tree |= {name: {sha256(data).hexdigest(): data.decode()} for name, data in others.items()}
    return json.dumps({name: notes for name, notes in tree.items() if notes}, indent=1).encode()


def good(name, comment, served, trust, before: bytes | None, after: bytes, forgotten=(), /, **parameters):
    sections = {"head.note": served} | trust | ({} if before is None else {"state": before})
    text = served[: served.rindex(b"\n\n") + 1]
    return accepted(f"memory/{name}", "memory", comment, sections | {"state-after": after},
                    **{"now": NOW} | parameters, head_id=head_id(text).hex(),
                    forgotten=" ".join(sorted(head_id(text).hex() for text in forgotten)))


def bad(name, code, comment, served, trust, before: bytes, /, rule=8, **parameters):
    return refused(f"memory/{name}", "memory", code, comment, {"head.note": served} | trust | {"state": before},
                   rule=rule, **{"now": NOW} | parameters)


def kept() -> Cases:
    first, second, third = (signed(text, ALICE) for text in (FIRST, SECOND, THIRD))
    yield good("first", "there is no state file yet", first, BY_ALICE, None, state(first))
    yield good("same", "the head that was accepted before", first, BY_ALICE, state(first), state(first))
    yield good("next", "the next revision takes the place of the one before", second, BY_ALICE, state(first),
               state(second))
    yield good("skip", "a revision between was never seen", third, BY_ALICE, state(first), state(third))
    other = signed(OTHER, ALICE)
    ahead = {"org/other": signed(head_text(name="org/other", revision="7", previous=head_id(OTHER).hex()), ALICE)}
    yield good("other-name", "another model's memory is its own", first, BY_ALICE, state(**ahead),
               state(first, **ahead))
    yield good("name-without-notes", "a name under which there is nothing", first, BY_ALICE,
               b'{"' + NAME.encode() + b'":{}}', state(first))
    yield good("white-space", "white space around the object, and escapes in it", second, BY_ALICE,
               b" \r\n\t" + state(first).replace(b"weighbridge", b"\\u0077eighbridge") + b"\n\n", state(second))
    yield good("head-given", "where the caller names the head, the file is not even read", first, BY_ALICE, b"null",
               b"null", head=head_id(FIRST).hex())
    yield good("two-names", "each of two names has its notes", other, BY_ALICE, state(first),
               state(first, **{"org/other": other}))


def lines() -> Cases:
    both = signed(FIRST, ALICE, BOB)
    yield good("line-dropped", "a mirror drops a line of the head that is remembered with two", signed(FIRST, ALICE),
               BY_EITHER, state(both), state(both))
    yield good("line-added", "the head that is remembered, with a line more", both, BY_EITHER,
               state(signed(FIRST, BOB)), state(signed(FIRST, BOB, ALICE)))
    yield good("line-of-other-policy", "another policy accepted the same head by another key", signed(FIRST, ALICE),
               BY_ALICE, state(signed(FIRST, BOB)), state(signed(FIRST, BOB, ALICE)))
    yield good("line-by-unknown", "only what verified is remembered",
               signed(FIRST, MALLORY, ALICE) + BOB.line(bytes(64)), BY_ALICE, None, state(signed(FIRST, ALICE)))
    yield good("line-by-revoked", "what a revoked key signed verified too", signed(FIRST, BOB, ALICE), revoking(BOB),
               None, state(signed(FIRST, BOB, ALICE)))
    again = FIRST + b"\n" + ALICE.line(second_signature(ALICE, FIRST))
    yield good("line-signed-again", "another signature by the same key adds nothing", again, BY_ALICE,
               state(signed(FIRST, ALICE)), state(signed(FIRST, ALICE)))
    yield good("line-twice", "of a key's lines one is remembered", signed(FIRST, ALICE) + ALICE.sign(FIRST)
               + ALICE.line(second_signature(ALICE, FIRST)), BY_ALICE, None, state(signed(FIRST, ALICE)))
    notes = [signed(FIRST, ALICE, BOB), signed(FIRST, BOB, CAROL)]
    notes.sort(key=lambda data: sha256(data).digest())
    order = [ALICE, BOB, CAROL] if notes[0] == signed(FIRST, ALICE, BOB) else [BOB, CAROL, ALICE]
    yield good("two-notes-of-one-head", "they become one, in the order of their SHA-256", signed(FIRST, ALICE),
               BY_ALICE, state(*notes), state(signed(FIRST, *order)))

    full = FIRST + b"\n" + b"".join(unknown(i) for i in range(100))
    yield good("lines-100", "no room for a line more: the served note stands beside it", signed(FIRST, ALICE),
               BY_ALICE, state(full), state(full, signed(FIRST, ALICE)))
    yield good("lines-100-again", "the same once more", signed(FIRST, ALICE), BY_ALICE,
               state(full, signed(FIRST, ALICE)), state(full, signed(FIRST, ALICE)))
    almost = FIRST + b"\n" + b"".join(unknown(i) for i in range(99))
    yield good("lines-99", "room for one line more", signed(FIRST, ALICE), BY_ALICE, state(almost),
               state(almost + ALICE.sign(FIRST)))
    rest = 131_072 - len(signed(FIRST, ALICE)) - len(note.signature_line("", bytes(4), b"\0"))
    for name, room, after in (("bytes-131072", 0, lambda long: state(long + ALICE.sign(FIRST))),
                              ("bytes-131073", 1, lambda long: state(long, signed(FIRST, ALICE)))):
        long = FIRST + b"\n" + note.signature_line("f" * (rest + room), bytes(4), b"\0")
        yield good(name, "with the line of the served note it has so many bytes", signed(FIRST, ALICE), BY_ALICE,
                   state(long), after(long))


def unknown(i: int) -> bytes:
    return note.signature_line(f"unknown.example/{i}", bytes(4), bytes(64))


def second_signature(key: TestKey, text: bytes) -> bytes:
    """A good signature with a nonce that RFC 8032 does not give. Only the key's owner can make it."""
    scalar, prefix = ed25519.expand(key.seed)
    nonce = ed25519._hash_to_scalar(prefix, b"another nonce", text)
    r = ed25519.encode(ed25519.multiply(nonce, ed25519.BASE))
    k = ed25519._hash_to_scalar(r, key.public, text)
    return r + ((nonce + k * scalar) % ed25519.L).to_bytes(32, "little")


def revoking(*keys: TestKey, threshold: int | None = None) -> dict:
    """A policy under which Alice, Bob and Mallory may sign, except for `keys`, which are revoked."""
    return {"policy.toml": policy(publisher("*", ALICE, BOB, MALLORY, threshold=threshold),
                                  revoked=quoted(*(key.vkey for key in keys)))}


def policies() -> Cases:
    """Notes that other policies left, and heads that are accepted by their ids."""
    first, second, third = (signed(text, ALICE) for text in (FIRST, SECOND, THIRD))
    by_bob = signed(THIRD, BOB)
    yield good("other-policy-stays", "a later head of the same name that only another policy believes", first,
               BY_ALICE, state(by_bob), state(first, by_bob))
    yield good("other-policy-both", "each policy's note is replaced alone", second, BY_ALICE, state(first, by_bob),
               state(second, by_bob))
    two = signed(FIRST, ALICE, BOB)
    yield good("signed-by-fewer", "the next revision has fewer signers: who asks for both believes the old one alone",
               second, BY_EITHER, state(two), state(two, second))
    yield good("signed-by-more", "the next revision has more signers", signed(SECOND, BOB, ALICE), BY_EITHER,
               state(first), state(signed(SECOND, BOB, ALICE)))
    yield good("signed-by-others", "the next revision has another signer", signed(SECOND, BOB), BY_EITHER,
               state(first), state(first, signed(SECOND, BOB)))
    only_both = {"policy.toml": policy(publisher("*", ALICE, BOB, threshold=2))}
    yield good("threshold-not-met", "not believed today, so it refuses nothing and stays", two, only_both,
               state(third), state(two, third))

    stolen = signed(THIRD, MALLORY)
    yield good("forgotten", "what a revoked key signed is forgotten, and locks nobody out", first, revoking(MALLORY),
               state(stolen), state(first), [THIRD])
    yield good("forgotten-two", "two of them", first, revoking(MALLORY, BOB), state(stolen, signed(SECOND, BOB)),
               state(first), [THIRD, SECOND])
    partly = signed(THIRD, ALICE, MALLORY)
    yield good("forgotten-not-alone", "a key that is good signed it too: another policy may believe it", two,
               revoking(MALLORY, threshold=2), state(partly), state(two, partly))
    yield good("forgotten-not-enough", "without the revocation it would not be believed either", two,
               revoking(MALLORY, threshold=2), state(stolen), state(two, stolen))
    elsewhere = {"policy.toml": policy(publisher("*", ALICE), publisher("org/*", MALLORY),
                                       revoked=quoted(MALLORY.vkey))}
    yield good("forgotten-not-in-scope", "the revoked key has no say over this name", first, elsewhere, state(stolen),
               state(first, stolen))
    dated = {"policy.toml": policy(publisher("*", ALICE, (MALLORY, 'until = "2026-01-01T00:00:00Z"\n')),
                                   revoked=quoted(MALLORY.vkey))}
    yield good("forgotten-not-in-date", "the revoked key was out of date anyway", first, dated, state(stolen),
               state(first, stolen))
    yield good("revoked-unlisted", "a revoked key that no publisher lists is an unknown key", first,
               {"policy.toml": policy(publisher("*", ALICE), revoked=quoted(MALLORY.vkey))}, state(stolen),
               state(first, stolen))

    def by_id(*texts, publishers=()):
        ids = quoted(*(head_id(text).hex() for text in texts))
        return {"policy.toml": policy(*publishers, accepted_heads=ids + "\n")}

    bare = FIRST + b"\n"
    yield good("by-id", "believed by its id: a line that nobody knows is not remembered", signed(FIRST, MALLORY),
               by_id(FIRST), None, state(bare))
    yield good("by-id-known-line", "believed by its id, and a known key signed it", first,
               by_id(FIRST, publishers=[publisher("*", ALICE, BOB, threshold=2)]), None, state(first))
    yield good("by-id-then-signed", "later a known key's line comes to it", first, BY_ALICE, state(bare), state(first))
    yield good("by-id-then-dropped", "the lines stay where only the id is asked for", signed(FIRST, MALLORY),
               by_id(FIRST), state(first), state(first))
    yield good("by-id-other-policy", "another policy has no opinion of it", second, BY_ALICE, state(bare),
               state(bare, second))
    yield good("by-id-both", "the next one is accepted by its id too", signed(SECOND, MALLORY), by_id(FIRST, SECOND),
               state(bare), state(SECOND + b"\n"))


SEVENTH = head_text(revision="7", previous=head_id(THIRD).hex(), created="2026-11-22T12:00:00Z")
SIXTH = head_text(revision="6", previous=head_id(THIRD).hex(), created="2026-11-22T11:00:00Z")
EIGHTH = head_text(revision="8", previous=head_id(SEVENTH).hex(), created="2026-11-22T13:00:00Z")


def importers() -> Cases:
    """Alice publishes, Bob imports: each counts his revisions for himself."""
    trust = {"policy.toml": policy(publisher("*", ALICE), publisher("*", BOB, role="import"))}
    first, second, seventh = signed(FIRST, ALICE), signed(SECOND, ALICE), signed(SEVENTH, BOB)
    yield good("import-then-own", "the importer's revision 7 does not block the publisher's revision 1", first, trust,
               state(seventh), state(first, seventh), role="publisher")
    yield good("import-after-own", "the importer's revision 7, and the publisher's revision 1 was accepted before", seventh,
               trust, state(first), state(first, seventh), role="import")
    yield good("import-own-again", "each once more beside the other", first, trust, state(first, seventh),
               state(first, seventh), role="publisher")
    yield good("import-again", "each once more beside the other", seventh, trust, state(first, seventh),
               state(first, seventh), role="import")
    yield good("import-own-next", "the publisher's next revision takes the place of his own alone", second, trust,
               state(first, seventh), state(second, seventh), role="publisher")
    yield good("import-next", "the importer's next revision takes the place of his own alone", signed(EIGHTH, BOB), trust,
               state(first, seventh), state(first, signed(EIGHTH, BOB)), role="import")
    yield good("import-same-revision", "the importer's revision 1 is another head than the publisher's", signed(TWIN, BOB),
               trust, state(first), state(first, signed(TWIN, BOB)), role="import")
    yield good("import-aside", "the importer's revision 2 follows his own first", signed(ASIDE, BOB), trust,
               state(first, signed(TWIN, BOB)), state(first, signed(ASIDE, BOB)), role="import")
    yield bad("import-rollback", 3204, "the importer's own revisions do not go back", signed(SIXTH, BOB), trust,
              state(first, seventh))
    yield bad("import-fork", 3205, "nor aside", signed(SEVENTH.replace(b"91618861", b"91618860"), BOB), trust,
              state(first, seventh))
    yield bad("import-own-rollback", 3204, "an importer's head beside it does not hide the publisher's rollback", first, trust,
              state(second, seventh))
    both = signed(FIRST, ALICE, BOB)
    yield good("import-both-signed", "the importer signed the publisher's head too: his own later one stays", both, trust,
               state(seventh), state(both, seventh), role="publisher")
    yield good("import-becomes-own", "the publisher signs the importer's very head", signed(SEVENTH, ALICE), trust,
               state(seventh), state(signed(SEVENTH, BOB, ALICE)), role="publisher")
    yield bad("import-became-own", 3204, "from then on it is the publisher's revision 7", first, trust,
              state(signed(SEVENTH, BOB, ALICE)))
    yield good("import-of-old-memory", "remembered when Bob was no importer yet: it is the importer's now", first, trust,
               state(signed(THIRD, BOB)), state(first, signed(THIRD, BOB)), role="publisher")
    yield bad("import-unknown-to-policy", 3204, "a policy for which Bob is a publisher like Alice compares both", first,
              BY_EITHER, state(seventh))
    revoked = {"policy.toml": policy(publisher("*", ALICE), publisher("*", BOB, role="import"), revoked=quoted(BOB.vkey))}
    yield good("import-forgotten", "the importer's key is revoked: the publisher's run forgets his heads", first, revoked,
               state(seventh), state(first), [SEVENTH])
    narrow = {"policy.toml": policy(publisher(NAME, ALICE), publisher("*", BOB, role="import"))}
    yield good("import-out-of-scope", "an importer who has no say over the name: another policy may need it", first, narrow,
               state(seventh), state(first, seventh), role="publisher")


def refusals() -> Cases:
    first, second, third = (signed(text, ALICE) for text in (FIRST, SECOND, THIRD))
    yield bad("rollback", 3204, "an older head than the one that was accepted", first, BY_ALICE, state(second))
    yield bad("rollback-of-second-note", 3204, "one of two notes is of another policy, the other is not", first,
              BY_ALICE, state(second, signed(THIRD, BOB)))
    yield bad("rollback-under-expired", 3204, "the remembered head has expired, and is remembered all the same",
              first, BY_ALICE, state(signed(head_text(revision="2", previous=head_id(FIRST).hex(),
                                                      created="2026-11-21T00:00:00Z",
                                                      expires="2026-11-22T00:00:00Z"), ALICE)))
    yield bad("rollback-by-id", 3204, "two accepted ids, the later one was accepted first", signed(FIRST, MALLORY),
              {"policy.toml": policy(accepted_heads=quoted(head_id(FIRST).hex(), head_id(SECOND).hex()) + "\n")},
              state(SECOND + b"\n"))
    yield bad("rollback-partly-revoked", 3204, "enough good keys signed it beside the revoked one", first,
              revoking(MALLORY), state(signed(SECOND, MALLORY, ALICE)))
    yield bad("fork-same-revision", 3205, "two heads claim to be revision 1", first, BY_ALICE,
              state(signed(TWIN, ALICE)))
    yield bad("fork-next-revision", 3205, "revision 2 follows another revision 1", signed(ASIDE, ALICE), BY_ALICE,
              state(first))
    yield bad("fork-of-second-note", 3205, "it follows one of two remembered heads, and not the other", second,
              BY_EITHER, state(first, signed(TWIN, BOB)))
    yield bad("rollback-before-fork", 3204, "aside from one remembered head, and before the other",
              signed(ASIDE, ALICE), BY_EITHER, state(first, third))
    yield bad("expired-before-memory", 3207, "time comes before memory",
              signed(head_text(expires="2026-11-22T00:00:00Z"), ALICE), BY_ALICE, state(second), rule=None)
    yield bad("verdict-before-file", 3102, "nobody is believed, so nothing is asked", signed(FIRST, MALLORY),
              BY_ALICE, b"no state")


def malformed() -> Cases:
    first, served = signed(FIRST, ALICE), signed(SECOND, ALICE)
    whole = state(first)
    digest, text = sha256(first).hexdigest(), json.dumps(first.decode())

    def broken(name, comment, data, rule=6):
        return bad(f"state-{name}", 9004, comment, served, BY_ALICE, data, rule=rule)

    def noted(data: bytes):
        return state(data)

    yield broken("empty", "no byte", b"")
    yield broken("cut", "the last byte is missing", whole[:-1])
    yield broken("behind", "a byte behind it", whole + b"x")
    yield broken("twice", "two objects", whole + whole)
    yield broken("byte-order-mark", "U+FEFF before it", b"\xef\xbb\xbf" + whole)
    yield broken("not-utf8", "a byte that is no UTF-8", whole.replace(b"weighbridge", b"weighbridg\xff", 1))
    yield broken("array", "an array", b"[]")
    yield broken("note-under-name", "a note, and no object of notes", f'{{"{NAME}":{text}}}'.encode())
    yield broken("list-of-notes", "a list, and no object of notes", f'{{"{NAME}":[{text}]}}'.encode())
    yield broken("number", "a number, and no note", f'{{"{NAME}":{{"{digest}":1}}}}'.encode())
    yield broken("null", "null, and no object of notes", f'{{"{NAME}":null}}'.encode())
    one = f'"{NAME}":{{"{digest}":{text}}}'
    yield broken("name-twice", "one name twice: JSON libraries keep one of the two", f'{{{one},"{NAME}":{{}}}}'.encode())
    yield broken("name-twice-escaped", "one name twice, once with an escape",
                 f'{{"\\u0077{NAME[1:]}":{{}},{one}}}'.encode())
    yield broken("note-twice", "one note twice", f'{{"{NAME}":{{"{digest}":{text},"{digest}":{text}}}}}'.encode())
    yield broken("surrogate", "half of a pair of surrogates", f'{{{one},"\\ud800":{{}}}}'.encode())
    yield broken("hash-of-other", "a note under the SHA-256 of another",
                 f'{{"{NAME}":{{"{sha256(served).hexdigest()}":{text}}}}}'.encode())
    yield broken("hash-upper-case", "upper-case digits", f'{{"{NAME}":{{"{digest.upper()}":{text}}}}}'.encode())
    yield broken("character", "one character of the text is another", whole.replace(b"revision 1", b"revision 2"))
    yield broken("character-of-name", "one character of the signer's name: a line of nobody that is known",
                 whole.replace(b"alice", b"alicf"))
    yield broken("note-malformed", "a note without its last LF", noted(first[:-1]))
    yield broken("note-no-blank-line", "a text alone, without its empty line", noted(FIRST))
    yield broken("note-line", "a malformed signature line", noted(first + b"x\n"))
    yield broken("note-no-head", "a signed text that is no head", noted(signed(b"no head\n", ALICE)))
    yield broken("bare-no-head", "a text without lines that is no head", noted(b"no head\n\n"))
    yield broken("other-name", "a head of another name than that under which it stands",
                 noted(signed(OTHER, ALICE)), rule=8)
    yield broken("in-other-name", "the fault is in another model's memory",
                 state(first, **{"org/other": signed(OTHER, ALICE)[:-1]}))


def bad_lines() -> Cases:
    first, served = signed(FIRST, ALICE), signed(SECOND, ALICE)
    tainted = first + BOB.line(bytes(64))
    yield bad("bad-line", 9004, "a remembered line by a known key does not verify", served, BY_ALICE,
              state(FIRST + b"\n" + ALICE.line(flip(ed25519.sign(ALICE.seed, FIRST)))))
    yield bad("bad-line-short", 9004, "a remembered line by a known key has 63 bytes", served, BY_ALICE,
              state(FIRST + b"\n" + ALICE.line(ed25519.sign(ALICE.seed, FIRST)[:63])))
    yield bad("bad-line-beside-good", 9004, "one good line would be enough", served, BY_EITHER, state(tainted))
    yield bad("bad-line-by-revoked", 9004, "a revoked key's line verified too when it was remembered", served,
              revoking(BOB), state(tainted))
    yield bad("bad-line-of-other-publisher", 9004, "a key that another scope lists is known", served,
              {"policy.toml": policy(publisher("weighbridge-test/*", ALICE), publisher("org/*", BOB))},
              state(tainted))
    yield bad("bad-line-of-other-note", 9004, "a note that this policy would not believe", served, BY_EITHER,
              state(FIRST + b"\n" + CAROL.sign(FIRST) + BOB.line(bytes(64))))
    yield bad("bad-line-before-rollback", 9004, "the other note alone would be a rollback", first, BY_EITHER,
              state(served, tainted))
    yield good("bad-line-by-unknown", "a bad line by a key that is not known is one of another policy", served,
               BY_ALICE, state(tainted), state(tainted, served))
