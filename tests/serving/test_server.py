"""`braid serve` in a process of its own: signals, connections that do no good, engines, TLS."""

from __future__ import annotations

import concurrent.futures
import http.client
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
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


def dropped(url: str) -> float:
    """How many requests left the queue since their clients did."""
    figures = httpx.get(f"{url}/metrics", timeout=30).text.splitlines()
    return sum(float(line.split()[1]) for line in figures if line.startswith('braid_dropped_total{why="left"}'))


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


def engines(pid: int) -> list[int]:
    """The processes that compute, of a server."""
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def memory(pid: int) -> int:
    """MiB that a server holds, its engines too."""
    lines = [line for one in (pid, *engines(pid)) for line in Path(f"/proc/{one}/status").read_text().splitlines()]
    return sum(int(line.split()[1]) for line in lines if line.startswith("VmRSS")) // 1024


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
        held = [socket.create_connection(address(url)) for _ in range(30)]
        for sock in held:
            sock.sendall(request)
        time.sleep(0.1)  # they are in the queue
        for sock in held:
            sock.close()
        until = time.monotonic() + 30
        while dropped(url) < 1:
            assert time.monotonic() < until
            time.sleep(0.05)
        assert asked(url) == 200


def test_an_engine_that_dies_is_replaced_while_the_other_answers(started: Start) -> None:
    with started("--workers", "2", "--log", "off") as (url, process):
        before = engines(process.pid)
        assert len(before) == 2
        with concurrent.futures.ThreadPoolExecutor(8) as pool:
            assert list(pool.map(lambda _: asked(url), range(40))) == [200] * 40
        figures = httpx.get(f"{url}/metrics", timeout=30).text
        assert 'braid_requests_total{route="/predict",status="200"} 40.0' in figures
        assert "braid_batch_rows_sum 40.0" in figures
        assert 'braid_engine_resident_memory_bytes{engine="1"}' in figures

        os.kill(before[0], signal.SIGKILL)
        until = time.monotonic() + 60
        while len(engines(process.pid)) < 2 or before[0] in engines(process.pid):
            assert asked(url) in (200, 503)  # 503: the one that died had it
            assert time.monotonic() < until
        assert asked(url) == 200
        assert "an engine ended with -9; another begins" in process.said()
        process.send_signal(signal.SIGTERM)
        assert process.wait(60) == 0


def test_engines_end_with_a_front_that_is_killed(started: Start) -> None:
    with started("--log", "off") as (url, process):
        (engine,) = engines(process.pid)
        assert asked(url) == 200
        process.kill()
        until = time.monotonic() + 30
        while Path(f"/proc/{engine}/cmdline").exists() and Path(f"/proc/{engine}/cmdline").read_bytes():
            assert time.monotonic() < until
            time.sleep(0.05)


def test_signals_meant_for_all_processes_leave_the_engines_until_the_front_ends(started: Start) -> None:
    """As a terminal's Ctrl-C does, and what stops a whole control group."""
    with started("--log", "off", "--grace", "1") as (url, process):
        (engine,) = engines(process.pid)
        for pid in (engine, process.pid):
            os.kill(pid, signal.SIGTERM)
        assert asked(url) == 200
        assert process.wait(60) == 0


def test_what_cannot_be_loaded_ends_it_with_the_reason(run: Path, tmp_path: Path) -> None:
    shutil.copytree(run, tmp_path / "broken")
    shutil.rmtree(tmp_path / "broken" / "encoder")
    command = [sys.executable, "-m", "braid", "serve", str(tmp_path / "broken"), "--port", "0", "--workers", "2"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 2
    assert done.stderr.startswith("braid: ")
    assert "encoder" in done.stderr
    assert "Traceback" not in done.stderr


def loading(*options: str) -> subprocess.Popen[str]:
    """A server whose engine has begun, and loads."""
    command = [sys.executable, "-m", "braid", "serve", *options, "--threads", "1", "--log", "off"]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    until = time.monotonic() + 60
    while not engines(process.pid):
        assert time.monotonic() < until
        time.sleep(0.01)
    return process


def test_a_port_that_another_process_takes_meanwhile_is_said(run: Path) -> None:
    with socket.socket() as sock:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.bind(("127.0.0.1", 0))
        port = sock.getsockname()[1]
        process = loading(str(run), "--port", str(port))
        sock.listen()
        _, said = process.communicate(timeout=60)
    assert process.returncode == 2
    assert said.splitlines()[1:] == [f"braid: cannot serve at http://127.0.0.1:{port}: Address already in use"]


def test_sighup_while_models_are_loaded_has_them_loaded_anew_afterwards(run: Path) -> None:
    process = loading(str(run), "--port", "0")
    process.send_signal(signal.SIGHUP)
    assert process.stderr is not None
    said = ""
    while "reloaded: run" not in said:
        line = process.stderr.readline()
        assert line, said
        said += line
    process.terminate()
    assert process.wait(60) == 0
    process.stderr.close()


def test_the_front_knows_no_torch() -> None:
    code = "import sys, braid.serve.server, braid.cli.shipping; print('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "False\n"


def test_tls_is_spoken(started: Start, tmp_path: Path) -> None:
    if shutil.which("openssl") is None:
        pytest.skip("there is no openssl")
    key, cert = tmp_path / "key.pem", tmp_path / "cert.pem"
    made = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=localhost"]
    subprocess.run([*made, "-keyout", str(key), "-out", str(cert)], check=True, capture_output=True)
    with started("--tls-cert", str(cert), "--tls-key", str(key)) as (url, _):
        assert url.startswith("https://")
        assert httpx.post(f"{url}/predict", json=TEXT, verify=False, timeout=30).status_code == 200
