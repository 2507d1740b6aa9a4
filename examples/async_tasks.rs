//! Spans that follow their tasks: many concurrent requests on a tokio runtime of several threads, one of them
//! cancelled.
//!
//! `cargo run --release --example async_tasks` prints the span trees of three requests. It also checks that every span
//! has the right parent, on whatever threads its task ran.

use std::collections::HashMap;
use std::error::Error;
use std::time::Duration;
use tellane::{FinishedSpan, InSpan, SpanKind, Telemetry, Tracer};

const REQUESTS: u64 = 100;

async fn serve(tracer: Tracer, number: u64) -> Result<u64, String> {
    let stock = look_up(tracer.clone(), number)
        .in_span(tracer.owned_with_kind("look up stock", SpanKind::Client))
        .await;
    let payment = pay(number).in_span_err(tracer.owned("pay")).await?;
    Ok(stock + payment)
}

async fn look_up(tracer: Tracer, number: u64) -> u64 {
    tokio::task::yield_now().await; // the task may continue on another thread
    let mut parse = tracer.span("parse answer"); // a guard: not held across an await
    parse.set("bytes", 10 * number);
    number
}

async fn pay(number: u64) -> Result<u64, String> {
    tokio::task::yield_now().await;
    if number % 10 == 7 { Err(format!("card {number} is declined")) } else { Ok(1) }
}

/// Prints a span and its descendants, indented.
fn print(span: &FinishedSpan, children: &HashMap<u64, Vec<&FinishedSpan>>, depth: usize) {
    let message = span.status_message.as_deref().map_or(String::new(), |message| format!(": {message}"));
    let cancelled = if span.cancelled { " (cancelled)" } else { "" };
    println!("{:indent$}{}{cancelled}{message}", "", span.name, indent = 2 * depth);
    for child in children.get(&span.span_id).into_iter().flatten() {
        print(child, children, depth + 1);
    }
}

fn main() -> Result<(), Box<dyn Error>> {
    let telemetry = Telemetry::builder("shop").start()?;
    let tracer = telemetry.tracer();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(4).build()?;
    let failed = runtime.block_on(async {
        let tasks: Vec<_> = (0..REQUESTS)
            .map(|number| {
                let mut request = tracer.owned_with_kind("request", SpanKind::Server);
                request.set("number", number);
                tokio::spawn(serve(tracer.clone(), number).in_span_err(request))
            })
            .collect();
        // This future is never polled to its end: it is dropped, and its span is cancelled.
        drop(std::future::pending::<()>().in_span(tracer.owned("abandoned")));
        let mut failed = 0;
        for task in tasks {
            failed += u64::from(task.await.is_ok_and(|result| result.is_err()));
        }
        failed
    });

    let snapshot = telemetry.snapshot(Duration::from_secs(5))?;
    let mut spans: Vec<FinishedSpan> = snapshot.spans().collect();
    spans.sort_by_key(|span| span.start_unix_nanos); // spans of several threads are not ordered by time
    let mut children: HashMap<u64, Vec<&FinishedSpan>> = HashMap::new();
    spans.iter().for_each(|span| children.entry(span.parent_id.unwrap_or(0)).or_default().push(span));
    let roots = &children[&0];
    roots
        .iter()
        .filter(|root| root.status_message.is_some() || root.cancelled)
        .take(3)
        .for_each(|root| print(root, &children, 0));
    assert_eq!((roots.len() as u64, failed), (REQUESTS + 1, 10), "all requests, and the abandoned one");
    for root in roots.iter().filter(|root| &*root.name == "request") {
        let names: Vec<_> = children[&root.span_id].iter().map(|child| &*child.name).collect();
        assert_eq!(names, ["look up stock", "pay"]);
    }
    println!("{} requests, {failed} failed, {} spans", REQUESTS, spans.len());
    let end = telemetry.shutdown(Duration::from_secs(5));
    assert_eq!(end.ledger.total().dropped.total(), 0);
    println!("{}", end.ledger);
    Ok(())
}
