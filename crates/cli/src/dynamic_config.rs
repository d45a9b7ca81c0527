//! `--dynamic-config-value`: which keys mean something here, and what is said of the others.
//!
//! An unknown key is warned of and never refused: SDK test environments pass keys of many server versions on every
//! start. A key listed in [`CEILINGS`] sets a ceiling; one in [`SETTLED`] asks for what this server always does, and
//! asking for it is met with silence.

use anyhow::{Context, ensure};
use mainspring_server::Limits;
use serde_json::Value;

use crate::args::DynamicConfigValue;

/// What is to be said of one value; nothing if the server behaves as it asks.
pub(crate) fn warning(given: &DynamicConfigValue) -> Option<String> {
    let DynamicConfigValue { key, value } = given;
    if CEILINGS.iter().any(|(ceiling, _)| ceiling.eq_ignore_ascii_case(key)) {
        return None;
    }
    match SETTLED.iter().find(|settled| settled.key.eq_ignore_ascii_case(key)) {
        None => Some(format!("the dynamic configuration key {key} is not known here and has no effect")),
        Some(settled) if settled.asks_for(value) => None,
        Some(settled) => Some(format!("the dynamic configuration key {key} is always {} here", settled.always)),
    }
}

/// Sets the ceilings that are given; of a key that is given twice the last counts.
///
/// # Errors
/// A value that is no number, or none that a ceiling could be.
pub(crate) fn apply(given: &[DynamicConfigValue], limits: &mut Limits) -> anyhow::Result<()> {
    for DynamicConfigValue { key, value } in given {
        let Some((_, set)) = CEILINGS.iter().find(|(ceiling, _)| ceiling.eq_ignore_ascii_case(key)) else { continue };
        let number = value.as_i64().with_context(|| format!("--dynamic-config-value {key}: {value} is no number"))?;
        ensure!(number > 0, "--dynamic-config-value {key}: {number} is not above 0");
        set(limits, number);
    }
    Ok(())
}

type Set = fn(&mut Limits, i64);

/// The keys that set a ceiling: counts and bytes, all above 0. What each is and its default stand in `Limits`.
const CEILINGS: &[(&str, Set)] = &[
    ("limit.blobSize.error", |limits, bytes| limits.blob_bytes_max = size(bytes)),
    ("limit.maxIDLength", |limits, bytes| limits.id_bytes_max = size(bytes)),
    ("limit.historyCount.error", |limits, events| limits.history_events_max = events),
    ("limit.historySize.error", |limits, bytes| limits.history_bytes_max = bytes),
    ("limit.historyCount.suggestContinueAsNew", |limits, events| limits.suggest_continue_events = events),
    ("limit.historySize.suggestContinueAsNew", |limits, bytes| limits.suggest_continue_bytes = bytes),
    ("limit.numPendingActivities.error", |limits, count| limits.pending_activities_max = size(count)),
    ("limit.numPendingChildExecutions.error", |limits, count| limits.pending_children_max = size(count)),
    ("limit.numPendingSignals.error", |limits, count| limits.pending_signals_max = size(count)),
    ("limit.numPendingCancelRequests.error", |limits, count| limits.pending_cancels_max = size(count)),
    ("history.maximumSignalsPerExecution", |limits, count| limits.signals_max = count),
    ("history.maximumBufferedEventsBatch", |limits, count| limits.buffered_events_max = size(count)),
];

fn size(number: i64) -> usize {
    usize::try_from(number).unwrap_or(usize::MAX)
}

/// A key of the original that is a matter of choice there and settled here.
struct Settled {
    key: &'static str,
    always: bool,
}

impl Settled {
    fn asks_for(&self, value: &Value) -> bool {
        value == &Value::Bool(self.always)
    }
}

/// Keys are compared without regard to case, as the original does.
const SETTLED: &[Settled] = &[
    // Clients are never turned away for their version.
    Settled { key: "frontend.enableServerVersionCheck", always: false },
    // The first workflow task comes with the answer to a start that asks for it.
    Settled { key: "system.enableEagerWorkflowStart", always: true },
    // A changed search attribute is there at once.
    Settled { key: "system.forceSearchAttributesCacheRefreshOnRead", always: true },
    // Signals, cancels and children may cross namespaces; the original needs this key for it.
    Settled { key: "system.enableCrossNamespaceCommands", always: true },
];

#[cfg(test)]
mod tests {
    use super::*;

    fn warned(text: &str) -> Option<String> {
        warning(&text.parse().expect("a valid value"))
    }

    #[test]
    fn what_the_server_does_anyway_is_no_news() {
        assert_eq!(warned("frontend.enableServerVersionCheck=false"), None);
        assert_eq!(warned("FRONTEND.enableserverversioncheck=false"), None);
        assert_eq!(warned("system.enableCrossNamespaceCommands=true"), None);
    }

    #[test]
    fn the_opposite_of_what_it_does_is_said() {
        let line = warned("system.enableCrossNamespaceCommands=false").expect("a warning");
        assert!(line.contains("always true"), "{line}");
    }

    #[test]
    fn a_ceiling_is_set_by_its_key_in_any_case() {
        let given = |text: &str| vec![text.parse().expect("a valid value")];
        let mut limits = Limits::default();
        apply(&given("limit.historycount.suggestContinueAsNew=50"), &mut limits).expect("a number");
        assert_eq!(limits.suggest_continue_events, 50);
        assert_eq!(warned("limit.historyCount.suggestContinueAsNew=50"), None);
        let refused = apply(&given("limit.maxIDLength=0"), &mut limits).expect_err("not above 0");
        assert_eq!(refused.to_string(), "--dynamic-config-value limit.maxIDLength: 0 is not above 0");
        let refused = apply(&given("limit.maxIDLength=\"x\""), &mut limits).expect_err("no number");
        assert_eq!(refused.to_string(), "--dynamic-config-value limit.maxIDLength: \"x\" is no number");
    }

    #[test]
    fn an_unknown_key_is_warned_of() {
        let line = warned("matching.bogus={\"a\":1}").expect("a warning");
        assert!(line.contains("matching.bogus") && line.contains("no effect"), "{line}");
    }
}
