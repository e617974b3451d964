"""Disparity of a video that does not flicker."""

from comfy_api.latest import io

from ..magicbokeh_ops import steady
from ..magicbokeh_ops.planes import match_batch
from . import widgets
from .devices import on_device_or_cpu
from .progress import Progress
from .tensors import count_frames, image_to_planes, mask_to_map, new_output


class SteadyDisparity(io.ComfyNode):
    @classmethod
    def define_schema(cls):
        return widgets.schema(
            node_id="MagicBokehSteadyDisparity",
            display_name="Steady Disparity",
            description="Takes the flicker out of the disparity of a video: jumps of scale and shift, blotches, edges that swim. What stands "
            "still already stays as it is.",
            inputs=[
                io.Mask.Input("disparity", tooltip="1 = nearest, a map for each frame, in order."),
                io.Image.Input("image", tooltip="The frames of the video, for what moves in it and how."),
                widgets.fraction(
                    "strength",
                    1.0,
                    "1 = as still as possible, 0 = as it is. Less if something thin or fast gets lost.",
                ),
            ],
            outputs=[io.Mask.Output(display_name="disparity")],
        )

    @classmethod
    def execute(cls, disparity, image, strength) -> io.NodeOutput:
        photo, _ = image_to_planes(image)
        maps = mask_to_map(disparity, "disparity")
        count = count_frames(image=photo, disparity=maps)
        photo, maps = match_batch(photo, count, "image"), match_batch(maps, count, "disparity")
        result, progress = new_output(count, *maps.shape[-2:]), Progress(1)

        def work(device) -> None:
            steady.steady(maps, photo, strength, progress, device, result[:, None])

        on_device_or_cpu(work, steady.memory_needed(maps.shape[-2:]), "steady disparity")
        progress(1, 1)
        return io.NodeOutput(result)
