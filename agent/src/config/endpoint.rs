//! What an OTLP endpoint must look like in the file (RFC 3986: scheme, host, port, perhaps a path).

/// Why the text is no endpoint.
pub(crate) fn check(text: &str, grpc: bool) -> Result<(), &'static str> {
    let rest = text.strip_prefix("http://").or_else(|| text.strip_prefix("https://"));
    let Some(rest) = rest else { return Err("a URL that begins with http:// or https://") };
    if text.contains(|c: char| {
        !c.is_ascii_graphic() || matches!(c, '"' | '<' | '>' | '\\' | '^' | '`' | '{' | '|' | '}')
    }) {
        return Err("a URL without spaces and special characters");
    }
    if text.contains(['?', '#']) {
        return Err("a URL without query and fragment");
    }
    let (authority, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
    if authority.contains('@') {
        return Err("a URL without user and password; credentials go into headers");
    }
    if !matches!(path, "" | "/") && grpc {
        return Err("a URL without a path, as the protocol is grpc");
    }
    // An IPv6 address stands in brackets, so the port is what follows them.
    let (host, after) = match authority.strip_prefix('[').and_then(|inner| inner.split_once(']')) {
        Some((address, after)) if address.parse::<std::net::Ipv6Addr>().is_ok() => (address, after),
        Some(_) => return Err("a URL with an IPv6 address in the brackets"),
        None => authority.split_at(authority.find(':').unwrap_or(authority.len())),
    };
    if host.is_empty() || host.contains(['[', ']']) {
        return Err("a URL with a host");
    }
    match after.strip_prefix(':') {
        None if after.is_empty() => Ok(()),
        Some(port) if port.parse::<u16>().is_ok_and(|port| port != 0) => Ok(()),
        _ => Err("a URL with a port from 1 to 65535"),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn endpoints() {
        for (text, fits_grpc, fits_http) in [
            ("http://127.0.0.1:4317", true, true),
            ("https://collector.example:4317/", true, true),
            ("http://[::1]:4317", true, true),
            ("http://c", true, true),
            ("http://c:4318/otlp", false, true),
            ("127.0.0.1:4317", false, false),
            ("grpc://c:4317", false, false),
            ("http://", false, false),
            ("http://:4317", false, false),
            ("http://c:0", false, false),
            ("http://c:65536", false, false),
            ("http://c:x", false, false),
            ("http://joe:pw@c:1", false, false),
            ("http://a b", false, false),
            ("http://c/?x", false, false),
            ("http://[::1", false, false),
            ("http://[zz]:1", false, false),
            ("http://[::1]x", false, false),
        ] {
            assert_eq!(check(text, true).is_ok(), fits_grpc, "{text}");
            assert_eq!(check(text, false).is_ok(), fits_http, "{text}");
        }
    }

    proptest! {
        #[test]
        fn any_text_is_answered(text in "(https?://)?.{0,30}") {
            let _ = check(&text, true);
        }
    }
}
