"""Measures on shaped links whose bytes go first, and how exactly rates and schedules are kept.

Order: a node (examples/bandwidth_node.rs) on a link of 20 MB/s in each direction fetches two models that somebody waits for, and a client
fetches a third one from it; alone, and while it prefetches another model, gives that third one to two members of a swarm, and both take all
that they get. With a rate of 95 % of the link in each direction, and without one. Everything that somebody waits for is to take no more
than 1.1 times what it takes alone.

Rates: what `fetch`, `serve`, `push` and a member of a swarm move over a link without a limit in ten seconds, at rates of 1, 10 and 50 MB/s, beside the rate;
and the same before and after a schedule changes it. Bytes are those of the link, without what frames have beside data.

Each party is a network namespace, as in swarm_lab.py, whose tools are used. Needs root, Linux, ip and tc, curl. Tables are Markdown, medians of the
rounds; the exit status is 1 if a limit is missed.

usage: bandwidth_lab.py WEIGHBRIDGE BANDWIDTH_NODE [--rounds 3] [--only order|rates]
"""

import argparse
import hashlib
import json
import os
import random
import shutil
import statistics
import subprocess
import sys
import time
from pathlib import Path

import swarm_lab
from swarm_lab import LabError, Network, Scene, Started, ip, run

LINK = 20.0
# Sizes in MB: models that somebody waits for take 4 seconds of the link alone; of the others there is enough for 12 seconds at 50 MB/s.
SIZES = {"one": 40, "two": 40, "shared": 700, "prefetch": 700}
SERVER, TRACKER, NODE_HTTP = 8080, 7000, 8080
ORIGIN = swarm_lab.ORIGIN


class Lab:
    def __init__(self, weighbridge: str, node: str, work: Path, prefix: str):
        self.weighbridge, self.node, self.work, self.prefix = weighbridge, node, work, prefix
        self.site = work / "site"
        self.rounds = 0

    def make(self) -> None:
        run([self.weighbridge, "keygen", "lab", "-o", self.work, "--unencrypted", "-q"])
        run([self.weighbridge, "keygen", "receiver", "-o", self.work, "--unencrypted", "-q"])
        self.vkey = (self.work / "lab.vkey").read_text().strip()
        randoms = random.Random(1)
        for name, megabytes in SIZES.items():
            folder = self.site / "lab" / name
            folder.mkdir(parents=True)
            with (folder / "model.bin").open("wb") as file:
                for _ in range(megabytes):
                    file.write(randoms.randbytes(1_000_000))
            (folder / "config.json").write_text("{}\n")
            run([self.weighbridge, "weigh", folder, "--name", f"lab/{name}", "--key", self.work / "lab.key", "-q"])
        self.ticket = self.work / "ticket"
        run([self.weighbridge, "swarm", "ticket", self.site / "lab/shared", "--tracker", f"{ORIGIN}:{TRACKER}", "-o", self.ticket])

    def started(self, network: Network) -> Started:
        self.rounds += 1
        return Started(network, self.work / f"round{self.rounds}")

    def origin(self, started: Started, *more) -> None:
        words = [self.weighbridge, "serve", self.site, "--listen", f"{ORIGIN}:{SERVER}", "--json", "--log", "off",
                 "--tracker", f"{ORIGIN}:{TRACKER}", "--ticket", self.ticket, *more]
        process = started.start(0, words, "origin", stdout=subprocess.PIPE, text=True)
        if not any('"tracking"' in line for line in process.stdout):
            raise LabError(f"`weighbridge serve` does not start: {started.complaint('origin')}")

    def fetch_words(self, name: str, into: Path, *more, rate: str | None = None) -> list:
        return [self.weighbridge, "fetch", f"http://{ORIGIN}:{SERVER}/lab/{name}", "-o", into, "--name", f"lab/{name}", "--vkey", self.vkey,
                "--state", into.with_suffix(".heads"), "--json", *(["--limit-rate", rate] if rate else []), *more]


# ---- Order ----


class BandwidthNode:
    """The node, as it is told what to do."""

    def __init__(self, lab: Lab, started: Started, rate: str):
        self.address = f"{started.network.address(1)}:{NODE_HTTP}"
        words = [lab.node, started.folder / "node", f"http://{ORIGIN}:{SERVER}", lab.vkey, lab.ticket, self.address, rate, rate]
        (started.folder / "node").mkdir()
        self.started = started
        self.process = started.start(1, words, "node", stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1)

    def tell(self, word: str) -> None:
        self.process.stdin.write(word + "\n")
        self.process.stdin.flush()

    def hear(self) -> dict:
        line = self.process.stdout.readline()
        if not line:
            raise LabError(f"the node ended: {self.started.complaint('node')}")
        return json.loads(line)

    def do(self, word: str) -> dict:
        self.tell(word)
        return self.hear()


