//! One error for every seam: a kind a program can act on and a message a person can.

use std::{borrow::Cow, sync::Arc, time::Duration};

/// What a caller can do about an [`Error`]. One table in `api` turns kinds into HTTP codes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// The request cannot be right as it stands: change it.
    Invalid,
    /// There is nothing of that name, or not for this tenant.
    NotFound,
    /// Something else already holds that name or state.
    Conflict,
    /// The principal may not.
    Denied,
    /// A limit of the caller is used up: wait.
    Exhausted,
    /// We cannot now: try again.
    Unavailable,
    /// A bug or a broken disk: a person should look.
    Internal,
}

/// The result of everything that can fail.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// An error that tells its reader what to do. The client sees `message`, the log sees the source.
#[derive(Debug, Clone, thiserror::Error)]
#[error("{message}")]
pub struct Error {
    /// What can be done about it.
    pub kind: Kind,
    /// Lower case, no full stop, names the thing.
    pub message: Cow<'static, str>,
    /// The field of the request that is at fault.
    pub field: Option<String>,
    /// How long to wait before trying again, where that is known.
    pub retry_after: Option<Duration>,
    /// What lies below, for the log.
    #[source]
    pub source: Option<Arc<dyn std::error::Error + Send + Sync>>,
}

impl Error {
    fn new(kind: Kind, message: impl Into<Cow<'static, str>>) -> Self {
        Self { kind, message: message.into(), field: None, retry_after: None, source: None }
    }
    /// See [`Kind::Invalid`].
    pub fn invalid(message: impl Into<Cow<'static, str>>) -> Self {
        Self::new(Kind::Invalid, message)
    }
    /// See [`Kind::NotFound`].
    pub fn not_found(message: impl Into<Cow<'static, str>>) -> Self {
        Self::new(Kind::NotFound, message)
    }
    /// See [`Kind::Conflict`].
    pub fn conflict(message: impl Into<Cow<'static, str>>) -> Self {
        Self::new(Kind::Conflict, message)
    }
    /// See [`Kind::Denied`].
    pub fn denied(message: impl Into<Cow<'static, str>>) -> Self {
        Self::new(Kind::Denied, message)
    }
    /// See [`Kind::Exhausted`].
    pub fn exhausted(message: impl Into<Cow<'static, str>>) -> Self {
        Self::new(Kind::Exhausted, message)
    }
    /// See [`Kind::Unavailable`].
    pub fn unavailable(message: impl Into<Cow<'static, str>>) -> Self {
        Self::new(Kind::Unavailable, message)
    }
    /// See [`Kind::Internal`].
    pub fn internal(message: impl Into<Cow<'static, str>>) -> Self {
        Self::new(Kind::Internal, message)
    }

    /// Names the field at fault.
    pub fn at(mut self, field: impl Into<String>) -> Self {
        self.field = Some(field.into());
        self
    }
    /// Says how long to wait.
    pub fn after(mut self, wait: Duration) -> Self {
        self.retry_after = Some(wait);
        self
    }
    /// Keeps what lies below, for the log.
    pub fn because(mut self, source: impl std::error::Error + Send + Sync + 'static) -> Self {
        self.source = Some(Arc::new(source));
        self
    }
}

/// Whether an error says that this process, or the machine, had no file descriptor left: soon there may be one.
pub fn is_starved(error: &(dyn std::error::Error + 'static)) -> bool {
    const EMFILE: i32 = 24;
    const ENFILE: i32 = 23;
    let mut cause = Some(error);
    while let Some(error) = cause {
        let code = error.downcast_ref::<std::io::Error>().and_then(std::io::Error::raw_os_error);
        if matches!(code, Some(EMFILE | ENFILE)) {
            return true;
        }
        cause = error.source();
    }
    false
}
