//! The whole work is dropped.

use std::time::Instant;

use futures_util::FutureExt as _;
use tx_tests::poll_n;

use crate::statements::Bound;
use crate::subject::Subject;
use crate::tally::{Course, Tally, Way, fault, report, together};
use crate::work::{Form, OURS, work};

/// Drops `form` of the work at every await point.
async fn sweep<B: Bound>(form: Form, course: Course) -> Option<Tally> {
    let Course { start, lane, shape } = course;
    let mut subject = Subject::<B>::new(shape, 1).await?;
    let mut tally = Tally::default();
    for (n, id) in lane.points() {
        subject.prepare(start, form, id + 5).await;
        let (output, _) = poll_n(work(form, &subject.bed.db, id), n).await;
        let done = output.is_some();
        let verdict = output.transpose().map(drop);
        let mut found =
            vec![verdict.or_else(|error| fault(format!("undisturbed, it fails: {error}")))];
        found.extend(subject.aftermath(form, id).await);
        let rows = subject.stored(&[id, id + 1]).await;
        tally.committed += usize::from(!done && !rows.is_empty());
        found.push(match rows.len() {
            0 if done => fault("committed work is not stored"),
            1 => fault(format!("partly stored: {rows:?}")),
            _ => Ok(()),
        });
        if tally.judge(
            format_args!("{} {form:?} {start:?} n = {n}", B::LABEL),
            found,
        ) {
            // What is broken stays broken, and is not to be counted twice.
            subject.renew(true).await;
        }
        if done || tally.is_hopeless() {
            return Some(tally);
        }
    }
    panic!("{form:?}, {start:?}: the work never ends");
}

/// Sweeps over every form.
pub(crate) async fn all<B: Bound>(way: Way) {
    let started = Instant::now();
    let mut sweeps = Vec::new();
    for form in OURS.into_iter().chain([Form::Plain]) {
        let ours = form != Form::Plain;
        for course in way.courses(ours) {
            sweeps.push((ours, sweep::<B>(form, course).boxed_local()));
        }
    }
    let Some([ours, plain]) = together(sweeps).await else {
        return;
    };
    report::<B>(way.label, &ours, &plain, started);
    if B::SERVER {
        assert!(plain.faults() > 0, "the sweep does not bite");
        assert!(ours.committed > 0, "no sweep has cut off a COMMIT");
    }
}
