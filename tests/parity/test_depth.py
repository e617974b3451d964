"""Depth Anything as released: the recordings, every layout of its files, and the command."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from PIL import Image
from safetensors.torch import load_file, save_file

from magicbokeh_ops import depth
from magicbokeh_ops.cli import main
from magicbokeh_ops.defocus import normalize
from magicbokeh_ops.depth.refine import refine_edges

GOLDEN = Path(__file__).parent / "golden" / "depth"
FILE = GOLDEN / "DAdepth_tiny.pth"
CASES = json.loads((GOLDEN.parent / "manifest.json").read_text(encoding="utf-8"))["depth"]


def photo(name):
    picture = np.array(Image.open(GOLDEN / f"{name}.png").convert("RGB"), dtype=np.float32)
    return torch.from_numpy(picture).permute(2, 0, 1)[None] / 255


def check(found, name):
    recorded = load_file(GOLDEN / "depth.safetensors")
    key = next(key for key in recorded if key.partition("@")[0] == name)
    step = int(key.partition("@s")[2] or 1)
    found, expected = found[..., ::step, ::step], recorded[key]
    assert (found.reshape(expected.shape) - expected).abs().max() <= 1e-4 * expected.abs().max(), name


@pytest.fixture(scope="module")
def model():
    return depth.build(*depth.read_depth(FILE), FILE.name)


@pytest.mark.parametrize("name", CASES)
@torch.inference_mode()
def test_recorded_runs(model, name):
    image, size = photo(name), CASES[name]["input_size"]
    x = depth.prepare(image, size)
    assert list(x.shape[-2:]) == CASES[name]["net_input_hw"]
    check(x, f"{name}/net_input")
    out = model(x).predicted_depth
    check(out, f"{name}/net_depth")
    raw = depth.estimate(model, image, size)
    check(raw, f"{name}/raw")
    check(normalize(raw, "minmax"), f"{name}/normalised")
    check(depth.disparity(model, image, size), f"{name}/normalised")


@torch.inference_mode()
def test_all_layouts_are_the_same_model(model, tmp_path):
    image = photo("img_167x251_in126")
    expected = model(depth.prepare(image, 126)).predicted_depth
    tensors, config = depth.read_depth(FILE)
    original = {key.removeprefix("module."): value for key, value in torch.load(FILE, weights_only=True)["model"].items()}
    save_file(original, tmp_path / "original.safetensors")
    torch.save(original, tmp_path / "bare.pth")
    save_file({key: value.contiguous() for key, value in tensors.items()}, tmp_path / "older names.safetensors")
    save_file({key: value.contiguous() for key, value in model.state_dict().items()}, tmp_path / "newer names.safetensors")
    for name in ("original", "bare", "older names", "newer names"):
        shutil.copy(FILE.with_suffix(".json"), tmp_path / f"{name}.json")
    model.save_pretrained(tmp_path / "folder")
    for path in (*sorted(tmp_path.glob("*.safetensors")), tmp_path / "bare.pth", tmp_path / "folder"):
        again, sizes = depth.read_depth(path)
        assert sizes == config, path
        found = depth.build(again, sizes, path.name)(depth.prepare(image, 126)).predicted_depth
        assert torch.allclose(found, expected, atol=1e-6), path


@pytest.mark.parametrize(
    ("width", "blocks", "heads", "out"),
    [(384, 12, 6, (2, 5, 8, 11)), (768, 12, 12, (2, 5, 8, 11)), (1024, 24, 16, (4, 11, 17, 23))],
)
def test_known_sizes_need_no_json(width, blocks, heads, out):
    tensors, _ = depth.read_depth(FILE)
    tensors = dict(tensors)
    tensors["backbone.embeddings.cls_token"] = torch.zeros(1, 1, width)
    tensors["backbone.encoder.layer.0.mlp.fc1.weight"] = torch.zeros(4 * width, width)
    tensors[f"backbone.encoder.layer.{blocks - 1}.norm1.weight"] = torch.zeros(width)
    config = depth.files._find_config(tensors, {}, "vit.pth")
    assert (config.heads, config.out_indices, config.mlp_ratio) == (heads, out, 4)
    last = tuple(range(blocks - 4, blocks))
    for name, wanted in (("depth_anything_vits14.pth", last), ("depth_anything_v2_vits.pth", out)):
        assert depth.files._find_config(tensors, {}, name).out_indices == wanted


def test_one_range_for_a_video_or_a_smoothed_one():
    """Frames that get brighter: one range keeps the change, a range of each frame's own hides it, averaging lies between."""

    class Brightness(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.config = type("Sizes", (), {"patch_size": 14})
            self.dummy = torch.nn.Parameter(torch.zeros(1))

        def forward(self, x):
            return type("Out", (), {"predicted_depth": x.mean(1)})

    ramp = torch.linspace(0, 0.5, 64).expand(6, 3, 48, 64) * torch.linspace(1, 2, 6).view(6, 1, 1, 1)
    one = depth.disparity(Brightness(), ramp, 56)
    assert one.min() == 0 and one.max() == 1 and one[0].max() < 0.6
    smooth = depth.disparity(Brightness(), ramp, 56, smooth_range=2)
    assert one[0].max() < smooth[0].max() < 1


@pytest.mark.parametrize(
    ("image", "message"),
    [
        (torch.zeros(1, 3, 40, 1), "1 x 40 pixels, too narrow"),
        (torch.zeros(1, 3, 1000, 100), "100 x 1000 pixels, too narrow"),
        (torch.full((1, 3, 40, 40), float("nan")), "image holds NaN"),
    ],
)
def test_bad_pictures_are_named(model, image, message):
    with pytest.raises(ValueError, match=message):
        depth.disparity(model, image, 56)


def test_a_picture_without_depth_is_named(model, monkeypatch):
    monkeypatch.setattr(depth.inference, "estimate", lambda *_: torch.zeros(1, 1, 8, 8))
    with pytest.raises(ValueError, match="image looks equally far"):
        depth.disparity(model, torch.rand(1, 3, 8, 8))


def test_bad_files_are_named(tmp_path):
    tensors = torch.load(FILE, weights_only=True)["model"]
    path = tmp_path / "depth.pth"
    torch.save({"model": tensors}, path)
    with pytest.raises(ValueError, match="48 wide and 4 blocks deep.*depth.json beside it"):
        depth.read_depth(path)
    shutil.copy(FILE.with_suffix(".json"), tmp_path / "depth.json")
    for key in ("pretrained.norm.weight", "depth_head.scratch.output_conv2.0.weight", "pretrained.pos_embed"):
        torch.save({k: v for k, v in tensors.items() if not k.endswith(key)}, path)
        with pytest.raises(ValueError, match="depth.pth (misses |is not a Depth Anything model)"):
            depth.build(*depth.read_depth(path), path.name)
    for key in ("cls_token", "pos_embed", "patch_embed.proj.weight", "blocks.0.mlp.fc1.weight"):
        for shape in ((), (0,), (1, 0, 0, 0)):
            torch.save({"model": {k: torch.zeros(shape) if k.endswith(key) else v for k, v in tensors.items()}}, path)
            with pytest.raises(ValueError, match="^depth.pth (is not a Depth Anything model|has |is damaged)"):
                depth.build(*depth.read_depth(path), path.name)
    shutil.copy(FILE, tmp_path / "depth_anything_v2_metric_vkitti_vits.pth")
    with pytest.raises(ValueError, match="vits.pth is a metric model"):
        depth.read_depth(tmp_path / "depth_anything_v2_metric_vkitti_vits.pth")
    torch.save({"something": torch.zeros(1)}, path)
    with pytest.raises(ValueError, match="not a Depth Anything model"):
        depth.read_depth(path)
    with pytest.raises(ValueError, match="no config.json"):
        depth.read_depth(tmp_path)


def run(*arguments, code=0):
    result = CliRunner().invoke(main, list(map(str, arguments)))
    assert result.exit_code == code, result.output
    return result.output


@pytest.mark.long
def test_command(tmp_path):
    name = "img_167x251_in126"
    command = ("depth", GOLDEN / f"{name}.png", "--model", FILE, "--input-size", 126)
    run(*command, "-o", tmp_path / "d.npy")
    found = np.load(tmp_path / "d.npy")
    assert found.dtype == np.float32 and found.shape == (167, 251)
    check(torch.from_numpy(found), f"{name}/normalised")
    run(*command, "-o", tmp_path / "d.png")
    assert np.abs(np.array(Image.open(tmp_path / "d.png"), dtype=np.float32) / 65535 - found).max() < 1e-4
    run(*command, "--refine", 3, "-o", tmp_path / "refined.npy")
    refined = refine_edges(photo(name), torch.from_numpy(found)[None, None], 3)
    assert np.array_equal(np.load(tmp_path / "refined.npy"), refined[0, 0].numpy()) and not np.array_equal(refined[0, 0], found)
    assert "can't hold a map" in run(*command, "-o", tmp_path / "d.jpg", code=1)


@pytest.mark.slow
def test_render_finds_depth_itself(tmp_path):
    photo_file = GOLDEN / "img_167x251_in126.png"
    weights = ("--base", GOLDEN.parent / "sd", "--adapter", GOLDEN.parent / "lora.pkl", "--focus", 0.5)
    run("depth", photo_file, "--model", FILE, "--input-size", 126, "-o", tmp_path / "d.npy")
    run("render", photo_file, "-d", tmp_path / "d.npy", *weights, "-o", tmp_path / "a.npy")
    run("render", photo_file, "--depth-model", FILE, "--input-size", 126, *weights, "-o", tmp_path / "b.npy")
    assert np.allclose(np.load(tmp_path / "a.npy"), np.load(tmp_path / "b.npy"), atol=1e-5)
    assert "give one with --disparity or --depth-model" in run("render", photo_file, *weights, "-o", tmp_path / "c.npy", code=2)
