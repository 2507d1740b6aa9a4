//! Compiles and runs the attribute's code with a stand-in for tellane that lists all calls. Tests with tellane itself
//! are in tellane's tests/observed.rs.

#![deny(warnings, clippy::all, clippy::pedantic)]
// Lints against the style of this file's own functions, which are written to exercise the attribute.
#![allow(
    clippy::needless_pass_by_value,
    clippy::unused_async,
    clippy::unused_self,
    clippy::missing_errors_doc,
    clippy::must_use_candidate,
    clippy::manual_async_fn,
    clippy::elidable_lifetime_names
)]

mod runtime;

use runtime::{Tracer, block_on, take};
use std::cell::Cell;
use std::fmt::{Debug, Display};
use std::future::Future;
use std::pin::Pin;
use tellane_macros::observed;

/// Returns the calls since the last time, on one line.
fn done() -> String {
    take().join(" ")
}

#[observed(crate = crate::runtime)]
fn plain() {
    runtime::note("work");
}

#[observed("op", crate = crate::runtime)]
fn renamed() {}

#[observed(crate = runtime, kind = Server, name = "op")]
fn of_kind() {}

#[observed(crate = runtime)]
fn r#type() {}

#[observed(crate = runtime, fields(items, path, owner, "http.route" = "/cart", twice = items * 2, type = "x"))]
fn with_fields(items: u64, path: &str, owner: String) -> String {
    format!("{owner}{path}{items}")
}

#[test]
fn names_kinds_and_fields() {
    plain();
    assert_eq!(done(), "open(plain) work close");
    renamed();
    assert_eq!(done(), "open(op) close");
    of_kind();
    assert_eq!(done(), "open(op,Server) close");
    r#type();
    assert_eq!(done(), "open(type) close");
    assert_eq!(with_fields(3, "/a", "me".into()), "me/a3");
    assert_eq!(done(), "open(with_fields) items=3 path=/a owner=me http.route=/cart twice=6 type=x close");
}

#[observed(crate = runtime, fields(b, c, d))]
fn patterns((_, b): (u8, u64), [c, ..]: [u64; 2], d @ 0..: u64) -> u64 {
    b + c + d
}

#[test]
fn a_name_inside_a_pattern_is_an_argument() {
    assert_eq!(patterns((0, 1), [2, 0], 3), 6);
    assert_eq!(done(), "open(patterns) b=1 c=2 d=3 close");
}

#[observed(crate = runtime)]
fn early(stop: bool) -> u8 {
    if stop {
        return 1;
    }
    runtime::note("late");
    2
}

#[observed(crate = runtime, err)]
fn parse(text: &str) -> Result<u8, std::num::ParseIntError> {
    if text.is_empty() {
        return Ok(0);
    }
    let number: u8 = text.parse()?;
    runtime::note("parsed");
    Ok(number)
}

#[observed(crate = runtime, err)]
fn converting(text: &str) -> Result<u8, Box<dyn std::error::Error>> {
    Ok(text.parse::<u8>()?)
}

#[observed(crate = runtime, err)]
fn aliased(fails: bool) -> std::fmt::Result {
    if fails { Err(std::fmt::Error) } else { Ok(()) }
}

