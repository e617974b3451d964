"""What holds for the package as a whole."""

import ast
import re
import shutil
import subprocess
import sys
from graphlib import TopologicalSorter
from pathlib import Path

import pytest
from PIL import Image

PACK = Path(__file__).parents[2]


@pytest.mark.parametrize("path", sorted((PACK / "magicbokeh_ops").rglob("*.py")), ids=lambda p: p.stem)
def test_the_library_knows_no_host_and_no_absolute_self(path):
    """ComfyUI loads the pack under a name of its own, so an absolute import would find another copy or none."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
        if isinstance(node, ast.ImportFrom) and node.level == 0:
            names = [node.module]
        for name in names:
            assert name.split(".")[0] not in ("comfy", "comfy_api", "folder_paths", "nodes", "magicbokeh_ops"), (
                f"{path}: {name}"
            )


def load_pack(tmp_path, version: str | None, folder: str = "magicbokeh", loaded: str = "") -> subprocess.CompletedProcess:
    """Import the pack the way ComfyUI does, out of a folder of this name, in a Python whose ComfyUI has this version.

    loaded: folder out of which its nodes are loaded already.
    """
    if version is not None:
        (tmp_path / "comfyui_version.py").write_text(f'__version__ = "{version}"\n', encoding="utf-8")
    (tmp_path / folder).mkdir(parents=True, exist_ok=True)
    shutil.copy(PACK / "__init__.py", tmp_path / folder)
    (tmp_path / loaded / "nodes").mkdir(parents=True, exist_ok=True)
    (tmp_path / loaded / "nodes" / "demo.py").write_text("class DemoPhoto: pass\n", encoding="utf-8")
    code = f"""
import importlib.util, sys, types
def load(name, path):
    spec = importlib.util.spec_from_file_location(name, path)
    module = sys.modules[name] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
sys.path.insert(0, {str(tmp_path)!r})
known = {{"MagicBokehDemoPhoto": load("demo", {str(tmp_path / loaded / "nodes" / "demo.py")!r}).DemoPhoto}} if {loaded!r} else {{}}
sys.modules["nodes"] = types.SimpleNamespace(NODE_CLASS_MAPPINGS=known)
sys.modules["server"] = types.SimpleNamespace(PromptServer=types.SimpleNamespace(instance=None))
module = load("pack", {str(tmp_path / folder / "__init__.py")!r})
print(hasattr(module, "comfy_entrypoint"), getattr(module, "NODE_CLASS_MAPPINGS", None), getattr(module, "WEB_DIRECTORY", None))
"""
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)


REFUSED, TAKEN = ["False", "{}", "None"], ["True", "None", "./web"]


@pytest.mark.parametrize(
    "version", ["0.3.63", "0.2.7", "0.3.64rc1", "0.3.64.dev0", "v0.3.9", "0.2.7-3-gdeadbee", "0.3.63 (fork)", None]
)
def test_an_old_host_gets_one_line_and_no_nodes(tmp_path, version):
    done = load_pack(tmp_path, version)
    assert done.stdout.split() == REFUSED
    assert done.stderr.count("\n") == 1 and "needs ComfyUI 0.3.64 or newer" in done.stderr


@pytest.mark.parametrize(
    "version",
    [
        "0.3.64",
        "0.4.0",
        "0.33.0",
        "1.0",
        "0.3.70rc1",
        "0.4rc1",
        "0.3.65-dev",
        "v0.3.70",
        "0.3.70+local",
        "0.3.70-12-gabcdef",
        "nightly",
    ],
)
def test_a_new_host_gets_the_nodes(tmp_path, version):
    done = load_pack(tmp_path, version)
    assert done.stdout.split() == TAKEN and not done.stderr


@pytest.mark.parametrize("name", ["ComfyUI-MagicBokeh", "magicbokeh@nightly", "magic_bokeh.2", "magicbokeh+(1)"])
def test_a_folder_of_plain_letters_is_served(tmp_path, name):
    assert not load_pack(tmp_path, "0.33.0", name).stderr


@pytest.mark.parametrize("name", ["magic bokeh", "Bokéh", "散景", "magic[1]", "bokeh#1", "bokeh%20", "{bokeh}", "a^b"])
def test_a_folder_that_is_not_served_is_named(tmp_path, name):
    done = load_pack(tmp_path, "0.33.0", name)
    assert done.stdout.split() == TAKEN
    assert done.stderr.count("\n") == 1 and repr(name) in done.stderr and "rename the folder" in done.stderr


def test_a_second_copy_gets_one_line_and_no_nodes(tmp_path):
    done = load_pack(tmp_path, "0.33.0", "second copy", loaded="first")
    assert done.stdout.split() == REFUSED
    assert done.stderr.count("\n") == 1 and all(str(tmp_path / name) in done.stderr for name in ("first", "second copy"))


def test_the_same_copy_can_be_loaded_anew(tmp_path):
    done = load_pack(tmp_path, "0.33.0", "magicbokeh", loaded="magicbokeh")
    assert done.stdout.split() == TAKEN and not done.stderr


def packages_loaded_by(names: str) -> set[str]:
    """What these modules load beside what ComfyUI has loaded before."""
    code = f"""
