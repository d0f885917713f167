//! One process owns the file: `DB.lock`, held for as long as the store is open, says who and where.

use maniple_core::{Error, Result};
use serde::{Deserialize, Serialize};
use std::{
    fs::{File, OpenOptions, TryLockError},
    io::{Read, Seek, Write},
    path::{Path, PathBuf},
    sync::{Mutex, PoisonError},
    thread,
    time::Duration,
};

/// Somebody who only looks ([`holder`]) holds the lock for an instant: an opener tries so often.
const TRIES: u32 = 5;
const BETWEEN_TRIES: Duration = Duration::from_millis(10);

/// Who owns a store's file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Holder {
    /// Its process.
    pub pid: u32,
    /// Where it listens, such as `http://127.0.0.1:8080`; known once it has bound.
    #[serde(default)]
    pub address: Option<String>,
}

/// The lock, held.
#[derive(Debug)]
pub(super) struct Lock {
    file: Mutex<File>,
    path: PathBuf,
}

impl Lock {
    /// Takes it, or says who has it (`Conflict`).
    pub(super) fn take(database: &Path) -> Result<Self> {
        let path = path_of(database);
        let file = OpenOptions::new().create(true).read(true).write(true).truncate(false).open(&path).map_err(|e| {
            Error::invalid(format!("cannot open {}: {e}; does the folder exist, and may this user write there?", path.display())).because(e)
        })?;
        for _ in 0..TRIES {
            match file.try_lock() {
                Ok(()) => {
                    let lock = Self { file: Mutex::new(file), path };
                    lock.write(None)?;
                    return Ok(lock);
                }
                Err(TryLockError::WouldBlock) => thread::sleep(BETWEEN_TRIES),
                Err(TryLockError::Error(e)) => return Err(unusable(&path, e)),
            }
        }
        Err(taken(database, read(&path)))
    }

    /// Says where this process can be reached.
    pub(super) fn write(&self, address: Option<&str>) -> Result<()> {
        let holder = Holder { pid: std::process::id(), address: address.map(str::to_owned) };
        let text = serde_json::to_string(&holder).map_err(|e| Error::internal("the lock file cannot be written").because(e))?;
        let mut file = self.file.lock().unwrap_or_else(PoisonError::into_inner);
        let write = |file: &mut File| -> std::io::Result<()> {
            file.set_len(0)?;
            file.rewind()?;
            file.write_all(text.as_bytes())
        };
        write(&mut file).map_err(|e| unusable(&self.path, e))
    }
}

/// Who holds the store of that file now; `None` if nobody does.
pub fn holder(database: &Path) -> Option<Holder> {
    let path = path_of(database);
    // What is no file is nobody's lock, and opening it might never end.
    std::fs::metadata(&path).ok().filter(std::fs::Metadata::is_file)?;
    let file = File::open(&path).ok()?;
    match file.try_lock_shared() {
        Ok(()) => None,
        Err(TryLockError::WouldBlock) => Some(read(&path).unwrap_or(Holder { pid: 0, address: None })),
        Err(TryLockError::Error(_)) => None,
    }
}

fn path_of(database: &Path) -> PathBuf {
    let mut name = database.as_os_str().to_owned();
    name.push(".lock");
    name.into()
}

fn read(path: &Path) -> Option<Holder> {
    let mut text = String::new();
    File::open(path).ok()?.take(4_096).read_to_string(&mut text).ok()?;
    serde_json::from_str(&text).ok()
}

fn taken(database: &Path, holder: Option<Holder>) -> Error {
    let database = database.display();
    match holder {
        Some(Holder { pid, address: Some(address) }) => {
            Error::conflict(format!("{database} belongs to process {pid}, which listens at {address}: talk to it there, or stop it first"))
        }
        Some(Holder { pid, address: None }) => {
            Error::conflict(format!("{database} belongs to process {pid}, which has no address yet: stop it first, or choose another file"))
        }
        None => Error::conflict(format!("{database} belongs to another process: stop it first, or choose another file")),
    }
}

fn unusable(path: &Path, e: std::io::Error) -> Error {
    Error::unavailable(format!("the lock file {} cannot be used: {e}", path.display())).because(e)
}
