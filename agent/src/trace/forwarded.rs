//! What a proxy says about the request that it forwards: `Forwarded` (RFC 7239), otherwise
//! `X-Forwarded-For`, `-Proto` and `-Host`.
//!
//! Anyone can send these fields, so they are trusted only from peers in trusted networks. Each
//! proxy appends the address from which it received the request. So the list is read from its end:
//! the first address that is not a trusted proxy is the client, and everything before it may be
//! invented by the client. Scheme and host are those that the proxy next to the client saw.

use std::{
    borrow::Cow,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
};

use compact_str::CompactString;
use serde::{Deserialize, Serialize};

/// The fields, in lower case.
pub(crate) const FIELDS: [&str; 4] =
    ["forwarded", "x-forwarded-for", "x-forwarded-host", "x-forwarded-proto"];
/// Proxies on the path of one request. A longer list is ignored.
const PROXIES: usize = 32;

/// The networks whose peers are trusted. Event logs hold them as a list of texts.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "Vec<String>", into = "Vec<String>")]
pub struct Forwarded {
    networks: Vec<Network>,
}

impl Default for Forwarded {
    /// Loopback and private networks, where one's own proxies are.
    fn default() -> Self {
        Self { networks: PRIVATE.to_vec() }
    }
}

/// A network in CIDR notation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Network {
    address: IpAddr,
    prefix: u8,
}

/// Loopback; RFC 1918, RFC 6598 (shared address space), RFC 4193; link-local.
const PRIVATE: [Network; 9] = [
    Network::v4([127, 0, 0, 0], 8),
    Network::v4([10, 0, 0, 0], 8),
    Network::v4([172, 16, 0, 0], 12),
    Network::v4([192, 168, 0, 0], 16),
    Network::v4([100, 64, 0, 0], 10),
    Network::v4([169, 254, 0, 0], 16),
    Network::v6([0, 0, 0, 0, 0, 0, 0, 1], 128),
    Network::v6([0xfc00, 0, 0, 0, 0, 0, 0, 0], 7),
    Network::v6([0xfe80, 0, 0, 0, 0, 0, 0, 0], 10),
];
const ALL: [Network; 2] = [Network::v4([0; 4], 0), Network::v6([0; 8], 0)];

impl Network {
    const fn v4([a, b, c, d]: [u8; 4], prefix: u8) -> Self {
        Self { address: IpAddr::V4(Ipv4Addr::new(a, b, c, d)), prefix }
    }

    const fn v6([a, b, c, d, e, f, g, h]: [u16; 8], prefix: u8) -> Self {
        Self { address: IpAddr::V6(Ipv6Addr::new(a, b, c, d, e, f, g, h)), prefix }
    }

    /// `10.0.0.0/8`, or an address alone.
    fn parse(text: &str) -> Option<Self> {
        let (address, prefix) = match text.split_once('/') {
            Some((address, prefix)) => (address, Some(prefix.parse().ok()?)),
            None => (text, None),
        };
        let address: IpAddr = address.parse().ok()?;
        let most = if address.is_ipv4() { 32 } else { 128 };
        let prefix = prefix.unwrap_or(most);
        (prefix <= most).then_some(Self { address, prefix })
    }

    fn contains(&self, address: IpAddr) -> bool {
        let (own, other, width) = match (self.address, address) {
            (IpAddr::V4(own), IpAddr::V4(other)) => (u32::from(own).into(), u32::from(other).into(), 32),
            (IpAddr::V6(own), IpAddr::V6(other)) => (u128::from(own), u128::from(other), 128),
            _ => return false,
        };
        (own ^ other).checked_shr(width - u32::from(self.prefix)).unwrap_or(0) == 0
    }
}

/// What a proxy says about the client.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Client {
    Known(IpAddr, Option<u16>),
    /// The proxy hides the client (`unknown`, `_hidden`).
    Hidden,
}

/// What a proxy says about a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Claims<'a> {
    pub(super) client: Option<Client>,
    pub(super) scheme: Option<&'static str>,
    /// A host, with or without a port.
    pub(super) host: Option<&'a str>,
    /// A field was present but could not be parsed.
    pub(super) malformed: bool,
}

impl Forwarded {
    /// Trusts nobody.
    #[must_use]
    pub const fn none() -> Self {
        Self { networks: Vec::new() }
    }

