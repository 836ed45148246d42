"""Started by ``python -m weighbridge run``: this process verifies what it loads, too, or does not begin."""

import importlib.machinery
import importlib.util
import os
import sys

if os.environ.get("WEIGHBRIDGE_RUN"):
    here = os.path.dirname(os.path.abspath(__file__))
    sys.path[:] = [path for path in sys.path if os.path.abspath(path) != here]
    try:
        from weighbridge import _run

        _run.activate()
    except BaseException as error:
        # Python would go on without us.
        print(f"weighbridge: {error}", file=sys.stderr, flush=True)
        os._exit(1)
    # The module of this name that would be used without this folder.
    spec = importlib.machinery.PathFinder.find_spec("sitecustomize", sys.path)
    if spec is not None and spec.loader is not None:
        spec.loader.exec_module(importlib.util.module_from_spec(spec))
