"""The one step on the full-size networks with random weights, stage by stage: ours beside the released procedure.

Time and peak memory, each procedure in a process of its own, beside what this machine can do at best; and floating-point operations,
counted without computing.

python -m benchmarks.pipeline                  # 512, 1024 and 1536 x 1024; half an hour on two cores
python -m benchmarks.pipeline --quick          # 512
python -m benchmarks.pipeline --json FILE --plot FILE
python -m benchmarks.pipeline --count          # operations alone, a minute
python -m benchmarks.pipeline --as-released    # one procedure alone (also --fast, --reference), at the first of --sizes
"""

import argparse
import json
import resource
import subprocess
import sys
import time
from collections import Counter
from functools import partial
from pathlib import Path
from typing import Any

import torch
from diffusers import AutoencoderKL
from torch import nn
from torch.utils.flop_counter import FlopCounterMode
from transformers import CLIPTextConfig, CLIPTextModel

from benchmarks.attention import released as released_attention
from magicbokeh_ops import sampler
from magicbokeh_ops.codec import DiffusersCodec
from magicbokeh_ops.network import Config, ControlNet, SelfAttention, UNet
from magicbokeh_ops.training.trainee import Trainee

PROCEDURES = ("as-released", "reference", "fast")
STAGES = ("text", "encode", "controlnet", "unet", "decode", "rest")
SIZES = ["512x512", "1024x1024", "1536x1024"]
COUNTED = {"512x512": (512, 512), "1536x1024": (1024, 1536), "2048x1536": (1536, 2048), "4032x3024": (3024, 4032)}
RANK = 4  # of the SR LoRA; the released file was not at hand
RANK_BOKEH = 64


class Stages:
    """Seconds and operations by stage, of functions that are called in the course of a run."""

    def __init__(self, counting: bool):
        self.counting, self.seconds, self.flops = counting, Counter(), Counter()
        self.known = {}

    def watched(self, name, function):
        """The function, watched; while counting, calls of the same shapes are made once."""

        def call(*arguments, **options):
            if not self.counting:
                start = time.perf_counter()
                result = function(*arguments, **options)
                if torch.cuda.is_available():
                    torch.cuda.synchronize()
                self.seconds[name] += time.perf_counter() - start
                return result
            key = (name, *(getattr(x, "shape", None) for x in arguments))
            if key not in self.known:
                with FlopCounterMode(display=False) as counter:
                    result = function(*arguments, **options)
                self.known[key] = result, counter.get_total_flops()
            result, flops = self.known[key]
            self.flops[name] += flops
            return result

        return call


class Codec:
    def __init__(self, codec: Any, stages: Stages):
        self.cell = codec.cell
        self.encode, self.decode = stages.watched("encode", codec.encode), stages.watched("decode", codec.decode)


def masked_as_released(processor, x, q, k, v, heads, region, attention):
    """`MaskedBranch.forward` with the released softmax."""
    q, k, v = q + processor.to_q_lora(x), k + processor.to_k_lora(x), v + processor.to_v_lora(x)
    if region is None:
        region = torch.zeros(x.shape[:2], dtype=torch.bool, device=x.device)
    return processor.to_out_lora(released_attention(q, k, v, heads, region))


def explicit_attention(q, k, v, heads):
    q, k, v = (x.unflatten(-1, (heads, -1)).transpose(1, 2) for x in (q, k, v))
    return ((q @ k.transpose(-1, -2) * q.shape[-1] ** -0.5).softmax(-1) @ v).transpose(1, 2).flatten(2)


def full_size_vae() -> AutoencoderKL:
    return AutoencoderKL(
        down_block_types=("DownEncoderBlock2D",) * 4,
        up_block_types=("UpDecoderBlock2D",) * 4,
        block_out_channels=(128, 256, 512, 512),
        layers_per_block=2,
    )


def build(procedure: str, device: str, dtype: torch.dtype) -> tuple[UNet, ControlNet, Any, nn.Module | None]:
    """U-Net, ControlNet, codec, and the text encoder that the released procedure runs for nothing.

    procedure: one of PROCEDURES, or "nodes": fast with a VAE that does what ComfyUI's does.
    """
    released = procedure == "as-released"
    torch.manual_seed(0)
    with torch.device(device):
        config = Config(rank=RANK_BOKEH, folded=not released)
        unet, controlnet = UNet(config), ControlNet(config)
        vae = full_size_vae()
        codec = DiffusersCodec(vae.state_dict(), device)
        text = None
        if procedure in ("as-released", "nodes"):
            codec.vae = vae
        if released:
            sizes = {"hidden_size": 1024, "intermediate_size": 4096, "num_hidden_layers": 23, "num_attention_heads": 16}
            text = CLIPTextModel(CLIPTextConfig(vocab_size=49408, projection_dim=512, hidden_act="gelu", **sizes)).eval()
    if released:
        Trainee(unet, controlnet, codec).add_sr_lora(RANK)
        for up in unet.up_blocks:
            for module in up.modules():
                if isinstance(module, SelfAttention):
                    module.attention = explicit_attention
                    module.processor.forward = partial(masked_as_released, module.processor)
    for network in (unet, controlnet, codec, text):
        if network is not None:
            network.requires_grad_(False).eval().to(dtype)
    return unet, controlnet, codec, text


