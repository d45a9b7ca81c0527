//! What this server is and can: GetSystemInfo, GetClusterInfo, and the answer to everything it cannot.

use mainspring_api::{
    DESCRIPTORS,
    v1::workflowservice::{
        GetClusterInfoRequest, GetClusterInfoResponse, GetSystemInfoRequest, GetSystemInfoResponse,
        get_system_info_response::Capabilities,
    },
};
use tonic::Status;
use uuid::Uuid;

use crate::{Frontend, error::not_implemented};

/// The version of the original whose behaviour is followed, as clients compare it, and our own behind it.
pub const SERVER_VERSION: &str = concat!("1.32.0+mainspring.", env!("CARGO_PKG_VERSION"));

/// The clients that the original declares support for.
const SUPPORTED_CLIENTS: &[(&str, &str)] = &[
    ("Nexus-go-sdk", "<2.0.0"),
    ("temporal-cli", "<2.0.0"),
    ("temporal-go", "<2.0.0"),
    ("temporal-java", "<2.0.0"),
    ("temporal-php", "<2.0.0"),
    ("temporal-server", "<2.0.0"),
    ("temporal-typescript", "<2.0.0"),
    ("temporal-ui", "<3.0.0"),
];
pub(crate) const CLUSTER_NAME: &str = "active";
/// Part of the data format; see `mainspring_store::SHARDS`.
pub(crate) const SHARDS: i32 = 512;

impl Frontend {
    /// Only what is there: SDKs turn features on by it.
    pub(crate) async fn get_system_info(&self, _: GetSystemInfoRequest) -> Result<GetSystemInfoResponse, Status> {
        let capabilities = Capabilities {
            signal_and_query_header: true,
            internal_error_differentiation: true,
            activity_failure_include_heartbeat: true,
            encoded_failure_attributes: true,
            upsert_memo: true,
            sdk_metadata: true,
            eager_workflow_start: true,
            // Workers name their build with each task they complete. None is kept from the tasks of another.
            build_id_based_versioning: true,
            ..Capabilities::default()
        };
        Ok(GetSystemInfoResponse { server_version: SERVER_VERSION.to_owned(), capabilities: Some(capabilities) })
    }

    pub(crate) async fn get_cluster_info(&self, _: GetClusterInfoRequest) -> Result<GetClusterInfoResponse, Status> {
        let clients = SUPPORTED_CLIENTS.iter().map(|(name, range)| ((*name).to_owned(), (*range).to_owned()));
        Ok(GetClusterInfoResponse {
            supported_clients: clients.collect(),
            server_version: SERVER_VERSION.to_owned(),
            cluster_id: self.cluster_id().to_string(),
            cluster_name: CLUSTER_NAME.to_owned(),
            history_shard_count: SHARDS,
            persistence_store: self.shared.store_name.to_owned(),
            visibility_store: self.shared.store_name.to_owned(),
            initial_failover_version: 1,
            failover_version_increment: 10,
            ..GetClusterInfoResponse::default()
        })
    }

    /// Belongs to the data, not to the process: derived from the oldest namespace, whose id never changes.
    pub(crate) fn cluster_id(&self) -> Uuid {
        let oldest = self.shared.history.namespaces().by_name("default");
        let seed = oldest.map_or(Uuid::nil(), |namespace| namespace.id.0);
        Uuid::new_v5(&seed, b"cluster")
    }
}

/// The answer to a method that is not served: the API may have it, or not.
pub(crate) fn unimplemented(service: &str, method: &str) -> Status {
    if is_declared(method) {
        not_implemented(method)
    } else {
        Status::unimplemented(format!("unknown method {method} for service {service}"))
    }
}

/// Looks for the method's declaration in the encoded descriptors: decoding them takes megabytes.
fn is_declared(method: &str) -> bool {
    const NAME: u8 = 0x0a;
    const INPUT_TYPE: u8 = 0x12;
    let Ok(length) = u8::try_from(method.len()) else { return false };
    let mut declaration = vec![NAME, length];
    declaration.extend_from_slice(method.as_bytes());
    declaration.push(INPUT_TYPE);
    !method.is_empty() && DESCRIPTORS.windows(declaration.len()).any(|window| window == declaration)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_api_has_is_told_from_what_it_has_not() {
        let later = unimplemented("service", "QueryWorkflow");
        assert_eq!(later.message(), "QueryWorkflow is not implemented by this server yet");
        let unknown = unimplemented("service", "NoSuchMethod");
        assert_eq!(unknown.message(), "unknown method NoSuchMethod for service service");
        assert!(!is_declared(""));
        assert!(is_declared("AddSearchAttributes"));
    }
}
