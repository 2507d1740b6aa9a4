//! Any bytes as `traceparent`, `tracestate` and `baggage` headers, against an oracle that is written the other way
//! round: where the crate splits and trims as it goes, this one joins the values, walks the grammar byte by byte as
//! the standards print it, and keeps plain vectors.
//!
//! An input is lines: each begins with the header it is of, `p`, `s` or `b`; seeds stay readable that way. `S` and `B`
//! are followed by a byte and a text, which is the value that many times over: the limit of 8,192 bytes is near. `P` is
//! followed by pairs of a place and a byte, the changes to a good `traceparent`: so is everything that is nearly good.

#![no_main]

use libfuzzer_sys::fuzz_target;
use tellane::{Baggage, HeaderFaults, Incoming, RemoteParent, TraceState, inject};
use tellane_fuzz::{hold, plant};

fuzz_target!(init: plant(), |bytes: &[u8]| {
    let headers: Vec<_> = bytes.split(|&byte| byte == b'\n').filter_map(header).collect();
    let values = |name: &str| -> Vec<&[u8]> {
        headers.iter().filter(|(other, _)| *other == name).map(|(_, value)| value.as_slice()).collect()
    };
    let (parents, states, bags) = (values("TraceParent"), values("tracestate"), values("Baggage"));

    let parent = if let [only] = parents[..] { parent(only) } else { None };
    let read_state = if parent.is_some() { state(&states.join(&b','), states.is_empty()) } else { None };
    let (members, dropped) = baggage(&bags);

    let read = Incoming::read(&headers);
    hold!(read.parent.map(|parent| (parent.trace_id, parent.span_id, parent.flags)), parent, "the traceparent");
    hold!(read.faults.traceparent.is_some(), parent.is_none() && !parents.is_empty(), "its fault");
    hold!(pairs(&read.state), read_state.clone().unwrap_or_default(), "the tracestate");
    hold!(read.faults.tracestate.is_some(), read_state.is_none() && !states.is_empty(), "its fault");
    hold!(triples(&read.baggage), members, "the baggage");
    hold!(read.faults.baggage_dropped, dropped, "the members of the baggage that were dropped");

    // What goes on is in the limits, and the next one reads the same.
    let mut sent: Vec<(String, String)> = Vec::new();
    inject(read.parent.as_ref(), &read.state, &read.baggage, &mut sent);
    assert!(sent.iter().all(|(_, value)| (1..=8_192).contains(&value.len())), "a header that is not in its limits");
    let again = Incoming::read(&sent);
    hold!(again.faults, HeaderFaults::default(), "whether what is sent is well-formed");
    hold!((again.parent, again.state, again.baggage), (read.parent, read.state, read.baggage), "what is sent");

    if let [Ok(text)] = parents.iter().map(|value| str::from_utf8(value)).collect::<Vec<_>>()[..] {
        hold!(RemoteParent::parse(text).ok(), again.parent, "a traceparent that is read alone");
    }
});

fn header(line: &[u8]) -> Option<(&'static str, Vec<u8>)> {
    let (letter, rest) = line.split_first()?;
    let repeated = || match rest {
        [times, part @ ..] => {
            let len = (part.len() * usize::from(*times)).min(9_000);
            part.iter().copied().cycle().take(len).collect()
        }
        [] => Vec::new(),
    };
    Some(match letter {
        b'p' => ("TraceParent", rest.to_vec()),
        b'P' => ("TraceParent", changed(rest)),
        b's' => ("tracestate", rest.to_vec()),
        b'S' => ("tracestate", repeated()),
        b'b' => ("Baggage", rest.to_vec()),
        b'B' => ("Baggage", repeated()),
        _ => return None,
    })
}

/// Places past the end append, so that higher versions can be longer.
fn changed(changes: &[u8]) -> Vec<u8> {
    let mut header = b"00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01".to_vec();
    for [place, byte] in changes.as_chunks().0 {
        match header.get_mut(usize::from(place % 64)) {
            Some(there) => *there = *byte,
            None => header.push(*byte),
        }
    }
    header
}

fn pairs(state: &TraceState) -> Vec<(String, String)> {
    state.iter().map(|(key, value)| (key.to_owned(), value.to_owned())).collect()
}

fn triples(baggage: &Baggage) -> Vec<[String; 3]> {
    baggage.iter().map(|member| [member.key, member.value, member.metadata].map(str::to_owned)).collect()
}

