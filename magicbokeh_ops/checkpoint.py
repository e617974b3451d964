"""Weights: Stable Diffusion 2.1 as people have it, the released adapter, and merged files of our own.

Nothing in a pickle is executed. A file is read by torch's weights-only loader; the module classes that the released
adapter names get inert stand-ins, and a file that names anything else is refused.
"""

import io
import json
import pickletools
import re
import zipfile
from collections import OrderedDict
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from .network import Config, ControlNet, TimeEmbedding, UNet
from .patch_codec import PatchCodec

Tensors = dict[str, Tensor]

FORMAT_VERSION = "1"
HEAD_WIDTH = 64  # of Stable Diffusion 2.1, for files that do not say it
SAFE = (".safetensors", ".sft")
LORA_ALPHA = 8  # peft's default, in effect since the release sets none


@dataclass
class Base:
    """Stable Diffusion 2.1 under diffusers' names: the U-Net without what is pruned, and the VAE."""

    unet: Tensors
    vae: Tensors
    heads: tuple[int, ...] | None = None
    name: str = ""


@dataclass
class Adapter:
    """The released adapter: LoRA of U-Net and VAE encoder, ControlNet, bokeh LoRA."""

    unet: Tensors
    vae: Tensors
    controlnet: Tensors
    processor: Tensors
    rank_unet: int
    rank_vae: int
    rank_bokeh: int
    unet_modules: list[str]
    vae_modules: list[str]
    name: str = ""


@dataclass
class Weights:
    """Ready to run: LoRA merged, bokeh LoRA scaled, everything under diffusers' names."""

    unet: Tensors
    controlnet: Tensors
    vae: Tensors
    config: Config
    sources: dict[str, str] = field(default_factory=dict)


class StandIn:
    """In place of a class or function that a pickle names: holds the attributes, does nothing."""

    def __init__(self, *_):
        pass

    def __setstate__(self, state):
        if isinstance(state, dict):
            vars(self).update(state)


def read_tensors(path: Path):
    """Contents of a safetensors or torch file, without running anything in it.

    Raises ValueError for a damaged file and for a pickle that names other than `torch.nn`, `diffusers` and `models`.
    """
    if path.suffix.lower() in SAFE:
        try:
            return load_file(path)
        except SafetensorError as error:
            raise ValueError(f"{path.name} is damaged or no safetensors file ({error}); download it again.") from None
    if tuple(int(part) for part in torch.__version__.split(".")[:2]) < (2, 6):
        raise ValueError(f"{path.name} is a pickle; reading it safely needs torch 2.6, this is {torch.__version__}.")
    damaged = f"{path.name} is damaged or no torch file; download it again."
    try:
        names = named_classes(path)
    except (OSError, MemoryError):  # says nothing about the file's contents
        raise
    except Exception:  # a damaged zip or pickle ends in struct.error, IndexError, KeyError, BadZipFile ...
        raise ValueError(damaged) from None
    others = [name for name in names if not _BUILT_IN.fullmatch(name)]
    modules = [name for name in others if name.startswith(("torch.nn.", "diffusers.", "models.")) or name in _TRAINING_LOG]
    strange = [name for name in others if name not in modules]
    if strange:
        raise ValueError(f"{path.name} names {strange[0]!r}, which no weights need; it was not loaded and nothing in it ran.")
    # Only ours, since what other code allows is not meant for this file; and theirs back again.
    allowed = torch.serialization.get_safe_globals()
    torch.serialization.clear_safe_globals()
    torch.serialization.add_safe_globals([(_stand_in(name), name) for name in modules])
    try:
        return torch.load(path, map_location="cpu", weights_only=True, mmap=zipfile.is_zipfile(path))
    except (OSError, MemoryError):
        raise
    except Exception:
        raise ValueError(damaged) from None
    finally:
        torch.serialization.clear_safe_globals()
        torch.serialization.add_safe_globals(allowed)


