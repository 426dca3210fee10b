//! What is written is a migration: sqlx's own migrator carries it out, and nobody else does.

use sqlx::migrate::{Migrate, Migrator};
use tx_runtime::{Author, Error, TransactionOptions};
use tx_tests::{Backend, Bed, on_each_database};

use crate::program::Desk;

/// A database that has migrations.
trait Base: Backend<Connection: Migrate> {}

impl<B: Backend<Connection: Migrate>> Base for B {}

const APPLICANT: &str = "create table applicant (id bigint not null primary key, name varchar(50));
                         insert into applicant values (1, 'there');";

async fn migrator<B: Backend>(desk: &Desk<B>) -> Migrator {
    let migrator = Migrator::new(desk.path("migrations")).await;
    migrator.expect("sqlx understands what is there")
}

async fn migrate<B: Base>(desk: &Desk<B>) {
    let migrated = migrator(desk).await.run(desk.bed.db.pool()).await;
    migrated.expect("the migrations can be carried out");
}

async fn rename<B: Backend>(bed: &Bed<B>, name: &str) {
    let ann = TransactionOptions::new().history(Author::new("ann"));
    let sql = format!("update applicant set name = '{name}' where id = 1");
    let scope = async || Ok::<_, Error>(B::exec(&bed.db, &sql).await?);
    let changed = bed.db.transaction_with(ann, scope).await;
    assert_eq!(changed.expect("an audited change"), 1);
}

/// The kind of each change, who made it, and the name since.
async fn history<B: Backend>(bed: &Bed<B>) -> Vec<String> {
    let sql = "select concat(h.revtype, ' ', coalesce(r.actor, '?'), ' ', h.name) \
               from applicant_history h join tx_revision r on r.rev = h.rev order by h.revseq";
    bed.control_texts(sql).await
}

async fn a_history_is_made_by_a_migration_and_follows_its_table<B: Base>() {
    let Some(desk) = Desk::<B>::new().await else {
        return;
    };
    desk.write("0001_applicant.sql", APPLICANT);
    migrate(&desk).await;
    let before = desk.run("verify applicant").await;
    assert!(before.found().contains("applicant_history"), "{before:?}");

    let generated = desk.run("generate applicant").await;
    assert!(
        generated
            .well()
            .ends_with("0002_history_of_applicant.sql\n")
    );
    let names = ["0001_applicant.sql", "0002_history_of_applicant.sql"];
    assert_eq!(desk.migrations(), names);
    assert_eq!(
        desk.run("verify applicant").await,
        before,
        "nothing was carried out"
    );

    migrate(&desk).await;
    let verified = desk.run("verify").await;
    assert!(
        verified.well().contains("every history is as it should be"),
        "{verified:?}"
    );
    assert!(verified.out.contains("applicant\n"), "{verified:?}");
    rename(&desk.bed, "Bea").await;
    assert_eq!(history(&desk.bed).await, ["0 ? there", "1 ann Bea"]);

    desk.write(
        "0003_email.sql",
        "alter table applicant add column email varchar(100);",
    );
    migrate(&desk).await;
    let outdated = desk.run("verify").await;
    assert!(
        outdated.found().contains("the column `email` is missing"),
        "{outdated:?}"
    );
    desk.run("generate applicant").await.well();
    assert_eq!(desk.migrations()[3..], ["0004_history_of_applicant.sql"]);
    migrate(&desk).await;
    desk.run("verify").await.well();
    rename(&desk.bed, "Cy").await;
    assert_eq!(history(&desk.bed).await[2..], ["1 ann Cy"]);

    let nothing = desk.run("generate applicant").await;
    assert!(nothing.well().contains("nothing to write"), "{nothing:?}");
    assert_eq!(desk.migrations().len(), 4);
    desk.finish().await;
}
on_each_database!(a_history_is_made_by_a_migration_and_follows_its_table);

async fn a_reversible_migration_is_taken_back<B: Base>() {
    let Some(desk) = Desk::<B>::new().await else {
        return;
    };
    desk.write("0001_applicant.up.sql", APPLICANT);
    desk.write("0001_applicant.down.sql", "drop table applicant;");
    migrate(&desk).await;
    let before = desk.run("verify applicant").await;
    let generated = desk.run("generate applicant").await;
    assert_eq!(
        generated.well().lines().count(),
        2,
        "as those that are there: {generated:?}"
    );
    for _ in 0..2 {
        migrate(&desk).await;
        desk.run("verify").await.well();
        rename(&desk.bed, "Bea").await;
        rename(&desk.bed, "there").await;
        assert_eq!(history(&desk.bed).await.len(), 3);
        let undone = migrator(&desk).await.undo(desk.bed.db.pool(), 1).await;
        undone.expect("it can be taken back");
        assert_eq!(desk.run("verify applicant").await, before);
    }
    desk.finish().await;
}
on_each_database!(a_reversible_migration_is_taken_back);

/// Without any other migration, in a directory that is not there yet, under the name asked for.
async fn the_first_migration_is_named_by_its_time<B: Base>() {
    let Some(desk) = Desk::<B>::new().await else {
        return;
    };
    desk.bed
        .control("create table a (id bigint not null primary key)")
        .await;
    desk.bed
        .control("create table b (id bigint not null primary key)")
        .await;
    desk.run("generate --source migrations --reversible a b")
        .await
        .well();
    let names = desk.migrations();
    let [down, up] = &names[..] else {
        panic!("{names:?}")
    };
    let version = up.strip_suffix("_history_of_a_b.up.sql").expect(up);
    assert_eq!(*down, format!("{version}_history_of_a_b.down.sql"));
    assert_eq!(version.len(), "20261127120000".len(), "{version}");
    migrate(&desk).await;
    let verified = desk.run("verify").await;
    let looked_at = verified.well().lines().last().expect("a line");
    assert!(
        looked_at.starts_with("looked at: ") && looked_at.contains(", "),
        "{verified:?}"
    );
    desk.finish().await;
}
on_each_database!(the_first_migration_is_named_by_its_time);
