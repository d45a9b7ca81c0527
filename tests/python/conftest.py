"""Fixtures: one server for the whole run, shared by all pytest-xdist workers, and clients of it."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import grpc
import pytest
from temporalio.api.workflowservice.v1.service_pb2_grpc import WorkflowServiceStub
from temporalio.client import Client

from server import NAMESPACE, OTHER_NAMESPACE, Server

pytest.register_assert_rewrite("support", "update_wire", "wire")

_SERVER = pytest.StashKey[Server]()


@pytest.fixture(scope="session")
def address(request: pytest.FixtureRequest) -> str:
    """Where the shared server listens."""
    workerinput = getattr(request.config, "workerinput", None)
    if workerinput is not None:
        return workerinput["server_address"]
    return _shared_server(request.config).address


@pytest.fixture(scope="session")
async def client(address: str) -> Client:
    """An SDK client of the default namespace."""
    return await Client.connect(address, namespace=NAMESPACE)


@pytest.fixture(scope="session")
async def second_client(address: str) -> Client:
    """Another client of the default namespace: one client serves one worker a queue."""
    return await Client.connect(address, namespace=NAMESPACE)


@pytest.fixture(scope="session")
async def other_client(address: str) -> Client:
    """An SDK client of the second namespace."""
    return await Client.connect(address, namespace=OTHER_NAMESPACE)


@pytest.fixture(scope="session")
async def channel(address: str) -> AsyncIterator[grpc.aio.Channel]:
    """A plain gRPC channel, for what an SDK client would hide."""
    async with grpc.aio.insecure_channel(address) as opened:
        yield opened


@pytest.fixture(scope="session")
async def api(channel: grpc.aio.Channel) -> WorkflowServiceStub:
    """The generated stub of WorkflowService: no retries, no default deadlines."""
    return WorkflowServiceStub(channel)


@pytest.fixture
def own_server(tmp_path: Path) -> Iterator[Server]:
    """A server of this test alone, not yet started."""
    server = Server(tmp_path)
    yield server
    server.stop()


class SharedServerForWorkers:
    """Hooks of pytest-xdist: the controller starts the server and tells each worker where it is."""

    def pytest_configure_node(self, node: object) -> None:
        node.workerinput["server_address"] = _shared_server(node.config).address


def pytest_configure(config: pytest.Config) -> None:
    if config.pluginmanager.hasplugin("xdist"):
        config.pluginmanager.register(SharedServerForWorkers())


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, exitstatus: int) -> None:
    server = terminalreporter.config.stash.get(_SERVER, None)
    if server is not None and exitstatus not in (pytest.ExitCode.OK, pytest.ExitCode.NO_TESTS_COLLECTED):
        terminalreporter.section("end of the server's log")
        terminalreporter.write_line(server.log_tail())


def pytest_unconfigure(config: pytest.Config) -> None:
    server = config.stash.get(_SERVER, None)
    if server is not None:
        server.stop()
        shutil.rmtree(server.directory, ignore_errors=True)


def _shared_server(config: pytest.Config) -> Server:
    if _SERVER not in config.stash:
        server = Server(Path(tempfile.mkdtemp(prefix="e2e-")))
        config.stash[_SERVER] = server
        server.start()
    return config.stash[_SERVER]
