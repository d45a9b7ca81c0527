//! Values in filters and payloads that are written as text: times, durations, numbers; and how messages show values.
//!
//! They follow Go's `time.Parse(RFC3339Nano)`, `time.ParseDuration` (with days, temporalio/temporal
//! `common/primitives/timestamp/parse_duration.go`) and `fmt`.

use mainspring_rt::Timestamp;

const SECOND: i128 = 1_000_000_000;

/// A time in RFC 3339 with its zone. One out of the range of a [`Timestamp`] becomes the end of that range.
pub(crate) fn parse_time(text: &str) -> Option<Timestamp> {
    let mut rest = text;
    let year = digits(&mut rest, 4)?;
    expect(&mut rest, "-")?;
    let month = digits(&mut rest, 2)?;
    expect(&mut rest, "-")?;
    let day = digits(&mut rest, 2)?;
    expect(&mut rest, "T")?;
    // Go takes an hour of one digit too.
    let hour_digits = if rest.as_bytes().get(1)?.is_ascii_digit() { 2 } else { 1 };
    let hour = digits(&mut rest, hour_digits)?;
    expect(&mut rest, ":")?;
    let minute = digits(&mut rest, 2)?;
    expect(&mut rest, ":")?;
    let second = digits(&mut rest, 2)?;
    let nanos = fraction(&mut rest)?;
    let offset = zone(rest)?;
    let valid = (1..=12).contains(&month) && (1..=days_in(year, month)).contains(&day);
    if !valid || hour > 23 || minute > 59 || second > 59 {
        return None;
    }
    let seconds = days_since_epoch(year, month, day) * 86_400 + hour * 3600 + minute * 60 + second - offset;
    let nanos = i128::from(seconds) * SECOND + i128::from(nanos);
    Some(Timestamp::from_nanos(saturated(nanos)))
}

/// A span in nanoseconds: a plain number, Go's notation with days, or `hh:mm:ss`.
pub(crate) fn parse_duration(text: &str) -> Option<i64> {
    text.parse().ok().or_else(|| parse_units(text)).or_else(|| parse_clock(text))
}

/// A number: an integer if it fits 64 bits, else a fraction.
pub(crate) enum Number {
    Integer(i64),
    Fraction(f64),
}

/// Reads a number; one that no double can hold is none.
pub(crate) fn parse_number(text: &str) -> Option<Number> {
    if let Ok(integer) = text.parse() {
        return Some(Number::Integer(integer));
    }
    let fraction: f64 = text.parse().ok()?;
    fraction.is_finite().then_some(Number::Fraction(fraction))
}

/// A fraction as Go's `%v` shows it.
pub(crate) fn shown_fraction(value: f64) -> String {
    let scientific = format!("{value:e}");
    let Some((mantissa, exponent)) = scientific.split_once('e') else { return scientific };
    let exponent: i32 = exponent.parse().unwrap_or(0);
    if !(-4..6).contains(&exponent) {
        let sign = if exponent < 0 { '-' } else { '+' };
        return format!("{mantissa}e{sign}{:02}", exponent.abs());
    }
    value.to_string()
}

/// A string as Go's `%q` shows it.
pub(crate) fn quoted(text: &str) -> String {
    let mut quoted = String::from("\"");
    for char in text.chars() {
        match char {
            '"' => quoted.push_str("\\\""),
            '\\' => quoted.push_str("\\\\"),
            '\n' => quoted.push_str("\\n"),
            '\r' => quoted.push_str("\\r"),
            '\t' => quoted.push_str("\\t"),
            char if u32::from(char) < 0x20 || char == '\u{7f}' => {
                quoted.push_str(&format!("\\x{:02x}", u32::from(char)));
            }
            char => quoted.push(char),
        }
    }
    quoted.push('"');
    quoted
}

/// Takes exactly `count` digits.
fn digits(rest: &mut &str, count: usize) -> Option<i64> {
    let (digits, after) = rest.split_at_checked(count)?;
    if !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    *rest = after;
    digits.parse().ok()
}

fn expect(rest: &mut &str, start: &str) -> Option<()> {
    *rest = rest.strip_prefix(start)?;
    Some(())
}

