"""Swarms (spec/swarm.md): tickets, proofs of membership, messages, pieces and their owners."""

import hashlib
import struct
from base64 import b64encode

from weighbridge_ref import blake3, swarm

from .common import Cases, accepted, refused

MIB = 1 << 20


def cases() -> Cases:
    yield from good_tickets()
    yield from ticket_lines()
    yield from ticket_values()
    yield from addresses()
    yield from proofs()
    yield from claims()
    yield from headers()
    yield from good_messages()
    yield from bad_messages()
    yield from pieces()
    yield from owners()


def some_bytes(what: str) -> bytes:
    """32 bytes that follow from the words."""
    return hashlib.sha256(f"weighbridge vectors, test only, {what}".encode()).digest()


def base64(data: bytes) -> str:
    return b64encode(data).decode()


# --- tickets ----------------------------------------------------------------------------------------

NAME = "weighbridge-test/tiny"
HEAD = some_bytes("a head").hex()
EXPIRES = "2026-12-07T00:00:00Z"
SECRET = base64(some_bytes("a secret"))
TRACKER = "origin.example:7070"
KEYS = sorted(some_bytes(f"member {i}") for i in range(1025))


def ticket_lines_of(name=NAME, head=HEAD, expires=EXPIRES, secret=SECRET, trackers=(TRACKER,), members=(), access="secret") -> list[str]:
    return ["weighbridge/swarm/v1", f"name {name}", f"head {head}", f"expires {expires}", f"{access} {secret}",
            *(f"tracker {tracker}" for tracker in trackers), *(f"member {member}" for member in members)]


def ticket(**values) -> bytes:
    """A ticket with some values changed. `secret` is what stands behind `access`. `members` are the texts behind `member`, as `trackers` are those behind `tracker`."""
    return text_of(ticket_lines_of(**values))


def text_of(lines: list[str]) -> bytes:
    return "".join(line + "\n" for line in lines).encode()


def good_ticket(name: str, comment: str, /, **values):
    text = ticket(**values)
    read = swarm.parse_ticket(text)
    label = swarm.label(swarm.ticket_key(read)).hex()
    answers = {"label": label, "trackers": len(read.trackers), "members": len(read.members)}
    return accepted(f"swarm-ticket/{name}", "swarm-ticket", comment, {"ticket": text}, name=read.name, head=read.head.hex(),
                    **answers)


def bad_ticket(name: str, code: int, comment: str, text: bytes, rule=None):
    return refused(f"swarm-ticket/{name}", "swarm-ticket", code, comment, {"ticket": text}, rule=rule)


def good_tickets() -> Cases:
    yield good_ticket("plain", "one tracker")
    yield good_ticket("no-tracker", "no tracker and no member: five lines", trackers=[])
    yield good_ticket("member", "one member: no other node may join", members=[base64(KEYS[0])])
    yield good_ticket("members", "the label is that of the ticket without members", members=map(base64, KEYS[:3]))
    yield good_ticket("trackers-8", "as many trackers as there may be", trackers=[f"t{i}.example:7070" for i in range(8)])
    yield good_ticket("members-1024", "as many members as there may be", members=map(base64, KEYS[:1024]))
    yield good_ticket("trackers-in-any-order", "trackers are not sorted", trackers=["b.example:1", "a.example:1"])
    yield good_ticket("same-host", "the same host twice, at other ports", trackers=["a.example:1", "a.example:2"])
    yield good_ticket("longest-name", "a name of 255 bytes", name="a" * 255)
    yield good_ticket("first-end", "the first second that is not before 1970; whether it is past is asked when a node joins",
                      expires="1970-01-01T00:00:00Z")
    yield good_ticket("last-end", "the last time that has a form", expires="9999-12-31T23:59:59Z")
    yield good_ticket("leap-day", "a day of a leap year", expires="2028-02-29T12:34:56Z")
    yield good_ticket("other-end", "a later end makes another label", expires="2026-12-07T00:00:01Z")
    yield good_ticket("other-secret", "another secret makes another label", secret=base64(some_bytes("another secret")))
    yield good_ticket("zeros", "a secret and a head of zeros: what is random is not judged", secret=base64(bytes(32)), head="0" * 64)
    yield good_ticket("ones", "a secret of ones, in base64 with `/`", secret=base64(b"\xff" * 32))
    yield good_ticket("open", "an open ticket: the label is another one than that of the secret", access="open")
    yield good_ticket("open-no-tracker", "an open ticket of five lines", access="open", trackers=[])
    yield good_ticket("open-trackers-8", "as many trackers as there may be", access="open",
                      trackers=[f"t{i}.example:7070" for i in range(8)])
    yield good_ticket("open-zeros", "what is random is not judged", access="open", secret=base64(bytes(32)))
    yield good_ticket("extreme-members", "keys of zeros and of ones: whether a key is a point is not judged",
                      members=[base64(bytes(32)), base64(b"\xff" * 32)])


