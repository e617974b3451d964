"""The transfer functions of HDR, PQ and HLG (ITU-R BT.2100), to linear light and back.

Light of 1 is the reference white of ITU-R BT.2408, where white paper and captions lie: 203 cd/m2 in PQ, 75 % of the signal in HLG.
PQ means light of the display, HLG light of the scene; each goes back as it came, so no display has to be assumed.
"""

import math

import torch
from torch import Tensor

PQ_PEAK, REFERENCE_WHITE = 10000, 203  # cd/m2
M1, M2 = 2610 / 16384, 2523 / 4096 * 128
C1, C2, C3 = 3424 / 4096, 2413 / 4096 * 32, 2392 / 4096 * 32
A, B = 0.17883277, 0.28466892
C = 0.5 - A * math.log(4 * A)
HLG_WHITE = 0.75


def pq_to_linear(signal: Tensor) -> Tensor:
    """Values beyond 0..1 are cut off, as PQ ends there."""
    root = signal.clamp(0, 1) ** (1 / M2)
    return ((root - C1).clamp(min=0) / (C2 - C3 * root)) ** (1 / M1) * (PQ_PEAK / REFERENCE_WHITE)


def linear_to_pq(light: Tensor) -> Tensor:
    root = (light * (REFERENCE_WHITE / PQ_PEAK)).clamp(0, 1) ** M1
    return ((C1 + C2 * root) / (1 + C3 * root)) ** M2


def hlg_to_linear(signal: Tensor) -> Tensor:
    """Negative values become 0; those above 1 follow the same curve."""
    return _scene_light(signal.clamp(min=0)) / _scene_light(torch.tensor(HLG_WHITE))


def linear_to_hlg(light: Tensor) -> Tensor:
    scene = light.clamp(min=0) * _scene_light(torch.tensor(HLG_WHITE))
    return torch.where(scene <= 1 / 12, (3 * scene).sqrt(), A * (12 * scene - B).clamp(min=1e-12).log() + C)


def _scene_light(signal: Tensor) -> Tensor:
    return torch.where(signal <= 0.5, signal**2 / 3, (((signal - C) / A).exp() + B) / 12)
