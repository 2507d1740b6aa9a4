//! A trace across three services: headers are injected and extracted, and one service passes its context to a thread
//! pool.
//!
//! `cargo run --release --example propagation` prints the headers of each call and the resulting trace. The services
//! are instances in one process; only headers pass between them.

use std::collections::BTreeMap;
use std::error::Error;
use std::sync::mpsc;
use std::time::Duration;
use tellane::{Baggage, Context, SpanKind, Telemetry};

type Headers = BTreeMap<String, String>;

/// The first service: starts a new trace with baggage for the services behind it.
fn front(front: &Telemetry, stock: &Telemetry, packing: &Telemetry) -> Result<(), Box<dyn Error>> {
    let tracer = front.tracer();
    let _request = tracer.span_with_kind("GET /cart", SpanKind::Server);
    let _attached =
        tracer.current_context().with_baggage(Baggage::empty().with("customer", "alice")?).attach();
    let _call = tracer.span_with_kind("ask stock", SpanKind::Client);
    let mut headers = Headers::new();
    tracer.current_context().inject(&mut headers);
    println!("front -> stock: {headers:?}");
    self::stock(stock, packing, &headers)
}

/// The second service: extracts the request's context and passes it to threads of a pool.
fn stock(stock: &Telemetry, packing: &Telemetry, headers: &Headers) -> Result<(), Box<dyn Error>> {
    let tracer = stock.tracer();
    let _attached = tracer.attach(&Context::extract(headers));
    let _request = tracer.span_with_kind("POST /stock", SpanKind::Server);
    let context = tracer.current_context();
    let (jobs, work) = mpsc::channel::<(Context, u64)>();
    std::thread::scope(|scope| {
        let pool = scope.spawn(|| {
            for (context, shelf) in work {
                let _attached = context.attach();
                let mut check = tracer.span("check shelf");
                check.set("shelf", shelf);
            }
        });
        (0..3).for_each(|shelf| jobs.send((context.clone(), shelf)).expect("the pool is running"));
        drop(jobs);
        pool.join().expect("no panic");
    });
    let _call = tracer.span_with_kind("ask packing", SpanKind::Producer);
    let mut headers = Headers::new();
    tracer.current_context().inject(&mut headers);
    println!("stock -> packing: {headers:?}");
    self::packing(packing, &headers);
    Ok(())
}

/// The last service. One of the headers it receives is malformed, and is ignored.
fn packing(packing: &Telemetry, headers: &Headers) {
    let mut headers = headers.clone();
    headers.insert("tracestate".into(), "not a member".into());
    let tracer = packing.tracer();
    let _attached = tracer.attach(&Context::extract(&headers));
    let mut request = tracer.span_with_kind("pack", SpanKind::Consumer);
    let customer = Context::current().baggage().get("customer").unwrap_or("nobody").to_owned();
    println!("packing for {customer}");
    assert_eq!(customer, "alice");
    request.set("customer", customer.as_str());
}

fn main() -> Result<(), Box<dyn Error>> {
    let [shop, stock, packing] = ["front", "stock", "packing"].map(|name| Telemetry::builder(name).start());
    let (shop, stock, packing) = (shop?, stock?, packing?);
    front(&shop, &stock, &packing)?;

    let mut traces = Vec::new();
    for service in [&shop, &stock, &packing] {
        let snapshot = service.snapshot(Duration::from_secs(5))?;
        for span in snapshot.spans() {
            let parent = span.parent_id.map_or("-".into(), |id| format!("{id:016x}"));
            let entry = if span.local_root { "local root" } else { "" };
            println!(
                "{:8} {:15} {:016x} parent {parent:16} {entry}",
                snapshot.service(),
                span.name,
                span.span_id
            );
            traces.push(span.trace_id);
        }
    }
    assert_eq!(traces.len(), 8);
    traces.dedup();
    assert_eq!(traces.len(), 1, "all spans belong to one trace");
    println!("one trace: {:032x}", traces[0]);
    Ok(())
}