@torch.inference_mode()
def run(procedure: str, size: tuple[int, int], device: str, dtype: torch.dtype = torch.float32) -> dict:
    """Stages of one picture; on device "meta" operations are counted instead of seconds."""
    stages = Stages(counting=device == "meta")
    unet, controlnet, codec, text = build(procedure, device, dtype)
    image, defocus = torch.rand(1, 3, *size, device=device), torch.rand(1, 1, *size, device=device)
    regions = None  # on "meta" nobody can look where the mask is; attention over everything is the most it takes
    if not stages.counting:
        regions = torch.zeros_like(defocus)
        regions[..., : size[1] // 2] = 1
    watched_unet = stages.watched("unet", unet)
    watched_unet.config = unet.config
    tokens = torch.zeros(1, 77, dtype=torch.long, device=device)

    def predict(latent, hint, masks):
        if text is not None:
            stages.watched("text", text)(tokens)
        return sampler.predict(watched_unet, stages.watched("controlnet", controlnet), latent, hint, masks, device, dtype)

    if device.startswith("cuda"):
        torch.cuda.reset_peak_memory_stats()
    weights = memory(device)
    start = time.perf_counter()
    if procedure in ("fast", "nodes"):
        sampler.sample_fast(Codec(codec, stages), predict, image, defocus, regions)
    else:
        sampler.sample_as_released(Codec(codec, stages), predict, image, defocus, regions)
    total = time.perf_counter() - start
    stages.seconds["rest"] = max(total - stages.seconds.total(), 0)
    return {
        "procedure": procedure,
        "size": size,
        "seconds": dict(stages.seconds),
        "total": total,
        "flops": dict(stages.flops),
        "peak": memory(device, peak=True),
        "activations": memory(device, peak=True) - weights,
    }


def memory(device: str, peak: bool = False) -> int:
    """Bytes held, or held at most so far: by CUDA's allocator, or by the process."""
    if device.startswith("cuda"):
        return torch.cuda.max_memory_allocated() if peak else torch.cuda.memory_allocated()
    if peak:
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
    import psutil

    return psutil.Process().memory_info().rss


def work(procedure: str, size: tuple[int, int]) -> dict[str, float]:
    """Operations of one picture by stage, attention over everything."""
    return run(procedure, size, "meta")["flops"]


def count() -> dict[str, dict[str, dict[str, float]]]:
    """Operations by picture, procedure and stage, with a table of them."""
    procedures = (*PROCEDURES, "nodes")
    print("\n| TFLOP |", " | ".join(procedures), "| fast / reference |\n" + "| --- " * 6 + "|")
    found = {}
    for name, size in COUNTED.items():
        found[name] = {procedure: work(procedure, size) for procedure in procedures}
        totals = {procedure: sum(stages.values()) / 1e12 for procedure, stages in found[name].items()}
        row = " | ".join(f"{total:.1f}" for total in totals.values())
        print(f"| {name.replace('x', ' x ')} | {row} | {totals['fast'] / totals['reference']:.3f} |")
    return found


def ceilings(device: str, dtype: torch.dtype) -> dict[str, float]:
    """Operations per second of a large product of matrices, and bytes per second of a copy."""
    a, b = torch.randn(2, 2048, 2048, device=device, dtype=dtype)
    source = torch.empty(2**27, device=device)
    best = {}
    for name, work, amount in (("flops", lambda: a @ b, 2 * 2048**3), ("bytes", source.clone, 2 * 4 * 2**27)):
        times = []
        for _ in range(8):
            start = time.perf_counter()
            work()
            if device.startswith("cuda"):
                torch.cuda.synchronize()
            times.append(time.perf_counter() - start)
        best[name] = amount / min(times)
    return best


def in_own_process(procedure: str, size: str, arguments) -> dict:
    """`run` in a process of its own, so that its peak of memory is its own too."""
    command = [sys.executable, "-m", "benchmarks.pipeline", f"--{procedure}", "--sizes", size, "--device", arguments.device]
    command += ["--dtype", arguments.dtype, "--threads", str(arguments.threads)]
    return json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


def with_flops(row: dict, counted: dict, ceiling: float) -> dict:
    share = {stage: counted[stage] / row["seconds"][stage] / ceiling for stage in counted if row["seconds"].get(stage)}
    return {**row, "flops": counted, "share of ceiling": share}


def report(rows: list[dict], best: dict[str, float]) -> None:
    print(f"ceilings: {best['flops'] / 1e9:.0f} GFLOP/s (matrix product), {best['bytes'] / 1e9:.1f} GB/s (copy)\n")
    stages = [stage for stage in STAGES if stage != "rest"]
    print(
        "| picture | procedure |",
        " | ".join(f"{stage}, s (share of ceiling)" for stage in stages),
        "| rest, s | all, s | peak, GiB |",
    )
    print("|", "--- | " * (len(stages) + 5))
    for row in rows:
        cells = []
        for stage in stages:
            seconds, share = row["seconds"].get(stage), row["share of ceiling"].get(stage)
            cells.append("" if seconds is None else f"{seconds:.2f} ({share:.0%})")
        height, width = row["size"]
        print(
            f"| {width} x {height} | {row['procedure']} |",
            " | ".join(cells),
            f"| {row['seconds']['rest']:.2f} | {row['total']:.1f} |",
            f"{row['peak'] / 2**30:.2f} ({row['activations'] / 2**30:.2f} beyond weights) |",
        )


def plot(rows: list[dict], file: Path) -> None:
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(figsize=(9, 1 + 0.4 * len(rows)), layout="constrained")
    names = [f"{row['size'][1]} x {row['size'][0]} {row['procedure']}" for row in rows]
    left = [0.0] * len(rows)
    for stage in STAGES:
        widths = [row["seconds"].get(stage, 0) for row in rows]
        axes.barh(names, widths, left=left, label=stage)
        left = [start + width for start, width in zip(left, widths)]
    axes.invert_yaxis()
    axes.set_xlabel("seconds")
    axes.legend()
    figure.savefig(file)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for procedure in PROCEDURES:
        parser.add_argument(f"--{procedure}", dest="procedure", action="store_const", const=procedure)
    parser.add_argument("--sizes", nargs="+", default=SIZES, metavar="WIDTHxHEIGHT")
    parser.add_argument("--quick", action="store_true", help="512 pixels only")
    parser.add_argument("--count", action="store_true", help="operations only")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--dtype", default="float32", help="on a CPU the peak of memory is that of fp32 in any case")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--json", type=Path)
    parser.add_argument("--plot", type=Path)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    dtype = getattr(torch, arguments.dtype)
    sizes = {name: tuple(int(side) for side in name.split("x"))[::-1] for name in arguments.sizes}
    if arguments.procedure:
        size = next(iter(sizes.values()))
        print(json.dumps(run(arguments.procedure, size, arguments.device, dtype)))
        return

    if arguments.count:
        count()
        return
    if arguments.quick:
        sizes = {SIZES[0]: (512, 512)}
    best = ceilings(arguments.device, dtype)
    rows = []
    for name, size in sizes.items():
        for procedure in PROCEDURES:
            row = in_own_process(procedure, name, arguments)
            rows.append(with_flops(row, work(procedure, size), best["flops"]))
    report(rows, best)
    flops = count()
    huge = flops["4032x3024"]
    for row in rows[-len(PROCEDURES) :]:
        seconds = sum(amount * row["seconds"][stage] / row["flops"][stage] for stage, amount in huge[row["procedure"]].items())
        print(f"4032 x 3024, {row['procedure']}, as fast by stage as {name}: {seconds / 60:.0f} minutes")
    if arguments.json:
        content = {"threads": arguments.threads, "ceilings": best, "rows": rows, "flops": flops}
        arguments.json.write_text(json.dumps(content, indent=1), encoding="utf-8")
    if arguments.plot:
        plot(rows, arguments.plot)

    found = {(row["procedure"], tuple(row["size"])): row for row in rows}
    ratios = {}
    for name, size in sizes.items():
        ours, theirs = found["fast", size], found["as-released", size]
        ratios[f"time_ratio_{name if size[0] != size[1] else size[0]}"] = ours["total"] / theirs["total"]
        if name == SIZES[0]:
            ratios["memory_ratio_512"] = ours["peak"] / theirs["peak"]
            ratios["activations_ratio_512"] = ours["activations"] / theirs["activations"]
    ratios["flops_ratio_12mp"] = sum(huge["fast"].values()) / sum(huge["as-released"].values())
    print(" ".join(f"{name}={ratio:.3f}" for name, ratio in ratios.items()))


if __name__ == "__main__":
    main()
