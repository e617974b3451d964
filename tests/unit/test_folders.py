"""What the loaders offer and read again: lists on a slow disk, fingerprints, folders with more in them than models."""

import os
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from tests.support import stand_in_host as host
from tests.support.stand_in_host import folder_paths, nodes

GOLDEN = Path(__file__).parents[1] / "parity" / "golden"
checkpoint = host.ops.weights.checkpoint
DEPTH = GOLDEN / "depth" / "DAdepth_tiny.pth"
LOADER, DEPTH_LOADER, SAVER = nodes.LoadMagicBokeh, nodes.LoadDepthModel, nodes.SaveCheckpoint
NO_BASE = "none (merged file)"


@pytest.fixture
def models(tmp_path, monkeypatch):
    """Empty model folders."""
    monkeypatch.setattr(folder_paths, "filename_list_cache", {})
    places = {}
    for name, (_, endings) in folder_paths.folder_names_and_paths.items():
        (tmp_path / name).mkdir()
        places[name] = ([str(tmp_path / name)], endings)
    monkeypatch.setattr(folder_paths, "folder_names_and_paths", places)
    return tmp_path


@pytest.fixture
def walks(monkeypatch):
    """Counts what lists the files of a folder: slow on some disks, and ComfyUI asks for every node's choices again and again."""
    count = [0]
    for name in ("walk", "scandir", "listdir"):

        def noted(*arguments, call=getattr(os, name), **options):
            count[0] += 1
            return call(*arguments, **options)

        monkeypatch.setattr(os, name, noted)
    return count


def offered(loader, socket: str) -> list[str]:
    return next(one.options for one in loader.define_schema().inputs if one.id == socket)


def touch(*files: Path) -> None:
    for file in files:
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(b"")


def test_asking_again_lists_no_folder(models, walks):
    sd = models / "diffusers" / "family" / "sd"
    depth = models / "depthanything"
    touch(sd / "model_index.json", sd / "unet" / "config.json", depth / "sub" / "a.pth")
    touch(models / "magicbokeh" / "DAdepth.pth", models / "magicbokeh" / "lora.pkl")
    asked = [(LOADER, "checkpoint"), (LOADER, "base"), (DEPTH_LOADER, "model")]
    first = [offered(*one) for one in asked]
    assert walks[0] and "family/sd" in first[1] and sorted(first[2]) == ["DAdepth.pth", "automatic", "sub/a.pth"]
    walks[0] = 0
    for _ in range(3):
        assert [offered(*one) for one in asked] == first
        LOADER.paths("lora.pkl", "family/sd")
        DEPTH_LOADER.path("sub/a.pth")
    assert walks[0] == 0
    touch(depth / "sub" / "b.pth", models / "diffusers" / "other" / "model_index.json")
    os.utime(depth / "sub", ns=(0, 1))
    os.utime(models / "diffusers", ns=(0, 1))
    assert "sub/b.pth" in offered(DEPTH_LOADER, "model") and "other" in offered(LOADER, "base")


def test_a_stray_config_hides_nothing(models):
    depth = models / "depthanything"
    touch(depth / "config.json", depth / "a.pth", depth / "b.safetensors", depth / "hf" / "config.json")
    touch(depth / "hf" / "model.safetensors", depth / "hf" / "depth_anything_v2_vits.pth", depth / "empty" / "config.json")
    found = ["a.pth", "automatic", "b.safetensors", "hf", "hf/depth_anything_v2_vits.pth"]
    assert sorted(offered(DEPTH_LOADER, "model")) == found


def test_endings_in_any_case(models):
    touch(*(models / "depthanything" / name for name in ("a.PTH", "b.SafeTensors", "c.sft", "d.SFT", "e.txt", "f.bin")))
    touch(*(models / "magicbokeh" / name for name in ("A.PKL", "B.SFT", "C.SAFETENSORS", "D.PTH", "e.bin", "f.json")))
    assert sorted(offered(DEPTH_LOADER, "model")) == ["D.PTH", "a.PTH", "automatic", "b.SafeTensors", "c.sft", "d.SFT"]
    assert offered(LOADER, "checkpoint")[:-1] == ["A.PKL", "B.SFT", "C.SAFETENSORS"]


