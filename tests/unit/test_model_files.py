"""Model files as people have them: cut off, misnamed, of other models, written by other code, in use by other threads."""

import json
import os
import shutil
import tracemalloc
from contextlib import contextmanager

import pytest
import torch
from safetensors.torch import load_file, save_file

from magicbokeh_ops import depth
from magicbokeh_ops.weights import checkpoint
from tests.support.model_files import ADAPTER, SD, UNET, refused

LAST_NORM = "model.diffusion_model.output_blocks.11.1.transformer_blocks.0.norm1.bias"
READERS = {
    "adapter.pkl": checkpoint.read_adapter,
    "base.ckpt": checkpoint.read_base,
    "base.safetensors": checkpoint.read_base,
    "merged.safetensors": checkpoint.load,
    "depth.pth": depth.read_depth,
    "depth.SFT": depth.read_depth,
    "any.bin": checkpoint.describe,
}


@contextmanager
def peak_below(size: float):
    tracemalloc.start()
    try:
        yield
        assert tracemalloc.get_traced_memory()[1] < size
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("name", READERS)
@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "is empty"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 5214865159\n", "Git LFS pointer"),
        (b"<!DOCTYPE html>\n<html><head><title>Not found</title>", "is a web page"),
        (b'\n <html lang="en">' + 600 * b"a", "is a web page"),
        ("Accès refusé\nat once".encode(), "text that starts with 'Accès refusé'"),
        (bytes(range(256)), "is damaged or not a"),
    ],
    ids=["empty", "pointer", "page", "page with a blank line", "text", "noise"],
)
def test_what_is_no_model_says_what_it_is(tmp_path, name, content, message):
    (tmp_path / name).write_bytes(content)
    told = refused(READERS[name], tmp_path / name)
    assert told.startswith(name) and message in told


@pytest.mark.parametrize("place", ["unet/diffusion_pytorch_model.safetensors", "vae/diffusion_pytorch_model.safetensors"])
def test_a_pointer_in_a_folder(tmp_path, place):
    shutil.copytree(SD, tmp_path / "sd")
    (tmp_path / "sd" / place).write_text("version https://git-lfs.github.com/spec/v1\n", encoding="utf-8")
    assert "Git LFS pointer" in refused(checkpoint.read_base, tmp_path / "sd")


@pytest.mark.parametrize("part", [0.1, 0.5, 0.999])
def test_files_that_end_early(tmp_path, merged, part):
    for whole, reader in ((ADAPTER, checkpoint.read_adapter), (merged, checkpoint.load), (merged, checkpoint.is_merged)):
        content = whole.read_bytes()
        path = tmp_path / whole.name
        path.write_bytes(content[: int(part * len(content))])
        told = refused(reader, path)
        assert told.startswith(f"{path.name} is damaged: it ends after") and "download it again" in told
        if whole == merged:
            assert f"of {len(content):,} bytes" in told


def test_a_large_damaged_file_is_not_read_whole(tmp_path):
    """A download that stopped: space is taken, the end is missing. And the older format, whose numbers come last."""
    shutil.copy(ADAPTER, tmp_path / "cut.ckpt")
    os.truncate(tmp_path / "cut.ckpt", 400_000_000)
    with peak_below(2e6):
        assert "ends after 400.0 MB" in refused(checkpoint.read_base, tmp_path / "cut.ckpt")
    torch.save({"rank_unet": os.system}, tmp_path / "older.ckpt", _use_new_zipfile_serialization=False)
    os.truncate(tmp_path / "older.ckpt", 400_000_000)
    with peak_below(2e6):
        assert "system', which no weights need" in refused(checkpoint.read_base, tmp_path / "older.ckpt")


def test_files_under_the_other_kind_of_name(tmp_path, merged):
    shutil.copy(ADAPTER, tmp_path / "lora.safetensors")
    assert "is a torch file" in refused(checkpoint.read_adapter, tmp_path / "lora.safetensors")
    shutil.copy(merged, tmp_path / "merged.pkl")
    assert "is a safetensors file" in refused(checkpoint.read_adapter, tmp_path / "merged.pkl")


