//! The builder of spans with a dynamic name, a parent of their own or links. Warm: a dynamic name is hashed.

use super::context::Context;
use super::owned::{EventBuilder, OwnedSpan};
use super::span::{Span, SpanContext};
use super::tracer::{ParentSpec, SpanName, Tracer};
use crate::record::SpanKind;

/// Collects the properties of a span before it starts; made by [`Tracer::build`].
///
/// ```
/// use tellane::{Context, SpanKind};
/// # let telemetry = tellane::Telemetry::builder("shop").start()?;
/// let tracer = telemetry.tracer();
/// let order = tracer.span("order");
/// let context = Context::current(); // goes into a queue, for example
/// drop(order);
/// let mut packing = tracer.build("packing").kind(SpanKind::Consumer).parent(&context).start();
/// packing.set("items", 3_u64);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug)]
#[must_use = "nothing starts before `start` or `start_owned`"]
pub struct SpanBuilder<'a> {
    tracer: &'a Tracer,
    name: &'a str,
    kind: SpanKind,
    parent: Option<Context>,
    root: bool,
    links: Vec<SpanContext>,
}

impl<'a> SpanBuilder<'a> {
    pub(super) fn new(tracer: &'a Tracer, name: &'a str) -> Self {
        Self { tracer, name, kind: SpanKind::Internal, parent: None, root: false, links: Vec::new() }
    }

    /// Sets the span's kind.
    ///
    /// ```
    /// # let tracer = tellane::Tracer::noop();
    /// drop(tracer.build("GET /cart").kind(tellane::SpanKind::Server).start());
    /// ```
    pub fn kind(mut self, kind: SpanKind) -> Self {
        self.kind = kind;
        self
    }

    /// Makes the span a child of a context's span instead of the innermost span on this thread. The span also takes the
    /// context's trace state and baggage. A context without a span changes the baggage only.
    ///
    /// ```
    /// # let telemetry = tellane::Telemetry::builder("shop").start()?;
    /// # let tracer = telemetry.tracer();
    /// let order = tracer.owned("order");
    /// let parent = tracer.context_of(&order);
    /// tracer.build("payment").parent(&parent).start_owned().end();
    /// # let snapshot = telemetry.snapshot(std::time::Duration::from_secs(5))?;
    /// # assert_eq!(snapshot.spans().next().and_then(|span| span.parent_id), order.span_context().map(|ids| ids.span_id));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[doc(alias = "with_parent")]
    pub fn parent(mut self, parent: &Context) -> Self {
        self.parent = Some(parent.clone());
        self
    }

    /// Makes the span the root of a new trace, even if spans are open on this thread.
    ///
    /// ```
    /// # let telemetry = tellane::Telemetry::builder("shop").start()?;
    /// # let tracer = telemetry.tracer();
    /// let order = tracer.span("order");
    /// let cleaning = tracer.build("cleaning").root().start();
    /// assert_ne!(order.span_context().map(|ids| ids.trace_id), cleaning.span_context().map(|ids| ids.trace_id));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn root(mut self) -> Self {
        self.root = true;
        self
    }

    /// Links another span to this one.
    ///
    /// ```
    /// # let telemetry = tellane::Telemetry::builder("shop").start()?;
    /// # let tracer = telemetry.tracer();
    /// let request = tracer.owned("request").span_context().expect("on");
    /// drop(tracer.build("batch").link(request).start());
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn link(mut self, to: SpanContext) -> Self {
        self.links.push(to);
        self
    }

    /// Starts the span as the current one of this thread.
    ///
    /// ```
    /// # let tracer = tellane::Tracer::noop();
    /// let _span = tracer.build("order").start();
    /// ```
    pub fn start(self) -> Span {
        Span::on_this_thread(self.begin(true))
    }

    /// Starts the span as an owned one, current on no thread.
    ///
    /// ```
    /// # let tracer = tellane::Tracer::noop();
    /// tracer.build("order").start_owned().end();
    /// ```
    pub fn start_owned(self) -> OwnedSpan {
        self.begin(false)
    }

    fn begin(self, on_thread: bool) -> OwnedSpan {
        // The hold lasts until the span has its own.
        let (parent, _hold) = match &self.parent {
            _ if self.root => (ParentSpec::Root, None),
            Some(context) => context.as_parent(self.tracer),
            None => (ParentSpec::Current, None),
        };
        let mut span = self.tracer.begin(SpanName::Dynamic(self.name), self.kind, parent, on_thread);
        if let (Some(active), Some(context)) = (&mut span.0, &self.parent) {
            active.set_trace_state(&context.trace_state_text());
        }
        for link in self.links {
            let _: EventBuilder<'_> = span.link(link);
        }
        span
    }
}
