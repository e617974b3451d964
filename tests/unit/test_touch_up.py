"""Disparity changed under a mask."""

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from magicbokeh_ops import touch_up as ops
from magicbokeh_ops.touch_up import touch_up

HEIGHT, WIDTH = 60, 80


def places(height: int = HEIGHT, width: int = WIDTH) -> tuple[Tensor, Tensor]:
    """Rows and columns, each (height, width)."""
    return torch.meshgrid(torch.arange(height).float(), torch.arange(width).float(), indexing="ij")


ROWS, COLS = places()


def sloped(right: float = 0.004, down: float = 0.003, level: float = 0.2) -> Tensor:
    return (level + right * COLS + down * ROWS)[None, None]


def box(top: int, bottom: int, left: int, right: int, height: int = HEIGHT, width: int = WIDTH) -> Tensor:
    mask = torch.zeros(1, 1, height, width)
    mask[..., top:bottom, left:right] = 1
    return mask


MASK = box(20, 40, 30, 60)
INSIDE = MASK > 0


def test_set_add_and_grey():
    near = sloped()
    grey = MASK * 0.25
    grey[..., 30:40, :] = MASK[..., 30:40, :]
    found = touch_up(near, grey, ops.SET, value=0.9)
    torch.testing.assert_close(found, near + grey * (0.9 - near), atol=1e-6, rtol=0)
    assert torch.equal(found[grey == 0], near[grey == 0]) and (found[grey == 1] == 0.9).all()
    torch.testing.assert_close(touch_up(near, grey, ops.ADD, amount=-0.1), near - 0.1 * grey, atol=1e-6, rtol=0)
    assert touch_up(near, MASK, ops.ADD, amount=1.0).amax() == 1 and touch_up(near, MASK, ops.ADD, amount=-1.0).amin() == 0


def test_the_value_of_a_point_is_one_for_all_frames():
    near = sloped()
    near[..., 50:, 70:] = 0.75
    found = touch_up(torch.cat([near, near]), MASK, ops.POINT, point=(0.95, 0.95))
    assert (found[:, :, 20:40, 30:60] == 0.75).all() and torch.equal(found[0:1][~INSIDE], near[~INSIDE])


@pytest.mark.parametrize("share", [0.0, 0.2, 0.4])
def test_a_plane_is_found_among_what_is_not_on_it(share):
    true = sloped()
    near = true.clone()
    rows = round(20 * share)
    near[..., 20 : 20 + rows, 30:60] = 0.95  # all on one side, where a plane by least squares would tip over
    found = touch_up(near, MASK, ops.PLANE)
    torch.testing.assert_close(found[INSIDE], true[INSIDE], atol=1e-5, rtol=0)
    assert torch.equal(found[~INSIDE], near[~INSIDE])


def test_a_plane_through_noise_is_the_one_of_least_squares():
    noisy = sloped() + 0.02 * torch.randn(1, 1, HEIGHT, WIDTH, generator=torch.Generator().manual_seed(0))
    found = touch_up(noisy, MASK, ops.PLANE)
    assert (found - sloped())[INSIDE].abs().amax() < 0.006


@pytest.mark.parametrize("mask", [box(20, 21, 30, 31), box(20, 21, 30, 50), box(20, 40, 30, 31), box(20, 21, 30, 32)])
def test_points_on_a_line_have_a_plane(mask):
    torch.testing.assert_close(touch_up(sloped(), mask, ops.PLANE), sloped(), atol=1e-5, rtol=0)


def test_the_plane_of_the_surroundings_goes_on_under_the_mask():
    near = sloped().where(~INSIDE, torch.rand(1, 1, HEIGHT, WIDTH, generator=torch.Generator().manual_seed(1)))
    soft = F.avg_pool2d(F.pad(near, (1, 1, 1, 1), mode="replicate"), 3, 1)  # as a network would have its edge
    found = touch_up(soft, MASK, ops.PLANE_AROUND)
    torch.testing.assert_close(found[INSIDE], sloped()[INSIDE], atol=1e-5, rtol=0)