    /// Parses `private`, `all`, `none` (which adds nothing) and networks in CIDR notation.
    ///
    /// # Errors
    /// The text that is none of these.
    pub fn parse<'a>(texts: impl IntoIterator<Item = &'a str>) -> Result<Self, &'a str> {
        let mut networks = Vec::new();
        for text in texts {
            match text {
                "private" => networks.extend(PRIVATE),
                "all" => networks.extend(ALL),
                "none" => {}
                _ => networks.push(Network::parse(text).ok_or(text)?),
            }
        }
        Ok(Self { networks })
    }

    /// Whether any network is trusted.
    #[must_use]
    pub const fn trusts_any(&self) -> bool {
        !self.networks.is_empty()
    }

    fn trusts(&self, address: IpAddr) -> bool {
        let address = address.to_canonical();
        self.networks.iter().any(|network| network.contains(address))
    }

    /// What `peer` says. `None` if it says nothing or is not trusted.
    pub(super) fn claims<'a>(
        &self,
        peer: IpAddr,
        fields: &'a [(CompactString, Cow<'a, str>)],
    ) -> Option<Claims<'a>> {
        if !fields.iter().any(|(name, _)| FIELDS.contains(&name.as_str())) || !self.trusts(peer) {
            return None;
        }
        let of = |wanted: &'static str| {
            fields.iter().filter(move |(name, _)| name == wanted).map(|(_, value)| &**value)
        };
        let mut malformed = false;
        if of(FIELDS[0]).next().is_some() {
            match self.standard(of(FIELDS[0])) {
                Some(claims) => return Some(claims),
                None => malformed = true,
            }
        }
        let claims = self.customary(of(FIELDS[1]), of(FIELDS[2]), of(FIELDS[3]));
        Some(Claims { malformed: malformed || claims.malformed, ..claims })
    }

    /// Parses `Forwarded`. `None` if a line does not follow RFC 7239 section 4.
    fn standard<'a>(&self, lines: impl Iterator<Item = &'a str>) -> Option<Claims<'a>> {
        let mut elements = Vec::new();
        for line in lines {
            for element in split(line, b',')? {
                elements.push(Element::parse(element)?);
            }
        }
        if elements.is_empty() || elements.len() > PROXIES {
            return None;
        }
        let is_proxy = |element: &Element<'_>| match element.node {
            Some(Client::Known(address, _)) => self.trusts(address),
            _ => false,
        };
        let client = elements.iter().rposition(|element| !is_proxy(element)).unwrap_or(0);
        // If a proxy says nothing about scheme or host, the next one does.
        let from = &elements[client..];
        Some(Claims {
            client: elements[client].node,
            scheme: from.iter().find_map(|element| element.scheme),
            host: from.iter().find_map(|element| element.host),
            malformed: false,
        })
    }

    /// Parses `X-Forwarded-*`. They have no specification; each is a list, or one value that every
    /// proxy keeps or replaces.
    fn customary<'a>(
        &self,
        addresses: impl Iterator<Item = &'a str>,
        hosts: impl Iterator<Item = &'a str>,
        schemes: impl Iterator<Item = &'a str>,
    ) -> Claims<'a> {
        let mut claims = Claims::default();
        let mut hops = 0;
        for text in list(addresses).iter().rev().take(PROXIES) {
            let Some(node) = node(text) else {
                claims.client = None;
                claims.malformed = true;
                break;
            };
            claims.client = Some(node);
            match node {
                Client::Known(address, _) if self.trusts(address) => hops += 1,
                _ => break,
            }
        }
        // If all addresses of the list are trusted, the first one is the client.
        let met = |values: Vec<&'a str>| {
            let last = values.len().checked_sub(1)?;
            Some(values[last.saturating_sub(hops)])
        };
        let (scheme, host) = (met(list(schemes)), met(list(hosts)));
        claims.scheme = scheme.and_then(known_scheme);
        claims.host = host.filter(|host| is_host(host));
        claims.malformed |=
            scheme.is_some() && claims.scheme.is_none() || host.is_some() && claims.host.is_none();
        claims
    }
}

impl TryFrom<Vec<String>> for Forwarded {
    type Error = String;

    fn try_from(texts: Vec<String>) -> Result<Self, String> {
        Self::parse(texts.iter().map(String::as_str)).map_err(|text| format!("{text:?} is no network"))
    }
}

