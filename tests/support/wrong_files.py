"""Files that people take for the right ones, and how a message tells of them."""

import json
import re
import shutil
from pathlib import Path

import torch
from safetensors.torch import save_file

from tests.support.model_files import ADAPTER, DEPTH, SD, UNET

POINTER = b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 5214865159\n"
PAGE = b"<!DOCTYPE html>\n<html><head><title>Not found</title>"


def check_words(text: str, name: str) -> None:
    """That a message is one or two short sentences in one line, and says the name that the user knows the input by."""
    assert "\n" not in text and len(text) <= 300 and text.endswith("."), text
    assert len(re.findall(r"\. [A-Z]", text)) <= 1, text
    assert re.search(rf"(?<![\w-]){re.escape(name)}(?![\w-])", text), f"{name!r} is not in: {text}"


def put_wrong_files(folder: Path, merged: Path, single: dict) -> Path:
    """Everything that people take for the right file, by its name; folders end in a slash."""

    def put(name, content):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)

    for name in ("page.pth", "page.pkl", "page.safetensors"):
        put(name, PAGE)
    for name in ("pointer.pkl", "pointer.ckpt", "pointer.safetensors"):
        put(name, POINTER)
    for name, source in (("lora.pkl", ADAPTER), ("lora.pth", ADAPTER), (UNET.name, UNET), ("DAdepth.pkl", DEPTH)):
        shutil.copy(source, folder / name)
    shutil.copy(DEPTH, folder / "depth_anything_v2_metric_hypersim_vits.pth")
    shutil.copy(merged, folder / "merged.safetensors")
    put("cut.safetensors", merged.read_bytes()[:9999])
    put("bad.pkl", b"\x80\x04c" + b"os\nsystem\n" + b"(V.\ntR.")
    save_file(single, folder / "sd.safetensors")
    for name, channels in (("inpainting", 9), ("depth", 5)):
        first = {"model.diffusion_model.input_blocks.0.0.weight": torch.zeros(32, channels, 3, 3)}
        save_file({**single, **first}, folder / f"{name}.safetensors")
    save_file({"double_blocks.0.img_attn.qkv.weight": torch.zeros(1)}, folder / "flux.safetensors")
    for name in ("pointer", "page", "flax", "no_vae", "index"):
        shutil.copytree(SD, folder / name)
    put(f"pointer/unet/{UNET.name}", POINTER)
    put("page/unet/config.json", PAGE)
    (folder / "flax" / "unet" / UNET.name).rename(folder / "flax" / "unet" / "diffusion_flax_model.msgpack")
    shutil.rmtree(folder / "no_vae" / "vae")
    put("index/unet/diffusion_pytorch_model.safetensors.index.json", b"[]")
    put("small/config.json", json.dumps({"model_type": "depth_anything"}).encode())
    put("small/model.safetensors", PAGE)
    return folder
