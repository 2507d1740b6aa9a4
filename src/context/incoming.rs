//! Reading the three headers of an incoming request, and writing those of an outgoing one. Called once per request.

use super::baggage::BaggageReader;
use super::tracestate::StateReader;
use super::{Baggage, Extract, Inject, RemoteParent, TraceState, TraceparentError, TracestateError};

const TRACEPARENT: &str = "traceparent";
const TRACESTATE: &str = "tracestate";
const BAGGAGE: &str = "baggage";

/// The trace context and baggage of an incoming request. Reading it cannot fail: a malformed header gives an empty
/// value, and a reason in [`faults`](Self::faults).
///
/// ```
/// use tellane::{Incoming, TraceparentError};
/// let request = [
///     ("Traceparent", "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"),
///     ("tracestate", "congo=t61rcWkgMzE"),
///     ("baggage", "user=alice"),
/// ];
/// let incoming = Incoming::read(&request);
/// assert!(incoming.parent.is_some_and(|parent| parent.is_sampled()));
/// assert_eq!(incoming.state.get("congo"), Some("t61rcWkgMzE"));
/// assert_eq!(incoming.baggage.get("user"), Some("alice"));
///
/// let incoming = Incoming::read(&[("traceparent", "nonsense"), ("baggage", "user=alice")]);
/// assert_eq!(incoming.parent, None);
/// assert_eq!(incoming.faults.traceparent, Some(TraceparentError::Length { bytes: 8 }));
/// assert_eq!(incoming.baggage.get("user"), Some("alice"));
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
#[doc(alias = "TextMapPropagator")]
#[doc(alias = "extract")]
pub struct Incoming {
    /// The caller's span; `None` if there is no valid `traceparent` or more than one. Start a new trace then.
    pub parent: Option<RemoteParent>,
    /// The `tracestate`; empty if there is no parent.
    pub state: TraceState,
    /// The baggage, which is read even if there is no parent.
    pub baggage: Baggage,
    /// The refused headers, with reasons.
    pub faults: HeaderFaults,
}

impl Incoming {
    /// Reads the three headers.
    ///
    /// ```
    /// use std::collections::HashMap;
    /// let headers = HashMap::from([("baggage".to_owned(), "user=alice".to_owned())]);
    /// assert_eq!(tellane::Incoming::read(&headers).baggage.get("user"), Some("alice"));
    /// ```
    pub fn read(headers: &(impl Extract + ?Sized)) -> Self {
        let mut parent = None;
        headers.get_all(TRACEPARENT, &mut |value| {
            parent = Some(match parent {
                None => RemoteParent::from_bytes(value),
                Some(_) => Err(TraceparentError::Repeated),
            });
        });
        let mut states = StateReader::default();
        let mut any_state = false;
        headers.get_all(TRACESTATE, &mut |value| match parent {
            Some(Ok(_)) => states.value(value),
            _ => any_state = true, // not parsed: without a parent it is ignored
        });
        let mut baggage = BaggageReader::default();
        headers.get_all(BAGGAGE, &mut |value| baggage.value(value));
        let state = if any_state { Err(TracestateError::NoParent) } else { states.finish() };
        let baggage = baggage.finish();
        let faults = HeaderFaults {
            traceparent: parent.and_then(Result::err),
            tracestate: state.as_ref().err().copied(),
            baggage_dropped: baggage.dropped(),
        };
        Self { parent: parent.and_then(Result::ok), state: state.unwrap_or_default(), baggage, faults }
    }
}

/// The refused headers of a request, with reasons, for counting.
///
/// ```
/// use tellane::{Incoming, TraceparentError, TracestateError};
/// let faults = Incoming::read(&[("traceparent", "?"), ("tracestate", "a=1"), ("baggage", "a,b=1")]).faults;
/// assert_eq!(faults.traceparent, Some(TraceparentError::Length { bytes: 1 }));
/// assert_eq!(faults.tracestate, Some(TracestateError::NoParent));
/// assert_eq!(faults.baggage_dropped, 1);
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct HeaderFaults {
    /// The reason for which the `traceparent` was ignored.
    pub traceparent: Option<TraceparentError>,
    /// The reason for which the `tracestate` was ignored.
    pub tracestate: Option<TracestateError>,
    /// Number of baggage members that were not kept ([`Baggage::dropped`]).
    pub baggage_dropped: u32,
}

impl HeaderFaults {
    /// Returns `true` if no header was refused.
    ///
    /// ```
    /// assert!(tellane::Incoming::read(&[("accept", "*/*")]).faults.is_none());
    /// ```
    pub const fn is_none(&self) -> bool {
        self.traceparent.is_none() && self.tracestate.is_none() && self.baggage_dropped == 0
    }
}

/// Sets the headers of an outgoing request. `parent` is the span that sends the request. A header that would be empty
/// is neither set nor removed. Without a parent, or with one whose ids are 0, `traceparent` and `tracestate` are not
/// set.
///
/// ```
/// use std::collections::BTreeMap;
/// use tellane::{Baggage, RemoteParent, TraceState};
/// let own = RemoteParent::new(0xabc, 0xdef, RemoteParent::SAMPLED)?;
/// let baggage = Baggage::empty().with("user", "alice")?;
/// let mut headers = BTreeMap::new();
/// tellane::inject(Some(&own), &TraceState::empty(), &baggage, &mut headers);
/// assert_eq!(headers["traceparent"], "00-00000000000000000000000000000abc-0000000000000def-01");
/// assert_eq!(headers["baggage"], "user=alice");
/// assert_eq!(headers.len(), 2);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[doc(alias = "TextMapPropagator")]
#[doc(alias = "propagate")]
pub fn inject(
    parent: Option<&RemoteParent>,
    state: &TraceState,
    baggage: &Baggage,
    into: &mut (impl Inject + ?Sized),
) {
    if let Some(parent) = parent.filter(|parent| parent.trace_id != 0 && parent.span_id != 0) {
        into.set(TRACEPARENT, parent.header());
        if !state.is_empty() {
            into.set(TRACESTATE, state.header());
        }
    }
    if !baggage.is_empty() {
        into.set(BAGGAGE, baggage.header());
    }
}
