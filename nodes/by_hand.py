"""Disparity from lines drawn on a photo."""

from comfy_api.latest import io

from ..magicbokeh_ops import by_hand as ops
from . import widgets
from .page import save_view, unless_it_fails
from .tensors import image_to_planes, map_to_mask, mask_to_map

THINGS = ("things", "things_2", "things_3", "things_4")


class DisparityByHand(io.ComfyNode):
    @classmethod
    def define_schema(cls):
        return widgets.schema(
            node_id="MagicBokehDisparityByHand",
            display_name="Disparity By Hand",
            description="Ground, horizon, walls and things that stand on the ground, drawn on the photo: disparity for pictures that no depth model "
            "understands, as products, paintings and miniatures.",
            inputs=[
                io.Image.Input("image", tooltip="The photo, whose size the disparity gets. One disparity serves all frames."),
                widgets.fraction(
                    "horizon",
                    0.4,
                    "Height of the horizon in the middle of the picture, 0 = upper, 1 = lower edge. It may lie beyond them: below 0 for a photo "
                    "taken from above. The ground rises to it; above it is sky.",
                    low=-4.0,
                    high=4.0,
                ),
                widgets.fraction(
                    "near_end",
                    1.0,
                    "Height in the middle of the picture where the ground is nearest (disparity 1), below the horizon. Below the picture, more "
                    "than 1, if something stands nearer than the ground that is seen.",
                    low=-4.0,
                    high=8.0,
                ),
                io.Float.Input(
                    "horizon_tilt",
                    default=0.0,
                    min=-45.0,
                    max=45.0,
                    step=0.1,
                    round=0.01,
                    tooltip="Of the horizon, in degrees counter-clockwise, for a photo that is not level.",
                ),
                widgets.fraction(
                    "back_wall",
                    0.0,
                    "Disparity of a wall across the picture, which ends the ground where that is as near. 0 = none.",
                ),
                widgets.fraction(
                    "left_wall",
                    0.0,
                    "Disparity of a wall on the left, at the left edge of the picture; it vanishes at vanishing_x. 0 = none.",
                    high=8.0,
                ),
                widgets.fraction(
                    "right_wall",
                    0.0,
                    "Disparity of a wall on the right, at the right edge of the picture; it vanishes at vanishing_x. 0 = none.",
                    high=8.0,
                ),
                widgets.fraction(
                    "vanishing_x",
                    0.5,
                    "Where walls on the left and right would meet on the horizon, from the left (0) to the right edge (1).",
                    low=0.01,
                    high=0.99,
                ),
                io.Boolean.Input(
                    "split_things",
                    default=False,
                    tooltip="Islands of a mask are things of their own, each standing where it ends. For things painted into one mask.",
                ),
                *(
                    io.Mask.Input(
                        name,
                        optional=True,
                        tooltip="Masks of things that stand upright where they touch the ground, each mask of a batch one of them, as SAM gives "
                        "them. Black ones are none.",
                    )
                    for name in THINGS
                ),
            ],
            outputs=[io.Mask.Output(display_name="disparity", tooltip="1 = nearest.")],
        )

    @classmethod
    def execute(
        cls,
        image,
        horizon,
        near_end,
        horizon_tilt,
        back_wall,
        left_wall,
        right_wall,
        vanishing_x,
        split_things,
        **things,
    ) -> io.NodeOutput:
        photo, _ = image_to_planes(image, exposed=False)  # only its size counts, but for the page
        room = ops.room(
            photo.shape[-2:],
            horizon,
            near_end,
            tilt=horizon_tilt,
            vanishing_x=vanishing_x,
            back_wall=back_wall,
            left_wall=left_wall,
            right_wall=right_wall,
            device=photo.device,
        )
        masks = {name: mask_to_map(masks, name) for name, masks in things.items() if masks is not None}
        found = ops.stand(room, masks, horizon_tilt, split_things)
        view = unless_it_fails(lambda: save_view(photo[:1], found[:1]), {})
        return io.NodeOutput(map_to_mask(found), ui=view)
