"""Nodes that share what they have verified: tickets, keys, messages, pieces, owners (spec/swarm.md)."""

import itertools
import re
import struct
from typing import NamedTuple

from . import blake3
from .refused import Refused
from .values import check_model_name, decode_base64, parse_hash, parse_time

# --- tickets (W3) -----------------------------------------------------------------------------------

MAX_TICKET = 65_536
MAX_TRACKERS = 8
MAX_MEMBERS = 1024
FIRST_LINE = b"weighbridge/swarm/v1"
EPOCH = parse_time("1970-01-01T00:00:00Z")


class Ticket(NamedTuple):
    name: str
    head: bytes
    expires: int  # in seconds since 1970
    is_open: bool
    value: bytes  # behind `secret` or `open`
    trackers: list[str]
    members: list[bytes]


def parse_ticket(text: bytes) -> Ticket:
    if len(text) > MAX_TICKET:
        raise Refused(1901, f"the ticket is longer than {MAX_TICKET} bytes")
    # LF ends each line: text behind the last LF is no line.
    *lines, rest = text.split(b"\n")
    if lines[:1] != [FIRST_LINE]:
        raise Refused(1902, "the first line names a version that is not known")
    del lines[0]

    def is_next(key: str) -> bool:
        return bool(lines) and lines[0].startswith(key.encode() + b" ")

    def line(key: str, parse):
        if not is_next(key):
            raise Refused(1903, f"line `{key}` is missing")
        try:
            return parse(lines.pop(0)[len(key) + 1 :].decode("ascii"))
        except (Refused, ValueError):  # UnicodeDecodeError is a ValueError
            raise Refused(1904, f"the value of `{key}` is malformed") from None

    name = line("name", check_model_name)
    head = line("head", parse_hash)
    expires = line("expires", parse_end)
    is_open = is_next("open")
    value = line("open" if is_open else "secret", parse_32_bytes)
    trackers, members = [], []
    while len(trackers) < MAX_TRACKERS and is_next("tracker"):
        trackers.append(line("tracker", check_address))
        if trackers[-1] in trackers[:-1]:
            raise Refused(1904, "a tracker is named twice")
    while len(members) < MAX_MEMBERS and is_next("member") and not is_open:
        members.append(line("member", parse_32_bytes))
        if members[-1:] <= members[-2:-1]:
            raise Refused(1904, "members are repeated or out of order")
    if lines or rest:
        raise Refused(1903, "a line too many, or one without LF")
    return Ticket(name, head, expires, is_open, value, trackers, members)


def parse_end(text: str) -> int:
    seconds = parse_time(text) - EPOCH
    if seconds < 0:
        raise ValueError("before 1970")
    return seconds


def parse_32_bytes(text: str) -> bytes:
    data = decode_base64(text)
    if len(data) != 32:
        raise ValueError("not 32 bytes")
    return data


# --- addresses (W3) -----------------------------------------------------------------------------------

MAX_ADDRESS = 255
PORT = re.compile(r"[1-9][0-9]{0,4}")
IPV4 = re.compile(r"(?:0|[1-9][0-9]{0,2})(?:\.(?:0|[1-9][0-9]{0,2})){3}")
PART = re.compile(r"[a-z0-9-]{1,63}")
NUMBER = re.compile(r"[0-9]+|0x[0-9a-f]*")
GROUP = re.compile(r"[0-9a-f]{1,4}")


def check_address(text: str) -> str:
    host, colon, port = text.rpartition(":")
    if len(text) > MAX_ADDRESS or not colon or not PORT.fullmatch(port) or int(port) > 65_535:
        raise ValueError("too long, or without a port")
    if host.startswith("[") and host.endswith("]"):
        good = is_ipv6(host[1:-1])
    else:
        good = is_ipv4(host) or is_host_name(host)
    if not good:
        raise ValueError("malformed host")
    return text


def is_ipv4(host: str) -> bool:
    return bool(IPV4.fullmatch(host)) and all(int(part) <= 255 for part in host.split("."))


