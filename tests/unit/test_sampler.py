"""The one step around a small random network and a codec whose result is known."""

from functools import partial

import pytest
import torch
import torch.nn.functional as F

from magicbokeh_ops import sampler
from magicbokeh_ops.model.network import Config, ControlNet, UNet
from magicbokeh_ops.model.patch_codec import PatchCodec
from magicbokeh_ops.model.tiling import smooth_ramp
from magicbokeh_ops.sampler import Budget

GAIN = sampler.alpha_at(999) ** 0.5
SMALL = Config(channels=(32, 32, 64, 64), heads=(1, 1, 2, 0), rank=4, hint_channels=(8, 16, 16, 32))


class LinearCodec:
    """Means of 8 x 8 cells, stored so small that a network which predicts nothing gives the picture back."""

    cell = 8

    def __init__(self, tint=0.0):
        self.tint, self.calls = tint, []

    def encode(self, image, noise=None):
        self.calls.append(("encode", *image.shape[-2:]))
        small = F.avg_pool2d(image, 8) * GAIN
        latent = torch.cat([small, small.mean(1, keepdim=True)], 1)
        return latent if noise is None else latent + 0.001 * noise

    def decode(self, latent):
        self.calls.append(("decode", *latent.shape[-2:]))
        picture = F.interpolate(latent[:, :3], scale_factor=8, mode="bilinear")
        return picture + self.tint * picture.mean((2, 3), keepdim=True)


def nothing(latent, defocus, regions):
    return latent / GAIN


@pytest.fixture(scope="module")
def network():
    """Random, with a prediction of a few percent of the picture."""
    torch.manual_seed(2)
    unet, controlnet = UNet(SMALL).eval(), ControlNet(SMALL).eval()
    for parameter in (*unet.parameters(), *controlnet.parameters()):
        parameter.requires_grad_(False)
        if parameter.ndim > 1:
            torch.nn.init.normal_(parameter, std=1 / parameter[0].numel() ** 0.5)
    unet.conv_out.weight *= 0.0225 * GAIN * Config().latent_scale
    unet.conv_out.bias *= 0
    return partial(sampler.predict, unet, controlnet)


