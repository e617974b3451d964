"""Stable Diffusion as it comes: single files and folders of any kind, and models that are not the right base."""

import json
import shutil
import sys
import types
from dataclasses import replace

import numpy as np
import pytest
import torch
from diffusers.loaders.single_file_utils import convert_ldm_unet_checkpoint, convert_ldm_vae_checkpoint
from safetensors.torch import load_file, save_file

from magicbokeh_ops.weights import checkpoint
from tests.support.ldm_names import single_file_tensors
from tests.support.model_files import GOLDEN


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
