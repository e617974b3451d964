"""What comes into the nodes' sockets: each kind is taken as meant, or refused in one sentence."""

from pathlib import Path

import pytest
import torch

from tests.support import stand_in_host as host
from tests.support.node_pictures import HEIGHT, WIDTH, noise, ramp
from tests.support.small_models import nano_like

GOLDEN = Path(__file__).parents[1] / "parity" / "golden"
DEPTH_MODEL = host.nodes.depth.load_depth_model(GOLDEN / "depth" / "DAdepth_tiny.pth")

torch.manual_seed(0)
WEIGHTS = nano_like()
NANO, VAE = host.nodes.bokeh_model.load_model(WEIGHTS), host.nodes.bokeh_model.load_vae(WEIGHTS.vae)

KNOWN = {"depth_is": "disparity, one distance known", "known_x": 0.75}


def sampled(image=None, defocus=None, focus_mask=None):
    """What the sampler makes of the smallest model there is."""
    model = NANO if focus_mask is None else host.run(host.nodes.MaskedAttention, model=NANO, focus_mask=focus_mask)[0]
    return host.run(host.nodes.Sampler, model=model, vae=VAE, image=image, defocus=defocus)


# Every socket for a picture or a map, with what goes into the others.
PICTURES = {
    "disparity": lambda image: host.run(
        host.nodes.FindDisparity, depth_model=DEPTH_MODEL, image=image, input_size=140, refine=2
    ),
    "lens": lambda image: host.run(host.nodes.LensBlur, image=image, disparity=ramp(), k=4.0),
    "sweep": lambda image: host.run(host.nodes.Sweep, image=image, disparity=ramp(), frames=2, k_from=4.0, k_to=2.0),
    "defocus map": lambda image: host.run(host.nodes.DefocusMap, image=image, disparity=ramp()),
    "disparity from": lambda image: host.run(host.nodes.DisparityFrom, image=image, depth=ramp(), refine=2),
    "touch-up": lambda image: host.run(host.nodes.DisparityTouchUp, image=image, disparity=ramp(), mask=ramp(), edge=2),
    "steady": lambda image: host.run(host.nodes.SteadyDisparity, image=image, disparity=ramp(2)),
    "matte": lambda image: host.run(host.nodes.MatteFromDisparity, image=image, disparity=(ramp() > 0.5).float(), reach=1),
}
SAMPLED = {"sampler": lambda image: sampled(image, ramp())}
MASKS = {
    "focus_mask of Defocus Map": lambda mask: host.run(
        host.nodes.DefocusMap, disparity=ramp(), focus_mode="mask", focus_mask=mask
    ),
    "focus_mask of Masked Attention": lambda mask: (
        host.run(host.nodes.MaskedAttention, model=NANO, focus_mask=mask)[0].focus_mask,
    ),
    "defocus of Focus Mask": lambda mask: host.run(host.nodes.FocusMask, defocus=mask),
    "disparity of Lens Blur": lambda mask: host.run(host.nodes.LensBlur, image=noise(), disparity=mask, k=4.0),
    "disparity of Sweep": lambda mask: host.run(
        host.nodes.Sweep, image=noise(), disparity=mask, frames=2, k_from=4.0, k_to=2.0
    ),
    "disparity of Defocus Map": lambda mask: host.run(host.nodes.DefocusMap, disparity=mask),
    "disparity of Touch-Up": lambda mask: host.run(host.nodes.DisparityTouchUp, disparity=mask, mask=ramp()),
    "disparity of Steady": lambda mask: host.run(host.nodes.SteadyDisparity, disparity=mask, image=noise()),
    "mask of Touch-Up": lambda mask: host.run(host.nodes.DisparityTouchUp, disparity=1 - ramp(), mask=mask),
    "things of By Hand": lambda mask: host.run(host.nodes.DisparityByHand, image=noise(), things=mask),
    "disparity of Matte": lambda mask: host.run(host.nodes.MatteFromDisparity, image=noise(), disparity=mask),
    "mask of Matte": lambda mask: host.run(host.nodes.MatteFromDisparity, image=noise(), disparity=ramp(), mask=mask),
    "sky": lambda mask: host.run(host.nodes.DisparityFrom, depth={"depth": 1 + ramp(), "sky": mask}),
}
DEPTHS = {
    "depth": lambda mask: host.run(host.nodes.DisparityFrom, depth=mask),
    "geometry": lambda mask: host.run(host.nodes.DisparityFrom, depth={"depth": mask}),
    "depth of Camera": lambda mask: host.run(host.nodes.Camera, depth=mask, **KNOWN)[:3],
    "geometry of Camera": lambda mask: host.run(host.nodes.Camera, depth={"depth": mask}, **KNOWN)[:3],
}


