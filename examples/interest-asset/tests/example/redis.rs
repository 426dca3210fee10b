//! The program with `--redis-url`, each time on a Redis of the test's own.

use hyper::Method;
use sqlx::{ConnectOptions as _, Sqlite};
use tx_tests::{Bed, RedisServer, on_each_database};

use crate::program::{self, PROGRAM, counts, serve};
use crate::scene::{self, Base, STORMS};

/// Storms two instances whose locks are in Redis; gives what the program prints.
async fn storm<B: Base>(bed: &Bed<B>, redis: &RedisServer, variants: [&str; 2]) -> String {
    let database = bed.options().to_url_lossy();
    let [first, second] = variants;
    #[rustfmt::skip]
    let storm = [
        "storm", "--database-url", database.as_str(), "--redis-url", redis.url(),
        "--instances", "2", "--accounts", "50", "--variant", first, "--variant", second,
    ];
    PROGRAM.printed(&storm).await
}

async fn locks_in_redis_do_no_harm<B: Base>() {
    let (Some(bed), Some(redis)) = (scene::bed::<B>().await, RedisServer::start().await) else {
        return;
    };
    let right = ["isolated", "one-transaction"];
    let text = storm(&bed, &redis, right).await;
    for variant in right {
        assert_eq!(counts(&text, variant), "50 400 0 0 0", "{text}");
    }

    // The locks were there, and both variants told the database so.
    let tokens: Vec<String> = redis.ask(&["KEYS", "tx:token:interest-asset:*"]).await;
    assert_eq!(tokens.len(), 50);
    let locks: Vec<String> = redis.ask(&["KEYS", "tx:lock:*"]).await;
    assert!(locks.is_empty(), "{locks:?}");
    let fences = bed.control_ints("select count(*) from tx_fence").await;
    assert_eq!(fences, [50]);
    bed.assert_clean().await;
    bed.finish().await;
}
on_each_database!(locks_in_redis_do_no_harm);

/// The incident as it was: its lock keeps everybody out, and opens too early.
async fn a_lock_in_redis_does_not_mend_the_incident<B: Base>() {
    let incident = "lock-released-before-commit";
    let duplicate = "query did not return a unique result: 2";
    for _ in 0..STORMS {
        let (Some(bed), Some(redis)) = (scene::bed::<B>().await, RedisServer::start().await) else {
            return;
        };
        let text = storm(&bed, &redis, [incident, "isolated"]).await;
        bed.finish().await;
        let is_harmed = counts(&text, incident) != "50 400 0 0 0";
        if is_harmed && (!B::SERVER || text.contains(duplicate)) {
            return;
        }
    }
    panic!("the fault did not show in {STORMS} storms");
}
on_each_database!(a_lock_in_redis_does_not_mend_the_incident);

#[cfg(unix)]
#[tokio::test]
async fn serve_keeps_its_locks_in_redis() {
    let Some(redis) = RedisServer::start().await else {
        return;
    };
    let bed = scene::bed::<Sqlite>()
        .await
        .expect("SQLite is always there");
    let (_serving, mut client) = serve(&program::url(&bed), &["--redis-url", redis.url()]).await;
    let answer = client.send(Method::PUT, "/accounts/7/interest-assets/52");
    assert_eq!(answer.await.expect("an answer").status.as_u16(), 201);
    let tokens: Vec<String> = redis.ask(&["KEYS", "*"]).await;
    assert_eq!(tokens, ["tx:token:interest-asset:7"]);
    let fences = bed.control_texts("select name from tx_fence").await;
    assert_eq!(fences, ["interest-asset:7"]);
}

#[tokio::test]
async fn a_redis_that_is_not_there_is_named() {
    let text = PROGRAM
        .refusal(&["--redis-url", "redis://127.0.0.1:1"])
        .await;
    assert!(text.starts_with("error: --redis-url: "), "{text}");
}
