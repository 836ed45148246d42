"""``python -m weighbridge run [--name ORG/MODEL] [--model DIR] SCRIPT [ARGUMENT...]``"""

from __future__ import annotations

import argparse
import sys

from . import _run
from ._errors import WeighbridgeError
from ._models import open_model


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m weighbridge", description="Verified loading of model weights")
    commands = parser.add_subparsers(required=True)
    run = commands.add_parser(
        "run",
        help="run a Python program whose safetensors are verified",
        description="Runs a Python program. What it and its Python children load by safetensors is verified, by the policy that "
        "WEIGHBRIDGE_TRUST names; all files of a model are verified when it is first opened; torch.load is refused. This is a "
        "convenience and no boundary: the program can read files by other means.",
    )
    run.add_argument("--name", metavar="ORG/MODEL", help="the model that is meant, where a path does not say it")
    run.add_argument("--model", metavar="DIR", help="verify this model before the program starts")
    run.add_argument("script")
    run.add_argument("arguments", nargs=argparse.REMAINDER)
    given = parser.parse_args()
    _run.pass_on(given.name)
    try:
        _run.activate()
        if given.model is not None:
            # It is verified when it is opened.
            open_model(given.model)
    except (WeighbridgeError, OSError) as error:
        sys.exit(f"weighbridge: {error}")
    _run.run(given.script, given.arguments)


if __name__ == "__main__":
    main()
