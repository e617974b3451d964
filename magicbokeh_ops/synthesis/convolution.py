"""Convolution of many pictures with a kernel of their own each."""

import torch
from scipy.fft import next_fast_len
from torch import Tensor


def convolve(planes: Tensor, kernels: Tensor, which: Tensor | None = None) -> Tensor:
    """The part of the convolution that sees no border, by FFT, (N, C, H - n + 1, W - n + 1).

    planes: (B, C, H, W). kernels: (N, n, n), n odd. which: for each kernel the planes it goes with, (N,) of 0..B-1;
    without it N = B, one kernel for each. Wide kernels make it the cheapest way, above all on a CPU.
    """
    height, width = planes.shape[-2:]
    edge = kernels.shape[-1] - 1
    size = [next_fast_len(n, real=True) for n in (height, width)]
    spectrum = torch.fft.rfft2(planes, s=size)
    if which is not None:
        spectrum = spectrum[which]
    spectrum = spectrum * torch.fft.rfft2(kernels, s=size)[:, None]
    return torch.fft.irfft2(spectrum, s=size)[..., edge:height, edge:width]
