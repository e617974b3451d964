import json
import math
import pickle
from dataclasses import fields

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from PIL import Image
from torch.utils.data import DataLoader

from magicbokeh_ops import files
from magicbokeh_ops.aperture import Aperture
from magicbokeh_ops.cli import main
from magicbokeh_ops.color import linear_to_srgb
from magicbokeh_ops.defocus import defocus_map, focus_mask
from magicbokeh_ops.evaluation.metrics import psnr
from magicbokeh_ops.synthesis import layered
from magicbokeh_ops.synthesis.convolution import convolve
from magicbokeh_ops.synthesis.dataset import Batches
from magicbokeh_ops.synthesis.degradation import Degradation
from magicbokeh_ops.synthesis.layered import Scenes, random_scenes, render
from magicbokeh_ops.synthesis.raytrace import Layer, rays_for, trace
from magicbokeh_ops.synthesis.scenes import three_layers
from magicbokeh_ops.synthesis.sources import Folders, Procedural
from tests.support.random_values import noise, seeded

pytestmark = pytest.mark.usefixtures("one_thread")


def psnr_in_srgb(light, truth):
    return psnr(*(linear_to_srgb(x).clamp(max=1) for x in (light, truth)))


@pytest.fixture(scope="module")
def pool():
    return Procedural.build(7, count=12, side=128)


def batched(layers, focus, k, margin):
    layers = [Layer(layer.color[None], layer.alpha[None], layer.plane) for layer in layers]
    return Scenes(layers, torch.tensor([focus]), torch.tensor([k]), margin)


# Scenes


@pytest.mark.parametrize("aperture", [Aperture(), Aperture(blades=5, rotation=20)])
@pytest.mark.parametrize("disparity", [0.1, 0.83])
def test_a_flat_layer_is_blurred_as_by_the_ray_tracer(disparity, aperture):
    layers = [Layer(noise(3, 80, 80) ** 2.2 * 3, torch.ones(1, 80, 80), (disparity, 0.0, 0.0))]
    truth = trace(layers, 0.5, 23.0, rays_for(23 * 0.4), aperture)[:, 12:-12, 12:-12]
    assert psnr_in_srgb(render(batched(layers, 0.5, 23.0, 12), aperture)[0], truth) > 55


@pytest.mark.slow
@pytest.mark.parametrize("index", [0, 1, 2])
def test_three_slanted_layers_are_close_to_the_ray_tracer(index):
    layers = three_layers(96, 12, seed=3)
    focus = float(layers[index].disparity()[0, 60, 60])
    truth = trace(layers, focus, 10.0, 400)[:, 12:-12, 12:-12]
    assert psnr_in_srgb(render(batched(layers, focus, 10.0, 12))[0], truth) > 40


def test_a_steep_layer_is_close_to_the_ray_tracer():
    """Its kernels are not discs: rays to one side meet it sooner."""
    layers = [Layer(noise(3, 100, 100), torch.ones(1, 100, 100), (0.0, 0.01, 0.002))]
    truth = trace(layers, 0.5, 18.0, 600)[:, 18:-18, 18:-18]
    assert psnr_in_srgb(render(batched(layers, 0.5, 18.0, 18))[0], truth) > 42


def test_scenes_leave_the_margin_that_blur_needs_and_cross_nowhere(pool):
    for seed in range(20):
        scenes = random_scenes(pool, 64, 4, 16.0, seeded(seed))
        disparity = [scenes.crop(layer.disparity()) for layer in scenes.layers]
        for near, far in zip(disparity, disparity[1:]):
            assert (near > far).all()
        assert disparity[0].max() <= 0.98 + 1e-5 and disparity[2].min() >= 0.02 - 1e-5
        radius = torch.stack([(d - scenes.focus.view(-1, 1, 1, 1)).abs().amax((1, 2, 3)) for d in disparity]) * scenes.k
        assert float(radius.max()) + 1 <= scenes.margin
        assert scenes.layers[0].color.shape[-1] == 64 + 2 * scenes.margin
        assert all(layer.alpha.min() >= 0 and layer.alpha.max() <= 1 for layer in scenes.layers)


def test_k_and_focus_cover_their_range():
    class Plain:
        def image(self, size, generator):
            return torch.full((3, size, size), 0.5)

        def cutout(self, size, generator):
            return torch.full((4, size, size), 0.5)

    scenes = random_scenes(Plain(), 8, 2000, 1.0, seeded())
    assert (scenes.k == 0).float().mean() == pytest.approx(0.1, abs=0.03)
    assert scenes.k[scenes.k > 0].mean() == pytest.approx(0.5, abs=0.03) and scenes.k.max() > 0.98
    assert scenes.focus.min() < 0.1 and scenes.focus.max() > 0.9


