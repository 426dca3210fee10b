//! Prints how many conformance cases there are for each database, from the sources.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// Every Rust file under `directory`.
fn sources(directory: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(directory).into_iter().flatten().flatten();
    let (directories, files): (Vec<_>, Vec<_>) = entries
        .map(|entry| entry.path())
        .partition(|path| path.is_dir());
    let mut files: Vec<_> = files
        .into_iter()
        .filter(|path| path.extension().is_some_and(|it| it == "rs"))
        .collect();
    files.extend(directories.iter().flat_map(|it| sources(it)));
    files
}

fn main() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/conformance");
    let mut per_database: BTreeMap<String, usize> = BTreeMap::new();
    let mut cases: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for path in sources(&root) {
        let source = std::fs::read_to_string(&path).expect("a readable source");
        let lines = source
            .lines()
            .filter(|line| !line.trim_start().starts_with("//"));
        let source: String = lines.flat_map(|line| [line, "\n"]).collect();
        // `case! { ID on DATABASE, DATABASE; ...`
        for case in source.split("case!").skip(1) {
            let head = case.trim_start_matches([' ', '\n', '{', '(']);
            let Some((id, databases)) = head.split(';').next().and_then(|it| it.split_once(" on "))
            else {
                continue;
            };
            for database in databases.split(',') {
                *per_database.entry(database.trim().to_owned()).or_default() += 1;
            }
            let file = path.file_name().unwrap_or_default().to_string_lossy();
            cases
                .entry(id.trim().to_owned())
                .or_default()
                .push(file.into_owned());
        }
    }
    println!("conformance: {} cases", cases.len());
    for (database, count) in per_database {
        println!("  {database}: {count}");
    }
    for (id, files) in cases.iter().filter(|(_, files)| files.len() > 1) {
        println!("  duplicate: {id} in {}", files.join(", "));
    }
}
