"""The VAE of the command line beside diffusers' own: one tile of a 12-megapixel photo, there and back, each in a process of its own.

python -m benchmarks.vae                # 1576 x 1432, of which 4032 x 3024 takes six; ten minutes on two cores
python -m benchmarks.vae --size 512x512
"""

import argparse
import subprocess
import sys
import time

import torch

from magicbokeh_ops.model.vae import vae_of
from tests.support.full_size import DiffusersVae, full_size_vae
from tests.support.memory_peak import memory

KINDS = ("diffusers", "ours")


@torch.inference_mode()
def measure(kind: str, width: int, height: int) -> None:
    torch.manual_seed(0)
    plain = full_size_vae().eval()
    codec = DiffusersVae(plain) if kind == "diffusers" else vae_of(plain.state_dict())
    image = torch.rand(1, 3, height, width) * 2 - 1
    codec.encode(image[..., :64, :64])
    before, seconds = memory("cpu"), []
    latent = torch.randn(1, 4, height // 8, width // 8)
    for work, argument in ((codec.encode, image), (codec.decode, latent)):
        start = time.perf_counter()
        work(argument)
        seconds.append(time.perf_counter() - start)
    peak = (memory("cpu", peak=True) - before) / 2**30
    print(f"| {kind} | {seconds[0]:.1f} | {seconds[1]:.1f} | {peak:.2f} |", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", default="1576x1432")
    parser.add_argument("--kind", choices=KINDS)
    arguments = parser.parse_args()
    width, height = map(int, arguments.size.split("x"))
    if arguments.kind is not None:
        measure(arguments.kind, width, height)
        return
    print("| VAE | encode, s | decode, s | peak beyond weights, GiB |\n| --- | --- | --- | --- |", flush=True)
    for kind in KINDS:
        subprocess.run([sys.executable, "-m", "benchmarks.vae", "--kind", kind, "--size", arguments.size], check=True)


if __name__ == "__main__":
    main()
