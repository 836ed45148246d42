"""Verifies a model folder against its signed head (spec/model-folder.md, Verifying)."""

import os
import re
import stat
from itertools import takewhile
from pathlib import Path
from typing import Callable, Iterator, NamedTuple, Optional

from . import blake3, filetree, gguf, lists, tensors, trust
from .head import Head, head_id
from .lists import FileEntry, TensorEntry
from .note import MAX_NOTE, parse_note
from .refused import Refused
from .values import MAX_PATH, ascii_lower, check_path

NOT_LISTED_BUT_FINE = ".gitattributes"  # at the top: hubs add one
METADATA = {
    "head.note", "head.txt", "files.jsonl", "tensors.jsonl", "chunks.layer", ".new", "partial", "kept", "uploads",
    "pushed", "lock",
}


class LeftOut(NamedTuple):
    """A place that was not looked into, because models have nothing there."""


class Unread(NamedTuple):
    """A folder that cannot be read, or a file in a folder whose names can be read but whose files cannot."""

    error: OSError


class Report(NamedTuple):
    verified: trust.Verified
    accepted: list[FileEntry]
    uncompared: list[str]  # the verified files whose headers were not compared with the tensor list
    refusals: list[Refused]
    ignored: list[str]
    left_out: list[str]
    unknown: list[str]


class Metadata(NamedTuple):
    head: Head
    files: dict[str, FileEntry]
    tensors: Optional[list[TensorEntry]]
    layers: dict[str, bytes]  # not yet accepted; empty if none are published


def verify(folder: Path, policy, expected, meta: Optional[Path] = None, tensor_hashes: bool = False) -> Report:
    """Refuses the model as a whole, or returns what it found file by file.

    The head comes first, then the lists, then the layers, then the files, each read once.
    """
    check_not_being_replaced(folder / "weighbridge")
    meta = meta or folder / "weighbridge"
    verified = trust.verify(read_at_most(meta / "head.note", MAX_NOTE + 1), policy, expected)
    metadata, refusals = open_metadata(verified.head, lambda name: place_of(meta, verified.head_id, name))

    present, left_out, unread = {}, [], []
    for path, found in walk(folder):
        if isinstance(found, Refused):
            refusals.append(found)
            present[path] = None
        elif isinstance(found, LeftOut):
            left_out.append(path)
        elif isinstance(found, Unread):
            unread.append(path)
        else:
            present[path] = found
    ignored = []
    for path in sorted(present.keys() - metadata.files.keys()):
        if path == NOT_LISTED_BUT_FINE:
            ignored.append(path)
        elif present[path] is not None:
            refusals.append(Refused(2105, f"{path!r} is not listed"))

    accepted, uncompared, unknown = [], [], list(unread)
    for entry in metadata.files.values():
        if present.get(entry.path, entry) is None:
            continue  # a link or a special file, which was refused already
        if any(f"{entry.path}/".startswith(f"{place}/") for place in unread):
            unknown.append(entry.path)
            continue
        aside: list[str] = []
        found = list(check_file(present.get(entry.path), entry, metadata, tensor_hashes, aside))
        refusals += found
        if not found:
            accepted.append(entry)
            uncompared += aside
    return Report(verified, accepted, uncompared, refusals, ignored, left_out, sorted(set(unknown)))


def place_of(meta: Path, head_id: bytes, name: str) -> Path:
    """Where a list lies, or the layers: a release that is being replaced has moved once its file list has."""
    kept = meta / "kept" / head_id.hex()
    has_moved = (kept / "files.jsonl").is_file() or (kept / name).is_file()
    return (kept if has_moved else meta) / name


def open_metadata(head: Head, place: Callable[[str], Path]) -> tuple[Metadata, list[Refused]]:
    files = lists.open_file_list(head, read_at_most(place("files.jsonl"), head.files.length + 1))
    entries = None
    if head.tensors is not None:
        data = read_at_most(place("tensors.jsonl"), head.tensors.length + 1)
        entries = lists.open_tensor_list(head, files, data)

    refusals, layers = [], {}
    if place("chunks.layer").exists():
        lengths = {path: filetree.layer_length(entry.size, head.chunk_size) for path, entry in files.items()}
        total = sum(lengths.values())
        data = read_at_most(place("chunks.layer"), total + 1)
        if len(data) != total:
            refusals.append(Refused(2201, f"the layers have another length than {total} bytes"))
        else:
            position = 0
            for path, length in lengths.items():
                layer = data[position : position + length]
                position += length
                try:
                    filetree.accept_layer(files[path].root, files[path].size, head.chunk_size, layer)
                    layers[path] = layer
                except Refused as refused:
                    refusals.append(Refused(refused.code, f"{path!r}: {refused.message}"))
    return Metadata(head, files, entries, layers), refusals


