//! Text in columns.

use std::fmt::{Display, Write as _};

/// Between two columns.
const GAP: &str = "  ";

/// What a column holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Holds {
    /// Aligned to the left.
    Words,
    /// Aligned to the right.
    Figures,
}

/// One column: its title, and how wide it is.
#[derive(Clone, Debug)]
pub struct Column {
    title: String,
    width: usize,
    holds: Holds,
}

impl Column {
    /// A column of words, as wide as its title.
    #[must_use]
    pub fn words(title: &str) -> Self {
        Self::new(title, Holds::Words)
    }

    /// A column of figures, as wide as its title.
    #[must_use]
    pub fn figures(title: &str) -> Self {
        Self::new(title, Holds::Figures)
    }

    fn new(title: &str, holds: Holds) -> Self {
        Self {
            title: title.to_owned(),
            width: width(title),
            holds,
        }
    }

    /// The column, no narrower than `least`.
    #[must_use]
    pub fn at_least(mut self, least: usize) -> Self {
        self.width = self.width.max(least);
        self
    }

    /// The column, wide enough for each of `words`.
    #[must_use]
    pub fn holding<T: Display>(self, words: &[T]) -> Self {
        let widths = words.iter().map(|word| width(&word.to_string()));
        let widest = widths.max().unwrap_or_default();
        self.at_least(widest)
    }
}

/// The columns of a table, whose lines are made one by one.
#[derive(Clone, Debug)]
pub struct Table<const N: usize> {
    columns: [Column; N],
}

impl<const N: usize> Table<N> {
    /// A table of `columns`.
    #[must_use]
    pub fn new(columns: [Column; N]) -> Self {
        Self { columns }
    }

    /// The table with columns wide enough for all of `rows`.
    #[must_use]
    pub fn fitting(mut self, rows: &[[String; N]]) -> Self {
        for row in rows {
            for (column, cell) in self.columns.iter_mut().zip(row) {
                column.width = column.width.max(width(cell));
            }
        }
        self
    }

    /// The titles, with a rule below.
    #[must_use]
    pub fn heading(&self) -> String {
        let titles = self.row(self.columns.each_ref().map(|column| column.title.clone()));
        let widths: usize = self.columns.iter().map(|column| column.width).sum();
        let rule = "-".repeat(widths + GAP.len() * (N.saturating_sub(1)));
        format!("{titles}\n{rule}")
    }

    /// One line.
    #[must_use]
    pub fn row(&self, cells: [String; N]) -> String {
        let mut line = String::new();
        for (column, cell) in self.columns.iter().zip(cells) {
            let width = column.width;
            // A String takes everything.
            let _ = match column.holds {
                Holds::Words => write!(line, "{cell:<width$}{GAP}"),
                Holds::Figures => write!(line, "{cell:>width$}{GAP}"),
            };
        }
        line.truncate(line.trim_end().len());
        line
    }
}

fn width(text: &str) -> usize {
    text.chars().count()
}

#[cfg(test)]
mod tests {
    use super::{Column, Table};

    fn cells<const N: usize>(cells: [&str; N]) -> [String; N] {
        cells.map(str::to_owned)
    }

    #[test]
    fn words_stand_left_and_figures_right() {
        let table = Table::new([
            Column::words("variant").at_least(9),
            Column::figures("lost rows"),
        ]);
        assert_eq!(
            table.heading(),
            "variant    lost rows\n--------------------"
        );
        assert_eq!(table.row(cells(["no-lock", "12"])), "no-lock           12");
    }

    #[test]
    fn a_table_fits_its_rows() {
        let rows = [cells(["a", "1"]), cells(["longest", "100000"])];
        let table = Table::new([Column::words("key"), Column::figures("n")]).fitting(&rows);
        assert_eq!(table.row(rows[0].clone()), "a             1");
        assert_eq!(table.row(rows[1].clone()), "longest  100000");
    }
}
