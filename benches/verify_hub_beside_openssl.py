"""Times `weighbridge verify --hub` beside `openssl dgst -sha256` in as many processes at once as there are cores.

A hub on loopback lists the files of MODEL with their SHA-256. Each round runs both once, on the same files in the page
cache, and what counts is their ratio in the same round: wall time, and processor time, which others on the machine change
less. Prints medians as a Markdown table.

usage: verify_hub_beside_openssl.py WEIGHBRIDGE MODEL [ROUNDS]
"""

import hashlib
import http.server
import json
import os
import statistics
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

COMMIT = "0123456789abcdef0123456789abcdef01234567"


def serve(model: Path, files: list[Path]) -> str:
    """Starts the hub, and returns its endpoint."""
    entries = []
    for path in files:
        with path.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
        lfs = {"oid": digest, "size": path.stat().st_size, "pointerSize": 130}
        entries.append({"type": "file", "path": path.relative_to(model).as_posix(), "lfs": lfs})
    answers = {"revision": json.dumps({"sha": COMMIT}), "tree": json.dumps(entries)}

    class Hub(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            body = answers["tree" if "/tree/" in self.path else "revision"].encode()
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Hub)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return f"http://127.0.0.1:{server.server_port}"


def run(commands: list[list[str]], environment: dict[str, str]) -> tuple[float, float]:
    """Wall time, and processor time of all, in seconds, of commands of which as many run at once as there are cores."""
    def one(command: list[str]) -> float:
        process = subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        if process.returncode != 0:
            sys.exit(f"failed: {' '.join(command)}")
        return usage.ru_utime + usage.ru_stime

    begin = time.perf_counter()
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        processor = sum(pool.map(one, commands))
    return time.perf_counter() - begin, processor


def main() -> None:
    if len(sys.argv) not in (3, 4):
        sys.exit(__doc__)
    weighbridge, model = str(Path(sys.argv[1]).resolve()), Path(sys.argv[2])
    rounds = int(sys.argv[3]) if len(sys.argv) == 4 else 7
    files = [path for path in model.rglob("*") if path.is_file()]
    files.sort(key=lambda path: path.stat().st_size, reverse=True)
    size = sum(path.stat().st_size for path in files)
    environment = os.environ | {"HF_ENDPOINT": serve(model, files)}
    contest = {
        "openssl dgst -sha256": [["openssl", "dgst", "-sha256", str(path)] for path in files],
        "weighbridge verify --hub": [[weighbridge, "verify", str(model), "--hub", "hf://bench/model"]],
    }
    results: dict[str, list[tuple[float, float]]] = {name: [] for name in contest}
    for _ in range(rounds):
        for name, commands in contest.items():
            results[name].append(run(commands, environment))
    base = results["openssl dgst -sha256"]
    print(f"{size / 1e9:.2f} GB in {len(files)} files, {os.cpu_count()} cores, {rounds} rounds\n")
    print("| command | seconds | GB/s | x openssl | processor seconds | x openssl |")
    print("|---|---|---|---|---|---|")
    for name, times in results.items():
        wall, processor = (statistics.median(column) for column in zip(*times))
        ratios = [statistics.median(a[i] / b[i] for a, b in zip(times, base)) for i in (0, 1)]
        print(f"| `{name}` | {wall:.2f} | {size / 1e9 / wall:.2f} | {ratios[0]:.2f} | {processor:.2f} | {ratios[1]:.2f} |")


if __name__ == "__main__":
    main()
