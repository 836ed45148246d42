"""Times curl from `weighbridge serve` beside curl from nginx, over loopback to a memory disk.

nginx runs without `sendfile`, as it has to where something is to be done to the bytes. Each round asks both for the same, one after
the other; the tables have the medians, and the ratios of each round. Beside the time of nginx stands that of hashing the same bytes on
one core (`b3sum`), since the server hashes what it sends. Needs curl, nginx and b3sum.

usage: serve_beside_nginx.py WEIGHBRIDGE [ROUNDS] [--bytes BYTES]
"""

import argparse
import contextlib
import json
import os
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

MEMORY_DISK = Path("/dev/shm")
NAME = "bench/model"
SMALL = 10_000


@contextlib.contextmanager
def nginx(root: Path, folder: Path, more: str = ""):
    """One process that serves a folder; its id, and its address. `more` is added to the configuration of the server."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    temporary = " ".join(f"{kind}_temp_path {folder}/{kind};" for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi"))
    configuration = folder / "nginx.conf"
    configuration.write_text(
        f"daemon off; master_process off; pid {folder}/pid; error_log {folder}/error;\n"
        f"events {{ worker_connections 1024; }}\n"
        f"http {{ access_log off; sendfile off; output_buffers 2 512k; keepalive_requests 100000; {temporary}\n"
        f"server {{ listen 127.0.0.1:{port}; root {root}; {more} }} }}\n"
    )
    process = subprocess.Popen(["nginx", "-e", f"{folder}/error", "-c", configuration], stderr=subprocess.DEVNULL)
    try:
        for _ in range(200):
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port)):
                break
            time.sleep(0.02)
        else:
            sys.exit("nginx does not answer")
        yield process.pid, f"http://127.0.0.1:{port}"
    finally:
        process.terminate()
        process.wait()


@contextlib.contextmanager
def serve(weighbridge: str, models: Path):
    words = [weighbridge, "serve", models, "--listen", "127.0.0.1:0", "--json", "--log", "off"]
    process = subprocess.Popen(words, stdout=subprocess.PIPE, text=True)
    try:
        for line in process.stdout:
            event = json.loads(line)
            if event["event"] == "listening":
                yield process.pid, event["url"]
                return
        sys.exit("the server ended")
    finally:
        process.terminate()
        process.wait()


def seconds_of(pid: int) -> float:
    """The processor time of a process so far."""
    fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def memory_of(pid: int, which: str) -> float:
    """Memory of a process in MiB: `VmRSS` is that of now, `VmHWM` the most so far."""
    line = next(line for line in Path(f"/proc/{pid}/status").read_text().splitlines() if line.startswith(which))
    return int(line.split()[1]) / 1024


def timed(command: list) -> float:
    begin = time.perf_counter()
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    return time.perf_counter() - begin


def beside(rounds: int, servers: dict, ask, size: int) -> dict:
    """For each server: seconds of each round, and processor seconds of the server for each GB."""
    times = {name: [] for name in servers}
    work = {name: [] for name in servers}
    for number in range(rounds):
        order = list(servers.items())
        for name, (pid, url) in order if number % 2 else reversed(order):
            before = seconds_of(pid)
            times[name].append(ask(url))
            work[name].append((seconds_of(pid) - before) / size * 1e9)
    return {name: (times[name], statistics.median(work[name])) for name in servers}


def table(title: str, found: dict, extra: list | None = None) -> None:
    ours, theirs = found["weighbridge serve"], found["nginx"]
    print(f"\n{title}\n\n| server | median | processor seconds for 1 GB |\n|---|---|---|")
    for name, (times, work) in found.items():
        print(f"| {name} | {statistics.median(times):.3f} s | {work:.2f} |")
    base = [time + more for time, more in zip(theirs[0], extra or [0] * len(theirs[0]))]
    ratios = sorted(mine / other for mine, other in zip(ours[0], base))
    if extra:
        print(f"| hashing alone, one core | {statistics.median(extra):.3f} s | |")
    what = "nginx and hashing" if extra else "nginx"
    print(f"\n`weighbridge serve` / {what}: {statistics.median(ratios):.2f} ({ratios[0]:.2f} to {ratios[-1]:.2f})")


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("weighbridge")
    parser.add_argument("rounds", nargs="?", type=int, default=9)
    parser.add_argument("--bytes", type=int, default=1_000_000_000)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=MEMORY_DISK) as temporary:
        folder = Path(temporary)
        models = folder / "models"
        for name, make in (("large", lambda to: large(to, arguments.bytes)), ("small", small)):
            make(models / name)
            weigh(arguments.weighbridge, models / name, f"bench/{name}", folder)
        run(arguments, folder, models)


def large(folder: Path, size: int) -> None:
    folder.mkdir(parents=True)
    with (folder / "model.bin").open("wb") as file:
        left = size
        while left:
            left -= file.write(os.urandom(min(left, 1 << 24)))


def small(folder: Path) -> None:
    folder.mkdir(parents=True)
    for number in range(SMALL):
        (folder / f"{number:05}.bin").write_bytes(os.urandom(4096))


def weigh(weighbridge: str, model: Path, name: str, folder: Path) -> None:
    environment = {**os.environ, "XDG_STATE_HOME": str(folder)}
    if not (folder / "bench.key").exists():
        subprocess.run([weighbridge, "keygen", "bench", "-o", folder, "--unencrypted", "-q"], check=True, env=environment,
                       stdout=subprocess.DEVNULL)
    subprocess.run([weighbridge, "weigh", model, "--name", name, "--key", folder / "bench.key", "-q"], check=True,
                   env=environment, stdout=subprocess.DEVNULL)


def run(arguments: argparse.Namespace, folder: Path, models: Path) -> None:
    # nginx serves the same paths.
    (folder / "root").mkdir()
    (folder / "root" / "bench").symlink_to(models)
    to = folder / "got"
    size = arguments.bytes
    with nginx(folder / "root", folder) as theirs, serve(arguments.weighbridge, models) as ours:
        servers = {"nginx": theirs, "weighbridge serve": ours}
        path = "bench/large/model.bin"
        source = models / "large/model.bin"

        def one(url: str) -> float:
            return timed(["curl", "-s", "--fail", "-o", to, f"{url}/{path}"])

        for _, url in servers.values():
            one(url)
            assert to.read_bytes() == source.read_bytes()
        hashing = [timed(["b3sum", "--num-threads", "1", "--no-mmap", source]) for _ in range(arguments.rounds)]
        table(f"One connection, {size:,} bytes", beside(arguments.rounds, servers, one, size), hashing)

        def eight(url: str) -> float:
            step = -(-size // 8)
            begin = time.perf_counter()
            running = [
                subprocess.Popen(["curl", "-s", "--fail", "-o", f"{to}{part}", "-r", f"{part * step}-{part * step + step - 1}",
                                  f"{url}/{path}"])
                for part in range(8)
            ]
            assert all(process.wait() == 0 for process in running)
            return time.perf_counter() - begin

        table(f"Eight connections, {size:,} bytes in all", beside(arguments.rounds, servers, eight, size))
        for part in range(8):
            Path(f"{to}{part}").unlink()

        lists = {}
        for name, (_, url) in servers.items():
            lists[url] = folder / f"list-{name.replace(' ', '-')}"
            lists[url].write_text("".join(
                f'url = "{url}/bench/small/{number:05}.bin"\noutput = "{to}"\n' for number in range(SMALL)))
        found = beside(arguments.rounds, servers, lambda url: timed(["curl", "-s", "--fail", "-K", lists[url]]), SMALL * 4096)
        table(f"{SMALL:,} files of 4 KiB on one connection", found)

        print(f"\nPeak memory of the server: {memory_of(ours[0], 'VmHWM'):.0f} MiB", end="; ")
    with serve(arguments.weighbridge, models) as (pid, url):
        before = memory_of(pid, "VmRSS")
        host, port = url.removeprefix("http://").split(":")
        idle = []
        for _ in range(1_000):
            connection = socket.create_connection((host, int(port)))
            connection.sendall(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n")
            connection.recv(1_000)
            idle.append(connection)
        print(f"a new one has {before:.0f} MiB, and {memory_of(pid, 'VmRSS'):.0f} MiB with 1,000 idle connections")


if __name__ == "__main__":
    if not all(map(shutil.which, ("curl", "nginx", "b3sum"))):
        sys.exit("curl, nginx and b3sum are needed")
    main()
