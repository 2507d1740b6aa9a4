//! The attribute `#[observed]` and the derive `Label` of tellane. Use them as `tellane::observed` and `tellane::Label`,
//! with tellane's feature `macros`; this crate is separate because the compiler wants attributes in crates of their own. It runs in the compiler, never in a
//! program: what it writes names tellane's public functions only.

// From the words between the parentheses to the new function.
mod args;
mod expand;
mod function;
mod label;

use proc_macro::TokenStream;

/// Puts a span around a function, sync or async.
///
/// The span starts when the work does and ends with it, however that ends: at its last expression, by `return` or `?`,
/// by a panic, or when the future is dropped. Spans that start meanwhile are its children.
///
/// ```
/// use tellane::{Tracer, observed};
///
/// struct Shop {
///     tracer: Tracer,
/// }
///
/// impl Shop {
///     #[observed(tracer = self.tracer, fields(items, "shop.cart" = cart.len()))]
///     fn order(&self, items: u64, cart: &[u64], _card: &str) -> u64 {
///         self.price(cart) * items
///     }
///
///     #[observed("look up price", tracer = self.tracer)]
///     fn price(&self, cart: &[u64]) -> u64 {
///         cart.iter().sum()
///     }
/// }
///
/// let telemetry = tellane::Telemetry::builder("shop").start()?;
/// let shop = Shop { tracer: telemetry.tracer() };
/// assert_eq!(shop.order(2, &[3, 4], "4111 1111"), 14);
///
/// let snapshot = telemetry.snapshot(std::time::Duration::from_secs(5))?;
/// let spans: Vec<_> = snapshot.spans().collect();
/// assert_eq!(spans.iter().map(|span| &*span.name).collect::<Vec<_>>(), ["look up price", "order"]);
/// assert_eq!(spans[0].parent_id, Some(spans[1].span_id));
/// let keys: Vec<_> = spans[1].attributes.iter().map(|(key, _)| &**key).collect();
/// assert_eq!(keys, ["items", "shop.cart"]); // what is not listed is not recorded
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// # Arguments
///
/// Separated by commas, in any order, each at most once.
///
/// | argument | what it does | without it |
/// |---|---|---|
/// | `"op"` or `name = "op"` | the span's name, a literal | the function's name |
/// | `tracer = expr` | the tracer, or a reference to one; may use `self` and the arguments | `tellane::tracer()`, the installed instance's, which does nothing before there is one |
/// | `kind = Server` | the span's kind: `Server`, `Client`, `Producer`, `Consumer`, `Internal` | the tracer's default |
/// | `fields(..)` | attributes, see below | nothing is recorded |
/// | `err` | when the function returns `Err`, the span fails with the error's `Display` as message | it does not look |
/// | `crate = path` | where tellane is, for crates that re-export it | `::tellane` |
///
/// Getting the installed instance's tracer counts a reference on every call: hot functions are better off with a
/// tracer that they hold.
///
/// # Fields
///
/// `key = expr`, `"dotted.key" = expr`, or the name of an argument alone, which is then key and value. Values are
/// what `Into<Attribute>` is made from: text, integers, floats, booleans. An argument of type `String` is read by
/// reference; of others that are no value as they stand, write which part: `fields(user = user.id)`. Fields are
/// evaluated on every call, before the body, whether or not the span is kept. Nothing else is recorded, so no password
/// comes along by accident.
///
/// # Errors
///
/// `err` takes any `Result` whose error is `Display`, under any alias.
///
/// ```
/// use tellane::{Status, Tracer, observed};
///
/// #[observed(tracer = tracer, err)]
/// fn parse(tracer: &Tracer, text: &str) -> Result<u8, Box<dyn std::error::Error>> {
///     Ok(text.trim().parse()?)
/// }
///
/// let telemetry = tellane::Telemetry::builder("shop").start()?;
/// assert!(parse(&telemetry.tracer(), "three").is_err());
/// let snapshot = telemetry.snapshot(std::time::Duration::from_secs(5))?;
/// assert_eq!(snapshot.spans().next().map(|span| span.status), Some(Status::Error));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// With it, the body of a sync function runs in a closure that is called once: `#[track_caller]` does not reach into
/// it, and arguments that the body uses are dropped before the span ends.
///
/// # Async functions
///
/// The span starts at the first poll, and is current while the future is polled, on whichever thread that is. Besides
/// `async fn`, a function may return its future by hand, as `async-trait` has it, if the whole body is
/// `Box::pin(async move { .. })` or `async move { .. }`. Put `#[observed]` on the methods of an `#[async_trait]` block
/// as on any other.
///
/// ```
/// use std::pin::Pin;
/// use tellane::{Tracer, observed};
///
/// #[observed(tracer = tracer, fields(id))]
/// async fn load(tracer: Tracer, id: u64) -> u64 {
///     let _inner = tracer.span("read"); // a child of `load`
///     id + 1
/// }
///
/// #[observed(tracer = tracer, err)]
/// fn boxed<'a>(tracer: &'a Tracer) -> Pin<Box<dyn Future<Output = Result<u8, String>> + Send + 'a>> {
///     Box::pin(async move { Err("nothing there".to_owned()) })
/// }
///
/// let telemetry = tellane::Telemetry::builder("shop").start()?;
/// let tracer = telemetry.tracer();
/// let runtime = tokio::runtime::Builder::new_current_thread().build()?;
/// assert_eq!(runtime.block_on(load(tracer.clone(), 7)), 8);
/// assert!(runtime.block_on(boxed(&tracer)).is_err());
/// let snapshot = telemetry.snapshot(std::time::Duration::from_secs(5))?;
/// let names: Vec<_> = snapshot.spans().map(|span| span.name.to_string()).collect();
/// assert_eq!(names, ["read", "load", "boxed"]);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// # What does not compile
///
/// A function that the compiler may run:
/// ```compile_fail
/// #[tellane::observed]
/// const fn answer() -> u8 { 42 }
/// ```
/// Anything that is no function:
/// ```compile_fail
/// #[tellane::observed]
/// struct Order;
/// ```
/// An argument that does not exist, or stands twice:
/// ```compile_fail
/// #[tellane::observed(level = "info")]
/// fn order() {}
/// ```
/// ```compile_fail
/// #[tellane::observed("order", name = "order")]
/// fn order() {}
/// ```
/// A field that is no argument, or no value:
/// ```compile_fail
/// #[tellane::observed(fields(items))]
/// fn order(item: u64) {}
/// ```
/// ```compile_fail,E0277
/// #[tellane::observed(fields(items))]
/// fn order(items: Vec<u8>) {}
/// ```
/// `err` where there is no `Result`, or an error without `Display`:
/// ```compile_fail
/// #[tellane::observed(err)]
/// fn order() {}
/// ```
/// ```compile_fail,E0277
/// struct Silent;
/// #[tellane::observed(err)]
/// fn order() -> Result<(), Silent> { Err(Silent) }
/// ```
/// A future that is made elsewhere, whose work the span would not see:
/// ```compile_fail
/// #[tellane::observed]
/// fn order() -> impl Future<Output = ()> { std::future::ready(()) }
/// ```
#[proc_macro_attribute]
pub fn observed(args: TokenStream, item: TokenStream) -> TokenStream {
    expand::expand(args.into(), item.into()).into()
}

