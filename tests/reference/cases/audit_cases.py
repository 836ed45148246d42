"""Samples, and responses to challenges (spec/audits.md)."""

import functools
from typing import NamedTuple

from weighbridge_ref import audit, blake3, ed25519, lists, note, values
from weighbridge_ref.audit import SIGNATURE_LEN
from weighbridge_ref.blake3 import CHUNK_LEN
from weighbridge_ref.head import Head, head_id, parse_head
from weighbridge_ref.lists import FileEntry

from .common import HEAD, MALLORY, Cases, TestKey, accepted, flip, pattern, refused, signed
from .statement_cases import AUDITOR, DEADLINE, ISSUED, PROVER, RECEIVED, statement
from .weighing import Weighed, weigh


class Audited(NamedTuple):
    """A model whose head and file list are verified."""

    model: dict[str, bytes]
    weighed: Weighed
    head: Head
    head_id: bytes
    files: dict[str, FileEntry]

    def challenge(self, **changes) -> bytes:
        good = {"head": self.head_id.hex(), "root": self.head.root.hex()}
        return statement("challenge", **good | changes)

    def drawn(self, text: bytes) -> audit.Drawn:
        samples = int(text.decode().split("samples ")[1])
        return audit.draw_of_files(text, samples, self.files.values())

    def body(self, text: bytes) -> list[tuple[list[bytes], list[bytes]]]:
        """The chunks and CVs of each file with a sample, as lists that a case may change and join."""
        parts = []
        for file, drawn in self.drawn(text):
            rest = audit.answer(file, drawn, self.model[file.path])
            chunks = []
            for length in audit.parts(file, drawn)[0]:
                chunks.append(rest[:length])
                rest = rest[length:]
            parts.append((chunks, [rest[i : i + 32] for i in range(0, len(rest), 32)]))
        return parts

    def find(self, wanted, **changes) -> bytes:
        """The first challenge whose samples satisfy `wanted`."""
        for i in range(10_000):
            text = self.challenge(nonce=blake3.hash(f"weighbridge vectors, nonce {i}".encode()).hex(), **changes)
            if wanted({file.path: drawn for file, drawn in self.drawn(text)}):
                return text
        raise ValueError("no such challenge")


def audited(model: dict[str, bytes], **head) -> Audited:
    weighed = weigh(model, no_tensors=True, **head)
    parsed = parse_head(weighed.text)
    return Audited(model, weighed, parsed, head_id(weighed.text), lists.open_file_list(parsed, weighed.files))


def joined(parts) -> bytes:
    return b"".join(b"".join(chunks + cvs) for chunks, cvs in parts)


def answered(text: bytes, body: bytes, prover: TestKey = PROVER, over: bytes | None = None) -> bytes:
    """A response whose signature is over `text`, or over another challenge `over`."""
    return body + ed25519.sign(prover.seed, audit.signed_bytes(over or text, body))


# One file for each shape: no BLAKE3 chunk, one of a single byte, one full, two, five, and twenty.
MODEL = audited({
    "0-empty.txt": b"",
    "1-byte.txt": b"!",
    "2-chunk.bin": pattern(1024),
    "3-chunk-and-byte.bin": pattern(1025, 3),
    "4-five-chunks.bin": pattern(5000, 5),
    "5-twenty-chunks.bin": pattern(20_000, 7),
})

# The model of the refused responses: files of two, five and four BLAKE3 chunks.
SMALL = audited({"a.bin": pattern(1025, 3), "b.bin": pattern(4097, 5), "c.bin": pattern(4096, 7)})


def cases() -> Cases:
    yield from samples()
    yield from honest()
    yield from challenges()
    yield from times_and_nonces()
    yield from lengths()
    yield from signatures()
    yield from bytes_that_differ()


def samples() -> Cases:
    text = statement("challenge")

    def case(name, samples, count, comment, text=text):
        drawn = audit.draw(text, samples, count)
        return accepted(f"samples/{name}", "samples", comment, {"text": text}, samples=samples, count=count,
                        drawn=" ".join(map(str, drawn)))

    yield case("one-of-one", 1, 1, "the only one there is")
    yield case("one-of-many", 1, 2**43 + 2**24, "the largest model that a list can name, and a little more")
    yield case("more-than-there-are", 90, 5, "all five, once each")
    yield case("all", 200, 200, "as many as there are")
    yield case("all-but-one", 63, 64, "repeats are passed over until 63 are found; 2^64 is a multiple of 64")
    yield case("ninety", 90, 88_738, "90 of a file of 90,868,376 bytes")
    yield case("many-of-few", 500, 520, "most values repeat in the end")
    # 2^64 is 2 2/3 times 3 * 2^61, so the draw passes over a quarter of all values.
    count = 3 * 2**61
    passed_over = values_passed_over(text, 40, count)
    assert passed_over
    yield case("values-passed-over", 40, count, f"{passed_over} values from 2^64 - 2^62 up are passed over")
    biased = next(t for t in map(with_nonce, range(1000)) if first_value(t) >= 2**64 - 2**64 % count)
    yield case("first-value-passed-over", 1, count, "the very first value is passed over", text=biased)
    yield case("text-empty", 3, 1000, "any text has samples", text=b"")
    yield refused("samples/none", "samples", 2703, "a model of no bytes", {"text": text}, samples=3, count=0)