def ticket_lines() -> Cases:
    whole = ticket_lines_of(members=map(base64, KEYS[:2]))
    text = text_of(whole)

    # A ticket of 65,536 bytes needs a malformed value: all that is allowed has 57,000 at most.
    def of_length(length):
        return ticket(name="a" * (length - len(ticket(name=""))))

    yield bad_ticket("bytes-65536", 1904, "65,536 bytes are read, up to a name that is too long", of_length(65_536))
    yield bad_ticket("bytes-65537", 1901, "65,537 bytes", of_length(65_537), rule=12)
    yield bad_ticket("bytes-65537-other-version", 1901, "65,537 bytes of another version", b"\n" * 65_537, rule=12)

    yield bad_ticket("empty", 1902, "no byte", b"")
    yield bad_ticket("line-feed", 1902, "an empty line", b"\n")
    yield bad_ticket("version-2", 1902, "a version that is not known", text_of(["weighbridge/swarm/v2", *whole[1:]]))
    yield bad_ticket("version-upper-case", 1902, "compared byte by byte", text_of(["weighbridge/swarm/V1", *whole[1:]]))
    yield bad_ticket("version-space", 1902, "a space behind the first line", text_of(["weighbridge/swarm/v1 ", *whole[1:]]))
    yield bad_ticket("version-crlf", 1902, "all lines end with CRLF", text.replace(b"\n", b"\r\n"))
    yield bad_ticket("version-line-feed", 1902, "an empty line at the beginning", b"\n" + text)
    yield bad_ticket("version-byte-order-mark", 1902, "no byte stands before the first line", b"\xef\xbb\xbf" + text)
    yield bad_ticket("version-without-lf", 1902, "no line ends", b"weighbridge/swarm/v1")
    yield bad_ticket("version-missing", 1902, "begins with the name", text_of(whole[1:]))

    yield bad_ticket("version-alone", 1903, "one line", text_of(whole[:1]))
    for i, line in enumerate(whole[1:5], 1):
        key = line.split(" ")[0]
        yield bad_ticket(f"missing-{key}", 1903, f"no line `{key}`", text_of(whole[:i] + whole[i + 1 :]), rule=6)
        yield bad_ticket(f"doubled-{key}", 1903, f"two equal lines `{key}`", text_of(whole[: i + 1] + whole[i:]), rule=6)
        yield bad_ticket(f"ends-before-{key}", 1903, f"ends before `{key}`", text_of(whole[:i]), rule=6)
    yield bad_ticket("two-secrets", 1903, "two secrets: one reader would take the first, another the last",
                     text_of(whole[:5] + [f"secret {base64(bytes(32))}"] + whole[5:]), rule=6)
    yield bad_ticket("swapped-head-name", 1903, "`head` stands before `name`",
                     text_of([whole[0], whole[2], whole[1], *whole[3:]]), rule=6)
    yield bad_ticket("open-member", 1903, "an open ticket lists no members", ticket(access="open", members=map(base64, KEYS[:1])), rule=6)
    yield bad_ticket("open-member-malformed", 1903, "a line too many, whatever it says", ticket(access="open", members=["x"]), rule=6)
    yield bad_ticket("secret-and-open", 1903, "one reader would take it for open, another not",
                     text_of([*whole[:5], f"open {SECRET}", *whole[5:]]), rule=6)
    yield bad_ticket("open-and-secret", 1903, "the same in the other order",
                     text_of([*whole[:4], f"open {SECRET}", *whole[4:6]]), rule=6)
    yield bad_ticket("open-twice", 1903, "two lines `open`", text_of([*whole[:4], *[f"open {SECRET}"] * 2, whole[5]]), rule=6)
    yield bad_ticket("open-before-expires", 1903, "`open` stands before `expires`",
                     text_of([*whole[:3], f"open {SECRET}", whole[3], whole[5]]), rule=6)
    yield bad_ticket("open-without-value", 1903, "a line `open` without a value", text_of([*whole[:4], "open", whole[5]]), rule=6)
    yield bad_ticket("open-prefix", 1903, "a key that begins with `open`", ticket(access="opened"), rule=6)
    yield bad_ticket("open-upper-case", 1903, "keys are compared byte by byte", ticket(access="Open"), rule=6)
    yield bad_ticket("no-final-lf-open", 1903, "the last line, an open one, is not ended", ticket(access="open", trackers=[])[:-1], rule=6)
    yield bad_ticket("tracker-before-secret", 1903, "`tracker` stands before `secret`",
                     text_of([*whole[:4], whole[5], whole[4], *whole[6:]]), rule=6)
    yield bad_ticket("member-before-tracker", 1903, "`member` stands before `tracker`",
                     text_of([*whole[:5], whole[6], whole[5], whole[7]]), rule=6)
    yield bad_ticket("trackers-9", 1903, "nine trackers", ticket(trackers=[f"t{i}.example:7070" for i in range(9)]), rule=12)
    yield bad_ticket("trackers-9-same", 1903, "the ninth tracker is a line too many, whatever it says",
                     ticket(trackers=[*(f"t{i}.example:7070" for i in range(8)), "t0.example:7070"]), rule=12)
    yield bad_ticket("members-1025", 1903, "1,025 members", ticket(members=map(base64, KEYS)), rule=12)
    yield bad_ticket("unknown-line", 1903, "an unknown line at the end", text + b"owner alice\n", rule=6)
    yield bad_ticket("unknown-line-within", 1903, "an unknown line among the trackers",
                     text_of([*whole[:5], "comment x", *whole[5:]]), rule=6)
    yield bad_ticket("empty-line", 1903, "an empty line between `expires` and `secret`",
                     text_of([*whole[:4], "", *whole[4:]]), rule=6)
    yield bad_ticket("empty-line-at-end", 1903, "an empty line at the end", text + b"\n", rule=6)
    yield bad_ticket("carriage-return-at-end", 1903, "CR LF behind the last line", text + b"\r\n", rule=6)
    yield bad_ticket("nul-at-end", 1903, "a byte behind the last line", text + b"\0", rule=6)
    yield bad_ticket("no-final-lf-member", 1903, "the last line, of a member, is not ended", text[:-1], rule=6)
    yield bad_ticket("no-final-lf-tracker", 1903, "the last line, of a tracker, is not ended", ticket()[:-1], rule=6)
    yield bad_ticket("no-final-lf-secret", 1903, "the last line, of the secret, is not ended", ticket(trackers=[])[:-1], rule=6)
    yield bad_ticket("no-final-lf-malformed", 1903, "the last line is not ended, whatever it says",
                     ticket(trackers=["Origin:0"])[:-1], rule=6)
    yield bad_ticket("malformed-before-no-final-lf", 1904, "of two faults the first one counts", ticket(name="")[:-1])
    yield bad_ticket("malformed-before-unknown-line", 1904, "of two faults the first one counts", ticket(head="x") + b"x\n")
    yield bad_ticket("unknown-line-before-malformed", 1903, "of two faults the first one counts",
                     text_of([*ticket_lines_of()[:4], "x", *ticket_lines_of(secret="x")[4:]]))
    yield bad_ticket("key-upper-case", 1903, "keys are compared byte by byte", text.replace(b"\nsecret ", b"\nSecret "))
    yield bad_ticket("key-prefix", 1903, "a key that begins with the expected one", text.replace(b"\nhead ", b"\nheads "))
    yield bad_ticket("tracker-prefix", 1903, "a key that begins with `tracker`", text.replace(b"\ntracker ", b"\ntrackers "))
    yield bad_ticket("key-indented", 1903, "a space before a key", text.replace(b"\nhead ", b"\n head "))
    yield bad_ticket("key-tab", 1903, "a tab behind a key", text.replace(b"\nhead ", b"\nhead\t"))
    yield bad_ticket("key-colon", 1903, "a colon behind a key", text.replace(b"\nhead ", b"\nhead: "))
    yield bad_ticket("key-not-utf8", 1903, "a key that is no text", text.replace(b"\nhead ", b"\nhe\xffd "))
    yield bad_ticket("carriage-return-alone", 1902, "CR does not end a line", text.replace(b"\n", b"\r"))


