//! A function made by `macro_rules!`, with the attribute inside or handed over, and an attribute of
//! one's own that stands for options.

use tx_runtime::{Error, PgDb, transactional};

macro_rules! deletes {
    ($($name:ident from $table:literal by $id:ident),+) => {$(
        #[transactional(lock = "delete:{id}")]
        pub async fn $name(db: &PgDb, id: i64, $id: i64) -> Result<u64, Error> {
            let delete = sqlx::query(concat!("delete from ", $table, " where id = $1")).bind($id);
            Ok(delete.execute(db).await?.rows_affected() + id.unsigned_abs())
        }
    )+};
}

deletes!(delete_asset from "asset" by asset, delete_account from "account" by account);

macro_rules! serializable {
    ($($item:tt)+) => {
        #[transactional(isolation = Serializable, propagation = RequiresNew)]
        $($item)+
    };
}

serializable! {
    pub async fn transfer(db: &PgDb, amount: i64) -> Result<(), Error> {
        let update = sqlx::query("update account set balance = balance - $1").bind(amount);
        update.execute(db).await?;
        Ok(())
    }
}

macro_rules! as_it_is {
    ($item:item) => {
        $item
    };
}

as_it_is! {
    #[transactional(lock = "{account}")]
    pub async fn lock(db: &PgDb, account: i64) -> Result<(), Error> {
        sqlx::query("select 1").bind(account).execute(db).await?;
        Ok(())
    }
}