def is_host_name(host: str) -> bool:
    parts = host.split(".")
    return len(host) <= 253 and all(map(PART.fullmatch, parts)) and not NUMBER.fullmatch(parts[-1])


def is_ipv6(text: str) -> bool:
    """Whether this is the one form of an address that RFC 5952 has."""
    groups = ipv6_groups(text)
    return groups is not None and write_ipv6(groups) == text


def ipv6_groups(text: str) -> list[int] | None:
    """The eight groups of an address in any form of RFC 4291."""
    if text.count("::") > 1 or ":::" in text:
        return None
    before, gap, after = text.partition("::")
    front, back = ([part for part in half.split(":")] if half else [] for half in (before, after))
    last = (back or front)[-1:]
    if last and is_ipv4(last[0]) and not (gap and not back):
        a, b, c, d = map(int, last[0].split("."))
        (back or front)[-1:] = [f"{a << 8 | b:x}", f"{c << 8 | d:x}"]
    missing = 8 - len(front) - len(back)
    if not all(map(GROUP.fullmatch, front + back)) or missing != 0 and not gap or missing < 1 and gap:
        return None
    return [int(group, 16) for group in front + ["0"] * missing + back]


def write_ipv6(groups: list[int]) -> str:
    if groups[:6] == [0, 0, 0, 0, 0, 0xFFFF]:  # an IPv4 address in the only prefix that is made for one
        return "::ffff:" + ".".join(str(byte) for group in groups[6:] for byte in divmod(group, 256))
    # The longest run of zeros, the first of equal ones; one zero alone is no run.
    runs = [(start, end) for start, end in itertools.combinations(range(9), 2) if not any(groups[start:end])]
    start, end = max(runs, key=lambda run: (run[1] - run[0], -run[0]), default=(0, 0))
    words = [f"{group:x}" for group in groups]
    if end - start < 2:
        return ":".join(words)
    return ":".join(words[:start]) + "::" + ":".join(words[end:])


# --- keys and proofs (W4, W6) -----------------------------------------------------------------------------

def swarm_key(is_open: bool, value: bytes, head: bytes, expires: int) -> bytes:
    context = "weighbridge swarm v1 open key" if is_open else "weighbridge swarm v1 key"
    return blake3.derive_key(context, value + head + struct.pack("<Q", expires))


def ticket_key(ticket: Ticket) -> bytes:
    return swarm_key(ticket.is_open, ticket.value, ticket.head, ticket.expires)


def label(key: bytes) -> bytes:
    return blake3.keyed_hash(key, b"label")[:16]


def membership(key: bytes, side: str, exporter: bytes, connecting: bytes, accepting: bytes) -> bytes:
    """The proof of a side, `connects` or `accepts`."""
    return blake3.keyed_hash(key, side.encode() + exporter + connecting + accepting)


# --- claims at an origin (W21) ----------------------------------------------------------------------------

CLAIM = re.compile(r"([0-9a-f]{32}) (0|[1-9][0-9]{3,4})")


def tag(key: bytes, member: bytes) -> bytes:
    return blake3.keyed_hash(key, b"origin" + member)[:16]


def parse_claim(text: str) -> tuple[str, int] | None:
    """The tag and the lease of a header's value; `None` of one that is passed over."""
    match = CLAIM.fullmatch(text)
    if not match or (match[2] != "0" and not 1000 <= int(match[2]) <= 60_000):
        return None
    return match[1], int(match[2])


# --- messages (W8) ------------------------------------------------------------------------------------

