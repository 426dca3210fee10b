//! Smaller trees than one that has failed.

use tx_runtime::Propagation;

use crate::tree::{Call, End, Form, Step, Tree};

/// All trees that are smaller by one thing, the smallest first.
pub(crate) fn smaller(tree: &Tree) -> Vec<Tree> {
    let bodies = smaller_bodies(&tree.body);
    bodies.into_iter().map(|body| Tree { body }).collect()
}

fn smaller_bodies(body: &[Step]) -> Vec<Vec<Step>> {
    let with = |at: usize, instead: Vec<Step>| {
        let mut smaller = body.to_vec();
        smaller.splice(at..=at, instead);
        smaller
    };
    let gone = (0..body.len()).map(|at| with(at, Vec::new()));
    let simpler = body.iter().enumerate().flat_map(|(at, step)| {
        let steps = simpler_steps(step);
        steps.into_iter().map(move |steps| with(at, steps))
    });
    gone.chain(simpler).collect()
}

/// What may stand instead of a step.
fn simpler_steps(step: &Step) -> Vec<Vec<Step>> {
    match step {
        Step::Call(call) => {
            let calls = simpler_calls(call).into_iter();
            let calls = calls.map(|call| vec![Step::Call(call)]);
            std::iter::once(call.body.clone()).chain(calls).collect()
        }
        Step::Together(pace, calls) => {
            let [first, second] = &**calls;
            let one = [first, second].map(|call| vec![Step::Call(call.clone())]);
            let firsts = simpler_calls(first).into_iter();
            let firsts = firsts.map(|first| [first, second.clone()]);
            let seconds = simpler_calls(second).into_iter();
            let seconds = seconds.map(|second| [first.clone(), second]);
            let both = firsts.chain(seconds);
            let both = both.map(|calls| vec![Step::Together(*pace, Box::new(calls))]);
            one.into_iter().chain(both).collect()
        }
        Step::Statement(statement) if !statement.swallowed => {
            let mut statement = statement.clone();
            statement.swallowed = true;
            vec![vec![Step::Statement(statement)]]
        }
        _ => Vec::new(),
    }
}

fn simpler_calls(call: &Call) -> Vec<Call> {
    let mut simpler = Vec::new();
    let mut offer = |change: &dyn Fn(&mut Call)| {
        let mut other = call.clone();
        change(&mut other);
        simpler.push(other);
    };
    for body in smaller_bodies(&call.body) {
        offer(&|call| call.body.clone_from(&body));
    }
    if call.end != End::Ok {
        offer(&|call| call.end = End::Ok);
    }
    if call.keeps_benign {
        offer(&|call| call.keeps_benign = false);
    }
    if call.locked {
        offer(&|call| call.locked = false);
    }
    if !matches!(call.form, Form::Closure(_)) {
        offer(&|call| call.form = Form::Closure(call.mode()));
    }
    if call.mode() != Propagation::Required {
        offer(&|call| call.form = Form::Closure(Propagation::Required));
    }
    if !call.caught {
        offer(&|call| call.caught = true);
    }
    simpler
}