import torch, numpy, PIL.Image, PIL.ImageDraw, PIL.ImageFont, sys
before = set(sys.modules)
import {names}
print(*{{name.split(".")[0] for name in set(sys.modules) - before}} - sys.stdlib_module_names)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=PACK)
    return set(done.stdout.split())


@pytest.mark.slow
def test_importing_the_library_adds_little_to_torch():
    """What ComfyUI would wait for at its start."""
    parts = ("lens", "overlay", "demo", "sweep", "sampler")
    assert packages_loaded_by(", ".join(f"magicbokeh_ops.{part}" for part in parts)) == {"magicbokeh_ops"}


@pytest.mark.slow
def test_importing_the_nodes_loads_nothing_large():
    """SciPy, transformers, diffusers and the like take seconds, and are needed by few runs."""
    stand_ins = {"comfy", "comfy_api", "folder_paths", "latent_preview", "nodes", "tests"}
    assert packages_loaded_by("tests.support.stand_in_host") - stand_ins <= {"pack", "PIL", "safetensors"}


@pytest.mark.parametrize("key, fits", [("Icon", lambda w, h: w == h <= 400), ("Banner", lambda w, h: w * 9 == h * 21)])
def test_the_registry_finds_pictures_that_it_takes(key, fits):
    text = (PACK / "pyproject.toml").read_text(encoding="utf-8")
    repository = re.search(r'^Repository = "https://github.com/(.+)"', text, re.MULTILINE)[1]
    url = re.search(rf'^{key} = "(.+)"', text, re.MULTILINE)[1]
    with Image.open(PACK / url.removeprefix(f"https://raw.githubusercontent.com/{repository}/main/")) as picture:
        assert fits(*picture.size)


def test_text_files_are_utf_8():
    """Windows takes another encoding for what does not name one."""
    silent = []
    for path in PACK.rglob("*.py"):
        if any(part.startswith(".") for part in path.relative_to(PACK).parts):
            continue
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and not any(given.arg == "encoding" for given in node.keywords):
                name = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
                modes = [given.value for given in node.args if isinstance(given, ast.Constant)]
                if name in ("read_text", "write_text") or (name == "open" and {"r", "w", "a", "x"} & set(modes)):
                    silent.append(f"{path}, line {node.lineno}")
    assert not silent


def imports(folder: Path) -> dict[str, set[str]]:
    """What each module or package right in a folder imports of the others there."""
    drawn: dict[str, set[str]] = {}
    for path in folder.rglob("*.py"):
        name = path.relative_to(folder).with_suffix("").parts
        places = drawn.setdefault(name[0], set())
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ImportFrom) and node.level == len(name):  # from the folder itself
                places |= {node.module.split(".")[0]} if node.module else {alias.name for alias in node.names}
    return {name: places - {name} for name, places in drawn.items()}


@pytest.mark.parametrize(
    "folder", ["magicbokeh_ops", "magicbokeh_ops/lens", "magicbokeh_ops/model", "magicbokeh_ops/weights", "nodes"]
)
def test_imports_go_down_only(folder):
    drawn = imports(PACK / folder)
    assert any(drawn.values())
    list(TopologicalSorter(drawn).static_order())  # raises CycleError
