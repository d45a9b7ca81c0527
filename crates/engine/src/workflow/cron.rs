//! Cron schedules of workflows: five fields, `@hourly` and its like, `@every 90m`, before them `CRON_TZ=Europe/Paris`.
//!
//! The grammar is that of robfig/cron v3's standard parser, which the original uses: day of month and day of week are
//! alternatives when both are restricted; local times that a change of the clock skips do not fire.

use std::{str::FromStr, time::Duration};

use jiff::{SignedDuration, ZonedDateTime, civil::Date, tz::TimeZone};
use mainspring_rt::Timestamp;

/// A schedule that never comes (30 February) is given up on after so many years.
const YEARS_MAX: i16 = 5;

/// Checks a schedule; empty is none.
///
/// # Errors
/// Says what is wrong with it; one that never comes is refused too.
pub fn validate(schedule: &str) -> Result<(), String> {
    if schedule.is_empty() {
        return Ok(());
    }
    let parsed: Schedule = schedule.parse()?;
    match parsed.after(Timestamp::ZERO) {
        Some(_) => Ok(()),
        None => Err("invalid CronSchedule, no next firing time found".to_owned()),
    }
}

/// The time from `now` to the schedule's next point, in whole seconds rounded up. Points are counted from `from`; those
/// before `now` are skipped. Upstream: `GetBackoffForNextSchedule`, temporalio/temporal common/backoff/cron.go, v1.32.0.
pub(crate) fn backoff(schedule: &str, from: Timestamp, now: Timestamp) -> Option<Duration> {
    let schedule: Schedule = schedule.parse().ok()?;
    let next = if now < from {
        from
    } else {
        match &schedule {
            Schedule::Every(span) => every(*span, from, now),
            Schedule::Fields(..) => schedule.after(from.max(Timestamp::from_nanos(now.as_nanos() - 1)))?,
        }
    };
    let wait = next.since(now);
    Some(Duration::from_secs(wait.as_secs() + u64::from(wait.subsec_nanos() != 0)))
}

/// The first of `from + span`, `from + 2 span`, ... that is not before `now`.
fn every(span: Duration, from: Timestamp, now: Timestamp) -> Timestamp {
    let (passed, span_nanos) = (now.since(from).as_nanos(), span.as_nanos().max(1));
    let steps = passed.div_ceil(span_nanos).max(1);
    from + Duration::from_nanos(u64::try_from(steps * span_nanos).unwrap_or(u64::MAX))
}

#[derive(Debug, PartialEq)]
enum Schedule {
    Every(Duration),
    Fields(Fields, TimeZone),
}

/// What each field allows, a bit a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Fields {
    minutes: u64,
    hours: u64,
    days: u64,
    months: u64,
    weekdays: u64,
    /// Day of month and day of week are both restricted: either will do.
    either_day: bool,
}

impl Schedule {
    /// The first point after `at`.
    fn after(&self, at: Timestamp) -> Option<Timestamp> {
        let (fields, zone) = match self {
            Schedule::Every(span) => return Some(at + *span),
            Schedule::Fields(fields, zone) => (fields, zone),
        };
        let second = at.as_nanos().div_euclid(1_000_000_000);
        let local = jiff::Timestamp::from_second(second).ok()?.to_zoned_datetime(zone.clone());
        let to_next_minute = 60 - i64::from(local.second());
        let first = local.checked_add(SignedDuration::from_secs(to_next_minute)).ok()?;
        let point = fields.first_from(first)?;
        Some(Timestamp::from_millis(point.timestamp().as_second().checked_mul(1_000)?))
    }
}

impl Fields {
    /// The first point at or after a whole minute. Days move on the calendar; hours and minutes really pass.
    fn first_from(&self, mut at: ZonedDateTime) -> Option<ZonedDateTime> {
        let last_year = at.year().checked_add(YEARS_MAX)?;
        while at.year() <= last_year {
            at = if !has(self.months, at.month()) {
                start_of(at.date().last_of_month().tomorrow().ok()?, &at)?
            } else if !self.has_day(&at) {
                start_of(at.date().tomorrow().ok()?, &at)?
            } else if !has(self.hours, at.hour()) {
                at.checked_add(SignedDuration::from_mins(60 - i64::from(at.minute()))).ok()?
            } else if !has(self.minutes, at.minute()) {
                at.checked_add(SignedDuration::from_mins(1)).ok()?
            } else {
                return Some(at);
            };
        }
        None
    }

