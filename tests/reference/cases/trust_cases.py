"""The verdict on a head (spec/trust.md)."""

from weighbridge_ref import ed25519
from weighbridge_ref.head import head_id

from .common import (ALICE, ALICE_AGAIN, BOB, CAROL, CREATED, HEAD, MALLORY, NAME, Cases, TestKey, accepted, flip,
                     head_text, policy, publisher, refused, signed)
from .policy_cases import quoted
from .text_cases import small_order_points

LATER = "2026-12-01T00:00:00Z"
HASH = HEAD["root"]  # the id of no head


def cases() -> Cases:
    yield from signatures()
    yield from thresholds()
    yield from dates()
    yield from scopes()
    yield from importers()
    yield from expectations()
    yield from times()


# --- the verdict ------------------------------------------------------------------------------------

def trusting(*keys: TestKey) -> dict:
    """The sections of a trust in any one of these keys."""
    return {"vkeys": "".join(key.vkey + "\n" for key in keys).encode()}


def good(name, comment, data, trust, /, *signers, **parameters):
    parameters = {"now": CREATED} | parameters
    if parameters["now"] is None:
        del parameters["now"]
    if signers:
        parameters["signers"] = " ".join(key.name for key in signers)
    text = data[: data.rindex(b"\n\n") + 1]
    return accepted(f"trust/{name}", "trust", comment, {"head.note": data} | trust, **parameters,
                    head_id=head_id(text).hex())


def bad(name, code, comment, data, trust, /, rule=8, **parameters):
    parameters = {"now": CREATED} | parameters
    if parameters["now"] is None:
        del parameters["now"]
    return refused(f"trust/{name}", "trust", code, comment, {"head.note": data} | trust, rule=rule, **parameters)


TEXT = head_text()


def signatures() -> Cases:
    alice = trusting(ALICE)
    yield good("one-key", "one key, one signature", signed(TEXT, ALICE), alice, ALICE)
    yield good("known-among-unknown", "unknown keys are ignored", signed(TEXT, MALLORY, ALICE, CAROL), alice, ALICE)
    yield good("bad-by-unknown-key", "a bad signature by an unknown key is not looked at",
               signed(TEXT, ALICE) + MALLORY.line(bytes(64)), alice, ALICE)
    namesake = TestKey(ALICE.name, owner="somebody else")
    yield good("same-name-other-id", "a key of the same name and another id is another key",
               signed(TEXT, ALICE) + namesake.line(bytes(64)), alice, ALICE)

    yield from signers()

    yield bad("unknown-key", 3102, "signed, by a key that nobody lists", signed(TEXT, MALLORY), alice)
    yield bad("same-key-unknown-name", 3102, "the known key under a name that nobody lists",
              signed(TEXT, ALICE_AGAIN), alice)
    genuine = ed25519.sign(ALICE.seed, TEXT)
    other = ed25519.sign(ALICE.seed, head_text(revision="2", previous=HASH))

    def forged(name, comment, signature, **more):
        return bad(name, 3101, comment, TEXT + b"\n" + ALICE.line(signature), alice, **more)

    yield forged("flipped-r", "one bit of R differs", flip(genuine, 3))
    yield forged("of-another-head", "a good signature over another text", other)
    yield forged("by-another-key", "signed by another key under this one's name and id",
                 ed25519.sign(MALLORY.seed, TEXT))
    s_plus_l = int.from_bytes(genuine[32:], "little") + ed25519.L
    yield forged("s-not-reduced", "S + L: the same signature in other bytes",
                 genuine[:32] + s_plus_l.to_bytes(32, "little"))
    yield forged("signature-63-bytes", "a byte is missing", genuine[:63], rule=6)
    for name, comment, r in crafted_r():
        yield forged(name, comment, signature_with_r(r))
    yield forged("r-with-torsion", "R has a torsion component: only the equation with the cofactor holds",
                 signature_with_torsion())
    yield bad("text-altered", 3101, "another name under the signature",
              signed(TEXT, ALICE).replace(b"name weighbridge-test", b"name weighbridge-pest"), alice)
    yield bad("text-malformed-and-altered", 3101, "signatures come before grammar",
              signed(TEXT, ALICE).replace(b"revision 1\n", b"revision one\n"), alice)
    yield bad("bad-beside-good", 3101, "enough good signatures, and a bad one by a known key",
              signed(TEXT, ALICE) + BOB.line(bytes(64)), trusting(ALICE, BOB))
    yield bad("bad-by-key-of-other-publisher", 3101, "a bad one by a key that another scope lists",
              signed(TEXT, ALICE) + BOB.line(bytes(64)),
              {"policy.toml": policy(publisher("weighbridge-test/*", ALICE), publisher("org/*", BOB))})


