"""Certificates for TLS, made by the very commands that `docs/running.md` shows."""

from __future__ import annotations

import re
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

from server import REPOSITORY

DOCUMENT = REPOSITORY / "docs" / "running.md"


@dataclass(frozen=True)
class Certificates:
    """A CA, and a certificate of it for the server and one for clients."""

    directory: Path

    def path(self, name: str) -> str:
        """Where `ca.pem`, `server.pem`, `server.key`, `client.pem` or `client.key` is."""
        return str(self.directory / name)

    def read(self, name: str) -> bytes:
        """What is in it."""
        return (self.directory / name).read_bytes()


def can_make() -> bool:
    """True when the documented commands can run here."""
    return shutil.which("openssl") is not None and shutil.which("sh") is not None


def make(directory: Path) -> Certificates:
    """Runs the documented commands in `directory`."""
    blocks = re.findall(r"```sh\n(.*?)```", DOCUMENT.read_text(), re.DOTALL)
    (commands,) = [block for block in blocks if block.startswith("openssl")]
    directory.mkdir(parents=True)
    made = subprocess.run(["sh", "-eu", "-c", commands], cwd=directory, capture_output=True, text=True)
    assert made.returncode == 0, made.stderr
    return Certificates(directory)
