"""Runs every vector below spec/vectors against the reference.

    python3 tests/reference/run_vectors.py [FOLDER-OR-VECTOR...]
"""

import json
import sys
import tempfile
import traceback
from pathlib import Path

import vector_form
from vector_form import Vector
from weighbridge_ref import (audit, blake3, blame, filetree, gguf, head, held, lists, memory, model, names, note,
                             proof, push, serving, slices, statements, swarm, tensors, trees, trust, values)
from weighbridge_ref.refused import Refused

VECTORS = Path(__file__).resolve().parents[2] / "spec" / "vectors"


# --- the kinds of test --------------------------------------------------------------------------------

class Outcome:
    """The result of a run: known answers, released bytes, and the codes of its refusals."""

    def __init__(self):
        self.answers: dict[str, object] = {}
        self.released = b""
        self.codes: list[int] = []


def run(vector: Vector) -> Outcome:
    outcome = Outcome()
    try:
        TESTS[vector.header["test"]](vector, outcome)
    except Refused as refused:
        outcome.codes.append(refused.code)
    return outcome


def compare(vector: Vector, outcome: Outcome) -> str | None:
    """Returns the difference from the promise, or None."""
    expect, code = vector.header["expect"], vector.header.get("code")
    if expect == "accepted" and outcome.codes:
        return f"refused with {outcome.codes}, expected to be accepted"
    if expect == "refused" and not outcome.codes:
        return f"accepted, expected {code}"
    if expect == "refused" and int(code) not in outcome.codes:
        return f"refused with {outcome.codes}, expected {code}"
    if "released" in vector.header and blake3.hash(outcome.released).hex() != vector.header["released"]:
        return "other bytes were released"
    for key in ANSWERS.get(vector.header["test"], []):
        if expect == "refused" and key not in outcome.answers:
            continue
        promised = dict(vector.sections).get(key, vector.header.get(key))
        if promised is not None and not same(key, promised, outcome.answers[key]):
            return f"{key} is {outcome.answers[key]!r}, expected {promised!r}"
    return None


def same(key, promised, answer) -> bool:
    if key == "state-after":  # a state file has many forms
        return json.loads(promised) == json.loads(answer)
    return promised == answer


def test_root(vector, outcome):
    size, chunk_size = vector.number("size"), values.check_chunk_size(vector.number("chunk-size"))
    data = bytes(i % 251 for i in range(size))
    outcome.answers["root"] = blake3.pure_hash(data).hex()
    outcome.answers["chunks"] = str(filetree.chunk_count(size, chunk_size))
    layer = filetree.layer_of(data, chunk_size)
    filetree.accept_layer(blake3.pure_hash(data), size, chunk_size, layer)
    outcome.answers["layer"] = layer


def file_verifier(vector):
    return filetree.FileVerifier(
        values.parse_hash(vector.header["root"]),
        vector.number("size"),
        values.check_chunk_size(vector.number("chunk-size")),
        vector.section("layer"),
    )


def test_layer(vector, outcome):
    file_verifier(vector)


def test_chunk(vector, outcome):
    verifier = file_verifier(vector)
    for name, data in vector.sections:
        if name.startswith("chunk "):
            verifier.accept(int(name.removeprefix("chunk ")), data)
            outcome.released += data


def test_small_value(section, check):
    def test(vector, outcome):
        check(vector.section(section).decode())

    return test


def test_cache_folder(vector, outcome):
    outcome.answers["folder"] = values.cache_folder(vector.section("name").decode())


def test_route(vector, outcome):
    answers = serving.route(vector.section("target")) or {"route": "none"}
    path = answers.pop("path", None)
    outcome.answers |= answers
    if path is not None:
        outcome.answers["path"] = path.encode()


def test_push_missing(vector, outcome):
    sizes = push.parse_sizes(vector.section("files"))
    chunk_size = values.check_chunk_size(vector.number("chunk-size"))
    missing = push.missing_chunks(vector.section("answer"), sizes, chunk_size)
    outcome.answers["ranges"] = push.missing_lines(missing)


def test_shown(vector, outcome):
    name = vector.section("name").decode()
    unseen = names.unseen_in_path(name)
    outcome.answers["shown"] = names.shown(name).encode()
    outcome.answers["unseen"] = "none" if unseen is None else f"U+{ord(unseen):04X}"


