//! The file beside the database that remembers how far commits were acknowledged.
//!
//! SQLite recovers a write-ahead log up to the first frame whose checksum does not fit and silently drops the rest: one
//! flipped byte can take acknowledged batches away without an error. So the number of the newest acknowledged group is
//! kept here too, and a database that knows less refuses to open.
//!
//! Two slots of 16 bytes, a block apart so that no torn write reaches both: number (u64), magic (u32), crc32c of the 12
//! bytes before it (u32), little-endian. The older slot is overwritten; the larger valid number counts.

use std::{
    fs::{File, OpenOptions},
    io::{self, Read, Seek, SeekFrom, Write},
    path::Path,
};

use super::format::sync_directory_of;

const SLOT_BYTES: usize = 16;
const SLOT_OFFSETS: [usize; 2] = [0, 4096];
const FILE_BYTES: usize = 8192;
const MAGIC: u32 = u32::from_le_bytes(*b"MSak");

/// What the file says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Reading {
    /// No file, or one that was never written to.
    Nothing,
    /// The newest acknowledged group.
    Group(u64),
    /// Neither slot is whole.
    Damaged,
}

/// The open file.
pub(super) struct AckedFile {
    file: File,
    next_slot: usize,
}

impl AckedFile {
    /// Reads the file at `path`.
    pub(super) fn read(path: &Path) -> io::Result<Reading> {
        let mut bytes = Vec::new();
        match File::open(path) {
            Ok(file) => file.take(FILE_BYTES as u64).read_to_end(&mut bytes)?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Reading::Nothing),
            Err(error) => return Err(error),
        };
        Ok(match slots(&bytes).into_iter().flatten().max() {
            Some(group) => Reading::Group(group),
            None if bytes.iter().all(|byte| *byte == 0) => Reading::Nothing,
            None => Reading::Damaged,
        })
    }

    /// Opens the file at `path` to write, creating it if it is missing, and makes it say `group`, be that less than before.
    pub(super) fn start_at(path: &Path, group: u64) -> io::Result<AckedFile> {
        let file = OpenOptions::new().read(true).write(true).create(true).truncate(false).open(path)?;
        file.set_len(FILE_BYTES as u64)?;
        let mut acked = AckedFile { file, next_slot: 0 };
        for _ in SLOT_OFFSETS {
            acked.write(group)?;
        }
        acked.file.sync_all()?;
        sync_directory_of(path)?;
        Ok(acked)
    }

    /// Records `group`; on the disk when this returns.
    pub(super) fn write(&mut self, group: u64) -> io::Result<()> {
        self.file.seek(SeekFrom::Start(SLOT_OFFSETS[self.next_slot] as u64))?;
        self.file.write_all(&slot(group))?;
        self.file.sync_data()?;
        self.next_slot = 1 - self.next_slot;
        Ok(())
    }
}

fn slot(group: u64) -> [u8; SLOT_BYTES] {
    let mut slot = [0; SLOT_BYTES];
    slot[..8].copy_from_slice(&group.to_le_bytes());
    slot[8..12].copy_from_slice(&MAGIC.to_le_bytes());
    let crc = crc32c::crc32c(&slot[..12]);
    slot[12..].copy_from_slice(&crc.to_le_bytes());
    slot
}

/// The numbers of the slots that are whole.
fn slots(bytes: &[u8]) -> [Option<u64>; 2] {
    SLOT_OFFSETS.map(|at| {
        let stored = bytes.get(at..at + SLOT_BYTES)?;
        let group = u64::from_le_bytes(stored[..8].try_into().ok()?);
        (stored == slot(group)).then_some(group)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_larger_whole_slot_counts() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("acked");
        assert_eq!(AckedFile::read(&path).unwrap(), Reading::Nothing);
        let mut acked = AckedFile::start_at(&path, 5).unwrap();
        acked.write(6).unwrap();
        acked.write(7).unwrap();
        assert_eq!(AckedFile::read(&path).unwrap(), Reading::Group(7));

        // The write of 7 went to the second slot: torn, it leaves 6.
        let mut bytes = std::fs::read(&path).unwrap();
        bytes[4096 + 3] ^= 1;
        std::fs::write(&path, &bytes).unwrap();
        assert_eq!(AckedFile::read(&path).unwrap(), Reading::Group(6));

        bytes[0] ^= 1;
        std::fs::write(&path, &bytes).unwrap();
        assert_eq!(AckedFile::read(&path).unwrap(), Reading::Damaged);
    }

    #[test]
    fn starting_may_lower_the_number() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("acked");
        AckedFile::start_at(&path, 50).unwrap();
        AckedFile::start_at(&path, 5).unwrap();
        assert_eq!(AckedFile::read(&path).unwrap(), Reading::Group(5));
    }

    #[test]
    fn a_crash_while_the_file_is_made_counts_as_no_file() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("acked");
        std::fs::write(&path, []).unwrap();
        assert_eq!(AckedFile::read(&path).unwrap(), Reading::Nothing);
        std::fs::write(&path, vec![0; FILE_BYTES]).unwrap();
        assert_eq!(AckedFile::read(&path).unwrap(), Reading::Nothing);
    }
}
