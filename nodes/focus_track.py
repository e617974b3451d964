"""The focus that follows a subject through a clip, or keys."""

import json
import logging
from collections.abc import Callable
from typing import Any

from comfy_api.latest import io
from torch import Tensor

from ..magicbokeh_ops import tracking
from ..magicbokeh_ops.defocus import check_disparity, check_same_shape, match_batch
from ..magicbokeh_ops.focus import focus_from_point
from ..magicbokeh_ops.keys import Key, check_frames, focus_of, k_of, read_keys
from . import widgets
from .boxes import edges_of, first_box
from .progress import Progress
from .tensors import count_frames, image_to_planes, mask_to_map, planes_to_image
from .values import check_numbers, per_frame, refuse_lists

POINT, MASK, BOX, KEYS = FOLLOWED = ("point", "mask", "box", "keys")


class FocusTrack(io.ComfyNode):
    @classmethod
    def define_schema(cls):
        return widgets.schema(
            node_id="MagicBokehFocusTrack",
            display_name="Video Focus Track",
            description="A focus for every frame of a clip: it follows a point, a mask or a detector's box, or goes by keys. Smooth, without "
            "lag, and anew after each cut.",
            inputs=[
                io.Mask.Input("disparity", tooltip="1 = nearest; of each frame of the clip."),
                io.Combo.Input(
                    "follow",
                    options=list(FOLLOWED),
                    default=POINT,
                    tooltip="point: what lies under point_x, point_y in point_frame, followed through the clip. mask: what subject_mask shows. box: "
                    "what is in the middle of boxes. keys: the keys' own focus.",
                ),
                widgets.fraction("point_x", 0.5, "The point from the left (0) to the right edge (1), for follow point."),
                widgets.fraction("point_y", 0.5, "The point from the top (0) to the bottom edge (1), for follow point."),
                io.Int.Input(
                    "point_frame",
                    default=0,
                    min=0,
                    max=99999,
                    tooltip="The frame in which the point is set, counted from 0. It is followed from there both ways.",
                ),
                io.String.Input(
                    "keys",
                    default="",
                    multiline=True,
                    tooltip="Frames and what holds there, such as 0: 0.82, 24: 0.31 ease, 48: (0.4, 0.5) k 12: a disparity or a point; k; how the "
                    "move towards it goes (linear, ease, ease in, ease out, hold). With the others of follow only its k counts.",
                ),
                widgets.blur_radius("k", "Aperture, for frames of which keys say nothing. Handed on as the output k."),
                io.Float.Input(
                    "smoothing",
                    default=6.0,
                    min=0.0,
                    max=120.0,
                    step=0.5,
                    tooltip="Frames over which the focus is smoothed, as many ahead as back, so that it does not lag. 0 = none. Keys are not smoothed.",
                ),
                widgets.build(
                    io.Float.Input,
                    "max_speed",
                    default=0.04,
                    min=0.0,
                    max=1.0,
                    step=0.005,
                    round=0.0001,
                    tooltip="Largest change of the focus from one frame to the next, in disparity. 0.04 goes from far to near in 25 frames. 0 = any.",
                ),
                widgets.build(
                    io.Boolean.Input,
                    "find_cuts",
                    default=True,
                    advanced=True,
                    tooltip="Looks for cuts in image, over which nothing is smoothed or followed.",
                ),
                io.Image.Input(
                    "image", optional=True, tooltip="The frames of the clip: to follow a point, for boxes, and to find cuts."
                ),
                io.Mask.Input(
                    "subject_mask",
                    optional=True,
                    tooltip="What should be sharp in each frame, for follow mask: from SAM or any segmenter. It may have holes.",
                ),
                io.MultiType.Input(
                    "boxes",
                    types=[io.Custom("BOUNDING_BOX"), io.Custom("BBOX"), io.String],
                    optional=True,
                    tooltip="A box for each frame or one for all, in pixels of image, for follow box: x, y, width and height by name, or left, top, "
                    "right and bottom; also as JSON text. Of several in a frame the first counts.",
                ),
            ],
            outputs=[
                io.Float.Output(
                    display_name="focus",
                    tooltip="Disparity in focus of each frame: for the focus of the lens and of the defocus map.",
                ),
                io.Float.Output(display_name="k", tooltip="Blur radius of each frame, for their k."),
                io.Image.Output(display_name="plot", tooltip="The focus over the frames, with what was measured."),
                io.String.Output(display_name="report", tooltip="Where the subject was lost, and cuts, as on the node itself."),
            ],
            hidden=[io.Hidden.prompt, io.Hidden.unique_id],
        )

    @classmethod
    def execute(
        cls,
        disparity,
        follow,
        point_x,
        point_y,
        point_frame,
        keys,
        k,
        smoothing,
        max_speed,
        find_cuts,
        image=None,
        subject_mask=None,
        boxes=None,
    ) -> io.NodeOutput:
        if follow not in FOLLOWED:
            raise ValueError(f"follow is {follow!r}; choose one of: {', '.join(FOLLOWED)}.")
        check_numbers(smoothing=smoothing, max_speed=max_speed)
        if not (0 <= point_x <= 1 and 0 <= point_y <= 1):
            raise ValueError(f"the point (point_x, point_y) is ({point_x:g}, {point_y:g}); both go from 0 to 1.")
        near = mask_to_map(disparity, "disparity", None)
        check_disparity(near, tilt=1.0)  # a clip may begin with a frame of one depth
        batches = {"disparity": near}
        if image is not None:
            batches["image"] = image_to_planes(image)[0]
        if follow == MASK:
            if subject_mask is None:
                raise ValueError("subject_mask is not connected; connect a mask of each frame, or set follow to point.")
            batches["subject_mask"] = mask_to_map(subject_mask, "subject_mask")
        frames = count_frames(**batches)
        refuse_lists(cls.hidden, frames, "k")
        for name, planes in batches.items():
            check_same_shape(near, planes.shape[-2:], "disparity", name)
        make = {name: frame_of(match_batch(planes, frames, name)) for name, planes in batches.items()}
        written = read_keys(keys) if follow == KEYS or keys.strip() else []
        if written:
            check_frames(written, frames)
        progress = Progress(2 * frames)
        cuts = []
        if find_cuts and image is not None and follow != KEYS:
            cuts = tracking.find_cuts(told(make["image"], progress)(i) for i in range(frames))
        lines: list[str] = []
        measured: list[float | None] | None = None
        if follow == KEYS:
            focus = by_keys(written, frames, make["disparity"])
        else:
            measured = cls.measure(follow, make, frames, cuts, (point_frame, point_x, point_y), boxes, progress)
            if not any(value is not None for value in measured):
                name = "subject_mask" if follow == MASK else "boxes"
                raise ValueError(f"{name} shows nothing in any frame; connect what finds the subject, or set follow to point.")
            focus = tracking.pull(measured, cuts, smoothing, max_speed)
            lines = tracking.describe(measured, cuts, "the point" if follow == POINT else "the subject")
        for line in lines:
            if "lost" in line:
                logging.info(f"MagicBokeh: {line}")
        radii = k_of(written, frames) or per_frame(k, frames, "k")
        plot = planes_to_image(tracking.draw_plot(focus, measured, cuts))
        report = "\n".join(lines) or f"{frames} frames, focus {min(focus):.3f} to {max(focus):.3f}."
        return io.NodeOutput(focus, radii, plot, report, ui={"magicbokeh_info": [report]})

    @staticmethod
    def measure(
        follow: str,
        make: dict[str, tracking.Maker],
        frames: int,
        cuts: list[int],
        point: tuple[int, float, float],
        boxes: Any,
        progress: Progress,
    ) -> list[float | None]:
        disparity = told(make["disparity"], progress, frames)
        if follow == MASK:
            return tracking.by_masks(disparity, make["subject_mask"], frames, cuts)
        if "image" not in make:
            why = "boxes are in pixels of the photo" if follow == BOX else "a point is followed through the photos"
            raise ValueError(f"image is not connected; {why}, so follow {follow} needs it.")
        if follow == BOX:
            return tracking.by_boxes(disparity, read_boxes(boxes, frames, make["image"](0).shape[-2:]), cuts)
        seen = tracking.by_point(make["image"], disparity, frames, cuts, *point)
        return [None if place is None else place.disparity for place in seen]


