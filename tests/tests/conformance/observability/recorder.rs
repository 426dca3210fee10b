//! A subscriber that remembers spans and events.

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use tokio::time::{sleep, timeout};
use tracing::field::{Field, Visit};
use tracing::instrument::WithSubscriber as _;
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Level, Metadata, Subscriber};
use tracing_subscriber::layer::{Context, Layer, SubscriberExt as _};
use tracing_subscriber::registry::{LookupSpan, Registry, SpanRef};

/// What was recorded while a future ran under it.
#[derive(Clone, Default)]
pub(super) struct Recorder(Arc<Mutex<Recording>>);

#[derive(Default)]
struct Recording {
    spans: Vec<Seen>,
    events: Vec<Seen>,
}

/// A span or an event.
#[derive(Clone, Debug)]
pub(super) struct Seen {
    /// The span's name, or the event's message.
    pub(super) name: String,
    pub(super) target: String,
    pub(super) level: Level,
    /// The fields that it is declared with.
    pub(super) declared: Vec<&'static str>,
    pub(super) fields: Fields,
    /// The names of the spans around it, innermost first.
    pub(super) around: Vec<&'static str>,
    pub(super) closed: bool,
    id: Option<Id>,
}

#[derive(Clone, Debug, Default)]
pub(super) struct Fields(BTreeMap<&'static str, String>);

impl Recorder {
    /// Runs `body` with this as its subscriber.
    pub(super) async fn record<T>(&self, body: impl Future<Output = T>) -> T {
        let subscriber = Registry::default().with(self.clone());
        body.with_subscriber(subscriber).await
    }

    /// The spans of this crate, in the order in which they were opened.
    pub(super) fn spans(&self, name: &str) -> Vec<Seen> {
        let recording = self.recording();
        let ours = recording.spans.iter().filter(|it| it.is_ours());
        ours.filter(|it| it.name == name).cloned().collect()
    }

    /// What `field` was in each of the spans of this name.
    pub(super) fn values(&self, span: &str, field: &str) -> Vec<String> {
        let spans = self.spans(span);
        spans.iter().map(|it| it.value(field).to_owned()).collect()
    }

    pub(super) fn all_spans(&self) -> Vec<Seen> {
        let recording = self.recording();
        let ours = recording.spans.iter().filter(|it| it.is_ours());
        ours.cloned().collect()
    }

    pub(super) fn all_events(&self) -> Vec<Seen> {
        self.recording().events.clone()
    }

    /// The events of this crate with this message.
    pub(super) fn events(&self, message: &str) -> Vec<Seen> {
        let events = self.all_events().into_iter();
        events
            .filter(|it| it.is_ours() && it.name == message)
            .collect()
    }

    /// Waits for an event about `function`.
    pub(super) async fn wait_for(&self, message: &str, function: &str) {
        let seen = async {
            let about = |it: &Seen| it.value("function").contains(function);
            while !self.events(message).iter().any(about) {
                sleep(Duration::from_millis(1)).await;
            }
        };
        let seen = timeout(Duration::from_mins(1), seen).await;
        assert!(seen.is_ok(), "in vain: {message}");
    }

    fn recording(&self) -> MutexGuard<'_, Recording> {
        self.0.lock().unwrap()
    }

    fn on_span(&self, id: &Id, change: impl FnOnce(&mut Seen)) {
        let mut recording = self.recording();
        let spans = recording.spans.iter_mut().rev();
        let mut open = spans.filter(|it| !it.closed);
        if let Some(span) = open.find(|it| it.id.as_ref() == Some(id)) {
            change(span);
        }
    }
}

impl Seen {
    fn of(metadata: &'static Metadata<'static>) -> Self {
        Self {
            name: metadata.name().to_owned(),
            target: metadata.target().to_owned(),
            level: *metadata.level(),
            declared: metadata.fields().iter().map(|it| it.name()).collect(),
            fields: Fields::default(),
            around: Vec::new(),
            closed: false,
            id: None,
        }
    }

    fn is_ours(&self) -> bool {
        self.target.starts_with("tx_runtime")
    }

    /// A field's value; empty if there is none.
    pub(super) fn value(&self, field: &str) -> &str {
        self.fields.0.get(field).map_or("", String::as_str)
    }
}

impl Visit for Fields {
    fn record_str(&mut self, field: &Field, value: &str) {
        self.0.insert(field.name(), value.to_owned());
    }

    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        self.0.insert(field.name(), format!("{value:?}"));
    }
}

fn names<'a, S: Subscriber + for<'s> LookupSpan<'s>>(
    innermost: Option<SpanRef<'a, S>>,
) -> Vec<&'static str> {
    let spans = innermost.into_iter().flat_map(|it| it.scope());
    spans.map(|it| it.name()).collect()
}

impl<S: Subscriber + for<'s> LookupSpan<'s>> Layer<S> for Recorder {
    fn on_new_span(&self, attributes: &Attributes<'_>, id: &Id, context: Context<'_, S>) {
        let mut seen = Seen::of(attributes.metadata());
        attributes.record(&mut seen.fields);
        seen.id = Some(id.clone());
        seen.around = names(context.span(id).and_then(|it| it.parent()));
        self.recording().spans.push(seen);
    }

    fn on_record(&self, id: &Id, values: &Record<'_>, _: Context<'_, S>) {
        self.on_span(id, |span| values.record(&mut span.fields));
    }

    fn on_event(&self, event: &Event<'_>, context: Context<'_, S>) {
        let mut seen = Seen::of(event.metadata());
        event.record(&mut seen.fields);
        seen.name = seen.fields.0.remove("message").unwrap_or_default();
        seen.declared.retain(|it| *it != "message");
        seen.around = names(context.event_span(event));
        self.recording().events.push(seen);
    }

    fn on_close(&self, id: Id, _: Context<'_, S>) {
        self.on_span(&id, |span| span.closed = true);
    }
}
