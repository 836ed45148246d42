"""Opened models, and how a file's path leads to its model."""

from __future__ import annotations

import os
import threading
import weakref
from typing import Callable, Iterator, Optional, Set, Tuple

from . import _native
from ._errors import CouldNotTell, NoTrust
from ._trust import Path, default_name, given

METADATA = 9002
_lock = threading.Lock()
# Handles of one model share what was verified, for as long as one of them lives.
_open: "weakref.WeakValueDictionary[tuple, Shared]" = weakref.WeakValueDictionary()


# Called with each model that is opened.
_on_open: Optional[Callable[[_native.Model], None]] = None


def on_open(call: Callable[[_native.Model], None]) -> None:
    """Has every model looked at, before it is used."""
    global _on_open
    _on_open = call


class Shared:
    """An opened model. Unlike the native one, it may be held weakly."""

    __slots__ = ("__weakref__", "native")

    def __init__(self, native: _native.Model) -> None:
        self.native = native


# Models that stay open although nobody uses them, while code is patched: what it loads as bytes has to be known.
_held: Optional[Set[Shared]] = None


def hold(does: bool) -> None:
    """From now on, models that are opened stay open; or they do so no more."""
    global _held
    _held = set() if does else None


def open_model(
    folder: Path, *, meta: Optional[Path] = None, name: Optional[str] = None, head: Optional[str] = None
) -> Shared:
    """Opens a model folder, by the trust of this process. Its head and lists are verified, and no weight is read."""
    trust = given()
    folder = os.path.abspath(os.fspath(folder))
    meta = meta if meta is not None else os.environ.get("WEIGHBRIDGE_META") or None
    meta = None if meta is None else metadata_in(meta)
    if name is None and head is None:
        name = name_in_cache(folder) or trust.name or default_name()
        if name is None and trust.words[0] != "head":
            raise NoTrust(
                "which model is meant was not said: pass name='ORG/MODEL' or head='ID', or trust(..., name='ORG/MODEL')"
            )
    key = (folder, meta, name, head, note_of(folder, meta))
    with _lock:
        model = _open.get(key)
    if model is None:
        model = Shared(_native.Model.open(folder, trust.native, meta=meta, name=name, head=head))
        if _on_open is not None:
            _on_open(model.native)
        with _lock:
            model = _open.setdefault(key, model)
    if _held is not None:
        _held.add(model)
    return model


def open_file(
    filename: Path, *, meta: Optional[Path] = None, name: Optional[str] = None, head: Optional[str] = None
) -> Tuple[Shared, _native.TensorFile]:
    """Opens a tensor file of a model.

    The model folder is the snapshot of a cache, or the nearest folder above the file that has metadata. With metadata elsewhere it
    is the folder that gives the longest path which is listed.
    """
    # The path as it was given: links of a cache lead out of its snapshot.
    path = os.path.abspath(os.fspath(filename))
    if not os.path.isfile(path):
        raise FileNotFoundError(f"No such file or directory: {os.fspath(filename)}")
    folders = list(folders_above(path))
    snapshots = [(folder, below) for folder, below in folders if name_in_cache(folder)]
    meta = meta if meta is not None else os.environ.get("WEIGHBRIDGE_META") or None
    if meta is not None:
        name = name or (name_in_cache(snapshots[0][0]) if snapshots else None)
        lists = open_lists(meta=meta, name=name, head=head)
        found = [(folder, below) for folder, below in folders if lists.native.has(below)]
        # From the nearest to the farthest.
        found = found[-1:]
    elif snapshots:
        found = snapshots
    else:
        found = [(folder, below) for folder, below in folders if _native.has_metadata(folder)]
    if not found:
        raise CouldNotTell(
            f"{path} belongs to no signed model: no folder above it has weighbridge/head.note; if that lies elsewhere, name it "
            "with meta= or WEIGHBRIDGE_META",
            METADATA,
        )
    folder, below = found[0]
    model = open_model(folder, meta=meta, name=name, head=head)
    return model, model.native.file(below)


def open_lists(*, model: Optional[Path] = None, meta: Optional[Path] = None, **which) -> Shared:
    """Opens a model for its lists alone: by its folder, or by its metadata wherever they are."""
    if model is None:
        meta = meta if meta is not None else os.environ.get("WEIGHBRIDGE_META") or None
        if meta is None:
            raise NoTrust("bytes do not say of which model they are: pass model= or meta=, or set WEIGHBRIDGE_META")
        model = metadata_in(meta)
    return open_model(model, meta=meta, **which)


def opened() -> Iterator[Shared]:
    """The models that are open."""
    with _lock:
        return iter(list(_open.values()))


def metadata_in(meta: Path) -> str:
    """The folder of metadata: the one that is named, or that of the model that is named."""
    path = os.path.abspath(os.fspath(meta))
    has_note = os.path.isfile(os.path.join(path, "head.note"))
    return path if has_note or not _native.has_metadata(path) else os.fspath(_native.metadata_of(path))


def _forked() -> None:
    # Another thread may have held it.
    global _lock
    _lock = threading.Lock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forked)


def folders_above(path: str) -> Iterator[Tuple[str, str]]:
    """The folders above a file, the nearest first, each with the file's path in it."""
    folder, below = os.path.split(path)
    while True:
        yield folder, below
        above, last = os.path.split(folder)
        if not last:
            return
        folder, below = above, f"{last}/{below}"


def name_in_cache(folder: str) -> Optional[str]:
    """The model's name, if the folder is a snapshot in a Hugging Face cache."""
    snapshots, _ = os.path.split(folder)
    repository, last = os.path.split(snapshots)
    parts = os.path.basename(repository).split("--")
    if last == "snapshots" and len(parts) == 3 and parts[0] == "models":
        return f"{parts[1]}/{parts[2]}"
    return None


def note_of(folder: str, meta: Optional[str]) -> Optional[bytes]:
    """The note of the release that is there now. Who opens the model again after another one came, opens that."""
    try:
        with open(os.path.join(meta or _native.metadata_of(folder), "head.note"), "rb") as file:
            return file.read(1 << 16)
    except OSError:
        return None
