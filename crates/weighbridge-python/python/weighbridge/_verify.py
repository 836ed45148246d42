"""A whole model is verified."""

from __future__ import annotations

import dataclasses
from typing import Callable, List, Optional

from ._models import Path, open_model


@dataclasses.dataclass(frozen=True)
class Verified:
    """A model all of whose files are as signed.

    Attributes:
        name: The model's name, as its publisher signed it.
        revision: The revision.
        head: The head id, 64 hexadecimal digits.
        signers: The names of the signers that the policy counts; none if the head was trusted by its id.
        files: The number of files.
        bytes: The sum of their sizes.
    """

    name: str
    revision: int
    head: str
    signers: List[str]
    files: int
    bytes: int


def verify(
    model: Path,
    *,
    name: Optional[str] = None,
    head: Optional[str] = None,
    meta: Optional[Path] = None,
    tensors: bool = False,
    allow_extra: bool = False,
    progress: Optional[Callable[[int, int], None]] = None,
) -> Verified:
    """Reads all files of a model folder once, on all cores, and compares them with the signed lists.

    Args:
        model: The model folder, or a snapshot of a Hugging Face cache.
        name: The model ``ORG/MODEL`` that is meant; for a snapshot it follows from the path.
        head: The id of the head that is meant.
        meta: The folder of the metadata, if it is not beside the model.
        tensors: Compute the hashes of all tensors too.
        allow_extra: Permit files that are not listed.
        progress: Called a few times a second with the bytes that were read so far and those of all files. An exception of it
            ends the call.

    Raises:
        Refused: A file is not as signed; the error names the first, with chunk and tensor, and says how many there are.
        CouldNotTell: A file could not be read.

    Non-guarantee:
        It is about the bytes that were read. Who reads the files again later has not verified what they then read.
    """
    opened = open_model(model, meta=meta, name=name, head=head).native
    files, size = opened.verify(tensors=tensors, allow_extra=allow_extra, progress=progress)
    return Verified(opened.name, opened.revision, opened.head, opened.signers, files, size)
