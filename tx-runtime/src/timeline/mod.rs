//! A picture of what scopes, locks and transactions did, and when.
//!
//! Whether a lock was open before the COMMIT of what was done under it, which transaction waited
//! for a connection, or what ran in which: lanes beside each other show it at a glance. They are
//! made of the spans that this crate gives `tracing`, so nothing has to be changed in the code
//! that is looked at.
//!
//! ```
//! # #[cfg(feature = "sqlite")]
//! # tokio::runtime::Runtime::new().unwrap().block_on(async {
//! use tracing_subscriber::layer::SubscriberExt as _;
//! use tx_runtime::timeline::Timeline;
//! use tx_runtime::{Error, SqliteDb, TransactionOptions};
//!
//! let timeline = Timeline::new();
//! tracing::subscriber::set_global_default(tracing_subscriber::registry().with(timeline.layer()))?;
//!
//! let db = SqliteDb::connect("sqlite::memory:").await?;
//! let options = TransactionOptions::new().name("assets.add").lock("asset:7");
//! db.transaction_with(options, async || {
//!     sqlx::query("select 1").execute(&db).await?;
//!     Ok::<_, Error>(())
//! })
//! .await?;
//!
//! println!("{timeline:80}");                             // 80 columns of picture
//! let svg: String = timeline.svg();                      // the same, for a browser
//! # let text = timeline.to_string();
//! # assert!(text.contains("assets.add") && text.contains("asset:7") && text.contains("committed"), "{text}");
//! # assert!(svg.starts_with("<svg"));
//! # Ok::<_, Box<dyn std::error::Error>>(())
//! # }).unwrap();
//! ```

mod lane;
mod layer;
mod picture;
mod record;
mod svg;
mod text;

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use self::picture::Picture;
use self::record::Record;

pub use self::lane::{Lane, LaneKind, Statement};
pub use self::layer::TimelineLayer;

/// How many lanes are kept, unless it is said.
const LANES: usize = 1000;

/// Collects lanes, and draws them: as text by its `Display`, as [SVG](Self::svg) for a browser.
///
/// A cheap clone shares what is collected. The width of the text's picture, 60 columns by
/// default, is that of the format: `{timeline:100}`.
#[derive(Clone, Debug)]
pub struct Timeline(Arc<Mutex<Record>>);

impl Timeline {
    /// One that keeps the last thousand lanes.
    #[must_use]
    pub fn new() -> Self {
        Self::keeping(LANES)
    }

    /// One that keeps the last `lanes`, at least one. What is older is forgotten, so that a
    /// program may leave it on.
    #[must_use]
    pub fn keeping(lanes: usize) -> Self {
        Self(Arc::new(Mutex::new(Record::keeping(lanes))))
    }

    /// What collects, for a subscriber of `tracing_subscriber`.
    ///
    /// The spans are of level `DEBUG`, and so are, unless the connect options say otherwise,
    /// sqlx's events of which the [statements](Lane::statements) are made: a filter in front of
    /// the layer must let both through.
    #[must_use]
    pub fn layer(&self) -> TimelineLayer {
        TimelineLayer::new(Arc::clone(&self.0))
    }

    /// What was collected so far, each lane behind the one that it lies in.
    #[must_use]
    pub fn lanes(&self) -> Vec<Lane> {
        self.record().lanes()
    }

    /// Forgets what was collected. What is still going on does not come back.
    pub fn clear(&self) {
        self.record().clear();
    }

    /// The picture as a document of its own: an `<svg>` element, with what each lane and
    /// statement is as its tool tip.
    #[must_use]
    pub fn svg(&self) -> String {
        svg::draw(&self.picture())
    }

    fn picture(&self) -> Picture {
        let record = self.record();
        Picture::of(record.lanes(), record.now())
    }

    fn record(&self) -> MutexGuard<'_, Record> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Default for Timeline {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Display for Timeline {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let columns = f.width().unwrap_or(text::COLUMNS);
        f.write_str(&text::draw(&self.picture(), columns))
    }
}
