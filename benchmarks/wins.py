"""What each way of saving time is worth by itself: before and after in one run, best of some, full size, random weights.

python -m benchmarks.wins [--threads N]

`benchmarks.pipeline` has all of it together.
"""

import argparse
import time
from copy import deepcopy
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from benchmarks.attention import inputs
from magicbokeh_ops.model.attention import attend, attend_within
from magicbokeh_ops.model.network import Config, ControlNet, TimeEmbedding, UNet
from magicbokeh_ops.model.strips import upsampled
from magicbokeh_ops.model.vae import vae_of
from tests.support.full_size import RANK_BOKEH, explicit_attention, full_size_vae
from tests.support.full_size import released_attention as released

TILE = 68  # latents a side of the tiles that the fast preset cuts 1536 x 1024 into


def row(name: str, before, after, repeats: int = 3) -> None:
    best = {}
    for _ in range(repeats):
        for work in (before, after):
            start = time.perf_counter()
            work()
            best[work] = min(best.get(work, float("inf")), time.perf_counter() - start)
    print(f"| {name} | {best[before]:.4f} | {best[after]:.4f} | {best[after] / best[before]:.2f} |", flush=True)


def attention() -> None:
    tokens = inputs("cpu")
    row("plain attention: one kernel for explicit softmax", lambda: explicit_attention(*tokens), lambda: attend(*tokens))
    for share in (0.5, 1):
        region = torch.rand(1, 64 * 64) < share
        name = f"masked attention: within regions for a dense mask, {share:.0%} in focus"
        row(name, lambda r=region: released(*tokens, r), lambda r=region: attend_within(*tokens, r))


def vae() -> None:
    model = full_size_vae().eval()
    codec = vae_of(model.state_dict())
    image, latent = torch.rand(1, 3, 512, 512), torch.randn(1, 4, 64, 64)
    row("VAE in strips: encode", lambda: model.encode(image).latent_dist.mean, lambda: codec.encode(image))
    row("VAE in strips: decode", lambda: model.decode(latent).sample, lambda: codec.decode(latent))
    conv, x = codec.decoder.up_blocks[2].upsamplers[0].conv, torch.randn(1, 256, 256, 256)
    row("VAE: upsampling in phases, beyond 512 pixels", lambda: upsampled(conv, x, False), lambda: upsampled(conv, x, True))


def separate(x: Tensor, weights: Tensor) -> list[Tensor]:
    return [F.linear(x, weight) for weight in weights]


def fused(x: Tensor, weights: Tensor) -> tuple[Tensor, ...]:
    return F.linear(x, weights.flatten(0, 1)).chunk(len(weights), -1)


def projections() -> None:
    for tokens, channels in ((4096, 320), (1024, 640), (256, 1280)):
        x = torch.randn(1, tokens, channels)
        for name, width in (("q, k, v", channels), ("first half of the LoRA's q, k, v", RANK_BOKEH)):
            operands = x, torch.randn(3, width, channels)
            row(f"{name} in one product, {tokens} x {channels}", partial(separate, *operands), partial(fused, *operands), 20)


def networks() -> None:
    config = Config(rank=RANK_BOKEH)
    unet, controlnet = UNet(config).eval(), ControlNet(config).eval()
    embedding = TimeEmbedding(config, nn)
    steps = [m.time_emb_proj for network in (unet, controlnet) for m in network.modules() if hasattr(m, "time_emb_proj")]

    def embed_time() -> None:
        embedded = F.silu(embedding(torch.zeros(())))
        for step in steps:
            step(embedded)

    row("time embedding and its projections: folded into biases", embed_time, lambda: None)

    hint = torch.rand(1, 3, 1024, 1536)
    side = 8 * TILE
    tiles = [hint[..., top : top + side, left : left + side] for top in (0, 480) for left in (0, 496, 992)]
    embed = controlnet.controlnet_cond_embedding
    row(
        "hint embedding, 1536 x 1024: of the picture for six tiles",
        lambda: [embed(tile) for tile in tiles],
        lambda: embed(hint),
    )

    latent = torch.randn(2, 4, 64, 64)
    residuals = controlnet(latent, torch.rand(2, 1, 512, 512))
    first = [residual[:1] for residual in residuals]
    one = partial(unet, latent[:1], first)
    row("U-Net: two tiles at once", lambda: (one(), one()), lambda: unet(latent, residuals))
    last = deepcopy(unet).to(memory_format=torch.channels_last)
    row("U-Net: channels last", one, lambda: last(latent[:1], first))


@torch.inference_mode()
def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    torch.set_num_threads(parser.parse_args().threads)
    torch.manual_seed(0)
    print("| | before, s | after, s | after / before |\n| --- | --- | --- | --- |")
    attention()
    vae()
    projections()
    networks()


if __name__ == "__main__":
    main()
