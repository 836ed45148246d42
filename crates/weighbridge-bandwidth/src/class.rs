//! The classes of bytes, and the peers among whom a class is shared.

use std::{
    net::{IpAddr, Ipv6Addr},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
};

/// The reason why bytes are moved, which decides whose go first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Class {
    /// Somebody waits for these bytes.
    Awaited,
    /// The rest of what somebody waits for.
    Rest,
    /// Bytes that peers are given.
    Peers,
    /// Bytes that nobody has asked for yet.
    Prefetch,
}

impl Class {
    /// All classes, the first one first.
    pub const ALL: [Self; 4] = [Self::Awaited, Self::Rest, Self::Peers, Self::Prefetch];

    /// The classes above this one.
    pub(crate) fn above(self) -> impl Iterator<Item = Self> {
        Self::ALL.into_iter().take_while(move |class| *class < self)
    }
}

/// A value for each class.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct ByClass<T>([T; 4]);

impl<T> ByClass<T> {
    pub(crate) fn of(&self, class: Class) -> &T {
        let [awaited, rest, peers, prefetch] = &self.0;
        match class {
            Class::Awaited => awaited,
            Class::Rest => rest,
            Class::Peers => peers,
            Class::Prefetch => prefetch,
        }
    }

    pub(crate) fn of_mut(&mut self, class: Class) -> &mut T {
        let [awaited, rest, peers, prefetch] = &mut self.0;
        match class {
            Class::Awaited => awaited,
            Class::Rest => rest,
            Class::Peers => peers,
            Class::Prefetch => prefetch,
        }
    }
}

/// A party among whom the bytes of a class are shared equally.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Peer(Id);

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Id {
    Number(u64),
    Address(IpAddr),
    Name(Arc<str>),
    Key([u8; 32]),
}

impl Peer {
    /// A party that is none of the others.
    #[must_use]
    pub fn unique() -> Self {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        Self(Id::Number(NEXT.fetch_add(1, Relaxed)))
    }

    /// The party at an address. One IPv6 network of 64 bits is one party, since a host may have all addresses of it.
    #[must_use]
    pub fn at(address: IpAddr) -> Self {
        Self(Id::Address(match address.to_canonical() {
            IpAddr::V6(address) => {
                let [a, b, c, d, ..] = address.segments();
                Ipv6Addr::new(a, b, c, d, 0, 0, 0, 0).into()
            }
            address => address,
        }))
    }

    /// The party of a name.
    #[must_use]
    pub fn named(name: Arc<str>) -> Self {
        Self(Id::Name(name))
    }

    /// The party that has a key.
    #[must_use]
    pub fn with_key(key: [u8; 32]) -> Self {
        Self(Id::Key(key))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_network_of_one_host_is_one_peer_and_other_hosts_are_others() {
        let at = |address: &str| Peer::at(address.parse().unwrap());
        assert_eq!(at("2001:db8::1"), at("2001:db8::ffff:1:2:3"));
        assert_ne!(at("2001:db8::1"), at("2001:db8:0:1::1"));
        assert_eq!(at("10.0.0.1"), at("::ffff:10.0.0.1"));
        assert_ne!(at("10.0.0.1"), at("10.0.0.2"));
        assert_ne!(Peer::unique(), Peer::unique());
        assert_ne!(Peer::named("10.0.0.1".into()), at("10.0.0.1"));
        assert_ne!(Peer::with_key([1; 32]), Peer::with_key([2; 32]));
    }

    #[test]
    fn the_classes_above_are_those_that_go_first() {
        assert_eq!(Class::Awaited.above().count(), 0);
        assert!(Class::Prefetch.above().eq([Class::Awaited, Class::Rest, Class::Peers]));
    }
}
