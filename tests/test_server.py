"""`genesis serve`: right answers, a sentence for everything that is wrong, and what is left when too many come or a worker dies."""
import base64
import collections
import http.client
import io
import json
import os
import re
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
import pytest
import torch
import yaml
from PIL import Image
from genesis_course import server, wire
from genesis_course.cli import app as commands
from genesis_course.genesis import load_genesis
from genesis_course.server import PLACES, create_app, listening
from genesis_course.shipping import serving
from genesis_course.wire import LIMITS, prepared
from helpers import message_of

pytest.importorskip("fastapi", reason="needs the extra ship")
pytest.importorskip("uvicorn", reason="needs the extra ship")
ROOT = Path(__file__).parent.parent
DEPLOY = ROOT/"deploy"


def ask(address, body=None, kind="application/json", method=None):
    "(status, answer, headers)"
    data = body if body is None or isinstance(body, bytes) else json.dumps(body).encode()
    request = urllib.request.Request(address, data, {"Content-Type": kind}, method=method)
    try: answer = urllib.request.urlopen(request, timeout=60)
    except urllib.error.HTTPError as error: answer = error
    got = answer.read()
    return answer.status, json.loads(got) if "json" in answer.headers["Content-Type"] else got, answer.headers


@pytest.fixture(scope="module")
def address():
    with serving(create_app()) as address: yield address


def digit(value=7, seed=1):
    "A PNG of a digit in dark ink on light paper, by the course's own particles"
    generator, rng = load_genesis()[0], torch.Generator().manual_seed(seed)
    with torch.no_grad(): picture = generator(0.8*torch.randn(1, generator.latent_dim, generator=rng), torch.tensor([value]), generator.sample_cloud(1, generator=rng), 64)[0, 0]
    data = io.BytesIO()
    Image.fromarray(((1-picture)*127.5).round().to(torch.uint8).numpy()).convert("RGB").save(data, "PNG")
    return data.getvalue()


# ---- right answers

def test_what_is_drawn_is_read(address):
    for each in range(10):
        status, picture, headers = ask(f"{address}/draw", {"digits": str(each), "seed": each})
        assert status == 200 and headers["Content-Type"] == "image/png" and Image.open(io.BytesIO(picture)).size == (112, 112)
        status, seen, _ = ask(f"{address}/read", picture, "image/png")
        assert status == 200 and seen["digit"] == each and len(seen["probabilities"]) == 10 and abs(sum(seen["probabilities"])-1) < 1e-3


def test_the_same_seed_draws_the_same_whoever_else_is_served(address):
    def draw(_): return ask(f"{address}/draw", {"digits": "2026", "seed": 5})[1]
    alone = draw(0)
    with ThreadPoolExecutor(12) as people: others = list(people.map(draw, range(24)))
    pixels = [torch.frombuffer(bytearray(Image.open(io.BytesIO(each)).tobytes()), dtype=torch.uint8).int() for each in [alone, *others]]
    assert all((each-pixels[0]).abs().max() <= 1 for each in pixels)             # a batch of another size rounds otherwise
    assert draw(0) != ask(f"{address}/draw", {"digits": "2026", "seed": 6})[1] and ask(f"{address}/draw", {"digits": "1"})[1] != ask(f"{address}/draw", {"digits": "1"})[1]


def test_json_and_base64_are_spoken_too(address):
    status, told, _ = ask(f"{address}/draw", {"digits": "12", "count": 5, "seed": 3, "format": "json"})
    assert status == 200 and told["digits"] == [1, 2, 1, 2, 1] and told["seed"] == 3 and len(told["pictures"]) == 5
    assert ask(f"{address}/read", {"image": told["pictures"][1]})[1]["digit"] == 2
    assert ask(f"{address}/draw", {"digits": "0123456789"*6+"7", "seed": 1})[0] == 200


@pytest.mark.parametrize("value", [2, 3, 8])
def test_dark_ink_on_paper_wide_or_transparent_is_read_as_well(address, value):
    picture = Image.open(io.BytesIO(digit(value)))
    wide = Image.new("RGB", (150, 80), "white")
    wide.paste(picture, (40, 8))
    clear = Image.new("RGBA", picture.size, (255, 255, 255, 0))
    clear.paste((0, 0, 0, 255), mask=picture.convert("L").point(lambda level: 255-level))
    for image, kind in ((picture, "PNG"), (picture, "JPEG"), (wide, "PNG"), (clear, "PNG"), (picture.convert("P"), "GIF")):
        data = io.BytesIO()
        image.save(data, kind)
        assert ask(f"{address}/read", data.getvalue(), f"image/{kind.lower()}")[1]["digit"] == value, kind


