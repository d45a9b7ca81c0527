//! Bugs that are put in on purpose, to prove that the checkers find them.

/// One bug.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Planted {
    /// A batch counts as durable when it is handed to the store.
    AnswerBeforeCommit,
    /// Now and then a wake row is not written.
    WakeRowLost,
    /// Now and then a task row is not written.
    TaskRowLost,
    /// Now and then an item of a run is not written.
    ItemLost,
    /// Now and then a batch of history is not written.
    HistoryLost,
    /// The answer to an effect gets lost and nobody asks again.
    EffectAnswerLost,
    /// An effect is sent again under another request id.
    EffectWithNewRequest,
    /// A caller is answered twice.
    AnsweredTwice,
    /// A start is given to the store in two halves, and the node dies between them.
    TornBatch,
}

impl Planted {
    pub const ALL: &[Planted] = &[
        Planted::AnswerBeforeCommit,
        Planted::WakeRowLost,
        Planted::TaskRowLost,
        Planted::ItemLost,
        Planted::HistoryLost,
        Planted::EffectAnswerLost,
        Planted::EffectWithNewRequest,
        Planted::AnsweredTwice,
        Planted::TornBatch,
    ];

    /// By its name, as `Debug` writes it.
    pub fn by_name(name: &str) -> Option<Planted> {
        Planted::ALL.iter().copied().find(|bug| format!("{bug:?}") == name)
    }
}
