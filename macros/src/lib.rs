//! The attribute `#[observed]` and the derive `Label` of tellane. Use them as `tellane::observed` and `tellane::Label`,
//! with tellane's feature `macros`. This crate is separate because procedural macros need a crate of their own. It runs
//! in the compiler, never in a program: the code that it generates calls only tellane's public functions.

// In the order of the data: `args` parses the attribute's arguments, `function` the item, `expand` writes the result.
mod args;
mod expand;
mod function;
mod label;

use proc_macro::TokenStream;

/// Wraps a function, sync or async, in a span.
///
/// The span starts when the work starts and ends when it ends: at the last expression, by `return` or `?`, by a panic,
/// or when the future is dropped. Spans that start meanwhile are its children.
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
/// assert_eq!(keys, ["items", "shop.cart"]); // only the listed fields are recorded
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// # Arguments
///
/// Separated by commas, in any order, each at most once.
///
/// | argument | meaning | default |
/// |---|---|---|
/// | `"op"` or `name = "op"` | the span's name, a literal | the function's name |
/// | `tracer = expr` | the tracer, or a reference to one; may use `self` and the arguments | `tellane::tracer()`, the tracer of the installed instance, a no-op until one is installed |
/// | `kind = Server` | the span's kind: `Server`, `Client`, `Producer`, `Consumer`, `Internal` | the tracer's default |
/// | `fields(..)` | attributes, see below | no attributes |
/// | `err` | when the function returns `Err`, the span fails with the error's `Display` as message | the result is not inspected |
/// | `crate = path` | the path of tellane, for crates that re-export it | `::tellane` |
///
/// `tellane::tracer()` increments a reference count on every call. In hot functions, pass a tracer that you already
/// hold.
///
/// # Fields
///
/// A field is `key = expr`, `"dotted.key" = expr`, or just the name of an argument, which is then both key and value.
/// Values can be anything that implements `Into<Attribute>`: text, integers, floats, booleans. An argument of type
/// `String` is borrowed. For an argument of another type, record a part of it: `fields(user = user.id)`. Fields are
/// evaluated on every call, before the body, even if the span is not kept. Other arguments are never recorded, so a
/// password cannot get into a span by accident.
///
/// # Errors
///
/// `err` works with every `Result` whose error implements `Display`, also under an alias.
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
/// With `err`, the body of a sync function runs in a closure that is called once: `#[track_caller]` has no effect in
/// it, and arguments that the body uses are dropped before the span ends.
///
/// # Async functions
///
/// The span starts at the first poll and is current while the future is polled, on any thread. Besides `async fn`, a
/// function may return its future explicitly, as `async-trait` does, if the whole body is `Box::pin(async move { .. })`
/// or `async move { .. }`. On the methods of an `#[async_trait]` block, use `#[observed]` as on any other function.
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
/// # Compile errors
///
/// A `const fn`, which the compiler may evaluate:
/// ```compile_fail
/// #[tellane::observed]
/// const fn answer() -> u8 { 42 }
/// ```
/// An item that is not a function:
/// ```compile_fail
/// #[tellane::observed]
/// struct Order;
/// ```
/// An argument that does not exist, or is given twice:
/// ```compile_fail
/// #[tellane::observed(level = "info")]
/// fn order() {}
/// ```
/// ```compile_fail
/// #[tellane::observed("order", name = "order")]
/// fn order() {}
/// ```
/// A field that is not an argument, or whose type cannot be recorded:
/// ```compile_fail
/// #[tellane::observed(fields(items))]
/// fn order(item: u64) {}
/// ```
/// ```compile_fail,E0277
/// #[tellane::observed(fields(items))]
/// fn order(items: Vec<u8>) {}
/// ```
/// `err` on a function that does not return a `Result`, or whose error does not implement `Display`:
/// ```compile_fail
/// #[tellane::observed(err)]
/// fn order() {}
/// ```
/// ```compile_fail,E0277
/// struct Silent;
/// #[tellane::observed(err)]
/// fn order() -> Result<(), Silent> { Err(Silent) }
/// ```
/// A future that is made elsewhere, so that the span could not cover its work:
/// ```compile_fail
/// #[tellane::observed]
/// fn order() -> impl Future<Output = ()> { std::future::ready(()) }
/// ```
#[doc(alias = "instrument")]
#[proc_macro_attribute]
pub fn observed(args: TokenStream, item: TokenStream) -> TokenStream {
    expand::expand(args.into(), item.into()).into()
}

/// Derives `tellane::Label` for an enum, so that it can be a label of a fixed family (`tellane::FixedFamily`). The
/// variants are the label's values: their names in snake case, or the text of `#[label(rename = "..")]`.
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
/// enum Outcome {
///     Done,
///     NotFound,
/// }
///
/// let telemetry = tellane::Telemetry::builder("shop").start()?;
/// let requests =
///     telemetry.counter("requests_total").fixed_family::<(Method, Outcome)>(["method", "outcome"])?;
/// requests.with((Method::Get, Outcome::NotFound)).inc();
/// let snapshot = telemetry.snapshot(std::time::Duration::from_secs(5))?;
/// let labels = [("method", "GET"), ("outcome", "not_found")];
/// assert_eq!(snapshot.counter("requests_total", &labels), Some(1));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// `#[label(crate = path)]` on the enum sets the path of tellane, for crates that re-export it. Two variants with the
/// same text do not compile:
///
/// ```compile_fail
/// #[derive(Clone, Copy, tellane::Label)]
/// enum Outcome {
///     Done,
///     #[label(rename = "done")]
///     Finished,
/// }
/// ```
#[proc_macro_derive(Label, attributes(label))]
pub fn label(item: TokenStream) -> TokenStream {
    label::derive(item.into()).into()
}
