"""Files as they come: the released adapter, merged ones, damaged ones and ones that want to run something."""

import json
import os
import pickle
import random
import re
import shutil
import sys
import types
import zipfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from diffusers.loaders.single_file_utils import convert_ldm_unet_checkpoint, convert_ldm_vae_checkpoint
from safetensors.torch import load_file, save_file

from magicbokeh_ops.model.vae import Vae, vae_sizes
from magicbokeh_ops.weights import checkpoint
from magicbokeh_ops.weights.adapter import check_adapter
from magicbokeh_ops.weights.shapes import check_vae
from tests.support.ldm_names import single_file_tensors

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


UNET, VAE = (GOLDEN / "sd" / part / "diffusion_pytorch_model.safetensors" for part in ("unet", "vae"))


@pytest.fixture(scope="module")
def single_file():
    """The golden base under the original names, which diffusers itself reads back."""
    unet, vae, tensors = load_file(UNET), load_file(VAE), single_file_tensors(GOLDEN / "sd")
    config = json.loads((GOLDEN / "sd" / "unet" / "config.json").read_text(encoding="utf-8")) | {"class_embed_type": None}
    again = convert_ldm_unet_checkpoint(dict(tensors), config)
    assert again.keys() == unet.keys() and all(torch.equal(again[key], unet[key]) for key in unet)
    again = convert_ldm_vae_checkpoint(
        dict(tensors), json.loads((GOLDEN / "sd" / "vae" / "config.json").read_text(encoding="utf-8"))
    )
    assert again.keys() == vae.keys() and all(again[key].numel() == vae[key].numel() for key in vae)
    return tensors


def same_base(found, heads=True):
    expected = checkpoint.read_base(GOLDEN / "sd")
    for part in ("unet", "vae"):
        a, b = getattr(found, part), getattr(expected, part)
        assert a.keys() == b.keys() and all(torch.equal(a[key], b[key]) for key in b), part
    assert found.heads == (expected.heads if heads else None)


def test_single_safetensors_file(tmp_path, single_file):
    save_file({**single_file, "cond_stage_model.model.ln_final.bias": torch.zeros(3)}, tmp_path / "v2-1.safetensors")
    same_base(checkpoint.read_base(tmp_path / "v2-1.safetensors"), heads=False)


def test_single_ckpt_file_with_the_log_of_its_training(tmp_path, single_file, monkeypatch):
    """Like Stability's own: Lightning's checkpoint callback by name, and scores as numpy numbers. Nothing is imported."""
    names = ["pytorch_lightning", "pytorch_lightning.callbacks", "pytorch_lightning.callbacks.model_checkpoint"]
    modules = {name: types.ModuleType(name) for name in names}
    modules[names[2]].ModelCheckpoint = type("ModelCheckpoint", (), {"__module__": names[2]})
    callbacks = {modules[names[2]].ModelCheckpoint: {"best_model_score": np.float64(0.5), "counts": np.int64(3)}}
    with monkeypatch.context() as patch:
        for name, module in modules.items():
            patch.setitem(sys.modules, name, module)
        torch.save({"state_dict": single_file, "callbacks": callbacks, "epoch": 3}, tmp_path / "v2-1.ckpt")
    same_base(checkpoint.read_base(tmp_path / "v2-1.ckpt"), heads=False)


def test_other_single_files_are_named(tmp_path, single_file):
    path = tmp_path / "other.safetensors"
    conv = {key: value[..., None, None] if key.endswith("proj_in.weight") else value for key, value in single_file.items()}
    for changed, message in (
        (conv, "Stable Diffusion 1 model"),
        ({**single_file, "model.diffusion_model.label_emb.0.0.weight": torch.zeros(1)}, "SDXL"),
        ({key: value for key, value in single_file.items() if key.startswith("model.")}, "is only a U-Net"),
        ({"lora.down.weight": torch.zeros(1)}, "is a LoRA"),
        (
            {"model.diffusion_model.pos_embed": torch.zeros(1), "first_stage_model.a.b": torch.zeros(1)},
            "no Stable Diffusion U-Net",
        ),
    ):
        save_file(changed, path)
        with pytest.raises(ValueError, match=message):
            checkpoint.read_base(path)


