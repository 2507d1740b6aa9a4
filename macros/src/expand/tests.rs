//! Tests of the generated code, token by token, and of the errors with their texts and positions.

use super::{expand, observe};
use proc_macro2::TokenStream;

fn tokens(text: &str) -> TokenStream {
    text.parse().expect("it can be read as tokens")
}

#[track_caller]
fn assert_generated(args: &str, item: &str, wanted: &str) {
    let written = observe(tokens(args), tokens(item)).expect("it is accepted");
    assert_eq!(dense(&written), dense(&tokens(wanted)));
}

/// Converts tokens to text without spaces, which differ between parsed and generated tokens.
fn dense(tokens: &TokenStream) -> String {
    tokens.to_string().split_whitespace().collect()
}

/// Returns the errors, each with the source text that it points at.
fn faults(args: &str, item: &str) -> Vec<(String, String)> {
    let error = observe(tokens(args), tokens(item)).expect_err("it is refused");
    let errors = error.into_iter().map(|error| {
        let at = error.span().source_text().unwrap_or_default();
        (error.to_string(), at)
    });
    errors.collect()
}

#[track_caller]
fn assert_refused(args: &str, item: &str, text: &str, at: &str) {
    let faults = faults(args, item);
    assert_eq!(faults.len(), 1, "{faults:?}");
    assert!(faults[0].0.contains(text), "{faults:?}");
    assert_eq!(faults[0].1, at, "{faults:?}");
}

#[test]
fn a_function_keeps_its_signature_and_attributes() {
    assert_generated(
        "",
        "/// Doc.
        #[inline] #[cfg(unix)]
        pub(crate) unsafe extern \"C\" fn f<'a, T: 'a>(&'a self, mut t: T) -> u8 where T: Copy {
            #![allow(unused)]
            return 1;
        }",
        "/// Doc.
        #[inline] #[cfg(unix)]
        pub(crate) unsafe extern \"C\" fn f<'a, T: 'a>(&'a self, mut t: T) -> u8 where T: Copy {
            #![allow(unused)]
            let __tellane_span = ::tellane::Tracer::span(&::tellane::tracer(), \"f\");
            { return 1; }
        }",
    );
}

#[test]
fn a_body_is_not_parsed() {
    let body = "{ this is; not Rust . yet }"; // like a body that is still being typed
    assert_generated(
        "",
        &format!("fn f() {body}"),
        &format!(
            "fn f() {{ let __tellane_span = ::tellane::Tracer::span(&::tellane::tracer(), \"f\"); {body} }}"
        ),
    );
}

