//! Saves snapshots as bytes, for another process or machine to read and merge. Cold.
//!
//! A saved snapshot is a stream of the crate's records after a magic number. Definitions give names to the numbers; the
//! figures are, by the record's field `what`:
//!
//! | what | id | words |
//! |---|---|---|
//! | 0 counter, 1 up-down-counter, 2 gauge | series | the value: u64, i64, or the bits of an f64 |
//! | 3 histogram | series | minimum, maximum, sum (low, high), then index and count of the filled buckets, by index; a histogram with more than 2,000 filled buckets continues in further figures, whose first four words add nothing |
//! | 4 ledger | kind | recorded, aggregated, switched off, unsampled, in flight, held back, then drops by reason |
//! | 5 totals | 0 | clamped, coarse |
//! | 6 time | 0 | Unix time and uptime of the snapshot, in nanoseconds |
//! | 7 spans | 0 the latest, 1 the slowest | ticks and Unix time of one instant, nanoseconds per tick in 32.32 fixed point; the spans follow |
//! | 8 exemplars | 0 | offered, kept, replaced, no room |
//! | 9 bounds | series | the number of a bound, then for this bound and each of the following ones the samples of its bucket at or below it |
//! | 10 logs shed | 0 | log records dropped because the ring was full, by level from trace to error; left out if there are none, since an older reader refuses a figure that it does not know |
//!
//! The bounds of a histogram's definition that divide a bucket are numbered, and have figures (9) after those of the
//! buckets. A histogram without such figures has no exact count at these bounds, so the reader leaves the bounds out.
//!
//! A series' definition is a text (`text_of`): escaped fields, separated by the unit separator.
//!
//! Saved snapshots come from other machines, which may be hostile. So reading takes time in proportion to the bytes, or
//! to sorting them (`benches/hostile.rs` counts the instructions).

mod histogram;

use super::span::{Names, ReadNames};
use super::{Pipeline, PointValue, Snapshot, SpanBatch, bounds};
use crate::clock::{Anchor, Scale, nanos};
use crate::record::{DecodeError, Decoder, EncodeError, Item, Record, Space, encode, from_bytes, to_bytes};
use crate::series::{Descriptor, Identity, MetricKind, Shape, Unit};
use crate::stats::{ExemplarLedger, Kind};
use histogram::PartialHistogram;
use std::collections::HashSet;
use std::panic::Location;
use std::sync::Arc;
use std::time::Duration;

const HISTOGRAM: u16 = 3;
const LEDGER: u16 = 4;
const TOTALS: u16 = 5;
const TIME: u16 = 6;
const SPANS: u16 = 7;
const EXEMPLARS: u16 = 8;
const BOUNDS: u16 = 9;
const LOGS_SHED: u16 = 10;
/// The most filled buckets in one record.
const BUCKETS: usize = 2_000;
/// The separator between the fields of a series' definition: ASCII's unit separator.
const SEPARATOR: char = '\u{1f}';