def every(sockets):
    return pytest.mark.parametrize("give", sockets.values(), ids=sockets)


def same(found, expected, tolerance):
    for one, other in zip(found, expected):
        assert torch.allclose(
            torch.as_tensor(one, dtype=torch.float32), torch.as_tensor(other, dtype=torch.float32), atol=tolerance
        )


INTEGERS = {torch.uint8: 255, torch.uint16: 65535, torch.int16: 32767, torch.int32: 255, torch.int64: 65535}
FLOATS = (torch.float16, torch.bfloat16, torch.float64)


@pytest.mark.slow
@every(PICTURES)
@pytest.mark.parametrize("kind", [*INTEGERS, *FLOATS], ids=str)
def test_pictures_of_any_type(give, kind):
    levels = (noise() * INTEGERS.get(kind, 1)).round() if kind in INTEGERS else noise().to(kind)
    same(give(levels.to(kind)), give(levels.float() / INTEGERS.get(kind, 1)), 1e-5)


@every({**MASKS, **DEPTHS})
@pytest.mark.parametrize("kind", [*INTEGERS, *FLOATS], ids=str)
def test_maps_of_any_type(give, kind):
    levels = (ramp() * INTEGERS.get(kind, 1)).round() if kind in INTEGERS else ramp().to(kind)
    same(give(levels.to(kind)), give(levels.float() / INTEGERS.get(kind, 1)), 1e-4)


@pytest.mark.slow
@pytest.mark.parametrize("kind", [kind for kind in INTEGERS if kind != torch.uint8], ids=str)
@every({**PICTURES, **MASKS, **DEPTHS})
def test_8_bits_in_a_wider_type(give, kind):
    levels = (255 * (noise() if give in PICTURES.values() else ramp())).round()
    same(give(levels.to(kind)), give(levels / 255), 1e-4)


@every({**MASKS, **DEPTHS})
@pytest.mark.parametrize("kind", [torch.bool, torch.uint8, torch.uint16, torch.int64], ids=str)
def test_labels_of_any_type(give, kind):
    labels = (ramp() > 0.5).to(kind)
    same(give(labels), give(labels.float()), 1e-6)


@every({**MASKS, **DEPTHS})
@pytest.mark.parametrize("shape", [(66, 88), (1, 1, 66, 88), (1, 66, 88, 1)], ids=str)
def test_masks_as_other_packs_shape_them(give, shape):
    same(give(ramp().reshape(shape)), give(ramp()), 0)


@every({**PICTURES, **SAMPLED})
def test_pictures_of_one_channel_are_grey(give):
    grey = noise(channels=1)
    found, expected = give(grey), give(grey.expand(-1, -1, -1, 3))
    assert found[0].shape == expected[0].shape
    same(found[:1], expected[:1], 1e-6)


@every({**PICTURES, **SAMPLED})
def test_pictures_in_0_to_255_are_refused(give):
    """Also as one frame of a clip."""
    for image in (255 * noise(), 2 * noise() - 1):
        for clip in (image, torch.cat([noise(2), image])):
            with pytest.raises(ValueError, match="image goes from"):
                give(clip)


@every({**PICTURES, **SAMPLED})
@pytest.mark.parametrize("bad", [float("inf"), float("-inf"), float("nan")])
def test_what_is_no_light_is_refused(give, bad):
    image = noise()
    image[0, 3, 4, 1] = bad
    with pytest.raises(ValueError, match="^image holds NaN or infinite values"):
        give(image)


@every({**MASKS, "depth": DEPTHS["depth"]})
def test_maps_may_overshoot_as_resampling_does(give):
    for one, other in zip(give(1.04 * ramp() - 0.02), give(ramp())):
        assert (torch.as_tensor(one) - torch.as_tensor(other)).abs().mean() < 0.05


