//! Where an end of a connection is: an IP address with a port, or a unix socket, which has neither.

use std::{
    hash::{Hash, Hasher},
    net::SocketAddr,
    sync::Arc,
};

/// One end of a connection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Endpoint {
    Inet(SocketAddr),
    Unix(UnixAddress),
}

/// The address of a unix socket (unix(7)).
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum UnixAddress {
    /// A path of a file system, not always UTF-8. Never empty, and without zeros.
    Path(Arc<[u8]>),
    /// A name in the abstract namespace, without the zero before it. It may be empty, and hold zeros.
    Abstract(Arc<[u8]>),
    /// The socket is bound to nothing, as mostly those of clients, and both of a socketpair.
    Unnamed,
}

impl Endpoint {
    /// The address and port, unless it is a unix socket.
    #[must_use]
    pub const fn inet(&self) -> Option<SocketAddr> {
        match self {
            Self::Inet(address) => Some(*address),
            Self::Unix(_) => None,
        }
    }

    /// Whether it is a unix socket.
    #[must_use]
    pub const fn is_unix(&self) -> bool {
        matches!(self, Self::Unix(_))
    }

    /// An IPv4 address that an IPv6 socket shows as `::ffff:a.b.c.d` becomes an IPv4 address.
    #[must_use]
    #[inline]
    pub fn to_canonical(&self) -> Self {
        match self {
            Self::Inet(address) => Self::Inet(SocketAddr::new(address.ip().to_canonical(), address.port())),
            Self::Unix(address) => Self::Unix(address.clone()),
        }
    }
}

impl From<SocketAddr> for Endpoint {
    fn from(address: SocketAddr) -> Self {
        Self::Inet(address)
    }
}

/// An address has the hash of its [`SocketAddr`].
impl Hash for Endpoint {
    #[inline]
    fn hash<H: Hasher>(&self, state: &mut H) {
        match self {
            Self::Inet(address) => address.hash(state),
            Self::Unix(address) => address.hash(state),
        }
    }
}

impl UnixAddress {
    /// Most bytes of a path or a name (`sun_path`,
    /// <https://github.com/torvalds/linux/blob/v6.12/include/uapi/linux/un.h>).
    pub const LONGEST: usize = 108;

    /// As /proc/net/unix shows it: a name of the abstract namespace begins with `@`, and each zero
    /// in it is one, too. What is no UTF-8 is replaced. `None` if it is unnamed.
    #[must_use]
    pub fn name(&self) -> Option<String> {
        match self {
            Self::Path(path) => Some(String::from_utf8_lossy(path).into_owned()),
            Self::Abstract(name) => Some(format!("@{}", String::from_utf8_lossy(name)).replace('\0', "@")),
            Self::Unnamed => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_those_of_proc() {
        let name = |address: UnixAddress| address.name();
        assert_eq!(name(UnixAddress::Path((*b"/run/a.sock").into())).as_deref(), Some("/run/a.sock"));
        assert_eq!(name(UnixAddress::Path((*b"/run/\xff").into())).as_deref(), Some("/run/\u{fffd}"));
        assert_eq!(name(UnixAddress::Abstract((*b"bus\0\x01").into())).as_deref(), Some("@bus@\u{1}"));
        assert_eq!(name(UnixAddress::Abstract([].into())).as_deref(), Some("@"));
        assert_eq!(name(UnixAddress::Unnamed), None);
    }

    #[test]
    fn an_end_takes_no_more_room_than_an_address() {
        assert_eq!(size_of::<Endpoint>(), size_of::<SocketAddr>());
        assert_eq!(size_of::<Option<Endpoint>>(), size_of::<SocketAddr>());
    }
}
