"""What the modules of all frameworks share."""

from __future__ import annotations

import importlib
from typing import Any, Callable, Dict, Optional

from ._errors import FILE_EXTRA, Refused
from ._frameworks import vouched
from ._models import Path, open_lists
from ._open import safe_open


def load_file(framework: str, filename: Path, device: Any = "cpu", *, backend: str = "mmap", **which) -> Dict[str, Any]:
    """All tensors of a file. ``which`` are ``name``, ``head`` and ``meta``, as of ``safe_open``."""
    with safe_open(filename, framework, device, backend=backend, **which) as file:
        return file.get_tensors()


def load(module: str, data: bytes, **which) -> Dict[str, Any]:
    """All tensors of a file whose bytes are given. ``which`` are ``model``, ``name``, ``head`` and ``meta``."""
    # Nobody can change what was verified, between that and its use.
    data = bytes(data)
    model = open_lists(**which).native
    if model.file_of(data) is None:
        raise Refused(f"these {len(data)} bytes are no file of {model.name} revision {model.revision}", FILE_EXTRA)
    token = vouched.set(data)
    try:
        return theirs(module).load(data)
    finally:
        vouched.reset(token)


def theirs(module: str) -> Any:
    """safetensors' module for a framework."""
    return importlib.import_module(f"safetensors.{module}")


def passed_on(module: str) -> Callable[[str], Any]:
    """The ``__getattr__`` of a module: whatever it does not have itself is that of safetensors, as ``save_file``."""

    def getattr_(name: str) -> Any:
        if name.startswith("_"):
            raise AttributeError(name)
        if name == "deserialize":
            from ._patch import deserialize

            return deserialize
        return getattr(theirs(module), name)

    return getattr_


Name = Optional[str]
