//! Status, kind and attribute values of spans and log records. Cold, except that the hot path stores them.

/// The status of a span.
///
/// ```
/// use tellane::Status;
/// # let telemetry = tellane::Telemetry::builder("shop").start()?;
/// telemetry.tracer().span("order").set_status(Status::Ok);
/// drop(telemetry.tracer().span("payment"));
/// # let snapshot = telemetry.snapshot(std::time::Duration::from_secs(5))?;
/// let statuses: Vec<_> = snapshot.spans().map(|span| span.status).collect();
/// assert_eq!(statuses, [Status::Ok, Status::Unset]);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Status {
    /// No status was set.
    #[default]
    Unset = 0,
    /// The caller marked the operation as successful.
    Ok = 1,
    /// The operation failed.
    Error = 2,
}

/// The role of a span in a call or an exchange of messages, as OpenTelemetry defines it.
///
/// ```
/// use tellane::SpanKind;
/// # let telemetry = tellane::Telemetry::builder("shop").start()?;
/// drop(telemetry.tracer().span_with_kind("GET /cart", SpanKind::Server));
/// let snapshot = telemetry.snapshot(std::time::Duration::from_secs(5))?;
/// assert_eq!(snapshot.spans().next().map(|span| span.kind), Some(SpanKind::Server));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
#[repr(u8)]
pub enum SpanKind {
    /// An operation within the program.
    #[default]
    Internal = 0,
    /// Handles a request from another process.
    Server = 1,
    /// Sends a request to another process and waits for the answer.
    Client = 2,
    /// Sends a message that is processed later.
    Producer = 3,
    /// Processes a message that was sent earlier.
    Consumer = 4,
}

impl SpanKind {
    pub(crate) const ALL: [Self; 5] =
        [Self::Internal, Self::Server, Self::Client, Self::Producer, Self::Consumer];

    /// The kind's name in lower case.
    ///
    /// ```
    /// assert_eq!(tellane::SpanKind::Server.name(), "server");
    /// ```
    pub fn name(self) -> &'static str {
        match self {
            Self::Internal => "internal",
            Self::Server => "server",
            Self::Client => "client",
            Self::Producer => "producer",
            Self::Consumer => "consumer",
        }
    }

    /// The kind as a value of the metric label `span_kind`, as OpenTelemetry's collector writes it.
    ///
    /// ```
    /// assert_eq!(tellane::SpanKind::Server.label(), "SPAN_KIND_SERVER");
    /// ```
    pub fn label(self) -> &'static str {
        match self {
            Self::Internal => "SPAN_KIND_INTERNAL",
            Self::Server => "SPAN_KIND_SERVER",
            Self::Client => "SPAN_KIND_CLIENT",
            Self::Producer => "SPAN_KIND_PRODUCER",
            Self::Consumer => "SPAN_KIND_CONSUMER",
        }
    }
}

/// The value of an attribute.
///
/// ```
/// use tellane::Value;
/// # let telemetry = tellane::Telemetry::builder("shop").start()?;
/// telemetry.tracer().span("order").set("items", 3_u64);
/// # let snapshot = telemetry.snapshot(std::time::Duration::from_secs(5))?;
/// let order = snapshot.spans().next().expect("just ended");
/// let (key, value) = &order.attributes[0];
/// assert_eq!((&**key, value), ("items", &Value::U64(3)));
/// assert_eq!(value.to_string(), "3");
/// assert_eq!(Value::F64(2.0).to_string(), "2.0");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
#[doc(alias = "AnyValue")]
pub enum Value {
    /// A text. Invalid UTF-8 is replaced when a record is decoded.
    Str(String),
    /// A text that was longer than the limit and was truncated. Displayed with an ellipsis.
    Cut(String),
    /// A signed integer.
    I64(i64),
    /// An unsigned integer.
    U64(u64),
    /// A floating point number; NaN is allowed.
    F64(f64),
    /// A boolean, `true` or `false`.
    Bool(bool),
}

impl std::fmt::Display for Value {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Str(text) => f.write_str(text),
            Self::Cut(text) => write!(f, "{text}…"),
            Self::I64(number) => write!(f, "{number}"),
            Self::U64(number) => write!(f, "{number}"),
            // `Debug` keeps the decimal point of a whole number, so that a reader sees that it is a float, and writes
            // very large and very small numbers with an exponent.
            Self::F64(number) => write!(f, "{number:?}"),
            Self::Bool(truth) => write!(f, "{truth}"),
        }
    }
}
