//! Saved snapshots as another machine might send them: any bytes, and well-formed ones with texts of any letters and
//! lengths. Reading is total, and whatever is read can be shown, merged and saved again. No text adds a line to what is
//! shown: the same snapshot with `x` for every letter has as many.

#![no_main]

use arbitrary::{Arbitrary, Unstructured};
use libfuzzer_sys::fuzz_target;
use tellane::record::{MAGIC, Record, Space, encode, to_bytes};
use tellane::{Report, Snapshot, prometheus};
use tellane_fuzz::{hold, plant};

/// Letters that some text format or terminal takes for more than a letter, and two that none does.
const LETTERS: [char; 12] =
    ['x', 'ü', '\u{1}', '\n', '\r', '\u{1b}', '"', '\\', '=', '\u{202e}', '\u{2028}', '\u{10ffff}'];
/// Between the fields of a series' definition.
const SEPARATOR: &str = "\u{1f}";
const SERIES_MAX: usize = 8;
const LABELS_MAX: usize = 16;

/// One letter, 128 times this number.
#[derive(Arbitrary, Clone, Copy, Debug)]
struct Text(u8, u8);

impl Text {
    fn text(self, is_plain: bool) -> String {
        let letter = if is_plain { 'x' } else { LETTERS[usize::from(self.0) % LETTERS.len()] };
        // As a definition escapes it.
        let letter = if letter == '\\' { "\\\\".to_owned() } else { letter.to_string() };
        letter.repeat(128 * usize::from(self.1))
    }
}

#[derive(Arbitrary, Debug)]
struct Series {
    kind: u8,
    value: u8,
    labels: Vec<Text>,
    unit: u8,
    help: Text,
    bounds: Vec<u8>,
    buckets: Vec<(u8, u32)>,
}

#[derive(Arbitrary, Debug)]
struct Saved {
    series: Vec<Series>,
    service: Text,
    taken: [u64; 2],
}

fuzz_target!(init: plant(), |bytes: &[u8]| {
    match bytes.split_first() {
        Some((0, rest)) => {
            let bytes = [&MAGIC.to_le_bytes(), rest].concat();
            if let Ok(read) = Snapshot::from_bytes(&bytes) {
                show(&read);
            }
        }
        Some((_, rest)) => {
            let Ok(saved) = Saved::arbitrary(&mut Unstructured::new(rest)) else { return };
            let Some(bytes) = saved.bytes(false) else { return };
            let read = Snapshot::from_bytes(&bytes).expect("it is well-formed");
            let shown = show(&read);
            let plain = saved.bytes(true).expect("its texts are no longer");
            let plain = show(&Snapshot::from_bytes(&plain).expect("it is well-formed"));
            hold!(shown, plain, "the lines of what is shown");
        }
        None => {}
    }
});

impl Saved {
    /// `None` if a text is longer than a record.
    fn bytes(&self, is_plain: bool) -> Option<Vec<u8>> {
        let mut words = Vec::new();
        let mut put = |record: Record| encode(&record, &mut words).ok();
        put(Record::Definition { space: Space::Service, id: 0, text: self.service.text(is_plain) })?;
        put(Record::Figures { what: 6, id: 0, words: self.taken.to_vec() })?;
        for (id, series) in (0..).zip(self.series.iter().take(SERIES_MAX)) {
            put(Record::Definition { space: Space::Series, id, text: series.definition(id, is_plain) })?;
            put(Record::Figures { what: u16::from(series.kind % 4), id, words: series.figures() })?;
        }
        Some(to_bytes(&words))
    }
}

impl Series {
    fn definition(&self, id: u32, is_plain: bool) -> String {
        let kind = self.kind % 4;
        let unit = self.unit % 3;
        let name = format!(
            "m{id}{}{}",
            ["", "_seconds", "_bytes"][usize::from(unit)],
            ["_total", "", "", ""][usize::from(kind)]
        );
        let mut fields = vec![name, self.help.text(is_plain), kind.to_string(), unit.to_string()];
        if fields[1].is_empty() {
            fields[1] = "x".to_owned();
        }
        if kind == 3 {
            let mut bounds = self.bounds.clone();
            bounds.sort_unstable();
            bounds.dedup();
            let floats = std::iter::once(1.0).chain(bounds.into_iter().map(f64::from));
            let floats: Vec<String> = floats.map(|float| format!("{:x}", float.to_bits())).collect();
            fields.extend(["2".to_owned(), u64::MAX.to_string(), floats.join(" ")]);
        } else {
            fields.extend([const { String::new() }; 3]);
        }
        let labels = &self.labels[..self.labels.len().min(LABELS_MAX)];
        fields.push(labels.len().to_string());
        fields.extend((0..labels.len()).map(|number| format!("l{number}")));
        fields.extend(labels.iter().map(|label| label.text(is_plain)));
        fields.join(SEPARATOR)
    }

    fn figures(&self) -> Vec<u64> {
        if self.kind % 4 < 3 {
            return vec![u64::from(self.value)];
        }
        let mut buckets = self.buckets.clone();
        buckets.sort_unstable();
        buckets.dedup_by_key(|(index, _)| *index);
        let sum = [0, u64::from(u8::MAX), u64::from(self.value), 0];
        sum.into_iter()
            .chain(buckets.into_iter().flat_map(|(index, count)| [u64::from(index), u64::from(count)]))
            .collect()
    }
}

/// Lines of the report and of the Prometheus text.
fn show(read: &Snapshot) -> [usize; 2] {
    let report = Report(read).to_string();
    let harmful = |letter: &char| {
        (letter.is_control() && *letter != '\n') || ('\u{2028}'..='\u{202e}').contains(letter)
    };
    hold!(report.chars().find(harmful), None, "letters that a terminal acts on");
    let last = report.lines().last().unwrap_or_default();
    assert!(last.starts_with("ledger recorded="), "the last line is the ledger's, not {last:?}");
    let text = prometheus::render(read);
    if let Ok(again) = read.to_bytes() {
        let again = Snapshot::from_bytes(&again).expect("what was read can be saved and read");
        hold!(again.points().len(), read.points().len(), "the series of a snapshot that is saved again");
    }
    // Sums may overflow, and then the two do not add up; they never panic.
    if let Ok(twice) = read.merge(read) {
        hold!(twice.points().len(), read.points().len(), "the series of two equal snapshots");
    }
    [report.lines().count(), text.lines().count()]
}
