"""Times `weighbridge push` beside `curl -T` to nginx's WebDAV, over loopback to a memory disk.

The push ends when the server has verified every chunk, made it durable, and signed a receipt. The upload by curl ends with `sync -f` of the
folder. Each round does both, one after the other; the table has the medians, and the ratio of each round. Needs curl and nginx with its
WebDAV module.

usage: push_beside_nginx.py WEIGHBRIDGE [ROUNDS] [--bytes BYTES] [--on FOLDER]
"""

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from serve_beside_nginx import MEMORY_DISK, nginx

NAME = "bench/model"


def server(weighbridge: str, work: Path, taken: Path):
    words = [weighbridge, "serve", "--accept", taken, "--vkey", work / "keys/alice.vkey", "--node-key", work / "keys/node.key",
             "--listen", "127.0.0.1:0", "--json", "--log", "off"]
    process = subprocess.Popen(words, stdout=subprocess.PIPE, text=True)
    for line in process.stdout:
        event = json.loads(line)
        if event["event"] == "listening":
            return process, event["url"]
    sys.exit("the server does not start")


def cpu_seconds(process: int) -> float:
    fields = Path(f"/proc/{process}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def peak_mib(process: int) -> float:
    status = Path(f"/proc/{process}/status").read_text()
    return int(status.split("VmHWM:")[1].split()[0]) / 1024


def timed(words) -> float:
    began = time.monotonic()
    subprocess.run(words, check=True, stdout=subprocess.DEVNULL)
    return time.monotonic() - began


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("weighbridge")
    parser.add_argument("rounds", type=int, nargs="?", default=7)
    parser.add_argument("--bytes", type=int, default=1_000_000_000)
    parser.add_argument("--on", type=Path, default=MEMORY_DISK)
    args = parser.parse_args()
    weighbridge = os.path.abspath(args.weighbridge)
    with tempfile.TemporaryDirectory(dir=args.on) as folder:
        work = Path(folder)
        run = lambda *words: subprocess.run([weighbridge, *words], check=True, stdout=subprocess.DEVNULL)  # noqa: E731
        for name in ("alice", "node"):
            run("keygen", name, "-o", work / "keys", "--unencrypted", "--quiet")
        model = work / "model"
        model.mkdir()
        with open(model / "model.bin", "wb") as file:
            left = args.bytes
            while left > 0:
                file.write(os.urandom(min(left, 1 << 24)))
                left -= min(left, 1 << 24)
        run("weigh", model, "--name", NAME, "--key", work / "keys/alice.key", "--quiet")
        ours, theirs, ratios, cpu, memory = [], [], [], [], []
        for _ in range(args.rounds):
            taken = work / "taken"
            process, url = server(weighbridge, work, taken)
            before = cpu_seconds(process.pid)
            ours.append(timed([weighbridge, "push", model, url, "--receiver", work / "keys/node.vkey", "--quiet"]))
            cpu.append(cpu_seconds(process.pid) - before)
            memory.append(peak_mib(process.pid))
            process.terminate()
            process.wait()
            assert (taken / NAME / "model.bin").stat().st_size == args.bytes
            shutil.rmtree(taken)
            dav = work / "dav"
            dav.mkdir()
            dav.chmod(0o777)
            with nginx(dav, work, "dav_methods PUT; client_max_body_size 0;") as (_, url):
                began = time.monotonic()
                timed(["curl", "-sSf", "-T", model / "model.bin", f"{url}/model.bin"])
                subprocess.run(["sync", "-f", dav], check=True)
                theirs.append(time.monotonic() - began)
            shutil.rmtree(dav)
            ratios.append(ours[-1] / theirs[-1])
        gigabytes = args.bytes / 1e9
        print(f"{gigabytes:.3g} GB, {args.rounds} rounds, on {args.on}")
        print(f"push               {statistics.median(ours):6.3f} s; the server {statistics.median(cpu) / gigabytes:.2f} CPU s/GB, "
              f"{statistics.median(memory):.0f} MiB at the peak")
        print(f"curl -T and sync   {statistics.median(theirs):6.3f} s")
        print(f"ratio              {statistics.median(ratios):6.3f}  ({min(ratios):.3f} to {max(ratios):.3f})")


main()
