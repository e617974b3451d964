"""Memory of the model's nodes: what ComfyUI is asked for, what happens without it, and that it does not grow."""

import json
import time

import psutil
import torch

from magicbokeh_ops.model.network import Config, ControlNet, UNet
from tests.host.conftest import node
from tests.host.test_model import prompt


def test_large_pictures_on_a_card_of_6_gib(host):
    """What ComfyUI is asked to make room for fits beside the networks at full size, or for the VAE, into its share of the card.

    The picture is larger than the pieces that it is worked on in, so that another size would change nothing.
    """
    with torch.device("meta"):
        networks = UNet(Config(rank=64)), ControlNet(Config(rank=64))
    weights = sum(4 * parameter.numel() for network in networks for parameter in network.parameters())
    asked = prompt("golden", "golden", masked=False, upscale=2)
    asked["card"] = node("TestCard", model=["load", 0], gibibytes=6)
    asked["sample"]["inputs"]["model"] = ["card", 0]
    try:
        host.found(asked)
    finally:
        room = host.get("/test/asked")
    card = 6 * 2**30
    predictions = [asked for kind, asked in room if kind == "MagicBokeh" and asked]
    coding = [asked for kind, asked in room if kind != "MagicBokeh"]
    assert len(predictions) == 1 and len(coding) == 2  # not for every tile
    assert weights + max(predictions) < card
    assert 0.4 < max(coding) / card <= 0.6


def test_out_of_memory_works_on_less_at_once(host):
    """Twice too large, then it fits; and at last a sentence if nothing is small enough."""
    asked = prompt("golden", "golden", masked=False)
    whole = host.found(asked)
    asked["broken"] = node("TestOutOfMemory", model=["load", 0], steps=2)
    asked["sample"]["inputs"]["model"] = ["broken", 0]
    host.get("/test/progress")
    smaller = host.found(asked)
    shown = host.get("/test/progress")
    assert shown == sorted(shown) and shown[-1] == 100
    assert smaller["shape"] == whole["shape"] and smaller["row"] != whole["row"]
    asked["broken"]["inputs"]["steps"] = 20
    message = host.error(asked)
    assert message.startswith("There is too little memory for MagicBokeh's networks;") and len(message.splitlines()) == 1


def test_memory_does_not_grow(host):
    """Over 50 runs, and over the frames of a batch, whose pictures are half a megabyte each with all that belongs to them."""
    process = psutil.Process(host.process.pid)
    load = {"checkpoint": "nano-like.safetensors", "base": "none (merged file)"}
    held = []
    for i in range(50):
        asked = prompt("golden corner", "golden corner", load=load, k=8 + i / 2, color_fix="none")
        assert host.run(asked)["status"]["status_str"] == "success"
        held.append(process.memory_info().rss)
    # The result of a run alone is 0.8 MB, and there are many more pictures on the way.
    assert held[-1] - max(held[:10]) < 20e6, held
    host.get("/test/progress")
    before = process.memory_info().rss
    running = host.queue(prompt("batch of 100", "ramp", load=load, k=0, color_fix="none"))
    held = []
    while running not in host.get(f"/history/{running}"):
        held.append(process.memory_info().rss)
        time.sleep(0.05)
    assert json.loads(host.result(running)["outputs"]["probe"]["found"][0])["shape"] == [100, 64, 64, 3]
    shown = host.get("/test/progress")
    assert shown == sorted(shown) and shown[-1] == 100 * 100
    assert max(held) - before < 200e6, held
    assert process.memory_info().rss - before < 100e6
