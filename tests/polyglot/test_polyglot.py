"""One server, a worker of every SDK, and what they do together: workflows started by name, activities, signals."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from languages import ALL, PYTHON, RUST, TYPESCRIPT, Language

from server import OTHER_NAMESPACE, Server

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
    need(language)
    others = [other for other in present if other is not language]
    if not others:
        pytest.skip("there is no second language on this machine")
    said = answers(language, "start", address, "Ada", *[other.name for other in others])
    assert said == [f"hello Ada from {other}" for other in others]


def test_a_workflow_in_rust_runs_activities_in_python_and_typescript(address: str) -> None:
    """The workflow knows them by a signature without a body; each worker serves its own."""
    need(RUST, PYTHON, TYPESCRIPT)
    assert answers(RUST, "tour", address, "Ada") == ["Ada, stamped in Python, stamped in TypeScript"]


def test_workflows_in_rust_and_python_signal_each_other_across_namespaces(address: str) -> None:
    """One is in the namespace "default", the other one is not."""
    need(RUST, PYTHON)
    said = answers(RUST, "ping", address, OTHER_NAMESPACE)
    assert said == [f"a pong from {OTHER_NAMESPACE} in Python", "a ping from default"]


def need(*languages: Language) -> None:
    """Skips the test on a machine where one of these languages cannot take part."""
    if missing := [tool for language in languages for tool in language.missing_tools()]:
        pytest.skip(f"no {' and no '.join(missing)} on this machine")


def answers(language: Language, *words: str) -> list[str]:
    """The lines that a language's program prints."""
    command = language.command(*words)
    done = subprocess.run(command, cwd=language.folder, capture_output=True, text=True, timeout=ANSWERS_WITHIN_S)
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


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
