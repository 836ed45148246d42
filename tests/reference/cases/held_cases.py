"""The auditors of a policy, and reports that are counted (spec/trust.md#levels)."""

from weighbridge_ref import ed25519
from weighbridge_ref.head import head_id, parse_head

from .common import (ALICE, BOB, HEAD, MALLORY, NAME, Cases, TestKey, accepted, flip, head_text, policy, publisher,
                     refused, signed)
from .statement_cases import AUDITOR, PROVER, statement
from .policy_cases import quoted, weak_vkey

SECOND = TestKey("second-auditor.example")
THIRD = TestKey("third-auditor.example")
AUDITOR_AGAIN = TestKey("auditor.example/by-night", owner=AUDITOR.name)  # another name, the same key
PROVERS = [PROVER, TestKey("mirror.example/8"), TestKey("cache.example")]
PROVER_AGAIN = TestKey("mirror.example/seven", owner=PROVER.name)

RECEIVED = "2026-11-21T08:00:02Z"  # in each report, unless a case gives another time
SECOND_LATER = "2026-11-21T08:00:03Z"
NOW = "2026-11-22T08:00:02Z"
DAY = 86_400

TEXT = head_text()


def held(*auditors, threshold: int | None = None) -> str:
    """`auditors` are keys, or pairs of a key and its lines `from = ..` and `until = ..`."""
    lines = ["[held]\n"] + [f"threshold = {threshold}\n"] * (threshold is not None)
    for key in auditors:
        key, dates = key if isinstance(key, tuple) else (key, "")
        lines.append(f'[[held.auditor]]\nvkey = "{key.vkey}"\n{dates}')
    return "".join(lines)


def cases() -> Cases:
    yield from policies()
    yield from keys_apart()
    yield from levels()
    yield from judged()


def policies() -> Cases:
    one = publisher("org/*", ALICE)

    def good(name, comment, table, *publishers, **top):
        return accepted(f"policy/held-{name}", "policy", comment,
                        {"policy.toml": policy(*(publishers or [one]), table, **top)})

    def bad(name, code, comment, table, rule=None, publishers=(one,)):
        return refused(f"policy/held-{name}", "policy", code, comment, {"policy.toml": policy(*publishers, table)},
                       rule=rule)

    dates = 'from = "2026-01-01T00:00:00Z"\nuntil = "2027-01-01T00:00:00Z"\n'
    yield good("one-auditor", "one auditor; the threshold is 1", held(AUDITOR))
    yield good("everything", "each key of the form", held((AUDITOR, dates), SECOND, THIRD, threshold=3))
    yield good("auditor-twice", "one key in two spans of time",
               held((AUDITOR, 'until = "2026-01-01T00:00:00Z"\n'), (AUDITOR, 'from = "2026-06-01T00:00:00Z"\n')))
    yield good("auditor-is-publisher", "who publishes may audit too", held(ALICE))
    yield good("auditor-revoked", "an auditor who was revoked since", held(AUDITOR), one,
               revoked=quoted(AUDITOR.vkey))
    yield accepted("policy/held-and-accepted-heads", "policy", "no publisher, but a head id and auditors",
                   {"policy.toml": policy(held(AUDITOR), accepted_heads=quoted(head_id(TEXT).hex()) + "\n")})

    yield bad("unknown-key", 1601, "a key that a typing error made",
              held(AUDITOR).replace("[held]\n", "[held]\ntreshold = 2\n"), rule=9)
    yield bad("unknown-auditor-key", 1601, "an auditor has no scope", held((AUDITOR, 'scope = "org/*"\n')), rule=9)
    yield bad("no-vkey", 1601, "an auditor without a key", '[[held.auditor]]\nfrom = "2026-01-01T00:00:00Z"\n')
    yield bad("list", 1601, "a list of tables, and no table", f'[[held]]\n[[held.auditor]]\nvkey = "{AUDITOR.vkey}"\n')
    yield bad("auditor-table", 1601, "a table, and no list of tables", f'[held.auditor]\nvkey = "{AUDITOR.vkey}"\n')
    yield bad("threshold-text", 1601, "a number in quotes", held(AUDITOR).replace("[held]\n",
              '[held]\nthreshold = "1"\n'))
    yield bad("threshold-negative", 1601, "below 0", held(AUDITOR, threshold=-1))
    yield bad("threshold-2-63", 1601, "TOML's integers have 64 bits, with a sign", held(AUDITOR, threshold=2**63))
    yield bad("threshold-2-63-less-one", 1604, "the largest integer", held(AUDITOR, threshold=2**63 - 1))
    yield refused("policy/byte-order-mark", "policy", 1601, "some readers of TOML pass over it, and some do not",
                  {"policy.toml": b"\xef\xbb\xbf" + policy(publisher("*", ALICE))}, rule=6)
    yield bad("threshold-zero", 1604, "no report would be needed", held(AUDITOR, threshold=0))
    yield bad("threshold-too-high", 1604, "3 of 2", held(AUDITOR, SECOND, threshold=3))
    yield bad("threshold-of-names", 1604, "2 of 1: two names of one key", held(AUDITOR, AUDITOR_AGAIN, threshold=2))
    yield bad("no-auditors", 1605, "held by the word of nobody", held())
    yield bad("alone", 1605, "auditors, and nobody who may publish", held(AUDITOR), publishers=())
    yield bad("from-is-until", 1606, "a span of no second",
              held((AUDITOR, 'from = "2026-01-01T00:00:00Z"\nuntil = "2026-01-01T00:00:00Z"\n')))
    yield bad("time-malformed", 1702, "a date without time", held((AUDITOR, 'until = "2027-01-01"\n')))
    yield bad("vkey-malformed", 1501, "a name alone", held(AUDITOR).replace(AUDITOR.vkey, AUDITOR.name))
    yield bad("vkey-id", 1502, "a vkey under another name",
              held(AUDITOR).replace("auditor.example/", "auditor.example:"))
    weak = TestKey("weak.example")
    weak.vkey = weak_vkey(weak.name)
    yield bad("vkey-weak", 1505, "a key that anyone can sign for", held(weak))


