//! Escapes text from outside the program, so that it cannot forge a line or change how a terminal shows it. Cold. The
//! log formats and the report write every such text through this file; the Prometheus text uses the escapes of its
//! format.

use crate::record::Value;
use std::fmt::{self, Display, Formatter, Write};

/// Returns `true` for a character that could begin a line, move the cursor, change colours, or reverse the text around
/// it: C0, DEL and C1 controls, U+2028 and U+2029, and the marks, embeddings, overrides and isolates of Unicode's
/// bidirectional algorithm (UAX #9, table 4).
pub(super) fn is_harmful(letter: char) -> bool {
    letter.is_control()
        || matches!(
            letter,
            '\u{2028}' | '\u{2029}' | '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}'
        )
}

/// Appends the escape of a harmful character.
fn escape(letter: char, into: &mut String) {
    match letter {
        '\n' => into.push_str("\\n"),
        '\r' => into.push_str("\\r"),
        '\t' => into.push_str("\\t"),
        // All harmful characters have at most four hexadecimal digits. Appending to a string cannot fail.
        letter => drop(write!(into, "\\u{:04x}", u32::from(letter))),
    }
}

/// Appends a text without quotes; only harmful characters are escaped.
pub(super) fn plain(text: &str, into: &mut String) {
    for letter in text.chars() {
        if is_harmful(letter) { escape(letter, into) } else { into.push(letter) }
    }
}

/// Displays a text as [`plain`] appends it.
pub(super) struct Plain<'a>(pub(super) &'a str);

impl Display for Plain<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let mut escaped = String::with_capacity(self.0.len());
        plain(self.0, &mut escaped);
        f.write_str(&escaped)
    }
}

/// Appends an attribute or a field as `key=value`.
pub(super) fn pair(key_text: &str, field: &Value, into: &mut String) {
    key(key_text, into);
    pair_value(field, into);
}

/// Appends the equals sign and the value of a [`pair`].
pub(super) fn pair_value(field: &Value, into: &mut String) {
    into.push('=');
    match field {
        Value::Str(text) => value(text, false, into),
        Value::Cut(text) => value(text, true, into),
        // Appending to a string cannot fail.
        other => drop(write!(into, "{other}")),
    }
}

/// Appends a text in quotes, with the escapes of JSON.
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

/// Appends a text, in quotes only if it holds a character that could end the value early.
pub(super) fn value(text: &str, cut: bool, into: &mut String) {
    let needs_quotes =
        |letter: char| letter.is_whitespace() || matches!(letter, '"' | '\\' | '=') || is_harmful(letter);
    if text.is_empty() || text.chars().any(needs_quotes) {
        quoted(text, cut, into);
    } else {
        into.push_str(text);
        if cut {
            into.push('…');
        }
    }
}

/// Appends a key; each character that would end the key becomes an underscore.
pub(super) fn key(text: &str, into: &mut String) {
    let ends =
        |letter: char| letter.is_whitespace() || matches!(letter, '"' | '\\' | '=') || is_harmful(letter);
    into.extend(text.chars().map(|letter| if ends(letter) { '_' } else { letter }));
    if text.is_empty() {
        into.push('_');
    }
}
