"""The Python SDK replays what ours wrote. The Go SDK does so in `tests/go/interop`; the README says who else."""

from __future__ import annotations

from pathlib import Path

import pytest
from temporalio.client import WorkflowHistory
from temporalio.worker import Replayer, UnsandboxedWorkflowRunner

import workflows

HISTORIES = Path(__file__).resolve().parent / "histories" / "mainspring"

# Python has no such calls, so no such workflows.
ABSENT = {"mutable_side_effect", "side_effect", "version"}
# Where Python asks for something else than ours, by what its replay says.
DIFFERENCES = {
    # It accepts an update when its handler begins, ours (and the official Rust SDK) before any code runs.
    "concurrent": "Activity machine does not handle this event: HistoryEvent(id: 11, WorkflowExecutionUpdateAccepted)",
}


@pytest.mark.parametrize("name", sorted({path.stem for path in HISTORIES.glob("*.json")} - ABSENT))
async def test_python_replays_our_history(name: str) -> None:
    """It comes to the same commands in the same order, or differs as the table says."""
    replayer = Replayer(workflows=workflows.WORKFLOWS, workflow_runner=UnsandboxedWorkflowRunner())
    history = WorkflowHistory.from_json(name, (HISTORIES / f"{name}.json").read_text())
    replayed = await replayer.replay_workflow(history, raise_on_replay_failure=False)
    if name not in DIFFERENCES:
        assert replayed.replay_failure is None, str(replayed.replay_failure)
    else:
        assert DIFFERENCES[name] in str(replayed.replay_failure)
