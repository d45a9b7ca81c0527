//! UpdateNamespace and DeprecateNamespace: what of a namespace may change, and to what.

use mainspring_api::{
    time::from_duration,
    v1::{
        enums::{ArchivalState, NamespaceState, ReplicationState},
        namespace::{NamespaceConfig, UpdateNamespaceInfo},
        replication::NamespaceReplicationConfig,
        workflowservice::{
            DeprecateNamespaceRequest, DeprecateNamespaceResponse, UpdateNamespaceRequest, UpdateNamespaceResponse,
        },
    },
};
use mainspring_history::Namespace;
use tonic::Status;

use crate::{
    Frontend,
    error::{self, invalid, not_implemented},
    namespaces::check_retention,
    server_info::CLUSTER_NAME,
};

impl Frontend {
    pub(crate) async fn update_namespace(
        &self,
        request: UpdateNamespaceRequest,
    ) -> Result<UpdateNamespaceResponse, Status> {
        if request.namespace.is_empty() {
            return Err(invalid("Namespace not set on request."));
        }
        let namespace = self.namespace(&request.namespace)?;
        let name = namespace.name.clone();
        let changed = self.shared.history.namespaces().change(namespace.id, |namespace| update(namespace, request));
        let changed = changed.await.map_err(|error| error::change(error, &name))?;
        let described = self.described(&changed);
        Ok(UpdateNamespaceResponse {
            namespace_info: described.namespace_info,
            config: described.config,
            replication_config: described.replication_config,
            failover_version: described.failover_version,
            is_global_namespace: described.is_global_namespace,
        })
    }

    pub(crate) async fn deprecate_namespace(
        &self,
        request: DeprecateNamespaceRequest,
    ) -> Result<DeprecateNamespaceResponse, Status> {
        if request.namespace.is_empty() {
            return Err(invalid("Namespace not set on request."));
        }
        let namespace = self.namespace(&request.namespace)?;
        let deprecated = |namespace: &mut Namespace| {
            namespace.state = NamespaceState::Deprecated as i32;
            Ok(())
        };
        let changed = self.shared.history.namespaces().change(namespace.id, deprecated).await;
        changed.map_err(|error| error::change(error, &namespace.name))?;
        Ok(DeprecateNamespaceResponse {})
    }
}

fn update(namespace: &mut Namespace, request: UpdateNamespaceRequest) -> Result<(), Status> {
    if request.promote_namespace {
        return Err(invalid(format!(
            "global namespace is not enabled on this cluster, cannot update global namespace or promote local \
             namespace: {}",
            namespace.name
        )));
    }
    if !request.delete_bad_binary.is_empty() {
        return Err(invalid(format!("Bad binary checksum {} doesn't exists.", request.delete_bad_binary)));
    }
    if let Some(info) = request.update_info {
        update_info(namespace, info)?;
    }
    if let Some(config) = request.config {
        update_config(namespace, &config)?;
    }
    request.replication_config.map_or(Ok(()), |replication| check_replication(&replication))
}

/// Empty fields stay as they are, and so do the keys of `data` that are not named.
fn update_info(namespace: &mut Namespace, info: UpdateNamespaceInfo) -> Result<(), Status> {
    let state = info.state();
    if !info.description.is_empty() {
        namespace.description = info.description;
    }
    if !info.owner_email.is_empty() {
        namespace.owner_email = info.owner_email;
    }
    namespace.data.extend(info.data);
    if state != NamespaceState::Unspecified {
        check_state_change(namespace.state, state)?;
        namespace.state = state as i32;
    }
    Ok(())
}

/// A state leads only further away from use.
fn check_state_change(from: i32, to: NamespaceState) -> Result<(), Status> {
    if from <= to as i32 { Ok(()) } else { Err(invalid("Invalid namespace state update.")) }
}

fn update_config(namespace: &mut Namespace, config: &NamespaceConfig) -> Result<(), Status> {
    if let Some(retention) = &config.workflow_execution_retention_ttl {
        check_retention(Some(retention))?;
        namespace.retention = from_duration(Some(retention));
    }
    if config.bad_binaries.as_ref().is_some_and(|bad| !bad.binaries.is_empty()) {
        return Err(not_implemented("a bad binary"));
    }
    if !config.custom_search_attribute_aliases.is_empty() {
        return Err(not_implemented("an alias of a search attribute"));
    }
    let archives = |state| state == ArchivalState::Enabled as i32;
    if archives(config.history_archival_state) || archives(config.visibility_archival_state) {
        return Err(not_implemented("archival"));
    }
    Ok(())
}

