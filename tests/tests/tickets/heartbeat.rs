//! The heart of a process that has tickets, on a clock that moves when the test says so.

use std::sync::mpsc;
use std::time::{Duration, Instant};

use sqlx::{MySql, Postgres, Sqlite};
use tokio::task::spawn_blocking;
use tokio::time;
use tx_tests::Backend;

use crate::setup::{PATIENCE, k, silence, ticketed, tickets};

const BEATS: u32 = 100;

const LEASE: Duration = Duration::from_secs(30);

/// Behind the moment of a timer, which goes off at the next millisecond.
const TICK: Duration = Duration::from_millis(1);

const BEATEN: &str =
    "select count(*) from tx_ticket_process where heartbeat > '2001-01-01 00:00:00'";

/// Every third of a lease a heartbeat is written, and none is left out.
async fn every_beat<B: Backend>() {
    let Some(bed) = ticketed::<B>().await else {
        return;
    };
    let mine = tickets(&bed).lease(LEASE);
    let held = bed.db.lock(k(&mine)).await.unwrap();
    // As long as this waits, the clock stands still by itself.
    let (over, is_over) = mpsc::channel::<()>();
    let waiting = spawn_blocking(move || is_over.recv());
    time::pause();
    for beat in 1..=BEATS {
        silence(&bed).await;
        time::advance(LEASE / 3 + TICK).await;
        let asked = Instant::now();
        let mut looks = 0_u32;
        while bed.control_ints(BEATEN).await != [1] {
            assert!(asked.elapsed() < PATIENCE, "{}: no beat {beat}", B::LABEL);
            looks += 1;
            if looks.is_power_of_two() {
                // A timer that is due at once, too.
                time::advance(TICK).await;
            }
        }
    }
    time::resume();
    drop(over);
    assert!(waiting.await.unwrap().is_err(), "nobody has sent anything");
    held.release().await.unwrap();
    bed.assert_clean().await;
    bed.finish().await;
}

#[tokio::test]
async fn every_beat_on_sqlite() {
    every_beat::<Sqlite>().await;
}

#[tokio::test]
async fn every_beat_on_postgres() {
    every_beat::<Postgres>().await;
}

#[tokio::test]
async fn every_beat_on_mysql() {
    every_beat::<MySql>().await;
}
