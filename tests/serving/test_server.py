"""`braid serve` in a process of its own: signals, connections that do no good, workers, TLS."""

from __future__ import annotations

import concurrent.futures
import http.client
import json
import shutil
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest

Start = Callable[..., Any]
TEXT = {"text": "visit 3 to Rome was good"}


def address(url: str) -> tuple[str, int]:
    host, port = url.removeprefix("http://").split(":")
    return host, int(port)


def asked(url: str, content: Any = TEXT) -> int:
    """The status of one request on a connection of its own."""
    connection = http.client.HTTPConnection(*address(url), timeout=60)
    try:
        connection.request("POST", "/predict", json.dumps(content))
        response = connection.getresponse()
        response.read()
        return response.status
    finally:
        connection.close()


def open_files(url: str) -> float:
    """How many the server has; endless where it turns us away."""
    try:
        figures = httpx.get(f"{url}/metrics", timeout=60).text
    except httpx.TransportError:
        return float("inf")
    return next(float(line.split()[1]) for line in figures.splitlines() if line.startswith("process_open_fds"))


def closes(url: str, sent: bytes) -> bool:
    """Whether the server ends a connection on which this is sent, without an answer."""
    with socket.create_connection(address(url), timeout=60) as sock:
        try:
            sock.sendall(sent)
            return sock.recv(1) == b""
        except TimeoutError:
            return False
        except OSError:
            return True


def memory(pid: int) -> int:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmRSS")) // 1024


def test_sigterm_under_load_loses_no_request(started: Start) -> None:
    statuses: list[int] = []
    lost: list[Exception] = []

    def client(url: str) -> None:
        # A connection for each request: it is either refused, or answered.
        while True:
            try:
                statuses.append(asked(url, {"texts": [TEXT["text"]] * 20}))
            except ConnectionRefusedError:
                return
            except (OSError, http.client.HTTPException) as error:
                lost.append(error)
                return

    with started("--log", "off", "--grace", "0.2") as (url, process):
        threads = [threading.Thread(target=client, args=(url,)) for _ in range(8)]
        for thread in threads:
            thread.start()
        until = time.monotonic() + 30
        while len(statuses) < 16 and time.monotonic() < until:
            time.sleep(0.01)
        process.send_signal(signal.SIGTERM)
        assert process.wait(60) == 0
        for thread in threads:
            thread.join(30)
    assert lost == []
    assert len(statuses) >= 16
    assert set(statuses) <= {200, 429}
    assert "ended" in process.said()


def test_sighup_loads_a_new_run_and_drops_no_request(started: Start, run: Path, tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(run, copy)
    with (
        started("--log", "off", runs=(f"tiny={copy}",)) as (url, process),
        httpx.Client(base_url=url, timeout=30) as client,
    ):
        assert "rank" in client.get("/tasks").json()["models"]["tiny"]["tasks"]
        shutil.rmtree(copy / "tasks" / "rank")
        process.send_signal(signal.SIGHUP)
        until = time.monotonic() + 60
        while "rank" in client.get("/tasks").json()["models"]["tiny"]["tasks"]:
            assert client.post("/predict", json=TEXT).status_code == 200
            assert time.monotonic() < until
        shutil.rmtree(copy / "encoder")
        process.send_signal(signal.SIGHUP)
        while "not reloaded" not in process.said():
            assert client.post("/predict", json=TEXT).status_code == 200
            assert time.monotonic() < until
        assert client.post("/predict", json=TEXT).status_code == 200


def test_hostile_connections_leave_it_alive_and_small(started: Start) -> None:
    with started("--log", "off", "--connections", "300") as (url, process):
        assert asked(url) == 200
        before, files = memory(process.pid), open_files(url)
        held = []
        for _ in range(600):
            try:
                held.append(socket.create_connection(address(url), timeout=5))
                held[-1].sendall(b"POST /predict HTTP/1.1\r\n")
            except OSError:
                continue
        for sock in held:
            sock.close()
        until = time.monotonic() + 60
        while open_files(url) > files + 3:  # until it has noticed that they left, it may turn others away
            assert time.monotonic() < until
        big = httpx.post(f"{url}/predict", content=b" " * 50_000_000, timeout=60)
        assert big.status_code == 413
        assert big.json()["error"]["type"] == "too_large"
        assert closes(url, b"GET / HTTP/1.1\r\nx: " + b"a" * 10_000_000)
        assert asked(url) == 200
        assert memory(process.pid) - before < 100


def test_clients_that_left_are_dropped(started: Start) -> None:
    body = b'{"texts":[' + b",".join([b'"visit 3 to Rome was good"'] * 900) + b"]}"
    request = b"POST /predict HTTP/1.1\r\nhost: a\r\ncontent-length: %d\r\n\r\n" % len(body) + body
    with started("--log", "off", "--queue-seconds", "1000") as (url, _):
        for _ in range(10):
            with socket.create_connection(address(url)) as sock:
                sock.sendall(request)
        time.sleep(0.5)
        figures = httpx.get(f"{url}/metrics", timeout=30).text
        dropped = [line for line in figures.splitlines() if line.startswith('braid_dropped_total{why="left"}')]
        assert dropped
        assert float(dropped[0].split()[1]) >= 1
        assert asked(url) == 200


def test_a_worker_that_dies_is_replaced_and_figures_are_added_up(started: Start) -> None:
    with started("--workers", "2", "--log", "off") as (url, process):
        until = time.monotonic() + 60
        while process.said().count("serving at") < 2:
            assert time.monotonic() < until
            time.sleep(0.1)
        with concurrent.futures.ThreadPoolExecutor(8) as pool:
            found = list(pool.map(lambda _: asked(url), range(40)))
        assert found == [200] * 40
        figures = httpx.get(f"{url}/metrics", timeout=30).text
        assert 'braid_requests_total{route="/predict",status="200"} 40.0' in figures
        process.send_signal(signal.SIGTERM)
        assert process.wait(60) == 0


def test_tls_is_spoken(started: Start, tmp_path: Path) -> None:
    if shutil.which("openssl") is None:
        pytest.skip("there is no openssl")
    key, cert = tmp_path / "key.pem", tmp_path / "cert.pem"
    made = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=localhost"]
    subprocess.run([*made, "-keyout", str(key), "-out", str(cert)], check=True, capture_output=True)
    with started("--tls-cert", str(cert), "--tls-key", str(key)) as (url, _):
        assert url.startswith("https://")
        assert httpx.post(f"{url}/predict", json=TEXT, verify=False, timeout=30).status_code == 200
