"""What the command does besides verifying, as functions: it runs in this process, and its objects become these."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import weakref
from typing import Any, Callable, Dict, Iterator, List, Optional, Sequence, Union

from . import _errors, _native
from ._errors import Misuse, NoTrust, Refused
from ._trust import Path, default_name, given

HEAD_NOT_WANTED = 3106

# One path, or several.
Paths = Union[Path, Sequence[Path]]


@dataclasses.dataclass(frozen=True)
class Weighed:
    """A model that was weighed: its head, who has signed it, and where the metadata lie."""

    head: str
    name: str
    revision: int
    signers: List[str]
    files: int
    bytes: int
    tensors: Optional[int]
    folder: str


@dataclasses.dataclass(frozen=True)
class Signed:
    """A head that has a signature of this key; ``added`` is False if it had that before."""

    head: str
    name: str
    revision: int
    signer: str
    added: bool


@dataclasses.dataclass(frozen=True)
class Checked:
    """What a proof shows: how many files and tensors are in the model of this head, and how many files are not.

    Neighbours of a file that is not in the model are shown too, and counted.
    """

    head: str
    level: str
    files: int
    tensors: int
    absent: int


@dataclasses.dataclass(frozen=True)
class Fetched:
    """A model that has arrived, every byte of it verified. ``received`` counts bytes that came from sources."""

    head: str
    folder: str
    files: int
    bytes: int
    received: int


def weigh(
    model: Path,
    *,
    name: str,
    key: Paths = (),
    previous: Optional[Path] = None,
    tensors: bool = True,
    chunk_size: Optional[int] = None,
    output: Optional[Path] = None,
    force: bool = False,
) -> Weighed:
    """Weighs a model folder: hashes every file and tensor once, writes the metadata, and signs the head.

    Args:
        model: The model folder.
        name: The name ``ORG/MODEL`` of the model in the head.
        key: Secret key files that sign. The passphrase of one that is encrypted is in ``WEIGHBRIDGE_PASSPHRASE``.
        previous: The ``head.note`` of the revision that this one follows.
        tensors: List tensors, with hashes of their own.
        chunk_size: The size of a chunk in bytes, a power of two from 16 KiB to 16 MiB.
        output: The folder of the metadata; by default ``weighbridge`` in the model folder.
        force: Replace metadata that are there.

    Raises:
        Refused: A file can be no part of a model, or is malformed.
        CouldNotTell: Something cannot be read or written, or metadata are there already.
    """
    options = _one("--name", name) + _each("--key", key) + _one("--previous", previous)
    options += _one("--chunk-size", chunk_size) + _one("--output", output)
    options += ([] if tensors else ["--no-tensors"]) + (["--force"] if force else [])
    weighed = _last("weighed", _words("weigh", options, model))
    says = weighed["says"]
    return Weighed(
        weighed["head"], says["name"], says["revision"], weighed["signers"], says["files"], says["bytes"],
        says["tensors"], weighed["folder"],
    )


def sign(target: Path, *, key: Path) -> Signed:
    """Adds a signature to the head of a model folder, or of a folder of metadata."""
    return _fields(Signed, _last("signed", _words("sign", _one("--key", key), target)))


def prove(
    target: Path,
    output: Path,
    *,
    files: Sequence[str] = (),
    tensors: Sequence[str] = (),
    absent: Sequence[str] = (),
) -> int:
    """Writes a proof that files and tensors belong to a model, or that files do not; returns its length in bytes.

    Nothing is trusted: who checks the proof does that.
    """
    options = _one("--output", output) + _each("--file", files) + _each("--tensor", tensors) + _each("--absent", absent)
    return _last("proof", _words("prove", options, target))["bytes"]


def check(
    proof: Path,
    *,
    files: Sequence[str] = (),
    tensors: Sequence[str] = (),
    absent: Sequence[str] = (),
    name: Optional[str] = None,
    head: Optional[str] = None,
) -> Checked:
    """Checks a proof by the trust of this process, and that it shows what is named.

    Who makes a proof chooses what it shows: name what you want shown.

    Raises:
        Refused: The proof is not right, or does not show that.
    """
    options = _each("--file", files) + _each("--tensor", tensors) + _each("--absent", absent)
    with _trusting(name, head) as trust:
        return _fields(Checked, _last("result", _words("check", options + trust, proof)))


class Fetching:
    """A fetch that runs: iterating over it gives its events as they come (``spec/events.md``), as dictionaries.

    Closing it, leaving its ``with``, or dropping it ends the fetch; what has come is there for the next one.
    """

    def __init__(self, words: List[str], trust: contextlib.ExitStack) -> None:
        self._trust, self._call = trust, _native.Call.begin(words)
        self._result: Optional[Dict[str, Any]] = None
        self._error: Optional[BaseException] = None
        self._finalizer = weakref.finalize(self, self._call.stop)

    def __iter__(self) -> "Fetching":
        return self

    def __next__(self) -> Dict[str, Any]:
        line = self._call.next()
        if line is None:
            self._finalizer.detach()
            self._trust.close()
            if self._error is not None:
                raise self._error
            raise StopIteration
        event = json.loads(line)
        if event["event"] == "error":
            self._error = _error_of(event)
        elif event["event"] == "result" and event["fetched"]:
            self._result = event
        return event

    def result(self) -> Fetched:
        """Waits for the end. Raises as the fetch ended: ``Refused``, or ``CouldNotTell`` if no source gave everything."""
        for _ in self:
            pass
        if self._result is None:
            raise Misuse("the fetch was closed before its end")
        return _fields(Fetched, self._result)

    def close(self) -> None:
        """Ends the fetch, and waits until what has come is durable."""
        self._call.stop()
        while self._call.next() is not None:
            pass
        self._trust.close()

    def __enter__(self) -> "Fetching":
        return self

    def __exit__(self, *_: Any) -> None:
        self.close()


def fetch(
    sources: Union[str, Path, Sequence[Union[str, Path]]],
    into: Optional[Path] = None,
    *,
    hf_cache: Union[bool, Path] = False,
    name: Optional[str] = None,
    head: Optional[str] = None,
    only: Sequence[str] = (),
    tensor: Sequence[str] = (),
    meta: Optional[Union[str, Path]] = None,
    replace: bool = False,
    memory: Optional[int] = None,
    limit_rate: Union[int, str, None] = None,
) -> Fetching:
    """Fetches a model from any number of untrusted sources at once; every byte is verified before it counts.

    Args:
        sources: URLs (http, https, s3, gs, az), ``hf://ORG/NAME@REVISION``, or folders.
        into: The folder for the model.
        hf_cache: In place of ``into``: True for the Hugging Face cache of this user, or the path of one.
        name, head: The model that is meant. A source ``hf://ORG/NAME`` says that too.
        only, tensor: Patterns of files, and of tensors whose chunks are wanted; by default all of the model.
        meta: A source to take the head from.
        replace: Replace another model in the folder, or a ``refs/main`` that another program has written.
        memory: About how many bytes of memory.
        limit_rate: How many bytes a second at most; or a text by the time of day, such as ``08:00-18:00 50MB, else unlimited``.

    Returns:
        The fetch, which has begun: iterate over it for its events, or wait for its ``result()``.
    """
    given_sources = [sources] if isinstance(sources, (str, os.PathLike)) else list(sources)
    options = ["--hf-cache"] if hf_cache is True else _one("--hf-cache", hf_cache or None)
    options += _one("--output", into) + _each("--only", only) + _each("--tensor", tensor) + _one("--meta", meta)
    options += _one("--memory", memory) + _one("--limit-rate", limit_rate) + (["--replace"] if replace else [])
    stack = contextlib.ExitStack()
    is_named = any(str(source).lower().startswith("hf://") for source in given_sources)
    trust = stack.enter_context(_trusting(name, head, is_named))
    return Fetching(_words("fetch", options + trust, *given_sources), stack)


@contextlib.contextmanager
def _trusting(name: Optional[str], head: Optional[str], is_named: bool = False) -> Iterator[List[str]]:
    """The trust of this process, and the model that is meant, as arguments of the command."""
    trust = given()
    if trust.words[0] == "head":
        if head not in (None, trust.words[1]):
            raise Refused(f"this process trusts the head {trust.words[1]} alone", HEAD_NOT_WANTED)
        head = trust.words[1]
    if name is None and head is None and not is_named:
        name = trust.name or default_name()
        if name is None:
            raise NoTrust("which model is meant was not said: pass name='ORG/MODEL' or head='ID'")
    with trust.arguments() as arguments:
        yield arguments + _one("--name", name) + _one("--head", head)


def _events(call: _native.Call) -> Iterator[Dict[str, Any]]:
    while True:
        line = call.next()
        if line is None:
            return
        event = json.loads(line)
        if event["event"] == "error":
            raise _error_of(event)
        yield event


def _error_of(event: Dict[str, Any]) -> _errors.WeighbridgeError:
    message = "; ".join([event["message"], *event["hints"]])
    return _errors.of_native(event["code"], message, _errors.is_refusal(event["code"]))


def _last(kind: str, words: List[str]) -> Dict[str, Any]:
    """Runs the command to its end, and returns its last object of a kind."""
    found = None
    for event in _events(_native.Call.begin(words)):
        if event["event"] == kind:
            found = event
    if found is None:
        raise Misuse(f"the command {words[0]} ended without a result")
    return found


def _fields(kind: Callable[..., Any], event: Dict[str, Any]) -> Any:
    return kind(**{field.name: event[field.name] for field in dataclasses.fields(kind)})


def _words(command: str, options: List[str], *arguments: Any) -> List[str]:
    """The words of a call. No argument can pass for an option, nor the value of one for another."""
    return [command, *options, "--", *map(os.fspath, arguments)]


def _one(option: str, value: Any) -> List[str]:
    if value is None:
        return []
    return [f"{option}={os.fspath(value) if isinstance(value, os.PathLike) else value}"]


def _each(option: str, values: Any) -> List[str]:
    values = [values] if isinstance(values, (str, os.PathLike)) else values
    return [f"{option}={os.fspath(value)}" for value in values]
