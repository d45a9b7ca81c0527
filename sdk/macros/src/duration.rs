//! Durations as they are written in attributes: `"500ms"`, `"30s"`, `"1h30m"`.

use std::time::Duration;

/// Reads numbers with `ms`, `s`, `m`, `h` or `d`, one after another. The error is a sentence.
pub(crate) fn parse(text: &str) -> Result<Duration, String> {
    let wrong = || format!("{text:?} is no duration; write it like \"500ms\", \"30s\", \"5m\", \"1h30m\" or \"2d\"");
    let mut rest = text.trim();
    let mut total = Duration::ZERO;
    if rest.is_empty() {
        return Err(wrong());
    }
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit() && c != '.').ok_or_else(wrong)?;
        let number: f64 = rest[..digits].parse().map_err(|_| wrong())?;
        let unit_end = rest[digits..].find(|c: char| !c.is_ascii_alphabetic()).map_or(rest.len(), |end| digits + end);
        let seconds = match &rest[digits..unit_end] {
            "ms" => number / 1000.0,
            "s" => number,
            "m" => number * 60.0,
            "h" => number * 3600.0,
            "d" => number * 86_400.0,
            _ => return Err(wrong()),
        };
        let part = Duration::try_from_secs_f64(seconds).map_err(|_| wrong())?;
        total = total.checked_add(part).ok_or_else(wrong)?;
        rest = &rest[unit_end..];
    }
    Ok(total)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_read_as_they_are_written() {
        let ms = |ms| Ok(Duration::from_millis(ms));
        assert_eq!(parse("500ms"), ms(500));
        assert_eq!(parse("1.5s"), ms(1500));
        assert_eq!(parse("1d1h"), ms(25 * 3_600_000));
        for wrong in ["", "s", "5", "5 s", "-1s", "5x", "1h5"] {
            assert!(parse(wrong).is_err(), "{wrong:?}");
        }
    }
}
