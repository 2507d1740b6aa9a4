//! Text that cannot do harm in a line. Every format writes every text through this file.

use std::fmt::Write;

/// Whether a character could begin a line, move the cursor, paint, or turn the text around it: C0, DEL and C1
/// controls, U+2028 and U+2029, and the marks, embeddings, overrides and isolates of Unicode's bidirectional algorithm
/// (UAX #9, table 4).
pub(super) fn is_harmful(letter: char) -> bool {
    letter.is_control()
        || matches!(
            letter,
            '\u{2028}' | '\u{2029}' | '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}'
        )
}

fn escape(letter: char, into: &mut String) {
    match letter {
        '\n' => into.push_str("\\n"),
        '\r' => into.push_str("\\r"),
        '\t' => into.push_str("\\t"),
        // All of them have at most four digits. A string takes what is written to it.
        letter => drop(write!(into, "\\u{:04x}", u32::from(letter))),
    }
}

/// As it is, but for what is harmful.
pub(super) fn plain(text: &str, into: &mut String) {
    for letter in text.chars() {
        if is_harmful(letter) { escape(letter, into) } else { into.push(letter) }
    }
}

/// In quotes, as JSON wants it.
pub(super) fn quoted(text: &str, cut: bool, into: &mut String) {
    into.push('"');
    for letter in text.chars() {
        match letter {
            '"' => into.push_str("\\\""),
            '\\' => into.push_str("\\\\"),
            letter if is_harmful(letter) => escape(letter, into),
            letter => into.push(letter),
        }
    }
    if cut {
        into.push('…');
    }
    into.push('"');
}

/// In quotes if it needs them.
pub(super) fn value(text: &str, cut: bool, into: &mut String) {
    let needs =
        |letter: char| letter.is_whitespace() || matches!(letter, '"' | '\\' | '=') || is_harmful(letter);
    if text.is_empty() || text.chars().any(needs) {
        quoted(text, cut, into);
    } else {
        into.push_str(text);
        if cut {
            into.push('…');
        }
    }
}

/// A key: what would end it becomes an underscore.
pub(super) fn key(text: &str, into: &mut String) {
    let ends =
        |letter: char| letter.is_whitespace() || matches!(letter, '"' | '\\' | '=') || is_harmful(letter);
    into.extend(text.chars().map(|letter| if ends(letter) { '_' } else { letter }));
    if text.is_empty() {
        into.push('_');
    }
}
