//! `README.md` is made of the cases. `BLESS=1 cargo test -p tx-compile-tests --test catalogue` writes it.

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

/// The cases of the conformance catalogue that are about compiling.
const CATALOGUE: [(&str, &str, &[&str]); 11] = [
    (
        "A-01",
        "unknown and repeated words",
        &[
            "option/fail/unknown",
            "option/fail/twice",
            "value/fail/unknown_propagation",
        ],
    ),
    (
        "A-02",
        "all modes and levels",
        &[
            "option/pass/every_propagation",
            "option/pass/every_isolation",
        ],
    ),
    (
        "A-03",
        "functions that cannot be decorated",
        &[
            "function/fail/sync",
            "function/fail/const_function",
            "function/fail/extern_function",
            "function/fail/which_database",
        ],
    ),
    (
        "A-04",
        "options that would be ignored",
        &[
            "effect/fail/isolation_of_a_savepoint",
            "effect/fail/several_of_never",
            "effect/fail/retry_of_a_participant",
        ],
    ),
    (
        "A-05",
        "functions of every shape",
        &[
            "function/pass/receivers",
            "function/pass/generics",
            "function/pass/arguments",
            "function/pass/traits",
            "function/pass/made_by_macro",
            "attribute/pass/async_trait",
        ],
    ),
    (
        "A-09",
        "what else stands on a function",
        &["attribute/pass/others"],
    ),
    (
        "A-10",
        "names that the body uses",
        &[
            "body/pass/shadowed_names",
            "body/fail/names_of_the_expansion",
        ],
    ),
    (
        "A-12",
        "other attributes",
        &[
            "attribute/pass/instrument",
            "attribute/pass/async_trait",
            "attribute/pass/debug_handler",
        ],
    ),
    (
        "A-13",
        "two attributes",
        &[
            "function/fail/twice",
            "locked/fail/above_transactional",
            "locked/fail/below_transactional",
        ],
    ),
    (
        "A-18",
        "mistakes in the body",
        &[
            "body/fail/wrong_tail",
            "body/fail/missing_await",
            "body/fail/not_send",
        ],
    ),
    (
        "L-21",
        "a lock and a transaction on one function, in either order",
        &[
            "locked/fail/above_transactional",
            "locked/fail/below_transactional",
        ],
    ),
];

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn read(path: impl AsRef<Path>) -> String {
    let path = root().join(path);
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// The names in a directory, sorted.
fn entries(directory: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(directory).into_iter().flatten();
    let mut paths: Vec<_> = entries
        .map(|entry| entry.expect("an entry").path())
        .collect();
    paths.sort();
    paths
}

fn name(path: &Path) -> String {
    let name = path.file_stem().expect("a name").to_string_lossy();
    name.into_owned()
}

struct Case {
    path: String,
    source: String,
}

impl Case {
    /// The cases of a theme that pass, or that fail.
    fn all(theme: &str, kind: &str) -> Vec<Case> {
        let directory = root().join("cases").join(theme).join(kind);
        let sources = entries(&directory);
        let sources = sources
            .iter()
            .filter(|path| path.extension().is_some_and(|it| it == "rs"));
        let cases = sources.map(|source| {
            let path = format!("cases/{theme}/{kind}/{}", name(source));
            let source = read(format!("{path}.rs"));
            Case { path, source }
        });
        cases.collect()
    }

    /// The comment at the top: what the case teaches, and the fix.
    fn lesson(&self) -> (String, Option<String>) {
        let comment = self
            .source
            .lines()
            .map_while(|line| line.strip_prefix("//"));
        let lines: Vec<_> = comment
            .map(|line| line.trim_start_matches('!').trim())
            .collect();
        let text = lines.join(" ");
        match text.split_once("Fix: ") {
            Some((lesson, fix)) => (lesson.trim().to_owned(), Some(fix.to_owned())),
            None => (text, None),
        }
    }

    /// The compiler's first lines: what is wrong, what to write, and the line it is about.
    fn message(&self) -> String {
        let output = read(format!("{}.stderr", self.path));
        let first = output.split("\n\n").next().unwrap_or_default();
        first.trim_end().to_owned()
    }
}

fn themes() -> Vec<String> {
    let themes = entries(&root().join("cases"));
    themes.iter().map(|path| name(path)).collect()
}

fn page() -> String {
    let mut page = String::from(include_str!("catalogue.md"));
    for theme in themes() {
        let (passing, failing) = (Case::all(&theme, "pass"), Case::all(&theme, "fail"));
        writeln!(page, "\n## {theme}").expect("text");
        for case in &passing {
            let (lesson, _) = case.lesson();
            writeln!(
                page,
                "\nCompiles: [`{}`]({}.rs). {lesson}",
                name(case.path.as_ref()),
                case.path
            )
            .expect("text");
        }
        for case in &failing {
            let (lesson, fix) = case.lesson();
            let fix = fix.unwrap_or_else(|| panic!("{} has no fix", case.path));
            let message = case.message();
            writeln!(
                page,
                "\n### [`{}`]({}.rs)\n\n{lesson}\n\n```text\n{message}\n```\n\nFix: {fix}",
                name(case.path.as_ref()),
                case.path,
            )
            .expect("text");
        }
    }
    writeln!(page, "\n## Conformance\n").expect("text");
    for (id, title, cases) in CATALOGUE {
        let links = cases
            .iter()
            .map(|case| format!("[`{case}`](cases/{case}.rs)"));
        let links: Vec<_> = links.collect();
        writeln!(page, "- {id}, {title}: {}", links.join(", ")).expect("text");
    }
    page
}

#[test]
fn the_page_is_made_of_the_cases() {
    let page = page();
    if std::env::var_os("BLESS").is_some() {
        fs::write(root().join("README.md"), page).expect("the page can be written");
        return;
    }
    assert!(
        read("README.md") == page,
        "README.md is not up to date: run this with BLESS=1"
    );
}

#[test]
fn every_case_teaches_something() {
    for theme in themes() {
        for case in Case::all(&theme, "pass")
            .iter()
            .chain(&Case::all(&theme, "fail"))
        {
            assert!(
                case.lesson().0.ends_with(['.', '?']),
                "{}: {:?}",
                case.path,
                case.lesson()
            );
        }
    }
}

#[test]
fn every_passing_case_is_compiled() {
    let library = read("src/lib.rs");
    let listed = library.matches("    pub mod ").count();
    let passing: usize = themes()
        .iter()
        .map(|theme| Case::all(theme, "pass").len())
        .sum();
    assert_eq!(listed, passing, "src/lib.rs lists the cases that pass");
}

#[test]
fn one_mistake_is_one_error() {
    let about_several = [
        "effect/fail/several_of_never",
        "option/fail/several_mistakes",
        "option/fail/word_of_another_framework",
    ];
    for case in themes().iter().flat_map(|theme| Case::all(theme, "fail")) {
        let output = read(format!("{}.stderr", case.path));
        let errors = output
            .lines()
            .filter(|line| line.starts_with("error"))
            .count();
        let several = about_several
            .iter()
            .any(|several| case.path.ends_with(several));
        assert!(errors == 1 || several, "{}: {errors} errors", case.path);
        // The standard library's source is not installed everywhere.
        assert!(!output.contains("$RUST"), "{}", case.path);
    }
}

#[test]
fn the_cases_of_group_a_exist() {
    for (id, _, cases) in CATALOGUE {
        for case in cases {
            assert!(
                root().join(format!("cases/{case}.rs")).exists(),
                "{id}: {case}"
            );
        }
    }
}
