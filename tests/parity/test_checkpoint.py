"""Files as they come: the released adapter, merged ones, damaged ones and ones that want to run something."""

import os
import pickle
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from magicbokeh_ops import checkpoint

GOLDEN = Path(__file__).parent / "golden"


@pytest.fixture(scope="module")
def merged():
    return checkpoint.merge(checkpoint.read_base(GOLDEN / "sd"), checkpoint.read_adapter(GOLDEN / "lora.pkl"))


class Runs:
    """Pickles to a call."""

    def __init__(self, function, *arguments):
        self.call = function, arguments

    def __reduce__(self):
        return self.call


@pytest.mark.parametrize("protocol", [2, 4])
@pytest.mark.parametrize("legacy", [False, True])
@pytest.mark.parametrize("function", [os.system, eval], ids=["system", "eval"])
def test_a_pickle_that_wants_to_run_something_is_refused(tmp_path, function, legacy, protocol):
    marker = tmp_path / "ran"
    command = f"touch {marker}" if function is os.system else f"open({str(marker)!r}, 'w')"
    path = tmp_path / "evil.pkl"
    content = {"rank_unet": Runs(function, command)}
    torch.save(content, path, pickle_protocol=protocol, _use_new_zipfile_serialization=not legacy)
    with pytest.raises(ValueError, match=r"posix.system|builtins.eval|__builtin__.eval") as refused:
        checkpoint.read_adapter(path)
    assert "nothing in it ran" in str(refused.value) and len(str(refused.value).splitlines()) == 1
    assert not marker.exists()
    pickle.dump(content, path.open("wb"))
    with pytest.raises(ValueError, match="evil.pkl"):
        checkpoint.read_adapter(path)
    assert not marker.exists()


@pytest.mark.parametrize(
    "function", [setattr, torch.hub.load, getattr], ids=["builtins.setattr", "torch.hub.load", "builtins.getattr"]
)
def test_names_close_to_allowed_ones_are_refused_by_name(tmp_path, function):
    path = tmp_path / "close.pkl"
    torch.save({"rank_unet": Runs(function, "a", "b")}, path)
    with pytest.raises(ValueError, match="(builtins.[gs]etattr|__builtin__.[gs]etattr|torch.hub.load), which no weights need"):
        checkpoint.read_adapter(path)


def test_stand_ins_are_inert():
    """A class under an allowed name is not imported: the real one would have been found and called."""
    content = checkpoint.read_tensors(GOLDEN / "lora.pkl")
    module = content["controlnet"]
    assert type(module).__module__ == "magicbokeh_ops.checkpoint" and not isinstance(module, torch.nn.Module)


def test_merging_changes_nothing_in_place():
    base, adapter = checkpoint.read_base(GOLDEN / "sd"), checkpoint.read_adapter(GOLDEN / "lora.pkl")
    before = {part: {k: v.clone() for k, v in getattr(base, part).items()} for part in ("unet", "vae")}
    checkpoint.merge(base, adapter)
    for part, tensors in before.items():
        assert getattr(base, part).keys() == tensors.keys()
        assert all(torch.equal(getattr(base, part)[key], value) for key, value in tensors.items())


def test_merged_file_round_trip(tmp_path, merged):
    path = tmp_path / "merged.safetensors"
    checkpoint.save(merged, path)
    again = checkpoint.load(path)
    assert again.config == merged.config
    for part in ("unet", "controlnet", "vae"):
        found, expected = getattr(again, part), getattr(merged, part)
        assert found.keys() == expected.keys() and all(torch.equal(found[key], expected[key]) for key in found)
    assert os.listdir(tmp_path) == ["merged.safetensors"]


def test_a_failed_save_leaves_nothing(tmp_path, merged, monkeypatch):
    def full_disk(tensors, path, metadata):
        Path(path).write_bytes(b"half")
        raise OSError("no space left")

    monkeypatch.setattr(checkpoint, "save_file", full_disk)
    with pytest.raises(OSError, match="no space"):
        checkpoint.save(merged, tmp_path / "merged.safetensors")
    assert os.listdir(tmp_path) == []


def test_a_merged_file_must_be_whole(tmp_path, merged):
    path = tmp_path / "merged.safetensors"
    checkpoint.save(merged, path)
    with checkpoint.safe_open(path, "pt") as file:
        metadata = file.metadata()
    tensors = load_file(path)
    del tensors["unet.conv_in.weight"]
    save_file(tensors, path, metadata)
    with pytest.raises(ValueError, match="misses 1 tensors of the unet: conv_in.weight"):
        checkpoint.load(path)
    save_file(tensors, path, {**metadata, "format_version": "9"})
    with pytest.raises(ValueError, match="format 9"):
        checkpoint.load(path)
    save_file(tensors, path)
    with pytest.raises(ValueError, match="no merged MagicBokeh checkpoint"):
        checkpoint.load(path)


def test_damaged_files_are_named(tmp_path):
    for name in ("lora.pkl", "tile.safetensors"):
        content = (GOLDEN / name).read_bytes()
        (tmp_path / name).write_bytes(content[: len(content) // 2])
        with pytest.raises(ValueError, match=f"{name} is damaged"):
            checkpoint.read_tensors(tmp_path / name)


def test_an_adapter_must_fit(tmp_path, merged):
    base, adapter = checkpoint.read_base(GOLDEN / "sd"), checkpoint.read_adapter(GOLDEN / "lora.pkl")
    wider = {key: torch.zeros(value.shape[0] + 1, *value.shape[1:]) for key, value in base.unet.items()}
    with pytest.raises(ValueError, match="lora.pkl does not fit sd"):
        checkpoint.merge(checkpoint.Base(wider, base.vae, base.heads, "sd"), adapter)
    torch.save({"rank_unet": 4}, tmp_path / "other.pkl")
    with pytest.raises(ValueError, match="no MagicBokeh adapter: it has no rank_vae"):
        checkpoint.read_adapter(tmp_path / "other.pkl")


def test_wrong_bases_are_named(tmp_path):
    unet = checkpoint.read_base(GOLDEN / "sd").unet
    conv = {key: value[..., None, None] if key.endswith("proj_in.weight") else value for key, value in unet.items()}
    for name, changed, message in (
        ("sd15", conv, "Stable Diffusion 1 model"),
        ("sdxl", {**unet, "add_embedding.linear_1.weight": torch.zeros(1)}, "SDXL model"),
        ("empty", {"a": torch.zeros(1)}, "no Stable Diffusion U-Net"),
    ):
        folder = tmp_path / name
        shutil.copytree(GOLDEN / "sd", folder)
        save_file({k: v.contiguous() for k, v in changed.items()}, folder / "unet" / "diffusion_pytorch_model.safetensors")
        with pytest.raises(ValueError, match=message):
            checkpoint.read_base(folder)
    shutil.rmtree(tmp_path / "empty" / "unet")
    with pytest.raises(ValueError, match="has no unet"):
        checkpoint.read_base(tmp_path / "empty")