#[test]
fn every_argument_takes_effect() {
    assert_generated(
        "fields(n, s, \"a.b\" = n + 1,), crate = crate::seen, kind = Consumer, tracer = self.tracer, name = \"op\",",
        "fn f(&self, n: u8, s: String) {}",
        "fn f(&self, n: u8, s: String) {
            let mut __tellane_span =
                crate::seen::Tracer::span_with_kind(&self.tracer, \"op\", crate::seen::SpanKind::Consumer);
            __tellane_span.set(\"n\", n);
            __tellane_span.set(\"s\", &s);
            __tellane_span.set(\"a.b\", n + 1);
            {}
        }",
    );
}

#[test]
fn an_async_body_begins_with_a_hint_of_its_output_type() {
    assert_generated(
        "err, fields(id)",
        "async fn f(id: u64) -> Result<impl Send, E> { g(id).await? }",
        "async fn f(id: u64) -> Result<impl Send, E> {
            let mut __tellane_span = ::tellane::Tracer::owned(&::tellane::tracer(), \"f\");
            __tellane_span.set(\"id\", id);
            ::tellane::InSpan::in_span_err(async move {
                if let ::core::option::Option::Some(output) = ::core::option::Option::None::<Result<_, E>> {
                    return output;
                }
                { g(id).await? }
            }, __tellane_span).await
        }",
    );
}

#[test]
fn a_returned_future_is_wrapped_within_its_box() {
    let inside = |capture: &str, hint: &str| {
        format!(
            "async {capture} {{
                let __tellane_span = ::tellane::Tracer::owned(&::tellane::tracer(), \"f\");
                ::tellane::InSpan::in_span(async {capture} {{ {hint} {{ 1 }} }}, __tellane_span).await
            }}"
        )
    };
    let hint =
        "if let ::core::option::Option::Some(output) = ::core::option::Option::None::<u8> { return output; }";
    let cases = [
        ("Pin<Box<dyn Future<Output = u8> + Send + 'a>>", "Box::pin(async move { 1 })"),
        ("BoxFuture<'a, u8>", "::std::boxed::Box::pin(async { 1 })"),
        ("impl Send + Future<Output = u8>", "async move { 1 }"),
        ("Alias<'a, u8>", "Box::pin(async move { 1 })"),
    ];
    for (returned, body) in cases {
        let capture = if body.contains("move") { "move" } else { "" };
        let hint = if returned.starts_with("Alias") { "" } else { hint };
        let wanted =
            body.replace(&format!("async {capture} {{ 1 }}").replace("  ", " "), &inside(capture, hint));
        assert_ne!(wanted, body);
        assert_generated(
            "",
            &format!("fn f<'a>() -> {returned} {{ {body} }}"),
            &format!("fn f<'a>() -> {returned} {{ {wanted} }}"),
        );
    }
}

#[test]
fn arguments_are_checked() {
    let item = "fn f(a: u8) -> Result<(), E> { g() }";
    let refused = |args, text, at| assert_refused(args, item, text, at);
    refused("level = \"info\"", "no argument `level`", "level");
    refused("skip(a)", "only a literal name, `name`, `tracer`, `kind`, `fields`, `err` and `crate`", "skip");
    refused("3", "#[observed] takes a literal name", "3");
    refused("name = NAME", "string literal", "NAME");
    refused("name = \"\"", "cannot be empty", "\"\"");
    refused("name", "expected `=`", "");
    refused("\"a\", name = \"b\"", "the name is given twice", "name");
    refused("\"a\", \"b\"", "the name is given twice", "\"b\"");
    refused("err, kind = Client, err", "`err` is given twice", "err");
    refused("kind = Client, kind = Server", "`kind` is given twice", "kind");
    refused("tracer = a, tracer = b", "`tracer` is given twice", "tracer");
    refused("fields(a), fields(a)", "`fields` is given twice", "fields");
    refused("crate = a, crate = b", "`crate` is given twice", "crate");
    refused("kind = server", "one of Server, Client, Producer, Consumer, Internal", "server");
    refused("kind = SpanKind::Server", "one of Server", "SpanKind::Server");
    refused("err = Debug", "`err` takes no value", "=");
    refused("err kind = Client", "expected `,`", "kind");
}

#[test]
fn fields_are_checked() {
    let item = "fn f(&self, a: u8, _: u8) {}";
    let refused = |args, text, at| assert_refused(args, item, text, at);
    refused("fields = a", "must be listed in parentheses", "=");
    refused("fields(b)", "`f` has no argument `b`: give a value, `b = expr`", "b");
    refused("fields(a, a = 2)", "the field `a` is given twice", "a");
    refused("fields(a, \"a\" = 2)", "the field `a` is given twice", "\"a\"");
    refused("fields(\"x.y\")", "needs a value: `\"x.y\" = expr`", "\"x.y\"");
    refused("fields(\"\" = 1)", "cannot be empty", "\"\"");
    refused("fields(x.y = 1)", "a key with a dot must be in quotes", ".");
    refused("fields(self)", "`key = self.part`", "self");
    refused("fields(%a)", "a field must be `key = expr`", "%");
    let all = faults("fields(b, a, c)", item);
    assert_eq!(all.iter().map(|(_, at)| &**at).collect::<Vec<_>>(), ["b", "c"], "all that are wrong");
}

#[test]
fn items_are_checked() {
    let refused = |item, text, at| assert_refused("", item, text, at);
    refused("pub struct S { a: u8 }", "goes on functions", "struct");
    refused("impl S {}", "goes on functions", "impl");
    refused("unsafe impl S {}", "goes on functions", "unsafe");
    refused("const X: u8 = 1;", "goes on functions", "const");
    refused("mod m { fn f() {} }", "goes on functions", "mod");
    refused("pub const fn f() {}", "a const fn may run in the compiler", "const");
    refused("fn f(&self) -> u8;", "no body to observe", "fn f(&self) -> u8");
    refused(
        "fn f() -> impl Future<Output = u8> { g() }",
        "cannot see into this future",
        "impl Future<Output = u8>",
    );
    refused(
        "fn f() -> Pin<Box<dyn Future<Output = u8>>> { let a = 1; Box::pin(async move { a }) }",
        "cannot see into this future",
        "Pin<Box<dyn Future<Output = u8>>>",
    );
    assert_refused("err", "fn f() {}", "functions that return a Result", "err");
    assert_refused("err", "async fn f() {}", "functions that return a Result", "err");
    assert_refused("nonsense", "struct S;", "goes on functions", "struct");
}

#[test]
fn a_refused_item_stays_in_the_program() {
    let item = "pub fn f() {}";
    let written = expand(tokens("nonsense"), tokens(item)).to_string();
    assert!(written.starts_with(":: core :: compile_error !"), "{written}");
    assert!(written.ends_with(&tokens(item).to_string()), "{written}");
}
