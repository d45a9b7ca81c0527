//! Panics of steps: a shard catches them, the simulator must hear of them all the same.

use std::{cell::RefCell, sync::Once};

thread_local! {
    static LAST: RefCell<Option<String>> = const { RefCell::new(None) };
}

/// From here on panics are kept instead of printed, each for its thread.
pub(crate) fn listen() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        std::panic::set_hook(Box::new(|info| {
            let text = info.to_string();
            LAST.with(|last| *last.borrow_mut() = Some(text));
        }));
    });
}

/// The last panic of this thread that nobody has taken yet.
pub(crate) fn take() -> Option<String> {
    LAST.with(|last| last.borrow_mut().take())
}