def signers() -> Cases:
    """The policy, and not the note, decides the names of signers and their order."""
    def of(*keys):
        return {"policy.toml": policy(publisher("*", *keys))}

    yield good("signers-in-policy-order", "the lines in another order than the policy's keys",
               signed(TEXT, CAROL, ALICE, BOB), of(ALICE, BOB, CAROL), ALICE, BOB, CAROL)
    for name, lines in (("", (ALICE, ALICE_AGAIN)), ("-swapped", (ALICE_AGAIN, ALICE))):
        yield good(f"two-names-first-listed{name}", "one key signed under two names: it goes by the first in the policy",
                   signed(TEXT, *lines), of(ALICE, ALICE_AGAIN), ALICE)
        yield good(f"two-names-listed-otherwise{name}", "the same note, and the policy's names in another order",
                   signed(TEXT, *lines), of(ALICE_AGAIN, ALICE), ALICE_AGAIN)
    yield good("two-names-one-signed", "the first name did not sign", signed(TEXT, ALICE_AGAIN),
               of(ALICE, ALICE_AGAIN), ALICE_AGAIN)
    yield good("two-names-one-in-date", "the first name was out of date", signed(TEXT, ALICE, ALICE_AGAIN),
               of((ALICE, f'until = "{CREATED}"\n'), ALICE_AGAIN), ALICE_AGAIN)
    yield good("two-names-of-scope", "another publisher lists the other name first", signed(TEXT, ALICE, ALICE_AGAIN),
               {"policy.toml": policy(publisher("*", ALICE_AGAIN), publisher("weighbridge-test/*", ALICE))}, ALICE)


def crafted_r():
    """Encodings of R that only the key's owner can use, with a nonce of zero."""
    p = ed25519.P
    yield "r-small-order", "R is the identity, a point of small order", (1).to_bytes(32, "little")
    yield "r-not-canonical", "R is the identity, encoded as y = p + 1", (p + 1).to_bytes(32, "little")


def signature_with_r(r: bytes) -> bytes:
    """A signature whose R encodes the identity: the equation holds with S = k a."""
    scalar, _ = ed25519.expand(ALICE.seed)
    return r + (ed25519._hash_to_scalar(r, ALICE.public, TEXT) * scalar % ed25519.L).to_bytes(32, "little")


def signature_with_torsion() -> bytes:
    scalar, prefix = ed25519.expand(ALICE.seed)
    nonce = ed25519._hash_to_scalar(prefix, TEXT)
    torsion = small_order_points()[8]
    r = ed25519.encode(ed25519.add(ed25519.multiply(nonce, ed25519.BASE), torsion))
    k = ed25519._hash_to_scalar(r, ALICE.public, TEXT)
    return r + ((nonce + k * scalar) % ed25519.L).to_bytes(32, "little")


def thresholds() -> Cases:
    def of(*keys, threshold, **top):
        return {"policy.toml": policy(publisher("*", *keys, threshold=threshold), **top)}

    two_of_three = of(ALICE, BOB, CAROL, threshold=2)
    yield good("two-of-three", "two signers", signed(TEXT, CAROL, ALICE), two_of_three, ALICE, CAROL)
    yield bad("one-of-two", 3103, "one signer of two", signed(TEXT, ALICE), two_of_three)
    yield bad("one-of-two-twice", 3103, "one signer of two, twice", signed(TEXT, ALICE, ALICE), two_of_three)
    yield bad("two-names-one-key", 3103, "one key under two names counts once", signed(TEXT, ALICE, ALICE_AGAIN),
              of(ALICE, ALICE_AGAIN, BOB, threshold=2))

    yield bad("revoked", 3104, "the only signer is revoked", signed(TEXT, ALICE),
              of(ALICE, BOB, threshold=1, revoked=quoted(ALICE.vkey)))
    yield bad("revoked-under-other-name", 3104, "revoked by another name of the same key", signed(TEXT, ALICE),
              of(ALICE, BOB, threshold=1, revoked=quoted(ALICE_AGAIN.vkey)))
    yield good("bad-by-revoked-key", "a bad signature by a revoked key is not looked at",
               signed(TEXT, ALICE) + BOB.line(bytes(64)), of(ALICE, BOB, threshold=1, revoked=quoted(BOB.vkey)), ALICE)

    # A policy that revokes a key and accepts a head of that key by its id.
    this_id = head_id(TEXT).hex()
    yield good("accepted-head", "revoked, and this head accepted nevertheless", signed(TEXT, ALICE),
               of(ALICE, BOB, threshold=1, revoked=quoted(ALICE.vkey), accepted_heads=quoted(this_id)))
    yield bad("accepted-head-bad-signature", 3101, "an accepted head with a bad signature by a known key",
              TEXT + b"\n" + BOB.line(bytes(64)), of(BOB, threshold=1, accepted_heads=quoted(this_id)))


