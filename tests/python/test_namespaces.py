"""Namespaces at the wire: registration, changes, states, and pages of their list."""

from __future__ import annotations

from typing import Any

import grpc
import pytest
from temporalio.api.common.v1 import WorkflowExecution
from temporalio.api.enums.v1 import NamespaceState
from temporalio.api.errordetails.v1 import (
    NamespaceAlreadyExistsFailure,
    NamespaceInvalidStateFailure,
    NamespaceNotFoundFailure,
)
from temporalio.api.namespace.v1 import NamespaceConfig, UpdateNamespaceInfo
from temporalio.api.replication.v1 import NamespaceReplicationConfig
from temporalio.api.workflowservice import v1 as service
from temporalio.api.workflowservice.v1.service_pb2_grpc import WorkflowServiceStub

from support import eventually, unique
from wire import CALL_S, Refusal, duration, invalid, not_found, refusal_of, signal_request, start_request

DAY_S = 24 * 3600
RETENTION_TEXT = "A valid retention period is not set on request."


async def register(api: WorkflowServiceStub, name: str, **fields: Any) -> None:
    """Registers a namespace that keeps closed runs for a day, unless `fields` say otherwise."""
    fields.setdefault("workflow_execution_retention_period", duration(DAY_S))
    await api.RegisterNamespace(service.RegisterNamespaceRequest(namespace=name, **fields), timeout=CALL_S)


async def describe(api: WorkflowServiceStub, **named: str) -> service.DescribeNamespaceResponse:
    """A namespace by name or id."""
    return await api.DescribeNamespace(service.DescribeNamespaceRequest(**named), timeout=CALL_S)


def update(api: WorkflowServiceStub, name: str, **fields: Any) -> Any:
    """Asks for a change."""
    return api.UpdateNamespace(service.UpdateNamespaceRequest(namespace=name, **fields), timeout=CALL_S)


async def test_registered_namespace_is_described_by_name_and_id(api: WorkflowServiceStub) -> None:
    """Both ways show the same; both at once and neither are refused."""
    name = unique("namespace")
    await register(api, name, description="mine", owner_email="me@here", data={"a": "1"})
    by_name = await describe(api, namespace=name)
    info = by_name.namespace_info
    assert (info.description, info.owner_email, dict(info.data)) == ("mine", "me@here", {"a": "1"})
    assert info.state == NamespaceState.NAMESPACE_STATE_REGISTERED
    assert info.capabilities.eager_workflow_start
    assert by_name.config.workflow_execution_retention_ttl.seconds == DAY_S
    assert by_name.replication_config.active_cluster_name == "active"
    assert await describe(api, id=info.id) == by_name
    both = await refusal_of(describe(api, namespace=name, id=info.id))
    invalid(both, "GetNamespace operation failed.  Both ID and Name specified in request.")
    invalid(await refusal_of(describe(api)), "Namespace not set on request.")


async def test_what_cannot_be_registered(api: WorkflowServiceStub) -> None:
    """A name that is taken, and a retention that is too short."""
    name = unique("namespace")
    await register(api, name)
    taken = await refusal_of(register(api, name))
    assert (taken.code, taken.message) == (grpc.StatusCode.ALREADY_EXISTS, f'Namespace "{name}" already exists')
    assert isinstance(taken.detail, NamespaceAlreadyExistsFailure)
    for seconds in (0, 60, -60):
        short = register(api, unique("namespace"), workflow_execution_retention_period=duration(seconds))
        invalid(await refusal_of(short), RETENTION_TEXT)
    everywhere = await refusal_of(register(api, unique("namespace"), is_global_namespace=True))
    invalid(everywhere, "Cannot register global namespace when not enabled")


