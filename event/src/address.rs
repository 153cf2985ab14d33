//! What the form of an address tells.

use std::net::IpAddr;

/// Whether an address means nothing outside of one machine, network or test (RFC 6890): private, loopback, link-local,
/// multicast, shared by a carrier, of protocols and benchmarks, or kept for the future. An IPv4 address in the clothes of
/// IPv6 is what it is.
///
/// ```
/// assert!(event::is_local_address("::ffff:10.1.2.3".parse().unwrap()));
/// assert!(!event::is_local_address("8.8.8.8".parse().unwrap()));
/// ```
pub fn is_local_address(address: IpAddr) -> bool {
    match address.to_canonical() {
        IpAddr::V4(v4) => {
            let [a, b, c, _] = v4.octets();
            let is_shared = a == 100 && (64..128).contains(&b);
            let is_of_protocols = a == 192 && b == 0 && c == 0;
            let is_benchmark = a == 198 && (b == 18 || b == 19);
            v4.is_private()
                || v4.is_loopback()
                || v4.is_link_local()
                || v4.is_multicast()
                || is_shared
                || is_of_protocols
                || is_benchmark
                || a == 0
                || a >= 240
        }
        IpAddr::V6(v6) => {
            v6.is_loopback()
                || v6.is_unspecified()
                || v6.is_multicast()
                || v6.is_unique_local()
                || v6.is_unicast_link_local()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_of_one_network_are_local() {
        for outside in ["203.0.113.7", "2001:db8::7", "100.128.0.1", "::ffff:203.0.113.7", "192.0.1.1"] {
            assert!(outside.parse().is_ok_and(|address| !is_local_address(address)), "{outside}");
        }
        for inside in [
            "10.1.2.3",
            "192.168.0.1",
            "127.0.0.1",
            "169.254.169.254",
            "100.64.0.1",
            "192.0.0.8",
            "198.19.0.1",
            "0.0.0.0",
            "255.255.255.255",
            "::ffff:10.1.2.3",
            "fd00::1",
            "fe80::1",
            "239.0.0.1",
            "ff02::1",
            "::",
            "::1",
        ] {
            assert!(inside.parse().is_ok_and(is_local_address), "{inside}");
        }
    }
}
