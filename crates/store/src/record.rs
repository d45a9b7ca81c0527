//! What stands in the values: encoding, checksum, and the small records that no other crate owns.
//!
//! Every value ends in the crc32c of what is before it. A value that does not match is [`Error::Corrupt`]: it stops the
//! run it belongs to, not the shard.

use bytes::{BufMut, Bytes, BytesMut};
use mainspring_matcher::{Task, TaskKey, Version};
use mainspring_rt::Timestamp;
use prost::Message;

use crate::{Error, keys};

/// Encodes a record and seals it.
pub fn seal(record: &impl Message) -> Bytes {
    let mut value = BytesMut::with_capacity(record.encoded_len() + 4);
    record.encode_raw(&mut value);
    finish(value)
}

/// Seals bytes that are stored as they are, joined from parts.
pub fn seal_parts(parts: &[Bytes]) -> Bytes {
    let mut value = BytesMut::with_capacity(parts.iter().map(Bytes::len).sum::<usize>() + 4);
    parts.iter().for_each(|part| value.put_slice(part));
    finish(value)
}

fn finish(mut value: BytesMut) -> Bytes {
    let crc = crc32c::crc32c(&value);
    value.put_u32_le(crc);
    value.freeze()
}

/// Takes the seal off.
///
/// # Errors
/// [`Error::Corrupt`] when it does not match; the text names the key.
pub fn unseal(key: &[u8], mut value: Bytes) -> Result<Bytes, Error> {
    let damaged = || Error::Corrupt(format!("the row {} does not match its checksum", hex(key)));
    let length = value.len().checked_sub(4).ok_or_else(damaged)?;
    let seal = value.split_off(length);
    if seal.as_ref() != crc32c::crc32c(&value).to_le_bytes() {
        return Err(damaged());
    }
    Ok(value)
}

/// Takes the seal off and decodes.
///
/// # Errors
/// [`Error::Corrupt`] when the seal does not match or the record cannot be read; the text names the key.
pub fn open<M: Message + Default>(key: &[u8], value: Bytes) -> Result<M, Error> {
    M::decode(unseal(key, value)?).map_err(|error| Error::Corrupt(format!("the row {}: {error}", hex(key))))
}

/// A key as operators see it.
pub(crate) fn hex(key: &[u8]) -> String {
    key.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Which run a workflow id, or a run id, stands for.
#[derive(Clone, PartialEq, Eq, Message)]
pub struct Current {
    /// The run's number.
    #[prost(uint64, tag = "1")]
    pub run: u64,
}

/// A task that waits in a queue.
#[derive(Clone, PartialEq, Eq, Message)]
pub struct TaskRow {
    #[prost(uint64, tag = "1")]
    pub run: u64,
    #[prost(int64, tag = "2")]
    pub event_id: i64,
    #[prost(uint32, tag = "3")]
    pub stamp: u32,
    /// Nanoseconds since the epoch; 0 is never.
    #[prost(int64, tag = "4")]
    pub expires: i64,
    /// The build it is meant for; empty for unversioned workers.
    #[prost(bytes = "bytes", tag = "5")]
    pub version: Bytes,
}

impl TaskRow {
    /// The row of a task.
    pub fn of(task: &Task) -> TaskRow {
        TaskRow {
            run: task.run,
            event_id: task.event_id,
            stamp: task.stamp,
            expires: task.expires.map_or(0, Timestamp::as_nanos),
            version: task.version.key().cloned().unwrap_or_default(),
        }
    }

    /// The task of a stored row.
    ///
    /// # Errors
    /// [`Error::Corrupt`].
    pub fn read(shard: u16, key: &[u8], value: Bytes) -> Result<Task, Error> {
        let row: TaskRow = open(key, value)?;
        let (_, level, task_id) =
            keys::parse_task(key).ok_or_else(|| Error::Corrupt(format!("{} is no key of a task", hex(key))))?;
        Ok(Task {
            key: TaskKey { level, task_id, shard },
            run: row.run,
            event_id: row.event_id,
            stamp: row.stamp,
            version: if row.version.is_empty() { Version::UNVERSIONED } else { Version::build(row.version) },
            expires: Some(Timestamp::from_nanos(row.expires)).filter(|at| !at.is_zero()),
        })
    }
}

/// Why a run is frozen.
#[derive(Clone, PartialEq, Eq, Message)]
pub struct Parked {
    #[prost(string, tag = "1")]
    pub workflow_id: String,
    /// What the input was, and how it failed.
    #[prost(string, tag = "2")]
    pub reason: String,
    /// Nanoseconds since the epoch.
    #[prost(int64, tag = "3")]
    pub at: i64,
}

/// What the visibility index has yet to hear of a run.
#[derive(Clone, PartialEq, Eq, Message)]
pub struct Unindexed {
    /// Rises with each change of the run.
    #[prost(int64, tag = "1")]
    pub version: i64,
    /// Set when the run was deleted: its ids, for nothing else of it is left.
    #[prost(string, tag = "2")]
    pub deleted_namespace_id: String,
    #[prost(string, tag = "3")]
    pub deleted_run_id: String,
}

/// What a shard remembers of itself.
#[derive(Clone, PartialEq, Eq, Message)]
pub struct ShardInfo {
    /// Task ids up to this one may be in use, whatever the clock says.
    #[prost(uint64, tag = "1")]
    pub task_id: u64,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flipped_bit_is_found_and_the_row_is_named() {
        let sealed = seal(&Current { run: 300 });
        assert_eq!(open::<Current>(b"k", sealed.clone()), Ok(Current { run: 300 }));
        for index in 0..sealed.len() {
            let mut damaged = sealed.to_vec();
            damaged[index] ^= 1;
            let error = open::<Current>(&[0xab], damaged.into()).unwrap_err();
            assert!(error.to_string().contains("ab"), "{error}");
        }
        assert!(open::<Current>(b"k", Bytes::from_static(&[1, 2])).is_err());
    }

    #[test]
    fn tasks_read_back() {
        let task = Task {
            key: TaskKey { level: 3, task_id: 9, shard: 7 },
            run: 1,
            event_id: 5,
            stamp: 2,
            version: Version::build(Bytes::from_static(b"v")),
            expires: Some(Timestamp::from_millis(8)),
        };
        let key = keys::task(crate::ShardId(7), &[1; 16], 3, 9);
        assert_eq!(TaskRow::read(7, &key, seal(&TaskRow::of(&task))), Ok(task));
    }
}
