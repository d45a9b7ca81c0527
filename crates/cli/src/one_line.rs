//! Errors as one line: clap writes paragraphs, sources may hold line breaks, and test logs show the first line only.

use clap::error::ErrorKind;

/// True for what the person asked to read (help, version) and for a command line that names no command at all.
pub(crate) fn is_help(error: &clap::Error) -> bool {
    matches!(
        error.kind(),
        ErrorKind::DisplayHelp
            | ErrorKind::DisplayVersion
            | ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand
            | ErrorKind::MissingSubcommand
    )
}

/// What is wrong, clap's tip if it has one, and where the flags of `command` are listed.
pub(crate) fn from_clap(error: &clap::Error, command: &str) -> String {
    let text = error.render().to_string();
    let mut line = String::new();
    for part in text.lines().map(str::trim).filter(|part| !part.is_empty()) {
        if part.starts_with("Usage:") || part.starts_with("For more information") {
            break;
        }
        let part = part.strip_prefix("error: ").unwrap_or(part);
        if let Some(tip) = part.strip_prefix("tip: ") {
            line.push_str("; ");
            line.push_str(tip);
        } else {
            if !line.is_empty() {
                line.push(' ');
            }
            line.push_str(part);
        }
    }
    line.push_str("; `mainspring ");
    line.push_str(command);
    line.push_str(" --help` lists the flags");
    line
}

/// Joins the lines of a message that came from elsewhere.
pub(crate) fn from_text(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;
    use crate::args::Cli;

    fn refused(flags: &[&str]) -> String {
        let words = ["mainspring", "server", "start-dev"].iter().chain(flags);
        from_clap(&Cli::try_parse_from(words).expect_err("the flags must be refused"), "server start-dev")
    }

    #[test]
    fn an_unknown_flag_is_one_line_that_names_it_and_the_help() {
        let line = refused(&["--bogus"]);
        assert!(line.starts_with("unexpected argument '--bogus' found"), "{line}");
        assert!(line.contains("start-dev --help"), "{line}");
        assert!(!line.contains('\n'), "{line}");
    }

    #[test]
    fn a_near_miss_carries_the_tip() {
        let line = refused(&["--db-filenam", "x"]);
        assert!(line.contains("--db-filename"), "{line}");
        assert!(!line.contains('\n'), "{line}");
    }

    #[test]
    fn a_wrong_choice_lists_the_right_ones_on_the_same_line() {
        let line = refused(&["--log-level", "loud"]);
        assert!(line.contains("'loud'") && line.contains("never"), "{line}");
        assert!(!line.contains('\n'), "{line}");
    }

    #[test]
    fn a_message_with_line_breaks_is_joined() {
        assert_eq!(from_text("one\n  two\n"), "one two");
    }
}