def keys_apart() -> Cases:
    """A report needs the key of an auditor, and a head that of a publisher. Neither counts for the other."""
    both = {"policy.toml": policy(publisher("*", ALICE), held(AUDITOR))}
    yield refused("trust/signed-by-auditor", "trust", 3102, "an auditor is no publisher",
                  {"head.note": signed(TEXT, AUDITOR)} | both, rule=8, now=HEAD["created"])
    yield accepted("trust/bad-by-auditor", "trust", "to a head an auditor's key is an unknown one",
                   {"head.note": signed(TEXT, ALICE) + AUDITOR.line(bytes(64))} | both, now=HEAD["created"],
                   head_id=head_id(TEXT).hex(), signers=ALICE.name)


# --- reports ----------------------------------------------------------------------------------------

def report_text(prover: TestKey = PROVER, received=RECEIVED, **changes) -> bytes:
    of_head = {"name": NAME, "head": head_id(TEXT).hex(), "root": parse_head(TEXT).root.hex()}
    good = {"prover": prover.vkey, "issued": received, "received": received}
    return statement("report", **of_head | good | changes)


def report(auditor: TestKey = AUDITOR, prover: TestKey = PROVER, received=RECEIVED, **changes) -> bytes:
    return signed(report_text(prover, received, **changes), auditor)


def sections(table: str | None, reports, **top) -> dict[str, bytes]:
    tables = [publisher("*", ALICE)] + ([] if table is None else [table])
    numbered = {f"report {i}": data for i, data in enumerate(reports, 1)}
    return {"head.txt": TEXT, "policy.toml": policy(*tables, **top)} | numbered


def parameters(now, max_age) -> dict:
    return ({} if now is None else {"now": now}) | {"max_age": max_age}


def good(name, count, comment, table, *reports, now=NOW, max_age=7 * DAY, **top):
    return accepted(f"held/{name}", "held", comment, sections(table, reports, **top), **parameters(now, max_age),
                    reports=count)


def bad(name, code, comment, table, *reports, rule=None, now=NOW, max_age=7 * DAY, **top):
    return refused(f"held/{name}", "held", code, comment, sections(table, reports, **top), rule=rule,
                   **parameters(now, max_age))