/// There is one cluster, and each namespace is in it.
fn check_replication(replication: &NamespaceReplicationConfig) -> Result<(), Status> {
    let named = replication.clusters.iter().map(|cluster| &cluster.cluster_name);
    let named = named.chain(Some(&replication.active_cluster_name).filter(|name| !name.is_empty()));
    for name in named {
        if name != CLUSTER_NAME {
            return Err(invalid(format!("Invalid cluster name: {name}")));
        }
    }
    match replication.state() {
        ReplicationState::Unspecified | ReplicationState::Normal => Ok(()),
        ReplicationState::Handover => Err(not_implemented("a handover")),
    }
}

#[cfg(test)]
mod tests {
    use std::{collections::BTreeMap, time::Duration};

    use mainspring_api::{ids::NamespaceId, time::duration, v1::replication::ClusterReplicationConfig};
    use mainspring_rt::Timestamp;

    use super::*;

    fn namespace() -> Namespace {
        Namespace {
            id: NamespaceId(uuid::Uuid::nil()),
            name: "orders".to_owned(),
            state: NamespaceState::Registered as i32,
            description: "first".to_owned(),
            owner_email: "a@b".to_owned(),
            retention: Duration::from_secs(86_400),
            data: BTreeMap::from([("a".to_owned(), "1".to_owned())]),
            search_attributes: BTreeMap::new(),
            created_at: Timestamp::ZERO,
        }
    }

    fn with_info(info: UpdateNamespaceInfo) -> UpdateNamespaceRequest {
        UpdateNamespaceRequest { update_info: Some(info), ..UpdateNamespaceRequest::default() }
    }

    fn with_retention(seconds: u64) -> UpdateNamespaceRequest {
        let ttl = Some(duration(Duration::from_secs(seconds)));
        let config = NamespaceConfig { workflow_execution_retention_ttl: ttl, ..NamespaceConfig::default() };
        UpdateNamespaceRequest { config: Some(config), ..UpdateNamespaceRequest::default() }
    }

    #[test]
    fn what_is_not_named_stays() {
        let mut namespace = namespace();
        let data = [("b".to_owned(), "2".to_owned())].into_iter().collect();
        update(&mut namespace, with_info(UpdateNamespaceInfo { data, ..UpdateNamespaceInfo::default() })).unwrap();
        assert_eq!((namespace.description.as_str(), namespace.data.len()), ("first", 2));
        update(&mut namespace, with_retention(7_200)).unwrap();
        assert_eq!(namespace.retention, Duration::from_secs(7_200));
    }

    #[test]
    fn a_state_leads_only_further_away_from_use() {
        let to = |state: NamespaceState| UpdateNamespaceInfo { state: state as i32, ..UpdateNamespaceInfo::default() };
        let mut namespace = namespace();
        update(&mut namespace, with_info(to(NamespaceState::Registered))).unwrap();
        update(&mut namespace, with_info(to(NamespaceState::Deprecated))).unwrap();
        let refused = update(&mut namespace, with_info(to(NamespaceState::Registered))).unwrap_err();
        assert_eq!(refused.message(), "Invalid namespace state update.");
    }

    #[test]
    fn what_cannot_be_has_the_originals_text() {
        let text = |request| update(&mut namespace(), request).unwrap_err().message().to_owned();
        assert_eq!(text(with_retention(7)), "A valid retention period is not set on request.");
        let clusters = vec![ClusterReplicationConfig { cluster_name: "other".to_owned(), ..Default::default() }];
        let replication = NamespaceReplicationConfig { clusters, ..NamespaceReplicationConfig::default() };
        let request = UpdateNamespaceRequest { replication_config: Some(replication), ..Default::default() };
        assert_eq!(text(request), "Invalid cluster name: other");
        let request = UpdateNamespaceRequest { delete_bad_binary: "abc".to_owned(), ..Default::default() };
        assert_eq!(text(request), "Bad binary checksum abc doesn't exists.");
    }
}