@pytest.mark.long
def test_overshooting_inverted_depth_and_defocus():
    for convention in ("depth (near = black)", "inverted depth (near = white)"):
        (found,) = host.run(host.nodes.DisparityFrom, depth=1.04 * ramp() - 0.02, convention=convention)
        assert found.min() >= 0 and found.max() <= 1
    (picture, _) = sampled(torch.cat([noise(), 1.04 * ramp()[..., None] - 0.02], -1), 1.04 * ramp() - 0.02)
    assert picture.min() >= 0 and picture.max() <= 1


@every(MASKS)
def test_maps_in_0_to_255_are_refused(give):
    for mask in (255 * ramp(), 2 * ramp() - 1):
        with pytest.raises(ValueError, match="goes from"):
            give(mask)


def test_defocus_of_the_largest_k_is_taken():
    (defocus, *_) = host.run(host.nodes.DefocusMap, disparity=ramp(), k=512.0, focus_mode="value", focus=0.0)
    assert defocus.amax() == 16
    assert host.run(host.nodes.FocusMask, defocus=defocus)[0].amax() == 1


def test_the_sampler_refuses_what_is_no_picture_no_defocus_or_no_mask():
    for inputs, message in (
        ({"image": 255 * noise(), "defocus": ramp()}, "image goes from"),
        ({"image": noise(), "defocus": 255 * ramp()}, r"defocus goes from 0 to 255; it must lie in 0..16"),
        ({"image": noise(), "defocus": ramp(), "focus_mask": 255 * ramp()}, "focus_mask goes from"),
        ({"image": noise(0), "defocus": ramp()}, "image is empty"),
        ({"image": noise(), "defocus": ramp(0)}, "defocus is empty"),
        ({"image": noise(2), "defocus": ramp(3)}, "image has 2 frames for 3 of defocus"),
        ({"image": noise(), "defocus": ramp(1, 66, 66)}, "defocus is 66 x 66 pixels and the photo 88 x 66"),
        ({"image": noise(), "defocus": ramp(), "focus_mask": ramp(1, 66, 66)}, "focus_mask is 66 x 66 pixels"),
    ):
        with pytest.raises(ValueError, match=message):
            sampled(**inputs)


@pytest.mark.long
def test_the_sampler_takes_bytes_and_the_empty_mask_of_load_image():
    image, defocus, mask = ((255 * x).round() for x in (noise(), ramp() / 16, ramp()))
    found, _ = sampled(image.byte(), defocus.byte(), mask.byte())
    same([found], sampled(image / 255, defocus / 255, mask / 255)[:1], 1e-5)
    assert sampled(noise(), torch.zeros(1, 64, 64), torch.zeros(1, 64, 64))[0].shape == (1, HEIGHT, WIDTH, 3)


def light_and_overshoot() -> tuple[torch.Tensor, torch.Tensor]:
    """A picture, and the same with a lamp as bright as half precision goes and with pixels below black."""
    plain = noise()
    odd = plain.clone()
    odd[:, 30:33, 2:5], odd[:, 30:33, 6:8] = 65504.0, -0.2
    return plain, odd


@every({name: PICTURES[name] for name in ("lens", "sweep")})
def test_light_spreads_no_farther_than_its_disc(give):
    plain, odd = map(give, light_and_overshoot())
    assert torch.isfinite(odd[0]).all()
    assert torch.allclose(odd[0][:, :, 40:], plain[0][:, :, 40:], atol=2e-3)


@every({name: PICTURES[name] for name in ("disparity", "disparity from", "defocus map", "touch-up")})
def test_light_is_white_where_pictures_are_looked_at(give):
    _, odd = light_and_overshoot()
    same(give(odd), give(odd.clamp(0, 1)), 1e-6)


@every({**PICTURES, **SAMPLED})
@pytest.mark.parametrize("shape", [(0, HEIGHT, WIDTH), (1, 0, WIDTH), (1, HEIGHT, 0)])
def test_no_picture_is_one_sentence(give, shape):
    with pytest.raises(ValueError, match="^image is empty"):
        give(torch.zeros(*shape, 3))


@every({**MASKS, **DEPTHS})
@pytest.mark.parametrize("shape", [(0, HEIGHT, WIDTH), (1, 0, WIDTH), (1, HEIGHT, 0), (0, WIDTH)])
def test_no_map_is_one_sentence(give, shape):
    with pytest.raises(ValueError, match=r"^\w+ is empty"):
        give(torch.zeros(*shape))