# What tensors and plain containers are made of; torch's loader builds these itself.
_BUILT_IN = re.compile(
    r"torch\._utils\._rebuild_\w+|torch\._tensor\._rebuild_from_type_v2|torch\.nn\.parameter\.(Parameter|Buffer)"
    r"|torch\.(Tensor|Size|device)|torch\.[a-z]+\d+|torch\.(cuda\.)?\w*Storage|torch\.storage\.\w*Storage"
    r"|collections\.(OrderedDict|Counter)|(builtins|__builtin__)\.(set|bytearray)|_codecs\.encode"
)

# Stable Diffusion's own .ckpt files carry the log of their training: a class by name, and numbers of numpy.
_TRAINING_LOG = (
    "pytorch_lightning.callbacks.model_checkpoint.ModelCheckpoint",
    "numpy.core.multiarray.scalar",
    "numpy._core.multiarray.scalar",
    "numpy.dtype",
)


def named_classes(path: Path) -> list[str]:
    """Every class and function that a torch file names, read from its opcodes without following any."""
    if zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as archive:
            # By entry and not by name: of two with the same name torch reads the first, Python the last.
            entries = [entry for entry in archive.infolist() if entry.filename.lower().endswith("data.pkl")]
            pickles = [archive.read(entry) for entry in entries]
    else:
        with path.open("rb") as file:
            pickles = [file.read()]
    found: dict[str, None] = {}
    for content in pickles:
        strings: list[str] = []
        stream = io.BytesIO(content)
        try:
            # The older format is several pickles one after the other, and then raw numbers.
            while stream.tell() < len(content):
                for opcode, value, _ in pickletools.genops(stream):
                    if opcode.name == "GLOBAL":
                        found[str(value).replace(" ", ".")] = None
                    elif opcode.name == "STACK_GLOBAL":
                        found[".".join(strings[-2:])] = None
                    elif isinstance(value, str):
                        strings.append(value)
        except (ValueError, UnicodeDecodeError):
            continue
    return list(found)


def _stand_in(name: str) -> type:
    if name == "diffusers.configuration_utils.FrozenDict":
        return OrderedDict
    module, _, own = name.rpartition(".")
    return type(own, (StandIn,), {"__module__": module})


def _module_tensors(module, prefix: str = "") -> Tensors:
    """State dict of a stood-in module."""
    state = vars(module)
    out = {prefix + name: value.detach() for name, value in state["_parameters"].items() if value is not None}
    for name, child in state["_modules"].items():
        if child is not None:
            out.update(_module_tensors(child, f"{prefix}{name}."))
    return out


def read_adapter(path: Path) -> Adapter:
    """The released `lora.pkl`. Raises ValueError if it is something else."""
    return _adapter_from(read_tensors(path), path)


def _adapter_from(content, path: Path) -> Adapter:
    needed = (
        "rank_unet",
        "rank_vae",
        "state_dict_unet",
        "state_dict_vae",
        "controlnet",
        "state_dict_attn",
        "processor_state_dict",
        "unet_lora_encoder_modules",
        "unet_lora_decoder_modules",
        "vae_lora_encoder_modules",
    )
    missing = [key for key in needed if not isinstance(content, dict) or key not in content]
    if missing:
        raise ValueError(f"{path.name} is no MagicBokeh adapter: it has no {missing[0]}.")
    if not isinstance(content["controlnet"], StandIn):
        raise ValueError(f"{path.name} is no MagicBokeh adapter: its ControlNet is no module.")
    return Adapter(
        unet=content["state_dict_unet"],
        vae=content["state_dict_vae"],
        controlnet=_module_tensors(content["controlnet"]),
        processor=content["processor_state_dict"],
        rank_unet=content["rank_unet"],
        rank_vae=content["rank_vae"],
        rank_bokeh=content["state_dict_attn"],
        unet_modules=content["unet_lora_encoder_modules"] + content["unet_lora_decoder_modules"],
        vae_modules=content["vae_lora_encoder_modules"],
        name=path.name,
    )


