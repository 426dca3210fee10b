// A hook runs after the function that registers it has returned, so it cannot borrow from it.
// Fix: let it own what it uses: `async move` over a clone.
use tx_runtime::{Error, PgDb, transactional};

#[transactional]
async fn order(db: &PgDb) -> Result<(), Error> {
    let receipt = String::from("thank you");
    let text = &receipt;
    db.after_commit(async move || println!("{text}"))
}

fn main() {}
