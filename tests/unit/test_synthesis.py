import json
import math
import pickle
from dataclasses import fields, replace

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
from magicbokeh_ops.synthesis import degradation, layered
from magicbokeh_ops.synthesis.convolution import convolve
from magicbokeh_ops.synthesis.dataset import Batches
from magicbokeh_ops.synthesis.degradation import Degradation, bell_kernels, sinc_kernels
from magicbokeh_ops.synthesis.layered import Scenes, random_scenes, render
from magicbokeh_ops.synthesis.raytrace import Layer, rays_for, trace
from magicbokeh_ops.synthesis.scenes import three_layers
from magicbokeh_ops.synthesis.sources import Folders, Procedural


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def noise(*shape, seed=0):
    return torch.rand(*shape, generator=seeded(seed))


def psnr_in_srgb(light, truth):
    return psnr(*(linear_to_srgb(x).clamp(max=1) for x in (light, truth)))


@pytest.fixture(scope="module", autouse=True)
def one_thread():
    """Pictures are small, and threads on a busy machine only wait for each other."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


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


# Degradation


def moments(kernel):
    """Covariance of a kernel taken as a density."""
    offset = torch.arange(-10, 11).float()
    at = torch.stack(torch.meshgrid(offset, offset, indexing="ij")[::-1])
    return torch.einsum("aij,bij,ij->ab", at, at, kernel)


def bell(sigma, rotation=0.0, beta=1.0, plateau=False, size=21):
    at = [torch.tensor([value]) for value in (sigma, rotation, beta, plateau, size)]
    return bell_kernels(*at)[0]


def test_kernels_have_their_stated_kind():
    assert torch.allclose(moments(bell((2.0, 2.0))), 4 * torch.eye(2), atol=0.05)
    turned = moments(bell((3.0, 1.0), math.pi / 4))
    assert torch.allclose(turned, torch.tensor([[5.0, 4.0], [4.0, 5.0]]), atol=0.15)
    gaussian, flat, plateau = bell((2.0, 2.0)), bell((2.0, 2.0), beta=4.0), bell((2.0, 2.0), plateau=True)
    assert gaussian[10, 12] / gaussian[10, 10] == pytest.approx(math.exp(-0.5))
    assert flat[10, 11] / flat[10, 10] == pytest.approx(math.exp(-0.5 * 0.25**4))
    assert plateau[10, 12] / plateau[10, 10] == pytest.approx(0.5)
    small = bell((2.0, 2.0), size=7)
    assert small[7:14, 7:14].sum() == pytest.approx(1) and not small[6].any() and not small[:, 14].any()


def test_sinc_kernel_is_the_formula():
    from scipy.special import j1

    kernel = sinc_kernels(torch.tensor([2.0]), torch.tensor([21]))[0]
    expected = [2 / (2 * math.pi * r) * j1(2 * r) for r in (1, 3, math.sqrt(8))]
    center = 2**2 / (4 * math.pi)
    measured = [float(kernel[10, at] / kernel[10, 10]) for at in (11, 13)] + [float(kernel[12, 12] / kernel[10, 10])]
    assert measured == pytest.approx([e / center for e in expected], abs=1e-5)
    assert kernel.sum() == pytest.approx(1) and kernel.min() < 0


@pytest.mark.parametrize("strength", ["full", "mild", "light"])
def test_random_kernels_sum_to_one_and_mix_as_stated(strength):
    first, second = degradation.STRENGTHS[strength]
    for settings in (first, second):
        kernels = degradation._random_kernels(3000, settings, seeded())
        assert torch.allclose(kernels.sum((1, 2)), torch.ones(3000), atol=1e-4)
        single = (kernels[:, 10, 10] == 1) & (kernels.abs().sum((1, 2)) == 1)
        assert single.float().mean() == pytest.approx(1 - settings.blur, abs=0.03)
        rings = kernels.amin((1, 2)) < -1e-4
        assert rings.float().mean() == pytest.approx(0.1 * settings.blur, abs=0.02)
        reach = 10 - (settings.largest // 2)
        assert not kernels[:, :reach].any() and (reach == 0 or kernels[:, reach].any())


def test_noise_has_its_level():
    gray = torch.full((400, 3, 32, 32), 0.5)
    settings = replace(degradation.STRENGTHS["full"][0], poisson=(0, 0))
    out = degradation._add_noise(gray, settings, seeded(), seeded(1)) - gray
    noisy = out.flatten(1).any(1)
    assert noisy.float().mean() == pytest.approx(0.5, abs=0.08)
    same = (out[:, 0] == out[:, 1]).flatten(1).all(1) & noisy
    assert same.sum() / noisy.sum() == pytest.approx(0.4, abs=0.1)
    assert not torch.equal(out[same][0] / out[same][0].std(), out[same][1] / out[same][1].std())
    spread = out[noisy].flatten(1).std(1) * 255
    assert spread.mean() == pytest.approx(15.5, abs=1.5) and 0.9 < spread.min() < 3 and 28 < spread.max() < 31
    assert out.mean() == pytest.approx(0, abs=1e-3)


def test_shot_noise_follows_the_light():
    levels = torch.arange(256).repeat(64).view(1, 1, 128, 128) / 255
    drawn = degradation._shot_noise(levels.expand(30, 1, 128, 128), seeded())
    for level in (64, 200):
        values = drawn[(levels * 255).round().expand_as(drawn) == level]
        assert values.mean() == pytest.approx(0, abs=0.005)
        assert values.var() == pytest.approx(level / 255 / 256, rel=0.1)


@pytest.mark.parametrize(("scale", "strength"), [(4.0, "full"), (2.0, "mild"), (1.0, "full")])
def test_degradation_keeps_odd_sizes_and_loses_detail(scale, strength):
    photos = noise(2, 3, 97, 131)
    out = Degradation(scale, strength)(photos, seeded(2))
    assert out.shape == photos.shape and out.min() >= 0 and out.max() <= 1
    assert torch.equal(out, Degradation(scale, strength)(photos, seeded(2)))
    assert not torch.equal(out, Degradation(scale, strength)(photos, seeded(3)))


def test_a_smaller_scale_and_mild_keep_more():
    photos = torch.nn.functional.interpolate(noise(4, 3, 24, 24), size=96, mode="bicubic").clamp(0, 1)

    def error(*settings):
        return sum(float((Degradation(*settings)(photos, seeded(i)) - photos).square().mean()) for i in range(6))

    assert error(1.0, "light") < error(1.0, "mild") < error(4.0, "mild") < error(4.0, "full")


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Degradation(scale=0.5), "scale is 0.5"),
        (lambda: Degradation(strength="harsh"), "harsh"),
        (lambda: Degradation()(noise(1, 3, 60, 200), seeded()), "60 x 200"),
    ],
)
def test_bad_degradation_is_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()


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
