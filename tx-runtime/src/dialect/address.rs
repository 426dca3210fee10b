//! Where a database of a server is, in words that keep its password to themselves.

/// `at`: a host and its port, or the path of a socket.
pub(super) fn of_server(kind: &str, at: &str, database: Option<&str>, user: &str) -> String {
    let database = database.map_or_else(String::new, |name| format!(", database `{name}`"));
    format!("{kind} at {at}{database}, as `{user}`")
}
