"""Small model files in the released layouts, and how a file is refused."""

from pathlib import Path

import pytest

GOLDEN = Path(__file__).parents[1] / "parity" / "golden"
SD, ADAPTER, DEPTH = GOLDEN / "sd", GOLDEN / "lora.pkl", GOLDEN / "depth" / "DAdepth_tiny.pth"
UNET = SD / "unet" / "diffusion_pytorch_model.safetensors"


def refused(call, *arguments) -> str:
    with pytest.raises(ValueError) as error:
        call(*arguments)
    assert len(str(error.value).splitlines()) == 1
    return str(error.value)