def _check_adapter(adapter: Adapter) -> None:
    """Raise ValueError naming what the adapter itself lacks, whatever its base."""
    for key in ("conv_in.base_layer.weight", "conv_in.base_layer.bias"):
        if key not in adapter.unet:
            raise ValueError(f"{adapter.name} misses {key}; download it again.")
    for lora, rank, modules in (
        (adapter.unet, adapter.rank_unet, adapter.unet_modules),
        (adapter.vae, adapter.rank_vae, adapter.vae_modules),
    ):
        updates = _updates(lora)
        for module in modules:
            if updates.get(module, {}).keys() != {"A", "B"}:
                raise ValueError(f"{adapter.name} misses a LoRA tensor of {module}; download it again.")
            if len(updates[module]["A"]) != rank:
                raise ValueError(
                    f"{adapter.name} says rank {rank}, but {module} has {len(updates[module]['A'])}; download it again."
                )
    for layer in {key.rpartition(".processor.")[0] for key in adapter.processor}:
        for part in ("q", "k", "v", "out"):
            for i in (0, 1):
                key = f"{layer}.processor.to_{part}_lora.{i}.weight"
                if key not in adapter.processor:
                    raise ValueError(f"{adapter.name} misses {key}; download it again.")


def _updates(lora: Tensors) -> dict[str, dict[str, Tensor]]:
    """The two matrices A and B of each module."""
    updates: dict[str, dict[str, Tensor]] = {}
    for key, value in lora.items():
        found = re.fullmatch(r"(.+)\.lora_([AB])\.[^.]+\.weight", key)
        if found:
            updates.setdefault(found[1], {})[found[2]] = value
    return updates


def read_base(path: Path) -> Base:
    """SD2.1-base from a diffusers folder or from a single file. Raises ValueError for other models."""
    if path.is_dir():
        unet, vae = (_read_component(path, part) for part in ("unet", "vae"))
        if _read_json(path / "scheduler" / "scheduler_config.json").get("prediction_type") == "v_prediction":
            raise ValueError(f"{path.name} is the 768-pixel model (v-prediction); MagicBokeh needs Stable Diffusion 2.1-base.")
        config = _read_json(path / "unet" / "config.json")
        # diffusers' misnomer: these are numbers of heads.
        heads = config.get("num_attention_heads") or config.get("attention_head_dim")
        if isinstance(heads, int):
            heads = [heads] * len(config["block_out_channels"])
        return _checked_base(unet, _modern_vae(vae), tuple(heads) if heads else None, path.name)
    return _base_from(read_tensors(path), path)


def _read_json(path: Path) -> dict[str, Any]:
    return json.loads(path.read_text()) if path.exists() else {}


def _base_from(content, path: Path) -> Base:
    if not isinstance(content, dict):
        raise ValueError(f"{path.name} holds no weights by name; give a Stable Diffusion 2.1 checkpoint.")
    content = content.get("state_dict", content)
    unet = _without_prefix(content, "model.diffusion_model.")
    vae = _without_prefix(content, "first_stage_model.")
    if not unet or not vae:
        part = "VAE" if unet else "U-Net"
        raise ValueError(f"{path.name} holds no {part}; give a whole Stable Diffusion 2.1 checkpoint or a diffusers folder.")
    if "label_emb.0.0.weight" in unet:
        raise ValueError(f"{path.name} is an SDXL checkpoint; MagicBokeh needs Stable Diffusion 2.1-base.")
    return _checked_base(_unet_from_ldm(unet), vae_from_ldm(vae), None, path.name)


def _read_component(folder: Path, part: str) -> Tensors:
    """One model of a diffusers folder: safetensors before .bin, full before half precision, one file or shards."""
    for name in (
        "diffusion_pytorch_model.safetensors",
        "diffusion_pytorch_model.fp16.safetensors",
        "diffusion_pytorch_model.bin",
    ):
        stem, kind = name.split(".", 1)
        variant, _, suffix = kind.rpartition(".")
        index = folder / part / ".".join(filter(None, (stem, suffix, "index", variant, "json")))
        if index.exists():
            shards = sorted(set(json.loads(index.read_text())["weight_map"].values()))
            return {key: value for shard in shards for key, value in read_tensors(folder / part / shard).items()}
        if (folder / part / name).exists():
            return read_tensors(folder / part / name)
    raise ValueError(
        f"{folder} has no {part}/diffusion_pytorch_model.safetensors; give the folder of Stable Diffusion 2.1-base."
    )


