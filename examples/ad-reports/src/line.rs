//! Tickets as a table, in the order of their numbers: who has an account, who waits for whom.

use std::time::Duration;

use stage::{Column, Table};
use tx_runtime::Ticket;

/// The table of `tickets`, which come as the log has them: the newest first.
pub(crate) fn table(tickets: &[Ticket]) -> String {
    let rows: Vec<_> = tickets.iter().rev().map(cells).collect();
    let columns = [
        Column::figures("ticket"),
        Column::words("key"),
        Column::words("label"),
        Column::words("process"),
        Column::words("state"),
        Column::figures("behind"),
        Column::figures("waited"),
        Column::figures("ran"),
        Column::words("error"),
    ];
    let table = Table::new(columns).fitting(&rows);
    let mut lines = vec![table.heading()];
    lines.extend(rows.into_iter().map(|cells| table.row(cells)));
    lines.join("\n")
}

fn cells(ticket: &Ticket) -> [String; 9] {
    [
        ticket.id.to_string(),
        ticket.key.clone(),
        ticket.label.clone(),
        process(ticket).to_owned(),
        ticket.state.to_string(),
        ticket.waits_on.map(|id| id.to_string()).unwrap_or_default(),
        seconds(ticket.waited()),
        ticket.ran().map(seconds).unwrap_or_default(),
        ticket.error.clone().unwrap_or_default(),
    ]
}

/// The owner is a function `in process 4711 on a-host`.
fn process(ticket: &Ticket) -> &str {
    let owner = ticket.owner.rsplit_once(" in process ");
    owner.map_or(&*ticket.owner, |(_, process)| process)
}

fn seconds(time: Duration) -> String {
    format!("{:.2} s", time.as_secs_f64())
}