def ticket_values() -> Cases:
    def bad(name, comment, /, rule=None, **values):
        return bad_ticket(name, 1904, comment, ticket(**values), rule=rule)

    yield bad("name-empty", "no name", name="")
    yield bad("name-two-spaces", "one space stands before a value", name=" " + NAME)
    yield bad("name-space-at-end", "nothing stands behind a value", name=NAME + " ")
    yield bad("name-256", "a name of 256 bytes", name="a" * 256, rule=12)
    yield bad("name-empty-part", "a name with an empty part", name="a//b")
    yield bad("name-carriage-return", "CRLF ends one line", name=NAME + "\r")
    yield bad_ticket("name-not-utf8", 1904, "a name that is no text", ticket().replace(b"tiny", b"tin\xff"))

    yield bad("head-upper-case", "a head id in upper case", head=HEAD.upper())
    yield bad("head-63", "63 digits", head=HEAD[:-1])
    yield bad("head-65", "65 digits", head=HEAD + "0")
    yield bad("head-carriage-return", "CRLF ends one line", head=HEAD + "\r")
    yield bad("head-none", "a word of heads", head="none")

    yield bad("expires-before-1970", "a second before 1970", expires="1969-12-31T23:59:59Z", rule=1)
    yield bad("expires-year-0", "a time before 1970", expires="0000-01-01T00:00:00Z", rule=1)
    yield bad("expires-never", "a ticket has an end", expires="never")
    yield bad("expires-number", "seconds since 1970", expires="1796601600")
    yield bad("expires-zone", "a zone for `Z`", expires="2026-12-07T00:00:00+00:00")
    yield bad("expires-lower-case", "`z` for `Z`", expires="2026-12-07T00:00:00z")
    yield bad("expires-fraction", "a part of a second", expires="2026-12-07T00:00:00.0Z")
    yield bad("expires-leap-second", "seconds go up to 59", expires="2026-12-31T23:59:60Z")
    yield bad("expires-no-such-day", "2026 is no leap year", expires="2026-02-29T00:00:00Z")
    yield bad("expires-space", "a space for `T`", expires="2026-12-07 00:00:00Z")
    yield bad("expires-year-10000", "five digits", expires="10000-01-01T00:00:00Z")

    yield bad("secret-empty", "no secret", secret="")
    yield bad("secret-unpadded", "base64 without padding", secret=SECRET.rstrip("="))
    yield bad("secret-padded-twice", "padding for two bytes less", secret=SECRET + "=")
    yield bad("secret-trailing-bits", "the unused bits of the last character are not 0", secret=next_character(SECRET), rule=6)
    yield bad("secret-31", "31 bytes", secret=base64(bytes(31)), rule=1)
    yield bad("secret-33", "33 bytes", secret=base64(bytes(33)), rule=1)
    yield bad("secret-64", "64 bytes", secret=base64(bytes(64)), rule=1)
    yield bad("secret-url-alphabet", "the alphabet of RFC 4648, section 5", secret=base64(b"\xff" * 32).replace("/", "_"))
    yield bad("secret-hexadecimal", "64 hexadecimal digits, which are base64 of 48 bytes", secret="0" * 64)
    yield bad("secret-space-at-end", "a space at the end", secret=SECRET + " ")
    yield bad("secret-carriage-return", "CRLF ends one line", secret=SECRET + "\r")
    yield bad("secret-space-within", "a space within", secret=SECRET[:22] + " " + SECRET[22:])
    yield bad("secret-two-lines", "a line of base64 goes on in the next", secret=SECRET[:20] + "\n" + SECRET[20:])
    yield bad("secret-nul", "a NUL at the end", secret=SECRET + "\0")

    for access_name, value in (("empty", ""), ("31", base64(bytes(31))), ("33", base64(bytes(33))), ("unpadded", SECRET.rstrip("=")),
                               ("trailing-bits", next_character(SECRET)), ("yes", "yes"), ("space-at-end", SECRET + " ")):
        yield bad(f"open-{access_name}", "what stands behind `open` has the form of a secret", access="open", secret=value)

    yield bad("tracker-repeated", "the same tracker twice in a row", trackers=[TRACKER, TRACKER], rule=6)
    yield bad("tracker-repeated-later", "the same tracker, with another between", trackers=[TRACKER, "a.example:1", TRACKER], rule=6)

    a, b = map(base64, KEYS[:2])
    yield bad("member-repeated", "the same member twice", members=[a, a], rule=6)
    yield bad("member-descending", "the greater key stands first", members=[b, a], rule=6)
    # `+` is 62 in base64 and stands before `A` as a character.
    text_order = [base64(b"\xf8" + bytes(31)), base64(bytes(32))]
    assert text_order == sorted(text_order)
    yield bad("member-order-of-text", "ascending by their text, not by their bytes", members=text_order, rule=6)
    yield good_ticket("member-order-of-bytes", "ascending by their bytes, not by their text", members=text_order[::-1])
    yield bad("member-empty", "no key", members=[""])
    yield bad("member-unpadded", "base64 without padding", members=[a.rstrip("=")])
    yield bad("member-trailing-bits", "the unused bits of the last character are not 0", members=[next_character(a)], rule=6)
    yield bad("member-31", "31 bytes", members=[base64(bytes(31))], rule=1)
    yield bad("member-33", "33 bytes", members=[base64(bytes(33))], rule=1)
    yield bad("member-hexadecimal", "64 hexadecimal digits", members=[KEYS[0].hex()])
    yield bad("member-two", "two keys on a line", members=[f"{a} {b}"])
    yield bad("member-vkey", "a name before the key", members=[f"alice {a}"])
    yield bad("member-carriage-return", "CRLF ends one line", members=[a + "\r"])


def next_character(text: str) -> str:
    """The base64 text with another last character, which differs from the right one in bits that no byte has."""
    return text[:-2] + chr(ord(text[-2]) + 1) + "="


