//! List filters and the page tokens of lists, down to the statement that SQLite runs.

use std::{cell::RefCell, collections::BTreeMap};

use mainspring_api::{ids::NamespaceId, v1::Payload};
use mainspring_rt::Timestamp;
use mainspring_visibility::{Change, Error, Filter, Index, Kind, Record};

const NAMESPACE: NamespaceId = NamespaceId(uuid::Uuid::from_u128(1));
const CUSTOM: &[(&str, Kind)] = &[
    ("City", Kind::Keyword),
    ("Tags", Kind::KeywordList),
    ("Note", Kind::Text),
    ("Count", Kind::Int),
    ("Rate", Kind::Double),
    ("Paid", Kind::Bool),
    ("Due", Kind::Datetime),
];

thread_local! {
    static INDEX: RefCell<Index> = RefCell::new(filled());
}

/// The first byte is the length of a page token, then come the token and the filter's text. What is a filter must also be
/// one for the index.
pub(crate) fn run(bytes: &[u8]) {
    let Some((length, rest)) = bytes.split_first() else { return };
    let (token, text) = rest.split_at(rest.len().min(usize::from(*length)));
    let custom = |name: &str| CUSTOM.iter().find(|(known, _)| *known == name).map(|(_, kind)| *kind);
    let Ok(filter) = Filter::parse(&String::from_utf8_lossy(text), &custom) else { return };
    INDEX.with_borrow(|index| {
        for token in [token.to_vec(), sealed(token), Vec::new()] {
            match index.list(NAMESPACE, &filter, 2, &token) {
                Ok(page) => assert!(page.records.len() <= 2),
                Err(Error::Token) => {}
                Err(error) => panic!("the index does not take a filter: {error}: {filter:?}"),
            }
        }
        if let Err(error) = index.count(NAMESPACE, &filter) {
            panic!("the index does not count by a filter: {error}: {filter:?}");
        }
    });
}

/// As the index seals its tokens: a test compares.
pub(crate) fn sealed(token: &[u8]) -> Vec<u8> {
    let mut sealed = token.to_vec();
    sealed.extend_from_slice(&crc32c::crc32c(token).to_le_bytes());
    sealed
}

/// The index that filters are tried on, and the first page's token.
pub(crate) fn filled() -> Index {
    let mut index = Index::memory().expect("memory");
    let changes: Vec<Change> = (1..=5).map(|number| Change::Upsert(record(number))).collect();
    index.apply(&changes).expect("they are written");
    index
}

/// A token that the index gave.
pub(crate) fn token() -> Vec<u8> {
    filled().list(NAMESPACE, &Filter::default(), 2, b"").expect("a page").next_page_token
}

fn record(number: i64) -> Record {
    let city = Payload::new("json/plain", b"\"Bern\"").with_metadata("type", b"Keyword");
    let start_time = Timestamp::from_millis(number * 1_000);
    Record {
        namespace: NAMESPACE,
        workflow_id: format!("w{number}"),
        run_id: format!("run {number}"),
        workflow_type: "Order".to_owned(),
        task_queue: "orders".to_owned(),
        status: if number % 2 == 0 { 2 } else { 1 },
        start_time,
        execution_time: start_time,
        close_time: if number % 2 == 0 { start_time } else { Timestamp::ZERO },
        history_length: number,
        history_bytes: number,
        state_transitions: number,
        parent_workflow_id: String::new(),
        parent_run_id: String::new(),
        root_workflow_id: String::new(),
        root_run_id: String::new(),
        memo: BTreeMap::new(),
        search_attributes: BTreeMap::from([("City".to_owned(), city)]),
        version: 1,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_are_sealed_as_the_index_does() {
        let token = token();
        assert_eq!(sealed(&token[..token.len() - 4]), token);
    }
}
