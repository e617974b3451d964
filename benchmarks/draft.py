"""What a small decoder costs and gives up: TAESD beside Stable Diffusion's VAE, on your photos and with your files.

python -m benchmarks.draft stable-diffusion-2-1-base taesd photo.jpg ...

The first is any base or merged file that `magicbokeh` reads, the second a folder for diffusers' AutoencoderTiny.
"""

import argparse
import statistics
import time
from pathlib import Path

import torch
from torch import Tensor

from magicbokeh_ops import files
from magicbokeh_ops.evaluation.metrics import psnr
from magicbokeh_ops.model.vae import make_codec
from magicbokeh_ops.weights import checkpoint
from tests.support.tiny_vae import Tiny


def timed(work, argument: Tensor) -> tuple[Tensor, float]:
    work(argument)
    start = time.perf_counter()
    return work(argument), time.perf_counter() - start


@torch.inference_mode()
def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("base", type=Path)
    parser.add_argument("taesd", type=Path)
    parser.add_argument("photos", type=Path, nargs="+")
    arguments = parser.parse_args()
    base = arguments.base
    vae = checkpoint.load(base).vae if checkpoint.is_merged(base) else checkpoint.read_base(base).vae
    codecs = {"VAE": make_codec(vae), "TAESD": Tiny(arguments.taesd)}
    rows: dict[tuple[str, str], list[tuple[float, float, float]]] = {}
    for path in arguments.photos:
        photo = files.read_photo(path)[0]
        photo = photo[..., : photo.shape[-2] // 8 * 8, : photo.shape[-1] // 8 * 8]
        for encoder, first in codecs.items():
            latent, encoding = timed(first.encode, 2 * photo - 1)
            for decoder, second in codecs.items():
                picture, decoding = timed(second.decode, latent)
                found = encoding, decoding, psnr(((picture + 1) / 2).clamp(0, 1), photo)
                rows.setdefault((encoder, decoder), []).append(found)
    print(f"{len(arguments.photos)} photos, means\n| encoder | decoder | encode, s | decode, s | PSNR to the photo |")
    print("| --- " * 5 + "|")
    for names, found in rows.items():
        encoding, decoding, likeness = map(statistics.fmean, zip(*found))
        print("|", " | ".join(names), f"| {encoding:.3f} | {decoding:.3f} | {likeness:.2f} |")


if __name__ == "__main__":
    main()