def levels() -> Cases:
    one, two = held(AUDITOR), held(AUDITOR, SECOND, THIRD, threshold=2)
    a, b, c = AUDITOR, SECOND, THIRD
    p, q, r = PROVERS
    again = "2026-11-21T09:00:00Z"

    yield good("one", 1, "one report is enough", one, report())
    yield bad("none", 3303, "no report", one)
    yield bad("no-auditors", 3304, "a policy that lists no auditors", None, report(), rule=9)
    yield bad("no-auditors-no-reports", 3304, "a policy that lists no auditors, and no report", None)

    yield good("two", 2, "two auditors, two provers", two, report(a, p), report(b, q))
    yield good("more-than-needed", 3, "three auditors, three provers", two, report(a, p), report(b, q), report(c, r))
    yield bad("one-of-two", 3303, "one report where two are needed", two, report(a, p))
    yield bad("auditor-twice", 3303, "one auditor, of two provers", two, report(a, p), report(a, q, again))
    yield bad("prover-twice", 3303, "one prover, by two auditors", two, report(a, p), report(b, p, again))
    yield bad("same-report-twice", 3303, "one report, twice", two, report(a, p), report(a, p), rule=6)
    yield bad("same-pair-twice", 3303, "one auditor of one prover, at two times", two, report(a, p),
              report(a, p, again))
    yield bad("two-names-of-auditor", 3303, "one auditor's key under two names",
              held(AUDITOR, AUDITOR_AGAIN, SECOND, threshold=2), report(a, p), report(AUDITOR_AGAIN, q))
    yield bad("two-names-of-prover", 3303, "one prover's key under two names", two, report(a, p),
              report(b, PROVER_AGAIN))

    # A greedy count takes the first report and then counts no other. In the order of keys, this happens in one of
    # the four cases.
    for i, (x, y, s, t) in enumerate([(a, b, p, q), (b, a, p, q), (a, b, q, p), (b, a, q, p)], 1):
        yield good(f"matching-{i}", 2, "the first report is in the way of both others", two, report(x, s), report(x, t),
                   report(y, s))
    three = held(AUDITOR, SECOND, THIRD, threshold=3)
    yield good("matching-of-three", 3, "a chain: each auditor has to leave a prover to the next", three, report(a, p),
               report(b, p), report(b, q), report(c, q), report(a, r))
    yield bad("matching-too-small", 3303, "three auditors and two provers", three, report(a, p), report(a, q),
              report(b, p), report(b, q), report(c, p), report(c, q))
    yield good("two-auditors-on-one-report", 1, "two auditors signed one report: one report",
               held(AUDITOR, SECOND), signed(report_text(p), a, b))
    yield good("co-signed-stands-for-either", 2, "signed by two, it stands for the one who has no other", two,
               signed(report_text(p), a, b), report(a, q))
    yield bad("co-signed-is-one", 3303, "one report, by two auditors, where two are needed", two,
              signed(report_text(p), a, b))


