//! Where a list goes on: the place of the last row given, not its number, so that rows before it may come and go.

const VERSION: u8 = 1;
const BYTES: usize = 1 + 3 * 8 + 4;

/// The last row of a page, in the terms of the list's order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Token {
    pub closed: i64,
    pub started: i64,
    pub id: i64,
}

impl Token {
    /// Version, three numbers, checksum of all that; little-endian.
    pub(super) fn encode(self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(BYTES);
        bytes.push(VERSION);
        for number in [self.closed, self.started, self.id] {
            bytes.extend_from_slice(&number.to_le_bytes());
        }
        bytes.extend_from_slice(&crc32c::crc32c(&bytes).to_le_bytes());
        bytes
    }

    /// None for what [`Token::encode`] did not make.
    pub(super) fn decode(bytes: &[u8]) -> Option<Token> {
        let (content, checksum) = bytes.split_last_chunk::<4>()?;
        if bytes.len() != BYTES || content[0] != VERSION || crc32c::crc32c(content).to_le_bytes() != *checksum {
            return None;
        }
        let mut numbers = content[1..].chunks_exact(8).map(|chunk| chunk.try_into().map(i64::from_le_bytes));
        let mut next = || numbers.next()?.ok();
        Some(Token { closed: next()?, started: next()?, id: next()? })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_comes_back_and_nothing_else_does() {
        let token = Token { closed: i64::MAX, started: -5, id: 7 };
        let bytes = token.encode();
        assert_eq!(Token::decode(&bytes), Some(token));
        for at in 0..bytes.len() {
            let mut damaged = bytes.clone();
            damaged[at] ^= 1;
            assert_eq!(Token::decode(&damaged), None);
            assert_eq!(Token::decode(&bytes[..at]), None);
        }
    }
}
