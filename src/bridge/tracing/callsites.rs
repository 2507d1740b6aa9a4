//! What is known of the program's callsites: their target's logger, their level, whether they have fields of
//! OpenTelemetry's. Hot: a look-up by address that takes no lock. Grows with the program's text, up to a cap.

use crate::instance::Instance;
use crate::lane::local;
use crate::level::Level;
use crate::log::Logger;
use crate::sync::Arc;
use std::sync::OnceLock;
use tracing_core::Metadata;

/// Places in each part of the table; a part is made when those before it are crowded. Callsites beyond the last are
/// looked at anew each time.
const PARTS: [usize; 3] = [256, 2_048, 16_384];
/// Places that are tried in each.
const TRIES: usize = 8;

#[derive(Debug)]
pub(super) struct Known {
    pub(super) metadata: &'static Metadata<'static>,
    pub(super) logger: Logger,
    pub(super) level: Level,
    /// Whether there are fields that say what the span is: see [`OTEL`].
    pub(super) is_special: bool,
    /// Its number among the callsites.
    pub(super) number: u32,
}

/// What the names of fields begin with that are no attributes.
pub(super) const OTEL: &str = "otel.";
/// The number of those that have no place.
pub(super) const NOWHERE: u32 = u32::MAX;

impl Known {
    fn new(instance: &Arc<Instance>, metadata: &'static Metadata<'static>, number: u32) -> Self {
        Self {
            metadata,
            logger: Logger::new(instance, metadata.target()),
            level: level_of(*metadata.level()),
            is_special: metadata.fields().iter().any(|field| field.name().starts_with(OTEL)),
            number,
        }
    }

    /// Whether its target's level lets it be made now.
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

type Part = Box<[OnceLock<Known>]>;

#[derive(Debug, Default)]
pub(super) struct Callsites {
    parts: [OnceLock<Part>; PARTS.len()],
}

impl Callsites {
    /// Asks `act` what to do with a callsite. `None` in the child of a fork. From within tellane a callsite that has not
    /// been met is looked at without being kept.
    #[inline(always)]
    pub(super) fn with<R>(
        &self,
        instance: &Arc<Instance>,
        metadata: &'static Metadata<'static>,
        act: impl FnOnce(&Known) -> R,
    ) -> Option<R> {
        match self.find(metadata) {
            Some(known) => Some(act(known)),
            None => self.meet(instance, metadata, act),
        }
    }

    /// Whether a callsite is on; `None` if that cannot be said for good now.
    pub(super) fn is_on(
        &self,
        instance: &Arc<Instance>,
        metadata: &'static Metadata<'static>,
    ) -> Option<bool> {
        if let Some(known) = self.find(metadata) {
            return Some(known.is_on());
        }
        if instance.lanes.is_forked() {
            return None;
        }
        // From within tellane a target that has no number yet has the level of the one that stands in.
        local::try_without_recording(|| match self.insert(instance, metadata) {
            Some(known) => known.is_on(),
            None => Known::new(instance, metadata, NOWHERE).is_on(),
        })
    }

    /// The callsite of a number.
    pub(super) fn of(&self, number: u32) -> Option<&Known> {
        let mut place = number as usize;
        for (part, size) in self.parts.iter().zip(PARTS) {
            if place < size {
                return part.get()?.get(place)?.get();
            }
            place -= size;
        }
        None
    }

    /// A callsite that has been met.
    #[inline(always)]
    pub(super) fn find(&self, metadata: &Metadata<'_>) -> Option<&Known> {
        for part in &self.parts {
            let part = part.get()?;
            for place in places(metadata, part.len()) {
                match part[place].get() {
                    Some(known) if is_same(known.metadata, metadata) => return Some(known),
                    Some(_) => {}
                    None => return None,
                }
            }
        }
        None
    }

    #[cold]
    #[inline(never)]
    fn meet<R>(
        &self,
        instance: &Arc<Instance>,
        metadata: &'static Metadata<'static>,
        act: impl FnOnce(&Known) -> R,
    ) -> Option<R> {
        if instance.lanes.is_forked() {
            return None; // a lock may be held by a thread that is not there
        }
        // From within tellane a place may be half made further up this stack: the table is left alone.
        let there = local::try_without_recording(|| self.insert(instance, metadata)).flatten();
        Some(match there {
            Some(known) => act(known),
            None => act(&Known::new(instance, metadata, NOWHERE)), // takes locks where it may
        })
    }

    fn insert(&self, instance: &Arc<Instance>, metadata: &'static Metadata<'static>) -> Option<&Known> {
        let mut before = 0;
        for (part, size) in self.parts.iter().zip(PARTS) {
            let part = part.get_or_init(|| (0..size).map(|_| OnceLock::new()).collect());
            for place in places(metadata, size) {
                let number = (before + place) as u32;
                let known = part[place].get_or_init(|| Known::new(instance, metadata, number));
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

/// Where to look, one after the other. The multiplication spreads neighbouring statics (Knuth's golden ratio).
#[inline(always)]
fn places(metadata: &Metadata<'_>, size: usize) -> impl Iterator<Item = usize> + use<> {
    let first = ((address(metadata) as u64).wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 40) as usize;
    (first..first + TRIES).map(move |place| place & (size - 1))
}
