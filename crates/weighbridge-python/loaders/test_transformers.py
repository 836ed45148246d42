"""transformers loads verified weights, and does not know it."""

import json
import os
import subprocess
import sys

import pytest
import torch
from transformers import AutoModelForCausalLM, LlamaConfig, LlamaForCausalLM

NAME = "org/llama"
COMMAND = os.environ["WEIGHBRIDGE"]

# A program of somebody who knows transformers alone.
PROGRAM = """
import sys
from transformers import AutoModelForCausalLM
model = AutoModelForCausalLM.from_pretrained(sys.argv[1])
print(sum(float(weight.double().abs().sum()) for weight in model.parameters()))
"""


@pytest.fixture
def model(tmp_path):
    """A small model in several shards, weighed and signed."""
    torch.manual_seed(1)
    config = LlamaConfig(hidden_size=64, intermediate_size=128, num_hidden_layers=2, num_attention_heads=4, vocab_size=500)
    folder = tmp_path / "model"
    LlamaForCausalLM(config).save_pretrained(folder, max_shard_size="200KB")
    assert len(list(folder.glob("*.safetensors"))) > 1
    (tmp_path / "program.py").write_text(PROGRAM)
    for words in (["keygen", "alice", "-o", tmp_path / "keys", "--unencrypted"],
                  ["weigh", folder, "--name", NAME, "--key", tmp_path / "keys/alice.key", "--chunk-size", "16KiB"],
                  ["trust", "add", "alice", tmp_path / "keys/alice.vkey", "--scope", "org/*"]):
        done = subprocess.run([COMMAND, *map(str, words)], capture_output=True, text=True,
                              env=os.environ | {"XDG_STATE_HOME": str(tmp_path / "state"), "XDG_CONFIG_HOME": str(tmp_path)})
        assert done.returncode == 0, done.stderr
    return folder


def program(model, *before):
    """Runs the program, perhaps below weighbridge; returns how it ended, what it printed, and what it complained of."""
    words = [sys.executable, *before, model.parent / "program.py", model]
    environment = os.environ | {"WEIGHBRIDGE_TRUST": str(model.parent / "weighbridge/trust.toml"), "HF_HUB_OFFLINE": "1"}
    done = subprocess.run(list(map(str, words)), capture_output=True, text=True, env=environment)
    return done.returncode, done.stdout, done.stderr


RUN = ["-m", "weighbridge", "run", "--name", NAME]


def test_the_weights_are_those_of_a_program_that_does_not_verify(model):
    code, plain, said = program(model)
    assert code == 0, said
    code, verified, said = program(model, *RUN)
    assert (code, verified) == (0, plain), said


def test_a_flipped_bit_ends_the_program(model):
    shard = sorted(model.glob("*.safetensors"))[0]
    data = bytearray(shard.read_bytes())
    data[-1] ^= 1
    shard.write_bytes(data)
    assert program(model)[0] == 0, "without us nobody notices"
    code, printed, said = program(model, *RUN)
    assert code != 0 and not printed
    assert "[W2101]" in said or "[W2102]" in said, said


def test_another_name_is_refused(model):
    code, printed, said = program(model, "-m", "weighbridge", "run", "--name", "org/other")
    assert code != 0 and not printed and "[W3201]" in said, said


def test_inside_patch_transformers_loads_verified_tensors(model):
    code = f"""
import weighbridge
from transformers import AutoModelForCausalLM
weighbridge.trust(policy={str(model.parent / "weighbridge/trust.toml")!r}, name={NAME!r})
plain = AutoModelForCausalLM.from_pretrained({str(model)!r})
with weighbridge.patch():
    verified = AutoModelForCausalLM.from_pretrained({str(model)!r})
import torch
assert all(torch.equal(a, b) for a, b in zip(plain.parameters(), verified.parameters()))
print(sum(1 for _ in verified.parameters()))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=os.environ | {"HF_HUB_OFFLINE": "1"})
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) == len(list(AutoModelForCausalLM.from_pretrained(model).parameters()))


def test_transformers_loads_from_a_server_as_from_a_hub(model, tmp_path):
    """The weights are those of the folder; with a flipped bit on the server's disk there are none."""
    words = [COMMAND, "serve", str(model), "--listen", "127.0.0.1:0", "--json", "--log", "off"]
    server = subprocess.Popen(words, stdout=subprocess.PIPE, text=True)
    try:
        events = (json.loads(line) for line in server.stdout)
        url = next(event["url"] for event in events if event["event"] == "listening")

        def load(home):
            environment = {key: value for key, value in os.environ.items() if not key.startswith("HF_")}
            environment |= {"HF_ENDPOINT": url, "HF_HOME": str(tmp_path / home)}
            words = [sys.executable, str(tmp_path / "program.py"), NAME]
            return subprocess.run(words, capture_output=True, text=True, env=environment)

        loaded = load("first")
        assert loaded.returncode == 0, loaded.stderr
        assert loaded.stdout == program(model)[1]
        shard = sorted(model.glob("*.safetensors"))[0]
        data = bytearray(shard.read_bytes())
        data[-1] ^= 1
        shard.write_bytes(data)
        assert load("second").returncode != 0
    finally:
        server.kill()
        server.wait()