def dates() -> Cases:
    def of(**dates):
        lines = "".join(f'{key.strip("_")} = "{value}"\n' for key, value in dates.items())
        return {"policy.toml": policy(publisher("*", (ALICE, lines), BOB))}

    after = "2026-11-20T16:31:01Z"
    data = signed(TEXT, ALICE)
    yield good("from-created", "a key that counts from the second of `created`", data, of(from_=CREATED), ALICE)
    yield bad("before-from", 3105, "created a second before the key counts", data, of(from_=after))
    yield bad("at-until", 3105, "created in the second in which the key ends", data, of(until=CREATED))
    yield good("dates-are-of-created", "the key has ended since, and counted when the head was created", data,
               of(until=after), ALICE, now="2030-01-01T00:00:00Z")
    two = publisher("*", (ALICE, f'until = "{CREATED}"\n'), BOB, CAROL, threshold=2)
    yield bad("out-of-date-and-revoked", 3105, "one signer out of date, the other revoked", signed(TEXT, ALICE, BOB),
              {"policy.toml": policy(two, revoked=quoted(BOB.vkey))})


def scopes() -> Cases:
    def note_of(name, *keys):
        return signed(head_text(name=name), *keys)

    nested = {"policy.toml": policy(publisher("*", CAROL), publisher("org/*", ALICE), publisher("org/team/*", MALLORY),
                                    publisher("org/secret", BOB))}
    yield good("scope-prefix-deep", "`org/*` at any depth", note_of("org/a/b/c", ALICE), nested, ALICE)
    yield good("scope-longer-prefix", "`org/team/*` before `org/*`", note_of("org/team/model", MALLORY), nested,
               MALLORY)
    yield good("scope-name", "the name itself before any prefix", note_of("org/secret", BOB), nested, BOB)
    yield good("scope-star", "`*` last", note_of("other/model", CAROL), nested, CAROL)
    yield bad("scope-secret", 3102, "who may sign `org/*` has no say over `org/secret`", note_of("org/secret", ALICE),
              nested)
    only = {"policy.toml": policy(publisher("org/*", ALICE))}
    yield bad("scope-none-longer-word", 3106, "`org/*` does not cover `orgx/model`", note_of("orgx/model", ALICE), only)


