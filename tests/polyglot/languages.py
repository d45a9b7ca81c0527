"""The five programs that speak the five SDKs: how to build each, and how to start it.

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
RUST_SDK = TESTS.parent / "sdk" / "mainspring"


@dataclass(frozen=True)
class Language:
    """One SDK. Its workflow is named `<name>Greeting`; its worker polls `polyglot-<name in lower case>`."""

    name: str
    folder: Path
    tools: tuple[str, ...]
    build: tuple[tuple[str, ...], ...]
    program: tuple[str, ...]

    def __str__(self) -> str:
        return self.name

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


PYTHON = Language("Python", TESTS / "python", (), (), (sys.executable, "polyglot.py"))
TYPESCRIPT = Language("TypeScript", TESTS / "typescript", ("node", "npm"), _npm(), ("node", "dist/polyglot.js"))
GO = Language("Go", TESTS / "go", ("go",), (("go", "build", "-o", "target/", "./polyglot"),), ("target/polyglot",))
JAVA = Language(
    "Java",
    TESTS / "java",
    ("java", "mvn"),
    (("mvn", "--batch-mode", "--quiet", "process-classes"),),
    ("java", "-cp", "CLASSPATH", "mainspring.e2e.Polyglot"),
)
# On Unix `cargo run` becomes the program, so that what kills the one kills the other.
RUST = Language(
    "Rust",
    RUST_SDK,
    ("cargo",),
    (("cargo", "build", "--quiet", "--example", "polyglot"),),
    ("cargo", "run", "--quiet", "--example", "polyglot", "--"),
)
ALL = [PYTHON, TYPESCRIPT, GO, JAVA, RUST]
