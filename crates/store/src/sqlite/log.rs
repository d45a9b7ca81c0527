//! Looks for damage in SQLite's write-ahead log, which SQLite itself passes over in silence.
//!
//! SQLite recovers the log up to the first frame whose checksum does not fit, since that is how a write looks that was
//! torn when power went. What was torn is the last transaction, for each one is synced before the next begins. So a
//! frame that does not fit, with the end of its transaction and then yet another frame behind it, was whole once: the log
//! was damaged afterwards, and what follows may have been acknowledged. (Damage in the very last transaction looks like a
//! torn write; [`super::acked`] notices it unless it happened within a second of the end.)
//!
//! The format is SQLite's, <https://www.sqlite.org/fileformat2.html#walformat>.

use std::{
    fs::File,
    io::{self, BufReader, Read},
    path::Path,
};

const HEADER_BYTES: usize = 32;
const FRAME_HEADER_BYTES: usize = 24;
/// The last bit says in which order of bytes checksums are computed: 1 is big endian.
const MAGIC: u32 = 0x377f_0682;

/// The first byte of the first frame that is damaged, if one is for certain.
pub(super) fn damage(path: &Path) -> io::Result<Option<u64>> {
    let mut log = match File::open(path) {
        Ok(file) => BufReader::with_capacity(1 << 18, file),
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    let mut header = [0; HEADER_BYTES];
    if !read_whole(&mut log, &mut header)? || header == [0; HEADER_BYTES] {
        return Ok(None);
    }
    let Some(header) = Header::read(&header) else {
        // It is synced before the first frame is written.
        let mut frame = [0; FRAME_HEADER_BYTES];
        let has_frames = read_whole(&mut log, &mut frame)? && frame != [0; FRAME_HEADER_BYTES];
        return Ok(has_frames.then_some(0));
    };
    let mut frame = vec![0; FRAME_HEADER_BYTES + header.page_bytes];
    let mut search = Search { at: HEADER_BYTES as u64, sum: header.sum, damaged: None, ended: false };
    while read_whole(&mut log, &mut frame)? {
        if search.proves_damage(&header, &frame) {
            return Ok(search.damaged);
        }
    }
    Ok(None)
}

/// False at the end of the file, also within the buffer.
fn read_whole(log: &mut impl Read, buffer: &mut [u8]) -> io::Result<bool> {
    match log.read_exact(buffer) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(false),
        Err(error) => Err(error),
    }
}

type Sum = [u32; 2];

struct Header {
    page_bytes: usize,
    is_big_endian: bool,
    salt: [u8; 8],
    sum: Sum,
}

impl Header {
    /// None if it is damaged.
    fn read(bytes: &[u8; HEADER_BYTES]) -> Option<Header> {
        let magic = number(bytes, 0);
        let is_big_endian = magic & 1 == 1;
        let page_bytes = usize::try_from(number(bytes, 8)).ok()?;
        let sum = add(is_big_endian, [0, 0], &bytes[..24]);
        let is_whole = magic & !1 == MAGIC && sum == [number(bytes, 24), number(bytes, 28)];
        let is_sound = page_bytes.is_power_of_two() && (512..=65_536).contains(&page_bytes);
        (is_whole && is_sound).then(|| Header {
            page_bytes,
            is_big_endian,
            salt: bytes[16..24].try_into().unwrap_or_default(),
            sum,
        })
    }
}

struct Search {
    /// Where the next frame begins.
    at: u64,
    /// The checksum that stands in the last frame: the next one's goes on from there.
    sum: Sum,
    damaged: Option<u64>,
    /// The transaction of the damaged frame is over.
    ended: bool,
}

impl Search {
    fn proves_damage(&mut self, header: &Header, frame: &[u8]) -> bool {
        let (before, at) = (self.sum, self.at);
        self.at += frame.len() as u64;
        self.sum = [number(frame, 16), number(frame, 20)];
        // What an earlier round through the file left behind has other salts.
        let is_ours = frame[8..16] == header.salt;
        let fits = is_ours && {
            let sum = add(header.is_big_endian, before, &frame[..8]);
            add(header.is_big_endian, sum, &frame[FRAME_HEADER_BYTES..]) == self.sum
        };
        if fits && self.ended {
            return true;
        }
        if !fits && self.damaged.is_none() {
            self.damaged = Some(at);
        }
        let ends_transaction = number(frame, 4) != 0;
        self.ended |= self.damaged.is_some() && is_ours && ends_transaction;
        false
    }
}

