//! The namespaces of a node, by name and by id.
//!
//! They are few and read by every call, so all are in memory; a change is durable before it shows.

use std::{
    collections::BTreeMap,
    sync::{Arc, PoisonError, RwLock},
    time::Duration,
};

use mainspring_api::ids::NamespaceId;
use mainspring_rt::Timestamp;
use mainspring_store::{Claim, Error as StoreError, Op, Scan, Store, Table, keys, record};
use tokio::sync::{Mutex, oneshot};

/// A namespace.
#[derive(Clone, PartialEq, prost::Message)]
struct Record {
    /// Text form of the id.
    #[prost(string, tag = "1")]
    id: String,
    #[prost(string, tag = "2")]
    pub name: String,
    /// A `NamespaceState`.
    #[prost(int32, tag = "3")]
    pub state: i32,
    #[prost(string, tag = "4")]
    pub description: String,
    #[prost(string, tag = "5")]
    pub owner_email: String,
    /// Nanoseconds.
    #[prost(int64, tag = "6")]
    pub retention: i64,
    #[prost(btree_map = "string, string", tag = "7")]
    pub data: BTreeMap<String, String>,
    /// Custom search attributes: name to `IndexedValueType`.
    #[prost(btree_map = "string, int32", tag = "8")]
    pub search_attributes: BTreeMap<String, i32>,
    /// Nanoseconds since the epoch.
    #[prost(int64, tag = "9")]
    pub created_at: i64,
}

/// A namespace, as it is used.
#[derive(Clone, Debug, PartialEq)]
pub struct Namespace {
    pub id: NamespaceId,
    pub name: String,
    /// A `NamespaceState`.
    pub state: i32,
    pub description: String,
    pub owner_email: String,
    /// How long closed runs are kept.
    pub retention: Duration,
    pub data: BTreeMap<String, String>,
    /// Custom search attributes: name to `IndexedValueType`.
    pub search_attributes: BTreeMap<String, i32>,
    pub created_at: Timestamp,
}

/// Why a namespace was not registered.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RegisterError {
    #[error("namespace already exists")]
    Exists,
    #[error("{0}")]
    Store(#[from] StoreError),
}

/// Why a namespace was not changed.
#[derive(Clone, Debug, thiserror::Error)]
pub enum ChangeError<E> {
    #[error("there is no such namespace")]
    Unknown,
    #[error("the change was refused")]
    Refused(E),
    #[error("{0}")]
    Store(#[from] StoreError),
}

/// All namespaces of the node.
pub struct Namespaces {
    store: Arc<dyn Store>,
    known: RwLock<Known>,
    /// One change at a time; the number of the next batch.
    writer: Mutex<(Claim, u64)>,
}

#[derive(Default)]
struct Known {
    by_name: BTreeMap<String, Arc<Namespace>>,
    by_id: BTreeMap<NamespaceId, Arc<Namespace>>,
}

impl Namespaces {
    /// Claims and reads them.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub async fn open(store: Arc<dyn Store>) -> Result<Namespaces, StoreError> {
        let claim = store.claim(keys::CLUSTER).await?;
        let mut known = Known::default();
        let keys::Range { mut from, to } = keys::kind(keys::CLUSTER, b'N');
        loop {
            let scan =
                Scan { table: Table::Meta, from, to: to.clone(), rows_max: 1_000, bytes_max: 4 << 20, reverse: false };
            let page = store.scan(scan).await?;
            for (key, value) in &page.rows {
                known.insert(Namespace::read(record::open(key, value.clone())?)?);
            }
            match page.rows.last() {
                Some((last, _)) if page.more => from = keys::after(last),
                _ => break,
            }
        }
        Ok(Namespaces { store, known: RwLock::new(known), writer: Mutex::new((claim, 1)) })
    }

    /// Of that name.
    pub fn by_name(&self, name: &str) -> Option<Arc<Namespace>> {
        self.known.read().unwrap_or_else(PoisonError::into_inner).by_name.get(name).cloned()
    }

