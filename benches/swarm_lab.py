"""Times how long N nodes take to get the same model from one origin, with real processes on links of a fixed rate.

Each node, the origin, and the bridge between them is a network namespace; `tbf` shapes both ends of each link. Every node starts cold at
time 0, and has arrived when its command says so. The bound is max(F/u of the origin, F/d of a node, N F/(sum of all uplinks)), with the
time of one curl over the same links in place of F/u and F/d, so that headers are in it. What the origin gave is the bodies of nginx's log,
the figure of `weighbridge serve`, or the upload counter of the seeder; bytes on the origin's own link stand beside it in each round. Each
node's folder is verified afterwards. The table is Markdown; medians of the rounds.

Ways: `curls` (N times curl), `plain` (N times `weighbridge fetch`), `swarm-nginx` and `swarm-serve` (the same with a ticket, the origin
being nginx or `weighbridge serve`), `bittorrent` (aria2c; the origin seeds and runs opentracker).

Incidents, for the ways of the swarm:
  --kill 2@30%         two nodes are killed when each has 30 %
  --slow 1             one node has 1 % of its uplink
  --late 5@50%         five nodes start when the median of the others has 50 %; each has a bound of its own
  --origin-dies        the origin (the tracker too) is killed as soon as one node has the whole model
  --liar TEMPLATE      one node runs this command: see LIAR_PLACES

Needs root, Linux, ip and tc, curl, nginx; aria2c and opentracker for `bittorrent`. Everything of the lab goes when it ends, and what an
earlier one left behind when it starts.

usage: swarm_lab.py WEIGHBRIDGE [--scenes 5,8a,8b,16,32] [--rounds 3] [--ways plain,swarm-nginx,swarm-serve,bittorrent] [--json FILE]
       swarm_lab.py WEIGHBRIDGE --short        one small scene in less than a minute; exit status 1 if it misses its limits
       swarm_lab.py WEIGHBRIDGE --scenes 6:10/10/5:60 ...    6 nodes, MB/s up/down/of the origin, MB of the model
"""

import argparse
import contextlib
import fcntl
import filecmp
import hashlib
import json
import os
import random
import resource
import shlex
import shutil
import signal
import statistics
import subprocess
import sys
import threading
import time
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Callable

MODEL = "lab/model"

# ---- The words of the command, all of them here ----


def serve_words(weighbridge: str, model: Path, listen: str) -> list:
    return [weighbridge, "serve", model, "--listen", listen, "--json", "--log", "off"]


def ticket_words(weighbridge: str, model: Path, tracker: str, ticket: Path) -> list:
    return [weighbridge, "swarm", "ticket", model, "--tracker", tracker, "-o", ticket]


def tracker_words(tracker: str, ticket: Path) -> list:
    """What makes a server the tracker too."""
    return ["--tracker", tracker, "--ticket", ticket]


def fetch_words(weighbridge: str, url: str, node: Path, vkey: str) -> list:
    return [weighbridge, "fetch", url, "-o", node / "model", "--name", MODEL, "--vkey", vkey, "--state", node / "heads.json", "--json"]


def swarm_words(ticket: Path, linger: int) -> list:
    """What makes a fetch one of the swarm."""
    return ["--swarm", ticket, "--linger", f"{linger}s"]


# In the template of `--liar`: {fetch} is the whole command of an honest node, {weighbridge}, {url}, {ticket}, {vkey}, {out} its parts, and
# {address} the liar's own. Two examples: 'env VARIABLE=1 {fetch}'; 'python3 liar.py {ticket} {address}'.
LIAR_PLACES = ("fetch", "weighbridge", "url", "ticket", "vkey", "out", "address")


def has_arrived(event: dict) -> bool:
    """Whether the model is there, though the node may go on to give it to others."""
    return event["event"] == "result" and event.get("fetched") is True


def carried(event: dict) -> tuple[int, int] | None:
    """Bytes from the origin and from peers, if the event says so."""
    part = event.get("swarm") if event["event"] == "result" else None
    return (part["from_origin"], part["from_members"]) if part else None


def share(event: dict) -> float | None:
    """How much of the model a node has, if the event says so."""
    if event["event"] == "progress" and event.get("wanted"):
        return event["verified"] / event["wanted"]
    return None


def blames(event: dict) -> bool:
    return event["event"] == "source" and bool(event.get("blame"))


def served_bytes(metrics: str) -> int:
    """Bytes of bodies, in the figures of a server."""
    wanted = 'weighbridge_bytes_total{direction="sent",state="verified"}'
    return int(next(line for line in metrics.splitlines() if line.startswith(wanted)).split()[-1])


def lacks_swarm(weighbridge: str) -> str | None:
    """What the command does not have yet of what the ways of the swarm need."""
    for command, options in (("fetch", ("--swarm", "--linger")), ("serve", ("--tracker", "--ticket")), ("swarm", ("ticket",))):
        text = subprocess.run([weighbridge, command, "--help"], capture_output=True, text=True).stdout
        for option in options:
            if option not in text:
                return f"{command} {option}"
    return None


# ---- Scenes ----


@dataclass
class Scene:
    key: str
    nodes: int
    up: float
    down: float
    origin: float
    megabytes: int
    last_limit: float = 1.2
    egress_limit: float = 1.05

    @property
    def bytes(self) -> int:
        return self.megabytes * 1_000_000

    def __str__(self) -> str:
        return f"{self.nodes}, {self.up:g}/{self.down:g}/{self.origin:g}, {self.megabytes}"