def addresses() -> Cases:
    def good(name, comment, address):
        return good_ticket(f"address-{name}", comment, trackers=[address])

    def bad(name, comment, address, rule=None):
        return bad_ticket(f"address-{name}", 1904, comment, ticket(trackers=[address]), rule=rule)

    of_253 = ".".join(["a" * 63, "b" * 63, "c" * 63, "d" * 61])
    yield good("255", "a name of 253 characters with its port: 255 bytes", of_253 + ":1")
    yield bad("256", "256 bytes", of_253 + ":10", rule=12)
    yield bad("256-of-254", "a name of 254 characters", of_253 + "d:1", rule=12)
    yield good("part-63", "a part of 63 characters", "a" * 63 + ":7070")
    yield bad("part-64", "a part of 64 characters", "a" * 64 + ":7070")
    yield good("one-part", "a name without a dot", "localhost:7070")
    yield good("short", "the shortest name", "a:1")
    yield good("hyphens", "hyphens anywhere, as in the names of other alphabets", "-a-.xn--bcher-kva-:7070")
    yield good("digits-first", "only the last part is no number", "10.0.0.example:7070")
    yield good("digits-and-letters", "a last part that begins with a digit", "1a:7070")
    yield good("digits-and-hyphen", "a last part of digits and a hyphen", "1-2:7070")
    yield good("ipv4", "an IPv4 address", "192.0.2.1:7070")
    yield good("ipv4-largest", "the largest of each", "255.255.255.255:65535")
    yield good("ipv4-zeros", "an address of zeros", "0.0.0.0:1")
    for name, comment, host in [
        ("loopback", "one group", "::1"),
        ("zeros", "no group", "::"),
        ("ends-with-zeros", "zeros at the end", "2001:db8::"),
        ("full", "eight groups", "2001:db8:1:2:3:4:5:6"),
        ("one-zero", "one zero is not compressed", "2001:db8:0:1:1:1:1:1"),
        ("longest-run", "the longest run of zeros is compressed", "2001:0:0:1::1"),
        ("first-run", "of equal runs the first one", "2001:db8::1:0:0:1"),
        ("mapped", "an IPv4 address in an IPv6 one", "::ffff:192.0.2.1"),
        ("almost-mapped", "no IPv4 address", "::fffe:c000:201"),
    ]:
        yield good(f"ipv6-{name}", comment, f"[{host}]:7070")

    yield bad("empty", "no address", "")
    yield bad("no-port", "no port", "origin.example")
    yield bad("empty-port", "a colon without a port", "origin.example:")
    yield bad("port-0", "port 0", "origin.example:0", rule=1)
    yield bad("port-65536", "a port of 17 bits", "origin.example:65536", rule=1)
    yield bad("port-huge", "2^64 + 1, which is 1 in 64 bits", "origin.example:18446744073709551617", rule=1)
    yield bad("port-leading-zero", "a zero before a port", "origin.example:07070", rule=6)
    yield bad("port-leading-zeros", "zeros before a port of five digits", "origin.example:0000000001", rule=6)
    yield bad("port-plus", "a plus before a port", "origin.example:+7070", rule=6)
    yield bad("port-minus", "a minus before a port", "origin.example:-1")
    yield bad("port-hexadecimal", "other digits", "origin.example:0x1b9e")
    yield bad("port-name", "a name for a port", "origin.example:http")
    yield bad("port-other-digits", "digits that are not ASCII", "origin.example:707\N{ARABIC-INDIC DIGIT THREE}")
    yield bad("two-ports", "two ports", "origin.example:1:2")
    yield bad("no-host", "a port alone", ":7070")
    yield bad("upper-case", "a name in upper case", "Origin.example:7070", rule=6)
    yield bad("underscore", "an underscore", "origin_1.example:7070")
    yield bad("not-ascii", "a name that is not ASCII", "b\N{LATIN SMALL LETTER U WITH DIAERESIS}cher.example:7070")
    yield bad("empty-part", "two dots", "origin..example:7070")
    yield bad("first-part-empty", "a dot at the beginning", ".example:7070")
    yield bad("last-part-empty", "a dot at the end", "origin.example.:7070", rule=6)
    yield bad("dot", "a dot alone", ".:7070")
    yield bad("space-at-end", "a space at the end", "origin.example:7070 ")
    yield bad("two-on-a-line", "two addresses on a line", "a.example:1 b.example:1")
    yield bad("carriage-return", "CRLF ends one line", "origin.example:7070\r")
    yield bad("scheme", "a URL", "http://origin.example:7070")
    yield bad("path", "a path behind it", "origin.example:7070/")
    yield bad("user", "a user before it", "me@origin.example:7070")
    yield bad("wildcard", "any host", "*:7070")
    yield bad("number", "an IPv4 address as one number", "3221225985:7070", rule=6)
    yield bad("number-hexadecimal", "an IPv4 address as one number in hexadecimal", "0x7f000001:7070", rule=6)
    yield bad("last-part-number", "a name that ends with a number", "example.1:7070")
    yield bad("ipv4-three-parts", "an old form of an IPv4 address", "192.0.513:7070", rule=6)
    yield bad("ipv4-five-parts", "five numbers", "192.0.2.1.1:7070")
    yield bad("ipv4-256", "a part above 255", "192.0.2.256:7070")
    yield bad("ipv4-leading-zero", "a zero before a part, which some read as octal", "192.0.2.010:7070", rule=6)
    yield bad("ipv4-in-brackets", "brackets around an IPv4 address", "[192.0.2.1]:7070")
    yield bad("name-in-brackets", "brackets around a name", "[origin.example]:7070")
    yield bad("ipv6-no-brackets", "an IPv6 address without brackets", "2001:db8::1:7070")
    for name, comment, host in [
        ("empty", "nothing in brackets", ""),
        ("upper-case", "digits in upper case", "2001:DB8::1"),
        ("leading-zero", "a zero before a group", "2001:0db8::1"),
        ("not-compressed", "zeros that could be compressed", "2001:db8:0:0:0:0:0:1"),
        ("one-zero-compressed", "one zero is compressed", "2001:db8::1:1:1:1:1"),
        ("partly-compressed", "a zero beside the compressed ones", "2001:db8:0::1"),
        ("shorter-run", "the shorter run is compressed", "2001::1:0:0:0:1"),
        ("second-run", "of equal runs the second one is compressed", "2001:db8:0:0:1::1"),
        ("two-runs", "two runs are compressed", "2001::1::1"),
        ("seven-groups", "seven groups", "1:2:3:4:5:6:7"),
        ("nine-groups", "nine groups", "1:2:3:4:5:6:7:8:9"),
        ("five-digits", "a group of five digits", "2001:db8::12345"),
        ("mapped-hexadecimal", "an IPv4 address in other digits", "::ffff:c000:201"),
        ("mapped-elsewhere", "an IPv4 address behind a prefix that is not made for one", "2001:db8::192.0.2.1"),
        ("mapped-without-prefix", "an IPv4 address behind zeros", "::192.0.2.1"),
        ("zone", "a zone", "fe80::1%1"),
        ("zone-name", "a zone with a name", "fe80::1%eth0"),
        ("prefix", "a network", "2001:db8::/32"),
        ("twice-in-brackets", "two brackets", "[::1]"),
        ("space", "a space", " ::1"),
    ]:
        yield bad(f"ipv6-{name}", comment, f"[{host}]:7070", rule=6)
    yield bad("ipv6-open", "a bracket too few", "[::1:7070")
    yield bad("ipv6-behind-bracket", "something between bracket and port", "[::1]x:7070")


# --- proofs of membership ---------------------------------------------------------------------------------

def proofs() -> Cases:
    plain = {
        "secret": some_bytes("a secret"), "head": some_bytes("a head"), "exporter": some_bytes("an exporter"),
        "connecting": some_bytes("one member"), "accepting": some_bytes("another member"),
    }

    def case(name, comment, expires=EXPIRES, **changes):
        given = plain | changes
        if is_open := "open" in changes:
            del given["secret"]
        key = swarm.swarm_key(is_open, given["open" if is_open else "secret"], given["head"], swarm.parse_end(expires))
        answers = {side: swarm.membership(key, side, given["exporter"], given["connecting"], given["accepting"]).hex()
                   for side in ("connects", "accepts")}
        parameters = {name: data.hex() for name, data in given.items()}
        return accepted(f"swarm-proof/{name}", "swarm-proof", comment, **parameters, expires=expires,
                        label=swarm.label(key).hex(), tag=swarm.tag(key, given["connecting"]).hex(), **answers)

    yield case("plain", "label and proofs of a channel")
    yield case("other-end", "another end makes another swarm", expires="2026-12-07T00:00:01Z")
    yield case("first-end", "0 seconds since 1970", expires="1970-01-01T00:00:00Z")
    yield case("last-end", "38 bits of seconds", expires="9999-12-31T23:59:59Z")
    yield case("other-head", "another release makes another swarm", head=some_bytes("another head"))
    yield case("other-secret", "another secret makes another swarm", secret=some_bytes("another secret"))
    yield case("open", "the same bytes in an open ticket make another swarm", open=plain["secret"])
    yield case("other-connection", "the same members on another connection: the same label, other proofs",
               exporter=some_bytes("another exporter"))
    yield case("swapped-members", "the other one connects: the same label, other proofs",
               connecting=plain["accepting"], accepting=plain["connecting"])
    yield case("same-key", "both sides have the same key", accepting=plain["connecting"])
    yield case("zeros", "zeros everywhere", expires="1970-01-01T00:00:00Z", **dict.fromkeys(plain, bytes(32)))

