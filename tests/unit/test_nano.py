"""The checkpoint that comes with the pack: what docs/nano.md says of it, on a few scenes that it has not seen."""

import json
from functools import partial

import pytest
import torch
from click.testing import CliRunner
from safetensors import safe_open

from magicbokeh_ops import defocus, files, sampler
from magicbokeh_ops.cli import main
from magicbokeh_ops.demo import NANO, NANO_LABEL, demo_photo, noisy_demo_photo
from magicbokeh_ops.evaluation.metrics import psnr, ssim
from magicbokeh_ops.model.network import ControlNet, UNet
from magicbokeh_ops.renderer import load_renderer
from magicbokeh_ops.synthesis.dataset import Batches
from magicbokeh_ops.synthesis.degradation import Degradation
from magicbokeh_ops.synthesis.sources import Procedural
from magicbokeh_ops.weights import checkpoint
from tests.support.memory_peak import peak_of

SEED = 4242  # no training draws from it


@pytest.fixture(scope="module")
def render():
    return load_renderer(checkpoint.load(NANO), torch.device("cpu"), torch.float32)


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


@pytest.mark.long
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


@pytest.mark.long
def test_larger_k_blurs_more_outside_the_focus(render, scenes):
    for sample in scenes[:3]:
        far = defocus.defocus_map(sample.disparity, float(sample.focus), 32) > 0.3
        detail = []
        for k in (0, 8, 16, 32):
            picture = run(render, sample, k)
            steps = (picture[..., 1:] - picture[..., :-1]).square().mean(1, keepdim=True)
            detail.append(float(steps[far[..., 1:] & far[..., :-1]].mean()))
        assert detail == sorted(detail, reverse=True), detail


@pytest.mark.long
@torch.inference_mode()
def test_neither_tiles_nor_colour_fix_nor_preset_change_it(render):
    """The statistics of its norms are those of the whole picture: tiles of 256 pixels made 60 levels of difference."""
    photo, near = noisy_demo_photo()[..., 60:350, 100:420], demo_photo()[1][..., 60:350, 100:420]
    blur = defocus.defocus_map(near, 0.6, 24)
    mask = defocus.focus_mask(blur)
    plain, latent = render(photo, blur, mask)
    assert torch.equal(render(photo, blur, mask, color_fix="none")[0], plain)
    released, latent_of_released = render(photo, blur, mask, preset="reference")
    assert (plain - released).abs().max() < 1.01 / 255 and torch.equal(latent, latent_of_released)
    less = render(photo, blur, mask, budget=sampler.Budget(tile=32, codec_tile=48, batch=4))[0]
    assert (less - plain).abs().max() < 0.5 / 255


@pytest.fixture
def networks():
    weights = checkpoint.fold_time(checkpoint.load(NANO))
    found = UNet(weights.config).eval(), ControlNet(weights.config).eval()
    for network, tensors in zip(found, (weights.unet, weights.controlnet)):
        network.load_state_dict(tensors)
    return found


@pytest.mark.long
@torch.inference_mode()
def test_a_prediction_of_the_whole_keeps_to_the_memory_it_asks_for(networks):
    held, promised = [], []
    for side in (32, 96):
        latent, regions = torch.zeros(1, 48, side, side), torch.zeros(1, 1, 4 * side, 4 * side)
        regions[..., : 2 * side] = 1
        held.append(peak_of(partial(sampler.predict, *networks, latent, torch.zeros_like(regions), regions)))
        promised.append(sampler.memory_needed(latent.shape, torch.float32))
    assert held[1] <= promised[1] and held[1] - held[0] <= promised[1] - promised[0]


@pytest.mark.long
@torch.inference_mode()
def test_a_prediction_can_be_stopped_in_lens_and_networks(networks):
    latent, blur, called = torch.rand(1, 48, 64, 64), torch.full((1, 1, 256, 256), 0.2), []
    plain = sampler.predict(*networks, latent, blur, None)
    sampler.predict(*networks, latent, blur, None, report=lambda: called.append(1))
    for count in (1, len(called)):  # the first is in the lens, the last in the U-Net
        left = [None] * (count - 1)
        with pytest.raises(IndexError):
            sampler.predict(*networks, latent, blur, None, report=left.pop)
    assert torch.equal(sampler.predict(*networks, latent, blur, None), plain)


@pytest.mark.long
@torch.inference_mode()
def test_frames_of_a_batch_are_independent(networks):
    """One of them without any blur, whose start is the photo with all that is brighter than white."""
    latent, blur = 2.4 * torch.rand(2, 48, 32, 32) - 1.2, torch.zeros(2, 1, 128, 128)
    blur[1] = 0.3
    together = sampler.predict(*networks, latent, blur, None)
    for i in range(2):
        alone = sampler.predict(*networks, latent[i : i + 1], blur[i : i + 1], None)
        assert (together[i] - alone[0]).abs().max() < 1e-4


@pytest.mark.long
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
    result = CliRunner().invoke(main, arguments)
    assert result.exit_code == 0, result.output
    assert NANO_LABEL in result.output
    assert files.read_photo(tmp_path / "out.png")[0].shape == (1, 3, 128, 128)
