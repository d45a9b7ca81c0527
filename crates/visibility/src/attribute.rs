//! Search attributes: their types, and what a payload says in the terms that filters compare.

use mainspring_api::v1::{Payload, enums::IndexedValueType};
use serde_json::Value as Json;

use crate::filter::{Value, literal};

/// The type of a search attribute.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// Found by its words.
    Text,
    /// A string that is compared as a whole.
    Keyword,
    /// 64 bits.
    Int,
    /// A double.
    Double,
    /// True or false.
    Bool,
    /// A time with its zone.
    Datetime,
    /// Several keywords.
    KeywordList,
}

const KINDS: [Kind; 7] =
    [Kind::Text, Kind::Keyword, Kind::Int, Kind::Double, Kind::Bool, Kind::Datetime, Kind::KeywordList];

impl Kind {
    /// From the wire's number of the type.
    pub fn from_wire(kind: i32) -> Option<Kind> {
        KINDS.into_iter().find(|known| known.wire() as i32 == kind)
    }

    /// The wire's type.
    pub fn wire(self) -> IndexedValueType {
        match self {
            Kind::Text => IndexedValueType::Text,
            Kind::Keyword => IndexedValueType::Keyword,
            Kind::Int => IndexedValueType::Int,
            Kind::Double => IndexedValueType::Double,
            Kind::Bool => IndexedValueType::Bool,
            Kind::Datetime => IndexedValueType::Datetime,
            Kind::KeywordList => IndexedValueType::KeywordList,
        }
    }

    /// The name in the metadata of values and in messages.
    pub fn name(self) -> &'static str {
        match self {
            Kind::Text => "Text",
            Kind::Keyword => "Keyword",
            Kind::Int => "Int",
            Kind::Double => "Double",
            Kind::Bool => "Bool",
            Kind::Datetime => "Datetime",
            Kind::KeywordList => "KeywordList",
        }
    }
}

/// The type that a payload's metadata names and the values in it: one, or those of a KeywordList without repetition,
/// which may be none. Nothing for a payload that cannot be found: without a type or with a value of another one, null,
/// an empty list.
pub fn decode(payload: &Payload) -> Option<(Kind, Vec<Value>)> {
    let name = payload.metadata("type")?;
    let kind = KINDS.into_iter().find(|kind| kind.name().as_bytes() == name)?;
    let json = serde_json::from_slice(&payload.data()).ok()?;
    let values = match (kind, json) {
        (Kind::KeywordList, Json::Array(items)) => {
            let mut keywords: Vec<String> =
                items.iter().map(|item| item.as_str().map(str::to_owned)).collect::<Option<_>>()?;
            keywords.sort();
            keywords.dedup();
            keywords.into_iter().map(Value::Keyword).collect()
        }
        // Older SDKs send every value as a list.
        (_, Json::Array(items)) if items.len() == 1 => vec![scalar(kind, &items[0])?],
        (_, json) => vec![scalar(kind, &json)?],
    };
    (!values.is_empty()).then_some((kind, values))
}

fn scalar(kind: Kind, json: &Json) -> Option<Value> {
    Some(match kind {
        Kind::Text | Kind::Keyword | Kind::KeywordList => Value::Keyword(json.as_str()?.to_owned()),
        Kind::Int => Value::Int(json.as_i64()?),
        Kind::Double => Value::Double(json.as_f64()?),
        Kind::Bool => Value::Bool(json.as_bool()?),
        Kind::Datetime => Value::Time(literal::parse_time(json.as_str()?)?),
    })
}

/// The words of a text: runs of letters and digits, in lower case.
pub fn words(text: &str) -> Vec<String> {
    let words = text.split(|char: char| !char.is_alphanumeric()).filter(|word| !word.is_empty());
    words.map(str::to_lowercase).collect()
}

#[cfg(test)]
mod tests {
    use mainspring_rt::Timestamp;

    use super::*;

    fn decoded(kind: &str, json: &str) -> Option<(Kind, Vec<Value>)> {
        decode(&Payload::new("json/plain", json.as_bytes()).with_metadata("type", kind.as_bytes()))
    }

    fn keywords(words: &[&str]) -> Vec<Value> {
        words.iter().map(|word| Value::Keyword((*word).to_owned())).collect()
    }

    #[test]
    fn payloads_decode_by_their_type() {
        assert_eq!(decoded("Keyword", "\"a\""), Some((Kind::Keyword, keywords(&["a"]))));
        assert_eq!(decoded("Text", "\"a b\""), Some((Kind::Text, keywords(&["a b"]))));
        assert_eq!(decoded("Int", "5"), Some((Kind::Int, vec![Value::Int(5)])));
        assert_eq!(decoded("Double", "5"), Some((Kind::Double, vec![Value::Double(5.0)])));
        assert_eq!(decoded("Bool", "true"), Some((Kind::Bool, vec![Value::Bool(true)])));
        let second = Value::Time(Timestamp::from_millis(1000));
        assert_eq!(decoded("Datetime", "\"1970-01-01T00:00:01Z\""), Some((Kind::Datetime, vec![second])));
        assert_eq!(decoded("KeywordList", "[\"b\",\"a\",\"b\"]"), Some((Kind::KeywordList, keywords(&["a", "b"]))));
    }

    #[test]
    fn one_and_a_list_of_one_are_the_same() {
        assert_eq!(decoded("Int", "[5]"), decoded("Int", "5"));
        assert_eq!(decoded("KeywordList", "\"a\""), decoded("KeywordList", "[\"a\"]"));
        assert_eq!(decoded("Int", "[5,6]"), None);
    }

    #[test]
    fn what_does_not_fit_is_absent() {
        for (kind, json) in [
            ("Keyword", "5"),
            ("Keyword", "null"),
            ("Int", "1.5"),
            ("Int", "\"5\""),
            ("Int", "[]"),
            ("Bool", "1"),
            ("Datetime", "\"today\""),
            ("KeywordList", "[\"a\",5]"),
            ("KeywordList", "[]"),
            ("Unheard", "5"),
            ("Int", "{"),
        ] {
            assert_eq!(decoded(kind, json), None, "{kind} {json}");
        }
        assert_eq!(decode(&Payload::new("json/plain", b"5")), None);
    }

    #[test]
    fn words_are_letters_and_digits_in_lower_case() {
        assert_eq!(words("Foo-bar, BAZ.qux_2 É"), ["foo", "bar", "baz", "qux", "2", "é"]);
        assert!(words("-- !").is_empty());
    }

    #[test]
    fn types_have_their_numbers_on_the_wire() {
        for kind in KINDS {
            assert_eq!(Kind::from_wire(kind.wire() as i32), Some(kind));
        }
        assert_eq!(Kind::from_wire(0), None);
    }
}
