"""Widgets after a click into the view for focus, and what it shows of the photo."""

import pytest
from PIL import Image

from magicbokeh_ops.demo import ASSETS

# Widgets that came later, with their defaults.
LATER = {"focus_range": 0, "falloff": 1, "tilt": 0, "tilt_direction": 0}
LATER |= {"focus_x2": 0.25, "focus_y2": 0.75, "focus_x3": 0.75, "focus_y3": 0.75, "keys": ""}


def near(x: float, y: float) -> dict:
    """focus_x and focus_y of a click there, to half a pixel of the view."""
    return {"focus_x": pytest.approx(x, abs=0.004), "focus_y": pytest.approx(y, abs=0.004)}


def of_photo(x: float, y: float):
    with Image.open(ASSETS / "demo.jpg") as photo:
        return pytest.approx(photo.resize((128, 128), Image.Resampling.BOX).getpixel((int(128 * x), int(128 * y))), abs=30)
