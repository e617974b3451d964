"""Training data without an end: batch number `step` of a seed is always the same."""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from ..color import linear_to_srgb
from ..defocus import K_TRAINED, defocus_map, focus_mask
from .degradation import Degradation
from .layered import Scenes, random_scenes, render
from .raytrace import Layer, flatten, rays_for, trace
from .sources import Source


def mixed(*numbers: int) -> int:
    """A seed that follows from all of these, each 0 or more."""
    # torch's CPU generator looks at 32 bits of its seed only.
    return int(np.random.SeedSequence(numbers).generate_state(1)[0])


@dataclass(frozen=True)
class Sample:
    """A batch: pictures (B, 3, S, S) in sRGB, maps (B, 1, S, S), all in [0, 1].

    lq: what the network gets, the degraded photo at full size. sharp: the photo, all in focus.
    bokeh: the photo through the lens. disparity: 1 = near. defocus: K |d - d_f| / 32, above 1 for K above 32.
    focus_mask: 1 where defocus is at most 0.1. k: blur radius in pixels at |d - d_f| = 1, (B,). focus: d_f, (B,).
    """

    lq: Tensor
    sharp: Tensor
    bokeh: Tensor
    disparity: Tensor
    defocus: Tensor
    focus_mask: Tensor
    k: Tensor
    focus: Tensor


class Batches(Dataset):
    """Batches of scenes from a source; everything follows from the seed and the step.

    source: `Procedural` or `Folders`. size: S in pixels. k_limit: largest K, 32 in the paper.
    ray_traced: ground truth by the ray tracer, thousands of times slower, for evaluation.
    A DataLoader takes it with batch_size=None and the steps as its sampler.
    Raises ValueError for a size, batch or k_limit that is not positive.
    """

    def __init__(
        self,
        source: Source,
        size: int,
        batch: int,
        seed: int,
        k_limit: float = K_TRAINED,
        degradation: Degradation = Degradation(),
        device: torch.device | str = "cpu",
        ray_traced: bool = False,
    ):
        for name, value in (("size", size), ("batch", batch), ("k_limit", k_limit)):
            if value <= 0:
                raise ValueError(f"{name} is {value}; it must be above 0.")
        self.source, self.size, self.batch, self.seed, self.k_limit = source, size, batch, seed, k_limit
        self.degradation, self.device, self.ray_traced = degradation, device, ray_traced

    @torch.no_grad()
    def make(self, step: int) -> Sample:
        """Batch number `step`."""
        scenes, light, disparity, defocus, generator = self._draw(step)
        sharp = linear_to_srgb(light).clamp(max=1)
        bokeh = linear_to_srgb(_trace(scenes) if self.ray_traced else render(scenes)).clamp(max=1)
        lq = self.degradation(sharp, generator)
        return Sample(lq, sharp, bokeh, disparity, defocus, focus_mask(defocus), scenes.k, scenes.focus)

    __getitem__ = make

    @torch.no_grad()
    def outline(self, step: int) -> tuple[Tensor, Tensor, Tensor]:
        """Focus mask, k and focus of batch number `step`, without blurring anything: a fifth of the work, or next to nothing of a traced one."""
        scenes, _, _, defocus, _ = self._draw(step)
        return focus_mask(defocus), scenes.k, scenes.focus

    def _draw(self, step: int) -> tuple[Scenes, Tensor, Tensor, Tensor, torch.Generator]:
        """The scenes, their light, disparity and defocus, and the generator for what is drawn after them."""
        generator = torch.Generator().manual_seed(mixed(self.seed, step))
        scenes = random_scenes(self.source, self.size, self.batch, self.k_limit, generator, self.device)
        light, disparity = (scenes.crop(planes) for planes in flatten(scenes.layers))
        return scenes, light, disparity, defocus_map(disparity, scenes.focus.tolist(), scenes.k.tolist()), generator


def _trace(scenes: Scenes) -> Tensor:
    """The scenes one by one through the ray tracer, (B, 3, S, S) in linear light."""
    traced = []
    for i, (focus, k) in enumerate(zip(scenes.focus.tolist(), scenes.k.tolist())):
        layers = []
        for layer in scenes.layers:
            origin, slope_x, slope_y = (float(torch.as_tensor(entry)[i]) for entry in layer.plane)
            layers.append(Layer(layer.color[i].cpu(), layer.alpha[i].cpu(), (origin, slope_x, slope_y)))
        traced.append(trace(layers, focus, k, rays_for(k * max(focus, 1 - focus))))
    return scenes.crop(torch.stack(traced)).to(scenes.focus.device)
