"""Load over loopback for `serve.py`: many requests from one process, as cheap for the client as can be.

    python benchmarks/load.py PORT (closed CLIENTS | open RATE | probe RATE) SECONDS --bodies FILE

`closed`: each of CLIENTS sends its next request when the last one was answered. `open`: RATE requests a second begin,
whatever the server does (Poisson arrivals). `probe`: as `open`, but in a process of high priority that does little
else, so that what it measures is the server's delay and not the client's own. Each body is a line of FILE.

Prints one line of JSON: how many answers of each status, requests a second that were answered with 200, percentiles in
milliseconds (of all, and `later`: of those that began after the first quarter of the time, when the connections of open
load are there and the server's queue has filled), how late requests began (`late_p99`, ms: the client's own delay),
connections that were refused, requests that were sent and got no answer (`lost`), and those for which no connection was
free (`skipped`).
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import os
import random
import re
import time
from pathlib import Path
from typing import Any

MAX_CONNECTIONS = 3000
"""More than a server's queue holds."""
PAUSE = 0.25
"""Seconds that a client of closed load waits where it was turned away."""
PROBE = -5
"""Niceness of a probe, where it may have it."""
LENGTH = re.compile(rb"(?i)\r\ncontent-length: *(\d+)")
ENDS = re.compile(rb"(?i)\r\nconnection: *close")


class Connection(asyncio.Protocol):
    """One connection, one request at a time. *answered*: its status, None where the connection ended first."""

    def __init__(self) -> None:
        self.open = True
        self.answered: asyncio.Future[int | None] | None = None
        self._read = b""

    def connection_made(self, transport: Any) -> None:
        self.transport = transport

    def ask(self, message: bytes) -> asyncio.Future[int | None]:
        """Send a request."""
        self._read = b""
        self.answered = asyncio.get_running_loop().create_future()
        self.transport.write(message)
        return self.answered

    def data_received(self, data: bytes) -> None:
        self._read += data
        end = self._read.find(b"\r\n\r\n")
        if end < 0:
            return
        length = LENGTH.search(self._read, 0, end)
        if len(self._read) < end + 4 + (int(length[1]) if length else 0):
            return
        if ENDS.search(self._read, 0, end):
            self.open = False
            self.transport.close()
        self._settle(int(self._read[9:12]))

    def connection_lost(self, error: Exception | None) -> None:
        self.open = False
        self._settle(None)

    def _settle(self, status: int | None) -> None:
        if self.answered is not None and not self.answered.done():
            self.answered.set_result(status)


class Load:
    """One run of load. *times*: status -> when each request began, and seconds until its answer; *late*: seconds by
    which requests began late."""

    def __init__(self, port: int, bodies: list[bytes], path: str) -> None:
        head = f"POST {path} HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\ncontent-length: "
        self.messages = [f"{head}{len(body)}\r\n\r\n".encode() + body for body in bodies]
        self.port = port
        self.began = time.perf_counter()
        self.times: dict[int, list[tuple[float, float]]] = {}
        self.late: list[float] = []
        self.refused = self.lost = self.skipped = 0
        self.idle: list[Connection] = []

    async def request(self, number: int) -> int | None:
        """One request; its status, None where the door was closed."""
        message = self.messages[number % len(self.messages)]
        began = time.perf_counter()
        while True:
            connection = self.idle.pop() if self.idle else None
            fresh = connection is None
            try:
                if connection is None:
                    loop = asyncio.get_running_loop()
                    _, connection = await loop.create_connection(Connection, "127.0.0.1", self.port)
                status = await connection.ask(message) if connection.open else None
            except OSError:
                self.refused += 1
                return None
            if status is not None:
                break
            # A server may close a connection that was idle, at any time (RFC 9112, 9.3.1): then nothing was lost.
            if fresh:
                self.lost += 1
                return None
        self.times.setdefault(status, []).append((began - self.began, time.perf_counter() - began))
        if connection.open:
            self.idle.append(connection)
        return status

    async def closed(self, clients: int, seconds: float) -> float:
        """Seconds that it took."""
        self.began = began = time.perf_counter()

        async def client(start: int) -> None:
            number = start
            while time.perf_counter() - began < seconds:
                status = await self.request(number)
                if status is None:
                    return
                if status == 429:
                    await asyncio.sleep(PAUSE)
                number += clients

        await asyncio.gather(*(client(start) for start in range(clients)))
        return time.perf_counter() - began

    async def opened(self, rate: float, seconds: float) -> float:
        """Seconds until the last answer."""
        draw, at, number = random.Random(1), 0.0, 0
        self.began = began = time.perf_counter()
        tasks: set[asyncio.Task[Any]] = set()
        while at < seconds:
            at += draw.expovariate(rate)
            if (wait := began + at - time.perf_counter()) > 0:
                await asyncio.sleep(wait)
            self.late.append(time.perf_counter() - began - at)
            if len(tasks) >= MAX_CONNECTIONS:
                self.skipped += 1
                continue
            task = asyncio.ensure_future(self.request(number))
            tasks.add(task)
            task.add_done_callback(tasks.discard)
            number += 1
            if self.refused:
                break
        if tasks:
            await asyncio.wait(tasks, timeout=60)
        return time.perf_counter() - began

    def found(self, seconds: float, asked: float) -> dict[str, Any]:
        """The figures. *seconds*: how long it took; *asked*: how long it was asked to take."""
        out: dict[str, Any] = {"seconds": round(seconds, 2), "statuses": {k: len(v) for k, v in self.times.items()}}
        out["rate"] = round(len(self.times.get(200, ())) / seconds, 2)
        for status, times in sorted(self.times.items()):
            for name, since in (("", 0.0), ("later_", asked / 4)):
                chosen = sorted(taken for at, taken in times if at >= since)
                if chosen:
                    out[f"{name}p50_{status}"] = round(1000 * chosen[len(chosen) // 2], 2)
                    out[f"{name}p99_{status}"] = round(1000 * chosen[int(0.99 * len(chosen))], 2)
        if self.late:
            out["late_p99"] = round(1000 * sorted(self.late)[int(0.99 * len(self.late))], 2)
        return out | {"refused": self.refused, "lost": self.lost, "skipped": self.skipped}


def main() -> None:
    """Send, and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("port", type=int)
    parser.add_argument("kind", choices=("closed", "open", "probe"))
    parser.add_argument("amount", type=float)
    parser.add_argument("seconds", type=float)
    parser.add_argument("--bodies", type=Path, required=True)
    parser.add_argument("--path", default="/predict")
    options = parser.parse_args()
    run = asyncio.run
    with contextlib.suppress(ImportError):
        import uvloop

        run = uvloop.run
    with contextlib.suppress(ImportError, ValueError, OSError):
        import resource

        _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    if options.kind == "probe":
        with contextlib.suppress(OSError):
            os.nice(PROBE)
    load = Load(options.port, options.bodies.read_bytes().splitlines(), options.path)
    if options.kind == "closed":
        seconds = run(load.closed(int(options.amount), options.seconds))
    else:
        seconds = run(load.opened(options.amount, options.seconds))
    print(json.dumps(load.found(seconds, options.seconds)), flush=True)


if __name__ == "__main__":
    main()