def test_a_sharp_layer_stays_sharp_and_lights_keep_their_energy():
    color = torch.zeros(3, 60, 60)
    color[:, 30, 30] = 20.0
    layers = [Layer(color, torch.ones(1, 60, 60), (0.4, 0.0, 0.0))]
    assert torch.allclose(render(batched(layers, 0.4, 20.0, 10))[0], color[:, 10:-10, 10:-10], atol=1e-4)
    disc = render(batched(layers, 0.8, 20.0, 10))[0, 0]
    assert disc.sum() == pytest.approx(20, rel=1e-4) and disc.max() < 0.3


def test_convolution_is_that_of_the_textbook():
    planes, kernels = noise(2, 3, 17, 23), noise(3, 5, 5, seed=1)
    out = convolve(planes, kernels, torch.tensor([1, 0, 1]))
    for i, source in enumerate((1, 0, 1)):
        plain = torch.nn.functional.conv2d(planes[source][:, None], kernels[i].flip(0, 1)[None, None])[:, 0]
        assert torch.allclose(out[i], plain, atol=1e-5)


# Batches


def test_a_batch_follows_from_seed_and_step(pool):
    batches = Batches(pool, 96, 2, seed=1, k_limit=6)
    first, again = batches.make(5), pickle.loads(pickle.dumps(batches)).make(5)
    for field in fields(first):
        assert torch.equal(getattr(first, field.name), getattr(again, field.name)), field.name
    others = (batches.make(6), Batches(pool, 96, 2, seed=2, k_limit=6).make(5))
    assert all(not torch.equal(first.sharp, other.sharp) and not torch.equal(first.lq, other.lq) for other in others)


def test_a_loader_gives_the_same_batches(pool):
    batches = Batches(pool, 96, 2, seed=1, k_limit=6)
    loaded = next(iter(DataLoader(batches, batch_size=None, sampler=range(5, 8), num_workers=1)))
    assert torch.equal(loaded.sharp, batches.make(5).sharp)


def test_samples_hold_what_they_promise(pool):
    sample = Batches(pool, 96, 6, seed=3, k_limit=40).make(0)
    for name in ("lq", "sharp", "bokeh"):
        assert getattr(sample, name).shape == (6, 3, 96, 96)
    for name in ("lq", "sharp", "bokeh", "disparity", "focus_mask"):
        assert getattr(sample, name).min() >= 0 and getattr(sample, name).max() <= 1
    assert sample.k.shape == sample.focus.shape == (6,)
    assert torch.equal(sample.defocus, defocus_map(sample.disparity, sample.focus.tolist(), sample.k.tolist()))
    assert torch.equal(sample.focus_mask, focus_mask(sample.defocus)) and sample.focus_mask.shape == (6, 1, 96, 96)
    assert (sample.lq - sample.sharp).abs().mean() > 0.02


def test_k_0_is_the_sharp_photo(pool, monkeypatch):
    monkeypatch.setattr(layered, "SHARP_SHARE", 1.1)
    sample = Batches(pool, 96, 3, seed=3).make(0)
    assert (sample.bokeh - sample.sharp).abs().max() < 1e-3 and not sample.defocus.any() and sample.focus_mask.all()


def test_ray_traced_batches_show_the_same_scenes(pool):
    fast, traced = (Batches(pool, 96, 1, seed=4, k_limit=4, ray_traced=how).make(1) for how in (False, True))
    assert torch.equal(fast.lq, traced.lq)
    assert 40 < -10 * math.log10(((fast.bokeh - traced.bokeh) ** 2).mean()) < 100


@pytest.mark.parametrize("option", ["size", "batch", "k_limit"])
def test_bad_batches_are_refused(pool, option):
    with pytest.raises(ValueError, match=option):
        Batches(pool, **{"size": 96, "batch": 1, "seed": 0, option: 0})


# Sources


def test_pools_of_two_seeds_have_nothing_in_common(pool):
    again, other = Procedural.build(7, count=2, side=128), Procedural.build(8, count=12, side=128)
    assert torch.equal(again.images, pool.images[:2]) and torch.equal(again.silhouettes, pool.silhouettes[:2])
    for a in pool.images:
        assert all(not torch.equal(a, b) for b in other.images)
    assert all(not torch.equal(a, b) for a in pool.silhouettes for b in other.silhouettes)


