//! Durations as text: `"250ms"`, `"3s"`, `"10m"`, and ranges of them, `"10ms..1s"`.

use proc_macro2::Ident;
use syn::parse::ParseStream;
use syn::{Error, Lit, LitStr, Result};

const SECOND: u64 = 1_000;
const MINUTE: u64 = 60 * SECOND;
const HOUR: u64 = 60 * MINUTE;

/// Each unit in milliseconds, and what people write for it elsewhere.
const UNITS: [(&str, u64, &[&str]); 4] = [
    ("ms", 1, &["msec", "millis", "millisecond", "milliseconds"]),
    ("s", SECOND, &["sec", "secs", "second", "seconds"]),
    ("m", MINUTE, &["min", "mins", "minute", "minutes"]),
    ("h", HOUR, &["hr", "hrs", "hour", "hours"]),
];

/// `key = "3s"`, in milliseconds. `zero` says what to write instead of a duration of nothing.
pub(crate) fn duration(key: &Ident, input: ParseStream, zero: &str) -> Result<u64> {
    let text = quoted(key, input, "3s")?;
    let millis = millis(&text.value()).map_err(|mistake| Error::new(text.span(), mistake))?;
    if millis == 0 {
        let message = format!("`{key}` must be longer than zero\nhelp: {zero}");
        return Err(Error::new(text.span(), message));
    }
    Ok(millis)
}

/// As [`duration`], or `key = "none"`.
pub(crate) fn limit(key: &Ident, input: ParseStream, zero: &str) -> Result<Option<u64>> {
    let unlimited = matches!(input.fork().parse(), Ok(Lit::Str(text)) if text.value() == "none");
    if unlimited {
        input.parse::<Lit>()?;
        return Ok(None);
    }
    duration(key, input, zero).map(Some)
}

/// `key = "10ms..1s"`, in milliseconds.
pub(crate) fn range(key: &Ident, input: ParseStream) -> Result<(u64, u64)> {
    let text = quoted(key, input, "10ms..1s")?;
    range_of(&text.value()).map_err(|mistake| Error::new(text.span(), mistake))
}

fn range_of(text: &str) -> std::result::Result<(u64, u64), String> {
    let Some((first, last)) = text.split_once("..") else {
        let message = "`backoff` takes the first pause and the longest one";
        return Err(match millis(text) {
            Ok(_) => format!("{message}\nhelp: write `{text}..1s`, or another longest pause"),
            Err(_) => format!("{message}\nhelp: write `10ms..1s`"),
        });
    };
    let (start, end) = (millis(first)?, millis(last)?);
    if start == 0 {
        let message =
            "the first pause must be longer than zero, since the others are multiples of it";
        return Err(format!("{message}\nhelp: write `1ms..{}`", last.trim()));
    }
    if end < start {
        let message = "the longest pause is shorter than the first one";
        return Err(format!("{message}\nhelp: write `{last}..{first}`"));
    }
    Ok((start, end))
}

fn quoted(key: &Ident, input: ParseStream, example: &str) -> Result<LitStr> {
    let start = input.fork();
    match input.parse::<Lit>() {
        Ok(Lit::Str(text)) => Ok(text),
        Ok(Lit::Int(number)) => {
            let unit = if number.suffix().is_empty() { "s" } else { "" };
            Err(start.error(unquoted(key, &format!("{number}{unit}"))))
        }
        _ => Err(start.error(unquoted(key, example))),
    }
}

fn unquoted(key: &Ident, example: &str) -> String {
    format!("`{key}` takes a duration in quotes\nhelp: write `{key} = \"{example}\"`")
}

