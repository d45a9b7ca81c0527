//! Workflows: code that decides, replayed from its history.