@pytest.mark.parametrize(
    "files",
    [
        ["model.fp16.safetensors"],
        ["pytorch_model.bin"],
        ["pytorch_model.fp16.bin"],
        ["model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors", "model.safetensors.index.json"],
        ["model.fp16-00001-of-00001.safetensors", "model.safetensors.index.fp16.json"],
        ["pytorch_model-00001-of-00001.bin", "pytorch_model.bin.index.json"],
    ],
)
def test_transformers_folders_of_any_kind(models, files):
    touch(*(models / "depthanything" / "sub" / "hf" / name for name in (*files, "config.json")))
    assert offered(DEPTH_LOADER, "model") == ["automatic", "sub/hf"]
    assert DEPTH_LOADER.path("sub/hf") == models / "depthanything" / "sub" / "hf"


def test_an_automatic_base_is_one_of_the_right_kind(models, single, monkeypatch):
    """Whatever it is called, and never another model; a new one is found, and a merged file needs none."""
    read = []
    reading = nodes.folders.read_base
    monkeypatch.setattr(nodes.folders, "read_base", lambda path, **mapped: read.append(path.name) or reading(path, **mapped))
    shutil.copy(GOLDEN / "lora.pkl", models / "magicbokeh")
    first = "model.diffusion_model.input_blocks.0.0.weight"
    inpainting = {**single, first: single[first].repeat(1, 3, 1, 1)[:, :9].contiguous()}
    save_file(inpainting, models / "checkpoints" / "v2-1_512-inpainting.safetensors")
    touch(models / "checkpoints" / "damaged.safetensors")
    index = models / "diffusers" / "sd-2-1-damaged" / "unet" / "diffusion_pytorch_model.safetensors.index.json"
    touch(index, index.parents[1] / "model_index.json")
    with pytest.raises(
        ValueError, match="base: Stable Diffusion 2.1-base, the 512-pixel model, is neither in models/checkpoints nor"
    ):
        LOADER.paths("lora.pkl", "automatic")
    save_file(single, models / "checkpoints" / "anything.safetensors")
    assert LOADER.paths("lora.pkl", "automatic")[1] == models / "checkpoints" / "anything.safetensors"
    before = LOADER.fingerprint_inputs("lora.pkl", "automatic")
    shutil.copytree(GOLDEN / "sd", models / "diffusers" / "stable-diffusion-2-1-base")
    monkeypatch.setattr(folder_paths, "filename_list_cache", {})
    assert LOADER.paths("lora.pkl", "automatic")[1] == models / "diffusers" / "stable-diffusion-2-1-base"  # named like one
    assert LOADER.fingerprint_inputs("lora.pkl", "automatic") != before
    assert len(read) == len(set(read))  # each was looked at once
    model, vae = host.run(LOADER, checkpoint="lora.pkl", base="automatic")
    checkpoint.save(nodes.bokeh_model.weights_of(model, vae), models / "magicbokeh" / "merged.safetensors")
    read.clear()
    assert LOADER.paths("merged.safetensors", "automatic") == (models / "magicbokeh" / "merged.safetensors", None)
    assert not read


def test_an_automatic_depth_model_is_the_most_capable(models):
    for name in ("other.safetensors", "depth_anything_v2_vits_fp32.safetensors", "Depth-Anything-V2-Large.pth", "DAdepth.pth"):
        touch(models / "depthanything" / name)
        os.utime(models / "depthanything", ns=(0, len(name)))
        assert DEPTH_LOADER.path("automatic").name == name


def test_one_sentence_for_each_missing_file(models):
    """In ComfyUI's words; the prompt is accepted, so that the page does not count one cause several times."""
    assert LOADER.validate_inputs(checkpoint="lora.pkl", base="v2-1.safetensors") is True
    with pytest.raises(ValueError) as missing:
        host.run(LOADER, checkpoint="lora.pkl", base="v2-1.safetensors")
    first, second = str(missing.value).split(". base: ")
    assert first.startswith("checkpoint: lora.pkl is not in models/magicbokeh; put it there from https://")
    assert second.startswith(
        "v2-1.safetensors is neither in models/checkpoints nor in models/diffusers; put v2-1_512-ema-pruned"
    )
    for model, what in (("automatic", "there is no depth model"), ("gone.pth", "gone.pth is not")):
        assert DEPTH_LOADER.validate_inputs(model=model) is True
        with pytest.raises(ValueError, match=f"model: {what} in models/depthanything or models/magicbokeh; put depth_anything"):
            host.run(DEPTH_LOADER, model=model)


