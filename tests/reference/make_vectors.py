"""Writes all vectors below spec/vectors, and the worked examples in the pages of the specification.

Each example is also written below spec/examples, as a file of its own.

    python3 tests/reference/make_vectors.py           writes
    python3 tests/reference/make_vectors.py --check   compares the files with those that it would write

The same input always gives the same bytes. Every written vector passes the reference itself.
"""

import argparse
import re
import sys
from pathlib import Path

import run_vectors
import vector_form
from cases import all_cases
from cases.example import BLOCKS

SPEC = Path(__file__).resolve().parents[2] / "spec"
VECTORS = SPEC / "vectors"
EXAMPLES = SPEC / "examples"
BLOCK = re.compile(r"(?<=<!-- example: )(\S+)( -->\n```\w*\n)(.*?)(?=```\n<!-- /example -->)", re.DOTALL)


def make_vectors() -> dict[Path, bytes]:
    files, faults = {}, []
    for name, vector in all_cases():
        path, data = VECTORS / name, vector_form.write(vector)
        if path in files:
            faults.append(f"{name}: two cases of this name")
        if vector_form.parse(data) != vector:
            faults.append(f"{name}: does not read as it was written")
        failure = run_vectors.compare(vector, run_vectors.run(vector))
        if failure:
            faults.append(f"{name}: {failure}")
        files[path] = data
    if faults:
        raise SystemExit("\n".join(faults))
    return files


def make_pages() -> dict[Path, bytes]:
    """The pages that have examples, with their examples filled in."""
    pages, used = {}, set()
    for path in sorted(SPEC.glob("*.md")):
        old = path.read_text()

        def fill(match):
            used.add(match[1])
            return match[1] + match[2] + BLOCKS[match[1]].decode()

        new = BLOCK.sub(fill, old)
        if new.count("<!-- example: ") != len(BLOCK.findall(new)):
            raise SystemExit(f"{path.name}: an example without its fence or end")
        if "<!-- example: " in new:
            pages[path] = new.encode()
    if used != BLOCKS.keys():
        raise SystemExit(f"examples that stand in no page: {sorted(BLOCKS.keys() - used)}")
    return pages


def make_examples() -> dict[Path, bytes]:
    return {EXAMPLES / name: data for name, data in BLOCKS.items()}


def on_disk() -> set[Path]:
    return {path for folder in (VECTORS, EXAMPLES) for path in run_vectors.walk(folder)}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--check", action="store_true", help="write nothing; report what differs")
    check = parser.parse_args().check

    vectors, examples = make_vectors(), make_examples()
    unmade = sorted(on_disk() - vectors.keys() - examples.keys())
    complaints = [f"{path.relative_to(SPEC)}: no case writes this" for path in unmade]
    for path, data in (vectors | examples | make_pages()).items():
        if path.exists() and path.read_bytes() == data:
            continue
        if check:
            complaints.append(f"{path.relative_to(SPEC)}: {'differs' if path.exists() else 'is missing'}")
        else:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(data)
    print(*complaints, sep="\n", end="\n" if complaints else "")
    print(f"{len(vectors)} vectors, {sum(map(len, vectors.values()))} bytes")
    return 1 if complaints else 0


if __name__ == "__main__":
    sys.exit(main())