def order(lab: Lab, rate: str) -> dict:
    """What each of those that somebody waits for takes, alone and beside the others, in seconds."""
    # The origin's link is no bottleneck; the members and the client are as fast as the node.
    network = Network(lab.prefix, Scene("order", 4, LINK, LINK, 100, 0))
    took = {}
    with lab.started(network) as started:
        lab.origin(started)
        node = BandwidthNode(lab, started, rate)
        node.do("share")
        for others in (False, True):
            if others:
                for number in (2, 3):
                    into = started.folder / f"member{number}"
                    words = lab.fetch_words("shared", into, "--swarm", lab.ticket, "--linger", "1h")
                    started.start(number, words, f"member{number}")
                node.do("prefetch")
                before = link_bytes(network, 1)
                time.sleep(3)
                after = link_bytes(network, 1)
                took["others"] = tuple((now - then) / 3e6 for now, then in zip(after, before))
            client = started.start(4, ["curl", "-sS", "--fail", "-r", "0-39999999", "-o", "/dev/null", "-w", "%{time_total}",
                                       f"http://{node.address}/lab/shared/model.bin"], f"client{others}", stdout=subprocess.PIPE, text=True)
            seconds = node.do("interactive")
            served = client.communicate(timeout=120)[0]
            if client.returncode:
                raise LabError(f"the client got nothing: {started.complaint(f'client{others}')}")
            seconds["served"] = float(served)
            took["beside" if others else "alone"] = seconds
    swarm_lab.clear(lab.prefix)
    return took


def link_bytes(network: Network, number: int) -> tuple[float, float]:
    """Bytes of data that have come, and that have gone, over a link."""
    link = json.loads(ip("-n", network.space(number), "-s", "-j", "link", "show", "dev", "eth0"))[0]["stats64"]
    # Packets are larger than frames within the machine: each has about 66 bytes beside its data.
    return tuple(link[way]["bytes"] - 66 * link[way]["packets"] for way in ("rx", "tx"))


def measure_order(lab: Lab, rounds: int) -> bool:
    print("| rate | what somebody waits for | alone | beside prefetch and peers | ratio |\n|---|---|---|---|---|")
    is_good = True
    for rate in (f"{LINK * 0.95:g}MB".replace(".0", ""), "unlimited"):
        all_rounds = [order(lab, rate) for _ in range(rounds)]
        for what, name in (("one", "fetch"), ("two", "another fetch"), ("served", "an answer to a client")):
            alone, beside = ([took[way][what] for took in all_rounds] for way in ("alone", "beside"))
            ratios = sorted(b / a for a, b in zip(alone, beside))
            ratio = statistics.median(ratios)
            is_good &= ratio <= 1.1
            print(f"| {rate} | {name} | {statistics.median(alone):.2f} s | {statistics.median(beside):.2f} s "
                  f"| {ratio:.3f} ({ratios[0]:.3f} to {ratios[-1]:.3f}) |", flush=True)
        down, up = (statistics.median(took["others"][way] for took in all_rounds) for way in (0, 1))
        print(f"| {rate} | nobody: the others before that | | {down:.1f} MB/s down, {up:.1f} MB/s up | |", flush=True)
    return is_good


# ---- Rates ----


