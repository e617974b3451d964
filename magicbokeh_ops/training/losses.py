"""What pictures are compared by."""

from torch import Tensor, nn

CLEAN = 1e-4  # 40 dB, good enough for any picture


class PictureLoss(nn.Module):
    """Mean squared error of values and of their differences to the right and below, and LPIPS if it has a weight.

    The paper has L2 and LPIPS. Without LPIPS, whose weights can't always be had, the differences keep edges from melting.
    gradient: weight of the differences; None: 1, but 0 beside LPIPS.
    by_picture: the mean of each picture's logarithm instead, as PSNR counts; or the worst photos are nearly all that counts.
    Pictures are (B, 3, H, W) in [0, 1]. Raises ModuleNotFoundError if LPIPS is wanted and the package lpips is missing.
    """

    def __init__(self, lpips: float = 0.0, gradient: float | None = None):
        super().__init__()
        self.weight = lpips
        self.gradient = float(not lpips) if gradient is None else gradient
        if lpips:
            from lpips import LPIPS

            self.lpips = LPIPS(net="vgg").requires_grad_(False)

    def forward(self, picture: Tensor, truth: Tensor, by_picture: bool = False) -> Tensor:
        flaws = picture - truth
        errors = flaws.square().mean((1, 2, 3))
        if self.gradient:
            for axis in (-1, -2):
                errors = errors + self.gradient * flaws.diff(dim=axis).square().mean((1, 2, 3))
        loss = (errors + CLEAN).log().mean() if by_picture else errors.mean()
        if self.weight:
            loss = loss + self.weight * self.lpips(picture, truth, normalize=True).mean()
        return loss
