"""Masked attention at 64 x 64 latents, 5 heads of 64: ours against the dense mask, the released softmax and no mask at all.

python -m benchmarks.attention [--device cuda]
"""

import argparse
import time

import torch

from magicbokeh_ops.attention import attend, attend_masked, attend_within

TOKENS, HEADS, WIDTH = 64 * 64, 5, 64


def released(q, k, v, heads, region):
    """Explicit softmax over all tokens with a -100 mask repeated per head."""
    q, k, v = (x.unflatten(-1, (heads, -1)).transpose(1, 2) for x in (q, k, v))
    mask = torch.where(region[:, None] == region[:, :, None], 0.0, -100.0)[:, None].repeat(1, heads, 1, 1)
    weights = (q @ k.transpose(-1, -2) * q.shape[-1] ** -0.5 + mask).softmax(-1)
    return (weights @ v).transpose(1, 2).flatten(2)


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


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cpu")
    args = parser.parse_args()
    torch.manual_seed(0)
    q, k, v = (torch.randn(1, TOKENS, HEADS * WIDTH, device=args.device) for _ in range(3))
    print(f"{torch.get_num_threads()} threads, {args.device}")
    print("| in focus | released, s | dense mask, s | no mask, s | ours, s | ours / released | ours / dense | ours / no mask |")
    print("| --- " * 8 + "|")
    for share in (0, 0.01, 0.1, 0.25, 0.5, 0.9, 1):
        region = torch.rand(1, TOKENS, device=args.device) < share
        times = [
            seconds(lambda r=region: released(q, k, v, HEADS, r), 2),
            seconds(lambda r=region: attend_masked(q, k, v, HEADS, r)),
            seconds(lambda: attend(q, k, v, HEADS)),
            seconds(lambda r=region: attend_within(q, k, v, HEADS, r)),
        ]
        ratios = [times[3] / t for t in times[:3]]
        print(f"| {share:.0%} |", " | ".join(f"{x:.3f}" for x in times), "|", " | ".join(f"{x:.2f}" for x in ratios), "|")


if __name__ == "__main__":
    main()
