"""Verified loading of model weights, as a drop-in for safetensors.

Say once whom the process trusts, and load as ever::

    import weighbridge
    from weighbridge.numpy import load_file

    weighbridge.trust(vkeys=[VKEY], name="org/model")
    tensors = load_file("MODEL/model.safetensors")

Each byte that is handed out was read into memory of its own and verified there; what is not as signed raises `Refused`.
"""

from ._command import Checked, Fetched, Fetching, Signed, Weighed, check, fetch, prove, sign, weigh
from ._errors import CouldNotTell, Misuse, NoTrust, NotInFile, Refused, WeighbridgeError
from ._native import VERSION as __version__
from ._open import safe_open
from ._patch import patch
from ._trust import trust
from ._verify import Verified, verify

__all__ = [
    "Checked",
    "CouldNotTell",
    "Fetched",
    "Fetching",
    "Misuse",
    "NoTrust",
    "NotInFile",
    "Refused",
    "Signed",
    "Verified",
    "Weighed",
    "WeighbridgeError",
    "__version__",
    "check",
    "fetch",
    "patch",
    "prove",
    "safe_open",
    "sign",
    "trust",
    "verify",
    "weigh",
]
