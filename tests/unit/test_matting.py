"""A matte from a photo and its disparity, on drawn scenes whose coverage is known."""

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from magicbokeh_ops import matting
from magicbokeh_ops.matting import from_disparity
from magicbokeh_ops.windows import widen
from tests.support.memory_peak import peak_of
from tests.support.spoiled import spoil

FINER = 4
NEAR, FAR = torch.tensor([0.85, 0.6, 0.3]).view(3, 1, 1), torch.tensor([0.15, 0.3, 0.5]).view(3, 1, 1)


def scene(height: int = 120, width: int = 150, seed: int = 0) -> tuple[Tensor, Tensor, Tensor]:
    """Photo, exact disparity and true matte of a disc with spikes on a slope, drawn four times as fine as the photo."""
    y, x = (torch.arange(FINER * length) / FINER for length in (height, width))
    dy, dx = y[:, None] - 0.55 * height, x - 0.45 * width
    radius = 0.2 * height * (1 + 0.5 * torch.cos(7 * torch.atan2(dy, dx)).clamp(min=0) ** 6)
    alpha = F.avg_pool2d((torch.hypot(dy, dx) < radius).float()[None, None], FINER)
    texture = torch.rand(1, 3, height, width, generator=torch.Generator().manual_seed(seed)) - 0.5
    photo = alpha * NEAR + (1 - alpha) * FAR + 0.05 * texture
    slope = torch.linspace(0.05, 0.25, height)[:, None].expand(height, width)
    return photo, torch.where(alpha > 0.5, 0.7, slope), alpha


def near_outline(alpha: Tensor) -> Tensor:
    mixed = ((alpha > 0) & (alpha < 1)).float()
    return widen(mixed, 3) > 0


@pytest.mark.parametrize(
    ("spoiled", "worst"), [((1, 0.0, 0.0), 0.05), ((3, 0.7, -0.4), 0.06), ((7, 1.5, -1.0), 0.07)], ids=["exact", "3 px", "7 px"]
)
def test_the_matte_is_near_the_true_one(spoiled, worst):
    photo, exact, alpha = scene()
    disparity = spoil(exact, *spoiled)
    found = from_disparity(photo, disparity)
    here = near_outline(alpha)
    step = (disparity > 0.45).float()
    miss, of_step = ((values - alpha).abs()[here].mean() for values in (found, step))
    assert miss < worst and miss < 0.7 * of_step, (miss, of_step)
    assert torch.equal(found[~widen(here.float(), 12).bool()], alpha[~widen(here.float(), 12).bool()])


def test_where_colours_do_not_help_the_edge_of_disparity_stays():
    _, exact, alpha = scene()
    found = from_disparity(torch.full((1, 3, 120, 150), 0.4), exact)
    assert ((found - exact.gt(0.45).float()).abs() < 0.51).all()
    assert (found - alpha).abs().mean() < 0.02


def test_a_mask_says_which_thing_is_meant():
    """Of two discs at one distance, and though it is 3 pixels too wide."""
    photo, exact, alpha = scene()
    both = [torch.cat([planes, planes.flip(-1)], -1) for planes in (photo, exact)]
    only = torch.cat([alpha, torch.zeros_like(alpha)], -1)
    rough = widen((only > 0.5).float(), 3)
    assert (from_disparity(*both)[..., 150:] > 0.9).float().mean() > 0.05
    found = from_disparity(*both, rough)
    assert found[..., 160:].amax() == 0 and (found - only).abs()[near_outline(only)].mean() < 0.05
    # What is behind may be meant just as well.
    behind = from_disparity(*both, 1 - rough)
    assert (behind - (1 - found)).abs().mean() < 0.01


def test_where_nothing_steps_a_mask_is_the_matte_and_without_one_nothing_is_in_front():
    photo, _, alpha = scene()
    slope = torch.linspace(0, 1, 150).expand(1, 1, 120, 150)
    rough = (alpha > 0.5).float()
    assert torch.equal(from_disparity(photo, 0.3 + 0.01 * slope, rough), rough)
    assert from_disparity(photo, slope).amax() == 0


