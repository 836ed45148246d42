"""Times `weighbridge fetch` from mirrors that share one slow line, over loopback.

One server, under many addresses (`?mirror=N`), gives all its connections together a fixed number of bytes a second. The
model is as large as the line gives in the wanted time. The table is Markdown: the time beside the line's own, received
and sent bytes beside the wanted ones, and the number of sources that were blamed.

usage: fetch_shared_line.py WEIGHBRIDGE [--rate BYTES] [--seconds N] [--mirrors 1,2,4,8,16,64] [--into DIR]
"""

import argparse
import json
import os
import random
import subprocess
import tempfile
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path


class Line:
    """A line on which each byte takes its time, whichever connection it belongs to."""

    def __init__(self, rate: int):
        self.rate, self.free, self.sent, self.lock = rate, time.monotonic(), 0, threading.Lock()

    def pass_on(self, count: int) -> None:
        """Waits until these bytes have gone over the line."""
        with self.lock:
            self.free = max(self.free, time.monotonic()) + count / self.rate
            self.sent += count
            free = self.free
        time.sleep(max(0.0, free - time.monotonic()))


def server(model: Path, line: Line) -> ThreadingHTTPServer:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            path = model / self.path.split("?")[0].lstrip("/")
            if not path.is_file():
                self.send_error(404)
                return
            size = path.stat().st_size
            begin, end = 0, size
            if wanted := self.headers.get("Range"):
                first, last = wanted.removeprefix("bytes=").split("-")
                begin, end = int(first), min(size, int(last or size) + 1)
                self.send_response(206)
                self.send_header("Content-Range", f"bytes {begin}-{end - 1}/{size}")
            else:
                self.send_response(200)
            self.send_header("Content-Length", str(end - begin))
            self.end_headers()
            with path.open("rb") as file:
                file.seek(begin)
                while begin < end:
                    # What the line gives in a fiftieth of a second.
                    piece = file.read(min(end - begin, max(line.rate // 50, 1)))
                    line.pass_on(len(piece))
                    try:
                        self.wfile.write(piece)
                    except OSError:
                        self.close_connection = True
                        return
                    begin += len(piece)

        def log_message(self, *_: object) -> None:
            pass

    class Server(ThreadingHTTPServer):
        daemon_threads = True
        request_queue_size = 256

    return Server(("127.0.0.1", 0), Handler)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("weighbridge")
    parser.add_argument("--rate", type=int, default=250_000, help="bytes a second")
    parser.add_argument("--seconds", type=int, default=60)
    parser.add_argument("--mirrors", default="1,2,4,8,16,64")
    parser.add_argument("--into", type=Path, default=Path("/dev/shm"))
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=arguments.into) as scratch:
        bench(arguments, Path(scratch))


def bench(arguments: argparse.Namespace, scratch: Path) -> None:
    model, environment = scratch / "model", {**os.environ, "XDG_STATE_HOME": str(scratch)}
    model.mkdir()
    generator = random.Random(5)
    for file in range(4):
        (model / f"{file}.bin").write_bytes(generator.randbytes(arguments.rate * arguments.seconds // 4))
    for command in (
        ["keygen", "bench", "-o", str(scratch), "--unencrypted"],
        ["weigh", str(model), "--name", "bench/line", "--key", f"{scratch}/bench.key"],
    ):
        subprocess.run([arguments.weighbridge, *command], check=True, stdout=subprocess.DEVNULL, env=environment)
    vkey = (scratch / "bench.vkey").read_text().strip()
    print("| mirrors | time / the line's own | received / wanted | sent / wanted | blamed |\n|---|---|---|---|---|", flush=True)
    for mirrors in map(int, arguments.mirrors.split(",")):
        line = Line(arguments.rate)
        served = server(model, line)
        threading.Thread(target=served.serve_forever, daemon=True).start()
        sources = [f"http://127.0.0.1:{served.server_port}/?mirror={number}" for number in range(mirrors)]
        out = scratch / f"out-{mirrors}"
        fetch = [arguments.weighbridge, "fetch", *sources, "--json", "--name", "bench/line", "--vkey", vkey, "-o", str(out)]
        begin = time.monotonic()
        output = subprocess.run(fetch, check=True, capture_output=True, text=True, env=environment).stdout
        took = time.monotonic() - begin
        served.shutdown()
        events = [json.loads(text) for text in output.splitlines()]
        result = events[-1]
        blamed = {event["source"] for event in events if event["event"] == "source" and event.get("blame")}
        wanted = result["wanted"]
        ratios = (took * arguments.rate / wanted, result["received"] / wanted, line.sent / wanted)
        print(f"| {mirrors} | " + " | ".join(f"{ratio:.2f}" for ratio in ratios) + f" | {len(blamed)} |", flush=True)


if __name__ == "__main__":
    main()
