"""Weights: Stable Diffusion 2.1 as people have it, the released adapter, and merged files of our own.

Nothing in a pickle is executed. How each kind of file is read lies in `weights/`, whose public names are here too.
"""

import json
from dataclasses import asdict, fields, replace
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

from ..atomic import write_whole
from ..model.network import ATTENTION, Config, UNet
from .adapter import adapter_from, read_adapter
from .base import base_files, base_from, read_base
from .kinds import MERGED, mistaken, what_it_is
from .merge import fold_time, merge, merge_vae
from .names import vae_from_ldm
from .parts import LORA_ALPHA, Adapter, Base, Tensors, Weights, copied, shown, without_prefix
from .pickles import StandIn, named_classes
from .reading import AGAIN, SAFE, check_file, fingerprint, read_tensors
from .shapes import HEAD_WIDTH, check, check_part, check_vae, find_hint_channels, find_unet_config

__all__ = [
    "HEAD_WIDTH",
    "LORA_ALPHA",
    "SAFE",
    "Adapter",
    "Base",
    "StandIn",
    "Tensors",
    "Weights",
    "base_files",
    "check",
    "check_vae",
    "describe",
    "find_unet_config",
    "fingerprint",
    "fold_time",
    "is_merged",
    "load",
    "merge",
    "merge_vae",
    "named_classes",
    "read_adapter",
    "read_base",
    "read_tensors",
    "read_vae",
    "save",
    "vae_from_ldm",
]

FORMAT_VERSION = "1"
PARTS = ("unet", "controlnet", "vae")


def save(weights: Weights, path: Path) -> None:
    """Write one merged safetensors file, whole or not at all."""
    tensors = {f"{part}.{key}": value.contiguous() for part in PARTS for key, value in getattr(weights, part).items()}
    metadata = {
        "format": "magicbokeh",
        "format_version": FORMAT_VERSION,
        "config": json.dumps(asdict(weights.config)),
        "sources": json.dumps(weights.sources),
    }
    write_whole(path, lambda unfinished: save_file(tensors, unfinished, metadata))


def _metadata(path: Path) -> dict[str, str]:
    check_file(path)
    try:
        with safe_open(path, "pt") as file:
            return file.metadata() or {}
    except SafetensorError as error:
        raise ValueError(f"{path.name} is damaged or not a safetensors file ({error}); make it again.") from None


def is_merged(path: Path) -> bool:
    """Whether this is a merged file of ours, by its header alone."""
    return path.suffix.lower() in SAFE and _metadata(path).get("format") == "magicbokeh"


def load(path: Path) -> Weights:
    """Read a merged file. Raises ValueError if it is something else or incomplete."""
    metadata = _metadata(path) if path.suffix.lower() in SAFE else {}
    if metadata.get("format") != "magicbokeh":
        content = read_tensors(path, mapped=True)
        if what_it_is(content) == MERGED:
            raise ValueError(f"{shown(path)} has lost its metadata; make it again.")
        raise ValueError(f"{shown(path)} {mistaken(content, MERGED)}; make one with `magicbokeh convert`.")
    if metadata.get("format_version") != FORMAT_VERSION:
        raise ValueError(
            f"{path.name} has format {metadata.get('format_version')}, this version reads {FORMAT_VERSION}; update MagicBokeh."
        )
    tensors = read_tensors(path)
    parts = {part: without_prefix(tensors, f"{part}.") for part in PARTS}
    sources = _read_object(metadata, "sources", path)
    if not all(isinstance(name, str) for name in sources.values()):
        raise ValueError(f"{path.name} has odd names in its metadata's sources; make it again.")
    weights = Weights(**parts, config=_read_config(metadata, parts, path), sources=sources)
    check(weights, path.name)
    return weights


def _read_object(metadata: dict[str, str], key: str, path: Path) -> dict[str, Any]:
    try:
        content = json.loads(metadata[key])
    except KeyError:
        raise ValueError(f"{path.name} has no {key} in its metadata; make it again.") from None
    except (ValueError, RecursionError):
        raise ValueError(f"{path.name} has no JSON for {key} in its metadata; make it again.") from None
    if not isinstance(content, dict):
        raise ValueError(f"{path.name} has no names and values for {key} in its metadata; make it again.")
    return content


