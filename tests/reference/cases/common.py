"""The parts that all makers of vectors use: test-only keys, heads, and the form of a case."""

import hashlib
from typing import Iterator

from vector_form import Vector
from weighbridge_ref import blake3, ed25519, note, trees
from weighbridge_ref.lists import FileEntry

Case = tuple[str, Vector]
Cases = Iterator[Case]

CHUNK_SIZE = 16384
CREATED = "2026-11-20T16:31:00Z"
NAME = "weighbridge-test/tiny"


# --- cases ------------------------------------------------------------------------------------------

def accepted(name: str, test: str, comment: str, sections=(), /, **header) -> Case:
    return _case(name, {"test": test, "expect": "accepted"}, comment, sections, header)


def refused(name: str, test: str, code: int, comment: str, sections=(), /, rule=None, **header) -> Case:
    top = {"test": test, "expect": "refused", "code": str(code)}
    if rule is not None:
        top["rule"] = str(rule)
    return _case(name, top, comment, sections, header)


def _case(name, top, comment, sections, header):
    # The keyword `chunk_size` gives the key `chunk-size`.
    parameters = {key.replace("_", "-"): str(value) for key, value in header.items()}
    sections = list(sections.items() if isinstance(sections, dict) else sections)
    return name, Vector(top | parameters | {"comment": comment}, sections)


def pattern(size: int, start: int = 0) -> bytes:
    """Bytes with the prime period 251, so that the chunks of a file differ."""
    return bytes((start + i) % 251 for i in range(size))


def flip(data: bytes, at: int = 0, bit: int = 1) -> bytes:
    changed = bytearray(data)
    changed[at] ^= bit
    return bytes(changed)


# --- keys -------------------------------------------------------------------------------------------

class TestKey:
    """A key whose secret follows from this code. Never trust it outside of tests."""

    def __init__(self, name: str, owner: str | None = None):
        self.name = name
        self.seed = hashlib.sha256(f"weighbridge vectors, test only, {owner or name}".encode()).digest()
        self.public = ed25519.public_key(self.seed)
        self.key_id = note.key_id(name, self.public)
        self.vkey = note.vkey_line(name, self.public)

    def sign(self, text: bytes) -> bytes:
        return self.line(ed25519.sign(self.seed, text))

    def line(self, signature: bytes) -> bytes:
        return note.signature_line(self.name, self.key_id, signature)


ALICE = TestKey("alice.example/models")
ALICE_AGAIN = TestKey("alice.example/laptop", owner="alice.example/models")  # another name, the same key
BOB = TestKey("bob.example/models")
CAROL = TestKey("carol.example/models")
MALLORY = TestKey("mallory.example/models")


def signed(text: bytes, *keys: TestKey) -> bytes:
    return text + b"\n" + b"".join(key.sign(text) for key in keys)


def policy(*publishers: str, **top: str) -> bytes:
    """Each of `publishers` comes from `publisher`. Keywords are lines at the top, with TOML values."""
    lines = [f"{key.replace('_', '-')} = {value}\n" for key, value in top.items()]
    return ("".join(lines) + "\n".join(publishers)).encode()


def publisher(scope: str, *keys, threshold: int | None = None, role: str | None = None) -> str:
    """`keys` are keys, or pairs of a key and its lines `from = ..` and `until = ..`."""
    lines = [f'[[publisher]]\nscope = "{scope}"\n']
    if role is not None:
        lines.append(f'role = "{role}"\n')
    if threshold is not None:
        lines.append(f"threshold = {threshold}\n")
    for key in keys:
        key, dates = key if isinstance(key, tuple) else (key, "")
        lines.append(f'[[publisher.key]]\nvkey = "{key.vkey}"\n{dates}')
    return "".join(lines)


# --- heads ------------------------------------------------------------------------------------------

HEAD = {
    "name": NAME,
    "revision": "1",
    "previous": "none",
    "created": CREATED,
    "expires": "never",
    "bytes": "91618861",
    "files": "13 1527",
    "root": "d367a6a908c4f35aef18d217f8c80529ef19cffdd83fc419af09614ea67a63d4",
    "tensors": "104 22612",
    "tensors-root": "a59115395702898d170dac39d2a3befb1a1affb9a764103b6db1bb7663e7c01b",
    "chunk-size": "262144",
}


def head_lines(**changes: str) -> list[str]:
    """The lines of a good head with some values changed. `ext` is the list of `ext` values."""
    changes = {key.replace("_", "-"): value for key, value in changes.items()}
    ext = changes.pop("ext", [])
    values = HEAD | changes
    return ["weighbridge/head/v1", *(f"{k} {v}" for k, v in values.items()), *(f"ext {e}" for e in ext)]


def text_of(lines: list[str]) -> bytes:
    return "".join(line + "\n" for line in lines).encode()


def head_text(**changes: str) -> bytes:
    return text_of(head_lines(**changes))


def joined(lines: list[bytes]) -> bytes:
    return b"".join(line + b"\n" for line in lines)


def head_of_lists(file_lines: list[bytes], tensor_lines: list[bytes] | None, total: int, **changes) -> bytes:
    """A head over exactly these lines, well-formed or not.

    Keywords change values of the head; `files_count`, `files_length` and `tensors_count` change one part of a
    value. The roots bind the true counts.
    """
    files_count = changes.pop("files_count", len(file_lines))
    files_length = changes.pop("files_length", len(joined(file_lines)))
    tensors_count = changes.pop("tensors_count", len(tensor_lines or []))
    values = {
        "bytes": str(total),
        "files": f"{files_count} {files_length}",
        "root": trees.model_root(len(file_lines), total, trees.tree_hash(file_lines)).hex(),
        "tensors": "none",
        "tensors_root": "none",
        "chunk_size": str(CHUNK_SIZE),
    }
    if tensor_lines is not None:
        tree = trees.tree_hash(tensor_lines) if tensor_lines else b""
        values["tensors"] = f"{tensors_count} {len(joined(tensor_lines))}"
        values["tensors_root"] = trees.tensors_root(len(tensor_lines), tree).hex()
    return head_text(**values | changes)


def file_entry(path: str, data: bytes = b"", sha256: bool = False) -> FileEntry:
    return FileEntry(path, len(data), blake3.hash(data), hashlib.sha256(data).digest() if sha256 else None)

