"""Disparity changed under a mask."""

from comfy_api.latest import io

from ..magicbokeh_ops import touch_up as ops
from . import widgets
from .page import save_view, unless_it_fails
from .progress import Progress
from .tensors import image_to_planes, map_to_mask, mask_to_map


class DisparityTouchUp(io.ComfyNode):
    @classmethod
    def define_schema(cls):
        return widgets.schema(
            node_id="MagicBokehDisparityTouchUp",
            display_name="Disparity Touch-Up",
            description="Changes disparity under a mask where a depth model is wrong. Several in a row change several things.",
            inputs=[
                io.Mask.Input("disparity", tooltip="1 = nearest. From a depth node, or another touch-up."),
                io.Mask.Input(
                    "mask",
                    tooltip="What should change: painted in the mask editor, or from SAM or a background remover. Grey blends.",
                ),
                io.Combo.Input(
                    "operation",
                    options=list(ops.OPERATIONS),
                    default=ops.SET,
                    tooltip="set to value, add amount: what they say. value of a point: of what lies under point_x, point_y. plane through it: a wall, "
                    "floor or poster becomes flat. plane of its surroundings: what should not be there, such as a reflection, becomes a part "
                    "of them. smooth: over radius. in front of, behind its surroundings: moves it as a whole, by no more than it takes.",
                ),
                widgets.fraction("value", 0.5, "Disparity for set to value: 0 = farthest, 1 = nearest."),
                widgets.fraction(
                    "amount",
                    0.1,
                    "For add amount: disparity that is added, below 0 = farther away. For in front and behind: how far from its surroundings.",
                    low=-1.0,
                ),
                widgets.fraction("point_x", 0.5, "Point of value of a point, from the left (0) to the right edge (1)."),
                widgets.fraction("point_y", 0.5, "Point of value of a point, from the top (0) to the bottom edge (1)."),
                io.Int.Input("radius", default=8, min=0, max=256, tooltip="Of smooth, in pixels of the result."),
                io.Int.Input(
                    "edge",
                    default=6,
                    min=0,
                    max=64,
                    tooltip="With a photo: how far its edges are looked for around the mask's rim, in pixels. Twice what the mask is off, 6 for a "
                    "photo of 1000 pixels, 20 for one of 4000. 0 = the mask as it is.",
                ),
                io.Image.Input(
                    "image",
                    optional=True,
                    tooltip="The photo, which the mask's rim is fitted to. The disparity then gets its size.",
                ),
            ],
            outputs=[
                io.Mask.Output(
                    display_name="disparity", tooltip="1 = nearest. If this node is bypassed, it comes out unchanged."
                )
            ],
        )

    @classmethod
    def execute(cls, disparity, mask, operation, value, amount, point_x, point_y, radius, edge, image=None) -> io.NodeOutput:
        maps = {"disparity": mask_to_map(disparity, "disparity"), "mask": mask_to_map(mask, "mask")}
        photo = None if image is None else image_to_planes(image)[0]
        result = ops.touch_up(
            **maps,
            operation=operation,
            image=photo,
            value=value,
            amount=amount,
            point=(point_x, point_y),
            radius=radius,
            edge=edge,
            progress=Progress(1),
        )
        # What to click on.
        shown = maps["disparity"][:1].expand(-1, 3, -1, -1) if photo is None else photo[:1]
        view = unless_it_fails(lambda: save_view(shown, result[:1]), {})
        return io.NodeOutput(map_to_mask(result), ui=view)