def frame_of(planes: Tensor) -> tracking.Maker:
    return lambda i: planes[i : i + 1]


def told(make: tracking.Maker, progress: Progress, before: int = 0) -> tracking.Maker:
    """The same, each frame with a step of the bar after so many before, where the user can stop the run."""

    def made(i: int) -> Tensor:
        progress.part = before + i
        progress(0, 1)
        return make(i)

    return made


def by_keys(keys: list[Key], frames: int, disparity: Callable[[int], Tensor]) -> list[float]:
    focus = focus_of(keys, frames, lambda frame, point: focus_from_point(disparity(frame), *point))
    if focus is None:
        raise ValueError(
            "keys say nothing of the focus, only of k; write a disparity or a point, such as 0: 0.82, 24: 0.31 ease."
        )
    return focus


def read_boxes(boxes: Any, frames: int, size: tuple[int, int]) -> list[tracking.Box | None]:
    """Left, top, right and bottom in 0..1 of the first box of each frame, None where there is none.

    boxes: one for all frames, or a list with what each frame has: a box or a list of them, None or an empty list. A box is x, y, width
    and height by name, or left, top, right and bottom; in pixels of a photo of `size` (height, width). All also as JSON text.
    """
    if boxes is None:
        raise ValueError("boxes is not connected; connect a detector, or set follow to point.")
    if isinstance(boxes, str):
        try:
            boxes = json.loads(boxes)
        except json.JSONDecodeError as error:
            raise ValueError(f"boxes is text that is no JSON ({error}); write [[left, top, right, bottom], ...].") from None
    if hasattr(boxes, "tolist"):
        boxes = boxes.tolist()
    listed = [boxes] if isinstance(boxes, dict) or _is_corners(boxes) else list(boxes)
    if len(listed) not in (1, frames):
        raise ValueError(f"boxes has {len(listed)} entries for {frames} frames; give one for all, or one for each frame.")
    first = (first_box(_by_name(entry)) for entry in listed)
    return [None if box is None else edges_of(box, "boxes", *size) for box in first] * (frames // len(listed))


def _is_corners(entry: Any) -> bool:
    return isinstance(entry, list | tuple) and len(entry) == 4 and all(isinstance(side, int | float) for side in entry)


def _by_name(entry: Any) -> Any:
    """Boxes whose corners are given, as other packs do, as those whose sides have names."""
    if _is_corners(entry):
        left, top, right, bottom = entry
        return {"x": left, "y": top, "width": right - left, "height": bottom - top}
    return list(map(_by_name, entry)) if isinstance(entry, list | tuple) else entry
