//! What stands in the documentation as an expansion is what the attributes write.

use std::io::Write as _;
use std::process::{Command, Stdio};

use proc_macro2::TokenStream;

use crate::attribute::{locked, transactional};

/// The inputs and outputs that the documentation shows, in its order.
fn shown() -> Vec<String> {
    let lines = include_str!("lib.rs").lines();
    let docs: Vec<_> = lines.filter_map(|line| line.strip_prefix("//!")).collect();
    let docs = docs.join("\n");
    let blocks = docs.split("```").skip(1).step_by(2);
    let blocks = blocks.map(|block| block.trim_start_matches("text").replace("\n ", "\n"));
    blocks.map(|block| block.trim().to_owned()).collect()
}

fn formatted(tokens: &TokenStream) -> String {
    let rustfmt = Command::new("rustfmt")
        .args(["--edition", "2024"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn();
    let mut rustfmt = rustfmt.expect("rustfmt, which rust-toolchain.toml names");
    let mut input = rustfmt.stdin.take().expect("it was piped");
    write!(input, "{tokens}").expect("rustfmt reads");
    drop(input);
    let output = rustfmt.wait_with_output().expect("rustfmt ends");
    String::from_utf8(output.stdout)
        .expect("text")
        .trim()
        .to_owned()
}

fn tokens(text: &str) -> TokenStream {
    text.parse().expect("tokens")
}

fn expanded(input: &str) -> String {
    let (attribute, item) = input.split_once("]\n").expect("an attribute and an item");
    let (name, args) = attribute
        .trim_start_matches("#[")
        .split_once('(')
        .unwrap_or((attribute.trim_start_matches("#["), ")"));
    let args = tokens(args.strip_suffix(')').expect("its parenthesis"));
    let expand = if name == "locked" {
        locked
    } else {
        transactional
    };
    formatted(&expand(args, tokens(item)))
}

#[test]
fn the_documentation_shows_what_is_written() {
    let shown = shown();
    assert_eq!(shown.len(), 4, "two pairs of input and output");
    for pair in shown.chunks(2) {
        assert_eq!(pair[1], expanded(&pair[0]));
    }
}

#[test]
fn an_expansion_is_short() {
    let shown = shown();
    assert!(shown[1].lines().count() <= 15, "{}", shown[1]);
}
