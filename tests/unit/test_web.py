"""The page's script against the library: one rule in two languages."""

import json
import os
import shutil
import subprocess
from pathlib import Path

import pytest
import torch

from magicbokeh_ops import defocus, keys
from magicbokeh_ops.aperture import FRINGES
from magicbokeh_ops.by_hand import room
from magicbokeh_ops.demo import ASSETS
from magicbokeh_ops.focal_plane import plane_through, tilted
from magicbokeh_ops.lenses import LENSES, aperture_of
from magicbokeh_ops.overlay import focus_overlay

ROOT = Path(__file__).parents[2]


OF_FILES = {"automatic", "none (merged file)", "nano, demonstration (comes with the pack)"}  # beside the files themselves
SAME_EVERYWHERE = {"adain", "sRGB"}
AMBIGUOUS = {"linear"}  # said together with the name of its dropdown


def choices() -> list[str]:
    """What the nodes' dropdowns offer, apart from files."""
    nodes = json.loads((ROOT / "tests" / "host" / "object_info" / "0.33.0.json").read_text(encoding="utf-8"))
    inputs = [item for node in nodes.values() for kind in node["input"].values() for item in kind.items()]
    found = {
        f"{name}: {option}" if option in AMBIGUOUS else option
        for name, (kind, *more) in inputs
        if kind == "COMBO"
        for option in more[0].get("options", ())
    }
    return sorted(found - SAME_EVERYWHERE | OF_FILES)


def tilts() -> list[dict]:
    found = []
    for height, width, tilt, direction in ((40, 60, 0.7, 30.0), (233, 150, -1.3, -110.0), (7, 5, 4.0, 90.0)):
        near = torch.rand(1, 1, height, width)
        level = tilted(near, tilt, direction)
        points = [{"x": x, "y": y, "focus": defocus.focus_from_point(level, x, y)} for x, y in torch.rand(20, 2).tolist()]
        corners = [(x, y, float(level[0, 0, int(y * height), int(x * width)])) for x, y in torch.rand(3, 2).tolist()]
        found.append(
            {
                "width": width,
                "height": height,
                "tilt": {"tilt": tilt, "direction": direction},
                "values": near.flatten().tolist(),
                "levelled": level.flatten().tolist(),
                "points": points,
                "corners": corners,
                "plane": plane_through(corners, (height, width)),
            }
        )
    return found


def apertures() -> list[dict]:
    """Options as the nodes have them, and the rays in each opening behind the focus and in front of it."""
    chosen = [(lens, {}) for lens in LENSES]
    chosen += [("ideal", {"blades": 3, "rotation": 20.0}), ("mirror", {"blades": 6, "roundness": 0.4, "squeeze": 1.5})]
    chosen += [("soap bubble", {"blades": 7, "star": 0.5, "spherical": -0.5}), ("ideal", {"squeeze": 0.5, "fringing": 0.3})]
    found = []
    for lens, own in chosen:
        aperture = aperture_of(lens, **own)
        sides = []
        for in_front in (False, True):
            points, weights = aperture.rays(500, in_front=in_front)
            sides.append({"points": points.tolist(), "weights": weights[0].tolist()})
        green = aperture.samples(20000) / (1 - aperture.fringing * FRINGES[0])
        moments = [(green**power).mean(0).tolist() for power in (2, 3)]
        found.append({"lens": lens, "own": own, "sides": sides, "moments": moments})
    return found


def rooms() -> list[dict]:
    """What the widgets say, and the disparity."""
    found = []
    for height, width, horizon, near_end, tilt, back, left, right, vanishing in (
        (30, 40, 0.4, 1.0, 0.0, 0.0, 0.0, 0.0, 0.5),
        (41, 30, 0.3, 0.9, 7.0, 0.2, 0.6, 0.0, 0.3),
        (25, 60, -0.2, 1.4, -20.0, 0.1, 1.7, 0.9, 0.6),
    ):
        walls = {"back_wall": back, "left_wall": left, "right_wall": right}
        values = room((height, width), horizon, near_end, tilt=tilt, vanishing_x=vanishing, **walls)
        hand = {"horizon": horizon, "near_end": near_end, "horizon_tilt": tilt, "vanishing_x": vanishing, **walls}
        found.append({"width": width, "height": height, "hand": hand, "values": values.flatten().tolist()})
    return found


