//! What Postgres's errors mean to a caller, and to the connection they came over.

use maniple_core::{Error, Kind};
use tokio_postgres::error::SqlState;

/// Why a transaction did not do what was asked.
#[derive(Debug)]
pub(super) enum Refusal {
    /// It may not be done: nothing is written.
    Says(Error),
    /// Postgres failed, or the way to it.
    Sql(tokio_postgres::Error),
    /// There was no answer in time, though the connection stands.
    Silent,
}

impl Refusal {
    /// Whether its connection is of no use any more.
    pub(super) fn ends_connection(&self) -> bool {
        match self {
            Self::Says(_) => false,
            Self::Sql(error) => ends_connection(error),
            Self::Silent => true,
        }
    }
}

impl From<Error> for Refusal {
    fn from(error: Error) -> Self {
        Self::Says(error)
    }
}
impl From<tokio_postgres::Error> for Refusal {
    fn from(error: tokio_postgres::Error) -> Self {
        Self::Sql(error)
    }
}
impl From<Refusal> for Error {
    fn from(refusal: Refusal) -> Self {
        match refusal {
            Refusal::Says(error) => error,
            Refusal::Sql(error) => failed(error),
            Refusal::Silent => {
                Self::unavailable("the database does not answer though it is connected: does it stand still, or is it overloaded?")
            }
        }
    }
}

/// Whether the same may go well at once: another transaction was in the way, and nothing of this one was written.
pub(super) fn is_passing(error: &tokio_postgres::Error) -> bool {
    let in_the_way = [
        SqlState::UNIQUE_VIOLATION,
        SqlState::FOREIGN_KEY_VIOLATION,
        SqlState::T_R_DEADLOCK_DETECTED,
        SqlState::T_R_SERIALIZATION_FAILURE,
        // A newer version has changed a table under a prepared statement.
        SqlState::FEATURE_NOT_SUPPORTED,
    ];
    error.code().is_some_and(|code| in_the_way.contains(code))
}

/// Whether the connection is of no use any more: the server goes, is somebody who may not write, or does not answer.
pub(super) fn ends_connection(error: &tokio_postgres::Error) -> bool {
    let Some(code) = error.code() else { return true };
    // 57P01 to 57P05: it is shut down, has crashed, cannot be connected to, was dropped, or the session was idle too long.
    *code == SqlState::READ_ONLY_SQL_TRANSACTION
        || *code == SqlState::FEATURE_NOT_SUPPORTED
        || code.code().starts_with("57P0")
        || code.code().starts_with("08")
}

fn read_only() -> Error {
    Error::unavailable("this database may only be read, as a standby may: nothing was written")
}

/// What kept the server from answering, as far as the driver says it.
fn without_answer(error: &tokio_postgres::Error) -> Error {
    let why = std::error::Error::source(error).map(ToString::to_string).unwrap_or_default();
    if error.to_string().contains("TLS") {
        return Error::unavailable(format!(
            "there is no TLS to the database ({why}): its certificate must be known to this system or be in the file that SSL_CERT_FILE names"
        ));
    }
    // The driver's words, where every address of the URL was tried.
    if why.contains("does not allow writes") {
        return read_only();
    }
    Error::unavailable("the database does not answer: is Postgres up, and can this node reach it?")
}

/// The error a caller sees. Nothing was applied, or nobody knows.
pub(super) fn failed(error: tokio_postgres::Error) -> Error {
    let told = match error.code() {
        None => without_answer(&error),
        Some(code) => match code.code() {
            "53100" => Error::unavailable("the database's disk is full, so nothing was written: free some space"),
            "53300" => Error::unavailable("the database takes no more connections: raise its max_connections, or lower store_connections"),
            "25006" => read_only(),
            "28000" | "28P01" => Error::unavailable("the database refuses this user or password: look at the store's URL"),
            "3D000" => Error::unavailable("there is no database of that name: create it, as with `createdb`, or correct the store's URL"),
            "42501" => Error::unavailable("this user may not do that in the database: let it create tables in its schema, or own them"),
            "42P01" => Error::unavailable("a table is missing from the database: was it emptied while this node ran? start it anew"),
            "55P03" | "57014" => Error::unavailable(
                "the database did not get to it in time, so nothing was written: it is very busy, or somebody locks its tables",
            ),
            "22021" => Error::invalid("a text holds what Postgres cannot keep, such as U+0000"),
            code if code.starts_with("57P0") => Error::unavailable("the database is shutting down, or was restarted"),
            code if code.starts_with("08") || code.starts_with("53") => Error::unavailable("the database cannot serve this now"),
            _ if is_passing(&error) => Error::unavailable("others changed the same at the same time, again and again: nothing was written"),
            code => Error::internal(format!("the database failed (SQLSTATE {code}), and nothing was written: the log has the reason")),
        },
    };
    if told.kind == Kind::Internal {
        tracing::error!(%error, "the store failed");
    }
    told.because(error)
}