impl Snapshot {
    /// Encodes the snapshot as bytes, for [`from_bytes`](Self::from_bytes) in another process or machine. The ledger is
    /// included; the pipeline's own figures ([`Pipeline`]), exemplars, slowest traces and the counts of tail sampling
    /// are not.
    ///
    /// ```
    /// # use std::time::Duration;
    /// use tellane::Snapshot;
    /// let telemetry = tellane::Telemetry::builder("shop").start()?;
    /// telemetry.counter("orders_total").register()?.add(2);
    /// let here = telemetry.snapshot(Duration::from_secs(5))?;
    /// let there = Snapshot::from_bytes(&here.to_bytes()?)?; // on another machine
    /// assert_eq!(there.merge(&here)?.counter("orders_total", &[]), Some(4));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// [`EncodeError::IdTooLarge`] if there are more than 2^20 series.
    #[doc(alias = "serialize")]
    #[doc(alias = "encode")]
    #[doc(alias = "save")]
    pub fn to_bytes(&self) -> Result<Vec<u8>, EncodeError> {
        let mut words = Vec::new();
        let mut put = |record: Record| encode(&record, &mut words);
        put(Record::Definition { space: Space::Service, id: 0, text: self.service.to_string() })?;
        let uptime = nanos(self.uptime);
        put(Record::Figures { what: TIME, id: 0, words: vec![self.unix_nanos, uptime] })?;
        for (id, (identity, value)) in (0..).zip(self.catalogue.iter().zip(&self.values)) {
            put(Record::Definition { space: Space::Series, id, text: text_of(identity) })?;
            match value {
                PointValue::Counter(total) => put(Record::Figures { what: 0, id, words: vec![*total] })?,
                PointValue::UpDownCounter(sum) => {
                    put(Record::Figures { what: 1, id, words: vec![*sum as u64] })?
                }
                PointValue::Gauge(value) => {
                    put(Record::Figures { what: 2, id, words: vec![value.to_bits()] })?
                }
                PointValue::Histogram(view) => {
                    let mut head = [view.min, view.max, view.sum as u64, (view.sum >> 64) as u64];
                    // A histogram without samples has a record, too.
                    let chunks = view.filled.chunks(BUCKETS).chain(view.filled.is_empty().then_some(&[][..]));
                    for chunk in chunks {
                        let filled = chunk.iter().flat_map(|(index, count)| [u64::from(*index), *count]);
                        put(Record::Figures {
                            what: HISTOGRAM,
                            id,
                            words: head.into_iter().chain(filled).collect(),
                        })?;
                        head = [u64::MAX, 0, 0, 0];
                    }
                    for (at, within) in view.within.chunks(BUCKETS).enumerate() {
                        let first = [(at * BUCKETS) as u64];
                        let words = first.iter().chain(within).copied().collect();
                        put(Record::Figures { what: BOUNDS, id, words })?;
                    }
                }
            }
        }
        for kind in Kind::ALL {
            let account = self.ledger.kind(kind).to_words();
            put(Record::Figures { what: LEDGER, id: kind as u32, words: account })?;
        }
        let totals = vec![self.ledger.clamped(), self.ledger.coarse()];
        put(Record::Figures { what: TOTALS, id: 0, words: totals })?;
        let exemplars = self.ledger.exemplars().to_words().to_vec();
        put(Record::Figures { what: EXEMPLARS, id: 0, words: exemplars })?;
        if let Some(shed) = self.ledger.logs_shed_words() {
            put(Record::Figures { what: LOGS_SHED, id: 0, words: shed })?;
        }
        for batch in &self.spans {
            put_spans(batch, &mut words)?;
        }
        Ok(to_bytes(&words))
    }

    /// Decodes a snapshot from the bytes that [`to_bytes`](Self::to_bytes) made. The bytes may come from an untrusted
    /// source.
    ///
    /// ```
    /// # let telemetry = tellane::Telemetry::builder("shop").start()?;
    /// # let snapshot = telemetry.snapshot(std::time::Duration::from_secs(5))?;
    /// let read = tellane::Snapshot::from_bytes(&snapshot.to_bytes()?)?;
    /// assert_eq!((read.service(), read.taken_at()), (snapshot.service(), snapshot.taken_at()));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// [`ReadError`] if the bytes are not a complete saved snapshot. For any bytes, the call neither panics nor
    /// allocates more than a small multiple of their number.
    #[doc(alias = "deserialize")]
    #[doc(alias = "decode")]
    #[doc(alias = "load")]
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, ReadError> {
        let words = from_bytes(bytes)?;
        let snapshot = Self::empty("".into());
        let mut reader = SnapshotReader { snapshot, points: Vec::new(), batch: None, texts: HashSet::new() };
        let mut decoder = Decoder::new(&words);
        loop {
            let before = decoder.rest();
            let Some(record) = decoder.next() else { break };
            let raw = &before[..before.len() - decoder.rest().len()];
            reader.add(record?, raw)?;
        }
        reader.finish()
    }
}

