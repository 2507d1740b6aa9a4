//! Tests of both routes of the service over sockets.

use super::service;
use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpListener;
use tellane::testing::Kit;

/// Answers a number of requests and returns the headers of each.
fn harness(listener: TcpListener, requests: usize) -> Vec<BTreeMap<String, String>> {
    let answer = |_| {
        let (stream, _) = listener.accept().expect("a request");
        let mut reader = BufReader::new(&stream);
        let mut headers = BTreeMap::new();
        let mut line = String::new();
        while reader.read_line(&mut line).expect("a line") > 2 {
            if let Some((name, value)) = line.split_once(':') {
                headers.insert(name.to_lowercase(), value.trim().to_owned());
            }
            line.clear();
        }
        let mut body = vec![0; headers["content-length"].parse().expect("a number")];
        reader.read_exact(&mut body).expect("a body");
        assert_eq!(body, br#"[{"deep":1}]"#, "the arguments are posted on as they came");
        let answer = b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\nconnection: close\r\n\r\n";
        (&stream).write_all(answer).expect("an answer");
        headers
    };
    (0..requests).map(answer).collect()
}

#[test]
fn both_routes_propagate_the_context() {
    for way in ["test", "blocking"] {
        let kit = Kit::new();
        let runtime = tokio::runtime::Builder::new_multi_thread().enable_io().build().expect("a runtime");
        let local = || TcpListener::bind("127.0.0.1:0").expect("a port");
        let (front, back) = (local(), local());
        let address = |listener: &TcpListener| listener.local_addr().expect("bound");
        let (front_address, back_address) = (address(&front), address(&back));
        front.set_nonblocking(true).expect("a socket");
        let tracer = kit.tracer();
        runtime.spawn(async move {
            let listener = tokio::net::TcpListener::from_std(front).expect("within the runtime");
            axum::serve(listener, service(tracer)).await
        });
        let back = std::thread::spawn(move || harness(back, 2));

        let call = format!(r#"{{"url":"http://{back_address}/","arguments":[{{"deep":1}}]}}"#);
        ureq::post(format!("http://{front_address}/{way}"))
            .header("traceparent", "00-12345678901234567890123456789012-1234567890123456-01")
            .header("tracestate", "foo=1 , bar=2,foo=3")
            .header("baggage", "user=alice")
            .send(format!("[{call},{call}]"))
            .expect("an answer");

        let received = back.join().expect("no panic");
        for headers in &received {
            assert!(headers["traceparent"].starts_with("00-12345678901234567890123456789012-"), "{way}");
            assert_eq!(headers["tracestate"], "foo=1,bar=2", "{way}");
            assert_eq!(headers["baggage"], "user=alice", "{way}");
        }
        assert_ne!(received[0]["traceparent"], received[1]["traceparent"], "{way}: each call is a span");
        let tree = format!("POST /{way}\n  POST\n  POST\n");
        assert_eq!(kit.tree(), tree);
    }
}

#[test]
fn malformed_lists_of_calls_are_refused() {
    for bad in ["", "{}", "[1]", r#"[{"arguments":[]}]"#] {
        let refused = super::calls(bad.as_bytes()).map(drop).expect_err("it is malformed");
        assert_eq!(refused.0, axum::http::StatusCode::BAD_REQUEST, "{bad}");
    }
}
