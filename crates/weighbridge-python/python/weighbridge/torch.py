"""As ``safetensors.torch``, but whatever is loaded is verified first.

``import weighbridge.torch as safetensors_torch`` is enough. What saves is that of safetensors.
"""

from typing import Any, Dict, List, Optional, Tuple, Union

from . import _load
from ._load import Name
from ._models import Path
from ._open import safe_open

__all__ = ["load", "load_file", "load_model", "safe_open"]

__getattr__ = _load.passed_on("torch")


def load_file(filename: Path, device: Union[str, int] = "cpu", *, backend: str = "mmap", name: Name = None, head: Name = None, meta: Optional[Path] = None) -> Dict[str, Any]:
    """All tensors of a file, verified, by name. For the arguments and errors see ``weighbridge.safe_open``."""
    return _load.load_file("pt", filename, device, backend=backend, name=name, head=head, meta=meta)


def load(data: bytes, *, model: Optional[Path] = None, name: Name = None, head: Name = None, meta: Optional[Path] = None) -> Dict[str, Any]:
    """All tensors of a file whose bytes are given, once they are those of a file of the signed model.

    ``model`` is the folder of the model, or ``meta`` that of its metadata; by default ``WEIGHBRIDGE_META``.

    Raises:
        Refused: No file of the model has these bytes.
    """
    return _load.load("torch", data, model=model, name=name, head=head, meta=meta)


def load_model(
    model: Any,
    filename: Path,
    strict: bool = True,
    device: Union[str, int] = "cpu",
    *,
    backend: str = "mmap",
    name: Name = None,
    head: Name = None,
    meta: Optional[Path] = None,
) -> Tuple[List[str], List[str]]:
    """Loads a file into a ``torch.nn.Module``, verified. Returns the names that are missing, and those that nobody wants.

    Tensors that share memory in the module are those that safetensors takes for them.
    """
    tensors = load_file(filename, device, backend=backend, name=name, head=head, meta=meta)
    # Of names that share memory in the module, a file has one.
    shared = _load.theirs("torch")._remove_duplicate_names(model.state_dict(), preferred_names=tensors.keys())
    left, unexpected = model.load_state_dict(tensors, strict=False)
    missing = set(left)
    for names in shared.values():
        unexpected += [name for name in names if name not in missing]
        missing.difference_update(names)
    if strict and (missing or unexpected):
        # The words of torch, which programs look for.
        lines = [f"Error(s) in loading state_dict for {type(model).__name__} from {filename}:"]
        for what, names in ("Missing", sorted(missing)), ("Unexpected", sorted(unexpected)):
            if names:
                quoted = ", ".join(f'"{name}"' for name in names)
                lines.append(f"\t{what} key(s) in state_dict: {quoted}.")
        raise RuntimeError("\n".join(lines))
    return missing, unexpected