def with_nonce(i: int) -> bytes:
    return statement("challenge", nonce=blake3.hash(f"weighbridge vectors, nonce {i}".encode()).hex())


def first_value(text: bytes) -> int:
    return int.from_bytes(next(blake3.derive_key_extended(audit.SAMPLES_CONTEXT, text))[:8], "little")


def values_passed_over(text: bytes, samples: int, count: int) -> int:
    """The number of values that the draw passes over because they are too high."""
    drawn, passed = set(), 0
    for block in blake3.derive_key_extended(audit.SAMPLES_CONTEXT, text):
        for i in range(0, 64, 8):
            if len(drawn) == samples:
                return passed
            value = int.from_bytes(block[i : i + 8], "little")
            if value >= 2**64 // count * count:
                passed += 1
            else:
                drawn.add(value % count)


# --- responses --------------------------------------------------------------------------------------

def sections(model: Audited, challenge_note: bytes, response: bytes) -> dict[str, bytes]:
    return {"head.txt": model.weighed.text, "files.jsonl": model.weighed.files, "challenge.note": challenge_note,
            "vkey": AUDITOR.vkey.encode(), "response": response}


def good(name, comment, model, text, response, received=RECEIVED, **header):
    return accepted(f"audit/{name}", "audit", comment, sections(model, signed(text, AUDITOR), response),
                    received=received, **header, response_hash=audit.response_hash(response[:-SIGNATURE_LEN]).hex())


def bad(name, code, comment, text, response, /, rule=None, model=SMALL, received=RECEIVED, **header):
    challenge_note = text if b"\n\n" in text else signed(text, AUDITOR)
    return refused(f"audit/{name}", "audit", code, comment, sections(model, challenge_note, response), rule=rule,
                   received=received, **header)


@functools.cache
def few() -> bytes:
    """A challenge with two samples of the file of five chunks, the last chunk among them, and one of another file."""
    return SMALL.find(lambda drawn: drawn == {"b.bin": [1, 4], "c.bin": [2]}, samples="3")


@functools.cache
def shortest() -> bytes:
    """A challenge whose response has one sample of a single byte, one CV and the signature."""
    return SMALL.find(lambda drawn: drawn == {"a.bin": [1]}, samples="1")


def honest() -> Cases:
    def case(name, comment, text, model=MODEL, **more):
        response = audit.respond(signed(text, MALLORY), model.head, model.head_id, model.files, model.model,
                                 note.parse_vkey(PROVER.vkey), values.parse_time(ISSUED),
                                 lambda data: ed25519.sign(PROVER.seed, data))
        return good(name, comment, model, text, response, **more)

    def drawing(path, *numbers, **more):
        return MODEL.find(lambda drawn: drawn.get(path) == list(numbers), **more)

    yield case("few", "three samples of six files", MODEL.challenge(samples="3"))
    yield case("two-files", "three samples of two files, one of them a file's last and shorter", few(), model=SMALL)
    yield case("one-byte", "a file of one byte: no path", drawing("1-byte.txt", 0, samples="1"))
    yield case("one-chunk", "a file of one full BLAKE3 chunk: no path", drawing("2-chunk.bin", 0, samples="1"))
    yield case("last-byte", "the second BLAKE3 chunk of a file is one byte", shortest(), model=SMALL)
    yield case("whole-file", "all five BLAKE3 chunks of a file: no path of it",
               drawing("4-five-chunks.bin", 0, 1, 2, 3, 4, samples="8"))
    yield case("all", "all BLAKE3 chunks: the bytes of the model, and no path", MODEL.challenge(samples="29"))
    small = audited({"a.bin": pattern(1030), "b.bin": pattern(70)})
    yield case("more-than-there-are", "4,096 samples of three BLAKE3 chunks", small.challenge(samples="4096"),
               model=small)
    deep = audited({"deep.bin": pattern(300_001)})
    yield case("deep", "four of 293 BLAKE3 chunks, nine levels", deep.challenge(samples="4"), model=deep)
    yield case("received-when-issued", "came within the second", shortest(), model=SMALL, received=ISSUED)
    yield case("received-at-deadline", "came in the second of the deadline", shortest(), model=SMALL,
               received=DEADLINE)
    yield case("other-nonces-answered", "other nonces were answered before", shortest(), model=SMALL,
               answered=f"{HEAD['root']} {pattern(32, 9).hex()}")
    renamed = TestKey("mirror.example/new-name", owner=PROVER.name)
    yield case("prover-by-other-name", "the prover's key under another name",
               MODEL.find(lambda drawn: "1-byte.txt" in drawn, prover=renamed.vkey, samples="1"))