def test_a_picture_is_brought_to_what_the_reader_was_trained_on():
    grey = torch.zeros(1, 30, 50)
    grey[0, 10:20, 20:25] = 1
    x = prepared(grey)
    assert x.shape == (1, 1, 28, 28) and x.min() >= -1 and x.max() <= 1 and x[0, 0, 0, 0] < -0.999 and torch.allclose(prepared(1-grey), x, atol=1e-5)
    assert 19 <= (x[0, 0] > 0).any(dim=1).sum() <= 21 and prepared(torch.ones(1, 9, 9)).max() == -1


# ---- wrong questions

WRONG = [{"digits": "7", "count": 0}, {"digits": "7", "count": 65}, {"digits": "7", "count": 10**6}, {"digits": "7", "count": -1}, {"digits": "7", "count": 2.5}, {"digits": "7", "count": "3"},
         {"digits": "7", "count": True}, {"digits": "7"*65}, {"digits": ""}, {"digits": "seven"}, {"digits": "٧"}, {"digits": "-7"}, {"digits": ["7"]}, {"digits": None}, {}, {"digits": "7", "seed": -1},
         {"digits": "7", "seed": 2**64}, {"digits": "7", "seed": "x"}, {"digits": "7", "format": "bmp"}, {"digits": "7", "format": None}, {"digits": "7", "size": 9000}, [], 7, "seven", None]


@pytest.mark.parametrize("asked", WRONG, ids=repr)
def test_a_wrong_order_gets_422_and_a_sentence(address, asked):
    status, told, _ = ask(f"{address}/draw", json.dumps(asked).encode())
    assert status == 422 and set(told) == {"error"} and told["error"].endswith(".") and len(told["error"]) < 200, told


@pytest.mark.parametrize("body", [b"", b"{", b"\xff\xfe", b"["*100_000, b'{"digits": "7", "count": NaN}', b'{"digits": "7", "seed": 1e400}', b'{"seed": '+b"9"*5000+b"}"])
def test_what_is_no_json_gets_422(address, body): assert ask(f"{address}/draw", body)[0] == 422


def bomb(side):
    data = io.BytesIO()
    Image.new("1", (side, side)).save(data, "PNG")
    return data.getvalue()


NO_PICTURES = {"text": b"a seven, please", "nothing": b"", "half a PNG": digit()[:200], "an SVG": b"<svg xmlns='http://www.w3.org/2000/svg'/>", "a pickle": b"\x80\x04N.", "a wide field": bomb(3000),
               "a bomb": bomb(20_000), "zeros": bytes(1000)}


@pytest.mark.parametrize("what", NO_PICTURES)
def test_what_is_no_picture_gets_422_and_a_sentence(address, what):
    for body, kind in ((NO_PICTURES[what], "image/png"), (NO_PICTURES[what], ""), ({"image": base64.b64encode(NO_PICTURES[what]).decode()}, "application/json")):
        status, told, _ = ask(f"{address}/read", body, kind)
        assert status == 422 and told["error"].startswith(("The picture", "image")) and len(told["error"]) < 250, told


@pytest.mark.parametrize("image", ["a seven, please", 7, None, ["x"], {"a": 1}, "é"])
def test_text_in_the_image_field_gets_422(address, image):
    status, told, _ = ask(f"{address}/read", {"image": image})
    assert status == 422 and "base64" in told["error"]


@pytest.mark.parametrize("place, kind", [("draw", "application/json"), ("read", "image/png"), ("read", "application/json")])
@pytest.mark.parametrize("size", [LIMITS["body"]+1, 10_000_000])
def test_ten_megabytes_get_413_and_hear_why(address, place, kind, size):
    status, told, _ = ask(f"{address}/{place}", bytes(size), kind)
    assert status == 413 and "at most 2,000,000 bytes" in told["error"]


def test_a_body_without_a_length_is_bounded_too(address):
    connection = http.client.HTTPConnection(address.removeprefix("http://"), timeout=60)
    pieces = (bytes(100_000) for _ in range(60))
    connection.request("POST", "/read", pieces, {"Content-Type": "image/png", "Transfer-Encoding": "chunked"}, encode_chunked=True)
    answer = connection.getresponse()
    assert answer.status == 413 and "too large" in answer.read().decode()


def test_other_places_and_ways(address):
    assert ask(f"{address}/nowhere")[:2] == (404, {"error": "There is nothing here. There are: /draw, /read, /health, /ready, /metrics."})
    assert ask(f"{address}/draw")[0] == 405 and ask(f"{address}/health", {})[0] == 405


