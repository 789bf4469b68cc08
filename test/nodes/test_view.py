"""The live view beside a real planner: what a browser shows of it, and what it may order."""

import base64
import json
import sys
import urllib.error
import urllib.request
from contextlib import contextmanager
from pathlib import Path

import cv2
import numpy as np
import pytest
from jepa_ros.msg import PlannerStatus
from sensor_msgs.msg import CompressedImage, Image
from websockets.exceptions import InvalidStatus
from websockets.sync.client import connect

from jepa_common.qos_profiles import camera_qos, latched_qos, latest_qos
from jepa_planner.client import image_message
from jepa_tools.view.config import ViewConfig
from jepa_tools.view.live_view import LiveView
from jepa_world_model.picture_strip import jpeg

sys.path.insert(0, str(Path(__file__).parent))
from headless_browser import Browser, browser_program
from table_rig import Rig

TOKEN = "let me"
CAMERA = np.full((48, 64, 3), (200, 30, 30), np.uint8)
STRIP = np.concatenate([np.full((32, 32, 3), shade, np.uint8) for shade in (40, 120, 220)], axis=1)


class Viewer:
    """A page of the view without a browser."""

    def __init__(self, socket):
        self.socket, self.notices = socket, []

    def send(self, message):
        self.socket.send(message if isinstance(message, bytes) else json.dumps(message))

    def wait_for(self, kind, condition=lambda _: True):
        """The first notice of a kind, not asked for before, for which the condition holds; its picture as "picture"."""
        while True:
            for notice in self.notices:
                if notice["kind"] == kind and condition(notice):
                    self.notices.remove(notice)
                    return notice
            data = self.socket.recv(timeout=60.0)
            head, _, picture = (data.encode() if isinstance(data, str) else data).partition(b"\n")
            self.notices.append(json.loads(head) | {"picture": picture})

    def order(self, order):
        self.send(order)
        return self.wait_for("answer")["text"]


def address(live, path=""):
    return live.url.partition("#")[0] + path


@contextmanager
def viewer(live, token=None):
    with connect(address(live, "live").replace("http", "ws"), max_size=None) as socket:
        looks = Viewer(socket)
        if token is not None:
            looks.send({"token": token})
            looks.wait_for("rights")
        yield looks


class Table(Rig):
    """The planner's rig with a camera that shows one picture, and a predictor that draws strips."""

    def _open_topics(self):
        super()._open_topics()
        self.images = self.client.create_publisher(Image, "image", camera_qos())
        self.strips = self.client.create_publisher(CompressedImage, "imagined/compressed", latest_qos())
        self.goals = self.nodes.collect(Image, "goal_image", latched_qos(8))
        self.client.create_timer(0.1, self._show)

    def _show(self):
        self.images.publish(image_message(CAMERA))
        self.strips.publish(CompressedImage(format="jpeg", data=jpeg(STRIP)))


@pytest.fixture
def table(nodes, tiny_model):
    rig = Table(nodes, tiny_model, **{"solver.max_step": 0.01})  # a goal is not reached while a test looks
    yield rig
    rig.close()


@pytest.fixture
def live(table):
    with LiveView(ViewConfig(port=0, token=TOKEN)) as view:
        yield view


def test_a_viewer_sees_camera_arm_state_paths_and_imagined_futures(table, live):
    with viewer(live) as looks:
        camera = looks.wait_for("camera image")
        pixels = cv2.imdecode(np.frombuffer(camera["picture"], np.uint8), cv2.IMREAD_COLOR)[:, :, ::-1]
        assert pixels.shape == CAMERA.shape and np.abs(pixels.astype(int) - CAMERA).max() < 12
        assert looks.wait_for("imagined")["picture"] == jpeg(STRIP)
        assert looks.wait_for("status")["state"] == "idle"
        bodies = looks.wait_for("shape")["bodies"]
        assert len(looks.wait_for("arm")["places"]) == len(bodies) > 5
        corners = np.frombuffer(base64.b64decode(bodies[0]["vertices"]), "<f4").reshape(-1, 3)
        assert np.frombuffer(base64.b64decode(bodies[0]["triangles"]), "<u4").max() < len(corners)
        table.start_moving()
        paths = looks.wait_for("paths", lambda notice: any(line["name"] == "plan" for line in notice["lines"]))
        chosen = max((line for line in paths["lines"] if line["name"] == "plan"), key=lambda line: line["width"])
        assert np.linalg.norm(np.array(chosen["points"][:3]) - table.goal_position) < 0.5
        points = looks.wait_for("points", lambda notice: notice["points"][-1]["energy"])["points"]
        assert {"t", "energy", "surprise", "plan_seconds"} <= set(points[0])


def test_pictures_are_taken_from_the_network_only_while_somebody_looks(table, live):
    def listeners():
        return table.client.count_subscribers("image"), table.client.count_subscribers("imagined/compressed")

    table.wait_for(lambda: table.client.count_subscribers("planner_status") == 2, "the view")
    assert listeners() == (0, 0)
    with viewer(live) as looks:
        looks.wait_for("camera image")
        assert listeners() == (1, 1)
    table.wait_for(lambda: listeners() == (0, 0), "the view to unsubscribe")


