//! Which addresses are on the public internet (IANA special-purpose registries, RFC 6890 and after).

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Not the public internet, as (network, prefix length).
const INSIDE_V4: [([u8; 4], u32); 16] = [
    ([0, 0, 0, 0], 8),        // this network, unspecified
    ([10, 0, 0, 0], 8),       // private
    ([100, 64, 0, 0], 10),    // carrier-grade NAT; one cloud's metadata
    ([127, 0, 0, 0], 8),      // loopback
    ([168, 63, 129, 16], 32), // a cloud's host agent, on a public-looking address
    ([169, 254, 0, 0], 16),   // link-local, metadata
    ([172, 16, 0, 0], 12),    // private
    ([192, 0, 0, 0], 24),     // protocol assignments
    ([192, 0, 2, 0], 24),     // documentation
    ([192, 88, 99, 0], 24),   // 6to4 relays
    ([192, 168, 0, 0], 16),   // private
    ([198, 18, 0, 0], 15),    // benchmarking
    ([198, 51, 100, 0], 24),  // documentation
    ([203, 0, 113, 0], 24),   // documentation
    ([224, 0, 0, 0], 4),      // multicast
    ([240, 0, 0, 0], 4),      // reserved, broadcast
];

/// Inside 2000::/3, the only global unicast there is, and yet not the public internet.
const INSIDE_V6: [([u16; 3], u32); 4] = [
    ([0x2001, 0, 0], 23),     // protocol assignments: Teredo, ORCHID, benchmarking
    ([0x2001, 0xdb8, 0], 32), // documentation
    ([0x2002, 0, 0], 16),     // 6to4: carries an IPv4 address
    ([0x3fff, 0, 0], 20),     // documentation
];

/// Whether an address is on the public internet.
pub(super) fn is_public(ip: IpAddr) -> bool {
    match ip {
        IpAddr::V4(ip) => !INSIDE_V4.iter().any(|(network, prefix)| same_prefix_v4(ip, Ipv4Addr::from(*network), *prefix)),
        // Everything outside 2000::/3 is refused: loopback, link-local, unique local, multicast, v4-mapped,
        // v4-compatible and NAT64 addresses all are.
        IpAddr::V6(ip) => {
            same_prefix_v6(ip, Ipv6Addr::new(0x2000, 0, 0, 0, 0, 0, 0, 0), 3)
                && !INSIDE_V6.iter().any(|([a, b, c], prefix)| same_prefix_v6(ip, Ipv6Addr::new(*a, *b, *c, 0, 0, 0, 0, 0), *prefix))
        }
    }
}

/// Whether both begin with the same `prefix` bits.
pub(super) fn same_prefix_v4(a: Ipv4Addr, b: Ipv4Addr, prefix: u32) -> bool {
    prefix == 0 || (a.to_bits() ^ b.to_bits()) >> (32 - prefix.min(32)) == 0
}

/// Whether both begin with the same `prefix` bits.
pub(super) fn same_prefix_v6(a: Ipv6Addr, b: Ipv6Addr, prefix: u32) -> bool {
    prefix == 0 || (a.to_bits() ^ b.to_bits()) >> (128 - prefix.min(128)) == 0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_edges_of_every_block_are_inside_and_their_neighbours_public() {
        for (network, prefix) in INSIDE_V4 {
            let low = Ipv4Addr::from(network).to_bits();
            let high = low | u32::MAX.checked_shr(prefix).unwrap_or(0);
            for ip in [low, high] {
                assert!(!is_public(Ipv4Addr::from(ip).into()), "{}", Ipv4Addr::from(ip));
            }
        }
        for public in
            ["1.1.1.1", "9.255.255.255", "11.0.0.0", "100.63.255.255", "100.128.0.0", "126.255.255.255", "128.0.0.0", "168.63.129.17"]
        {
            assert!(is_public(public.parse().expect("an address")), "{public}");
        }
        for public in [
            "172.15.255.255",
            "172.32.0.0",
            "192.0.1.0",
            "192.167.255.255",
            "192.169.0.0",
            "198.17.255.255",
            "198.20.0.0",
            "223.255.255.255",
        ] {
            assert!(is_public(public.parse().expect("an address")), "{public}");
        }
    }

    #[test]
    fn only_plain_global_unicast_of_ipv6_is_public() {
        let inside = ":: ::1 ::127.0.0.1 ::ffff:127.0.0.1 ::ffff:8.8.8.8 64:ff9b::7f00:1 64:ff9b:1::1 100::1 2001::1 2001:0:5ef5:79fd::1 2001:2::1 \
             2001:10::1 2001:20::1 2001:1ff:ffff::1 2001:db8::1 2002:7f00:1:: 2002:808:808::1 3fff::1 3fff:fff::1 4000::1 5f00::1 fc00::1 \
             fd00:ec2::254 fe80::1 fec0::1 ff02::1";
        for ip in inside.split_whitespace() {
            assert!(!is_public(ip.parse().expect("an address")), "{ip}");
        }
        for ip in ["2001:200::1", "2001:4860:4860::8888", "2606:4700::1111", "2a00:1450::1", "2003::1", "3ffe::1", "2400:cb00::1"] {
            assert!(is_public(ip.parse().expect("an address")), "{ip}");
        }
    }
}