# --- claims at an origin ------------------------------------------------------------------------------------

def claims() -> Cases:
    tag = some_bytes("a tag")[:16].hex()

    def case(name, comment, text):
        read = swarm.parse_claim(text)
        assert (read is None) == name.startswith("no-"), text
        found, lease = read or ("none", "none")
        return accepted(f"swarm-claim/{name}", "swarm-claim", comment, {"claim": text.encode()}, tag=found, lease=lease)

    yield case("plain", "eight seconds", f"{tag} 8000")
    yield case("least", "the least lease", f"{tag} 1000")
    yield case("most", "the longest lease", f"{tag} 60000")
    yield case("zero", "nothing is held back", f"{tag} 0")
    yield case("zeros", "a tag of zeros", f"{'0' * 32} 1000")
    yield case("ones", "a tag of ones", f"{'f' * 32} 1000")
    yield case("no-lease", "a tag alone", tag)
    yield case("no-lease-behind-a-space", "nothing behind the space", f"{tag} ")
    yield case("no-text", "nothing", "")
    yield case("no-tag", "a lease alone", "8000")
    yield case("no-tag-of-31-digits", "a digit too few", f"{tag[1:]} 8000")
    yield case("no-tag-of-33-digits", "a digit too many", f"0{tag} 8000")
    yield case("no-tag-upper-case", "small letters alone", f"{'F' * 32} 8000")
    yield case("no-tag-of-letters", "no hexadecimal digit", f"g{tag[1:]} 8000")
    yield case("no-tag-with-sign", "a sign is no digit", f"+{tag[1:]} 8000")
    yield case("no-tag-with-prefix", "0x is none either", f"0x{tag[2:]} 8000")
    yield case("no-tag-of-other-digits", "digits of other scripts", "\u0661" * 32 + " 8000")
    yield case("no-two-spaces", "one space", f"{tag}  8000")
    yield case("no-space-before", "none before", f" {tag} 8000")
    yield case("no-space-behind", "none behind", f"{tag} 8000 ")
    yield case("no-tabulator", "a space, and no tabulator", f"{tag}\t8000")
    yield case("no-semicolon", "a space, and no semicolon", f"{tag};8000")
    yield case("no-third-value", "two values", f"{tag} 8000 8000")
    yield case("no-lease-of-two-zeros", "zero has one digit", f"{tag} 00")
    yield case("no-lease-1", "far too short", f"{tag} 1")
    yield case("no-lease-999", "too short", f"{tag} 999")
    yield case("no-lease-60001", "too long", f"{tag} 60001")
    yield case("no-lease-of-zeros", "leading zeros", f"{tag} 08000")
    yield case("no-lease-with-sign", "a sign", f"{tag} +8000")
    yield case("no-lease-negative", "a negative one", f"{tag} -8000")
    yield case("no-lease-with-fraction", "a fraction", f"{tag} 8000.0")
    yield case("no-lease-with-unit", "a unit", f"{tag} 8s")
    yield case("no-lease-wraps", "2^64 + 8000", f"{tag} {2**64 + 8000}")
    yield case("no-lease-of-other-digits", "digits of other scripts", f"{tag} \u0668\u0660\u0660\u0660")



# --- messages -----------------------------------------------------------------------------------------

PIECES = 13
KIND = {name: kind for kind, (name, *_) in swarm.FORMS.items()}
U32, U64 = 2**32 - 1, 2**64 - 1


def message(kind: str | int, content: bytes = b"", length: int | None = None) -> bytes:
    """A message. `length` is what its header says, if that is not the truth."""
    number = KIND[kind] if isinstance(kind, str) else kind
    return struct.pack("<BI", number, len(content) if length is None else length) + content


def headers() -> Cases:
    def case(kind, length, pieces, is_good, comment):
        name = f"{kind}-{length}" + ("" if pieces == PIECES else f"-of-{pieces}")
        name = f"swarm-header/{name}".lower().replace("_", "-")
        number = KIND[kind] if kind in KIND else int(kind.removeprefix("kind-"))
        parameters = {"header": struct.pack("<BI", number, length).hex(), "pieces": pieces}
        if is_good:
            return accepted(name, "swarm-header", comment, **parameters, length=length)
        return refused(name, "swarm-header", 1911, comment, **parameters, rule=12 if length > 2**16 else None)

    bounds = [(name, least, most, PIECES) for name, least, most in swarm.FORMS.values() if least is not None]
    bounds += [("HAVE_SET", length, length, pieces)
               for pieces, length in ((0, 0), (1, 1), (8, 1), (9, 2), (PIECES, 2), (2**24, 2**21))]
    bounds += [(f"kind-{kind}", 0, 65_536, PIECES) for kind in (0, 10, 15, 21, 255)]
    for kind, least, most, pieces in bounds:
        yield case(kind, most, pieces, True, "the longest of this kind" if most > least else "the only length of this kind")
        yield case(kind, most + 1, pieces, False, "a byte longer than any of this kind")
        if least < most:
            yield case(kind, least, pieces, True, "the shortest of this kind")
        if least:
            yield case(kind, least - 1, pieces, False, "a byte shorter than any of this kind")
        if pieces == PIECES:
            yield case(kind, U32, pieces, False, "2^32 - 1 bytes")
    yield case("MEMBERS", 2**31, PIECES, False, "2^31 bytes, a negative number in 32 bits")
    yield case("BYE", 2**24, PIECES, False, "1 if its bytes are read in the other order")
    yield case("BUSY", 4 << 24, PIECES, False, "4 if its bytes are read in the other order")


def with_address(address: bytes | str, length: int | None = None) -> bytes:
    data = address.encode() if isinstance(address, str) else address
    return bytes([len(data) if length is None else length]) + data


def announce(*addresses: bytes, role: int = 1, port: int = 8080, count: int | None = None) -> bytes:
    return struct.pack("<BHB", role, port, len(addresses) if count is None else count) + b"".join(addresses)


def numbers(*values: int) -> bytes:
    return struct.pack(f"<{len(values)}I", *values)


def get(item: int, start: int, count: int, root: bytes = b"") -> bytes:
    return bytes([item]) + root + struct.pack("<QQ", start, count)


A, B = with_address("a.example:7070"), with_address("[2001:db8::1]:7070")
ROOT = some_bytes("a root")
HAVE_SET = bytes([0b10000101, 0b00010000])