KEYS = (
    "0: 0.82, 24: 0.31 ease",
    "10: (0.25, 0.5) k 12; 20: 1 hold; 50: .2 k 30 ease in",
    "5: k 3\n 30: k 40 ease out",
    "0: (0, 1), 40: (1, 0) linear, 59: 0.5 k 0 ease in and out",
)
NO_KEYS = ("0.82", "0: 2", "0: 0.5 fast", "0: 0.5 constructor", "0: 0.5, 0: 0.6", "3: k -1", "3:", "-1: 0.5", "1: (0.5)")


def pulls() -> list[dict]:
    """Keys, and what they make of 60 frames."""
    found = []
    for text in KEYS:
        pull = keys.read_keys(text)
        focus = keys.focus_of(pull, 60, lambda frame, point: (frame + 100 * point[0] + 10 * point[1]) / 200)
        found.append({"text": text, "focus": focus, "k": keys.k_of(pull, 60)})
    return found


@pytest.mark.parametrize("text", NO_KEYS)
def test_what_is_no_key_is_refused(text):
    with pytest.raises(ValueError, match="keys has"):
        keys.read_keys(text)


def vectors() -> dict:
    torch.manual_seed(0)
    out = {
        "points": [],
        "bands": [],
        "choices": choices(),
        "tilts": tilts(),
        "apertures": apertures(),
        "lenses": LENSES,
        "rooms": rooms(),
        "keys": pulls(),
        "noKeys": NO_KEYS,
    }
    integers = torch.tensor([0, 1, 255, 256, 40000, 65535])
    packed = torch.stack([integers // 256, integers % 256, torch.zeros(6).long(), torch.full((6,), 255)], 1)
    out["packed"] = {"bytes": packed.flatten().tolist(), "values": (integers / 65535).tolist()}
    for height, width in ((7, 5), (40, 60), (233, 150)):
        near = torch.rand(1, 1, height, width)
        points = [(0, 0), (1, 1), (0.5, 0.5), *torch.rand(20, 2).tolist()]
        asked = [{"x": x, "y": y, "focus": defocus.focus_from_point(near, x, y)} for x, y in points]
        out["points"].append({"width": width, "height": height, "values": near.flatten().tolist(), "points": asked})
    for focus, k, focus_range, falloff in (
        (0.5, 32.0, 0, 1),
        (0.2, 24.0, 0, 1),
        (1.0, 100.5, 0, 1),
        (0.4, 60.0, 0.2, 1),
        (0.6, 32.0, 0.1, 1.7),
    ):
        # Values at the very edge of the band too.
        edges = focus + torch.tensor([-3.2, 3.2]) / k
        near = torch.cat([edges, edges.nextafter(torch.tensor(9.0)), edges.nextafter(torch.tensor(-9.0)), torch.rand(500)])
        near = near.clamp(0, 1)[None, None, None]
        mask = defocus.focus_mask(defocus.defocus_map(near, focus, k, focus_range, falloff))
        out["bands"].append(
            {
                "values": near.flatten().tolist(),
                "focus": focus,
                "k": k,
                "range": focus_range,
                "falloff": falloff,
                "mask": (mask.flatten() > 0.5).tolist(),
            }
        )
    # The overlay's legend lies in the lower left corner: look at the upper half only.
    photo, near = torch.randint(256, (1, 3, 200, 200)) / 255, torch.rand(1, 1, 200, 200)
    half = (slice(None), slice(None), slice(0, 100))
    alpha = torch.ones(1, 1, 200, 200)
    shown = focus_overlay(photo, near, 0.4, 20, focus_range=0.1, falloff=1.5)

    def levels(planes):
        return (255 * torch.cat([planes, alpha], 1)[half]).round().int()[0].permute(1, 2, 0).flatten().tolist()

    out["overlay"] = {
        "photo": levels(photo),
        "values": near[half].flatten().tolist(),
        "focus": 0.4,
        "k": 20,
        "range": 0.1,
        "falloff": 1.5,
        "overlay": levels(shown),
    }
    return out


def test_the_page_computes_what_the_node_computes(tmp_path):
    if shutil.which("node") is None:
        pytest.skip("node is not installed")
    (tmp_path / "vectors.json").write_text(json.dumps(vectors()), encoding="utf-8")
    environment = {**os.environ, "VECTORS": str(tmp_path / "vectors.json")}
    files = sorted(map(str, (ROOT / "tests" / "web").glob("*.test.mjs")))
    done = subprocess.run(["node", "--test", *files], env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_page_shows_the_demo_photos_that_the_node_gives():
    for name, file in (("photo", "demo.jpg"), ("noisy", "demo_noisy.jpg")):
        assert (ROOT / "web" / "demo" / f"{name}.jpg").read_bytes() == (ASSETS / file).read_bytes()