def test_head(vector, outcome):
    text = vector.section("head.txt")
    head.parse_head(text)
    outcome.answers["head-id"] = head.head_id(text).hex()


def test_list(vector, outcome):
    signed = head.parse_head(vector.section("head.txt"))
    files = lists.open_file_list(signed, vector.section("files.jsonl"))
    if signed.tensors is not None and "tensors.jsonl" in dict(vector.sections):
        lists.open_tensor_list(signed, files, vector.section("tensors.jsonl"))


def test_policy(vector, outcome):
    trust.parse_policy(vector.section("policy.toml"))


def trust_of(vector):
    sections, header = dict(vector.sections), vector.header
    wanted = values.parse_hash(header["head"]) if "head" in header else None
    if "policy.toml" in sections:
        policy = trust.parse_policy(sections["policy.toml"])
    elif "vkeys" in sections:
        policy = trust.policy_of_vkeys(sections["vkeys"].decode().split("\n")[:-1])
    else:
        policy = trust.policy_of_head(wanted)
    return policy, trust.Expectation(
        name=header.get("name"),
        head=wanted,
        min_revision=int(header.get("min-revision", 0)),
        now=values.parse_time(header["now"]) if "now" in header else None,
        allow_expired=header.get("allow-expired") == "yes",
    )


def test_trust(vector, outcome):
    verified = trust.verify(vector.section("head.note"), *trust_of(vector))
    answer_head(verified, outcome)
    return verified


def answer_head(verified, outcome):
    outcome.answers["head-id"] = verified.head_id.hex()
    outcome.answers["signers"] = " ".join(verified.signers)
    outcome.answers["role"] = verified.role


def test_memory(vector, outcome):
    verified, state = test_trust(vector, outcome), dict(vector.sections).get("state")
    if "head" in vector.header:
        outcome.answers |= {"state-after": state, "forgotten": ""}
        return
    before = {} if state is None else memory.parse_state(state)
    after, forgotten = memory.accept(before, verified, trust_of(vector)[0])
    outcome.answers["state-after"] = memory.write_state(after)
    outcome.answers["forgotten"] = " ".join(head_id.hex() for head_id in forgotten)


def test_tree(vector, outcome):
    lines = vector.section("lines").split(b"\n")[:-1]
    positions = [int(p) for p in vector.header["positions"].split()]
    tree = values.parse_hash(vector.header["tree-hash"])
    trees.check_proof(vector.number("count"), positions, lines, vector.section("siblings"), tree)


def test_safetensors(vector, outcome):
    found = tensors.parse_safetensors(vector.section("prefix"), vector.number("file-size"))
    answer_tensors(outcome, found)


def answer_tensors(outcome, found):
    if isinstance(found, tensors.Unlisted):
        outcome.answers |= {"unlisted": str(found.code), "names": tensors.name_lines(found.names), "tensors": None}
    else:
        outcome.answers |= {"unlisted": "none", "names": None, "tensors": tensors.answer_lines(found)}


def test_gguf(vector, outcome):
    found = gguf.parse_gguf(vector.section("prefix"), vector.number("file-size"))
    answer_tensors(outcome, found.tensors)
    outcome.answers["split"] = gguf.split_line(found.split)


def test_split(vector, outcome):
    gguf.check_splits(gguf.parse_files(vector.section("files")))


def test_index(vector, outcome):
    tensors.check_index(vector.section("index"), tensors.parse_holds(vector.section("holds")))


def test_header(vector, outcome):
    listed, found = (tensors.parse_answer_lines(vector.section(s)) for s in ("listed", "found"))
    tensors.compare(listed, found)


def test_model(vector, outcome):
    with tempfile.TemporaryDirectory() as folder:
        for path, data in vector.sections:
            if path not in ("vkeys", "policy.toml"):
                file = Path(folder, path)
                file.parent.mkdir(parents=True, exist_ok=True)
                file.write_bytes(data)
        policy, expected = trust_of(vector)
        report = model.verify(Path(folder), policy, expected, tensor_hashes=vector.header.get("tensors") == "yes")
    outcome.codes += [refused.code for refused in report.refusals]
    answer_head(report.verified, outcome)
    outcome.answers["uncompared"] = " ".join(report.uncompared) or "none"


def test_samples(vector, outcome):
    drawn = audit.draw(vector.section("text"), vector.number("samples"), vector.number("count"))
    outcome.answers["drawn"] = " ".join(map(str, drawn))


