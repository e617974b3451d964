"""Accuracy of disparity (paper, supplement A). A prediction is relative: scale and shift are fitted to the truth, per picture."""

import math

import torch
from torch import Tensor

from ..defocus import check_map

FARTHEST = 0.01  # relative disparity below which a ratio says nothing


def _check(predicted: Tensor, truth: Tensor, name: str) -> None:
    check_map(predicted, "predicted disparity")
    if predicted.shape != truth.shape:
        raise ValueError(
            f"predicted disparity has shape {tuple(predicted.shape)}, the true {name} {tuple(truth.shape)}; make them one size."
        )


def _align(predicted: Tensor, disparity: Tensor) -> Tensor:
    """scale * predicted + shift that is nearest to `disparity` in least squares; both are lists of pixels in float64."""
    if predicted.min() == predicted.max():
        raise ValueError(
            f"predicted disparity is constant ({float(predicted[0]):.4g} everywhere), so no scale fits; look at the depth model."
        )
    x, y = predicted - predicted.mean(), disparity - disparity.mean()
    return (x * y).sum() / (x * x).sum() * x + disparity.mean()


def abs_rel_delta1(predicted: Tensor, distance: Tensor, cap: float) -> tuple[float, float]:
    """AbsRel and delta_1 of predicted disparity against true distance, both (B, 1, H, W); means over the pictures.

    A pixel counts if its true distance is finite, above 0 and at most `cap` (10 m for NYU, 80 m for KITTI). The prediction
    (any scale and shift, near = large) is fitted to 1 / distance over these, kept at 1 / cap or more, then inverted.
    AbsRel: mean of |d - d*| / d*. delta_1: share of max(d / d*, d* / d) < 1.25.
    Raises ValueError for different shapes, a prediction that is constant or not finite, and a picture without a pixel that counts.
    """
    _check(predicted, distance, "distance")
    if not 0 < cap < math.inf:
        raise ValueError(f"cap is {cap}; give the largest distance that counts, in the unit of the true distance.")
    scores = []
    for guess, truth in zip(predicted.double(), distance.double()):
        valid = (truth > 0) & (truth <= cap)
        if not valid.any():
            raise ValueError(f"true distance has no pixel above 0 and up to {cap:g}; check its unit and the cap.")
        truth = truth[valid]
        found = 1 / _align(guess[valid], 1 / truth).clamp(min=1 / cap)
        within = torch.maximum(found / truth, truth / found) < 1.25
        scores.append((float(((found - truth).abs() / truth).mean()), float(within.double().mean())))
    abs_rel, delta1 = zip(*scores)
    return sum(abs_rel) / len(scores), sum(delta1) / len(scores)


def rmse_delta1(predicted: Tensor, disparity: Tensor) -> tuple[float, float]:
    """RMSE and delta_1 of predicted against true relative disparity, both (B, 1, H, W); means over the pictures.

    For scenes with no distance in metres, where AbsRel is not defined: relative disparity is 0 somewhere and its inverse means
    nothing. The truth lies in [0, 1], 1 = nearest; a pixel counts if it is finite. The prediction is fitted to it over these.
    RMSE: of the fitted disparity. delta_1: share of max(d / d*, d* / d) < 1.25 where the true disparity d* is 0.01 or more.
    Raises ValueError for different shapes, a truth outside [0, 1] or with nothing at 0.01 or more, and a prediction that is
    constant or not finite.
    """
    _check(predicted, disparity, "disparity")
    scores = []
    for guess, truth in zip(predicted.double(), disparity.double()):
        valid = truth.isfinite()
        guess, truth = guess[valid], truth[valid]
        near = truth >= FARTHEST
        if not near.any():
            raise ValueError(f"true disparity has no pixel of {FARTHEST} or more; give one where 1 is nearest.")
        if truth.min() < 0 or truth.max() > 1:
            raise ValueError(
                f"true disparity goes from {float(truth.min()):.4g} to {float(truth.max()):.4g}; it must lie in 0..1."
            )
        found = _align(guess, truth)
        within = (found[near] < 1.25 * truth[near]) & (truth[near] < 1.25 * found[near])
        scores.append((float((found - truth).square().mean().sqrt()), float(within.double().mean())))
    rmse, delta1 = zip(*scores)
    return sum(rmse) / len(scores), sum(delta1) / len(scores)
