"""`braid serve` under load from another process over loopback: throughput, latency, overload, ending, memory.

    python benchmarks/serve.py [--seconds 8] [--tasks 1 8] [--soak MINUTES] [--folder FOLDER]

The runs of `infer.py` (4 layers of 512, untrained; 1 and 8 tasks), texts of natural length (book reviews), one text a
request. Against two others in the same call: the model called in a loop, text by text; and the plainest handler of
FastAPI that calls the model in a thread, without batching. Then: p50 and p99 at half the peak; three times the peak
(answered requests, how soon the others are turned away, any 5xx; the latter also as a second process of high priority
sees it that sends 30 requests a second); SIGTERM under load (requests that were sent and got no answer). `--soak`: so
many minutes at half the peak, or at a share of it (`--soak-share`), with the server's memory every five seconds.

Prints what it finds as it goes and, last, one line of JSON.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import infer
from texts import reviews

HERE = Path(__file__).parent
CLIENTS = 256
PROBES = 30
ROUNDS = 2
"""Turns of server and loop, one after the other: the machine's own speed changes from minute to minute."""
PLAIN = """
import asyncio, sys, uvicorn
from fastapi import FastAPI
from pydantic import BaseModel
import torch, braid
torch.set_num_threads(int(sys.argv[3]))
model = braid.load(sys.argv[1])
model("warm")
app = FastAPI()
class Request(BaseModel):
    text: str
@app.post("/predict")
def predict(request: Request):
    return model(request.text).to_json()
uvicorn.run(app, port=int(sys.argv[2]), log_level="warning", access_log=False)
"""


def free_port() -> int:
    """A port that nobody listens at."""
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])


@contextmanager
def running(command: list[str], port: int, health: str) -> Iterator[subprocess.Popen[bytes]]:
    """A server, from when it answers until the block ends."""
    with tempfile.TemporaryFile() as said:
        process = subprocess.Popen(command, stdout=said, stderr=said)
        try:
            for _ in range(600):
                try:
                    urllib.request.urlopen(f"http://127.0.0.1:{port}{health}", timeout=2).read()
                    break
                except OSError:
                    if process.poll() is not None:
                        said.seek(0)
                        raise SystemExit(said.read().decode()[-3000:]) from None
                    time.sleep(0.1)
            yield process
        finally:
            if process.poll() is None:
                process.terminate()
                process.wait(90)


def load(options: argparse.Namespace, port: int, kind: str, amount: float, seconds: float) -> dict[str, Any]:
    """What `load.py` found."""
    bodies = str(options.folder / "bodies.jsonl")
    command = [sys.executable, str(HERE / "load.py"), str(port), kind, str(amount), str(seconds), "--bodies", bodies]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(done.stderr[-3000:])
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def say(what: str, found: Any) -> None:
    """A line as it goes."""
    print(f"{what}: {json.dumps(found)}", flush=True)


def family(pid: int) -> list[int]:
    """A process and those that it began."""
    return [pid, *map(int, Path(f"/proc/{pid}/task/{pid}/children").read_text().split())]


def cpu(pid: int) -> float:
    """Seconds of processor time that a server's processes have had."""
    stats = [Path(f"/proc/{one}/stat").read_text().rpartition(")")[2].split() for one in family(pid)]
    return sum(int(fields[11]) + int(fields[12]) for fields in stats) / os.sysconf("SC_CLK_TCK")


def peak(options: argparse.Namespace, port: int, pid: int) -> dict[str, Any]:
    """As many requests as 256 clients get answered; `rate_cpu`: by second of the server's own processor time, which
    hangs less on what else the machine does."""
    load(options, port, "closed", CLIENTS, options.seconds)
    before = cpu(pid)
    found = load(options, port, "closed", CLIENTS, options.seconds)
    return {**found, "rate_cpu": round(found["statuses"]["200"] / (cpu(pid) - before), 1)}


def memory(pid: int) -> float:
    """MiB that a server's processes hold."""
    lines = [line for one in family(pid) for line in Path(f"/proc/{one}/status").read_text().splitlines()]
    return sum(int(line.split()[1]) for line in lines if line.startswith("VmRSS")) / 1024


def loop(options: argparse.Namespace, n: int) -> dict[str, float]:
    """Texts a second (and by second of processor time) of the model called in a loop, in a process of its own."""
    code = (
        "import sys, time, json, torch, braid\n"
        "torch.set_num_threads(int(sys.argv[4])); model = braid.load(sys.argv[1])\n"
        "texts = [json.loads(line)['text'] for line in open(sys.argv[2])]\n"
        "for text in texts[:20]: model(text)\n"
        "began, used, done = time.perf_counter(), time.process_time(), 0\n"
        "while time.perf_counter() - began < float(sys.argv[3]): model(texts[done % len(texts)]); done += 1\n"
        "print(done / (time.perf_counter() - began), done / (time.process_time() - used))"
    )
    run, bodies = options.folder / f"run_{n}", options.folder / "bodies.jsonl"
    given = [sys.executable, "-c", code, str(run), str(bodies), str(options.seconds), str(options.threads)]
    wall, used = subprocess.run(given, capture_output=True, text=True, check=True).stdout.split()[-2:]
    return {"rate": round(float(wall), 1), "rate_cpu": round(float(used), 1)}


def plain(options: argparse.Namespace, n: int) -> dict[str, Any]:
    """Of the handler without batching."""
    port = free_port()
    command = [sys.executable, "-c", PLAIN, str(options.folder / f"run_{n}"), str(port), str(options.threads)]
    with running(command, port, "/openapi.json") as server:
        return peak(options, port, server.pid)