#[observed(crate = runtime, err)]
fn opaque<'a>(words: &'a [&'a str], fails: bool) -> Result<impl Iterator<Item = String> + use<'a>, String> {
    if fails {
        Err("no")?;
    }
    Ok(words.iter().map(ToString::to_string))
}

#[observed(crate = runtime, err)]
fn never_fails() -> Result<u8, std::convert::Infallible> {
    Ok(1)
}

#[test]
fn ways_out() {
    assert_eq!((early(true), done()), (1, "open(early) close".into()));
    assert_eq!((early(false), done()), (2, "open(early) late close".into()));
    assert_eq!((parse(""), done()), (Ok(0), "open(parse) close".into()));
    assert_eq!((parse("7"), done()), (Ok(7), "open(parse) parsed close".into()));
    assert!(parse("x").is_err());
    assert_eq!(done(), "open(parse) failed(invalid digit found in string) close");
    assert!(converting("x").is_err());
    assert_eq!(done(), "open(converting) failed(invalid digit found in string) close");
    assert!(aliased(true).is_err() && aliased(false).is_ok());
    assert_eq!(
        done(),
        "open(aliased) failed(an error occurred when formatting an argument) close open(aliased) close"
    );
    assert_eq!(opaque(&["a"], false).map(Iterator::count), Ok(1));
    assert_eq!(opaque(&["a"], true).map(Iterator::count), Err("no".into()));
    assert_eq!(done(), "open(opaque) close open(opaque) failed(no) close");
    assert_eq!((never_fails(), done()), (Ok(1), "open(never_fails) close".into()));
}

#[observed(crate = runtime, err)]
fn breaks() -> Result<u8, String> {
    "x".parse::<u8>().map_err(|_| panic!("not handed on"))
}

#[observed(crate = runtime)]
fn never() -> ! {
    panic!("always")
}

#[observed(crate = runtime)]
async fn never_async() -> ! {
    panic!("always")
}

#[test]
fn a_panic_closes_the_span() {
    assert!(std::panic::catch_unwind(breaks).is_err());
    assert_eq!(done(), "open(breaks) close");
    assert!(std::panic::catch_unwind(|| never()).is_err());
    assert_eq!(done(), "open(never) close");
    assert!(std::panic::catch_unwind(|| block_on(never_async())).is_err());
    assert_eq!(done(), "open(never_async) in_span close");
}

struct Store {
    tracer: Tracer,
    rows: Vec<String>,
}

impl Store {
    /// The first row.
    #[observed(crate = runtime, tracer = self.tracer, err, fields(rows = self.rows.len()))]
    fn first(&self) -> Result<&str, &'static str> {
        let row = self.rows.first().ok_or("empty")?;
        Ok(row)
    }

    #[observed(crate = runtime, tracer = &self.tracer, err)]
    fn first_mut(&mut self) -> Result<&mut String, String> {
        self.rows.first_mut().ok_or_else(|| "empty".to_owned())
    }

    #[observed(crate = runtime, tracer = self.tracer.clone())]
    fn into_rows(mut self) -> Vec<String> {
        self.rows.push(String::new());
        self.rows
    }

    #[observed(crate = runtime, tracer = if on { &self.tracer } else { &Tracer::NOBODY })]
    fn choosing(self: &std::rc::Rc<Self>, on: bool) -> usize {
        self.rows.len()
    }

    #[observed(crate = runtime, tracer = self.tracer, err)]
    async fn fetch<'a>(&'a mut self, at: usize) -> Result<&'a mut String, String> {
        runtime::pause().await;
        let row = self.rows.get_mut(at).ok_or("no such row")?;
        Ok(row)
    }
}

#[test]
fn methods() {
    let store = || Store { tracer: Tracer("own"), rows: vec!["a".into()] };
    let mut some = store();
    assert_eq!((some.first(), done()), (Ok("a"), "open(own:first) rows=1 close".into()));
    assert_eq!(some.first_mut().map(|row| row.len()), Ok(1));
    assert_eq!(done(), "open(own:first_mut) close");
    assert_eq!(block_on(some.fetch(0)).map(|row| row.len()), Ok(1));
    assert_eq!(done(), "open(own:fetch) in_span_err close");
    assert!(block_on(some.fetch(1)).is_err());
    assert_eq!(done(), "open(own:fetch) in_span_err failed(no such row) close");
    assert_eq!(some.into_rows().len(), 2);
    assert_eq!(done(), "open(own:into_rows) close");
    let shared = std::rc::Rc::new(store());
    assert_eq!((shared.choosing(true), shared.choosing(false)), (1, 1));
    assert_eq!(done(), "open(own:choosing) close open(nobody:choosing) close");
}

#[observed(crate = runtime, fields(count = items.len()))]
fn generic<'a, T, const N: usize>(
    items: &'a [T; N],
    show: impl Fn(&T) -> String,
) -> impl Iterator<Item = String>
where
    T: Debug + 'a,
{
    let shown: Vec<_> = items.iter().map(show).collect();
    shown.into_iter()
}

