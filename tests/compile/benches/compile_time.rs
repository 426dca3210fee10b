//! What 200 annotated functions cost the compiler beside 200 that begin and commit by hand:
//! `cargo bench -p tx-compile-tests --bench compile_time`.

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

const FUNCTIONS: usize = 200;
const ROUNDS: usize = 5;

const HEAD: &str = "use std::pin::Pin;\nuse tx_runtime::{Error, PgDb, transactional};\n";

fn annotated(number: usize) -> String {
    format!(
        "#[transactional]
pub async fn add_{number}(db: &PgDb, asset: i64) -> Result<(), Error> {{
    sqlx::query(\"insert into asset values ($1)\").bind(asset).execute(db).await?;
    sqlx::query(\"insert into audit values ($1)\").bind(asset).execute(db).await?;
    Ok(())
}}
"
    )
}

fn by_hand(number: usize) -> String {
    format!(
        "pub async fn add_{number}(db: &PgDb, asset: i64) -> Result<(), Error> {{
    let mut tx = db.pool().begin().await?;
    sqlx::query(\"insert into asset values ($1)\").bind(asset).execute(&mut *tx).await?;
    sqlx::query(\"insert into audit values ($1)\").bind(asset).execute(&mut *tx).await?;
    tx.commit().await?;
    Ok(())
}}
"
    )
}

/// A crate of its own that depends on the runtime of this workspace.
struct Program {
    directory: PathBuf,
    source: String,
}

impl Program {
    fn new(name: &str, function: fn(usize) -> String) -> Self {
        let compile = Path::new(env!("CARGO_MANIFEST_DIR"));
        let workspace = compile.ancestors().nth(2).expect("the workspace");
        let directory = Path::new(env!("CARGO_TARGET_TMPDIR"))
            .join("compile_time")
            .join(name);
        fs::create_dir_all(directory.join("src")).expect("a directory");
        let runtime = workspace.join("tx-runtime");
        let manifest = format!(
            "[package]\nname = \"{name}\"\nversion = \"0.0.0\"\nedition = \"2024\"\n\n[workspace]\n\n\
             [dependencies]\nsqlx = {{ version = \"0.9\", default-features = false }}\n\
             tx-runtime = {{ path = \"{}\", features = [\"postgres\"] }}\n",
            runtime.display()
        );
        fs::write(directory.join("Cargo.toml"), manifest).expect("a manifest");
        fs::copy(workspace.join("Cargo.lock"), directory.join("Cargo.lock")).expect("versions");
        let mut source = HEAD.replace(
            ", transactional",
            if name == "annotated" {
                ", transactional"
            } else {
                ""
            },
        );
        for number in 0..FUNCTIONS {
            source += &function(number);
        }
        // A future that nobody polls is not compiled to the end.
        source +=
            "pub type Work<'a> = Pin<Box<dyn Future<Output = Result<(), Error>> + Send + 'a>>;\n";
        source += "pub fn all(db: &PgDb) -> Vec<Work<'_>> {\n    vec![\n";
        for number in 0..FUNCTIONS {
            writeln!(source, "        Box::pin(add_{number}(db, {number})),").expect("text");
        }
        source += "    ]\n}\n";
        Self { directory, source }
    }

    /// How long `cargo` takes for this crate alone, its dependencies being there already.
    fn compile(&self, command: &str) -> Duration {
        fs::write(self.directory.join("src/lib.rs"), &self.source).expect("a source");
        let started = Instant::now();
        let status = Command::new(env!("CARGO"))
            .args([command, "--quiet", "--offline"])
            .current_dir(&self.directory)
            .env("CARGO_TARGET_DIR", self.directory.with_file_name("target"))
            .stdout(Stdio::null())
            .status();
        assert!(status.is_ok_and(|status| status.success()), "{command}");
        started.elapsed()
    }
}

fn main() {
    let programs = [
        Program::new("annotated", annotated),
        Program::new("by_hand", by_hand),
    ];
    for command in ["check", "build"] {
        for program in &programs {
            program.compile(command);
        }
        let mut best = [Duration::MAX; 2];
        for _ in 0..ROUNDS {
            for (program, best) in programs.iter().zip(&mut best) {
                *best = program.compile(command).min(*best);
            }
        }
        let [annotated, by_hand] = best.map(|time| time.as_secs_f64());
        println!(
            "cargo {command}, {FUNCTIONS} functions, best of {ROUNDS}: annotated {annotated:.2} s, \
             by hand {by_hand:.2} s, ratio {:.2}",
            annotated / by_hand
        );
    }
}
