"""The full model or nano from the weights of a file, outside ComfyUI."""

from collections.abc import Callable
from functools import partial

import torch

from . import sampler
from .model.network import ControlNet, UNet
from .model.vae import make_codec
from .weights import checkpoint


def load_renderer(weights: checkpoint.Weights, device: torch.device, dtype: torch.dtype) -> Callable:
    """`sampler.render` with these weights in place."""
    weights = checkpoint.fold_time(weights)
    with torch.device("meta"):  # or they would be started at random first
        networks = UNet(weights.config), ControlNet(weights.config)
    for network, tensors in zip(networks, (weights.unet, weights.controlnet)):
        network.load_state_dict({key: value.to(device, dtype) for key, value in tensors.items()}, assign=True)
        network.eval()
    codec = make_codec(weights.vae, device, dtype)
    return partial(sampler.render, codec, partial(sampler.predict, *networks, device=device, dtype=dtype))
