"""Code that nobody wants to touch loads verified tensors."""

from __future__ import annotations

import contextlib
import os
import sys
import threading
from typing import Any, Dict, Iterator, List, Tuple

import safetensors

from ._errors import FILE_EXTRA, Misuse, Refused
from ._models import hold, open_lists, opened
from ._frameworks import vouched
from ._open import safe_open

_lock = threading.RLock()
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=lambda: globals().update(_lock=threading.RLock()))
_depth = 0
# What safetensors has of its own, taken before anything is replaced.
_theirs = {name: getattr(safetensors, name) for name in ("safe_open", "deserialize", "_safe_open_handle")
           if hasattr(safetensors, name)}


@contextlib.contextmanager
def patch() -> Iterator[None]:
    """Inside this context whatever loads by safetensors loads verified tensors, wherever it imported that from.

    ``safetensors.safe_open`` and the loading functions of all its modules verify as ``weighbridge.safe_open`` does, in every
    thread of the process. Which model is meant follows from ``trust(..., name=...)`` or from the path in a Hugging Face cache.

    Non-guarantee:
        This is a convenience and no boundary: code that reads files by other means loads what it wants.
    """
    global _depth
    with _lock:
        _depth += 1
        if _depth == 1:
            hold(True)
            _replace(_pairs())
    try:
        yield
    finally:
        with _lock:
            _depth -= 1
            if _depth == 0:
                hold(False)
                # Also what was imported meanwhile.
                _replace([(ours, theirs) for theirs, ours in _pairs()])


class _StandIn(safe_open):
    """What stands in the place of ``safetensors.safe_open``: another object than ours, which stays where it was imported."""


def _pairs() -> List[Tuple[Any, Any]]:
    ours: Dict[str, Any] = {"safe_open": _StandIn, "deserialize": _deserialize, "_safe_open_handle": _safe_open_handle}
    return [(theirs, ours[name]) for name, theirs in _theirs.items()]


def _replace(pairs: List[Tuple[Any, Any]]) -> None:
    for module in list(sys.modules.values()):
        module_names = getattr(module, "__dict__", None)
        if not isinstance(module_names, dict) or (getattr(module, "__name__", None) or "").split(".")[0] == "weighbridge":
            continue
        for name, value in list(module_names.items()):
            for old, new in pairs:
                if value is old:
                    module_names[name] = new


def deserialize(bytes: Any) -> Any:
    """As of safetensors, for the bytes of a file of a model that was opened, or whose metadata ``WEIGHBRIDGE_META`` names."""
    if bytes is not vouched.get():
        # Nobody can change what was verified, between that and its use.
        bytes = memoryview(bytes).tobytes()
        models = [model.native for model in opened()]
        if not models or os.environ.get("WEIGHBRIDGE_META"):
            models.append(open_lists().native)
        if all(model.file_of(bytes) is None for model in models):
            names = ", ".join(f"{model.name} revision {model.revision}" for model in models)
            raise Refused(f"these {len(bytes)} bytes are no file of {names}", FILE_EXTRA)
    return _theirs["deserialize"](bytes)


def _deserialize(bytes: Any) -> Any:
    return deserialize(bytes)


def _safe_open_handle(handle: Any, *arguments: Any, **named: Any) -> Any:
    """As of safetensors: a file that is open already is opened again by its name, and verified."""
    name = getattr(handle, "name", None)
    if not isinstance(name, str):
        raise Misuse("an open file without a name belongs to no model")
    return safe_open(name, *arguments, **named)
