"""Many random graphs of nodes: each gives finite pictures of the right size, or a ValueError of one sentence, and nothing else.

    python -m tests.fuzz_nodes --count 2000 --seed 1

runs them on the stand-in host, and inside a real ComfyUI with

    COMFYUI_PATH=... PYTHONPATH=<folder with hypothesis> $COMFYUI_PYTHON -m tests.fuzz_nodes --count 2000 --seed 1

A failure is printed with the graph that shows it, cut down to what is needed, as --graph takes it. The exit status is then 1.
"""

import argparse
import importlib
import json
import math
import os
import re
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from copy import deepcopy
from pathlib import Path
from types import ModuleType
from typing import Any

import hypothesis
import torch
from hypothesis import HealthCheck, Phase, settings
from torch import Tensor

from magicbokeh_ops.weights import checkpoint
from tests.fuzz_graphs import build, graphs
from tests.support.layouts import memory
from tests.support.small_models import nano_like

GOLDEN = Path(__file__).parent / "parity" / "golden"
EPSILON = 1e-3  # beyond the range of a picture


def load_nodes() -> Any:
    """The pack's nodes, in a real ComfyUI on the CPU if COMFYUI_PATH says where one is."""
    path = os.environ.get("COMFYUI_PATH")
    if path is None:
        from tests.support import stand_in_host

        return stand_in_host.nodes
    sys.path.insert(0, path)
    importlib.import_module("comfy.cli_args").args.cpu = True
    importlib.import_module("folder_paths").set_temp_directory(tempfile.mkdtemp(prefix="fuzz_nodes_"))
    package = sys.modules["pack"] = ModuleType("pack")
    package.__path__ = [str(Path(__file__).parents[1])]
    return importlib.import_module("pack.nodes")


class Bench:
    """The nodes, and small models for them."""

    def __init__(self) -> None:
        self.nodes = load_nodes()
        self.ran, self.refused = 0, 0  # steps, graphs
        base, adapter = checkpoint.read_base(GOLDEN / "sd"), checkpoint.read_adapter(GOLDEN / "lora.pkl")
        weights = {"nano": nano_like(), "tiny": checkpoint.merge(base, adapter)}
        load = self.nodes.bokeh_model
        self.models = {name: load.load_model(one) for name, one in weights.items()}
        self.vaes = {one.config.prediction: load.load_vae(one.vae) for one in weights.values()}
        self.depth_model = self.nodes.depth.load_depth_model(GOLDEN / "depth" / "DAdepth_tiny.pth")

    def trial(self, graph: list[dict[str, Any]]) -> tuple[int, str] | None:
        """The step at which something is wrong, and what. A step that refuses its inputs as it should ends the graph."""
        results: list[tuple] = []
        for number, step in enumerate(graph):
            node = getattr(self.nodes, step["node"])
            inputs = {name: self.resolve(given, results) for name, given in step["inputs"].items()}
            if step["node"] == "Sampler":
                inputs["vae"] = self.vaes[inputs["model"].config.prediction]
            elif step["node"] == "FindDisparity":
                inputs["depth_model"] = self.depth_model
            given = [value for value in inputs.values() if isinstance(value, Tensor)]
            before = [memory(value).clone() for value in given]
            try:
                with torch.inference_mode():
                    results.append(node.execute(**inputs, **step["widgets"]).args)
            except ValueError as error:
                # What comes with the model, and with a geometry, has no socket of its own.
                names = [*(one.id for one in node.define_schema().inputs), "focus_mask", "sky"]
                wrong = flaw_of_message(str(error), names)
                self.refused += wrong is None
                return (number, f"ValueError: {error}\n    {wrong}") if wrong else None
            except Exception as error:  # whatever it is, it is what this looks for
                return number, f"{type(error).__name__}: {error}"
            if not all(same_bytes(memory(value), values) for value, values in zip(given, before)):
                return number, "an input was written to"
            wrong = flaw_of_result(step["node"], {**inputs, **step["widgets"]}, results[-1])
            if wrong:
                return number, wrong
            self.ran += 1
        return None

    def resolve(self, given: Any, results: list[tuple]) -> Any:
        if isinstance(given, str):
            return self.models[given]
        if isinstance(given, dict) and "shape" in given:
            return build(given)
        if isinstance(given, dict) and "depth" in given:
            return {name: build(spec) for name, spec in given.items()}
        if isinstance(given, list) and len(given) == 2 and all(isinstance(n, int) for n in given):
            return results[given[0]][given[1]]
        return given  # boxes


def same_bytes(a: Tensor, b: Tensor) -> bool:
    return torch.equal(a.view(torch.uint8), b.view(torch.uint8))