def with_norm(single, bias):
    return {**single, LAST_NORM: bias}


def test_the_768_pixel_model_as_a_single_file(tmp_path, single):
    """By the statistic that ComfyUI goes by, which is one of the full size; in a small network by how it stands out."""
    path = tmp_path / "v2-1_768-ema-pruned.safetensors"
    unsteady = torch.linspace(-1, 1, 320)
    for bias in (unsteady, torch.linspace(-1, 1, 32)):
        save_file(with_norm(single, bias), path)
        told = refused(checkpoint.read_base, path)
        assert "Stable Diffusion 2" in told and "768-pixel model (v-prediction)" in told and "512-pixel" in told
    for bias in (0.1 * unsteady, torch.zeros(32), single[LAST_NORM]):
        save_file(with_norm(single, bias), path)
        checkpoint.read_base(path)


def test_the_768_pixel_model_as_a_folder_that_does_not_say_it(tmp_path):
    shutil.copytree(SD, tmp_path / "sd")
    shutil.rmtree(tmp_path / "sd" / "scheduler")
    checkpoint.read_base(tmp_path / "sd")
    tensors = load_file(UNET)
    tensors["up_blocks.3.attentions.2.transformer_blocks.0.norm1.bias"] = torch.linspace(-1, 1, 32)
    save_file(tensors, tmp_path / "sd" / "unet" / UNET.name)
    assert "v-prediction" in refused(checkpoint.read_base, tmp_path / "sd")
    shutil.copytree(SD / "scheduler", tmp_path / "sd" / "scheduler")  # says epsilon
    checkpoint.read_base(tmp_path / "sd")


def like(tensors, first=None, **more):
    """A single file with another first layer, (channels, width), and further tensors."""
    unet = "model.diffusion_model."
    out = {**tensors, **{f"{unet}{key}": value for key, value in more.items()}}
    if first is not None:
        out[f"{unet}input_blocks.0.0.weight"] = torch.zeros(first[1], first[0], 3, 3)
    return out


@pytest.mark.parametrize("folder", [False, True], ids=["file", "folder"])
@pytest.mark.parametrize(
    ("first", "more", "message"),
    [
        ((9, 32), {}, "an inpainting model"),
        ((5, 32), {}, "a depth2img model"),
        ((7, 32), {}, "the x4 upscaler"),
        ((8, 32), {}, "an InstructPix2Pix"),
        ((4, 320), {"label_emb.0.0.weight": torch.zeros(1)}, "an SDXL model"),
        ((4, 384), {"label_emb.0.0.weight": torch.zeros(1)}, "the SDXL refiner"),
    ],
)
def test_other_models_of_the_family_are_named(tmp_path, single, first, more, message, folder):
    path = tmp_path / "other.safetensors"
    if folder:
        path = tmp_path / "other"
        shutil.copytree(SD, path)
        tensors = {**load_file(UNET), "conv_in.weight": torch.zeros(first[1], first[0], 3, 3)}
        tensors |= {key.replace("label_emb.0.0", "add_embedding.linear_1"): value for key, value in more.items()}
        save_file(tensors, path / "unet" / UNET.name)
    else:
        save_file(like(single, first, **more), path)
    told = refused(checkpoint.read_base, path)
    assert told.startswith(f"{path.name} is {message}") and "2.1-base" in told


