//! The program itself, from the outside.

use tx_tests::{Program, figures};

const PROGRAM: Program = Program(env!("CARGO_BIN_EXE_product-admin"));

/// On SQLite, as without a URL: what the README's command prints.
#[tokio::test]
async fn it_prints_what_every_way_out_did() {
    let printed = PROGRAM.printed(&[]).await;
    for way in ["return", "error", "panic", "timeout", "dropped"] {
        assert_eq!(figures(&printed, &["hand-written", way]), ["1", "1", "0"]);
        assert_eq!(figures(&printed, &["transactional", way]), ["0", "0", "0"]);
    }
    assert!(printed.contains("database is locked"), "{printed}");
    assert!(printed.contains("none is lost"), "{printed}");
}

#[tokio::test]
async fn one_way_out_of_one_variant_can_be_asked_for() {
    let printed = PROGRAM
        .printed(&["--variant", "hand-written", "--way", "panic"])
        .await;
    assert!(!printed.contains("transactional"), "{printed}");
    assert!(printed.contains("hand-written, left by panic"), "{printed}");
}

#[tokio::test]
async fn what_it_does_not_know_is_refused() {
    for arguments in [
        ["--frobnicate", ""],
        ["--way", "window"],
        ["--variant", "none"],
        ["--database-url", "oracle:x"],
    ] {
        let said = PROGRAM.refusal(&arguments).await;
        assert!(said.starts_with("error: "), "{said}");
    }
    let help = PROGRAM.printed(&["--help"]).await;
    assert!(help.starts_with("A job returns early"), "{help}");
}
