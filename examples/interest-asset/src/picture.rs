//! `--timeline`: what the service did last, drawn.

use std::fs;
use std::path::{Path, PathBuf};

use stage::Failure;
use tracing_subscriber::filter::LevelFilter;
use tracing_subscriber::layer::SubscriberExt as _;
use tx_runtime::timeline::Timeline;

/// As many as are read with pleasure.
const LANES: usize = 60;

/// A picture to be drawn, of everything from now on.
pub(crate) struct Picture {
    timeline: Timeline,
    file: PathBuf,
}

impl Picture {
    pub(crate) fn begin(file: &Path) -> Result<Self, Failure> {
        let timeline = Timeline::keeping(LANES);
        let subscriber = tracing_subscriber::registry()
            .with(LevelFilter::DEBUG)
            .with(timeline.layer());
        tracing::subscriber::set_global_default(subscriber)?;
        let file = file.to_owned();
        Ok(Self { timeline, file })
    }

    pub(crate) fn draw(&self) -> Result<(), Failure> {
        let file = self.file.display();
        let drawn = match self.file.extension() {
            Some(extension) if extension == "svg" => self.timeline.svg(),
            _ => format!("{:100}", self.timeline),
        };
        fs::write(&self.file, drawn)
            .map_err(|error| format!("{file} cannot be written: {error}"))?;
        println!("\nthe end of it is drawn in {file}");
        Ok(())
    }
}
