"""Real ComfyUI servers with the pack in them, one for every installation found.

COMFYUI_PATH (and COMFYUI_PYTHON) name one; otherwise ~/.cache/magicbokeh/ComfyUI-*/ with a venv/ inside are taken.
They run on the CPU. COMFYUI_FLAGS takes the place of that: empty on a machine with a card.
"""

import json
import os
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.parse
import urllib.request
import uuid
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
import torch
from diffusers import AutoencoderTiny
from PIL import Image
from safetensors.torch import save_file
from xdist.scheduler import LoadScopeScheduling

from magicbokeh_ops import depth
from magicbokeh_ops.demo import ASSETS
from magicbokeh_ops.weights import checkpoint
from tests.support.ldm_names import single_file_tensors
from tests.support.small_models import esrgan, nano_like

GOLDEN = Path(__file__).parents[1] / "parity" / "golden"
DEPTH = GOLDEN / "depth" / "DAdepth_tiny.pth"
SMALL_DEPTH = "depth_anything_v2_vits_fp32"
PACK = Path(__file__).resolve().parents[2]


def find_hosts() -> list[tuple[Path, str]]:
    if "COMFYUI_PATH" in os.environ:
        return [(Path(os.environ["COMFYUI_PATH"]), os.environ.get("COMFYUI_PYTHON", sys.executable))]
    found = []
    for main in sorted(Path.home().glob(".cache/magicbokeh/ComfyUI-*/main.py")):
        pythons = [main.parent / "venv" / place for place in ("bin/python", "Scripts/python.exe")]
        found += [(main.parent, str(python)) for python in pythons if python.exists()]
    return found


HOSTS = find_hosts()


collect_ignore_glob = [] if HOSTS else ["test_*.py"]


def pytest_sessionfinish(session, exitstatus):
    """Without a ComfyUI there is nothing to run, which is no failure."""
    if not HOSTS and exitstatus == pytest.ExitCode.NO_TESTS_COLLECTED:
        session.exitstatus = pytest.ExitCode.OK


def pytest_terminal_summary(terminalreporter):
    if not HOSTS:
        terminalreporter.write_line("tests/host skipped: no ComfyUI found, set COMFYUI_PATH")


class ByHost(LoadScopeScheduling):
    """With several processes, one runs all tests of one ComfyUI."""

    def _split_scope(self, nodeid: str) -> str:
        return next((path.name for path, _ in HOSTS if path.name in nodeid), nodeid)


def pytest_xdist_make_scheduler(config, log):
    return ByHost(config, log)


def pytest_generate_tests(metafunc):
    if "host" in metafunc.fixturenames:
        names = [path.name for path, _ in HOSTS]
        metafunc.parametrize("host", HOSTS, ids=names, indirect=True, scope="session")


def put_models(folder: Path) -> None:
    """Small random weights in the released formats, under the names that people have them by."""
    for place in ("magicbokeh", "checkpoints", "diffusers", "depthanything", "vae_approx", "upscale_models"):
        (folder / place).mkdir()
    (folder / "magicbokeh" / "lora.pkl").symlink_to(GOLDEN / "lora.pkl")
    (folder / "diffusers" / "stable-diffusion-2-1-base").symlink_to(GOLDEN / "sd", target_is_directory=True)
    save_file(single_file_tensors(GOLDEN / "sd"), folder / "checkpoints" / "v2-1_512-ema-pruned.safetensors")
    weights = checkpoint.merge(checkpoint.read_base(GOLDEN / "sd"), checkpoint.read_adapter(GOLDEN / "lora.pkl"))
    checkpoint.save(weights, folder / "magicbokeh" / "merged.safetensors")
    (folder / "magicbokeh" / "broken.safetensors").write_bytes(b"not weights")
    checkpoint.save(nano_like(), folder / "magicbokeh" / "nano-like.safetensors")
    save_file(esrgan(), folder / "upscale_models" / "RealESRGAN_x4plus.safetensors")
    torch.manual_seed(2)  # of some others nearly nothing comes out
    tiny = AutoencoderTiny()
    tiny.save_pretrained(folder / "vae_approx" / "taesd")
    for half, first in (("encoder", 0), ("decoder", 1)):  # in the decoder's own file a layer without weights comes first
        named = (key.split(".", 2)[1:] + [value] for key, value in getattr(tiny, half).state_dict().items())
        tensors = {f"{first + int(index)}.{rest}": value for index, rest, value in named}
        save_file(tensors, folder / "vae_approx" / f"taesd_{half}.safetensors")
    tensors, config = depth.read_depth(DEPTH)
    depth.build(tensors, config, DEPTH.name).save_pretrained(folder / "depthanything" / "Depth-Anything-V2-Small-hf")
    save_file(
        {key: value.contiguous() for key, value in tensors.items()}, folder / "depthanything" / f"{SMALL_DEPTH}.safetensors"
    )
    for path in (folder / "magicbokeh" / "DAdepth", folder / "depthanything" / SMALL_DEPTH):
        path.with_suffix(".json").symlink_to(DEPTH.with_suffix(".json"))
    (folder / "magicbokeh" / "DAdepth.pth").symlink_to(DEPTH)