def test_fingerprints_are_of_what_is_read(models):
    """A folder's own time stays when a file in it is written anew."""
    shutil.copytree(GOLDEN / "sd", models / "diffusers" / "sd")
    shutil.copy(GOLDEN / "lora.pkl", models / "magicbokeh")
    for file in (DEPTH, DEPTH.with_suffix(".json")):
        shutil.copy(file, models / "depthanything")
    (models / "depthanything" / "hf").mkdir()
    touch(models / "depthanything" / "hf" / "model.safetensors", models / "depthanything" / "hf" / "config.json")
    cases = {
        "magicbokeh/lora.pkl": (LOADER, {"checkpoint": "lora.pkl", "base": "sd"}),
        "diffusers/sd/vae/diffusion_pytorch_model.safetensors": (LOADER, {"checkpoint": "lora.pkl", "base": "sd"}),
        "diffusers/sd/scheduler/scheduler_config.json": (LOADER, {"checkpoint": "lora.pkl", "base": "sd"}),
        f"depthanything/{DEPTH.name}": (DEPTH_LOADER, {"model": DEPTH.name}),
        f"depthanything/{DEPTH.stem}.json": (DEPTH_LOADER, {"model": DEPTH.name}),
        "depthanything/hf/model.safetensors": (DEPTH_LOADER, {"model": "hf"}),
        "depthanything/hf/config.json": (DEPTH_LOADER, {"model": "hf"}),
    }
    for name, (loader, widgets) in cases.items():
        before = loader.fingerprint_inputs(**widgets)
        assert loader.fingerprint_inputs(**widgets) == before
        file = models / name
        time = file.stat().st_mtime_ns
        os.utime(file, ns=(time, time + 1000))  # another one of the same size
        assert loader.fingerprint_inputs(**widgets) != before, name


@pytest.fixture
def loaded(models):
    shutil.copy(GOLDEN / "lora.pkl", models / "magicbokeh")
    shutil.copytree(GOLDEN / "sd", models / "diffusers" / "sd")
    return host.run(LOADER, checkpoint="lora.pkl", base="sd")


def saved(models, monkeypatch, model, vae):
    monkeypatch.setattr(folder_paths, "get_save_image_path", lambda *_: (str(models), "saved", 1, "", ""), raising=False)
    host.run(SAVER, model=model, vae=vae, filename_prefix="saved")
    return host.ops.weights.checkpoint.load(models / "saved_00001_.safetensors")


def test_the_vae_is_saved_as_its_file_has_it(models, monkeypatch, loaded):
    """ComfyUI holds a VAE in bf16 on most cards."""
    model, vae = loaded
    expected = host.ops.weights.checkpoint.read_vae(GOLDEN / "lora.pkl", GOLDEN / "sd")
    vae.first_stage_model.bfloat16()
    vae.vae_dtype = torch.bfloat16
    found = saved(models, monkeypatch, model, vae)
    assert all(torch.equal(found.vae[key], value) for key, value in expected.items()) and "vae" not in found.sources


def test_a_vae_whose_file_was_replaced_is_saved_as_it_is_held(models, monkeypatch, loaded):
    """And so is one that is not ours; the file says so."""
    model, vae = loaded
    vae.first_stage_model.bfloat16()
    vae.vae_dtype = torch.bfloat16
    held = {key: value.float() for key, value in vae.first_stage_model.state_dict().items()}
    monkeypatch.setattr(vae, "get_sd", lambda: held, raising=False)
    path = models / "diffusers" / "sd" / "vae" / "diffusion_pytorch_model.safetensors"
    tensors = {key: 2 * value for key, value in load_file(path).items()}
    host.ops.weights.checkpoint.save_file(tensors, path)
    found = saved(models, monkeypatch, model, vae)
    assert found.sources["vae"] == "as ComfyUI held it, in bfloat16"
    assert torch.equal(found.vae["decoder.conv_in.weight"], held["decoder.conv_in.weight"])
    assert any(
        "as ComfyUI held it" in line for line in host.ops.weights.checkpoint.describe(models / "saved_00001_.safetensors")
    )
