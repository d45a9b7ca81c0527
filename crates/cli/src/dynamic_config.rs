//! `--dynamic-config-value`: which keys mean something here, and what is said of the others.
//!
//! An unknown key is warned of and never refused: SDK test environments pass keys of many server versions on every
//! start. A key listed in [`SETTLED`] asks for what this server always does; asking for it is met with silence.

use serde_json::Value;

use crate::args::DynamicConfigValue;

/// What is to be said of one value; nothing if the server behaves as it asks.
pub(crate) fn warning(given: &DynamicConfigValue) -> Option<String> {
    let DynamicConfigValue { key, value } = given;
    match SETTLED.iter().find(|settled| settled.key.eq_ignore_ascii_case(key)) {
        None => Some(format!("the dynamic configuration key {key} is not known here and has no effect")),
        Some(settled) if settled.asks_for(value) => None,
        Some(settled) => Some(format!("the dynamic configuration key {key} is always {} here", settled.always)),
    }
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
    fn an_unknown_key_is_warned_of() {
        let line = warned("matching.bogus={\"a\":1}").expect("a warning");
        assert!(line.contains("matching.bogus") && line.contains("no effect"), "{line}");
    }
}
