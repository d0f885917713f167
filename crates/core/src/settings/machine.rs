//! Which hosts are this machine.

use std::net::IpAddr;

/// Whether a URL's host is this machine. No proxy of the environment's can reach that: whoever calls it goes there directly.
pub fn is_this_machine(host: &str) -> bool {
    let bare = host.trim_start_matches('[').trim_end_matches(']');
    match bare.parse::<IpAddr>() {
        Ok(address) => address.to_canonical().is_loopback() || address.is_unspecified(),
        Err(_) => {
            let name = host.trim_end_matches('.').to_ascii_lowercase();
            name == "localhost" || name.ends_with(".localhost")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::is_this_machine;

    #[test]
    fn this_machine_is_known_by_all_its_names() {
        for host in ["127.0.0.1", "127.9.9.9", "localhost", "Localhost.", "a.localhost", "[::1]", "::1", "[::ffff:127.0.0.1]", "0.0.0.0"] {
            assert!(is_this_machine(host), "{host}");
        }
        for host in ["10.0.0.1", "localhost.example", "example.com", "[fd00::1]", "notlocalhost", ""] {
            assert!(!is_this_machine(host), "{host}");
        }
    }
}
