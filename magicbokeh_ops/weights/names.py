"""Names of tensors: from those of the latent diffusion code and of older diffusers to today's diffusers'."""

import re

from .parts import Tensors

_RESNET_NAMES = {
    "in_layers.0": "norm1",
    "in_layers.2": "conv1",
    "emb_layers.1": "time_emb_proj",
    "out_layers.0": "norm2",
    "out_layers.3": "conv2",
    "skip_connection": "conv_shortcut",
}
_UNET_NAMES = {
    "time_embed.0": "time_embedding.linear_1",
    "time_embed.2": "time_embedding.linear_2",
    "input_blocks.0.0": "conv_in",
    "out.0": "conv_norm_out",
    "out.2": "conv_out",
}


def unet_from_ldm(tensors: Tensors) -> Tensors:
    """From the original names of the latent diffusion code; each level has two blocks and a resampler."""
    out = {}
    for key, value in tensors.items():
        place, _, parameter = key.rpartition(".")
        block = re.match(r"(input|output)_blocks\.(\d+)\.(\d+)\.(.+)", place)
        if place in _UNET_NAMES:
            place = _UNET_NAMES[place]
        elif block:
            side, number, inner = block[1], int(block[2]), block[4]
            level, index = divmod(number - 1, 3) if side == "input" else divmod(number, 3)
            direction = "down" if side == "input" else "up"
            if inner in _RESNET_NAMES:
                place = f"{direction}_blocks.{level}.resnets.{index}.{_RESNET_NAMES[inner]}"
            elif inner == "op":
                place = f"down_blocks.{level}.downsamplers.0.conv"
            elif inner == "conv":
                place = f"up_blocks.{level}.upsamplers.0.conv"
            else:
                place = f"{direction}_blocks.{level}.attentions.{index}.{inner}"
        else:
            place = f"mid_block.{place}"
        out[f"{place}.{parameter}"] = value
    return out


_VAE_NAMES = [
    (r"\.mid\.block_([12])\.", lambda m: f".mid_block.resnets.{int(m[1]) - 1}."),
    (r"\.mid\.attn_1\.norm\.", lambda m: ".mid_block.attentions.0.group_norm."),
    (r"\.mid\.attn_1\.proj_out\.", lambda m: ".mid_block.attentions.0.to_out.0."),
    (r"\.mid\.attn_1\.([qkv])\.", lambda m: f".mid_block.attentions.0.to_{m[1]}."),
    (r"\.down\.(\d)\.block\.", lambda m: f".down_blocks.{m[1]}.resnets."),
    (r"\.down\.(\d)\.downsample\.", lambda m: f".down_blocks.{m[1]}.downsamplers.0."),
    (r"\.up\.(\d)\.block\.", lambda m: f".up_blocks.{3 - int(m[1])}.resnets."),
    (r"\.up\.(\d)\.upsample\.", lambda m: f".up_blocks.{3 - int(m[1])}.upsamplers.0."),
    (r"\.nin_shortcut\.", lambda m: ".conv_shortcut."),
    (r"\.norm_out\.", lambda m: ".conv_norm_out."),
]
_OLD_ATTENTION = {"query": "to_q", "key": "to_k", "value": "to_v", "proj_attn": "to_out.0"}


def vae_from_ldm(tensors: Tensors) -> Tensors:
    """From the original names, which ComfyUI also uses."""
    out = {}
    for key, value in tensors.items():
        if not key.startswith(("encoder.", "decoder.", "quant_conv.", "post_quant_conv.")):
            continue
        for pattern, name in _VAE_NAMES:
            key = re.sub(pattern, name, key)
        out[key] = value
    return modern_vae(out)


def modern_vae(tensors: Tensors) -> Tensors:
    """Attention names and shapes of today's diffusers, from those of any of its ages."""
    out = {}
    for key, value in tensors.items():
        key = re.sub(r"\.(query|key|value|proj_attn)\.", lambda m: f".{_OLD_ATTENTION[m[1]]}.", key)
        if re.search(r"\.to_(q|k|v|out\.0)\.weight$", key) and value.ndim == 4:
            value = value[:, :, 0, 0]
        out[key] = value
    return out


def ema_from_flat(tensors: Tensors) -> Tensors:
    """Names of the latent diffusion code from those of its averaged copy, which have lost their dots."""
    out = {}
    for key, value in tensors.items():
        # A block has two numbers, of which the second has one digit.
        numbered = re.sub(r"^(input|output)_blocks(\d+)(\d)(?=\D)", r"\1_blocks.\2.\3.", key)
        start, _, rest = numbered.rpartition(".")
        parts = _WORDS.findall(rest)
        out[".".join(filter(None, (start, *parts))) if "".join(parts) == rest else key] = value
    return out


_WORDS = re.compile(
    r"middle_block|time_embed|(?:in|out|emb)_layers|skip_connection|transformer_blocks|attn[12]|to_(?:out|q|k|v)|proj_(?:in|out)"
    r"|norm[123]|norm|ff|net|proj|conv|out|op|\d+|weight|bias"
)
