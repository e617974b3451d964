"""One frame that the lens photographs: its light, its surfaces, and the way back to colours."""

import math

import torch
from torch import Tensor

from ..aperture import Aperture
from ..color import linear_to_srgb, srgb_to_linear
from ..grain import add, measure
from ..planes import resize
from . import edges, matte
from .bins import Bins
from .compose import Report
from .edges import EDGE, Split, split_edges
from .matte import Matte, softened, unmix, with_matte
from .plate import both, cut_out, in_front
from .settings import Settings
from .tiles import BAND, bands

BRIGHTEST_BOOST = 1e4  # linear light that is not made brighter still
FAINTEST = 1 / 512  # alpha, half a level of 8 bit: below, where a colour would be the transforms' rounding, it fades to black


class Photo:
    """One frame: light and signed radius of any part of it, and the radii that blurs are made for.

    image: (3, H, W). alpha: (1, H, W) or None. disparity: (1, 1, h, w). ends: the lowest and highest value, (1, 1, 1, 2), of it and
    of `plate_disparity`. coverage: (1, H, W), of the subject. plate: (3, H, W). plate_disparity: (1, 1, h, w).
    """

    def __init__(
        self,
        image: Tensor,
        alpha: Tensor | None,
        disparity: Tensor,
        ends: Tensor,
        settings: Settings,
        aperture: Aperture,
        device: torch.device | str | None,
        coverage: Tensor | None,
        plate: Tensor | None,
        plate_disparity: Tensor | None,
    ):
        self.image, self.alpha, self.disparity, self.settings = image, alpha, disparity, settings
        self.size = settings.size
        self.device = torch.device(image.device if device is None else device)
        self.channels = 3 if alpha is None else 4
        # Colours that the aperture blurs differently cover differently.
        self.coverages = self.channels if aperture.colored else 1
        self.matte = None if coverage is None else Matte(coverage, self.channels, self.device)
        self.plate, self.plate_disparity = plate, plate_disparity
        if settings.tilt:
            given = [disparity] if plate_disparity is None else [disparity, plate_disparity]
            levelled = [settings.levelled(resize(part, self.size)) for part in given]
            ends = torch.stack([part.amin() for part in levelled] + [part.amax() for part in levelled]).view(1, 1, 1, -1).cpu()
        self.lowest, self.highest = (float(end) for end in settings.radius(ends).aminmax())
        self.reach = math.ceil(aperture.extent * max(-self.lowest, self.highest)) + 2
        self.has_lamps = bool(image.max() > 1)
        self.bins = Bins.spanning(self.lowest, self.highest, aperture.detailed or self.has_lamps)
        # Small kernels overshoot a little; a photo that ends at white gives a picture that does.
        self.has_light_above_white = self.has_lamps or settings.highlight_boost > 0

    @property
    def context(self) -> int:
        """Pixels around one that the split of it depends on, besides what is known of the whole picture."""
        return edges.CONTEXT if self.matte is None else matte.CONTEXT

    @property
    def uncovers(self) -> bool:
        """Whether two surfaces differ by an edge, so that the farther one shows where the nearer one covers it in the photo."""
        return self.highest - self.lowest >= EDGE

    def prepare(self, report: Report) -> None:
        """What is done once for the whole picture."""
        self.disparity = resize(self.disparity, self.size)
        if self.plate_disparity is not None:
            self.plate_disparity = resize(self.plate_disparity, self.size)
        if self.matte is None:
            return
        for rows, _ in bands(self.size[0], BAND // self.size[1], 0):
            report()
            disparity = self._part(self.disparity, rows)
            self.matte.survey(self._light(self.image, self._radius(disparity[0], rows), self.alpha, rows), disparity[0], rows)
        self.matte.finish()
        for rows, around in bands(self.size[0], BAND // self.size[1], matte.CONTEXT):
            report()
            inside = slice(rows.start - around.start, rows.stop - around.start)
            self.matte.look_closer(self._part(self.disparity, around)[0], around, inside)
        self.matte.conclude()

    def splits(self, rows: slice, cols: slice, report: Report) -> list[Split]:
        """Both surfaces of every pixel in a part of the picture; with a clean plate, of what is in front of it and of that."""
        disparity = self._part(self.disparity, rows, cols)[0]
        radius = self._radius(disparity, rows, cols)
        light = self._light(self.image, radius, self.alpha, rows, cols)
        report()
        if self.matte is None:
            return [split_edges(light, radius, self.has_lamps, report)]
        sides = self.matte.sides(light, disparity, rows, cols)
        far = sides.far_disparity
        if self.plate_disparity is not None:
            far = torch.where(sides.alpha > 0, self._part(self.plate_disparity, rows, cols)[0], far)
        radii = self._radius(sides.near_disparity, rows, cols), self._radius(far, rows, cols)
        if self.plate is None:
            split = split_edges(light, torch.where(sides.alpha >= 0.5, *radii), self.has_lamps, report)
            return [with_matte(split, sides, unmix(light, sides.alpha, sides.near_color, sides.far_color), radii)]
        split = split_edges(light, torch.where(sides.alpha >= 0.5, *radii), self.has_lamps, report)
        sides = softened(sides, split)
        plate = torch.where(sides.alpha > 0, self._light(self.plate, radii[1], self._opaque, rows, cols), light)
        subject, _ = unmix(light, sides.alpha, sides.near_color, plate, far_is_known=True)
        front = split_edges(cut_out(light, subject, sides, self.coverages), radii[0], self.has_lamps, report)
        behind = split_edges(plate, radii[1], self.has_lamps, report)
        near, far = (self._radius(side, rows, cols) for side in (self.matte.near(rows, cols), self.matte.far(rows, cols)))
        return both(in_front(front, sides, near, far), behind, near, self.reach)

    @property
    def _opaque(self) -> Tensor | None:
        return None if self.alpha is None else torch.ones_like(self.alpha)

    def _part(self, plane: Tensor, rows: slice, cols: slice = slice(None)) -> Tensor:
        return plane[..., rows, cols].to(self.device, torch.float32)

    def _radius(self, disparity: Tensor, rows: slice, cols: slice = slice(None)) -> Tensor:
        """Of a part's disparity (1, h, w)."""
        return self.settings.radius(self.settings.levelled(disparity[None], rows, cols))[0]

    def _light(self, image: Tensor, radius: Tensor, alpha: Tensor | None, rows: slice, cols: slice = slice(None)) -> Tensor:
        """Linear light (3, h, w), with the photo's alpha premultiplied and (4, h, w)."""
        light = self._part(image, rows, cols)
        if self.settings.color_space == "srgb":
            light = _boost_highlights(light, radius, self.settings.highlight_boost)
        if alpha is None:
            return light
        alpha = self._part(alpha, rows, cols).clamp(0, 1)
        return torch.cat([light * alpha, alpha])

    def put_grain(self, picture: Tensor, amount: float, seed: int) -> None:
        """Add noise to a picture (1, 3 or 4, H, W), in place."""
        alpha = None if self.alpha is None else self.alpha[None]
        noise = measure(self.image[None], alpha, self.settings.color_space)
        radius = self.settings.radius(self.settings.levelled(self.disparity.float()))
        if self.alpha is not None:
            alpha = picture[:, 3:].where(picture[:, 3:] > FAINTEST, 0.0)
        picture[:, :3] = add(picture[:, :3], noise, radius.to(picture.device), amount, seed, alpha)

    def colors(self, light: Tensor) -> Tensor:
        """Colours (3, h, w) of linear light, or those of (4, h, w) with their alpha."""
        if self.alpha is not None:
            alpha = light[3:].clamp(0, 1)
            light = light[:3] / alpha.clamp(min=FAINTEST) * (alpha / FAINTEST).clamp(max=1)
        colors = light if self.settings.color_space == "linear" else linear_to_srgb(light)
        if not self.has_light_above_white:
            colors = colors.clamp(max=1)
        return colors if self.alpha is None else torch.cat([colors, alpha])


def _boost_highlights(image: Tensor, radius: Tensor, stops: float) -> Tensor:
    """Linear light of an sRGB photo, with what the sensor clipped given back where it is out of focus.

    Fades in from sRGB 0.8 to 1 and from 1 to 3 pixels of blur: a sharp highlight stays as it is. Fades out up to 1.2, above which
    light is known and was not clipped.
    """
    light = srgb_to_linear(image)
    if stops == 0:
        return light
    brightest = image.amax(0, keepdim=True)
    bright = ((0.2 - (brightest - 1).abs()) / 0.2).clamp(0, 1)
    blurred = ((radius.abs() - 1) / 2).clamp(0, 1)
    return light.maximum((light * torch.exp2(stops * bright**2 * blurred)).clamp(max=BRIGHTEST_BOOST))
