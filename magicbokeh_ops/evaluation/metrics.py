"""Image quality as in the paper's Table 1, as far as it needs no weights; `learned.py` has what other packages measure."""

from kornia.metrics import ssim as ssim_map
from torch import Tensor

WINDOW = 11  # pixels, Gaussian of 1.5


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
