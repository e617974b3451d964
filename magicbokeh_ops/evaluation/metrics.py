"""Image quality as in the paper's Table 1: what needs no weights here, learned metrics by pyiqa if the user has it."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from kornia.metrics import ssim as ssim_map
from torch import Tensor

WINDOW = 11  # pixels, Gaussian of 1.5
FEATURES = 2048  # of FID's Inception

# Column to pyiqa's name. Its defaults are what public evaluations use: LPIPS AlexNet 0.1, NIQE on Y, MANIQA and MUSIQ of KonIQ-10k.
LEARNED = {
    "LPIPS": "lpips",
    "DISTS": "dists",
    "NIQE": "niqe",
    "MANIQA": "maniqa",
    "MUSIQ": "musiq",
    "CLIP-IQA": "clipiqa",
    "FID": "fid",
}
FULL_REFERENCE = ("LPIPS", "DISTS")


def luma(image: Tensor) -> Tensor:
    """Y (B, 1, H, W) of BT.601 in 16..235 of 255, of RGB (B, 3, H, W) in [0, 1]: the Y of super-resolution papers."""
    return (image * image.new_tensor([65.481, 128.553, 24.966]).view(3, 1, 1)).sum(1, keepdim=True) / 255 + 16 / 255


def psnr(picture: Tensor, truth: Tensor, where: Tensor | None = None) -> float:
    """PSNR in dB for a peak of 1, of (B, C, H, W); over the pixels where the (B, 1, H, W) mask is true. Equal pictures give inf."""
    error = (picture.double() - truth.double()).square()
    if where is not None:
        error = error[where.expand_as(error)]
    return float(-10 * error.mean().log10())


def ssim(picture: Tensor, truth: Tensor) -> float:
    """SSIM for a range of 1, of (1, C, H, W): mean over channels and over the windows that lie inside the picture, as first defined."""
    return float(ssim_map(picture.double(), truth.double(), WINDOW, eps=0.0, padding="valid").mean())


class Learned:
    """LPIPS, DISTS, NIQE, MANIQA, MUSIQ, CLIP-IQA and FID by pyiqa, as far as they can be had.

    metrics: column to pyiqa's metric. absent: column to the reason why it is not there. version: of pyiqa, or None.
    pyiqa is imported here only: its licence forbids commercial use, so it is the user's to install.
    """

    def __init__(self, device: torch.device):
        self.metrics: dict[str, Any] = {}
        self.absent: dict[str, str] = {}
        self.version: str | None = None
        try:
            import pyiqa
        except ImportError as error:
            reason = "pyiqa is not installed" if error.name == "pyiqa" else f"pyiqa can't be imported: {error}"
            self.absent = dict.fromkeys(LEARNED, reason)
            return
        self.version = pyiqa.__version__
        for column, name in LEARNED.items():
            metric = self._try(column, pyiqa.create_metric, name, device=device)
            if metric is not None:
                self.metrics[column] = metric

    def _try(self, column: str, work: Callable, *arguments, **options) -> Any:
        # Weights that can't be downloaded, pictures that are too small: each metric fails with exceptions of its own, and
        # none of them is worth the rest of the table.
        try:
            return work(*arguments, **options)
        except Exception as error:
            text = " ".join(str(error).split())
            self.absent[column] = f"{type(error).__name__}: {text}" if text else type(error).__name__
            self.metrics.pop(column, None)
            return None

    def score(self, picture: Tensor, truth: Tensor) -> dict[str, float]:
        """All but FID, of one picture (1, 3, H, W) in [0, 1]. A metric that fails goes over to `absent`."""
        found = {
            column: self._try(column, metric, *((picture, truth) if column in FULL_REFERENCE else (picture,)))
            for column, metric in list(self.metrics.items())
            if column != "FID"
        }
        return {column: float(value) for column, value in found.items() if value is not None}

    def fid(self, folder: Path, truths: Path) -> float | None:
        """FID of two folders that hold nothing but the pictures to compare."""
        if "FID" not in self.metrics:
            return None
        return self._try("FID", self.metrics["FID"], str(folder), str(truths), verbose=False)

    def notes(self, count: int) -> list[str]:
        """What to say below a table of `count` pictures: the library, FID's sample size, and what was not run for which reason."""
        lines = [] if self.version is None else [f"LPIPS to FID: pyiqa {self.version}."]
        if "FID" in self.metrics and count <= FEATURES:
            lines.append(
                f"FID: {count} pictures for {FEATURES} features, so its covariance is rank-deficient; compare at equal N only."
            )
        reasons: dict[str, list[str]] = {}
        for column, reason in self.absent.items():
            reasons.setdefault(reason, []).append(column)
        return lines + [f"not run: {', '.join(columns)} ({reason})." for reason, columns in reasons.items()]
