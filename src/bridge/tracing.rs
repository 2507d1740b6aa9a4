//! Bridge from the `tracing` ecosystem: records its spans into an instance, with their fields as attributes, and its
//! events as log records, as events of their spans, or both.
//!
//! There are two bridges. [`Layer`] works on a registry of `tracing-subscriber`, beside other layers. [`Subscriber`] is
//! for programs that need only tellane: it stores its spans itself, at about half the cost.
//!
//! | In `tracing` | In tellane |
//! |---|---|
//! | a span that is entered, on any thread and any number of times | the current span of that thread, also for tellane's own spans, logs and exemplars |
//! | a span inside one of tellane's own | its child |
//! | `parent: None`, `parent: &span` | a root, a child of that span; likewise for an event's ids |
//! | `follows_from` | a link, while the other span is open |
//! | `record` | an attribute |
//! | an error as a field | its text; its causes in `error.cause`, `error.cause.2` and so on, four at most |
//! | `Debug` and `Display` values | text, cut at 1,024 bytes |
//! | an event's `message` | the record's message; without one, the event's name |
//! | target and level | those of [`Telemetry::set_level`](crate::Telemetry::set_level), for spans and log records |
//! | `otel.name`, `otel.kind` at a span's start | its name and kind; names are interned, so their number is limited |
//! | `otel.status_code`, `otel.status_description` | its status |
//!
//! A span or event that its target's level turns off is not created; spans and events inside such a span belong to the
//! enclosing span. Spans and events of tellane's own threads are ignored, so that no loop can arise. Event names that
//! `tracing` makes from file and line, as in `event src/main.rs:7`, are treated like other names.

mod callsites;
mod core;
mod fields;
mod layer;
mod slots;
mod subscriber;

pub use self::core::Events;
pub use layer::Layer;
pub use subscriber::Subscriber;
