//! Tickets as a table.

use std::time::{Duration, SystemTime};

use chrono::{DateTime, Utc};
use stage::{Column, Table};
use tx_runtime::Ticket;

/// The log of tickets, in the order of `tickets`.
pub(crate) fn table(tickets: &[Ticket]) -> String {
    let rows: Vec<_> = tickets.iter().map(cells).collect();
    let table = Table::new([
        Column::figures("ticket"),
        Column::words("key"),
        Column::words("label"),
        Column::words("state"),
        Column::figures("token"),
        Column::figures("behind"),
        Column::figures("waited"),
        Column::words("requested"),
        Column::words("started"),
        Column::words("ended"),
        Column::words("owner"),
        Column::words("error"),
    ])
    .fitting(&rows);
    let mut lines = vec![table.heading()];
    lines.extend(rows.into_iter().map(|row| table.row(row)));
    lines.join("\n")
}

fn cells(ticket: &Ticket) -> [String; 12] {
    [
        ticket.id.to_string(),
        ticket.key.clone(),
        ticket.label.clone(),
        ticket.state.to_string(),
        number(ticket.token),
        number(ticket.waits_on),
        seconds(ticket.waited()),
        time(Some(ticket.requested)),
        time(ticket.started),
        time(ticket.ended),
        process(&ticket.owner).to_owned(),
        // One line for each.
        ticket.error.as_deref().unwrap_or("").replace('\n', " "),
    ]
}

/// The label says which function it is.
fn process(owner: &str) -> &str {
    owner
        .rsplit_once(" in ")
        .map_or(owner, |(_, process)| process)
}

fn number(number: Option<i64>) -> String {
    number.map_or_else(String::new, |number| number.to_string())
}

fn seconds(time: Duration) -> String {
    format!("{:.3} s", time.as_secs_f64())
}

/// As the database has it: UTC.
fn time(time: Option<SystemTime>) -> String {
    let time = time.map(DateTime::<Utc>::from);
    time.map_or_else(String::new, |time| {
        time.format("%m-%d %H:%M:%S%.3f").to_string()
    })
}
