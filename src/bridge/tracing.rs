//! What programs say through the `tracing` ecosystem, taken into an instance: a span for each span, its fields as
//! attributes; events as log records, as events of their spans, or both.
//!
//! There are two ways in. [`Layer`] stands on a registry of `tracing-subscriber`, beside other layers. [`Subscriber`] is
//! for those who need tellane alone: it keeps its spans itself, at about half the cost.
//!
//! | in `tracing` | in tellane |
//! |---|---|
//! | a span that is entered, on whatever threads, as often as it likes | the current span there, for tellane's own spans, logs and exemplars too |
//! | a span inside one of tellane's own | its child |
//! | `parent: None`, `parent: &span` | a root, a child of that span; likewise for an event's ids |
//! | `follows_from` | a link, while the other span is open |
//! | `record` | an attribute |
//! | an error as a field | its text; what caused it in `error.cause`, `error.cause.2` and so on, four at most |
//! | `Debug` and `Display` values | text, cut at 1,024 bytes |
//! | an event's `message` | what the record says; without one the event's name |
//! | target and level | those of [`Telemetry::set_level`](crate::Telemetry::set_level), for spans as for log records |
//! | `otel.name`, `otel.kind` at a span's start | its name and kind; names are kept, so of limited number |
//! | `otel.status_code`, `otel.status_description` | its status |
//!
//! A span or event that its target's level keeps out is not made; what is inside such a span belongs to the span around
//! it. What tellane's own threads say is left out: no loops. Numbers that the compiler names by line, as in
//! `event src/main.rs:7`, are names like others.

mod callsites;
mod core;
mod fields;
mod layer;
mod slots;
mod subscriber;

pub use self::core::Events;
pub use layer::Layer;
pub use subscriber::Subscriber;
