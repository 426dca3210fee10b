//! The command `history`: all changes of an applicant.

use std::process::ExitCode;

use course_applicants::service::Applicants;
use course_applicants::store::Store;
use course_applicants::story;
use stage::Failure;
use tx_runtime::Db;

pub(crate) async fn run<DB: Store>(db: &Db<DB>, id: i64) -> Result<ExitCode, Failure> {
    let applicants = Applicants::of(db.clone()).await?;
    let changes = applicants.changes(id).await?;
    println!("{}", story::told(&changes));
    Ok(ExitCode::SUCCESS)
}
