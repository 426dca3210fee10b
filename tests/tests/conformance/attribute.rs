//! Group A: the attribute on functions of every shape, run. What it refuses, and what it merely
//! accepts, is in `tests/compile`.

use std::pin::Pin;
use std::sync::Arc;

use async_trait::async_trait;
use tx_runtime::{Error, locked, transactional};
use tx_tests::{Backend, Bed, case};

/// What a body fails with on purpose.
fn on_purpose() -> Error {
    Error::Database(sqlx::Error::Protocol("on purpose".to_owned()))
}

/// Writes a row that nobody else sees yet, and ends as it is asked to.
async fn work<B: Backend>(bed: &Bed<B>, fails: bool) -> Result<(), Error> {
    bed.insert(1).await?;
    assert_eq!(bed.visible().await?, [1]);
    assert!(bed.rows().await.is_empty(), "committed before the end");
    if fails { Err(on_purpose()) } else { Ok(()) }
}

/// Checks that a failed call leaves nothing and a successful one a row.
async fn assert_transactional<B: Backend>(
    bed: &Bed<B>,
    shape: &str,
    call: impl AsyncFn(bool) -> Result<(), Error>,
) {
    let failed = call(true).await.unwrap_err();
    assert!(
        failed.to_string().contains("on purpose"),
        "{shape}: {failed}"
    );
    assert!(bed.rows().await.is_empty(), "{shape}: not rolled back");
    call(false).await.unwrap();
    assert_eq!(bed.rows().await, [1], "{shape}: not committed");
    bed.control("delete from t").await;
}

#[transactional(db = bed.db)]
async fn free<B: Backend>(bed: &Bed<B>, fails: bool) -> Result<(), Error> {
    work(bed, fails).await
}

#[transactional(db = bed.db)]
async fn generic<'a, B, T, const N: usize>(
    bed: &'a Bed<B>,
    fails: [T; N],
    name: impl Fn() -> &'a str,
) -> Result<&'a str, Error>
where
    B: Backend,
    T: Into<bool> + Copy,
{
    work(bed, fails[0].into()).await?;
    Ok(name())
}

macro_rules! made {
    ($name:ident, $fails:ident) => {
        #[transactional(db = bed.db)]
        async fn $name<B: Backend>(bed: &Bed<B>, $fails: bool) -> Result<(), Error> {
            work(bed, $fails).await
        }
    };
}

made!(made_by_macro, fails);

#[transactional(db = bed.db)]
#[tracing::instrument(skip_all)]
async fn span_outside<B: Backend>(bed: &Bed<B>, fails: bool) -> Result<(), Error> {
    work(bed, fails).await
}

#[tracing::instrument(skip_all)]
#[transactional(db = bed.db)]
async fn span_inside<B: Backend>(bed: &Bed<B>, fails: bool) -> Result<(), Error> {
    work(bed, fails).await
}

struct Service<B: Backend> {
    bed: Arc<Bed<B>>,
    calls: usize,
}

impl<B: Backend> Service<B> {
    fn new(bed: &Arc<Bed<B>>) -> Self {
        let bed = Arc::clone(bed);
        Self { bed, calls: 0 }
    }

    #[transactional(db = self.bed.db)]
    async fn by_reference(&self, fails: bool) -> Result<(), Error> {
        work(&self.bed, fails).await
    }

    #[transactional(db = self.bed.db)]
    async fn mutably(&mut self, fails: bool) -> Result<(), Error> {
        self.calls += 1;
        work(&self.bed, fails).await?;
        self.calls += 1;
        Ok(())
    }

    #[transactional(db = self.bed.db)]
    async fn consuming(self, fails: bool) -> Result<(), Error> {
        work(&self.bed, fails).await
    }

    #[transactional(db = self.bed.db)]
    async fn shared(self: Arc<Self>, fails: bool) -> Result<(), Error> {
        work(&self.bed, fails).await
    }

    #[transactional(db = self.bed.db)]
    async fn boxed(self: Box<Self>, fails: bool) -> Result<(), Error> {
        work(&self.bed, fails).await
    }

    #[transactional(db = self.bed.db)]
    async fn pinned(self: Pin<&mut Self>, fails: bool) -> Result<(), Error> {
        work(&self.bed, fails).await
    }

    /// Calls through `self` a method that commits by itself, and then fails.
    #[transactional(db = self.bed.db)]
    async fn calls_itself(&self) -> Result<(), Error> {
        self.commits_by_itself().await?;
        assert_eq!(
            self.bed.rows().await,
            [1],
            "committed before its caller ends"
        );
        self.bed.insert(2).await?;
        Err(on_purpose())
    }

    #[transactional(db = self.bed.db, propagation = RequiresNew)]
    async fn commits_by_itself(&self) -> Result<(), Error> {
        self.bed.insert(1).await?;
        Ok(())
    }
}

trait Native {
    async fn required(&self, fails: bool) -> Result<(), Error>;
    async fn default_body(&self, fails: bool) -> Result<(), Error>;
    async fn overridden(&self, fails: bool) -> Result<(), Error>;
}

