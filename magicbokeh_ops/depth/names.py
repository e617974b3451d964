"""Names of Depth Anything's tensors: the original layout's, transformers' 4 and transformers' 5."""

import re

from ..weights.parts import Tensors

OLD_ATTENTION = {
    "q": "attention.attention.query.",
    "k": "attention.attention.key.",
    "v": "attention.attention.value.",
    "o": "attention.output.dense.",
}
NEW_ATTENTION = {old: f"attention.{letter}_proj." for letter, old in OLD_ATTENTION.items()}
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


def from_original(tensors: Tensors) -> Tensors:
    """Tensors of the original layout under the names of transformers 4, its joint query, key and value taken apart."""
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
                out[key.replace("attn.qkv.", OLD_ATTENTION[letter])] = part
        else:
            out[key] = value
    return out
