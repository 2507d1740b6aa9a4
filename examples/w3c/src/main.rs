//! A service under test for the W3C trace-context validation suite: it forwards requests with their trace context.
//!
//! A request is a JSON list of `{"url": ..., "arguments": ...}`. For each item the service posts `arguments` to `url`.
//! It has two routes, which must propagate the same trace context:
//!
//! - `POST /test`: futures in spans ([`tellane::InSpan`]), on a runtime of several threads;
//! - `POST /blocking`: an attached context and span guards, on a thread for blocking work.
//!
//! To run the suite by hand (<https://github.com/w3c/trace-context>, the folder `test`):
//!
//! ```console
//! cargo run -p w3c
//! STRICT_LEVEL=2 SPEC_LEVEL=2 python test.py http://127.0.0.1:5000/test
//! STRICT_LEVEL=2 SPEC_LEVEL=2 python test.py http://127.0.0.1:5000/blocking
//! ```

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::routing::post;
use serde_json::Value;
use std::error::Error;
use std::time::Duration;
use tellane::{Context, InSpan, SpanKind, Telemetry, Tracer};

/// Address to listen on, reachable from this machine only.
const ADDRESS: &str = "127.0.0.1:5000";

fn main() -> Result<(), Box<dyn Error>> {
    let telemetry = Telemetry::builder("w3c").start()?;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_io().build()?;
    runtime.block_on(async {
        let listener = tokio::net::TcpListener::bind(ADDRESS).await?;
        println!("listening on http://{}/test and /blocking", listener.local_addr()?);
        axum::serve(listener, service(telemetry.tracer())).await
    })?;
    Ok(())
}

fn service(tracer: Tracer) -> Router {
    Router::new().route("/test", post(by_futures)).route("/blocking", post(by_guards)).with_state(tracer)
}

/// One outgoing request.
struct Call {
    url: String,
    arguments: String,
}

fn calls(body: &[u8]) -> Result<Vec<Call>, Failure> {
    let list: Vec<Value> = serde_json::from_slice(body).map_err(|error| bad(&error))?;
    let call = |item: &Value| {
        let url = item["url"].as_str().ok_or_else(|| bad(&"the `url` of each call must be a string"))?;
        Ok(Call { url: url.to_owned(), arguments: item["arguments"].to_string() })
    };
    list.iter().map(call).collect()
}

type Failure = (StatusCode, String);

fn bad(error: &dyn std::fmt::Display) -> Failure {
    (StatusCode::BAD_REQUEST, error.to_string())
}

/// Handles a request with futures: the server span is owned, the handler is a future in it, and each call is a future
/// in a span of its own.
async fn by_futures(State(tracer): State<Tracer>, headers: HeaderMap, body: Bytes) -> Result<(), Failure> {
    let parent = tracer.extract(&headers);
    let server = tracer.build("POST /test").kind(SpanKind::Server).parent(&parent).start_owned();
    let handler = async {
        for call in calls(&body)? {
            // Like a real handler, this one awaits; afterwards its task may be on another thread.
            tokio::task::yield_now().await;
            let client = tracer.owned_with_kind("POST", SpanKind::Client);
            let sent = async {
                let headers = injected();
                let sent = tokio::task::spawn_blocking(move || send(&call, &headers)).await;
                sent.unwrap_or_else(|panic| Err(panic.to_string()))
            };
            sent.in_span_err(client).await.map_err(|error| (StatusCode::BAD_GATEWAY, error))?;
        }
        Ok(())
    };
    handler.in_span(server).await
}

/// Handles a request on a thread for blocking work: the request's context is attached to the thread, and spans are
/// guards.
async fn by_guards(State(tracer): State<Tracer>, headers: HeaderMap, body: Bytes) -> Result<(), Failure> {
    let handler = move || {
        let _attached = tracer.attach(&Context::extract(&headers));
        let _server = tracer.span_with_kind("POST /blocking", SpanKind::Server);
        for call in calls(&body)? {
            let mut client = tracer.span_with_kind("POST", SpanKind::Client);
            send(&call, &injected()).map_err(|error| {
                client.fail_with(&error);
                (StatusCode::BAD_GATEWAY, error)
            })?;
        }
        Ok(())
    };
    let handled = tokio::task::spawn_blocking(handler).await;
    handled.unwrap_or_else(|panic| Err((StatusCode::INTERNAL_SERVER_ERROR, panic.to_string())))
}

/// Returns the headers of the current context.
fn injected() -> HeaderMap {
    let mut headers = HeaderMap::new();
    Context::current().inject(&mut headers);
    headers
}

fn send(call: &Call, headers: &HeaderMap) -> Result<(), String> {
    let mut request = ureq::post(&call.url).config().timeout_global(Some(Duration::from_secs(5))).build();
    for (name, value) in headers {
        request = request.header(name, value);
    }
    let sent = request.content_type("application/json").send(&call.arguments);
    sent.map(drop).map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests;