def test_smoothing_keeps_to_the_mask():
    noise = 0.1 * torch.randn(1, 1, HEIGHT, WIDTH, generator=torch.Generator().manual_seed(2))
    near = (0.5 + noise).where(INSIDE, torch.tensor(0.0))
    found = touch_up(near, MASK, ops.SMOOTH, radius=6)
    inner = box(25, 35, 35, 55) > 0
    assert found[INSIDE].amin() > 0.4 and found[inner].std() < 0.1 * near[inner].std()
    torch.testing.assert_close(found[INSIDE].mean(), near[INSIDE].mean(), atol=0.01, rtol=0)
    assert torch.equal(found[~INSIDE], near[~INSIDE])
    assert torch.equal(touch_up(near, MASK, ops.SMOOTH, radius=0), near)


def test_pushed_in_front_and_behind_as_a_whole():
    near = sloped()
    relief = near + 0.02 * torch.sin(COLS)
    near = relief.where(INSIDE, near)
    front = touch_up(near, MASK, ops.IN_FRONT, amount=0.1)
    moved = (front - near)[INSIDE]
    assert moved.std() < 1e-6, "it keeps its relief"
    ahead = (front - sloped())[INSIDE]
    assert ((ahead > 0.09).float().mean() >= 0.95) and ahead.sort().values[len(ahead) // 20] == pytest.approx(0.1, abs=0.01)
    behind = touch_up(near, MASK, ops.BEHIND, amount=0.1)
    back = (sloped() - behind)[INSIDE]
    assert (behind - near)[INSIDE].std() < 1e-6 and back.sort().values[len(back) // 20] == pytest.approx(0.1, abs=0.01)
    assert torch.equal(touch_up(front, MASK, ops.IN_FRONT, amount=0.05), front), "it is there already"
    assert torch.equal(front[~INSIDE], near[~INSIDE])


def scene(shift: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Photo of a disc before a wall, what belongs to it, a mask that is `shift` pixels beside it, and a soft disparity."""
    height, width = 160, 200
    rows, cols = places(height, width)
    disc = ((rows - 80) ** 2 + (cols - 100) ** 2 < 50**2)[None, None]
    generator = torch.Generator().manual_seed(3)

    def surface(red: float, green: float, blue: float) -> Tensor:
        texture = F.interpolate(torch.rand(1, 3, height // 4, width // 4, generator=generator), size=(height, width))
        noise = 0.03 * torch.randn(1, 3, height, width, generator=generator)
        return torch.tensor([red, green, blue])[:, None, None] + 0.25 * texture + noise

    photo = surface(0.7, 0.4, 0.3).where(disc, surface(0.3, 0.4, 0.45)).clamp(0, 1)
    mask = disc.roll(shift, -1).float()
    near = 0.2 + 0.5 * F.avg_pool2d(disc.float(), 9, 1, 4, count_include_pad=False)
    return photo, disc, mask, near


@pytest.mark.parametrize("shift", [0, 2, 4])
def test_the_rim_goes_to_the_photo_s_edge(shift):
    photo, disc, mask, near = scene(shift)
    beside = touch_up(near, mask, ops.SET, value=0.9)
    found = touch_up(near, mask, ops.SET, value=0.9, image=photo, edge=8)
    truth = torch.where(disc, 0.9, 0.2)
    wrong = [float(((one - truth).abs() > 0.05).float().sum()) for one in (beside, found)]
    assert wrong[1] < 0.02 * disc.sum() < wrong[0]
    assert torch.equal(touch_up(near, mask, ops.SET, value=0.9, image=photo, edge=0), beside)


def test_the_thing_is_continued_to_its_edge():
    photo, disc, mask, near = scene(2)
    found = touch_up(near, mask, ops.ADD, amount=0.2, image=photo, edge=8)
    truth = torch.where(disc, 0.9, 0.2)
    assert ((found - truth).abs() > 0.05).sum() < 0.02 * disc.sum()


def test_a_feather_stays_and_strips_do_not_show(monkeypatch):
    photo, disc, mask, _ = scene(2)
    feather = F.avg_pool2d(F.pad(mask, (40,) * 4), 81, 1)
    torch.testing.assert_close(ops.follow_photo(feather, photo, 8), feather)
    whole = ops.follow_photo(mask, photo, 4)
    monkeypatch.setattr(ops, "STRIP", 16)
    torch.testing.assert_close(ops.follow_photo(mask, photo, 4), whole, atol=1e-3, rtol=0)


def test_several_in_a_row():
    near = touch_up(sloped(), MASK, ops.SET, value=0.6)
    other = box(5, 15, 5, 15)
    found = touch_up(near, other, ops.SET, value=0.9)
    assert (found[INSIDE] == 0.6).all() and (found[other > 0] == 0.9).all()


@pytest.mark.parametrize(("frames", "masks", "photos"), [(3, 1, 1), (1, 3, 1), (3, 3, 3), (1, 1, 3)])
def test_frames(frames, masks, photos):
    """Each as it would be alone, and a mask of another size gets that of the disparity."""
    near = torch.cat([sloped(level=0.1 + 0.05 * i) for i in range(frames)])
    mask = torch.cat([F.interpolate(MASK.roll(3 * i, -1), scale_factor=2.0) for i in range(masks)])
    photo = torch.rand(photos, 3, HEIGHT, WIDTH, generator=torch.Generator().manual_seed(4))
    for operation in ops.OPERATIONS:
        found = touch_up(near, mask, operation, image=photo, edge=2)
        assert found.shape == (3, 1, HEIGHT, WIDTH)
        if operation == ops.POINT:
            continue
        for i in range(3):
            one = [values[min(i, len(values) - 1)][None] for values in (near, mask, photo)]
            torch.testing.assert_close(found[i : i + 1], touch_up(one[0], one[1], operation, image=one[2], edge=2))


def test_the_result_has_the_size_of_the_photo():
    found = touch_up(sloped(), MASK, ops.SET, image=torch.rand(1, 3, 120, 160), value=0.9)
    assert found.shape == (1, 1, 120, 160) and found[0, 0, 60, 90] == pytest.approx(0.9)


def test_frames_without_the_thing_stay_as_they_are():
    near = torch.cat([sloped(), sloped()])
    masks = torch.cat([MASK, torch.zeros_like(MASK)])
    for operation in ops.OPERATIONS:
        assert torch.equal(touch_up(near, masks, operation)[1], near[1]), operation


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"operation": "paint"}, "operation is 'paint'"),
        ({"value": 1.5}, "value is 1.5"),
        ({"amount": -2.0}, "amount is -2"),
        ({"radius": -1}, "radius is -1"),
        ({"edge": -1}, "edge is -1"),
        ({"mask": torch.zeros(1, 1, 64, 64)}, "mask is empty"),
        ({"mask": torch.ones(1, 1, HEIGHT, WIDTH), "operation": ops.IN_FRONT}, "mask covers the picture"),
        ({"mask": torch.ones(1, 1, HEIGHT, WIDTH), "operation": ops.PLANE_AROUND}, "mask covers the picture"),
        ({"mask": box(0, 9, 0, 9, 60, 60)}, "mask is 60 x 60 pixels and the disparity 80 x 60"),
        ({"mask": torch.ones(2, 1, HEIGHT, WIDTH), "disparity": torch.cat([sloped()] * 3)}, "mask has 2 frames"),
        ({"operation": ops.POINT, "point": (1.5, 0.5)}, r"point \(point_x, point_y\) is \(1.5, 0.5\)"),
        ({"disparity": 5 * sloped()}, "disparity goes from"),
    ],
)
def test_what_is_refused(changes, message):
    with pytest.raises(ValueError, match=message):
        touch_up(**{"disparity": sloped(), "mask": MASK, "operation": ops.SET} | changes)
