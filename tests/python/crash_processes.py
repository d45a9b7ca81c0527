"""The worker processes of the crash test, one for each language: how each is built, started and told apart."""

from __future__ import annotations

import asyncio
import shutil
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

from crash_worker import Entry, Ledger
from server import REPOSITORY
from support import unique

LISTENS_WITHIN_S = 60.0
TYPESCRIPT_TESTS = REPOSITORY / "tests" / "typescript"


@dataclass(frozen=True)
class Language:
    """A language with a program that takes ADDRESS TASK_QUEUE LEDGER; `build` makes it, with `tools`."""

    name: str
    program: tuple[str, ...]
    tools: tuple[str, ...] = ()
    build: tuple[tuple[str, ...], ...] = ()

    def missing_tools(self) -> list[str]:
        """What must be installed before this language can take part."""
        return [tool for tool in self.tools if shutil.which(tool) is None]

    def make(self) -> None:
        """Builds the program."""
        for command in self.build:
            subprocess.run(command, cwd=TYPESCRIPT_TESTS, check=True)


def _npm() -> tuple[tuple[str, ...], ...]:
    install = () if (TYPESCRIPT_TESTS / "node_modules").is_dir() else (("npm", "ci"),)
    return (*install, ("npm", "run", "--silent", "build"))


PYTHON = Language("Python", (sys.executable, str(Path(__file__).with_name("crash_worker.py"))))
TYPESCRIPT = Language("TypeScript", ("node", str(TYPESCRIPT_TESTS / "dist" / "crash.js")), ("node", "npm"), _npm())


class WorkerProcess:
    """A worker on a task queue of its own, with its log and its ledger."""

    def __init__(self, language: Language, directory: Path) -> None:
        self.language = language.name
        self.task_queue = unique(f"crash-{language.name.lower()}")
        self._program = language.program
        self._ledger_path = directory / f"ledger-{language.name.lower()}.jsonl"
        self._log_path = directory / f"worker-{language.name.lower()}.log"
        self._process: subprocess.Popen[bytes] | None = None

    async def start(self, address: str) -> None:
        """Starts the process and returns when it is about to poll."""
        with self._log_path.open("wb") as log:
            self._process = subprocess.Popen(
                [*self._program, address, self.task_queue, str(self._ledger_path)], stdout=log, stderr=subprocess.STDOUT
            )
        deadline = time.monotonic() + LISTENS_WITHIN_S
        while "listening" not in self._said():
            if not self.is_alive():
                raise RuntimeError(f"the {self.language} worker ended while starting:\n{self._said()}")
            if time.monotonic() > deadline:
                raise RuntimeError(f"the {self.language} worker does not listen:\n{self._said()}")
            await asyncio.sleep(0.02)

    def is_alive(self) -> bool:
        """True while the process runs."""
        return self._process is not None and self._process.poll() is None

    def entries(self) -> list[Entry]:
        """The ledger so far."""
        return Ledger(self._ledger_path).entries()

    def kill(self) -> None:
        """Ends the process, if it was started."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()

    def _said(self) -> str:
        return self._log_path.read_text(errors="replace")
