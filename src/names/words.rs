//! Label texts in whole words: each is loaded once, and hashed and compared in registers. Hot.
//!
//! A text of up to 24 bytes is three words and its length, loaded without a loop and with one branch (is it shorter
//! than a word?): label values of one name differ in length, and a branch on it that goes now one way, now the other,
//! costs more than all the rest. Pieces overlap, and what a text is too short for is read from zeros instead. For each
//! length, different texts have different words. Of a longer text the words are the first two and the last one; it goes on
//! in its [`tail`].

use std::hash::{BuildHasher, RandomState};

/// Bytes of a word.
const WORD: usize = 8;

/// The longest text that is words alone.
const SHORT_MAX: usize = 3 * WORD;

/// Where pieces are read from that a text is too short for.
const NOTHING: [u8; WORD] = [0; WORD];

/// A text's words and its length.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Packed {
    words: [u64; 3],
    len: usize,
}

impl Packed {
    /// Zero if both are the same.
    #[inline(always)]
    pub(super) fn difference(&self, other: &Self) -> u64 {
        let words = self.words.iter().zip(&other.words).map(|(mine, theirs)| mine ^ theirs);
        words.fold(self.len as u64 ^ other.len as u64, |all, word| all | word)
    }
}

/// Up to seven bytes.
#[inline(always)]
fn short(text: &[u8]) -> u64 {
    let four = u32::from_le_bytes(*text.first_chunk().unwrap_or(&[0; 4]));
    let two = u16::from_le_bytes(*text.last_chunk().unwrap_or(&[0; 2]));
    let one = *text.get(text.len() & 4).unwrap_or(&0); // the one after the four; the first if there are not so many
    u64::from(four) | (u64::from(two) << 32) | (u64::from(one) << 48)
}

/// Eight bytes at least: the first, the second and the last word.
#[inline(always)]
fn three(text: &[u8]) -> [u64; 3] {
    let second = text.get(WORD..).and_then(<[u8]>::first_chunk);
    let words = [text.first_chunk(), second, text.last_chunk()];
    words.map(|word| u64::from_le_bytes(*word.unwrap_or(&NOTHING)))
}

/// What a long text has beside its first two words; nothing if it is not long.
#[inline(always)]
pub(super) fn tail(text: &str) -> &[u8] {
    if text.len() > SHORT_MAX { text.as_bytes().get(2 * WORD..).unwrap_or_default() } else { &[] }
}

/// What hashes are made with: two numbers from the system's randomness for each table, so that whoever chooses label
/// values cannot choose their places.
///
/// Two words at a time are folded into one by a product, as wyhash and foldhash do it. Here no factor is known from
/// outside: each is mixed with a key of this table or with what such products gave, so nobody can name a word that makes
/// a product zero, whatever the other is. Lengths are factors, too, and what stands before a text is part of its hash.
#[derive(Debug)]
pub(super) struct Keys([u64; 2]);

/// Both halves of the product: every bit of either factor reaches every bit of the result.
#[inline(always)]
fn folded(one: u64, other: u64) -> u64 {
    let product = u128::from(one) * u128::from(other);
    product as u64 ^ (product >> 64) as u64
}

impl Keys {
    pub(super) fn new() -> Self {
        let system = RandomState::new();
        Self([0, 1].map(|number: u8| system.hash_one(number)))
    }

    /// The texts' hash and words; `None` if one of them is long.
    #[inline(always)]
    pub(super) fn pack<const N: usize>(&self, texts: &[&str; N]) -> Option<(u64, [Packed; N])> {
        let Self([mut hash, key]) = *self;
        let mut packed = [Packed::default(); N];
        for (text, packed) in texts.iter().zip(&mut packed) {
            if text.len() > SHORT_MAX {
                return None;
            }
            (hash, *packed) = append(hash, key, text.as_bytes());
        }
        Some((hash, packed))
    }

    /// The same for texts of any length. For long ones it takes longer.
    #[inline(always)]
    pub(super) fn pack_any<const N: usize>(&self, texts: &[&str; N]) -> (u64, [Packed; N]) {
        let Self([mut hash, key]) = *self;
        let mut packed = [Packed::default(); N];
        for (text, packed) in texts.iter().zip(&mut packed) {
            (hash, *packed) = append(hash, key, text.as_bytes());
            let (pieces, _among_the_last) = tail(text).as_chunks();
            for piece in pieces {
                hash = fold_piece(hash, key, piece);
            }
            if let Some(last) = tail(text).first().and(text.as_bytes().last_chunk()) {
                hash = fold_piece(hash, key, last);
            }
        }
        (hash, packed)
    }
}

#[inline(always)]
fn fold_piece(hash: u64, key: u64, piece: &[u8; 2 * WORD]) -> u64 {
    let both = u128::from_le_bytes(*piece);
    folded(both as u64 ^ hash, (both >> 64) as u64 ^ key)
}

#[inline(always)]
fn append(mut hash: u64, key: u64, text: &[u8]) -> (u64, Packed) {
    let len = text.len();
    let words = if len < WORD {
        [0, 0, short(text)]
    } else {
        let words = three(text);
        hash = folded(words[0] ^ hash, words[1] ^ key);
        words
    };
    (folded(words[2] ^ hash, len as u64 ^ key), Packed { words, len })
}
