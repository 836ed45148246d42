"""The running example of the specification: a tiny model."""

import struct

from weighbridge_ref import audit, ed25519, memory, proof, values
from weighbridge_ref.head import head_id, parse_head
from weighbridge_ref.lists import open_file_list
from weighbridge_ref.note import parse_vkey
from weighbridge_ref.statements import challenge_hash

from .common import TestKey, head_text, policy, publisher, signed
from .held_cases import held
from .statement_cases import statement
from .swarm_cases import ticket
from .weighing import safetensors, weigh

ALICE = TestKey("alice")
BOB = TestKey("bob")
LOST = TestKey("alice-2025")
AUDITOR = TestKey("auditor")
MIRROR = TestKey("mirror")

MODEL = {
    "1_Pooling/config.json": b'{"pooling_mode_mean_tokens": true}\n',
    "README.md": b"# Tiny\n\nA model for the pages of a specification.\n",
    "config.json": b'{"architectures": ["TinyModel"], "hidden_size": 4}\n',
    "model.safetensors": safetensors(
        ("embedding.weight", "F32", (2, 4), struct.pack("<8f", *(i / 8 for i in range(8)))),
        ("norm.bias", "BF16", (4,), bytes.fromhex("0000803f00400000")),
        ("scale", "F32", (), struct.pack("<f", 0.5)),
    ),
}
WEIGHED = weigh(MODEL, name="example/tiny", chunk_size="262144", ext=["source https://example.org/tiny"])
NOTE = signed(WEIGHED.text, ALICE)

# An older model of the same publisher, signed by a key that was lost later.
OLDER = head_id(head_text(name="example/older", created="2025-03-01T12:00:00Z")).hex()

POLICY = policy(
    publisher("example/*", (ALICE, 'from = "2026-01-01T00:00:00Z"\n'), BOB).replace(
        "[[publisher.key]]", "\n[[publisher.key]]"),
    publisher("example/secret", ALICE, BOB, threshold=2).replace("[[publisher.key]]", "\n[[publisher.key]]"),
    held(AUDITOR).replace("[[held.auditor]]", "\n[[held.auditor]]"),
    revoked=f'["{LOST.vkey}"]',
    accepted_heads=f'["{OLDER}"]\n',
)

# An audit of the tiny model. Three of its four BLAKE3 chunks are drawn.
HEAD, HEAD_ID = parse_head(WEIGHED.text), head_id(WEIGHED.text)
OF_HEAD = {"head": HEAD_ID.hex(), "root": HEAD.root.hex(), "prover": MIRROR.vkey, "issued": "2026-11-21T08:00:00Z"}
CHALLENGE_TEXT = statement("challenge", **OF_HEAD, nonce=head_id(b"a nonce of the pages").hex(),
                           deadline="2026-11-21T08:00:30Z", samples="3")
CHALLENGE = signed(CHALLENGE_TEXT, AUDITOR)
RESPONSE = audit.respond(CHALLENGE, HEAD, HEAD_ID, open_file_list(HEAD, WEIGHED.files), MODEL,
                         parse_vkey(MIRROR.vkey), values.parse_time("2026-11-21T08:00:01Z"),
                         lambda data: ed25519.sign(MIRROR.seed, data))
REPORT = signed(statement("report", **OF_HEAD, name="example/tiny", challenge=challenge_hash(CHALLENGE_TEXT).hex(),
                          response=audit.response_hash(RESPONSE[: -audit.SIGNATURE_LEN]).hex(), samples="3 4",
                          received="2026-11-21T08:00:02Z"), AUDITOR)

# Proves that the model has the tensor `scale`, in its file, and has no `model.pkl`.
PROOF = proof.prove(NOTE, WEIGHED.files.splitlines(), absent=["model.pkl"], tensor_lines=WEIGHED.tensors.splitlines(),
                    tensors=[2])

# The memory of a node that accepted the tiny model.
STATE = memory.write_state({"example/tiny": [memory.read_note(NOTE)]})

# A ticket for the release. Its secret is known to all, so it is for pages alone.
TICKET = ticket(name="example/tiny", head=HEAD_ID.hex(), trackers=["origin.example:7070"])

# The text between `<!-- example: NAME -->` and `<!-- /example -->` in the pages.
BLOCKS = {
    "files.jsonl": WEIGHED.files,
    "tensors.jsonl": WEIGHED.tensors,
    "head.note": NOTE,
    "vkey": ALICE.vkey.encode() + b"\n",
    "policy.toml": POLICY,
    "heads.json": STATE,
    "scale.proof": PROOF,
    "challenge.note": CHALLENGE,
    "report.note": REPORT,
    "swarm.ticket": TICKET,
}