def flaw_of_message(text: str, names: list[str]) -> str | None:
    """What is wrong with the text of an error, if anything. names: of the node's inputs."""
    if "\n" in text or not text.endswith(".") or re.search(r"\. [A-Z]", text) or len(text) > 300:
        return "is not one sentence"
    if not any(re.search(rf"\b{re.escape(name.replace('_', ' '))}", text.replace("_", " ")) for name in names):
        return "names no input"
    return None


def flaw_of_result(node: str, inputs: dict[str, Any], outputs: tuple) -> str | None:
    """What is wrong with the outputs of a node, if anything."""
    if node == "MaskedAttention":
        outputs = (outputs[0].focus_mask[:, 0],)
    if node == "Sampler":
        outputs = (outputs[0], outputs[1]["samples"])
    if node == "Camera":
        outputs = tuple(value for value in outputs if not isinstance(value, str))
    if node == "FocusTrack":
        outputs = outputs[:3]
    for value in outputs:
        if not torch.as_tensor(value).isfinite().all():
            return "an output is not finite"
    empty = any(isinstance(value, Tensor) and len(value) == 0 for value in inputs.values())
    for value, (shape, low, high) in zip(outputs, expected(node, inputs)):
        if not isinstance(value, Tensor) or (empty and len(value) == 0):
            continue
        if shape is not None and list(value.shape) != shape:
            return f"an output has shape {list(value.shape)}, not {shape}"
        if not low - EPSILON <= float(value.amin()) <= float(value.amax()) <= high + EPSILON:
            return f"an output goes from {float(value.amin()):.4g} to {float(value.amax()):.4g}, not {low:.4g} to {high:.4g}"
    return None


def expected(node: str, inputs: dict[str, Any]) -> Iterator[tuple[list[int] | None, float, float]]:
    """Shape and range of each output that is a tensor; no shape where any will do."""
    any_range = -math.inf, math.inf
    photo = inputs.get("image")
    disparity = inputs.get("disparity", inputs.get("depth", inputs.get("defocus", inputs.get("focus_mask"))))
    if isinstance(disparity, dict):
        disparity = disparity["depth"]
    elif "depth" in inputs and disparity.ndim == 3 and disparity.shape[-1] in (3, 4) and min(disparity.shape[:2]) > 4:
        disparity = disparity[None]  # a picture without its batch
    if disparity is not None and disparity.ndim == 4 and disparity.shape[1] == 1:
        if "depth" not in inputs or disparity.shape[-1] not in (1, 3, 4):
            disparity = disparity[:, 0]  # a mask with an axis of channels
    frames, size = 1, []
    for value in (disparity, photo):  # the photo says the size
        if value is not None:
            first = 0 if value.ndim == 2 else 1
            frames, size = max(frames, len(value) if first else 1), list(value.shape[first : first + 2])
    if node in ("DisparityFrom", "FindDisparity"):
        yield [frames, *size], 0, 1
    elif node == "SteadyDisparity":  # as large as it was
        yield [frames, *disparity.shape[-2:]], 0, 1
    elif node in ("DisparityTouchUp", "MatteFromDisparity"):  # one picture may have several masks
        mask = inputs.get("mask")
        yield [max(frames, 1 if mask is None or mask.ndim == 2 else len(mask)), *size], 0, 1
    elif node == "DisparityByHand":
        yield [1, *size], 0, 1
    elif node == "Camera":  # as many frames as there are of depth
        yield [len(disparity) if disparity.ndim > 2 else 1, *size], 0, 1
    elif node == "DefocusMap":
        k, focus = inputs["k"], inputs["focus"]
        # A tilted plane of focus goes beyond the disparities in the picture, through three points by any amount.
        beyond = math.inf if inputs["focus_mode"] == "three points" else abs(inputs["tilt"])
        yield [frames, *size], 0, k / 32 * (max(1, abs(focus), abs(1 - focus)) + beyond)
        yield None, *any_range
        yield [frames, *size, 3], *light(photo)
    elif node == "FocusTrack":
        yield None, *any_range
        yield None, *any_range
        yield None, 0, 1
    elif node == "FocusMask":
        yield [frames, *size], 0, 1
    elif node in ("LensBlur", "Sweep"):
        if node == "Sweep" and len(photo) == 1:
            frames = inputs["frames"]
        low, high = light(photo)
        yield [frames, *size, max(photo.shape[-1], 3)], low, high * 2 ** inputs["highlight_boost"]
    elif node == "Sampler":
        yield [frames, *(round(n * inputs["upscale"]) for n in size), max(photo.shape[-1], 3)], 0, 1
    elif node == "MaskedAttention":
        yield [frames, *size], *light(inputs["focus_mask"])


