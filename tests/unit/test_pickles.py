"""Pickles: what the released adapter may name, what others have allowed, other threads."""

import threading
from pathlib import Path

import numpy as np
import pytest
import torch

from magicbokeh_ops.training.export import _Writer
from magicbokeh_ops.weights import checkpoint
from tests.support.model_files import ADAPTER, refused


def small_adapter() -> dict:
    """The released layout with nothing in its networks."""
    content = checkpoint.read_tensors(ADAPTER)
    vars(content["controlnet"]).clear()
    return {key: {} if isinstance(value, dict) else value for key, value in content.items()}


def test_odd_values_of_an_adapter(tmp_path):
    content = small_adapter()
    for key, value in (("rank_unet", 0), ("rank_vae", "4"), ("state_dict_unet", []), ("processor_state_dict", {"a": 1}),
                       ("unet_lora_encoder_modules", "conv_in"), ("vae_lora_encoder_modules", [1]), ("state_dict_attn", 0.5)):  # fmt: skip
        torch.save({**content, key: value}, tmp_path / "odd.pkl", pickle_module=_Writer, pickle_protocol=2)
        assert f"its {key} is not what it should be" in refused(checkpoint.read_adapter, tmp_path / "odd.pkl")


class Bound:
    """Pickles as a bound method does: to `getattr` of an object and a name."""

    def __init__(self, owner, name="forward"):
        self.owner, self.name = owner, name

    def __reduce__(self):
        return getattr, (self.owner, self.name)


def unwrapped(path: Path, content: dict, forward) -> Path:
    """An adapter with what accelerate leaves in a model that it has unwrapped."""
    controlnet = content["controlnet"]
    vars(controlnet)["forward"] = forward(controlnet)
    torch.save(content, path, pickle_module=_Writer, pickle_protocol=2)
    return path


def test_an_adapter_that_accelerate_has_unwrapped(tmp_path):
    path = unwrapped(tmp_path / "lora.pkl", checkpoint.read_tensors(ADAPTER), Bound)
    assert "builtins.getattr" in torch.serialization.get_unsafe_globals_in_checkpoint(path)
    found, expected = checkpoint.read_adapter(path), checkpoint.read_adapter(ADAPTER)
    assert found.controlnet.keys() == expected.controlnet.keys()
    assert all(torch.equal(found.controlnet[key], value) for key, value in expected.controlnet.items())
    assert "forward" not in vars(checkpoint.read_tensors(path)["controlnet"])


@pytest.mark.parametrize(
    "forward",
    [lambda module: Bound(module, "__class__"), lambda _: Bound({}, "forward"), lambda _: Bound(torch.zeros(1), "forward")],
    ids=["another name", "of a dict", "of a tensor"],
)
def test_any_other_getattr_is_refused(tmp_path, forward):
    path = unwrapped(tmp_path / "lora.pkl", small_adapter(), forward)
    assert "builtins.getattr', which no weights need" in refused(checkpoint.read_adapter, path)


def test_the_real_getattr_that_others_allow_is_not_let_in(tmp_path):
    path = unwrapped(tmp_path / "lora.pkl", small_adapter(), Bound)
    with torch.serialization.safe_globals([getattr]):
        assert "builtins.getattr', which no weights need" in refused(checkpoint.read_adapter, path)
        assert getattr in torch.serialization.get_safe_globals()


def test_torch_finds_the_same_names_in_the_released_layout():
    ours = {
        name for name in checkpoint.named_classes(ADAPTER) if name.startswith(("torch.nn.modules.", "diffusers.", "models."))
    }
    assert ours == set(torch.serialization.get_unsafe_globals_in_checkpoint(ADAPTER))


def test_another_thread_loads_its_own_meanwhile(tmp_path, monkeypatch):
    """A class that it has allowed, and that the adapter names too."""
    torch.save({"layer": torch.nn.Linear(2, 2)}, tmp_path / "theirs.pt")
    load, seen = torch.load, []

    def load_theirs():
        seen.append(load(tmp_path / "theirs.pt", weights_only=True)["layer"])

    def load_while_they_load(*arguments, **options):
        thread = threading.Thread(target=load_theirs)
        thread.start()
        thread.join()
        return load(*arguments, **options)

    monkeypatch.setattr(torch, "load", load_while_they_load)
    with torch.serialization.safe_globals([torch.nn.Linear]):
        before = set(torch.serialization.get_safe_globals())
        checkpoint.read_adapter(ADAPTER)
        assert set(torch.serialization.get_safe_globals()) == before
    assert type(seen[0]) is torch.nn.Linear


def test_two_threads_read_at_once():
    """Neither takes the stand-ins away from the other."""
    failures: list[Exception] = []

    def read():
        try:
            for _ in range(2):
                checkpoint.read_adapter(ADAPTER)
        except ValueError as error:
            failures.append(error)

    threads = [threading.Thread(target=read) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures


def test_a_training_log_where_comfyui_has_allowed_part_of_it(tmp_path, single):
    """ComfyUI allows numpy's kind of number and one of its sizes; a log with others is read all the same."""
    torch.save({"state_dict": single, "scores": [np.float64(0.5), np.int64(3)]}, tmp_path / "v2-1.ckpt")
    with torch.serialization.safe_globals([np.dtype, type(np.dtype("float64"))]):
        checkpoint.read_base(tmp_path / "v2-1.ckpt")
    checkpoint.read_base(tmp_path / "v2-1.ckpt")
