//! The log: one subscriber for the process, lines to stderr, level and format from the flags.

use std::io::IsTerminal;

use tracing_subscriber::filter::{LevelFilter, Targets};
use tracing_subscriber::fmt;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::{SubscriberInitExt, TryInitError};

use crate::args::{Color, LogFormat, LogLevel};

/// What is logged, and how it looks.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Options {
    pub(crate) level: LogLevel,
    pub(crate) format: LogFormat,
    pub(crate) color: Color,
}

/// Starts the log. To be called once, before anything is logged.
///
/// # Errors
/// When the process has a log already.
pub(crate) fn start(options: Options) -> Result<(), TryInitError> {
    let registry = tracing_subscriber::registry().with(filter(options.level));
    let lines = fmt::layer().with_writer(std::io::stderr).with_ansi(colored(options.color));
    match options.format {
        LogFormat::Text | LogFormat::Pretty => registry.with(lines).try_init(),
        LogFormat::Json => registry.with(lines.json().flatten_event(true)).try_init(),
    }
}

/// The HTTP/2 layer logs each frame at debug level, which would bury our own lines: it stays at info.
fn filter(level: LogLevel) -> Targets {
    let level = match level {
        LogLevel::Debug => LevelFilter::DEBUG,
        LogLevel::Info => LevelFilter::INFO,
        LogLevel::Warn => LevelFilter::WARN,
        LogLevel::Error => LevelFilter::ERROR,
        LogLevel::Never => LevelFilter::OFF,
    };
    Targets::new().with_default(level.min(LevelFilter::INFO)).with_target("mainspring", level)
}

fn colored(color: Color) -> bool {
    match color {
        Color::Always => true,
        Color::Never => false,
        Color::Auto => std::io::stderr().is_terminal(),
    }
}

#[cfg(test)]
mod tests {
    use tracing::Level;

    use super::*;

    #[test]
    fn debug_is_ours_alone() {
        let targets = filter(LogLevel::Debug);
        assert!(targets.would_enable("mainspring_history::shard", &Level::DEBUG));
        assert!(!targets.would_enable("h2::codec", &Level::DEBUG));
        assert!(targets.would_enable("h2::codec", &Level::INFO));
    }

    #[test]
    fn never_is_silent() {
        let targets = filter(LogLevel::Never);
        assert!(!targets.would_enable("mainspring", &Level::ERROR));
        assert!(!targets.would_enable("h2", &Level::ERROR));
    }

    #[test]
    fn warn_holds_for_all() {
        let targets = filter(LogLevel::Warn);
        assert!(targets.would_enable("h2", &Level::WARN));
        assert!(!targets.would_enable("h2", &Level::INFO));
        assert!(!targets.would_enable("mainspring", &Level::INFO));
    }
}
