"""The look of the lens: widgets that every node with a lens has, and the aperture that they describe."""

from dataclasses import fields
from typing import Any

import torch
from comfy_api.latest import io

from ..magicbokeh_ops.aperture import Aperture, IrisPicture
from ..magicbokeh_ops.lenses import IDEAL, LENSES, aperture_of
from . import widgets
from .tensors import check_tensor, image_to_planes, mask_to_map

SRGB, LINEAR = COLOR_SPACES = ("sRGB", "linear")


def look_inputs() -> list:
    """Widgets for the look of the lens. Those that came later are optional, since older prompts lack them."""

    def factor(name: str, tooltip: str):
        return widgets.build(
            io.Float.Input, name, default=1.0, min=0.0, max=4.0, step=0.05, round=0.001, advanced=True, tooltip=tooltip
        )

    def later(name: str, tooltip: str, **more):
        return widgets.fraction(name, 0.0, tooltip, optional=True, advanced=True, **more)

    return [
        io.Float.Input(
            "highlight_boost",
            default=0.0,
            min=0.0,
            max=6.0,
            step=0.1,
            round=0.001,
            tooltip="Stops of light given back to clipped highlights out of focus, so that they become bright discs. 1 to 3 for "
            "street lights at night; 0 where the sky is white.",
        ),
        widgets.build(
            io.Int.Input,
            "blades",
            default=0,
            min=0,
            max=16,
            advanced=True,
            tooltip="Blades of the iris: shape of the bokeh discs. 0 = round, 3 or more = polygon.",
        ),
        widgets.build(
            io.Float.Input,
            "rotation",
            default=0.0,
            min=-180.0,
            max=180.0,
            step=1.0,
            advanced=True,
            tooltip="Turns the opening counter-clockwise, in degrees.",
        ),
        widgets.fraction("roundness", 0.0, "Bends the blades: 0 = straight edges, 1 = a circle.", advanced=True),
        widgets.build(
            io.Float.Input,
            "squeeze",
            default=1.0,
            min=0.25,
            max=4.0,
            step=0.05,
            round=0.001,
            advanced=True,
            tooltip="Makes the bokeh discs upright ovals, this many times as high as wide, as anamorphic lenses do; below 1 lying ones. 1 = "
            "not stretched, as with an ordinary lens; 1.33 to 2 = cinema.",
        ),
        widgets.fraction(
            "cat_eye",
            0.0,
            "Cuts the discs towards the corners of the picture to pointed ovals, as the barrel of a fast lens does. 0 = none, "
            "1 = strong. Takes several times as long.",
            advanced=True,
        ),
        factor("near_scale", "Factor on the blur in front of the focus. 0 keeps the foreground sharp."),
        factor("far_scale", "Factor on the blur behind the focus. 0 keeps the background sharp."),
        widgets.build(
            io.Combo.Input,
            "color_space",
            options=list(COLOR_SPACES),
            default=SRGB,
            optional=True,
            advanced=True,
            tooltip="What image holds, and what comes out: sRGB for photos, linear for scene-linear light as in EXR files. In both, "
            "light above 1 is kept.",
        ),
        *widgets.depth_of_field(),
        *widgets.focal_plane(),
        io.Combo.Input(
            "lens",
            options=list(LENSES),
            default=IDEAL,
            optional=True,
            tooltip="A kind of lens: the shape of its discs, its errors and fringes. What is set below on its own counts instead of the lens's. "
            "ideal = none of them.",
        ),
        later("star", "Makes a star of the polygon: how far the middles of the blades are pulled in.", high=0.95),
        later("ring", "Discs become rings, as with a mirror lens: inner radius as a share of the outer one.", high=0.95),
        later(
            "spherical",
            "Light within a disc. Above 0: bright rims behind the focus (soap bubbles). Below 0: soft rims (creamy). The other way round in "
            "front of the focus.",
            low=-1.0,
        ),
        later(
            "swirl", "Presses the discs towards the corners, so that the background seems to turn. Takes several times as long."
        ),
        later(
            "fringing",
            "Coloured rims: magenta in front of the focus and green behind it. 0.05 is much for a real lens.",
            high=0.5,
        ),
        io.MultiType.Input(
            "iris",
            types=[io.Image, io.Mask],
            optional=True,
            tooltip="A picture of the opening, white on black: the shape of the discs, instead of blades. It may have colours. As wide as a disc "
            "on its longer side.",
        ),
        later(
            "grain",
            "Puts back the noise that the blur takes away, as measured in the sharp part of the photo. 1 = as much as there. 0 = none.",
        ),
        widgets.build(
            io.Int.Input,
            "grain_seed",
            default=0,
            min=0,
            max=2**32 - 1,
            optional=True,
            advanced=True,
            tooltip="Another number gives other grain.",
        ),
        widgets.build(
            io.Boolean.Input,
            "grain_still",
            default=False,
            optional=True,
            advanced=True,
            tooltip="The same grain in all frames of a video. Off: it moves, as real grain does.",
        ),
    ]


