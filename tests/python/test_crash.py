"""The crash test in its short forms; `crash_test.py` runs it longer."""

from __future__ import annotations

from pathlib import Path

import pytest

from crash_control import ForgetfulServer
from crash_processes import PYTHON, TYPESCRIPT
from crash_test import Plan, crash
from server import Server


@pytest.mark.crash
@pytest.mark.timeout(300)
async def test_nothing_acknowledged_is_lost(own_server: Server, tmp_path: Path) -> None:
    """The server is killed again and again under load, and every acknowledged thing is there, exactly once."""
    plan = Plan()
    summary = await crash(own_server, plan, tmp_path)
    print(f"\n{summary}")
    assert not summary.problems, f"{summary}\n{own_server.log_tail()}"
    assert (summary.kills, summary.workflows) == (plan.kills, plan.workflows)
    assert summary.interrupted, "no kill hit a workflow that was open"


@pytest.mark.crash
@pytest.mark.timeout(420)
async def test_nothing_acknowledged_is_lost_between_two_languages(own_server: Server, tmp_path: Path) -> None:
    """The same with workers in Python and TypeScript that do activities and children for each other."""
    if missing := TYPESCRIPT.missing_tools():
        pytest.skip(f"NO TypeScript WORKER: no {' and no '.join(missing)} on this machine")
    TYPESCRIPT.make()
    plan = Plan()
    summary = await crash(own_server, plan, tmp_path, (PYTHON, TYPESCRIPT))
    print(f"\n{summary}")
    assert not summary.problems, f"{summary}\n{own_server.log_tail()}"
    assert (summary.kills, summary.workflows) == (plan.kills, plan.workflows)
    assert summary.interrupted, "no kill hit a workflow that was open"
    assert summary.crossings == 3 * plan.workflows


@pytest.mark.crash
@pytest.mark.timeout(180)
async def test_a_server_that_forgets_is_found_out(tmp_path: Path) -> None:
    """The control: when a kill takes the data with it, the crash test says so."""
    server = ForgetfulServer(tmp_path)
    try:
        summary = await crash(server, Plan(workflows=20, kills=1), tmp_path)
    finally:
        server.stop()
    assert summary.problems
