//! Definitions of metrics. Cold.

use super::kind::{MetricKind, Unit};
use super::validate;
use crate::error::RegisterError;
use crate::names::{COUNTS, beginning};
use crate::stats::{Bounds, Layout};
use std::panic::Location;
use std::sync::Arc;

/// Maximum bytes of a help text; a longer text is cut.
pub(crate) const HELP_MAX: usize = 4_096;

/// A histogram's precision and presentation.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Shape {
    pub(crate) digits: u8,
    pub(crate) highest: u64,
    /// Recorded integers per exported unit.
    pub(crate) scale: f64,
    /// Upper bounds of the exported buckets, in the exported unit.
    pub(crate) bounds: Box<[f64]>,
}

impl Shape {
    pub(crate) const fn layout(&self) -> Layout {
        Layout::new(self.digits, self.highest)
    }
}

/// A metric's definition.
#[derive(Clone, Debug)]
pub(crate) struct Descriptor {
    pub(crate) name: Arc<str>,
    pub(crate) help: Box<str>,
    pub(crate) kind: MetricKind,
    pub(crate) unit: Unit,
    pub(crate) labels: Box<[Box<str>]>,
    pub(crate) shape: Option<Shape>,
    /// The shape's bounds in terms of bucket counts, shared by all series of the metric.
    pub(crate) bounds: Option<Bounds>,
    /// The place in the program that registered the metric.
    pub(crate) at: &'static Location<'static>,
}

impl Descriptor {
    /// Checks a definition and completes its name.
    pub(crate) fn new(
        (name, help): (&str, &str),
        (kind, unit): (MetricKind, Unit),
        labels: &[&str],
        shape: Option<Shape>,
        at: &'static Location<'static>,
    ) -> Result<Self, RegisterError> {
        let full = validate::full_name(name, kind, unit)?;
        validate::label_names(labels)?;
        if let Some(shape) = &shape {
            if !(1..=5).contains(&shape.digits) {
                return Err(RegisterError::BadDigits { digits: shape.digits });
            }
            if shape.highest < 2 {
                return Err(RegisterError::BadHighest { highest: shape.highest });
            }
            if !(shape.scale.is_finite() && shape.scale > 0.0) {
                return Err(RegisterError::BadScale);
            }
            let increasing = shape.bounds.windows(2).all(|pair| pair[0] < pair[1]);
            if !increasing || shape.bounds.iter().any(|bound| !bound.is_finite()) {
                return Err(RegisterError::BadBounds);
            }
        }
        let bounds = shape.as_ref().map(|shape| Bounds::new(shape.layout(), &shape.bounds, shape.scale));
        Ok(Self {
            name: full.as_str().into(),
            help: if help.is_empty() { full.as_str().into() } else { beginning(help, HELP_MAX).into() },
            kind,
            unit,
            labels: labels.iter().map(|label| Box::from(*label)).collect(),
            shape,
            bounds,
            at,
        })
    }

    /// Bytes that the definition takes.
    pub(super) fn bytes(&self) -> usize {
        let labels: usize = self.labels.iter().map(|label| size_of::<Box<str>>() + label.len()).sum();
        let bounds = self.shape.as_ref().map_or(0, |shape| size_of_val(&*shape.bounds));
        let counted = self.bounds.as_ref().map_or(0, Bounds::bytes);
        size_of::<Self>() + 2 * COUNTS + self.name.len() + self.help.len() + labels + bounds + counted
    }

    /// Returns `true` if kind, unit and precision agree, as they must for all series of one name. Label names may
    /// differ from set to set.
    pub(crate) fn is_like(&self, other: &Self) -> bool {
        let precision = |metric: &Self| {
            metric.shape.as_ref().map(|shape| (shape.digits, shape.highest, shape.scale.to_bits()))
        };
        (self.kind, self.unit, precision(self)) == (other.kind, other.unit, precision(other))
    }

    /// This histogram with other bounds, which must increase.
    pub(crate) fn with_bounds(&self, bounds: &[f64]) -> Self {
        let shape = self.shape.as_ref().map(|shape| Shape { bounds: bounds.into(), ..shape.clone() });
        let bounds = shape.as_ref().map(|shape| Bounds::new(shape.layout(), &shape.bounds, shape.scale));
        Self { shape, bounds, ..self.clone() }
    }

    /// A text of the properties in which two registrations of one name must agree.
    pub(crate) fn signature(&self) -> String {
        let labels = &self.labels;
        let precision = self.shape.as_ref().map_or(String::new(), |shape| {
            format!(" of {} digits up to {} at scale {}", shape.digits, shape.highest, shape.scale)
        });
        format!("{:?} in {:?} with labels {labels:?}{precision}", self.kind, self.unit)
    }
}

/// The longest duration that fits a one-word sample, in nanoseconds: about 18 minutes.
pub(crate) const DURATION_HIGHEST: u64 = (1 << 40) - 1;

/// OpenTelemetry's bounds of HTTP durations, extended downwards for operations that take microseconds.
pub(crate) fn duration_bounds() -> Box<[f64]> {
    Box::new([
        0.000_001, 0.000_01, 0.000_1, 0.001, 0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5,
        5.0, 7.5, 10.0,
    ])
}