def layer_inputs() -> list:
    """Inputs for what a photo of one layer does not tell."""
    return [
        io.Mask.Input(
            "matte",
            optional=True,
            tooltip="Coverage of the subject, white = all of the pixel, from background removal, matting or segmentation. Hair and "
            "fur keep their edge, and the disparity's own edge need not lie there.",
        ),
        io.Image.Input(
            "background",
            optional=True,
            tooltip="The photo without the subject, from an inpainter: what a blurred subject uncovers is taken from it. Needs matte.",
        ),
        io.Mask.Input(
            "background_disparity", optional=True, tooltip="Disparity of background. Without it that of the photo is continued."
        ),
    ]


def motion_inputs() -> list:
    """Widgets for what a focus that moves does to the picture."""
    return [
        widgets.fraction(
            "breathing",
            0.0,
            "How much larger the picture gets as the focus moves from the farthest to the nearest point, as with most lenses. 0.05 is "
            "much. 0 = it stays.",
            high=0.5,
            optional=True,
            advanced=True,
        )
    ]


def take_layers(look: dict[str, Any]) -> dict[str, torch.Tensor]:
    """What is given of `layer_inputs`, taken out of `look`: planes (N, C, h, w) by their name in `lens.render`."""
    readers = {
        "matte": mask_to_map,
        "background": lambda image, name: image_to_planes(image, name, exposed=look.get("color_space") != LINEAR)[0],
        "background_disparity": lambda mask, name: mask_to_map(mask, name, None),
    }
    given = {name: look.pop(name, None) for name in readers}
    return {name: readers[name](values, name) for name, values in given.items() if values is not None}


def look_outputs() -> list:
    """Outputs besides the picture. Radius and alpha are made only where they are connected."""
    return [
        io.Mask.Output(
            display_name="radius",
            tooltip="Blur radius in pixels, above 0 in front of the focus and below 0 behind it, for compositors.",
        ),
        io.Image.Output(display_name="iris", tooltip="The discs of this lens in the middle of the picture, behind the focus."),
        io.Mask.Output(display_name="alpha", tooltip="How opaque the picture is: 1 = opaque, 0 = transparent."),
    ]


def take_aperture(look: dict[str, Any]) -> Aperture:
    """The aperture that these widgets describe, which are taken out of `look`; the rest are options of `lens.render`."""
    names = {option.name for option in fields(Aperture)} & look.keys()
    own = {name: look.pop(name) for name in names}
    iris = look.pop("iris", None)
    return aperture_of(look.pop("lens", IDEAL), **own, picture=None if iris is None else read_iris(iris))


def read_iris(iris: torch.Tensor) -> IrisPicture:
    """The first picture of an IMAGE, or of a MASK. What is transparent is closed."""
    check_tensor(iris, "iris")
    if iris.ndim == 4 and iris.shape[-1] in (1, 3, 4):
        planes, alpha = image_to_planes(iris[:1], "iris")
        return IrisPicture.of_photo(planes[0], None if alpha is None else alpha[0].movedim(-1, 0))
    return IrisPicture(mask_to_map(iris, "iris")[0].float())