SCENES = {scene.key: scene for scene in (
    Scene("5", 5, 20, 20, 20, 200, 1.20),
    Scene("8a", 8, 20, 20, 10, 200, 1.15),
    Scene("8b", 8, 20, 20, 20, 300, 1.20),
    Scene("16", 16, 10, 10, 5, 120, 1.15),
    Scene("32", 32, 5, 5, 3, 75, 1.15),
)}
SHORT = Scene("short", 4, 20, 20, 20, 40, 1.6, 1.3)
WAYS = ("curls", "plain", "swarm-nginx", "swarm-serve", "bittorrent")


def scene_of(text: str) -> Scene:
    if text in SCENES:
        return SCENES[text]
    try:
        nodes, rates, megabytes = text.split(":")
        return Scene(text, int(nodes), *map(float, rates.split("/")), int(megabytes))
    except (TypeError, ValueError):
        sys.exit(f"no scene is called {text}: take {', '.join(SCENES)}, or NODES:UP/DOWN/ORIGIN:MB")


# ---- The network ----

# What a frame of Ethernet has beside its data. `tbf` counts it; the rates of the scenes are those of data, as curl shows them.
FRAME = 1514 / 1448
# A packet within the burst passes whole; `tbf` cuts a larger one into frames, which costs as much processor time as the rest. The queue is
# short: flows that begin together then end nearly together, and one alone still has the whole rate.
PACKET, BURST, QUEUE_SECONDS, QUEUE_LEAST = 30_000, 40_000, 0.005, 50_000
# Other algorithms may not be had in a namespace, and at these round trips cubic grows as reno does. Nothing is remembered of rounds before.
SETTINGS = ("net.ipv4.tcp_congestion_control=reno", "net.ipv4.tcp_no_metrics_save=1", "net.ipv4.tcp_rmem=4096 131072 6291456",
            "net.ipv4.tcp_wmem=4096 16384 4194304", "net.ipv6.conf.all.disable_ipv6=1", "net.ipv6.conf.default.disable_ipv6=1")
ORIGIN = "10.77.0.1"
HTTP, TRACKER, TRACKER_HTTP = 80, 7000, 8081


def ip(*words, given: str | None = None) -> str:
    return run(["ip", *words], given)


def run(words: list, given: str | None = None) -> str:
    done = subprocess.run(list(map(str, words)), input=given, capture_output=True, text=True)
    if done.returncode:
        raise LabError(f"{shlex.join(map(str, words))}: {(done.stderr or done.stdout).strip()}")
    return done.stdout


class LabError(Exception):
    pass


class Network:
    """The namespaces of one scene. Number 0 is the origin."""

    def __init__(self, prefix: str, scene: Scene, slow: frozenset = frozenset()):
        self.prefix = prefix
        ip("netns", "add", self.space("switch"))
        self._configure("switch", "link add bridge0 type bridge\nlink set bridge0 up")
        for number in range(scene.nodes + 1):
            up = scene.up if number else scene.origin
            self._link(number, up * (0.01 if number in slow else 1), scene.down if number else max(scene.down, scene.origin))

    def _link(self, number: int, up: float, down: float) -> None:
        ip("netns", "add", self.space(number))
        run(["ip", "netns", "exec", self.space(number), "sysctl", "-eqw", *SETTINGS])
        port = f"port{number}"
        self._configure("switch", f"link add {port} type veth peer name eth0 netns {self.space(number)}\n"
                                  f"link set {port} master bridge0\nlink set {port} up")
        self._configure(number, f"link set lo up\naddress add {self.address(number)}/16 dev eth0\n"
                                f"link set eth0 gso_max_size {PACKET}\nlink set eth0 up")
        self._shape("switch", port, down)
        self._shape(number, "eth0", up)

    def _configure(self, of, lines: str) -> None:
        ip("-n", self.space(of), "-batch", "-", given=lines + "\n")

    def _shape(self, of, device: str, megabytes: float) -> None:
        queue = max(QUEUE_LEAST, megabytes * 1e6 * QUEUE_SECONDS)
        run(["tc", "-n", self.space(of), "qdisc", "add", "dev", device, "root", "tbf", "rate", f"{megabytes * 8e6 * FRAME:.0f}bit",
             "burst", BURST, "limit", f"{queue:.0f}"])

    def space(self, of) -> str:
        return f"{self.prefix}-{of or 'origin'}"

    @staticmethod
    def address(number: int) -> str:
        return f"10.77.1.{number}" if number else ORIGIN

    def inside(self, number: int, words: list) -> list:
        return ["ip", "netns", "exec", self.space(number), *map(str, words)]

    def sent(self) -> int:
        """What has left the origin, in bytes of data. The count is that of `tbf`, which knows the frames; that of the device does not."""
        return int(json.loads(run(["tc", "-n", self.space(0), "-s", "-j", "qdisc", "show", "dev", "eth0"]))[0]["bytes"] / FRAME)


def clear(prefix: str) -> None:
    """Ends what runs in the namespaces of this prefix, and removes them."""
    spaces = [entry.name for entry in Path("/run/netns").glob(f"{prefix}-*")] if Path("/run/netns").is_dir() else []
    for space in spaces:
        # A process that was killed is there until it has let go of its memory.
        for _ in range(100):
            processes = subprocess.run(["ip", "netns", "pids", space], capture_output=True, text=True).stdout.split()
            for process in processes:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(int(process), signal.SIGKILL)
            if not processes:
                break
            time.sleep(0.03)
    for space in spaces:
        subprocess.run(["ip", "netns", "delete", space], stderr=subprocess.DEVNULL)


