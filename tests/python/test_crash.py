"""The crash test in its short form; `crash_test.py` runs it longer."""

from __future__ import annotations

from pathlib import Path

import pytest

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
