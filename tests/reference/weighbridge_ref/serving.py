"""The paths of a server (spec/serving.md, S3; spec/push.md, P4): what each names, whatever is served."""

import re

from . import values

METADATA = ("head.note", "files.jsonl", "tensors.jsonl", "chunks.layer")
PAGES = {"/": "page", "/metrics": "metrics", "/healthz": "healthz", "/readyz": "readyz"}
ACTIONS = ("proof", "slice", "audit", "ticket")


def route(target: bytes) -> dict[str, str] | None:
    """The kind of a path, its model, its revision and the path behind, as far as it has them; of a push the head and the part
    too. `None` if it names nothing."""
    path = decoded(target)
    if path is None:
        return None
    if path in PAGES:
        return {"route": PAGES[path]}
    if not path.startswith("/"):
        return None
    words = path[1:].split("/")
    if words[:2] == ["api", "models"]:
        return of_hub(words[2:])
    if words[:3] == ["api", "push", "v1"]:
        return of_push(words[3:])
    model, rest = name_of(words), words[2:]
    if model is None or not rest:
        return None
    if rest[0] == "weighbridge":
        if len(rest) != 2:
            return None
        if rest[1] in METADATA:
            return {"route": "metadata", "model": model, "path": rest[1]}
        return {"route": rest[1], "model": model} if rest[1] in ACTIONS else None
    if rest[0] == "resolve":
        if len(rest) < 3 or not rest[1] or not is_path(rest[2:]):
            return None
        return {"route": "resolve", "model": model, "revision": rest[1], "path": "/".join(rest[2:])}
    return {"route": "file", "model": model, "path": "/".join(rest)} if is_path(rest) else None


def of_hub(words: list[str]) -> dict[str, str] | None:
    model, rest = name_of(words), words[2:]
    if model is None:
        return None
    if not rest:
        return {"route": "info", "model": model}
    if rest[0] == "revision" and "/".join(rest[1:]):
        return {"route": "info", "model": model, "revision": "/".join(rest[1:])}
    if rest[0] == "tree" and len(rest) > 1 and rest[1]:
        folder = rest[2:-1] if rest[2:] and not rest[-1] else rest[2:]
        if not folder or is_path(folder):
            return {"route": "tree", "model": model, "revision": rest[1], "path": "/".join(folder)}
    return None


def of_push(words: list[str]) -> dict[str, str] | None:
    model, head, rest = name_of(words), words[2:3], words[3:]
    if model is None or not head or not values.HASH.fullmatch(head[0]):
        return None
    push = {"route": "push", "model": model, "head": head[0]}
    if not rest:
        return push | {"part": "upload"}
    if rest in (["missing"], ["publish"]):
        return push | {"part": rest[0]}
    if rest[0] == "weighbridge" and len(rest) == 2 and rest[1] in METADATA[1:]:  # the head is the offer
        return push | {"part": "metadata", "path": rest[1]}
    if rest[0] == "files" and len(rest) > 1 and is_path(rest[1:]):
        return push | {"part": "file", "path": "/".join(rest[1:])}
    return None


def name_of(words: list[str]) -> str | None:
    name = "/".join(words[:2])
    is_taken = words[:1] == ["api"] or any(word.lower() == "weighbridge" for word in words[:2])
    is_name = len(words) > 1 and not is_taken and values.NAME.fullmatch(name) and len(name) <= 255
    return name if is_name else None


def is_path(words: list[str]) -> bool:
    return all(word not in ("", ".", "..") for word in words)


def decoded(target: bytes) -> str | None:
    """The target with its percent signs decoded, once."""
    if re.search(rb"%(?![0-9A-Fa-f]{2})", target):
        return None
    try:
        text = re.sub(rb"%(..)", lambda found: bytes([int(found[1], 16)]), target).decode()
    except UnicodeDecodeError:
        return None
    return None if any(ord(c) < 32 or 127 <= ord(c) < 160 for c in text) else text
