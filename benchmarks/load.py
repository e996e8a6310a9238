"""Load over loopback for `serve.py`: many requests from one process, as cheap for the client as can be.

    python benchmarks/load.py PORT (closed CLIENTS | open RATE) SECONDS --bodies FILE

`closed`: each of CLIENTS sends its next request when the last one was answered. `open`: RATE requests a second begin,
whatever the server does (Poisson arrivals). Each body is a line of FILE. Prints one line of JSON: how many answers of
each status, requests a second that were answered with 200, percentiles in milliseconds, connections that were refused,
and requests that were sent and got no answer (`lost`).
"""

from __future__ import annotations

import argparse
import asyncio
import json
import random
import time
from pathlib import Path
from typing import Any

MAX_CONNECTIONS = 512
PAUSE = 0.25
"""Seconds that a client of closed load waits where it was turned away."""


class Load:
    """One run of load. *until*: when it ends; *times*: status -> seconds of each answer."""

    def __init__(self, port: int, bodies: list[bytes], path: str) -> None:
        head = f"POST {path} HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\ncontent-length: "
        self.messages = [f"{head}{len(body)}\r\n\r\n".encode() + body for body in bodies]
        self.port = port
        self.times: dict[int, list[float]] = {}
        self.refused = self.lost = self.skipped = 0
        self.idle: list[tuple[asyncio.StreamReader, asyncio.StreamWriter]] = []
        self.open = 0
        self.stopped = False

    async def request(self, number: int) -> int | None:
        """One request; its status, None where the door was closed."""
        message = self.messages[number % len(self.messages)]
        began = time.perf_counter()
        reader, writer = self.idle.pop() if self.idle else (None, None)
        fresh = reader is None
        try:
            if reader is None or writer is None:
                reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
            writer.write(message)
            status, ends = await _answer(reader)
        except (ConnectionRefusedError, TimeoutError):
            self.refused += 1
            return None
        except (ConnectionError, asyncio.IncompleteReadError):
            # A server may close a connection that was idle, at any time (RFC 9112, 9.3.1): then nothing was lost.
            if fresh:
                self.lost += 1
                return None
            return await self.request(number)
        self.times.setdefault(status, []).append(time.perf_counter() - began)
        if ends or reader.at_eof():
            writer.close()
        else:
            self.idle.append((reader, writer))
        return status

    async def closed(self, clients: int, seconds: float) -> float:
        """Seconds that it took."""
        began = time.perf_counter()

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
        """Seconds until the last answer; requests that found no free connection are counted (`skipped`)."""
        draw, began, at, number = random.Random(1), time.perf_counter(), 0.0, 0
        tasks: set[asyncio.Task[Any]] = set()
        while at < seconds and not self.stopped:
            at += draw.expovariate(rate)
            if (wait := began + at - time.perf_counter()) > 0:
                await asyncio.sleep(wait)
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

    def found(self, seconds: float) -> dict[str, Any]:
        """The figures."""
        out: dict[str, Any] = {"seconds": round(seconds, 2), "statuses": {k: len(v) for k, v in self.times.items()}}
        out["rate"] = round(len(self.times.get(200, ())) / seconds, 2)
        for status, times in self.times.items():
            times.sort()
            out[f"p50_{status}"] = round(1000 * times[len(times) // 2], 2)
            out[f"p99_{status}"] = round(1000 * times[int(0.99 * len(times))], 2)
        return out | {"refused": self.refused, "lost": self.lost, "skipped": self.skipped}


async def _answer(reader: asyncio.StreamReader) -> tuple[int, bool]:
    head = await reader.readuntil(b"\r\n\r\n")
    size, ends = 0, False
    for line in head.split(b"\r\n")[1:]:
        name, _, value = line.partition(b":")
        if name.lower() == b"content-length":
            size = int(value)
        elif name.lower() == b"connection":
            ends = value.strip().lower() == b"close"
    await reader.readexactly(size)
    return int(head[9:12]), ends


def main() -> None:
    """Send, and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("port", type=int)
    parser.add_argument("kind", choices=("closed", "open"))
    parser.add_argument("amount", type=float)
    parser.add_argument("seconds", type=float)
    parser.add_argument("--bodies", type=Path, required=True)
    parser.add_argument("--path", default="/predict")
    options = parser.parse_args()
    load = Load(options.port, options.bodies.read_bytes().splitlines(), options.path)
    kind = (
        load.closed(int(options.amount), options.seconds)
        if options.kind == "closed"
        else load.opened(options.amount, options.seconds)
    )
    print(json.dumps(load.found(asyncio.run(kind))), flush=True)


if __name__ == "__main__":
    main()
