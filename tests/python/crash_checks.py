"""What the crash test holds against the server: plain functions over evidence that was gathered before.

Start reading at `judge`. Nothing here calls the server, so `crash_control.py` can hand in falsified evidence and see
that each kind of loss is noticed.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from temporalio.api.common.v1 import Payload, Payloads
from temporalio.api.enums.v1 import WorkflowExecutionStatus
from temporalio.api.history.v1 import HistoryEvent
from temporalio.api.workflow.v1 import WorkflowExecutionInfo
from temporalio.converter import default

from crash_worker import Entry
from support import attributes, event_name

COMPLETED = WorkflowExecutionStatus.WORKFLOW_EXECUTION_STATUS_COMPLETED
CLOSING = {f"WorkflowExecution{how}" for how in ("Completed", "Failed", "TimedOut", "Canceled", "Terminated")}
ACTIVITY_CLOSING = {f"ActivityTask{how}" for how in ("Completed", "Failed", "TimedOut", "Canceled")}
# Activity ids of an errand: what its own worker does, and what the worker of the other language does for it.
AT_HOME = {"make_value", "fail_twice", "complete_from_outside"}
ABROAD = {"abroad/fail_twice", "abroad/complete_from_outside"}

History = list[HistoryEvent]


@dataclass
class Errand:
    """One workflow and what the server has acknowledged about it."""

    workflow_id: str
    task_queue: str
    # The task queue of the worker in the other language, which does a part of the errand; none when there is no such.
    abroad: str | None = None
    run_id: str = ""
    signals: list[str] = field(default_factory=list)
    result: dict[str, Any] | None = None

    @property
    def part_id(self) -> str:
        """The workflow id of its child."""
        return f"{self.workflow_id}/part"


@dataclass
class Evidence:
    """What was acknowledged, what the workers did, and what the server says after it all."""

    errands: list[Errand]
    # Which language the worker of a task queue is written in.
    languages: dict[str, str]
    ledger: list[Entry]
    # The history of the current run of each workflow id: a second run would show here.
    histories: dict[str, History]
    # Every row of every page of ListWorkflowExecutions.
    listed: list[WorkflowExecutionInfo] = field(default_factory=list)
    # What CountWorkflowExecutions answers to each filter of COUNTED.
    counted: dict[str, int] = field(default_factory=dict)


@dataclass
class Summary:
    """What was done, and every difference between what was acknowledged and what is there."""

    seed: int
    languages: list[str]
    kills: int = 0
    # Workflows open at a kill, summed over the kills.
    interrupted: int = 0
    workflows: int = 0
    signals: int = 0
    completions: int = 0
    crossings: int = 0
    listed: int = 0
    falsified: int = 0
    retried_calls: int = 0
    events: int = 0
    seconds: float = 0.0
    problems: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        done = (
            f"crash test, {' and '.join(self.languages)}, seed {self.seed}: {self.kills} kills "
            f"with {self.interrupted} workflows open, {self.workflows} workflows completed once, "
            f"{self.signals} acknowledged signals and {self.completions} acknowledged activity completions found once, "
            f"{self.events} events without a gap, {self.crossings} activities and children done in the other language, "
            f"{self.listed} executions listed and counted once, {self.retried_calls} calls retried, "
            f"{self.falsified} falsified reports noticed, {self.seconds:.0f} s"
        )
        return "\n".join([done, *[f"LOST OR WRONG: {problem}" for problem in self.problems]])


def judge(evidence: Evidence, summary: Summary) -> None:
    """Counts what is right, and adds a line to the summary for each thing that is not."""
    ledger: dict[str, list[Entry]] = {}
    for entry in evidence.ledger:
        ledger.setdefault(entry.workflow_id, []).append(entry)
    for errand in evidence.errands:
        if errand.workflow_id in evidence.histories:
            judge_errand(errand, evidence, ledger, summary)
    problems = listing_problems(evidence)
    summary.problems += problems
    summary.listed += len(evidence.listed) if not problems else 0


def judge_errand(errand: Errand, evidence: Evidence, ledger: dict[str, list[Entry]], summary: Summary) -> None:
    """Judges one workflow and then its child."""
    check = Check(errand.workflow_id, evidence, summary)
    check.signals(errand.signals)
    values = check.activities(ledger.get(errand.workflow_id, []))
    if errand.result is None or errand.part_id not in evidence.histories:
        return
    part = Check(errand.part_id, evidence, summary)
    part_values = part.activities(ledger.get(errand.part_id, []))
    part.started_on(errand.abroad or errand.task_queue)
    part.ran_once(None)
    part.result(part_values.get("make_value"))
    check.started_on(errand.task_queue)
    check.ran_once(errand.run_id)
    check.did(set(values), AT_HOME | (ABROAD if errand.abroad else set()))
    check.result(values | {"part": part_values.get("make_value"), "notes": errand.signals})
    check.told(errand.result)
    summary.workflows += 1
    summary.crossings += len(ABROAD) + 1 if errand.abroad else 0


def listing_problems(evidence: Evidence) -> list[str]:
    """Where lists and counts of executions differ from the histories, which are the truth."""
    problems: list[str] = []
    rows: dict[str, list[WorkflowExecutionInfo]] = {}
    for row in evidence.listed:
        rows.setdefault(row.execution.workflow_id, []).append(row)
    for workflow_id, history in evidence.histories.items():
        own = rows.pop(workflow_id, [])
        if len(own) != 1:
            problems.append(f"{workflow_id}: listed {len(own)} times")
        elif (is_listed := as_listed(own[0])) != (expected := as_recorded(history)):
            problems.append(f"{workflow_id}: listed as {is_listed}, is {expected}")
    problems += [f"{workflow_id}: listed, and nobody started it" for workflow_id in rows]
    for query, belongs in COUNTED.items():
        expected_count = sum(belongs(history) for history in evidence.histories.values())
        if (count := evidence.counted.get(query, 0)) != expected_count:
            problems.append(f"{count} executions counted for {query!r}, there are {expected_count}")
    return problems


def as_listed(row: WorkflowExecutionInfo) -> dict[str, Any]:
    """What a list says about an execution, as far as a history says it too.

    The original server's index keeps microseconds.
    """
    return {
        "run": row.execution.run_id,
        "type": row.type.name,
        "task queue": row.task_queue,
        "status": WorkflowExecutionStatus.Name(row.status),
        "events": row.history_length,
        "start": row.start_time.ToMicroseconds(),
        "close": row.close_time.ToMicroseconds(),
        "parent": row.parent_execution.workflow_id,
    }


def as_recorded(history: History) -> dict[str, Any]:
    """What a list is to say about the execution with this history."""
    first = attributes(history[0])
    return {
        "run": first.original_execution_run_id,
        "type": first.workflow_type.name,
        "task queue": first.task_queue.name,
        "status": WorkflowExecutionStatus.Name(COMPLETED) if has_completed(history) else "not completed",
        "events": len(history),
        "start": history[0].event_time.ToMicroseconds(),
        "close": history[-1].event_time.ToMicroseconds(),
        "parent": first.parent_workflow_execution.workflow_id,
    }


def has_completed(history: History) -> bool:
    """True when the run ended well."""
    return event_name(history[-1]) == "WorkflowExecutionCompleted"


def is_type(name: str) -> Callable[[History], bool]:
    """A test for histories of one workflow type."""
    return lambda history: attributes(history[0]).workflow_type.name == name


# Filters for CountWorkflowExecutions, and which histories each of them means.
COUNTED: dict[str, Callable[[History], bool]] = {
    "WorkflowId IS NOT NULL": lambda history: True,
    "ExecutionStatus = 'Completed'": has_completed,
    "ExecutionStatus != 'Completed'": lambda history: not has_completed(history),
    "WorkflowType = 'Errand'": is_type("Errand"),
    "WorkflowType = 'Part' AND ExecutionStatus = 'Completed'": lambda it: is_type("Part")(it) and has_completed(it),
}


class Check:
    """The rules for one history, the first being ids without a gap; each breach becomes a line of the summary."""

    def __init__(self, workflow_id: str, evidence: Evidence, summary: Summary) -> None:
        self._workflow_id = workflow_id
        self._events = evidence.histories[workflow_id]
        self._names = [event_name(event) for event in self._events]
        self._languages = evidence.languages
        self._summary = summary
        summary.events += len(self._events)
        ids = [event.event_id for event in self._events]
        self._expect(ids == list(range(1, len(ids) + 1)), f"event ids {ids}")

    def started_on(self, task_queue: str) -> None:
        """The run belongs to this task queue."""
        own = attributes(self._events[0]).task_queue.name
        self._expect(own == task_queue, f"it runs on task queue {own}, not on {task_queue}")

    def ran_once(self, run_id: str | None) -> None:
        """The run is the acknowledged one, and it closed once, well, at its end."""
        first = attributes(self._events[0])
        self._expect(run_id in (None, first.original_execution_run_id), "the run is not the acknowledged one")
        closing = [name for name in self._names if name in CLOSING]
        well = closing == ["WorkflowExecutionCompleted"] and self._names[-1] == closing[0]
        self._expect(well, f"closing events {closing}, last {self._names[-1]}")

    def did(self, activity_ids: set[str], expected: set[str]) -> None:
        """The activities are those of the workflow's code."""
        self._expect(activity_ids == expected, f"activities {activity_ids}")

    def result(self, expected: Any) -> None:
        """The result in history is made of what the activities, the child and the signals brought."""
        if has_completed(self._events):
            [stored] = from_payloads(attributes(self._events[-1]).result)
            self._expect(stored == expected, f"result in history {stored}, made of {expected}")

    def told(self, result: dict[str, Any]) -> None:
        """The result that the client got is the one in history."""
        if has_completed(self._events):
            [stored] = from_payloads(attributes(self._events[-1]).result)
            self._expect(stored == result, f"result {result}, in history {stored}")

    def signals(self, acknowledged: list[str]) -> None:
        """Each acknowledged signal is in history exactly once."""
        found = Counter(from_payloads(attributes(event).input)[0] for event in self._named("WorkflowExecutionSignaled"))
        for text in acknowledged:
            once = self._expect(found.pop(text, 0) == 1, f"signal {text!r} is not there exactly once")
            self._summary.signals += once
        self._expect(not found, f"signals that nobody sent: {list(found)}")

    def activities(self, ledger: list[Entry]) -> dict[str, str]:
        """Each activity closed once, with a value that the attempt named in history made; acknowledged ones stand.

        Returns the values by activity id.
        """
        done: dict[str, str] = {}
        for scheduled in self._named("ActivityTaskScheduled"):
            activity_id = attributes(scheduled).activity_id
            closings = [event for event in self._events if closes(event, scheduled.event_id)]
            if not self._expect(len(closings) == 1, f"{activity_id} closed {len(closings)} times"):
                continue
            if not self._expect(
                closings[0].HasField("activity_task_completed_event_attributes"), f"{activity_id} failed"
            ):
                continue
            [done[activity_id]] = from_payloads(attributes(closings[0]).result)
            attempt = self._attempt(attributes(closings[0]).started_event_id)
            language = self._languages.get(attributes(scheduled).task_queue.name)
            made = {(own.language, own.attempt, own.value) for own in ledger if own.activity_id == activity_id}
            self._expect(
                (language, attempt, done[activity_id]) in made,
                f"{activity_id}: no attempt {attempt} in {language} made its result",
            )
        for entry in ledger:
            if entry.acknowledged:
                there = self._expect(done.get(entry.activity_id) == entry.value, f"acknowledged {entry} is not there")
                self._summary.completions += there
        return done

    def _attempt(self, started_event_id: int) -> int:
        """The attempt that an event with this id says it starts; 0 if there is no such event."""
        started = [event for event in self._named("ActivityTaskStarted") if event.event_id == started_event_id]
        return attributes(started[0]).attempt if started else 0

    def _named(self, name: str) -> list[HistoryEvent]:
        return [event for event, own in zip(self._events, self._names, strict=True) if own == name]

    def _expect(self, holds: bool, otherwise: str) -> bool:
        if not holds:
            self._summary.problems.append(f"{self._workflow_id}: {otherwise}")
        return holds


def closes(event: HistoryEvent, scheduled_event_id: int) -> bool:
    """True for the event that ends the activity scheduled by another."""
    return event_name(event) in ACTIVITY_CLOSING and attributes(event).scheduled_event_id == scheduled_event_id


def to_payloads(*values: Any) -> Payloads:
    """Values as the SDK encodes them."""
    payloads: list[Payload] = default().payload_converter.to_payloads(values)
    return Payloads(payloads=payloads)


def from_payloads(payloads: Payloads) -> list[Any]:
    """Values as the SDK decodes them."""
    return default().payload_converter.from_payloads(payloads.payloads)
