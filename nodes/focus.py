"""Where the focus lies: defocus map and focus mask."""

from comfy_api.latest import io
from torch import Tensor

from ..magicbokeh_ops import defocus as ops
from ..magicbokeh_ops.focal_plane import tilted
from ..magicbokeh_ops.focus import MODES, THREE_POINTS, choose_focus, focus_from_point, focus_on_three
from ..magicbokeh_ops.keys import check_frames, focus_of, k_of, read_keys
from ..magicbokeh_ops.overlay import draw_legend, focus_overlay
from . import widgets
from .boxes import edges_of, first_box
from .page import save_view, unless_it_fails
from .progress import Progress
from .tensors import count_frames, image_to_planes, mask_to_map, new_output
from .values import per_frame, refuse_lists


def focus_box() -> list:
    """The socket for detectors' boxes, where the host has the type."""
    if not hasattr(io, "BoundingBox"):
        return []
    tooltip = "What should be sharp, for focus_mode box: from a face or object detector, in pixels of the photo, which has to be connected."
    return [io.BoundingBox.Input("focus_box", optional=True, force_input=True, tooltip=tooltip)]


# Of mode "three points", beside focus_x and focus_y: by number.
OTHER_POINTS = {2: (0.25, 0.75), 3: (0.75, 0.75)}
OF_POINT = (
    "A further point in focus, from the left (0) to the right edge (1), for focus_mode three points.",
    "A further point in focus, from the top (0) to the bottom edge (1), for focus_mode three points.",
)


class DefocusMap(io.ComfyNode):
    @classmethod
    def define_schema(cls):
        return widgets.schema(
            node_id="MagicBokehDefocusMap",
            display_name="Focus and Defocus Map",
            description="Sets the focus by a point or three, a mask, a detector's box, on the nearest subject or by a value, and tells how "
            "blurred every pixel will be.",
            # So that the page can run up to here and no further, for Get depth.
            is_output_node=True,
            inputs=[
                io.Mask.Input(
                    "disparity", tooltip="1 = nearest. From Disparity From Depth, or any depth node that gives disparity."
                ),
                widgets.blur_radius(
                    "k",
                    "Aperture: blur radius in pixels of the farthest point when the nearest is in focus. 0 = everything sharp. "
                    "Larger photos need more for the same look. The MagicBokeh model is trained up to 32.",
                ),
                io.Combo.Input(
                    "focus_mode",
                    options=[*MODES, THREE_POINTS],
                    default="point",
                    tooltip="point: what lies under focus_x, focus_y. mask: the median depth under focus_mask. value: focus itself. box: what is in the "
                    "middle of focus_box, such as a face. nearest subject: the largest near region. three points: the plane of focus goes through "
                    "all three.",
                ),
                widgets.fraction(
                    "focus_x",
                    0.5,
                    "Focus point from the left (0) to the right edge (1), for focus_mode point and three points.",
                ),
                widgets.fraction(
                    "focus_y",
                    0.5,
                    "Focus point from the top (0) to the bottom edge (1), for focus_mode point and three points.",
                ),
                widgets.fraction("focus", 0.5, "Disparity in focus, 0 = farthest, 1 = nearest, for focus_mode value."),
                io.Image.Input("image", optional=True, tooltip="The photo, for the overlay. The maps then get its size."),
                io.Mask.Input(
                    "focus_mask",
                    optional=True,
                    tooltip="What should be sharp, for focus_mode mask: painted, or from a background remover or SAM.",
                ),
                *focus_box(),
                *widgets.depth_of_field(),
                *widgets.focal_plane(),
                *(
                    widgets.fraction(f"focus_{axis}{i}", place, tooltip, optional=True, advanced=True)
                    for i, at in OTHER_POINTS.items()
                    for axis, place, tooltip in zip("xy", at, OF_POINT)
                ),
                widgets.build(
                    io.String.Input,
                    "keys",
                    default="",
                    optional=True,
                    advanced=True,
                    tooltip="Focus of a clip that moves: frames, each with a disparity or a point in focus, k and how to move there, such as "
                    "0: 0.82, 24: (0.4, 0.5) k 12 ease. They count instead of focus_mode, and k if they name it. Set key below the "
                    "picture writes them.",
                ),
            ],
            outputs=[
                io.Mask.Output(
                    display_name="defocus",
                    tooltip="Blur radius / 32: what the MagicBokeh model sees. Don't bypass this node: the disparity would come out here. "
                    "Set k to 0 instead.",
                ),
                io.Float.Output(
                    display_name="focus",
                    tooltip="Disparity in focus; if the plane of focus is tilted, in the middle of the picture.",
                ),
                io.Image.Output(display_name="overlay", tooltip="Green in focus, orange in front, blue behind."),
                io.Float.Output(display_name="k", tooltip="The k of this node, to set it in one place."),
                io.Float.Output(display_name="focus_range", tooltip="That of this node, for the lens."),
                io.Float.Output(display_name="falloff", tooltip="That of this node, for the lens."),
                io.Float.Output(display_name="tilt", tooltip="Of the plane of focus, for the lens."),
                io.Float.Output(display_name="tilt_direction", tooltip="Of the plane of focus, for the lens."),
            ],
            hidden=[io.Hidden.prompt, io.Hidden.unique_id],
        )

    @classmethod
    def execute(
        cls,
        disparity,
        k,
        focus_mode,
        focus_x,
        focus_y,
        focus,
        image=None,
        focus_mask=None,
        focus_box=None,
        focus_range=0.0,
        falloff=1.0,
        tilt=0.0,
        tilt_direction=0.0,
        keys="",
        **others,
    ) -> io.NodeOutput:
        disparity = mask_to_map(disparity, "disparity", None)
        ops.check_disparity(disparity, tilt)
        photo = None if image is None else image_to_planes(image)[0]
        if photo is None:
            frames, size = len(disparity), disparity.shape[-2:]
        else:
            frames, size = count_frames(image=photo, disparity=disparity), photo.shape[-2:]
            ops.check_same_shape(disparity, size, "disparity")
        refuse_lists(cls.hidden, frames, "focus", "k")
        if len(disparity) == 1:
            disparity = ops.resize(disparity, size)
        every = ops.match_batch(disparity, frames, "disparity")
        backdrop = every.expand(-1, 3, -1, -1) if photo is None else ops.match_batch(photo, frames, "image")
        focuses, radii = cls.by_keys(keys, every, tilt, tilt_direction)
        point = (focus_x, focus_y) if focuses is None and focus_mode == "point" else None
        if focuses is None:
            places = [(focus_x, focus_y)]
            places += [(others.get(f"focus_x{i}", x), others.get(f"focus_y{i}", y)) for i, (x, y) in OTHER_POINTS.items()]
            source, given = disparity, {}
            if focus_mode == "mask" and focus_mask is not None:
                # A mask may have frames where disparity has one.
                source, given = every, {"mask": mask_to_map(focus_mask, "focus_mask").to(disparity.device)}
            elif focus_mode == "box":
                if photo is None:
                    raise ValueError("image is not connected; focus_box is in pixels of the photo, so focus_mode box needs it.")
                box = first_box(focus_box)
                if box is None:
                    raise ValueError(
                        "focus_box holds no box; connect a detector that finds something, or set focus_mode to point."
                    )
                given = {"box": edges_of(box, "focus_box", *size)}
            if focus_mode == THREE_POINTS:
                focus, tilt, tilt_direction = focus_on_three(source, places, size)
            else:
                levelled = tilted(source, tilt, tilt_direction)
                focus = choose_focus(levelled, focus_mode, value=focus, point=places[0], size=size, **given)
            focuses = per_frame(focus, frames, "focus")
        if radii is None:
            radii = per_frame(k, frames, "k")
        lens = (focus_range, falloff, tilt, tilt_direction)
        legend = None
        # Drawn whether it is connected or not: what ComfyUI keeps of this node also serves a link that is made later.
        defocus, overlay = new_output(frames, *size), new_output(frames, *size, 3)
        progress = Progress(frames)
        for i in range(frames):
            progress(0, 1)
            near, setting = ops.resize(every[i : i + 1], size), (focuses[i], radii[i])
            if legend is None or setting != (focuses[i - 1], radii[i - 1]):
                legend = draw_legend(size[1], size[0], *setting, point)
            defocus[i] = ops.defocus_map(near, *setting, *lens)[0, 0]
            shown = focus_overlay(backdrop[i : i + 1].float(), near.to(backdrop.device), *setting, point, legend, *lens)
            overlay[i] = shown[0].movedim(0, -1)
            progress.next_part()
        view = unless_it_fails(lambda: save_view(backdrop, every), {})
        named = dict(zip(("focus_range", "falloff", "tilt", "tilt_direction"), lens))
        found = {"mode": focus_mode, "focus": focuses[0], "k": radii[0], **named}  # of the frame that the page shows
        # One number where all frames have the same, as nodes of other packs want it.
        focus, k = (each[0] if len(set(each)) == 1 else each for each in (focuses, radii))
        return io.NodeOutput(defocus, focus, overlay, k, *lens, ui={**view, "magicbokeh_focus": [found]})

    @staticmethod
    def by_keys(keys: str, disparity: Tensor, tilt: float, direction: float) -> tuple[list[float] | None, list[float] | None]:
        """Focus and k of each frame, None where keys say nothing of them."""
        if not keys.strip():
            return None, None
        pull = read_keys(keys)
        check_frames(pull, len(disparity))

        def look(frame: int, point: tuple[float, float]) -> float:
            return focus_from_point(tilted(disparity[frame : frame + 1], tilt, direction), *point)

        return focus_of(pull, len(disparity), look), k_of(pull, len(disparity))