@pytest.mark.parametrize(("blur", "ramp"), [(1, range(1, 3)), (3, range(3, 5)), (7, range(6, 9)), (13, range(11, 16))])
def test_the_softness_of_a_map_is_measured(blur, ramp):
    disparity = torch.zeros(1, 1, 200, 300)
    disparity[..., 60:140, 80:190] = 0.6
    disparity += torch.linspace(0, 0.3, 200)[:, None]
    found = matting._softness(spoil(disparity, blur, 0.0, 0.0)[0], 0.04, "cpu", lambda share: None)
    assert found in ramp


@pytest.mark.long
@pytest.mark.parametrize("reach", [0, 2])
def test_parts_are_equal_to_the_whole(reach, monkeypatch):
    photo, exact, alpha = scene()
    soft = spoil(exact, 5, 1.0, 0.0)
    whole = [from_disparity(photo, soft, mask, reach=reach) for mask in (None, alpha)]
    softness = matting._softness(soft[0], 0.04, "cpu", lambda share: None)
    monkeypatch.setattr(matting, "SIDE", 41)
    assert matting._softness(soft[0], 0.04, "cpu", lambda share: None) == softness
    for mask, expected in zip((None, alpha), whole):
        assert (from_disparity(photo, soft, mask, reach=reach) - expected).abs().max() < 1e-5
        assert ((expected > 0.05) & (expected < 0.95)).float().mean() > 0.005


def test_a_batch_is_its_frames_and_any_size_of_map_will_do():
    photo, exact, alpha = scene()
    photos, maps = (torch.cat([planes, planes.flip(-1)]) for planes in (photo, exact))
    found = from_disparity(photos, maps, alpha[..., ::2, ::2], reach=0)
    for i in range(2):
        assert torch.equal(found[i : i + 1], from_disparity(photos[i : i + 1], maps[i : i + 1], alpha[..., ::2, ::2], reach=0))
    assert from_disparity(photos, exact[..., ::2, ::2]).shape == (2, 1, 120, 150)


def test_progress_goes_from_0_to_1_and_may_stop_the_run():
    photo, exact, _ = scene()
    said = []
    from_disparity(photo, spoil(exact, 5, 0.0, 0.0), progress=lambda done, steps: said.append(done / steps))
    assert said[0] == 0 and said[-1] == 1 and said == sorted(said) and len(said) > 10

    def stop(done, steps):
        raise InterruptedError

    with pytest.raises(InterruptedError):
        from_disparity(photo, exact, progress=stop)


@pytest.mark.long
def test_it_takes_no_more_memory_than_it_says():
    photo, exact, _ = scene(1000, 1250)
    assert peak_of(lambda: from_disparity(photo, spoil(exact, 7, 0.0, 0.0))) < matting.memory_needed((1000, 1250))


def test_bad_input_is_named():
    photo, exact, alpha = scene()
    for step in (0.0, -1.0, 1.0, float("nan")):
        with pytest.raises(ValueError, match="^step is"):
            from_disparity(photo, exact, step=step)
    with pytest.raises(ValueError, match="^reach is -1"):
        from_disparity(photo, exact, reach=-1)
    with pytest.raises(ValueError, match="image holds NaN"):
        from_disparity(photo * float("nan"), exact)
    with pytest.raises(ValueError, match="disparity has 3 frames for 1 picture"):
        from_disparity(photo, exact.repeat(3, 1, 1, 1))
    with pytest.raises(ValueError, match="mask goes from 0 to 255"):
        from_disparity(photo, exact, 255 * alpha)
    with pytest.raises(ValueError, match="mask is 120 x 120 pixels"):
        from_disparity(photo, exact, alpha[..., :120])
