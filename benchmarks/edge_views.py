"""Subjects of which every pixel is known, for `benchmarks.edges`: what is given of them, and what a lens makes of the scene.

The drawn ones are layered scenes, drawn and traced twice as fine as the camera's pixels, each of which is the mean of 2 x 2. Of each
scene the front layer is the subject once, and once the layer behind it, in front of which the first then stands.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from magicbokeh_ops.atomic import write_whole
from magicbokeh_ops.color import linear_to_srgb
from magicbokeh_ops.synthesis.raytrace import Layer, flatten, rays_for, trace
from magicbokeh_ops.synthesis.scenes import three_layers
from magicbokeh_ops.windows import widen
from tests.support.spoiled import spoil

MIXED = 0.02  # of a pixel that both surfaces must have
NEAR = 8  # pixels
FINER = 2


@dataclass(frozen=True)
class View:
    """A subject in a scene, all (N, C, H, W). Colours are sRGB, white 1; disparity is in 0..1.

    matte: share of each pixel that shows the subject. other: the same of another object. plate, plate_disparity: the scene without the
    subject. truth: the scene through a lens of each `focus` and `k` (N,); place (N,) is 0 for a focus near, 1 in the middle, 2 far.
    noise: PSNR in dB of each truth against a better one, near mixed pixels, (N,).
    margin: pixels on each side that the lens sees and that do not count, ().
    """

    photo: Tensor
    disparity: Tensor
    matte: Tensor
    other: Tensor
    plate: Tensor
    plate_disparity: Tensor
    truth: Tensor
    focus: Tensor
    k: Tensor
    place: Tensor
    noise: Tensor
    margin: Tensor

    def inner(self, planes: Tensor) -> Tensor:
        """Planes without the margin."""
        margin = int(self.margin)
        return planes[..., margin : planes.shape[-2] - margin, margin : planes.shape[-1] - margin]

    def near_mixed(self, matte: Tensor, shot: int) -> Tensor:
        """Pixels (1, 1, H, W) within 8 px of one that is mixed by a matte, or within its blur radius, in a square around it.

        The radius is the largest within 2 px, of the photo and of the plate: which surface disparity shows there is a matter of chance.
        """
        mixed = (matte > MIXED) & (matte < 1 - MIXED)
        away = (self.disparity - self.focus[shot]).abs().maximum((self.plate_disparity - self.focus[shot]).abs())
        radius = (self.k[shot] * widen(away, 2)).ceil().clamp(min=NEAR).where(mixed, 0)
        near = torch.zeros_like(mixed)
        for reach in radius.unique().int().tolist():
            near |= widen((radius == reach).float(), reach) * reach > 0
        return near


WRONG: dict[str, Callable[[View], Tensor]] = {
    "moved by 2 px": lambda view: spoil(view.matte, 1, 2, 0),
    "3 px too wide": lambda view: widen(view.matte, 3),
    "of another object": lambda view: view.other,
}


def cached(folder: Path | None, name: str, make: Callable[[], list[View]]) -> list[View]:
    """What `make` gives, from a folder where it is kept for the next time."""
    if folder is None:
        return make()
    path = folder / f"{name}.npz"
    if not path.exists():
        made = make()
        folder.mkdir(parents=True, exist_ok=True)
        planes = {key: np.stack([getattr(view, key).numpy() for view in made]) for key in vars(made[0])}

        def write(unfinished: Path) -> None:
            with unfinished.open("wb") as file:  # numpy would give a name its own ending
                np.savez_compressed(file, **planes)

        write_whole(path, write)
    planes = {key: torch.from_numpy(stacked) for key, stacked in np.load(path).items()}
    return [View(**{key: stacked[i] for key, stacked in planes.items()}) for i in range(len(planes["photo"]))]


def drawn(seed: int, size: int, ks: tuple[int, ...], soft: int = 1, lamps: bool = False, finer: int = FINER) -> list[View]:
    """A scene of two cut-outs `size` pixels square, with each of them as the subject.

    soft: pixels over which edges are averaged, as those of what moves or is out of focus. lamps: whether light above white stays.
    """
    margin = max(ks) + 8
    layers = [_prepared(layer, soft, lamps, finer) for layer in three_layers(size, margin, seed, finer)]
    middle = finer * (size // 2 + margin)
    depths = [float(layer.disparity()[0, middle, middle]) for layer in layers]
    lenses = [(place, focus, k) for k in ks for place, focus in enumerate(depths)]
    truths = [trace(layers, focus, finer * k, rays_for(k * max(abs(d - focus) for d in depths))) for _, focus, k in lenses]
    place, focus, k = (torch.tensor(values) for values in zip(*lenses))
    front, behind, background = layers
    photo, disparity = _photographed(layers, finer)
    seen = [F.avg_pool2d(alpha[None], finer) for alpha in (front.alpha, (1 - front.alpha) * behind.alpha)]
    views = []
    for matte, other, rest in ((seen[0], seen[1], [behind, background]), (seen[1], seen[0], [front, background])):
        plate, plate_disparity = _photographed(rest, finer)
        views.append(
            View(
                photo=photo,
                disparity=disparity,
                matte=matte,
                other=other,
                plate=plate,
                plate_disparity=plate_disparity,
                truth=linear_to_srgb(F.avg_pool2d(torch.stack(truths), finer)),
                focus=focus,
                k=k,
                place=place,
                noise=torch.full((len(lenses),), torch.inf),
                margin=torch.tensor(margin),
            )
        )
    return views


def _prepared(layer: Layer, soft: int, lamps: bool, finer: int) -> Layer:
    reach = finer * (soft // 2)
    alpha = F.avg_pool2d(F.pad(layer.alpha, (reach,) * 4, mode="replicate"), 2 * reach + 1, 1)
    return replace(layer, alpha=alpha, color=layer.color if lamps else layer.color.clamp(max=1))


def _photographed(layers: list[Layer], finer: int) -> tuple[Tensor, Tensor]:
    """What a pinhole camera sees: sRGB (1, 3, H, W), and disparity, that of the nearest layer with half of the pixel."""
    light = F.avg_pool2d(flatten(layers)[0][None], finer)
    disparity = torch.zeros_like(light[:, :1])
    for layer in reversed(layers):
        alpha, own = (F.avg_pool2d(plane[None], finer) for plane in (layer.alpha, layer.disparity()))
        disparity = torch.where(alpha > 0.5, own, disparity)
    return linear_to_srgb(light), disparity
