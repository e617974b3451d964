"""A real Chromium in front of every ComfyUI found, in both of its renderers where it has two."""

import json
import shutil
from contextlib import contextmanager
from pathlib import Path

import pytest
from PIL import Image

from magicbokeh_ops.demo import ASSETS
from tests.host.conftest import HOSTS, Host, put_models

try:
    from playwright.sync_api import Page, sync_playwright
except ModuleNotFoundError:
    sync_playwright = None

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
MISSING = [name for name, there in (("ComfyUI", HOSTS), ("Playwright", sync_playwright), ("Chromium", CHROMIUM)) if not there]
collect_ignore_glob = ["test_*.py"] if MISSING else []
FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--disable-background-networking", "--disable-component-update"]
FIRST_WITH_NODES_2 = (0, 4)

BUILD = """() => {
  app.graph.clear();
  const make = (kind, x, y) => {
    const node = LiteGraph.createNode(kind);
    node.pos = [x, y];
    app.graph.add(node);
    return node;
  };
  const photo = make("LoadImage", 40, 120);
  const near = make("LoadImageMask", 40, 520);
  const focus = make("MagicBokehDefocusMap", 420, 80);
  const put = (node, name, value) => {
    const widget = node.widgets.find((widget) => widget.name === name);
    widget.value = value;
    widget.callback?.(value);
  };
  put(photo, "image", "photo.jpg");
  put(near, "image", "near.png");
  put(near, "channel", "red");
  near.connect(0, focus, focus.inputs.findIndex((input) => input.name === "disparity"));
  photo.connect(0, focus, focus.inputs.findIndex((input) => input.name === "image"));
  app.canvas.ds.scale = 1;
  app.canvas.ds.offset[0] = 60;
  app.canvas.ds.offset[1] = 20;
  app.canvas.setDirty(true, true);
}"""


def pytest_terminal_summary(terminalreporter):
    if MISSING:
        terminalreporter.write_line(f"tests/browser skipped: there is no {' and no '.join(MISSING)}")


def pytest_generate_tests(metafunc):
    if "place" in metafunc.fixturenames:
        places = []
        for path, python in HOSTS:
            version = tuple(int(part) for part in path.name.rpartition("-")[2].split("."))
            places += [(path, python, modern) for modern in ([False, True] if version >= FIRST_WITH_NODES_2 else [False])]
        names = [f"{path.name}-{'nodes2' if modern else 'classic'}" for path, _, modern in places]
        metafunc.parametrize("place", places, ids=names, indirect=True, scope="session")


@pytest.fixture(scope="session")
def browser():
    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        yield chromium
        chromium.close()


@pytest.fixture(scope="session")
def servers(tmp_path_factory):
    """Started when first asked for."""
    started: dict[tuple, Host] = {}

    def get(path, python, fill=put_models) -> Host:
        if (path, fill) not in started:
            started[path, fill] = Host(path, python, tmp_path_factory.mktemp("comfyui"), fill=fill)
        return started[path, fill]

    yield get
    for server in started.values():
        server.process.terminate()


@pytest.fixture(scope="session")
def place(request, servers) -> tuple[Host, bool]:
    path, python, modern = request.param
    return servers(path, python), modern


def no_models(folder: Path) -> None:
    """What a newcomer has."""


@pytest.fixture
def new_place(place, servers) -> tuple[Host, bool]:
    """The same ComfyUI without any model."""
    host, modern = place
    return servers(host.path, host.python, no_models), modern


