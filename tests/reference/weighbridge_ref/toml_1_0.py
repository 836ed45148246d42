"""Reads TOML 1.0, whatever version the library reads (spec/trust.md#the-policy)."""

import re
import tomllib

TOKEN = re.compile(
    r'"""(?:\\.|[^\\])*?"{3,5}' r"|'''.*?'{3,5}"  # a string of several lines may end with quotes of its own
    r'|"(?:\\.|[^"\\\n])*"' r"|'[^'\n]*'"
    r"|#[^\n]*|[ \t\r]+|.",
    re.DOTALL,
)


def loads(text: str) -> dict:
    """Raises ValueError if `text` is not TOML 1.0."""
    tree = tomllib.loads(text)
    addition = addition_of_1_1(text)
    if addition:
        raise ValueError(f"{addition} is TOML 1.1")
    return tree


def addition_of_1_1(text: str) -> str | None:
    """The first feature of `text` that only TOML 1.1 permits. `text` is TOML of either version.

    Times without seconds are not looked for: no value of a policy is a TOML time.
    """
    open_brackets, before = [], None
    for token in TOKEN.findall(text):
        if token.startswith('"'):
            for escape in re.findall(r"\\.", token, re.DOTALL):
                if escape in (r"\e", r"\x"):
                    return f"the escape {escape}"
        elif token in "[{":
            open_brackets.append(token)
        elif token in "]}":
            if token == "}" and before == ",":
                return "a comma at the end of an inline table"
            open_brackets.pop()
        elif token == "\n" and open_brackets[-1:] == ["{"]:
            return "a line end in an inline table"
        if token.strip() and not token.startswith("#"):
            before = token
    return None
