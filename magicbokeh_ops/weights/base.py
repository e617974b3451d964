"""Stable Diffusion 2.1-base as people have it, and what else they take for it."""

import re
from dataclasses import replace
from pathlib import Path
from statistics import median
from typing import Any

from torch import Tensor

from .kinds import MERGED, what_it_is
from .names import ema_from_flat, modern_vae, unet_from_ldm, vae_from_ldm
from .parts import Base, Tensors, copied, shown, without_prefix
from .reading import AGAIN, find_model, read_json, read_model, read_tensors

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
    if not (folder / part).is_dir():
        raise ValueError(f"{folder.name} has no {part} folder; {WANTED}")
    found = find_model(folder / part, COMPONENT)
    if not found:
        raise ValueError(
            f"{folder.name}/{part} has no diffusion_pytorch_model.safetensors or .bin, fp16 or not; download one of them into it."
        )
    return found


def _heads(path: Path) -> tuple[int, ...] | None:
    """Numbers of heads that a U-Net's config.json gives, which calls them their width."""
    config = read_json(path)
    heads = config.get("num_attention_heads") or config.get("attention_head_dim")
    if heads is None:
        return None
    if isinstance(heads, int):
        levels = config.get("block_out_channels")
        heads = [heads] * (len(levels) if isinstance(levels, list) else 4)
    if not isinstance(heads, list) or not heads or not all(type(n) is int and n > 0 for n in heads):
        raise ValueError(f"{shown(path)} has attention_head_dim {heads!r}, which is no list of numbers; {AGAIN}.")
    return tuple(heads)


def base_from(content: Any, path: Path) -> Base:
    """The base in what `read_tensors` gives of a single file. Raises ValueError for other models."""
    content = content.get("state_dict", content) if isinstance(content, dict) else content
    if not isinstance(content, dict):
        raise ValueError(f"{path.name} holds no weights by name; {WANTED}")
    tensors = {key: value for key, value in content.items() if isinstance(key, str) and isinstance(value, Tensor)}
    unet, vae = without_prefix(tensors, "model.diffusion_model."), without_prefix(tensors, "first_stage_model.")
    if not unet:
        unet = without_prefix(tensors, f"{EMA}.") or ema_from_flat(without_prefix(tensors, EMA))
    if not unet or not vae:
        what = what_it_is(content)
        if what == MERGED:
            raise ValueError(f"{path.name} is {what} and needs no base; use it instead of lora.pkl.")
        found = f"is {what}" if what else f"holds no {'VAE' if unet else 'U-Net'}"
        raise ValueError(
            f"{path.name} {found}; MagicBokeh needs Stable Diffusion 2.1-base, a whole checkpoint or a diffusers folder."
        )
    return _checked(unet_from_ldm(unet), vae_from_ldm(vae), None, path.name)


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
    """Whether a U-Net predicts v, where no config says so: judged as ComfyUI does, by the spread of its last attention's norm.

    Networks of other widths than Stable Diffusion's are made for tests, of any spread: there it must stand out among the others.
    """
    spreads = {key: float(value.float().std(correction=0)) for key, value in unet.items() if NORM.search(key)}
    last = max((key for key in spreads if key.startswith("up_blocks.")), default=None)
    if last is None:
        return False
    return spreads[last] > (0.09 if len(unet[last]) == 320 else 2 * median(spreads.values()))