def test_who_knows_the_token_orders_and_sets_goals(table, live):
    with viewer(live, TOKEN) as looks:
        frame = looks.wait_for("camera image")["frame"]
        assert looks.order({"goal_frame": frame}) == "the picture is the goal now"
        table.wait_for(lambda: table.goals, "the goal's picture")
        assert bytes(table.goals[0].data) == CAMERA.tobytes()
        assert looks.wait_for("goal")["picture"]
        table.wait_for(lambda: table.status.step >= 1, "a step")
        assert looks.order({"order": "pause"}) == "paused"
        table.wait_for_state(PlannerStatus.PAUSED)
        assert looks.order({"order": "step"}) == "takes one step"
        assert looks.order({"order": "resume"}) == "resumed"
        assert looks.order({"order": "stop"}) in ("stopped", "there was no goal; the arm rests")
        ok, png = cv2.imencode(".png", CAMERA[::2])
        assert ok and looks.order(png.tobytes()) == "the picture is the goal now"
        table.wait_for(lambda: len(table.goals) == 2, "the second goal's picture")
        assert (table.goals[1].height, table.goals[1].width) == (24, 64)


def test_what_cannot_be_done_is_answered_with_the_reason(table, live):
    with viewer(live, TOKEN) as looks:
        assert "pause, resume, step, stop" in looks.order({"order": "shut_down"})
        assert "too old" in looks.order({"goal_frame": -1})
        assert "expected a picture file" in looks.order(b"no picture")
        assert "expected an order" in looks.order({"wish": 1})
        assert "pause first" in looks.order({"order": "step"})
        assert table.status.state == PlannerStatus.IDLE


@pytest.mark.parametrize("token", [None, "a guess", ""])
def test_without_the_token_nothing_is_ordered(table, live, token):
    with viewer(live, token) as looks:
        frame = looks.wait_for("camera image")["frame"]
        for order in ({"order": "pause"}, {"goal_frame": frame}, b"picture"):
            assert "may look only" in looks.order(order)
    assert table.status.state == PlannerStatus.IDLE and not table.goals


def test_read_only_has_no_token_and_offered_pictures_are_goals(table, tmp_path):
    cv2.imwrite(str(tmp_path / "a.png"), CAMERA[:, :, ::-1])
    with LiveView(ViewConfig(port=0, read_only=True)) as view:
        assert "#" not in view.url
        with viewer(view, "") as looks:
            assert "may look only" in looks.order({"order": "stop"})
    with LiveView(ViewConfig(port=0, token=TOKEN, goals=tmp_path)) as view, viewer(view, TOKEN) as looks:
        assert urllib.request.urlopen(address(view, "goals/a.png")).read()[:2] == b"\xff\xd8"
        assert looks.order({"goal_offered": "a.png"}) == "the picture is the goal now"
        assert "expected one of a.png" in looks.order({"goal_offered": "../a.png"})
        table.wait_for(lambda: table.goals and bytes(table.goals[0].data) == CAMERA.tobytes(), "the goal's picture")
    with pytest.raises(ValueError, match="expected pictures"):
        LiveView(ViewConfig(goals=Path(__file__).parent))


def test_other_sites_get_neither_the_page_nor_the_pictures(nodes):
    with LiveView(ViewConfig(port=0)) as view:
        live = address(view, "live").replace("http", "ws")
        with pytest.raises(InvalidStatus, match="403"), connect(live, origin="http://elsewhere.example"):
            pass
        request = urllib.request.Request(address(view), headers={"Host": "elsewhere.example"})
        with pytest.raises(urllib.error.HTTPError, match="403"):
            urllib.request.urlopen(request)
        with pytest.raises(urllib.error.HTTPError, match="404"):
            urllib.request.urlopen(address(view, "../../pyproject.toml"))
        page = urllib.request.urlopen(address(view))
        assert "default-src 'self'" in page.headers["Content-Security-Policy"]
        assert "http" not in page.read().decode().replace("http-equiv", "")


def test_a_browser_shows_the_run_and_its_buttons_command_the_planner(table, live, tmp_path):
    program = browser_program()
    if program is None:
        pytest.skip("no Chromium on this machine: apt install chromium")
    with Browser(program, tmp_path / "profile") as browser:
        browser.open(live.url)
        browser.wait_for("document.querySelector('.camera img')?.naturalWidth == 64")
        browser.wait_for("document.querySelectorAll('#imagined canvas').length == 3")
        browser.wait_for(f"({ARM_PIXELS})() > 500")
        browser.wait_for("!document.body.classList.contains('looks-only')")
        browser.value("document.querySelector('.set-goal').click()")
        table.wait_for(lambda: table.goals, "the goal's picture")
        browser.wait_for("document.getElementById('goal').naturalWidth == 64")
        browser.wait_for("document.querySelector('#energy-plot canvas') && document.getElementById('values').innerText")
        browser.value("document.querySelector('[data-order=pause]').click()")
        table.wait_for_state(PlannerStatus.PAUSED)
        browser.wait_for("document.getElementById('state').textContent == 'paused'")
        browser.value("document.querySelector('[data-order=stop]').click()")
        browser.wait_for("document.getElementById('answer').textContent == 'stopped'")
        browser.open("about:blank")
        browser.open(address(live))  # without the token
        browser.wait_for("document.body?.classList.contains('looks-only')")
        assert browser.value("getComputedStyle(document.querySelector('[data-order=stop]')).display") == "none"
        assert browser.value("document.documentElement.scrollWidth <= innerWidth")
        assert browser.complaints == []


ARM_PIXELS = """() => {
  const canvas = document.getElementById("arm"), gl = canvas.getContext("webgl2");
  const pixels = new Uint8Array(4 * canvas.width * canvas.height);
  gl.readPixels(0, 0, canvas.width, canvas.height, gl.RGBA, gl.UNSIGNED_BYTE, pixels);
  return pixels.filter((value, at) => at % 4 === 3 && value === 255).length;
}"""