def test_no_depth_picture_is_one_sentence():
    with pytest.raises(ValueError, match="^depth is empty"):
        host.run(host.nodes.DisparityFrom, depth=torch.zeros(0, HEIGHT, WIDTH, 3))


@every({**PICTURES, **SAMPLED})
def test_a_picture_without_its_batch_is_no_clip(give):
    with pytest.raises(ValueError, match="image has shape"):
        give(noise()[0])


@every(MASKS)
def test_a_picture_in_place_of_a_mask_is_no_clip(give):
    with pytest.raises(ValueError, match="a picture without its batch"):
        give(noise()[0])


def test_a_depth_picture_without_its_batch_is_one_picture():
    picture = ramp()[..., None].expand(-1, -1, -1, 3)
    same(host.run(host.nodes.DisparityFrom, depth=picture[0]), host.run(host.nodes.DisparityFrom, depth=picture), 0)
    narrow = torch.rand(3, HEIGHT, 3)  # frames of three columns
    assert host.run(host.nodes.DisparityFrom, depth=narrow)[0].shape == narrow.shape


def test_depth_may_go_anywhere_where_it_is_stretched():
    for depth in (255 * ramp(), -1000 * ramp()[..., None].expand(-1, -1, -1, 3), (1 + ramp()) / 1e6):
        (found,) = host.run(host.nodes.DisparityFrom, depth=depth, normalize="minmax")
        assert found.amin() == 0 and found.amax() == 1
    with pytest.raises(ValueError, match="depth is a coloured picture"):
        host.run(host.nodes.DisparityFrom, depth=255 * noise())


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_unknown_depth_is_filled(bad):
    holes = ramp()
    holes[:, 20:30, 20:30] = bad
    for depth in (holes, holes[..., None].expand(-1, -1, -1, 3)):
        (found,) = host.run(host.nodes.DisparityFrom, depth=depth, normalize="none")
        assert (found - ramp()).abs().amax() < 0.1
    with pytest.raises(ValueError, match="Disparity From Depth fills"):
        host.run(host.nodes.LensBlur, image=noise(), disparity=holes)


SHAPES = {
    "lens": lambda mask: host.run(host.nodes.LensBlur, image=noise(), disparity=mask, k=4.0),
    "sweep": lambda mask: host.run(host.nodes.Sweep, image=noise(), disparity=mask, frames=2, k_from=4.0, k_to=2.0),
    "defocus map": lambda mask: host.run(host.nodes.DefocusMap, image=noise(), disparity=mask),
    "focus_mask": MASKS["focus_mask of Defocus Map"],
    "disparity from": lambda mask: host.run(host.nodes.DisparityFrom, image=noise(), depth=mask),
    "refine": lambda mask: host.run(host.nodes.DisparityFrom, image=noise(), depth=mask, refine=2),
    "touch-up": lambda mask: host.run(host.nodes.DisparityTouchUp, image=noise(), disparity=mask, mask=ramp()),
    "steady": lambda mask: host.run(host.nodes.SteadyDisparity, image=noise(), disparity=mask),
    "mask of touch-up": lambda mask: host.run(host.nodes.DisparityTouchUp, disparity=ramp(), mask=mask),
    "by hand": lambda mask: host.run(host.nodes.DisparityByHand, image=noise(), things=mask),
    "camera": lambda mask: host.run(host.nodes.Camera, image=noise(), depth=mask),
    "matte": lambda mask: host.run(host.nodes.MatteFromDisparity, image=noise(), disparity=mask),
    "mask of the matte": lambda mask: host.run(host.nodes.MatteFromDisparity, image=noise(), disparity=ramp(), mask=mask),
}


@every(SHAPES)
def test_a_map_of_another_shape_is_refused(give):
    for height, width in ((HEIGHT, HEIGHT), (WIDTH, HEIGHT), (10 * HEIGHT, 9 * WIDTH)):
        with pytest.raises(
            ValueError, match=rf"is {width} x {height} pixels and \D+ {WIDTH} x {HEIGHT}, a different aspect ratio"
        ):
            give(ramp(1, height, width))
    for height, width in ((33, 44), (7, 9), (132, 177)):
        give(ramp(1, height, width))


def test_load_image_s_empty_mask_says_that_it_is_empty():
    with pytest.raises(ValueError, match="focus_mask is empty"):
        MASKS["focus_mask of Defocus Map"](torch.zeros(1, 64, 64))
