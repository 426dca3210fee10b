//! Every fault at every message of a transaction, in either direction.

use std::io::Write as _;
use std::time::Instant;

use futures_util::future::join_all;
use sqlx::{MySql, Postgres};
use tx_tests::{Backend, Dice, Strike, wish};

use crate::block_on;
use crate::fault::Fault;
use crate::lane::{Case, Course, Lane, Start};
use crate::tally::{ROLLED_BACK, Tally};
use crate::work::{Ending, Form};

/// How many runs go on at once; most of each is waiting.
const LANES: usize = 4;

/// The least number of runs on each server: what the matrix lacks is drawn by lot.
const RUNS: usize = 1_200;

/// A case, and where COMMIT is among the messages of its course.
type Planned = (Case, Option<usize>);

/// A course, how many messages it has, and which of them is COMMIT.
type Recorded = (Course, usize, Option<usize>);

/// The courses of `form`, after an undisturbed run of each has shown its messages.
async fn record<B: Backend>(lane: &mut Lane<B>, form: Form, timed: bool) -> Vec<Recorded> {
    let mut courses = Vec::new();
    for start in Start::ALL {
        for ending in [Ending::Commit, Ending::Rollback] {
            let course = Course {
                form,
                start,
                ending,
                timed,
            };
            let messages = lane.record(course).await;
            assert_eq!(messages, lane.record(course).await, "{course:?}");
            let commit = messages.iter().position(|it| it.event == Some("COMMIT"));
            assert_eq!(commit.is_some(), ending == Ending::Commit);
            courses.push((course, messages.len(), commit));
        }
    }
    courses
}

/// Every fault at every message.
fn plan(courses: &[Recorded], mut faults: impl FnMut() -> Vec<Fault>) -> Vec<Planned> {
    let mut cases = Vec::new();
    for &(course, messages, commit) in courses {
        for point in 0..messages {
            let case = |fault| Case {
                course,
                point,
                fault,
                again: None,
            };
            cases.extend(faults().into_iter().map(|fault| (case(fault), commit)));
        }
    }
    cases
}

/// The answer to COMMIT is lost, and then the connection on which the server is asked about it,
/// at each of its messages.
async fn plan_lookups<B: Backend>(
    lane: &mut Lane<B>,
    courses: &[Recorded],
    dice: &mut Dice,
) -> Vec<Planned> {
    let mut cases = Vec::new();
    for &(course, _, commit) in courses {
        let Some(point) = commit else { continue };
        for strike in [Strike::CutBefore, Strike::CutBehind] {
            let lost = Case {
                course,
                point,
                fault: Fault::Cut(strike),
                again: None,
            };
            for later in point + 1..lane.messages_until_known(lost).await {
                let cuts = Fault::cuts(dice).into_iter();
                let again = cuts.map(|cut| Case {
                    again: Some((later, cut)),
                    ..lost
                });
                cases.extend(again.map(|case| (case, commit)));
            }
        }
    }
    cases
}

/// As many cases again as are lacking, at random points and positions.
fn draw(cases: &mut Vec<Planned>, runs: usize, dice: &mut Dice) {
    let all = cases.len();
    while cases.len() < runs {
        let (mut case, commit) = cases[dice.pick(all)];
        let faults = Fault::all(dice);
        case.fault = dice.one_of(&faults);
        cases.push((case, commit));
    }
}

async fn run_all<B: Backend>(lanes: &mut [Lane<B>], cases: &[Planned]) -> Tally {
    let count = lanes.len();
    let lanes = lanes.iter_mut().enumerate().map(async |(first, lane)| {
        let mut tally = Tally::default();
        for &(case, commit) in cases.iter().skip(first).step_by(count) {
            let seen = lane.run(case).await;
            tally.judge::<B>(case, commit, &seen);
        }
        tally
    });
    let mut sum = Tally::default();
    for tally in join_all(lanes).await {
        sum.add(tally);
    }
    sum
}

async fn matrix<B: Backend>() {
    let started = Instant::now();
    let seed = Dice::wished_seed();
    let mut dice = Dice::new(seed);
    let mut lanes = Vec::new();
    for _ in 0..LANES {
        let Some(lane) = Lane::<B>::new().await else {
            return;
        };
        lanes.push(lane);
    }
    let courses = record(&mut lanes[0], Form::Ours, false).await;
    let mut cases = plan(&courses, || Fault::all(&mut dice).to_vec());
    let points: usize = courses.iter().map(|(_, messages, _)| messages).sum();
    let runs = wish("TX_TEST_FAULTS").map_or(RUNS, |runs| usize::try_from(runs).expect("few"));
    draw(&mut cases, runs, &mut dice);
    let timed = record(&mut lanes[0], Form::Ours, true).await;
    cases.extend(plan(&timed, || vec![Fault::Expired]));
    if B::TELLS_FATES {
        cases.extend(plan_lookups(&mut lanes[0], &courses, &mut dice).await);
    }
    let ours = run_all(&mut lanes, &cases).await;
    let courses = record(&mut lanes[0], Form::Plain, false).await;
    let cases = plan(&courses, || Fault::all(&mut dice).to_vec());
    let plain = run_all(&mut lanes, &cases).await;
    for lane in lanes {
        lane.finish().await;
    }
    report::<B>(seed, points, &ours, &plain, started);
    assert!(ours.lies.is_empty(), "{:#?}", ours.lies);
    assert!(ours.left.is_empty(), "{:#?}", ours.left);
    assert_eq!(ours.resolved > 0, B::TELLS_FATES);
    assert_eq!(ours.resolved_again > 0, B::TELLS_FATES);
    assert!(ours.expired > 0);
    assert_eq!(ours.unknown > 0, !B::TELLS_FATES);
    assert!(ours.committed > 0 && ours.rolled_back > 0 && ours.stored_though_gone > 0);
    assert!(
        !plain.lies.is_empty() && !plain.left.is_empty(),
        "the matrix does not bite"
    );
}

/// Past the capture of the test runner: these numbers are what the test is for.
fn report<B: Backend>(seed: u64, points: usize, ours: &Tally, plain: &Tally, started: Instant) {
    let errors = plain.lies.iter().filter(|lie| lie.contains(ROLLED_BACK));
    let line = format!(
        "faults: {} | {} runs over {points} messages: told {} committed, {} rolled back, {} unknown, {} to nobody (of these {} stored), \
         {} by asking the server, {} of them twice, {} late; {} false, {} left something open | plain sqlx: {} runs, {} false ({} an error though stored), \
         {} left something open | seed {seed}, {:.0?}",
        B::LABEL,
        ours.runs,
        ours.committed,
        ours.rolled_back,
        ours.unknown,
        ours.gone,
        ours.stored_though_gone,
        ours.resolved,
        ours.resolved_again,
        ours.expired,
        ours.lies.len(),
        ours.left.len(),
        plain.runs,
        plain.lies.len(),
        errors.count(),
        plain.left.len(),
        started.elapsed(),
    );
    drop(writeln!(std::io::stderr(), "{line}"));
}

#[test]
fn postgres() {
    block_on(matrix::<Postgres>());
}

#[test]
fn mysql() {
    block_on(matrix::<MySql>());
}
