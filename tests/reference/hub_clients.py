"""Asks `weighbridge serve` by clients that nobody here wrote: huggingface_hub, hf, curl, aria2, Prometheus' parser.

    python3 tests/reference/hub_clients.py WEIGHBRIDGE MODEL

MODEL is a model folder; its files are copied. Needs the PyPI packages `huggingface_hub` and `prometheus_client`.
"""

import json
import os
import shutil
import subprocess
import sys
import tempfile
import urllib.request
from pathlib import Path

NAME = "org/model"


class Server:
    """`weighbridge serve` at a free port of loopback."""

    def __init__(self, weighbridge: str, model: Path, log: Path):
        words = [weighbridge, "serve", model, "--listen", "127.0.0.1:0", "--json"]
        self.process = subprocess.Popen(words, stdout=subprocess.PIPE, stderr=log.open("w"), text=True)
        for line in self.process.stdout:
            event = json.loads(line)
            if event["event"] == "listening":
                self.url = event["url"]
                return
        raise SystemExit(f"the server ended: {log.read_text()}")

    def __enter__(self) -> "Server":
        return self

    def __exit__(self, *_: object) -> None:
        self.process.kill()
        self.process.wait()


def main(weighbridge: str, model: str) -> int:
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        source = folder / "model"
        files = copy(Path(model), source)
        weigh(weighbridge, source, folder / "keys")
        metadata = {f"weighbridge/{name}" for name in ("head.note", "files.jsonl", "tensors.jsonl", "chunks.layer")}
        with Server(weighbridge, source, folder / "log") as server:
            asked(server.url, source, files | metadata, folder)
            figures(server.url)
            damaged(server.url, source, folder)
    print(f"{len(files)} files: loaded by huggingface_hub, hf, curl{'' if shutil.which('aria2c') is None else ', aria2'}; "
          "a flipped bit by none")
    return 0


def copy(model: Path, to: Path) -> set[str]:
    """Copies the files of a model, and one with a name that has to be escaped. Returns their paths."""
    for path in sorted(model.rglob("*")):
        below = path.relative_to(model)
        if path.is_file() and below.parts[0] != "weighbridge" and not below.name.startswith("."):
            (to / below).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(path, to / below)
    (to / "some folder").mkdir(parents=True, exist_ok=True)
    (to / "some folder" / "100% \u00e4.txt").write_text("escaped\n")
    return {str(path.relative_to(to)) for path in to.rglob("*") if path.is_file()}


def weigh(weighbridge: str, model: Path, keys: Path) -> None:
    for words in (["keygen", "oracle", "-o", keys, "--unencrypted"],
                  ["weigh", model, "--name", NAME, "--key", keys / "oracle.key"]):
        subprocess.run([weighbridge, *map(str, words), "--quiet"], check=True, stdout=subprocess.DEVNULL)


def environment(url: str, folder: Path) -> dict[str, str]:
    kept = {key: value for key, value in os.environ.items() if not key.startswith("HF_")}
    return kept | {"HF_ENDPOINT": url, "HF_HOME": str(folder / "home"), "HF_HUB_DISABLE_PROGRESS_BARS": "1",
                   "HF_HUB_DISABLE_TELEMETRY": "1", "HF_TOKEN": "hf_not_to_be_logged"}


# What an unchanged program does. It says where the snapshot is.
LOADS = """
import json, sys
from huggingface_hub import HfApi, hf_hub_download, list_repo_files, snapshot_download
from huggingface_hub.errors import EntryNotFoundError, RepositoryNotFoundError, RevisionNotFoundError
name = sys.argv[1]
info = HfApi().model_info(name, files_metadata=True)
assert info.id == name and len(info.sha) == 40, info
assert {file.rfilename for file in info.siblings} == set(list_repo_files(name))
assert all(file.size is not None for file in info.siblings)
assert HfApi().file_exists(name, "config.json") and not HfApi().file_exists(name, "none.json")
assert HfApi().revision_exists(name, info.sha) and not HfApi().revision_exists(name, "none")
one = hf_hub_download(name, "config.json", revision="revision-1")
path = snapshot_download(name)
assert path == snapshot_download(name, revision=info.sha) and one.startswith(path)
for kind, call in ((EntryNotFoundError, lambda: hf_hub_download(name, "none.json")),
                   (RevisionNotFoundError, lambda: hf_hub_download(name, "config.json", revision="none")),
                   (RepositoryNotFoundError, lambda: snapshot_download("org/none"))):
    try:
        call()
    except kind:
        continue
    raise AssertionError(f"no {kind.__name__}")
print(json.dumps([path, list_repo_files(name)]))
"""


