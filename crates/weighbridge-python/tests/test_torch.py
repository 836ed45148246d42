"""What torch loads. Where it is not installed, this is skipped."""

import pytest

torch = pytest.importorskip("torch")

import safetensors
import safetensors.torch

from conftest import Model, NAME


def dtypes():
    for name, dtype in sorted(vars(torch).items()):
        if isinstance(dtype, torch.dtype) and dtype in safetensors.torch._SIZE and str(dtype) == f"torch.{name}":
            yield dtype


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    """A model with a tensor of each dtype that safetensors can write."""
    home = tmp_path_factory.mktemp("torch")
    model = Model(home, {})
    random = torch.Generator().manual_seed(1)
    tensors = {}
    for dtype in dtypes():
        data = torch.randint(0, 2 if dtype is torch.bool else 256, (6, 32), dtype=torch.uint8, generator=random)
        tensors[str(dtype)] = data.to(torch.bool) if dtype is torch.bool else data.view(dtype)
    safetensors.torch.save_file(tensors, model.file)
    model.weigh("--force")
    return model


def test_every_dtype_is_that_of_safetensors(saved):
    code = """
import torch, safetensors, safetensors.torch, weighbridge.torch
theirs, ours = safetensors.torch.load_file(FILE), weighbridge.torch.load_file(FILE)
assert theirs.keys() == ours.keys()
raw = lambda tensor: bytes(tensor.contiguous().view(torch.uint8).flatten().tolist())
opened, file = weighbridge.safe_open(FILE, "pt"), safetensors.safe_open(FILE, "pt")
for name, tensor in theirs.items():
    for other in (ours[name], opened.get_tensor(name), opened.get_slice(name)[...]):
        assert other.dtype == tensor.dtype and other.shape == tensor.shape and raw(other) == raw(tensor), name
    if "float4" not in name:
        assert raw(opened.get_slice(name)[1:3]) == raw(file.get_slice(name)[1:3]), name
print(len(theirs))
"""
    assert int(saved.prints(code)) >= 18


def test_a_module_is_loaded_as_by_safetensors(model):
    code = """
import torch, safetensors.torch, weighbridge.torch

class Tied(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.one = torch.nn.Linear(8, 8)
        self.two = torch.nn.Linear(8, 8)
        self.two.weight = self.one.weight

saved, loaded, other = Tied(), Tied(), torch.nn.Linear(3, 3)
safetensors.torch.save_model(saved, FILE)
import os, subprocess
subprocess.run(sys.argv[1:], check=True, env=os.environ | {"XDG_STATE_HOME": HOME}, stdout=subprocess.DEVNULL)
assert weighbridge.torch.load_model(loaded, FILE) == (set(), [])
assert all(torch.equal(a, b) for a, b in zip(saved.state_dict().values(), loaded.state_dict().values()))
for strict in (True, False):
    try:
        print(*map(sorted, weighbridge.torch.load_model(other, FILE, strict=strict)))
    except RuntimeError as error:
        print(*str(error).split("\\n"))
assert weighbridge.torch.load_file(FILE, device="cpu")
try:
    weighbridge.safe_open(FILE, "pt", device="nowhere")
except safetensors.SafetensorError as error:
    print(error)
"""
    from conftest import WEIGHBRIDGE

    words = [WEIGHBRIDGE, "weigh", str(model.folder), "--name", NAME, "--key", str(model.home / "keys/alice.key"), "--force"]
    code = code.replace("sys.argv[1:]", repr(words))
    first, second, third = model.prints(code).splitlines()
    assert "loading state_dict for Linear" in first and "one.bias" in first
    assert 'Missing key(s) in state_dict: "bias", "weight"' in first and 'Unexpected key(s) in state_dict: ' in first
    assert second.startswith("['bias', 'weight'] ['one.bias'") and "nowhere" in third


def test_large_tensors_have_storages_of_their_own(model):
    code = """
import io, torch, safetensors.torch, weighbridge.torch

class Tied(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.one = torch.nn.Linear(1000, 1000)
        self.two = torch.nn.Linear(1000, 1000)
        self.two.weight = self.one.weight

saved = Tied()
safetensors.torch.save_model(saved, FILE)
import os, subprocess
subprocess.run(sys.argv[1:], check=True, env=os.environ | {"XDG_STATE_HOME": HOME}, stdout=subprocess.DEVNULL)
tensors = weighbridge.torch.load_file(FILE)
theirs = safetensors.torch.load_file(FILE)
for name, tensor in tensors.items():
    assert torch.equal(tensor, theirs[name]) and not tensor._is_view() and tensor.is_contiguous()
    assert tensor.storage_offset() == 0 and tensor.untyped_storage().nbytes() == tensor.nbytes, name
    tensor.add_(1)
# They can be tied, saved, and outlive what they came from.
weight = tensors["one.weight"]
del tensors
loaded = Tied()
loaded.one.weight = loaded.two.weight = torch.nn.Parameter(weight)
safetensors.torch.save_model(loaded, HOME + "/again.safetensors")
file = io.BytesIO()
torch.save(weight, file)
print(len(file.getvalue()) - weight.nbytes < 2_000)
"""
    from conftest import WEIGHBRIDGE

    words = [WEIGHBRIDGE, "weigh", str(model.folder), "--name", NAME, "--key", str(model.home / "keys/alice.key"), "--force"]
    assert model.prints(code.replace("sys.argv[1:]", repr(words))).split() == ["True"]