def picture(height, width, seed=0):
    small = torch.rand(1, 3, height // 16 + 1, width // 16 + 1, generator=torch.Generator().manual_seed(seed))
    return F.interpolate(small, size=(height, width), mode="bicubic").clamp(0, 1)


def ramp(height, width):
    return torch.linspace(0.2, 0.8, width).expand(1, 3, height, width).contiguous()


def flat(image, value=0.0):
    return torch.full_like(image[:, :1], value)


@pytest.mark.parametrize("size", [(512, 512), (64, 64), (65, 131), (700, 1201), (1030, 200)])
@pytest.mark.parametrize("preset", sampler.PRESETS)
def test_any_size_comes_back_in_place(size, preset):
    image = picture(*size)
    out, latent = sampler.render(LinearCodec(), nothing, image, flat(image), preset=preset, color_fix="none")
    assert out.shape == image.shape
    expected = F.interpolate(F.avg_pool2d(image, 8, ceil_mode=True), scale_factor=8, mode="bilinear")
    assert (out - expected[..., : size[0], : size[1]]).abs()[..., 16:-16, 16:-16].mean() < 0.02
    if preset == "fast":
        assert latent.shape == (1, 4, -(-size[0] // 8), -(-size[1] // 8))
        again = LinearCodec().decode(latent).add(1).div(2)[..., : size[0] - 12, : size[1] - 12]
        assert torch.allclose(again, out[..., :-12, :-12], atol=1e-3)
    else:
        assert latent is None and torch.equal((out * 255).round() / 255, out)


@pytest.mark.parametrize("upscale", [1.5, 2, 4])
def test_upscaling_comes_before_the_step(upscale):
    image = picture(100, 150)
    out, _ = sampler.render(LinearCodec(), nothing, image, flat(image), upscale=upscale, color_fix="none")
    assert out.shape[-2:] == (round(100 * upscale), round(150 * upscale))
    large = F.interpolate(image, size=out.shape[-2:], mode="bicubic")
    assert (out - large).abs().mean() < 0.03


@pytest.mark.parametrize("preset", sampler.PRESETS)
@pytest.mark.parametrize("upscale", [1, 2])
def test_light_above_1_and_below_0_is_cut_off(preset, upscale):
    """A few pixels of a codec that mixes the whole picture must not turn it dark."""
    image = picture(200, 300)
    image.view(3, -1)[:, ::2400] = 30
    image.view(3, -1)[:, 1200::2400] = -30
    for color_fix in sampler.COLOR_FIXES:
        render = partial(sampler.render, LinearCodec(tint=0.1), nothing, preset=preset, upscale=upscale, color_fix=color_fix)
        assert torch.equal(render(image, flat(image))[0], render(image.clamp(0, 1), flat(image))[0])


@pytest.mark.parametrize("preset", sampler.PRESETS)
def test_dtypes_and_layouts_of_the_input(preset):
    image = picture(512, 512)
    mask, blur = (picture(512, 512, 1)[:, :1] > 0.5).float(), picture(512, 512, 2)[:, :1]

    def hinted(latent, defocus, regions):
        hints = defocus if regions is None else defocus - regions
        return nothing(latent, defocus, regions) + 0.1 * F.avg_pool2d(hints, 8)

    render = partial(sampler.render, LinearCodec(), hinted, preset=preset)
    expected = render(image, blur, mask)[0]
    for dtype in (torch.float64, torch.float16):
        out, latent = render(image.to(dtype), blur.to(dtype), mask.to(dtype))
        assert out.dtype == dtype and (latent is None or latent.dtype == torch.float32)
        assert (out - expected).abs().mean() < 1e-3
    assert torch.equal(render(image, blur, mask > 0)[0], expected)
    for change in (
        lambda x: x.mT.contiguous().mT,
        lambda x: x.contiguous(memory_format=torch.channels_last),
        lambda x: x.repeat_interleave(2, -1)[..., ::2],
    ):
        assert (render(change(image), change(blur), change(mask))[0] - expected).abs().max() < 1.01 / 255
    grey, flat_blur = image[:, :1].expand(-1, 3, -1, -1), torch.tensor(0.3).expand(1, 1, 512, 512)
    wide = render(grey.contiguous(), flat_blur.contiguous())[0]
    assert (render(grey, flat_blur)[0] - wide).abs().max() < 1.01 / 255


@pytest.mark.slow
@torch.inference_mode()
def test_a_radius_ends_at_half_the_longer_side(network):
    image = picture(100, 150)
    huge = sampler.render(LinearCodec(), network, image, flat(image, 1e30))[0]
    assert torch.isfinite(huge).all()
    assert torch.equal(huge, sampler.render(LinearCodec(), network, image, flat(image, 75 / 32))[0])


def cut(start, length, tile, overlap):
    """Half of the overlap from each side, without any blending."""
    weight = torch.ones(tile)
    weight[: overlap // 2 if start else 0] = 0
    weight[tile - overlap // 2 if start + tile < length else tile :] = 0
    return weight


@pytest.mark.long
@torch.inference_mode()
def test_no_seam_on_a_flat_gradient(network, monkeypatch):
    """A prediction that changes the picture by some levels, for which a hard cut between tiles is too much."""
    image = ramp(1100, 1500)
    steps = {}
    for name, ramps in (("smooth", smooth_ramp), ("cut", cut)):
        monkeypatch.setattr("magicbokeh_ops.model.sampler.smooth_ramp", ramps)
        out, _ = sampler.render(LinearCodec(), network, image, flat(image, 0.3), color_fix="none")
        changed = (out - image)[..., 128:-128, 128:-128] * 255  # the network's own border is no seam
        steps[name] = max(changed.diff(dim=axis).abs().max() for axis in (2, 3))
        assert changed.abs().max() > 3
    assert steps["smooth"] < 1 < steps["cut"]


def test_no_seam_between_tiles_of_the_codec():
    """Each tile's own statistics tint it, as group normalisation does."""
    image, codec = ramp(600, 1500), LinearCodec(tint=0.1)
    out, _ = sampler.render(codec, nothing, image, flat(image), color_fix="none", budget=Budget(codec_tile=64))
    assert len(codec.calls) > 8
    changed = (out - image)[..., 16:-16, 16:-16]
    assert changed.abs().max() > 5 / 255 and changed.diff(dim=3).abs().max() < 1 / 255


def test_the_whole_image_is_coded_at_once():
    image, codec = picture(1100, 1500), LinearCodec()
    sampler.render(codec, nothing, image, flat(image))
    assert codec.calls == [("encode", 1104, 1504), ("decode", 138, 188)]


@pytest.mark.long
@torch.inference_mode()
def test_batches_of_tiles_give_the_same(network):
    image = picture(600, 1200)
    mask = (picture(600, 1200, 1)[:, :1] > 0.5).float()
    alone, _ = sampler.render(LinearCodec(), network, image, flat(image, 0.3), mask)
    for batch in (2, 5):
        together, _ = sampler.render(LinearCodec(), network, image, flat(image, 0.3), mask, budget=Budget(batch=batch))
        assert torch.allclose(alone, together, atol=1e-5)


@pytest.mark.long
@torch.inference_mode()
@pytest.mark.parametrize("preset", sampler.PRESETS)
def test_defocus_and_mask_reach_the_network_in_place(network, preset):
    """A change of the maps' left half changes the left half of the picture most."""
    image = picture(512, 1500)
    half = flat(image)
    half[..., :500] = 1
    options = {"preset": preset, "color_fix": "none"}
    plain, _ = sampler.render(LinearCodec(), network, image, flat(image), None, **options)
    for maps in ((half, None), (flat(image), half)):
        out, _ = sampler.render(LinearCodec(), network, image, *maps, **options)
        changed = (out - plain).abs()
        assert changed[..., :400].mean() > 2 * changed[..., 1000:].mean()
    small = F.interpolate(half, size=(128, 375), mode="area")
    out, _ = sampler.render(LinearCodec(), network, image, half, None, **options)
    again, _ = sampler.render(LinearCodec(), network, image, small, None, **options)
    assert (out - again).abs().mean() < (out - plain).abs().mean() / 2


@pytest.mark.parametrize("preset", sampler.PRESETS)
def test_the_mean_by_default_and_a_sample_by_seed(preset):
    image = picture(512, 700)
    found = [
        sampler.render(LinearCodec(), nothing, image, flat(image), preset=preset, seed=seed)[0]
        for seed in (None, None, 1, 1, 2)
    ]
    assert torch.equal(found[0], found[1]) and torch.equal(found[2], found[3])
    assert (found[2] - found[0]).abs().max() > 1 / 255 and (found[3] - found[4]).abs().max() > 1 / 255


@pytest.mark.long
@torch.inference_mode()
def test_less_at_once_when_memory_runs_out(network):
    """First one tile at a time, then smaller ones; what is no lack of memory passes through."""
    image, tried = picture(512, 1200), []

    def work(budget):
        tried.append(budget)
        if budget.tile > 36:
            raise torch.OutOfMemoryError
        return sampler.render(LinearCodec(), network, image, flat(image, 0.3), budget=budget)[0]

    freed = []
    fits = partial(sampler.smaller_until_it_fits, out_of_memory=lambda e: isinstance(e, torch.OutOfMemoryError))
    out = fits(work, Budget(batch=2), free=lambda: freed.append(1))
    assert [(b.tile, b.codec_tile, b.batch) for b in tried] == [(72, 256, 2), (72, 256, 1), (36, 128, 1)] and len(freed) == 2
    whole = sampler.render(LinearCodec(), network, image, flat(image, 0.3))[0]
    assert 0 < (out - whole).abs().mean() < 5 / 255
    with pytest.raises(torch.OutOfMemoryError):
        fits(lambda budget: (_ for _ in ()).throw(torch.OutOfMemoryError()), Budget(), free=lambda: None)
    with pytest.raises(ZeroDivisionError):
        fits(lambda budget: 1 / 0, Budget(), free=lambda: None)


def test_colours():
    """The codec's tint is a colour cast that both transfers take away again."""
    image = picture(512, 512) * 0.6 + 0.3
    error = {}
    for name in sampler.COLOR_FIXES:
        out, _ = sampler.render(LinearCodec(tint=0.5), nothing, image, flat(image), color_fix=name)
        error[name] = (out.mean((2, 3)) - image.mean((2, 3))).abs().max()
    assert error["none"] > 0.04 and error["adain"] < 0.005 and error["wavelet"] < 0.005


@pytest.mark.parametrize("shape", [(1, 3, 1, 1), (2, 3, 1, 5), (1, 3, 4, 4)])
def test_colours_of_flat_and_tiny_pictures(shape):
    for transfer in sampler.COLOR_FIXES.values():
        for image, photo in ((torch.full(shape, 0.5), torch.rand(shape)), (torch.rand(shape), torch.full(shape, 0.2))):
            out = transfer(image, photo)
            assert out.shape == shape and out.amin() >= 0 and out.amax() <= 1


@pytest.mark.parametrize("preset", sampler.PRESETS)
def test_progress_counts_up_to_its_end_and_can_stop(preset):
    image, seen = picture(512, 1200), []
    arguments = LinearCodec(), nothing, image, flat(image)
    sampler.render(*arguments, preset=preset, progress=lambda done, total: seen.append((done, total)))
    assert [done for done, _ in seen] == list(range(seen[0][1] + 1)) and len({total for _, total in seen}) == 1

    def stop(done, total):
        if done == 1:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        sampler.render(*arguments, preset=preset, progress=stop)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"image": picture(40, 200)}, "image is 200 x 40 pixels"),
        ({"image": picture(100, 100) * float("nan")}, "image holds NaN"),
        ({"defocus": torch.full((1, 1, 100, 100), float("inf"))}, "defocus holds NaN"),
        ({"noise": torch.zeros(1, 4, 64, 64), "seed": 1}, "seed and noise are both given"),
        ({"noise": torch.zeros(1, 4, 64, 64)}, "noise is for the tiles"),
        ({"preset": "best"}, "preset is 'best'"),
        ({"color_fix": "lab"}, "color_fix is 'lab'"),
        ({"image": picture(100, 100).expand(2, -1, -1, -1)}, "image has 2 frames"),
        ({"image": picture(100, 100)[:0]}, "image is empty"),
        ({"defocus": torch.zeros(3, 1, 100, 100)}, "defocus has 3 frames"),
        ({"defocus": torch.full((1, 1, 100, 100), -0.1)}, "defocus goes down to -0.1"),
        ({"focus_mask": torch.zeros(100, 100)}, "focus_mask has shape"),
        ({"focus_mask": torch.full((1, 1, 100, 100), float("nan"))}, "focus_mask holds NaN"),
        ({"upscale": 5}, "upscale is 5"),
        ({"upscale": 0.5}, "upscale is 0.5"),
    ],
)
def test_bad_input_is_named(changes, message):
    image = picture(100, 100)
    with pytest.raises(ValueError, match=message):
        sampler.render(**{"codec": LinearCodec(), "predict": nothing, "image": image, "defocus": flat(image), **changes})


@pytest.mark.slow
@torch.no_grad()
@pytest.mark.parametrize("preset", sampler.PRESETS)
def test_a_codec_with_other_cells(preset):
    """The lossless codec has cells of 4 pixels: the picture is one tile of them, and a network that predicts nothing changes nothing."""
    image, sizes = ramp(300, 810), []

    def network(latent, defocus, regions):
        sizes.append((latent.shape[1:], defocus.shape[-2:]))
        return latent

    out, latent = sampler.render(PatchCodec(), network, image, flat(image, 0.2), preset=preset)
    assert (out - image).abs().max() < (1e-5 if preset == "fast" else 1.01 / 255)
    assert sizes == [((48, 75, 203), (300, 812))]
    if preset == "fast":
        assert latent.shape == (1, 48, 75, 203)
        sampler.render(PatchCodec(), network, image, flat(image, 0.2), budget=Budget(tile=10, batch=4))
        assert len(sizes) == 1 + 2 and all(shape[2] <= 140 for shape, _ in sizes[1:])
    with pytest.raises(ValueError, match="no posterior"):
        sampler.render(PatchCodec(), network, image, flat(image), preset="fast", seed=1)