/// The header held against a picture of it: `v` version, `t` trace id, `s` span id, `f` flags.
fn parent(header: &[u8]) -> Option<(u128, u64, u8)> {
    let mut header = header;
    if header.len() <= 8_192 {
        while let [b' ' | b'\t', rest @ ..] | [rest @ .., b' ' | b'\t'] = header {
            header = rest;
        }
    }
    const PICTURE: &[u8; 55] = b"vv-tttttttttttttttttttttttttttttttt-ssssssssssssssss-ff";
    let mut fields = std::collections::HashMap::from([(b'v', String::new()), (b't', String::new())]);
    fields.extend([(b's', String::new()), (b'f', String::new())]);
    for (at, drawn) in PICTURE.iter().enumerate() {
        let byte = *header.get(at)?;
        if *drawn == b'-' {
            if byte != b'-' {
                return None;
            }
        } else if "0123456789abcdef".contains(char::from(byte)) {
            fields.get_mut(drawn)?.push(char::from(byte));
        } else {
            return None;
        }
    }
    let ends_well = match fields[&b'v'].as_str() {
        "ff" => false,
        "00" => header.len() == 55,
        _ => header.len() == 55 || header[55] == b'-',
    };
    let trace_id = u128::from_str_radix(&fields[&b't'], 16).ok()?;
    let span_id = u64::from_str_radix(&fields[&b's'], 16).ok()?;
    let flags = u8::from_str_radix(&fields[&b'f'], 16).ok()?;
    (ends_well && trace_id > 0 && span_id > 0).then_some((trace_id, span_id, flags % 4))
}

/// The members of a joined header; `None` if it must be discarded.
fn state(header: &[u8], absent: bool) -> Option<Vec<(String, String)>> {
    if absent {
        return Some(Vec::new());
    }
    if header.len() > 8_192 {
        return None;
    }
    let mut found: Vec<(String, String)> = Vec::new();
    let mut at = 0;
    loop {
        while matches!(header.get(at), Some(b' ' | b'\t')) {
            at += 1;
        }
        let mut key = String::new();
        while let Some(byte @ (b'a'..=b'z' | b'0'..=b'9' | b'_' | b'-' | b'*' | b'/' | b'@')) = header.get(at)
        {
            key.push(char::from(*byte));
            at += 1;
        }
        if !key.is_empty() {
            let mut value = String::new();
            if header.get(at) != Some(&b'=') {
                return None;
            }
            at += 1;
            while let Some(byte @ (0x20..=0x2B | 0x2D..=0x3C | 0x3E..=0x7E)) = header.get(at) {
                value.push(char::from(*byte));
                at += 1;
            }
            while matches!(header.get(at), Some(b' ' | b'\t')) {
                at += 1;
            }
            while value.ends_with(' ') {
                value.pop();
            }
            let fits = (1..=256).contains(&key.len()) && (1..=256).contains(&value.len());
            if !fits || !key.starts_with(|first: char| first.is_ascii_alphanumeric()) {
                return None;
            }
            if found.iter().all(|(other, _)| *other != key) {
                found.push((key, value));
            }
        }
        match header.get(at) {
            None if found.len() <= 32 => return Some(found),
            Some(b',') => at += 1,
            _ => return None,
        }
    }
}

/// What is kept of the baggage, and how many members are not.
fn baggage(values: &[&[u8]]) -> (Vec<[String; 3]>, u32) {
    let mut kept: Vec<([String; 3], usize)> = Vec::new();
    let mut dropped = 0;
    let mut offset = 0; // of the value in the joined header
    for value in values {
        let mut at = 0;
        while at < value.len() {
            let end = (at..value.len()).find(|&end| value[end] == b',').unwrap_or(value.len());
            if offset + end > 8_192 {
                break;
            }
            if value[at..end].iter().any(|byte| !matches!(byte, b' ' | b'\t')) {
                dropped += keep(&value[at..end], &mut kept);
            }
            at = end + 1;
        }
        dropped += u32::from(!value.is_empty() && offset + value.len() > 8_192);
        offset += value.len() + 1;
    }
    (kept.into_iter().map(|(member, _)| member).collect(), dropped)
}