def challenges() -> Cases:
    text = shortest()
    response = answered(text, joined(SMALL.body(text)))
    yield bad("challenge-not-the-auditors", 3301, "signed by another than the auditor", signed(text, MALLORY), response,
              rule=8)
    yield bad("challenge-by-the-prover", 3301, "one that the prover made for itself", signed(text, PROVER), response,
              rule=8)
    signature = ed25519.sign(AUDITOR.seed, text)
    yield bad("challenge-altered", 3101, "more time to answer, under the auditor's signature",
              text.replace(b"deadline 2026-11-21T08:00:30Z", b"deadline 2026-11-21T09:00:30Z") + b"\n" +
              AUDITOR.line(signature), response, rule=8)
    yield bad("challenge-is-a-report", 1802, "a report in its place", statement("report"), response)

    def of_other(name, comment, **changes):
        other = SMALL.find(lambda drawn: drawn == {"a.bin": [1]}, samples="1", **changes)
        return bad(name, 2701, comment, other, answered(other, joined(SMALL.body(other))), rule=3)

    yield of_other("other-head", "of another head", head=HEAD["tensors-root"])
    yield of_other("other-root", "of this head, with another root", root=HEAD["root"])


def times_and_nonces() -> Cases:
    text = shortest()
    response = answered(text, joined(SMALL.body(text)))
    nonce = text.decode().split("nonce ")[1][:64]
    yield bad("early", 2705, "a second before it was issued", text, response, received="2026-11-21T07:59:59Z")
    yield bad("late", 2704, "a second after the deadline", text, response, received="2026-11-21T08:00:31Z")
    yield bad("replayed", 2706, "the nonce was answered before", text, response, rule=6, answered=nonce)
    yield bad("replayed-among-others", 2706, "the nonce is the last of three", text, response, rule=6,
              answered=f"{HEAD['root']} {HEAD['tensors-root']} {nonce}")


def lengths() -> Cases:
    empty = audited({"a.txt": b"", "b.txt": b""})
    nothing = empty.challenge(samples="3")
    yield bad("no-bytes", 2703, "a model of two empty files", nothing, answered(nothing, b""), rule=6, model=empty)

    text = shortest()
    body = joined(SMALL.body(text))
    response = answered(text, body)

    def wrong(name, comment, data, rule=6):
        return bad(name, 2707, comment, text, data, rule=rule)

    yield wrong("empty", "no byte", b"")
    yield wrong("signature-missing", "the last 64 bytes are missing", body)
    yield wrong("signature-alone", "a signature over no bytes", answered(text, b""))
    yield wrong("byte-missing", "a byte of the signature is missing", response[:-1])
    yield wrong("byte-more", "a byte behind the signature", response + b"\0")
    yield wrong("path-value-missing", "the last CV is missing, and signed so", answered(text, body[:-32]))
    yield wrong("path-value-more", "a CV too many, and signed so", answered(text, body + bytes(32)))
    parts = SMALL.body(text)
    parts[0][0][-1] = parts[0][0][-1].ljust(CHUNK_LEN, b"\0")
    yield wrong("last-chunk-filled-up", "the last BLAKE3 chunk of a file, filled up to 1,024 bytes",
                answered(text, joined(parts)), rule=1)
    yield wrong("more-samples", "the answer to a challenge of more samples",
                answered(text, joined(SMALL.body(SMALL.challenge(samples="2")))), rule=1)


def signatures() -> Cases:
    text = shortest()
    body = joined(SMALL.body(text))
    response = answered(text, body)

    def forged(name, comment, data, rule=None):
        return bad(name, 2708, comment, text, data, rule=rule)

    yield forged("by-another-prover", "signed by another prover", answered(text, body, MALLORY))
    yield forged("by-the-auditor", "signed by the auditor", answered(text, body, AUDITOR))
    other = SMALL.challenge(samples="1", nonce=pattern(32, 11).hex())
    yield forged("over-another-challenge", "signed over the same response to another challenge",
                 answered(text, body, over=other))
    longer = text.replace(b"08:00:30Z", b"08:10:30Z")
    yield forged("over-another-deadline", "signed over the same challenge with a later deadline",
                 answered(text, body, over=longer))
    yield forged("over-the-body", "signed over the response itself", body + ed25519.sign(PROVER.seed, body))
    yield forged("over-signed-note", "signed over the hash of the challenge's note, signatures and all",
                 answered(text, body, over=signed(text, AUDITOR)))
    yield forged("signature-flipped", "one bit of the signature differs", flip(response, len(response) - 5))
    yield forged("signature-zero", "zeros for a signature", body + bytes(64), rule=5)
    s_plus_l = int.from_bytes(response[-32:], "little") + ed25519.L
    yield forged("s-not-reduced", "S + L: the same signature in other bytes",
                 response[:-32] + s_plus_l.to_bytes(32, "little"))
    yield forged("altered-on-the-way", "one bit of the sample differs under the signature", flip(response))


