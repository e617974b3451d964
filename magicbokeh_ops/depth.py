"""Disparity from a photo by Depth Anything V2, and the paper's version of it that copes with degraded photos."""

import math
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from .defocus import check_image, check_map, find_range, stretch
from .planes import with_every_operation
from .weights.parts import Tensors, copied
from .weights.reading import find_model, read_json, read_model

INPUT_SIZE = 518
LONGEST = 8  # times the shorter side
HEAD_WIDTH = 64
# Blocks that feed the head, by depth: they differ between V1 and V2 of the model, whose files are alike.
OUT_INDICES = {12: (2, 5, 8, 11), 24: (4, 11, 17, 23)}
CONFIG = "config.json"
TRANSFORMERS = {"safetensors": "model", "bin": "pytorch_model"}  # names of a model in a transformers folder
MEAN, SPREAD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


@dataclass(frozen=True)
class DepthConfig:
    """Sizes of a network. out_indices: blocks that feed the head, counted from 0."""

    width: int
    blocks: int
    heads: int
    out_indices: tuple[int, ...]
    mlp_ratio: int
    patch: int
    image_size: int
    neck: tuple[int, ...]
    fusion: int
    head_width: int


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
            raise ValueError(f"{path} has no config.json with model.safetensors; give a transformers folder of Depth Anything.")
        metric = config.get("depth_estimation_type") == "metric"
        told, first = config.get("backbone_config") or {}, 1  # transformers counts the embedding as stage 0
    else:
        files, told, first = [path], read_json(path.with_suffix(".json")), 0
    if metric:  # of the same layout
        raise ValueError(f"{path.name} is a metric model, which gives distances; take one of the models for relative depth.")
    content: dict[str, Any] = dict(read_model(files))
    # What was saved during training holds the network beside other things, or an averaged copy of it alone.
    content = next((content[key] for key in ("model", "model_ema") if isinstance(content.get(key), dict)), content)
    named = {key: value for key, value in content.items() if isinstance(value, Tensor)}
    tensors = {re.sub(r"^(model_ema\.)?(module\.)?", "", str(key)): value for key, value in copied(named).items()}
    if "pretrained.cls_token" in tensors:
        tensors = _from_original(tensors)
    tensors = {re.sub(r"attention\.(q|k|v|o)_proj\.", lambda m: _OLD_ATTENTION[m[1]], key): v for key, v in tensors.items()}
    empty = next((key for key, value in tensors.items() if value.numel() == 0), None)
    if empty is not None:
        raise ValueError(f"{path.name} is damaged: {empty} is empty.")
    try:
        return tensors, _find_config(tensors, _check_told(told, first, path.name), path.name)
    except KeyError as missing:
        raise ValueError(f"{path.name} is no Depth Anything model, or damaged: it has no {missing.args[0]}.") from None
    except IndexError:
        raise ValueError(f"{path.name} is no Depth Anything model, or damaged: its tensors have fewer dimensions.") from None


def _check_told(told: Any, first: int, name: str) -> dict[str, Any]:
    """Heads and blocks as a .json tells them, blocks counted from 0. first: what it counts from."""
    heads, blocks = (told.get(key) if isinstance(told, dict) else None for key in ("num_attention_heads", "out_indices"))
    numbers = blocks if isinstance(blocks, list) else [] if blocks is None else [blocks]
    if not all(type(n) is int and n >= first for n in (*numbers, heads or 1)) or len(numbers) not in (0, 4):
        raise ValueError(
            f"{name} comes with num_attention_heads {heads} and out_indices {blocks}, which are no one and four numbers."
        )
    return {"num_attention_heads": heads, "out_indices": [n - first for n in numbers]}


def depth_files(path: Path) -> list[Path]:
    """The files that `read_depth` reads, and those that it would read if they were there."""
    return [*find_model(path, TRANSFORMERS), path / CONFIG] if path.is_dir() else [path, path.with_suffix(".json")]


def is_in_folder(name: str) -> bool:
    """Whether a file of this name is one of a transformers folder, which is then read as a whole."""
    return re.fullmatch(r"(model|pytorch_model)(\.fp16)?(-\d+-of-\d+)?(\.fp16)?\.(safetensors|bin)", name) is not None


