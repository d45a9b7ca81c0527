//! What a call is found and ordered by: search attributes and priorities.

use std::{
    collections::BTreeMap,
    time::{SystemTime, UNIX_EPOCH},
};

use mainspring_api::v1::common;

use crate::payload::{JSON, Payload, PayloadError, null};

/// Values that workflows are found by, typed. They are never encoded by codecs: the server has to read them.
///
/// ```
/// use mainspring_sdk::SearchAttributes;
///
/// let attributes = SearchAttributes::new().keyword("CustomerId", "c-7").int("Items", 3);
/// ```
#[derive(Clone, Debug, Default, PartialEq)]
pub struct SearchAttributes {
    fields: BTreeMap<String, Payload>,
}

impl SearchAttributes {
    /// None.
    pub fn new() -> SearchAttributes {
        SearchAttributes::default()
    }

    /// From the wire.
    pub fn from_proto(attributes: common::SearchAttributes) -> SearchAttributes {
        SearchAttributes { fields: attributes.indexed_fields }
    }

    /// The wire form; absent when there are none.
    pub fn to_proto(&self) -> Option<common::SearchAttributes> {
        (!self.fields.is_empty()).then(|| common::SearchAttributes { indexed_fields: self.fields.clone() })
    }

    /// Sets a word that is found whole.
    #[must_use]
    pub fn keyword(self, name: impl Into<String>, value: &str) -> Self {
        self.set(name, "Keyword", serde_json::Value::from(value))
    }

    /// Sets words that are found whole, each by itself.
    #[must_use]
    pub fn keywords<S: Into<String>>(self, name: impl Into<String>, values: impl IntoIterator<Item = S>) -> Self {
        let values: Vec<String> = values.into_iter().map(Into::into).collect();
        self.set(name, "KeywordList", serde_json::Value::from(values))
    }

    /// Sets a text whose words are found.
    #[must_use]
    pub fn text(self, name: impl Into<String>, value: &str) -> Self {
        self.set(name, "Text", serde_json::Value::from(value))
    }

    /// Sets a whole number.
    #[must_use]
    pub fn int(self, name: impl Into<String>, value: i64) -> Self {
        self.set(name, "Int", serde_json::Value::from(value))
    }

    /// Sets a number.
    #[must_use]
    pub fn double(self, name: impl Into<String>, value: f64) -> Self {
        self.set(name, "Double", serde_json::Value::from(value))
    }

    /// Sets a truth value.
    #[must_use]
    pub fn bool(self, name: impl Into<String>, value: bool) -> Self {
        self.set(name, "Bool", serde_json::Value::from(value))
    }

    /// Sets a point in time.
    #[must_use]
    pub fn datetime(self, name: impl Into<String>, value: SystemTime) -> Self {
        self.set(name, "Datetime", serde_json::Value::from(rfc3339(value)))
    }

    /// Removes an attribute from a workflow that has it.
    #[must_use]
    pub fn unset(mut self, name: impl Into<String>) -> Self {
        self.fields.insert(name.into(), null());
        self
    }

    /// The value of an attribute; nothing when it is not set.
    ///
    /// # Errors
    /// When it holds something else.
    pub fn get<T: serde::de::DeserializeOwned>(&self, name: &str) -> Result<Option<T>, PayloadError> {
        let Some(payload) = self.fields.get(name).filter(|payload| !payload.is_empty_value()) else { return Ok(None) };
        let value = serde_json::from_slice(&payload.data());
        value.map(Some).map_err(|error| PayloadError::new(format!("search attribute {name:?}: {error}")))
    }

    /// The names that are set.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.fields.keys().map(String::as_str)
    }

    /// True when there are none.
    pub fn is_empty(&self) -> bool {
        self.fields.is_empty()
    }

    /// Takes over what the other one sets.
    pub fn merge(&mut self, other: SearchAttributes) {
        self.fields.extend(other.fields);
    }

    fn set(mut self, name: impl Into<String>, kind: &str, value: serde_json::Value) -> Self {
        let payload = Payload::new(JSON, value.to_string().as_bytes()).with_metadata("type", kind.as_bytes());
        self.fields.insert(name.into(), payload);
        self
    }
}

