"""What a file of weights is by the names in it, to tell those who took it for something else."""

import re
from typing import Any

ADAPTER, MERGED, DEPTH = "the MagicBokeh adapter", "a merged MagicBokeh checkpoint", "a depth model"
WHOLE = "a complete Stable Diffusion checkpoint"
UNET, VAE = r"model\.diffusion_model\.", r"first_stage_model\."
_KINDS = (
    (r"(rank|state_dict)_unet$", ADAPTER),
    (r"controlnet\.", MERGED),
    (r".*lora[._](up|down|[AB])\b|lora_unet_|lora_te", "a LoRA"),
    (r"control_model\.|controlnet_cond_embedding\.|.*input_hint_block\.", "a ControlNet"),
    (rf"({UNET})?(double|joint|transformer)_blocks\.", "a diffusion transformer such as Flux"),
    (rf"{UNET}|(down|input)_blocks\.", "only a U-Net"),
    (rf"{VAE}|(encoder|decoder)\.(conv_in|mid|mid_block)\.", "only a VAE"),
    (r"(cond_stage_model|text_model|conditioner)\.", "only a text encoder"),
    (r"(model_ema\.|module\.)*(pretrained|backbone|depth_head)\.", DEPTH),
)


def mistaken(content: Any, wanted: str) -> str:
    """How a message goes on about a file that is not `wanted`."""
    what = what_it_is(content)
    return f"is {what}, not {wanted}" if what else f"is not {wanted}"


def what_it_is(content: Any) -> str | None:
    """The kind of model in what `read_tensors` gives, in words; None for what is seldom mistaken."""
    if not isinstance(content, dict):
        return None
    inner = (content.get(key) for key in ("state_dict", "model", "model_ema"))
    names = [str(name) for name in next((one for one in inner if isinstance(one, dict)), content)]
    if all(any(re.match(part, name) for name in names) for part in (UNET, VAE)):
        return WHOLE
    return next((kind for pattern, kind in _KINDS if any(re.match(pattern, name) for name in names)), None)