def rates(lab: Lab, rounds: int) -> bool:
    print("\n| command | rate | bytes of the link in 10 s, beside it |\n|---|---|---|")
    is_good = True
    for way in ("fetch", "serve", "push", "swarm"):
        for megabytes in (1, 10, 50):
            ratios = sorted(one_rate(lab, way, f"{megabytes}MB")[0] / (megabytes * 1e7) for _ in range(rounds))
            is_good &= all(0.95 <= ratio <= 1.05 for ratio in ratios)
            print(f"| {way} | {megabytes} MB/s | {statistics.median(ratios):.3f} ({ratios[0]:.3f} to {ratios[-1]:.3f}) |", flush=True)
    # Ten seconds before a minute begins, and ten after it.
    now = time.time()
    change = (int(now + 14) // 60 + 1) * 60
    first, last = (time.strftime("%H:%M", time.localtime(at)) for at in (change - 300, change))
    time.sleep(max(0.0, change - 14 - now))
    before, after = one_rate(lab, "fetch", f"{first}-{last} 5MB, else 20MB", change)
    print(f"| fetch | 5 MB/s until {last}, then 20 MB/s | {before / 5e7:.3f}, then {after / 2e8:.3f} |", flush=True)
    return is_good and all(0.95 <= ratio <= 1.05 for ratio in (before / 5e7, after / 2e8))


def one_rate(lab: Lab, way: str, rate: str, change: float | None = None) -> tuple[float, float]:
    """The bytes of the sender's link in ten seconds; if the rate changes at a time, in the ten before and the ten after it."""
    # Links that are no bottleneck.
    network = Network(lab.prefix, Scene("rates", 2, 200, 200, 200, 0))
    with lab.started(network) as started:
        sender = 0
        into = started.folder / "model"
        if way == "fetch":
            lab.origin(started)
            started.start(1, lab.fetch_words("prefetch", into, rate=rate), "fetch")
        elif way == "serve":
            lab.origin(started, "--limit-rate", rate)
            for number in (1, 2):
                started.start(number, ["curl", "-sS", "-o", "/dev/null", f"http://{ORIGIN}:{SERVER}/lab/prefetch/model.bin"], f"curl{number}")
        elif way == "push":
            receiver = started.network.address(1)
            (started.folder / "taken").mkdir()
            (started.folder / "tokens").write_text(f"lab {hashlib.sha256(b'token').hexdigest()} push lab/* 1TiB\n")
            (started.folder / "token").write_text("token")
            words = [lab.weighbridge, "serve", "--accept", started.folder / "taken", "--vkey", lab.vkey, "--tokens", started.folder / "tokens",
                     "--node-key", lab.work / "receiver.key", "--listen", f"{receiver}:{SERVER}", "--json", "--log", "off"]
            process = started.start(1, words, "receiver", stdout=subprocess.PIPE, text=True)
            if not any('"listening"' in line for line in process.stdout):
                raise LabError(f"the receiver does not start: {started.complaint('receiver')}")
            target, key = f"http://{receiver}:{SERVER}", (lab.work / "receiver.vkey").read_text().strip()
            started.start(0, [lab.weighbridge, "push", lab.site / "lab/prefetch", target, "--receiver", key, "--token", target,
                              started.folder / "token", "--limit-rate", rate, "--json"], "push")
        else:
            # The member has all of it at once, and gives it to one that starts later; the origin's share is small beside it.
            lab.origin(started)
            swarm = ["--swarm", lab.ticket, "--linger", "1h"]
            process = started.start(1, lab.fetch_words("shared", into, *swarm, "--upload-rate", rate), "member", stdout=subprocess.PIPE, text=True)
            if not any('"result"' in line for line in process.stdout):
                raise LabError(f"the member ended: {started.complaint('member')}")
            started.start(2, lab.fetch_words("shared", started.folder / "other", *swarm), "other")
            sender = 1
        # Bytes that the system buffers come at once.
        time.sleep(max(0.0, change - 10 - time.time()) if change else 2)
        counts = [link_bytes(network, sender)[1]]
        for _ in range(2 if change else 1):
            began = time.monotonic()
            time.sleep(10)
            counts.append(link_bytes(network, sender)[1])
            if time.monotonic() - began > 10.05:
                raise LabError("the machine is too busy to measure ten seconds")
    swarm_lab.clear(lab.prefix)
    gone = [after - before for before, after in zip(counts, counts[1:])]
    return gone[0], gone[-1]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("weighbridge")
    parser.add_argument("bandwidth_node")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--only", choices=("order", "rates"))
    parser.add_argument("--prefix", default="wbbw", help="of the names of the namespaces")
    parser.add_argument("--on", type=Path, default=Path("/dev/shm"), help="a memory disk")
    arguments = parser.parse_args()
    if os.geteuid() != 0:
        sys.exit("this lab makes network namespaces: run it as root")
    if absent := [tool for tool in ("ip", "tc", "curl") if not shutil.which(tool)]:
        sys.exit(f"{', '.join(absent)} {'is' if len(absent) == 1 else 'are'} needed")
    work = arguments.on / arguments.prefix
    lab = Lab(os.path.abspath(arguments.weighbridge), os.path.abspath(arguments.bandwidth_node), work, arguments.prefix)
    is_good = True
    try:
        with swarm_lab.alone(arguments.prefix, work):
            lab.make()
            if arguments.only != "rates":
                is_good &= measure_order(lab, arguments.rounds)
            if arguments.only != "order":
                is_good &= rates(lab, arguments.rounds)
    except LabError as error:
        sys.exit(str(error))
    sys.exit(0 if is_good else 1)


if __name__ == "__main__":
    main()