/// Encodes the names and keys that a batch's spans use, then the spans.
fn put_spans(batch: &SpanBatch, words: &mut Vec<u64>) -> Result<(), EncodeError> {
    let instant = vec![batch.anchor.ticks, batch.anchor.unix_nanos, batch.scale.factor()];
    for (id, part) in [(0, &batch.latest[..]), (1, &batch.slowest[..])] {
        encode(&Record::Figures { what: SPANS, id, words: instant.clone() }, words)?;
        let (mut names, mut keys) = (Vec::new(), Vec::new());
        for record in Decoder::new(part).filter_map(Result::ok) {
            if let Record::Span(span) = record {
                names.push(span.name);
                span.items.iter().for_each(|item| keys_of(item, &mut keys));
            }
        }
        for (space, mut ids) in [(Space::SpanName, names), (Space::Key, keys)] {
            ids.sort_unstable();
            ids.dedup();
            for id in ids {
                let text = if space == Space::Key { batch.names.key(id) } else { batch.names.span(id) };
                // A span without a name and an attribute without a key are not shown, neither here nor by the reader.
                let Some(text) = text else { continue };
                encode(&Record::Definition { space, id, text: text.to_string() }, words)?;
            }
        }
        words.extend(part.iter());
    }
    Ok(())
}

/// Collects the keys that an item uses.
fn keys_of(item: &Item, into: &mut Vec<u32>) {
    match item {
        Item::Attribute(key, _) => into.push(*key),
        Item::Event { name, attributes, .. } => {
            into.push(*name);
            into.extend(attributes.iter().map(|(key, _)| *key));
        }
        Item::Link { attributes, .. } => into.extend(attributes.iter().map(|(key, _)| *key)),
        Item::Message(_) | Item::TraceState(_) | Item::Lost { .. } => {}
    }
}

/// The state of decoding a snapshot.
struct SnapshotReader {
    snapshot: Snapshot,
    points: Vec<(Arc<Identity>, Option<ReadValue>)>,
    /// The batch of spans that is being read, with its names.
    batch: Option<PartialBatch>,
    /// All names and keys, interned: equal texts share an address, which `last_values` compares.
    texts: HashSet<Arc<str>>,
}

/// The value of a series, as far as it has been read.
enum ReadValue {
    Whole(PointValue),
    Histogram(PartialHistogram),
}

/// A batch of spans, as far as it has been read.
struct PartialBatch {
    slowest: bool,
    anchor: Anchor,
    scale: Scale,
    names: ReadNames,
    spans: Vec<u64>,
}

impl SnapshotReader {
    /// Adds one record; `raw` is its words.
    fn add(&mut self, record: Record, raw: &[u64]) -> Result<(), ReadError> {
        match record {
            Record::Definition { space: Space::Service, text, .. } => self.snapshot.service = text.into(),
            Record::Definition { space: Space::Series, id, text } => {
                if id as usize != self.points.len() {
                    return Err(ReadError::Unexpected);
                }
                self.points.push((Arc::new(identity_of(&text).ok_or(ReadError::Unexpected)?), None));
            }
            Record::Definition { space, id, text } => {
                let names = &mut self.batch.as_mut().ok_or(ReadError::Unexpected)?.names;
                let table = if space == Space::Key { &mut names.keys } else { &mut names.spans };
                let text = self.texts.get(&*text).cloned().unwrap_or_else(|| text.into());
                self.texts.insert(Arc::clone(&text));
                table.insert(id, text);
            }
            Record::Span(_) => self.batch.as_mut().ok_or(ReadError::Unexpected)?.spans.extend(raw),
            Record::Figures { what, id, words } => self.figures(what, id, &words)?,
            Record::Sample { .. } | Record::Exemplar(_) | Record::Log(_) => {
                return Err(ReadError::Unexpected);
            }
        }
        Ok(())
    }

    /// Adds the figures of one record.
    fn figures(&mut self, what: u16, id: u32, words: &[u64]) -> Result<(), ReadError> {
        match (what, words) {
            (0..=HISTOGRAM, words) => {
                let (identity, value) = self.points.get_mut(id as usize).ok_or(ReadError::Unexpected)?;
                set_value(identity, value, what, words).ok_or(ReadError::Unexpected)?;
            }
            (BOUNDS, &[first, ref within @ ..]) => {
                let Some((_, Some(ReadValue::Histogram(partial)))) = self.points.get_mut(id as usize) else {
                    return Err(ReadError::Unexpected);
                };
                partial.add_within(first, within).ok_or(ReadError::Unexpected)?;
            }
            (LEDGER, words) => {
                let account = self.snapshot.ledger.set_kind(id, words);
                account.ok_or(ReadError::Unexpected)?;
            }
            (TOTALS, &[clamped, coarse]) => self.snapshot.ledger.set_inexact(clamped, coarse),
            (EXEMPLARS, &[offered, kept, replaced, no_room]) => {
                let exemplars = ExemplarLedger::from_words([offered, kept, replaced, no_room]);
                self.snapshot.ledger.set_exemplars(exemplars);
            }
            (LOGS_SHED, words) => {
                self.snapshot.ledger.set_logs_shed(words).ok_or(ReadError::Unexpected)?;
            }
            (TIME, &[unix_nanos, uptime]) => {
                self.snapshot.unix_nanos = unix_nanos;
                self.snapshot.uptime = Duration::from_nanos(uptime);
            }
            (SPANS, &[ticks, unix_nanos, factor]) => {
                self.end_batch();
                self.batch = Some(PartialBatch {
                    slowest: id != 0,
                    anchor: Anchor { ticks, unix_nanos },
                    scale: Scale::from_factor(factor),
                    names: ReadNames::default(),
                    spans: Vec::new(),
                });
            }
            _ => return Err(ReadError::Unexpected),
        }
        Ok(())
    }

