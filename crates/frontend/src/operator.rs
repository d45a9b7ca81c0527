//! OperatorService: search attributes of a namespace, and the one cluster there is. With GetSearchAttributes, which
//! clients of old ask instead.

use std::collections::BTreeMap;

use mainspring_api::v1::{
    enums::IndexedValueType,
    operatorservice::{
        AddSearchAttributesRequest, AddSearchAttributesResponse, ClusterMetadata, ListClustersRequest,
        ListClustersResponse, ListSearchAttributesRequest, ListSearchAttributesResponse, RemoveSearchAttributesRequest,
        RemoveSearchAttributesResponse,
    },
    workflowservice::{GetSearchAttributesRequest, GetSearchAttributesResponse},
};
use mainspring_history::Namespace;
use tonic::Status;

use crate::{
    Frontend,
    error::{self, invalid},
    search_attributes::{is_reserved, system, type_name},
    server_info::{CLUSTER_NAME, SHARDS},
};

impl Frontend {
    pub(crate) async fn add_search_attributes(
        &self,
        request: AddSearchAttributesRequest,
    ) -> Result<AddSearchAttributesResponse, Status> {
        let namespace = self.operated_namespace(&request.namespace)?;
        if request.search_attributes.is_empty() {
            return Err(invalid("SearchAttributes are not set on request."));
        }
        for (name, kind) in &request.search_attributes {
            if is_reserved(name) {
                return Err(invalid(format!("Search attribute {name} is reserved by system.")));
            }
            if IndexedValueType::try_from(*kind).is_err() {
                return Err(invalid(format!("Unknown search attribute type: {kind}.")));
            }
        }
        let added = |namespace: &mut Namespace| add(&mut namespace.search_attributes, request.search_attributes);
        let changed = self.shared.history.namespaces().change(namespace.id, added).await;
        changed.map_err(|error| error::change(error, &namespace.name))?;
        Ok(AddSearchAttributesResponse {})
    }

    /// What is gone already is no error. Values that runs have stay with them.
    pub(crate) async fn remove_search_attributes(
        &self,
        request: RemoveSearchAttributesRequest,
    ) -> Result<RemoveSearchAttributesResponse, Status> {
        let namespace = self.operated_namespace(&request.namespace)?;
        if request.search_attributes.is_empty() {
            return Err(invalid("SearchAttributes are not set on request."));
        }
        if let Some(reserved) = request.search_attributes.iter().find(|name| is_reserved(name)) {
            return Err(invalid(format!("Unable to remove non-custom search attributes: {reserved}.")));
        }
        let removed = |namespace: &mut Namespace| {
            namespace.search_attributes.retain(|name, _| !request.search_attributes.contains(name));
            Ok(())
        };
        let changed = self.shared.history.namespaces().change(namespace.id, removed).await;
        changed.map_err(|error| error::change(error, &namespace.name))?;
        Ok(RemoveSearchAttributesResponse {})
    }

    pub(crate) async fn list_search_attributes(
        &self,
        request: ListSearchAttributesRequest,
    ) -> Result<ListSearchAttributesResponse, Status> {
        let namespace = self.operated_namespace(&request.namespace)?;
        Ok(ListSearchAttributesResponse {
            custom_attributes: namespace.search_attributes.clone().into_iter().collect(),
            system_attributes: system().map(|(name, kind)| (name.to_owned(), kind as i32)).collect(),
            storage_schema: [].into(),
        })
    }

    /// Of all namespaces: the request names none.
    pub(crate) async fn get_search_attributes(
        &self,
        _: GetSearchAttributesRequest,
    ) -> Result<GetSearchAttributesResponse, Status> {
        let namespaces = self.shared.history.namespaces().list();
        let custom = namespaces.iter().flat_map(|namespace| namespace.search_attributes.clone());
        let system = system().map(|(name, kind)| (name.to_owned(), kind as i32));
        Ok(GetSearchAttributesResponse { keys: custom.chain(system).collect() })
    }

    pub(crate) async fn list_clusters(&self, _: ListClustersRequest) -> Result<ListClustersResponse, Status> {
        let this = ClusterMetadata {
            cluster_name: CLUSTER_NAME.to_owned(),
            cluster_id: self.cluster_id().to_string(),
            initial_failover_version: 1,
            history_shard_count: SHARDS,
            is_connection_enabled: true,
            ..ClusterMetadata::default()
        };
        Ok(ListClustersResponse { clusters: vec![this], next_page_token: bytes::Bytes::new() })
    }

    fn operated_namespace(&self, name: &str) -> Result<std::sync::Arc<Namespace>, Status> {
        if name.is_empty() {
            return Err(invalid("Namespace is not set on request."));
        }
        self.namespace(name)
    }
}

/// Adds what is not there. A name that is taken keeps its type, as in the original.
fn add(attributes: &mut BTreeMap<String, i32>, given: impl IntoIterator<Item = (String, i32)>) -> Result<(), Status> {
    for (name, kind) in given {
        attributes.entry(name).or_insert(kind);
    }
    for kind in attributes.values() {
        let kind = IndexedValueType::try_from(*kind).unwrap_or_default();
        let max = count_max(kind);
        if attributes.values().filter(|other| **other == kind as i32).count() > max {
            let kind = type_name(kind);
            return Err(invalid(format!(
                "Unable to create search attributes: cannot have more than {max} search attribute of type {kind}."
            )));
        }
    }
    Ok(())
}

/// How many attributes of a type a namespace may have. The original's SQL stores have columns for 3 to 10; these are
/// the ceilings of Temporal's cloud.
fn count_max(kind: IndexedValueType) -> usize {
    match kind {
        IndexedValueType::Unspecified => 0,
        IndexedValueType::Text | IndexedValueType::KeywordList => 5,
        IndexedValueType::Keyword => 40,
        IndexedValueType::Int | IndexedValueType::Double | IndexedValueType::Bool | IndexedValueType::Datetime => 20,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn named(prefix: &str, count: usize, kind: IndexedValueType) -> Vec<(String, i32)> {
        (0..count).map(|n| (format!("{prefix}{n}"), kind as i32)).collect()
    }

    #[test]
    fn a_name_that_is_taken_keeps_its_type() {
        let mut attributes = BTreeMap::from([("City".to_owned(), IndexedValueType::Keyword as i32)]);
        add(&mut attributes, named("City", 0, IndexedValueType::Int)).unwrap();
        add(&mut attributes, [("City".to_owned(), IndexedValueType::Int as i32)]).unwrap();
        assert_eq!(attributes["City"], IndexedValueType::Keyword as i32);
    }

    #[test]
    fn each_type_has_its_ceiling() {
        let mut attributes = BTreeMap::new();
        add(&mut attributes, named("K", 40, IndexedValueType::Keyword)).unwrap();
        add(&mut attributes, named("L", 5, IndexedValueType::KeywordList)).unwrap();
        let refused = add(&mut attributes, named("M", 1, IndexedValueType::KeywordList)).unwrap_err();
        let text = "Unable to create search attributes: cannot have more than 5 search attribute of type KeywordList.";
        assert_eq!(refused.message(), text);
        let untyped = add(&mut BTreeMap::new(), named("U", 1, IndexedValueType::Unspecified)).unwrap_err();
        assert!(untyped.message().ends_with("more than 0 search attribute of type Unspecified."));
    }
}
