//! Parses a `baggage` header, value by value, within the limits. Called once per request.

use super::grammar::{decode, is_octets, is_token, properties, push};
use super::{Baggage, BaggageMember, Store};
use crate::context::members::{Budget, members, trim};

#[derive(Debug, Default)]
pub(in crate::context) struct BaggageReader {
    budget: Budget,
    store: Store,
    dropped: u32,
    scratch: Scratch,
}

/// Buffers that are reused for each member, to save allocations.
#[derive(Debug, Default)]
struct Scratch {
    key: String,
    value: Vec<u8>,
    metadata: String,
}

impl BaggageReader {
    pub(in crate::context) fn value(&mut self, value: &[u8]) {
        let room = self.budget.admit(value.len()).unwrap_or(0);
        let seen = &value[..room];
        // If the limit cuts a member in two, the member is left out.
        let whole = match value.get(room) {
            None | Some(b',') => seen,
            Some(_) => {
                let cut = seen.iter().rposition(|&byte| byte == b',').unwrap_or(0);
                &seen[..cut]
            }
        };
        members(whole).for_each(|member| self.member(member));
        if room < value.len() {
            self.dropped = self.dropped.saturating_add(1);
        }
    }

    fn member(&mut self, member: &[u8]) {
        let before = self.store.ranges.len();
        if self.insert(member).is_none() {
            self.dropped = self.dropped.saturating_add(1);
        } else if self.store.ranges.len() == before {
            self.dropped = self.dropped.saturating_add(1); // it replaced another with the same key
        }
    }

    /// Parses and stores a member. `None` if it is malformed or does not fit.
    fn insert(&mut self, member: &[u8]) -> Option<()> {
        let Scratch { key, value, metadata } = &mut self.scratch;
        key.clear();
        value.clear();
        metadata.clear();
        let (pair, rest) = match member.iter().position(|&byte| byte == b';') {
            Some(end) => (&member[..end], Some(&member[end + 1..])),
            None => (member, None),
        };
        let equals = pair.iter().position(|&byte| byte == b'=')?;
        let (name, coded) = (trim(&pair[..equals]), trim(&pair[equals + 1..]));
        if !is_token(name) || !is_octets(coded) || !rest.is_none_or(|rest| properties(rest, metadata)) {
            return None;
        }
        push(key, name);
        decode(coded, value);
        let value = String::from_utf8_lossy(value);
        self.store.insert(BaggageMember { key, value: &value, metadata }).ok()
    }

    pub(in crate::context) fn finish(self) -> Baggage {
        Baggage::from_store(self.store, self.dropped)
    }
}
