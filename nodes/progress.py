"""Progress, interrupts and previews."""

import logging
import time
from collections.abc import Callable

import comfy.model_management as mm
import torch.nn.functional as F
from comfy.utils import ProgressBar
from PIL import Image
from torch import Tensor

THUMBNAIL_SIDE = 512  # of pictures while a node runs


def to_thumbnail(picture: Tensor) -> Image.Image:
    """A small version of a picture (3 or 4, H, W), what is below 0 and above 1 cut off and what is transparent black."""
    if len(picture) == 4:
        picture = picture[:3] * picture[3:]
    scale = min(1, THUMBNAIL_SIDE / max(picture.shape[-2:]))
    size = [max(1, round(scale * length)) for length in picture.shape[-2:]]
    # Means of whole pixels are something that every device has. What they leave to do is little.
    cell = [max(1, length // THUMBNAIL_SIDE) for length in picture.shape[-2:]]
    small = F.avg_pool2d(picture[None].float(), cell).cpu()
    small = F.interpolate(small, size=size, mode="area")[0].clamp(0, 1)
    return Image.fromarray((small.movedim(0, -1) * 255).round().byte().numpy())


class Progress:
    """The node's progress bar over some equal parts; every call is a place where the user can stop the run."""

    def __init__(self, parts: int):
        self.bar = ProgressBar(parts * 100)
        self.part, self.value = 0, 0
        self.picture, self.last_shown, self.draws = None, 0.0, True

    def __call__(self, done: int, steps: int) -> None:
        mm.throw_exception_if_processing_interrupted()
        # Work that starts anew with less at once doesn't take back what was shown.
        self.value = max(self.value, self.part * 100 + 100 * done // steps)
        if self.picture is not None:
            self.last_shown = time.monotonic()
        self.bar.update_absolute(self.value, preview=self.picture)
        self.picture = None

    def show(self, picture: Tensor, draw: Callable[[Tensor], Image.Image] = to_thumbnail) -> None:
        """What there is so far, beside the bar, at most four times a second. draw(picture): how it looks.

        It is sent with the next value, for newer ComfyUI drops a value that comes within 0.1 s of a picture.
        """
        if not self.draws or time.monotonic() - self.last_shown < 0.25:
            return
        try:
            # ComfyUI saves it as a JPEG when sending it, and does not recover if that fails.
            self.picture = ("JPEG", draw(picture).convert("RGB"), THUMBNAIL_SIDE)
        except mm.InterruptProcessingException:
            raise
        except Exception as error:  # only a preview, so the run goes on without it whatever the reason
            logging.warning(f"MagicBokeh: no preview of this run ({type(error).__name__}: {error}).")
            self.draws = False

    def next_part(self) -> None:
        self.part += 1