def good_messages() -> Cases:
    def case(name, comment, kind, content=b"", says="", pieces=PIECES):
        first = kind if isinstance(kind, str) else "UNKNOWN"
        answer = f"{first}{says}\n".encode()
        return accepted(f"swarm-message/{name}", "swarm-message", comment,
                        {"message": message(kind, content), "says": answer}, pieces=pieces)

    def keys(count):
        return "".join(f"\n{key.hex()}" for key in KEYS[:count])

    for role, who in enumerate(["a tracker", "fetches all", "fetches a part", "has all"]):
        yield case(f"announce-role-{role}", who, "ANNOUNCE", announce(role=role), f" {role} 8080")
    yield case("announce-no-port", "it accepts no connections", "ANNOUNCE", announce(port=0), " 1 0")
    yield case("announce-largest-port", "the largest port", "ANNOUNCE", announce(port=65_535), " 1 65535")
    yield case("announce-address", "an address", "ANNOUNCE", announce(A), " 1 8080\na.example:7070")
    yield case("announce-addresses-4", "as many addresses as there may be", "ANNOUNCE", announce(A, B, A, B),
               " 1 8080" + "\na.example:7070\n[2001:db8::1]:7070" * 2)
    longest = "a" * 63 + ("." + "a" * 63) * 2 + "." + "a" * 61 + ":1"
    yield case("announce-longest", "four addresses of 255 bytes", "ANNOUNCE", announce(*[with_address(longest)] * 4),
               " 1 8080" + f"\n{longest}" * 4)
    yield case("peers-none", "no member", "PEERS")
    yield case("peers-1", "a member", "PEERS", KEYS[0] + A, f"\n{KEYS[0].hex()} a.example:7070")
    yield case("peers-12", "as many members as there may be", "PEERS", b"".join(key + B for key in KEYS[:12]),
               "".join(f"\n{key.hex()} [2001:db8::1]:7070" for key in KEYS[:12]))
    yield case("peers-any-order", "members in any order", "PEERS", KEYS[1] + A + KEYS[0] + A,
               f"\n{KEYS[1].hex()} a.example:7070\n{KEYS[0].hex()} a.example:7070")
    yield case("members-none", "no keys", "MEMBERS", struct.pack("<Q", 1), " 1")
    yield case("members-3", "three keys", "MEMBERS", struct.pack("<Q", 2) + b"".join(KEYS[:3]), " 2" + keys(3))
    yield case("members-epochs", "the largest epoch", "MEMBERS", struct.pack("<Q", U64) + KEYS[0], f" {U64}" + keys(1))
    yield case("have-all", "all pieces", "HAVE_ALL")
    yield case("have-set", "four pieces of thirteen: the lowest bit comes first", "HAVE_SET", HAVE_SET, "\n0\n2\n7\n12")
    yield case("have-set-none", "no piece", "HAVE_SET", bytes(2))
    yield case("have-set-all", "all bits that are used", "HAVE_SET", b"\xff\x1f",
               "".join(f"\n{piece}" for piece in range(13)))
    yield case("have-set-whole-bytes", "no bit is unused", "HAVE_SET", b"\x01\x80", "\n0\n15", pieces=16)
    yield case("have-set-no-pieces", "a release of empty files", "HAVE_SET", pieces=0)
    yield case("have", "one piece", "HAVE", numbers(5), "\n5")
    yield case("have-last", "the last piece", "HAVE", numbers(12), "\n12")
    yield case("have-any-order", "pieces in any order", "HAVE", numbers(7, 0, 12), "\n7\n0\n12")
    yield case("have-1024", "as many pieces as there may be", "HAVE", numbers(*range(1024)),
               "".join(f"\n{piece}" for piece in range(1024)), pieces=1024)
    yield case("have-largest", "the last piece of a release with as many as there may be", "HAVE", numbers(2**24 - 1),
               f"\n{2**24 - 1}", pieces=2**24)
    yield case("claim", "a claim", "CLAIM", numbers(5), " 5")
    yield case("claim-last", "of the last piece", "CLAIM", numbers(12), " 12")
    yield case("claim-ended", "a claim has ended", "CLAIM")
    yield case("bye", "it leaves", "BYE")
    yield case("alive", "it is there", "ALIVE")
    yield case("slot", "the receiver has an upload slot", "SLOT", b"\1", " 1")
    yield case("slot-lost", "it has none any more", "SLOT", b"\0", " 0")
    yield case("get-head", "`head.note`", "GET", get(0, 0, 1), " 0 0 1")
    for item, what in enumerate(["`files.jsonl`", "`tensors.jsonl`", "`chunks.layer`"], 1):
        yield case(f"get-item-{item}", what, "GET", get(item, 100, 1000), f" {item} 100 1000")
    yield case("get-file", "bytes of a file", "GET", get(4, 16384, 32768, ROOT), f" 4 {ROOT.hex()} 16384 32768")
    yield case("get-one-byte", "one byte", "GET", get(1, 0, 1), " 1 0 1")
    yield case("get-largest", "ends at 2^64 - 1; what is past the end is answered with LACK", "GET", get(1, U64 - 1, 1),
               f" 1 {U64 - 1} 1")
    yield case("get-most", "as many bytes as can be asked for", "GET", get(1, 0, U64), f" 1 0 {U64}")
    yield case("give", "the bytes follow", "GIVE")
    yield case("busy", "half a second", "BUSY", numbers(500), " 500")
    yield case("busy-0", "no time", "BUSY", numbers(0), " 0")
    yield case("busy-longest", "49 days: whoever asked decides how long it waits", "BUSY", numbers(U32), f" {U32}")
    yield case("lack", "it does not have them", "LACK")
    yield case("give-all", "three bytes", "GIVE_ALL", b"abc", f" {blake3.hash(b'abc').hex()}")
    yield case("give-all-one-byte", "one byte", "GIVE_ALL", b"\0", f" {blake3.hash(bytes(1)).hex()}")
    for kind in (0, 10, 15, 21, 128, 255):
        yield case(f"unknown-{kind}", "a kind that is not known is passed over", kind, b"whatever it says")
    yield case("unknown-empty", "a kind that is not known, without content", 10)


