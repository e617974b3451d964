"""The weight-free lens: one setting, or a sweep of focus and aperture."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from comfy_api.latest import io

from ..magicbokeh_ops import defocus as ops
from ..magicbokeh_ops import lens
from ..magicbokeh_ops.color import linear_to_srgb
from ..magicbokeh_ops.planes import fit
from ..magicbokeh_ops.sweep import EASINGS, sweep
from . import widgets
from .devices import compute_device, free_everything, halved_to_fit, smaller_until_it_fits
from .links import is_used
from .look import LINEAR, SRGB, layer_inputs, look_inputs, look_outputs, motion_inputs, take_aperture, take_layers
from .progress import Progress
from .tensors import count_frames, image_to_planes, mask_to_map, new_output, planes_to_image
from .values import check_numbers, per_frame, refuse_lists


@dataclass(frozen=True)
class Block:
    """How much of a photo the lens works on at once, in pixels."""

    pixels: int = lens.BLOCK

    def halved(self) -> "Block":
        return Block(max(self.pixels // 2, lens.TILE**2))


OF_RADIUS = ("near_scale", "far_scale", "focus_range", "falloff", "tilt", "tilt_direction", "breathing")


def render_frames(
    planes: torch.Tensor,
    alpha: torch.Tensor | None,
    disparity: torch.Tensor,
    focus: list[float],
    k: list[float],
    layers: dict[str, torch.Tensor],
    look: dict[str, Any],
    is_linked: Callable[[str], bool],
) -> io.NodeOutput:
    """One frame after another on the compute device; a single photo (as of `image_to_planes`) or disparity map serves all frames.

    layers: as of `take_layers`, for one frame or all, of any size. look: the values of `look_inputs`. is_linked: whether an output is connected.
    """
    ops.check_image(planes)
    tilt = look.get("tilt", 0.0)
    ops.check_disparity(disparity, tilt)
    disparity = ops.match_batch(disparity, len(focus), "disparity")
    layers = {name: ops.match_batch(values, len(focus), name) for name, values in layers.items()}
    check_numbers(near_scale=look["near_scale"], far_scale=look["far_scale"])
    ops.signed_radius(disparity[..., :1, :1], focus, k, tilt=tilt)  # refuses what can't be a focus
    aperture = take_aperture(look)
    seed, moves = look.pop("grain_seed", 0), not look.pop("grain_still", False)
    look["color_space"] = look.get("color_space", SRGB).lower()
    size = planes.shape[-2:]
    farthest = max(one * (max(abs(at), abs(1 - at)) + abs(tilt)) for one, at in zip(k, focus))
    largest = farthest * max(look["near_scale"], look["far_scale"])

    def needed(block: Block) -> int:
        return lens.memory_needed(size, largest, aperture, block.pixels, "matte" in layers, "background" in layers)

    device = compute_device(0, fourier=True)
    block = halved_to_fit(Block(), needed, device)
    compute_device(needed(block), fourier=True)
    out = new_output(len(focus), *size, 3 if alpha is None else 4)
    radius = new_output(len(focus), *size) if is_linked("radius") else None
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
            progress=progress,
            show=progress.show,
            alpha=None if alpha is None else alpha[i % len(alpha)].movedim(-1, 0)[None].float(),
            device=device,
            block=at_once.pixels,
            grain_seed=seed + i * moves,
            **{name: fit(values[i][None].float(), size, name) for name, values in layers.items()},
            **look,
        )

    what = "the lens even in single tiles; close other programs, or take a smaller k or picture"
    for i in range(len(focus)):
        picture = smaller_until_it_fits(partial(photograph, i), block, free_everything, what, cost="")
        out[i] = picture[0].movedim(0, -1)
        if radius is not None:
            options = {name: look[name] for name in OF_RADIUS if name in look}
            radius[i] = lens.radius_map(disparity[i][None], size, focus[i], k[i], **options)[0, 0]
        progress.next_part()
    opaque = None
    if is_linked("alpha"):
        opaque = new_output(len(focus), *size).fill_(1) if alpha is None else out[..., 3]
    return io.NodeOutput(out, radius, planes_to_image(linear_to_srgb(aperture.drawn())[None]), opaque)


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
                *layer_inputs(),
                *motion_inputs(),
            ],
            outputs=[io.Image.Output(display_name="image"), *look_outputs()],
            hidden=[io.Hidden.prompt, io.Hidden.unique_id],
        )

    @classmethod
    def execute(cls, image, disparity, focus, k, **look) -> io.NodeOutput:
        planes, alpha = image_to_planes(image, exposed=look.get("color_space") != LINEAR)
        disparity, layers = mask_to_map(disparity, "disparity", None), take_layers(look)
        frames = count_frames(image=planes, disparity=disparity, **layers)
        refuse_lists(cls.hidden, frames, "focus", "k")
        focus, k = per_frame(focus, frames, "focus"), per_frame(k, frames, "k")
        for radius in k:
            check_numbers(k=radius)
        return render_frames(planes, alpha, disparity, focus, k, layers, look, partial(is_used, hidden=cls.hidden))


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
                *layer_inputs(),
                *motion_inputs(),
            ],
            outputs=[io.Image.Output(display_name="images"), *look_outputs()],
            hidden=[io.Hidden.prompt, io.Hidden.unique_id],
        )

    @classmethod
    def execute(cls, image, disparity, focus_from, focus_to, k_from, k_to, frames, easing, **look) -> io.NodeOutput:
        check_numbers(k_from=k_from, k_to=k_to)
        for name, value in (("focus_from", focus_from), ("focus_to", focus_to)):
            if not math.isfinite(value):
                raise ValueError(f"{name} is {value:g}; it is a number from 0 to 1.")
        planes, alpha = image_to_planes(image, exposed=look.get("color_space") != LINEAR)
        disparity, layers = mask_to_map(disparity, "disparity", None), take_layers(look)
        if len(planes) > 1:
            frames = count_frames(image=planes, disparity=disparity, **layers)
        elif len(disparity) not in (1, frames):
            raise ValueError(
                f"disparity has {len(disparity)} frames for a sweep of {frames}; give one for all, or set frames to that."
            )
        focus = sweep(focus_from, focus_to, frames, easing)
        k = sweep(k_from, k_to, frames, easing, by_ratio=True)
        return render_frames(planes, alpha, disparity, focus, k, layers, look, partial(is_used, hidden=cls.hidden))
