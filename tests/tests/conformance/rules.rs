//! Group R, the rules beyond one exception: exceptions to it, rules about values, and error
//! types that decide for themselves.

use tx_runtime::{
    CauseKind, Error, LockedOptions, Propagation, RollbackPolicy, RuledOptions, TransactionOptions,
    transactional,
};
use tx_tests::{Backend, Bed, case};

/// An error without a policy.
#[derive(Debug)]
enum Refusal {
    Business(Business),
    BusinessExtra,
    Transaction(Error),
}

#[derive(Debug, PartialEq)]
enum Business {
    Warning,
    Denied,
}

impl From<Error> for Refusal {
    fn from(error: Error) -> Self {
        Self::Transaction(error)
    }
}

impl From<sqlx::Error> for Refusal {
    fn from(error: sqlx::Error) -> Self {
        Self::Transaction(error.into())
    }
}

/// Inserts under `options` and returns `result`.
async fn inserts<B: Backend, T>(
    bed: &Bed<B>,
    options: impl Into<LockedOptions<T, Refusal>>,
    id: i64,
    result: Result<T, Refusal>,
) -> Result<T, Refusal> {
    bed.db
        .transaction_with(options.into(), async || {
            bed.insert(id).await?;
            result
        })
        .await
}

fn is_warning(error: &Refusal) -> bool {
    matches!(error, Refusal::Business(Business::Warning))
}

fn is_business(error: &Refusal) -> bool {
    matches!(error, Refusal::Business(_))
}

case! {
    r_06 on sqlite, postgres, mysql;
    "rollback_for takes nothing from the default: errors it does not match roll back as well";
    async fn<B>(bed) {
        let rule = TransactionOptions::new().rollback_for(is_business);
        for refusal in [Refusal::Business(Business::Denied), Refusal::BusinessExtra] {
            inserts(bed, rule.clone(), 1, Err::<(), _>(refusal)).await.unwrap_err();
            assert!(bed.rows().await.is_empty());
        }
    }
}

case! {
    r_07 on sqlite, postgres, mysql;
    "rollback_for is the exception to no_rollback_for, in either order of the two";
    async fn<B>(bed) {
        let new = TransactionOptions::new;
        let rules = [
            new().no_rollback_for(is_business).rollback_for(|error: &Refusal| !is_warning(error)),
            new().rollback_for(|error: &Refusal| !is_warning(error)).no_rollback_for(is_business),
        ];
        for (id, rules) in (1..).zip(rules) {
            let denied = Refusal::Business(Business::Denied);
            let failed = inserts(bed, rules.clone(), id, Err::<(), _>(denied)).await.unwrap_err();
            assert!(is_business(&failed) && !is_warning(&failed), "{failed:?}");
            assert!(!bed.rows().await.contains(&id));
            let warning = Refusal::Business(Business::Warning);
            let kept = inserts(bed, rules, id, Err::<(), _>(warning)).await.unwrap_err();
            assert!(is_warning(&kept), "{kept:?}");
            assert!(bed.rows().await.contains(&id));
        }
    }
}

case! {
    r_09 on sqlite, postgres, mysql;
    "a rule for one variant does not match another whose name begins alike";
    async fn<B>(bed) {
        let rule = TransactionOptions::new().no_rollback_for(is_business);
        inserts(bed, rule, 1, Err::<(), _>(Refusal::BusinessExtra)).await.unwrap_err();
        assert!(bed.rows().await.is_empty());
    }
}

case! {
    r_10 on sqlite, postgres, mysql;
    "a rule that matches every error commits for every error";
    async fn<B>(bed) {
        let rule = TransactionOptions::new().no_rollback_for(|_: &Refusal| true);
        inserts(bed, rule.clone(), 1, Err::<(), _>(Refusal::BusinessExtra)).await.unwrap_err();
        assert_eq!(bed.rows().await, [1]);
        // What the server refused stays refused.
        let told = inserts(bed, rule, 1, Ok(())).await.unwrap_err();
        assert!(matches!(told, Refusal::Transaction(Error::UnexpectedRollback { .. })), "{told:?}");
    }
}

