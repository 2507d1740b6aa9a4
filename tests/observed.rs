//! `#[observed]` with tellane itself: what a reader of the snapshot finds of sync and async functions, however they
//! end. What the attribute writes and what it refuses is tested in `macros/`.

use std::fmt::Display;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use tellane::testing::Kit;
use tellane::{Config, FinishedSpan, SpanKind, Status, Tracer, Value, observed};

/// Reads what tests of this file ask of a span's kind and status.
fn kind(span: &FinishedSpan) -> SpanKind {
    span.kind
}

fn message(span: &FinishedSpan) -> Option<&str> {
    span.status_message.as_deref()
}

fn start() -> (Kit, Tracer) {
    let kit = Kit::new();
    let tracer = kit.tracer();
    (kit, tracer)
}

/// The only span that has ended.
fn only(kit: &Kit) -> FinishedSpan {
    let spans = kit.spans();
    assert_eq!(spans.len(), 1, "{spans:?}");
    spans.into_iter().next().expect("one")
}

fn one_thread() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread().build().expect("a runtime")
}

#[observed]
fn before_install() -> u8 {
    7
}

#[test]
fn without_an_instance_it_does_nothing() {
    assert_eq!(before_install(), 7);
}

#[observed(tracer = tracer)]
fn outer(tracer: &Tracer) -> u8 {
    inner(tracer)
}

#[observed("within", tracer = tracer, kind = Client)]
fn inner(tracer: &Tracer) -> u8 {
    3
}

#[test]
fn calls_nest_as_spans_do() {
    let (kit, tracer) = start();
    assert_eq!(outer(&tracer), 3);
    assert!(tracer.span("after").span_context().is_some());
    let spans = kit.spans();
    let names: Vec<_> = spans.iter().map(|span| &*span.name).collect();
    assert_eq!(names, ["within", "outer", "after"]);
    assert_eq!(spans[0].parent_id, Some(spans[1].span_id));
    assert_eq!(spans[0].trace_id, spans[1].trace_id);
    assert_eq!((spans[1].parent_id, spans[2].parent_id), (None, None), "closed with its function");
    assert_eq!((kind(&spans[0]), kind(&spans[1])), (SpanKind::Client, SpanKind::Internal));
    assert_eq!(spans[1].status, Status::Unset);
    kit.end();
}

#[observed(tracer = tracer, fields(items, path, owner, "http.route" = "/cart", ratio = f64::from(items) / 2.0))]
fn with_fields(tracer: &Tracer, items: u32, path: &str, owner: String, _password: &str) -> usize {
    owner.len() + path.len()
}

#[test]
fn only_listed_fields_are_recorded() {
    let (kit, tracer) = start();
    assert_eq!(with_fields(&tracer, 3, "/a", "me".into(), "secret"), 4);
    let wanted = [
        ("items".into(), Value::U64(3)),
        ("path".into(), Value::Str("/a".into())),
        ("owner".into(), Value::Str("me".into())),
        ("http.route".into(), Value::Str("/cart".into())),
        ("ratio".into(), Value::F64(1.5)),
    ];
    assert_eq!(only(&kit).attributes, wanted);
}

#[observed(tracer = tracer)]
fn early(tracer: &Tracer, stop: bool) -> &'static str {
    if stop {
        return "early";
    }
    let _rest = tracer.span("rest");
    "late"
}

#[test]
fn an_early_return_ends_the_span() {
    let (kit, tracer) = start();
    assert_eq!((early(&tracer, true), early(&tracer, false)), ("early", "late"));
    let names: Vec<_> = kit.spans().iter().map(|span| span.name.to_string()).collect();
    assert_eq!(names, ["early", "rest", "early"]);
}

#[observed(tracer = tracer, err)]
fn parse(tracer: &Tracer, text: &str) -> Result<u8, Box<dyn std::error::Error>> {
    if text.is_empty() {
        return Ok(0);
    }
    let number = text.parse::<u8>()?;
    if number == 13 {
        return Err("unlucky".into());
    }
    Ok(number)
}

