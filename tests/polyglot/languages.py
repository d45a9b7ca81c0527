"""The four programs that speak the four SDKs: how to build each, and how to start it.

Each understands `worker ADDRESS` and `start ADDRESS NAME LANGUAGE...`; the comment at its top says what they do.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

TESTS = Path(__file__).resolve().parents[1]


@dataclass(frozen=True)
class Language:
    """One SDK. Its workflow is named `<name>Greeting`; its worker polls `polyglot-<name in lower case>`."""

    name: str
    tools: tuple[str, ...]
    build: tuple[tuple[str, ...], ...]
    program: tuple[str, ...]

    def __str__(self) -> str:
        return self.name

    @property
    def folder(self) -> Path:
        return TESTS / self.name.lower()

    def missing_tools(self) -> list[str]:
        """What must be installed before this language can take part."""
        return [tool for tool in self.tools if shutil.which(tool) is None]

    def make(self) -> None:
        """Builds the program."""
        for command in self.build:
            subprocess.run(command, cwd=self.folder, check=True)

    def command(self, *words: str) -> list[str]:
        """The command line with these arguments."""
        program = [word.replace("CLASSPATH", self._classpath()) if "CLASSPATH" in word else word for word in self.program]
        return [*program, *words]

    def _classpath(self) -> str:
        libraries = (self.folder / "target" / "classpath.txt").read_text().strip()
        return os.pathsep.join([str(self.folder / "target" / "classes"), libraries])


def _npm() -> tuple[tuple[str, ...], ...]:
    install = () if (TESTS / "typescript" / "node_modules").is_dir() else (("npm", "ci"),)
    return (*install, ("npm", "run", "--silent", "build"))


PYTHON = Language("Python", (), (), (sys.executable, "polyglot.py"))
TYPESCRIPT = Language("TypeScript", ("node", "npm"), _npm(), ("node", "dist/polyglot.js"))
GO = Language("Go", ("go",), (("go", "build", "-o", "target/", "./polyglot"),), ("target/polyglot",))
JAVA = Language(
    "Java",
    ("java", "mvn"),
    (("mvn", "--batch-mode", "--quiet", "process-classes"),),
    ("java", "-cp", "CLASSPATH", "mainspring.e2e.Polyglot"),
)
ALL = [PYTHON, TYPESCRIPT, GO, JAVA]
