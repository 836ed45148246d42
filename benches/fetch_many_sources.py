"""Times `weighbridge fetch` from many sources beside one, over loopback from nginx, with little memory and few descriptors.

The sources are the same server under different addresses (`?mirror=N`). Each round fetches from one and from all, with
`--memory 34MiB` and `ulimit -n 256`. The table is Markdown.

usage: fetch_many_sources.py WEIGHBRIDGE MODEL [SOURCES] [ROUNDS] [--into /dev/shm]
"""

import argparse
import os
import shutil
import statistics
import subprocess
import tempfile
from pathlib import Path

from fetch_beside_curl import MEMORY_DISK, nginx, run

LIMITED = 'ulimit -n 256; exec "$0" "$@"'


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("weighbridge")
    parser.add_argument("model", type=Path)
    parser.add_argument("sources", type=int, nargs="?", default=1000)
    parser.add_argument("rounds", type=int, nargs="?", default=5)
    parser.add_argument("--into", type=Path, default=MEMORY_DISK)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=arguments.into) as scratch:
        bench(arguments, Path(scratch))


def bench(arguments: argparse.Namespace, scratch: Path) -> None:
    weighbridge, model = arguments.weighbridge, scratch / "model"
    environment = {**os.environ, "XDG_STATE_HOME": str(scratch)}
    shutil.copytree(arguments.model, model, ignore=shutil.ignore_patterns("weighbridge"))
    for command in (
        ["keygen", "bench", "-o", str(scratch), "--unencrypted"],
        ["weigh", str(model), "--name", "bench/many", "--key", f"{scratch}/bench.key"],
    ):
        subprocess.run([weighbridge, *command], check=True, stdout=subprocess.DEVNULL, env=environment)
    vkey = (scratch / "bench.vkey").read_text().strip()
    results = {1: [], arguments.sources: []}
    with nginx(model, scratch, False) as url:
        for _ in range(arguments.rounds):
            for count, result in results.items():
                out = scratch / "out"
                sources = [f"{url}/?mirror={number}" for number in range(count)]
                fetch = ["fetch", *sources, "--memory", "34MiB", "--name", "bench/many", "--vkey", vkey, "-o", str(out)]
                result.append(run(["sh", "-c", LIMITED, weighbridge, *fetch], environment))
                shutil.rmtree(out)
    print("| sources | time | peak memory |\n|---|---|---|")
    for count, result in results.items():
        time, memory = (statistics.median(values) for values in zip(*result))
        print(f"| {count} | {time:.2f} s | {memory / 1024:.0f} MiB |")


if __name__ == "__main__":
    main()