def bytes_that_differ() -> Cases:
    """The prover signs the altered bytes, so only the roots reveal the change."""
    text = few()
    five, four = 0, 1  # the positions of the files in the response
    chunks, path = 0, 1

    def changed(name, comment, change, rule, text=text):
        parts = SMALL.body(text)
        before = len(joined(parts))
        change(parts)
        body = joined(parts)
        assert len(body) == before
        return bad(name, 2709, comment, text, answered(text, body), rule=rule)

    def flipped(file, what, place, at):
        def change(parts):
            parts[file][what][place] = flip(parts[file][what][place], at)
        return change

    def put(file, what, place, data):
        def change(parts):
            parts[file][what][place] = data
        return change

    def zeros_for_path(parts):
        parts[four] = parts[four][chunks], [bytes(32) for _ in parts[four][path]]

    def exchanged(file, what, one, other):
        def change(parts):
            items = parts[file][what]
            items[one], items[other] = items[other], items[one]
        return change

    yield changed("sample-flipped", "one bit of the first sample differs", flipped(five, chunks, 0, 0), 13)
    yield changed("last-sample-flipped", "one bit of the last byte of the last sample differs",
                  flipped(four, chunks, -1, -1), 13)
    yield changed("short-sample-flipped", "one bit of a file's last and shorter BLAKE3 chunk differs",
                  flipped(five, chunks, 1, -1), 13)
    yield changed("path-value-flipped", "one bit of the first CV differs", flipped(five, path, 0, 0), 3)
    yield changed("last-path-value-flipped", "one bit of the last CV differs", flipped(four, path, -1, -1), 3)
    yield changed("path-values-exchanged", "two CVs of a file, each in the other's place",
                  exchanged(five, path, 0, 1), 7)
    yield changed("path-values-right-to-left", "the CVs of a file from right to left",
                  lambda parts: parts[four][path].reverse(), 7)
    yield changed("path-values-zero", "zeros for the CVs", zeros_for_path, 5)
    yield changed("data-zero", "zeros for the data, by who kept only the hashes",
                  put(five, chunks, 0, bytes(CHUNK_LEN)), 13)
    data = SMALL.model["b.bin"]
    cvs = b"".join(blake3.subtree_cv(data[i : i + CHUNK_LEN], i) for i in range(0, len(data), CHUNK_LEN))
    yield changed("data-hashes", "the file's hashes for its data, by who kept only these",
                  put(five, chunks, 0, (cvs * 8)[:CHUNK_LEN]), 13)
    yield changed("neighbour", "the BLAKE3 chunk before the drawn one", put(five, chunks, 0, data[:CHUNK_LEN]), 4)
    yield changed("samples-of-two-files-exchanged", "samples of two files, each in the other's place",
                  lambda parts: exchange(parts[five][chunks], 0, parts[four][chunks], 0), 4)
    both = SMALL.find(lambda drawn: drawn == {"c.bin": [0, 2]}, samples="2")
    yield changed("samples-exchanged", "two samples of a file, each in the other's place",
                  exchanged(0, chunks, 0, 1), 4, text=both)
    yield changed("sample-twice", "the first sample in the second's place too",
                  put(0, chunks, 1, SMALL.model["c.bin"][:CHUNK_LEN]), 4, text=both)
    alone = MODEL.find(lambda drawn: "1-byte.txt" in drawn, samples="1")
    yield bad("file-of-one-byte", 2709, "another byte for a file of one byte", alone, answered(alone, b"?"), rule=13,
              model=MODEL)
    yield changed("path-before-samples", "the CVs of a file before its samples",
                  lambda parts: parts.__setitem__(five, (parts[five][path], parts[five][chunks])), 6)
    yield changed("files-in-other-order", "the second file's part first", lambda parts: parts.reverse(), 6)

    # The response to another challenge, of the same length, signed for this challenge.
    other = SMALL.find(lambda drawn: drawn == {"c.bin": [1, 3]}, samples="2")
    yield bad("other-samples", 2709, "other samples than those that were drawn, as good as they are", both,
              answered(both, joined(SMALL.body(other))), rule=7)


def exchange(one: list, i: int, other: list, j: int) -> None:
    one[i], other[j] = other[j], one[i]
