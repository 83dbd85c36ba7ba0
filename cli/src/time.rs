//! Times: RFC 3339 text to nanoseconds since 1970 UTC, and back for people.
//!
//! Only text that names its offset from UTC is taken: a local time without one would be a guess. What lies beyond the
//! range of i64 nanoseconds (1677 to 2262) is none. Leap seconds count as the second after, as everywhere in Unix.

const NANOS: i128 = 1_000_000_000;

/// Takes `2026-02-12T14:11:57.667Z` and its kin (space or `t` for `T`, `+01:00`, `+0100`, any number of decimals; those
/// behind the ninth are dropped).
pub(crate) fn parse_rfc3339(text: &str) -> Option<i64> {
    let mut rest = text.as_bytes();
    let year = digits(&mut rest, 4)?;
    let month = after(&mut rest, b'-').and_then(|()| digits(&mut rest, 2))?;
    let day = after(&mut rest, b'-').and_then(|()| digits(&mut rest, 2))?;
    if !matches!(rest.first(), Some(b'T' | b't' | b' ')) {
        return None;
    }
    rest = &rest[1..];
    let hour = digits(&mut rest, 2)?;
    let minute = after(&mut rest, b':').and_then(|()| digits(&mut rest, 2))?;
    let second = after(&mut rest, b':').and_then(|()| digits(&mut rest, 2))?;
    let mut nanos = 0;
    if after(&mut rest, b'.').is_some() {
        let count = rest.iter().take_while(|byte| byte.is_ascii_digit()).count();
        if count == 0 {
            return None;
        }
        for place in 0..9 {
            nanos = nanos * 10 + rest.get(place).filter(|_| place < count).map_or(0, |byte| i128::from(byte - b'0'));
        }
        rest = &rest[count..];
    }
    let offset_minutes = offset(rest)?;
    let in_range = (1..=12).contains(&month)
        && (1..=days_in_month(year, month)).contains(&day)
        && hour < 24
        && minute < 60
        && second <= 60;
    if !in_range {
        return None;
    }
    let days = days_from_civil(year, month, day);
    let seconds = i128::from(days * 86_400 + hour * 3_600 + (minute - offset_minutes) * 60 + second);
    i64::try_from(seconds * NANOS + nanos).ok()
}

/// Takes a moment as people give it: RFC 3339, a day (its beginning in UTC), or how long before `now`: `90s`, `15m`, `2h`,
/// `3d`.
///
/// # Errors
/// What is taken, in one sentence.
pub(crate) fn parse_moment(text: &str, now: i64) -> Result<i64, String> {
    let ago = || {
        let (number, unit) = text.split_at_checked(text.len().checked_sub(1)?)?;
        let seconds = match unit {
            "s" => 1,
            "m" => 60,
            "h" => 3_600,
            "d" => 86_400,
            _ => return None,
        };
        let is_plain = !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit());
        let nanos = is_plain.then(|| number.parse::<i128>().ok())??.checked_mul(seconds * NANOS)?;
        i64::try_from(i128::from(now).checked_sub(nanos)?).ok()
    };
    parse_rfc3339(text).or_else(|| parse_rfc3339(&format!("{text}T00:00:00Z"))).or_else(ago).ok_or_else(|| {
        "give a time with its offset (2026-02-12T14:11:57Z), a day in UTC (2026-02-12), or how long ago (90s, 15m, 2h, 3d)"
            .to_owned()
    })
}

/// As RFC 3339 in UTC with milliseconds: `2026-02-12T14:11:57.667Z`.
pub(crate) fn format_utc(nanos: i64) -> String {
    let seconds = nanos.div_euclid(1_000_000_000);
    let millis = nanos.rem_euclid(1_000_000_000) / 1_000_000;
    let (year, month, day) = civil_from_days(seconds.div_euclid(86_400));
    let of_day = seconds.rem_euclid(86_400);
    let (hour, minute, second) = (of_day / 3_600, of_day / 60 % 60, of_day % 60);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{millis:03}Z")
}

fn digits(rest: &mut &[u8], count: usize) -> Option<i64> {
    let (head, tail) = rest.split_at_checked(count)?;
    let mut number = 0;
    for byte in head {
        number = number * 10 + i64::from((*byte as char).to_digit(10)?);
    }
    *rest = tail;
    Some(number)
}

fn after(rest: &mut &[u8], byte: u8) -> Option<()> {
    *rest = rest.strip_prefix(&[byte])?;
    Some(())
}

/// Minutes east of UTC; all of `rest` must be the offset.
fn offset(mut rest: &[u8]) -> Option<i64> {
    if matches!(rest, [b'Z' | b'z']) {
        return Some(0);
    }
    let sign = match rest.first()? {
        b'+' => 1,
        b'-' => -1,
        _ => return None,
    };
    rest = &rest[1..];
    let hours = digits(&mut rest, 2)?;
    let _ = after(&mut rest, b':');
    let minutes = digits(&mut rest, 2)?;
    (rest.is_empty() && hours < 24 && minutes < 60).then_some(sign * (hours * 60 + minutes))
}