/// The place of a task among others on its queue.
#[derive(Clone, Debug, Default, PartialEq)]
#[non_exhaustive]
pub struct Priority {
    /// From 1, the most urgent, to 5; 0 is the default, which is 3.
    pub key: i32,
    /// Tasks of different keys get their share of the workers: a tenant's name, say.
    pub fairness_key: String,
    /// How large the key's share is; 0 is the default, which is 1.
    pub fairness_weight: f32,
}

impl Priority {
    /// From 1, the most urgent, to 5.
    pub fn of(key: i32) -> Priority {
        Priority { key, ..Priority::default() }
    }

    /// Shares the workers between tasks of different keys.
    #[must_use]
    pub fn fair(mut self, key: impl Into<String>) -> Self {
        self.fairness_key = key.into();
        self
    }

    /// Sets how large the key's share is.
    #[must_use]
    pub fn weight(mut self, weight: f32) -> Self {
        self.fairness_weight = weight;
        self
    }

    /// The wire form.
    pub fn to_proto(&self) -> common::Priority {
        common::Priority {
            priority_key: self.key,
            fairness_key: self.fairness_key.clone(),
            fairness_weight: self.fairness_weight,
        }
    }

    /// From the wire.
    pub fn from_proto(priority: common::Priority) -> Priority {
        Priority {
            key: priority.priority_key,
            fairness_key: priority.fairness_key,
            fairness_weight: priority.fairness_weight,
        }
    }
}

/// As JSON has points in time: UTC, with as many decimals as are needed of nine.
fn rfc3339(at: SystemTime) -> String {
    let since = match at.duration_since(UNIX_EPOCH) {
        Ok(after) => i128::try_from(after.as_nanos()).unwrap_or(i128::MAX),
        Err(before) => -i128::try_from(before.duration().as_nanos()).unwrap_or(i128::MAX),
    };
    let (seconds, nanos) = (since.div_euclid(1_000_000_000), since.rem_euclid(1_000_000_000));
    let (days, second) = (seconds.div_euclid(86_400), seconds.rem_euclid(86_400));
    let (year, month, day) = civil(days);
    let (hour, minute, second) = (second / 3600, second / 60 % 60, second % 60);
    let mut text = format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}");
    if nanos > 0 {
        text.push_str(format!(".{nanos:09}").trim_end_matches('0'));
    }
    text.push('Z');
    text
}

/// The date of a day counted from 1970-01-01, in the Gregorian calendar. Years begin in March here, so that the leap
/// day is the last one.
fn civil(days: i128) -> (i128, i128, i128) {
    let days = days + 719_468;
    let (era, day_of_era) = (days.div_euclid(146_097), days.rem_euclid(146_097));
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let march_month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * march_month + 2) / 5 + 1;
    let month = if march_month < 10 { march_month + 3 } else { march_month - 9 };
    (year_of_era + era * 400 + i128::from(month <= 2), month, day)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn attributes_say_their_type() {
        let attributes = SearchAttributes::new().keyword("K", "v").keywords("L", ["a", "b"]).unset("Old");
        let wire = attributes.to_proto().unwrap().indexed_fields;
        assert_eq!(
            (wire["L"].data().as_ref(), wire["L"].metadata("type").unwrap().as_ref()),
            (br#"["a","b"]"#.as_slice(), b"KeywordList".as_slice())
        );
        assert_eq!(attributes.get::<String>("K"), Ok(Some("v".to_owned())));
        assert_eq!(attributes.get::<String>("Old"), Ok(None));
        assert!(attributes.get::<u64>("K").is_err());
    }

    #[test]
    fn points_in_time_are_written_as_json_has_them() {
        let at = |seconds, nanos| UNIX_EPOCH + Duration::new(seconds, nanos);
        assert_eq!(rfc3339(at(0, 0)), "1970-01-01T00:00:00Z");
        assert_eq!(rfc3339(at(951_782_400, 0)), "2000-02-29T00:00:00Z");
        assert_eq!(rfc3339(at(1_735_689_599, 120_000_000)), "2024-12-31T23:59:59.12Z");
        assert_eq!(rfc3339(UNIX_EPOCH - Duration::from_secs(1)), "1969-12-31T23:59:59Z");
    }
}
