"""Proofs of entries or of absent paths, checked without lists, layers or model (spec/proofs.md)."""

import bisect
import re
from base64 import b64encode
from collections import deque
from typing import NamedTuple, Optional

from . import lists, slices, trees, trust
from .head import MAX_ENTRIES, Head, head_id, parse_head
from .note import parse_note
from .refused import Refused
from .values import check_path, decode_base64, parse_int

FIRST_LINE = b"weighbridge/proof/v1"
MAX_PROOF = 41_943_040
MAX_CLAIMS = 4096  # lines that are entries or `absent`
FILE_BEGINS, TENSOR_BEGINS = b'{"file":', b'{"tensor":'


class Claim(NamedTuple):
    """A line that claims an entry at a position."""

    position: int
    line: bytes


class Slice(NamedTuple):
    position: int
    begin: int
    end: int


class Claims(NamedTuple):
    """The parsed lines above the note, not verified yet."""

    files: list[Claim]
    absent: list[bytes] = []
    siblings: bytes = b""
    tensors: list[Claim] = []
    tensor_siblings: bytes = b""
    slice: Optional[Slice] = None


class Proven(NamedTuple):
    """The verified claims of a proof, for the head in its note."""

    head: Head
    head_id: bytes
    signers: list[str]
    claims: Claims


# --- checking, in the order of spec/proofs.md#checking-a-proof ------------------------------------

def check(data: bytes, policy: trust.Policy, expected: trust.Expectation) -> Proven:
    above, note = take_apart(data)
    verified = trust.verify(note, policy, expected)
    return Proven(verified.head, verified.head_id, verified.signers, check_claims(above, verified.head))


def check_under(data: bytes, held: bytes) -> Proven:
    """Checks a proof under a held head. `held` is the text of a head that was verified before."""
    above, note = take_apart(data)
    if parse_note(note).text != held:
        raise Refused(2506, "the proof is of another head than the one that is held")
    head = parse_head(held)
    return Proven(head, head_id(held), [], check_claims(above, head))


def take_apart(data: bytes) -> tuple[bytes, bytes]:
    """Step 1: the bytes above the first empty line, and the note behind it."""
    if len(data) > MAX_PROOF:
        raise Refused(2501, f"the proof is longer than {MAX_PROOF} bytes")
    empty = re.search(rb"^\n", data, re.MULTILINE)
    if not empty:
        raise Refused(2503, "no empty line")
    return data[: empty.start()], data[empty.end() :]


def check_claims(above: bytes, head: Head) -> Claims:
    """Steps 3 to 10. `head` is verified."""
    claims = parse_claims(above)
    files = check_files(claims.files)
    before = None
    for path in claims.absent:
        check_path(path.decode())
        if before is not None and path <= before:
            raise Refused(2503, "absent paths are repeated or out of order")
        before = path
    top = node_zero(head.files.count, claims.files, claims.siblings)
    if trees.model_root(head.files.count, head.bytes, top) != head.root:
        raise Refused(2405, "the file entries do not lead to the signed root")
    for path in claims.absent:
        check_absent(path, files, head.files.count)
    if claims.tensors:
        check_tensors(claims, files, head)
    if claims.slice is not None:
        check_slice_line(claims.slice, files)
    return claims


def parse_claims(above: bytes) -> Claims:
    """Step 3. All lines are read before they are counted."""
    first, *lines = above.split(b"\n")
    if first != FIRST_LINE:
        raise Refused(2502, "the first line names a version that is not known")
    try:
        above.decode()
    except UnicodeDecodeError:
        raise Refused(2503, "what stands above the note is not UTF-8") from None
    lines = deque(lines[:-1])  # text behind the last LF is no line

    def take(parse) -> list:
        taken = []
        while lines and (found := parse(lines[0])) is not None:
            taken.append(found)
            lines.popleft()
        return taken

    def take_siblings() -> bytes:
        siblings = parse_siblings(lines[0]) if lines else None
        if siblings is None:
            return b""
        lines.popleft()
        return siblings

    files = take(lambda line: parse_claim(line, FILE_BEGINS))
    absent = take(lambda line: line[7:] if line.startswith(b"absent ") else None)
    siblings = take_siblings()
    tensors = take(lambda line: parse_claim(line, TENSOR_BEGINS))
    tensor_siblings = take_siblings() if tensors else b""
    slice = parse_slice(lines.popleft()) if lines and lines[0].startswith(b"slice ") else None
    if lines or not files:
        raise Refused(2503, "a line is malformed or out of its place, or no file entry is there")
    if len(files) + len(absent) + len(tensors) > MAX_CLAIMS:
        raise Refused(2406, f"more than {MAX_CLAIMS} entries and absent paths")
    return Claims(files, absent, siblings, tensors, tensor_siblings, slice)


def parse_claim(line: bytes, begins: bytes) -> Optional[Claim]:
    position, space, rest = line.partition(b" ")
    if not space or not rest.startswith(begins):
        return None
    return Claim(parse_number(position), rest)


def parse_siblings(line: bytes) -> Optional[bytes]:
    try:
        siblings = decode_base64(line.decode())
    except ValueError:
        return None
    return siblings if len(siblings) % trees.HASH_LEN == 0 else None