# ---- Processes ----


class Started:
    """The processes of one run, each in a namespace; all have ended when it is left."""

    def __init__(self, network: Network, folder: Path):
        self.network, self.folder, self.running = network, folder, []

    def __enter__(self) -> "Started":
        self.folder.mkdir()
        return self

    def start(self, number: int, words: list, label: str, **more) -> subprocess.Popen:
        with (self.folder / f"{label}.err").open("wb") as errors:
            process = subprocess.Popen(self.network.inside(number, words), stderr=errors, start_new_session=True,
                                       **{"stdin": subprocess.DEVNULL, "stdout": subprocess.DEVNULL, **more})
        self.running.append(process)
        return process

    def complaint(self, label: str) -> str:
        return "\n".join((self.folder / f"{label}.err").read_text(errors="replace").splitlines()[-5:])

    def end(self, *signals: int, patience: float = 3) -> None:
        """Ends all with the first signal, and those that do not go with the next."""
        for number in (*signals, signal.SIGKILL):
            for process in self.running:
                if process.poll() is None:
                    process.send_signal(number)
            until = time.monotonic() + patience
            for process in self.running:
                with contextlib.suppress(subprocess.TimeoutExpired):
                    process.wait(max(0.0, until - time.monotonic()))
        self.running = [process for process in self.running if process.poll() is None]

    def __exit__(self, *_) -> None:
        self.end()
        shutil.rmtree(self.folder)


def wait_for(what: str, ready: Callable[[], object], process: subprocess.Popen, seconds: float = 20) -> None:
    until = time.monotonic() + seconds
    while not ready():
        if process.poll() is not None or time.monotonic() > until:
            raise LabError(f"{what} does not start")
        time.sleep(0.03)


def ask(network: Network, number: int, url: str, body: str | None = None) -> str:
    """The answer of a server, asked from within a namespace; nothing, if it has none."""
    words = ["curl", "-sS", "--fail", "--max-time", "5", *(("-d", body) if body else ()), url]
    return subprocess.run(network.inside(number, words), capture_output=True, encoding="latin-1").stdout


# ---- The model ----


@dataclass
class Model:
    folder: Path
    vkey: str
    files: list
    bytes: int