/// How many members are dropped when this one has come: it, or the one that it replaces, or none. Beside each kept
/// member is its length in a header.
fn keep(member: &[u8], kept: &mut Vec<([String; 3], usize)>) -> u32 {
    let Some(made) = member_of(member) else { return 1 };
    let same = kept.iter().position(|(other, _)| other[0] == made[0]);
    let others = kept.iter().enumerate().filter(|(at, _)| Some(*at) != same);
    let len = others.fold(written(&made).len(), |sum, (_, (_, len))| sum + 1 + len);
    if len > 8_192 || (same.is_none() && kept.len() == 64) {
        return 1;
    }
    if let Some(same) = same {
        kept.remove(same);
    }
    let len = written(&made).len();
    kept.push((made, len));
    u32::from(same.is_some())
}

fn written([key, value, metadata]: &[String; 3]) -> String {
    let mut text = format!("{key}=");
    for byte in value.bytes() {
        match byte {
            0x21 | 0x23 | 0x24 | 0x26..=0x2B | 0x2D..=0x3A | 0x3C..=0x5B | 0x5D..=0x7E => {
                text.push(char::from(byte))
            }
            _ => {
                let digit = |of: u8| char::from(b"0123456789ABCDEF"[usize::from(of)]);
                text.extend(['%', digit(byte / 16), digit(byte % 16)]);
            }
        }
    }
    if metadata.is_empty() { text } else { format!("{text};{metadata}") }
}

/// A cursor that takes the grammar's terms in their order.
struct Cursor<'a>(&'a [u8]);

impl Cursor<'_> {
    fn while_in(&mut self, set: impl Fn(u8) -> bool) -> Vec<u8> {
        let mut taken = Vec::new();
        while let [first, rest @ ..] = self.0 {
            if !set(*first) {
                break;
            }
            taken.push(*first);
            self.0 = rest;
        }
        taken
    }

    fn is(&mut self, wanted: u8) -> bool {
        let found = self.0.first() == Some(&wanted);
        if found {
            self.0 = &self.0[1..];
        }
        found
    }

    fn ows(&mut self) {
        self.while_in(|byte| byte == b' ' || byte == b'\t');
    }

    fn token(&mut self) -> Option<String> {
        let taken = self.while_in(|byte| match byte {
            b'0'..=b'9' | b'A'..=b'Z' | b'a'..=b'z' => true,
            b'!' | b'#' | b'$' | b'%' | b'&' | b'\'' | b'*' | b'+' | b'-' | b'.' | b'^' | b'_' | b'`'
            | b'|' | b'~' => true,
            _ => false,
        });
        if taken.is_empty() { None } else { String::from_utf8(taken).ok() }
    }

    fn value(&mut self) -> Vec<u8> {
        self.while_in(|byte| matches!(byte, 0x21 | 0x23..=0x2B | 0x2D..=0x3A | 0x3C..=0x5B | 0x5D..=0x7E))
    }
}

/// `key OWS "=" OWS value *( OWS ";" OWS property )`
fn member_of(member: &[u8]) -> Option<[String; 3]> {
    let mut cursor = Cursor(member);
    cursor.ows();
    let key = cursor.token()?;
    cursor.ows();
    if !cursor.is(b'=') {
        return None;
    }
    cursor.ows();
    let value = decoded(&cursor.value());
    cursor.ows();
    let mut metadata = Vec::new();
    while cursor.is(b';') {
        cursor.ows();
        let mut property = cursor.token()?;
        cursor.ows();
        if cursor.is(b'=') {
            cursor.ows();
            property = format!("{property}={}", String::from_utf8(cursor.value()).ok()?);
            cursor.ows();
        }
        metadata.push(property);
    }
    cursor.0.is_empty().then(|| [key, value, metadata.join(";")])
}

fn decoded(value: &[u8]) -> String {
    let mut bytes = Vec::new();
    let mut at = 0;
    while at < value.len() {
        let digits = value.get(at + 1..at + 3).and_then(|digits| str::from_utf8(digits).ok());
        // `from_str_radix` takes a sign, too
        let digits = digits.filter(|digits| digits.bytes().all(|digit| digit.is_ascii_hexdigit()));
        match digits.and_then(|digits| u8::from_str_radix(digits, 16).ok()) {
            Some(byte) if value[at] == b'%' => {
                bytes.push(byte);
                at += 3;
            }
            _ => {
                bytes.push(value[at]);
                at += 1;
            }
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}
