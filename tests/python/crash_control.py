"""Proves that the crash test can fail: evidence with one thing falsified, and a server that forgets.

A check that nothing can fail is worth nothing, so every run of the crash test ends with `unnoticed`.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable
from copy import deepcopy

from temporalio.api.enums.v1 import EventType, WorkflowExecutionStatus
from temporalio.api.history.v1 import HistoryEvent, MarkerRecordedEventAttributes

from crash_checks import COUNTED, Errand, Evidence, Summary, judge, to_payloads
from server import Server
from support import attributes, event_name

RUNNING = WorkflowExecutionStatus.WORKFLOW_EXECUTION_STATUS_RUNNING


class ForgetfulServer(Server):
    """A server that starts with nothing after each kill: the crash test must find that out."""

    def kill(self) -> None:
        """Ends the process and removes its data file with all that belongs to it."""
        super().kill()
        for path in self.directory.glob(f"{self._data_file.name}*"):
            shutil.rmtree(path) if path.is_dir() else path.unlink()


def unnoticed(evidence: Evidence, summary: Summary) -> list[str]:
    """The falsifications that the checks do not notice, tried on one good errand of each task queue."""
    first = {errand.task_queue: errand for errand in reversed(evidence.errands)}
    missed: list[str] = []
    for errand in first.values():
        alone = about(errand, evidence)
        if problems_of(alone):
            missed.append(f"{errand.workflow_id}: its evidence is not good, so it shows nothing when falsified")
            continue
        for name, falsify in FALSIFICATIONS.items():
            falsified = deepcopy(alone)
            falsify(falsified)
            if problems_of(falsified):
                summary.falsified += 1
            else:
                missed.append(f"{errand.workflow_id}: not noticed when {name}")
    return missed


def about(errand: Errand, evidence: Evidence) -> Evidence:
    """The evidence about one errand, as if there was no other."""
    ids = {errand.workflow_id, errand.part_id}
    histories = {workflow_id: history for workflow_id, history in evidence.histories.items() if workflow_id in ids}
    return Evidence(
        errands=[errand],
        languages=evidence.languages,
        ledger=[entry for entry in evidence.ledger if entry.workflow_id in ids],
        histories=histories,
        listed=[row for row in evidence.listed if row.execution.workflow_id in ids],
        counted={query: sum(map(belongs, histories.values())) for query, belongs in COUNTED.items()},
    )


def problems_of(evidence: Evidence) -> list[str]:
    """What the checks say."""
    summary = Summary(seed=0, languages=[])
    judge(evidence, summary)
    return summary.problems


def history(evidence: Evidence) -> list[HistoryEvent]:
    """The history of the one errand."""
    return evidence.histories[evidence.errands[0].workflow_id]


def named(evidence: Evidence, name: str) -> list[HistoryEvent]:
    """Its events of one type."""
    return [event for event in history(evidence) if event_name(event) == name]


def lose_signal(evidence: Evidence) -> None:
    lost = named(evidence, "WorkflowExecutionSignaled")[0]
    lost.event_type = EventType.EVENT_TYPE_MARKER_RECORDED
    lost.marker_recorded_event_attributes.CopyFrom(MarkerRecordedEventAttributes())


def double_signal(evidence: Evidence) -> None:
    again = deepcopy(named(evidence, "WorkflowExecutionSignaled")[0])
    again.event_id = len(history(evidence)) + 1
    history(evidence).append(again)


def forget_sent_signal(evidence: Evidence) -> None:
    evidence.errands[0].signals.pop()


def change_activity_result(evidence: Evidence) -> None:
    attributes(named(evidence, "ActivityTaskCompleted")[0]).result.CopyFrom(to_payloads("something else"))


def forget_attempt(evidence: Evidence) -> None:
    completed = {entry.activity_id for entry in evidence.ledger if entry.acknowledged}
    evidence.ledger = [entry for entry in evidence.ledger if entry.activity_id not in completed]


def acknowledge_another(evidence: Evidence) -> None:
    entry = deepcopy(next(entry for entry in evidence.ledger if entry.acknowledged))
    entry.value = "something else"
    evidence.ledger.append(entry)


def swap_language(evidence: Evidence) -> None:
    for entry in evidence.ledger:
        entry.language += " of old"


def leave_gap(evidence: Evidence) -> None:
    history(evidence).remove(named(evidence, "WorkflowTaskScheduled")[-1])


def close_twice(evidence: Evidence) -> None:
    again = deepcopy(history(evidence)[-1])
    again.event_id += 1
    history(evidence).append(again)


def tell_other_result(evidence: Evidence) -> None:
    assert evidence.errands[0].result is not None
    evidence.errands[0].result["notes"].reverse()


def store_other_result(evidence: Evidence) -> None:
    errand = evidence.errands[0]
    errand.result = {**(errand.result or {}), "part": "something else"}
    attributes(history(evidence)[-1]).result.CopyFrom(to_payloads(errand.result))


def acknowledge_other_run(evidence: Evidence) -> None:
    evidence.errands[0].run_id = "another"


def unlist(evidence: Evidence) -> None:
    evidence.listed.pop()


def list_twice(evidence: Evidence) -> None:
    evidence.listed.append(evidence.listed[0])


def list_as_running(evidence: Evidence) -> None:
    evidence.listed[0].status = RUNNING


def count_one_less(evidence: Evidence) -> None:
    evidence.counted["ExecutionStatus = 'Completed'"] -= 1


FALSIFICATIONS: dict[str, Callable[[Evidence], None]] = {
    "an acknowledged signal is missing": lose_signal,
    "a signal is there twice": double_signal,
    "a signal is there that was not sent": forget_sent_signal,
    "an activity has another result": change_activity_result,
    "no worker made a result": forget_attempt,
    "an acknowledged completion is missing": acknowledge_another,
    "a worker of the wrong language did it": swap_language,
    "an event is missing": leave_gap,
    "a workflow closes twice": close_twice,
    "the client is told another result": tell_other_result,
    "a result is not made of its parts": store_other_result,
    "another run is there": acknowledge_other_run,
    "an execution is not listed": unlist,
    "an execution is listed twice": list_twice,
    "an execution is listed as running": list_as_running,
    "a count is one less": count_one_less,
}
