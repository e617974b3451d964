"""Disparity from whatever depth there is."""

from collections.abc import Iterator

import torch
from comfy_api.latest import io

from ..magicbokeh_ops import defocus
from . import widgets
from .devices import refined
from .progress import Progress
from .tensors import count_frames, image_to_planes, new_output, read_depth


class DisparityFrom(io.ComfyNode):
    @classmethod
    def define_schema(cls):
        return widgets.schema(
            node_id="MagicBokehDisparityFrom",
            display_name="Disparity From Depth",
            description="Turns any depth map into disparity (1 = nearest), which is what a lens blurs by.",
            inputs=[
                widgets.depth(),
                io.Combo.Input(
                    "convention",
                    options=list(defocus.CONVENTIONS),
                    default=next(iter(defocus.CONVENTIONS)),
                    tooltip="What the values mean. disparity: Depth Anything V1 and V2, MiDaS, Lotus, MoGe Render. inverted depth: DA3 "
                    "Render, ZoeDepth of controlnet_aux. depth: the same with near = black. distance: metres or any other unit, "
                    "not stretched to 0..1. Geometry inputs know it themselves.",
                ),
                io.Combo.Input(
                    "normalize",
                    options=["percentile", "minmax", "none"],
                    default="percentile",
                    tooltip="How values are stretched to 0..1 over the whole batch. percentile ignores the 0.1 % most extreme "
                    "pixels; none keeps values that already lie in 0..1.",
                ),
                widgets.build(
                    io.Float.Input,
                    "depth_ratio",
                    default=10.0,
                    min=1.1,
                    max=1000.0,
                    step=0.1,
                    advanced=True,
                    tooltip="For depth and inverted depth only: how many times as far away the farthest point is as the nearest. "
                    "About 3 for a room, 10 for a street, 100 for a landscape. The larger, the less the blur changes within the "
                    "background.",
                ),
                widgets.refine(),
                io.Image.Input("image", optional=True, tooltip="The photo, for refine. The disparity then gets its size."),
            ],
            outputs=[
                io.Mask.Output(
                    display_name="disparity",
                    tooltip="1 = nearest. If this node is bypassed, depth comes out here as it is.",
                )
            ],
        )

    @classmethod
    def execute(cls, depth, convention, normalize, depth_ratio, refine, image=None) -> io.NodeOutput:
        if convention not in defocus.CONVENTIONS:
            raise ValueError(f"convention is {convention!r}; choose one of: {', '.join(defocus.CONVENTIONS)}.")
        depth = read_depth(depth)
        kind = "distance" if depth.is_geometry else defocus.CONVENTIONS[convention]

        def disparity(i: int) -> torch.Tensor:
            if kind == "distance":
                return depth.reciprocal(i)
            return defocus.to_disparity(depth.values(i), kind, depth_ratio)

        def frames() -> Iterator[torch.Tensor]:
            return map(disparity, range(len(depth.planes)))

        if kind == "distance":
            defocus.check_any_distance(frames)
        low, high = defocus.find_range(frames, normalize, "depth")
        count, size = len(depth.planes), depth.planes.shape[-2:]
        if image is not None:
            photo, _ = image_to_planes(image)
            count, size = count_frames(image=photo, depth=depth.planes), photo.shape[-2:]
            photo = defocus.match_batch(photo, count, "image")
        elif refine:
            raise ValueError("image is not connected; refine needs the photo, or set it to 0.")
        result, progress = new_output(count, *size), Progress(count)
        for i in range(count):
            progress(0, 1)
            if i < len(depth.planes):  # otherwise one map serves all
                found = defocus.fit(defocus.stretch(disparity(i), low, high), size, "depth")
            if refine:
                result[i] = refined(photo[i : i + 1].float(), found, refine, progress)[0, 0]
            else:
                result[i] = found[0, 0]
            progress.next_part()
        return io.NodeOutput(result)