    /// Of that id.
    pub fn by_id(&self, id: NamespaceId) -> Option<Arc<Namespace>> {
        self.known.read().unwrap_or_else(PoisonError::into_inner).by_id.get(&id).cloned()
    }

    /// All, by name.
    pub fn list(&self) -> Vec<Arc<Namespace>> {
        self.known.read().unwrap_or_else(PoisonError::into_inner).by_name.values().cloned().collect()
    }

    /// Adds a namespace; durable when it returns.
    ///
    /// # Errors
    /// The name is taken, or the store failed.
    pub async fn register(&self, namespace: Namespace) -> Result<(), RegisterError> {
        let mut writer = self.writer.lock().await;
        if self.by_name(&namespace.name).is_some() {
            return Err(RegisterError::Exists);
        }
        self.write(&mut writer, &namespace).await?;
        self.known.write().unwrap_or_else(PoisonError::into_inner).insert(namespace);
        Ok(())
    }

    /// Changes a namespace as it then stands; durable when it returns. Without a change nothing is written.
    ///
    /// # Errors
    /// It is not there, `change` refused, or the store failed; then nothing is changed.
    pub async fn change<E>(
        &self,
        id: NamespaceId,
        change: impl FnOnce(&mut Namespace) -> Result<(), E>,
    ) -> Result<Arc<Namespace>, ChangeError<E>> {
        let mut writer = self.writer.lock().await;
        let before = self.by_id(id).ok_or(ChangeError::Unknown)?;
        let mut namespace = before.as_ref().clone();
        change(&mut namespace).map_err(ChangeError::Refused)?;
        if namespace == *before {
            return Ok(before);
        }
        self.write(&mut writer, &namespace).await?;
        self.known.write().unwrap_or_else(PoisonError::into_inner).insert(namespace.clone());
        Ok(Arc::new(namespace))
    }

    async fn write(&self, writer: &mut (Claim, u64), namespace: &Namespace) -> Result<(), StoreError> {
        let ops = vec![Op::Put {
            table: Table::Meta,
            key: keys::namespace(namespace.id),
            value: record::seal(&namespace.record()),
        }];
        let (done, committed) = oneshot::channel();
        let seq = writer.1;
        writer.1 += 1;
        let answer = move |result| {
            let _ = done.send(result);
        };
        self.store.commit(writer.0, seq, ops, Box::new(answer));
        let result = committed.await.unwrap_or_else(|_| Err(StoreError::Unknown("the store was closed".to_owned())));
        if result.is_err() {
            *writer = (self.store.claim(keys::CLUSTER).await?, 1);
        }
        result
    }
}

impl Known {
    fn insert(&mut self, namespace: Namespace) {
        let namespace = Arc::new(namespace);
        if let Some(old) = self.by_id.insert(namespace.id, namespace.clone()) {
            self.by_name.remove(&old.name);
        }
        self.by_name.insert(namespace.name.clone(), namespace);
    }
}

impl Namespace {
    fn record(&self) -> Record {
        Record {
            id: self.id.to_string(),
            name: self.name.clone(),
            state: self.state,
            description: self.description.clone(),
            owner_email: self.owner_email.clone(),
            retention: i64::try_from(self.retention.as_nanos()).unwrap_or(i64::MAX),
            data: self.data.clone(),
            search_attributes: self.search_attributes.clone(),
            created_at: self.created_at.as_nanos(),
        }
    }

    fn read(record: Record) -> Result<Namespace, StoreError> {
        let id = uuid::Uuid::parse_str(&record.id)
            .map_err(|_| StoreError::Corrupt(format!("{} is no namespace id", record.id)))?;
        Ok(Namespace {
            id: NamespaceId(id),
            name: record.name,
            state: record.state,
            description: record.description,
            owner_email: record.owner_email,
            retention: Duration::from_nanos(u64::try_from(record.retention).unwrap_or(0)),
            data: record.data,
            search_attributes: record.search_attributes,
            created_at: Timestamp::from_nanos(record.created_at),
        })
    }
}
