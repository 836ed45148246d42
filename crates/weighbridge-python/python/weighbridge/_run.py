"""``python -m weighbridge run SCRIPT``: a program that knows nothing of weighbridge loads verified models."""

from __future__ import annotations

import contextlib
import importlib.abc
import importlib.machinery
import importlib.util
import os
import runpy
import sys
import threading
from typing import Any, List, Optional

from . import _models, _native
from ._errors import Refused
from ._patch import patch
from ._trust import VARIABLE, default_name, trust

# Whoever is started with these variables verifies as well: the folder in PYTHONPATH has a sitecustomize.py.
NAME = "WEIGHBRIDGE_RUN_NAME"
ACTIVE = "WEIGHBRIDGE_RUN"
_SITE = os.path.join(os.path.dirname(os.path.abspath(__file__)), "_site")


# What is entered here is left with the process.
_for_good = contextlib.ExitStack()


def activate() -> None:
    """From here on this process loads verified tensors, of models all of whose files are as signed, and no pickles."""
    policy = os.environ.get(VARIABLE)
    if policy:
        trust(policy=policy)
    default_name(os.environ.get(NAME))
    _models.on_open(_verify_all)
    _for_good.enter_context(patch())
    sys.meta_path.insert(0, _WithoutPickles())
    if "torch" in sys.modules:
        refuse_pickles(sys.modules["torch"])


def pass_on(name: Optional[str]) -> None:
    """Lets child processes do the same."""
    os.environ[ACTIVE] = "1"
    # Children may have another working directory.
    for variable in (VARIABLE, "WEIGHBRIDGE_META"):
        if os.environ.get(variable):
            os.environ[variable] = os.path.abspath(os.environ[variable])
    if name is not None:
        os.environ[NAME] = name
    paths = os.environ.get("PYTHONPATH", "")
    if _SITE not in paths.split(os.pathsep):
        os.environ["PYTHONPATH"] = os.pathsep.join(part for part in (_SITE, paths) if part)


def run(script: str, arguments: List[str]) -> None:
    sys.argv = [script, *arguments]
    sys.path[0] = os.path.dirname(os.path.abspath(script))
    runpy.run_path(script, run_name="__main__")


def _verify_all(model: _native.Model) -> None:
    model.verify(tensors=False, allow_extra=True, progress=None)


def refuse_pickles(torch: Any) -> None:
    def load(*_: Any, **__: Any) -> Any:
        raise Refused("torch.load reads pickles, of which nothing was verified; save the model as safetensors")

    torch.load = load
    serialization = sys.modules.get("torch.serialization")
    if serialization is not None:
        serialization.load = load


class _WithoutPickles(importlib.abc.MetaPathFinder):
    """Takes ``torch.load`` away as soon as torch is imported."""

    def __init__(self) -> None:
        self._is_asked = threading.local()

    def find_spec(self, name: str, path: Any = None, target: Any = None) -> Optional[importlib.machinery.ModuleSpec]:
        if name != "torch" or getattr(self._is_asked, "now", False):
            return None
        # The finders behind this one.
        self._is_asked.now = True
        try:
            spec = importlib.util.find_spec(name)
        finally:
            self._is_asked.now = False
        if spec is not None and spec.loader is not None:
            spec.loader = _Then(spec.loader)
        return spec


class _Then(importlib.abc.Loader):
    """A loader that does something behind another one."""

    def __init__(self, loader: Any) -> None:
        self._loader = loader

    def __getattr__(self, name: str) -> Any:
        return getattr(self._loader, name)

    def create_module(self, spec: Any) -> Any:
        return self._loader.create_module(spec)

    def exec_module(self, module: Any) -> None:
        self._loader.exec_module(module)
        refuse_pickles(module)
