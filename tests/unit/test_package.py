"""What holds for the package as a whole."""

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

PACK = Path(__file__).parents[2]


@pytest.mark.parametrize("path", sorted((PACK / "magicbokeh_ops").rglob("*.py")), ids=lambda p: p.stem)
def test_the_library_knows_no_host_and_no_absolute_self(path):
    """ComfyUI loads the pack under a name of its own, so an absolute import would find another copy or none."""
    for node in ast.walk(ast.parse(path.read_text())):
        names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
        if isinstance(node, ast.ImportFrom) and node.level == 0:
            names = [node.module]
        for name in names:
            assert name.split(".")[0] not in ("comfy", "comfy_api", "folder_paths", "nodes", "magicbokeh_ops"), (
                f"{path}: {name}"
            )


def load_pack(tmp_path, version: str | None) -> subprocess.CompletedProcess:
    """Import the pack the way ComfyUI does, in a Python whose ComfyUI has this version."""
    if version is not None:
        (tmp_path / "comfyui_version.py").write_text(f'__version__ = "{version}"\n')
    code = f"""
import importlib.util, sys
sys.path.insert(0, {str(tmp_path)!r})
spec = importlib.util.spec_from_file_location("pack", {str(PACK / "__init__.py")!r})
module = importlib.util.module_from_spec(spec)
spec.loader.exec_module(module)
print(hasattr(module, "comfy_entrypoint"), getattr(module, "NODE_CLASS_MAPPINGS", None))
"""
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)


@pytest.mark.parametrize("version", ["0.3.63", "0.2.7", None])
def test_an_old_host_gets_one_line_and_no_nodes(tmp_path, version):
    done = load_pack(tmp_path, version)
    assert done.stdout.split() == ["False", "{}"]
    assert done.stderr.count("\n") == 1 and "needs ComfyUI 0.3.64 or newer" in done.stderr


@pytest.mark.parametrize("version", ["0.3.64", "0.4.0", "0.33.0", "1.0"])
def test_a_new_host_gets_the_nodes(tmp_path, version):
    done = load_pack(tmp_path, version)
    assert done.stdout.split() == ["True", "None"] and not done.stderr


def test_importing_the_library_adds_little_to_torch():
    code = """
import time, torch, numpy, PIL.Image
start = time.perf_counter()
import magicbokeh_ops.lens, magicbokeh_ops.overlay, magicbokeh_ops.demo, magicbokeh_ops.sweep
print(time.perf_counter() - start)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=PACK)
    assert float(done.stdout) < 0.5


@pytest.mark.parametrize("key, fits", [("Icon", lambda w, h: w == h <= 400), ("Banner", lambda w, h: w * 9 == h * 21)])
def test_the_registry_finds_pictures_that_it_takes(key, fits):
    text = (PACK / "pyproject.toml").read_text()
    repository = re.search(r'^Repository = "https://github.com/(.+)"', text, re.MULTILINE)[1]
    url = re.search(rf'^{key} = "(.+)"', text, re.MULTILINE)[1]
    with Image.open(PACK / url.removeprefix(f"https://raw.githubusercontent.com/{repository}/main/")) as picture:
        assert fits(*picture.size)