def test_a_fault_of_ours_is_a_sentence_and_no_traceback(address, monkeypatch):
    def broken(grey): raise ZeroDivisionError("secret")
    monkeypatch.setattr(server, "prepared", broken)
    status, told, _ = ask(f"{address}/read", digit(), "image/png")
    assert status == 500 and "not your request" in told["error"] and "secret" not in str(told)
    monkeypatch.undo()
    assert ask(f"{address}/read", digit(), "image/png")[1]["digit"] == 7


# ---- health, metrics, overload

def test_health_and_metrics(address):
    assert ask(f"{address}/health")[1] == {"status": "alive", "worker": os.getpid()} and ask(f"{address}/ready")[1]["status"] == "ready"
    before = ask(f"{address}/metrics")[1].decode()
    ask(f"{address}/draw", {"digits": "7"})
    ask(f"{address}/draw", {"digits": "x"})
    after = ask(f"{address}/metrics")[1].decode()
    def value(text, name, **labels):
        found = [line for line in text.splitlines() if line.startswith(name+"{") and all(f'{key}="{label}"' in line for key, label in labels.items())]
        return float(found[0].split()[-1]) if found else 0
    for status in ("200", "422"): assert value(after, "genesis_requests_total", path="/draw", status=status) == value(before, "genesis_requests_total", path="/draw", status=status)+1
    line = re.compile(r'# TYPE \w+ (counter|gauge|histogram)|\w+\{\w+="[^"]*"(,\w+="[^"]*")*\} [\d.]+')
    assert all(line.fullmatch(each) for each in after.splitlines())
    buckets = [float(each.split()[-1]) for each in after.splitlines() if "_bucket" in each]
    assert buckets == sorted(buckets) and buckets[-1] == value(after, "genesis_request_seconds_count")


def test_too_many_are_told_so_and_the_others_are_served(monkeypatch):
    monkeypatch.setitem(LIMITS, "requests", 4)
    with serving(create_app(room=70)) as address:
        def draw(_): return ask(f"{address}/draw", {"digits": "7", "count": 64})
        with ThreadPoolExecutor(30) as people:
            answers = list(people.map(draw, range(60)))
            health = ask(f"{address}/health")[0]
        counts = collections.Counter(status for status, *_ in answers)
        assert set(counts) == {200, 503} and counts[200] >= 1 and health == 200
        assert all(headers["Retry-After"] == "1" and "Try again" in told["error"] for status, told, headers in answers if status == 503)
        assert draw(0)[0] == 200                                           # and afterwards all is as before


def test_a_request_that_waits_too_long_is_let_go(monkeypatch):
    monkeypatch.setitem(LIMITS, "seconds", 0.05)
    slow, read = threading.Event(), server.Models._read
    def sleepy(self, pictures):
        slow.wait(0.5)
        return read(self, pictures)
    monkeypatch.setattr(server.Models, "_read", sleepy)
    monkeypatch.setattr(server.Models, "_draw", lambda self, orders: [torch.zeros(1, 8, 8) for _ in orders])
    with serving(create_app()) as address:
        status, told, headers = ask(f"{address}/read", digit(), "image/png")
        assert status == 503 and "seconds" in told["error"] and headers["Retry-After"]


def test_it_is_ready_when_its_models_are_and_not_before(address):
    from fastapi.routing import APIRoute
    app = create_app()
    route, = (route for route in app.routes if isinstance(route, APIRoute) and route.path == "/ready")
    import asyncio
    with pytest.raises(wire.RequestError, match="not loaded"): asyncio.run(route.endpoint())
    assert {route.path for route in app.routes if isinstance(route, APIRoute)} == set(PLACES)


# ---- listening

def test_a_port_in_use_a_strange_host_and_a_bad_number_get_a_sentence():
    with listening("127.0.0.1", 0) as taken:
        message_of(lambda: listening("127.0.0.1", taken.getsockname()[1]), "in use", "--port")
    message_of(lambda: listening("no-such-host.invalid", 8000), "no address")
    message_of(lambda: listening("192.0.2.1", 8000), "not an address of this machine")
    for port in (-1, 70_000, "x"): message_of(lambda: listening("127.0.0.1", port), "port")
    message_of(lambda: server.serve(workers=0), "workers")
    message_of(lambda: server.serve(queue=0), "queue")
    message_of(lambda: server.serve(source="no-such-weights.st"))


