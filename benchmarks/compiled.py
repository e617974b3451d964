"""Whether the networks gain from what torch can do for them: channels last, the kinds of attention, and `torch.compile`.

    python -m benchmarks.compiled [--device cuda --dtype float16] [--side 64]

One tile of the full-size U-Net and ControlNet with random weights, half of it in focus. Seconds are the median of five, in turns but
for channels last; differences are the largest beside the first row's, of the largest value.
"""

import argparse
import statistics
import time
from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel

from magicbokeh_ops.model.network import Config, ControlNet, UNet

LAST = "channels last"  # comes last, since weights stay so


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--dtype", default="float32")
    parser.add_argument("--side", type=int, default=64, help="of the latent")
    args = parser.parse_args()
    torch.manual_seed(0)
    device, dtype = torch.device(args.device), getattr(torch, args.dtype)
    config = Config(rank=64, folded=True)
    with device:
        unet, controlnet = (part.requires_grad_(False).to(dtype) for part in (UNet(config), ControlNet(config)))
        x = torch.randn(1, 4, args.side, args.side, dtype=dtype)
        hint = torch.rand(1, 1, 8 * args.side, 8 * args.side, dtype=dtype)
    regions = torch.zeros_like(hint)
    regions[..., : 4 * args.side] = 1

    def step(denoise=unet, control=controlnet) -> Tensor:
        return denoise(x, control(x, hint), regions)

    def with_backend(backend: SDPBackend) -> Callable[[], Tensor]:
        def work() -> Tensor:
            with sdpa_kernel(backend):
                return step()

        return work

    explained = torch._dynamo.explain(lambda: step())()
    print(f"{device}, {dtype}, {torch.get_num_threads()} threads; torch {torch.__version__}")
    print(f"torch.compile: {explained.graph_count} graphs, {explained.graph_break_count} breaks")
    for reason in {str(one.reason) for one in explained.break_reasons}:
        print(f"- {reason.splitlines()[0]}")
    compiled = torch.compile(unet), torch.compile(controlnet)
    methods: dict[str, Callable[[], Tensor]] = {"as it is": step, "compiled": lambda: step(*compiled)}
    for backend in (SDPBackend.FLASH_ATTENTION, SDPBackend.EFFICIENT_ATTENTION, SDPBackend.CUDNN_ATTENTION, SDPBackend.MATH):
        methods[f"attention {backend.name.lower()}"] = with_backend(backend)
    exact = step().float()
    differences = {}
    for name in list(methods):
        try:
            found = methods[name]().float()
        except RuntimeError as error:  # a kind of attention that the device lacks
            print(f"{name}: {str(error).splitlines()[0]}")
            del methods[name]
            continue
        differences[name] = float((found - exact).abs().max() / exact.abs().max())
    rows: dict[str, list[float]] = {name: [] for name in [*methods, LAST]}
    synchronize = torch.get_device_module(device).synchronize if device.type != "cpu" else lambda: None

    def seconds(work: Callable[[], Tensor]) -> float:
        synchronize()
        start = time.perf_counter()
        work()
        synchronize()
        return time.perf_counter() - start

    for _ in range(5):
        for name, work in methods.items():
            rows[name].append(seconds(work))
    for part in (unet, controlnet):
        part.to(memory_format=torch.channels_last)
    x, hint = (value.contiguous(memory_format=torch.channels_last) for value in (x, hint))
    differences[LAST] = float((step().float() - exact).abs().max() / exact.abs().max())
    rows[LAST] = [seconds(step) for _ in range(5)]
    print("\n| | s | difference |\n| --- | --- | --- |")
    for name, seconds in rows.items():
        print(f"| {name} | {statistics.median(seconds):.3f} | {differences[name]:.0e} |")


if __name__ == "__main__":
    with torch.inference_mode():
        main()