def bad_messages() -> Cases:
    def case(name, comment, kind, content=b"", length=None, pieces=PIECES, rule=None):
        return refused(f"swarm-message/{name}", "swarm-message", 1911, comment,
                       {"message": message(kind, content, length)}, rule=rule, pieces=pieces)

    yield case("announce-role-4", "no such role", "ANNOUNCE", announce(role=4))
    yield case("announce-role-255", "no such role", "ANNOUNCE", announce(role=255))
    yield case("announce-addresses-5", "five addresses", "ANNOUNCE", announce(A, A, A, A, A), rule=12)
    yield case("announce-count-255", "claims 255 addresses", "ANNOUNCE", announce(count=255), rule=1)
    yield case("announce-one-missing", "claims two addresses and has one", "ANNOUNCE", announce(A, count=2), rule=1)
    yield case("announce-one-more", "claims one address and has two", "ANNOUNCE", announce(A, B, count=1), rule=1)
    yield case("announce-byte-behind", "a byte behind the addresses", "ANNOUNCE", announce(A) + b"\0", rule=6)
    yield case("announce-address-cut", "an address that goes on past the end", "ANNOUNCE",
               announce(with_address("a.example:7070", 15)), rule=1)
    yield case("announce-address-255", "claims an address of 255 bytes", "ANNOUNCE",
               announce(with_address("a.example:7070", 255)), rule=1)
    yield case("announce-address-empty", "an address without bytes", "ANNOUNCE", announce(with_address("")))
    for name, comment, address in [
        ("port-0", "port 0", "a.example:0"),
        ("leading-zero", "a zero before a port", "a.example:07070"),
        ("no-port", "no port", "a.example"),
        ("upper-case", "a name in upper case", "A.example:7070"),
        ("ipv4-leading-zero", "a zero before a part", "192.0.2.010:7070"),
        ("ipv6-not-compressed", "an IPv6 address in another form", "[0:0:0:0:0:0:0:1]:7070"),
        ("line-feed", "a LF behind it", "a.example:7070\n"),
        ("nul", "a NUL behind it", "a.example:7070\0"),
    ]:
        yield case(f"announce-address-{name}", comment, "ANNOUNCE", announce(with_address(address)))
        yield case(f"peers-address-{name}", comment, "PEERS", KEYS[0] + with_address(address))
    yield case("announce-address-not-utf8", "an address that is no text", "ANNOUNCE",
               announce(with_address(b"a\xff.example:7070")))
    yield case("announce-big-endian", "a count of 4 and no address, if the port is read in the other order", "ANNOUNCE",
               bytes([1, 0x1F, 0x90, 4]))

    yield case("slot-2", "neither given nor taken away", "SLOT", b"\2", rule=1)
    yield case("slot-255", "neither given nor taken away", "SLOT", b"\xff", rule=1)
    yield case("slot-empty", "no byte", "SLOT", rule=1)
    yield case("slot-two-bytes", "a byte behind it", "SLOT", b"\1\0", rule=6)

    yield case("peers-13", "thirteen members", "PEERS", b"".join(key + A for key in KEYS[:13]), rule=12)
    yield case("peers-key-cut", "ends within a key", "PEERS", KEYS[0] + A + KEYS[1][:31], rule=1)
    yield case("peers-no-address", "ends behind a key", "PEERS", KEYS[0], rule=1)
    yield case("peers-address-cut", "ends within an address", "PEERS", KEYS[0] + A[:-1], rule=1)
    yield case("peers-address-empty", "an address without bytes", "PEERS", KEYS[0] + with_address(""))

    epoch = struct.pack("<Q", 1)
    yield case("members-epoch-cut", "seven bytes", "MEMBERS", epoch[:7], rule=1)
    yield case("members-key-cut", "ends within a key", "MEMBERS", epoch + KEYS[0] + KEYS[1][:31], rule=1)
    yield case("members-byte-behind", "a byte behind the keys", "MEMBERS", epoch + KEYS[0] + b"\0", rule=6)
    yield case("members-descending", "the greater key stands first", "MEMBERS", epoch + KEYS[1] + KEYS[0], rule=6)
    yield case("members-repeated", "a key twice", "MEMBERS", epoch + KEYS[0] * 2, rule=6)
    yield case("members-repeated-later", "a key twice, with another between", "MEMBERS",
               epoch + KEYS[0] + KEYS[1] + KEYS[0], rule=6)

    for kind in ("HAVE_ALL", "BYE", "ALIVE", "GIVE", "LACK"):
        name = kind.lower().replace("_", "-")
        yield case(f"{name}-byte", "it has no content", kind, b"\0")

    yield case("have-set-short", "a byte for thirteen pieces", "HAVE_SET", HAVE_SET[:1], rule=1)
    yield case("have-set-long", "three bytes for thirteen pieces", "HAVE_SET", HAVE_SET + b"\0", rule=1)
    yield case("have-set-empty", "no byte for thirteen pieces", "HAVE_SET", rule=1)
    yield case("have-set-no-pieces-byte", "a byte for no piece", "HAVE_SET", b"\0", pieces=0, rule=1)
    yield case("have-set-unused-first", "the first unused bit is set", "HAVE_SET", b"\0\x20", rule=1)
    yield case("have-set-unused-last", "the last unused bit is set", "HAVE_SET", b"\0\x80", rule=1)
    yield case("have-set-highest-first", "thirteen pieces, the highest bit first", "HAVE_SET", b"\xff\xf8", rule=1)
    yield case("have-set-one-piece", "the second bit for one piece", "HAVE_SET", b"\x02", pieces=1, rule=1)

    yield case("have-none", "no piece", "HAVE")
    yield case("have-cut", "ends within a number", "HAVE", numbers(1, 2)[:-1], rule=1)
    yield case("have-byte-behind", "a byte behind the numbers", "HAVE", numbers(1) + b"\0", rule=6)
    yield case("have-1025", "1,025 pieces", "HAVE", numbers(*range(1025)), pieces=2048, rule=12)
    yield case("have-past-end", "a piece that is not there", "HAVE", numbers(13), rule=1)
    yield case("have-past-end-later", "a piece that is not there, behind one that is", "HAVE", numbers(12, 13), rule=1)
    yield case("have-u32", "piece 2^32 - 1", "HAVE", numbers(U32), rule=1)
    yield case("have-no-pieces", "a release without pieces", "HAVE", numbers(0), pieces=0, rule=1)
    yield case("have-big-endian", "piece 1, if its bytes are read in the other order", "HAVE", b"\0\0\0\1", rule=1)

    for length in (1, 2, 3):
        yield case(f"claim-{length}", "neither a number nor nothing", "CLAIM", bytes(length), rule=1)
    yield case("claim-5", "a byte behind the number", "CLAIM", bytes(5), rule=6)
    yield case("claim-past-end", "a piece that is not there", "CLAIM", numbers(13), rule=1)
    yield case("claim-u32", "piece 2^32 - 1", "CLAIM", numbers(U32), rule=1)

    yield case("get-item-5", "no such item", "GET", get(5, 0, 1))
    yield case("get-item-255", "no such item", "GET", get(255, 0, 1, ROOT))
    yield case("get-count-0", "no byte", "GET", get(1, 0, 0))
    yield case("get-file-count-0", "no byte of a file", "GET", get(4, 0, 0, ROOT))
    yield case("get-past-u64", "ends at 2^64, which no number of 64 bits is", "GET", get(1, U64, 1), rule=1)
    yield case("get-both-u64", "the largest of both", "GET", get(4, U64, U64, ROOT), rule=1)
    yield case("get-head-start", "the range of `head.note` is 0 and 1", "GET", get(0, 1, 1))
    yield case("get-head-count", "the range of `head.note` is 0 and 1", "GET", get(0, 0, 2))
    yield case("get-head-all", "the range of `head.note` is 0 and 1", "GET", get(0, 0, U64))
    yield case("get-file-no-root", "a file without its root", "GET", get(4, 0, 1), rule=1)
    yield case("get-list-root", "a list with a root", "GET", get(1, 0, 1, ROOT), rule=6)
    yield case("get-byte-behind", "a byte behind the numbers", "GET", get(1, 0, 1) + b"\0", rule=6)
    yield case("get-root-cut", "a root of 31 bytes", "GET", get(4, 0, 1, ROOT[:31]), rule=1)
    yield case("get-16", "a byte too few", "GET", get(1, 0, 1)[:-1], rule=1)
    yield case("get-50", "a byte too many", "GET", get(4, 0, 1, ROOT) + b"\0", rule=6)
    yield case("get-empty", "no byte", "GET")

    yield case("busy-3", "a byte too few", "BUSY", bytes(3), rule=1)
    yield case("busy-5", "a byte too many", "BUSY", bytes(5), rule=6)
    yield case("busy-empty", "no time", "BUSY")
    yield case("give-all-empty", "a `head.note` has bytes", "GIVE_ALL")

    yield case("content-short", "a byte fewer than its header says", "HAVE", numbers(1)[:-1], length=4, rule=1)
    yield case("content-long", "a byte more than its header says", "HAVE", numbers(1) + b"\0", length=4, rule=6)
    yield case("content-two-messages", "another message behind it", "BYE", message("ALIVE"), length=0, rule=6)
    yield case("unknown-short", "a byte fewer than its header says, of a kind that is not known", 10, b"ab", length=3, rule=1)
    yield case("unknown-65537", "claims 65,537 bytes, of a kind that is not known", 10, length=65_537, rule=12)
    for cut in range(5):
        yield refused(f"swarm-message/header-{cut}", "swarm-message", 1911, f"{cut} bytes of a header",
                      {"message": message("BYE")[:cut]}, rule=1, pieces=PIECES)