def check_file(place: Optional[Path], entry: FileEntry, metadata: Metadata, tensor_hashes: bool,
               uncompared: list[str]) -> Iterator[Refused]:
    """The faults of one file. Its path is added to `uncompared` if its header is not compared."""
    if place is None:
        yield Refused(2104, f"{entry.path!r} is missing")
        return
    if place.stat().st_size != entry.size:
        yield Refused(2103, f"{entry.path!r} has {place.stat().st_size} bytes, expected {entry.size}")
        return
    data = read_at_most(place, entry.size + 1)
    if len(data) != entry.size:
        yield Refused(2106, f"{entry.path!r} changed while it was read")
        return
    if blake3.hash(data) != entry.root:
        yield Refused(2101, f"{entry.path!r} does not match its signed root")
        yield from bad_chunks(data, entry, metadata)
        return
    if metadata.tensors is not None and lists.is_tensor_file(entry.path):
        # From here on `data` is verified, and is not read again (rule 10).
        listed = [tensor for tensor in metadata.tensors if tensor.file == entry.path]
        try:
            if not compare_header(entry.path, data, listed):
                uncompared.append(entry.path)
        except Refused as refused:
            yield Refused(refused.code, f"{entry.path!r}: {refused.message}")
            return
        for tensor in listed if tensor_hashes else []:
            if blake3.hash(data[tensor.offset : tensor.offset + tensor.size]) != tensor.blake3:
                yield Refused(2307, f"{entry.path!r}: the hash of {tensor.name!r} is of other bytes")


def bad_chunks(data: bytes, entry: FileEntry, metadata: Metadata) -> Iterator[Refused]:
    layer, chunk_size = metadata.layers.get(entry.path), metadata.head.chunk_size
    if not layer:
        return
    verifier = filetree.FileVerifier(entry.root, entry.size, chunk_size, layer)
    for index in range(filetree.chunk_count(entry.size, chunk_size)):
        begin, end = filetree.chunk_range(index, entry.size, chunk_size)
        try:
            verifier.accept(index, data[begin:end])
        except Refused as refused:
            yield Refused(refused.code, f"{entry.path!r}: {refused.message}")


def tensors_of(path: str, data: bytes) -> list[tensors.Tensor] | tensors.Unlisted:
    """The tensors that the header of a tensor file names."""
    if path.endswith(".gguf"):
        return gguf.parse_gguf(data, len(data)).tensors
    return tensors.parse_safetensors(data, len(data))


def compare_header(path: str, data: bytes, listed: list[TensorEntry]) -> bool:
    """Compares header and list; returns whether it could. Without listed tensors, the header is not judged."""
    try:
        found = tensors_of(path, data)
    except Refused:
        if listed:
            raise
        return False
    if isinstance(found, tensors.Unlisted):
        return False
    if found and not listed:
        return False
    tensors.compare([tensors.Tensor(t.name, t.dtype, t.shape, t.offset, t.size) for t in listed], found)
    return True


def check_not_being_replaced(meta: Path):
    """Refuses a folder in which files of two releases may lie (9108)."""
    try:
        standing = head_id(parse_note(read_at_most(meta / "head.note", MAX_NOTE)).text).hex()
    except (OSError, Refused):
        standing = "none"
    if os.path.lexists(meta / "kept" / standing / "by"):
        raise Refused(9108, f"the release in {str(meta)!r} is being replaced by another")


# --- the folder -----------------------------------------------------------------------------------------

def walk(folder: Path) -> Iterator[tuple[str, Path | Refused | LeftOut | Unread]]:
    """Every file that counts, with its path in the model; or the reason why a path does not count."""
    top = folder.resolve(strict=True)
    yield from walk_below(top, top, [])