fn millis(text: &str) -> std::result::Result<u64, String> {
    let trimmed = text.trim();
    let digits = trimmed.len()
        - trimmed
            .trim_start_matches(|c: char| c.is_ascii_digit())
            .len();
    let (number, unit) = trimmed.split_at(digits);
    if number.is_empty() {
        return Err(no_duration(text));
    }
    if unit.is_empty() {
        return Err(format!(
            "`{text}` has no unit\nhelp: write `{number}s` or `{number}ms`"
        ));
    }
    match UNITS.iter().find(|(name, ..)| *name == unit) {
        Some((_, length, _)) => number
            .parse::<u64>()
            .ok()
            .and_then(|number| number.checked_mul(*length))
            .ok_or_else(|| format!("`{text}` is too long\nhelp: a year is `8760h`")),
        None => Err(no_unit(text, number, unit)),
    }
}

fn no_unit(text: &str, number: &str, unit: &str) -> String {
    let word = unit.trim().to_lowercase();
    let meant = |names: &[&str], name: &str| names.contains(&&*word) || word == name;
    if let Some((name, ..)) = UNITS.iter().find(|(name, _, names)| meant(names, name)) {
        return format!("`{text}` is not a duration\nhelp: write `{number}{name}`");
    }
    if let Some(millis) = fraction(number, unit) {
        let message = format!("`{text}` is not a whole number of its unit");
        return format!("{message}\nhelp: write `{millis}ms`");
    }
    no_duration(text)
}

/// `1.5s` in milliseconds, as far as that is a whole number with three digits at most behind it.
fn fraction(number: &str, rest: &str) -> Option<u64> {
    let rest = rest.strip_prefix('.')?;
    let unit = rest.trim_start_matches(|c: char| c.is_ascii_digit());
    let decimals = rest.strip_suffix(unit)?;
    let (_, length, _) = UNITS.iter().find(|(name, ..)| *name == unit)?;
    let scale = 10_u64.checked_pow(u32::try_from(decimals.len()).ok()?)?;
    let whole = number.parse::<u64>().ok()?.checked_mul(*length)?;
    let part = decimals.parse::<u64>().ok()?.checked_mul(*length)?;
    whole.checked_add((part % scale == 0).then_some(part / scale)?)
}

fn no_duration(text: &str) -> String {
    format!(
        "`{text}` is not a duration\n\
         help: write a whole number and a unit: `250ms`, `3s`, `10m`, `1h`"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_numbers_with_a_unit() {
        let read = ["250ms", "3s", "10m", "1h", " 3s "].map(|text| millis(text).ok());
        assert_eq!(read, [250, 3_000, 600_000, 3_600_000, 3_000].map(Some));
        assert_eq!(range_of("10ms..1s"), Ok((10, 1_000)));
        assert_eq!(range_of("5ms .. 5ms"), Ok((5, 5)));
    }

    fn help(text: &str) -> String {
        let message = millis(text).expect_err(text);
        message.split_once("help: ").expect("a help").1.to_owned()
    }

    #[test]
    fn the_help_is_what_was_meant() {
        assert_eq!(help("5"), "write `5s` or `5ms`");
        assert_eq!(help("3 sec"), "write `3s`");
        assert_eq!(help("3S"), "write `3s`");
        assert_eq!(help("10 minutes"), "write `10m`");
        assert_eq!(help("1.5s"), "write `1500ms`");
        assert_eq!(help("0.25m"), "write `15000ms`");
        for text in [
            "",
            "s",
            "-3s",
            "5 parsecs",
            "1.0001s",
            "1.s",
            "3s5",
            "\u{0663}s",
        ] {
            assert!(help(text).starts_with("write a whole number"), "{text}");
        }
    }

    #[test]
    fn what_does_not_fit_is_refused() {
        assert!(millis("99999999999999999999ms").is_err());
        assert!(millis("18446744073709551615h").is_err());
        assert!(millis("1.99999999999999999999999s").is_err());
        assert!(range_of("1s..10ms").is_err_and(|it| it.ends_with("write `10ms..1s`")));
        assert!(range_of("0s..1s").is_err_and(|it| it.ends_with("write `1ms..1s`")));
        assert!(range_of("10ms").is_err_and(|it| it.contains("write `10ms..1s`")));
        assert!(range_of("..").is_err() && range_of("1s..2s..3s").is_err());
    }
}
