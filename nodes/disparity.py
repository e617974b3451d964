"""Disparity from whatever depth there is."""

import torch
from comfy_api.latest import io

from ..magicbokeh_ops import defocus
from ..magicbokeh_ops.planes import check_not_empty
from ..magicbokeh_ops.refine import refine_edges
from . import widgets
from .tensors import count_frames, image_to_planes, is_picture, map_to_mask, mask_to_map, to_floats


class DisparityFrom(io.ComfyNode):
    @classmethod
    def define_schema(cls):
        return widgets.schema(
            node_id="MagicBokehDisparityFrom",
            display_name="Disparity From Depth",
            description="Turns any depth map into disparity (1 = nearest), which is what a lens blurs by.",
            search_aliases=["depth to disparity", "invert depth", "normalize depth", "bokeh", "depth of field"],
            inputs=[
                io.MultiType.Input(
                    "depth",
                    types=[io.Image, io.Mask, io.Custom("DA3_GEOMETRY"), io.Custom("MOGE_GEOMETRY")],
                    tooltip="A grey depth picture, a mask, or the geometry of Depth Anything 3 or MoGe.",
                ),
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
            outputs=[io.Mask.Output(display_name="disparity")],
        )

    @classmethod
    def execute(cls, depth, convention, normalize, depth_ratio, refine, image=None) -> io.NodeOutput:
        if convention not in defocus.CONVENTIONS:
            raise ValueError(f"convention is {convention!r}; choose one of: {', '.join(defocus.CONVENTIONS)}.")
        if isinstance(depth, dict):
            if depth.get("depth") is None:
                raise ValueError("This geometry holds no depth; connect one that was made by a depth model.")
            sky = depth.get("sky")
            sky = None if sky is None else mask_to_map(sky, "sky")
            disparity = defocus.from_distance(mask_to_map(depth["depth"], "depth", None), sky)
        else:
            picture = depth[None] if is_picture(depth) else depth
            values = cls.grey(picture) if picture.ndim == 4 else mask_to_map(depth, "depth", None)
            disparity = defocus.to_disparity(values, defocus.CONVENTIONS[convention], depth_ratio)
        disparity = defocus.normalize(disparity, normalize)
        if image is not None:
            photo, _ = image_to_planes(image)
            frames = count_frames(image=photo, depth=disparity)
            photo, disparity = defocus.match_batch(photo, frames, "image"), defocus.match_batch(disparity, frames, "depth")
            disparity = defocus.fit(disparity, photo.shape[-2:], "depth")
            if refine:
                disparity = refine_edges(photo, disparity, refine)
        elif refine:
            raise ValueError("image is not connected; refine needs the photo, or set it to 0.")
        return io.NodeOutput(map_to_mask(disparity))

    @staticmethod
    def grey(image: torch.Tensor) -> torch.Tensor:
        """Map of a grey picture, whose values may go anywhere."""
        if image.shape[-1] not in (1, 3, 4):
            raise ValueError(f"depth has shape {tuple(image.shape)}; connect an image or a mask.")
        check_not_empty(image, "depth")
        planes = to_floats(image)[..., :3].movedim(-1, 1)
        spread, grey = planes.amax(1) - planes.amin(1), planes.mean(1, keepdim=True)
        known = torch.isfinite(spread)
        if known.any() and spread[known].mean() > 0.03 * max(1.0, float(grey[:, 0][known].amax())):
            raise ValueError("depth is a coloured picture; connect the grey depth map, not its colour rendering or the photo.")
        return grey