@pytest.mark.parametrize(
    ("kept", "message"),
    [
        (r"first_stage_model.", "is only a VAE; MagicBokeh needs Stable Diffusion 2.1-base, a whole checkpoint"),
        (r"model.", "is only a U-Net; MagicBokeh needs Stable Diffusion 2.1-base, a whole checkpoint"),
        (
            {"encoder.conv_in.weight", "decoder.conv_in.weight"},
            "is only a VAE; MagicBokeh needs Stable Diffusion 2.1-base, a whole checkpoint",
        ),
        ({"lora_unet_down_blocks_0_attentions_0_proj_in.lora_down.weight"}, "is a LoRA; "),
        ({"unet.down_blocks.0.attentions.0.to_q.lora_A.weight"}, "is a LoRA; "),
        ({"control_model.input_hint_block.0.weight"}, "is a ControlNet; "),
        ({"cond_stage_model.model.ln_final.weight"}, "is only a text encoder; "),
        ({"pretrained.cls_token"}, "is a depth model; "),
    ],
)
def test_parts_and_other_things_are_named(tmp_path, single, kept, message):
    names = [key for key in single if key.startswith(kept)] if isinstance(kept, str) else kept
    save_file({name: torch.zeros(1) for name in names}, tmp_path / "other.safetensors")
    assert message in refused(checkpoint.read_base, tmp_path / "other.safetensors")


def test_our_own_files_as_a_base_are_named(merged):
    assert "is a merged MagicBokeh checkpoint and needs no base" in refused(checkpoint.read_base, merged)
    assert "the MagicBokeh adapter" in refused(checkpoint.read_base, ADAPTER)


@pytest.mark.parametrize("dots", [True, False])
def test_a_file_with_nothing_but_the_average(tmp_path, single, dots):
    """Its names have lost their dots, unless some tool has given them back."""
    unet = "model.diffusion_model."
    tensors = {key: value for key, value in single.items() if not key.startswith(unet)} | {"model_ema.decay": torch.zeros(1)}
    for key, value in single.items():
        if key.startswith(unet):
            rest = key[len(unet) :]
            tensors[f"model_ema.diffusion_model{'.' + rest if dots else rest.replace('.', '')}"] = value
    save_file(tensors, tmp_path / "ema.safetensors")
    found, expected = checkpoint.read_base(tmp_path / "ema.safetensors"), checkpoint.read_base(SD)
    assert found.unet.keys() == expected.unet.keys()
    assert all(torch.equal(found.unet[key], value) for key, value in expected.unet.items())
    averaged = {key: torch.zeros(1) if key.startswith("model_ema.") else value for key, value in tensors.items()}
    save_file({**averaged, **single}, tmp_path / "both.safetensors")  # what was trained goes first, as in ComfyUI
    assert torch.equal(
        checkpoint.read_base(tmp_path / "both.safetensors").unet["conv_in.weight"], expected.unet["conv_in.weight"]
    )


ODD = [
    {"config": None},
    {"config": "{"},
    {"config": "[1]"},
    {"config": '"x"'},
    *({"config": {key: value}} for key, value in (
        ("new", 1), ("channels", "abc"), ("channels", [32, "64"]), ("channels", [32]), ("channels", [1e9]), ("heads", None),
        ("heads", [3, 3, 3, 0]), ("heads", [1]), ("layers", 10**12), ("layers", True), ("groups", 0), ("groups", 7), ("rank", 10**12),
        ("rank", -1), ("hint_channels", [1]), ("prediction", "v"), ("prediction", None), ("latent_scale", "0.18"),
        ("latent_scale", float("nan")), ("latent_scale", 0), ("folded", "no"), ("folded", True), ("in_channels", [4]),
    )),
    {"sources": None},
    {"sources": "none"},
    {"sources": "[]"},
    {"sources": '{"base": 3}'},
    {"format_version": None},
]  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize("change", ODD, ids=str)
def test_odd_metadata_of_a_merged_file(tmp_path, merged, change):
    with checkpoint.safe_open(merged, "pt") as file:
        metadata = file.metadata()
    for key, value in change.items():
        metadata[key] = json.dumps({**json.loads(metadata[key]), **value}) if isinstance(value, dict) else value
    metadata = {key: value for key, value in metadata.items() if value is not None}
    save_file(load_file(merged), tmp_path / "odd.safetensors", metadata)
    assert refused(checkpoint.load, tmp_path / "odd.safetensors").startswith("odd.safetensors")