def test_folders_of_any_kind(tmp_path):
    """Half precision, .bin, shards, and the attention names of old VAEs."""
    for kind in ("fp16", "bin", "shards", "fp16 shards", "old names"):
        folder = tmp_path / kind
        shutil.copytree(GOLDEN / "sd", folder)
        file = folder / "unet" / "diffusion_pytorch_model.safetensors"
        if kind == "fp16":
            file.rename(file.with_name("diffusion_pytorch_model.fp16.safetensors"))
        elif kind == "bin":
            torch.save(load_file(file), file.with_suffix(".bin"))
            file.unlink()
        elif kind.endswith("shards"):
            tensors = load_file(file)
            halves = [dict(list(tensors.items())[i::2]) for i in range(2)]
            names = [f"diffusion_pytorch_model-0000{i + 1}-of-00002.safetensors" for i in range(2)]
            for half, name in zip(halves, names):
                save_file(half, file.with_name(name))
            index = {"weight_map": {key: name for half, name in zip(halves, names) for key in half}}
            index_name = "index.fp16.json" if kind.startswith("fp16") else "index.json"
            file.with_name(f"{file.name}.{index_name}").write_text(json.dumps(index), encoding="utf-8")
            file.unlink()
        else:
            vae = folder / "vae" / file.name
            tensors = load_file(vae)
            for new, old in (("to_q", "query"), ("to_k", "key"), ("to_v", "value"), ("to_out.0", "proj_attn")):
                tensors = {key.replace(new, old): value for key, value in tensors.items()}
            save_file(tensors, vae)
        same_base(checkpoint.read_base(folder))


def test_one_number_of_heads_for_all_levels(tmp_path):
    shutil.copytree(GOLDEN / "sd", tmp_path / "sd")
    config = tmp_path / "sd" / "unet" / "config.json"
    config.write_text(json.dumps(json.loads(config.read_text(encoding="utf-8")) | {"attention_head_dim": 2}), encoding="utf-8")
    assert checkpoint.read_base(tmp_path / "sd").heads == (2, 2, 2, 2)


@pytest.mark.parametrize("heads", [[2, 2], [2] * 7, [7] * 4, [True] * 4, [], "2"])
def test_heads_that_make_no_network_are_named(tmp_path, heads):
    shutil.copytree(GOLDEN / "sd", tmp_path / "sd")
    config = tmp_path / "sd" / "unet" / "config.json"
    config.write_text(json.dumps({"attention_head_dim": heads, "block_out_channels": 7}), encoding="utf-8")
    with pytest.raises(ValueError, match="heads|attention_head_dim"):
        checkpoint.merge(checkpoint.read_base(tmp_path / "sd"), checkpoint.read_adapter(GOLDEN / "lora.pkl"))


def test_json_without_end_is_named(tmp_path):
    shutil.copytree(GOLDEN / "sd", tmp_path / "sd")
    (tmp_path / "sd" / "unet" / "config.json").write_text("[" * 100_000, encoding="utf-8")
    with pytest.raises(ValueError, match="config.json is not readable JSON"):
        checkpoint.read_base(tmp_path / "sd")


def test_the_768_model_is_named(tmp_path):
    shutil.copytree(GOLDEN / "sd", tmp_path / "sd")
    config = tmp_path / "sd" / "scheduler" / "scheduler_config.json"
    config.write_text(
        json.dumps(json.loads(config.read_text(encoding="utf-8")) | {"prediction_type": "v_prediction"}), encoding="utf-8"
    )
    with pytest.raises(ValueError, match="768-pixel model"):
        checkpoint.read_base(tmp_path / "sd")


def test_an_inpainting_base_does_not_fit():
    base, adapter = checkpoint.read_base(GOLDEN / "sd"), checkpoint.read_adapter(GOLDEN / "lora.pkl")
    wide = torch.zeros(32, 9, 3, 3)
    with pytest.raises(ValueError, match="lora.pkl does not fit sd: conv_in.weight"):
        checkpoint.merge(replace(base, unet={**base.unet, "conv_in.weight": wide}), adapter)


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
