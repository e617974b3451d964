"""Focus and blur in a photographer's units."""

import math
from collections.abc import Iterator

import torch
from comfy_api.latest import io

from ..magicbokeh_ops import camera as ops
from ..magicbokeh_ops import defocus
from . import widgets
from .progress import Progress
from .tensors import count_frames, image_to_planes, new_output, read_depth

SENSORS = {f"{name} ({sides[0]:g} x {sides[1]:g} mm)": sides for name, sides in ops.SENSORS.items()}
REAL, EQUIVALENT = FOCAL_LENGTHS = ("real", "full-frame equivalent")
METRES, ANY_UNIT, DISPARITY = DEPTHS = (
    "distance in metres",
    "distance in any unit, one known",
    "disparity, one distance known",
)


class Camera(io.ComfyNode):
    @classmethod
    def define_schema(cls):
        return widgets.schema(
            node_id="MagicBokehCamera",
            display_name="Camera (f-Stop, Focal Length)",
            description="A lens in real units: focal length, f-number and focus distance in metres give the focus and k of the other nodes, "
            "and the depth of field.",
            inputs=[
                widgets.depth(),
                io.Float.Input(
                    "focal_length",
                    default=50.0,
                    min=1.0,
                    max=2000.0,
                    step=1.0,
                    round=0.001,
                    tooltip="In mm. For the look of a real photo take that of the camera it comes from; longer blurs more.",
                ),
                io.Combo.Input(
                    "focal_length_is",
                    options=list(FOCAL_LENGTHS),
                    default=REAL,
                    tooltip="real: as engraved on the lens. full-frame equivalent: with the same angle of view on full frame, as phones state it. "
                    "f_number is the real one with both.",
                ),
                io.Float.Input(
                    "f_number",
                    default=1.8,
                    min=0.5,
                    max=128.0,
                    step=0.1,
                    round=0.01,
                    tooltip="Aperture in f-stops: focal length over the diameter of the opening. Half of it doubles the blur.",
                ),
                io.Combo.Input(
                    "sensor",
                    options=list(SENSORS),
                    default=next(iter(SENSORS)),
                    tooltip="The larger, the larger the blur that belongs to an angle of view. The picture is the largest crop of its own shape, "
                    "from a sensor that is turned for portraits.",
                ),
                io.Float.Input(
                    "focus_distance",
                    default=2.0,
                    min=0.0,
                    max=10000.0,
                    step=0.05,
                    round=0.0001,
                    tooltip="What is in focus, in metres from the camera, farther away than the focal length. 0 = infinity.",
                ),
                io.Combo.Input(
                    "depth_is",
                    options=list(DEPTHS),
                    default=METRES,
                    tooltip="distance in metres: Depth Anything 3 Metric, MoGe 2, Depth Pro, EXR. Without metric depth, known_distance gives the "
                    "scale: distance in any unit for DA3's other models and MoGe 1; disparity for Depth Anything V2, whose 0 is taken as "
                    "infinitely far. Geometry inputs hold distances.",
                ),
                io.Float.Input(
                    "known_distance",
                    default=2.0,
                    min=0.001,
                    max=10000.0,
                    step=0.05,
                    round=0.0001,
                    tooltip="Metres to what lies at known_x, known_y in the first frame. Not used for distance in metres.",
                ),
                widgets.fraction("known_x", 0.5, "Point of known_distance, from the left (0) to the right edge (1)."),
                widgets.fraction("known_y", 0.5, "Point of known_distance, from the top (0) to the bottom edge (1)."),
                io.Image.Input(
                    "image",
                    optional=True,
                    tooltip="The photo, in whose pixels k counts. The disparity then gets its size. Without it those of depth count.",
                ),
            ],
            outputs=[
                io.Mask.Output(
                    display_name="disparity",
                    tooltip="1 = nearest. If this node is bypassed, depth comes out here as it is.",
                ),
                io.Float.Output(
                    display_name="focus", tooltip="Disparity in focus. Outside 0..1 if nothing lies at the focus distance."
                ),
                io.Float.Output(display_name="k", tooltip="Blur radius in pixels, for the k of the other nodes."),
                io.String.Output(
                    display_name="report", tooltip="Blur, depth of field and field of view in words, as on the node itself."
                ),
                io.Float.Output(
                    display_name="hyperfocal",
                    tooltip="Nearest focus_distance with which infinity still looks sharp, in metres.",
                ),
                io.Float.Output(display_name="near_limit", tooltip="Nearest distance that looks sharp, in metres."),
                io.Float.Output(
                    display_name="far_limit",
                    tooltip="Farthest distance that looks sharp, in metres. 0 = infinity, as for focus_distance.",
                ),
            ],
        )

    @classmethod
    def execute(
        cls,
        depth,
        focal_length,
        focal_length_is,
        f_number,
        sensor,
        focus_distance,
        depth_is,
        known_distance,
        known_x,
        known_y,
        image=None,
    ) -> io.NodeOutput:
        choices = (
            ("focal_length_is", focal_length_is, FOCAL_LENGTHS),
            ("sensor", sensor, SENSORS),
            ("depth_is", depth_is, DEPTHS),
        )
        for name, value, known in choices:
            if value not in known:
                raise ValueError(f"{name} is {value!r}; choose one of: {', '.join(known)}.")
        crop = ops.crop_factor(SENSORS[sensor]) if focal_length_is == EQUIVALENT else 1.0
        camera = ops.Camera(focal_length / crop, f_number, focus_distance, SENSORS[sensor])
        depth = read_depth(depth)
        are_distances = depth.is_geometry or depth_is != DISPARITY

        def disparity(i: int) -> torch.Tensor:
            return depth.reciprocal(i) if are_distances else ops.from_disparity(depth.values(i))

        def frames() -> Iterator[torch.Tensor]:
            return map(disparity, range(len(depth.planes)))

        if are_distances:
            defocus.check_any_distance(frames)
        # A few stray pixels right before the lens would set the scale.
        low, high = defocus.find_range(frames, "percentile", "1 / depth" if are_distances else "depth")
        size = depth.planes.shape[-2:]
        if image is not None:
            photo, _ = image_to_planes(image, exposed=False)  # only its size counts
            count_frames(image=photo, depth=depth.planes)
            size = photo.shape[-2:]
        if depth_is == METRES:
            scale, doubt = 1.0, ops.check_distances(frames)
        else:
            scale, doubt = ops.dioptres_per_unit(disparity(0), known_x, known_y, known_distance), ""
        result, progress = new_output(len(depth.planes), *size), Progress(len(depth.planes))
        for i in range(len(depth.planes)):
            progress(0, 1)
            result[i] = defocus.fit(defocus.stretch(disparity(i), low, high), size, "depth")[0, 0]
            progress.next_part()
        far, near = float(low) * scale, float(high) * scale
        focus, k = camera.focus_and_k(far, near, size)
        report = "\n".join(filter(None, [camera.describe(far, near, size), doubt]))
        near_limit, far_limit = camera.limits()
        # Nodes that show numbers send them to the page as JSON, which has no infinity.
        far_limit = far_limit if math.isfinite(far_limit) else 0.0
        return io.NodeOutput(
            result, focus, k, report, camera.hyperfocal, near_limit, far_limit, ui={"magicbokeh_info": [report]}
        )
