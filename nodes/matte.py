"""How much of every pixel shows what stands in front."""

from functools import partial

from comfy_api.latest import io

from ..magicbokeh_ops import matting
from ..magicbokeh_ops.planes import fit, match_batch
from . import widgets
from .devices import on_device_or_cpu
from .progress import Progress
from .tensors import count_frames, image_to_planes, mask_to_map, new_output

MEASURED = -1  # reach


class MatteFromDisparity(io.ComfyNode):
    @classmethod
    def define_schema(cls):
        return widgets.schema(
            node_id="MagicBokehMatteFromDisparity",
            display_name="Matte From Disparity",
            description="Cuts out what stands in front, with soft hair, from a photo and its disparity. Needs no model.",
            inputs=[
                io.Image.Input("image", tooltip="The photo."),
                io.Mask.Input(
                    "disparity", tooltip="1 = nearest. From Find Disparity, Disparity From Depth or Load Portrait Photo."
                ),
                io.Mask.Input(
                    "mask",
                    optional=True,
                    tooltip="Roughly the subject, as a detector or a brush gives it: its outline may miss by a fortieth of the picture. "
                    "Without it, the front-most thing of some size is cut out.",
                ),
                widgets.fraction(
                    "step",
                    matting.STEP,
                    "Smallest change of disparity that is an edge. Less also finds an outline close to what is behind it; more leaves out "
                    "edges within the subject.",
                    0.005,
                    0.5,
                    optional=True,
                    advanced=True,
                ),
                widgets.build(
                    io.Int.Input,
                    "reach",
                    default=MEASURED,
                    min=MEASURED,
                    max=64,
                    optional=True,
                    advanced=True,
                    tooltip="Half the width of the map's soft edges, in pixels of the photo. -1 = measured; 0 = the map is sharp and "
                    "lies where the photo's edges are.",
                ),
            ],
            outputs=[
                io.Mask.Output(
                    display_name="matte",
                    tooltip="1 = in front, between 0 and 1 where a pixel shows both. Don't bypass this node: the disparity would come out here.",
                )
            ],
        )

    @classmethod
    def execute(cls, image, disparity, mask=None, step=matting.STEP, reach=MEASURED) -> io.NodeOutput:
        photo, _ = image_to_planes(image)
        inputs = {"disparity": mask_to_map(disparity, "disparity")}
        if mask is not None:
            inputs["mask"] = mask_to_map(mask, "mask")
        count, size = count_frames(image=photo, **inputs), photo.shape[-2:]
        photo, *maps = (match_batch(planes, count, name) for name, planes in {"image": photo, **inputs}.items())
        half_width = None if reach == MEASURED else reach
        memory = matting.memory_needed(size, half_width)
        result, progress = new_output(count, *size), Progress(count)
        for i in range(count):
            planes = [
                photo[i : i + 1].float(),
                *(fit(values[i : i + 1].float(), size, name) for name, values in zip(inputs, maps)),
            ]
            find = partial(matting.from_disparity, *planes, step=step, reach=half_width, progress=progress)
            result[i] = on_device_or_cpu(lambda device, find=find: find(device=device), memory, "find a matte")[0, 0]
            progress.next_part()
        return io.NodeOutput(result)
