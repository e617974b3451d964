"""What pictures are compared by."""

import torch.nn.functional as F
from torch import Tensor, nn


class PictureLoss(nn.Module):
    """Mean squared error of values and of their differences to the right and below, and LPIPS if it has a weight.

    The paper has L2 and LPIPS. Without LPIPS, whose weights can't always be had, the differences keep edges from melting.
    Pictures are (B, 3, H, W) in [0, 1]. Raises ModuleNotFoundError if LPIPS is wanted and the package lpips is missing.
    """

    def __init__(self, lpips: float = 0.0):
        super().__init__()
        self.weight = lpips
        if lpips:
            from lpips import LPIPS

            self.lpips = LPIPS(net="vgg").requires_grad_(False)

    def forward(self, picture: Tensor, truth: Tensor) -> Tensor:
        loss = F.mse_loss(picture, truth)
        for axis in (-1, -2):
            loss = loss + F.mse_loss(picture.diff(dim=axis), truth.diff(dim=axis))
        if self.weight:
            loss = loss + self.weight * self.lpips(picture, truth, normalize=True).mean()
        return loss
