"""Schemas across ComfyUI's versions, and the widgets that several nodes share."""

import inspect
from collections.abc import Callable

from comfy_api.latest import io

from ..magicbokeh_ops.defocus import K_TRAINED
from .search import ALIASES

K_DEFAULT, K_LIMIT = 24.0, 512.0
DEFOCUS_LIMIT = K_LIMIT / K_TRAINED  # of the maps that such a k gives

# Keyword arguments that ComfyUI 0.3.64 does not know yet; there they are left out.
NEWER = {"advanced", "search_aliases"}


def build(kind: Callable, *args, **kwargs):
    """kind(*args, **kwargs), for `io.Schema` and the inputs, on any ComfyUI from 0.3.64 on."""
    known = inspect.signature(kind).parameters
    return kind(*args, **{key: value for key, value in kwargs.items() if key in known or key not in NEWER})


def schema(node_id: str, **kwargs) -> io.Schema:
    return build(io.Schema, node_id=node_id, category="image/bokeh", search_aliases=ALIASES[node_id], **kwargs)


def fraction(name: str, default: float, tooltip: str, low: float = 0.0, high: float = 1.0, **more):
    """A FLOAT widget for 0..1, or other limits."""
    limits = {"min": low, "max": high, "step": 0.001, "round": 0.0001}
    return build(io.Float.Input, name, default=default, tooltip=tooltip, **limits, **more)


def blur_radius(name: str, tooltip: str):
    """A FLOAT widget for K, in pixels."""
    return io.Float.Input(name, default=K_DEFAULT, min=0.0, max=K_LIMIT, step=0.5, tooltip=tooltip)


def depth():
    """A socket for `read_depth`."""
    return io.MultiType.Input(
        "depth",
        types=[io.Image, io.Mask, io.Custom("DA3_GEOMETRY"), io.Custom("MOGE_GEOMETRY")],
        tooltip="A grey depth picture, a mask, or the geometry of Depth Anything 3 or MoGe. Unknown pixels (NaN, infinite) are "
        "filled from around them; in distances they are taken as infinitely far.",
    )


def refine():
    """An INT widget for `refine_edges`."""
    return io.Int.Input(
        "refine",
        default=0,
        min=0,
        max=64,
        tooltip="Moves the soft edges of a depth network's map to where the photo has them: half the width of its ramps, in pixels of "
        "the photo. Try 3 for a photo of 1000 pixels, 10 for one of 4000, if halos show at rims. 0 = off, best for maps that are sharp.",
    )


def depth_of_field() -> list:
    """FLOAT widgets for what stays sharp around the focus and how the blur grows from there. Optional, since older prompts lack them."""
    return [
        fraction(
            "focus_range",
            0.0,
            "Depth around the focus that stays sharp, in disparity: 0.1 is a tenth of all between nearest and farthest. 0 = only the "
            "focus itself, as in a lens.",
            optional=True,
            advanced=True,
        ),
        build(
            io.Float.Input,
            "falloff",
            default=1.0,
            min=0.25,
            max=4.0,
            step=0.05,
            round=0.001,
            optional=True,
            advanced=True,
            tooltip="How the blur grows with the distance from the focus: above 1 late and then quickly, below 1 at once. 1 = as in a lens.",
        ),
    ]


def focal_plane() -> list:
    """FLOAT widgets for a tilted plane of focus. Optional, since older prompts lack them."""
    return [
        build(
            io.Float.Input,
            "tilt",
            default=0.0,
            min=-4.0,
            max=4.0,
            step=0.01,
            round=0.0001,
            optional=True,
            advanced=True,
            tooltip="Tilts the plane of focus, as a tilt-shift lens does: disparity by which it rises over the length of the picture's longer side. "
            "1 with a constant disparity gives a miniature. 0 = upright, as in other lenses.",
        ),
        build(
            io.Float.Input,
            "tilt_direction",
            default=0.0,
            min=-180.0,
            max=180.0,
            step=1.0,
            round=0.001,
            optional=True,
            advanced=True,
            tooltip="Where the plane of focus comes nearer, in degrees counter-clockwise: 0 = at the bottom, as the ground does, 90 = on the right.",
        ),
    ]
