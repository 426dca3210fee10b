//! Faults: what the caller was told about a transaction is what the database holds, wherever
//! the wire is cut, the server's side of it killed, the process killed or the server restarted.

mod fault;
mod lane;
mod matrix;
mod restart;
mod sigkill;
mod tally;
mod transfer;
mod work;

fn block_on(test: impl Future<Output = ()>) {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .expect("a runtime")
        .block_on(test);
}
