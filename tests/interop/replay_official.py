"""The official Rust SDK replays what ours wrote: `python replay_official.py`, which builds its program first."""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path

from temporalio.api.history.v1 import History
from temporalio.client import WorkflowHistory

HERE = Path(__file__).resolve().parent
HISTORIES = HERE / "histories" / "mainspring"
# It has no such calls, so no such workflows.
ABSENT = {"mutable_side_effect", "side_effect", "version"}


def main() -> None:
    """Says of each history how its replay went; all must replay."""
    names = sorted({path.stem for path in HISTORIES.glob("*.json")} - ABSENT)
    with tempfile.TemporaryDirectory() as directory:
        files = [Path(directory) / f"{name}.pb" for name in names]
        for name, file in zip(names, files, strict=True):
            history = WorkflowHistory.from_json(name, (HISTORIES / f"{name}.json").read_text())
            file.write_bytes(History(events=history.events).SerializeToString())
        command = ["cargo", "run", "--quiet", "--", "replay", *map(str, files)]
        said = subprocess.run(command, cwd=HERE / "official", check=True, capture_output=True, text=True).stdout
    print(said, end="")
    failed = [line for line in said.splitlines() if not line.endswith(": replays")]
    if failed or said.count("\n") != len(names):
        sys.exit(f"{len(failed)} of {len(names)} histories do not replay")


if __name__ == "__main__":
    main()