def make_model(weighbridge: str, work: Path, scene: Scene, chunk_size: str) -> Model:
    """Two files of tensors, one without, and three small ones: as many bytes as the scene says."""
    folder, randoms = work / "site" / MODEL, random.Random(scene.megabytes)
    folder.mkdir(parents=True)
    small = {"config.json": 700, "tokenizer.json": min(2_000_000, scene.bytes // 50), "README.md": 4_000}
    left = scene.bytes - sum(small.values())
    large = {"model-00001-of-00002.safetensors": left * 45 // 100, "model-00002-of-00002.safetensors": left * 35 // 100}
    large["extra.bin"] = left - sum(large.values())
    for name, size in {**small, **large}.items():
        with (folder / name).open("wb") as file:
            if name.endswith(".safetensors"):
                file.write(tensors_header(size))
            while (rest := size - file.tell()) > 0:
                file.write(randoms.randbytes(min(rest, 1 << 24)))
    run([weighbridge, "keygen", "lab", "-o", work, "--unencrypted", "-q"])
    run([weighbridge, "weigh", folder, "--name", MODEL, "--key", work / "lab.key", "--chunk-size", chunk_size, "-q"])
    return Model(folder, (work / "lab.vkey").read_text().strip(), [*small, *large], scene.bytes)


def tensors_header(size: int, tensors: int = 8) -> bytes:
    """The header of a safetensors file of this size: tensors of bytes, as even as they go."""
    room = 2_000
    data = size - 8 - room
    ends = [data * number // tensors for number in range(tensors + 1)]
    header = json.dumps({f"layer.{number}.weight": {"dtype": "U8", "shape": [end - begin], "data_offsets": [begin, end]}
                         for number, (begin, end) in enumerate(zip(ends, ends[1:]))})
    return room.to_bytes(8, "little") + header.ljust(room).encode()


def torrent(model: Model, announce: str, piece: int = 1 << 18) -> tuple[bytes, str]:
    """The torrent of a model's files, and the hash by which a tracker knows it."""
    files, pieces, rest = [], [], b""
    for name in model.files:
        data = (model.folder / name).read_bytes()
        files.append({"length": len(data), "path": [name]})
        rest += data
        whole = len(rest) - len(rest) % piece
        pieces += [hashlib.sha1(rest[begin:begin + piece]).digest() for begin in range(0, whole, piece)]
        rest = rest[whole:]
    pieces += [hashlib.sha1(rest).digest()] if rest else []
    info = {"files": files, "name": model.folder.name, "piece length": piece, "pieces": b"".join(pieces)}
    return bencode({"announce": announce, "info": info}), hashlib.sha1(bencode(info)).hexdigest()


def bencode(value) -> bytes:
    if isinstance(value, int):
        return b"i%de" % value
    if isinstance(value, (bytes, str)):
        value = value.encode() if isinstance(value, str) else value
        return b"%d:%s" % (len(value), value)
    if isinstance(value, list):
        return b"l" + b"".join(map(bencode, value)) + b"e"
    return b"d" + b"".join(bencode(key) + bencode(value[key]) for key in sorted(value)) + b"e"


# ---- Origins ----


@dataclass
class Origin:
    url: str
    given: Callable[[], int]
    """Bytes of bodies that it has given."""
    processes: list
    beside: Callable[[], int] | None = None
    """Bytes that the tracker has given as a server or a peer, where another program is the origin."""


def nginx(started: Started, site: Path) -> Origin:
    folder = started.folder
    temporary = " ".join(f"{kind}_temp_path {folder}/{kind};" for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi"))
    (folder / "nginx.conf").write_text(
        f"daemon off; master_process off; user root; pid {folder}/pid; error_log {folder}/error;\n"
        "events { worker_connections 4096; }\n"
        f"http {{ sendfile on; keepalive_requests 1000000; log_format bodies '$body_bytes_sent'; access_log {folder}/access bodies;\n"
        f"{temporary} server {{ listen {ORIGIN}:{HTTP}; root {site}; }} }}\n")
    process = started.start(0, ["nginx", "-e", folder / "error", "-c", folder / "nginx.conf"], "nginx")
    url = f"http://{ORIGIN}:{HTTP}/{MODEL}"
    wait_for("nginx", lambda: ask(started.network, 0, f"{url}/config.json"), process)
    known = sum(map(int, (folder / "access").read_text().split()))
    return Origin(url, lambda: sum(map(int, (folder / "access").read_text().split())) - known, [process])


def serve(started: Started, weighbridge: str, model: Model, listen: str, more: list) -> Origin:
    process = started.start(0, [*serve_words(weighbridge, model.folder, listen), *more], "serve", stdout=subprocess.PIPE, text=True)
    for line in process.stdout:
        if json.loads(line)["event"] == "listening":
            threading.Thread(target=process.stdout.read, daemon=True).start()
            return Origin(f"http://{listen}/{MODEL}", lambda: served_bytes(ask(started.network, 0, f"http://{listen}/metrics")), [process])
    raise LabError(f"`weighbridge serve` does not start: {started.complaint('serve')}")


# ---- Nodes ----


class Node:
    """One node of a run: what it starts, and what became of it."""

    def __init__(self, number: int, folder: Path, words: list, role: str = ""):
        self.number, self.folder, self.words, self.role = number, folder, words, role
        self.process: subprocess.Popen | None = None
        self.began = self.arrived = None
        self.share, self.bound, self.blamed, self.carried = 0.0, None, False, None
        self.error = ""

    label = property(lambda self: f"node-{self.number}")

    def start(self, started: Started) -> None:
        self.folder.mkdir(exist_ok=True)
        self.began = time.monotonic()
        self.process = started.start(self.number, self.words, self.label, stdout=subprocess.PIPE)
        self.reader = threading.Thread(target=self._read, daemon=True)
        self.reader.start()

    def _read(self) -> None:
        for line in self.process.stdout:
            now = time.monotonic()
            try:
                event = json.loads(line)
            except ValueError:
                continue
            if self.arrived is None and has_arrived(event):
                self.arrived = now
            self.share = share(event) or self.share
            self.blamed |= blames(event)
            self.carried = carried(event) or self.carried
            if event["event"] == "error":
                self.error = event.get("message", "")

    def look(self) -> None:
        """Notices an arrival that nothing reports."""

    @property
    def ended(self) -> bool:
        """Whether it can no longer arrive."""
        if self.process is None or self.process.poll() is None:
            return False
        self.reader.join(1)
        self.look()
        return self.arrived is None

    seconds = property(lambda self: self.arrived - self.began)


class Curl(Node):
    """Takes the files of a model in turn over one connection, and keeps nothing."""

    def __init__(self, number: int, folder: Path, url: str, model: Model):
        files = [word for name in model.files for word in ("-o", "/dev/null", f"{url}/{name}")]
        super().__init__(number, folder, ["curl", "-sS", "--fail", *files])

    def _read(self) -> None:
        self.process.stdout.read()
        if self.process.wait() == 0:
            self.arrived = time.monotonic()


class Leecher(Node):
    """An aria2c that touches a file when all pieces are there and have been checked, and seeds from then on."""

    def start(self, started: Started) -> None:
        self.folder.mkdir()
        self.wall = time.time()
        self.mark, hook = self.folder / "arrived", self.folder / "hook"
        hook.write_text(f"#!/bin/sh\n: > {shlex.quote(str(self.mark))}\n")
        hook.chmod(0o755)
        self.words += ["--on-bt-download-complete", hook]
        super().start(started)

    def look(self) -> None:
        if self.arrived is None and self.mark.exists():
            self.arrived = self.began + self.mark.stat().st_mtime - self.wall


# ---- A run ----


@dataclass
class Incidents:
    kill: tuple[int, float] = (0, 0.0)
    slow: int = 0
    late: tuple[int, float] = (0, 0.0)
    origin_dies: bool = False
    liar: str | None = None

    def roles(self, nodes: int) -> dict[int, str]:
        """Who is what, by number: those to be killed first, those that are late last."""
        roles = ["killed"] * self.kill[0] + ["slow"] * self.slow + ["liar"] * bool(self.liar)
        if len(roles) + self.late[0] >= nodes:
            sys.exit("these incidents leave no ordinary node")
        numbered = dict(enumerate(roles, 1))
        return {**numbered, **{nodes - number: "late" for number in range(self.late[0])}}

    def __str__(self) -> str:
        words = [f"{self.kill[0]} killed at {self.kill[1]:.0%}"] * bool(self.kill[0]) + [f"{self.slow} slow"] * bool(self.slow)
        words += [f"{self.late[0]} late at {self.late[1]:.0%}"] * bool(self.late[0]) + ["a liar"] * bool(self.liar)
        words += ["origin dies"] * self.origin_dies
        return ", ".join(words)


@dataclass
class Outcome:
    """What one round of one way came to. Times in seconds; bytes of the origin in models."""
    scene: str
    way: str
    round: int
    bound: float
    first: float = 0.0
    last: float | None = None
    ratio: float | None = None
    egress: float = 0.0
    wire: float = 0.0
    beside: float | None = None
    cpu_per_gb: float = 0.0
    busy: float = 0.0
    notes: list = field(default_factory=list)
    failures: list = field(default_factory=list)

    def __str__(self) -> str:
        last = f"last node {self.last:.2f} s, {self.ratio:.2f} x" if self.last is not None else "not all arrived"
        beside = f", tracker's own {self.beside:.3f}" if self.beside is not None else ""
        text = (f"{self.way} {self.round}: {last} (first {self.first:.2f} s), egress {self.egress:.3f} models, on the wire {self.wire:.3f}"
                f"{beside}, CPU {self.cpu_per_gb:.1f} s/GB, machine {self.busy:.0%} busy")
        return "; ".join([text, *self.notes, *self.failures])


class Round:
    """One scene, one way, once."""

    def __init__(self, lab: "Lab", way: str, number: int):
        self.lab, self.scene, self.model, self.network = lab, lab.scene, lab.model, lab.network
        swarm = way.startswith("swarm")
        self.incidents = lab.incidents if swarm else Incidents()
        self.outcome = Outcome(str(self.scene), way, number, lab.bound)
        # One after the other takes N F/u; whoever needs twice as long will not come.
        self.patience = 30 + 2 * lab.curl * (1 if swarm else self.scene.nodes if way in ("curls", "plain") else 3)
        self.swarm = swarm

    def run(self) -> Outcome:
        before, machine, wire = children_seconds(), machine_ticks(), self.network.sent()
        with Started(self.network, self.lab.work / "run") as started:
            self.started = started
            origin, nodes = self._set_up()
            self._race(origin, nodes)
            self._linger(nodes)
            self.outcome.wire = (self.network.sent() - wire) / self.model.bytes
            if self.dead_at is None:
                # An answer that was broken off is in the log a moment later.
                time.sleep(0.2)
                self.given = origin.given()
                self.outcome.beside = origin.beside() / self.model.bytes if origin.beside else None
            self.outcome.egress = self.given / self.model.bytes
            self.outcome.busy = busy_since(machine)
            started.end(signal.SIGTERM)
            for node in nodes:
                if node.process:
                    node.reader.join(1)
            self._judge(nodes)
            delivered = self.model.bytes * max(1, sum(node.arrived is not None for node in nodes)) / 1e9
            self.outcome.cpu_per_gb = (children_seconds() - before) / delivered
            self._verify(nodes)
        return self.outcome

    def _set_up(self) -> tuple[Origin, list[Node]]:
        way, numbers, folder = self.outcome.way, range(1, self.scene.nodes + 1), self.started.folder
        if way == "bittorrent":
            return self._bittorrent(numbers)
        ticket = folder / "ticket"
        tracker = f"{ORIGIN}:{TRACKER}"
        if self.swarm:
            run(ticket_words(self.lab.weighbridge, self.model.folder, tracker, ticket))
        if way == "swarm-serve":
            origin = serve(self.started, self.lab.weighbridge, self.model, f"{ORIGIN}:{HTTP}", tracker_words(tracker, ticket))
        else:
            origin = nginx(self.started, self.lab.work / "site")
        if way == "swarm-nginx":
            tracking = serve(self.started, self.lab.weighbridge, self.model, f"{ORIGIN}:{TRACKER_HTTP}", tracker_words(tracker, ticket))
            origin.beside = tracking.given
            origin.processes += tracking.processes
        if way == "curls":
            return origin, [Curl(number, folder / str(number), origin.url, self.model) for number in numbers]
        roles = self.incidents.roles(self.scene.nodes)
        return origin, [self._fetcher(number, roles.get(number, ""), origin.url, ticket) for number in numbers]

    def _fetcher(self, number: int, role: str, url: str, ticket: Path) -> Node:
        folder = self.started.folder / str(number)
        words = fetch_words(self.lab.weighbridge, url, folder, self.model.vkey)
        if self.swarm:
            words += swarm_words(ticket, int(self.patience))
        if role == "liar":
            parts = (shlex.join(map(str, words)), *map(shlex.quote, map(str, (
                self.lab.weighbridge, url, ticket, self.model.vkey, folder / "model", self.network.address(number)))))
            words = ["sh", "-c", "exec " + self.incidents.liar.format(**dict(zip(LIAR_PLACES, parts)))]
        return Node(number, folder, words, role)

    def _bittorrent(self, numbers: range) -> tuple[Origin, list[Node]]:
        folder, network = self.started.folder, self.network
        announce = f"http://{ORIGIN}:6969/announce"
        data, info_hash = torrent(self.model, announce)
        (folder / "torrent").write_bytes(data)
        (folder / "whitelist").write_text(f"{info_hash}\n")
        tracker = self.started.start(0, ["opentracker", "-i", ORIGIN, "-p", "6969", "-P", "6969", "-d", folder, "-u", "nobody",
                                         "-w", "whitelist"], "opentracker")
        # All that is not the tracker is off, and whoever has the model seeds until the run ends.
        words = ["aria2c", "--no-conf", "--quiet", "--enable-dht=false", "--enable-dht6=false", "--bt-enable-lpd=false",
                 "--enable-peer-exchange=false", "--seed-ratio=0.0", "--listen-port=6881", "--file-allocation=none",
                 "--bt-tracker-interval=10", "--allow-overwrite=true", folder / "torrent"]
        rpc = "http://127.0.0.1:6800/jsonrpc"
        seeder = self.started.start(0, [*words, "--enable-rpc", "--rpc-listen-port=6800", "--bt-seed-unverified=true",
                                        "-d", self.model.folder.parent], "seeder")
        scrape = f"http://{ORIGIN}:6969/scrape?info_hash=" + "".join(f"%{info_hash[at:at + 2]}" for at in range(0, 40, 2))
        wait_for("opentracker", lambda: "d5:files" in ask(network, 0, scrape), tracker)
        wait_for("the seeder", lambda: "8:completei1e" in ask(network, 0, scrape), seeder)

        def uploaded() -> int:
            body = {"jsonrpc": "2.0", "id": "lab", "method": "aria2.tellActive", "params": [["uploadLength"]]}
            return sum(int(one["uploadLength"]) for one in json.loads(ask(network, 0, rpc, json.dumps(body)))["result"])

        nodes = [Leecher(number, folder / str(number), [*words, "-d", folder / str(number)]) for number in numbers]
        return Origin(announce, uploaded, [seeder, tracker]), nodes

    def _race(self, origin: Origin, nodes: list[Node]) -> None:
        """Until all have arrived that can, with the incidents that were asked for."""
        began, self.dead_at, self.given, wire = time.monotonic(), None, 0, self.network.sent()
        for node in nodes:
            if node.role != "late":
                node.start(self.started)
        waiting = [node for node in nodes if node.role == "late"]
        early = [node for node in nodes if node.role != "late"]
        while time.monotonic() < began + self.patience:
            time.sleep(0.02)
            for node in early:
                node.look()
                if node.role == "killed" and node.process.poll() is None and node.share >= self.incidents.kill[1]:
                    node.process.kill()
            if waiting and statistics.median(1.0 if node.arrived else node.share for node in early) >= self.incidents.late[1]:
                self._join(nodes, waiting, self.network.sent() - wire)
                waiting = []
            # Earlier, pieces that nobody has yet would be lost with the origin.
            if self.incidents.origin_dies and self.dead_at is None and any(node.arrived or node.share >= 1 for node in early):
                self.given, self.dead_at = self.network.sent() - wire, time.monotonic() - began
                for process in origin.processes:
                    process.kill()
            if not waiting and all(node.arrived or node.ended for node in nodes if node.role != "liar"):
                break

    def _join(self, nodes: list[Node], late: list[Node], given: int) -> None:
        """Starts those that are late. Their bound is that of what is left to be given and to be sent when they come."""
        scene, size = self.scene, self.model.bytes
        missing = sum(1.0 if node in late else 0.0 if node.arrived else 1 - node.share for node in nodes if node.role != "killed")
        bound = self.lab.overhead * max(size / 1e6 / scene.down, max(0, size - given) / 1e6 / scene.origin,
                                        missing * size / 1e6 / (scene.origin + self.lab.uplinks))
        for node in late:
            node.bound = bound
            node.start(self.started)

    def _linger(self, nodes: list[Node]) -> None:
        """Nodes of a swarm may end by themselves when all are done; a moment for that, and for their last words."""
        until = time.monotonic() + (1 if self.swarm else 0)
        while time.monotonic() < until and any(node.process and node.process.poll() is None for node in nodes):
            time.sleep(0.02)

    def _judge(self, nodes: list[Node]) -> None:
        outcome, judged = self.outcome, [node for node in nodes if node.role not in ("killed", "liar")]
        came = [node for node in judged if node.arrived is not None]
        for node in judged:
            if node.arrived is None:
                why = node.error or self.started.complaint(node.label) or "no word from it"
                outcome.failures.append(f"node {node.number} did not arrive: {why}")
        on_time, late = ([node.seconds for node in came if (node.role == "late") == is_late] for is_late in (False, True))
        if on_time and len(came) == len(judged):
            # All began at time 0, whoever was started first.
            zero = min(node.began for node in nodes if node.began)
            times = [node.arrived - zero for node in came if node.role not in ("late", "slow")]
            if slow := [node.arrived - zero for node in came if node.role == "slow"]:
                outcome.notes.append(f"the slow node itself: {max(slow):.2f} s")
            outcome.first, outcome.last = min(times), max(times)
            outcome.ratio = outcome.last / outcome.bound
            if late:
                bound = next(node.bound for node in came if node.role == "late")
                outcome.notes.append(f"late nodes: {max(late):.2f} s, {max(late) / bound:.2f} x their bound of {bound:.2f} s")
                outcome.ratio = max(outcome.ratio, max(late) / bound)
        if killed := [node for node in nodes if node.role == "killed"]:
            outcome.notes.append("killed at " + ", ".join(f"{node.share:.0%}" for node in killed))
            outcome.failures += [f"node {node.number} arrived before it could be killed" for node in killed if node.arrived is not None]
        if self.incidents.origin_dies:
            outcome.notes.append(f"origin killed at {self.dead_at:.2f} s (its egress is that of its link)" if self.dead_at is not None
                                 else "origin did not give enough to die")
        if self.incidents.liar:
            outcome.notes.append(f"{sum(node.blamed for node in judged)} of {len(judged)} nodes blamed somebody")
        if said := [node.carried for node in judged if node.carried]:
            shares = [sum(amounts) / self.model.bytes for amounts in zip(*said)]
            outcome.notes.append(f"nodes say: {shares[0]:.3f} models from the origin, {shares[1]:.3f} from peers")

    def _verify(self, nodes: list[Node]) -> None:
        """Checks the folder of each node that arrived, and removes it."""
        for node in nodes:
            if node.arrived is not None and node.role != "liar" and not isinstance(node, Curl):
                got = node.folder / "model"
                try:
                    if not isinstance(node, Leecher):
                        run([self.lab.weighbridge, "verify", got, "--name", MODEL, "--vkey", self.model.vkey,
                             "--state", node.folder / "heads.json", "-q"])
                    wrong = filecmp.cmpfiles(self.model.folder, got, self.model.files, shallow=False)
                    if wrong[1] or wrong[2]:
                        raise LabError(f"{', '.join(wrong[1] + wrong[2])} differs")
                except LabError as error:
                    self.outcome.failures.append(f"the folder of node {node.number} is wrong: {error}")
            shutil.rmtree(node.folder, ignore_errors=True)


def children_seconds() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def machine_ticks() -> tuple[int, int]:
    """Ticks in which the machine worked, and all."""
    ticks = list(map(int, Path("/proc/stat").read_text().splitlines()[0].split()[1:9]))
    return sum(ticks) - ticks[3] - ticks[4], sum(ticks)


def busy_since(before: tuple[int, int]) -> float:
    now = machine_ticks()
    return (now[0] - before[0]) / max(1, now[1] - before[1])


# ---- The lab ----


class Lab:
    """One scene: its network and its model. `curl` is what one curl takes, `bound` what the last node takes at least."""

    def __init__(self, arguments: argparse.Namespace, scene: Scene, work: Path, incidents: Incidents):
        self.weighbridge, self.scene, self.work, self.incidents = arguments.weighbridge, scene, work, incidents
        work.mkdir()
        need = scene.bytes * (scene.nodes + 1) + scene.nodes * 100_000_000 + 500_000_000
        if (free := free_memory(work)) < need:
            sys.exit(f"scene {scene.key} needs {need / 1e9:.1f} GB of memory, and {free / 1e9:.1f} are free")
        self.model = make_model(arguments.weighbridge, work, scene, arguments.chunk_size)
        slow = frozenset(number for number, role in incidents.roles(scene.nodes).items() if role == "slow")
        self.uplinks = scene.up * (scene.nodes - 0.99 * len(slow))
        self.network = Network(arguments.prefix, scene, slow)
        self._measure()

    def _measure(self) -> None:
        scene, megabytes = self.scene, self.scene.megabytes
        with Started(self.network, self.work / "run") as started:
            origin = nginx(started, self.work / "site")
            # The last node has an ordinary link, whatever the incidents are.
            curl = Curl(scene.nodes, started.folder / "curl", origin.url, self.model)
            curl.start(started)
            curl.process.wait()
            curl.reader.join()
            if curl.arrived is None:
                raise LabError(f"curl does not reach the origin: {started.complaint(curl.label)}")
        nominal = megabytes / min(scene.origin, scene.down)
        self.curl, self.overhead = curl.seconds, curl.seconds / nominal
        self.bound = max(self.curl, self.overhead * scene.nodes * megabytes / (scene.origin + self.uplinks))
        print(f"one curl: {self.curl:.2f} s for {nominal:.2f} s, {megabytes / self.curl:.2f} MB/s, {self.overhead - 1:+.1%}; "
              f"bound {self.bound:.2f} s", flush=True)
        # It takes a moment to start, which a small model shows.
        if abs(self.curl - nominal) > 0.02 * nominal + 0.05:
            print("the links are off by more than 2 %: is the machine busy?", flush=True)


def free_memory(folder: Path) -> int:
    available = next(line for line in Path("/proc/meminfo").read_text().splitlines() if line.startswith("MemAvailable"))
    disk = os.statvfs(folder)
    return min(int(available.split()[1]) * 1024, disk.f_bavail * disk.f_frsize)


@contextlib.contextmanager
def alone(prefix: str, work: Path):
    """One lab of this prefix at a time, and nothing of it afterwards."""
    with open(f"/run/{prefix}.lock", "w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            print(f"waits for another lab called {prefix}", file=sys.stderr, flush=True)
            fcntl.flock(lock, fcntl.LOCK_EX)
        try:
            sweep(prefix, work)
            yield
        finally:
            # Nothing interrupts the tidying.
            for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
                signal.signal(number, signal.SIG_IGN)
            sweep(prefix, work)


def sweep(prefix: str, work: Path) -> None:
    clear(prefix)
    shutil.rmtree(work, ignore_errors=True)


def table(outcomes: list[Outcome], scenes: list[Scene]) -> str:
    lines = ["| nodes, links, MB | bound s | way | rounds | last node s | x bound | egress, models | CPU s/GB | within limits |",
             "|---|---|---|---|---|---|---|---|---|"]
    for scene in scenes:
        for way in WAYS:
            rounds = [outcome for outcome in outcomes if outcome.scene == str(scene) and outcome.way == way]
            if not rounds:
                continue
            last, ratio, verdict = "not all arrived", "", ""
            egress = statistics.median(outcome.egress for outcome in rounds)
            if all(outcome.last is not None for outcome in rounds):
                last = f"{statistics.median(outcome.last for outcome in rounds):.2f}"
                ratio = statistics.median(outcome.ratio for outcome in rounds)
            if way.startswith("swarm"):
                held = ratio != "" and ratio <= scene.last_limit and egress <= scene.egress_limit
                verdict = ("yes" if held else "no") + f": {scene.last_limit:.2f} x, {scene.egress_limit:.2f}"
            lines.append(f"| {scene} | {rounds[0].bound:.2f} | {way} | {len(rounds)} | {last} | {ratio and f'{ratio:.2f}'} | {egress:.3f} "
                         f"| {statistics.median(outcome.cpu_per_gb for outcome in rounds):.1f} | {verdict} |")
    return "\n".join(lines)


def misses(outcomes: list[Outcome], scene: Scene) -> list[str]:
    return [f"{outcome.way}: {outcome.ratio or 0:.2f} x of at most {scene.last_limit:.2f}, {outcome.egress:.3f} models of at most "
            f"{scene.egress_limit:.2f}"
            for outcome in outcomes if outcome.way.startswith("swarm") and outcome.last is not None
            and (outcome.ratio > scene.last_limit or outcome.egress > scene.egress_limit)]


def count_at(text: str) -> tuple[int, float]:
    """`2@30%`"""
    try:
        count, share_of = text.removesuffix("%").split("@")
        return int(count), float(share_of) / 100
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text} is not like 2@30%") from None


def parsed() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("weighbridge")
    parser.add_argument("--scenes", default=",".join(SCENES))
    parser.add_argument("--rounds", type=int)
    parser.add_argument("--plain-rounds", type=int, help="fewer rounds for `plain`, which takes N times as long")
    parser.add_argument("--ways", help=f"of {','.join(WAYS)}")
    parser.add_argument("--short", action="store_true")
    parser.add_argument("--chunk-size", default="64KiB")
    parser.add_argument("--kill", type=count_at, default=(0, 0.0), metavar="COUNT@SHARE")
    parser.add_argument("--slow", type=int, default=0, metavar="COUNT")
    parser.add_argument("--late", type=count_at, default=(0, 0.0), metavar="COUNT@SHARE")
    parser.add_argument("--origin-dies", action="store_true")
    parser.add_argument("--liar", metavar="TEMPLATE")
    parser.add_argument("--json", type=Path, metavar="FILE")
    parser.add_argument("--prefix", default="wblab", help="of the names of the namespaces")
    parser.add_argument("--on", type=Path, default=Path("/dev/shm"), help="a memory disk")
    return parser.parse_args()


def check(arguments: argparse.Namespace) -> None:
    """Says what is missing before anything is set up."""
    if os.geteuid() != 0:
        sys.exit("this lab makes network namespaces: run it as root")
    arguments.weighbridge = os.path.abspath(arguments.weighbridge)
    if not os.access(arguments.weighbridge, os.X_OK):
        sys.exit(f"{arguments.weighbridge} is no program")
    arguments.ways = (arguments.ways or ("swarm-nginx,swarm-serve" if arguments.short else "plain,swarm-nginx,swarm-serve,bittorrent")
                      ).split(",")
    arguments.rounds = arguments.rounds or (1 if arguments.short else 3)
    if unknown := set(arguments.ways) - set(WAYS):
        sys.exit(f"no way is called {', '.join(sorted(unknown))}: take {', '.join(WAYS)}")
    tools = ["ip", "tc", "sysctl", "curl", "nginx", *(["aria2c", "opentracker"] if "bittorrent" in arguments.ways else [])]
    if absent := [tool for tool in tools if not shutil.which(tool)]:
        sys.exit(f"{', '.join(absent)} {'is' if len(absent) == 1 else 'are'} needed")
    if any(way.startswith("swarm") for way in arguments.ways) and (lack := lacks_swarm(arguments.weighbridge)):
        sys.exit(f"this weighbridge has no `{lack}`, which the ways of the swarm need: build one that has, or say --ways plain,bittorrent")


def main() -> None:
    arguments = parsed()
    check(arguments)
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, lambda *_: sys.exit("ended by a signal"))
    scenes = [SHORT] if arguments.short else [scene_of(text) for text in arguments.scenes.split(",")]
    incidents = Incidents(arguments.kill, arguments.slow, arguments.late, arguments.origin_dies, arguments.liar)
    for scene in scenes:
        incidents.roles(scene.nodes)
    outcomes, work = [], arguments.on / arguments.prefix
    version = run([arguments.weighbridge, "--version"]).strip()
    print(f"{version}; {os.cpu_count()} cores, Linux {os.uname().release}; {arguments.rounds} rounds"
          + (f"; incidents of the swarm: {incidents}" if str(incidents) else ""), flush=True)
    try:
        with alone(arguments.prefix, work):
            for scene in scenes:
                print(f"\nscene {scene.key}: {scene}", flush=True)
                play(arguments, Lab(arguments, scene, work, incidents), outcomes)
                sweep(arguments.prefix, work)
    except LabError as error:
        sys.exit(str(error))
    except KeyboardInterrupt:
        sys.exit("interrupted")
    finally:
        if outcomes:
            print(f"\n{table(outcomes, scenes)}", flush=True)
        if arguments.json:
            arguments.json.write_text(json.dumps([asdict(outcome) for outcome in outcomes], indent=1) + "\n")
    failed = [f"{outcome.way} {outcome.round}: {failure}" for outcome in outcomes for failure in outcome.failures]
    missed = misses(outcomes, SHORT) if arguments.short else []
    if failed or missed:
        sys.exit("\n".join(failed + missed))


def play(arguments: argparse.Namespace, lab: Lab, outcomes: list[Outcome]) -> None:
    """The ways one after the other, in each round anew."""
    for number in range(arguments.rounds):
        for way in arguments.ways:
            if way == "plain" and arguments.plain_rounds is not None and number >= arguments.plain_rounds:
                continue
            outcomes.append(Round(lab, way, number + 1).run())
            print(outcomes[-1], flush=True)


if __name__ == "__main__":
    main()