def parse_slice(line: bytes) -> Slice:
    match = re.fullmatch(rb"slice ([^ .]*) ([^ .]*)\.\.([^ .]*)", line)
    if not match:
        raise Refused(2503, "a malformed slice line")
    return Slice(*map(parse_number, match.groups()))


def parse_number(text: bytes) -> int:
    try:
        return parse_int(text.decode())
    except ValueError:
        raise Refused(2503, "not an integer below 2^53 in canonical form") from None


def check_files(claims: list[Claim]) -> dict[bytes, tuple[int, lists.FileEntry]]:
    """Step 4: the position and entry of each path, in order."""
    files, before = {}, None
    for claim in claims:
        entry = lists.parse_file_line(short_line(claim.line))
        before = lists.in_order(before, entry.path.encode())
        files[before] = claim.position, entry
    return files


def short_line(line: bytes) -> bytes:
    if len(line) > lists.MAX_LINE:
        raise Refused(1303, f"a line is longer than {lists.MAX_LINE} bytes")
    return line


def node_zero(count: int, claims: list[Claim], siblings: bytes) -> bytes:
    return trees.node_zero(count, [claim.position for claim in claims], [claim.line for claim in claims], siblings)


def check_absent(path: bytes, files: dict[bytes, tuple[int, lists.FileEntry]], count: int) -> None:
    """Step 7. `files` are proven, so their positions are those of the signed list."""
    paths, positions = list(files), [position for position, _ in files.values()]
    place = bisect.bisect_left(paths, path)
    # The places before position 0 and behind the last position count as neighbours too.
    below = positions[place - 1] if place > 0 else -1
    above = positions[place] if place < len(positions) else count
    if path in files or below + 1 != above:
        raise Refused(2505, f"{path.decode()!r} is not shown to be absent")


def check_tensors(claims: Claims, files: dict[bytes, tuple[int, lists.FileEntry]], head: Head) -> None:
    """Steps 8 and 9."""
    before = None
    for claim in claims.tensors:
        entry = lists.parse_tensor_line(short_line(claim.line))
        before = lists.in_order(before, (entry.file.encode(), entry.name.encode()))
        if entry.file.encode() not in files:
            raise Refused(2504, f"the file of tensor {entry.name!r} is not among the proof's files")
        if not lists.is_tensor_file(entry.file):
            raise Refused(1309, f"{entry.file!r} is no tensor file")
        if entry.offset + entry.size > files[entry.file.encode()][1].size:
            raise Refused(1310, f"tensor {entry.name!r} does not lie within its file")
    count = 0 if head.tensors is None else head.tensors.count
    top = node_zero(count, claims.tensors, claims.tensor_siblings)
    if trees.tensors_root(count, top) != head.tensors_root:
        raise Refused(2405, "the tensor entries do not lead to the signed root")


def check_slice_line(claimed: Slice, files: dict[bytes, tuple[int, lists.FileEntry]]) -> None:
    """Step 10."""
    sizes = {position: entry.size for position, entry in files.values()}
    if claimed.position not in sizes:
        raise Refused(2605, f"position {claimed.position} is not that of a file of the proof")
    slices.check_range(sizes[claimed.position], claimed.begin, claimed.end)


# --- making ---------------------------------------------------------------------------------------

def prove(note: bytes, file_lines: list[bytes], files=(), absent=(), tensor_lines=(), tensors=(),
          slice: Optional[Slice] = None) -> bytes:
    """A proof of the entries at these positions, and that these paths are absent.

    `file_lines` and `tensor_lines` are the whole lists. The neighbours of absent paths and the files of tensors
    are added. A path that is not absent gives a proof that is refused.
    """
    paths = [lists.parse_file_line(line).path.encode() for line in file_lines]
    absent = sorted({path.encode() for path in absent})
    shown = set(files)
    for path in absent:
        first_above = sum(p < path for p in paths)
        shown |= {first_above - 1, first_above} & set(range(len(paths)))
    shown |= {paths.index(lists.parse_tensor_line(tensor_lines[p]).file.encode()) for p in tensors}
    return write(note, claims_of(file_lines, sorted(shown), absent, tensor_lines, sorted(set(tensors)), slice))


def claims_of(file_lines, files, absent=(), tensor_lines=(), tensors=(), slice=None) -> Claims:
    """Exactly these claims, whether they make a good proof or not."""
    def claims(lines, positions):
        return [Claim(p, lines[p]) for p in positions]

    def siblings(lines, positions):
        return b"".join(trees.prove(lines, positions)) if positions else b""

    return Claims(claims(file_lines, files), list(absent), siblings(file_lines, files),
                  claims(tensor_lines, tensors), siblings(tensor_lines, tensors), slice)


def write(note: bytes, claims: Claims) -> bytes:
    return above_note(claims) + b"\n" + note


def above_note(claims: Claims) -> bytes:
    def entries(of: list[Claim]):
        return [b"%d %s" % claim for claim in of]

    def siblings(of: bytes):
        return [b64encode(of)] if of else []

    lines = [
        FIRST_LINE,
        *entries(claims.files),
        *(b"absent " + path for path in claims.absent),
        *siblings(claims.siblings),
        *entries(claims.tensors),
        *siblings(claims.tensor_siblings),
        *(b"slice %d %d..%d" % line for line in [claims.slice] if line is not None),
    ]
    return b"".join(line + b"\n" for line in lines)
