//! A line of text, as it comes in from outside.

use serde::Deserialize;

/// As many characters as the columns of the table have.
const LONGEST: usize = 200;

/// A line of 1 to 200 characters.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub struct Line(String);

/// A text is not a line.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("expected one line of 1 to {LONGEST} characters")]
pub struct NoLine;

impl Line {
    /// The text.
    #[must_use]
    pub fn text(&self) -> &str {
        &self.0
    }
}

impl TryFrom<String> for Line {
    type Error = NoLine;

    fn try_from(text: String) -> Result<Self, NoLine> {
        let is_line = !text.trim().is_empty() && !text.chars().any(char::is_control);
        if is_line && text.chars().count() <= LONGEST {
            Ok(Self(text))
        } else {
            Err(NoLine)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{LONGEST, Line, NoLine};

    #[test]
    fn a_line_has_something_in_it_and_one_line_only() {
        for text in ["x", "Zoë Müller", &"ü".repeat(LONGEST)] {
            let line = Line::try_from(text.to_owned()).expect(text);
            assert_eq!(line.text(), text);
        }
        for text in [
            "",
            "  ",
            "a\nb",
            "a\0",
            "\u{1b}[31m",
            &"x".repeat(LONGEST + 1),
        ] {
            assert_eq!(Line::try_from(text.to_owned()), Err(NoLine), "{text:?}");
        }
    }
}