async def test_update_changes_what_is_named(api: WorkflowServiceStub) -> None:
    """Empty fields stay, data is merged by key, and the answer shows the whole."""
    name = unique("namespace")
    await register(api, name, description="first", owner_email="me@here", data={"a": "1"})
    info = UpdateNamespaceInfo(owner_email="you@there", data={"b": "2"})
    changed = await update(api, name, update_info=info)
    shown = changed.namespace_info
    assert (shown.description, shown.owner_email, dict(shown.data)) == ("first", "you@there", {"a": "1", "b": "2"})
    config = NamespaceConfig(workflow_execution_retention_ttl=duration(2 * DAY_S))
    changed = await update(api, name, config=config)
    assert changed.config.workflow_execution_retention_ttl.seconds == 2 * DAY_S
    shown = await describe(api, namespace=name)
    assert shown.namespace_info == changed.namespace_info
    assert shown.config == changed.config


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"config": NamespaceConfig(workflow_execution_retention_ttl=duration(7))}, RETENTION_TEXT),
        ({"config": NamespaceConfig(workflow_execution_retention_ttl=duration(-7))}, RETENTION_TEXT),
        (
            {"replication_config": NamespaceReplicationConfig(active_cluster_name="other")},
            "Invalid cluster name: other",
        ),
        ({"delete_bad_binary": "abc"}, "Bad binary checksum abc doesn't exists."),
    ],
    ids=["retention", "negative retention", "cluster", "binary"],
)
async def test_invalid_update(api: WorkflowServiceStub, fields: dict[str, Any], message: str) -> None:
    """A change that breaks a rule is refused with the text that names it."""
    name = unique("namespace")
    await register(api, name)
    invalid(await refusal_of(update(api, name, **fields)), message)


async def test_absent_namespace_cannot_be_changed(api: WorkflowServiceStub) -> None:
    """Neither updated nor deprecated."""
    name = unique("absent")
    deprecate = api.DeprecateNamespace(service.DeprecateNamespaceRequest(namespace=name), timeout=CALL_S)
    for refused in (await refusal_of(update(api, name)), await refusal_of(deprecate)):
        assert (refused.code, refused.message) == (grpc.StatusCode.NOT_FOUND, f"Namespace {name} is not found.")
        assert isinstance(refused.detail, NamespaceNotFoundFailure)
    invalid(await refusal_of(update(api, "")), "Namespace not set on request.")


async def test_deprecated_namespace_starts_nothing(api: WorkflowServiceStub) -> None:
    """What runs goes on; there is no way back."""
    name = unique("namespace")
    await register(api, name)
    # The genuine server hears of a namespace only after a while.
    await eventually(lambda: started(api, name))
    for _ in range(2):
        await api.DeprecateNamespace(service.DeprecateNamespaceRequest(namespace=name), timeout=CALL_S)
    refused = await eventually(lambda: refused_start(api, name))
    assert refused.code == grpc.StatusCode.FAILED_PRECONDITION
    assert refused.message == "Namespace has invalid state: Deprecated. Must be Registered."
    assert isinstance(refused.detail, NamespaceInvalidStateFailure)
    assert list(refused.detail.allowed_states) == [NamespaceState.NAMESPACE_STATE_REGISTERED]
    absent = signal_request(WorkflowExecution(workflow_id="absent"), namespace=name)
    signal = api.SignalWorkflowExecution(absent, timeout=CALL_S)
    not_found(await refusal_of(signal), "workflow not found for ID: absent")
    back = UpdateNamespaceInfo(state=NamespaceState.NAMESPACE_STATE_REGISTERED)
    invalid(await refusal_of(update(api, name, update_info=back)), "Invalid namespace state update.")


async def started(api: WorkflowServiceStub, namespace: str) -> bool:
    """Starts a workflow; false while the namespace is not known."""
    try:
        await api.StartWorkflowExecution(start_request(unique("first"), namespace=namespace), timeout=CALL_S)
    except grpc.aio.AioRpcError as error:
        assert error.code() == grpc.StatusCode.NOT_FOUND
        return False
    return True


async def refused_start(api: WorkflowServiceStub, namespace: str) -> Refusal | None:
    """The refusal of a start; nothing while it is still allowed."""
    request = start_request(unique("next"), namespace=namespace)
    try:
        await api.StartWorkflowExecution(request, timeout=CALL_S)
    except grpc.aio.AioRpcError:
        return await refusal_of(api.StartWorkflowExecution(request, timeout=CALL_S))
    return None


async def test_list_comes_in_pages(api: WorkflowServiceStub) -> None:
    """Each namespace once, whatever the size of a page."""
    names = {unique("namespace") for _ in range(3)}
    for name in names:
        await register(api, name)
    listed: list[str] = []
    token = b""
    while True:
        request = service.ListNamespacesRequest(page_size=2, next_page_token=token)
        page = await api.ListNamespaces(request, timeout=CALL_S)
        assert len(page.namespaces) <= 2
        listed += [namespace.namespace_info.name for namespace in page.namespaces]
        token = page.next_page_token
        if not token:
            break
    assert len(set(listed)) == len(listed)
    assert names | {"default"} <= set(listed)
