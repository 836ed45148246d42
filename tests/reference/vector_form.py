"""The file form of a vector (spec/vectors/README.md)."""

from typing import NamedTuple


class Vector(NamedTuple):
    header: dict[str, str]
    sections: list[tuple[str, bytes]]

    def section(self, name: str) -> bytes:
        return dict(self.sections)[name]

    def number(self, key: str) -> int:
        return int(self.header[key])


def parse(data: bytes) -> Vector:
    top, empty_line, rest = data.partition(b"\n\n")
    if not empty_line:
        raise ValueError("no empty line behind the header")
    header = {}
    for line in top.decode().split("\n"):
        key, colon, value = line.partition(": ")
        if not colon or key in header:
            raise ValueError(f"malformed header line {line!r}")
        header[key] = value
    sections = []
    while rest:
        title, _, rest = rest.partition(b"\n")
        dashes, name, length = title.decode().split(" ", 1)[0], *title.decode()[4:].rsplit(" ", 1)
        end = int(length)
        if dashes != "---" or rest[end : end + 1] != b"\n":
            raise ValueError(f"malformed section {title!r}")
        sections.append((name, rest[:end]))
        rest = rest[end + 1 :]
    return Vector(header, sections)


def write(vector: Vector) -> bytes:
    parts = [f"{key}: {value}\n".encode() for key, value in vector.header.items()]
    parts.append(b"\n")
    for name, data in vector.sections:
        parts += [f"--- {name} {len(data)}\n".encode(), data, b"\n"]
    return b"".join(parts)
