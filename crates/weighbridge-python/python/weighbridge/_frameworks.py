"""Arrays of frameworks: memory that verified bytes are read into."""

from __future__ import annotations

import contextlib
import contextvars
import importlib
import json
import mmap
import sys
from typing import Any, List, NamedTuple, Optional

from safetensors import SafetensorError


# Bytes that this package has made of verified ones, for safetensors to make an array of.
vouched: "contextvars.ContextVar[Optional[bytes]]" = contextvars.ContextVar("vouched", default=None)

if sys.byteorder != "little":
    raise ImportError("weighbridge loads tensors on little-endian machines alone")


class Memory(NamedTuple):
    """The memory of an array that is not filled yet."""

    array: Any
    address: int
    size: int


# Chunks begin at multiples of it in the file.
_PAGE = 4096
# Of smaller tensors few chunks are whole.
_LARGE = 1 << 20


def _lead(address: int, offset: Optional[int], size: int, width: int) -> Optional[int]:
    """How far behind an address, up to a page, a tensor lies in its page as it does in the file. Its chunks are then verified where they
    are used, and not copied. None if that is no place for elements of this width, or gains nothing."""
    if offset is None or size < _LARGE or offset % width or address % width:
        return None
    return (offset - address) % _PAGE


def arrays(framework: str, device: Any) -> Any:
    """How arrays of a framework come to be on a device."""
    device = "cpu" if device is None else device
    if framework in ("np", "numpy"):
        if device != "cpu":
            raise SafetensorError(f"Device {device} is not supported for framework numpy")
        return _Numpy()
    if framework in ("pt", "torch", "pytorch"):
        return _Torch(device)
    if framework in _OTHERS:
        if device != "cpu":
            raise SafetensorError(f"Device {device} is not supported for framework {framework}")
        return _Other(_OTHERS[framework])
    raise SafetensorError(f"framework {framework} is invalid")


_OTHERS = {
    "tf": "tensorflow",
    "tensorflow": "tensorflow",
    "jax": "flax",
    "flax": "flax",
    "mlx": "mlx",
    "paddle": "paddle",
    "paddlepaddle": "paddle",
}


def _pages(size: int) -> mmap.mmap:
    """New memory that begins with a page."""
    memory = mmap.mmap(-1, size)
    if hasattr(mmap, "MADV_HUGEPAGE"):
        with contextlib.suppress(OSError):
            memory.madvise(mmap.MADV_HUGEPAGE)
    return memory


class _Numpy:
    clamps = False

    def __init__(self) -> None:
        self._numpy = importlib.import_module("numpy")
        self._types = importlib.import_module("safetensors.numpy")._TYPES

    def empty(self, dtype: str, shape: List[int], size: int, offset: Optional[int] = None) -> Memory:
        kind = self._types.get(dtype)
        if kind is None:
            raise TypeError(f"numpy has no data type for {dtype}")
        memory = self._numpy.empty(size + _PAGE if size >= _LARGE else 0, dtype="u1")
        lead = _lead(memory.ctypes.data, offset, size, self._numpy.dtype(kind).itemsize)
        if lead is None:
            array = self._numpy.empty(shape, dtype=kind)
        else:
            array = memory[lead : lead + size].view(kind).reshape(shape)
        return Memory(array, array.ctypes.data, _same(array.nbytes, size))

    def finish(self, memory: Memory) -> Any:
        return memory.array


# The dtypes of the format that torch has, in its versions.
_TORCH = {
    "BOOL": "bool",
    "U8": "uint8",
    "U16": "uint16",
    "U32": "uint32",
    "U64": "uint64",
    "I8": "int8",
    "I16": "int16",
    "I32": "int32",
    "I64": "int64",
    "F16": "float16",
    "BF16": "bfloat16",
    "F32": "float32",
    "F64": "float64",
    "C64": "complex64",
    "F8_E4M3": "float8_e4m3fn",
    "F8_E4M3FNUZ": "float8_e4m3fnuz",
    "F8_E5M2": "float8_e5m2",
    "F8_E5M2FNUZ": "float8_e5m2fnuz",
    "F8_E8M0": "float8_e8m0fnu",
    "F4": "float4_e2m1fn_x2",
}


_NO_MEMORY = "torch gives no memory to load into: a mode for tensors without content is active"


class _Torch:
    # Where a slice reaches behind the end, as torch does it.
    clamps = True

    def __init__(self, device: Any) -> None:
        self._torch = importlib.import_module("torch")
        self._device = f"cuda:{device}" if isinstance(device, int) else device
        try:
            self._is_cpu = self._torch.device(self._device).type == "cpu"
        except RuntimeError as error:
            raise SafetensorError(f"device {device} is invalid") from error

    def empty(self, dtype: str, shape: List[int], size: int, offset: Optional[int] = None) -> Memory:
        kind = getattr(self._torch, _TORCH.get(dtype, ""), None)
        if kind is None:
            raise TypeError(f"this torch has no data type for {dtype}")
        if dtype == "F4" and shape:
            # Two elements in a byte, which torch counts as one.
            shape = [*shape[:-1], shape[-1] // 2]
        tensor = self._real(shape, kind)
        lead = _lead(0, offset, size, tensor.element_size())
        if lead is not None and hasattr(tensor, "untyped_storage"):
            # Its storage is the tensor and nothing else: storages are saved as a whole.
            memory = self._torch.frombuffer(_pages(lead + size), dtype=self._torch.uint8, count=size, offset=lead)
            tensor.set_(memory.untyped_storage(), 0, shape)
        if size > 0 and tensor.data_ptr() == 0:
            raise ValueError(_NO_MEMORY)
        return Memory(tensor, tensor.data_ptr(), _same(tensor.numel() * tensor.element_size(), size))

    def _real(self, shape: List[int], kind: Any) -> Any:
        tensor = self._torch.empty(shape, dtype=kind, device="cpu")
        # Modes of torch may give something without memory, or with memory that is not its own.
        if type(tensor) is not self._torch.Tensor or tensor.device.type != "cpu" or not tensor.is_contiguous():
            raise ValueError(_NO_MEMORY)
        return tensor

    def finish(self, memory: Memory) -> Any:
        return memory.array if self._is_cpu else memory.array.to(self._device)


class _Other:
    """A framework for which safetensors makes arrays from bytes."""

    clamps = False

    def __init__(self, module: str) -> None:
        self._load = importlib.import_module(f"safetensors.{module}").load

    def empty(self, dtype: str, shape: List[int], size: int, _offset: Optional[int] = None) -> Memory:
        header = json.dumps({"": {"dtype": dtype, "shape": list(shape), "data_offsets": [0, size]}}).encode()
        header += b" " * (-len(header) % 8)
        file = bytearray(8 + len(header) + size)
        file[:8], file[8 : 8 + len(header)] = len(header).to_bytes(8, "little"), header
        address = (_first(file)) + 8 + len(header)
        return Memory(file, address, size)

    def finish(self, memory: Memory) -> Any:
        # Its bytes are verified, and are no file of a model.
        file = bytes(memory.array)
        token = vouched.set(file)
        try:
            return self._load(file)[""]
        finally:
            vouched.reset(token)


def _first(buffer: bytearray) -> int:
    """The address of the first byte. The caller does not resize the buffer."""
    ctypes = importlib.import_module("ctypes")
    return ctypes.addressof(ctypes.c_char.from_buffer(buffer))


def _same(there: int, wanted: int) -> int:
    if there != wanted:
        raise SafetensorError(f"an array of {there} bytes for a tensor of {wanted}")
    return there
