"""As ``safetensors.paddle``, but whatever is loaded is verified first.

``import weighbridge.paddle as safetensors_paddle`` is enough. What saves is that of safetensors.
"""

from typing import Any, Dict, Optional

from . import _load
from ._load import Name
from ._models import Path
from ._open import safe_open

__all__ = ["load", "load_file", "safe_open"]

__getattr__ = _load.passed_on("paddle")


def load_file(filename: Path, *, backend: str = "mmap", name: Name = None, head: Name = None, meta: Optional[Path] = None) -> Dict[str, Any]:
    """All tensors of a file, verified, by name. For the arguments and errors see ``weighbridge.safe_open``."""
    return _load.load_file("paddle", filename, backend=backend, name=name, head=head, meta=meta)


def load(data: bytes, *, model: Optional[Path] = None, name: Name = None, head: Name = None, meta: Optional[Path] = None) -> Dict[str, Any]:
    """All tensors of a file whose bytes are given, once they are those of a file of the signed model.

    ``model`` is the folder of the model, or ``meta`` that of its metadata; by default ``WEIGHBRIDGE_META``.

    Raises:
        Refused: No file of the model has these bytes.
    """
    return _load.load("paddle", data, model=model, name=name, head=head, meta=meta)