class FocusMask(io.ComfyNode):
    @classmethod
    def define_schema(cls):
        return widgets.schema(
            node_id="MagicBokehFocusMask",
            display_name="In-Focus Mask",
            description="Mask of what is in focus, for the masked attention of MagicBokeh and for compositing.",
            inputs=[
                io.Mask.Input("defocus", tooltip="From Focus and Defocus Map."),
                widgets.fraction(
                    "threshold",
                    ops.FOCUS_THRESHOLD,
                    "Largest defocus that still counts as sharp. 0.1 (3.2 pixels of blur) is what MagicBokeh was trained with.",
                ),
                io.Int.Input(
                    "smooth",
                    default=0,
                    min=0,
                    max=64,
                    tooltip="Closes cracks and removes hairlines up to about this many pixels wide. 0 = off.",
                ),
                widgets.fraction(
                    "min_area",
                    0.0,
                    "Drops islands and fills holes smaller than this share of the picture. 0 = off.",
                    advanced=True,
                ),
            ],
            outputs=[
                io.Mask.Output(
                    display_name="focus_mask",
                    tooltip="White = in focus. Don't bypass this node: defocus would come out here, white where it is blurred. Bypass "
                    "MagicBokeh Masked Attention instead.",
                )
            ],
        )

    @classmethod
    def execute(cls, defocus, threshold, smooth, min_area) -> io.NodeOutput:
        defocus = mask_to_map(defocus, "defocus", widgets.DEFOCUS_LIMIT)
        result = new_output(len(defocus), *defocus.shape[-2:])
        for i in range(len(defocus)):
            result[i] = ops.focus_mask(defocus[i : i + 1], threshold, smooth, min_area)[0, 0]
        return io.NodeOutput(result)
