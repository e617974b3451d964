"""Something to start with."""

from comfy_api.latest import io

from ..magicbokeh_ops.demo import demo_photo, noisy_demo_photo
from . import widgets
from .tensors import map_to_mask, planes_to_image


class DemoPhoto(io.ComfyNode):
    @classmethod
    def define_schema(cls):
        return widgets.schema(
            node_id="MagicBokehDemoPhoto",
            display_name="Demo Photo",
            description="A portrait that comes with the pack (NASA, public domain) and its disparity, to try the nodes without any file.",
            inputs=[],
            outputs=[
                io.Image.Output(display_name="image"),
                io.Mask.Output(display_name="disparity"),
                io.Image.Output(display_name="noisy", tooltip="The same photo as it might come from a phone in poor light."),
            ],
        )

    @classmethod
    def execute(cls) -> io.NodeOutput:
        image, disparity = demo_photo()
        return io.NodeOutput(planes_to_image(image), map_to_mask(disparity), planes_to_image(noisy_demo_photo()))
