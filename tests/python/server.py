"""Starts, kills and restarts the server under test as a process of its own.

Which server: `E2E_SERVER=temporal` runs the genuine dev server found beside this Python; otherwise the
binary named by `MAINSPRING_BIN`, by default `target/debug/mainspring` of this repository. Both take the
same flags, so nothing else in the tests depends on the choice.
"""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc
from temporalio.api.workflowservice.v1 import DescribeNamespaceRequest
from temporalio.api.workflowservice.v1.service_pb2_grpc import WorkflowServiceStub

NAMESPACE = "default"
OTHER_NAMESPACE = "other"
SERVICE = "temporal.api.workflowservice.v1.WorkflowService"

REPOSITORY = Path(__file__).resolve().parents[2]
READY_WITHIN_S = 30.0


def is_genuine() -> bool:
    """True when the tests run against the genuine Temporal dev server."""
    return os.environ.get("E2E_SERVER", "mainspring") == "temporal"


class Server:
    """One dev server on one data file; the file and the port survive `kill` and `start`."""

    def __init__(self, directory: Path) -> None:
        directory.mkdir(parents=True, exist_ok=True)
        self.directory = directory
        self.port = free_port()
        self.address = f"127.0.0.1:{self.port}"
        self.log_path = directory / "server.log"
        self._data_file = directory / "data.db"
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Starts the process and returns once it serves both namespaces."""
        with self.log_path.open("ab") as log:
            self._process = subprocess.Popen(
                command_line(self._data_file, self.port), stdout=log, stderr=subprocess.STDOUT
            )
        self._wait_until_ready()

    def kill(self) -> None:
        """Ends the process with SIGKILL: it gets no chance to write anything more."""
        process = self._running()
        process.send_signal(signal.SIGKILL)
        process.wait()
        self._process = None

    def stop(self) -> None:
        """Asks the process to end, and insists after ten seconds."""
        if self._process is None:
            return
        self._process.terminate()
        try:
            self._process.wait(timeout=10)
        except subprocess.TimeoutExpired:
            self.kill()
        self._process = None

    def log_tail(self, lines: int = 80) -> str:
        """The last lines that the server wrote."""
        if not self.log_path.exists():
            return "(no log)"
        return "\n".join(self.log_path.read_text(errors="replace").splitlines()[-lines:])

    def _running(self) -> subprocess.Popen[bytes]:
        if self._process is None:
            raise RuntimeError("the server is not running")
        return self._process

    def _wait_until_ready(self) -> None:
        deadline = time.monotonic() + READY_WITHIN_S
        while not is_serving(self.address):
            if self._running().poll() is not None:
                raise RuntimeError(f"the server ended while starting:\n{self.log_tail()}")
            if time.monotonic() > deadline:
                raise RuntimeError(f"the server is not ready after {READY_WITHIN_S} s:\n{self.log_tail()}")
            time.sleep(0.02)


def command_line(data_file: Path, port: int) -> list[str]:
    """The command that serves `data_file` on `port`."""
    flags = ["server", "start-dev", "--headless", "--db-filename", str(data_file), "--port", str(port)]
    flags += ["--namespace", OTHER_NAMESPACE]
    if is_genuine():
        # Off by default there, on by default in ours.
        flags += ["--dynamic-config-value", "system.enableCrossNamespaceCommands=true"]
    return [str(binary()), *flags]


def binary() -> Path:
    """The server's executable."""
    if is_genuine():
        return Path(sys.executable).parent / "temporal"
    named = os.environ.get("MAINSPRING_BIN")
    return Path(named) if named else REPOSITORY / "target" / "debug" / "mainspring"


def is_serving(address: str) -> bool:
    """True when the health service says SERVING and both namespaces exist."""
    with grpc.insecure_channel(address) as channel:
        try:
            health = health_pb2_grpc.HealthStub(channel).Check(
                health_pb2.HealthCheckRequest(service=SERVICE), timeout=2
            )
            for namespace in (NAMESPACE, OTHER_NAMESPACE):
                WorkflowServiceStub(channel).DescribeNamespace(DescribeNamespaceRequest(namespace=namespace), timeout=2)
        except grpc.RpcError:
            return False
    return health.status == health_pb2.HealthCheckResponse.SERVING


def free_port() -> int:
    """A TCP port that was free a moment ago."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]
