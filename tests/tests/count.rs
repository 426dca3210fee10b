//! Prints how many conformance cases there are for each database, from the sources, and checks
//! that `conformance.md` accounts for every ID that is not simply a case on all of them.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

const PAGE: &str = include_str!("../conformance.md");

const DATABASES: [&str; 3] = ["mysql", "postgres", "sqlite"];

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

/// A case as it stands in the sources.
struct Case {
    name: String,
    databases: BTreeSet<String>,
    file: String,
}

impl Case {
    /// The ID that it is named by: `P-05` of `p_05_wire`.
    fn id(&self) -> String {
        let mut words = self.name.split('_');
        let (group, number) = (words.next(), words.next());
        let id = format!(
            "{}-{}",
            group.unwrap_or_default(),
            number.unwrap_or_default()
        );
        id.to_uppercase()
    }
}

fn cases() -> Vec<Case> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/conformance");
    let mut cases = Vec::new();
    for path in sources(&root) {
        let source = std::fs::read_to_string(&path).expect("a readable source");
        let lines = source
            .lines()
            .filter(|line| !line.trim_start().starts_with("//"));
        let source: String = lines.flat_map(|line| [line, "\n"]).collect();
        // `case! { ID on DATABASE, DATABASE; ...`
        for case in source.split("case!").skip(1) {
            let head = case.trim_start_matches([' ', '\n', '{', '(']);
            let Some((name, databases)) =
                head.split(';').next().and_then(|it| it.split_once(" on "))
            else {
                continue;
            };
            cases.push(Case {
                name: name.trim().to_owned(),
                databases: databases
                    .split(',')
                    .map(|it| it.trim().to_owned())
                    .collect(),
                file: path
                    .file_name()
                    .unwrap_or_default()
                    .to_string_lossy()
                    .into_owned(),
            });
        }
    }
    cases
}

fn print(cases: &[Case]) {
    let mut per_database: BTreeMap<&str, usize> = BTreeMap::new();
    let mut files: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for case in cases {
        files.entry(&case.name).or_default().push(&case.file);
        for database in &case.databases {
            *per_database.entry(database).or_default() += 1;
        }
    }
    println!("conformance: {} cases", files.len());
    for (database, count) in per_database {
        println!("  {database}: {count}");
    }
    for (name, files) in files.iter().filter(|(_, files)| files.len() > 1) {
        println!("  duplicate: {name} in {}", files.join(", "));
    }
}

/// A section of the page, without its heading.
fn section(heading: &str) -> &'static str {
    let section = PAGE.split("\n## ").find_map(|it| it.strip_prefix(heading));
    section.unwrap_or_else(|| panic!("conformance.md has no section {heading}"))
}

/// The words of `text` that are IDs.
fn ids(text: &str) -> Vec<String> {
    let words = text.split(|it: char| !it.is_ascii_alphanumeric() && it != '-');
    let is_id = |word: &&str| {
        let mut letters = word.chars();
        letters.next().is_some_and(|it| it.is_ascii_uppercase())
            && letters.next() == Some('-')
            && word.len() == 4
            && letters.all(|it| it.is_ascii_digit())
    };
    words.filter(is_id).map(str::to_owned).collect()
}

/// All IDs: `P-01 to P-03` is three of them.
fn all_ids() -> BTreeSet<String> {
    let text = section("All IDs").split("\n\n").nth(1).unwrap_or_default();
    let mut all = BTreeSet::new();
    for part in text.split([',', '.']) {
        let ends = ids(part);
        let number = |id: &String| id[2..].parse::<u32>().expect("two digits");
        if let (Some(first), Some(last)) = (ends.first(), ends.last()) {
            let group = &first[..1];
            all.extend((number(first)..=number(last)).map(|it| format!("{group}-{it:02}")));
        }
    }
    all
}

/// The rows of a section's table: the ID, and the other cells.
fn rows(section: &str) -> Vec<(String, Vec<String>)> {
    let rows = section.lines().filter_map(|line| {
        let mut cells = line.strip_prefix("| ")?.trim_end_matches(" |").split(" | ");
        let id = ids(cells.next()?).pop()?;
        Some((id, cells.map(str::to_owned).collect()))
    });
    rows.collect()
}

/// What is wrong with the page.
fn mistakes(cases: &[Case]) -> Vec<String> {
    let all = all_ids();
    let mut wrong = Vec::new();
    let mut databases: BTreeMap<String, BTreeSet<&str>> = BTreeMap::new();
    for case in cases {
        let seen = databases.entry(case.id()).or_default();
        seen.extend(case.databases.iter().map(String::as_str));
    }

    let mut elsewhere = BTreeSet::new();
    for (id, cells) in rows(section("Shown by the case of another ID")) {
        let name = cells
            .last()
            .map(|it| it.trim_matches('`'))
            .unwrap_or_default();
        if !cases.iter().any(|case| case.name == name) {
            wrong.push(format!("{id}: there is no case {name}"));
        }
        elsewhere.insert(id);
    }
    for (id, cells) in rows(section("Shown elsewhere")) {
        let path = cells
            .last()
            .map(|it| it.trim_matches('`'))
            .unwrap_or_default();
        if !Path::new(env!("CARGO_MANIFEST_DIR")).join(path).is_file() {
            wrong.push(format!("{id}: there is no file {path}"));
        }
        elsewhere.insert(id);
    }
    elsewhere.extend(rows(section("Not tests")).into_iter().map(|(id, _)| id));

    let partly = section("Not on every database");
    let mut expected: BTreeMap<String, BTreeSet<&str>> = BTreeMap::new();
    for (id, cells) in rows(partly) {
        let on = cells.first().map_or("", String::as_str).to_owned();
        let on = DATABASES.into_iter().filter(|it| on.contains(it)).collect();
        expected.insert(id, on);
    }
    for id in ids(partly) {
        let servers = || BTreeSet::from(["mysql", "postgres"]);
        expected.entry(id).or_insert_with(servers);
    }

    for id in &all {
        match (databases.get(id), expected.get(id)) {
            (None, _) if elsewhere.contains(id) => {}
            (None, _) => wrong.push(format!("{id} is no case, and not on the page")),
            (Some(_), _) if elsewhere.contains(id) => {
                wrong.push(format!(
                    "{id} is a case, and on the page as if it were none"
                ));
            }
            (Some(on), expected) => {
                let all = BTreeSet::from(DATABASES);
                let expected = expected.unwrap_or(&all);
                if on != expected {
                    wrong.push(format!(
                        "{id} is on {on:?}, and on {expected:?} by the page"
                    ));
                }
            }
        }
    }
    let mentioned = elsewhere.iter().chain(expected.keys());
    let unknown = mentioned.filter(|id| !all.contains(*id));
    wrong.extend(unknown.map(|id| format!("{id} is not among all IDs")));
    let groups: BTreeSet<&str> = all.iter().map(|id| &id[..1]).collect();
    let unlisted = databases
        .keys()
        .filter(|id| groups.contains(&id[..1]) && !all.contains(*id));
    wrong.extend(unlisted.map(|id| format!("{id} is a case, and not among all IDs")));
    wrong
}

fn main() {
    let cases = cases();
    print(&cases);
    let wrong = mistakes(&cases);
    for mistake in &wrong {
        println!("  conformance.md: {mistake}");
    }
    assert!(wrong.is_empty(), "conformance.md and the cases disagree");
}
