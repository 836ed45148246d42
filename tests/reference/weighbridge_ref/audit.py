"""Audits: random BLAKE3 chunks of a model, and the paths to their roots (spec/audits.md)."""

import struct
from typing import Callable, Iterable, Iterator, Mapping

from . import blake3, ed25519
from .blake3 import CHUNK_LEN
from .filetree import CV_LEN
from .head import Head
from .lists import FileEntry
from .note import VerifierKey
from .refused import Refused
from .statements import Challenge, challenge_hash, read_challenge, read_unsigned_challenge

SAMPLES_CONTEXT = "weighbridge 2026-11-20 v1 audit samples"
RESPONSE_CONTEXT = "weighbridge 2026-11-20 v1 audit response"
SIGNED_FIRST_LINE = b"weighbridge/audit-response/v1\n"
SIGNATURE_LEN = 64


# --- samples ----------------------------------------------------------------------------------------

def blake3_chunk_count(size: int) -> int:
    return -(-size // CHUNK_LEN)


def draw(text: bytes, samples: int, count: int) -> list[int]:
    """The numbers below `count` that a challenge of this text draws, ascending."""
    if count == 0:
        raise Refused(2703, "the model has no bytes to sample")
    limit = 2**64 - 2**64 % count  # values from here on would make low numbers more frequent
    wanted, drawn = min(samples, count), set()
    for block in blake3.derive_key_extended(SAMPLES_CONTEXT, text):
        for value in struct.unpack("<8Q", block):
            if len(drawn) == wanted:
                return sorted(drawn)
            if value < limit:
                drawn.add(value % count)


Drawn = list[tuple[FileEntry, list[int]]]


def draw_of_files(text: bytes, samples: int, files: Iterable[FileEntry]) -> Drawn:
    """Each file with a sample, and its drawn BLAKE3 chunks, counted within the file."""
    files = list(files)
    drawn = draw(text, samples, sum(blake3_chunk_count(file.size) for file in files))
    by_file, first = [], 0
    for file in files:
        end = first + blake3_chunk_count(file.size)
        of_file = [number - first for number in drawn if first <= number < end]
        if of_file:
            by_file.append((file, of_file))
        first = end
    return by_file


# --- the shape of a response ------------------------------------------------------------------------

def byte_range(file: FileEntry, begin: int, end: int) -> tuple[int, int]:
    """The bytes of a run of BLAKE3 chunks. Only the last chunk of a file can be shorter."""
    return begin * CHUNK_LEN, min(end * CHUNK_LEN, file.size)


def split(begin: int, end: int) -> int:
    """The beginning of the right subtree. The left has the largest power of two below the count of chunks."""
    return begin + (1 << (end - begin - 1).bit_length() - 1)


def path(begin: int, end: int, drawn: list[int]) -> Iterator[tuple[int, int]]:
    """The largest subtrees without a drawn chunk, from left to right."""
    if not any(begin <= number < end for number in drawn):
        yield begin, end
    elif end - begin > 1:
        middle = split(begin, end)
        yield from path(begin, middle, drawn)
        yield from path(middle, end, drawn)


def parts(file: FileEntry, drawn: list[int]) -> tuple[list[int], int]:
    """The part of a file in the response: the lengths of its drawn chunks, and the number of its CVs."""
    ranges = [byte_range(file, number, number + 1) for number in drawn]
    return [end - begin for begin, end in ranges], len(list(path(0, blake3_chunk_count(file.size), drawn)))


def response_length(by_file: Drawn) -> int:
    """Computed from the challenge and the file list, and from no byte of the prover (rule 1)."""
    shapes = [parts(file, drawn) for file, drawn in by_file]
    return sum(sum(lengths) + CV_LEN * cvs for lengths, cvs in shapes) + SIGNATURE_LEN


def response_hash(unsigned: bytes) -> bytes:
    return blake3.derive_key(RESPONSE_CONTEXT, unsigned)


def signed_bytes(text: bytes, unsigned: bytes) -> bytes:
    return SIGNED_FIRST_LINE + challenge_hash(text) + response_hash(unsigned)


# --- the prover -------------------------------------------------------------------------------------

def respond(note_bytes: bytes, head: Head, this_head: bytes, files: Mapping[str, FileEntry],
            contents: Mapping[str, bytes], prover: VerifierKey, now: int, sign: Callable[[bytes], bytes]) -> bytes:
    """Answers a challenge. Computes the CVs from all bytes; a real prover takes them from the layer."""
    challenge, text = read_unsigned_challenge(note_bytes)
    if (challenge.head, challenge.root) != (this_head, head.root):
        raise Refused(2701, "the challenge is of another head")
    if challenge.prover.public != prover.public:
        raise Refused(2702, "the challenge is for another prover")
    if now > challenge.deadline:
        raise Refused(2704, "the deadline has passed")
    unsigned = b"".join(answer(file, drawn, contents[file.path])
                        for file, drawn in draw_of_files(text, challenge.samples, files.values()))
    return unsigned + sign(signed_bytes(text, unsigned))


def answer(file: FileEntry, drawn: list[int], data: bytes) -> bytes:
    chunks = [data[slice(*byte_range(file, number, number + 1))] for number in drawn]
    cvs = []
    for subtree in path(0, blake3_chunk_count(file.size), drawn):
        begin, end = byte_range(file, *subtree)
        cvs.append(blake3.subtree_cv(data[begin:end], begin))
    return b"".join(chunks + cvs)


# --- the auditor ------------------------------------------------------------------------------------

def check_response(head: Head, this_head: bytes, files: Mapping[str, FileEntry], challenge_note: bytes,
                   auditor: VerifierKey, response: bytes, received: int, answered: set[bytes]) -> bytes:
    """The seven steps of spec/audits.md#checking-a-response, in their order. Returns the response's hash.

    `head` and `files` are verified; `answered` are the nonces of accepted responses.
    """
    challenge, text = read_challenge(challenge_note, auditor)
    if (challenge.head, challenge.root) != (this_head, head.root):
        raise Refused(2701, "the challenge is of another head")
    check_time(challenge, received)
    if challenge.nonce in answered:
        raise Refused(2706, "the nonce was answered before")
    by_file = draw_of_files(text, challenge.samples, files.values())
    if len(response) != response_length(by_file):
        raise Refused(2707, f"a response of {len(response)} bytes, expected {response_length(by_file)}")
    unsigned, signature = response[:-SIGNATURE_LEN], response[-SIGNATURE_LEN:]
    if not ed25519.verify(challenge.prover.public, signed_bytes(text, unsigned), signature):
        raise Refused(2708, "the prover's signature is not over this challenge and response")
    rest = unsigned
    for file, drawn in by_file:
        rest = check_file(file, drawn, rest)
    return response_hash(unsigned)


def check_time(challenge: Challenge, received: int) -> None:
    if received < challenge.issued:
        raise Refused(2705, "the response came before the challenge was issued")
    if received > challenge.deadline:
        raise Refused(2704, "the response came after the deadline")


def check_file(file: FileEntry, drawn: list[int], data: bytes) -> bytes:
    """Checks one file's part of the response, with which `data` begins, and returns the rest."""
    lengths, count = parts(file, drawn)
    chunks = {}
    for number, length in zip(drawn, lengths):
        chunks[number], data = data[:length], data[length:]
    cvs = iter([data[i : i + CV_LEN] for i in range(0, CV_LEN * count, CV_LEN)])

    def cv(begin, end):
        if not any(begin <= number < end for number in drawn):
            return next(cvs)
        if end - begin == 1:
            return blake3.subtree_cv(chunks[begin], begin * CHUNK_LEN)  # rule 4: where it was drawn
        middle = split(begin, end)
        return blake3.merge(cv(begin, middle), cv(middle, end))

    end = blake3_chunk_count(file.size)
    if end == 1:
        root = blake3.hash(chunks[0])
    else:
        root = blake3.merge_root(cv(0, split(0, end)), cv(split(0, end), end))
    if root != file.root:
        raise Refused(2709, f"the samples of {file.path!r} do not lead to its root")
    return data[CV_LEN * count :]
