"""The pack as ComfyUI sees it: it loads quietly, its interface does not change, its workflows are offered and run."""

import io
import json
import os
import re
import urllib.error
from pathlib import Path

import av
import pytest
from PIL import Image

from tests.support.video_files import draw, write_clip

HERE = Path(__file__).parent
PACK = HERE.parents[1]
LOADERS = ("MagicBokehLoader", "MagicBokehDepthLoader", "MagicBokehPortraitPhoto")
WORKFLOWS = sorted(path.stem for path in (PACK / "workflows").glob("*.json"))


def prompt(name: str) -> dict:
    return json.loads((HERE / "workflows" / f"{name}.api.json").read_text(encoding="utf-8"))


def small(asked: dict) -> dict:
    """The same with stand-ins for networks that ComfyUI only loads at full size: Stable Diffusion itself and what removes backgrounds
    or follows subjects."""
    loaders = {key for key, node in asked.items() if node["class_type"] == "CheckpointLoaderSimple"}
    vae = next((key for key, node in asked.items() if node["class_type"] == "MagicBokehLoader"), "vae")
    if loaders and vae not in asked:
        files = {"checkpoint": "lora.pkl", "base": "v2-1_512-ema-pruned.safetensors"}
        asked[vae] = {"class_type": "MagicBokehLoader", "inputs": files}
    geometry = any(node["class_type"] == "MoGeInference" for node in asked.values())
    for key, node in asked.items():
        if key in loaders:
            node.update(class_type="TestStableDiffusion", inputs={"vae": [vae, 1]})
        elif node["class_type"] == "CLIPTextEncode":
            node.update(class_type="TestConditioning", inputs={})
        elif node["class_type"] == "KSampler":
            node["inputs"]["steps"] = 2
        elif node["class_type"] == "MoGeInference":
            node.update(class_type="TestGeometry", inputs={"far_is": "sky"})
        elif node["class_type"] == "RemoveBackground":
            photo = node["inputs"]["image"][0]
            node.update(class_type="MagicBokehMatteFromDisparity", inputs={"image": [photo, 0], "disparity": [photo, 1]})
        elif node["class_type"] == "SAM3_TrackToMask":
            node.update(class_type="TestMask", inputs={"kind": "left half"})
        elif node["class_type"] == "LoadImage" and geometry:  # of the size of TestGeometry
            node.update(class_type="TestImage", inputs={"kind": "photo"})
    return {
        key: node for key, node in asked.items() if node["class_type"] not in ("LoadMoGeModel", "LoadBackgroundRemovalModel")
    }


# Nodes of ComfyUI's own that a template needs and 0.3.64 has not.
NOT_YET = {
    "lens_blur_core": {"LoadMoGeModel", "MoGeInference"},
    "hair": {"LoadBackgroundRemovalModel", "RemoveBackground"},
    "video_portrait": {"LoadMoGeModel", "MoGeInference", "SAM3_VideoTrack", "SAM3_TrackToMask"},
}


def is_too_new(host, name: str) -> bool:
    """Whether a template needs a newer ComfyUI. Then it lacks just what it is known to lack, and nothing of ours."""
    missing = {node["class_type"] for node in prompt(name).values()} - host.get("/object_info").keys()
    assert not missing or (host.version == "0.3.64" and missing == NOT_YET[name])
    return bool(missing)


def test_interface_is_as_recorded(host):
    """Node ids, inputs and their order never change by accident; MAGICBOKEH_RECORD=1 records a wanted change."""
    found = {name: info for name, info in host.get("/object_info").items() if name.startswith("MagicBokeh")}
    for loader in LOADERS:
        for spec in found[loader]["input"]["required"].values():
            spec[1].pop("options", None)  # the files that are there
    recorded = HERE / "object_info" / f"{host.version}.json"
    if "MAGICBOKEH_RECORD" in os.environ:
        recorded.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    if not recorded.exists():
        pytest.skip(f"no interface recorded for ComfyUI {host.version}")
    assert found == json.loads(recorded.read_text(encoding="utf-8"))


def test_asking_for_choices_again_lists_no_folder(host):
    """On a slow disk that takes seconds, and ComfyUI asks for all choices of all nodes again and again."""
    for name in LOADERS:
        host.get(f"/object_info/{name}")
    host.get("/test/listed")
    for name in 2 * LOADERS:
        host.get(f"/object_info/{name}")
    assert not [folder for folder in host.get("/test/listed") if str(host.base / "models") in folder]


def test_every_widget_has_a_tooltip(host):
    for name, info in host.get("/object_info").items():
        if name.startswith("MagicBokeh"):
            assert info["description"], name
            for part in ("required", "optional"):
                for key, spec in info["input"].get(part, {}).items():
                    assert spec[1].get("tooltip"), f"{name}.{key}"


def test_templates_are_offered_with_a_thumbnail(host):
    assert sorted(host.get("/workflow_templates")["magicbokeh"]) == WORKFLOWS
    for name in WORKFLOWS:
        host.get(f"/api/workflow_templates/magicbokeh/{name}.json")
        with Image.open(PACK / "workflows" / f"{name}.jpg") as thumbnail:
            assert min(thumbnail.size) >= 256


