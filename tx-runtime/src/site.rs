//! The place in the source that a scope came from.

use std::fmt;
use std::panic::Location;

/// The function a scope belongs to and where it stands in the source.
///
/// Errors carry sites so that a rollback can be traced to the function that caused it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Site {
    name: &'static str,
    file: &'static str,
    line: u32,
}

impl Site {
    pub(crate) const fn new(name: &'static str, file: &'static str, line: u32) -> Self {
        Self { name, file, line }
    }

    pub(crate) const fn at(name: &'static str, location: &'static Location<'static>) -> Self {
        Self::new(name, location.file(), location.line())
    }

    pub(crate) const fn renamed(self, name: &'static str) -> Self {
        Self { name, ..self }
    }

    /// For statements of a `Db` that takes them outside of scopes too.
    pub(crate) const OUTSIDE: Self = Self::new("a statement outside any scope", "", 0);

    /// The function's path, or the name it was given with `name = ".."`.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        self.name
    }

    /// The source file, as the compiler names it.
    #[must_use]
    pub const fn file(&self) -> &'static str {
        self.file
    }

    /// The line in [`file`](Self::file), counted from 1.
    #[must_use]
    pub const fn line(&self) -> u32 {
        self.line
    }
}

impl fmt::Display for Site {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.file.is_empty() {
            return f.write_str(self.name);
        }
        write!(f, "`{}` ({}:{})", self.name, self.file, self.line)
    }
}