def importers() -> Cases:
    """Heads of a name that has a publisher and an importer, and of names that have one of the two."""
    def note_of(name, *keys):
        return signed(head_text(name=name), *keys)

    def of(*publishers, **top):
        return {"policy.toml": policy(*publishers, **top)}

    def imported(name, comment, data, trust, *signers, **parameters):
        return good(f"import-{name}", comment, data, trust, *signers, role="import", **parameters)

    def own(name, comment, data, trust, *signers, **parameters):
        return good(f"import-{name}", comment, data, trust, *signers, role="publisher", **parameters)

    def none(name, code, comment, data, trust, **parameters):
        return bad(f"import-{name}", code, comment, data, trust, **parameters)

    by_carol = publisher("*", CAROL, role="import")
    beside = of(publisher("org/*", ALICE), publisher("org/*", BOB, role="import"))
    yield imported("alone", "no publisher covers the name", note_of("org/model", CAROL), of(by_carol), CAROL)
    yield own("beside-own", "the publisher's own head", note_of("org/model", ALICE), beside, ALICE)
    yield imported("beside", "an importer of the publisher's scope", note_of("org/model", BOB), beside, BOB)
    yield own("both-signed", "the importer signed it too: the publisher's, and he alone is a signer",
              note_of("org/model", BOB, ALICE), beside, ALICE)
    yield none("wider", 3102, "`*` imports nothing that `org/*` has a publisher for", note_of("org/model", CAROL),
               of(publisher("org/*", ALICE), by_carol))
    yield imported("wider-elsewhere", "another name, which that publisher does not cover", note_of("other/model", CAROL),
                   of(publisher("org/*", ALICE), by_carol), CAROL)
    yield imported("narrower", "an importer for one name of a wider publisher", note_of("org/model", BOB),
                   of(publisher("org/*", ALICE), publisher("org/model", BOB, role="import")), BOB)
    yield own("narrower-own", "the publisher keeps his say there", note_of("org/model", ALICE),
              of(publisher("org/*", ALICE), publisher("org/model", BOB, role="import")), ALICE)
    yield none("narrower-of-wider", 3102, "of two importers the longer scope decides alone", note_of("org/model", CAROL),
               of(publisher("org/*", BOB, role="import"), by_carol))
    two = of(publisher("org/*", ALICE, MALLORY, threshold=2), publisher("org/*", BOB, role="import"))
    yield imported("publisher-too-few", "one of the publisher's two keys, and the importer", note_of("org/model", ALICE, BOB),
                   two, BOB)
    yield none("keys-do-not-add-up", 3103, "one key of each entry, and either demands two", note_of("org/model", ALICE, BOB),
               of(publisher("org/*", ALICE, MALLORY, threshold=2), publisher("org/*", BOB, CAROL, threshold=2, role="import")))
    yield none("shortage-of-publisher", 3103, "a key of the publisher signed: his shortage is told", note_of("org/model", ALICE),
               two)
    dated = of(publisher("org/*", ALICE), publisher("org/*", (BOB, f'until = "{CREATED}"\n'), role="import"))
    yield none("shortage-of-importer", 3105, "no key of the publisher signed: the importer's is told", note_of("org/model", BOB),
               dated)
    yield none("revoked", 3104, "the importer's key is revoked", note_of("org/model", BOB),
               of(publisher("org/*", ALICE), publisher("org/*", BOB, role="import"), revoked=quoted(BOB.vkey)))
    yield none("bad-line", 3101, "a bad line by an importer's key beside the publisher's good one",
               note_of("org/model", ALICE) + BOB.line(bytes(64)), beside)
    this_id = quoted(head_id(head_text(name="org/model")).hex())
    yield own("accepted-head", "no entry believes it, its id is accepted", note_of("org/model", MALLORY),
              of(by_carol, accepted_heads=this_id + "\n"), signers="")
    yield imported("accepted-head-signed", "its id is accepted, and its importer signed it", note_of("org/model", CAROL),
                   of(by_carol, accepted_heads=this_id + "\n"), CAROL)
    yield none("no-entry", 3106, "an importer of other names", note_of("org/model", CAROL),
               of(publisher("other/*", CAROL, role="import")))


def expectations() -> Cases:
    alice, data = trusting(ALICE), signed(TEXT, ALICE)
    this_id = head_id(TEXT).hex()
    yield good("expected", "name, head and revision as wanted", data, alice, ALICE, name=NAME, head=this_id,
               min_revision=1)
    yield bad("other-model", 3201, "another model of the same publisher", signed(head_text(name="org/other"), ALICE),
              alice, name=NAME)
    yield bad("other-head", 3202, "another head of the same publisher and name", data, alice, head=HASH)
    yield bad("revision-too-low", 3203, "revision 1 where 2 is the least", data, alice, min_revision=2)

    yield good("pinned", "a head id alone is trust enough, whoever signed", signed(TEXT, MALLORY), {}, head=this_id)
    yield bad("pinned-other", 3202, "another head than the one that is trusted", data, {}, head=HASH, rule=3)


def times() -> Cases:
    alice = trusting(ALICE)
    data = signed(TEXT, ALICE)
    expiring = signed(head_text(expires=LATER), ALICE)
    yield good("time-unknown", "no time is known, and the head does not expire", data, alice, ALICE, now=None)
    yield good("created-a-day-ahead", "86,400 seconds ahead", data, alice, ALICE, now="2026-11-19T16:31:00Z")
    yield bad("created-in-future", 3206, "86,401 seconds ahead", data, alice, now="2026-11-19T16:30:59Z", rule=None)
    yield bad("expired", 3207, "in the second in which it expires", expiring, alice, now=LATER, rule=None)
    yield good("expired-allowed", "the caller goes on with an expired head", expiring, alice, ALICE, now=LATER,
               allow_expired="yes")
    yield bad("expires-time-unknown", 3208, "the head expires, and the time is not known", expiring, alice, now=None,
              rule=5)
    yield bad("pinned-expired", 3207, "a head id is trusted for what it is, not for ever", expiring, {},
              head=head_id(head_text(expires=LATER)).hex(), now=LATER, rule=None)

