"""The network of Depth Anything, which is transformers', with the position embedding of the released code."""

from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from ..weights.parts import Tensors
from .names import NEW_ATTENTION


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


def check_config(config: DepthConfig, name: str) -> None:
    """Raise ValueError for sizes that make no network. name: where they are from."""
    blocks = config.out_indices
    if len(blocks) != 4 or list(blocks) != sorted(set(blocks)) or blocks[0] < 0 or blocks[-1] >= config.blocks:
        raise ValueError(
            f"{name} has out_indices {list(blocks)}; of {config.blocks} blocks they are four different ones in order."
        )
    if config.heads < 1 or config.width % config.heads or config.patch < 1:
        raise ValueError(
            f"{name} has {config.heads} heads for a width of {config.width} and a patch of {config.patch}, which make no network; download it again."
        )


def build(tensors: Tensors, config: DepthConfig, name: str) -> Any:
    """transformers' Depth Anything with these weights, in evaluation mode. Raises ValueError if they don't fit. name: of the file."""
    with torch.device("meta"):
        model = build_untrained(config)
    wanted = model.state_dict()
    if not any(".attention.attention." in key for key in wanted):  # transformers 5 renamed these
        for old, new in NEW_ATTENTION.items():
            tensors = {key.replace(old, new): value for key, value in tensors.items()}
    missing = sorted(wanted.keys() - tensors.keys())
    if missing:
        raise ValueError(f"{name} misses {', '.join(missing[:3])}{' and more' * (len(missing) > 3)}; download it again.")
    for key, value in wanted.items():
        if tensors[key].shape != value.shape:
            raise ValueError(
                f"{name} has {key} of {tuple(tensors[key].shape)}, expected {tuple(value.shape)}; download it again."
            )
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