def walk_below(top: Path, folder: Path, above: list[str]):
    for name in sorted(os.listdir(folder)):
        components, place = [*above, name], folder / name
        path = "/".join(components)
        if ascii_lower(name) == ".git":
            yield path, LeftOut()
        elif components == ["weighbridge"] and place.is_dir():
            yield from ((other, LeftOut()) for other in not_metadata(place))
        elif components[-2:] == [".cache", "huggingface"] and place.is_dir():
            yield path, LeftOut()
        else:
            try:
                yield from walk_at(top, place, components)
            except OSError as error:
                yield path, Unread(error)


def not_metadata(place: Path) -> list[str]:
    try:
        others = set(os.listdir(place)) - METADATA
    except OSError:
        return ["weighbridge"]
    return [f"weighbridge/{name}" for name in sorted(others)]


def walk_at(top: Path, place: Path, components: list[str]):
    path = "/".join(components)
    try:
        path.encode()
    except UnicodeEncodeError:
        yield path, Refused(1411, f"the name {path!r} on disk is not UTF-8")
        return
    mode = place.lstat().st_mode
    if stat.S_ISDIR(mode):
        if len(path.encode()) > MAX_PATH:
            yield path, Refused(1401, "nothing in so deep a folder could be listed")
        else:
            yield from walk_below(top, place, components)
        return
    try:
        check_path(path)
    except Refused as refused:
        yield path, Refused(refused.code, f"{path!r}: {refused.message}")
        return
    if stat.S_ISREG(mode):
        yield path, place
    elif stat.S_ISLNK(mode):
        yield path, follow(top, place, path)
    else:
        yield path, Refused(5104, f"{path!r} is neither a file nor a folder")


def follow(top: Path, link: Path, path: str) -> Path | Refused:
    try:
        target = link.resolve(strict=True)
    except PermissionError:
        raise
    except (OSError, RuntimeError):  # a circle of links raises RuntimeError
        return Refused(5105, f"{path!r} leads nowhere")
    if not target.is_relative_to(top) and not is_in_hub_cache(top, link, target):
        return Refused(5102, f"{path!r} leads out of the model")
    if target.is_dir():
        return Refused(5103, f"{path!r} leads to a folder")
    if not target.is_file():
        return Refused(5104, f"{path!r} leads to neither a file nor a folder")
    return target


def is_in_hub_cache(top: Path, link: Path, target: Path) -> bool:
    """Whether the model is a snapshot of a Hugging Face cache that may contain this link."""
    blobs = top.parent.parent / "blobs"
    if top.parent.name != "snapshots" or not is_folder(blobs):
        return False
    blob = said_by(link)
    while blob is not None and blob.is_relative_to(top):
        blob = said_by(blob)
    if blob is None or blob.parent != blobs:
        return False
    if not blob.is_symlink():
        return True
    store = blobs.parent.parent / "blobs"
    if not blobs.parent.name.startswith("models--") or not is_folder(store) or not is_marked(store):
        return False
    in_store = target.parent == store / target.name[:2] and re.fullmatch("[0-9a-f]{64}", target.name)
    return bool(in_store) and said_by(blob) == target


def said_by(link: Path) -> Optional[Path]:
    """The path that a link names: from its own folder up, then down by names of which none is a link. `None` if it
    goes elsewhere, or is no link."""
    if not link.is_symlink():
        return None
    said = Path(os.readlink(link))
    if said.is_absolute():
        return said.parent.resolve() / said.name
    ups = len(list(takewhile(lambda name: name == "..", said.parts)))
    names = said.parts[ups:]
    if not names or ".." in names:
        return None
    place = link.parent.resolve().joinpath(*[".."] * ups).resolve()
    for name in names[:-1]:
        place = place / name
        if place.is_symlink():
            return None
    return place / names[-1]


def is_folder(place: Path) -> bool:
    return place.is_dir() and not place.is_symlink()


def is_marked(store: Path) -> bool:
    mark = store / ".huggingface-shared-blobs"
    return mark.is_file() and not mark.is_symlink() and read_at_most(mark, 16) == b"1\n"


def read_at_most(place: Path, limit: int) -> bytes:
    """Reads at most `limit` bytes; one byte over the permitted length shows that a file is too long (rule 12)."""
    with open(place, "rb") as file:
        return file.read(limit)
