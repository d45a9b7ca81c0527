#!/usr/bin/env python3
"""Prints the history of a workflow: each event, or with --count how many there are of each type."""

import asyncio
from collections import Counter

from temporalio.api.enums.v1 import EventType

from connection import arguments, connect


def name_of(event) -> str:
    """`EVENT_TYPE_ACTIVITY_TASK_SCHEDULED` becomes `ActivityTaskScheduled`."""
    return EventType.Name(event.event_type).removeprefix("EVENT_TYPE_").title().replace("_", "")


def detail_of(event) -> str:
    """What sets an event apart from its neighbours: the activity it schedules, the event it follows."""
    attributes = getattr(event, event.WhichOneof("attributes") or "", None)
    if event.HasField("activity_task_scheduled_event_attributes"):
        return f"{attributes.activity_type.name} {attributes.input.payloads[0].data.decode()[:100]}"
    scheduled_event_id = getattr(attributes, "scheduled_event_id", 0)
    return f"of event {scheduled_event_id}" if scheduled_event_id else ""


async def main() -> None:
    parser = arguments(__doc__)
    parser.add_argument("workflow_id")
    parser.add_argument("--count", action="store_true")
    options = parser.parse_args()
    client = await connect(options.address)
    history = await client.get_workflow_handle(options.workflow_id).fetch_history()
    if options.count:
        for name, count in Counter(name_of(event) for event in history.events).items():
            print(f"{count:5} {name}")
        return
    for event in history.events:
        time = event.event_time.ToDatetime().isoformat(timespec="milliseconds")
        print(f"{event.event_id:5} {time} {name_of(event):32} {detail_of(event)}")


if __name__ == "__main__":
    asyncio.run(main())
