//! The kit's panic messages, and the separation of tests that share an instance.

use super::Kit;
use crate::level::Level;
use std::panic::{AssertUnwindSafe, catch_unwind};

fn panic_message(act: impl FnOnce()) -> String {
    let panic = catch_unwind(AssertUnwindSafe(act)).expect_err("it should panic");
    panic.downcast_ref::<String>().cloned().unwrap_or_default()
}

#[test]
fn a_failed_query_shows_what_was_recorded() {
    let kit = Kit::new();
    let tracer = kit.tracer();
    (0..2).for_each(|_| drop(tracer.span("order")));
    kit.telemetry().counter("orders_total").label("by", "web").register().expect("a good name").inc();
    assert_eq!(panic_message(|| drop(kit.span("cart"))), "no span is named \"cart\" in\norder\norder\n");
    assert!(panic_message(|| drop(kit.span("order"))).starts_with("more than one span is named \"order\""));
    let missing = panic_message(|| assert_eq!(kit.counter("orders_total", &[]), 0));
    assert!(missing.contains("orders_total[(\"by\", \"web\")]"), "{missing}");
    kit.assert_nothing_lost();
}

#[test]
fn a_dropped_record_fails_the_assertion() {
    let kit = Kit::new();
    kit.telemetry().histogram("wait").seconds().register().expect("a good name").record_f64(f64::NAN);
    assert!(panic_message(|| kit.assert_nothing_lost()).contains("Invalid"));
}

#[test]
fn a_failed_query_for_a_log_shows_all_logs() {
    let kit = Kit::new();
    let (tracer, log) = (kit.tracer(), kit.logger("shop"));
    let order = tracer.span("order");
    let payment = tracer.span("payment");
    crate::warn!(log, "declined", card = "x");
    drop((payment, order));
    log.info("closing");
    let all = "order\n  payment\n    ! warn shop: declined card=x\n! info shop: closing\n";
    assert_eq!(kit.outline(), all);
    assert_eq!(panic_message(|| drop(kit.log("open"))), format!("no log says \"open\" in\n{all}"));
    kit.assert_logged(Level::Warn, "declined", "payment");
    kit.assert_logged(Level::Warn, "declined", "order");
    let wrong_level = panic_message(|| drop(kit.assert_logged(Level::Error, "declined", "order")));
    assert_eq!(wrong_level, format!("no log says \"declined\" at level error within \"order\" in\n{all}"));
    let outside = panic_message(|| drop(kit.assert_logged(Level::Info, "closing", "order")));
    assert!(outside.starts_with("no log says \"closing\" at level info within \"order\""), "{outside}");
    log.info("closing");
    assert!(panic_message(|| drop(kit.log("closing"))).starts_with("more than one log says \"closing\""));
    kit.assert_nothing_lost();
}

#[test]
fn tests_on_one_instance_are_separated_by_their_traces() {
    let kit = Kit::new();
    let (tracer, log) = (kit.tracer(), kit.logger("shop"));
    let serve = |name: &str| {
        let _serving = tracer.build(name).start();
        log.info(name);
        let context = crate::Context::current();
        std::thread::scope(|scope| {
            scope.spawn(|| {
                let _attached = context.attach();
                drop(tracer.span("elsewhere"));
            });
        });
    };
    let _around = tracer.span("around");
    std::thread::scope(|scope| {
        for number in 0..4 {
            let (kit, serve) = (&kit, &serve);
            scope.spawn(move || {
                let name = format!("request {number}");
                let ((), recorded) = kit.during(|| serve(&name));
                assert_eq!(recorded.outline(), format!("{name}\n  ! info shop: {name}\n  elsewhere\n"));
            });
        }
    });
    let ((), recorded) = kit.during(|| serve("here"));
    assert_eq!(recorded.tree(), "here\n  elsewhere\n");
    assert_eq!(kit.spans().len(), 15, "all of them, with the five outermost");
}

#[test]
fn gauges_and_up_down_counters_can_be_queried() {
    let kit = Kit::new();
    let telemetry = kit.telemetry();
    telemetry.gauge("heat").register().expect("a good name").set(21.5);
    telemetry.up_down_counter("waiting").register().expect("a good name").add(-2);
    assert_eq!((kit.gauge("heat", &[]), kit.up_down_counter("waiting", &[])), (21.5, -2));
    let missing = panic_message(|| assert_eq!(kit.gauge("waiting", &[]), 0.0));
    assert!(missing.starts_with("no gauge waiting[] in heat[]"), "{missing}");
    let missing = panic_message(|| assert_eq!(kit.up_down_counter("heat", &[]), 0));
    assert!(missing.starts_with("no up-down counter heat[] in "), "{missing}");
}