def _read_config(metadata: dict[str, str], parts: dict[str, Tensors], path: Path) -> Config:
    """The config of a merged file, as far as its tensors agree: what they can't tell is checked for sense."""
    content = _read_object(metadata, "config", path)
    known = {field.name: field.default for field in fields(Config)}
    values: dict[str, Any] = {key: tuple(value) if isinstance(value, list) else value for key, value in content.items()}
    for key, value in values.items():
        if key not in known:
            raise ValueError(f"{path.name} has an unknown {key} in its config; update MagicBokeh.")
        numbers = value if isinstance(value, tuple) else ()
        # A float may be written without a point.
        fits = type(value) is type(known[key]) or (key == "latent_scale" and type(value) is int)
        if not fits or not all(type(number) is int and number >= 0 for number in numbers):
            raise ValueError(f"{path.name} has {key} {content[key]!r} in its config, of a wrong kind; make it again.")
    config = Config(**values)
    try:
        found = find_unet_config(parts["unet"], config.heads)
    except KeyError as missing:
        raise ValueError(f"{path.name}: the U-Net misses {missing.args[0]}; make it again.") from None
    except ValueError as error:
        raise ValueError(f"{path.name}: {error}; make it again.") from None
    try:
        hint_channels = find_hint_channels(parts["controlnet"])
    except KeyError as missing:
        raise ValueError(f"{path.name}: the ControlNet misses {missing.args[0]}; make it again.") from None
    rank = next((len(value) for key, value in parts["unet"].items() if key.endswith(".to_q_lora.0.weight")), 0)
    found = replace(found, rank=rank, hint_channels=hint_channels)
    for key in ("in_channels", "out_channels", "channels", "heads", "layers", "rank", "hint_channels"):
        if getattr(config, key) != getattr(found, key):
            raise ValueError(
                f"{path.name} has {key} {getattr(config, key)} in its config, its tensors {getattr(found, key)}; make it again."
            )
    odd_groups = config.groups < 1 or any(width % config.groups for width in config.channels)
    if odd_groups or config.prediction not in ATTENTION or not 0 < config.latent_scale < 1e6:
        raise ValueError(f"{path.name} has a config that makes no network: {metadata['config']}; make it again.")
    return config


def read_vae(path: Path, base: Path | None = None) -> Tensors:
    """The VAE of a merged file, or of an adapter and its base, with the values of the files.

    Raises ValueError as `load`, `read_adapter`, `read_base` and `merge`.
    """
    if base is not None and not is_merged(path):
        return merge_vae(read_base(base, mapped=True), read_adapter(path, mapped=True))
    vae = without_prefix(read_tensors(path, mapped=True), "vae.")
    check_vae(vae, path.name)
    return copied(vae)


def describe(path: Path) -> list[str]:
    """What a file or folder holds, line by line. Raises ValueError with what is wrong with it."""
    if is_merged(path):
        weights = load(path)
        made_of = ", ".join(f"{part} {name}" for part, name in weights.sources.items())
        parts = {"U-Net": weights.unet, "ControlNet": weights.controlnet, "VAE": weights.vae}
        lines = [f"merged MagicBokeh checkpoint, format {FORMAT_VERSION}, made of {made_of}", _sizes(weights.config)]
        return lines + [_counts(name, tensors) for name, tensors in parts.items()]
    content = None if path.is_dir() else read_tensors(path, mapped=True)
    if isinstance(content, dict) and "rank_unet" in content:
        adapter = adapter_from(content, path)
        return [
            "MagicBokeh adapter, to be used with Stable Diffusion 2.1-base",
            f"SR LoRA of the U-Net: rank {adapter.rank_unet}, {len(set(adapter.unet_modules))} layers",
            f"SR LoRA of the VAE's encoder: rank {adapter.rank_vae}, {len(set(adapter.vae_modules))} layers",
            f"bokeh LoRA: rank {adapter.rank_bokeh}, {len(adapter.processor) // 8} layers",
            _counts("ControlNet", adapter.controlnet),
        ]
    base = read_base(path) if content is None else base_from(content, path)
    try:
        config = find_unet_config(base.unet, base.heads)
    except KeyError as missing:
        raise ValueError(f"{path.name}: the U-Net misses {missing.args[0]}; {AGAIN}.") from None
    with torch.device("meta"):
        check_part(base.unet, UNet(config).state_dict(), f"{path.name}: the U-Net")
    check_vae(base.vae, path.name)
    lines = ["Stable Diffusion 2 base, to be used with a MagicBokeh adapter", _sizes(config)]
    return lines + [_counts("U-Net without what MagicBokeh leaves out", base.unet), _counts("VAE", base.vae)]


def _sizes(config: Config) -> str:
    return f"channels {' '.join(map(str, config.channels))}, heads {' '.join(map(str, config.heads))}"


def _counts(name: str, tensors: Tensors) -> str:
    kinds = sorted({str(value.dtype).removeprefix("torch.") for value in tensors.values()})
    return f"{name}: {len(tensors)} tensors, {sum(v.numel() for v in tensors.values()) / 1e6:.1f} M values, {', '.join(kinds)}"
