//! Names of imported tools: legal, unique, and mapped back one to one by their endpoint.
//!
//! A tool is called `SERVER_TOOL`, so that two servers never meet. What no model accepts in a name becomes `_`; a name
//! that is then too long, or taken by another tool of the server, ends in eight hexadecimal digits of the original's hash. Names that
//! were legal as they were are given first, then the others in order: the same tools have the same names after a restart. While this process lives, a name once
//! given is never given to another tool.

use sha2::{Digest, Sha256};
use std::{collections::BTreeMap, fmt::Write};

/// The most a tool's name may hold.
const NAME_BYTES: usize = 64;

/// The names given so far.
#[derive(Debug, Default)]
pub(super) struct Names {
    by_original: BTreeMap<String, String>,
    by_name: BTreeMap<String, String>,
}

impl Names {
    /// The name of each, in the order given.
    pub(super) fn give(&mut self, server: &str, originals: &[&str]) -> Vec<String> {
        let mut order: Vec<&str> = originals.to_vec();
        order.sort_by_key(|original| (mended(original) != **original, *original));
        for original in order {
            if !self.by_original.contains_key(original) {
                let name = self.free(server, original);
                self.by_name.insert(name.clone(), original.to_owned());
                self.by_original.insert(original.to_owned(), name);
            }
        }
        originals.iter().map(|original| self.by_original.get(*original).cloned().unwrap_or_default()).collect()
    }

    fn free(&self, server: &str, original: &str) -> String {
        let name = format!("{server}_{}", mended(original));
        if name.len() <= NAME_BYTES && !self.by_name.contains_key(&name) {
            return name;
        }
        // Salted until it is free: a server may name a tool after another one's hash.
        let mut salt = 0u32;
        loop {
            let hash = hex::encode(&Sha256::digest(format!("{original}\n{salt}"))[..4]);
            let kept = &name[..name.len().min(NAME_BYTES - 9)];
            let name = format!("{kept}_{hash}");
            if !self.by_name.contains_key(&name) {
                return name;
            }
            salt += 1;
        }
    }
}

/// A name in the letters that models accept.
fn mended(original: &str) -> String {
    original.chars().map(|c| if c.is_ascii_alphanumeric() || c == '_' || c == '-' { c } else { '_' }).collect()
}

/// Where calls of a tool go: `mcp:SERVER/ORIGINAL`, the original percent-encoded but for unreserved characters.
pub(super) fn endpoint(server: &str, original: &str) -> String {
    let mut endpoint = format!("mcp:{server}/");
    for byte in original.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            endpoint.push(byte.into());
        } else {
            let _ = write!(endpoint, "%{byte:02X}"); // writing to a String cannot fail
        }
    }
    endpoint
}

/// The server's own name of the tool behind an endpoint; `None` where it is no tool of this server.
pub(super) fn original(server: &str, endpoint: &str) -> Option<String> {
    let encoded = endpoint.strip_prefix("mcp:")?.strip_prefix(server)?.strip_prefix('/')?;
    let mut bytes = Vec::with_capacity(encoded.len());
    let mut rest = encoded.bytes();
    while let Some(byte) = rest.next() {
        if byte != b'%' {
            bytes.push(byte);
            continue;
        }
        let digits = [rest.next()?, rest.next()?];
        bytes.push(u8::from_str_radix(std::str::from_utf8(&digits).ok()?, 16).ok()?);
    }
    String::from_utf8(bytes).ok().filter(|original| !original.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_legal_name_keeps_its_place_and_one_that_had_to_be_mended_goes_around_it() {
        let given = Names::default().give("files", &["read.file", "read_file", "read/file", "ls"]);
        assert_eq!(given[1], "files_read_file");
        assert_eq!(given[3], "files_ls");
        assert!(given[0].starts_with("files_read_file_") && given[2].starts_with("files_read_file_") && given[0] != given[2], "{given:?}");
        assert_eq!(Names::default().give("files", &["read.file"]), ["files_read_file"]);
    }

    #[test]
    fn a_name_once_given_is_not_given_to_another_tool_while_this_process_lives() {
        let mut names = Names::default();
        assert_eq!(names.give("s", &["a.b"]), ["s_a_b"]);
        let given = names.give("s", &["a_b", "a.b"]);
        assert_eq!(given[1], "s_a_b");
        assert!(given[0].starts_with("s_a_b_"), "{given:?}");
    }

    proptest! {
        #[test]
        fn names_are_legal_and_unique_and_endpoints_lead_back(originals in proptest::collection::btree_set(".{1,90}", 1..30)) {
            let originals: Vec<&str> = originals.iter().map(String::as_str).collect();
            let given = Names::default().give("server-1", &originals);
            let unique: std::collections::BTreeSet<_> = given.iter().collect();
            prop_assert_eq!(unique.len(), originals.len());
            for (original_name, name) in originals.iter().zip(&given) {
                prop_assert!(name.len() <= 64 && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_' || b == b'-'), "{}", name);
                let back = original("server-1", &endpoint("server-1", original_name));
                prop_assert_eq!(back.as_deref(), Some(*original_name));
            }
        }
    }

    #[test]
    fn an_endpoint_of_another_server_leads_nowhere() {
        for endpoint in ["mcp:files2/read", "mcp:files", "mcp:files/", "mcp:files/%", "mcp:files/%zz", "mcp:files/%FF", "http://files/read"]
        {
            assert_eq!(original("files", endpoint), None, "{endpoint}");
        }
    }
}
