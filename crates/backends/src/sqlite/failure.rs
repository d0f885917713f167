//! What SQLite's errors mean to a caller, and to the process.

use maniple_core::Error;
use rusqlite::ErrorCode;

/// Why a command did not do what was asked.
pub(super) enum Refusal {
    /// It may not be done: nothing was written by it, what else is in the batch goes on.
    Says(Error),
    /// SQLite failed: the batch is rolled back.
    Sql(rusqlite::Error),
}

impl From<Error> for Refusal {
    fn from(error: Error) -> Self {
        Self::Says(error)
    }
}
impl From<rusqlite::Error> for Refusal {
    fn from(error: rusqlite::Error) -> Self {
        Self::Sql(error)
    }
}

/// The error a caller sees. Nothing was applied, or nobody knows.
pub(super) fn failed(error: rusqlite::Error) -> Error {
    match error.sqlite_error_code() {
        Some(ErrorCode::DiskFull) => Error::unavailable("the disk of the store is full, so nothing was written: free some space"),
        Some(ErrorCode::SystemIoFailure) => {
            Error::unavailable("the disk failed under the store, and nobody knows what it holds: look at it")
        }
        Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => {
            Error::unavailable("the database is locked by another program, so nothing was written: close it")
        }
        Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase) => {
            Error::internal("the database file is damaged: stop the node and restore a copy, or recover it with `sqlite3 FILE .recover`")
        }
        Some(ErrorCode::ReadOnly | ErrorCode::PermissionDenied | ErrorCode::CannotOpen) => {
            Error::unavailable("the database file cannot be written: check its folder and its permissions")
        }
        _ => Error::internal("the store failed, and nothing was written: the log has the reason"),
    }
    .because(error)
}

/// After an I/O error nobody knows what the disk holds: a retry could report as durable what is not.
pub(super) fn is_io(error: &rusqlite::Error) -> bool {
    error.sqlite_error_code() == Some(ErrorCode::SystemIoFailure)
}
