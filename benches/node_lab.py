#!/usr/bin/env python3
"""A node beside an inference server: what is asked for first, and what that costs, on a shaped link.

An origin and a node are network namespaces, as those of swarm_lab.py; `tbf` shapes the link between them. Clients ask the node on its own
loopback. Each round begins with a cold node. Printed are, for ranges of the model, the seconds to the first byte and to the last one, of
the node and of the origin asked directly over the same link, and the seconds until all of the model is in the cache, beside the bound; then what the
origin gave to ten clients that ask a cold node for one file at once. Every byte that a client got is compared.

Needs root, Linux, ip and tc, curl.

usage: node_lab.py WEIGHBRIDGE [--rounds 3] [--megabytes 2000] [--rate 50] [--on /dev/shm]
"""

import argparse
import contextlib
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from swarm_lab import MODEL, ORIGIN, LabError, Network, Scene, Started, ask, clear, make_model, served_bytes, wait_for

PORT, AT = 8080, "127.0.0.1:8090"
PREFIX = "wbnode"


class Scenery:
    """The model, an origin that serves it, and what a node is told."""

    def __init__(self, arguments, work: Path, scene: Scene):
        self.weighbridge, self.work = arguments.weighbridge, work
        self.model = make_model(arguments.weighbridge, work, scene, "64KiB")
        (work / "policy.toml").write_text(f'[[publisher]]\nscope = "*"\n[[publisher.key]]\nvkey = "{self.model.vkey}"\n')
        (work / "node.toml").write_text(
            f'listen = "{AT}"\ncache = "hub"\npolicy = "policy.toml"\n'
            f'[[origin]]\nmodels = "*"\nsources = ["http://{ORIGIN}:{PORT}/{{name}}"]\n')

    def origin(self, started: Started) -> None:
        words = [self.weighbridge, "serve", self.model.folder, "--listen", f"{ORIGIN}:{PORT}", "--insecure-http", "--log", "off"]
        process = started.start(0, words, "origin")
        wait_for("the origin", lambda: ask(started.network, 0, f"http://{ORIGIN}:{PORT}/readyz"), process)

    def node(self, started: Started) -> None:
        shutil.rmtree(self.work / "hub", ignore_errors=True)
        words = [self.weighbridge, "node", "--config", self.work / "node.toml", "--log", "off"]
        process = started.start(1, words, "node")
        wait_for("the node", lambda: ask(started.network, 1, f"http://{AT}/healthz"), process)

    def is_kept(self) -> bool:
        return any((self.work / "hub").glob("models--*/refs/main"))

    def given(self, network: Network) -> int:
        return served_bytes(ask(network, 0, f"http://{ORIGIN}:{PORT}/metrics"))

    def largest(self) -> Path:
        return max((path for path in self.model.folder.iterdir() if path.is_file()), key=lambda path: path.stat().st_size)


def timed(network: Network, url: str, first: int, count: int, file: Path) -> tuple[float, float]:
    """The seconds to the first byte, and to the last one, of a range that is compared with the file."""
    with tempfile.NamedTemporaryFile() as got:
        words = ["curl", "-sS", "--fail", "-r", f"{first}-{first + count - 1}", "-o", got.name,
                 "-w", "%{time_starttransfer} %{time_total}", url]
        times = subprocess.run(network.inside(1, words), capture_output=True, text=True, check=True).stdout.split()
        with file.open("rb") as right:
            right.seek(first)
            if Path(got.name).read_bytes() != right.read(count):
                raise LabError(f"{url} gave other bytes than the model has")
    return float(times[0]), float(times[1])


def round_of_ranges(scenery: Scenery, network: Network) -> dict:
    """A cold node is asked for a range, and for another one while the rest comes."""
    file = scenery.largest()
    size, of_origin = file.stat().st_size, f"http://{ORIGIN}:{PORT}/{MODEL}/{file.name}"
    of_node = f"http://{AT}/{MODEL}/resolve/main/{file.name}"
    with Started(network, scenery.work / "round") as started:
        scenery.origin(started)
        direct = timed(network, of_origin, size * 2 // 3, 1 << 20, file)
        scenery.node(started)
        began = time.monotonic()
        cold = timed(network, of_node, size * 2 // 3, 1 << 20, file)
        time.sleep(2)
        direct_large = timed(network, of_origin, size // 3, 8 << 20, file)
        busy = timed(network, of_node, size // 3, 8 << 20, file)
        wait_for("the end", scenery.is_kept, started.running[-1], 600)
        whole = time.monotonic() - began
        started.end(signal.SIGTERM)
    return {"direct 1 MiB": direct, "cold 1 MiB": cold, "direct 8 MiB, beside the fetch": direct_large,
            "8 MiB while the rest comes": busy, "whole": (0.0, whole)}


def ten_at_once(scenery: Scenery, network: Network) -> float:
    """How many times the origin gave the file that ten clients asked a cold node for."""
    file = scenery.largest()
    words = ["curl", "-sS", "--fail", f"http://{AT}/{MODEL}/resolve/main/{file.name}"]
    with Started(network, scenery.work / "round") as started:
        scenery.origin(started)
        scenery.node(started)
        clients = [subprocess.Popen(network.inside(1, words), stdout=subprocess.PIPE) for _ in range(10)]
        compare = [subprocess.Popen(["cmp", "-", file], stdin=client.stdout) for client in clients]
        if any(process.wait() for process in (*clients, *compare)):
            raise LabError("a client got other bytes than the model has")
        wait_for("the end", scenery.is_kept, started.running[-1], 600)
        given = scenery.given(network)
        started.end(signal.SIGTERM)
    return given / scenery.model.bytes


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("weighbridge", type=Path)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--megabytes", type=int, default=2000)
    parser.add_argument("--rate", type=float, default=50)
    parser.add_argument("--on", type=Path, default=Path("/dev/shm"), help="a memory disk")
    arguments = parser.parse_args()
    arguments.weighbridge = arguments.weighbridge.resolve()
    scene = Scene("node", 1, arguments.rate, arguments.rate, arguments.rate, arguments.megabytes)
    work = Path(tempfile.mkdtemp(dir=arguments.on))
    clear(PREFIX)
    try:
        scenery, network = Scenery(arguments, work, scene), Network(PREFIX, scene)
        rounds = [round_of_ranges(scenery, network) for _ in range(arguments.rounds)]
        bound = scenery.model.bytes / (arguments.rate * 1e6)
        print(f"\n{arguments.megabytes} MB, {arguments.rate:g} MB/s, medians of {arguments.rounds}\n")
        print("| asked for | first byte, s | last byte, s |\n|---|---|---|")
        for what in list(rounds[0])[:-1]:
            first, last = (statistics.median(times[what][part] for times in rounds) for part in (0, 1))
            print(f"| {what} | {first:.3f} | {last:.3f} |")
        whole = statistics.median(times["whole"][1] for times in rounds)
        print(f"\nall in the cache after {whole:.1f} s, {whole / bound:.2f} of the bound")
        print(f"ten clients at once: the origin gave {ten_at_once(scenery, network):.3f} models")
    except LabError as error:
        sys.exit(str(error))
    finally:
        clear(PREFIX)
        with contextlib.suppress(OSError):
            shutil.rmtree(work)


if __name__ == "__main__":
    main()