/// An error that decides for itself.
#[derive(Debug)]
enum Declared {
    Benign,
    Fatal,
    Transaction(#[expect(dead_code, reason = "a failed test shows it")] Error),
}

impl RollbackPolicy for Declared {
    fn rolls_back(&self) -> bool {
        !matches!(self, Self::Benign)
    }
}

impl From<Error> for Declared {
    fn from(error: Error) -> Self {
        Self::Transaction(error)
    }
}

impl From<sqlx::Error> for Declared {
    fn from(error: sqlx::Error) -> Self {
        Self::Transaction(error.into())
    }
}

/// Inserts and fails, by the policy of the error type.
#[transactional(db = bed.db)]
async fn by_policy<B: Backend>(bed: &Bed<B>, id: i64, error: Declared) -> Result<(), Declared> {
    bed.insert(id).await?;
    Err(error)
}

#[transactional(db = bed.db, rollback_for = Declared::Benign)]
async fn strict<B: Backend>(bed: &Bed<B>, id: i64, error: Declared) -> Result<(), Declared> {
    bed.insert(id).await?;
    Err(error)
}

#[transactional(db = bed.db, no_rollback_for = Declared::Fatal)]
async fn lenient<B: Backend>(bed: &Bed<B>, id: i64, error: Declared) -> Result<(), Declared> {
    bed.insert(id).await?;
    Err(error)
}

#[transactional(db = bed.db)]
async fn without_policy<B: Backend>(bed: &Bed<B>, id: i64) -> Result<(), Refusal> {
    bed.insert(id).await?;
    Err(Refusal::BusinessExtra)
}

case! {
    r_16 on sqlite, postgres, mysql;
    "an error type's own policy decides without a list, and a list that matches comes first";
    async fn<B>(bed) {
        by_policy(bed, 1, Declared::Benign).await.unwrap_err();
        assert_eq!(bed.rows().await, [1]);
        by_policy(bed, 2, Declared::Fatal).await.unwrap_err();
        assert_eq!(bed.rows().await, [1]);

        strict(bed, 3, Declared::Benign).await.unwrap_err();
        assert_eq!(bed.rows().await, [1]);
        lenient(bed, 4, Declared::Fatal).await.unwrap_err();
        assert_eq!(bed.rows().await, [1, 4]);
        // A list that matches something else leaves the policy as it is.
        strict(bed, 5, Declared::Fatal).await.unwrap_err();
        lenient(bed, 6, Declared::Benign).await.unwrap_err();
        assert_eq!(bed.rows().await, [1, 4, 6]);

        // A type without a policy rolls back.
        without_policy(bed, 7).await.unwrap_err();
        assert_eq!(bed.rows().await, [1, 4, 6]);
    }
}

case! {
    r_16_closure on sqlite, postgres, mysql;
    "a closure's scope asks the error type where it is told to";
    async fn<B>(bed) {
        let refuses = async |options: RuledOptions<(), Declared>, id, error| {
            let scope = bed.db.transaction_with(options, async || {
                bed.insert(id).await?;
                Err(error)
            });
            scope.await.unwrap_err();
        };
        let new = TransactionOptions::new;
        refuses(new().declared_by_error(), 1, Declared::Benign).await;
        refuses(new().declared_by_error(), 2, Declared::Fatal).await;
        assert_eq!(bed.rows().await, [1]);
        refuses(new().into(), 3, Declared::Benign).await;
        assert_eq!(bed.rows().await, [1]);
        let rule = new().rollback_for(|error: &Declared| matches!(error, Declared::Benign));
        refuses(rule.declared_by_error(), 4, Declared::Benign).await;
        assert_eq!(bed.rows().await, [1]);
    }
}

case! {
    r_18 on sqlite, postgres, mysql;
    "an empty or false value commits, unless a rule about values rejects it";
    async fn<B>(bed) {
        let new = TransactionOptions::new;
        assert_eq!(inserts(bed, new(), 1, Ok(None::<i64>)).await.unwrap(), None);
        assert!(!inserts(bed, new(), 2, Ok(false)).await.unwrap());
        assert_eq!(bed.rows().await, [1, 2]);

        let found = new().rollback_if(|value: &Option<i64>| value.is_none());
        assert_eq!(inserts(bed, found.clone(), 3, Ok(None)).await.unwrap(), None);
        assert_eq!(bed.rows().await, [1, 2]);
        assert_eq!(inserts(bed, found, 3, Ok(Some(7))).await.unwrap(), Some(7));
        assert_eq!(bed.rows().await, [1, 2, 3]);
    }
}

case! {
    r_18_doomed on sqlite, postgres, mysql;
    "a rejected value is returned from a doomed scope as from any other: it claims no commit";
    async fn<B>(bed) {
        let booked = || TransactionOptions::new().rollback_if(|booked: &bool| !booked);
        let regretted = bed.db.transaction_with(booked(), async || {
            bed.insert(1).await?;
            bed.db.set_rollback_only("sold out")?;
            Ok::<_, Refusal>(false)
        });
        assert!(!regretted.await.unwrap());
        for accepted in [false, true] {
            let told = bed.db.transaction_with(booked(), async || {
                let denied = Err::<(), _>(Refusal::Business(Business::Denied));
                inserts(bed, TransactionOptions::new(), 1, denied).await.unwrap_err();
                Ok::<_, Refusal>(accepted)
            });
            match told.await {
                Ok(value) => assert!(!value && !accepted),
                Err(Refusal::Transaction(Error::UnexpectedRollback { .. })) => assert!(accepted),
                Err(other) => panic!("{other:?}"),
            }
        }
        assert!(bed.rows().await.is_empty());
    }
}

case! {
    r_18_joined on sqlite, postgres, mysql;
    "a rejected value rolls back its own savepoint, but dooms a transaction it has joined";
    async fn<B>(bed) {
        let rejected = |propagation| {
            TransactionOptions::new()
                .propagation(propagation)
                .name("rejected")
                .rollback_if(|found: &bool| !found)
        };
        bed.db.transaction(async || {
            bed.insert(1).await?;
            let nested = inserts(bed, rejected(Propagation::Nested), 2, Ok(false)).await;
            assert!(!nested.unwrap());
            Ok::<_, Refusal>(())
        }).await.unwrap();
        assert_eq!(bed.rows().await, [1]);

        let told = bed.db.transaction(async || {
            bed.insert(2).await?;
            let joined = inserts(bed, rejected(Propagation::Required), 3, Ok(false)).await;
            assert!(!joined.unwrap());
            Ok::<_, Refusal>(())
        });
        let Err(Refusal::Transaction(Error::UnexpectedRollback { by, cause, .. })) = told.await else {
            panic!("it has to be told");
        };
        assert_eq!((by.name(), cause.kind()), ("rejected", CauseKind::Returned));
        assert!(cause.to_string().contains("rollback_if"), "{cause}");
        assert_eq!(bed.rows().await, [1]);
    }
}

case! {
    r_18_wire on postgres, mysql;
    "a rejected value sends ROLLBACK and no COMMIT";
    async fn<B>(bed, proxy) {
        let never = TransactionOptions::new().rollback_if(|(): &()| true);
        inserts(bed, never, 1, Ok(())).await.unwrap();
        assert_eq!(proxy.events(), [(0, "BEGIN"), (0, "ROLLBACK")]);
    }
}

type Inner = Result<i64, &'static str>;

case! {
    r_19 on sqlite, postgres, mysql;
    "an error inside an Ok value commits, unless a rule about values rejects it";
    async fn<B>(bed) {
        let new = TransactionOptions::new;
        inserts(bed, new(), 1, Ok(Err("inner") as Inner)).await.unwrap().unwrap_err();
        assert_eq!(bed.rows().await, [1]);
        let inner = new().rollback_if(Inner::is_err);
        inserts(bed, inner, 2, Ok(Err("inner"))).await.unwrap().unwrap_err();
        assert_eq!(bed.rows().await, [1]);
    }
}
