"""JSON (RFC 8259) for hostile input: nothing is merged, converted or repaired (spec/tensors.md, T6).

An object is an `Object`, a list of pairs in document order; a number is a `Number`, its text.
"""

import json

MAX_DEPTH = 64


class Object(list):
    """The members of an object as (name, value), with repeated names."""


class Number(str):
    """The text of a number, as written."""

    def digits(self) -> int:
        """The value of a number written only with digits; ValueError for any other.

        A number of more than 20 digits exceeds all limits: its value is 10^20, and it is never converted.
        """
        if not (self.isascii() and self.isdigit()):
            raise ValueError("not written as digits alone")
        return int(self) if len(self) <= 20 else 10**20


def parse_object(data: bytes) -> tuple[Object, str]:
    """Returns the object at the very beginning of `data` and the text behind it; ValueError if there is none."""
    text = data.decode()
    check_depth(text)
    value, end = DECODER.raw_decode(text)
    if not isinstance(value, Object):
        raise ValueError("not an object")
    check_strings(value)
    return value, text[end:]


def check_depth(text: str) -> None:
    """Limits the nesting before any recursion, by counting brackets outside of strings."""
    depth, in_string, escaped = 0, False, False
    for char in text:
        if in_string:
            in_string = escaped or char != '"'
            escaped = char == "\\" and not escaped
        elif char == '"':
            in_string = True
        elif char in "[{":
            depth += 1
            if depth > MAX_DEPTH:
                raise ValueError(f"nested deeper than {MAX_DEPTH} levels")
        elif char in "]}":
            depth -= 1


def check_strings(value) -> None:
    """Refuses half surrogate pairs: Python's decoder joins pairs, and permits a half."""
    if isinstance(value, Object):
        for name, member in value:
            name.encode()  # UnicodeEncodeError is a ValueError
            check_strings(member)
    elif isinstance(value, list):
        for element in value:
            check_strings(element)
    elif isinstance(value, str):
        value.encode()


def no_constant(name: str):
    raise ValueError(f"{name} is no JSON")


def number(text: str) -> Number:
    if not text.isascii():
        raise ValueError("digits are ASCII")
    return Number(text)


DECODER = json.JSONDecoder(
    object_pairs_hook=Object, parse_int=number, parse_float=number, parse_constant=no_constant
)
