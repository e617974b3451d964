"""The weight-free lens: one setting, or a sweep of focus and aperture."""

import math
from dataclasses import dataclass
from functools import partial

import torch
from comfy_api.latest import io

from ..magicbokeh_ops import defocus as ops
from ..magicbokeh_ops import lens
from ..magicbokeh_ops.aperture import Aperture
from ..magicbokeh_ops.sweep import EASINGS, sweep
from . import widgets
from .devices import compute_device, free_everything, halved_to_fit, smaller_until_it_fits
from .progress import Progress
from .tensors import count_frames, image_to_planes, mask_to_map, new_output

SRGB, LINEAR = COLOR_SPACES = ("sRGB", "linear")


def look_inputs() -> list:
    """Widgets for the look of the lens, the same on every node that renders."""

    def factor(name: str, tooltip: str):
        return widgets.build(
            io.Float.Input, name, default=1.0, min=0.0, max=4.0, step=0.05, round=0.001, advanced=True, tooltip=tooltip
        )

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
        io.Int.Input(
            "blades",
            default=0,
            min=0,
            max=16,
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
            tooltip="Turns the polygon counter-clockwise, in degrees.",
        ),
        widgets.fraction("roundness", 0.0, "Bends the blades: 0 = straight edges, 1 = a circle.", advanced=True),
        widgets.build(
            io.Float.Input,
            "squeeze",
            default=1.0,
            min=1.0,
            max=4.0,
            step=0.05,
            round=0.001,
            advanced=True,
            tooltip="Makes the bokeh discs upright ovals, this many times as high as wide, as anamorphic lenses do. 1 = not "
            "stretched, as with an ordinary lens; 1.33 to 2 = cinema.",
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
            optional=True,  # prompts from before it was there lack it
            advanced=True,
            tooltip="What image holds, and what comes out: sRGB for photos, linear for scene-linear light as in EXR files. In both, "
            "light above 1 is kept.",
        ),
        *widgets.depth_of_field(),
    ]