def light(photo: Tensor | None) -> tuple[float, float]:
    """What a picture made of this one may hold: 0 to 1, and what the photo has beyond."""
    if photo is None or not photo.numel():
        return 0, 1
    scale = 1 if photo.is_floating_point() else 255
    return min(0, float(photo.amin()) / scale), max(1, float(photo.amax()) / scale)


def signature(graph: list[dict[str, Any]], found: tuple[int, str]) -> str:
    """What makes failures the same: the node, and the text without its numbers."""
    number, text = found
    return f"{graph[number]['node']}: {re.sub(r'-?[0-9.]+(e[-+]?[0-9]+)?', '#', text)}"


def simpler(graph: list[dict[str, Any]], nodes: Any) -> Iterator[list[dict[str, Any]]]:
    """Graphs with one thing less to look at."""
    for i in range(len(graph)):
        links = [value for step in graph for value in step["inputs"].values() if isinstance(value, list)]
        if not any(value[0] == i for value in links if value):
            rest = deepcopy(graph[:i] + graph[i + 1 :])
            for value in (value for step in rest for value in step["inputs"].values() if isinstance(value, list)):
                if len(value) == 2 and isinstance(value[0], int):
                    value[0] -= value[0] > i
            yield rest
    for i, step in enumerate(graph):
        for one in getattr(nodes, step["node"]).define_schema().inputs:
            usual = getattr(one, "default", None)
            if one.id in step["widgets"] and usual is not None and step["widgets"][one.id] != usual:
                changed = deepcopy(graph)
                changed[i]["widgets"][one.id] = usual
                yield changed
            if one.optional and one.id in step["inputs"]:
                changed = deepcopy(graph)
                del changed[i]["inputs"][one.id]
                yield changed
        for name, spec in step["inputs"].items():
            if isinstance(spec, dict) and "shape" in spec:
                plain = {"dtype": "float32", "layout": "plain", "hole": None, "range": [0.0, 1.0], "fill": "ramp", "seed": 0}
                for key, value in plain.items():
                    if spec[key] != value:
                        changed = deepcopy(graph)
                        changed[i]["inputs"][name][key] = value
                        yield changed


def reduce(graph: list[dict[str, Any]], found: tuple[int, str], bench: Bench) -> list[dict[str, Any]]:
    """A smaller graph that fails in the same way."""
    wanted = signature(graph, found)
    graph = graph[: found[0] + 1]
    for smaller in simpler(graph, bench.nodes):
        again = bench.trial(smaller) if smaller else None
        if again is not None and signature(smaller, again) == wanted:
            return reduce(smaller, again, bench)
    return graph


def explore(bench: Bench, count: int, seed: int, most_pixels: int, say: Callable[[str], None]) -> int:
    """Try graphs; the number of those that fail. Of failures that are alike only the first is told."""
    told: dict[str, int] = {}
    start, tried = time.monotonic(), 0

    @hypothesis.seed(seed)
    @settings(
        max_examples=count, database=None, deadline=None, phases=[Phase.generate], suppress_health_check=list(HealthCheck)
    )
    @hypothesis.given(graphs(bench.nodes, most_pixels))
    def one(graph: list[dict[str, Any]]) -> None:
        nonlocal tried
        began = time.monotonic()
        found = bench.trial(graph)
        tried += 1
        if time.monotonic() - began > 60:
            say(f"took {time.monotonic() - began:.0f} s: {json.dumps(graph)}")
        if found is not None:
            name = signature(graph, found)
            told[name] = told.get(name, 0) + 1
            if told[name] == 1:
                smaller = reduce(graph, found, bench)
                number, text = bench.trial(smaller) or found
                say(f"seed {seed}, graph {tried}, {smaller[number]['node']}: {text}\n    --graph '{json.dumps(smaller)}'")
        if tried % 100 == 0:
            say(
                f"seed {seed}: {tried} graphs, {bench.ran} nodes ran, {bench.refused} refused, "
                f"{sum(told.values())} failures, {time.monotonic() - start:.0f} s"
            )

    one()
    for name, times in told.items():
        say(f"{times} times {name}")
    return sum(told.values())


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=2000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--most-pixels", type=int, default=600_000, help="of all frames of a picture")
    parser.add_argument("--graph", type=json.loads, help="run this one instead")
    given = parser.parse_args()
    bench = Bench()
    if given.graph is not None:
        found = bench.trial(given.graph)
        print(found or "as it should be")
        return int(found is not None)
    failures = explore(bench, given.count, given.seed, given.most_pixels, lambda text: print(text, flush=True))
    print(f"seed {given.seed}: {given.count} graphs, {failures} failures")
    return int(failures > 0)


if __name__ == "__main__":
    sys.exit(main())
