"""Calls of all public functions of networks, their sampler and their training that take tensors only, for tests/unit/test_strides.py."""

from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor, nn

from magicbokeh_ops import depth, sampler
from magicbokeh_ops.model import attention, method, nano, patch_codec, strips, tiling, vae
from magicbokeh_ops.model.network import Config, ControlNet, UNet
from magicbokeh_ops.synthesis import convolution, degradation
from magicbokeh_ops.training import distill, losses
from magicbokeh_ops.weights import checkpoint
from tests.support.layouts import photo, plane, random

GOLDEN = Path(__file__).parents[1] / "parity" / "golden"


@torch.no_grad()
def networks(**changed) -> tuple[UNet, ControlNet]:
    torch.manual_seed(0)
    config = Config(channels=(8, 8, 16, 16), heads=(1, 1, 2, 0), groups=4, rank=2, **{"hint_channels": (4, 4, 4, 4), **changed})
    pair = UNet(config).eval(), ControlNet(config).eval()
    for parameter in (p for network in pair for p in network.parameters() if p.ndim > 1):
        nn.init.normal_(parameter, std=1 / parameter[0].numel() ** 0.5)
    return pair


def dull(latent: Tensor, hint: Tensor, mask: Tensor | None) -> Tensor:
    """A prediction that takes everything into account."""
    return 0.9 * latent + 0.05 * hint.mean() + (0 if mask is None else 0.05 * mask[..., ::4, ::4])


UNET, CONTROLNET = networks()
RESIDUAL = networks(in_channels=48, out_channels=49, prediction="residual", latent_scale=1.0, hint_channels=(4, 4, 4))
SD_CODEC = vae.make_codec(checkpoint.read_base(GOLDEN / "sd").vae)
PATCHES = patch_codec.PatchCodec().eval()
DEPTH = depth.build(*depth.read_depth(GOLDEN / "depth" / "DAdepth_tiny.pth"), "DAdepth_tiny.pth")
CONV, HALVING, NORM = nn.Conv2d(8, 8, 3, padding=1), nn.Conv2d(8, 8, 3, 2), nn.GroupNorm(4, 8)

