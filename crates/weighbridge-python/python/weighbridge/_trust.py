"""Whom this process trusts: said once, and never widened."""

from __future__ import annotations

import contextlib
import os
import tempfile
import threading
from typing import Iterable, Iterator, List, NamedTuple, Optional, Tuple, Union

from . import _native
from ._errors import NO_TRUST, Misuse, NoTrust

Path = Union[str, "os.PathLike[str]"]

VARIABLE = "WEIGHBRIDGE_TRUST"


class _Given(NamedTuple):
    native: _native.Trust
    name: Optional[str]
    # What was said, to be compared with what is said later: the way, and its value.
    words: Tuple

    @contextlib.contextmanager
    def arguments(self) -> Iterator[List[str]]:
        """The same trust as arguments of the command."""
        way, value = self.words
        if way == "policy":
            # The text that was read, whatever the file has by now.
            with tempfile.TemporaryDirectory() as folder:
                path = os.path.join(folder, "trust.toml")
                with open(path, "wb") as file:
                    file.write(value)
                yield [f"--trust={path}"]
        elif way == "vkeys":
            yield [f"--vkey={line}" for line in value]
        else:
            yield []


_lock = threading.Lock()
_given: Optional[_Given] = None
_default_name: Optional[str] = None


def trust(
    *,
    policy: Optional[Path] = None,
    vkeys: Optional[Iterable[str]] = None,
    head: Optional[str] = None,
    name: Optional[str] = None,
) -> None:
    """Says whom this process trusts. Call it once, before anything is loaded.

    Args:
        policy: A policy file (``spec/trust.md``), read now.
        vkeys: Public keys as lines ``NAME+ID+KEY``; a signature by any of them suffices.
        head: The id of the one head that is accepted, 64 hexadecimal digits.
        name: The model ``ORG/MODEL`` that is meant wherever a load does not say which; for programs with one model.

    Exactly one of ``policy``, ``vkeys`` and ``head`` is given. Without a call, the policy file that the environment variable
    ``WEIGHBRIDGE_TRUST`` names is used, from the first load on; or, on a terminal, the one that ``weighbridge trust`` keeps for
    this user.

    Raises:
        Misuse: The process trusts somebody already, and not by these words: no library can widen what a program has said.
        Refused: The policy or a key is malformed.
        OSError: The policy cannot be read.
    """
    ways = [way for way in (policy, vkeys, head) if way is not None]
    if len(ways) != 1:
        raise Misuse("trust() takes exactly one of policy=, vkeys= and head=")
    if policy is not None:
        with open(policy, "rb") as file:
            text = file.read()
        given = _Given(_native.Trust.of_policy(text), name, ("policy", text))
    elif vkeys is not None:
        if isinstance(vkeys, str):
            raise Misuse("trust() takes vkeys= as a list of lines")
        lines = [line.strip() for line in vkeys]
        given = _Given(_native.Trust.of_vkeys(lines), name, ("vkeys", frozenset(lines)))
    else:
        given = _Given(_native.Trust.of_head(head), name, ("head", head))
    global _given
    with _lock:
        before = _given
        if before is not None:
            if before.words != given.words or (name and before.name and before.name != name):
                raise Misuse(f"this process was told already whom to trust, in other words: {before.words[0]}=")
            given = given._replace(name=name or before.name)
        _given = given


def default_name(name: Optional[str] = None) -> Optional[str]:
    """The model that is meant where neither a load nor ``trust`` says which; sets it, if one is given."""
    global _default_name
    _default_name = name or _default_name
    return _default_name


def _forked() -> None:
    # Another thread may have held it.
    global _lock
    _lock = threading.Lock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forked)


def given() -> _Given:
    """The trust of this process. From the first call on it is fixed."""
    global _given
    with _lock:
        if _given is None:
            path = os.environ.get(VARIABLE)
            users = None if path else _native.user_policy()
            if users is not None:
                text = bytes(users[1])
                _given = _Given(_native.Trust.of_policy(text), None, ("policy", text))
                return _given
            if not path:
                raise NoTrust(
                    "whom to trust was not said: call weighbridge.trust(policy='trust.toml'), or trust(vkeys=[...]) or "
                    f"trust(head='...'), or set {VARIABLE} to a policy file",
                    NO_TRUST,
                )
            with open(path, "rb") as file:
                text = file.read()
            _given = _Given(_native.Trust.of_policy(text), None, ("policy", text))
        return _given