_OLD_ATTENTION = {
    "q": "attention.attention.query.",
    "k": "attention.attention.key.",
    "v": "attention.attention.value.",
    "o": "attention.output.dense.",
}
_NEW_ATTENTION = {old: f"attention.{letter}_proj." for letter, old in _OLD_ATTENTION.items()}
_NAMES = [
    (r"^pretrained\.(cls|mask)_token", r"backbone.embeddings.\1_token"),
    (r"^pretrained\.pos_embed", "backbone.embeddings.position_embeddings"),
    (r"^pretrained\.patch_embed\.proj", "backbone.embeddings.patch_embeddings.projection"),
    (r"^pretrained\.norm\.", "backbone.layernorm."),
    (r"^pretrained\.blocks\.", "backbone.encoder.layer."),
    (r"\.ls(\d)\.gamma", r".layer_scale\1.lambda1"),
    (r"\.attn\.proj\.", ".attention.output.dense."),
    (r"^depth_head\.projects\.(\d)", r"neck.reassemble_stage.layers.\1.projection"),
    (r"^depth_head\.resize_layers\.(\d)", r"neck.reassemble_stage.layers.\1.resize"),
    (r"^depth_head\.scratch\.output_conv1", "head.conv1"),
    (r"^depth_head\.scratch\.output_conv2\.0", "head.conv2"),
    (r"^depth_head\.scratch\.output_conv2\.2", "head.conv3"),
]