#[observed(tracer = tracer)]
fn unwatched(tracer: &Tracer, text: &str) -> Result<u8, std::num::ParseIntError> {
    text.parse()
}

#[observed(tracer = tracer, err)]
async fn parse_async(tracer: &Tracer, text: &str) -> Result<u8, Box<dyn std::error::Error>> {
    tokio::task::yield_now().await;
    if text.is_empty() {
        return Ok(0);
    }
    let number = text.parse::<u8>()?;
    if number == 13 {
        return Err("unlucky".into());
    }
    Ok(number)
}

#[test]
fn err_takes_the_error_as_message() {
    let invalid = "invalid digit found in string";
    let cases = [
        ("", Ok(0), None),
        ("7", Ok(7), None),
        ("x", Err(()), Some(invalid)),
        ("13", Err(()), Some("unlucky")),
    ];
    let runtime = one_thread();
    for (text, result, told) in cases {
        let status = if told.is_some() { Status::Error } else { Status::Unset };
        let (kit, tracer) = start();
        assert_eq!(parse(&tracer, text).map_err(|_| ()), result);
        assert_eq!(runtime.block_on(parse_async(&tracer, text)).map_err(|_| ()), result);
        let spans = kit.spans();
        assert_eq!(spans.iter().map(|span| &*span.name).collect::<Vec<_>>(), ["parse", "parse_async"]);
        for span in &spans {
            assert_eq!((span.status, message(span)), (status, told), "{} of {text:?}", span.name);
        }
    }
    let (kit, tracer) = start();
    assert!(unwatched(&tracer, "x").is_err());
    assert_eq!(only(&kit).status, Status::Unset, "without `err` nobody looks");
}

/// An error that counts how often it is shown.
struct Counted(Arc<AtomicU64>);

impl Display for Counted {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.fetch_add(1, Ordering::Relaxed);
        f.write_str("counted")
    }
}

#[observed(tracer = tracer, err)]
fn refuse(tracer: &Tracer, shown: &Arc<AtomicU64>) -> Result<u8, Counted> {
    Err(Counted(Arc::clone(shown)))
}

#[observed(tracer = tracer, err)]
async fn refuse_async(tracer: &Tracer, shown: &Arc<AtomicU64>) -> Result<u8, Counted> {
    Err(Counted(Arc::clone(shown)))
}

#[test]
fn an_error_whose_text_nobody_keeps_is_not_shown() {
    for (sampling, times) in [(0.0, 0), (1.0, 2)] {
        let kit = Kit::with(Config { sampling, ..Config::default() });
        let (tracer, shown) = (kit.tracer(), Arc::new(AtomicU64::new(0)));
        assert!(refuse(&tracer, &shown).is_err());
        assert!(one_thread().block_on(refuse_async(&tracer, &shown)).is_err());
        assert_eq!(shown.load(Ordering::Relaxed), times);
        for name in ["refuse", "refuse_async"] {
            let labels = [("span_name", name), ("span_kind", "SPAN_KIND_INTERNAL")];
            assert_eq!(kit.counter("traces_span_metrics_errors_total", &labels), 1, "an error all the same");
        }
        assert_eq!(kit.spans().len() as u64, times);
    }
}

#[observed(tracer = tracer)]
fn breaks(tracer: &Tracer) -> u8 {
    panic!("on purpose")
}

#[observed(tracer = tracer, err)]
fn breaks_in_result(tracer: &Tracer) -> Result<u8, String> {
    panic!("on purpose")
}

#[observed(tracer = tracer)]
async fn breaks_async(tracer: &Tracer) -> u8 {
    tokio::task::yield_now().await;
    panic!("on purpose")
}

