"""One server, a worker of every SDK, and a client of every SDK that starts the others' workflows by name."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from languages import ALL, Language

from server import Server

LISTENS_WITHIN_S = 60.0
ANSWERS_WITHIN_S = 60.0


@pytest.fixture(scope="module")
def present() -> list[Language]:
    """The languages that this machine can build, built."""
    languages = [language for language in ALL if not language.missing_tools()]
    for language in languages:
        language.make()
    return languages


@pytest.fixture(scope="module")
def address(present: list[Language], tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Where a server listens that has a worker of each language."""
    directory = tmp_path_factory.mktemp("polyglot")
    server = Server(directory / "server")
    workers: list[subprocess.Popen[bytes]] = []
    try:
        server.start()
        for language in present:
            workers.append(start_worker(language, server.address, directory / f"{language}.log"))
        for language, worker in zip(present, workers, strict=True):
            wait_until_it_listens(worker, directory / f"{language}.log")
        yield server.address
    finally:
        for worker in workers:
            worker.kill()
            worker.wait()
        server.stop()


@pytest.mark.parametrize("language", ALL, ids=str)
def test_a_client_starts_the_workflows_of_all_other_languages(
    language: Language, present: list[Language], address: str
) -> None:
    """A client starts each other language's workflow by its name and reads its result."""
    if missing := language.missing_tools():
        pytest.skip(f"no {' and no '.join(missing)} on this machine")
    others = [other for other in present if other is not language]
    if not others:
        pytest.skip("there is no second language on this machine")
    command = language.command("start", address, "Ada", *[other.name for other in others])
    done = subprocess.run(command, cwd=language.folder, capture_output=True, text=True, timeout=ANSWERS_WITHIN_S)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == [f"hello Ada from {other}" for other in others]


def start_worker(language: Language, address: str, log: Path) -> subprocess.Popen[bytes]:
    """Starts a language's worker, which writes to `log`."""
    with log.open("wb") as output:
        command = language.command("worker", address)
        return subprocess.Popen(command, cwd=language.folder, stdout=output, stderr=subprocess.STDOUT)


def wait_until_it_listens(worker: subprocess.Popen[bytes], log: Path) -> None:
    """Returns when the worker has said so."""
    deadline = time.monotonic() + LISTENS_WITHIN_S
    while "listening" not in (said := log.read_text(errors="replace")).splitlines():
        assert worker.poll() is None, f"{log.stem}'s worker ended:\n{said}"
        assert time.monotonic() < deadline, f"{log.stem}'s worker does not listen:\n{said}"
        time.sleep(0.02)
