"""Photos of one's own, with the depth that they bring along."""

import functools
from pathlib import Path

import folder_paths
from comfy_api.latest import io

from ..magicbokeh_ops import depth
from ..magicbokeh_ops.focus import choose_focus
from ..magicbokeh_ops.planes import fit
from ..magicbokeh_ops.portrait import read_portrait
from ..magicbokeh_ops.weights.checkpoint import fingerprint
from . import folders, widgets
from .depth import DepthModel
from .depth_model import find_disparity
from .devices import refined
from .progress import Progress
from .tensors import new_output, planes_to_image


class PortraitPhoto(io.ComfyNode):
    @classmethod
    def define_schema(cls):
        return widgets.schema(
            node_id="MagicBokehPortraitPhoto",
            display_name="Load Portrait Photo",
            description="Loads a photo with the depth that portrait modes of phones store in it (Google, Android, Apple). For other photos "
            "a depth model finds it, if one is connected.",
            inputs=[
                io.Combo.Input(
                    "image",
                    options=folders.input_photos(),
                    default=folders.DEMO_PHOTO,
                    upload=io.UploadType.image,
                    tooltip="A file of ComfyUI's input folder. Send photos from the phone as files: messengers remove the depth. HEIC needs "
                    "pillow-heif in ComfyUI's Python.",
                ),
                widgets.refine(),
                DepthModel.Input(
                    "depth_model",
                    optional=True,
                    lazy=True,
                    tooltip="From Load Depth Model, for photos without a depth map of their own. Not even loaded for the others.",
                ),
            ],
            outputs=[
                io.Image.Output(
                    display_name="image", tooltip="Upright. The sharp original, where the file has it beside a blurred photo."
                ),
                io.Mask.Output(display_name="disparity", tooltip="1 = nearest."),
                io.Mask.Output(
                    display_name="mask", tooltip="The portrait matte, white = the person; black if the file has none."
                ),
                io.Float.Output(
                    display_name="focus",
                    tooltip="Disparity in focus as the phone had it, or of the nearest subject; for focus_mode value.",
                ),
                io.Float.Output(display_name="k", tooltip="Strength of the blur as the phone had it, or 24; for k."),
                io.String.Output(display_name="info", tooltip="What the file brings."),
            ],
        )

    @classmethod
    def path(cls, image: str) -> Path:
        return Path(folder_paths.get_annotated_filepath(image))

    @classmethod
    def validate_inputs(cls, image=None):
        if image is not None and not folder_paths.exists_annotated_filepath(image):
            return f"image: {image} is not in ComfyUI's input folder; choose or upload a photo."
        return True

    @classmethod
    def fingerprint_inputs(cls, image, **_others):
        return fingerprint([cls.path(image)])

    @classmethod
    def check_lazy_status(cls, image, **inputs):
        """An input that is connected but has not been computed is None here; one that is not connected is missing."""
        path = cls.path(image)
        waits = inputs.get("depth_model", ...) is None
        return ["depth_model"] if waits and not _brings_depth(path, tuple(fingerprint([path]))) else []

    @classmethod
    def execute(cls, image, refine, depth_model=None) -> io.NodeOutput:
        with folders.chosen_in("image"):
            portrait = read_portrait(cls.path(image))
            if portrait.disparity is None and depth_model is None:
                raise ValueError(f"{image} brings no depth map; connect a depth model to depth_model.")
            photo, size = portrait.image, portrait.image.shape[-2:]
            matte, disparity = new_output(1, *size).zero_(), new_output(1, *size)
            if portrait.matte is not None:
                matte[0] = fit(portrait.matte, size, f"the portrait matte of {image}")[0, 0]
            if portrait.disparity is not None:
                disparity[0] = fit(portrait.disparity, size, f"the depth map of {image}")[0, 0]
        progress = Progress(2 if refine else 1)
        if portrait.disparity is None:
            find_disparity(depth_model, photo, depth.INPUT_SIZE, 0, progress, disparity[:, None])
        if refine:
            progress.next_part()
            disparity[:] = refined(photo, disparity[:, None].float(), refine, progress)[:, 0]
        focus = choose_focus(disparity[:, None].float(), "nearest subject") if portrait.focus is None else portrait.focus
        return io.NodeOutput(
            planes_to_image(photo),
            disparity,
            matte,
            focus,
            widgets.K_DEFAULT if portrait.k is None else portrait.k,
            portrait.info,
            ui={"magicbokeh_info": [portrait.info]},
        )


@functools.lru_cache(maxsize=16)
def _brings_depth(path: Path, _version: tuple) -> bool:
    return read_portrait(path).disparity is not None
