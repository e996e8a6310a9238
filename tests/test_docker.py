"""The Dockerfile and the compose file, as far as they can be held to the truth without an engine: what they copy is
there and enough, what they run parses, and their parts agree on ports, paths and seconds."""

from __future__ import annotations

import json
import re
import shlex
import subprocess
import sys
import threading
import tomllib
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from shutil import copy, copytree, ignore_patterns
from typing import Any

import pytest
import typer
from ruamel.yaml import YAML

from braid.cli import app
from conftest import ROOT

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]


def stages() -> list[list[tuple[str, str]]]:
    """The Dockerfile's instructions, stage by stage."""
    text = (ROOT / "Dockerfile").read_text(encoding="utf-8").replace("\\\n", " ")
    lines = [line for line in text.splitlines() if line.strip() and not line.startswith("#")]
    instructions = [(line.split(maxsplit=1)[0], line.split(maxsplit=1)[1]) for line in lines]
    starts = [k for k, (name, _) in enumerate(instructions) if name == "FROM"]
    assert starts[0] == 0
    return [instructions[a:b] for a, b in zip(starts, [*starts[1:], None], strict=True)]


def of(stage: int, name: str) -> list[str]:
    return [rest for found, rest in stages()[stage] if found == name]


def compose() -> Any:
    return YAML(typ="safe").load(ROOT / "compose.yaml")


def parsed(command: list[str]) -> dict[str, Any]:
    """Options and arguments of a `braid` command, as the command line reads them. Raises what it would refuse."""
    group = typer.main.get_command(app)
    name, found, rest = group.resolve_command(group.make_context("braid", [*command], resilient_parsing=True), command)
    return dict(found.make_context(name, rest).params)


def seconds(text: str) -> float:
    return float(re.fullmatch(r"([\d.]+)s", text)[1])  # type: ignore[index]


def test_both_stages_stand_on_one_python_that_the_project_supports() -> None:
    images = {of(stage, "FROM")[0].split()[0] for stage in (0, 1)}
    assert len(images) == 1
    found = re.fullmatch(r"python:(\d+)\.(\d+)-slim", images.pop())
    least = re.fullmatch(r">=(\d+)\.(\d+)", PROJECT["requires-python"])
    assert found
    assert least
    assert tuple(map(int, found.groups())) >= tuple(map(int, least.groups()))


def test_the_torch_that_is_installed_is_the_one_of_the_constraints() -> None:
    assert (ROOT / "constraints.txt").read_text().splitlines()[-1] == of(0, "ARG")[0].split("=", 1)[1].strip('"')


def copied() -> list[tuple[str, str]]:
    """(path in the project, path in the image) of all that the build copies."""
    return [(source, copy.split()[-1]) for copy in of(0, "COPY") for source in copy.split()[:-1]]


def test_all_that_is_copied_is_there_and_sent() -> None:
    ignored = (ROOT / ".dockerignore").read_text().splitlines()
    assert "*" in ignored
    sent = {line.removeprefix("!") for line in ignored if line.startswith("!")}
    assert {source for source, _ in copied()} == sent
    for source in sent:
        assert (ROOT / source).exists(), source


def test_what_is_copied_is_enough_for_a_wheel_with_the_page(tmp_path: Path) -> None:
    pytest.importorskip("hatchling", reason="no hatchling to build with")
    for source, target in copied():
        place = tmp_path / target.strip("/")
        if (ROOT / source).is_dir():
            copytree(ROOT / source, place, ignore=ignore_patterns("__pycache__"))
        else:
            place.mkdir(parents=True, exist_ok=True)
            copy(ROOT / source, place)
    build = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(tmp_path)]
    subprocess.run(build, cwd=tmp_path / "source", check=True, capture_output=True)
    with zipfile.ZipFile(next(tmp_path.glob("*.whl"))) as wheel:
        names = set(wheel.namelist())
        metadata = wheel.read(next(name for name in names if name.endswith("/METADATA"))).decode()
    page = ROOT / "src" / "braid" / "serve" / "page"
    assert {f"braid/serve/page/{file.name}" for file in page.iterdir() if file.is_file()} <= names
    wanted = re.findall(r'"/source\[(\w+)\]"', " ".join(of(0, "RUN")))
    assert wanted == ["serve"]
    assert all(f"Provides-Extra: {extra}" in metadata for extra in wanted)


