//! The numbers of accounts and assets, as they come in from outside.

/// The largest whole number that every JSON reader keeps exact.
const LARGEST: i64 = (1 << 53) - 1;

/// A text is not the number of anything.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("expected a whole number from 1 to {LARGEST}, in digits, without leading zeros")]
pub(crate) struct InvalidId;

/// The number of an account or of an asset.
///
/// Stricter than `parse`, so that every resource has one URL.
pub(crate) fn parse(text: &str) -> Result<i64, InvalidId> {
    let is_plain = text.bytes().all(|byte| byte.is_ascii_digit()) && !text.starts_with('0');
    match text.parse() {
        Ok(number) if is_plain && number <= LARGEST => Ok(number),
        _ => Err(InvalidId),
    }
}

#[cfg(test)]
mod tests {
    use super::{InvalidId, LARGEST, parse};

    #[test]
    fn whole_numbers_from_1_on() {
        assert_eq!(parse("1"), Ok(1));
        assert_eq!(parse(&LARGEST.to_string()), Ok(LARGEST));
    }

    #[test]
    fn nothing_else() {
        let beyond = (LARGEST + 1).to_string();
        let texts = [
            "", "0", "007", "+7", "-7", " 7", "7.0", "seven", "٧", &beyond,
        ];
        for text in texts {
            assert_eq!(parse(text), Err(InvalidId), "{text:?}");
        }
    }
}
