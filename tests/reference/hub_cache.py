"""Weighs, verifies, proves and mends a snapshot in a cache that huggingface_hub makes, and fetches into it.

    python3 tests/reference/hub_cache.py WEIGHBRIDGE

The package's own functions place the files as a download does: a small file in the repository, a large file in the
store that all repositories share. Needs the PyPI package `huggingface_hub`.
"""

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

from huggingface_hub.file_download import _create_symlink
from huggingface_hub.utils import _shared_blobs

REVISION = "c" * 40
NAME = "org/model"
BAD_CHUNK, SNAPSHOT_IS_NOT_OURS, REVISION_IS_NOT_OURS = 2101, 9207, 9211
CHUNK = 1 << 18
# Prints the snapshot that the package finds without a network, and the revisions that are current by its own listing.
OFFLINE = """
import json, sys
from huggingface_hub import hf_hub_download, scan_cache_dir, snapshot_download
path = snapshot_download(sys.argv[1])
assert hf_hub_download(sys.argv[1], "config.json").startswith(path)
cache = scan_cache_dir()
assert not cache.warnings, cache.warnings
revisions = [revision for repository in cache.repos for revision in repository.revisions]
print(json.dumps([path, [revision.commit_hash for revision in revisions if "main" in revision.refs]]))
"""


def main(weighbridge: str) -> int:
    with tempfile.TemporaryDirectory() as temporary:
        check(weighbridge, Path(temporary))
    print("a cache with a shared store: weighed, verified, proven, mended beside it, and fetched into")
    return 0


def check(weighbridge: str, folder: Path) -> None:
    hub = folder / "hub"
    weights = os.urandom(5 * CHUNK + 17)
    snapshot = download(hub, {"config.json": b"{}", "onnx/weights.bin": weights})
    large = (snapshot / "onnx/weights.bin").resolve()
    assert large.parent.parent == (hub / "blobs").resolve(), f"the package keeps it elsewhere now: {large}"

    def run(*words: object, code: int | None = None) -> str:
        environment = os.environ | {"XDG_STATE_HOME": str(folder / "state"), "HOME": str(folder)}
        done = subprocess.run([weighbridge, *map(str, words), "--json"], capture_output=True, text=True, env=environment)
        found = {event.get("code") for event in map(json.loads, done.stdout.splitlines()) if event["event"] == "error"}
        assert found == ({code} if code else set()), f"{words}: {done.stdout}{done.stderr}"
        return done.stdout

    run("keygen", "oracle", "-o", folder / "keys", "--unencrypted")
    trust = ("--name", NAME, "--vkey", (folder / "keys/oracle.vkey").read_text().strip())
    meta = folder / "published" / "weighbridge"
    run("weigh", snapshot, "-o", meta, "--name", NAME, "--key", folder / "keys/oracle.key")
    (folder / "root").symlink_to(hub)
    linked = folder / "root" / snapshot.relative_to(hub)
    for place in (snapshot, linked):
        run("verify", place, "--meta", meta, *trust)
    run("prove", snapshot, "--meta", meta, "--file", "onnx/weights.bin",
        "--slice", folder / "slice", "--bytes", f"0..{CHUNK}", "-o", folder / "proof")
    run("check", folder / "proof", *trust, "--slice", folder / "slice")

    # One bad chunk: the refusal hints at a fetch, which mends the model and leaves the snapshot as it was.
    mirror = folder / "mirror"
    (mirror / "onnx").mkdir(parents=True)
    for path in ("config.json", "onnx/weights.bin"):
        (mirror / path).write_bytes((snapshot / path).read_bytes())
    with large.open("r+b") as file:
        file.seek(2 * CHUNK)
        file.write(bytes(16))
    before = sorted(hub.rglob("*"))
    said = run("verify", snapshot, "--meta", meta, *trust, code=BAD_CHUNK)
    assert "a fetch with --hf-cache" in said, said
    run("fetch", mirror, "--meta", folder / "published", "-o", snapshot, *trust, code=SNAPSHOT_IS_NOT_OURS)
    assert sorted(hub.rglob("*")) == before, "something foreign was left in the cache"
    run("fetch", snapshot, mirror, "--meta", folder / "published", "-o", folder / "mended", *trust)
    assert (folder / "mended/onnx/weights.bin").read_bytes() == weights
    run("verify", folder / "mended", *trust)

    # A fetch into the cache takes what is good in the snapshot. The package finds the release without a network, as do loaders.
    into = (f"--hf-cache={hub}", *trust)
    run("fetch", mirror, "--meta", folder / "published", *into, code=REVISION_IS_NOT_OURS)
    run("fetch", mirror, "--meta", folder / "published", *into, "--replace")
    environment = os.environ | {"HF_HUB_CACHE": str(hub), "HF_HUB_OFFLINE": "1"}
    found, current = json.loads(subprocess.check_output([sys.executable, "-c", OFFLINE, NAME], env=environment))
    assert current == [Path(found).name], current
    assert (Path(found) / "onnx/weights.bin").read_bytes() == weights
    assert sorted(path.name for path in Path(found).iterdir()) == ["config.json", "onnx"], "something foreign"
    run("verify", found, *trust)
    assert large.read_bytes() != weights, "the package's own file was changed"


def download(hub: Path, files: dict[str, bytes]) -> Path:
    """The snapshot that the package makes of these files; large files are placed like files that came by Xet."""
    repository = hub / "models--org--model"
    snapshot = repository / "snapshots" / REVISION
    (repository / "refs").mkdir(parents=True)
    (repository / "refs/main").write_text(REVISION)
    (repository / "blobs").mkdir(parents=True)
    for number, (path, data) in enumerate(files.items()):
        blob, pointer = repository / "blobs" / f"{number:064x}", snapshot / path
        blob.write_bytes(data)
        if len(data) > CHUNK:
            shared = _shared_blobs.publish_blob_to_shared_store(
                blob_path=str(blob), xet_hash=f"{number + 1:064x}", cache_dir=hub, expected_size=len(data))
            assert shared and blob.is_symlink(), "the package did not share it"
        pointer.parent.mkdir(parents=True, exist_ok=True)
        _create_symlink(str(blob), str(pointer), new_blob=True)
    return snapshot


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
