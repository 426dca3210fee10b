//! What the routes accept and answer.

use std::net::SocketAddr;
use std::time::Duration;

use course_applicants::clerk::{Answer, Clerk};
use course_applicants::http;
use course_applicants::tables::Variant;
use hyper::Method;
use serde_json::{Value, json};
use sqlx::Sqlite;
use stage::server::Server;
use tx_tests::on_each_database;

use crate::stage::{Base, applicants, bed, revisions, service};

const GRACE: Duration = Duration::from_mins(1);

async fn start<B: Base>(bed: &tx_tests::Bed<B>) -> (Server, Clerk) {
    let anywhere = SocketAddr::from(([127, 0, 0, 1], 0));
    let server = Server::start(anywhere, http::router(service(bed).await)).await;
    let server = server.expect("a free port");
    let clerk = Clerk {
        server: server.address(),
    };
    (server, clerk)
}

async fn sent(clerk: Clerk, method: Method, path: &str, who: &str, body: Value) -> Answer {
    let answer = clerk.send(method.clone(), path, who, &body).await;
    answer.unwrap_or_else(|error| panic!("{method} {path}: {error}"))
}

async fn an_applicant_comes_changes_and_goes<B: Base>() {
    let Some(bed) = bed::<B>(Variant::Generated).await else {
        return;
    };
    let (server, clerk) = start(&bed).await;
    let mut statuses = Vec::new();
    for (method, path, who, body) in [
        (
            Method::PUT,
            "/applicants/7",
            "ann",
            json!({ "name": "Bea", "course": "pottery", "reason": "open day" }),
        ),
        (
            Method::PUT,
            "/applicants/7",
            "ben",
            json!({ "name": "Cy", "course": "x", "reason": "y" }),
        ),
        (
            Method::PUT,
            "/applicants/7/status",
            "ben",
            json!({ "status": "accepted", "reason": "papers" }),
        ),
        (
            Method::PUT,
            "/applicants/7/course",
            "Zoë",
            json!({ "course": "weaving; '--", "reason": "full" }),
        ),
        (
            Method::PUT,
            "/applicants/8/course",
            "ben",
            json!({ "course": "weaving", "reason": "full" }),
        ),
    ] {
        statuses.push(sent(clerk, method, path, who, body).await.status.as_u16());
    }
    assert_eq!(statuses, [201, 409, 204, 204, 404]);
    let shown = clerk.get("/applicants/7").await.expect("an answer");
    let shown: Value = serde_json::from_str(&shown.text).expect("JSON");
    assert_eq!(
        shown,
        json!({ "id": 7, "name": "Bea", "course": "weaving; '--", "status": "accepted" })
    );
    let goes = json!({ "reason": "moves" });
    let gone = sent(clerk, Method::POST, "/applicants/7/withdrawal", "eve", goes).await;
    assert_eq!(gone.status.as_u16(), 204);
    assert_eq!(clerk.look_up(7).await.expect("an answer"), None);

    let page = clerk.get("/applicants/7/history").await.expect("an answer");
    let whats: Vec<&str> = page.text.lines().skip(2).collect();
    assert_eq!(whats.len(), 4, "{}", page.text);
    for (line, part) in whats.iter().zip([
        "Z  ann  open day  + name \"Bea\", course \"pottery\", status \"registered\"",
        "Z  ben  papers    ~ status \"registered\" -> \"accepted\"",
        "Z  Zoë  full      ~ course \"pottery\" -> \"weaving; '--\"",
        "Z  eve  moves     - name \"Bea\", course \"weaving; '--\", status \"accepted\"",
    ]) {
        assert!(line.ends_with(part), "{}", page.text);
    }
    let nobody = clerk.get("/applicants/8/history").await.expect("an answer");
    assert_eq!(nobody.status.as_u16(), 404);
    server.stop(GRACE).await.expect("every request is answered");
    bed.assert_clean().await;
    bed.finish().await;
}
on_each_database!(an_applicant_comes_changes_and_goes);

/// One of them is there, and the other is told so: no request fails for want of luck.
async fn two_registrations_at_once_are_one<B: Base>() {
    let Some(bed) = bed::<B>(Variant::Generated).await else {
        return;
    };
    let (server, clerk) = start(&bed).await;
    for id in 1..=20 {
        let path = format!("/applicants/{id}");
        let body = json!({ "name": "Bea", "course": "pottery", "reason": "open day" });
        let (one, other) = tokio::join!(
            sent(clerk, Method::PUT, &path, "ann", body.clone()),
            sent(clerk, Method::PUT, &path, "ben", body.clone()),
        );
        let mut statuses = [one.status.as_u16(), other.status.as_u16()];
        statuses.sort_unstable();
        assert_eq!(statuses, [201, 409], "{one:?} {other:?}");
    }
    assert_eq!(revisions(&bed).await.len(), 20);
    server.stop(GRACE).await.expect("every request is answered");
    bed.assert_clean().await;
    bed.finish().await;
}
on_each_database!(two_registrations_at_once_are_one);

#[tokio::test]
async fn nothing_is_changed_by_nobody_or_for_no_reason() {
    let bed = bed::<Sqlite>(Variant::Generated).await;
    let bed = bed.expect("SQLite is always there");
    let (server, clerk) = start(&bed).await;
    let whole = json!({ "name": "Bea", "course": "pottery", "reason": "open day" });
    for (who, body, status) in [
        ("", whole.clone(), 401),
        (" ", whole.clone(), 401),
        ("ann", json!({ "name": "Bea", "course": "pottery" }), 422),
        (
            "ann",
            json!({ "name": "Bea", "course": "pottery", "reason": " " }),
            422,
        ),
        (
            "ann",
            json!({ "name": "B\u{0}", "course": "pottery", "reason": "x" }),
            422,
        ),
        (
            "ann",
            json!({ "name": "Bea", "course": "x".repeat(201), "reason": "x" }),
            422,
        ),
    ] {
        let answer = sent(clerk, Method::PUT, "/applicants/7", who, body.clone()).await;
        assert_eq!(
            answer.status.as_u16(),
            status,
            "{who:?} {body}: {}",
            answer.text
        );
    }
    let answer = sent(clerk, Method::PUT, "/applicants/seven", "ann", whole).await;
    assert_eq!(answer.status.as_u16(), 400);
    assert!(applicants(&bed).await.is_empty());
    assert!(revisions(&bed).await.is_empty());
    server.stop(GRACE).await.expect("every request is answered");
    bed.assert_clean().await;
}