def asked(url: str, source: Path, files: set[str], folder: Path) -> None:
    """Every client gets every file, byte for byte."""
    done = subprocess.run([sys.executable, "-c", LOADS, NAME], env=environment(url, folder), capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    path, listed = json.loads(done.stdout.splitlines()[-1])
    assert set(listed) == files, set(listed) ^ files
    same(Path(path), source, files)
    hf = Path(sys.executable).parent / "hf"
    by_hf = folder / "by-hf"
    subprocess.run([hf, "download", NAME, "--local-dir", by_hf], env=environment(url, folder), check=True,
                   stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    same(by_hf, source, files)
    for tool in (["curl", "-sS", "--fail", "-o"], ["aria2c", "-q", "-x", "4", "-s", "4", "-k", "1M", "-d", "/", "-o"]):
        if shutil.which(tool[0]) is None:
            print(f"{tool[0]} is not installed")
            continue
        for file in sorted(files, key=lambda file: (source / file).stat().st_size)[-3:]:
            to = folder / tool[0] / file
            to.parent.mkdir(parents=True, exist_ok=True)
            subprocess.run([*tool, to, f"{url}/{NAME}/{file}"], check=True)
            same(folder / tool[0], source, {file})
    log = (folder / "log").read_text()
    assert "hf_not_to_be_logged" not in log and NAME in log, log[:1000]


def figures(url: str) -> None:
    """The figures are what Prometheus reads, and say what was done."""
    from prometheus_client.parser import text_string_to_metric_families
    text = urllib.request.urlopen(f"{url}/metrics").read().decode()
    found = {(sample.name, tuple(sorted(sample.labels.items()))): sample.value
             for family in text_string_to_metric_families(text) for sample in family.samples}
    assert found["weighbridge_bytes_total", (("direction", "sent"), ("state", "verified"))] > 0, text
    assert found["weighbridge_chunks_refused_total", ()] == 0
    assert found["weighbridge_models", ()] == 1
    assert found["weighbridge_requests_total", (("route", "resolve"), ("status", "200"))] > 0


def damaged(url: str, source: Path, folder: Path) -> None:
    """A bit flips on the server's disk: nobody gets the file."""
    largest = max((path for path in source.rglob("*") if path.is_file()), key=lambda path: path.stat().st_size)
    name = str(largest.relative_to(source))
    good = largest.read_bytes()
    at = len(good) * 3 // 4
    with largest.open("r+b") as file:
        file.seek(at)
        file.write(bytes([good[at] ^ 1]))
    again = folder / "again"
    load = f"from huggingface_hub import hf_hub_download\nhf_hub_download({NAME!r}, {name!r})"
    done = subprocess.run([sys.executable, "-c", load], env=environment(url, again), capture_output=True, text=True)
    assert done.returncode != 0, "huggingface_hub took a file with a flipped bit"
    whole = [path for path in again.rglob("*") if path.is_file() and path.stat().st_size == len(good)]
    assert not whole, whole
    to = folder / "bad"
    assert subprocess.run(["curl", "-s", "--fail", "-o", to, f"{url}/{NAME}/{name}"]).returncode != 0
    assert not to.exists() or good.startswith(to.read_bytes())
    assert "W2102" in (folder / "log").read_text() or "2102" in (folder / "log").read_text()


def same(folder: Path, source: Path, files: set[str]) -> None:
    for file in files:
        assert (folder / file).read_bytes() == (source / file).read_bytes(), file


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:3]))
