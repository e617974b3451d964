"""The `magicbokeh` command on the recorded run: what a user gets is what the released code gave."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from PIL import Image
from safetensors.numpy import load_file

from magicbokeh_ops.cli import main
from tests.support.half_precision import work_in_single_precision

GOLDEN = Path(__file__).parent / "golden"
RECORDED = load_file(GOLDEN / "pipeline.safetensors")
K = json.loads((GOLDEN / "manifest.json").read_text(encoding="utf-8"))["config"]["K"]


def run(*arguments, code=0):
    result = CliRunner().invoke(main, list(map(str, arguments)))
    assert result.exit_code == code, result.output
    return result.output


@pytest.fixture(scope="module")
def work(tmp_path_factory):
    folder = tmp_path_factory.mktemp("cli")
    depth = np.array(Image.open(GOLDEN / "inputs" / "depth_u8.png"), dtype=np.float32)
    np.save(folder / "depth.npy", (depth + np.float32(0.7)) / np.float32(255))
    np.save(folder / "noise.npy", RECORDED["tile_noise"])
    run("convert", "--base", GOLDEN / "sd", "--adapter", GOLDEN / "lora.pkl", "-o", folder / "merged.safetensors")
    return folder


@pytest.mark.slow
@pytest.mark.parametrize(("form", "merged"), [pytest.param("npy", False, marks=pytest.mark.long), ("png", True)])
def test_the_recorded_run(work, form, merged):
    weights = (
        ("--model", work / "merged.safetensors") if merged else ("--base", GOLDEN / "sd", "--adapter", GOLDEN / "lora.pkl")
    )
    scene = (GOLDEN / "inputs" / "image.png", "--disparity", work / "depth.npy", "--focus-mask", GOLDEN / "inputs" / "mask.png")
    out = work / f"out.{form}"
    text = run("render", *scene, "--k", K, *weights, "--preset", "reference", "--noise", work / "noise.npy", "-o", out)
    assert "focus 0.7216, K 24" in text
    found = np.load(out) * 255 if form == "npy" else np.array(Image.open(out))
    wrong = np.abs(found.round().astype(int)[::2, ::2] - RECORDED["final_u8@s2"])
    assert (wrong <= 1).mean() >= 0.999 and (wrong > 0).mean() < 0.01


@pytest.mark.long
def test_fast_on_a_small_photo_of_another_shape(work, monkeypatch):
    """With transparency, upscaled, focus by a point, and as plain restoration."""
    work_in_single_precision(monkeypatch.setattr)
    photo = Image.open(GOLDEN / "inputs" / "image.png").crop((0, 0, 101, 67))
    photo.putalpha(Image.linear_gradient("L").resize(photo.size))
    photo.save(work / "photo.png")
    Image.open(GOLDEN / "inputs" / "depth_u8.png").resize(photo.size).save(work / "depth.png")
    scene = (work / "photo.png", "-d", work / "depth.png", "--focus-point", "0.5,0.5")
    model = ("--model", work / "merged.safetensors")
    run("render", *scene, *model, "--upscale", 1.5, "-o", work / "out.png")
    out = Image.open(work / "out.png")
    assert out.size == (152, 100) and out.mode == "RGBA" and np.ptp(np.array(out)[..., 3]) > 200
    pictures = []
    for options in (
        ("--k", 24),
        ("--k", 0),
        ("--k", 24, "--seed", 3),
        ("--k", 24, "--color-fix", "none"),
        ("--k", 24, "--dtype", "bf16"),
    ):
        run("render", *scene, *model, *options, "-o", work / "out.npy")
        pictures.append(np.load(work / "out.npy"))
        assert pictures[-1].shape == (67, 101, 3) and np.isfinite(pictures[-1]).all()
    assert all(np.abs(picture - pictures[0]).max() > 1e-3 for picture in pictures[1:])


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (("--focus", 0.5), 2, "Give either --base and --adapter, or --model"),
        (("--focus", 0.5, "--base", GOLDEN / "sd"), 2, "Give either"),
        (("--focus", 0.5, "--base", GOLDEN / "sd", "--adapter", GOLDEN / "manifest.json"), 1, "manifest.json is damaged"),
        (("--focus", 0.5, "--model", GOLDEN / "tile.safetensors"), 1, "not a merged MagicBokeh checkpoint"),
        (("--model", GOLDEN / "tile.safetensors"), 2, "Say where the focus lies"),
        (("--focus", 0.5, "--model", "MERGED", "--noise", GOLDEN / "manifest.json"), 1, "no .npy array"),
        (("--focus", 0.5, "--model", "MERGED", "--noise", "NOISE"), 1, "preset is 'fast'"),
        (("--focus-mask", "EMPTY", "--model", "MERGED", "--preset", "reference"), 1, "focus_mask is empty"),
    ],
)
def test_bad_input_is_one_line(work, arguments, code, message):
    Image.new("L", (768, 640)).save(work / "empty.png")
    places = {"MERGED": work / "merged.safetensors", "NOISE": work / "noise.npy", "EMPTY": work / "empty.png"}
    scene = (GOLDEN / "inputs" / "image.png", "-d", GOLDEN / "inputs" / "depth_u8.png", "-o", work / "bad.png")
    text = run("render", *scene, *(places.get(a, a) for a in arguments), code=code)
    assert message in text and "Traceback" not in text
    assert not (work / "bad.png").exists()


def test_inspect(work):
    assert "rank 8, 9 layers" in run("inspect", GOLDEN / "lora.pkl")
    assert "made of base sd, adapter lora.pkl" in run("inspect", work / "merged.safetensors")
    assert "Stable Diffusion 2 base" in run("inspect", GOLDEN / "sd")

    class Evil:
        def __reduce__(self):
            return print, ("ran",)

    torch.save({"rank_unet": Evil()}, work / "evil.pkl")
    text = run("inspect", work / "evil.pkl", code=1)
    assert "print', which no weights need" in text and "nothing in it ran" in text


def test_convert_in_half_precision(work):
    text = run(
        "convert", "--base", GOLDEN / "sd", "--adapter", GOLDEN / "lora.pkl", "--dtype", "fp16", "-o", work / "half.safetensors"
    )
    assert text.count("float16") == 2 and text.count("float32") == 1
    run("convert", "--base", GOLDEN / "sd", "--adapter", GOLDEN / "lora.pkl", "-o", work / "half.pkl", code=2)
