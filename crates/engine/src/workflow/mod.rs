//! One feature, one file: what it decides, which events it records.

pub(crate) mod activity;
pub(crate) mod activity_control;
pub(crate) mod activity_failure;
pub(crate) mod cancel;
pub(crate) mod child;
pub(crate) mod close;
pub(crate) mod command;
pub(crate) mod completion;
pub(crate) mod continue_as_new;
pub(crate) mod cron;
pub(crate) mod delete;
pub(crate) mod external;
pub(crate) mod options;
pub(crate) mod properties;
pub(crate) mod signal;
pub(crate) mod start;
pub(crate) mod task;
pub(crate) mod terminate;
pub(crate) mod timer;
pub(crate) mod update;
pub(crate) mod wake;
