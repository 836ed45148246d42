"""Whether a model is held, by counting reports of auditors (spec/trust.md#levels)."""

from typing import Iterable, Optional

from .head import Head
from .note import Note, parse_note
from .refused import Refused
from .statements import Report, check_is_of, parse_text
from .trust import MAX_AHEAD, Policy, signed_by

Pair = tuple[bytes, bytes]  # the public keys of an auditor and of a prover


def check_held(head: Head, this_head: bytes, policy: Policy, reports: Iterable[bytes], now: Optional[int],
               max_age: int) -> int:
    """The number of reports that count. `head` is verified; time and age come from the caller."""
    notes = [parse_note(report) for report in reports]
    if policy.held is None:
        raise Refused(3304, "the policy lists no auditors")
    pairs = set()
    for note in notes:
        pairs |= judge(head, this_head, policy, note, now, max_age)
    reached = largest_matching(pairs)
    if reached < policy.held.threshold:
        raise Refused(3303, f"{reached} reports count, {policy.held.threshold} are needed")
    return reached


def judge(head, this_head, policy: Policy, note: Note, now, max_age) -> set[Pair]:
    """Steps 3 and 4: a pair for each auditor who signed the report; none if it does not count."""
    signed = signed_by(note, [key.vkey for key in policy.held.auditors], policy.revoked)
    if all(key.public in policy.revoked for _, key in signed.pairs):
        return set()
    report = parse_text(Report, note.text)
    check_is_of(report, head, this_head)
    if now is None or now - report.issued > max_age or report.received - now > MAX_AHEAD:
        return set()
    return {
        (vkey.public, report.prover.public)
        for vkey, *_ in (key for key in policy.held.auditors if key.in_date(report.received))
        if signed.has(vkey) and vkey.public not in policy.revoked
    }


def largest_matching(pairs: set[Pair]) -> int:
    """The largest number of pairs of which no two share an auditor or a prover.

    A greedy choice can give too few: of (A, 1), (A, 2), (B, 1), a choice of (A, 1) excludes both others.
    So if an auditor finds a prover taken, the auditor who has that prover looks for another one.
    """
    auditor_of: dict[bytes, bytes] = {}

    def finds_prover(auditor, asked):
        for prover in sorted(prover for a, prover in pairs if a == auditor and prover not in asked):
            asked.add(prover)
            if prover not in auditor_of or finds_prover(auditor_of[prover], asked):
                auditor_of[prover] = auditor
                return True
        return False

    return sum(finds_prover(auditor, set()) for auditor in sorted({auditor for auditor, _ in pairs}))
