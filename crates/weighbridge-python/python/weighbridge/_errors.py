"""The errors of this package, by who is to blame."""

from __future__ import annotations

from typing import Optional, Tuple

from safetensors import SafetensorError

__all__ = ["CouldNotTell", "Misuse", "NoTrust", "NotInFile", "Refused", "WeighbridgeError"]

USAGE, NO_TRUST, FILE_EXTRA = 9001, 9003, 2105


class WeighbridgeError(Exception):
    """Something was not verified, and nothing of it was handed out.

    Attributes:
        code: The number of the error in ``spec/error-codes.md``. It never changes its meaning.
        file: The path of the file in the model, or None.
        tensor: The name of the tensor, or None.
        chunk: The position of the bad chunk in the file, counted from 0, or None.
        range: The bytes of that chunk in the file, as (first, end); ``end`` is not part of it. Or None.
    """

    def __init__(
        self,
        message: str,
        code: int = USAGE,
        *,
        file: Optional[str] = None,
        tensor: Optional[str] = None,
        chunk: Optional[int] = None,
        range: Optional[Tuple[int, int]] = None,
    ) -> None:
        super().__init__(message)
        self.code, self.file, self.tensor, self.chunk, self.range = code, file, tensor, chunk, range

    def __str__(self) -> str:
        return f"{super().__str__()} [W{self.code}]"

    def __reduce__(self):
        return _again, (type(self), self.args[0], self.code, self.file, self.tensor, self.chunk, self.range)


class Refused(WeighbridgeError):
    """What was read is not what was signed, or the head is not one that the policy accepts. Do not use it."""


class CouldNotTell(WeighbridgeError):
    """Nothing was judged: something is missing or cannot be read. The same call may work later."""


class Misuse(WeighbridgeError):
    """The call was wrong, whatever the data."""


class NoTrust(Misuse):
    """Whom to trust, or which model is meant, was not said."""


class NotInFile(Misuse, SafetensorError):
    """The file has no such tensor, or the tensor no such slice. Also what safetensors itself raises then."""


# Where users find them.
for _kind in (WeighbridgeError, Refused, CouldNotTell, Misuse, NoTrust, NotInFile):
    _kind.__module__ = "weighbridge"


def is_refusal(code: int) -> bool:
    """Whether a code says that bytes were found bad, and not that nothing was judged (``spec/error-codes.md``)."""
    return code < 9000 and code not in (4108, 4314)


def of_native(code: int, message: str, is_refusal: bool, **place) -> WeighbridgeError:
    """The error for what the native half reports."""
    if is_refusal:
        kind = Refused
    elif code == NO_TRUST:
        kind = NoTrust
    elif code == USAGE:
        kind = NotInFile if place.get("tensor") is not None else Misuse
    else:
        kind = CouldNotTell
    return kind(message, code, **place)


def _again(kind, message, code, file, tensor, chunk, range):
    return kind(message, code, file=file, tensor=tensor, chunk=chunk, range=range)