trait Defaults<B: Backend> {
    fn bed(&self) -> &Bed<B>;

    #[transactional(db = self.bed().db)]
    async fn default_body(&self, fails: bool) -> Result<(), Error> {
        work(self.bed(), fails).await
    }

    #[transactional(db = self.bed().db, propagation = Mandatory)]
    async fn overridden(&self, fails: bool) -> Result<(), Error> {
        work(self.bed(), fails).await
    }
}

impl<B: Backend> Defaults<B> for Service<B> {
    fn bed(&self) -> &Bed<B> {
        &self.bed
    }

    #[transactional(db = self.bed.db)]
    async fn overridden(&self, fails: bool) -> Result<(), Error> {
        work(&self.bed, fails).await
    }
}

impl<B: Backend> Native for Service<B> {
    #[transactional(db = self.bed.db)]
    async fn required(&self, fails: bool) -> Result<(), Error> {
        work(&self.bed, fails).await
    }

    async fn default_body(&self, fails: bool) -> Result<(), Error> {
        Defaults::default_body(self, fails).await
    }

    async fn overridden(&self, fails: bool) -> Result<(), Error> {
        Defaults::overridden(self, fails).await
    }
}

#[async_trait]
trait AsObject {
    async fn rewritten(&mut self, fails: bool) -> Result<(), Error>;
}

#[async_trait]
impl<B: Backend> AsObject for Service<B> {
    #[transactional(db = self.bed.db)]
    async fn rewritten(&mut self, fails: bool) -> Result<(), Error> {
        self.calls += 1;
        work(&self.bed, fails).await
    }
}

case! {
    a_05 on sqlite, postgres, mysql;
    "functions of every shape commit when they succeed and leave nothing when they fail";
    async fn<B>(bed) {
        let service = || Service::new(bed);
        assert_transactional(bed, "free", async |fails| free(bed, fails).await).await;
        assert_transactional(bed, "generic", async |fails| {
            let name = generic(bed, [fails, true], || "the name").await?;
            assert_eq!(name, "the name");
            Ok(())
        }).await;
        assert_transactional(bed, "made", async |fails| made_by_macro(bed, fails).await).await;
        assert_transactional(bed, "&self", async |fails| service().by_reference(fails).await).await;
        assert_transactional(bed, "&mut self", async |fails| {
            let mut service = service();
            let result = service.mutably(fails).await;
            assert_eq!(service.calls, if fails { 1 } else { 2 });
            result
        }).await;
        assert_transactional(bed, "self", async |fails| service().consuming(fails).await).await;
        assert_transactional(bed, "Arc", async |fails| Arc::new(service()).shared(fails).await).await;
        assert_transactional(bed, "Box", async |fails| Box::new(service()).boxed(fails).await).await;
        assert_transactional(bed, "Pin", async |fails| {
            Pin::new(&mut service()).pinned(fails).await
        }).await;
        assert_transactional(bed, "trait", async |fails| service().required(fails).await).await;
        assert_transactional(bed, "default body", async |fails| {
            Native::default_body(&service(), fails).await
        }).await;
        assert_transactional(bed, "async_trait", async |fails| {
            let mut service: Box<dyn AsObject> = Box::new(service());
            service.rewritten(fails).await
        }).await;
    }
}

mod inner {
    use super::{Backend, Bed, Error, transactional, work};

    pub(super) async fn calls_private<B: Backend>(bed: &Bed<B>, fails: bool) -> Result<(), Error> {
        private(bed, fails).await
    }

    #[transactional(db = bed.db)]
    async fn private<B: Backend>(bed: &Bed<B>, fails: bool) -> Result<(), Error> {
        work(bed, fails).await
    }
}

case! {
    a_06 on sqlite, postgres, mysql;
    "a private function is transactional";
    async fn<B>(bed) {
        let call = async |fails| inner::calls_private(bed, fails).await;
        assert_transactional(bed, "private", call).await;
    }
}

case! {
    a_07 on sqlite, postgres, mysql;
    "a call through `self` has the propagation of the method that is called";
    async fn<B>(bed) {
        Service::new(bed).calls_itself().await.unwrap_err();
        assert_eq!(bed.rows().await, [1]);
    }
}

case! {
    a_12 on sqlite, postgres, mysql;
    "`#[tracing::instrument]` above or below changes nothing";
    async fn<B>(bed) {
        assert_transactional(bed, "outside", async |fails| span_outside(bed, fails).await).await;
        assert_transactional(bed, "inside", async |fails| span_inside(bed, fails).await).await;
    }
}

struct Block<'a, B: Backend> {
    bed: &'a Bed<B>,
}

#[transactional(db = self.bed.db, propagation = Mandatory)]
impl<B: Backend> Block<'_, B> {
    pub(crate) async fn covered(&self) -> Result<(), Error> {
        assert!(self.bed.db.is_in_transaction());
        Ok(self.bed.insert(1).await?)
    }

    #[transactional(db = self.bed.db)]
    pub(crate) async fn own(&self) -> Result<(), Error> {
        assert!(self.bed.db.is_in_transaction());
        Ok(self.bed.insert(2).await?)
    }

    #[transactional(skip)]
    pub(crate) async fn skipped(&self) -> Result<bool, Error> {
        self.not_public().await
    }

    #[expect(
        clippy::unused_async,
        reason = "the block's attribute is to pass over it for its visibility"
    )]
    async fn not_public(&self) -> Result<bool, Error> {
        Ok(self.bed.db.is_in_transaction())
    }
}