NETWORK_CALLS: dict[str, tuple[Callable, list[Tensor]]] = {
    "model.attention.attend": (
        lambda q, k, v: attention.attend(q, k, v, 2),
        [random(2, 30, 8), random(2, 31, 8), random(2, 31, 8)],
    ),
    "model.attention.attend_masked": (
        lambda q, k, v, region: attention.attend_masked(q, k, v, 2, region > 0.4),
        [*(random(2, 30, 8 + i)[..., :8].contiguous() for i in range(3)), random(2, 30)],
    ),
    "model.attention.attend_within": (
        lambda q, k, v, region: attention.attend_within(q, k, v, 2, region > 0.4),
        [*(random(2, 30, 8 + i)[..., :8].contiguous() for i in range(3)), random(2, 30)],
    ),
    "model.strips.strip_rows": (strips.strip_rows, [photo()]),
    "model.strips.takes_strips": (lambda x: strips.takes_strips(CONV, x), [random(1, 8, 20, 20)]),
    "model.strips.activated": (lambda x: strips.activated(CONV, NORM, x), [random(2, 8, 20, 22)]),
    "model.strips.upsampled": (
        lambda x: [strips.upsampled(CONV, x, in_phases) for in_phases in (False, True)],
        [random(2, 8, 20, 22)],
    ),
    "model.strips.downsampled": (lambda x: strips.downsampled(HALVING, x), [random(2, 8, 20, 22)]),
    "model.vae.Vae": (lambda x: SD_CODEC.decode(SD_CODEC.encode(x)), [photo(1, 64, 48)]),
    "depth.inference.prepare": (lambda image: depth.prepare(image, 70), [photo()]),
    "depth.inference.standardize": (depth.standardize, [photo()]),
    "depth.inference.estimate": (lambda image: depth.estimate(DEPTH, image, 56), [photo()]),
    "depth.inference.predict": (lambda image: depth.predict(DEPTH, image, 56), [photo()]),
    "depth.inference.fitted": (depth.fitted, [plane(2, 20, 30), photo()]),
    "depth.inference.disparity": (lambda image: [depth.disparity(DEPTH, image, 56, reach) for reach in (0, 1)], [photo()]),
    "model.nano.lens_blur": (nano.lens_blur, [random(1, 48, 10, 9), plane(1) / 4]),
    "model.patch_codec.as_picture": (patch_codec.as_picture, [random(2, 48, 10, 9)]),
    "model.patch_codec.PatchCodec": (lambda image: PATCHES.decode(PATCHES.encode(image)), [photo()]),
    "model.method.clean_latent": (method.clean_latent, [random(1, 4, 8, 9), random(1, 4, 8, 9)]),
    "model.method.predict": (
        lambda z, hint, mask: method.predict(UNET, CONTROLNET, z, hint, (mask > 0.4).float()),
        [random(2, 4, 8, 16), plane(2, 64, 128), plane(2, 64, 128)],
    ),
    "model.method.predict, residual": (
        lambda z, hint, mask: method.predict(*RESIDUAL, z, hint, (mask > 0.4).float()),
        [random(1, 48, 16, 24), plane(1, 64, 96) / 8, plane(1, 64, 96)],
    ),
    "model.sampler.encode_whole": (
        lambda image: sampler.encode_whole(PATCHES, image, budget=sampler.Budget(codec_tile=20)),
        [photo(1, 120, 96)],
    ),
    "model.sampler.decode_whole": (
        lambda latent: sampler.decode_whole(PATCHES, latent, sampler.Budget(codec_tile=20)),
        [random(1, 48, 30, 24)],
    ),
    "model.sampler.sample_fast": (
        lambda *planes: sampler.sample_fast(PATCHES, dull, *planes),
        [photo(1, 64, 96), plane(1, 64, 96), plane(1, 64, 96)],
    ),
    "model.sampler.sample_as_released": (
        lambda *planes: sampler.sample_as_released(PATCHES, dull, *planes),
        [photo(1, 256, 256), plane(1, 256, 256), plane(1, 256, 256)],
    ),
    "model.sampler.grow": (lambda x: sampler.grow(x, 64, 8), [photo()]),
    "model.sampler.render": (
        lambda image, blur, mask: [
            sampler.render(PATCHES, dull, image, blur, mask, preset, color_fix=fix)
            for preset, fix in (("fast", "adain"), ("reference", "wavelet"))
        ],
        [photo(1, 70, 90), plane(1, 42, 54), plane(1, 35, 45)],
    ),
    "synthesis.convolution.convolve": (lambda x, kernels: convolution.convolve(x, kernels), [photo(), random(2, 5, 5)]),
    "synthesis.degradation.bell_kernels": (
        lambda sigma, turn, beta, chance: degradation.bell_kernels(
            sigma + 1, turn, beta + 0.5, chance > 0.5, torch.tensor([7, 9, 21])
        ),
        [random(3, 2), *(random(3) * (i + 1) for i in range(3))],
    ),
    "synthesis.degradation.sinc_kernels": (
        lambda cutoff: degradation.sinc_kernels(cutoff + 1, torch.tensor([7, 9, 21])),
        [random(3)],
    ),
    "model.tiling.blend": (
        lambda first, second: tiling.blend([first, second], [(0, 0), (0, 26)], (40, 62), 10, tiling.smooth_ramp),
        [photo(), photo().flip(0)],
    ),
    "training.distill.relative": (distill.relative, [random(2, 20, 22)]),
    "training.distill.WithFeatures": (lambda photos: distill.WithFeatures(DEPTH)(photos), [photo(2, 56, 70)]),
    "training.losses.PictureLoss": (lambda a, b: losses.PictureLoss()(a, b), [photo(), photo().flip(0)]),
}

# Convolutions take the layout as a hint and sum in another order; the step multiplies that by 15.
ROUNDING = {
    "flow.find_flow": 1e-4,  # of a step that hundreds follow
    "model.strips.activated": 1e-5,
    "model.strips.upsampled": 1e-5,
    "model.strips.downsampled": 1e-5,
    "model.vae.Vae": 2e-4,
    "model.method.predict": 1e-3,
    "model.method.predict, residual": 1e-4,
    "training.distill.WithFeatures": 1e-5,
}
