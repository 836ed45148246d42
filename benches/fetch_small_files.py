"""Times `weighbridge fetch` of many small files beside curl, over loopback from nginx.

Each round runs both: `curl -Z` with 16 transfers at once, followed by `sync -f` of the folder, since a fetch syncs what it
names; and a fetch of the same files. The table has the ratios of each round, as Markdown.

usage: fetch_small_files.py WEIGHBRIDGE [ROUNDS] [--files 20000] [--into /dev/shm]
"""

import argparse
import os
import random
import shutil
import statistics
import subprocess
import tempfile
from pathlib import Path

from fetch_beside_curl import MEMORY_DISK, nginx, run

SIZE, IN_A_FOLDER = 4096, 500


def make(model: Path, files: int) -> None:
    numbers = random.Random(1)
    for number in range(files):
        folder = model / f"d{number // IN_A_FOLDER}"
        folder.mkdir(parents=True, exist_ok=True)
        (folder / f"f{number}.bin").write_bytes(numbers.randbytes(SIZE))


class Bench:
    def __init__(self, weighbridge: str, files: int, scratch: Path, into: Path):
        self.weighbridge, self.scratch, self.into = weighbridge, scratch, into
        self.environment = {**os.environ, "XDG_STATE_HOME": str(scratch)}
        self.model = scratch / "model"
        make(self.model, files)
        self.paths = sorted(path.relative_to(self.model) for path in self.model.rglob("*.bin"))
        for command in (
            ["keygen", "bench", "-o", str(scratch), "--unencrypted"],
            ["weigh", str(self.model), "--name", "bench/small", "--key", f"{scratch}/bench.key"],
        ):
            subprocess.run([weighbridge, *command], check=True, stdout=subprocess.DEVNULL, env=self.environment)
        self.vkey = (scratch / "bench.vkey").read_text().strip()

    def timed(self, command) -> float:
        out = Path(tempfile.mkdtemp(dir=self.into))
        # What the last run left unwritten is not this one's.
        subprocess.run(["sync", "-f", str(out)], check=True)
        try:
            return run(command(out), self.environment)[0]
        finally:
            shutil.rmtree(out)

    def curl(self, source: str) -> float:
        urls = self.scratch / "urls"
        command = f'cd "$0" && curl -sfZ --parallel-max 16 --create-dirs -K {urls} && sync -f .'
        urls.write_text("".join(f'url = "{source}/{path}"\noutput = "{path}"\n' for path in self.paths))
        return self.timed(lambda out: ["sh", "-c", command, str(out)])

    def fetch(self, source: str) -> float:
        command = [self.weighbridge, "fetch", source, "--name", "bench/small", "--vkey", self.vkey, "-o"]
        return self.timed(lambda out: [*command, str(out / "model")])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("weighbridge", type=lambda path: str(Path(path).resolve()))
    parser.add_argument("rounds", type=int, nargs="?", default=5)
    parser.add_argument("--files", type=int, default=20_000)
    parser.add_argument("--into", type=Path, default=MEMORY_DISK)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=MEMORY_DISK) as scratch, tempfile.TemporaryDirectory() as folder:
        bench = Bench(arguments.weighbridge, arguments.files, Path(scratch), arguments.into)
        with nginx(bench.model, Path(folder), False) as source:
            bench.curl(source)
            pairs = [(bench.curl(source), bench.fetch(source)) for _ in range(arguments.rounds)]
    ratios = [fetch / curl for curl, fetch in pairs]
    curl, fetch = (statistics.median(pair[which] for pair in pairs) for which in (0, 1))
    print(f"{arguments.files:,} files of {SIZE:,} bytes, {os.cpu_count()} cores, {arguments.rounds} rounds\n")
    print("| command | median | time / curl's (median, min to max) |\n|---|---|---|")
    print(f"| `curl -Z`, `sync -f` | {curl:.2f} s | |")
    print(f"| `weighbridge fetch` | {fetch:.2f} s | {statistics.median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f}) |")


if __name__ == "__main__":
    main()
