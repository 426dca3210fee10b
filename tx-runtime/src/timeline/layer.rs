//! From spans and events to lanes.

use std::fmt::{self, Debug};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id};
use tracing::{Event, Metadata, Subscriber};
use tracing_subscriber::layer::{Context, Layer};
use tracing_subscriber::registry::{LookupSpan, SpanRef};

use super::lane::LaneKind;
use super::record::{Number, Record};

/// Collects for a [`Timeline`](super::Timeline); see [`Timeline::layer`](super::Timeline::layer).
#[derive(Debug)]
pub struct TimelineLayer(Arc<Mutex<Record>>);

/// What a span is to the timeline.
#[derive(Clone, Copy)]
enum Mark {
    Wait(Number),
    Lane(Number),
}

impl Mark {
    fn number(self) -> Number {
        match self {
            Self::Wait(number) | Self::Lane(number) => number,
        }
    }
}

impl TimelineLayer {
    pub(super) fn new(record: Arc<Mutex<Record>>) -> Self {
        Self(record)
    }

    fn record(&self) -> MutexGuard<'_, Record> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn open(&self, span: &str, fields: Fields, around: Option<Mark>) -> Option<Mark> {
        let mut record = self.record();
        let parent = around.map(Mark::number);
        let (kind, name) = match span {
            "lock.wait" => return Some(Mark::Wait(record.ask(LaneKind::Lock, fields.key, parent))),
            "lock.hold" => {
                let waited_for = match around {
                    Some(Mark::Wait(number)) if record.is_waiting(number) => Some(number),
                    _ => None,
                };
                let lock =
                    waited_for.unwrap_or_else(|| record.ask(LaneKind::Lock, fields.key, parent));
                record.start(lock, Duration::ZERO);
                return Some(Mark::Lane(lock));
            }
            "scope" => (LaneKind::Scope, fields.function),
            "transaction" => (LaneKind::Transaction, fields.id),
            "hook" => (LaneKind::Hook, fields.kind),
            _ => return None,
        };
        let lane = record.ask(kind, name, parent);
        record.start(lane, fields.waited);
        Some(Mark::Lane(lane))
    }
}

impl<S: Subscriber + for<'s> LookupSpan<'s>> Layer<S> for TimelineLayer {
    fn on_new_span(&self, attributes: &Attributes<'_>, id: &Id, context: Context<'_, S>) {
        let metadata = attributes.metadata();
        let Some(span) = context.span(id).filter(|_| is_ours(metadata)) else {
            return;
        };
        let mut fields = Fields::default();
        attributes.record(&mut fields);
        let mark = self.open(
            metadata.name(),
            fields,
            span.parent().and_then(|span| around(&span)),
        );
        if let Some(mark) = mark {
            span.extensions_mut().insert(mark);
        }
    }

    fn on_record(&self, id: &Id, values: &tracing::span::Record<'_>, context: Context<'_, S>) {
        if let Some(mark) = context.span(id).and_then(|span| own(&span)) {
            let mut fields = Fields::default();
            values.record(&mut fields);
            if let Some(outcome) = fields.outcome {
                self.record().end(mark.number(), Some(outcome));
            }
        }
    }

    fn on_event(&self, event: &Event<'_>, context: Context<'_, S>) {
        if event.metadata().target() != "sqlx::query" {
            return;
        }
        if let Some(mark) = context.event_span(event).and_then(|span| around(&span)) {
            let mut fields = Fields::default();
            event.record(&mut fields);
            let mut record = self.record();
            record.answered(mark.number(), fields.summary, fields.elapsed);
        }
    }

    fn on_close(&self, id: Id, context: Context<'_, S>) {
        match context.span(&id).and_then(|span| own(&span)) {
            // As a parent it is open as long as the lock is held.
            Some(Mark::Wait(lock)) => {
                let mut record = self.record();
                if record.is_waiting(lock) {
                    record.end(lock, None);
                }
            }
            Some(Mark::Lane(lane)) => self.record().end(lane, None),
            None => {}
        }
    }
}

fn is_ours(metadata: &Metadata<'_>) -> bool {
    metadata.target().starts_with("tx_runtime")
}

fn own<'s, S: LookupSpan<'s>>(span: &SpanRef<'s, S>) -> Option<Mark> {
    span.extensions().get::<Mark>().copied()
}

/// What the innermost of our spans is, from this one outwards.
fn around<'s, S: LookupSpan<'s>>(span: &SpanRef<'s, S>) -> Option<Mark> {
    span.scope().find_map(|span| own(&span))
}

/// The fields that a picture shows.
#[derive(Default)]
struct Fields {
    function: String,
    key: String,
    kind: String,
    id: String,
    outcome: Option<String>,
    summary: String,
    waited: Duration,
    elapsed: Duration,
}

impl Visit for Fields {
    fn record_f64(&mut self, field: &Field, value: f64) {
        let time = Duration::try_from_secs_f64(value).unwrap_or_default();
        match field.name() {
            "waited" => self.waited = time,
            "elapsed_secs" => self.elapsed = time,
            _ => {}
        }
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.take(field, format_args!("{value}"));
    }

    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        self.take(field, format_args!("{value:?}"));
    }
}

impl Fields {
    fn take(&mut self, field: &Field, value: fmt::Arguments<'_>) {
        match field.name() {
            "function" => self.function = value.to_string(),
            "key" => self.key = value.to_string(),
            "kind" => self.kind = value.to_string(),
            "id" => self.id = value.to_string(),
            "outcome" => self.outcome = Some(value.to_string()),
            "summary" => self.summary = value.to_string(),
            _ => {}
        }
    }
}
