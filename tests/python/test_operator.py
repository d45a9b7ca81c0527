"""OperatorService at the wire: search attributes of a namespace, the cluster."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import grpc
import pytest
from temporalio.api.common.v1 import Payload, SearchAttributes, WorkflowExecution
from temporalio.api.enums.v1 import IndexedValueType
from temporalio.api.errordetails.v1 import NamespaceNotFoundFailure
from temporalio.api.operatorservice import v1 as operator
from temporalio.api.operatorservice.v1.service_pb2_grpc import OperatorServiceStub
from temporalio.api.workflowservice import v1 as service
from temporalio.api.workflowservice.v1.service_pb2_grpc import WorkflowServiceStub

from server import NAMESPACE
from support import eventually, unique
from wire import CALL_S, invalid, refusal_of, start_request

KEYWORD = IndexedValueType.INDEXED_VALUE_TYPE_KEYWORD
INT = IndexedValueType.INDEXED_VALUE_TYPE_INT


@pytest.fixture
def operators(channel: grpc.aio.Channel) -> OperatorServiceStub:
    """The generated stub of OperatorService."""
    return OperatorServiceStub(channel)


def add(operators: OperatorServiceStub, namespace: str = NAMESPACE, **attributes: int) -> Any:
    """Adds search attributes."""
    request = operator.AddSearchAttributesRequest(namespace=namespace, search_attributes=attributes)
    return operators.AddSearchAttributes(request, timeout=CALL_S)


def remove(operators: OperatorServiceStub, *names: str, namespace: str = NAMESPACE) -> Any:
    """Removes search attributes."""
    request = operator.RemoveSearchAttributesRequest(namespace=namespace, search_attributes=names)
    return operators.RemoveSearchAttributes(request, timeout=CALL_S)


async def listed(operators: OperatorServiceStub) -> operator.ListSearchAttributesResponse:
    """All search attributes of the namespace."""
    request = operator.ListSearchAttributesRequest(namespace=NAMESPACE)
    return await operators.ListSearchAttributes(request, timeout=CALL_S)


def identifier() -> str:
    """A name for a search attribute that no other test uses."""
    return unique("Attribute").replace("-", "")


async def test_added_attribute_can_be_set_until_it_is_removed(
    api: WorkflowServiceStub, operators: OperatorServiceStub
) -> None:
    """It is listed, a workflow may carry it, and neither holds once it is removed."""
    name = identifier()
    value = Payload(metadata={"encoding": b"json/plain"}, data=json.dumps("Bern").encode())
    fields = {"search_attributes": SearchAttributes(indexed_fields={name: value})}
    await add(operators, **{name: KEYWORD})
    # Once more, and with another type: what is there stays as it is.
    await add(operators, **{name: INT})
    assert (await listed(operators)).custom_attributes[name] == KEYWORD

    async def carried() -> bool:
        workflow_id = unique("attribute")
        try:
            await api.StartWorkflowExecution(start_request(workflow_id, **fields), timeout=CALL_S)
        except grpc.aio.AioRpcError as error:
            assert error.code() == grpc.StatusCode.INVALID_ARGUMENT
            return False
        execution = WorkflowExecution(workflow_id=workflow_id)
        request = service.DescribeWorkflowExecutionRequest(namespace=NAMESPACE, execution=execution)
        described = await api.DescribeWorkflowExecution(request, timeout=CALL_S)
        carried = described.workflow_execution_info.search_attributes.indexed_fields[name]
        assert (carried.data, carried.metadata["type"]) == (value.data, b"Keyword")
        return True

    async def refused() -> bool:
        return not await carried()

    # The genuine server takes its time to hear of either.
    await eventually(carried)
    await remove(operators, name)
    await remove(operators, name)
    assert name not in (await listed(operators)).custom_attributes
    await eventually(refused)


async def test_system_attributes_are_listed_and_cannot_be_changed(
    api: WorkflowServiceStub, operators: OperatorServiceStub
) -> None:
    """Every namespace has them; their names are taken."""
    system = (await listed(operators)).system_attributes
    assert system["WorkflowId"] == KEYWORD
    assert system["HistoryLength"] == INT
    everywhere = await api.GetSearchAttributes(service.GetSearchAttributesRequest(), timeout=CALL_S)
    assert system.items() <= everywhere.keys.items()
    for name in ("WorkflowId", "BuildIds", "TemporalOfMine"):
        invalid(await refusal_of(add(operators, **{name: KEYWORD})), f"Search attribute {name} is reserved by system.")
    message = "Unable to remove non-custom search attributes: WorkflowId."
    invalid(await refusal_of(remove(operators, "WorkflowId")), message)


async def test_what_is_asked_of_attributes_has_to_be_whole(operators: OperatorServiceStub) -> None:
    """Nothing to add, no namespace, a type that there is not."""
    nothing = "SearchAttributes are not set on request."
    invalid(await refusal_of(add(operators)), nothing)
    invalid(await refusal_of(remove(operators)), nothing)
    unnamed = "Namespace is not set on request."
    invalid(await refusal_of(add(operators, "", Any1=KEYWORD)), unnamed)
    invalid(await refusal_of(remove(operators, "Any1", namespace="")), unnamed)
    invalid(await refusal_of(add(operators, Any1=99)), "Unknown search attribute type: 99.")
    untyped = "Unable to create search attributes: cannot have more than 0 search attribute of type Unspecified."
    invalid(await refusal_of(add(operators, Any1=0)), untyped)
    absent = unique("absent")
    refused = await refusal_of(add(operators, absent, Any1=KEYWORD))
    assert (refused.code, refused.message) == (grpc.StatusCode.NOT_FOUND, f"Namespace {absent} is not found.")
    assert isinstance(refused.detail, NamespaceNotFoundFailure)


async def test_additions_at_once_are_all_there(operators: OperatorServiceStub) -> None:
    """Each changes the namespace as the others left it."""
    names = [identifier() for _ in range(3)]
    kinds = [KEYWORD, INT, IndexedValueType.INDEXED_VALUE_TYPE_DOUBLE]
    await asyncio.gather(*(add(operators, **{name: kind}) for name, kind in zip(names, kinds, strict=True)))
    custom = (await listed(operators)).custom_attributes
    assert [custom[name] for name in names] == kinds
    await remove(operators, *names)


async def test_there_is_one_cluster(operators: OperatorServiceStub) -> None:
    """It is called `active` and says how many shards it has."""
    clusters = (await operators.ListClusters(operator.ListClustersRequest(), timeout=CALL_S)).clusters
    assert [cluster.cluster_name for cluster in clusters] == ["active"]
    assert clusters[0].history_shard_count > 0
    assert clusters[0].cluster_id
