//! Points in time as people write them: RFC 3339, and the date alone.

use klamm_core::time::Timestamp;

/// The time that `2026-11-23`, `2026-11-23T08:00:00Z` or `2026-11-23T08:00:00.250+01:00` names.
pub(super) fn parse(text: &str) -> Option<Timestamp> {
    let (date, clock) = text.split_once(['T', 't', ' ']).unwrap_or((text, "00:00:00Z"));
    let (clock, shift) = match clock.find(['Z', 'z', '+', '-']) {
        Some(at) => (&clock[..at], offset_minutes(&clock[at..])?),
        None => (clock, 0),
    };
    let date = numbers(date, '-')?;
    let [year, month, day] = date[..] else { return None };
    let (whole, fraction) = clock.split_once('.').unwrap_or((clock, "0"));
    let clock = numbers(whole, ':')?;
    let (hour, minute, second) = match clock[..] {
        [hour, minute] => (hour, minute, 0),
        [hour, minute, second] => (hour, minute, second),
        _ => return None,
    };
    let within = (1..=12).contains(&month) && (1..=31).contains(&day) && hour < 24 && minute < 60 && second <= 60;
    let millis = format!("{fraction:0<3}").get(..3)?.parse::<i64>().ok()?;
    within.then(|| Timestamp((((days(year, month, day) * 24 + hour) * 60 + minute - shift) * 60 + second) * 1000 + millis))
}

fn numbers(text: &str, between: char) -> Option<Vec<i64>> {
    text.split(between).map(|part| part.parse::<u32>().ok().map(i64::from)).collect()
}

/// `Z` or `+01:00`
fn offset_minutes(text: &str) -> Option<i64> {
    if text.eq_ignore_ascii_case("z") {
        return Some(0);
    }
    let (sign, rest) = text.split_at(1);
    let [hours, minutes] = numbers(rest, ':')?[..] else { return None };
    Some((hours * 60 + minutes) * if sign == "-" { -1 } else { 1 })
}

/// Days from 1970-01-01 to a day of the Gregorian calendar (Hinnant's algorithm: years begin in March, so that leap days come last).
fn days(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let era = year.div_euclid(400);
    let year_of_era = year.rem_euclid(400);
    let day_of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    era * 146_097 + year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year - 719_468
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_as_people_write_them() {
        for (text, millis) in [
            ("1970-01-01", 0),
            ("1970-01-01T00:00:00Z", 0),
            ("2000-02-29T12:00:00Z", 951_825_600_000),
            ("2026-11-23T08:00:00.25+01:00", 1_795_417_200_250),
            ("2026-11-23 07:00", 1_795_417_200_000),
            ("1969-12-31T23:59:59Z", -1000),
        ] {
            assert_eq!(parse(text), Some(Timestamp(millis)), "{text}");
        }
        for bad in ["", "earliest", "12", "2026-13-01", "2026-11-23T25:00:00Z", "2026-11"] {
            assert_eq!(parse(bad), None, "{bad}");
        }
    }
}
