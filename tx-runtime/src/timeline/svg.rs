//! The picture for a browser.

use std::fmt::{self, Write as _};
use std::time::Duration;

use super::lane::{Lane, LaneKind};
use super::picture::{Picture, label};

const NAMES: f64 = 280.0;
const LANES: f64 = 800.0;
const VERDICTS: f64 = 160.0;
const ROW: f64 = 22.0;
const TOP: f64 = 30.0;
const BAR: f64 = 14.0;
/// Where letters stand in a row.
const BASE: f64 = 12.0;
/// How much smaller a statement is than its transaction, above and below.
const INSET: f64 = 3.0;

const STYLE: &str = "text{font:12px system-ui,sans-serif;fill:#222}\
    .paper{fill:#fff}.tick{stroke:#ddd}.tick+text{fill:#777}\
    .wait{fill:#f3d9a4}.scope{fill:#cfd8e3}.lock{fill:#e0a030}\
    .transaction{fill:#6fa8dc}.statement{fill:#1f4e79}.hook{fill:#b7a1d8}\
    .committed{fill:#2e7d32}.bad{fill:#c62828}";

pub(super) fn draw(picture: &Picture) -> String {
    let mut svg = String::new();
    // A String takes every write.
    let _ = write(&mut svg, picture);
    svg
}

#[expect(clippy::cast_precision_loss, reason = "a number of lines")]
fn write(svg: &mut String, picture: &Picture) -> fmt::Result {
    let width = NAMES + LANES + VERDICTS;
    let legend = TOP + picture.lanes.len() as f64 * ROW;
    let height = legend + ROW + 8.0;
    write!(
        svg,
        r#"<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" height="{height}" role="img"><title>scopes, locks and transactions in time</title><style>{STYLE}</style><rect class="paper" width="{width}" height="{height}"/>"#
    )?;
    for tick in picture.ticks(8) {
        let x = NAMES + tick.at * LANES;
        write!(
            svg,
            r#"<line class="tick" x1="{x:.1}" x2="{x:.1}" y1="18" y2="{height}"/><text x="{x:.1}" y="14" text-anchor="middle">{}</text>"#,
            tick.label
        )?;
    }
    for (row, lane) in picture.lanes.iter().enumerate() {
        write_lane(svg, picture, lane, TOP + row as f64 * ROW)?;
    }
    write_legend(svg, legend)?;
    svg.write_str("</svg>\n")
}

fn write_legend(svg: &mut String, y: f64) -> fmt::Result {
    let mut x = NAMES;
    for (class, meaning) in [
        ("wait", "waits"),
        ("scope", "scope"),
        ("lock", "lock held"),
        ("transaction", "transaction open"),
        ("statement", "statement"),
        ("hook", "hook"),
    ] {
        write!(
            svg,
            r#"<rect class="{class}" x="{x}" y="{y}" width="{BAR}" height="{BAR}"/><text x="{}" y="{}">{meaning}</text>"#,
            x + BAR + 6.0,
            y + BASE
        )?;
        x += 130.0;
    }
    Ok(())
}

fn write_lane(svg: &mut String, picture: &Picture, lane: &Lane, y: f64) -> fmt::Result {
    #[expect(clippy::cast_precision_loss, reason = "a depth")]
    let indent = 8.0 + 12.0 * lane.depth.min(12) as f64;
    let base = y + BASE;
    let name = Escaped(&label(lane)).to_string();
    write!(svg, r#"<g><text x="{indent}" y="{base}">{name}</text>"#)?;
    if lane.kind != LaneKind::Scope && lane.start != Some(lane.asked) {
        let tip = format!("{name}: waits");
        write_bar(svg, picture, "wait", lane.wait(picture.now), (y, BAR), &tip)?;
    }
    if let Some(work) = lane.work(picture.now) {
        let tip = format!("{name} {}", Escaped(lane.verdict()));
        write_bar(svg, picture, lane.kind.word(), work, (y, BAR), &tip)?;
    }
    for statement in &lane.statements {
        let times = (statement.start, statement.end);
        let tip = Escaped(&statement.summary).to_string();
        write_bar(
            svg,
            picture,
            "statement",
            times,
            (y + INSET, BAR - 2.0 * INSET),
            &tip,
        )?;
    }
    let class = match lane.verdict() {
        "committed" | "released" | "kept" | "ok" => "committed",
        "" | "waiting" | "running" | "rolled_back" => "plain",
        _ => "bad",
    };
    write!(
        svg,
        r#"<text class="{class}" x="{}" y="{base}">{}</text></g>"#,
        NAMES + LANES + 10.0,
        Escaped(lane.verdict())
    )
}

/// `tip`: fit to stand in XML.
fn write_bar(
    svg: &mut String,
    picture: &Picture,
    class: &str,
    (from, to): (Duration, Duration),
    (y, height): (f64, f64),
    tip: &str,
) -> fmt::Result {
    let x = NAMES + picture.place(from) * LANES;
    // What is too short to be seen is seen all the same.
    let width = ((picture.place(to) - picture.place(from)) * LANES).max(1.0);
    let took = to.saturating_sub(from);
    write!(
        svg,
        r#"<rect class="{class}" x="{x:.1}" y="{y}" width="{width:.1}" height="{height}"><title>{tip} ({took:.1?})</title></rect>"#
    )
}

/// Text as XML has it; what XML has no place for is left out.
struct Escaped<'a>(&'a str);

impl fmt::Display for Escaped<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for character in self.0.chars() {
            match character {
                '&' => f.write_str("&amp;")?,
                '<' => f.write_str("&lt;")?,
                '>' => f.write_str("&gt;")?,
                '"' => f.write_str("&quot;")?,
                control if control.is_control() => f.write_char(' ')?,
                '\u{fffe}' | '\u{ffff}' => {}
                other => f.write_char(other)?,
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::{Picture, draw};
    use crate::timeline::lane::{Lane, LaneKind, Statement};

    #[test]
    fn names_cannot_break_out() {
        let lane = Lane {
            kind: LaneKind::Transaction,
            name: "<a & \"b\">\u{1}".to_owned(),
            depth: 40,
            asked: Duration::ZERO,
            start: Some(Duration::ZERO),
            end: None,
            outcome: Some("conflict".to_owned()),
            statements: vec![Statement {
                summary: "select '</title>' …".to_owned(),
                start: Duration::ZERO,
                end: Duration::from_millis(1),
            }],
        };
        let svg = draw(&Picture::of(vec![lane], Duration::from_millis(2)));
        assert!(
            svg.contains("transaction &lt;a &amp; &quot;b&quot;&gt; </text>"),
            "{svg}"
        );
        assert!(svg.contains("select '&lt;/title&gt;' … (1.0ms)"), "{svg}");
        assert!(
            svg.contains(r#"class="bad""#) && svg.ends_with("</svg>\n"),
            "{svg}"
        );
    }
}
