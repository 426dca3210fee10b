//! What both drawings have in common: the lanes, and the scale that they stand on.

use std::time::Duration;

use super::lane::{Lane, LaneKind};

/// Lanes on one scale.
pub(super) struct Picture {
    pub(super) lanes: Vec<Lane>,
    /// As long as something goes on, its end is now.
    pub(super) now: Duration,
    first: Duration,
    /// From the first moment to the last, in seconds; never zero.
    length: f64,
}

/// A mark on the scale, from 0 at its beginning to 1 at its end.
pub(super) struct Tick {
    pub(super) at: f64,
    pub(super) label: String,
}

impl Picture {
    pub(super) fn of(lanes: Vec<Lane>, now: Duration) -> Self {
        let first = lanes.iter().map(|lane| lane.asked).min();
        let last = lanes.iter().map(|lane| lane.end.unwrap_or(now)).max();
        let first = first.unwrap_or_default();
        let length = last.unwrap_or_default().saturating_sub(first);
        Self {
            lanes,
            now,
            first,
            length: length.max(Duration::from_micros(1)).as_secs_f64(),
        }
    }

    /// Where `time` is, from 0 to 1.
    pub(super) fn place(&self, time: Duration) -> f64 {
        time.saturating_sub(self.first).as_secs_f64() / self.length
    }

    /// Some marks at round times, at most `most`.
    pub(super) fn ticks(&self, most: u32) -> Vec<Tick> {
        let step = round_step(self.length / f64::from(most.max(1)));
        let (unit, name) = unit(step);
        (0..=most)
            .map(|number| f64::from(number) * step)
            .take_while(|time| *time <= self.length)
            .map(|time| Tick {
                at: time / self.length,
                label: format!("{} {name}", (time / unit).round()),
            })
            .collect()
    }
}

/// The smallest of 1, 2 and 5 times a power of ten that is no less than `least`, in seconds.
fn round_step(least: f64) -> f64 {
    let power = 10_f64.powf(least.log10().floor());
    let steps = [1.0, 2.0, 5.0].map(|factor| factor * power);
    let step = steps.into_iter().find(|step| *step >= least);
    step.unwrap_or(10.0 * power).max(1e-6)
}

/// In what a step is counted, and its name.
fn unit(step: f64) -> (f64, &'static str) {
    if step < 0.999e-3 {
        (1e-6, "us")
    } else if step < 0.999 {
        (1e-3, "ms")
    } else {
        (1.0, "s")
    }
}

/// What a lane is, in words.
pub(super) fn label(lane: &Lane) -> String {
    match lane.kind {
        LaneKind::Scope => lane.name.clone(),
        kind => format!("{} {}", kind.word(), lane.name),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::Picture;
    use crate::timeline::lane::{Lane, LaneKind};

    fn labels(length: Duration) -> Vec<String> {
        let lane = Lane {
            kind: LaneKind::Scope,
            name: String::new(),
            depth: 0,
            asked: Duration::from_secs(7),
            start: None,
            end: Some(Duration::from_secs(7) + length),
            outcome: None,
            statements: Vec::new(),
        };
        let ticks = Picture::of(vec![lane], Duration::ZERO).ticks(5);
        ticks.into_iter().map(|tick| tick.label).collect()
    }

    #[test]
    fn ticks_are_at_round_times() {
        assert_eq!(
            labels(Duration::from_millis(7)),
            ["0 ms", "2 ms", "4 ms", "6 ms"]
        );
        assert_eq!(
            labels(Duration::from_millis(1)),
            ["0 us", "200 us", "400 us", "600 us", "800 us", "1000 us"]
        );
        assert_eq!(
            labels(Duration::from_secs(5)),
            ["0 s", "1 s", "2 s", "3 s", "4 s", "5 s"]
        );
        assert_eq!(
            labels(Duration::from_millis(2300)),
            ["0 ms", "500 ms", "1000 ms", "1500 ms", "2000 ms"]
        );
        assert_eq!(labels(Duration::ZERO), ["0 us", "1 us"]);
    }

    #[test]
    fn nothing_is_a_picture_too() {
        assert!(Picture::of(Vec::new(), Duration::from_secs(3)).place(Duration::ZERO) >= 0.0);
    }
}