@dataclass(frozen=True)
class Block:
    """How much of a photo the lens works on at once, in pixels."""

    pixels: int = lens.BLOCK

    def halved(self) -> "Block":
        return Block(max(self.pixels // 2, lens.TILE**2))


def check_numbers(**numbers: float) -> None:
    """Raise ValueError for what a link may bring, but no widget takes."""
    for name, value in numbers.items():
        if not 0 <= value < math.inf:
            raise ValueError(f"{name} is {value:g}; it is a number of 0 or more.")


def render_frames(
    planes, alpha, disparity, focus: list[float], k: list[float], highlight_boost, blades, rotation, roundness, squeeze, cat_eye,
    near_scale, far_scale, color_space=SRGB, focus_range=0.0, falloff=1.0,
):  # fmt: skip
    """One frame after another on the compute device; a single photo (as of `image_to_planes`) or disparity map serves all frames."""
    ops.check_image(planes)
    ops.check_disparity(disparity)
    disparity = ops.match_batch(disparity, len(focus), "disparity")
    check_numbers(near_scale=near_scale, far_scale=far_scale)
    aperture = Aperture(blades, rotation, roundness, squeeze, cat_eye)
    size, largest = planes.shape[-2:], max(k) * max(near_scale, far_scale)

    def needed(block: Block) -> int:
        return lens.memory_needed(size, largest, cat_eye, block.pixels)

    device = compute_device(0, fourier=True)
    block = halved_to_fit(Block(), needed, device)
    compute_device(needed(block), fourier=True)
    out = new_output(len(focus), *size, 3 if alpha is None else 4)
    progress = Progress(len(focus))

    def photograph(i: int, at_once: Block) -> torch.Tensor:
        nonlocal block
        block = at_once  # for the frames after this one too
        return lens.render(
            planes[i % len(planes)][None].float(),
            disparity[i][None].float(),
            focus[i],
            k[i],
            aperture=aperture,
            highlight_boost=highlight_boost,
            near_scale=near_scale,
            far_scale=far_scale,
            progress=progress,
            show=progress.show,
            alpha=None if alpha is None else alpha[i % len(alpha)].movedim(-1, 0)[None].float(),
            device=device,
            block=at_once.pixels,
            color_space=color_space.lower(),
            focus_range=focus_range,
            falloff=falloff,
        )

    what = "the lens even in single tiles; close other programs, or take a smaller k or picture"
    for i in range(len(focus)):
        picture = smaller_until_it_fits(partial(photograph, i), block, free_everything, what, cost="")
        out[i] = picture[0].movedim(0, -1)
        progress.next_part()
    return out


class LensBlur(io.ComfyNode):
    @classmethod
    def define_schema(cls):
        return widgets.schema(
            node_id="MagicBokehLensBlur",
            display_name="Bokeh Lens Blur (Depth of Field)",
            description="Depth of field by optics alone: no model, no download. Sharp edges stay clean, highlights become discs.",
            inputs=[
                io.Image.Input("image", tooltip="A photo that is sharp everywhere."),
                io.Mask.Input("disparity", tooltip="1 = nearest. Any size of the image's shape; it is scaled to the image."),
                widgets.fraction(
                    "focus",
                    0.5,
                    "Disparity in focus, 0 = farthest, 1 = nearest. Connect it to Focus and Defocus Map to set it by a point.",
                ),
                widgets.blur_radius(
                    "k",
                    "Aperture: blur radius in pixels of the farthest point when the nearest is in focus. Larger photos need more.",
                ),
                *look_inputs(),
            ],
            outputs=[io.Image.Output(display_name="image")],
        )

    @classmethod
    def execute(cls, image, disparity, focus, k, **look) -> io.NodeOutput:
        check_numbers(k=k)
        planes, alpha = image_to_planes(image, exposed=look.get("color_space") != LINEAR)
        disparity = mask_to_map(disparity, "disparity", None)
        frames = count_frames(image=planes, disparity=disparity)
        return io.NodeOutput(render_frames(planes, alpha, disparity, [focus] * frames, [k] * frames, **look))


class Sweep(io.ComfyNode):
    @classmethod
    def define_schema(cls):
        return widgets.schema(
            node_id="MagicBokehSweep",
            display_name="Focus and Aperture Sweep",
            description="Moves focus and aperture from one setting to another over a number of frames: rack focus, aperture pull.",
            inputs=[
                io.Image.Input("image", tooltip="One photo, or the frames of a video."),
                io.Mask.Input("disparity", tooltip="1 = nearest; one for all frames, or one each."),
                widgets.fraction("focus_from", 0.9, "Disparity in focus in the first frame."),
                widgets.fraction("focus_to", 0.1, "Disparity in focus in the last frame."),
                widgets.blur_radius("k_from", "Blur radius in pixels in the first frame."),
                widgets.blur_radius("k_to", "Blur radius in pixels in the last frame."),
                io.Int.Input(
                    "frames",
                    default=24,
                    min=2,
                    max=1000,
                    tooltip="Length of the sweep. A video keeps its own number of frames.",
                ),
                io.Combo.Input("easing", options=EASINGS, default="ease in and out", tooltip="How the move starts and stops."),
                *look_inputs(),
            ],
            outputs=[io.Image.Output(display_name="images")],
        )

    @classmethod
    def execute(cls, image, disparity, focus_from, focus_to, k_from, k_to, frames, easing, **look) -> io.NodeOutput:
        check_numbers(k_from=k_from, k_to=k_to)
        for name, value in (("focus_from", focus_from), ("focus_to", focus_to)):
            if not math.isfinite(value):
                raise ValueError(f"{name} is {value:g}; it is a number from 0 to 1.")
        planes, alpha = image_to_planes(image, exposed=look.get("color_space") != LINEAR)
        disparity = mask_to_map(disparity, "disparity", None)
        if len(planes) > 1:
            frames = count_frames(image=planes, disparity=disparity)
        elif len(disparity) not in (1, frames):
            raise ValueError(
                f"disparity has {len(disparity)} frames for a sweep of {frames}; give one for all, or set frames to that."
            )
        focus = sweep(focus_from, focus_to, frames, easing)
        k = sweep(k_from, k_to, frames, easing, by_ratio=True)
        return io.NodeOutput(render_frames(planes, alpha, disparity, focus, k, **look))
