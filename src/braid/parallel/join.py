"""Coming together at a run's start, and ending together: what one process dies of, all end with."""

from __future__ import annotations

import json
import os
import sys
import threading
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta

import torch
import torch.distributed as dist

from braid.errors import BraidError, Interrupted
from braid.parallel.world import ALONE, World, started

FAILED, TOLD = "braid/failed", "braid/told"
EVERY = 0.5
"""Seconds between two looks at whether another process has failed."""

PATIENCE = 5.0
"""Seconds that a failed process waits for the first one to print its message."""

SHOW_CURSOR = "\x1b[?25h"


@contextmanager
def joined() -> Iterator[World]:
    """The world of this run. Under `torchrun` the processes meet (nccl for CUDA tensors, gloo for the others); one
    that fails inside ends all of them, and the first prints its message."""
    world = started()
    if world.size == 1 or dist.is_initialized():
        yield ALONE if world.size == 1 else world
        return
    if torch.cuda.is_available():
        torch.cuda.set_device(world.local_rank % torch.cuda.device_count())
    dist.init_process_group("cpu:gloo,cuda:nccl" if torch.cuda.is_available() else "gloo")
    watch = _Watch(world)
    try:
        yield world
    except Interrupted as stopped:
        watch.stop()
        if world.first:
            raise
        raise SystemExit(stopped.code) from None
    except Exception as error:
        code = 2 if isinstance(error, BraidError) else 1
        message = str(error) if code == 2 else traceback.format_exc()
        if watch.report(message, code):
            raise SystemExit(code) from None
        raise
    else:
        watch.stop()
        dist.destroy_process_group()


class _Watch:
    """A thread that looks whether another process has failed, and then ends this one: it may be waiting for ever in a
    collective that the other will never join."""

    def __init__(self, world: World) -> None:
        self.world = world
        host, port = os.environ["MASTER_ADDR"], int(os.environ["MASTER_PORT"])
        # A connection of its own: the process group's may be blocked in a call.
        self.store = dist.TCPStore(  # type: ignore[attr-defined]
            host, port, is_master=False, timeout=timedelta(seconds=60)
        )
        self.done = threading.Event()
        self.thread = threading.Thread(target=self._watch, name="braid-watch", daemon=True)
        self.thread.start()

    def stop(self) -> None:
        """Look no longer."""
        self.done.set()
        self.thread.join()

    def report(self, message: str, code: int) -> bool:
        """Tell all others; whether the first process has printed this message, or another one's of an earlier
        failure. The first process prints its own by itself."""
        self.stop()
        mine = json.dumps([self.world.rank, code, message])
        try:
            earliest = self.store.compare_set(FAILED, "", mine).decode()
            if self.world.first:
                if earliest != mine:
                    self._tell(*json.loads(earliest))
                return earliest != mine
            for _ in range(int(PATIENCE / EVERY)):
                if self.store.check([TOLD]):
                    return True
                threading.Event().wait(EVERY)
        except RuntimeError:  # the store lives in a process that is gone
            return False
        return False

    def _watch(self) -> None:
        while not self.done.wait(EVERY):
            try:
                if not self.store.check([FAILED]):
                    continue
                rank, code, message = json.loads(self.store.get(FAILED))
            except RuntimeError:
                return
            if self.world.first:
                self._tell(rank, code, message)
            else:
                # The first process holds the store, maybe: leave it the time to speak.
                threading.Event().wait(EVERY)
            os._exit(code)

    def _tell(self, rank: int, code: int, message: str) -> None:
        if sys.stderr.isatty():
            sys.stderr.write(SHOW_CURSOR)
        print(f"braid: process {rank} of {self.world.size}: {message}", file=sys.stderr, flush=True)
        self.store.set(TOLD, "1")
