//! What each way out of the job leaves behind.

use product_admin::report::Report;
use product_admin::store::Store;
use product_admin::trial::{self, CONNECTIONS};
use product_admin::variant::Variant;
use product_admin::way::Way;
use strum::VariantArray as _;
use tx_tests::{Backend, Bed, on_each_database};

/// A database that the example runs on and the harness knows.
trait Base: Backend + Store {}

impl<B: Backend + Store> Base for B {}

async fn leave<B: Base>(bed: &Bed<B>, variant: Variant, way: Way) -> Report {
    let report = trial::run::<B>(bed.options(), variant, way).await;
    let report = report.unwrap_or_else(|error| panic!("{variant}, {way}: {error}"));
    assert_eq!(report.sales.len(), CONNECTIONS as usize);
    let left = bed.control_ints("select count(*) from admin_product").await;
    assert_eq!(left, [0], "the products of a trial are deleted");
    report
}

async fn by_hand_every_way_leaves_a_transaction_to_others<B: Base>() {
    let Some(bed) = Bed::<B>::new().await else {
        return;
    };
    // Every database does its own kind of harm, to the one connection the job had.
    let harm = match B::LABEL {
        "sqlite" => (1, 1, 0),
        "postgres" => (0, 0, 1),
        _ => (1, 0, 1),
    };
    for &way in Way::VARIANTS {
        let report = leave(&bed, Variant::HandWritten, way).await;
        let seen = (report.stale(), report.refused(), report.lost());
        assert_eq!(seen, harm, "{way}: {report:#?}");
    }
    bed.finish().await;
}
on_each_database!(by_hand_every_way_leaves_a_transaction_to_others);

async fn with_the_attribute_no_way_leaves_anything<B: Base>() {
    let Some(bed) = Bed::<B>::new().await else {
        return;
    };
    for &way in Way::VARIANTS {
        let report = leave(&bed, Variant::Transactional, way).await;
        assert_eq!(report.faults(), 0, "{way}: {report:#?}");
    }
    bed.finish().await;
}
on_each_database!(with_the_attribute_no_way_leaves_anything);

/// The job is not only harmless: a price that changed is taken over.
async fn both_take_a_new_price_over<B: Base>() {
    use product_admin::supplier::{Manner, Supplier};
    use product_admin::variant::Application;

    let Some(bed) = Bed::<B>::new().await else {
        return;
    };
    B::create(bed.db.pool()).await.expect("the table");
    B::insert(bed.db.pool(), 1..=2).await.expect("two products");
    for (product, variant) in (1..).zip(Variant::VARIANTS.iter().copied()) {
        let application = Application::new(bed.db.pool().clone(), variant);
        let supplier = Supplier::new(Manner::Offers(150));
        let synced = application.sync_price(product, &supplier).await;
        synced.unwrap_or_else(|error| panic!("{variant}: {error}"));
    }
    let prices = bed
        .control_ints("select price from admin_product order by id")
        .await;
    assert_eq!(prices, [150, 150]);
    bed.assert_clean().await;
    bed.finish().await;
}
on_each_database!(both_take_a_new_price_over);