    fn has_day(&self, at: &ZonedDateTime) -> bool {
        let (day, weekday) = (has(self.days, at.day()), has(self.weekdays, at.weekday().to_sunday_zero_offset()));
        if self.either_day { day || weekday } else { day && weekday }
    }
}

fn has(set: u64, value: i8) -> bool {
    u32::try_from(value).is_ok_and(|value| set & (1 << value) != 0)
}

fn start_of(date: Date, at: &ZonedDateTime) -> Option<ZonedDateTime> {
    date.to_zoned_datetime(at.time_zone().clone()).ok()?.start_of_day().ok()
}

impl FromStr for Schedule {
    type Err = String;

    fn from_str(text: &str) -> Result<Schedule, String> {
        let (zone, text) = split_zone(text)?;
        if let Some(span) = text.strip_prefix("@every ") {
            return Ok(Schedule::Every(parse_span(span.trim())?));
        }
        let text = match text {
            "@yearly" | "@annually" => "0 0 1 1 *",
            "@monthly" => "0 0 1 * *",
            "@weekly" => "0 0 * * 0",
            "@daily" | "@midnight" => "0 0 * * *",
            "@hourly" => "0 * * * *",
            other if other.starts_with('@') => return Err(format!("unrecognized descriptor: {other}")),
            fields => fields,
        };
        Ok(Schedule::Fields(parse_fields(text)?, zone))
    }
}

/// Takes `CRON_TZ=zone` or `TZ=zone` from the front.
fn split_zone(text: &str) -> Result<(TimeZone, &str), String> {
    let text = text.trim();
    let Some(rest) = text.strip_prefix("CRON_TZ=").or_else(|| text.strip_prefix("TZ=")) else {
        return Ok((TimeZone::UTC, text));
    };
    let (name, rest) = rest.split_once(' ').ok_or("no schedule after the time zone")?;
    let zone = TimeZone::get(name).map_err(|_| format!("provided bad location {name}"))?;
    Ok((zone, rest.trim()))
}

fn parse_fields(text: &str) -> Result<Fields, String> {
    const MONTHS: [&str; 12] = ["jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"];
    const WEEKDAYS: [&str; 7] = ["sun", "mon", "tue", "wed", "thu", "fri", "sat"];
    let fields: Vec<&str> = text.split_whitespace().collect();
    let [minutes, hours, days, months, weekdays] = fields[..] else {
        return Err(format!("expected exactly 5 fields, found {}: {fields:?}", fields.len()));
    };
    let any = |field: &str| field.split(',').any(|part| part.starts_with('*') || part.starts_with('?'));
    Ok(Fields {
        minutes: parse_field(minutes, 0, 59, &[])?,
        hours: parse_field(hours, 0, 23, &[])?,
        days: parse_field(days, 1, 31, &[])?,
        months: parse_field(months, 1, 12, &MONTHS)?,
        weekdays: parse_field(weekdays, 0, 6, &WEEKDAYS)?,
        either_day: !any(days) && !any(weekdays),
    })
}

/// A list of `*`, `n`, `a-b`, each with `/step` or without. `names` stand for the values from `low` on.
fn parse_field(text: &str, low: u32, high: u32, names: &[&str]) -> Result<u64, String> {
    let mut set = 0;
    for part in text.split(',') {
        let (range, step) = part.split_once('/').map_or((part, None), |(range, step)| (range, Some(step)));
        let (first, last) = match range.split_once('-') {
            Some((first, last)) => (parse_value(first, low, names)?, parse_value(last, low, names)?),
            None if matches!(range, "*" | "?") => (low, high),
            None => {
                let value = parse_value(range, low, names)?;
                (value, if step.is_some() { high } else { value })
            }
        };
        let step = step.map_or(Ok(1), |step| step.parse().map_err(|_| format!("failed to parse step {step}")))?;
        if first < low || last > high || first > last || step == 0 {
            return Err(format!("{part} is not within {low}-{high}, or its step is zero"));
        }
        set |= (first..=last).step_by(step).fold(0, |set, value| set | (1 << value));
    }
    Ok(set)
}

fn parse_value(text: &str, low: u32, names: &[&str]) -> Result<u32, String> {
    if let Some(index) = names.iter().position(|name| text.eq_ignore_ascii_case(name)) {
        return Ok(low + u32::try_from(index).unwrap_or(0));
    }
    text.parse().map_err(|_| format!("failed to parse int from {text:?}"))
}