def serving(options: argparse.Namespace, n: int, port: int) -> list[str]:
    """The command."""
    run = str(options.folder / f"run_{n}")
    command = [sys.executable, "-m", "braid", "serve", run, "--port", str(port), "--log", "off"]
    return [*command, "--threads", str(options.threads)]


def measure(options: argparse.Namespace, n: int) -> dict[str, Any]:
    """One number of tasks."""
    out: dict[str, Any] = {}
    looped, unbatched = loop(options, n), plain(options, n)
    say(f"{n} tasks, the model in a loop, texts/s", looped)
    say(f"{n} tasks, a handler without batching", unbatched)
    port = free_port()
    with running(serving(options, n, port), port, "/health") as server:
        peaks, loops = [], [looped]
        for _ in range(ROUNDS):
            peaks.append(peak(options, port, server.pid))
            say(f"{n} tasks, braid serve, {CLIENTS} clients", peaks[-1])
            loops.append(loop(options, n))
            say(f"{n} tasks, the model in a loop again", loops[-1])
        best = {**peaks[-1], **mean(peaks)}
        looped = mean(loops)
        half = load(options, port, "open", best["rate"] / 2, options.seconds)
        say(f"{n} tasks, half of that", half)
        with ThreadPoolExecutor(1) as beside:
            probing = beside.submit(load, options, port, "probe", PROBES, options.seconds)
            over = load(options, port, "open", 3 * best["rate"], options.seconds)
        probe = probing.result()
        say(f"{n} tasks, three times that", over)
        say(f"{n} tasks, what a probe sees meanwhile", probe)
        timer = threading.Timer(options.seconds / 2, lambda: server.send_signal(signal.SIGTERM))
        timer.start()
        ended = load(options, port, "open", best["rate"], options.seconds)
        say(f"{n} tasks, SIGTERM under load", ended)
        out["exit"] = server.wait(90)
    out |= {
        "rate": round(best["rate"], 1),
        "vs_loop": round(best["rate"] / looped["rate"], 2),
        "vs_plain": round(best["rate"] / unbatched["rate"], 2),
        "vs_loop_cpu": round(best["rate_cpu"] / looped["rate_cpu"], 2),
        "vs_plain_cpu": round(best["rate_cpu"] / unbatched["rate_cpu"], 2),
        "half_p50": half.get("p50_200"),
        "half_p99": half.get("p99_200"),
        "goodput": round(over["rate"] / best["rate"], 3),
        "p50_429": over.get("p50_429"),
        "p99_429": over.get("p99_429"),
        "later_p99_429": over.get("later_p99_429"),
        "probe_p50_429": probe.get("p50_429"),
        "probe_p99_429": probe.get("p99_429"),
        "probe_later_p99_429": probe.get("later_p99_429"),
        "errors_5xx": sum(
            k for found in (best, half, over, probe, ended) for s, k in found["statuses"].items() if s >= "500"
        ),
        "lost": ended["lost"],
    }
    return {f"{key}_{n}": value for key, value in out.items()}


def mean(found: list[dict[str, Any]]) -> dict[str, float]:
    """Of the rates of several turns."""
    return {key: sum(one[key] for one in found) / len(found) for key in ("rate", "rate_cpu")}


def soak(options: argparse.Namespace, n: int) -> dict[str, Any]:
    """Memory over minutes of load."""
    port, seen = free_port(), list[float]()
    with running(serving(options, n, port), port, "/health") as server:
        best = load(options, port, "closed", CLIENTS, 10)
        ending = threading.Event()

        def watch() -> None:
            while not ending.wait(5):
                seen.append(memory(server.pid))

        thread = threading.Thread(target=watch)
        thread.start()
        found = load(options, port, "open", best["rate"] * options.soak_share, 60 * options.soak)
        ending.set()
        thread.join()
        files = len(os.listdir(f"/proc/{server.pid}/fd"))
    fifth = max(1, len(seen) // 5)
    early, late = sum(seen[fifth : 2 * fifth]) / fifth, sum(seen[-fifth:]) / fifth
    say("soak", found)
    return {
        "soak_minutes": options.soak,
        "soak_requests": sum(found["statuses"].values()),
        "soak_statuses": found["statuses"],
        "soak_mib_early": round(early),
        "soak_mib_late": round(late),
        "soak_mib_most": round(max(seen)),
        "soak_mib_by_minute": [round(mib) for mib in seen[::12]],
        "soak_open_files": files,
    }


def main() -> None:
    """Everything in turn."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=8)
    parser.add_argument("--tasks", type=int, nargs="+", default=[1, 8])
    parser.add_argument("--soak", type=float, default=0, metavar="MINUTES")
    parser.add_argument("--soak-share", type=float, default=0.5)
    parser.add_argument("--only-soak", action="store_true")
    parser.add_argument("--folder", type=Path)
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)))
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        options.folder = options.folder or Path(name)
        options.folder.mkdir(parents=True, exist_ok=True)
        infer.setup(options, tuple(options.tasks))
        bodies = [json.dumps({"text": text}) for _, text in reviews(2000)]
        (options.folder / "bodies.jsonl").write_text("\n".join(bodies) + "\n")
        out: dict[str, Any] = {}
        if not options.only_soak:
            for n in options.tasks:
                out |= measure(options, n)
        if options.soak:
            out |= soak(options, options.tasks[-1])
    print(json.dumps(out), flush=True)


if __name__ == "__main__":
    main()
