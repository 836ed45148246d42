"""Times `weighbridge` beside b3sum, sha256sum and, where it is installed, OpenSSF's model_signing.

Each round runs every command once, on the same files in the page cache, so that a change of the machine's speed hits
all commands alike. Prints medians, ratios to b3sum in the same round, and peak memory, as a Markdown table.

usage: beside_others.py WEIGHBRIDGE MODEL [ROUNDS]
"""

import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path


def run(command: list[str], environment: dict[str, str]) -> tuple[float, float, int]:
    """Wall time and processor time in seconds, and peak memory in KiB, of one run."""
    begin = time.perf_counter()
    quiet = [(os.POSIX_SPAWN_OPEN, fd, os.devnull, os.O_WRONLY, 0) for fd in (1, 2)]
    process = os.posix_spawnp(command[0], command, environment, file_actions=quiet)
    _, status, usage = os.wait4(process, 0)
    seconds = time.perf_counter() - begin
    if os.waitstatus_to_exitcode(status) != 0:
        sys.exit(f"failed: {' '.join(command)}")
    return seconds, usage.ru_utime + usage.ru_stime, usage.ru_maxrss


def commands(weighbridge: str, model: Path, folder: Path) -> dict[str, list[str]]:
    keygen = [weighbridge, "keygen", "bench", "-o", str(folder), "--unencrypted"]
    subprocess.run(keygen, check=True, stdout=subprocess.DEVNULL)
    vkey = (folder / "bench.vkey").read_text().strip()
    meta = str(folder / "meta")
    weigh = [weighbridge, "weigh", str(model), "--name", "bench/model", "--key", str(folder / "bench.key"), "--force"]
    subprocess.run([*weigh, "-o", meta], check=True, stdout=subprocess.DEVNULL)
    verify = [weighbridge, "verify", str(model), "--meta", meta, "--vkey", vkey]
    files = sorted(str(path) for path in model.rglob("*") if path.is_file() and "weighbridge" not in path.parts)
    all_commands = {
        "b3sum": ["b3sum", *files],
        "weighbridge verify": verify,
        "weighbridge verify --tensors": [*verify, "--tensors"],
        "weighbridge weigh": [*weigh, "-o", str(folder / "weigh")],
        "weighbridge weigh --no-tensors": [*weigh, "--no-tensors", "-o", str(folder / "weigh-no-tensors")],
        "sha256sum": ["sha256sum", *files],
    }
    if shutil.which("model_signing"):
        key, public = str(folder / "ec.key"), str(folder / "ec.pub")
        subprocess.run(["openssl", "ecparam", "-name", "prime256v1", "-genkey", "-noout", "-out", key], check=True)
        subprocess.run(["openssl", "ec", "-in", key, "-pubout", "-out", public], check=True, capture_output=True)
        signature = str(folder / "model.sig")
        sign = ["model_signing", "sign", "key", str(model), "--private_key", key, "--signature", signature]
        subprocess.run(sign, check=True, capture_output=True)
        verify = ["model_signing", "verify", "key", str(model), "--public_key", public, "--signature", signature]
        all_commands |= {"model_signing sign": sign, "model_signing verify": verify}
    return {name: command for name, command in all_commands.items() if shutil.which(command[0])}


def main() -> None:
    if len(sys.argv) not in (3, 4):
        sys.exit(__doc__)
    weighbridge, model = str(Path(sys.argv[1]).resolve()), Path(sys.argv[2])
    rounds = int(sys.argv[3]) if len(sys.argv) == 4 else 7
    size = sum(path.stat().st_size for path in model.rglob("*") if path.is_file() and "weighbridge" not in path.parts)
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        environment = os.environ | {"XDG_STATE_HOME": temporary}
        contest = commands(weighbridge, model, folder)
        for command in contest.values():
            run(command, environment)
        results: dict[str, list[tuple[float, float, int]]] = {name: [] for name in contest}
        for _ in range(rounds):
            for name, command in contest.items():
                results[name].append(run(command, environment))
    print(f"{size:,} bytes, {os.cpu_count()} cores, {rounds} rounds, files in the page cache\n")
    print("| command | median | rate | rate / b3sum (median, min to max) | processor time | peak memory |")
    print("|---|---|---|---|---|---|")
    reference = [seconds for seconds, _, _ in results.get("b3sum", [])]
    for name, runs in results.items():
        seconds = statistics.median(run[0] for run in runs)
        ratios = [mine / run[0] for mine, run in zip(reference, runs)]
        shown = f"{statistics.median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f})" if ratios else ""
        processor = statistics.median(run[1] for run in runs)
        memory = max(run[2] for run in runs) / 1024
        print(f"| `{name}` | {seconds:.2f} s | {size / seconds / 1e9:.2f} GB/s | {shown} | {processor:.2f} s | {memory:.0f} MiB |")


if __name__ == "__main__":
    main()