@pytest.mark.parametrize("name", WORKFLOWS)
def test_template_equals_its_api_twin(host, name):
    """Same nodes, links and widget values, read by this host's own order of inputs."""
    if is_too_new(host, name):
        return
    workflow = json.loads((PACK / "workflows" / f"{name}.json").read_text(encoding="utf-8"))
    known = host.get("/object_info")
    sources = {link[0]: [str(link[1]), link[2]] for link in workflow["links"]}
    found = {}
    for node in workflow["nodes"]:
        if node["type"] == "MarkdownNote":
            continue
        info = known[node["type"]]
        linked = {entry["name"]: sources[entry["link"]] for entry in node["inputs"] if entry["link"] is not None}
        widgets = [entry["name"] for entry in node["inputs"] if "widget" in entry]
        order = [key for part in ("required", "optional") for key in info["input_order"].get(part, [])]
        assert [key for key in order if key in widgets] == widgets
        values = iter(node["widgets_values"])
        inputs = {}
        for key in widgets:
            inputs[key] = next(values)
            spec = info["input"]["required"].get(key) or info["input"]["optional"][key]
            if len(spec) > 1 and spec[1].get("control_after_generate"):
                assert next(values) == "fixed"
        assert not list(values)
        inputs |= linked
        found[str(node["id"])] = {"class_type": node["type"], "inputs": inputs}
    assert found == prompt(name)


def test_blueprint_is_offered(host):
    if host.version == "0.3.64":  # it has no blueprints
        with pytest.raises(urllib.error.HTTPError):
            host.get("/global_subgraphs")
        return
    offered = [entry["name"] for entry in host.get("/global_subgraphs").values() if "magicbokeh" in entry["info"]["node_pack"]]
    assert offered == [path.stem for path in (PACK / "subgraphs").iterdir()]


def put_clip(host) -> None:
    """What the template for videos loads: five frames of noise that stands still, of the size of TestGeometry, with sound."""
    planes = [draw(0, size, 8) for size in ((48, 64), (24, 32), (24, 32))]
    write_clip(host.base / "input" / "clip.mp4", lambda _index: planes, 5, "libx264", "yuv420p", sound="aac")


@pytest.mark.parametrize("name", WORKFLOWS)
def test_workflow_runs(host, name):
    if is_too_new(host, name):
        return
    put_clip(host)
    done = host.run(small(prompt(name)))
    assert done["status"]["status_str"] == "success", done["status"]
    images = [image for output in done["outputs"].values() for image in output.get("images", [])]
    assert images
    for image in images:
        file = io.BytesIO(host.image(image))
        if image["filename"].endswith(".mp4"):
            with av.open(file) as video:
                picture = next(video.decode(video=0)).to_image()
        else:
            picture = Image.open(file)
        assert picture.getextrema()[0][0] < picture.getextrema()[0][1]


@pytest.mark.parametrize("follow", ["mask", "point"])
def test_video_portrait_keeps_frames_rate_and_sound(host, follow):
    """With SAM, and as its note says without it."""
    if is_too_new(host, "video_portrait"):
        return
    put_clip(host)
    asked = small(prompt("video_portrait"))
    track = next(node["inputs"] for node in asked.values() if node["class_type"] == "MagicBokehFocusTrack")
    track["follow"] = follow
    if follow == "point":
        del track["subject_mask"]
    done = host.run(asked)
    assert done["status"]["status_str"] == "success", done["status"]
    saved = [image for output in done["outputs"].values() if output.get("animated") for image in output["images"]]
    with av.open(io.BytesIO(host.image(saved[0]))) as video:
        assert video.streams.video[0].average_rate == 24
        assert len(list(video.decode(video=0))) == 5
    with av.open(io.BytesIO(host.image(saved[0]))) as video:
        sound = sum(frame.samples / frame.rate for frame in video.decode(audio=0))
        assert sound == pytest.approx(5 / 24, abs=0.05)


@pytest.mark.parametrize("name", ["lens_blur", "magicbokeh_portrait"])
def test_second_run_is_cached(host, name):
    host.run(prompt(name))
    status = host.run(prompt(name))["status"]
    cached = next(body["nodes"] for kind, body in status["messages"] if kind == "execution_cached")
    assert set(cached) == set(prompt(name))


@pytest.mark.parametrize("name", ["lens_blur", "magicbokeh_portrait"])
def test_log_is_quiet(host, name):
    """Nothing of ours warns, neither at the start nor in a run that nothing is cached of."""
    before = len(host.log)
    changed = prompt(name)
    for node in changed.values():
        if "focus_x" in node["inputs"]:
            node["inputs"]["focus_x"] = 0.75
    host.run(changed)
    lines = (host.start_log + host.log[before:]).splitlines()
    assert not [line for line in lines if "warn" in line.lower()]
    assert not [line for line in lines if "magicbokeh" in line.lower() and re.search("error|fail|cannot", line, re.I)]
