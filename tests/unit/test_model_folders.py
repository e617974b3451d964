"""Models in folders, whole or in shards, and what was saved in the middle of training."""

import json
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from magicbokeh_ops import depth
from magicbokeh_ops.weights import checkpoint
from tests.support.model_files import DEPTH, SD, UNET, refused


def put_model(folder: Path, tensors: dict, stem: str, ending: str, variant: str, shards: bool) -> None:
    """A model in a folder as diffusers and transformers write it."""
    write = (lambda part, path: torch.save(part, path)) if ending == "bin" else save_file
    name = ".".join(filter(None, (stem, variant, ending)))
    if not shards:
        write(tensors, folder / name)
        return
    names = [f"{name.removesuffix(f'.{ending}')}-0000{i + 1}-of-00002.{ending}" for i in range(2)]
    parts = [dict(list(tensors.items())[i::2]) for i in range(2)]
    for part, shard in zip(parts, names):
        write(part, folder / shard)
    index = {"weight_map": {key: shard for part, shard in zip(parts, names) for key in part}}
    index_name = ".".join(filter(None, (stem, ending, "index", variant, "json")))
    (folder / index_name).write_text(json.dumps(index), encoding="utf-8")


LAYOUTS = [
    (ending, variant, shards) for ending in ("safetensors", "bin") for variant in ("", "fp16") for shards in (False, True)
]


@pytest.mark.slow
@pytest.mark.parametrize(("ending", "variant", "shards"), LAYOUTS)
def test_folders_in_every_layout(tmp_path, ending, variant, shards):
    expected = checkpoint.read_base(SD)
    for part in ("unet", "vae"):
        (tmp_path / "sd" / part).mkdir(parents=True)
        shutil.copy(SD / part / "config.json", tmp_path / "sd" / part)
        put_model(tmp_path / "sd" / part, load_file(SD / part / UNET.name), "diffusion_pytorch_model", ending, variant, shards)
    found = checkpoint.read_base(tmp_path / "sd")
    assert found.unet.keys() == expected.unet.keys() and found.vae.keys() == expected.vae.keys()
    read = checkpoint.base_files(tmp_path / "sd")
    assert sum(file.suffix != ".json" for file in read) == (4 if shards else 2)

    tensors, sizes = depth.read_depth(DEPTH)
    model = depth.build(tensors, sizes, "depth")
    model.save_pretrained(tmp_path / "depth")
    (tmp_path / "depth" / "model.safetensors").unlink()
    stem = "pytorch_model" if ending == "bin" else "model"
    state = {key: value.contiguous() for key, value in model.state_dict().items()}
    put_model(tmp_path / "depth", state, stem, ending, variant, shards)
    again, found_sizes = depth.read_depth(tmp_path / "depth")
    assert found_sizes == sizes and again.keys() == tensors.keys()
    weights = [file.name for file in depth.depth_files(tmp_path / "depth") if file.suffix != ".json"]
    assert len(weights) == (2 if shards else 1) and all(map(depth.is_in_folder, weights))


def test_a_missing_shard_is_named(tmp_path):
    shutil.copytree(SD, tmp_path / "sd")
    unet = tmp_path / "sd" / "unet"
    (unet / UNET.name).unlink()
    put_model(unet, load_file(UNET), "diffusion_pytorch_model", "safetensors", "", shards=True)
    missing = unet / "diffusion_pytorch_model-00002-of-00002.safetensors"
    missing.unlink()
    assert f"unet/{missing.name} is not there, where an index says" in refused(checkpoint.read_base, tmp_path / "sd")
    (unet / f"{UNET.name}.index.json").write_text('{"weight_map": 3}', encoding="utf-8")
    assert "does not say in which files" in refused(checkpoint.read_base, tmp_path / "sd")


@pytest.mark.parametrize("name", ["model", "model_ema"])
def test_depth_models_from_the_middle_of_training(tmp_path, name):
    tensors = torch.load(DEPTH, weights_only=True)["model"]
    expected = depth.read_depth(DEPTH)[0]
    for stem, content in (
        ("nested", {name: tensors, "optimizer": {"state": {}}, "epoch": 7}),
        ("named", {f"model_ema.{key}": value for key, value in tensors.items()} | {"step": torch.zeros(())}),
    ):
        torch.save(content, tmp_path / f"{stem}.pth")
        shutil.copy(DEPTH.with_suffix(".json"), tmp_path / f"{stem}.json")
        found, _ = depth.read_depth(tmp_path / f"{stem}.pth")
        assert found.keys() - {"step"} == expected.keys()


@pytest.mark.parametrize(
    "content",
    ["{", "[]", '{"num_attention_heads": "six", "out_indices": [0, 1, 2, 3]}', '{"num_attention_heads": 6, "out_indices": 3}'],
)
def test_an_odd_json_beside_a_depth_model(tmp_path, content):
    shutil.copy(DEPTH, tmp_path / "depth.pth")
    (tmp_path / "depth.json").write_text(content, encoding="utf-8")
    assert "depth" in refused(depth.read_depth, tmp_path / "depth.pth")


def test_json_from_a_windows_editor(tmp_path):
    shutil.copy(DEPTH, tmp_path / "depth.pth")
    (tmp_path / "depth.json").write_text(DEPTH.with_suffix(".json").read_text(encoding="utf-8"), encoding="utf-8-sig")
    assert depth.read_depth(tmp_path / "depth.pth")[1] == depth.read_depth(DEPTH)[1]
