//! The program itself, from the outside.

use std::process::{Command, Output};

fn run(arguments: &[&str]) -> Output {
    let ran = Command::new(env!("CARGO_BIN_EXE_product-admin"))
        .args(arguments)
        .output();
    ran.expect("the program starts")
}

fn text(bytes: Vec<u8>) -> String {
    String::from_utf8(bytes).expect("text")
}

/// The figures of the line that begins with `start`.
fn figures(text: &str, start: &[&str]) -> Vec<String> {
    let lines = text.lines().map(|line| line.split_whitespace());
    let mut lines = lines.filter(|line| line.clone().take(start.len()).eq(start.iter().copied()));
    let line = lines
        .next()
        .unwrap_or_else(|| panic!("no {start:?}: {text}"));
    line.skip(start.len()).map(str::to_owned).collect()
}

/// On SQLite, as without a URL: what the README's command prints.
#[test]
fn it_prints_what_every_way_out_did() {
    let output = run(&[]);
    let printed = text(output.stdout);
    assert!(output.status.success(), "{printed}");
    for way in ["return", "error", "panic", "timeout", "dropped"] {
        assert_eq!(figures(&printed, &["hand-written", way]), ["1", "1", "0"]);
        assert_eq!(figures(&printed, &["transactional", way]), ["0", "0", "0"]);
    }
    assert!(printed.contains("database is locked"), "{printed}");
    assert!(printed.contains("none is lost"), "{printed}");
}

#[test]
fn one_way_out_of_one_variant_can_be_asked_for() {
    let output = run(&["--variant", "hand-written", "--way", "panic"]);
    let printed = text(output.stdout);
    assert!(output.status.success(), "{printed}");
    assert!(!printed.contains("transactional"), "{printed}");
    assert!(printed.contains("hand-written, left by panic"), "{printed}");
}

#[test]
fn what_it_does_not_know_is_refused() {
    for arguments in [
        ["--frobnicate", ""],
        ["--way", "window"],
        ["--variant", "none"],
        ["--database-url", "oracle:x"],
    ] {
        let output = run(&arguments);
        assert!(!output.status.success(), "{arguments:?}");
        let said = text(output.stderr);
        assert!(said.starts_with("error: "), "{said}");
    }
    assert!(text(run(&["--help"]).stdout).starts_with("A job returns early"));
}