case! {
    a_14 on sqlite, postgres, mysql;
    "a block's attribute is for its public async methods; their own replaces it, and skip exempts";
    async fn<B>(bed) {
        let block = Block { bed: &**bed };
        let refused = block.covered().await.unwrap_err();
        assert!(matches!(refused, Error::NoTransaction { .. }), "{refused:?}");
        block.own().await.unwrap();
        assert!(!block.skipped().await.unwrap());
        assert_eq!(bed.rows().await, [2]);
        bed.db.transaction(async || block.covered().await).await.unwrap();
        assert_eq!(bed.rows().await, [1, 2]);
    }
}

/// An attribute of one's own: a macro that stands for options.
macro_rules! joining {
    (on $db:expr; $($function:tt)+) => {
        #[transactional(db = $db, propagation = Mandatory, name = "joins")]
        $($function)+
    };
}

joining! {
    on bed.db;
    async fn joins<B: Backend>(bed: &Bed<B>) -> Result<(), Error> {
        Ok(bed.insert(1).await?)
    }
}

case! {
    a_15 on sqlite, postgres, mysql;
    "options written in a macro of one's own are applied";
    async fn<B>(bed) {
        let refused = joins(bed).await.unwrap_err();
        let Error::NoTransaction { function } = refused else {
            panic!("{refused:?}");
        };
        assert_eq!(function.name(), "joins");
        bed.db.transaction(async || joins(bed).await).await.unwrap();
        assert_eq!(bed.rows().await, [1]);
    }
}

case! {
    a_16 on sqlite, postgres, mysql;
    "the attribute of an implementation counts, not that of the trait's default body";
    async fn<B>(bed) {
        let service = Service::new(bed);
        let call = async |fails| Native::overridden(&service, fails).await;
        assert_transactional(bed, "overridden", call).await;
    }
}

#[transactional(db = bed.db, propagation = Mandatory)]
async fn unnamed<B: Backend>(bed: &Bed<B>) -> Result<(), Error> {
    Ok(bed.insert(1).await?)
}

case! {
    a_20 on sqlite, postgres, mysql;
    "an error names the function by its path and its place in the source";
    async fn<B>(bed) {
        let refused = unnamed(bed).await.unwrap_err();
        let Error::NoTransaction { function } = refused else {
            panic!("{refused:?}");
        };
        assert_eq!(function.name(), "conformance::attribute::unnamed");
        assert_eq!(function.file(), file!());
        let mut source = include_str!("attribute.rs").lines();
        let attribute = source.nth(function.line() as usize).unwrap_or_default();
        assert!(attribute.starts_with("async fn unnamed"), "{attribute}");
        let text = format!("`{}` ({}:{})", function.name(), file!(), function.line());
        assert_eq!(function.to_string(), text);
    }
}

struct Transfer {
    from: i64,
    parties: (i64, &'static str),
}

/// Two locks, under which it asks for one of them from outside.
#[transactional(
    db = bed.db,
    propagation = Isolated,
    lock(keys = ["{{{transfer.from:03}}}", "to:{transfer.parties.0}:{transfer.parties.1}"], wait = "5s"),
)]
async fn under_two_locks<B: Backend>(
    bed: &Arc<Bed<B>>,
    transfer: Transfer,
    others: &[&str],
) -> Result<Vec<bool>, Error> {
    bed.insert(transfer.from).await?;
    let mut taken = Vec::new();
    for other in others {
        let (bed, other) = (Arc::clone(bed), (*other).to_owned());
        let outside = tokio::task::JoinSet::from_iter([async move { tries(&bed, &other).await }]);
        let result = outside.join_all().await.pop().expect("one result");
        taken.push(match result {
            Ok(()) => false,
            Err(Error::LockTimeout { .. }) => true,
            Err(error) => return Err(error),
        });
    }
    Ok(taken)
}

#[locked(key = "{key}", try, on = bed.db)]
async fn tries<B: Backend>(bed: &Bed<B>, key: &str) -> Result<(), Error> {
    assert!(!bed.db.is_in_transaction(), "{key}");
    Ok(())
}

case! {
    a_lock on sqlite, postgres, mysql;
    "the keys of a lock are filled in from the arguments and held until the end";
    async fn<B>(bed) {
        let transfer = Transfer { from: 7, parties: (9, "shop") };
        let others = ["{007}", "to:9:shop", "to:9", "{7}"];
        let taken = under_two_locks(bed, transfer, &others).await.unwrap();
        assert_eq!(taken, [true, true, false, false]);
        assert_eq!(bed.rows().await, [7]);
        for key in others {
            tries(bed, key).await.unwrap();
        }
    }
}
