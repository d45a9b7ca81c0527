//! Server reflection, both versions of it. The descriptors take megabytes once decoded, so that is done when somebody
//! asks, which on most servers nobody does.

use std::{
    convert::Infallible,
    sync::{Arc, OnceLock},
};

use http::{Request, Response};
use tonic::{Status, body::Body, codec::CompressionEncoding};
use tonic_reflection::server::Builder;
use tower::{Service, ServiceExt, util::BoxCloneSyncService};

type Built = Option<BoxCloneSyncService<Request<Body>, Response<Body>, Infallible>>;

/// The reflection services, built on first use.
#[derive(Clone, Default)]
pub(crate) struct Reflection {
    v1: Arc<OnceLock<Built>>,
    v1alpha: Arc<OnceLock<Built>>,
}

impl Reflection {
    pub(crate) async fn call_v1(&self, request: Request<Body>) -> Response<Body> {
        let service = self.v1.get_or_init(|| {
            let service = builder().build_v1().ok()?;
            Some(BoxCloneSyncService::new(service.accept_compressed(CompressionEncoding::Gzip)))
        });
        call(service, request).await
    }

    pub(crate) async fn call_v1alpha(&self, request: Request<Body>) -> Response<Body> {
        let service = self.v1alpha.get_or_init(|| {
            let service = builder().build_v1alpha().ok()?;
            Some(BoxCloneSyncService::new(service.accept_compressed(CompressionEncoding::Gzip)))
        });
        call(service, request).await
    }
}

fn builder() -> Builder<'static> {
    Builder::configure()
        .register_encoded_file_descriptor_set(mainspring_api::DESCRIPTORS)
        .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)
}

async fn call(service: &Built, request: Request<Body>) -> Response<Body> {
    let Some(service) = service else {
        return Status::internal("the descriptors cannot be read").into_http();
    };
    let mut service = service.clone();
    let Ok(ready) = service.ready().await;
    let Ok(response) = ready.call(request).await;
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_descriptors_are_whole() {
        assert!(builder().build_v1().is_ok());
        assert!(builder().build_v1alpha().is_ok());
    }
}
