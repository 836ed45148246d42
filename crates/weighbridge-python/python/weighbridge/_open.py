"""``safe_open``: that of safetensors, with every byte verified before it is in an array."""

from __future__ import annotations

import json
import operator
from typing import Any, Dict, List, Optional, Tuple

from safetensors import SafetensorError

from . import _frameworks
from ._errors import NotInFile
from ._models import Path, open_file

__all__ = ["safe_open"]


class safe_open:
    """Opens a safetensors file of a signed model, and gives tensors by name.

    A drop-in for ``safetensors.safe_open``, usable with and without ``with``, from any number of threads.

    Guarantee:
        What is handed out are the signed bytes: they are read into memory of their own, verified there, and that memory
        becomes the array. A later change of the file changes no array.

    Non-guarantee:
        Nothing is said of what was not asked for. ``weighbridge.verify`` looks at all of a model.

    Args:
        filename: The file, in a model folder, a snapshot of a Hugging Face cache, or below either.
        framework: ``"np"``, ``"pt"``, or another that safetensors knows.
        device: The device for the arrays, as of safetensors.
        backend: ``"mmap"`` or ``"pread"``, as of safetensors. Both read; nothing is mapped.
        name: The model ``ORG/MODEL`` that is meant. It may be left out for a snapshot of a cache, or after ``trust(name=...)``.
        head: The id of the head that is meant.
        meta: The folder of the metadata, if it is not beside the model.

    Raises:
        Refused: The head is not trusted, or bytes are not those that were signed.
        CouldNotTell: Metadata are missing, or something cannot be read.
        Misuse: Whom to trust or which model is meant was not said.

    Cost:
        Opening verifies the chunks of the header. A tensor costs its chunks, read and hashed once on all cores while the
        interpreter is free for other threads. Some chunks of which a part was used stay in memory for the next tensor.
    """

    def __init__(
        self,
        filename: Path,
        framework: str,
        device: Any = "cpu",
        *,
        backend: str = "mmap",
        name: Optional[str] = None,
        head: Optional[str] = None,
        meta: Optional[Path] = None,
    ) -> None:
        if backend not in ("mmap", "pread"):
            raise SafetensorError(f'backend "{backend}" is invalid (expected one of: "mmap", "pread")')
        self._arrays = _frameworks.arrays(framework, device)
        self._model, self._file = open_file(filename, name=name, head=head, meta=meta)

    def __enter__(self) -> "safe_open":
        return self

    def __exit__(self, _exc_type: Any, _exc_value: Any, _traceback: Any) -> None:
        self._model = self._file = None

    def _opened(self):
        file = self._file
        if file is None:
            raise SafetensorError("File is closed")
        return file

    def keys(self) -> List[str]:
        """The names of the tensors, sorted."""
        return self._opened().keys()

    def offset_keys(self) -> List[str]:
        """The names of the tensors, in the order of their places in the file."""
        return self._opened().offset_keys()

    def metadata(self) -> Optional[Dict[str, str]]:
        """What the header says besides tensors, or None."""
        return json.loads(self._opened().header()).get("__metadata__")

    def get_tensor(self, name: str) -> Any:
        """A whole tensor. Its chunks are verified, and no others."""
        return self._get([name])[name]

    def get_tensors(self) -> Dict[str, Any]:
        """All tensors of the file, by name."""
        return self._get(self.offset_keys())

    def get_slice(self, name: str) -> "_Slice":
        """A tensor to be indexed: ``get_slice(name)[:, 0:10]`` reads and verifies the chunks that this needs."""
        return _Slice(self, self._opened(), name)

    def _get(self, names: List[str]) -> Dict[str, Any]:
        file = self._opened()
        made = {}
        for name in names:
            dtype, shape, size, offset = file.info(name)
            made[name] = self._arrays.empty(dtype, shape, size, offset)
        file.read([(name, memory.address, memory.size) for name, memory in made.items()])
        return {name: self._arrays.finish(memory) for name, memory in made.items()}


