"""Files as they come: the released adapter, merged ones, damaged ones and ones that want to run something."""

import os
import pickle
import random
import re
import sys
import zipfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from magicbokeh_ops.model.vae import Vae, vae_sizes
from magicbokeh_ops.weights import checkpoint
from magicbokeh_ops.weights.adapter import check_adapter
from magicbokeh_ops.weights.shapes import check_vae

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
    with pytest.raises(ValueError, match="(builtins.[gs]etattr|__builtin__.[gs]etattr|torch.hub.load)', which no weights need"):
        checkpoint.read_adapter(path)


def with_pickle(target: Path, names: list[str], evil: bytes) -> None:
    """The released adapter with further pickles in its archive, before its own."""
    with zipfile.ZipFile(GOLDEN / "lora.pkl") as source, zipfile.ZipFile(target, "w") as archive:
        first = source.namelist()[0].partition("/")[0]
        for name in names:
            archive.writestr(f"{first}/{name}", evil)
        for entry in source.infolist():
            archive.writestr(entry.filename, source.read(entry))


@pytest.mark.filterwarnings("ignore:Duplicate name")
@pytest.mark.parametrize("names", [["data.pkl"], ["DATA.PKL"]])
def test_nothing_slips_past_the_scan(tmp_path, names):
    """Archives that torch and Python read differently, in a process where someone else has allowed getattr."""
    evil = pickle.dumps({"rank_unet": Runs(getattr, {}, "get")}, protocol=2)
    with_pickle(tmp_path / "evil.pkl", names, evil)
    torch.serialization.add_safe_globals([getattr])
    try:
        with pytest.raises(ValueError, match="getattr', which no weights need"):
            checkpoint.read_tensors(tmp_path / "evil.pkl")
        assert getattr in torch.serialization.get_safe_globals()
    finally:
        torch.serialization.clear_safe_globals()


def test_what_others_allow_torch_to_load_stays_allowed():
    theirs = [np.dtype, type(np.dtype("float64"))]
    with torch.serialization.safe_globals(theirs):
        before = set(torch.serialization.get_safe_globals())  # others too: torch.distributed allows its own when it is imported
        checkpoint.read_adapter(GOLDEN / "lora.pkl")
        assert set(theirs) <= before == set(torch.serialization.get_safe_globals())


@pytest.mark.parametrize("legacy", [False, True])
def test_any_damage_is_one_sentence(tmp_path, legacy):
    """Cut or changed anywhere in its structure, a file is refused, or its tensors differ, but nothing else happens."""
    whole = tmp_path / "whole.pth"
    torch.save({f"layer{i}.weight": torch.rand(4) for i in range(6)}, whole, _use_new_zipfile_serialization=not legacy)
    content, rng = whole.read_bytes(), random.Random(0)
    refused = 0
    for i in range(150):
        at = rng.randrange(len(content))
        changed = content[:at] if i % 2 else content[:at] + bytes([content[at] ^ rng.randrange(1, 256)]) + content[at + 1 :]
        (tmp_path / "part.pth").write_bytes(changed)
        try:
            checkpoint.read_tensors(tmp_path / "part.pth")
        except ValueError as error:
            refused += 1
            assert str(error).startswith("part.pth ") and len(str(error).splitlines()) == 1
    assert refused > 50


def test_stand_ins_are_inert():
    """A class under an allowed name is not imported: the real one would have been found and called."""
    content = checkpoint.read_tensors(GOLDEN / "lora.pkl")
    module = content["controlnet"]
    assert isinstance(module, checkpoint.StandIn) and not isinstance(module, torch.nn.Module)
    assert "models" not in sys.modules


def test_merging_changes_nothing_in_place():
    base, adapter = checkpoint.read_base(GOLDEN / "sd"), checkpoint.read_adapter(GOLDEN / "lora.pkl")
    parts = [
        (base, "unet"),
        (base, "vae"),
        (adapter, "unet"),
        (adapter, "vae"),
        (adapter, "controlnet"),
        (adapter, "processor"),
    ]
    before = [{key: value.clone() for key, value in getattr(owner, part).items()} for owner, part in parts]
    checkpoint.merge(base, adapter, torch.bfloat16)
    for (owner, part), tensors in zip(parts, before):
        after = getattr(owner, part)
        assert after.keys() == tensors.keys()
        assert all(after[key].dtype == value.dtype and torch.equal(after[key], value) for key, value in tensors.items())


