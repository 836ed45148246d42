"""Showing names, and the names that signers refuse (spec/lists.md, "Showing names")."""

import unicodedata

from .values import WHITE_SPACE

# First and last of each run: Default_Ignorable_Code_Point, then other blank characters.
IGNORABLE = [
    (0xAD, 0xAD), (0x34F, 0x34F), (0x61C, 0x61C), (0x115F, 0x1160), (0x17B4, 0x17B5), (0x180B, 0x180F),
    (0x200B, 0x200F), (0x202A, 0x202E), (0x2060, 0x206F), (0x3164, 0x3164), (0xFE00, 0xFE0F), (0xFEFF, 0xFEFF),
    (0xFFA0, 0xFFA0), (0xFFF0, 0xFFF8), (0x1BCA0, 0x1BCA3), (0x1D173, 0x1D17A), (0xE0000, 0xE0FFF),
]
BLANK = [(0x2800, 0x2800), (0xFFF9, 0xFFFB), (0x13441, 0x13442), (0x16FE4, 0x16FE4), (0x1D159, 0x1D159)]
SHORT = {"\0": "\\0", "\t": "\\t", "\n": "\\n", "\r": "\\r", '"': '\\"', "'": "\\'", "\\": "\\\\"}


def is_unseen(c: str) -> bool:
    return (
        unicodedata.category(c) == "Cc"
        or (c in WHITE_SPACE and c != " ")
        or any(first <= ord(c) <= last for first, last in IGNORABLE + BLANK)
    )


def prints(c: str) -> bool:
    return c == " " or unicodedata.category(c) not in ("Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp", "Zs")


def is_mark(c: str) -> bool:
    """Grapheme_Extend, except for a few spacing marks that this library does not distinguish."""
    return unicodedata.category(c) in ("Mn", "Me") and prints(c)


def escape(c: str) -> str:
    return SHORT.get(c, f"\\u{{{ord(c):x}}}")


def shown(text: str) -> str:
    out, before = [], "/"
    for at, c in enumerate(text):
        after = text[at + 1] if at + 1 < len(text) else "/"
        if c == " ":
            escaped = before in ("/", " ") or after in ("/", " ")
            before = " "
        else:
            escaped = c in "\"'\\" or is_unseen(c) or not prints(c) or (before in ("/", None) and is_mark(c))
            before = None if escaped else c
        out.append(escape(c) if escaped else c)
    return "".join(out)


def unseen_in(name: str) -> str | None:
    for at, c in enumerate(name):
        ends = c == " " and at in (0, len(name) - 1)
        if is_unseen(c) or ends or (at == 0 and is_mark(c)):
            return c
    return None


def unseen_in_path(path: str) -> str | None:
    return next(filter(None, map(unseen_in, path.split("/"))), None)
