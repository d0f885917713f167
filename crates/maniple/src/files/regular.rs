//! The one way to read a file of a project: a regular one, bounded in size.
//!
//! What lies in a folder may be a pipe that nobody writes to, or a device without an end. Links to regular files are followed.

use std::{
    fs::{File, Metadata, OpenOptions},
    io::{self, Read},
    os::unix::fs::{FileTypeExt, OpenOptionsExt},
    path::Path,
};

/// The text of a file of at most `most` bytes. The error says what is wrong with it, not which it is.
pub fn text(file: &Path, most: u64) -> io::Result<String> {
    // Asked before it is opened, as opening alone does something to some devices; and once more of what was opened, as it may be
    // another file by then, which opening must not wait for.
    check(&std::fs::metadata(file)?, most)?;
    let nonblocking = rustix::fs::OFlags::NONBLOCK.bits() as i32;
    let opened: File = OpenOptions::new().read(true).custom_flags(nonblocking).open(file)?;
    check(&opened.metadata()?, most)?;
    let mut text = String::new();
    opened.take(most + 1).read_to_string(&mut text)?;
    if text.len() as u64 > most {
        return Err(too_large(text.len() as u64, most));
    }
    Ok(text)
}

fn check(about: &Metadata, most: u64) -> io::Result<()> {
    let kind = about.file_type();
    if !kind.is_file() {
        let what = match () {
            () if kind.is_dir() => "a folder",
            () if kind.is_fifo() => "a pipe",
            () if kind.is_socket() => "a socket",
            () if kind.is_char_device() || kind.is_block_device() => "a device",
            () => "something else",
        };
        return Err(io::Error::new(io::ErrorKind::InvalidInput, format!("it is {what}: only regular files are read")));
    }
    if about.len() > most { Err(too_large(about.len(), most)) } else { Ok(()) }
}

fn too_large(bytes: u64, most: u64) -> io::Error {
    io::Error::new(io::ErrorKind::FileTooLarge, format!("it has {bytes} bytes; at most {most} are read"))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use std::{fs, os::unix::fs::symlink, process::Command};

    #[test]
    fn a_pipe_a_device_and_a_folder_are_told_from_a_file_without_waiting() {
        let folder = tempfile::tempdir().unwrap();
        let pipe = folder.path().join("pipe");
        assert!(Command::new("mkfifo").arg(&pipe).status().unwrap().success());
        for (path, what) in [(pipe.as_path(), "a pipe"), (Path::new("/dev/zero"), "a device"), (folder.path(), "a folder")] {
            assert!(text(path, 100).unwrap_err().to_string().contains(what), "{}", path.display());
            let link = folder.path().join(what);
            symlink(path, &link).unwrap();
            assert!(text(&link, 100).unwrap_err().to_string().contains(what), "a link to {}", path.display());
        }
    }

    #[test]
    fn a_file_is_read_to_its_bound_and_through_a_link() {
        let folder = tempfile::tempdir().unwrap();
        let (file, link) = (folder.path().join("file"), folder.path().join("link"));
        fs::write(&file, "0123456789").unwrap();
        symlink(&file, &link).unwrap();
        assert_eq!(text(&link, 10).unwrap(), "0123456789");
        let error = text(&file, 9).unwrap_err();
        assert!(error.to_string().contains("10 bytes; at most 9"), "{error}");
        assert_eq!(text(&folder.path().join("none"), 9).unwrap_err().kind(), io::ErrorKind::NotFound);
    }
}