def test_lora_of_modules_that_are_not_listed_is_left_out():
    base, adapter = checkpoint.read_base(GOLDEN / "sd"), checkpoint.read_adapter(GOLDEN / "lora.pkl")
    fewer = replace(adapter, unet_modules=[name for name in adapter.unet_modules if name != "conv_out"])
    assert torch.equal(checkpoint.merge(base, fewer).unet["conv_out.weight"], base.unet["conv_out.weight"].float())


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
    with pytest.raises(ValueError, match="merged.safetensors: the U-Net misses conv_in.weight"):
        checkpoint.load(path)
    save_file(tensors, path, {**metadata, "format_version": "9"})
    with pytest.raises(ValueError, match="format 9"):
        checkpoint.load(path)
    save_file(tensors, path)
    with pytest.raises(ValueError, match="has lost its metadata"):
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
    with pytest.raises(ValueError, match="misses rank_vae; download it again"):
        checkpoint.read_adapter(tmp_path / "other.pkl")


@pytest.mark.long
def test_any_missing_tensor_is_named():
    base, adapter = checkpoint.read_base(GOLDEN / "sd"), checkpoint.read_adapter(GOLDEN / "lora.pkl")
    rng = random.Random(0)
    for owner, part in (
        (base, "unet"),
        (base, "vae"),
        (adapter, "unet"),
        (adapter, "vae"),
        (adapter, "controlnet"),
        (adapter, "processor"),
    ):
        tensors = getattr(owner, part)
        first = [key for key in tensors if key.startswith(("conv_in", "conv_out", "controlnet_cond_embedding.conv_in"))]
        for key in {*first, *rng.sample(sorted(tensors), 12)}:
            if owner is base and key.startswith("conv_in"):
                continue  # comes from the adapter
            less = replace(owner, **{part: {k: v for k, v in tensors.items() if k != key}})
            with pytest.raises(ValueError, match=re.escape(re.sub(r"\.(lora_|base_layer).*", "", key))) as refused:
                checkpoint.merge(*((less, adapter) if owner is base else (base, less)))
            assert len(str(refused.value).splitlines()) == 1


@pytest.mark.parametrize(
    "key",
    ["decoder.conv_in.weight", "encoder.down_blocks.0.resnets.0.conv1.weight", "decoder.up_blocks.1.resnets.0.conv1.bias"],
)
@pytest.mark.parametrize("shape", [(), (0,), (3, 5)])
def test_a_vae_of_wrong_shapes_is_refused(key, shape):
    base = checkpoint.read_base(GOLDEN / "sd")
    with pytest.raises(ValueError, match="sd: the VAE (has|misses) ") as refused:
        check_vae({**base.vae, key: torch.zeros(shape)}, "sd")
    assert len(str(refused.value).splitlines()) == 1


def test_what_a_vae_needs_is_what_diffusers_makes():
    from diffusers import AutoencoderKL

    for channels in ((32, 64, 64), (32, 32, 64, 64)):
        kinds = (("DownEncoderBlock2D",) * len(channels), ("UpDecoderBlock2D",) * len(channels))
        vae = AutoencoderKL(3, 3, *kinds, block_out_channels=channels, layers_per_block=len(channels) - 1)
        state = vae.state_dict()
        ours = Vae(*vae_sizes(state)).state_dict()
        assert {key: value.shape for key, value in ours.items()} == {key: value.shape for key, value in state.items()}


def test_description_says_what_is_wrong(tmp_path):
    content = {"state_dict_unet": {}, "state_dict_vae": {}, "processor_state_dict": {}, "controlnet": {}, "rank_unet": 4}
    content |= {"rank_vae": 4, "state_dict_attn": 8, "unet_lora_encoder_modules": ["conv_in"]}
    content |= {"unet_lora_decoder_modules": [], "vae_lora_encoder_modules": []}
    path = tmp_path / "lora.pkl"
    torch.save(content, path)
    with pytest.raises(ValueError, match="its controlnet is not what it should be"):
        checkpoint.describe(path)
    adapter = checkpoint.read_adapter(GOLDEN / "lora.pkl")
    for wrong, message in (
        (replace(adapter, rank_unet=77), "says rank 77, but .* has 4"),
        (replace(adapter, processor=dict(list(adapter.processor.items())[1:])), "misses .*_lora"),
    ):
        with pytest.raises(ValueError, match=message):
            check_adapter(wrong)


def test_description(tmp_path, merged):
    checkpoint.save(merged, tmp_path / "merged.safetensors")
    for path, expected in (
        (GOLDEN / "sd", ["Stable Diffusion 2 base", "channels 32 64 32 32, heads 2 4 2 0", "float16"]),
        (GOLDEN / "lora.pkl", ["MagicBokeh adapter", "rank 4, 182 layers", "rank 8, 9 layers", "ControlNet: 250 tensors"]),
        (tmp_path / "merged.safetensors", ["base sd, adapter lora.pkl", "ControlNet: 250 tensors", "float32"]),
    ):
        text = "\n".join(checkpoint.describe(path))
        assert all(part in text for part in expected), text
