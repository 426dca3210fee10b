//! Whether a run is what the model says.

use std::fmt::Write as _;

use crate::event::{Account, Ending, Event};
use crate::model::Prediction;

/// What is otherwise than predicted, in words.
pub(crate) fn difference(predicted: &Prediction, seen: &Account) -> Option<String> {
    let expected = &predicted.account;
    let events = [expected, seen].map(|it| by_transaction(&it.events, predicted));
    let [expected_events, seen_events] = &events;
    if expected_events == seen_events && expected.stored == seen.stored {
        return None;
    }
    let mut words = String::new();
    let longer = expected_events.len().max(seen_events.len());
    for at in 0..longer {
        let (expected, seen) = (expected_events.get(at), seen_events.get(at));
        if expected == seen {
            let _ = writeln!(words, "      both: {}", in_words(expected));
            continue;
        }
        let _ = writeln!(words, "  expected: {}", in_words(expected));
        let _ = writeln!(words, "  but seen: {}", in_words(seen));
        break;
    }
    if expected.stored != seen.stored {
        let (expected, seen) = (&expected.stored, &seen.stored);
        let _ = writeln!(words, "stored, expected: {expected:?}, but seen: {seen:?}");
    }
    Some(words)
}

fn in_words(event: Option<&Event>) -> String {
    event.map_or_else(|| "nothing more".to_owned(), |event| format!("{event:?}"))
}

/// Brings the hooks that a panic or a drop leaves to the clean-up into the order of their
/// transactions: those of one transaction have an order, the transactions have none.
fn by_transaction(events: &[Event], predicted: &Prediction) -> Vec<Event> {
    let mut events = events.to_vec();
    let starts = events.iter().enumerate().filter(|(_, event)| {
        matches!(
            event,
            Event::Ended {
                how: Ending::Panicked(_) | Ending::Dropped,
                ..
            }
        )
    });
    let starts: Vec<usize> = starts.map(|(at, _)| at + 1).collect();
    for start in starts {
        let hooks = events[start..].iter();
        let count = hooks
            .take_while(|it| matches!(it, Event::Hook { .. }))
            .count();
        events[start..start + count].sort_by_key(|event| match event {
            Event::Hook { id, .. } => predicted.transaction_of.get(id).copied(),
            _ => None,
        });
    }
    events
}
