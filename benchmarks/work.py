"""Floating-point operations of the presets on the full-size networks and VAE, counted without weights and without computing.

python -m benchmarks.work
"""

from functools import partial

import torch
from diffusers import AutoencoderKL
from diffusers.models.attention_processor import AttnProcessor2_0
from torch.utils.flop_counter import FlopCounterMode

from magicbokeh_ops import sampler
from magicbokeh_ops.codec import DiffusersCodec
from magicbokeh_ops.network import Config, ControlNet, UNet


@torch.inference_mode()
def counted(height: int, width: int, full_attention: bool = False) -> list[int]:
    """Operations of fast and of reference, with attention over everything; each distinct call is counted once.

    full_attention: the VAE as in ComfyUI, instead of the library's.
    """
    with torch.device("meta"):
        networks = UNet(Config(rank=64)), ControlNet(Config(rank=64))
        image, defocus = torch.empty(1, 3, height, width), torch.empty(1, 1, height, width)
        vae = AutoencoderKL(
            down_block_types=("DownEncoderBlock2D",) * 4,
            up_block_types=("UpDecoderBlock2D",) * 4,
            block_out_channels=(128, 256, 512, 512),
            layers_per_block=2,
        )
    codec = DiffusersCodec(vae.state_dict(), "meta")
    if full_attention:
        codec.vae.set_attn_processor(AttnProcessor2_0())
    known, calls = {}, []

    def counting(name, function):
        def call(*arguments):
            key = name, *(x.shape for x in arguments if x is not None)
            if key not in known:
                with FlopCounterMode(display=False) as counter:
                    known[key] = function(*arguments), counter
            calls.append(key)
            return known[key][0]

        return call

    class Counted:
        cell = codec.cell
        encode, decode = staticmethod(counting("encode", codec.encode)), staticmethod(counting("decode", codec.decode))

    predict = counting("predict", partial(sampler.predict, *networks, device="meta"))
    totals = []
    for method in (sampler.sample_fast, sampler.sample_as_released):
        calls.clear()
        method(Counted(), predict, image, defocus, None)
        totals.append(sum(known[key][1].get_total_flops() for key in calls))
    return totals


def main():
    print("| picture | fast, TFLOP | reference, TFLOP | fast / reference |")
    print("| --- " * 4 + "|")
    for height, width, full in (
        (1536, 2048, False),
        (1536, 2048, True),
        (3024, 4032, False),
        (1024, 1536, False),
        (512, 512, False),
    ):
        fast, reference = counted(height, width, full)
        name = f"{width} x {height}" + (", full attention in the VAE" if full else "")
        print(f"| {name} | {fast / 1e12:.1f} | {reference / 1e12:.1f} | {fast / reference:.3f} |")


if __name__ == "__main__":
    main()
