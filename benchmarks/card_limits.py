"""Cards of 6, 8 and 12 GB on the card at hand: what the nodes plan for them, and whether that much memory is enough.

    python -m benchmarks.card_limits [--device cuda] [--quick]

torch gets no more than that share of the card, and the nodes are told so by the tests' stand-in for ComfyUI, whose VAE is diffusers' (its
own takes less). Weights are random but for nano's. On a CPU only the plans are real. Part of `benchmarks.card`.
"""

import argparse
import math
from functools import partial

import torch
from torch import nn

from benchmarks import large_photo
from magicbokeh_ops import demo
from magicbokeh_ops.model.network import Config, ControlNet, UNet
from magicbokeh_ops.weights import checkpoint
from tests.support import stand_in_host as host
from tests.support.full_size import full_size_vae

GIGABYTES = (6, 8, 12)
GB, GIB = 10**9, 2**30


class SmallCard:
    """ComfyUI's view of a device with `limit` bytes, for the stand-in: what is loaded goes there, and the rest back to the CPU."""

    def __init__(self, device: torch.device, limit: int):
        self.device, self.is_card = device, device.type == "cuda"
        self.loaded: list[nn.Module] = []
        mm = host.model_management
        mm.get_torch_device = lambda: device
        mm.get_total_memory = lambda _device=None: limit
        mm.get_free_memory = lambda _device=None: limit - self.held()
        mm.current_loaded_models = []
        mm.extra_reserved_memory = lambda: 0
        mm.load_models_gpu = self.load
        mm.unload_all_models = self.unload
        mm.soft_empty_cache = torch.cuda.empty_cache if self.is_card else lambda: None
        mm.unet_dtype = lambda *_: torch.float16 if self.is_card else torch.float32
        if self.is_card:
            torch.cuda.set_per_process_memory_fraction(limit / torch.cuda.get_device_properties(device).total_memory)

    def held(self) -> int:
        return torch.cuda.memory_allocated() if self.is_card else 0

    def load(self, patchers: list, _room: float = 0, **_options) -> None:
        wanted = [patcher.model for patcher in patchers]
        for model in self.loaded:
            if model not in wanted:
                model.to("cpu")
        self.loaded = [model.to(self.device) for model in wanted]

    def unload(self) -> None:
        self.load([])

    def peak(self, work) -> float:
        """Bytes that are held at most while it runs; unknown on a CPU."""
        if not self.is_card:
            work()
            return math.nan
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()
        work()
        return torch.cuda.max_memory_allocated()


def full_size() -> checkpoint.Weights:
    torch.manual_seed(0)
    config = Config(rank=64, folded=True)
    parts = (part.requires_grad_(False).state_dict() for part in (UNet(config), ControlNet(config), full_size_vae()))
    return checkpoint.Weights(*parts, config)


def pieces(step) -> str:
    """What a `OneStep` plans: squares of the prediction at once, and pieces of the VAE, in pixels."""
    budget, codec = step.budget, step.codec
    return f"{budget.batch} of {budget.tile * codec.cell} px, VAE {codec.budget.codec_tile * codec.cell} px"


def report(device: torch.device, quick: bool) -> list[str]:
    """Print a table. Returns what did not fit."""
    failed = []
    size = (512, 640) if quick else (3000, 4000)
    image, near = (plane[..., : size[0], : size[1]] for plane in large_photo.photo(*size))
    image, near = image.movedim(1, -1), near[:, 0]
    weights = {"nano": checkpoint.load(demo.NANO)} | ({} if quick else {"full size": full_size()})
    print(
        "\nCards of 6, 8 and 12 GB, by the nodes:\n\n| GB | | planned at once | held at most, GiB |\n| --- | --- | --- | --- |"
    )
    for gigabytes in GIGABYTES:
        card = SmallCard(device, gigabytes * GB)
        nodes = host.nodes
        work = {f"lens, {size[1]} x {size[0]}, K 64": partial(host.run, nodes.LensBlur, image=image, disparity=near, k=64.0)}
        plans = {}
        for name, one in weights.items():
            model, vae = nodes.bokeh_model.load_model(one), nodes.bokeh_model.load_vae(one.vae)
            vae.device = vae.patcher.load_device = device
            title = f"{name}, {size[1]} x {size[0]}"
            plans[title] = pieces(nodes.step.OneStep(model, vae))
            given = {"model": model, "vae": vae, "image": image, "defocus": (near - 0.6).abs() * 24 / 32}
            work[title] = partial(host.run, nodes.Sampler, **given)
        for title, run in work.items():
            try:
                held = f"{card.peak(run) / GIB:.2f}"
            except MemoryError as error:  # what the nodes say where nothing helps
                held = str(error)
                failed.append(f"{gigabytes} GB: {title}")
            print(f"| {gigabytes} | {title} | {plans.get(title, '')} | {held} |", flush=True)
            card.unload()
    return failed


@torch.inference_mode()
def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", type=torch.device, default="cuda")
    parser.add_argument("--quick", action="store_true", help="a small picture, nano alone")
    args = parser.parse_args()
    if report(args.device, args.quick):
        raise SystemExit(1)


if __name__ == "__main__":
    main()