def test_procedural_pictures_have_contrast_and_any_size(pool):
    assert (pool.images.float().flatten(1).std(1) > 4).all()
    share = (pool.silhouettes > 127).float().flatten(1).mean(1)
    assert (share > 0.02).all() and (share < 0.9).all()
    for size in (40, 128, 200):
        assert pool.image(size, seeded()).shape == (3, size, size)
        cutout = pool.cutout(size, seeded())
        assert cutout.shape == (4, size, size) and cutout[3].max() > 0.9 and not cutout[3, 0].any()


@pytest.fixture
def folders(tmp_path):
    images, cutouts = tmp_path / "images", tmp_path / "cutouts"
    images.mkdir(), cutouts.mkdir()
    for i, size in enumerate(((150, 130), (70, 300))):
        files.write_photo(images / f"{i}.jpg", noise(1, 3, *size, seed=i))
    alpha = torch.zeros(1, 1, 60, 50)
    alpha[..., 20:50, 10:30] = 1
    files.write_photo(cutouts / "a.png", torch.full((1, 3, 60, 50), 0.5), alpha)
    return images, cutouts


def test_folders_give_pictures_and_cutouts(folders):
    source = Folders(*folders)
    for seed in range(4):
        assert source.image(100, seeded(seed)).shape == (3, 100, 100)
        cutout = source.cutout(100, seeded(seed))
        rows, cols = (cutout[3] > 0.5).any(1).sum(), (cutout[3] > 0.5).any(0).sum()
        assert 30 <= rows <= 81 and cols == pytest.approx(rows * 2 / 3, abs=2)
        assert torch.allclose(cutout[:3, cutout[3] > 0.5], torch.tensor(0.5), atol=0.01)
    assert Batches(source, 96, 1, seed=0).make(0).bokeh.shape == (1, 3, 96, 96)


def test_bad_files_are_named(folders, tmp_path):
    images, cutouts = folders
    (tmp_path / "none").mkdir()
    with pytest.raises(ValueError, match="none holds no pictures"):
        Folders(images, tmp_path / "none")
    with pytest.raises(ValueError, match=r"[01]\.jpg has no subject"):
        Folders(images, images).cutout(100, seeded())
    (cutouts / "a.png").write_bytes(b"not a picture")
    with pytest.raises(ValueError, match="a.png is not a picture"):
        Folders(images, cutouts).cutout(100, seeded())


# Command line


def synth(*arguments, code=0):
    result = CliRunner().invoke(main, ["synth", "--size", "96", "--count", "2", *map(str, arguments)])
    assert result.exit_code == code, result.output
    return result.output


def test_synth_writes_an_evaluation_folder(folders, tmp_path):
    images, cutouts = folders
    out = tmp_path / "set"
    synth("--output", out, "--preview", tmp_path / "sheet.png", "--images", images, "--cutouts", cutouts, "--k-limit", 8)
    settings = json.loads((out / "settings.json").read_text(encoding="utf-8"))
    assert list(settings) == ["0000", "0001"]
    for name, values in settings.items():
        assert files.read_photo(out / "input" / f"{name}.png")[0].shape == (1, 3, 96, 96)
        assert np.array(Image.open(out / "disparity" / f"{name}.png")).dtype == np.uint16
        blur = defocus_map(files.read_map(out / "disparity" / f"{name}.png"), values["focus"], values["k"])
        assert (files.read_map(out / "mask" / f"{name}.png") == focus_mask(blur)).float().mean() > 0.99
        sharp, bokeh = (files.read_photo(out / folder / f"{name}.png")[0] for folder in ("sharp", "gt"))
        assert (values["k"] == 0) == torch.equal(sharp, bokeh)
    assert files.read_photo(tmp_path / "sheet.png")[0].shape == (1, 3, 2 * 104, 6 * 104)


def test_a_set_to_evaluate_on_has_something_in_focus_and_something_out_of_it_everywhere(folders, tmp_path):
    images, cutouts = folders
    plain = Batches(Folders(images, cutouts), 96, 1, 0, 8, Degradation(4.0, "full"))
    first = next(step for step in range(50) if plain.make(step).focus_mask.unique().numel() < 2)
    synth("--output", tmp_path / "set", "--images", images, "--cutouts", cutouts, "--k-limit", 8, "--count", first + 1)
    masks = sorted((tmp_path / "set" / "mask").iterdir())
    assert len(masks) == first + 1
    assert all(files.read_map(mask).unique().numel() == 2 for mask in masks)
    assert "raise --k-limit" in synth(
        "--output", tmp_path / "flat", "--images", images, "--cutouts", cutouts, "--k-limit", 2, code=1
    )


def test_synth_says_what_is_missing(folders, tmp_path):
    assert "--preview, --output" in synth(code=2)
    assert "go together" in synth("--output", tmp_path / "set", "--images", folders[0], code=2)