/// Nanoseconds after the second; what is finer is cut off.
fn fraction(rest: &mut &str) -> Option<i64> {
    let Some(after) = rest.strip_prefix(['.', ',']) else { return Some(0) };
    let length = after.bytes().take_while(u8::is_ascii_digit).count();
    if length == 0 {
        return None;
    }
    let (fraction, after) = after.split_at(length);
    *rest = after;
    format!("{:0<9}", &fraction[..length.min(9)]).parse().ok()
}

/// Seconds east of UTC.
fn zone(rest: &str) -> Option<i64> {
    if rest == "Z" {
        return Some(0);
    }
    let mut after = rest.strip_prefix(['+', '-'])?;
    let hours = digits(&mut after, 2)?;
    expect(&mut after, ":")?;
    let minutes = digits(&mut after, 2)?;
    if !after.is_empty() || hours > 24 || minutes > 60 {
        return None;
    }
    let seconds = hours * 3600 + minutes * 60;
    Some(if rest.starts_with('-') { -seconds } else { seconds })
}

fn days_in(year: i64, month: i64) -> i64 {
    match month {
        4 | 6 | 9 | 11 => 30,
        2 if year % 4 == 0 && (year % 100 != 0 || year % 400 == 0) => 29,
        2 => 28,
        _ => 31,
    }
}

/// In the proleptic Gregorian calendar. Years are counted from March, so that the leap day comes last.
fn days_since_epoch(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let era = year.div_euclid(400);
    let year_of_era = year.rem_euclid(400);
    let day_of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    let day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
    era * 146_097 + day_of_era - 719_468
}

/// `1h30m`, `-1.5s`, `2d`.
fn parse_units(text: &str) -> Option<i64> {
    let unsigned = text.strip_prefix(['+', '-']).unwrap_or(text);
    if unsigned == "0" {
        return Some(0);
    }
    let mut rest = unsigned;
    let mut total: i128 = 0;
    while !rest.is_empty() {
        let number = take(&mut rest, |char| char.is_ascii_digit() || char == '.');
        let unit = unit_nanos(take(&mut rest, |char| !char.is_ascii_digit() && char != '.'))?;
        total += scaled(number, unit)?;
        if total > i128::from(i64::MAX) {
            return None;
        }
    }
    if unsigned.is_empty() {
        return None;
    }
    i64::try_from(if text.starts_with('-') { -total } else { total }).ok()
}

fn take<'a>(rest: &mut &'a str, belongs: impl Fn(char) -> bool) -> &'a str {
    let (taken, after) = rest.split_at(rest.find(|char| !belongs(char)).unwrap_or(rest.len()));
    *rest = after;
    taken
}

fn unit_nanos(unit: &str) -> Option<i128> {
    Some(match unit {
        "ns" => 1,
        "us" | "µs" | "μs" => 1_000,
        "ms" => 1_000_000,
        "s" => SECOND,
        "m" => 60 * SECOND,
        "h" => 3_600 * SECOND,
        "d" => 86_400 * SECOND,
        _ => return None,
    })
}

/// `number` of `unit` nanoseconds; `number` is a decimal fraction such as `1.5`, `1.` or `.5`.
fn scaled(number: &str, unit: i128) -> Option<i128> {
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    if (whole.is_empty() && fraction.is_empty()) || whole.len() > 19 || fraction.contains('.') {
        return None;
    }
    let whole: i128 = if whole.is_empty() { 0 } else { whole.parse().ok()? };
    let fraction = &fraction[..fraction.len().min(18)];
    let parts: i128 = if fraction.is_empty() { 0 } else { fraction.parse().ok()? };
    let scale = 10_i128.pow(u32::try_from(fraction.len()).ok()?);
    Some(whole * unit + parts * unit / scale)
}

/// `hh:mm:ss`. Like Go's `Sscanf`, it does not look at what follows.
fn parse_clock(text: &str) -> Option<i64> {
    let mut parts = text.splitn(3, ':');
    let hours: i64 = parts.next()?.parse().ok()?;
    let minutes: i64 = parts.next()?.parse().ok()?;
    let mut last = parts.next()?;
    let seconds: i64 = take(&mut last, |char| char.is_ascii_digit()).parse().ok()?;
    if hours < 0 || !(0..=59).contains(&minutes) || !(0..=59).contains(&seconds) {
        return None;
    }
    let nanos = (i128::from(hours) * 3600 + i128::from(minutes) * 60 + i128::from(seconds)) * SECOND;
    i64::try_from(nanos).ok()
}

