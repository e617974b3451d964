"""ComfyUI's options change how the step is computed, but hardly what comes out."""

import io

import numpy as np
import pytest
from PIL import Image

from tests.host.conftest import Host, node
from tests.host.test_model import prompt

# As many at once as go together, for a server takes its time to start.
TOGETHER = [
    "--force-fp16 --bf16-vae --use-split-cross-attention --cache-none",
    "--bf16-unet --cpu-vae --use-quad-cross-attention --cache-lru 10 --deterministic",
    "--fp16-unet --fast --force-channels-last --disable-dynamic-vram",
    "--fp8_e4m3fn-unet",
    "--fp8_e5m2-unet",
]


def picture(host: Host) -> np.ndarray:
    asked = prompt("golden corner", "golden corner", k=12)
    asked["save"] = node("PreviewImage", images=["sample", 0])
    return np.array(Image.open(io.BytesIO(host.image(host.run(asked)["outputs"]["save"]["images"][0]))), dtype=float)


@pytest.mark.parametrize("flags", TOGETHER)
def test_options_of_the_host(host, flags, tmp_path):
    known = (host.path / "comfy" / "cli_args.py").read_text(encoding="utf-8")
    words = [word for word in flags.split() if not word.startswith("--") or f'"{word}"' in known]
    other = Host(host.path, host.python, tmp_path, flags=words)
    try:
        error = np.mean((picture(other) - picture(host)) ** 2) / 255**2
        again = np.mean((picture(other) - picture(host)) ** 2) / 255**2
    finally:
        other.process.kill()
    assert error == again < 1e-3  # 30 dB
    assert other.log.count("keep 16 bits instead of torch.float8") == (1 if "fp8" in flags else 0)
