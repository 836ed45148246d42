"""Small values: numbers, hashes, model names, times, paths, tensor names (spec/head.md, spec/lists.md)."""

import re
from base64 import b64decode, b64encode
from binascii import Error as Base64Error

from .refused import Refused

MAX_INT = 2**53  # exclusive
MAX_PATH = 1024
MIN_CHUNK_SIZE, MAX_CHUNK_SIZE = 1 << 14, 1 << 24

NAME_PART = r"[A-Za-z0-9][A-Za-z0-9._-]*"
NAME = re.compile(rf"{NAME_PART}(?:/{NAME_PART})*")
TIME = re.compile(r"([0-9]{4})-([0-9]{2})-([0-9]{2})T([0-9]{2}):([0-9]{2}):([0-9]{2})Z")
HASH = re.compile(r"[0-9a-f]{64}")
INT = re.compile(r"0|[1-9][0-9]*")

# Unicode property White_Space. (str.isspace accepts U+001C to U+001F too.)
WHITE_SPACE = set(
    "\t\n\v\f\r \x85\xa0\u1680\u2000\u2001\u2002\u2003\u2004\u2005\u2006\u2007\u2008\u2009\u200a"
    "\u2028\u2029\u202f\u205f\u3000"
)


def parse_int(text: str) -> int:
    # 2^53 has 16 digits. A longer text is not converted into a number (rule 12).
    if not INT.fullmatch(text) or len(text) > 16 or int(text) >= MAX_INT:
        raise ValueError("not an integer below 2^53 in canonical form")
    return int(text)


def parse_hash(text: str) -> bytes:
    if not HASH.fullmatch(text):
        raise Refused(1703, "not 64 lower-case hexadecimal digits")
    return bytes.fromhex(text)


def check_model_name(name: str) -> str:
    if not NAME.fullmatch(name) or len(name) > 255:
        raise Refused(1701, "malformed model name")
    return name


def cache_folder(name: str) -> str:
    """The folder of a model in a Hugging Face cache, for a name from which no other name has the same."""
    parts = check_model_name(name).split("/")
    folder = "models--" + "--".join(parts)
    odd = any(part.endswith(("-", ".")) or "--" in part or ".." in part for part in parts)
    if len(parts) != 2 or odd or parts[1].endswith(".git") or len(parts[1]) > 96 or len(folder) > 255:
        raise Refused(9210, "no place of its own in a cache")
    return folder


def check_chunk_size(size: int) -> int:
    if not MIN_CHUNK_SIZE <= size <= MAX_CHUNK_SIZE or size & (size - 1):
        raise Refused(1704, f"chunk size {size} is no power of two from {MIN_CHUNK_SIZE} to {MAX_CHUNK_SIZE}")
    return size


def parse_time(text: str) -> int:
    """Seconds since 0000-01-01T00:00:00Z. Only the order of times and their distance matter."""
    match = TIME.fullmatch(text)
    if not match:
        raise Refused(1702, "not a time of the form YYYY-MM-DDThh:mm:ssZ")
    year, month, day, hour, minute, second = map(int, match.groups())
    if not 1 <= month <= 12 or not 1 <= day <= days_of_month(year, month):
        raise Refused(1702, "no such day")
    if hour > 23 or minute > 59 or second > 59:
        raise Refused(1702, "no such time of day")
    days = sum(365 + is_leap(y) for y in range(year))
    days += sum(days_of_month(year, m) for m in range(1, month)) + day - 1
    return ((days * 24 + hour) * 60 + minute) * 60 + second


def is_leap(year: int) -> bool:
    return year % 4 == 0 and (year % 100 != 0 or year % 400 == 0)


def days_of_month(year: int, month: int) -> int:
    return 28 + is_leap(year) if month == 2 else 30 if month in (4, 6, 9, 11) else 31


def decode_base64(text: str) -> bytes:
    """Decodes base64 (RFC 4648 section 4), padded and canonical: the unused bits are zero."""
    try:
        data = b64decode(text.encode("ascii"), validate=True)
    except (Base64Error, UnicodeEncodeError) as error:
        raise ValueError("not base64") from error
    if b64encode(data).decode() != text:
        raise ValueError("base64 is not canonical")
    return data


def is_control(char: str) -> bool:
    """Whether a character is in Unicode category Cc, which no version of Unicode changes."""
    return char <= "\x1f" or "\x7f" <= char <= "\x9f"


def check_path(path: str) -> str:
    """The checks of spec/lists.md#paths, in their order."""
    if not 1 <= len(path.encode()) <= MAX_PATH:
        raise Refused(1401, "the path is empty or longer than 1,024 bytes")
    if any(map(is_control, path)):
        raise Refused(1405, "the path has a control character")
    if "\\" in path:
        raise Refused(1406, "the path has a backslash")
    if path.startswith("/"):
        raise Refused(1402, "the path is absolute")
    components = path.split("/")
    for component in components:
        if component == "":
            raise Refused(1403, "a component is empty")
        if component in (".", ".."):
            raise Refused(1404, "a component is `.` or `..`")
        if re.match(r"[A-Za-z]:", component):
            raise Refused(1407, "a component looks like a drive")
        if len(component.encode()) > 255:
            raise Refused(1408, "a component is longer than 255 bytes")
        if ascii_lower(component) == ".git":
            raise Refused(1409, "a component is `.git`")
    components = [ascii_lower(component) for component in components]
    if components[0] == "weighbridge" or (".cache", "huggingface") in zip(components, components[1:]):
        raise Refused(1410, "the path lies in `weighbridge` or in a `.cache/huggingface`")
    return path


def ascii_lower(text: str) -> str:
    """Folds only ASCII letters; `str.lower` would also fold U+0130 and others."""
    return "".join(c.lower() if c.isascii() else c for c in text)


def check_tensor_name(name: str) -> str:
    if not 1 <= len(name.encode()) <= 1024:
        raise Refused(1431, "the tensor name is empty or longer than 1,024 bytes")
    if any(map(is_control, name)):
        raise Refused(1432, "the tensor name has a control character")
    return name