MAX_PIECES = 2**24
MAX_UNKNOWN = 65_536
FORMS = {  # the least and the most bytes of each kind; of HAVE_SET both follow from the number of pieces
    1: ("ANNOUNCE", 4, 4 + 4 * (1 + MAX_ADDRESS)),
    2: ("PEERS", 0, 12 * (32 + 1 + MAX_ADDRESS)),
    3: ("MEMBERS", 8, 8 + 65_536 * 32),
    4: ("HAVE_ALL", 0, 0),
    5: ("HAVE_SET", None, None),
    6: ("HAVE", 4, 1024 * 4),
    7: ("CLAIM", 0, 4),
    8: ("BYE", 0, 0),
    9: ("ALIVE", 0, 0),
    12: ("SLOT", 1, 1),
    16: ("GET", 17, 49),
    17: ("GIVE", 0, 0),
    18: ("BUSY", 4, 4),
    19: ("LACK", 0, 0),
    20: ("GIVE_ALL", 1, 131_072),
}


def malformed(why: str) -> Refused:
    return Refused(1911, f"a message of a member is malformed: {why}")


def parse_header(header: bytes, pieces: int) -> tuple[str | None, int]:
    """The name of the kind, `None` if it is not known, and the number of bytes that follow."""
    kind, length = struct.unpack("<BI", header)
    name, least, most = FORMS.get(kind, (None, 0, MAX_UNKNOWN))
    if name == "HAVE_SET":
        least = most = -(-pieces // 8)
    if not least <= length <= most:
        raise malformed(f"{length} bytes")
    return name, length


def parse_message(message: bytes, pieces: int) -> str:
    """What a message says, in lines."""
    if len(message) < 5:
        raise malformed("no header")
    name, length = parse_header(message[:5], pieces)
    reader = Reader(message[5:], pieces)
    if len(reader.rest) != length:
        raise malformed("not of the length that it says")
    if name is None:
        return "UNKNOWN\n"
    lines = READERS[name](reader)
    if reader.rest:
        raise malformed("something stands behind its content")
    first, *others = lines
    return "".join(line + "\n" for line in [" ".join([name, *first]), *others])


class Reader:
    """The rest of a message's content."""

    def __init__(self, rest: bytes, pieces: int):
        self.rest = rest
        self.pieces = pieces

    def take(self, length: int) -> bytes:
        if len(self.rest) < length:
            raise malformed("it ends too early")
        taken, self.rest = self.rest[:length], self.rest[length:]
        return taken

    def number(self, length: int) -> int:
        return int.from_bytes(self.take(length), "little")

    def piece(self) -> str:
        number = self.number(4)
        if number >= self.pieces:
            raise malformed("no such piece")
        return str(number)

    def key(self) -> str:
        return self.take(32).hex()

    def address(self) -> str:
        try:
            return check_address(self.take(self.number(1)).decode("ascii"))
        except ValueError:
            raise malformed("no address") from None

    def until_end(self, read) -> list:
        read_values = []
        while self.rest:
            read_values.append(read())
        return read_values


# Each returns what stands behind the name on the first line, and the other lines.

def read_announce(reader: Reader) -> list:
    role, port, count = reader.number(1), reader.number(2), reader.number(1)
    if role > 3 or count > 4:
        raise malformed("no such role, or too many addresses")
    return [[str(role), str(port)], *(reader.address() for _ in range(count))]


def read_peers(reader: Reader) -> list:
    peers = reader.until_end(lambda: f"{reader.key()} {reader.address()}")
    if len(peers) > 12:
        raise malformed("too many members")
    return [[], *peers]


def read_members(reader: Reader) -> list:
    epoch, keys = reader.number(8), reader.until_end(reader.key)
    if any(one >= next_one for one, next_one in itertools.pairwise(keys)):
        raise malformed("keys are repeated or out of order")
    return [[str(epoch)], *keys]


def read_have_set(reader: Reader) -> list:
    # Piece 0 is the lowest bit of the first byte, so the bits are those of a little-endian number.
    bits = reader.number(len(reader.rest))
    if bits >> reader.pieces:
        raise malformed("an unused bit is set")
    return [[], *(str(piece) for piece in range(reader.pieces) if bits >> piece & 1)]


def read_slot(reader: Reader) -> list:
    has_slot = reader.number(1)
    if has_slot > 1:
        raise malformed("neither given nor taken away")
    return [[str(has_slot)]]


def read_get(reader: Reader) -> list:
    item = reader.number(1)
    if item > 4:
        raise malformed("no such item")
    root = [reader.key()] if item == 4 else []
    start, count = reader.number(8), reader.number(8)
    if count == 0 or start + count >= 2**64 or item == 0 and (start, count) != (0, 1):
        raise malformed("no such range")
    return [[str(item), *root, str(start), str(count)]]


READERS = {
    "ANNOUNCE": read_announce,
    "PEERS": read_peers,
    "MEMBERS": read_members,
    "HAVE_ALL": lambda reader: [[]],
    "HAVE_SET": read_have_set,
    "HAVE": lambda reader: [[], *reader.until_end(reader.piece)],
    "CLAIM": lambda reader: [[reader.piece()] if reader.rest else []],
    "BYE": lambda reader: [[]],
    "ALIVE": lambda reader: [[]],
    "SLOT": read_slot,
    "GET": read_get,
    "GIVE": lambda reader: [[]],
    "BUSY": lambda reader: [[str(reader.number(4))]],
    "LACK": lambda reader: [[]],
    "GIVE_ALL": lambda reader: [[blake3.hash(reader.take(len(reader.rest))).hex()]],
}


# --- pieces (W11) ---------------------------------------------------------------------------------------

File = tuple[int, str]  # size and root


def piece_length(files: list[File], chunk_size: int) -> int:
    total = sum(size for size, _ in files)
    fitting = (length for length in (262_144, 524_288, 1_048_576) if -(-total // length) <= 4096)
    return max(chunk_size, next(fitting, 1_048_576))


def pieced_files(files: list[File]) -> list[File]:
    """The files that have pieces: each root once, at its first place."""
    first = {}
    for size, root in files:
        if size:
            first.setdefault(root, size)
    return [(size, root) for root, size in first.items()]


def piece_count(files: list[File], chunk_size: int) -> int | None:
    """`None` of a release that is not shared."""
    length = piece_length(files, chunk_size)
    count = sum(-(-size // length) for size, _ in pieced_files(files))
    return count if count <= MAX_PIECES else None


def piece_places(files: list[File], chunk_size: int) -> list[tuple[int, int, str]]:
    """Where each piece begins and ends, and in which file."""
    length = piece_length(files, chunk_size)
    return [(start, min(start + length, size), root)
            for size, root in pieced_files(files) for start in range(0, size, length)]


# --- owners (W13) -----------------------------------------------------------------------------------------

MASK64 = 2**64 - 1


def mix(z: int) -> int:
    z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9 & MASK64
    z = (z ^ (z >> 27)) * 0x94D049BB133111EB & MASK64
    return z ^ (z >> 31)


def spread(piece: int) -> int:
    return mix(piece + 0x9E3779B97F4A7C15 & MASK64)


def member_id(key: bytes) -> int:
    return int.from_bytes(blake3.hash(key)[:8], "little")


def owners(keys: list[bytes], pieces: int) -> list[bytes]:
    """The owner of each piece. There is at least one member."""
    cap = -(-pieces // len(keys))
    ids = {key: member_id(key) for key in sorted(keys)}
    owned, table = dict.fromkeys(ids, 0), []
    for piece in range(pieces):
        # `max` takes the first of equal ones, which has the smallest key.
        free = (key for key in ids if owned[key] < cap)
        owner = max(free, key=lambda key: mix(ids[key] ^ spread(piece)))
        owned[owner] += 1
        table.append(owner)
    return table


# --- the sections of vectors (spec/vectors/README.md) ---------------------------------------------------

def parse_files(data: bytes) -> list[File]:
    """Lines `SIZE ROOT`."""
    lines = (line.split(" ") for line in data.decode().split("\n")[:-1])
    return [(int(size), root) for size, root in lines]


def place_lines(places: list[tuple[int, int, str]]) -> bytes:
    """Lines `A..B ROOT`."""
    return "".join(f"{start}..{end} {root}\n" for start, end, root in places).encode()
