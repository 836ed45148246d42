//! The places of members that have come in.

use std::{collections::BTreeMap, net::IpAddr, sync::Arc};

use crate::{channel::Purpose, swarm::Member};

/// The most channels of members that have connected, for news and for requests each, and of one address.
const MOST_CHANNELS: usize = 32;
const MOST_OF_ADDRESS: usize = 16;
/// The most of one block of addresses in an open swarm.
const MOST_OF_BLOCK: usize = 4;

/// The members that have come in, by what for.
#[derive(Debug, Default)]
pub(crate) struct Inside {
    news: usize,
    requests: usize,
    of_address: BTreeMap<(IpAddr, bool), usize>,
}

/// The place of a member that has come in.
pub(crate) struct Place {
    member: Arc<Member>,
    from: IpAddr,
    is_news: bool,
}

impl Place {
    /// Takes a place, if there is one.
    pub(crate) fn take(member: &Arc<Member>, from: IpAddr, purpose: Purpose) -> Option<Self> {
        let from = member.counted(from);
        let most_of_address = if member.ticket.is_open() { MOST_OF_BLOCK } else { MOST_OF_ADDRESS };
        let is_news = purpose == Purpose::News;
        let Inside { news, requests, of_address } = &mut member.state().inside;
        let all = if is_news { news } else { requests };
        let of_address = of_address.entry((from, is_news)).or_default();
        if *all >= MOST_CHANNELS || *of_address >= most_of_address {
            return None;
        }
        *all = all.saturating_add(1);
        *of_address = of_address.saturating_add(1);
        Some(Self { member: Arc::clone(member), from, is_news })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let Inside { news, requests, of_address } = &mut self.member.state().inside;
        let all = if self.is_news { news } else { requests };
        *all = all.saturating_sub(1);
        if let Some(count) = of_address.get_mut(&(self.from, self.is_news)) {
            *count = count.saturating_sub(1);
        }
        of_address.retain(|_, count| *count > 0);
    }
}
