"""The overlay that shows the focus, and the demo photo that it is shown on."""

import pytest
import torch

from magicbokeh_ops.demo import demo_photo
from magicbokeh_ops.overlay import BEHIND, IN_FOCUS, IN_FRONT, focus_overlay


def test_overlay_colours_say_where_the_focus_is():
    disparity = torch.linspace(0, 1, 300).expand(1, 1, 200, 300)
    shown = focus_overlay(torch.full((2, 3, 200, 300), 0.5), disparity, 0.5, 32, point=(0.5, 0.2))[0, :, 100]
    for column, color in ((5, BEHIND), (150, IN_FOCUS), (295, IN_FRONT)):
        assert (shown[:, column] - 0.5).argmax() == torch.tensor(color).argmax()
    # The legend covers the lower left, the ring is around the point.
    grey = torch.full((1, 3, 200, 300), 0.5)
    assert (focus_overlay(grey, disparity, 0.5, 0) - focus_overlay(grey, disparity, 0.5, 0, (0.5, 0.2))).abs().max() > 0.4


@pytest.mark.parametrize("size", [(320, 512), (1000, 320)])
def test_overlay_legend_lies_inside(size):
    shown = focus_overlay(torch.full((1, 3, *size), 0.5), torch.zeros(1, 1, *size), 0.456, 100.5)[0]
    changed = (shown != shown[:, :1, :1]).any(0)
    assert changed.any() and not changed[:, -1].any() and not changed[-1].any()


def test_demo_photo_is_as_described():
    photo, disparity = demo_photo()
    assert photo.shape == (1, 3, 512, 512) and disparity.shape == (1, 1, 512, 512)
    assert photo.min() >= 0 and photo.max() <= 1 and disparity.min() >= 0 and disparity.max() <= 1
    helmet, face, backdrop = disparity[0, 0, 425, 380], disparity[0, 0, 100, 215], disparity[0, 0, 50, 130]
    assert helmet > face + 0.1 > backdrop + 0.5
