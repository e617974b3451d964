"""Disparity from the photo alone, by Depth Anything V2 or the version of it that MagicBokeh comes with."""

from comfy_api.latest import io, ui

from ..magicbokeh_ops import depth
from ..magicbokeh_ops.weights.checkpoint import fingerprint
from . import folders, widgets
from .depth_model import find_disparity, load_depth_model
from .devices import refined
from .page import unless_it_fails
from .progress import Progress
from .tensors import image_to_planes, new_output

DepthModel = io.Custom("MAGICBOKEH_DEPTH_MODEL")
AUTOMATIC = "automatic"
SOURCE = "https://huggingface.co/Kijai/DepthAnythingV2-safetensors"


class LoadDepthModel(io.ComfyNode):
    @classmethod
    def define_schema(cls):
        return widgets.schema(
            node_id="MagicBokehDepthLoader",
            display_name="Load Depth Model",
            description="Loads Depth Anything V2, or DAdepth.pth of MagicBokeh, which copes with noisy and soft photos. Nothing in a pickle "
            "is executed.",
            inputs=[
                io.Combo.Input(
                    "model",
                    options=[AUTOMATIC, *folders.depth_models()],
                    tooltip="automatic: DAdepth.pth, or else the largest Depth Anything. From models/depthanything, where other packs keep the same files, and .pth files from models/magicbokeh. "
                    "Licences: Small is Apache-2.0; Base, Large and DAdepth.pth are CC-BY-NC-4.0, not for commercial use.",
                ),
            ],
            outputs=[DepthModel.Output(display_name="depth_model")],
        )

    @classmethod
    def validate_inputs(cls, model=None):
        """A file that is not there is told of when the node runs: a photo that brings its own depth does without."""
        return True

    @classmethod
    def path(cls, model: str):
        found = folders.find_depth_model() if model == AUTOMATIC else folders.depth_models().get(model)
        if found is None:
            what = "there is no depth model" if model == AUTOMATIC else f"{model} is not"
            raise ValueError(
                f"model: {what} in models/depthanything or models/magicbokeh; put depth_anything_v2_vits_fp32.safetensors into "
                f"models/depthanything from {SOURCE}."
            )
        return found

    @classmethod
    def fingerprint_inputs(cls, model):
        return fingerprint(depth.depth_files(cls.path(model)))

    @classmethod
    def execute(cls, model) -> io.NodeOutput:
        return io.NodeOutput(load_depth_model(cls.path(model)))


class FindDisparity(io.ComfyNode):
    @classmethod
    def define_schema(cls):
        return widgets.schema(
            node_id="MagicBokehDisparity",
            display_name="Disparity From Photo",
            description="Finds how near everything in a photo is (1 = nearest). The frames of a video share one scale, so that nothing "
            "flickers.",
            inputs=[
                DepthModel.Input("depth_model", tooltip="From Load Depth Model."),
                io.Image.Input("image", tooltip="The photo, or the frames of a video."),
                io.Int.Input(
                    "input_size",
                    default=depth.INPUT_SIZE,
                    min=140,
                    max=2520,
                    step=14,
                    tooltip="Length of the shorter side that the network sees. Raise it for fine structures, at more time and memory; "
                    "far above 518 large surfaces may become uneven.",
                ),
                widgets.refine(),
                widgets.build(
                    io.Int.Input,
                    "smooth_range",
                    default=0,
                    min=0,
                    max=240,
                    advanced=True,
                    tooltip="0: one scale for all frames. Otherwise the scale follows the video, averaged over this many frames before "
                    "and after: for shots that travel from one place to another.",
                ),
            ],
            outputs=[io.Mask.Output(display_name="disparity")],
        )

    @classmethod
    def execute(cls, depth_model, image, input_size, refine, smooth_range) -> io.NodeOutput:
        photo, _ = image_to_planes(image)
        disparity = new_output(len(photo), *photo.shape[-2:])
        maps, progress = disparity[:, None], Progress(2 if refine else 1)
        find_disparity(depth_model, photo, input_size, smooth_range, progress, maps)
        if refine:
            progress.next_part()
            for i in range(len(maps)):

                def report(done: int, steps: int, before: int = i) -> None:
                    progress(before * steps + done, len(maps) * steps)

                maps[i] = refined(photo[i : i + 1].float(), maps[i : i + 1], refine, report)[0]
        return io.NodeOutput(disparity, ui=unless_it_fails(lambda: ui.PreviewMask(disparity[:1], cls=cls), None))
