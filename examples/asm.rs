//! asm
#![allow(unsafe_code)]
#[unsafe(no_mangle)]
#[inline(never)]
fn hot_record(h: &tellane::Histogram, v: u64) {
    h.record(v)
}
#[unsafe(no_mangle)]
#[inline(never)]
fn hot_inc(c: &tellane::Counter) {
    c.inc()
}
#[unsafe(no_mangle)]
#[inline(never)]
fn hot_span(t: &tellane::Tracer) {
    let _s = t.span("x");
}
fn main() {
    let t = tellane::Telemetry::builder("off").start().expect("x");
    let h = t.histogram("latency").seconds().register().expect("a fresh name");
    let c = t.counter("l").register().unwrap();
    hot_record(&h, 1);
    hot_inc(&c);
    hot_span(&t.tracer());
}