class Canvas:
    """ComfyUI's page with an empty canvas."""

    def __init__(self, page: "Page", host: Host, modern: bool):
        self.page, self.host, self.modern = page, host, modern
        self.errors: list[str] = []
        # ComfyUI 0.3.64's page has an error of its own.
        page.on("pageerror", lambda error: self.errors.append(str(error)) if "magicbokeh" in (error.stack or "") else None)
        host.post("/settings", {"Comfy.VueNodes.Enabled": modern, "Comfy.TutorialCompleted": True})
        self.open()

    def open(self) -> None:
        self.page.goto(self.host.url)
        self.ready()

    @contextmanager
    def language(self, language: str):
        """The page in another language for a while."""
        self.host.post("/settings", {"Comfy.Locale": language})
        self.open()
        try:
            yield
        finally:
            self.host.post("/settings", {"Comfy.Locale": "en"})

    def ready(self) -> None:
        self.page.wait_for_function("window.app?.graph && window.app.vueAppReady", timeout=60000)
        self.page.wait_for_timeout(1500)

    def run(self, script: str, *values):
        return self.page.evaluate(script, *values)

    def template(self, name: str) -> None:
        """Open a template as the page does."""
        self.run(
            """async (name) => {
              const answer = await fetch(`/api/workflow_templates/magicbokeh/${name}.json`);
              await app.loadGraphData(await answer.json(), true, true, name);
            }""",
            name,
        )
        self.wait(2500)

    def run_workflow(self) -> dict:
        """What Run leads to: the history entry of what has been queued, which succeeds."""
        before = len(self.host.get("/history"))
        self.page.keyboard.press("Control+Enter")
        for _ in range(120):
            self.wait(1000)
            history = list(self.host.get("/history").values())
            if len(history) > before:
                assert history[-1]["status"]["status_str"] == "success", json.dumps(history[-1]["status"])
                return history[-1]
        raise TimeoutError("nothing has run for two minutes")

    def wait(self, milliseconds: int = 700) -> None:
        self.page.wait_for_timeout(milliseconds)

    def snapshot(self) -> None:
        """What undo goes back to."""
        self.run("() => window.dispatchEvent(new MouseEvent('mouseup'))")
        self.wait(300)

    @property
    def stage(self):
        return self.page.get_by_test_id("magicbokeh-stage").last

    def hint(self) -> str:
        return self.page.get_by_test_id("magicbokeh-hint").last.inner_text()

    def of_node(self, expression: str):
        """An expression of `node`, the last Defocus Map, and `host`, the subgraph's node around it if there is one."""
        return self.run(
            f"""() => {{
              const graphs = [app.graph, ...(app.graph.subgraphs?.values() ?? [])];
              const node = graphs.flatMap((graph) => graph.nodes).findLast((node) => node.comfyClass === "MagicBokehDefocusMap");
              const host = app.graph.nodes.find((host) => host.subgraph === node.graph);
              return {expression};
            }}"""
        )

    def values(self, of: str = "node") -> dict:
        """Widgets of the last Defocus Map, or of the subgraph's node around it."""
        return self.of_node(f"Object.fromEntries({of}.widgets.map((widget) => [widget.name, widget.value]))")

    def prompt(self) -> dict:
        """Inputs of the last Defocus Map in what would be queued."""
        queued = self.run("async () => (await app.graphToPrompt()).output")
        return [node["inputs"] for node in queued.values() if node["class_type"] == "MagicBokehDefocusMap"][-1]

    def shown(self, x: float, y: float) -> list[int]:
        """Colour of the view at a place of the photo (512 x 512)."""
        script = """([x, y]) => {
          const canvas = [...document.querySelectorAll("[data-testid=magicbokeh-stage] canvas")].at(-1);
          const side = Math.min(canvas.width, canvas.height);
          const [left, top] = [(canvas.width - side) / 2, (canvas.height - side) / 2];
          return [...canvas.getContext("2d").getImageData(left + x * side, top + y * side, 1, 1).data].slice(0, 3);
        }"""
        return self.run(script, [x, y])

    def point(self, x: float, y: float) -> tuple[float, float]:
        """Where on the screen a place of the photo (512 x 512) is."""
        box = self.stage.bounding_box()
        side = min(box["width"], box["height"])
        left, top = box["x"] + (box["width"] - side) / 2, box["y"] + (box["height"] - side) / 2
        return left + x * side, top + y * side

    def click(self, x: float, y: float) -> None:
        self.page.mouse.click(*self.point(x, y))
        self.wait(300)

    def drag(self, *places: tuple[float, float]) -> None:
        """From the first of these places of the photo over the others, and let go."""
        self.page.mouse.move(*self.point(*places[0]))
        self.page.mouse.down()
        for place in places[1:]:
            self.page.mouse.move(*self.point(*place), steps=4)
        self.page.mouse.up()
        self.wait(500)

    def get_depth(self) -> None:
        self.page.get_by_test_id("magicbokeh-depth").last.click()
        self.page.wait_for_function(
            "() => /0\\.\\d{3}/.test([...document.querySelectorAll('[data-testid=magicbokeh-hint]')].at(-1)?.textContent)",
            timeout=120000,
        )
        self.wait(300)


@contextmanager
def opened(browser, place, density=1):
    context = browser.new_context(viewport={"width": 1500, "height": 1000}, device_scale_factor=density)
    yield Canvas(context.new_page(), *place)
    context.close()


@pytest.fixture
def canvas(request, browser, place):
    with opened(browser, place, getattr(request, "param", 1)) as page:
        yield page


@pytest.fixture
def new_canvas(browser, new_place):
    with opened(browser, new_place) as page:
        yield page


@pytest.fixture
def graph(canvas):
    """Photo and disparity from files, into Defocus Map."""
    folder = canvas.host.base / "input"
    (folder / "photo.jpg").write_bytes((ASSETS / "demo.jpg").read_bytes())
    with Image.open(ASSETS / "demo_disparity.png") as near:
        near.point(lambda value: value / 257).convert("L").save(folder / "near.png")
    canvas.run(BUILD)
    canvas.wait(1500)
    canvas.snapshot()
    return canvas