# --- pieces -------------------------------------------------------------------------------------------

def pieces() -> Cases:
    roots = [some_bytes(f"root {i}").hex() for i in range(4)]

    def case(name, comment, chunk_size, *files, with_places=True):
        files = [(size, roots[root]) for size, root in files]
        count = swarm.piece_count(files, chunk_size)
        sections = {"files": "".join(f"{size} {root}\n" for size, root in files).encode()}
        if with_places:
            sections["places"] = swarm.place_lines(swarm.piece_places(files, chunk_size))
        return accepted(f"swarm-pieces/{name}", "swarm-pieces", comment, sections, chunk_size=chunk_size,
                        pieces="none" if count is None else count, length=swarm.piece_length(files, chunk_size))

    small, kib = 16_384, 1024
    yield case("one-byte", "a file of one byte", small, (1, 0))
    yield case("empty", "a file without bytes has no piece", small, (0, 0))
    yield case("no-files", "no file", small)
    yield case("one-piece", "a file of exactly one piece", small, (256 * kib, 0))
    yield case("one-byte-more", "a file of one piece and a byte", small, (256 * kib + 1, 0))
    yield case("one-byte-less", "a file of one piece but a byte", small, (256 * kib - 1, 0))
    yield case("several-files", "no piece has bytes of two files", small, (300_000, 0), (1, 1), (262_144, 2), (524_289, 3))
    yield case("empty-between", "a file without bytes between others", small, (300_000, 0), (0, 1), (5, 2))
    yield case("same-root", "a file whose root came before has no pieces", small, (300_000, 0), (5, 1), (300_000, 0), (7, 2))
    yield case("chunk-of-a-piece", "a chunk is a piece", 256 * kib, (600_000, 0))
    yield case("chunk-larger", "chunks are larger than pieces would be", 2 * MIB, (5 * MIB, 0), (1, 1))
    yield case("chunk-largest", "chunks of 16 MiB", 16 * MIB, (33 * MIB, 0))

    # 4,096 pieces of 256 KiB make 1 GiB.
    gib, most = 1 << 30, 2**53 - 1
    for name, comment, chunk_size, *files in [
        ("sum-1-gib", "4,096 pieces of 256 KiB", small, (gib, 0)),
        ("sum-1-gib-and-1", "a byte more: pieces of 512 KiB", small, (gib + 1, 0)),
        ("sum-2-gib", "4,096 pieces of 512 KiB", small, (2 * gib, 0)),
        ("sum-2-gib-and-1", "a byte more: pieces of 1 MiB", small, (2 * gib + 1, 0)),
        ("sum-4-gib", "4,096 pieces of 1 MiB", small, (4 * gib, 0)),
        ("sum-4-gib-and-1", "a byte more: more pieces, and no larger ones", small, (4 * gib + 1, 0)),
        ("sum-of-files", "the sum of all files decides", small, (gib, 0), (1, 1)),
        ("sum-counts-same-root", "the sum counts a file whose root came before, too", small, (gib // 2 + 1, 0), (gib // 2 + 1, 0)),
        ("sum-counts-each-once", "more files than the sum makes pieces of: each file has one of its own", small,
         (gib - 3, 0), (1, 1), (1, 2), (1, 3)),
        ("chunk-512-kib", "the larger of both: chunks", 512 * kib, (gib, 0)),
        ("chunk-512-kib-of-2-gib-and-1", "the larger of both: pieces", 512 * kib, (2 * gib + 1, 0)),
        ("most", "2^24 pieces", small, (MIB << 24, 0)),
        ("most-and-1", "a byte more is not shared", small, ((MIB << 24) + 1, 0)),
        ("most-of-files", "2^24 pieces, the last of them of another file", small, ((MIB << 24) - MIB, 0), (1, 1)),
        ("most-of-files-and-1", "a file of one byte more is not shared", small, ((MIB << 24) - MIB, 0), (1, 1), (1, 2)),
        ("most-and-same-root", "a file that came before adds none", small, (MIB << 24, 0), (MIB << 24, 0)),
        ("most-of-largest-chunks", "2^24 pieces of 16 MiB", 16 * MIB, (16 * MIB << 24, 0)),
        ("most-of-largest-chunks-and-1", "a byte more is not shared", 16 * MIB, ((16 * MIB << 24) + 1, 0)),
        ("largest-file", "2^53 - 1 bytes are not shared", small, (most, 0)),
        ("largest-file-of-largest-chunks", "nor in chunks of 16 MiB", 16 * MIB, (most, 0)),
        ("wraps", "2^32 + 1 pieces, which are 1 in 32 bits", small, (MIB * (2**32 + 1), 0)),
    ]:
        yield case(name, comment, chunk_size, *files, with_places=False)
    for chunk_size in (8192, 24_576, 32 * MIB):
        yield refused(f"swarm-pieces/chunk-size-{chunk_size}", "swarm-pieces", 1704, "no chunk size of a head",
                      {"files": f"1 {roots[0]}\n".encode()}, chunk_size=chunk_size)


# --- owners -------------------------------------------------------------------------------------------

def owners() -> Cases:
    def case(name, comment, keys, count):
        table = swarm.owners(keys, count)
        return accepted(f"swarm-owners/{name}", "swarm-owners", comment,
                        {"keys": "".join(f"{key.hex()}\n" for key in keys).encode()}, pieces=count,
                        owners=" ".join(str(keys.index(owner)) for owner in table) or "none")

    yield case("one-member", "all pieces have one owner", KEYS[:1], 5)
    yield case("two-members", "each owns half of the pieces", KEYS[:2], 16)
    yield case("odd-count", "one owns a piece more", KEYS[:2], 17)
    yield case("seven-members", "pieces do not divide by members", KEYS[:7], 100)
    yield case("seven-members-other-order", "owners do not depend on the order of the keys", KEYS[6::-1], 100)
    yield case("six-members", "one has left: mostly its own pieces move", KEYS[:6], 100)
    yield case("more-members-than-pieces", "some own nothing", KEYS[:20], 6)
    yield case("as-many-pieces", "each owns one piece", KEYS[:16], 16)
    yield case("no-pieces", "nothing to own", KEYS[:3], 0)
    yield case("extreme-keys", "keys of zeros and of ones", [bytes(32), b"\xff" * 32, KEYS[0]], 30)
    yield case("many", "enough pieces for caps to bind", KEYS[:31], 1000)
