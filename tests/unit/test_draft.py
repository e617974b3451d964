"""The table of a small decoder, on small random weights in the two formats."""

import re
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from diffusers import AutoencoderTiny
from safetensors.torch import load_file, save_file

from magicbokeh_ops.files import write_photo

PACK = Path(__file__).parents[2]
BASE = PACK / "tests" / "parity" / "golden" / "sd"


@pytest.mark.long
def test_table_of_a_decoder_that_lets_less_through(tmp_path):
    torch.manual_seed(0)
    AutoencoderTiny(encoder_block_out_channels=(8,) * 4, decoder_block_out_channels=(8,) * 4).save_pretrained(tmp_path / "tiny")
    write_photo(tmp_path / "photo.png", torch.rand(1, 3, 70, 100))
    command = [sys.executable, "-m", "benchmarks.draft", BASE, tmp_path / "tiny", tmp_path / "photo.png"]

    def rows():
        table = subprocess.run(command, cwd=PACK, capture_output=True, text=True, check=True).stdout
        found = re.findall(r"^\| (VAE|TAESD) \| (VAE|TAESD) \|.* ([\d.]+) \|$", table, re.M)
        assert len(found) == 4
        return {(encoder, decoder): float(psnr) for encoder, decoder, psnr in found}

    before = rows()
    file = next((tmp_path / "tiny").glob("*.safetensors"))
    weights = load_file(file)
    last = max(
        (key for key in weights if key.startswith("decoder.") and key.endswith("bias")), key=lambda key: int(key.split(".")[2])
    )
    save_file({**weights, last: weights[last] + 9.0}, file, {"format": "pt"})  # white
    after = rows()
    assert after["VAE", "VAE"] == before["VAE", "VAE"] and after["TAESD", "VAE"] == before["TAESD", "VAE"]
    white = pytest.approx(-10 * torch.log10(torch.tensor(1 / 3)).item(), abs=0.3)
    assert after["VAE", "TAESD"] == white and after["TAESD", "TAESD"] == white