def _checked_base(unet: Tensors, vae: Tensors, heads: tuple[int, ...] | None, name: str) -> Base:
    if "add_embedding.linear_1.weight" in unet:
        raise ValueError(f"{name} is an SDXL model; MagicBokeh needs Stable Diffusion 2.1-base.")
    projection = unet.get("down_blocks.0.attentions.0.proj_in.weight")
    if projection is None:
        raise ValueError(f"{name} is no Stable Diffusion U-Net; MagicBokeh needs Stable Diffusion 2.1-base.")
    if projection.ndim == 4:
        raise ValueError(f"{name} is a Stable Diffusion 1 model; MagicBokeh needs Stable Diffusion 2.1-base.")
    unneeded = re.compile(r"^mid_block\.|\.attn2\.|transformer_blocks\.\d+\.norm2\.")
    return Base({key: value for key, value in unet.items() if not unneeded.search(key)}, vae, heads, name)


def _without_prefix(tensors: Tensors, prefix: str) -> Tensors:
    return {key[len(prefix) :]: value for key, value in tensors.items() if key.startswith(prefix)}


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


def _unet_from_ldm(tensors: Tensors) -> Tensors:
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
    return _modern_vae(out)


def _modern_vae(tensors: Tensors) -> Tensors:
    """Attention names and shapes of today's diffusers, from those of any of its ages."""
    out = {}
    for key, value in tensors.items():
        key = re.sub(r"\.(query|key|value|proj_attn)\.", lambda m: f".{_OLD_ATTENTION[m[1]]}.", key)
        if re.search(r"\.to_(q|k|v|out\.0)\.weight$", key) and value.ndim == 4:
            value = value[:, :, 0, 0]
        out[key] = value
    return out


