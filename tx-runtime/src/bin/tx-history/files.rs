//! Migrations as files that `sqlx migrate` knows: `VERSION_DESCRIPTION.sql`, or `.up.sql` and
//! `.down.sql` where they can be taken back.

use std::fs::{self, OpenOptions};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use tx_runtime::history::Migration;

/// In how many files a migration is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Form {
    Simple,
    Reversible,
    /// In as many as those that are there; in one, if there are none.
    AsBefore,
}

/// Numbers of this size and more are points in time, as `sqlx migrate add` writes them.
const TIMES: i64 = 1_000_000_000_000;

/// Writes a migration behind those that are in `directory`, over none of them.
pub(crate) fn write(
    directory: &Path,
    description: &str,
    migration: &Migration,
    form: Form,
) -> io::Result<Vec<PathBuf>> {
    fs::create_dir_all(directory)?;
    let names = names(directory)?;
    let version = next(&names, SystemTime::now());
    let words: String = description
        .chars()
        .map(|c| if c.is_ascii_alphanumeric() { c } else { '_' })
        .take(100)
        .collect();
    let reversible = match form {
        Form::Simple => false,
        Form::Reversible => true,
        Form::AsBefore => names.iter().any(|name| name.ends_with(".up.sql")),
    };
    let files = if reversible {
        vec![(".up.sql", &migration.up), (".down.sql", &migration.down)]
    } else {
        vec![(".sql", &migration.up)]
    };
    let mut written = Vec::new();
    for (ending, sql) in files {
        let path = directory.join(format!("{version}_{words}{ending}"));
        let mut file = OpenOptions::new()
            .write(true)
            .create_new(true)
            .open(&path)?;
        file.write_all(sql.as_bytes())?;
        written.push(path);
    }
    Ok(written)
}

fn names(directory: &Path) -> io::Result<Vec<String>> {
    let mut names = Vec::new();
    for entry in fs::read_dir(directory)? {
        let path = entry?.path();
        if path.extension().is_some_and(|extension| extension == "sql")
            && let Some(name) = path.file_name()
        {
            names.push(name.to_string_lossy().into_owned());
        }
    }
    Ok(names)
}

/// The version behind those that are there, counted or timed as they are.
fn next(names: &[String], now: SystemTime) -> String {
    let numbers = names
        .iter()
        .filter_map(|name| name.split('_').next()?.parse().ok());
    match numbers.max() {
        Some(last) if last < TIMES => format!("{:04}", last + 1),
        last => timestamp(now)
            .max(last.map_or(0, |last: i64| last + 1))
            .to_string(),
    }
}

/// `YYYYMMDDhhmmss`, in UTC.
fn timestamp(now: SystemTime) -> i64 {
    let seconds = now
        .duration_since(UNIX_EPOCH)
        .map_or(0, |since| since.as_secs());
    let seconds = i64::try_from(seconds).unwrap_or_default();
    let (day, second) = (seconds / 86_400, seconds % 86_400);
    // Years begin in March here, so that the day that may be missing is the last.
    let day = day + 719_468;
    let (era, of_era) = (day / 146_097, day % 146_097);
    let year = (of_era - of_era / 1_460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year + year / 4 - year / 100);
    let month = (5 * of_year + 2) / 153;
    let of_month = of_year - (153 * month + 2) / 5 + 1;
    let (year, month) = if month < 10 {
        (era * 400 + year, month + 3)
    } else {
        (era * 400 + year + 1, month - 9)
    };
    let date = (year * 100 + month) * 100 + of_month;
    ((date * 100 + second / 3_600) * 100 + second / 60 % 60) * 100 + second % 60
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, UNIX_EPOCH};

    use super::{next, timestamp};

    /// The first of March 2024.
    const NOW: u64 = 1_709_251_200;

    #[test]
    fn points_in_time_are_those_of_the_calendar() {
        for (seconds, expected) in [
            (0, 19_700_101_000_000),
            (951_827_696, 20_000_229_123_456),
            (1_709_251_199, 20_240_229_235_959),
            (1_709_251_200, 20_240_301_000_000),
            (4_102_444_799, 20_991_231_235_959),
        ] {
            assert_eq!(
                timestamp(UNIX_EPOCH + Duration::from_secs(seconds)),
                expected
            );
        }
    }

    #[test]
    fn a_version_comes_behind_those_that_are_there() {
        let now = UNIX_EPOCH + Duration::from_secs(NOW);
        let names = |names: &[&str]| {
            names
                .iter()
                .map(|name| (*name).to_owned())
                .collect::<Vec<_>>()
        };
        assert_eq!(next(&names(&[]), now), "20240301000000");
        assert_eq!(next(&names(&["0001_a.sql", "0012_b.up.sql"]), now), "0013");
        assert_eq!(
            next(&names(&["20200101000000_a.sql"]), now),
            "20240301000000"
        );
        assert_eq!(
            next(&names(&["20990101000000_a.sql"]), now),
            "20990101000001"
        );
    }
}