    /// Adds the batch that was being read to the snapshot.
    fn end_batch(&mut self) {
        let Some(batch) = self.batch.take() else { return };
        let (latest, slowest) = if batch.slowest { (vec![], batch.spans) } else { (batch.spans, vec![]) };
        self.snapshot.spans.push(SpanBatch {
            names: Names::Read(Arc::new(batch.names)),
            anchor: batch.anchor,
            scale: batch.scale,
            latest: Arc::new(latest),
            slowest: slowest.into(),
            traces: Arc::new([]),
        });
    }

    /// Sorts the series, checks that they do not contradict each other, and builds the snapshot.
    fn finish(mut self) -> Result<Snapshot, ReadError> {
        self.end_batch();
        self.points.sort_by(|(a, _), (b, _)| a.key().cmp(&b.key()));
        for pair in self.points.windows(2) {
            let [(one, _), (next, _)] = pair else { continue };
            let (metric, other) = (&one.metric, &next.metric);
            // Each series must be unique, and all series of a name must have one kind, or readers could not tell them
            // apart.
            if one.key() == next.key() || (metric.name == other.name && !metric.is_like(other)) {
                return Err(ReadError::Unexpected);
            }
        }
        let mut points = Vec::with_capacity(self.points.len());
        for (identity, value) in self.points {
            let value = match value.ok_or(ReadError::Unexpected)? {
                ReadValue::Whole(value) => value,
                ReadValue::Histogram(read) => {
                    PointValue::Histogram(Arc::new(read.finish().ok_or(ReadError::Unexpected)?))
                }
            };
            points.push((identity, value));
        }
        bounds::reconcile(&mut points);
        let (identities, values): (Vec<_>, Vec<_>) = points.into_iter().unzip();
        let catalogue = Arc::new(identities.into_iter().collect());
        self.snapshot.pipeline = Pipeline::default();
        Ok(Snapshot { catalogue, values, ..self.snapshot })
    }
}

/// Sets the value of a series, or adds to its histogram; `None` if the figures do not fit the series.
fn set_value(identity: &Identity, value: &mut Option<ReadValue>, what: u16, words: &[u64]) -> Option<()> {
    match (what, identity.metric.kind, words) {
        (0, MetricKind::Counter, &[total]) => {
            *value = Some(ReadValue::Whole(PointValue::Counter(total)));
        }
        (1, MetricKind::UpDownCounter, &[sum]) => {
            *value = Some(ReadValue::Whole(PointValue::UpDownCounter(sum as i64)));
        }
        (2, MetricKind::Gauge, &[bits]) => {
            *value = Some(ReadValue::Whole(PointValue::Gauge(f64::from_bits(bits))));
        }
        (HISTOGRAM, MetricKind::Histogram, words) => {
            let shape = identity.metric.shape.as_ref()?;
            let splits = &identity.metric.bounds.as_ref()?.splits;
            match value.get_or_insert_with(|| ReadValue::Histogram(PartialHistogram::new(shape, splits))) {
                ReadValue::Histogram(partial) => partial.add(words)?,
                ReadValue::Whole(_) => return None,
            }
        }
        _ => return None,
    }
    Some(())
}