def test_a_missing_library_is_named(monkeypatch):
    monkeypatch.setattr(server, "find_spec", lambda name: None)
    message_of(create_app, "fastapi and uvicorn", "genesis_course[ship]")
    message_of(server.serve, "genesis_course[ship]")


@pytest.mark.slow
def test_the_command_says_in_one_sentence_that_the_port_is_taken():
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        done = subprocess.run([sys.executable, "-m", "genesis_course.cli", "serve", "--port", str(taken.getsockname()[1])], capture_output=True, text=True, timeout=120)
    assert done.returncode == 1 and done.stderr.startswith("Stop: Port") and len(done.stderr.splitlines()) == 1


class Service:
    "`genesis serve` in processes of its own"
    def __init__(self, *options):
        self.process = subprocess.Popen([sys.executable, "-m", "genesis_course.cli", "serve", "--port", "0", *options], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
                                        env={**os.environ, "PYTHONUNBUFFERED": "1"})
        self.address = re.search(r"http://[\d.:]+", self.process.stdout.readline())[0]

    def __enter__(self): return self

    def __exit__(self, *error):
        self.process.terminate()
        try: self.process.communicate(timeout=60)
        finally: self.process.kill()

    def workers(self, count, seconds=120):
        "The numbers of so many workers, as soon as all of them answer"
        end, found = time.monotonic()+seconds, set()
        while len(found) < count and time.monotonic() < end:
            def one(_):
                try: return ask(f"{self.address}/health")[1]["worker"]
                except OSError: return None
            with ThreadPoolExecutor(8) as people: found |= set(people.map(one, range(16)))-{None}
        assert len(found) >= count, found
        return found


@pytest.mark.slow
@pytest.mark.alone
@pytest.mark.skipif(os.name == "nt", reason="kill -9")
def test_a_killed_worker_takes_only_what_it_was_computing_with_it():
    "Thirty people ask without a pause, one of two workers is killed: at most what was in its hands breaks off, and a new worker comes"
    with Service("--workers", "2") as service:
        first, stop, statuses = service.workers(2), time.monotonic()+6, collections.Counter()
        def person(_):
            while time.monotonic() < stop:
                try: status = ask(f"{service.address}/draw", {"digits": "7", "count": 2})[0]
                except (OSError, http.client.HTTPException): status = "broken off"
                statuses[status] += 1
        with ThreadPoolExecutor(30) as people:
            asked = people.map(person, range(30))
            time.sleep(2)
            os.kill(min(first), signal.SIGKILL)
            list(asked)
        assert set(statuses) <= {200, 503, "broken off"} and statuses["broken off"] <= 30 and statuses[200] > 60, statuses
        assert min(first) not in service.workers(2)


@pytest.mark.slow
@pytest.mark.alone
@pytest.mark.skipif(os.name == "nt", reason="SIGTERM")
def test_a_service_that_is_stopped_answers_what_it_has_accepted():
    with Service() as service:
        with ThreadPoolExecutor(8) as people:
            asked = [people.submit(ask, f"{service.address}/draw", {"digits": "7", "count": 64}) for _ in range(2)]
            while not any(f'genesis"}} {count}' in ask(f"{service.address}/metrics")[1].decode() for count in range(1, 129)) and not all(each.done() for each in asked): time.sleep(0.01)
            service.process.send_signal(signal.SIGTERM)
            assert [each.result()[0] for each in asked] == [200, 200]
        assert service.process.wait(60) in (0, -signal.SIGTERM)


@pytest.mark.slow
@pytest.mark.alone
@pytest.mark.skipif(not shutil.which("nginx"), reason="needs nginx")
def test_two_processes_behind_a_balancer_and_one_of_them_stopped(tmp_path):
    with Service() as one, Service() as two, listening("127.0.0.1", 0) as free:
        port = free.getsockname()[1]
        free.close()
        backends = "\n".join(f"server {each.address.removeprefix('http://')} max_fails=1 fail_timeout=5s;" for each in (one, two))
        config = tmp_path/"nginx.conf"
        config.write_text(f"daemon off; pid {tmp_path}/pid; error_log {tmp_path}/error.log; events {{}} http {{ access_log off; client_body_temp_path {tmp_path}/body; proxy_temp_path {tmp_path}/proxy; "
                          f"fastcgi_temp_path {tmp_path}/f; uwsgi_temp_path {tmp_path}/u; scgi_temp_path {tmp_path}/s; upstream genesis {{ {backends} }} "
                          f"server {{ listen 127.0.0.1:{port}; client_max_body_size 20m; location / {{ proxy_pass http://genesis; proxy_next_upstream error timeout non_idempotent; }} }} }}")
        balancer = subprocess.Popen(["nginx", "-c", str(config), "-p", str(tmp_path)])
        try:
            time.sleep(2)
            seen = collections.Counter(ask(f"http://127.0.0.1:{port}/health")[1]["worker"] for _ in range(20))
            assert len(seen) == 2
            two.process.terminate()
            two.process.wait(60)
            assert {ask(f"http://127.0.0.1:{port}/draw", {"digits": "7"})[0] for _ in range(20)} == {200}
        finally:
            balancer.terminate()
            balancer.wait(20)