/// A span as Go writes it, `1h30m` say; at least a second, and cut to whole ones.
fn parse_span(text: &str) -> Result<Duration, String> {
    let bad = || format!("failed to parse duration @every {text}");
    let (mut rest, mut seconds) = (text, 0.0);
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit() && c != '.').ok_or_else(bad)?;
        let number: f64 = rest[..digits].parse().map_err(|_| bad())?;
        let unit_end = rest[digits..].find(|c: char| c.is_ascii_digit()).map_or(rest.len(), |end| digits + end);
        seconds += number
            * match &rest[digits..unit_end] {
                "h" => 3_600.0,
                "m" => 60.0,
                "s" => 1.0,
                "ms" => 1e-3,
                "us" | "µs" => 1e-6,
                "ns" => 1e-9,
                _ => return Err(bad()),
            };
        rest = &rest[unit_end..];
    }
    let span = Duration::try_from_secs_f64(seconds).map_err(|_| bad())?;
    if text.is_empty() { Err(bad()) } else { Ok(Duration::from_secs(span.as_secs().max(1))) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> Timestamp {
        let at: jiff::Timestamp = text.parse().unwrap();
        Timestamp::from_millis(at.as_millisecond())
    }

    /// The next three points after 2024-02-28T22:30:00Z, as text.
    #[track_caller]
    fn check(schedule: &str, expected: [&str; 3]) {
        let parsed: Schedule = schedule.parse().unwrap();
        let mut point = at("2024-02-28T22:30:00Z");
        for expected in expected {
            point = parsed.after(point).unwrap();
            assert_eq!(point, at(&format!("{expected}:00Z")), "{schedule}");
        }
    }

    #[test]
    fn fields_are_read_as_the_original_reads_them() {
        check("*/20 * * * *", ["2024-02-28T22:40", "2024-02-28T23:00", "2024-02-28T23:20"]);
        check("5 4 * * *", ["2024-02-29T04:05", "2024-03-01T04:05", "2024-03-02T04:05"]);
        check("0 0 29 2 *", ["2024-02-29T00:00", "2028-02-29T00:00", "2032-02-29T00:00"]);
        check("0 12 1 * MON", ["2024-03-01T12:00", "2024-03-04T12:00", "2024-03-11T12:00"]);
        check("0 12 */10 * mon", ["2024-03-11T12:00", "2024-04-01T12:00", "2024-07-01T12:00"]);
        check("30/15 9-10,23 * feb-mar ?", ["2024-02-28T23:30", "2024-02-28T23:45", "2024-02-29T09:30"]);
        check("@hourly", ["2024-02-28T23:00", "2024-02-29T00:00", "2024-02-29T01:00"]);
        check("@weekly", ["2024-03-03T00:00", "2024-03-10T00:00", "2024-03-17T00:00"]);
        check("@every 1h30m", ["2024-02-29T00:00", "2024-02-29T01:30", "2024-02-29T03:00"]);
    }

    /// New York's clocks skip from 2:00 to 3:00 on 10 March 2024.
    #[test]
    fn zones_have_their_own_days() {
        let parsed: Schedule = "CRON_TZ=America/New_York 30 2 * * *".parse().unwrap();
        assert_eq!(parsed.after(at("2024-03-09T00:00:00Z")), Some(at("2024-03-09T07:30:00Z")));
        assert_eq!(parsed.after(at("2024-03-09T08:00:00Z")), Some(at("2024-03-11T06:30:00Z")));
    }

    #[test]
    fn bad_schedules_are_refused() {
        assert_eq!(validate(""), Ok(()));
        for bad in
            ["* * * *", "60 * * * *", "* * 0 * *", "* * * * 7", "*/0 * * * *", "@often", "@every x", "0 0 30 2 *"]
        {
            assert!(validate(bad).is_err(), "{bad}");
        }
        assert!(validate("TZ=Nowhere/Else * * * * *").is_err());
    }

    #[test]
    fn points_that_have_passed_are_skipped() {
        let from = at("2024-02-28T22:30:00Z");
        let seconds = |schedule, now| backoff(schedule, from, from + Duration::from_millis(now)).unwrap().as_secs();
        assert_eq!(seconds("* * * * *", 0), 60);
        assert_eq!(seconds("* * * * *", 60_000), 0);
        assert_eq!(seconds("* * * * *", 60_500), 60);
        assert_eq!(seconds("@every 10s", 0), 10);
        assert_eq!(seconds("@every 10s", 25_500), 5);
        assert_eq!(backoff("* * * * *", from, from - Duration::from_secs(9)), Some(Duration::from_secs(9)));
    }
}
