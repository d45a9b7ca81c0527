//! Tokens that callers hand back: opaque to them, with a checksum, so that a foreign or damaged one is noticed.

use bytes::Bytes;
use prost::Message;
use uuid::Uuid;

use mainspring_api::ids::NamespaceId;

const CHECKSUM_BYTES: usize = 4;

/// Names a task in a worker's hands.
#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct TaskToken {
    /// 16 bytes.
    #[prost(bytes = "bytes", tag = "1")]
    pub(crate) namespace_uuid: Bytes,
    #[prost(string, tag = "2")]
    pub(crate) workflow_id: String,
    #[prost(string, tag = "3")]
    pub(crate) run_id: String,
    #[prost(int64, tag = "4")]
    pub(crate) scheduled_event_id: i64,
    /// Of a workflow task.
    #[prost(int64, tag = "5")]
    pub(crate) started_event_id: i64,
    #[prost(int32, tag = "6")]
    pub(crate) attempt: i32,
    #[prost(uint32, tag = "7")]
    pub(crate) stamp: u32,
}

impl TaskToken {
    pub(crate) fn new(namespace_id: &str, workflow_id: &str, run_id: &str) -> TaskToken {
        TaskToken {
            namespace_uuid: Bytes::copy_from_slice(Uuid::parse_str(namespace_id).unwrap_or_default().as_bytes()),
            workflow_id: workflow_id.to_owned(),
            run_id: run_id.to_owned(),
            ..TaskToken::default()
        }
    }

    pub(crate) fn namespace(&self) -> NamespaceId {
        NamespaceId(Uuid::from_slice(&self.namespace_uuid).unwrap_or_default())
    }
}

/// Names a query in a worker's hands, that goes by itself.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub(crate) struct QueryToken {
    /// 16 bytes.
    #[prost(bytes = "bytes", tag = "1")]
    pub(crate) namespace_uuid: Bytes,
    #[prost(uint32, tag = "2")]
    pub(crate) shard: u32,
    #[prost(uint64, tag = "3")]
    pub(crate) query: u64,
}

impl QueryToken {
    pub(crate) fn new(namespace: NamespaceId, shard: u16, query: u64) -> QueryToken {
        let namespace_uuid = Bytes::copy_from_slice(namespace.0.as_bytes());
        QueryToken { namespace_uuid, shard: shard.into(), query }
    }

    pub(crate) fn namespace(&self) -> NamespaceId {
        NamespaceId(Uuid::from_slice(&self.namespace_uuid).unwrap_or_default())
    }
}

/// Where to read on in a history.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub(crate) struct PageToken {
    #[prost(string, tag = "1")]
    pub(crate) run_id: String,
    /// The first event not yet read.
    #[prost(int64, tag = "2")]
    pub(crate) next_event_id: i64,
    /// Where reading ends; only a reader that waits goes beyond.
    #[prost(int64, tag = "3")]
    pub(crate) end_event_id: i64,
}

/// A token of one kind must not pass for one of another: the checksum runs over the kind too.
pub(crate) trait Token: Message + Default {
    const KIND: &'static [u8];

    /// The bytes that the caller gets.
    fn seal(&self) -> Bytes {
        let mut sealed = self.encode_to_vec();
        let checksum = checksum(Self::KIND, &sealed);
        sealed.extend_from_slice(&checksum);
        sealed.into()
    }

    /// What [`Token::seal`] gave; nothing for any other bytes.
    fn open(sealed: &[u8]) -> Option<Self> {
        let (message, sum) = sealed.split_last_chunk::<CHECKSUM_BYTES>()?;
        if checksum(Self::KIND, message) != *sum {
            return None;
        }
        Self::decode(message).ok()
    }
}

impl Token for TaskToken {
    const KIND: &'static [u8] = b"task";
}

impl Token for QueryToken {
    const KIND: &'static [u8] = b"query";
}

impl Token for PageToken {
    const KIND: &'static [u8] = b"page";
}

/// Where to read on in the list of namespaces: after this name.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub(crate) struct NamespacePageToken {
    #[prost(string, tag = "1")]
    pub(crate) after: String,
}

impl Token for NamespacePageToken {
    const KIND: &'static [u8] = b"namespaces";
}

fn checksum(kind: &[u8], message: &[u8]) -> [u8; CHECKSUM_BYTES] {
    crc32c::crc32c_append(crc32c::crc32c(kind), message).to_be_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_sealed_opens() {
        let namespace = Uuid::from_u128(7);
        let token = TaskToken { attempt: 3, ..TaskToken::new(&namespace.to_string(), "w", "r") };
        let opened = TaskToken::open(&token.seal()).unwrap();
        assert_eq!((opened.namespace(), opened.attempt), (NamespaceId(namespace), 3));
    }

    #[test]
    fn nothing_else_opens() {
        let sealed = TaskToken::new("", "workflow", "run").seal();
        assert!(PageToken::open(&sealed).is_none(), "a token of another kind");
        for index in 0..sealed.len() {
            let mut damaged = sealed.to_vec();
            damaged[index] ^= 1;
            assert!(TaskToken::open(&damaged).is_none(), "byte {index}");
        }
        assert!(TaskToken::open(b"\xff\xfe\xfd").is_none());
        assert!(TaskToken::open(b"").is_none());
    }
}
