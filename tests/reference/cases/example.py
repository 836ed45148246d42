"""The running example: the tiny model of the pages of the specification."""

import struct

from weighbridge_ref.head import head_id

from .common import TestKey, head_text, policy, publisher, signed
from .weighing import safetensors, weigh

ALICE = TestKey("alice")
BOB = TestKey("bob")
LOST = TestKey("alice-2025")

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

# An older model of the same publisher, signed by the key that was lost later.
OLDER = head_id(head_text(name="example/older", created="2025-03-01T12:00:00Z")).hex()

POLICY = policy(
    publisher("example/*", (ALICE, 'from = "2026-01-01T00:00:00Z"\n'), BOB).replace(
        "[[publisher.key]]", "\n[[publisher.key]]"),
    publisher("example/secret", ALICE, BOB, threshold=2).replace("[[publisher.key]]", "\n[[publisher.key]]"),
    revoked=f'["{LOST.vkey}"]',
    accepted_heads=f'["{OLDER}"]\n',
)

# What stands between `<!-- example: NAME -->` and `<!-- /example -->` in the pages.
BLOCKS = {
    "files.jsonl": WEIGHED.files,
    "tensors.jsonl": WEIGHED.tensors,
    "head.note": NOTE,
    "vkey": ALICE.vkey.encode() + b"\n",
    "policy.toml": POLICY,
}