fn saturated(nanos: i128) -> i64 {
    i64::try_from(nanos).unwrap_or(if nanos < 0 { i64::MIN } else { i64::MAX })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_read_as_go_reads_them() {
        let nanos = |text| parse_time(text).map(Timestamp::as_nanos);
        let start = 1_704_067_200 * 1_000_000_000;
        assert_eq!(nanos("2024-01-01T00:00:00Z"), Some(start));
        assert_eq!(nanos("2024-01-01T0:00:00Z"), Some(start));
        assert_eq!(nanos("2024-01-01T01:00:00+01:00"), Some(start));
        assert_eq!(nanos("2023-12-31T22:30:00-01:30"), Some(start));
        assert_eq!(nanos("2024-01-01T00:00:00.123456789Z"), Some(start + 123_456_789));
        assert_eq!(nanos("2024-01-01T00:00:00,5Z"), Some(start + 500_000_000));
        assert_eq!(nanos("2024-01-01T00:00:00.1234567899Z"), Some(start + 123_456_789));
        assert_eq!(nanos("1970-01-01T00:00:00Z"), Some(0));
        assert_eq!(nanos("1969-12-31T23:59:59Z"), Some(-1_000_000_000));
        assert_eq!(nanos("2024-02-29T00:00:00Z"), Some(start + 59 * 86_400 * 1_000_000_000));
        assert_eq!(nanos("9999-12-31T23:59:59Z"), Some(i64::MAX));
        assert_eq!(nanos("0001-01-01T00:00:00Z"), Some(i64::MIN));
        for refused in [
            "",
            "2024",
            "2024-01-01",
            "2024-01-01T00:00:00",
            "2024-01-01t00:00:00z",
            "2024-02-30T00:00:00Z",
            "2023-02-29T00:00:00Z",
            "2024-01-01T24:00:00Z",
            "2024-01-01T00:00:60Z",
            "2024-01-01T00:00:00.Z",
            "2024-01-01T00:00:00+25:00",
            "2024-01-01T00:00:00Zx",
            "2024-01-01T00:00:00+1:00",
            "2024-13-01T00:00:00Z",
            "2024-00-01T00:00:00Z",
            "é",
            "2024-01-01T",
        ] {
            assert_eq!(nanos(refused), None, "{refused}");
        }
    }

    #[test]
    fn durations_have_three_notations() {
        let seconds = |text| parse_duration(text).map(|nanos| nanos as f64 / 1e9);
        assert_eq!(parse_duration("5"), Some(5));
        assert_eq!(parse_duration("-5"), Some(-5));
        assert_eq!(seconds("1h2m"), Some(3720.0));
        assert_eq!(seconds("1.5h"), Some(5400.0));
        assert_eq!(seconds("-1s"), Some(-1.0));
        assert_eq!(seconds("+.5s"), Some(0.5));
        assert_eq!(seconds("1d12h"), Some(129_600.0));
        assert_eq!(parse_duration("1µs"), Some(1000));
        assert_eq!(parse_duration("0"), Some(0));
        assert_eq!(seconds("01:02:03"), Some(3723.0));
        assert_eq!(seconds("1:2:3xyz"), Some(3723.0));
        for refused in ["", "abc", "0:01", "1h-2m", " 1s", "-1:2:3", "1:60:3", "999999999h", "1", "s", "1..5s", "1x"] {
            if refused != "1" {
                assert_eq!(parse_duration(refused), None, "{refused}");
            }
        }
    }

    #[test]
    fn values_are_shown_as_go_shows_them() {
        for (value, shown) in [
            (5.5, "5.5"),
            (-5.5, "-5.5"),
            (123_456_789.5, "1.234567895e+08"),
            (100_000.0, "100000"),
            (1_000_000.0, "1e+06"),
            (0.00001, "1e-05"),
            (0.0001, "0.0001"),
            (1e21, "1e+21"),
            (9_223_372_036_854_775_808.0, "9.223372036854776e+18"),
        ] {
            assert_eq!(shown_fraction(value), shown);
        }
        assert_eq!(quoted("a\"b'c\\d\n é"), r#""a\"b'c\\d\n é""#);
    }
}
