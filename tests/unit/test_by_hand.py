"""Disparity from lines drawn on a photo."""

import math

import pytest
import torch
from torch import Tensor

from magicbokeh_ops.by_hand import room, stand
from magicbokeh_ops.focal_plane import plane_through

SIZE = HEIGHT, WIDTH = 100, 160
ROWS, COLS = torch.meshgrid((torch.arange(HEIGHT) + 0.5) / HEIGHT, (torch.arange(WIDTH) + 0.5) / WIDTH, indexing="ij")


def box(top: int, bottom: int, left: int, right: int, grey: float = 1.0) -> Tensor:
    mask = torch.zeros(1, 1, HEIGHT, WIDTH)
    mask[..., top:bottom, left:right] = grey
    return mask


@pytest.mark.parametrize(("horizon", "near_end"), [(0.4, 1.0), (-0.5, 1.0), (0.3, 0.8), (0.2, 2.0), (1.2, 1.4)])
def test_the_ground_is_linear_below_the_horizon_and_above_is_sky(horizon, near_end):
    expected = ((ROWS - horizon) / (near_end - horizon)).clamp(0, 1)
    torch.testing.assert_close(room(SIZE, horizon, near_end)[0, 0], expected, atol=1e-5, rtol=0)


def test_a_back_wall_ends_the_ground_where_it_is_as_near():
    found, ground = room(SIZE, 0.4, 1.0, back_wall=0.25)[0, 0], room(SIZE, 0.4, 1.0)[0, 0]
    meets = 0.4 + 0.25 * 0.6
    assert (found[ROWS < meets - 0.01] == 0.25).all()
    assert torch.equal(found[ROWS > meets + 0.01], ground[ROWS > meets + 0.01])


@pytest.mark.parametrize("tilt", [0.0, 12.0, -30.0])
def test_a_tilted_room_is_one_turned_around_the_middle_of_the_horizon(tilt):
    """Values at the four places that are named: the horizon, the near end, and where the walls begin."""
    height, width = 1000, 1600
    found = room((height, width), 0.5, 0.9, tilt=tilt, back_wall=0.2, right_wall=0.7, vanishing_x=0.4)[0, 0]
    rise = math.tan(math.radians(tilt))

    def at(x: float, y: float) -> float:
        return float(found[int(y * height), int(x * width)])

    assert at(0.5, 0.9) == pytest.approx(1, abs=0.005)
    for x in (0.3, 0.5):  # on the horizon, left of where the wall on the right has come as near as the one at the back
        assert at(x, 0.5 - (x - 0.5) * rise * width / height) == pytest.approx(0.2, abs=0.005)
    edge = 0.5 - 0.499 * rise * width / height
    if 0 <= edge < 1:
        assert at(0.999, edge) == pytest.approx(0.7, abs=0.005)
    third = 0.4 + 0.6 / 2
    assert at(third, 0.5 - (third - 0.5) * rise * width / height) == pytest.approx(0.35, abs=0.005)


def test_every_surface_is_a_plane_and_the_nearest_of_them_is_seen():
    walls = {"back_wall": 0.15, "left_wall": 0.8, "right_wall": 1.5}
    found = room(SIZE, 0.45, 1.0, tilt=5.0, vanishing_x=0.6, **walls)
    each = [room(SIZE, 0.45, 1.0, tilt=5.0, vanishing_x=0.6)]
    each += [room(SIZE, 0.45, 1e6, tilt=5.0, vanishing_x=0.6, **{name: level}) for name, level in walls.items()]
    torch.testing.assert_close(found, torch.stack(each).amax(0), atol=1e-6, rtol=0)
    for surface, points in ((each[0], [(0.2, 0.8), (0.7, 0.7), (0.4, 0.9)]), (each[2], [(0.1, 0.3), (0.3, 0.2), (0.2, 0.45)])):
        near = [(x, y, float(surface[0, 0, int(y * HEIGHT), int(x * WIDTH)])) for x, y in points]
        middle, tilt, direction = plane_through(
            [((int(x * WIDTH) + 0.5) / WIDTH, (int(y * HEIGHT) + 0.5) / HEIGHT, d) for x, y, d in near], SIZE
        )
        steepness, angle = tilt / WIDTH, math.radians(direction)
        plane = middle + steepness * ((COLS - 0.5) * WIDTH * math.sin(angle) + (ROWS - 0.5) * HEIGHT * math.cos(angle))
        on_it = (surface[0, 0] > 0.02) & (surface[0, 0] < 0.98)
        assert (plane - surface[0, 0])[on_it].abs().amax() < 1e-3