fn days_in_month(year: i64, month: i64) -> i64 {
    match month {
        2 if year % 4 == 0 && (year % 100 != 0 || year % 400 == 0) => 29,
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

/// Days from 1970-01-01 in the Gregorian calendar: years are counted from March, so that the leap day comes last.
fn days_from_civil(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let era = year.div_euclid(400);
    let of_era = year.rem_euclid(400);
    let of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    era * 146_097 + of_era * 365 + of_era / 4 - of_era / 100 + of_year - 719_468
}

fn civil_from_days(days: i64) -> (i64, i64, i64) {
    let shifted = days + 719_468;
    let era = shifted.div_euclid(146_097);
    let of_era = shifted.rem_euclid(146_097);
    let year_of_era = (of_era - of_era / 1_460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted_month = (5 * of_year + 2) / 153;
    let day = of_year - (153 * shifted_month + 2) / 5 + 1;
    let month = (shifted_month + 2) % 12 + 1;
    (era * 400 + year_of_era + i64::from(month <= 2), month, day)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_times() {
        let cases = [
            ("1970-01-01T00:00:00Z", 0),
            ("1970-01-01T00:00:00.000000001Z", 1),
            ("1969-12-31T23:59:59.999999999Z", -1),
            ("2026-02-12T14:11:57.667Z", 1_770_905_517_667_000_000),
            ("2026-02-12T15:11:57.667+01:00", 1_770_905_517_667_000_000),
            ("2026-02-12 10:41:57.6670000009999-0330", 1_770_905_517_667_000_000),
            ("2000-02-29t00:00:00z", 951_782_400_000_000_000),
            ("2016-12-31T23:59:60Z", 1_483_228_800_000_000_000),
            ("2262-04-11T23:47:16.854775807Z", i64::MAX),
            ("1677-09-21T00:12:43.145224192Z", i64::MIN),
        ];
        for (text, nanos) in cases {
            assert_eq!(parse_rfc3339(text), Some(nanos), "{text}");
        }
    }

    #[test]
    fn moments_are_times_days_and_how_long_ago() {
        let now = 1_770_905_517_667_000_000;
        for (text, nanos) in [
            ("2026-02-12T14:11:57.667Z", now),
            ("2026-02-12", 1_770_854_400_000_000_000),
            ("0s", now),
            ("90s", now - 90_000_000_000),
            ("15m", now - 900_000_000_000),
            ("2h", now - 7_200_000_000_000),
            ("3d", now - 259_200_000_000_000),
        ] {
            assert_eq!(parse_moment(text, now), Ok(nanos), "{text}");
        }
        for text in [
            "",
            "s",
            "-1h",
            "+1h",
            "1",
            "1w",
            "1.5h",
            "yesterday",
            "2026-02-30",
            "99999999999999999999d",
            "9999999d",
            "ä",
        ] {
            assert!(parse_moment(text, now).is_err(), "{text}");
        }
    }

    #[test]
    fn what_is_no_time_is_none() {
        for text in [
            "",
            "2026",
            "2026-02-12",
            "2026-02-12T14:11:57",
            "2026-02-12T14:11:57.Z",
            "2026-02-30T14:11:57Z",
            "2100-02-29T00:00:00Z",
            "2026-13-01T00:00:00Z",
            "2026-00-01T00:00:00Z",
            "2026-01-01T24:00:00Z",
            "2026-01-01T00:60:00Z",
            "2026-01-01T00:00:61Z",
            "2026-01-01T00:00:00+24:00",
            "2026-01-01T00:00:00Zx",
            "2262-04-11T23:47:16.854775808Z",
            "1677-09-21T00:12:43.145224191Z",
            "9999-12-31T23:59:59Z",
            "０026-01-01T00:00:00Z",
        ] {
            assert_eq!(parse_rfc3339(text), None, "{text}");
        }
    }

    #[test]
    fn every_day_of_four_hundred_years_goes_there_and_back() {
        for days in -106_000..106_000 {
            let (year, month, day) = civil_from_days(days);
            assert!((1..=12).contains(&month) && day >= 1 && day <= days_in_month(year, month));
            assert_eq!(days_from_civil(year, month, day), days);
        }
        for nanos in [-1_000_000, 0, 1_000_000, 1_770_905_517_667_000_000] {
            assert_eq!(parse_rfc3339(&format_utc(nanos)), Some(nanos));
        }
        assert_eq!(format_utc(i64::MIN), "1677-09-21T00:12:43.145Z", "people see whole milliseconds, rounded down");
        assert_eq!(format_utc(i64::MAX), "2262-04-11T23:47:16.854Z");
        assert_eq!(format_utc(-1), "1969-12-31T23:59:59.999Z");
        assert_eq!(format_utc(1_770_905_517_667_999_999), "2026-02-12T14:11:57.667Z");
    }
}