def link_pack(place: Path) -> None:
    place.symlink_to(PACK, target_is_directory=True)


class Host:
    """A running server. `install` puts the pack at the place it is given, `flags` go to ComfyUI, `fill` puts models into a folder."""

    def __init__(
        self,
        path: Path,
        python: str,
        base: Path,
        install: Callable[[Path], object] = link_pack,
        flags: Sequence[str] = (),
        fill: Callable[[Path], object] = put_models,
    ):
        for folder in ("custom_nodes", "models", "input", "output", "temp", "user"):
            (base / folder).mkdir()
        install(base / "custom_nodes" / "magicbokeh")
        (base / "custom_nodes" / "probe").symlink_to(Path(__file__).parent / "probe_pack", target_is_directory=True)
        fill(base / "models")
        with Image.open(ASSETS / "demo.jpg") as photo:
            photo.save(base / "input" / "example.png")  # what a new ComfyUI has there
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.url = f"http://127.0.0.1:{free.getsockname()[1]}"
        self.path, self.python, self.base, self.log_file = path, python, base, base / "log.txt"
        options = [
            *os.environ.get("COMFYUI_FLAGS", "--cpu").split(),
            *flags,
            "--port",
            self.url.rsplit(":", 1)[1],
            "--base-directory",
            base,
            "--disable-auto-launch",
        ]
        (base / "extra" / "bokeh").mkdir(parents=True)
        (base / "extra" / "bokeh" / "from yaml.safetensors").symlink_to(base / "models" / "magicbokeh" / "merged.safetensors")
        (base / "extra.yaml").write_text(f"elsewhere:\n  base_path: {base / 'extra'}\n  magicbokeh: bokeh\n", encoding="utf-8")
        options += ["--extra-model-paths-config", base / "extra.yaml"]
        options += ["--disable-api-nodes", "--database-url", "sqlite:///:memory:"]
        with self.log_file.open("w", encoding="utf-8") as log:
            self.process = subprocess.Popen([python, "main.py", *map(str, options)], cwd=path, stdout=log, stderr=log)
        for _ in range(240):
            if self.process.poll() is not None:
                break
            try:
                self.version = self.get("/system_stats")["system"]["comfyui_version"]
                self.start_log = self.log
                return
            except urllib.error.URLError:
                time.sleep(0.5)
        self.process.kill()
        raise RuntimeError(f"ComfyUI did not start:\n{self.log}")

    @property
    def log(self) -> str:
        return self.log_file.read_text(encoding="utf-8")

    def get(self, path: str):
        with urllib.request.urlopen(self.url + path, timeout=60) as answer:
            return json.load(answer)

    def post(self, path: str, body: dict):
        request = urllib.request.Request(self.url + path, json.dumps(body).encode(), {"Content-Type": "application/json"})
        with urllib.request.urlopen(request, timeout=60) as answer:
            text = answer.read()
            return json.loads(text) if text else None

    def queue(self, prompt: dict) -> str:
        return self.post("/prompt", {"prompt": prompt, "prompt_id": str(uuid.uuid4())})["prompt_id"]

    def result(self, prompt_id: str, seconds: float = 900) -> dict:
        """History entry of a finished prompt."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            history = self.get(f"/history/{prompt_id}")
            if prompt_id in history:
                return history[prompt_id]
            time.sleep(0.05)
        raise TimeoutError(f"prompt did not finish in {seconds} s:\n{self.log[-2000:]}")

    def found(self, prompt: dict) -> dict:
        """What the node "probe" of a prompt saw."""
        done = self.run(prompt)
        assert done["status"]["status_str"] == "success", done["status"]
        return json.loads(done["outputs"]["probe"]["found"][0])

    def run(self, prompt: dict) -> dict:
        return self.result(self.queue(prompt))

    def error(self, prompt: dict) -> str:
        """Message of the exception that a prompt ends with."""
        status = self.run(prompt)["status"]
        messages = [body["exception_message"] for kind, body in status["messages"] if kind == "execution_error"]
        assert messages, f"expected an error, got {status}"
        return messages[0].strip()

    def image(self, entry: dict) -> bytes:
        query = urllib.parse.urlencode({key: entry[key] for key in ("filename", "subfolder", "type")})
        with urllib.request.urlopen(f"{self.url}/view?{query}", timeout=60) as answer:
            return answer.read()


def node(kind: str, /, **inputs) -> dict:
    """A node of a prompt."""
    return {"class_type": kind, "inputs": inputs}


@pytest.fixture(scope="session")
def host(request, tmp_path_factory):
    server = Host(*request.param, tmp_path_factory.mktemp("comfyui"))
    yield server
    server.process.terminate()
    server.process.wait(30)
