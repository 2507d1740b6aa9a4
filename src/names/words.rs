//! Label texts packed into whole words: each word is loaded once, and hashed and compared in registers. Hot.
//!
//! A text of up to 24 bytes becomes three words and its length, loaded without a loop and with one branch (is the text
//! shorter than a word?). Label values of one name differ in length, so a branch on the length is unpredictable and
//! costs more than all the rest. The loads overlap; words beyond the end of a short text are read as zeros. For each
//! length, different texts have different words. A longer text has its first two words and its last one; the rest is
//! its [`tail`].

use std::hash::{BuildHasher, RandomState};

/// Bytes of a word.
const WORD: usize = 8;

/// The longest text that its three words hold completely.
const SHORT_MAX: usize = 3 * WORD;

/// Zeros, read in place of words beyond the end of a text.
const NOTHING: [u8; WORD] = [0; WORD];

/// A text's words and its length.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Packed {
    words: [u64; 3],
    len: usize,
}

impl Packed {
    /// Returns 0 if both are the same.
    #[inline(always)]
    pub(super) fn difference(&self, other: &Self) -> u64 {
        let words = self.words.iter().zip(&other.words).map(|(mine, theirs)| mine ^ theirs);
        words.fold(self.len as u64 ^ other.len as u64, |all, word| all | word)
    }
}

/// Packs a text of up to seven bytes.
#[inline(always)]
fn short(text: &[u8]) -> u64 {
    let four = u32::from_le_bytes(*text.first_chunk().unwrap_or(&[0; 4]));
    let two = u16::from_le_bytes(*text.last_chunk().unwrap_or(&[0; 2]));
    // The byte after the first four; in a text shorter than four, the first byte.
    let one = *text.get(text.len() & 4).unwrap_or(&0);
    u64::from(four) | (u64::from(two) << 32) | (u64::from(one) << 48)
}

/// Packs a text of at least eight bytes: its first, second and last word.
#[inline(always)]
fn three(text: &[u8]) -> [u64; 3] {
    let second = text.get(WORD..).and_then(<[u8]>::first_chunk);
    let words = [text.first_chunk(), second, text.last_chunk()];
    words.map(|word| u64::from_le_bytes(*word.unwrap_or(&NOTHING)))
}

/// The bytes of a long text after its first two words; empty if the text is not long.
#[inline(always)]
pub(super) fn tail(text: &str) -> &[u8] {
    if text.len() > SHORT_MAX { text.as_bytes().get(2 * WORD..).unwrap_or_default() } else { &[] }
}

/// The secret keys of a table's hash: two random numbers from the system for each table, so that an attacker who
/// chooses label values cannot choose their slots.
///
/// Two words at a time are folded into one by a product, as in wyhash and foldhash. No factor is known to an attacker:
/// each is mixed with a key of this table or with the result of earlier products. So no one can choose a word that
/// makes a product zero regardless of the other factor. Lengths are factors, too, and the hash of a text covers the
/// texts before it.
#[derive(Debug)]
pub(super) struct HashKeys([u64; 2]);

/// Multiplies and folds both halves of the product: every bit of either factor affects every bit of the result.
#[inline(always)]
fn folded(one: u64, other: u64) -> u64 {
    let product = u128::from(one) * u128::from(other);
    product as u64 ^ (product >> 64) as u64
}

impl HashKeys {
    pub(super) fn new() -> Self {
        let system = RandomState::new();
        Self([0, 1].map(|number: u8| system.hash_one(number)))
    }

    /// The hash and the words of the texts; `None` if one of them is long.
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

    /// Like [`pack`](Self::pack), for texts of any length. Long texts take longer.
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