#[observed(crate = runtime, err)]
async fn generic_async<T: Display + Send, E>(item: T, fails: Option<E>) -> Result<impl Display + Send, String>
where
    String: From<E>,
    E: Send,
{
    runtime::pause().await;
    if let Some(error) = fails {
        Err(error)?;
    }
    Ok(item)
}

/// # Safety
/// None.
#[observed(crate = runtime, err)]
#[allow(unsafe_code)]
unsafe fn not_safe(at: *const u8) -> Result<u8, String> {
    // SAFETY: the test below hands over a live byte
    Ok(unsafe { *at })
}

#[observed(crate = runtime)]
extern "C" fn foreign(at: i32) -> i32 {
    at + 1
}

#[observed(crate = runtime)]
fn inner_attribute() -> u8 {
    #![allow(unused_variables)]
    let unused = 1;
    2
}

#[test]
fn signatures() {
    assert_eq!(generic(&[1, 2], ToString::to_string).collect::<Vec<_>>(), ["1", "2"]);
    assert_eq!(done(), "open(generic) count=2 close");
    assert_eq!(block_on(generic_async(1, None::<&str>)).map(|item| item.to_string()), Ok("1".into()));
    assert_eq!(done(), "open(generic_async) in_span_err close");
    assert_eq!(block_on(generic_async(1, Some("no"))).map(|item| item.to_string()), Err("no".into()));
    assert_eq!(done(), "open(generic_async) in_span_err failed(no) close");
    let byte = 7;
    // SAFETY: the byte lives on
    #[allow(unsafe_code)]
    let byte = unsafe { not_safe(&raw const byte) };
    assert_eq!((byte, done()), (Ok(7), "open(not_safe) close".into()));
    assert_eq!((foreign(1), done()), (2, "open(foreign) close".into()));
    assert_eq!((inner_attribute(), done()), (2, "open(inner_attribute) close".into()));
}

#[observed(crate = runtime, fields(id, name))]
async fn load(id: u64, name: String) -> String {
    runtime::pause().await;
    name
}

#[observed(crate = runtime, kind = Client)]
async fn early_async(stop: bool) -> u8 {
    if stop {
        return 1;
    }
    2
}

trait Get {
    fn get<'a>(&'a self, key: &'a str) -> Pin<Box<dyn Future<Output = Result<u8, String>> + Send + 'a>>;

    async fn native(&self) -> u8;

    /// A default with a body.
    #[observed(crate = runtime)]
    fn provided(&self) -> u8 {
        3
    }
}

struct Memory(u8);

impl Get for Memory {
    #[observed(crate = runtime, err, fields(key))]
    fn get<'a>(&'a self, key: &'a str) -> Pin<Box<dyn Future<Output = Result<u8, String>> + Send + 'a>> {
        Box::pin(async move {
            runtime::pause().await;
            if key.is_empty() {
                Err("no key")?;
            }
            Ok(self.0)
        })
    }

    #[observed(crate = runtime)]
    async fn native(&self) -> u8 {
        self.0
    }
}

#[observed(crate = runtime)]
fn returned(cell: &Cell<u8>) -> impl Future<Output = u8> {
    async { cell.get() }
}

fn is_send<T: Send>(value: T) -> T {
    value
}

#[test]
fn futures() {
    let future = is_send(load(1, "a".into()));
    assert_eq!(done(), "", "the span starts at the first poll");
    assert_eq!(block_on(future), "a");
    assert_eq!(done(), "open(load) id=1 name=a in_span close");
    assert_eq!((block_on(early_async(true)), block_on(early_async(false))), (1, 2));
    assert_eq!(done(), "open(early_async,Client) in_span close open(early_async,Client) in_span close");
    let memory = Memory(9);
    assert_eq!(block_on(is_send(memory.get("k"))), Ok(9));
    assert_eq!(done(), "open(get) key=k in_span_err close");
    assert_eq!(block_on(memory.get("")), Err("no key".into()));
    assert_eq!(done(), "open(get) key= in_span_err failed(no key) close");
    assert_eq!((block_on(memory.native()), done()), (9, "open(native) in_span close".into()));
    assert_eq!((memory.provided(), done()), (3, "open(provided) close".into()));
    assert_eq!((block_on(returned(&Cell::new(4))), done()), (4, "open(returned) in_span close".into()));
}
