"""The checkpoint that comes with the pack: what docs/nano.md says of it, on a few scenes that it has not seen."""

import json

import pytest
import torch
from click.testing import CliRunner
from safetensors import safe_open

from magicbokeh_ops import checkpoint, cli, defocus, files
from magicbokeh_ops.demo import NANO, NANO_LABEL, demo_photo, noisy_demo_photo
from magicbokeh_ops.evaluation.metrics import psnr, ssim
from magicbokeh_ops.synthesis.dataset import Batches
from magicbokeh_ops.synthesis.degradation import Degradation
from magicbokeh_ops.synthesis.sources import Procedural

SEED = 4242  # no training draws from it


@pytest.fixture(scope="module")
def render():
    return cli.load_renderer(checkpoint.load(NANO), torch.device("cpu"), torch.float32)


@pytest.fixture(scope="module")
def scenes():
    batches = Batches(Procedural.build(SEED, 16), 256, 1, SEED, degradation=Degradation((1.0, 1.5), "light"))
    samples = map(batches.make, range(100))
    mixed = (sample for sample in samples if 0.1 < sample.focus_mask.mean() < 0.9)
    return [next(mixed) for _ in range(6)]


@torch.inference_mode()
def run(render, sample, k=None):
    blur = sample.defocus if k is None else defocus.defocus_map(sample.disparity, float(sample.focus), k)
    return render(sample.lq, blur, defocus.focus_mask(blur))[0]


def mean(values) -> float:
    values = list(values)
    return sum(values) / len(values)


def test_it_is_small_and_says_what_it_is():
    assert NANO.stat().st_size <= 25e6
    with safe_open(NANO, "pt") as file:
        assert "nano.yaml" in json.dumps(file.metadata())
    assert checkpoint.load(NANO).config.prediction == "residual"


def test_it_restores_and_blurs_better_than_leaving_the_photo_alone(render, scenes):
    gains = {"bokeh": [], "ssim": [], "in focus": [], "restored": []}
    for sample in scenes:
        bokeh, restored, inside = run(render, sample), run(render, sample, 0), sample.focus_mask > 0.5
        gains["bokeh"].append(psnr(bokeh, sample.bokeh) - psnr(sample.lq, sample.bokeh))
        gains["ssim"].append(ssim(bokeh, sample.bokeh) - ssim(sample.lq, sample.bokeh))
        gains["in focus"].append(psnr(bokeh, sample.bokeh, inside) - psnr(sample.lq, sample.bokeh, inside))
        gains["restored"].append(psnr(restored, sample.sharp) - psnr(sample.lq, sample.sharp))
    means = {name: mean(values) for name, values in gains.items()}
    assert means["bokeh"] > 2 and means["ssim"] > 0.05 and means["in focus"] > 1 and means["restored"] > 1, means


def test_larger_k_blurs_more_outside_the_focus(render, scenes):
    for sample in scenes[:3]:
        far = defocus.defocus_map(sample.disparity, float(sample.focus), 32) > 0.3
        detail = []
        for k in (0, 8, 16, 32):
            picture = run(render, sample, k)
            steps = (picture[..., 1:] - picture[..., :-1]).square().mean(1, keepdim=True)
            detail.append(float(steps[far[..., 1:] & far[..., :-1]].mean()))
        assert detail == sorted(detail, reverse=True), detail


def test_command_line_takes_it_by_name_and_says_so(tmp_path):
    photo, disparity = tmp_path / "photo.png", tmp_path / "disparity.png"
    files.write_photo(photo, noisy_demo_photo()[..., 100:228, 150:278])
    files.write_map(disparity, demo_photo()[1][..., 100:228, 150:278])
    arguments = [
        "render",
        str(photo),
        "-d",
        str(disparity),
        "--focus",
        "0.6",
        "--model",
        "nano",
        "-o",
        str(tmp_path / "out.png"),
    ]
    result = CliRunner().invoke(cli.main, arguments)
    assert result.exit_code == 0, result.output
    assert NANO_LABEL in result.output
    assert files.read_photo(tmp_path / "out.png")[0].shape == (1, 3, 128, 128)