def vkey_of(vector):
    return note.parse_vkey(vector.section("vkey").decode())


def test_statement(vector, outcome):
    data, kind = vector.section("note"), vector.header["kind"]
    if kind == "challenge":
        _, text = statements.read_challenge(data, vkey_of(vector))
        outcome.answers["hash"] = statements.challenge_hash(text).hex()
    elif kind == "report":
        statements.read_report(data, vkey_of(vector))
    else:
        statements.read_receipt(data)


def test_audit(vector, outcome):
    text = vector.section("head.txt")
    signed = head.parse_head(text)
    response_hash = audit.check_response(
        signed,
        head.head_id(text),
        lists.open_file_list(signed, vector.section("files.jsonl")),
        vector.section("challenge.note"),
        vkey_of(vector),
        vector.section("response"),
        values.parse_time(vector.header["received"]),
        {values.parse_hash(nonce) for nonce in vector.header.get("answered", "").split()},
    )
    outcome.answers["response-hash"] = response_hash.hex()


def test_held(vector, outcome):
    text, header = vector.section("head.txt"), vector.header
    outcome.answers["reports"] = str(held.check_held(
        head.parse_head(text),
        head.head_id(text),
        trust.parse_policy(vector.section("policy.toml")),
        [data for name, data in vector.sections if name.startswith("report ")],
        values.parse_time(header["now"]) if "now" in header else None,
        vector.number("max-age"),
    ))


def test_proof(vector, outcome):
    data, sections = vector.section("proof"), dict(vector.sections)
    if "held-head.txt" in sections:
        proven = proof.check_under(data, sections["held-head.txt"])
    else:
        proven = proof.check(data, *trust_of(vector))
    claims = proven.claims
    outcome.answers["files"] = b"".join(b"%d %s\n" % claim for claim in claims.files)
    outcome.answers["tensors"] = b"".join(b"%d %s\n" % claim for claim in claims.tensors)
    outcome.answers["absent"] = b"".join(path + b"\n" for path in claims.absent)
    outcome.answers["slice"] = b"" if claims.slice is None else b"%d %d..%d" % claims.slice


def test_slice(vector, outcome):
    root, size = values.parse_hash(vector.header["root"]), vector.number("size")
    begin, end = map(int, vector.header["range"].split(".."))
    for released in slices.check(root, size, begin, end, vector.section("slice")):
        outcome.released += released


def test_blame(vector, outcome):
    files = [int(count) for count in vector.header["files"].split()]
    fetch = blame.play(vector.number("chunk-size"), files, vector.number("sources"), vector.section("story"))
    outcome.answers["outcome"] = fetch.outcome()
    if code := fetch.code():
        outcome.codes.append(code)


def test_swarm_ticket(vector, outcome):
    ticket = swarm.parse_ticket(vector.section("ticket"))
    outcome.answers["name"] = ticket.name
    outcome.answers["head"] = ticket.head.hex()
    outcome.answers["label"] = swarm.label(swarm.ticket_key(ticket)).hex()
    outcome.answers["trackers"] = str(len(ticket.trackers))
    outcome.answers["members"] = str(len(ticket.members))


def test_swarm_proof(vector, outcome):
    def bytes_of(name):
        return values.parse_hash(vector.header[name])

    is_open = "open" in vector.header
    value = bytes_of("open" if is_open else "secret")
    key = swarm.swarm_key(is_open, value, bytes_of("head"), swarm.parse_end(vector.header["expires"]))
    outcome.answers["label"] = swarm.label(key).hex()
    for side in ("connects", "accepts"):
        both = bytes_of("connecting"), bytes_of("accepting")
        outcome.answers[side] = swarm.membership(key, side, bytes_of("exporter"), *both).hex()
    outcome.answers["tag"] = swarm.tag(key, bytes_of("connecting")).hex()


def test_swarm_claim(vector, outcome):
    claim = swarm.parse_claim(vector.section("claim").decode())
    outcome.answers["tag"], outcome.answers["lease"] = map(str, claim or ("none", "none"))


def test_swarm_header(vector, outcome):
    _, length = swarm.parse_header(bytes.fromhex(vector.header["header"]), vector.number("pieces"))
    outcome.answers["length"] = str(length)