#[test]
fn a_panic_ends_the_span_and_is_told() {
    let (kit, tracer) = start();
    let catch = |broken: &dyn Fn()| {
        let caught = std::panic::catch_unwind(std::panic::AssertUnwindSafe(broken));
        assert!(caught.is_err(), "the panic goes on");
    };
    catch(&|| assert_eq!(breaks(&tracer), 0));
    catch(&|| assert!(breaks_in_result(&tracer).is_ok()));
    catch(&|| assert_eq!(one_thread().block_on(breaks_async(&tracer)), 0));
    drop(tracer.span("after"));
    let spans = kit.spans();
    let told: Vec<_> = spans.iter().map(|span| (&*span.name, span.panicked, span.parent_id)).collect();
    let wanted = [
        ("breaks", true, None),
        ("breaks_in_result", true, None),
        ("breaks_async", true, None),
        ("after", false, None),
    ];
    assert_eq!(told, wanted);
}

#[test]
fn a_caught_panic_fails_the_span_though_the_future_is_dropped_later() {
    let (kit, tracer) = start();
    let mut context = std::task::Context::from_waker(std::task::Waker::noop());
    let mut future = Box::pin(breaks_async(&tracer));
    assert!(future.as_mut().poll(&mut context).is_pending());
    let poll = std::panic::AssertUnwindSafe(|| future.as_mut().poll(&mut context).is_pending());
    assert!(std::panic::catch_unwind(poll).is_err());
    drop(future);
    let span = kit.span("breaks_async");
    assert_eq!((span.status, span.panicked, span.cancelled), (tellane::Status::Error, true, false));
}

#[observed(tracer = tracer, fields(r#type, r#match = 1, "r#kept" = 2))]
fn raw_names(tracer: &Tracer, r#type: &str) -> usize {
    r#type.len()
}

#[test]
fn a_raw_identifier_is_a_key_without_its_mark() {
    let (kit, tracer) = start();
    assert_eq!(raw_names(&tracer, "web"), 3);
    let span = kit.span("raw_names");
    let keys: Vec<&str> = span.attributes.iter().map(|(key, _)| &**key).collect();
    assert_eq!(keys, ["type", "match", "r#kept"]);
}

struct Store {
    tracer: Tracer,
    rows: Vec<String>,
}

trait Rows {
    fn row<'a>(&'a self, at: usize) -> Pin<Box<dyn Future<Output = Result<&'a str, String>> + Send + 'a>>;
    async fn count(&self) -> usize;
}

impl Store {
    #[observed(tracer = self.tracer, err, fields(rows = self.rows.len()))]
    fn first_mut(&mut self) -> Result<&mut String, &'static str> {
        let row = self.rows.first_mut().ok_or("empty")?;
        Ok(row)
    }

    #[observed(tracer = self.tracer)]
    fn into_rows(self) -> impl Iterator<Item = String> {
        self.rows.into_iter()
    }
}

impl Rows for Store {
    #[observed(tracer = self.tracer, err, fields(at))]
    fn row<'a>(&'a self, at: usize) -> Pin<Box<dyn Future<Output = Result<&'a str, String>> + Send + 'a>> {
        Box::pin(async move {
            let _read = self.tracer.span("read");
            let row = self.rows.get(at).ok_or("no such row")?;
            Ok(&**row)
        })
    }

    #[observed(tracer = self.tracer, kind = Server)]
    async fn count(&self) -> usize {
        tokio::task::yield_now().await;
        self.rows.len()
    }
}

#[test]
fn methods_and_traits() {
    let (kit, tracer) = start();
    let mut store = Store { tracer, rows: vec!["a".into()] };
    store.first_mut().expect("a row").push('b');
    let runtime = one_thread();
    assert_eq!(runtime.block_on(store.row(0)), Ok("ab"));
    assert_eq!(runtime.block_on(store.row(1)), Err("no such row".into()));
    assert_eq!(runtime.block_on(store.count()), 1);
    assert_eq!(store.into_rows().collect::<Vec<_>>(), ["ab"]);
    let spans = kit.spans();
    let names: Vec<_> = spans.iter().map(|span| &*span.name).collect();
    assert_eq!(names, ["first_mut", "read", "row", "read", "row", "count", "into_rows"]);
    assert_eq!(spans[0].attributes, [("rows".into(), Value::U64(1))]);
    assert_eq!(
        spans[1].parent_id,
        Some(spans[2].span_id),
        "the work is in the span, not only the making of the future"
    );
    assert_eq!((message(&spans[2]), message(&spans[4])), (None, Some("no such row")));
    assert_eq!(kind(&spans[5]), SpanKind::Server);
}