class _Slice:
    """A tensor that is read by parts: the ``PySafeSlice`` of safetensors."""

    def __init__(self, opened: safe_open, file: Any, name: str) -> None:
        self._safe_open, self._file, self._name = opened, file, name
        self._dtype, self._shape, self._size, _ = file.info(name)

    def get_shape(self) -> List[int]:
        """The shape of the whole tensor."""
        return list(self._shape)

    def get_dtype(self) -> str:
        """The dtype, by the format's name for it."""
        return self._dtype

    def __getitem__(self, index: Any) -> Any:
        arrays = self._safe_open._arrays
        wanted, shape = self._wanted(index)
        elements = 1
        for dimension in self._shape:
            elements *= dimension
        taken = 1
        for _, count, _ in wanted:
            taken *= count
        if elements and self._size * 8 // elements < 8:
            return self._packed(index, wanted)
        size = self._size // elements * taken if elements else 0
        memory = arrays.empty(self._dtype, shape, size)
        self._file.read_slice(self._name, wanted, memory.address, memory.size)
        return arrays.finish(memory)

    def _packed(self, index: Any, wanted: List[Tuple[int, int, int]]) -> Any:
        """Elements of less than a byte are given as a whole, or not at all, as by safetensors."""
        if any(part != (0, size, 1) for part, size in zip(wanted, self._shape)):
            raise SafetensorError(f"{self._dtype} has elements of less than a byte: only [...] is possible")
        return self._safe_open.get_tensor(self._name)

    def _wanted(self, index: Any) -> Tuple[List[Tuple[int, int, int]], List[int]]:
        """For each dimension its first index, their number and step; and the shape of the result."""
        if isinstance(index, list):
            if index:
                raise self._bad(index, "lists that are not empty are no index")
            index = slice(0, 0)
        parts = index if isinstance(index, tuple) else (index,)
        rank, given = len(self._shape), sum(part is not Ellipsis for part in parts)
        if given > rank:
            raise self._bad(index, "more slicing indexes than dimensions in tensor")
        if sum(part is Ellipsis for part in parts) > 1:
            raise self._bad(index, "more than one ellipsis")
        full: List[Any] = []
        for part in parts:
            full += [slice(None)] * (rank - given) if part is Ellipsis else [part]
        full += [slice(None)] * (rank - len(full))
        wanted, shape = [], []
        for at, (part, size) in enumerate(zip(full, self._shape)):
            if isinstance(part, slice):
                start, stop, step = self._bounds(index, at, part, size)
                count = max(0, -(-(stop - start) // step))
                wanted.append((start if count else 0, count, step))
                shape.append(count)
            else:
                try:
                    if isinstance(part, bool) and self._safe_open._arrays.clamps:
                        raise TypeError("a mask of torch")
                    place = operator.index(part)
                except TypeError:
                    raise self._bad(index, f"position {at}: expected slice, int, or ellipsis") from None
                if not -size <= place < size:
                    raise self._bad(index, f"index {place} out of bounds for tensor dimension #{at} of size {size}")
                wanted.append((place % size, 1, 1))
        return wanted, shape

    def _bounds(self, index: Any, at: int, part: slice, size: int) -> Tuple[int, int, int]:
        step = 1 if part.step is None else operator.index(part.step)
        if step < 1:
            raise self._bad(index, "steps are positive")
        stop = size if part.stop is None else operator.index(part.stop)
        if stop > size and not self._safe_open._arrays.clamps:
            # As safetensors, and unlike numpy: what was asked for is not there.
            raise self._bad(index, f"index {stop - 1} out of bounds for tensor dimension #{at} of size {size}")
        start, stop, _ = slice(part.start, part.stop).indices(size)
        return start, stop, step

    def _bad(self, index: Any, why: str) -> NotInFile:
        shown = ", ".join(map(_shown, index if isinstance(index, tuple) else (index,)))
        return NotInFile(
            f"Error during slicing [{shown}] with shape {list(self._shape)}: {why}",
            file=self._file.path,
            tensor=self._name,
        )


def _shown(part: Any) -> str:
    if part is Ellipsis:
        return "..."
    if isinstance(part, slice):
        ends = ["" if end is None else str(end) for end in (part.start, part.stop)]
        return ":".join(ends if part.step is None else [*ends, str(part.step)])
    return str(part)
