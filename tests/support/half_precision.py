"""Products in 16 bits on CPUs that have none, where torch takes a hundred times as long as in 32."""

import torch
import torch.nn.functional as F

HALVES = (torch.float16, torch.bfloat16)


def rounded(work):
    """A function of picture, weight and bias that works in 32 bits and rounds its result to the picture's 16, as cards do."""

    def within(x, weight, bias=None, *args, **options):
        if x.dtype not in HALVES or x.device.type != "cpu":
            return work(x, weight, bias, *args, **options)
        return work(x.float(), weight.float(), bias if bias is None else bias.float(), *args, **options).to(x.dtype)

    return within


def work_in_single_precision(replace=setattr) -> None:
    """Let torch do so for convolutions and linear layers; replace: as `setattr`."""
    for name in ("conv2d", "linear"):
        replace(F, name, rounded(getattr(F, name)))