def test_swarm_message(vector, outcome):
    outcome.answers["says"] = swarm.parse_message(vector.section("message"), vector.number("pieces")).encode()


def test_swarm_pieces(vector, outcome):
    files = swarm.parse_files(vector.section("files"))
    chunk_size = values.check_chunk_size(vector.number("chunk-size"))
    count = swarm.piece_count(files, chunk_size)
    outcome.answers["pieces"] = "none" if count is None else str(count)
    outcome.answers["length"] = str(swarm.piece_length(files, chunk_size))
    if "places" in dict(vector.sections):
        outcome.answers["places"] = swarm.place_lines(swarm.piece_places(files, chunk_size))


def test_swarm_owners(vector, outcome):
    keys = [values.parse_hash(line) for line in vector.section("keys").decode().split("\n")[:-1]]
    table = swarm.owners(keys, vector.number("pieces"))
    outcome.answers["owners"] = " ".join(str(keys.index(owner)) for owner in table) or "none"


TESTS = {
    "root": test_root,
    "layer": test_layer,
    "chunk": test_chunk,
    "path": test_small_value("path", values.check_path),
    "tensor-name": test_small_value("name", values.check_tensor_name),
    "model-name": test_small_value("name", values.check_model_name),
    "cache-folder": test_cache_folder,
    "route": test_route,
    "push-missing": test_push_missing,
    "time": test_small_value("time", values.parse_time),
    "vkey": test_small_value("vkey", note.parse_vkey),
    "shown": test_shown,
    "head": test_head,
    "list": test_list,
    "policy": test_policy,
    "trust": test_trust,
    "memory": test_memory,
    "tree": test_tree,
    "safetensors": test_safetensors,
    "gguf": test_gguf,
    "split": test_split,
    "index": test_index,
    "header": test_header,
    "model": test_model,
    "proof": test_proof,
    "slice": test_slice,
    "samples": test_samples,
    "statement": test_statement,
    "audit": test_audit,
    "held": test_held,
    "blame": test_blame,
    "swarm-ticket": test_swarm_ticket,
    "swarm-proof": test_swarm_proof,
    "swarm-claim": test_swarm_claim,
    "swarm-header": test_swarm_header,
    "swarm-message": test_swarm_message,
    "swarm-pieces": test_swarm_pieces,
    "swarm-owners": test_swarm_owners,
}

# Header keys and sections that are answers; all others are parameters.
ANSWERS = {
    "root": ["root", "chunks", "layer"],
    "shown": ["shown", "unseen"],
    "cache-folder": ["folder"],
    "route": ["route", "model", "revision", "head", "part", "path"],
    "push-missing": ["ranges"],
    "head": ["head-id"],
    "trust": ["head-id", "signers", "role"],
    "memory": ["head-id", "signers", "role", "state-after", "forgotten"],
    "model": ["head-id", "signers", "uncompared"],
    "safetensors": ["tensors", "unlisted", "names"],
    "gguf": ["tensors", "unlisted", "names", "split"],
    "proof": ["files", "tensors", "absent", "slice"],
    "samples": ["drawn"],
    "statement": ["hash"],
    "audit": ["response-hash"],
    "held": ["reports"],
    "blame": ["outcome"],
    "swarm-ticket": ["name", "head", "label", "trackers", "members"],
    "swarm-proof": ["label", "connects", "accepts", "tag"],
    "swarm-claim": ["tag", "lease"],
    "swarm-header": ["length"],
    "swarm-message": ["says"],
    "swarm-pieces": ["pieces", "length", "places"],
    "swarm-owners": ["owners"],
}


# --- all of them --------------------------------------------------------------------------------

def walk(place: Path):
    if place.is_file():
        yield place
    else:
        yield from sorted(p for p in place.rglob("*") if p.is_file() and p.suffix != ".md")


def failure_of(path: Path) -> str | None:
    try:
        vector = vector_form.parse(path.read_bytes())
        return compare(vector, run(vector))
    except Exception:  # a fault of the reference, or of the vector's form; no verdict
        return traceback.format_exc()


def main(arguments) -> int:
    paths = [path for place in arguments or [VECTORS] for path in walk(Path(place))]
    failures = [(path, failure) for path in paths if (failure := failure_of(path))]
    for path, failure in failures:
        print(f"{path}: {failure}")
    print(f"{len(paths) - len(failures)} passed, {len(failures)} failed")
    return 1 if failures or not paths else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
