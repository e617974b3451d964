"""Masked attention at 64 x 64 latents, 5 heads of 64: ours against the dense mask, the released softmax and no mask at all.

Time by share in focus; peak memory of one call at 50 %.

python -m benchmarks.attention [--device cuda]
"""

import argparse
import time

import torch

from magicbokeh_ops.model.attention import attend, attend_masked, attend_within
from tests.support.full_size import released_attention as released
from tests.support.memory_peak import peak_of

TOKENS, HEADS, WIDTH = 64 * 64, 5, 64


def seconds(method, repeats=5):
    method()
    times = []
    for _ in range(repeats):
        if torch.cuda.is_available():
            torch.cuda.synchronize()
        start = time.perf_counter()
        method()
        if torch.cuda.is_available():
            torch.cuda.synchronize()
        times.append(time.perf_counter() - start)
    return min(times)


METHODS = {
    "released": released,
    "dense mask": attend_masked,
    "no mask": lambda q, k, v, heads, _: attend(q, k, v, heads),
    "ours": attend_within,
}


def inputs(device, tokens=TOKENS):
    torch.manual_seed(0)
    return *(torch.randn(1, tokens, HEADS * WIDTH, device=device) for _ in range(3)), HEADS


def peak(name, device="cpu"):
    """Bytes that one call at 50 % in focus needs beyond its inputs."""
    arguments, region = inputs(device), torch.rand(1, TOKENS, device=device) < 0.5
    return peak_of(lambda: METHODS[name](*arguments, region), device)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cpu")
    args = parser.parse_args()
    arguments = inputs(args.device)
    print(f"{torch.get_num_threads()} threads, {args.device}")
    print("| in focus | released, s | dense mask, s | no mask, s | ours, s | ours / released | ours / dense | ours / no mask |")
    print("| --- " * 8 + "|")
    for share in (0, 0.01, 0.1, 0.25, 0.5, 0.9, 1):
        region = torch.rand(1, TOKENS, device=args.device) < share
        times = [
            seconds(lambda m=method, r=region: m(*arguments, r), 2 if method is released else 5) for method in METHODS.values()
        ]
        ratios = [times[3] / t for t in times[:3]]
        print(f"| {share:.0%} |", " | ".join(f"{x:.3f}" for x in times), "|", " | ".join(f"{x:.2f}" for x in ratios), "|")

    peaks = {name: peak(name, args.device) for name in METHODS}
    print("\n| peak, MB | " + " | ".join(METHODS) + " | ours / dense |")
    print("| --- " * 6 + "|")
    row = " | ".join(f"{value / 1e6:.0f}" for value in peaks.values())
    print(f"| 50% | {row} | {peaks['ours'] / peaks['dense mask']:.2f} |")


if __name__ == "__main__":
    main()
