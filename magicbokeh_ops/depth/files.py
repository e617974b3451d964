"""Files of Depth Anything V2, and of the paper's version of it that copes with degraded photos."""

import re
from pathlib import Path
from typing import Any

from torch import Tensor

from ..weights.kinds import DEPTH, mistaken, what_it_is
from ..weights.parts import Tensors, copied, shown
from ..weights.reading import AGAIN, find_model, read_json, read_model
from .names import OLD_ATTENTION, from_original
from .network import DepthConfig, check_config

HEAD_WIDTH = 64
# Blocks that feed the head, by depth. Those of V1 are the last four, and only its files' names tell it from V2.
OUT_INDICES = {12: (2, 5, 8, 11), 24: (4, 11, 17, 23)}
V1 = re.compile(r"depth_anything_vit[sbl](14)?\b", re.I)
CONFIG = "config.json"
TRANSFORMERS = {"safetensors": "model", "bin": "pytorch_model"}  # names of a model in a transformers folder


def read_depth(path: Path) -> tuple[Tensors, DepthConfig]:
    """Weights of Depth Anything V2 under transformers' names, and their sizes.

    path: a file in the original layout (`DAdepth.pth` too) or in transformers' layout, or a transformers folder. Heads
    and the blocks that feed the head follow from the known sizes, from the folder's config.json, or from a .json beside
    the file with the same stem (`num_attention_heads`, `out_indices` counted from 0).
    Raises ValueError for other files, and if nothing tells the number of heads.
    """
    metric = "metric" in path.stem.lower()
    if path.is_dir():
        files = find_model(path, TRANSFORMERS)
        config = read_json(path / CONFIG)
        if not files or not config:
            raise ValueError(
                f"{path.name} contains no config.json and model.safetensors; use a transformers folder of Depth Anything V2."
            )
        metric = config.get("depth_estimation_type") == "metric"
        told, first = config.get("backbone_config") or {}, 1  # transformers counts the embedding as stage 0
    else:
        files, told, first = [path], read_json(path.with_suffix(".json")), 0
    if metric:  # of the same layout
        raise ValueError(f"{path.name} is a metric model, which gives distances; use a model for relative depth.")
    content: dict[str, Any] = dict(read_model(files))
    # What was saved during training holds the network beside other things, or an averaged copy of it alone.
    content = next((content[key] for key in ("model", "model_ema") if isinstance(content.get(key), dict)), content)
    named = {key: value for key, value in content.items() if isinstance(value, Tensor)}
    tensors = {re.sub(r"^(model_ema\.)?(module\.)?", "", str(key)): value for key, value in copied(named).items()}
    if "pretrained.cls_token" in tensors:
        tensors = from_original(tensors)
    tensors = {re.sub(r"attention\.(q|k|v|o)_proj\.", lambda m: OLD_ATTENTION[m[1]], key): v for key, v in tensors.items()}
    empty = next((key for key, value in tensors.items() if value.numel() == 0), None)
    if empty is not None:
        raise ValueError(f"{path.name} is damaged: {empty} is empty; {AGAIN}.")
    try:
        return tensors, _find_config(tensors, _check_told(told, first, path.name), path.name)
    except KeyError as missing:
        found = mistaken(content, "a Depth Anything model")
        if what_it_is(content) in (None, DEPTH):
            found = f"is not a Depth Anything model, or is damaged: it has no {missing.args[0]}"
        raise ValueError(f"{shown(path)} {found}; use Depth Anything V2 or DAdepth.pth.") from None
    except IndexError:
        raise ValueError(
            f"{path.name} is not a Depth Anything model, or is damaged: its tensors have fewer dimensions; {AGAIN}."
        ) from None


def _check_told(told: Any, first: int, name: str) -> dict[str, Any]:
    """Heads and blocks as a .json tells them, blocks counted from 0. first: what it counts from."""
    heads, blocks = (told.get(key) if isinstance(told, dict) else None for key in ("num_attention_heads", "out_indices"))
    numbers = blocks if isinstance(blocks, list) else [] if blocks is None else [blocks]
    if not all(type(n) is int and n >= first for n in (*numbers, heads or 1)) or len(numbers) not in (0, 4):
        raise ValueError(
            f"{name} comes with num_attention_heads {heads} and out_indices {blocks}; these are one and four numbers."
        )
    return {"num_attention_heads": heads, "out_indices": [n - first for n in numbers]}


def depth_files(path: Path) -> list[Path]:
    """The files that `read_depth` reads, and those that it would read if they were there."""
    return [*find_model(path, TRANSFORMERS), path / CONFIG] if path.is_dir() else [path, path.with_suffix(".json")]


def is_in_folder(name: str) -> bool:
    """Whether a file of this name is one of a transformers folder, which is then read as a whole."""
    return re.fullmatch(r"(model|pytorch_model)(\.fp16)?(-\d+-of-\d+)?(\.fp16)?\.(safetensors|bin)", name) is not None


def _find_config(tensors: Tensors, told: dict, name: str) -> DepthConfig:
    embeddings = "backbone.embeddings"
    width, patch = (
        tensors[f"{embeddings}.cls_token"].shape[-1],
        tensors[f"{embeddings}.patch_embeddings.projection.weight"].shape[-1],
    )
    blocks = 1 + max(
        (int(found[1]) for key in tensors if (found := re.match(r"backbone\.encoder\.layer\.(\d+)\.", key))), default=-1
    )
    heads = told.get("num_attention_heads") or (width // HEAD_WIDTH if width in (384, 768, 1024) else None)
    by_depth = range(blocks - 4, blocks) if V1.match(name) else OUT_INDICES.get(blocks)
    out_indices = told.get("out_indices") or by_depth
    if heads is None or out_indices is None:
        raise ValueError(
            f"{name} is {width} wide and {blocks} blocks deep, none of the known sizes; say num_attention_heads and out_indices in "
            f"{Path(name).with_suffix('.json').name} beside it."
        )
    places = tensors[f"{embeddings}.position_embeddings"].shape[1] - 1
    config = DepthConfig(
        width=width,
        blocks=blocks,
        heads=heads,
        out_indices=tuple(out_indices),
        mlp_ratio=tensors["backbone.encoder.layer.0.mlp.fc1.weight"].shape[0] // width,
        patch=patch,
        image_size=patch * round(places**0.5),
        neck=tuple(tensors[f"neck.reassemble_stage.layers.{i}.projection.weight"].shape[0] for i in range(4)),
        fusion=tensors["neck.convs.0.weight"].shape[0],
        head_width=tensors["head.conv2.weight"].shape[0],
    )
    check_config(config, name)
    return config