def _from_original(tensors: Tensors) -> Tensors:
    out = {}
    for key, value in tensors.items():
        for pattern, name in _NAMES:
            key = re.sub(pattern, name, key)
        key = re.sub(r"^depth_head\.scratch\.layer(\d)_rn", lambda m: f"neck.convs.{int(m[1]) - 1}", key)
        key = re.sub(r"^depth_head\.scratch\.refinenet(\d)", lambda m: f"neck.fusion_stage.layers.{4 - int(m[1])}", key)
        key = re.sub(r"\.resConfUnit(\d)\.conv(\d)", r".residual_layer\1.convolution\2", key).replace(
            ".out_conv.", ".projection."
        )
        if ".attn.qkv." in key:
            for letter, part in zip("qkv", value.chunk(3)):
                out[key.replace("attn.qkv.", _OLD_ATTENTION[letter])] = part
        else:
            out[key] = value
    return out


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
    out_indices = told.get("out_indices") or OUT_INDICES.get(blocks)
    if heads is None or out_indices is None:
        raise ValueError(
            f"{name} is {width} wide and {blocks} blocks deep, none of the known sizes; say num_attention_heads and out_indices in "
            f"{Path(name).with_suffix('.json').name} beside it."
        )
    places = tensors[f"{embeddings}.position_embeddings"].shape[1] - 1
    return DepthConfig(
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


def build(tensors: Tensors, config: DepthConfig, name: str) -> Any:
    """transformers' Depth Anything with these weights, in evaluation mode. Raises ValueError if they don't fit. name: of the file."""
    with torch.device("meta"):
        model = build_untrained(config)
    wanted = model.state_dict()
    if not any(".attention.attention." in key for key in wanted):  # transformers 5 renamed these
        for old, new in _NEW_ATTENTION.items():
            tensors = {key.replace(old, new): value for key, value in tensors.items()}
    missing = sorted(wanted.keys() - tensors.keys())
    if missing:
        raise ValueError(f"{name} misses {len(missing)} tensors: {', '.join(missing[:3])} ...")
    for key, value in wanted.items():
        if tensors[key].shape != value.shape:
            raise ValueError(f"{name} has {key} of {tuple(tensors[key].shape)}, expected {tuple(value.shape)}.")
    model.load_state_dict({key: tensors[key].float() for key in wanted}, assign=True)
    return model.eval().requires_grad_(False)


def build_untrained(config: DepthConfig) -> Any:
    """The same with random weights, its position embedding interpolated as in the released code."""
    from transformers import DepthAnythingConfig, DepthAnythingForDepthEstimation, Dinov2Config

    kind: Any = Dinov2Config  # its stubs know less than it does
    backbone = kind(
        hidden_size=config.width,
        num_hidden_layers=config.blocks,
        num_attention_heads=config.heads,
        mlp_ratio=config.mlp_ratio,
        image_size=config.image_size,
        patch_size=config.patch,
        out_indices=[i + 1 for i in config.out_indices],
        apply_layernorm=True,
        reshape_hidden_states=False,
    )
    model: Any = DepthAnythingForDepthEstimation(
        DepthAnythingConfig(
            backbone_config=backbone,
            patch_size=config.patch,
            reassemble_hidden_size=config.width,
            neck_hidden_sizes=list(config.neck),
            fusion_hidden_size=config.fusion,
            head_hidden_size=config.head_width,
        )
    )
    model.backbone.embeddings.interpolate_pos_encoding = _PositionEmbedding(model.backbone.embeddings, config.patch)
    return model


class _PositionEmbedding:
    """Interpolation as in the released code, which adds 0.1 to the number of patches."""

    def __init__(self, embeddings: Any, patch: int):
        self.embeddings, self.patch = embeddings, patch

    def __call__(self, _tokens: Tensor, height: int, width: int) -> Tensor:
        known = self.embeddings.position_embeddings
        side = round((known.shape[1] - 1) ** 0.5)
        rows, cols = height // self.patch, width // self.patch
        if (rows, cols) == (side, side):
            return known
        grid = known[:, 1:].reshape(1, side, side, -1).permute(0, 3, 1, 2).float()
        factors = (rows + 0.1) / side, (cols + 0.1) / side
        grid = F.interpolate(grid, scale_factor=factors, mode="bicubic", antialias=False).to(known.dtype)
        return torch.cat([known[:, :1], grid.flatten(2).transpose(1, 2)], 1)


def network_size(height: int, width: int, input_size: int = INPUT_SIZE, patch: int = 14) -> tuple[int, int]:
    """Size that a photo gets: the shorter side at least `input_size`, both multiples of a patch.

    Raises ValueError for pictures that are too narrow.
    """
    if max(height, width) > LONGEST * min(height, width) or min(height, width) < 2:
        raise ValueError(f"image is {width} x {height} pixels, too narrow for depth; its sides may differ {LONGEST} times.")
    scale = max(input_size / height, input_size / width)

    def side(length: int) -> int:
        rounded = round(scale * length / patch) * patch
        return rounded if rounded >= input_size else math.ceil(scale * length / patch) * patch

    return side(height), side(width)


def prepare(image: Tensor, input_size: int = INPUT_SIZE, patch: int = 14) -> Tensor:
    """Photo (B, 3, H, W) in [0, 1] as the network wants it: resized, cubic without smoothing, and standardised."""
    size = network_size(image.shape[-2], image.shape[-1], input_size, patch)
    whole = with_every_operation(image).double().clamp(0, 1)
    return standardize(F.interpolate(whole, size=size, mode="bicubic")).float().to(image.device)


def standardize(image: Tensor) -> Tensor:
    """Photos (B, 3, H, W) in [0, 1] with ImageNet's mean and spread taken out."""
    mean, spread = (image.new_tensor(x).view(3, 1, 1) for x in (MEAN, SPREAD))
    return (image - mean) / spread


def memory_needed(config: Any, height: int, width: int, input_size: int = INPUT_SIZE) -> int:
    """Upper bound in bytes for `estimate` of one photo on a device, without weights. config: of the model."""
    rows, columns = network_size(height, width, input_size, config.patch_size)
    # Measured on the small and the large model: the head's maps at full size, and what grows with its width.
    return rows * columns * 4 * (64 + 5 * config.fusion_hidden_size // 2)


def estimate(model: Any, image: Tensor, input_size: int = INPUT_SIZE) -> Tensor:
    """Relative disparity (B, 1, H, W), 0 or more and not yet normalised, of photos (B, 3, H, W) in [0, 1].

    input_size: length of the shorter side that the network sees; more shows finer detail and takes more memory.
    """
    x = prepare(image, input_size, model.config.patch_size)
    parameter = next(model.parameters())
    raw = model(x.to(parameter)).predicted_depth[:, None].float()
    return F.interpolate(raw, size=image.shape[-2:], mode="bilinear", align_corners=True).to(image.device)


def disparity(
    model: Any,
    image: Tensor,
    input_size: int = INPUT_SIZE,
    smooth_range: int = 0,
    progress: Callable[[int, int], None] | None = None,
    out: Tensor | None = None,
) -> Tensor:
    """Disparity (B, 1, H, W) in [0, 1], 1 = nearest, of photos or the frames of a video (B, 3, H, W) in [0, 1].

    One range is stretched to [0, 1] for all frames, so that nothing flickers; with smooth_range each frame has its own, averaged
    over that many frames to either side, for videos that move from one place to another.
    out: what is filled and returned, of any type; by default float32 beside the photos.
    Raises ValueError for NaN, pictures that are too narrow, and a photo in which nothing is nearer than anything else.
    """
    check_image(image)
    if out is None:
        out = torch.empty(len(image), 1, *image.shape[-2:], device=image.device)
    own_low, own_high = torch.empty(2, len(image))
    for i in range(len(image)):
        if progress is not None:
            progress(i, len(image))
        frame = estimate(model, image[i : i + 1], input_size)
        check_map(frame, "disparity")
        own_low[i], own_high[i] = frame.amin(), frame.amax()
        # In its own range first, which any type holds well.
        out[i] = stretch(frame, own_low[i], own_high[i])[0] if own_low[i] < own_high[i] else 0
    if progress is not None:
        progress(len(image), len(image))
    low, high = (_averaged(values, smooth_range) for values in (own_low, own_high))
    if smooth_range == 0 or (high <= low).any():
        low, high = find_range(lambda: [own_low, own_high], "minmax")
    lowest, highest = (((values - low) / (high - low)).to(out.device) for values in (own_low, own_high))
    for i in range(len(out)):
        out[i] = torch.lerp(lowest[i], highest[i], out[i].float()).clamp_(0, 1)
    return out


def _averaged(values: Tensor, reach: int) -> Tensor:
    padded = F.pad(values[None, None], (reach, reach), mode="replicate")
    return F.avg_pool1d(padded, 2 * reach + 1, 1)[0, 0]