impl From<Forwarded> for Vec<String> {
    fn from(forwarded: Forwarded) -> Self {
        let text = |Network { address, prefix }: Network| format!("{address}/{prefix}");
        forwarded.networks.into_iter().map(text).collect()
    }
}

/// The values of a list that may span several lines. Empty values are ignored (RFC 9110 section
/// 5.6.1).
fn list<'a>(lines: impl Iterator<Item = &'a str>) -> Vec<&'a str> {
    lines.flat_map(|line| line.split(',')).map(str::trim).filter(|text| !text.is_empty()).collect()
}

/// What one proxy says in `Forwarded`.
#[derive(Debug, Default)]
struct Element<'a> {
    node: Option<Client>,
    scheme: Option<&'static str>,
    host: Option<&'a str>,
}

impl<'a> Element<'a> {
    fn parse(text: &'a str) -> Option<Self> {
        let mut element = Self::default();
        for pair in split(text, b';')? {
            if pair.trim().is_empty() {
                continue;
            }
            let (name, value) = pair.split_once('=')?;
            // Each parameter may occur once. Other parameters are ignored.
            match name.trim().to_ascii_lowercase().as_str() {
                "for" if element.node.is_none() => element.node = Some(node(unquoted(value)?)?),
                "proto" if element.scheme.is_none() => {
                    element.scheme = Some(known_scheme(unquoted(value)?)?);
                }
                "host" if element.host.is_none() => {
                    element.host = Some(unquoted(value).filter(|host| is_host(host))?);
                }
                "for" | "proto" | "host" => return None,
                _ => {}
            }
        }
        Some(element)
    }
}

/// Splits at a separator outside of quoted strings. `None` if a quote is not closed.
fn split(text: &str, separator: u8) -> Option<Vec<&str>> {
    let mut parts = Vec::new();
    let (mut start, mut quoted, mut escaped) = (0, false, false);
    for (at, byte) in text.bytes().enumerate() {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if quoted => escaped = true,
            b'"' => quoted = !quoted,
            _ if byte == separator && !quoted => {
                parts.push(&text[start..at]);
                start = at + 1;
            }
            _ => {}
        }
    }
    if quoted {
        return None;
    }
    parts.push(&text[start..]);
    parts.retain(|part| !part.trim().is_empty());
    Some(parts)
}

/// The text of a token or a quoted string. Nodes and hosts need no escapes, so a text with escapes
/// is rejected.
fn unquoted(text: &str) -> Option<&str> {
    let text = text.trim();
    match text.strip_prefix('"') {
        Some(rest) => rest.strip_suffix('"').filter(|inner| !inner.contains(['"', '\\'])),
        None => (!text.is_empty() && !text.contains(['"', ' ', '\t'])).then_some(text),
    }
}

/// An address with or without a port, or a placeholder for a hidden one (RFC 7239 section 6).
fn node(text: &str) -> Option<Client> {
    if text.eq_ignore_ascii_case("unknown") || text.starts_with('_') {
        return Some(Client::Hidden);
    }
    if let Some((address, rest)) = text.strip_prefix('[').and_then(|text| text.split_once(']')) {
        let address: Ipv6Addr = address.parse().ok()?;
        return Some(Client::Known(IpAddr::V6(address).to_canonical(), port(rest)?));
    }
    if let Ok(address) = text.parse::<IpAddr>() {
        return Some(Client::Known(address.to_canonical(), None));
    }
    let (address, _) = text.split_once(':')?;
    Some(Client::Known(IpAddr::V4(address.parse().ok()?), port(&text[address.len()..])?))
}

/// `:8080`, nothing, or a hidden port (`:_hidden`). `None` if it is none of these.
fn port(text: &str) -> Option<Option<u16>> {
    let Some(port) = text.strip_prefix(':') else { return text.is_empty().then_some(None) };
    if port.starts_with('_') {
        return Some(None);
    }
    port.parse().ok().filter(|port| *port != 0).map(Some)
}

fn known_scheme(text: &str) -> Option<&'static str> {
    match text.to_ascii_lowercase().as_str() {
        "http" | "ws" => Some("http"),
        "https" | "wss" => Some("https"),
        _ => None,
    }
}

/// Whether the text looks like a host with or without a port: no blanks, and no other parts of a
/// URL.
fn is_host(text: &str) -> bool {
    !text.is_empty()
        && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-._~:[]%!$&'()*+;=".contains(&byte))
}

#[cfg(test)]
#[path = "forwarded_tests.rs"]
mod tests;
