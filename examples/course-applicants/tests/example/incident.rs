//! The incident, what prevents it, and what finds it before it happens.

use course_applicants::applicant::Status;
use course_applicants::error::Error;
use course_applicants::story;
use course_applicants::tables::{self, Variant};
use course_applicants::trial::{self, CHANGES, Outcome};
use tx_runtime::history::Fault;
use tx_tests::{Bed, on_each_database};

use crate::stage::{Base, applicants, bed, revisions, service};

/// Every kind of second change fails, and the applicant stays as it was registered.
async fn a_history_without_rev_in_its_key_takes_changes_with_it<B: Base>() {
    let Some(bed) = bed::<B>(Variant::HandMade).await else {
        return;
    };
    let service = service(&bed).await;
    let registered = service.register(7, "Bea", "pottery", "ann", "open day");
    registered.await.expect("the first change of a row");

    for second in [
        service.decide(7, Status::Accepted, "ben", "papers").await,
        service.move_to(7, "weaving", "ben", "full").await,
        service.withdraw(7, "eve", "moves").await,
    ] {
        let error = second.expect_err("the second change of a row");
        assert!(matches!(error, Error::Transaction(_)), "{error:?}");
        let said = error.to_string().to_lowercase();
        assert!(
            said.contains("duplicate") || said.contains("unique"),
            "{said}"
        );
        assert_eq!(applicants(&bed).await, ["7 Bea pottery registered"]);
    }
    assert_eq!(
        revisions(&bed).await,
        ["7 0 pottery registered: ann open day"]
    );
    bed.assert_clean().await;
    bed.finish().await;
}
on_each_database!(a_history_without_rev_in_its_key_takes_changes_with_it);

async fn the_generated_history_has_every_change<B: Base>() {
    let Some(bed) = bed::<B>(Variant::Generated).await else {
        return;
    };
    all_changes_are_stored(&bed).await;
    bed.assert_clean().await;
    bed.finish().await;
}
on_each_database!(the_generated_history_has_every_change);

async fn all_changes_are_stored<B: Base>(bed: &Bed<B>) {
    let service = service(bed).await;
    let registered = service.register(7, "Bea", "pottery", "ann", "open day");
    registered.await.expect("a registration");
    let decided = service.decide(7, Status::Accepted, "ben", "papers").await;
    decided.expect("a decision");
    let moved = service.move_to(7, "weaving", "ben", "full").await;
    moved.expect("a move");
    assert_eq!(applicants(bed).await, ["7 Bea weaving accepted"]);
    let withdrawn = service.withdraw(7, "eve", "moves").await;
    withdrawn.expect("a withdrawal");
    assert!(applicants(bed).await.is_empty());
    assert_eq!(
        revisions(bed).await,
        [
            "7 0 pottery registered: ann open day",
            "7 1 pottery accepted: ben papers",
            "7 1 weaving accepted: ben full",
            "7 2 weaving accepted: eve moves",
        ]
    );
    let changes = service.changes(7).await.expect("a history");
    let story = story::told(&changes);
    for part in [
        "open day  + name \"Bea\", course \"pottery\", status \"registered\"",
        "papers    ~ status \"registered\" -> \"accepted\"",
        "full      ~ course \"pottery\" -> \"weaving\"",
        "moves     - name \"Bea\", course \"weaving\", status \"accepted\"",
    ] {
        assert!(story.contains(part), "{story}");
    }
}

/// Nobody has changed anything yet, and the fixes are carried out as they stand there.
async fn the_wrong_key_is_found_before_it_does_harm<B: Base>() {
    let Some(bed) = bed::<B>(Variant::HandMade).await else {
        return;
    };
    let report = tables::verify(&bed.db).await.expect("a report");
    let key = report
        .findings()
        .iter()
        .find(|finding| matches!(finding.fault, Fault::PrimaryKey { .. }));
    let key = key.unwrap_or_else(|| panic!("{report}"));
    assert_eq!(
        key.fault,
        Fault::PrimaryKey {
            found: vec!["id".to_owned()],
            expected: vec!["id".to_owned(), "rev".to_owned()],
        }
    );
    for line in key.fix.lines() {
        assert!(report.to_string().contains(line), "{report}");
    }
    tables::mend(&bed.db, &report).await.expect("the fixes");
    let report = tables::verify(&bed.db).await.expect("a report");
    assert!(report.is_clean(), "{report}");
    all_changes_are_stored(&bed).await;
    bed.assert_clean().await;
    bed.finish().await;
}
on_each_database!(the_wrong_key_is_found_before_it_does_harm);

async fn tables_that_are_there_stay_as_they_are<B: Base>() {
    let Some(bed) = bed::<B>(Variant::HandMade).await else {
        return;
    };
    tables::create(&bed.db, Variant::Generated)
        .await
        .expect("nothing to do");
    let report = tables::verify(&bed.db).await.expect("a report");
    assert!(!report.is_clean(), "nobody has mended it");
    bed.finish().await;
}
on_each_database!(tables_that_are_there_stay_as_they_are);

async fn a_trial_counts_what_the_table_shows<B: Base>() {
    const APPLICANTS: usize = 9;
    for (variant, stored) in [
        (Variant::HandMade, APPLICANTS),
        (Variant::Generated, CHANGES * APPLICANTS),
    ] {
        let Some(bed) = bed::<B>(variant).await else {
            return;
        };
        let outcome = trial::run(&bed.db, 1..=9, &::stage::bar("trial", 9)).await;
        let outcome = outcome.expect("a trial");
        let expected = Outcome {
            tried: CHANGES * APPLICANTS,
            stored,
            revisions: stored,
            failure: outcome.failure.clone(),
        };
        assert_eq!(outcome, expected, "{variant}");
        assert_eq!(outcome.failure.is_some(), outcome.lost() > 0, "{variant}");
        let left = applicants(&bed).await.len();
        assert_eq!(left, outcome.lost() / (CHANGES - 1), "{variant}");
        bed.assert_clean().await;
        bed.finish().await;
    }
}
on_each_database!(a_trial_counts_what_the_table_shows);
