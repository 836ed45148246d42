"""Weighs a model in memory as a publisher does, and lets a case change the result."""

import json
from typing import NamedTuple

from weighbridge_ref import blake3, filetree, model
from weighbridge_ref.lists import TensorEntry, file_line, is_tensor_file, tensor_line
from weighbridge_ref.tensors import Unlisted

from .common import CHUNK_SIZE, file_entry, head_of_lists, joined


class Weighed(NamedTuple):
    """The content of `weighbridge/`, without the signatures."""

    text: bytes
    files: bytes
    tensors: bytes | None
    layers: bytes

    def metadata(self, note: bytes) -> dict[str, bytes]:
        parts = {"head.note": note, "files.jsonl": self.files, "tensors.jsonl": self.tensors,
                 "chunks.layer": self.layers}
        return {f"weighbridge/{name}": data for name, data in parts.items() if data is not None}


def safetensors(*members: tuple[str, str, tuple[int, ...], bytes]) -> bytes:
    """A file of tensors (name, dtype, shape, bytes), with its header padded to a multiple of 8."""
    header, position = {}, 0
    for name, dtype, shape, data in members:
        offsets = [position, position + len(data)]
        header[name] = {"dtype": dtype, "shape": list(shape), "data_offsets": offsets}
        position += len(data)
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    return len(text).to_bytes(8, "little") + text + b"".join(member[3] for member in members)


def tensor_entries(path: str, data: bytes) -> list[TensorEntry]:
    found = model.tensors_of(path, data)
    return [
        TensorEntry(t.name, path, t.dtype, t.shape, t.offset, t.size, blake3.hash(data[t.offset : t.offset + t.size]))
        for t in ([] if isinstance(found, Unlisted) else found)
    ]


def weigh(files: dict[str, bytes], change_tensors=None, no_tensors=False, entries=None, **head) -> Weighed:
    """`change_tensors` changes the true tensor entries before they are signed; `entries` replace them."""
    paths = sorted(files, key=str.encode)
    file_lines = [file_line(file_entry(path, files[path])) for path in paths]
    if entries is None:
        entries = [entry for path in paths if is_tensor_file(path) and not no_tensors
                   for entry in tensor_entries(path, files[path])]
    if change_tensors is not None:
        entries = change_tensors(entries)
    entries.sort(key=lambda e: (e.file.encode(), e.name.encode()))
    tensor_lines = None if no_tensors else [tensor_line(entry) for entry in entries]
    chunk_size = int(head.get("chunk_size", CHUNK_SIZE))
    return Weighed(
        head_of_lists(file_lines, tensor_lines, sum(map(len, files.values())), **head),
        joined(file_lines),
        None if tensor_lines is None else joined(tensor_lines),
        b"".join(filetree.layer_of(files[path], chunk_size) for path in paths),
    )