/// Encodes a series as text: name, help, kind, unit, the shape's digits, highest value, scale and bounds (the bits of
/// floats in hexadecimal), number of labels, label names, label values.
fn text_of(identity: &Identity) -> String {
    let metric = &identity.metric;
    let mut fields = vec![metric.name.to_string(), metric.help.to_string()];
    fields.push((metric.kind as u8).to_string());
    fields.push((metric.unit as u8).to_string());
    if let Some(shape) = &metric.shape {
        let floats = std::iter::once(&shape.scale).chain(&shape.bounds);
        let floats: Vec<String> = floats.map(|float| format!("{:x}", float.to_bits())).collect();
        fields.extend([shape.digits.to_string(), shape.highest.to_string(), floats.join(" ")]);
    } else {
        fields.extend([const { String::new() }; 3]);
    }
    fields.push(metric.labels.len().to_string());
    fields.extend(metric.labels.iter().chain(&identity.labels).map(|text| text.to_string()));
    let escape = |field: String| field.replace('\\', "\\\\").replace(SEPARATOR, "\\u");
    fields.into_iter().map(escape).collect::<Vec<_>>().join(&SEPARATOR.to_string())
}

/// Decodes a series from its text; `None` if the text is not valid.
fn identity_of(text: &str) -> Option<Identity> {
    let fields: Vec<String> = text.split(SEPARATOR).map(unescape).collect::<Option<_>>()?;
    let [name, help, kind, unit, digits, highest, floats, count, labels @ ..] = &fields[..] else {
        return None;
    };
    let kinds = [MetricKind::Counter, MetricKind::UpDownCounter, MetricKind::Gauge, MetricKind::Histogram];
    let kind = *kinds.get(kind.parse::<usize>().ok()?)?;
    let unit = *[Unit::None, Unit::Seconds, Unit::Bytes].get(unit.parse::<usize>().ok()?)?;
    let shape = if kind == MetricKind::Histogram {
        let bits = floats.split(' ').map(|float| u64::from_str_radix(float, 16).map(f64::from_bits));
        let mut floats = bits.collect::<Result<Vec<_>, _>>().ok()?.into_iter();
        let (digits, highest) = (digits.parse().ok()?, highest.parse().ok()?);
        Some(Shape { digits, highest, scale: floats.next()?, bounds: floats.collect() })
    } else {
        None
    };
    let (names, values) = labels.split_at_checked(count.parse().ok()?)?;
    if names.len() != values.len() {
        return None;
    }
    let names: Vec<&str> = names.iter().map(|name| &**name).collect();
    let metric = Descriptor::new((name, help), (kind, unit), &names, shape, Location::caller())
        .ok()
        .filter(|metric| *metric.name == **name)?;
    let labels = values.iter().map(|value| Box::from(&**value)).collect();
    Some(Identity { metric: Arc::new(metric), labels })
}

/// Reverses the escapes of [`text_of`]; `None` if there is an unknown one.
fn unescape(field: &str) -> Option<String> {
    let mut letters = field.chars();
    let mut plain = String::with_capacity(field.len());
    while let Some(letter) = letters.next() {
        plain.push(match letter {
            '\\' => match letters.next()? {
                '\\' => '\\',
                'u' => SEPARATOR,
                _ => return None,
            },
            other => other,
        });
    }
    Some(plain)
}

/// The reason why bytes are not a saved snapshot.
///
/// ```
/// use tellane::{ReadError, Snapshot, record::DecodeError};
/// let error = Snapshot::from_bytes(b"some other file").expect_err("no snapshot");
/// assert_eq!(error, ReadError::Record(DecodeError::BadMagic));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ReadError {
    /// The bytes are not a stream of records, or are cut off.
    Record(DecodeError),
    /// A record is in an unexpected position, or its figures contradict its definition: the bytes are damaged, or
    /// another version of tellane saved them. Read them with the version that saved them.
    Unexpected,
}

impl From<DecodeError> for ReadError {
    fn from(error: DecodeError) -> Self {
        Self::Record(error)
    }
}

impl std::fmt::Display for ReadError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Record(error) => write!(f, "not a saved snapshot: {error}"),
            Self::Unexpected => f.write_str(
                "not a saved snapshot of this version: a record is unexpected or contradicts its definition; the bytes \
                 are damaged, or another version of tellane saved them: read them with that version",
            ),
        }
    }
}

impl std::error::Error for ReadError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Record(error) => Some(error),
            Self::Unexpected => None,
        }
    }
}
