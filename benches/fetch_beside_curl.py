"""Times `weighbridge fetch` beside curl, over loopback from nginx to a memory disk.

The first table is for a whole model from one server. Each round runs both commands; the table has the ratios of each
round, and peak memory. The second table is for three servers of 100 MB/s each (two connections of 50 MB/s each), one of
which falls to 1 % after a tenth of the time, beside the two others alone. Both tables are Markdown.

usage: fetch_beside_curl.py WEIGHBRIDGE MODEL [ROUNDS] [--chunk-size SIZE]
"""

import argparse
import contextlib
import os
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

MEMORY_DISK = Path("/dev/shm")


def run(command: list[str], environment: dict[str, str]) -> tuple[float, int]:
    """Wall time in seconds, and peak memory in KiB, of one run."""
    begin = time.perf_counter()
    quiet = [(os.POSIX_SPAWN_OPEN, fd, os.devnull, os.O_WRONLY, 0) for fd in (1, 2)]
    process = os.posix_spawnp(command[0], command, environment, file_actions=quiet)
    _, status, usage = os.wait4(process, 0)
    if os.waitstatus_to_exitcode(status) != 0:
        sys.exit(f"failed: {' '.join(command)}")
    return time.perf_counter() - begin, usage.ru_maxrss


@contextlib.contextmanager
def nginx(model: Path, folder: Path, limited: bool):
    """Serves the model's folder. While `folder/slow` exists, each new request gets a hundredth of the rate."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    temporary = " ".join(f"{kind}_temp_path {folder}/{kind};" for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi"))
    slow = f"if (-f {folder}/slow) {{ set $limit_rate 500000; }}"
    limit = f"limit_conn address 2; set $limit_rate 50000000; {slow}" if limited else ""
    # Started by root, nginx's processes would run as a user who cannot read the folder.
    user = "user root; " if os.getuid() == 0 else ""
    configuration = folder / "nginx.conf"
    configuration.write_text(
        f"{user}daemon off; worker_processes 1; pid {folder}/pid; error_log {folder}/error;\n"
        f"events {{ worker_connections 256; }}\n"
        f"http {{ access_log off; sendfile on; limit_conn_zone $binary_remote_addr zone=address:1m; {temporary}\n"
        f"server {{ listen 127.0.0.1:{port}; root {model}; {limit} }} }}\n"
    )
    process = subprocess.Popen(["nginx", "-e", f"{folder}/error", "-c", str(configuration)], stderr=subprocess.DEVNULL)
    try:
        for _ in range(200):
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port)):
                break
            time.sleep(0.02)
        else:
            sys.exit("nginx does not answer")
        yield f"http://127.0.0.1:{port}"
    finally:
        process.terminate()
        process.wait()


class Bench:
    def __init__(self, weighbridge: str, model: Path, scratch: Path, chunk_size: str | None):
        self.weighbridge, self.model, self.scratch = weighbridge, model, scratch
        self.environment = {**os.environ, "XDG_STATE_HOME": str(scratch)}
        for command in (
            ["keygen", "bench", "-o", str(scratch), "--unencrypted"],
            ["weigh", str(model), "--name", "bench/model", "--key", f"{scratch}/bench.key", "--force"]
            + (["--chunk-size", chunk_size] if chunk_size else []),
        ):
            subprocess.run([weighbridge, *command], check=True, stdout=subprocess.DEVNULL, env=self.environment)
        self.vkey = (scratch / "bench.vkey").read_text().strip()
        self.files = sorted(path for path in model.rglob("*") if path.is_file() and "weighbridge" not in path.parts)

    def fetch(self, sources: list[str]) -> tuple[float, int]:
        out = Path(tempfile.mkdtemp(dir=MEMORY_DISK))
        command = [self.weighbridge, "fetch", *sources, "-o", str(out / "model"), "--name", "bench/model", "--vkey", self.vkey]
        try:
            return run(command, self.environment)
        finally:
            shutil.rmtree(out)

    def curl(self, source: str) -> tuple[float, int]:
        out = Path(tempfile.mkdtemp(dir=MEMORY_DISK))
        command = ["curl", "-sf"]
        for number, path in enumerate(self.files):
            command += ["-o", f"{out}/{number}", f"{source}/{path.relative_to(self.model)}"]
        try:
            return run(command, self.environment)
        finally:
            shutil.rmtree(out)

    def one_source(self, rounds: int) -> None:
        with tempfile.TemporaryDirectory() as folder, nginx(self.model, Path(folder), False) as source:
            self.curl(source)
            results = [(self.curl(source), self.fetch([source])) for _ in range(rounds)]
        ratios = [fetch[0] / curl[0] for curl, fetch in results]
        print("| command | median | time / curl's (median, min to max) | peak memory |\n|---|---|---|---|")
        for name, which, ratio in (("curl", 0, [1.0]), ("weighbridge fetch", 1, ratios)):
            seconds = statistics.median(result[which][0] for result in results)
            memory = max(result[which][1] for result in results) // 1024
            print(f"| `{name}` | {seconds:.2f} s | {statistics.median(ratio):.2f} ({min(ratio):.2f} to {max(ratio):.2f}) | {memory} MiB |")

    def check_slow(self, source: str, slow: Path) -> None:
        """Checks that the slow server is slow: otherwise a fast server would pass for one that the fetch avoids."""
        path = max(self.files, key=lambda path: path.stat().st_size).relative_to(self.model)
        slow.touch()
        begin = time.perf_counter()
        subprocess.run(["curl", "-sf", "-o", os.devnull, "-r", "0-1999999", f"{source}/{path}"], check=True)
        if time.perf_counter() - begin < 1:
            sys.exit("nginx does not become slow when it is told to")
        slow.unlink()

    def three_sources(self, rounds: int) -> None:
        with contextlib.ExitStack() as stack:
            folders = [Path(stack.enter_context(tempfile.TemporaryDirectory())) for _ in range(3)]
            sources = [stack.enter_context(nginx(self.model, folder, True)) for folder in folders]
            self.check_slow(sources[2], folders[2] / "slow")
            two, three, memory = [], [], 0
            for _ in range(rounds):
                two.append(self.fetch(sources[:2])[0])
                timer = threading.Timer(two[-1] / 10, (folders[2] / "slow").touch)
                timer.start()
                seconds, peak = self.fetch(sources)
                timer.cancel()
                (folders[2] / "slow").unlink(missing_ok=True)
                three.append(seconds)
                memory = max(memory, peak)
        ratios = [b / a for a, b in zip(two, three, strict=True)]
        print("\n| sources | median | beside the two alone | peak memory |\n|---|---|---|---|")
        print(f"| two of 100 MB/s | {statistics.median(two):.2f} s | 1.00 | |")
        print(
            f"| three of 100 MB/s, one falls to 1 % | {statistics.median(three):.2f} s "
            f"| {statistics.median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f}) | {memory // 1024} MiB |"
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("weighbridge")
    parser.add_argument("model", type=Path)
    parser.add_argument("rounds", type=int, nargs="?", default=5)
    parser.add_argument("--chunk-size")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        bench = Bench(arguments.weighbridge, arguments.model.resolve(), Path(scratch), arguments.chunk_size)
        size = sum(path.stat().st_size for path in bench.files)
        print(f"{size:,} bytes, {os.cpu_count()} cores, {arguments.rounds} rounds\n")
        bench.one_source(arguments.rounds)
        bench.three_sources(arguments.rounds)


if __name__ == "__main__":
    main()