# ---- the container and its orchestrator

def instructions():
    "Pairs (instruction, rest) of the Dockerfile"
    text = re.sub(r"\\\n", " ", "\n".join(line for line in (DEPLOY/"Dockerfile").read_text(encoding="utf-8").splitlines() if not line.lstrip().startswith("#")))
    return [tuple(line.split(None, 1)) for line in text.splitlines() if line.strip()]


def options_of(command):
    import typer.main
    return {option for each in typer.main.get_command(commands).commands[command].params for option in each.opts}


def test_the_dockerfile_copies_what_there_is_and_starts_a_command_that_exists():
    lines = instructions()
    for name, rest in lines:
        if name == "COPY" and "--from" not in rest:
            for path in shlex.split(rest)[:-1]: assert (ROOT/path).exists(), path
    copied = {path for name, rest in lines if name == "COPY" and "--from" not in rest for path in shlex.split(rest)[:-1]}
    ignored = (DEPLOY/"Dockerfile.dockerignore").read_text(encoding="utf-8").split()
    assert copied == {line[1:] for line in ignored if line.startswith("!")} and ignored[ignored.index("*")] == "*"
    assert {"settings.ini", "setup.py", "pyproject.toml", "README.md", "genesis_course", "nbs"} <= copied               # what setup.py and pyproject.toml read
    said = dict(lines)
    command = json.loads(said["ENTRYPOINT"])+json.loads(said["CMD"])
    assert command[:2] == ["genesis", "serve"] and {word for word in command if word.startswith("--")} <= options_of("serve")
    port = command[command.index("--port")+1]
    assert said["EXPOSE"] == port and f":{port}/health'" in said["HEALTHCHECK"] and "/health" in PLACES
    names = [name for name, _ in lines]
    assert int(said["USER"]) > 0 and names.index("USER") < names.index("ENTRYPOINT") and [rest.split()[0] for name, rest in lines if name == "FROM"] == ["python:3.12-slim"]*2
    assert all("-c constraints.txt" in rest for name, rest in lines if name == "RUN" and "pip install" in rest) and '".[ship]"' in " ".join(rest for _, rest in lines)


def test_the_healthcheck_of_the_container_says_yes_and_no(address):
    check = next(json.loads(rest.split("CMD", 1)[1]) for name, rest in instructions() if name == "HEALTHCHECK")
    code = check[2].replace("http://127.0.0.1:8000", address)
    assert subprocess.run([sys.executable, "-c", code], timeout=60).returncode == 0
    assert subprocess.run([sys.executable, "-c", code.replace("/health", "/nowhere")], timeout=60, stderr=subprocess.DEVNULL).returncode != 0


def test_the_manifest_asks_the_app_that_there_is():
    deployment, service = yaml.safe_load_all((DEPLOY/"kubernetes.yaml").read_text(encoding="utf-8"))
    said, spec = dict(instructions()), deployment["spec"]
    pod = spec["template"]["spec"]
    container, = pod["containers"]
    assert spec["replicas"] == 2 and spec["selector"]["matchLabels"] == spec["template"]["metadata"]["labels"] == service["spec"]["selector"]
    port, = container["ports"]
    assert str(port["containerPort"]) == said["EXPOSE"] and service["spec"]["ports"][0]["targetPort"] == port["name"]
    asked = {kind: container[kind]["httpGet"] for kind in ("startupProbe", "readinessProbe", "livenessProbe")}
    assert {kind: each["path"] for kind, each in asked.items()} == {"startupProbe": "/ready", "readinessProbe": "/ready", "livenessProbe": "/health"}
    assert all(each["port"] == port["name"] and each["path"] in PLACES for each in asked.values())
    assert {word for word in container["args"] if word.startswith("--")} <= options_of("serve")
    assert pod["terminationGracePeriodSeconds"] > LIMITS["seconds"]+int(container["lifecycle"]["preStop"]["exec"]["command"][1])
    assert pod["securityContext"] == {"runAsNonRoot": True, "runAsUser": int(said["USER"])} and container["resources"]["limits"]["memory"]
