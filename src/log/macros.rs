//! The log macros. Each statement has one static callsite, and compares the level before it evaluates anything.

/// Logs at TRACE level, for following the program step by step. Syntax as in [`info!`](crate::info).
///
/// ```
/// tellane::trace!(tellane::Logger::noop(), "one more item", "item.number" = 3);
/// ```
#[macro_export]
macro_rules! trace {
    ($($statement:tt)*) => { $crate::__log!(Trace, $($statement)*) };
}

/// Logs at DEBUG level, for debugging. Syntax as in [`info!`](crate::info).
///
/// ```
/// tellane::debug!(tellane::Logger::noop(), "the cart is empty");
/// ```
#[macro_export]
macro_rules! debug {
    ($($statement:tt)*) => { $crate::__log!(Debug, $($statement)*) };
}

/// Logs at INFO level, for normal operation: a logger, a message and fields. Field values are anything that converts to
/// an [`Attribute`](crate::Attribute); they are not evaluated if the level is off. A message that is a literal is not
/// copied into the record. A key is an identifier or a literal; `r#type` is the key `type`.
///
/// ```
/// let (sink, kept) = tellane::Sink::memory(10);
/// let telemetry = tellane::Telemetry::builder("shop").log_to(sink).start()?;
/// let log = telemetry.logger("shop::cart");
/// let (items, method) = (3, String::from("card"));
/// tellane::info!(log, "checked out", items = items, "payment.method" = &method);
/// telemetry.snapshot(std::time::Duration::from_secs(5))?;
/// assert_eq!(kept.records()[0].fields[1].1.to_string(), "card");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[macro_export]
macro_rules! info {
    ($($statement:tt)*) => { $crate::__log!(Info, $($statement)*) };
}

/// Logs at WARN level, for problems that the program can go on with. Syntax as in [`info!`](crate::info).
///
/// ```
/// tellane::warn!(tellane::Logger::noop(), "stock is low", left = 3);
/// ```
#[macro_export]
macro_rules! warn {
    ($($statement:tt)*) => { $crate::__log!(Warn, $($statement)*) };
}

/// Logs at ERROR level, for failures. Syntax as in [`info!`](crate::info). To log an error value, see
/// [`Logger::error_with`](crate::Logger::error_with).
///
/// ```
/// tellane::error!(tellane::Logger::noop(), "the till is on fire", till = 4);
/// ```
#[macro_export]
macro_rules! error {
    ($($statement:tt)*) => { $crate::__log!(Error, $($statement)*) };
}

#[doc(hidden)]
#[macro_export]
macro_rules! __log {
    ($level:ident, $logger:expr, $message:literal $(, $key:tt = $value:expr)* $(,)?) => {{
        static CALLSITE: $crate::macro_support::Callsite = $crate::macro_support::Callsite::new(
            $crate::Level::$level,
            $message,
            ::core::module_path!(),
            ::core::file!(),
            ::core::line!(),
        );
        let logger: &$crate::Logger = &$logger;
        if $crate::macro_support::wants(logger, $crate::Level::$level) {
            $crate::macro_support::write(
                logger,
                $crate::Level::$level,
                ::core::result::Result::Ok(&CALLSITE),
                &[$(($crate::__log_key!($key), $crate::macro_support::Attribute::from($value))),*],
            );
        }
    }};
    ($level:ident, $logger:expr, $message:expr $(, $key:tt = $value:expr)* $(,)?) => {{
        let logger: &$crate::Logger = &$logger;
        if $crate::macro_support::wants(logger, $crate::Level::$level) {
            $crate::macro_support::write(
                logger,
                $crate::Level::$level,
                ::core::result::Result::Err($message),
                &[$(($crate::__log_key!($key), $crate::macro_support::Attribute::from($value))),*],
            );
        }
    }};
}

#[doc(hidden)]
#[macro_export]
macro_rules! __log_key {
    ($key:ident) => {{
        const KEY: &::core::primitive::str = $crate::macro_support::unraw(::core::stringify!($key));
        KEY
    }};
    ($key:literal) => {
        $key
    };
}