/// Makes an enum a label of a fixed family (`tellane::FixedFamily`): its
/// variants are the values, by their names in snake case or by what `#[label(rename = "..")]` says.
///
/// ```
/// use tellane::Label;
///
/// #[derive(Clone, Copy, Label)]
/// enum Method {
///     #[label(rename = "GET")]
///     Get,
///     #[label(rename = "PUT")]
///     Put,
/// }
///
/// #[derive(Clone, Copy, Label)]
/// enum TailSampling {
///     Done,
///     NotFound,
/// }
///
/// let telemetry = tellane::Telemetry::builder("shop").start()?;
/// let requests =
///     telemetry.counter("requests_total").fixed_family::<(Method, TailSampling)>(["method", "outcome"])?;
/// requests.with((Method::Get, TailSampling::NotFound)).inc();
/// let snapshot = telemetry.snapshot(std::time::Duration::from_secs(5))?;
/// let labels = [("method", "GET"), ("outcome", "not_found")];
/// assert_eq!(snapshot.counter("requests_total", &labels), Some(1));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// `#[label(crate = path)]` on the enum says where tellane is, for crates that re-export it. Two variants with one text
/// do not compile:
///
/// ```compile_fail
/// #[derive(Clone, Copy, tellane::Label)]
/// enum TailSampling {
///     Done,
///     #[label(rename = "done")]
///     Finished,
/// }
/// ```
#[proc_macro_derive(Label, attributes(label))]
pub fn label(item: TokenStream) -> TokenStream {
    label::derive(item.into()).into()
}