fn number(bytes: &[u8], at: usize) -> u32 {
    let mut number = [0; 4];
    number.copy_from_slice(&bytes[at..at + 4]);
    u32::from_be_bytes(number)
}

fn add(is_big_endian: bool, sum: Sum, bytes: &[u8]) -> Sum {
    let word = |word: [u8; 4]| if is_big_endian { u32::from_be_bytes(word) } else { u32::from_le_bytes(word) };
    let [mut first, mut second] = sum;
    for &[a, b, c, d, e, f, g, h] in bytes.as_chunks::<8>().0 {
        first = first.wrapping_add(word([a, b, c, d])).wrapping_add(second);
        second = second.wrapping_add(word([e, f, g, h])).wrapping_add(first);
    }
    [first, second]
}

#[cfg(test)]
mod tests {
    use std::{fs, path::PathBuf};

    use rusqlite::Connection;

    use super::*;

    const PAGE: usize = 4096;
    const FRAME: usize = FRAME_HEADER_BYTES + PAGE;

    /// A database with a log of several transactions of several frames each.
    fn database() -> (tempfile::TempDir, Connection, PathBuf) {
        let dir = tempfile::tempdir().unwrap();
        let connection = Connection::open(dir.path().join("x.db")).unwrap();
        connection.pragma_update_and_check(None, "journal_mode", "WAL", |_| Ok(())).unwrap();
        connection.pragma_update_and_check(None, "wal_autocheckpoint", 0, |_| Ok(())).unwrap();
        connection.execute_batch("CREATE TABLE t (x)").unwrap();
        for _ in 0..6 {
            connection.execute("INSERT INTO t VALUES (randomblob(20000))", []).unwrap();
        }
        let log = dir.path().join("x.db-wal");
        (dir, connection, log)
    }

    fn damage_of(dir: &tempfile::TempDir, bytes: &[u8]) -> Option<u64> {
        let path = dir.path().join("other-wal");
        fs::write(&path, bytes).unwrap();
        damage(&path).unwrap()
    }

    #[test]
    fn a_whole_log_is_whole() {
        let (dir, connection, log) = database();
        assert_eq!(damage(&log).unwrap(), None);
        assert_eq!(damage(&dir.path().join("missing")).unwrap(), None);
        // A second round through the file leaves the end of the first one behind.
        connection.query_row("PRAGMA wal_checkpoint(RESTART)", [], |_| Ok(())).unwrap();
        connection.execute("DELETE FROM t WHERE rowid = 1", []).unwrap();
        assert_eq!(damage(&log).unwrap(), None);
    }

    /// Every byte counts, but for those of the last transaction, which may have been torn.
    #[test]
    fn a_flipped_byte_is_found_and_its_frame_is_named() {
        let (dir, _connection, log) = database();
        let whole = fs::read(&log).unwrap();
        let last = whole.len() - 8 * FRAME;
        for at in (0..last).step_by(509).chain(0..HEADER_BYTES) {
            let mut bytes = whole.clone();
            bytes[at] ^= 4;
            let frame = at.checked_sub(HEADER_BYTES).map_or(0, |at| HEADER_BYTES + at / FRAME * FRAME);
            assert_eq!(damage_of(&dir, &bytes), Some(frame as u64), "byte {at}");
        }
    }

    /// Whatever is missing of the last transaction, and only of that, was lost with the power.
    #[test]
    fn a_torn_last_transaction_is_no_damage() {
        let (dir, _connection, log) = database();
        let whole = fs::read(&log).unwrap();
        let frames = (whole.len() - HEADER_BYTES) / FRAME;
        for torn in frames - 5..frames {
            for (from, to) in [(0, FRAME), (FRAME_HEADER_BYTES, FRAME), (512, 1024), (0, 512)] {
                let mut bytes = whole.clone();
                bytes[HEADER_BYTES + torn * FRAME..][from..to].fill(0);
                assert_eq!(damage_of(&dir, &bytes), None, "frame {torn}");
            }
            assert_eq!(damage_of(&dir, &whole[..HEADER_BYTES + torn * FRAME + 100]), None);
        }
    }
}
