"""Times `weighbridge import` beside curl and `openssl dgst -sha256`, over loopback from nginx to a memory disk.

The model is three safetensors files, listed by SHA256SUMS. Each round fetches them with curl, one after the other, takes
their digests with openssl, and imports them. The table is Markdown: the time of an import beside the longer of the other
two, and peak memory.

usage: import_beside_curl.py WEIGHBRIDGE [--bytes 2000000000] [--rounds 5] [--into /dev/shm]
"""

import argparse
import json
import os
import shutil
import statistics
import subprocess
import tempfile
from pathlib import Path

from fetch_beside_curl import MEMORY_DISK, nginx, run

TENSOR = 64 << 20


def safetensors(path: Path, size: int) -> None:
    """A file of random bytes in tensors of 64 MiB."""
    header, at = {}, 0
    while at < size:
        end = min(size, at + TENSOR)
        header[f"t{at}"] = {"dtype": "U8", "shape": [end - at], "data_offsets": [at, end]}
        at = end
    text = json.dumps(header).encode()
    block = os.urandom(1 << 20)
    with path.open("wb") as file:
        file.write(len(text).to_bytes(8, "little") + text)
        for start in range(0, size, len(block)):
            file.write(block[: min(len(block), size - start)])


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("weighbridge")
    parser.add_argument("--bytes", type=int, default=2_000_000_000)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--into", type=Path, default=MEMORY_DISK)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=arguments.into) as scratch:
        bench(arguments, Path(scratch))


def bench(arguments: argparse.Namespace, scratch: Path) -> None:
    model, environment = scratch / "model", {**os.environ, "XDG_STATE_HOME": str(scratch)}
    model.mkdir()
    names = [f"model-0000{number}.safetensors" for number in (1, 2, 3)]
    for name in names:
        safetensors(model / name, arguments.bytes // 3)
    sums = subprocess.run(["sha256sum", *names], cwd=model, check=True, capture_output=True).stdout
    (model / "SHA256SUMS").write_bytes(sums)
    keygen = [arguments.weighbridge, "keygen", "bench", "-o", str(scratch), "--unencrypted"]
    subprocess.run(keygen, check=True, stdout=subprocess.DEVNULL, env=environment)
    results: dict[str, list[tuple[float, int]]] = {"curl": [], "openssl": [], "import": []}
    with nginx(model, scratch, False) as url:
        out = scratch / "out"
        words = [word for name in names for word in ("-o", f"{out}/{name}", f"{url}/{name}")]
        imported = ["import", url, "-o", str(out), "--key", f"{scratch}/bench.key", "--name", "bench/import"]
        commands = {
            "curl": ["curl", "-s", "--create-dirs", *words],
            "openssl": ["openssl", "dgst", "-sha256", *(str(model / name) for name in names)],
            "import": [arguments.weighbridge, *imported],
        }
        for _ in range(arguments.rounds):
            for name, command in commands.items():
                results[name].append(run(command, environment))
                shutil.rmtree(out, ignore_errors=True)
    print("| command | time | peak memory |\n|---|---|---|")
    for name, rounds in results.items():
        time, memory = (statistics.median(values) for values in zip(*rounds))
        print(f"| {name} | {time:.2f} s | {memory / 1024:.0f} MiB |")
    pairs = zip(results["curl"], results["openssl"], results["import"])
    ratios = sorted(ours[0] / max(curl[0], openssl[0]) for curl, openssl, ours in pairs)
    print(f"\nimport beside the longer one: {statistics.median(ratios):.2f} ({ratios[0]:.2f} to {ratios[-1]:.2f})")


if __name__ == "__main__":
    main()
