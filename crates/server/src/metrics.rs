//! Counters of a node, and the endpoint where Prometheus reads them.
//!
//! Counting is a few atomic additions a call; everything else happens when somebody looks. Names are the original's
//! where it has the same figure, so that dashboards for it find them. `page` is the text, `endpoint` serves it.

pub(crate) mod endpoint;
mod page;
mod process;

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering::Relaxed},
};

use prost::Message;
use tonic::Code;

/// gRPC has the codes 0 to 16.
const CODES: usize = 17;

/// The counters of a node.
pub(crate) struct Metrics {
    /// Ordered by path.
    methods: Vec<Method>,
    /// Calls of methods that the API does not have: one counter for all, or a client could make up any number.
    unknown: Method,
    tls_handshakes_failed: AtomicU64,
    tls_reloads_failed: AtomicU64,
}

/// The counters of one method.
struct Method {
    path: String,
    ended: [AtomicU64; CODES],
    /// Began and not ended yet; of a poll: waiting.
    pending: AtomicU64,
    /// Answers with and without content; of a poll: with a task, and without.
    full: AtomicU64,
    empty: AtomicU64,
}

impl Metrics {
    /// Counters for every method of the API.
    pub(crate) fn new() -> Metrics {
        let mut methods: Vec<Method> = method_paths().into_iter().map(Method::new).collect();
        methods.sort_by(|a, b| a.path.cmp(&b.path));
        Metrics {
            methods,
            unknown: Method::new("/unknown/unknown".to_owned()),
            tls_handshakes_failed: AtomicU64::new(0),
            tls_reloads_failed: AtomicU64::new(0),
        }
    }

    /// A call begins.
    pub(crate) fn begin(self: &Arc<Metrics>, path: &str) -> Counted {
        let index = self.methods.binary_search_by(|method| method.path.as_str().cmp(path)).ok();
        let counted = Counted { metrics: self.clone(), index };
        counted.method().pending.fetch_add(1, Relaxed);
        counted
    }

    pub(crate) fn tls_handshake_failed(&self) {
        self.tls_handshakes_failed.fetch_add(1, Relaxed);
    }

    pub(crate) fn tls_reload_failed(&self) {
        self.tls_reloads_failed.fetch_add(1, Relaxed);
    }
}

impl Method {
    fn new(path: String) -> Method {
        Method {
            path,
            ended: std::array::from_fn(|_| AtomicU64::new(0)),
            pending: AtomicU64::new(0),
            full: AtomicU64::new(0),
            empty: AtomicU64::new(0),
        }
    }

    fn name(&self) -> &str {
        self.path.rsplit('/').next().unwrap_or_default()
    }
}

/// Finds the counters of one call's method.
#[derive(Clone)]
pub(crate) struct Counted {
    metrics: Arc<Metrics>,
    index: Option<usize>,
}

impl Counted {
    fn method(&self) -> &Method {
        self.index.map_or(&self.metrics.unknown, |index| &self.metrics.methods[index])
    }

    /// An answer of that size goes out.
    pub(crate) fn answered(&self, bytes: usize) {
        let method = self.method();
        let counter = if bytes == 0 { &method.empty } else { &method.full };
        counter.fetch_add(1, Relaxed);
    }

    /// A call that is dropped before its end counts as cancelled.
    pub(crate) fn until_end(self) -> Pending {
        Pending { counted: self, code: Code::Cancelled }
    }
}

/// A call under way.
pub(crate) struct Pending {
    counted: Counted,
    code: Code,
}

impl Pending {
    pub(crate) fn end(mut self, code: Code) {
        self.code = code;
    }
}

impl Drop for Pending {
    fn drop(&mut self) {
        let method = self.counted.method();
        method.pending.fetch_sub(1, Relaxed);
        method.ended[self.code as usize % CODES].fetch_add(1, Relaxed);
    }
}

/// `/service/method` of every method, read from the descriptors that reflection serves. Only what is needed of them is
/// decoded; the rest takes megabytes.
fn method_paths() -> Vec<String> {
    #[derive(Clone, PartialEq, Message)]
    struct Files {
        #[prost(message, repeated, tag = "1")]
        files: Vec<File>,
    }
    #[derive(Clone, PartialEq, Message)]
    struct File {
        #[prost(string, tag = "2")]
        package: String,
        #[prost(message, repeated, tag = "6")]
        services: Vec<Service>,
    }
    #[derive(Clone, PartialEq, Message)]
    struct Service {
        #[prost(string, tag = "1")]
        name: String,
        #[prost(message, repeated, tag = "2")]
        methods: Vec<Named>,
    }
    #[derive(Clone, PartialEq, Message)]
    struct Named {
        #[prost(string, tag = "1")]
        name: String,
    }

    let files = Files::decode(mainspring_api::DESCRIPTORS).unwrap_or_default().files;
    let mut paths = Vec::new();
    for file in files {
        for service in file.services {
            for method in service.methods {
                paths.push(format!("/{}.{}/{}", file.package, service.name, method.name));
            }
        }
    }
    paths
}

#[cfg(test)]
mod tests {
    use mainspring_frontend::{OPERATOR_SERVICE, WORKFLOW_SERVICE};

    use super::*;

    #[test]
    fn every_method_of_the_api_has_counters() {
        let metrics = Arc::new(Metrics::new());
        for known in [format!("/{WORKFLOW_SERVICE}/GetSystemInfo"), format!("/{OPERATOR_SERVICE}/ListClusters")] {
            assert_eq!(metrics.begin(&known).method().path, known);
        }
        assert_eq!(metrics.begin("/made.up/Method").method().path, "/unknown/unknown");
    }

    /// A client that goes away takes its poll out of those that wait.
    #[test]
    fn a_dropped_call_is_cancelled_and_waits_no_more() {
        let metrics = Arc::new(Metrics::new());
        let path = format!("/{WORKFLOW_SERVICE}/PollWorkflowTaskQueue");
        let counted = metrics.begin(&path);
        let method = counted.method();
        let pending = counted.clone().until_end();
        assert_eq!(method.pending.load(Relaxed), 1);
        drop(pending);
        assert_eq!(method.pending.load(Relaxed), 0);
        assert_eq!(method.ended[Code::Cancelled as usize].load(Relaxed), 1);
    }
}
