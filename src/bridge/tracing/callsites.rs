//! Table of the program's callsites: the logger of their target, their level, and if they have OpenTelemetry fields.
//! Hot: a lookup by address that takes no lock. Grows with the number of callsites in the program, up to a cap.

use crate::instance::Instance;
use crate::lane::local;
use crate::level::Level;
use crate::log::Logger;
use crate::sync::Arc;
use std::sync::OnceLock;
use tracing_core::Metadata;

/// Entries in each part of the table. A part is allocated when the earlier parts are crowded. Callsites that do not fit
/// the last part are evaluated again at each call.
const PARTS: [usize; 3] = [256, 2_048, 16_384];
/// Entries that a lookup probes in each part.
const TRIES: usize = 8;

/// Cached properties of one callsite.
#[derive(Debug)]
pub(super) struct CallsiteEntry {
    pub(super) metadata: &'static Metadata<'static>,
    pub(super) logger: Logger,
    pub(super) level: Level,
    /// Set if the callsite has fields that configure the span, such as `otel.name`: see [`OTEL`].
    pub(super) is_special: bool,
    /// Index of this entry in the table.
    pub(super) number: u32,
}

/// Prefix of the names of fields that are not attributes but configure the span.
pub(super) const OTEL: &str = "otel.";
/// The number of a callsite that is not in the table.
pub(super) const UNCACHED: u32 = u32::MAX;

impl CallsiteEntry {
    fn new(instance: &Arc<Instance>, metadata: &'static Metadata<'static>, number: u32) -> Self {
        Self {
            metadata,
            logger: Logger::new(instance, metadata.target()),
            level: level_of(*metadata.level()),
            is_special: metadata.fields().iter().any(|field| field.name().starts_with(OTEL)),
            number,
        }
    }

    /// Returns `true` if the target's level enables the callsite now.
    #[inline(always)]
    pub(super) fn is_on(&self) -> bool {
        self.logger.enabled(self.level)
    }
}

pub(super) fn level_of(level: tracing_core::Level) -> Level {
    match level {
        tracing_core::Level::TRACE => Level::Trace,
        tracing_core::Level::DEBUG => Level::Debug,
        tracing_core::Level::INFO => Level::Info,
        tracing_core::Level::WARN => Level::Warn,
        tracing_core::Level::ERROR => Level::Error,
    }
}

type TablePart = Box<[OnceLock<CallsiteEntry>]>;

/// Table of callsites by the address of their metadata. Entries are never removed.
#[derive(Debug, Default)]
pub(super) struct Callsites {
    parts: [OnceLock<TablePart>; PARTS.len()],
}

impl Callsites {
    /// Runs `act` with the entry of a callsite. `None` in a forked child. From within tellane, a callsite that is not
    /// in the table is evaluated without being added.
    #[inline(always)]
    pub(super) fn with<R>(
        &self,
        instance: &Arc<Instance>,
        metadata: &'static Metadata<'static>,
        act: impl FnOnce(&CallsiteEntry) -> R,
    ) -> Option<R> {
        match self.get(metadata) {
            Some(known) => Some(act(known)),
            None => self.with_slow(instance, metadata, act),
        }
    }

    /// Returns `true` if a callsite is enabled; `None` if the answer must not be cached: from within tellane, or in a
    /// forked child.
    pub(super) fn is_on(
        &self,
        instance: &Arc<Instance>,
        metadata: &'static Metadata<'static>,
    ) -> Option<bool> {
        if let Some(known) = self.get(metadata) {
            return Some(known.is_on());
        }
        if instance.lanes.is_forked() {
            return None;
        }
        // From within tellane, a target that is not registered yet would get the level of its stand-in.
        local::try_without_recording(|| match self.insert(instance, metadata) {
            Some(known) => known.is_on(),
            None => CallsiteEntry::new(instance, metadata, UNCACHED).is_on(),
        })
    }

    /// The entry of a number.
    pub(super) fn by_number(&self, number: u32) -> Option<&CallsiteEntry> {
        let mut index = number as usize;
        for (part, size) in self.parts.iter().zip(PARTS) {
            if index < size {
                return part.get()?.get(index)?.get();
            }
            index -= size;
        }
        None
    }

    /// The entry of a callsite, if it is in the table.
    #[inline(always)]
    pub(super) fn get(&self, metadata: &Metadata<'_>) -> Option<&CallsiteEntry> {
        for part in &self.parts {
            let part = part.get()?;
            for index in probe_sequence(metadata, part.len()) {
                match part[index].get() {
                    Some(known) if is_same(known.metadata, metadata) => return Some(known),
                    Some(_) => {}
                    None => return None,
                }
            }
        }
        None
    }

    /// Slow path of [`with`](Self::with): adds the callsite to the table.
    #[cold]
    #[inline(never)]
    fn with_slow<R>(
        &self,
        instance: &Arc<Instance>,
        metadata: &'static Metadata<'static>,
        act: impl FnOnce(&CallsiteEntry) -> R,
    ) -> Option<R> {
        if instance.lanes.is_forked() {
            return None; // a lock may be held by a thread that does not exist in the child
        }
        // From within tellane, a caller further up this stack may be initialising an entry, so the table is not
        // touched.
        let cached = local::try_without_recording(|| self.insert(instance, metadata)).flatten();
        Some(match cached {
            Some(known) => act(known),
            None => act(&CallsiteEntry::new(instance, metadata, UNCACHED)), // takes locks only where that is safe
        })
    }

    fn insert(
        &self,
        instance: &Arc<Instance>,
        metadata: &'static Metadata<'static>,
    ) -> Option<&CallsiteEntry> {
        let mut before = 0;
        for (part, size) in self.parts.iter().zip(PARTS) {
            let part = part.get_or_init(|| (0..size).map(|_| OnceLock::new()).collect());
            for index in probe_sequence(metadata, size) {
                let number = (before + index) as u32;
                let known = part[index].get_or_init(|| CallsiteEntry::new(instance, metadata, number));
                if is_same(known.metadata, metadata) {
                    return Some(known);
                }
            }
            before += size;
        }
        None
    }
}

#[inline(always)]
fn is_same(one: &Metadata<'_>, other: &Metadata<'_>) -> bool {
    address(one) == address(other)
}

#[inline(always)]
fn address(metadata: &Metadata<'_>) -> usize {
    std::ptr::from_ref(metadata) as usize
}

/// Indices to probe, in order. The multiplication spreads neighbouring statics (Knuth's golden ratio).
#[inline(always)]
fn probe_sequence(metadata: &Metadata<'_>, size: usize) -> impl Iterator<Item = usize> + use<> {
    let first = ((address(metadata) as u64).wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 40) as usize;
    (first..first + TRIES).map(move |index| index & (size - 1))
}
