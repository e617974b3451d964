"""What half precision gives up: PSNR of the picture to that of fp32, with the networks, or the VAE, in fp16 and bf16.

python -m benchmarks.precision [--model FILE] [--base BASE --adapter lora.pkl] [--device cuda]

On the demo photo; without files, nano.
"""

import argparse
from functools import partial
from pathlib import Path

import torch

from magicbokeh_ops import demo, sampler
from magicbokeh_ops.cli.models import read_weights
from magicbokeh_ops.defocus import defocus_map, focus_mask
from magicbokeh_ops.evaluation.metrics import psnr
from magicbokeh_ops.model.network import ControlNet, UNet
from magicbokeh_ops.model.vae import make_codec
from magicbokeh_ops.weights import checkpoint

FOCUS, K = 0.7, 24
HALVES = {"fp16": torch.float16, "bf16": torch.bfloat16}


@torch.inference_mode()
def pictures(weights, device: str) -> dict[str, tuple[float, float]]:
    """PSNR in dB by dtype, of the networks' and of the codec's alone."""
    image, disparity = demo.noisy_demo_photo(), demo.demo_photo()[1]
    defocus = defocus_map(disparity, FOCUS, K)

    def render(networks_in: torch.dtype, codec_in: torch.dtype):
        networks = UNet(weights.config), ControlNet(weights.config)
        for network, tensors in zip(networks, (weights.unet, weights.controlnet)):
            network.load_state_dict(tensors)
            network.eval().to(device, networks_in)
        predict = partial(sampler.predict, *networks, device=device, dtype=networks_in)
        codec = make_codec(weights.vae, device, codec_in)
        return sampler.render(codec, predict, image, defocus, focus_mask(defocus), color_fix="none")[0]

    exact = render(torch.float32, torch.float32)
    return {
        name: (psnr(render(half, torch.float32), exact), psnr(render(torch.float32, half), exact))
        for name, half in HALVES.items()
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--base", type=Path)
    parser.add_argument("--adapter", type=Path)
    parser.add_argument("--model", type=Path)
    parser.add_argument("--device", default="cpu")
    arguments = parser.parse_args()
    files = arguments.base, arguments.adapter, arguments.model
    if not any(files):
        files = None, None, demo.NANO
    weights = checkpoint.fold_time(read_weights(*files, torch.float32))
    print("| PSNR to fp32, dB | networks | VAE |\n| --- | --- | --- |")
    for name, (networks, codec) in pictures(weights, arguments.device).items():
        print(f"| {name} | {networks:.1f} | {codec:.1f} |")


if __name__ == "__main__":
    main()