def find_unet_config(unet: Tensors, heads: tuple[int, ...] | None = None) -> Config:
    """Sizes of the U-Net as the shapes tell; heads are 64 wide unless given, since shapes can't tell that.

    Raises KeyError with the name of a tensor that is missing for it.
    """
    levels = 1 + max(int(key.split(".")[1]) for key in unet if key.startswith("down_blocks."))
    channels = tuple(unet[f"down_blocks.{i}.resnets.0.conv1.weight"].shape[0] for i in range(levels))
    attended = [f"down_blocks.{i}.attentions.0.norm.weight" in unet for i in range(levels)]
    if heads is None:
        heads = tuple(max(1, width // HEAD_WIDTH) for width in channels)
    return Config(
        in_channels=unet["conv_in.weight"].shape[1],
        out_channels=unet["conv_out.weight"].shape[0],
        channels=channels,
        heads=tuple(n if there else 0 for n, there in zip(heads, attended)),
        layers=1 + max(int(key.split(".")[3]) for key in unet if key.startswith("down_blocks.0.resnets.")),
    )


def _find_hint_channels(controlnet: Tensors) -> tuple[int, ...]:
    hint = "controlnet_cond_embedding."
    blocks = len([key for key in controlnet if re.fullmatch(rf"{hint}blocks\.\d+\.weight", key)])
    names = ["conv_in", *(f"blocks.{i}" for i in range(1, blocks, 2))]
    return tuple(controlnet[f"{hint}{name}.weight"].shape[0] for name in names)


def merge(base: Base, adapter: Adapter, dtype: torch.dtype = torch.float32) -> Weights:
    """Base and adapter as one, computed in fp32, nothing changed in place.

    SR LoRA: W + (8 / rank) B A. Bokeh LoRA: its scale 1 / rank goes into B.
    dtype: of U-Net and ControlNet; the VAE, small and touchy, stays in fp32.
    Raises ValueError if the adapter does not fit the base.
    """
    _check_adapter(adapter)
    unet, vae = dict(base.unet), dict(base.vae)
    misfit = f"{adapter.name} does not fit {base.name}"
    for part, lora, rank, modules in (
        (unet, adapter.unet, adapter.rank_unet, adapter.unet_modules),
        (vae, adapter.vae, adapter.rank_vae, adapter.vae_modules),
    ):
        for key, value in lora.items():
            if ".base_layer." in key:
                name = key.replace(".base_layer", "")
                if name not in part or part[name].shape != value.shape:
                    raise ValueError(f"{misfit}: {name} is missing or of another size.")
                part[name] = value
        updates = _updates(lora)
        for module in dict.fromkeys(modules):
            name = f"{module}.weight"
            if name not in part:
                raise ValueError(f"{misfit}: {name} has no counterpart.")
            part[name] = _merged(part[name], updates[module]["A"], updates[module]["B"], LORA_ALPHA / rank, f"{misfit}: {name}")
    for key, value in adapter.processor.items():
        unet[key] = value.float() / adapter.rank_bokeh if key.endswith("_lora.1.weight") else value
    try:
        config = replace(
            find_unet_config(unet, base.heads),
            rank=adapter.rank_bokeh,
            hint_channels=_find_hint_channels(adapter.controlnet),
        )
    except KeyError as missing:
        raise ValueError(f"{base.name} + {adapter.name} misses the tensor {missing.args[0]}.") from None
    weights = Weights(unet, dict(adapter.controlnet), vae, config, {"base": base.name, "adapter": adapter.name})
    check(weights, f"{base.name} + {adapter.name}")
    for part, kept in ((weights.unet, dtype), (weights.controlnet, dtype), (weights.vae, torch.float32)):
        for key, value in part.items():
            part[key] = value.to(kept)
    return weights


def _merged(weight: Tensor, down: Tensor, up: Tensor, scale: float, complaint: str) -> Tensor:
    delta = up.float().flatten(1) @ down.float().flatten(1)
    if delta.numel() != weight.numel() or len(delta) != len(weight):
        raise ValueError(f"{complaint} is {tuple(weight.shape)}, the adapter's update is for another size.")
    return weight.float() + scale * delta.view_as(weight)


def fold_time(weights: Weights) -> Weights:
    """The same networks without time embedding: t is always 999, so that all it adds are constants, which go into biases."""
    if weights.config.folded:
        return weights
    embedding = TimeEmbedding(weights.config, nn).requires_grad_(False)
    parts = []
    for tensors in (weights.unet, weights.controlnet):
        embedding.load_state_dict({k: v.float() for k, v in _without_prefix(tensors, "time_embedding.").items()})
        time = F.silu(embedding(torch.zeros(())))[0]
        folded = {key: value for key, value in tensors.items() if "time_emb" not in key}
        for key, weight in tensors.items():
            if key.endswith(".time_emb_proj.weight"):
                block = key.removesuffix("time_emb_proj.weight")
                bias = tensors[f"{block}conv1.bias"]
                added = weight.float() @ time + tensors[f"{block}time_emb_proj.bias"].float()
                folded[f"{block}conv1.bias"] = (bias.float() + added).to(bias)
        parts.append(folded)
    unet, controlnet = parts
    return Weights(unet, controlnet, weights.vae, replace(weights.config, folded=True), weights.sources)


def check(weights: Weights, name: str) -> None:
    """Raise ValueError naming the first tensors that are missing, left over or of the wrong shape. name: of the file."""
    with torch.device("meta"):
        unet, controlnet = UNet(weights.config), ControlNet(weights.config)
    _check_part(weights.unet, unet.state_dict(), f"{name}: the U-Net")
    _check_part(weights.controlnet, controlnet.state_dict(), f"{name}: the ControlNet")
    check_vae(weights.vae, name)


def _check_part(found: Tensors, needed: Tensors, what: str) -> None:
    for problem, keys in (("misses", needed.keys() - found.keys()), ("has unknown", found.keys() - needed.keys())):
        if keys:
            raise ValueError(f"{what} {problem} {_some(keys)}.")
    for key, value in needed.items():
        if value.shape != found[key].shape:
            raise ValueError(f"{what} has {key} of {tuple(found[key].shape)}, expected {tuple(value.shape)}.")


def is_patch_codec(vae: Tensors) -> bool:
    """Whether these are a `PatchCodec`'s tensors and no VAE's."""
    return any(key.startswith("smooth.") for key in vae)


def check_vae(vae: Tensors, name: str) -> None:
    """Raise ValueError naming the first tensors that a VAE misses. name: of the file."""
    if is_patch_codec(vae):
        _check_part(vae, PatchCodec().state_dict(), f"{name}: the codec")
        return
    missing = _vae_names(vae) - vae.keys()
    if missing:
        raise ValueError(f"{name}: the VAE misses {_some(missing)}.")


def _some(keys: set[str]) -> str:
    names = sorted(keys)
    return ", ".join(names[:3]) + (f" and {len(names) - 3} more tensors" if len(names) > 3 else "")


def _vae_depth(vae: Tensors) -> tuple[int, int]:
    """Levels, and layers per level of the encoder."""
    numbers = [re.match(r"encoder\.down_blocks\.(\d+)\.resnets\.(\d+)\.", key) for key in vae]
    levels, layers = (1 + max((int(found[i]) for found in numbers if found), default=0) for i in (1, 2))
    return levels, layers


def vae_sizes(vae: Tensors) -> tuple[tuple[int, ...], int, int]:
    """Channels per level, layers per level of the encoder, and channels of the latent, as the shapes tell."""
    levels, layers = _vae_depth(vae)
    channels = tuple(vae[f"encoder.down_blocks.{i}.resnets.0.conv1.weight"].shape[0] for i in range(levels))
    return channels, layers, vae["decoder.conv_in.weight"].shape[1]


def _vae_names(vae: Tensors) -> set[str]:
    """What a VAE must hold, going by the levels and layers that are there."""
    levels, layers = _vae_depth(vae)
    names = {"quant_conv", "post_quant_conv"}
    for side, way, depth in (("encoder", "down", layers), ("decoder", "up", layers + 1)):
        names |= {f"{side}.{part}" for part in ("conv_in", "conv_norm_out", "conv_out")}
        names |= {f"{side}.mid_block.attentions.0.{part}" for part in ("group_norm", "to_q", "to_k", "to_v", "to_out.0")}
        names |= {f"{side}.{way}_blocks.{i}.{way}samplers.0.conv" for i in range(levels - 1)}
        blocks = [f"{side}.{way}_blocks.{i}.resnets.{j}" for i in range(levels) for j in range(depth)]
        for block in (*blocks, f"{side}.mid_block.resnets.0", f"{side}.mid_block.resnets.1"):
            names |= {f"{block}.{part}" for part in ("norm1", "conv1", "norm2", "conv2")}
            first = vae.get(f"{block}.conv1.weight")
            if first is not None and first.shape[0] != first.shape[1]:
                names.add(f"{block}.conv_shortcut")
    return {f"{name}.{parameter}" for name in names for parameter in ("weight", "bias")}


def save(weights: Weights, path: Path) -> None:
    """Write one merged safetensors file, whole or not at all."""
    parts = {"unet": weights.unet, "controlnet": weights.controlnet, "vae": weights.vae}
    tensors = {f"{part}.{key}": value.contiguous() for part, content in parts.items() for key, value in content.items()}
    metadata = {
        "format": "magicbokeh",
        "format_version": FORMAT_VERSION,
        "config": json.dumps(asdict(weights.config)),
        "sources": json.dumps(weights.sources),
    }
    unfinished = path.with_name(path.name + ".part")
    try:
        save_file(tensors, unfinished, metadata)
        unfinished.replace(path)
    finally:
        unfinished.unlink(missing_ok=True)


def _metadata(path: Path) -> dict[str, str]:
    try:
        with safe_open(path, "pt") as file:
            return file.metadata() or {}
    except SafetensorError as error:
        raise ValueError(f"{path.name} is damaged or no safetensors file ({error}); make it again.") from None


def is_merged(path: Path) -> bool:
    """Whether this is a merged file of ours, by its header alone."""
    return path.suffix.lower() in SAFE and _metadata(path).get("format") == "magicbokeh"


def load(path: Path) -> Weights:
    """Read a merged file. Raises ValueError if it is something else or incomplete."""
    metadata = _metadata(path)
    if metadata.get("format") != "magicbokeh":
        raise ValueError(f"{path.name} is no merged MagicBokeh checkpoint; make one with `magicbokeh convert`.")
    if metadata.get("format_version") != FORMAT_VERSION:
        raise ValueError(
            f"{path.name} has format {metadata.get('format_version')}, this version reads {FORMAT_VERSION}; update the pack."
        )
    tensors = load_file(path)
    fields: dict[str, Any] = {
        key: tuple(value) if isinstance(value, list) else value for key, value in json.loads(metadata["config"]).items()
    }
    parts = {part: _without_prefix(tensors, f"{part}.") for part in ("unet", "controlnet", "vae")}
    weights = Weights(**parts, config=Config(**fields), sources=json.loads(metadata["sources"]))
    check(weights, path.name)
    return weights


def describe(path: Path) -> list[str]:
    """What a file or folder holds, line by line. Raises ValueError with what is wrong with it."""
    if is_merged(path):
        weights = load(path)
        made_of = ", ".join(f"{part} {name}" for part, name in weights.sources.items())
        parts = {"U-Net": weights.unet, "ControlNet": weights.controlnet, "VAE": weights.vae}
        lines = [f"merged MagicBokeh checkpoint, format {FORMAT_VERSION}, made of {made_of}", _sizes(weights.config)]
        return lines + [_counts(name, tensors) for name, tensors in parts.items()]
    content = None if path.is_dir() else read_tensors(path)
    if isinstance(content, dict) and "rank_unet" in content:
        adapter = _adapter_from(content, path)
        _check_adapter(adapter)
        return [
            "MagicBokeh adapter, to be used with Stable Diffusion 2.1-base",
            f"SR LoRA of the U-Net: rank {adapter.rank_unet}, {len(set(adapter.unet_modules))} layers",
            f"SR LoRA of the VAE's encoder: rank {adapter.rank_vae}, {len(set(adapter.vae_modules))} layers",
            f"bokeh LoRA: rank {adapter.rank_bokeh}, {len(adapter.processor) // 8} layers",
            _counts("ControlNet", adapter.controlnet),
        ]
    base = read_base(path) if content is None else _base_from(content, path)
    try:
        config = find_unet_config(base.unet, base.heads)
    except KeyError as missing:
        raise ValueError(f"{path.name}: the U-Net misses {missing.args[0]}.") from None
    with torch.device("meta"):
        _check_part(base.unet, UNet(config).state_dict(), f"{path.name}: the U-Net")
    check_vae(base.vae, path.name)
    lines = ["Stable Diffusion 2 base, to be used with a MagicBokeh adapter", _sizes(config)]
    return lines + [_counts("U-Net without what MagicBokeh leaves out", base.unet), _counts("VAE", base.vae)]


def _sizes(config: Config) -> str:
    return f"channels {' '.join(map(str, config.channels))}, heads {' '.join(map(str, config.heads))}"


def _counts(name: str, tensors: Tensors) -> str:
    kinds = sorted({str(value.dtype).removeprefix("torch.") for value in tensors.values()})
    return f"{name}: {len(tensors)} tensors, {sum(v.numel() for v in tensors.values()) / 1e6:.1f} M values, {', '.join(kinds)}"