def judged() -> Cases:
    one = held(AUDITOR)
    text = report_text()
    genuine = ed25519.sign(AUDITOR.seed, text)

    yield good("unknown-passed-over", 1, "reports by unknown keys, one of them of another head", one,
               report(MALLORY), report(MALLORY, head=HEAD["root"]), report())
    yield good("unreadable-passed-over", 1, "what no listed auditor signed is not read", one,
               signed(b"no report\n", MALLORY), report())
    yield bad("unknown-auditor", 3303, "by an auditor whom the policy does not list", one, report(SECOND), rule=9)
    yield bad("by-publisher", 3303, "a publisher is no auditor", one, report(ALICE), rule=9)
    yield bad("by-prover", 3303, "the prover's own word", one, report(PROVER), rule=9)
    yield bad("other-name", 3303, "the auditor's key under a name that is not listed", one, report(AUDITOR_AGAIN))

    yield bad("bad-signature", 3101, "a listed auditor's signature does not verify", one,
              text + b"\n" + AUDITOR.line(flip(genuine)), rule=8)
    yield bad("bad-signature-of-second", 3101, "one good report would be enough", one, report(),
              text + b"\n" + AUDITOR.line(flip(genuine)), rule=8)
    yield bad("bad-beside-good", 3101, "a good signature, and a bad one by another listed auditor",
              held(AUDITOR, SECOND), signed(text, AUDITOR) + SECOND.line(bytes(64)), rule=8)
    yield good("bad-by-unknown", 1, "a bad signature by an unknown key is not looked at", one,
               signed(text, AUDITOR) + MALLORY.line(bytes(64)))
    yield good("bad-by-revoked", 1, "a bad signature by a revoked auditor is not looked at", held(AUDITOR, SECOND),
               signed(text, AUDITOR) + SECOND.line(bytes(64)), revoked=quoted(SECOND.vkey))
    yield good("bad-by-publisher", 1, "to a report a publisher's key is an unknown one", one,
               signed(text, AUDITOR) + ALICE.line(bytes(64)))
    yield bad("no-note", 1103, "a report without signatures", one, text, rule=8)

    yield bad("malformed", 1804, "a report that its auditor spoiled", one, report(samples="0 0"))
    yield bad("another-version", 1802, "a report of a version that is not known", one,
              signed(text.replace(b"report/v1", b"report/v2"), AUDITOR))
    yield bad("a-challenge", 1802, "a challenge that the auditor signed", one, signed(statement("challenge"), AUDITOR))
    yield bad("contradiction", 1805, "received before it was issued", one, report(issued=SECOND_LATER))
    yield bad("other-head", 3302, "of another head", one, report(head=HEAD["root"]), rule=3)
    yield bad("other-root", 3302, "of another root", one, report(root=HEAD["tensors-root"]), rule=3)
    yield bad("other-name-of-model", 3302, "of another name", one, report(name="org/other"), rule=3)
    yield bad("other-head-of-second", 3302, "one good report would be enough", one, report(),
              report(AUDITOR, PROVERS[1], head=HEAD["root"]), rule=3)

    yield bad("revoked", 3303, "the auditor is revoked", one, report(), revoked=quoted(AUDITOR.vkey))
    yield bad("revoked-under-other-name", 3303, "revoked by another name of the same key", one, report(),
              revoked=quoted(AUDITOR_AGAIN.vkey))
    yield good("revoked-beside-good", 1, "one of two auditors is revoked", held(AUDITOR, SECOND), report(),
               report(SECOND, PROVERS[1]), revoked=quoted(SECOND.vkey))
    yield good("from-received", 1, "an auditor who counts from the second of `received`",
               held((AUDITOR, f'from = "{RECEIVED}"\n')), report())
    yield bad("before-from", 3303, "received a second before the auditor counts",
              held((AUDITOR, f'from = "{SECOND_LATER}"\n')), report())
    yield bad("at-until", 3303, "received in the second in which the auditor ends",
              held((AUDITOR, f'until = "{RECEIVED}"\n')), report())
    yield good("dates-are-of-received", 1, "the auditor has ended since, and counted when it was received",
               held((AUDITOR, f'until = "{SECOND_LATER}"\n')), report())
    yield good("second-span", 1, "the second of two spans of one key",
               held((AUDITOR, 'until = "2026-01-01T00:00:00Z"\n'), (AUDITOR, f'from = "{RECEIVED}"\n')), report())

    yield good("exactly-of-age", 1, "a day ago, where a day is the greatest age", one, report(), max_age=DAY)
    yield bad("too-old", 3303, "a second longer ago", one, report(), max_age=DAY - 1)
    yield bad("issued-long-before", 3303, "received just now, and asked a year ago: the prover could have kept the answer", one,
              report(issued="2025-11-21T08:00:00Z"))
    yield bad("no-note-behind-other-head", 1103, "notes are read before any report is", one, report(head=HEAD["root"]),
              text)
    yield good("age-zero", 1, "received in this very second", one, report(), now=RECEIVED, max_age=0)
    yield good("a-day-ahead", 1, "86,400 seconds ahead", one, report(), now="2026-11-20T08:00:02Z", max_age=0)
    yield bad("from-the-future", 3303, "86,401 seconds ahead", one, report(), now="2026-11-20T08:00:01Z")
    yield bad("time-unknown", 3303, "no time is known, so none counts", one, report(), now=None, rule=5)
    yield good("old-beside-new", 1, "an old report and a new one of the same auditor and prover", one,
               report(received="2025-11-21T08:00:00Z"), report())
