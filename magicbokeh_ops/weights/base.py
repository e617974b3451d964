"""Stable Diffusion 2.1-base as people have it, and what else they take for it."""

import re
from dataclasses import replace
from pathlib import Path
from statistics import median
from typing import Any

from torch import Tensor

from .names import ema_from_flat, modern_vae, unet_from_ldm, vae_from_ldm
from .parts import Base, Tensors, copied, without_prefix
from .reading import find_model, read_json, read_model, read_tensors

WANTED = "MagicBokeh needs Stable Diffusion 2.1-base, the 512-pixel one."
COMPONENT = dict.fromkeys(("safetensors", "bin"), "diffusion_pytorch_model")  # the names of a model in a diffusers folder
NORM = re.compile(r"transformer_blocks\.0\.norm1\.bias$")
EMA = "model_ema.diffusion_model"  # the averaged copy of the U-Net, with or without dots after it


def read_base(path: Path, mapped: bool = False) -> Base:
    """SD2.1-base from a diffusers folder or from a single file. mapped: as for `read_tensors`. Raises ValueError for other models."""
    base = _read_folder(path) if path.is_dir() else base_from(read_tensors(path, mapped=True), path)
    return base if mapped else replace(base, unet=copied(base.unet), vae=copied(base.vae))


def _read_folder(path: Path) -> Base:
    unet, vae = (read_model(_component(path, part)) for part in ("unet", "vae"))
    prediction = read_json(path / "scheduler" / "scheduler_config.json").get("prediction_type")
    heads = _heads(path / "unet" / "config.json")
    return _checked(unet, modern_vae(vae), heads, path.name, prediction)


def base_files(path: Path) -> list[Path]:
    """The files that `read_base` reads, and those that it would read if they were there."""
    if not path.is_dir():
        return [path]
    parts = [file for part in ("unet", "vae") for file in find_model(path / part, COMPONENT)]
    return [*parts, path / "unet" / "config.json", path / "scheduler" / "scheduler_config.json"]


def _component(folder: Path, part: str) -> list[Path]:
    found = find_model(folder / part, COMPONENT)
    if not found:
        raise ValueError(
            f"{folder} has no {part}/diffusion_pytorch_model.safetensors; give the folder of Stable Diffusion 2.1-base."
        )
    return found


def _heads(path: Path) -> tuple[int, ...] | None:
    """Numbers of heads that a U-Net's config.json gives, which calls them their width."""
    config = read_json(path)
    heads = config.get("num_attention_heads") or config.get("attention_head_dim")
    if heads is None:
        return None
    if isinstance(heads, int):
        heads = [heads] * len(config.get("block_out_channels") or (1, 2, 3, 4))
    if not isinstance(heads, list) or not all(isinstance(n, int) and n > 0 for n in heads):
        raise ValueError(f"{path} has attention_head_dim {heads!r}, which is no list of numbers; download it again.")
    return tuple(heads)


def base_from(content: Any, path: Path) -> Base:
    """The base in what `read_tensors` gives of a single file. Raises ValueError for other models."""
    content = content.get("state_dict", content) if isinstance(content, dict) else content
    if not isinstance(content, dict):
        raise ValueError(f"{path.name} holds no weights by name; give a Stable Diffusion 2.1 checkpoint.")
    tensors = {key: value for key, value in content.items() if isinstance(key, str) and isinstance(value, Tensor)}
    unet, vae = without_prefix(tensors, "model.diffusion_model."), without_prefix(tensors, "first_stage_model.")
    if not unet:
        unet = without_prefix(tensors, f"{EMA}.") or ema_from_flat(without_prefix(tensors, EMA))
    if not unet or not vae:
        missing = "VAE" if unet else "U-Net"
        what = _what_it_is(content)
        raise ValueError(
            f"{path.name} holds no {missing}{f': it is {what}' if what else ''}; give a whole Stable Diffusion 2.1 checkpoint or a "
            "diffusers folder."
        )
    return _checked(unet_from_ldm(unet), vae_from_ldm(vae), None, path.name)


# Tensors by which files are known that are no whole checkpoint.
_OTHERS = (
    (r"rank_unet$", "the MagicBokeh adapter, which goes where the checkpoint is chosen"),
    (r"controlnet\.", "a merged MagicBokeh checkpoint, which needs no base"),
    (r".*lora[._](up|down|[AB])\b|lora_unet_|lora_te", "a LoRA"),
    (r"control_model\.|controlnet_cond_embedding\.|.*input_hint_block\.", "a ControlNet"),
    (r"model\.diffusion_model\.|(down|input)_blocks\.", "a U-Net alone"),
    (r"first_stage_model\.|(encoder|decoder)\.(conv_in|mid|mid_block)\.", "a VAE alone"),
    (r"(cond_stage_model|text_model|conditioner)\.", "a text encoder alone"),
    (r"(module\.)?(pretrained|backbone)\.", "a depth model"),
)


def _what_it_is(content: dict) -> str | None:
    for pattern, what in _OTHERS:
        if any(re.match(pattern, str(key)) for key in content):
            return what
    return None


def _checked(unet: Tensors, vae: Tensors, heads: tuple[int, ...] | None, name: str, prediction: str | None = None) -> Base:
    other = _other_model(unet)
    if other is not None:
        raise ValueError(f"{name} is {other}; {WANTED}")
    if prediction == "v_prediction" or (prediction is None and _predicts_v(unet)):
        raise ValueError(f"{name} is Stable Diffusion 2's 768-pixel model (v-prediction); {WANTED}")
    unneeded = re.compile(r"^mid_block\.|\.attn2\.|transformer_blocks\.\d+\.norm2\.")
    kept = {key: value for key, value in unet.items() if not unneeded.search(key)}
    return Base(kept, vae, heads, name)


def _other_model(unet: Tensors) -> str | None:
    """What a U-Net is of, if not of Stable Diffusion 2 from text."""
    sizes = {key: tuple(value.shape) for key, value in unet.items()}
    first = sizes.get("conv_in.weight", (0, 4))
    channels, width = (first[1], first[0]) if len(first) > 1 else (4, 0)
    context = next((size[-1] for key, size in sizes.items() if key.endswith(".attn2.to_k.weight")), None)
    takes = {
        5: "a depth2img model, guided by a depth map",
        7: "the x4 upscaler",
        8: "an InstructPix2Pix or video model",
        9: "an inpainting model",
    }
    if channels in takes:
        return f"{takes[channels]} (its U-Net takes {channels} channels instead of 4)"
    if any(re.search(r"(^|\.)(add_embedding|label_emb|class_embedding)\.", key) for key in sizes):
        if width == 384:
            return "the SDXL refiner"
        return "Stable Diffusion 2.1 unCLIP, guided by pictures" if context == 1024 else "an SDXL model"
    projection = sizes.get("down_blocks.0.attentions.0.proj_in.weight")
    if projection is None:
        return "no Stable Diffusion U-Net"
    return "a Stable Diffusion 1 model" if len(projection) == 4 or context == 768 else None


def _predicts_v(unet: Tensors) -> bool:
    """Whether a U-Net without a word about it predicts v: told, as ComfyUI tells it, by the spread of its last attention's norm.

    Networks of other widths than Stable Diffusion's are made for tests, of any spread: there it must stand out among the others.
    """
    spreads = {key: float(value.float().std(correction=0)) for key, value in unet.items() if NORM.search(key)}
    last = max((key for key in spreads if key.startswith("up_blocks.")), default=None)
    if last is None:
        return False
    return spreads[last] > (0.09 if len(unet[last]) == 320 else 2 * median(spreads.values()))