def test_its_commands_are_well_formed() -> None:
    for stage in (0, 1):
        for command in of(stage, "RUN"):
            subprocess.run(["sh", "-n", "-c", command], check=True)
    pip = [shlex.split(command) for command in of(0, "RUN") if command.startswith("pip")]
    assert len(pip) == 2
    for command in pip:
        assert command[:3] == ["pip", "install", "-c"]
        assert ("constraints.txt", "/source/") in copied()
        assert command[3] == "/source/constraints.txt"


def test_the_servers_commands_parse_and_agree_on_the_port() -> None:
    assert json.loads(of(1, "ENTRYPOINT")[0]) == ["braid"]
    port = int(of(1, "EXPOSE")[0])
    for command in (json.loads(of(1, "CMD")[0]), compose()["services"]["braid"]["command"]):
        options = parsed(command)
        assert options["host"] == "0.0.0.0"
        assert options["port"] == port
        assert options["runs"] == ["/model"]


@contextmanager
def answering(status: int) -> Iterator[int]:
    """A server that answers /health/ready with a status; its port."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(status if self.path == "/health/ready" else 404)
            self.end_headers()

        def log_message(self, format: str, *args: Any) -> None:
            pass

    server = HTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()
    yield server.server_port
    server.shutdown()
    server.server_close()


def healthy(port: int) -> bool:
    """What the health check says of a port."""
    check = of(1, "HEALTHCHECK")[0]
    command = json.loads(check[check.index("CMD ") + 4 :])
    assert command[0] == "python"
    code = [part.replace(f":{of(1, 'EXPOSE')[0]}/", f":{port}/") for part in command[1:]]
    assert code != command[1:]
    return subprocess.run([sys.executable, *code], capture_output=True).returncode == 0


def test_the_health_check_tells_ready_from_not() -> None:
    with answering(200) as port:
        assert healthy(port)
    with answering(503) as loading:
        assert not healthy(loading)
    assert not healthy(port)


def test_the_composition_fits_together() -> None:
    services = compose()["services"]
    braid, prometheus = services["braid"], services["prometheus"]
    assert (ROOT / braid["build"]["context"] / "Dockerfile").is_file()
    known = {line.split("=")[0] for line in of(0, "ARG")}
    assert set(braid["build"]["args"]) <= known
    assert braid["volumes"] == ["${RUN:-./demo/run}:/model:ro"]
    demo = YAML(typ="safe").load(ROOT / "src" / "braid" / "tools" / "demo.yaml")
    assert demo["out"] == "demo/run"

    mounts = [mount.split(":") for mount in prometheus["volumes"]]
    assert all((ROOT / source).is_file() for source, *_ in mounts if source.startswith("."))
    assert {source for source, *_ in mounts if not source.startswith(".")} == set(compose()["volumes"])
    (job,) = YAML(typ="safe").load(ROOT / mounts[0][0])["scrape_configs"]
    assert job["static_configs"][0]["targets"] == [f"braid:{of(1, 'EXPOSE')[0]}"]
    assert all(port.startswith("127.0.0.1:") for service in services.values() for port in service["ports"])

    options = parsed(braid["command"])
    assert options["grace"] + options["drain"] < seconds(braid["stop_grace_period"])
    assert prometheus["depends_on"] == {"braid": {"condition": "service_healthy"}}
    assert of(1, "HEALTHCHECK")


def test_routes_that_it_names_are_the_servers() -> None:
    pytest.importorskip("prometheus_client", reason="no server: pip install 'braid-nlp[serve]'")
    from braid.serve.gate import OPEN

    (job,) = YAML(typ="safe").load(ROOT / "deploy" / "prometheus.yaml")["scrape_configs"]
    assert job["metrics_path"] in OPEN
    assert "/health/ready" in of(1, "HEALTHCHECK")[0]
    assert "/health/ready" in OPEN
