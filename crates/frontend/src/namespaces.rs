//! RegisterNamespace, DescribeNamespace, ListNamespaces.

use std::{collections::BTreeMap, time::Duration};

use mainspring_api::{
    ids::NamespaceId,
    time::{duration, from_duration},
    v1::{
        enums::{ArchivalState, NamespaceState, ReplicationState},
        namespace::{BadBinaries, NamespaceConfig, NamespaceInfo, namespace_info},
        replication::{ClusterReplicationConfig, NamespaceReplicationConfig},
        workflowservice::{
            DescribeNamespaceRequest, DescribeNamespaceResponse, ListNamespacesRequest, ListNamespacesResponse,
            RegisterNamespaceRequest, RegisterNamespaceResponse,
        },
    },
};
use mainspring_history::Namespace;
use tonic::Status;
use uuid::Uuid;

use crate::{
    Frontend,
    error::{self, invalid},
    server_info::CLUSTER_NAME,
    token::{NamespacePageToken, Token},
    validate,
};

/// `system.namespaceMinRetentionLocal`
const RETENTION_MIN: Duration = Duration::from_secs(3600);
const PAGE_DEFAULT: usize = 100;

impl Frontend {
    pub(crate) async fn register_namespace(
        &self,
        request: RegisterNamespaceRequest,
    ) -> Result<RegisterNamespaceResponse, Status> {
        if request.namespace.is_empty() {
            return Err(invalid("Namespace not set on request."));
        }
        validate::optional(&request.namespace, "Namespace", &self.shared.limits)?;
        check_retention(request.workflow_execution_retention_period.as_ref())?;
        let retention = from_duration(request.workflow_execution_retention_period.as_ref());
        if request.is_global_namespace {
            return Err(invalid("Cannot register global namespace when not enabled"));
        }
        let name = request.namespace.clone();
        let namespace = Namespace {
            id: NamespaceId(self.random_uuid()),
            name: request.namespace,
            state: NamespaceState::Registered as i32,
            description: request.description,
            owner_email: request.owner_email,
            retention,
            data: request.data,
            search_attributes: BTreeMap::new(),
            created_at: self.shared.rt.now(),
        };
        self.shared
            .history
            .namespaces()
            .register(namespace)
            .await
            .map_err(|error| error::registration(error, &name))?;
        Ok(RegisterNamespaceResponse {})
    }

    pub(crate) async fn describe_namespace(
        &self,
        request: DescribeNamespaceRequest,
    ) -> Result<DescribeNamespaceResponse, Status> {
        let namespace = match (request.namespace.as_str(), request.id.as_str()) {
            ("", "") => return Err(invalid("Namespace not set on request.")),
            (name, "") => self.namespace_in_any_state(name)?,
            ("", id) => {
                let uuid = Uuid::parse_str(id).map_err(|_| invalid("Invalid namespace id."))?;
                let found = self.shared.history.namespaces().by_id(NamespaceId(uuid));
                found.ok_or_else(|| error::namespace_not_found(id))?
            }
            _ => return Err(invalid("GetNamespace operation failed.  Both ID and Name specified in request.")),
        };
        Ok(self.described(&namespace))
    }

    pub(crate) async fn list_namespaces(
        &self,
        request: ListNamespacesRequest,
    ) -> Result<ListNamespacesResponse, Status> {
        let after = match request.next_page_token.as_ref() {
            [] => String::new(),
            sealed => NamespacePageToken::open(sealed).ok_or_else(|| invalid("Invalid NextPageToken."))?.after,
        };
        let size = usize::try_from(request.page_size).ok().filter(|size| *size > 0).unwrap_or(PAGE_DEFAULT);
        let with_deleted = request.namespace_filter.is_some_and(|filter| filter.include_deleted);
        let by_name: BTreeMap<_, _> = self
            .shared
            .history
            .namespaces()
            .list()
            .into_iter()
            .filter(|namespace| with_deleted || namespace.state != NamespaceState::Deleted as i32)
            .map(|namespace| (namespace.name.clone(), namespace))
            .collect();
        let mut rest = by_name.range(after.clone()..).filter(|(name, _)| **name > after || after.is_empty());
        let page: Vec<_> = rest.by_ref().take(size).collect();
        let next_page_token = match (page.last(), rest.next()) {
            (Some((last, _)), Some(_)) => NamespacePageToken { after: (*last).clone() }.seal(),
            _ => bytes::Bytes::new(),
        };
        let namespaces = page.into_iter().map(|(_, namespace)| self.described(namespace)).collect();
        Ok(ListNamespacesResponse { namespaces, next_page_token })
    }

    pub(crate) fn described(&self, namespace: &Namespace) -> DescribeNamespaceResponse {
        let bytes = i64::try_from(self.shared.limits.blob_bytes_max).unwrap_or(i64::MAX);
        let info = NamespaceInfo {
            name: namespace.name.clone(),
            state: namespace.state,
            description: namespace.description.clone(),
            owner_email: namespace.owner_email.clone(),
            data: namespace.data.clone(),
            id: namespace.id.to_string(),
            // Only what is there: SDKs turn features on by it.
            capabilities: Some(namespace_info::Capabilities {
                eager_workflow_start: true,
                sync_update: true,
                async_update: true,
                ..namespace_info::Capabilities::default()
            }),
            limits: Some(namespace_info::Limits {
                blob_size_limit_error: bytes,
                memo_size_limit_error: bytes,
                ..namespace_info::Limits::default()
            }),
            supports_schedules: false,
        };
        let config = NamespaceConfig {
            workflow_execution_retention_ttl: Some(duration(namespace.retention)),
            bad_binaries: Some(BadBinaries::default()),
            history_archival_state: ArchivalState::Disabled as i32,
            visibility_archival_state: ArchivalState::Disabled as i32,
            ..NamespaceConfig::default()
        };
        let replication_config = NamespaceReplicationConfig {
            active_cluster_name: CLUSTER_NAME.to_owned(),
            clusters: vec![ClusterReplicationConfig { cluster_name: CLUSTER_NAME.to_owned(), ..Default::default() }],
            state: ReplicationState::Normal as i32,
        };
        DescribeNamespaceResponse {
            namespace_info: Some(info),
            config: Some(config),
            replication_config: Some(replication_config),
            ..DescribeNamespaceResponse::default()
        }
    }
}

/// How long closed runs may be kept; negative spans count as none.
pub(crate) fn check_retention(retention: Option<&prost_types::Duration>) -> Result<(), Status> {
    if from_duration(retention) < RETENTION_MIN {
        return Err(invalid("A valid retention period is not set on request."));
    }
    Ok(())
}