def test_walls_on_both_sides_vanish_in_one_point():
    found = room(SIZE, 0.5, 3.0, left_wall=1.0, right_wall=0.5, vanishing_x=0.25)[0, 0]
    torch.testing.assert_close(
        found[10], torch.maximum((0.25 - COLS[0]) / 0.25, (COLS[0] - 0.25) / 0.75 * 0.5).clamp(0, 1), atol=1e-5, rtol=0
    )


def test_things_stand_upright_where_they_touch_the_ground():
    ground = room(SIZE, 0.4, 1.0)
    near, far = box(20, 90, 40, 60), box(30, 60, 50, 100)
    for things in ({"things": torch.cat([near, far])}, {"things": far, "things_2": near}, {"things": near, "things_3": far}):
        found = stand(ground, things)[0, 0]
        assert (found[20:90, 40:60] == ground[0, 0, 89, 0]).all(), "the nearer one is in front"
        assert (found[30:60, 60:100] == ground[0, 0, 59, 0]).all()
        rest = (near + far)[0, 0] == 0
        assert torch.equal(found[rest], ground[0, 0][rest])


def test_islands_are_things_of_their_own_if_one_says_so():
    ground, both = room(SIZE, 0.4, 1.0), box(20, 90, 40, 60) + box(30, 60, 80, 100)
    both[..., 19, 80:100] = 0.4  # grey belongs to what is next to it
    together, apart = stand(ground, {"things": both}), stand(ground, {"things": both}, split=True)
    assert together[0, 0, 40, 90] == ground[0, 0, 89, 0]
    assert apart[0, 0, 40, 90] == ground[0, 0, 59, 0] and apart[0, 0, 40, 50] == ground[0, 0, 89, 0]
    torch.testing.assert_close(apart[0, 0, 19, 90], 0.4 * ground[0, 0, 59, 0])


def test_a_foot_is_found_along_the_tilt():
    ground = room(SIZE, 0.2, 1.0, tilt=30.0)
    found = stand(ground, {"things": box(50, 51, 20, 120)}, 30.0)
    assert (found[0, 0, 50, 20:120] == ground[0, 0, 50, 119]).all()


def test_soft_masks_blend_and_black_ones_are_none():
    ground = room(SIZE, 0.4, 1.0)
    soft = box(50, 90, 40, 60)
    soft[..., 40:50, 40:60] = 0.25
    found = stand(ground, {"things": torch.cat([soft, 0 * soft])})
    torch.testing.assert_close(found[0, 0, 45, 50], 0.25 * ground[0, 0, 89, 0] + 0.75 * ground[0, 0, 45, 0])
    assert torch.equal(stand(ground, {"things": torch.zeros(1, 1, 64, 64)}), ground)
    assert stand(ground, {"things": torch.nn.functional.interpolate(soft, scale_factor=2)}).shape == ground.shape


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"horizon": math.nan}, "horizon is nan"),
        ({"near_end": math.inf}, "near_end is inf"),
        ({"near_end": 0.4}, "near_end is 0.4; it lies below the horizon, which is 0.4"),
        ({"tilt": 90.0}, "horizon_tilt is 90"),
        ({"vanishing_x": 0.0}, "vanishing_x is 0"),
        ({"back_wall": -0.1}, "back_wall is -0.1"),
        ({"left_wall": -1.0}, "left_wall is -1"),
        ({"right_wall": math.nan}, "right_wall is nan"),
    ],
)
def test_what_is_refused(changes, message):
    with pytest.raises(ValueError, match=message):
        room(SIZE, **changes)


def test_things_of_another_shape_are_refused():
    with pytest.raises(ValueError, match="things_2 is 100 x 100 pixels and the photo 160 x 100"):
        stand(room(SIZE), {"things_2": box(0, 50, 0, 50)[..., :100]})
