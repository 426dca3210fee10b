//! What cannot be done is said in words, with 2, and nothing is written.

use tx_tests::{Backend, on_each_database};

use crate::program::{Desk, run};

async fn a_table_that_is_not_there<B: Backend>() {
    let Some(desk) = Desk::<B>::new().await else {
        return;
    };
    for line in ["generate nobody", "verify nobody"] {
        let ran = desk.run(line).await;
        assert!(
            ran.failed().contains("there is no table `nobody`"),
            "{ran:?}"
        );
    }
    assert!(!desk.path("migrations").exists());
    let ran = desk.run("verify").await;
    assert!(
        ran.failed().contains("no table has a history here"),
        "{ran:?}"
    );
    desk.bed.control("create table keyless (a int)").await;
    let ran = desk.run("generate keyless").await;
    assert!(
        ran.failed().contains("`keyless` has no primary key"),
        "{ran:?}"
    );
    assert!(!desk.path("migrations").exists());
    desk.finish().await;
}
on_each_database!(a_table_that_is_not_there);

async fn a_directory_that_cannot_be_made<B: Backend>() {
    let Some(desk) = Desk::<B>::new().await else {
        return;
    };
    desk.bed
        .control("create table a (id bigint not null primary key)")
        .await;
    std::fs::write(desk.path("migrations"), "a file").expect("a file");
    let ran = desk.run("generate a").await;
    assert!(
        ran.failed()
            .contains("nothing can be written into migrations"),
        "{ran:?}"
    );
    desk.finish().await;
}
on_each_database!(a_directory_that_cannot_be_made);

#[tokio::test]
async fn a_database_that_is_not_there() {
    let directory = tempfile::tempdir().expect("a directory");
    for (url, part) in [
        (
            "postgres://postgres:secret@127.0.0.1:1/x",
            "the database cannot be opened: ",
        ),
        (
            "mysql://root:secret@127.0.0.1:1/x",
            "the database cannot be opened: ",
        ),
        ("sqlite:nowhere.db", "the database cannot be opened: "),
        (
            "oracle://scott:secret@host/x",
            "`oracle` is no database that this program was built for",
        ),
        ("postgres//postgres:secret@host/x", "is no database"),
        ("", "is no database"),
    ] {
        let ran = run(directory.path(), url, &["verify"]).await;
        assert!(ran.failed().contains(part), "{url}: {ran:?}");
        assert!(!ran.err.contains("secret"), "{ran:?}");
    }
    let ran = run(
        directory.path(),
        "sqlite::memory:",
        &["verify", "--source", "x"],
    )
    .await;
    assert!(
        ran.failed().contains("Usage: tx-history generate"),
        "{ran:?}"
    );
}

/// What is said on the command line counts.
#[tokio::test]
async fn the_environment_is_asked_last() {
    let directory = tempfile::tempdir().expect("a directory");
    let arguments = ["verify", "nobody", "--database-url", "sqlite::memory:"];
    let ran = run(directory.path(), "oracle:x", &arguments).await;
    assert!(
        ran.failed().contains("there is no table `nobody`"),
        "{ran:?}"
    );
    let ran = run(directory.path(), "", &["--help"]).await;
    assert!(
        ran.well().starts_with("Writes and checks the histories"),
        "{ran:?}"
    );
}
