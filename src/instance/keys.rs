//! Encoding of attributes: the number of a key and the words of a value. Hot; shared by spans and log records.

use super::list::find;
use crate::lane::{Key, local};
use crate::names::{Attribute, OVERFLOW_KEY};
use crate::record::{Block, Full, Items, KeyedItem, layout};

/// Appends an attribute to the items. A text is cut to `most` characters.
#[inline(always)]
pub(crate) fn push(items: &mut Items, key: u32, value: Attribute<'_>, most: u16) -> Result<(), Full> {
    match value {
        Attribute::Str(text) => items.push_str(key, text, usize::from(most)),
        Attribute::I64(number) => items.push_number(key, layout::TYPE_I64, number as u64),
        Attribute::U64(number) => items.push_number(key, layout::TYPE_U64, number),
        Attribute::F64(number) => items.push_number(key, layout::TYPE_F64, number.to_bits()),
        Attribute::Bool(truth) => items.push_bool(key, truth),
    }
}

/// An attribute for [`Items::put`]. A text is cut to `most` characters.
#[cold]
pub(crate) fn entry(key: u32, value: Attribute<'_>, most: u16) -> KeyedItem<'_> {
    match value {
        Attribute::Str(text) => KeyedItem::text(key, text, usize::from(most)),
        Attribute::I64(number) => KeyedItem::Number { key, kind: layout::TYPE_I64, bits: number as u64 },
        Attribute::U64(number) => KeyedItem::Number { key, kind: layout::TYPE_U64, bits: number },
        Attribute::F64(number) => KeyedItem::Number { key, kind: layout::TYPE_F64, bits: number.to_bits() },
        Attribute::Bool(truth) => KeyedItem::Bool { key, truth },
    }
}

/// The number of an attribute key at the instance of this base. `None` above the cap, or if the key is too long.
#[inline(always)]
pub(crate) fn key_number(base: u64, key: &'static str) -> Option<u32> {
    let known = local::with_lane(base, |local| local.thread_state.keys.get(key, 0)).flatten();
    known.or_else(|| intern_key(base, key))
}

#[cold]
#[inline(never)]
fn intern_key(base: u64, key: &'static str) -> Option<u32> {
    let instance = find(Key(base).instance())?;
    local::attach(&instance.lanes).ok()?;
    // Above the cap all keys share number 0, which is not cached: fast paths would take it for the key's own number.
    let number = Some(instance.names.key(key)).filter(|number| *number != OVERFLOW_KEY)?;
    local::with_lane(base, |local| local.thread_state.keys.insert(key, 0, number))?;
    Some(number)
}

/// A block for more items than a frame holds: one that an earlier record gave back to this thread, or a new one.
#[cold]
#[inline(never)]
pub(crate) fn more_room(base: u64) -> Box<Block> {
    let kept = local::with_lane(base, |local| local.thread_state.blocks.take()).flatten();
    kept.unwrap_or_else(|| local::without_recording(Block::new))
}
