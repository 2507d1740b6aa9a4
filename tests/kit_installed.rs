//! The kit for code that uses the installed instance: tests of one binary share it, at the same time, and each sees its
//! own spans and logs.

use tellane::testing::Kit;
use tellane::{Context, InSpan, LazyCounter, Level, StartError, Telemetry};

static SERVED: LazyCounter = tellane::counter!("served_total", "Requests served.");

/// What is tested: nobody hands it a tracer.
fn serve(name: &str) {
    let tracer = tellane::tracer();
    let mut request = tracer.build("request").start();
    request.set("name", name);
    tellane::info!(tellane::logger("shop"), "served", name = name);
    SERVED.inc();
}

fn outline(name: &str) -> String {
    format!("request name={name}\n  ! info shop: served name={name}\n")
}

#[test]
fn a_thread_sees_its_own() {
    let kit = Kit::installed();
    for round in 0..50 {
        let name = format!("a {round}");
        let ((), recorded) = kit.during(|| serve(&name));
        assert_eq!(recorded.outline(), outline(&name));
        recorded.assert_logged(Level::Info, "served", "request");
    }
    assert!(kit.counter("served_total", &[]) >= 50, "of all tests");
}

#[test]
fn tasks_and_threads_that_run_in_its_spans_are_its_own() {
    let kit = Kit::installed();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).build().expect("a runtime");
    let ((), recorded) = kit.during(|| {
        let context = Context::current();
        std::thread::scope(|scope| {
            scope.spawn(move || {
                let _attached = context.attach();
                serve("thread");
            });
        });
        let task = async {
            tokio::task::yield_now().await;
            serve("task");
        };
        let task = runtime.spawn(task.in_span(tellane::tracer().owned("task")));
        runtime.block_on(task).expect("no panic");
        std::thread::scope(|scope| {
            scope.spawn(|| serve("nobody's")); // begins a trace of its own
        });
    });
    let inside = outline("task").replace("request", "  request").replace("  !", "    !");
    assert_eq!(recorded.outline(), format!("{}task\n{inside}", outline("thread")));
    let others = kit.recorded();
    assert!(others.outline().contains(&outline("nobody's")), "{}", others.outline());
}

#[test]
fn there_is_one() {
    assert!(std::ptr::eq(Kit::installed(), Kit::installed()));
    assert!(matches!(Telemetry::builder("shop").install(), Err(StartError::AlreadyInstalled)));
}
