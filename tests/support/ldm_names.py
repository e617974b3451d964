"""A diffusers folder as the single file that most people have: the same tensors under their original names."""

import re
from pathlib import Path

from safetensors.torch import load_file
from torch import Tensor


def ldm_unet(key: str) -> str:
    """Original name of a tensor of the U-Net, from diffusers' name."""
    for ours, theirs in (
        (r"^time_embedding\.linear_1", "time_embed.0"),
        (r"^time_embedding\.linear_2", "time_embed.2"),
        (r"^conv_in", "input_blocks.0.0"),
        (r"^conv_norm_out", "out.0"),
        (r"^conv_out", "out.2"),
        (r"^mid_block\.resnets\.0", "middle_block.0"),
        (r"^mid_block\.attentions\.0", "middle_block.1"),
        (r"^mid_block\.resnets\.1", "middle_block.2"),
    ):
        key = re.sub(ours, theirs, key)
    found = re.match(r"(down|up)_blocks\.(\d)\.(resnets|attentions|downsamplers|upsamplers)\.(\d)\.(.*)", key)
    if found:
        way, level, kind, i, rest = found[1], int(found[2]), found[3], int(found[4]), found[5]
        if way == "down":
            place = f"{3 * level + (3 if kind == 'downsamplers' else 1 + i)}.{int(kind == 'attentions')}"
        else:
            place = f"{3 * level + (2 if kind == 'upsamplers' else i)}.{ {'resnets': 0, 'attentions': 1}.get(kind, 1 + (level > 0)) }"
        rest = rest.replace("conv.", "op.") if kind == "downsamplers" else rest
        key = f"{'input' if way == 'down' else 'output'}_blocks.{place}.{rest}"
    if found is None or found[3] == "resnets":
        for ours, theirs in (
            ("norm1", "in_layers.0"), ("conv1", "in_layers.2"), ("time_emb_proj", "emb_layers.1"),
            ("norm2", "out_layers.0"), ("conv2", "out_layers.3"), ("conv_shortcut", "skip_connection"),
        ):  # fmt: skip
            if "transformer_blocks" not in key:
                key = key.replace(f".{ours}.", f".{theirs}.")
    return key


def ldm_vae(key: str) -> str:
    for ours, theirs in (
        (r"mid_block\.resnets\.(\d)", lambda m: f"mid.block_{int(m[1]) + 1}"),
        (r"mid_block\.attentions\.0\.group_norm", "mid.attn_1.norm"),
        (r"mid_block\.attentions\.0\.to_out\.0", "mid.attn_1.proj_out"),
        (r"mid_block\.attentions\.0\.to_", "mid.attn_1."),
        (r"down_blocks\.(\d)\.resnets", r"down.\1.block"),
        (r"down_blocks\.(\d)\.downsamplers\.0", r"down.\1.downsample"),
        (r"up_blocks\.(\d)\.resnets", lambda m: f"up.{3 - int(m[1])}.block"),
        (r"up_blocks\.(\d)\.upsamplers\.0", lambda m: f"up.{3 - int(m[1])}.upsample"),
        ("conv_shortcut", "nin_shortcut"),
        ("conv_norm_out", "norm_out"),
    ):
        key = re.sub(ours, theirs, key)
    return key


def single_file_tensors(folder: Path) -> dict[str, Tensor]:
    """U-Net and VAE of a diffusers folder as in a single-file checkpoint."""
    unet, vae = (load_file(folder / part / "diffusion_pytorch_model.safetensors") for part in ("unet", "vae"))
    tensors = {f"model.diffusion_model.{ldm_unet(key)}": value for key, value in unet.items()}
    for key, value in vae.items():
        is_projection = re.search(r"to_\w+(\.0)?\.weight", key)
        tensors[f"first_stage_model.{ldm_vae(key)}"] = value[:, :, None, None] if is_projection else value
    return {key: value.contiguous() for key, value in tensors.items()}