#[observed(tracer = tracer, fields(count = items.len()))]
fn generic<T, const N: usize>(
    tracer: &Tracer,
    items: &[T; N],
    show: impl Fn(&T) -> String,
) -> impl Iterator<Item = String>
where
    T: Display,
{
    let shown: Vec<_> = items.iter().map(show).collect();
    shown.into_iter()
}

#[observed(tracer = tracer, err)]
async fn generic_async<T: Display + Send, E: Send>(
    tracer: Tracer,
    item: T,
    fails: Option<E>,
) -> Result<impl Display + Send, String>
where
    String: From<E>,
{
    tokio::task::yield_now().await;
    if let Some(error) = fails {
        Err(error)?;
    }
    Ok(item)
}

#[test]
fn generics() {
    let (kit, tracer) = start();
    assert_eq!(generic(&tracer, &[1, 2], ToString::to_string).collect::<Vec<_>>(), ["1", "2"]);
    let runtime = one_thread();
    let shown = runtime.block_on(generic_async(tracer.clone(), 7, None::<&str>));
    assert_eq!(shown.map(|item| item.to_string()), Ok("7".into()));
    let shown = runtime.block_on(generic_async(tracer, 7, Some("no")));
    assert_eq!(shown.map(|item| item.to_string()), Err("no".into()));
    let spans = kit.spans();
    let told: Vec<_> = spans.iter().map(|span| (&*span.name, message(span))).collect();
    assert_eq!(told, [("generic", None), ("generic_async", None), ("generic_async", Some("no"))]);
    assert_eq!(spans[0].attributes, [("count".into(), Value::U64(2))]);
}

#[observed(tracer = tracer, fields(id))]
async fn task(tracer: Tracer, id: u64, arrived: Arc<AtomicU64>, wanted: u64) -> u64 {
    arrived.fetch_add(1, Ordering::Relaxed);
    while arrived.load(Ordering::Relaxed) < wanted {
        tokio::task::yield_now().await;
    }
    let _step = tracer.span("step");
    id
}

#[test]
fn tasks_that_take_turns_keep_their_own_children() {
    let (kit, tracer) = start();
    let runtime = one_thread();
    let arrived = Arc::new(AtomicU64::new(0));
    let tasks: Vec<_> =
        (0..8).map(|id| runtime.spawn(task(tracer.clone(), id, Arc::clone(&arrived), 8))).collect();
    runtime.block_on(async {
        for (id, task) in (0..).zip(tasks) {
            assert_eq!(task.await.expect("no panic"), id);
        }
    });
    let spans = kit.spans();
    assert_eq!(spans.len(), 16);
    for task in spans.iter().filter(|span| &*span.name == "task") {
        assert_eq!(task.parent_id, None, "all were open at once, none within another");
        let steps = spans.iter().filter(|span| span.parent_id == Some(task.span_id)).count();
        assert_eq!(steps, 1, "{task:?}");
    }
}

#[test]
fn a_future_that_is_dropped_ends_its_span_and_one_never_polled_has_none() {
    let (kit, tracer) = start();
    let nobody = || Arc::new(AtomicU64::new(0));
    drop(task(tracer.clone(), 1, nobody(), 2));
    let mut dropped = Box::pin(task(tracer, 2, nobody(), 2));
    let mut context = std::task::Context::from_waker(std::task::Waker::noop());
    assert!(dropped.as_mut().poll(&mut context).is_pending());
    drop(dropped);
    assert_eq!(only(&kit).attributes, [("id".into(), Value::U64(2))]);
}
