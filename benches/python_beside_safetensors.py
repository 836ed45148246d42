"""Times the Python package beside safetensors, warm and interleaved.

    python benches/python_beside_safetensors.py WEIGHBRIDGE [MEGABYTES] [ROUNDS]

Needs the packages `weighbridge`, `safetensors` and `numpy`, and the command WEIGHBRIDGE for weighing.

- load: `load_file` into numpy, and every byte is read
- tensor: `safe_open`, and one tensor of at most 4 MiB
- two threads: two files at once, with hashing on one thread, beside one file after the other
- counting: how often a thread counts while another loads, beside how often it counts alone
"""

import json
import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

NAME = "org/bench"

# Each runs in a process of its own, with both packages side by side in it.
PROGRAMS = {
    "load": """
def load(load_file):
    arrays = load_file(FILES[0])
    return sum(int(array.view("u1").sum(dtype="u8")) for array in arrays.values())
print(json.dumps(rounds(lambda: load(weighbridge.numpy.load_file), lambda: load(safetensors.numpy.load_file))))
""",
    "tensor": """
def load(safe_open):
    with safe_open(FILES[0], framework="np") as file:
        return int(file.get_tensor("small").view("u1").sum(dtype="u8"))
print(json.dumps(rounds(lambda: load(weighbridge.safe_open), lambda: load(safetensors.safe_open))))
""",
    "threads": """
def at_once():
    loaded = []
    load = lambda file: loaded.append(weighbridge.numpy.load_file(file))
    threads = [threading.Thread(target=load, args=[file]) for file in FILES]
    [thread.start() for thread in threads]
    [thread.join() for thread in threads]
def one_by_one():
    # Both are kept, so that as much memory is in use as above.
    loaded = [weighbridge.numpy.load_file(file) for file in FILES]
print(json.dumps(rounds(at_once, one_by_one)))
""",
    "counting": """
def counted(work):
    ended, counted = [], 0
    def run():
        work()
        ended.append(True)
    start = time.perf_counter()
    threading.Thread(target=run).start()
    while not ended:
        counted += 1
    return counted / (time.perf_counter() - start)
load = lambda: weighbridge.numpy.load_file(FILES[0])
print(json.dumps([[counted(load), counted(lambda: time.sleep(0.5))] for _ in range(ROUNDS)]))
""",
    "memory": """
def peak():
    return next(int(line.split()[1]) << 10 for line in open("/proc/self/status") if line.startswith("VmHWM"))
before = peak()
arrays = weighbridge.numpy.load_file(FILES[0])
print(json.dumps(peak() - before - sum(array.nbytes for array in arrays.values())))
""",
}

PRELUDE = """
import json, sys, threading, time
import numpy, safetensors, safetensors.numpy, weighbridge, weighbridge.numpy
FILES, VKEY, ROUNDS = json.loads(sys.argv[1])
weighbridge.trust(vkeys=[VKEY], name="org/bench")
def rounds(one, other):
    def timed(work):
        start = time.perf_counter()
        work()
        return time.perf_counter() - start
    # Memory that was never touched is slow on virtual machines.
    one(), other()
    return [[timed(one), timed(other)] for _ in range(ROUNDS)]
"""


def main(weighbridge: str, megabytes: str = "1000", rounds: str = "9") -> None:
    with tempfile.TemporaryDirectory() as temporary:
        bench(weighbridge, int(megabytes) * 1_000_000, int(rounds), Path(temporary))


def bench(weighbridge: str, size: int, rounds: int, home: Path) -> None:
    import numpy
    from safetensors.numpy import save_file

    random = numpy.random.default_rng(1)
    (home / "model").mkdir()
    files = [home / "model" / f"model-{number}.safetensors" for number in (1, 2)]
    for file in files:
        count = max(2, size // 25_000_000)
        tensors = {f"tensor.{at:03}": random.integers(0, 2**32, size // count // 4, "u4") for at in range(count)}
        tensors["small"] = random.integers(0, 255, 4 << 20).astype("u1")
        save_file(tensors, file)
        del tensors
    environment = os.environ | {"XDG_STATE_HOME": str(home)}
    keys = home / "keys"
    for words in (["keygen", "bench", "-o", keys, "--unencrypted"],
                  ["weigh", home / "model", "--name", NAME, "--key", keys / "bench.key"]):
        subprocess.run([weighbridge, *map(str, words)], check=True, env=environment, stdout=subprocess.DEVNULL)
    vkey = (keys / "bench.vkey").read_text().strip()

    def run(what: str, **more: str):
        given = json.dumps([[str(file) for file in files], vkey, rounds])
        words = [sys.executable, "-c", PRELUDE + PROGRAMS[what], given]
        return json.loads(subprocess.run(words, check=True, stdout=subprocess.PIPE, env=environment | more).stdout)

    def median(values) -> float:
        return statistics.median(values)

    for what in ("load", "tensor"):
        times = run(what)
        ours, theirs = median(a for a, _ in times), median(b for _, b in times)
        ratio, more = median(a / b for a, b in times), 1000 * median(a - b for a, b in times)
        print(f"{what:9} ours {ours:.4f} s, safetensors {theirs:.4f} s, ratio {ratio:.2f}, difference {more:.1f} ms")
    print(f"memory    the arrays and {run('memory') / (1 << 20):.0f} MiB")
    one_thread = {"RAYON_NUM_THREADS": "1"}
    at_once = median(a / b for a, b in run("threads", **one_thread))
    print(f"threads   two files at once take {at_once:.2f} of one after the other")
    beside = median(a / b for a, b in run("counting", **one_thread))
    print(f"counting  a thread beside a load counts at {beside:.2f} of its rate alone")


if __name__ == "__main__":
    main(*sys.argv[1:])
