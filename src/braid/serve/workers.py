"""Several processes behind one socket. The first one only minds them: signals go to all, one that dies is replaced."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from types import FrameType

from braid.errors import BraidError
from braid.serve.limits import ServeOptions

PARENT = "BRAID_SERVE_PARENT"
FOLDER = "PROMETHEUS_MULTIPROC_DIR"
WORKER = "braid.cli.worker"
TICK = 0.1
EARLY = 5.0
"""A worker that ends within so many seconds of its start will not do better the next time."""


def supervise(options: ServeOptions, sock: socket.socket) -> None:
    """Run the workers until a signal ends them. Raises BraidError where one cannot even start."""
    figures = tempfile.mkdtemp(prefix="braid_metrics_")
    try:
        _Supervisor(options, sock, figures).run()
    finally:
        shutil.rmtree(figures, ignore_errors=True)


class _Supervisor:
    def __init__(self, options: ServeOptions, sock: socket.socket, figures: str) -> None:
        self.options, self.sock = options, sock
        self.environment = {**os.environ, FOLDER: figures, PARENT: str(os.getpid())}
        self.workers: dict[int, tuple[subprocess.Popen[bytes], float]] = {}
        self.ending = False

    def run(self) -> None:
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            signal.signal(number, self._pass_on)
        failed = None
        for _ in range(self.options.workers):
            self._start()
        while self.workers:
            time.sleep(TICK)
            for pid, (worker, began) in list(self.workers.items()):
                if worker.poll() is None:
                    continue
                del self.workers[pid]
                self._mark_dead(pid)
                if self.ending:
                    continue
                early = time.monotonic() - began < EARLY
                if early or worker.returncode == 2:
                    failed = failed or worker.returncode
                    self._pass_on(signal.SIGTERM, None)
                else:
                    print(f"braid: worker {pid} ended with {worker.returncode}; another begins", file=sys.stderr)
                    self._start()
        if failed:
            raise BraidError(f"a worker could not start (exit code {failed}); what it said stands above")

    def _start(self) -> None:
        command = [sys.executable, "-m", WORKER]
        worker = subprocess.Popen(command, stdin=subprocess.PIPE, pass_fds=(self.sock.fileno(),), env=self.environment)
        assert worker.stdin is not None
        told = {"options": json.loads(self.options.revealed()), "socket": self.sock.fileno()}
        worker.stdin.write(json.dumps(told).encode())
        worker.stdin.close()
        self.workers[worker.pid] = worker, time.monotonic()

    def _pass_on(self, number: int, frame: FrameType | None) -> None:
        if number != signal.SIGHUP:
            # A Ctrl-C reaches all processes of the terminal by itself, and a second signal would hasten them.
            if self.ending and number == signal.SIGINT:
                return
            self.ending = True
            self.sock.close()
        for worker, _ in self.workers.values():
            if worker.poll() is None and not (number == signal.SIGINT and os.isatty(0)):
                worker.send_signal(number)

    def _mark_dead(self, pid: int) -> None:
        from prometheus_client.multiprocess import mark_process_dead

        mark_process_dead(pid, path=self.environment[FOLDER])
