//! Generates the function with a span around its work. Every name that it introduces is resolved at the definition of
//! the attribute (`mixed_site`), so the body can neither see nor shadow it. Tokens of the user keep their positions,
//! for errors.

use crate::args::{Args, Field, FieldValue};
use crate::function::{Function, FunctionKind, future_in_mut, output_of};
use proc_macro2::{Delimiter, Group, Span, TokenStream};
use quote::{ToTokens, quote_spanned};
use syn::ext::IdentExt;
use syn::spanned::Spanned;
use syn::visit_mut::{self, VisitMut};
use syn::{Error, Expr, Ident, LitStr, Path, Result, ReturnType, Token, Type, parse_quote_spanned};

/// Returns the function with its span. If there is an error, returns the error and the unchanged item, so that the
/// compiler does not also report the item as missing.
pub(crate) fn expand(args: TokenStream, item: TokenStream) -> TokenStream {
    observe(args, item.clone()).unwrap_or_else(|error| {
        let mut tokens = error.into_compile_error();
        tokens.extend(item);
        tokens
    })
}

fn observe(args: TokenStream, item: TokenStream) -> Result<TokenStream> {
    // The item is parsed first: an attribute on the wrong item matters more than an error in its arguments.
    let function: Function = syn::parse2(item)?;
    let args: Args = syn::parse2(args)?;
    if let (Some(err), ReturnType::Default) = (args.err, &function.sig.output) {
        return Err(Error::new(
            err,
            "`err` is for functions that return a Result, and this one returns nothing: remove `err`",
        ));
    }
    let opening = Opening::new(&args, &function)?;
    let body = match function.kind()? {
        FunctionKind::Sync => opening.around_call(&function),
        FunctionKind::Async => {
            let output = match &function.sig.output {
                ReturnType::Type(_, output) => Some(&**output),
                ReturnType::Default => None,
            };
            let body = nested(function.braces, &function.body);
            opening.around_future(Some(<Token![move]>::default()), output, &body)
        }
        FunctionKind::Returned(mut tail) => {
            if let Some(place) = future_in_mut(&mut tail)
                && let Expr::Async(future) = place
            {
                let output = match &function.sig.output {
                    ReturnType::Type(_, output) => output_of(output),
                    ReturnType::Default => None,
                };
                let (capture, braces) = (future.capture, future.block.brace_token.span.join());
                let stmts = &future.block.stmts;
                let work = nested(braces, &quote_spanned!(Span::mixed_site()=> #(#stmts)*));
                let inside = opening.around_future(capture, output, &work);
                future.block = syn::parse2(block(braces, &inside))?;
            }
            tail.into_token_stream()
        }
    };
    let Function { attrs, vis, sig, braces, inner, .. } = &function;
    let body = block(*braces, &quote_spanned!(Span::mixed_site()=> #(#inner)* #body));
    Ok(quote_spanned!(Span::mixed_site()=> #(#attrs)* #vis #sig #body))
}

fn block(braces: Span, inside: &TokenStream) -> TokenStream {
    let mut group = Group::new(Delimiter::Brace, inside.clone());
    group.set_span(braces);
    group.into_token_stream()
}

/// Wraps the body in a block within the new body. Errors point at the user's body, but the compiler knows that the
/// braces are generated and does not warn that they are unnecessary.
fn nested(braces: Span, inside: &TokenStream) -> TokenStream {
    block(at(braces), inside)
}

/// The statements that start the span and set its attributes.
struct Opening<'a> {
    root: Path,
    args: &'a Args,
    name: LitStr,
    /// Statements `span.set(key, value);`.
    sets: Vec<TokenStream>,
    /// The variable of the span.
    span: Ident,
}

impl<'a> Opening<'a> {
    fn new(args: &'a Args, function: &Function) -> Result<Self> {
        let site = Span::mixed_site();
        let span = Ident::new("__tellane_span", site);
        let own = &function.sig.ident;
        let name = args.name.clone().unwrap_or_else(|| LitStr::new(&own.unraw().to_string(), own.span()));
        let root = args.root.clone().unwrap_or_else(|| parse_quote_spanned!(site=> ::tellane));
        let mut sets = Vec::new();
        let mut faults: Option<Error> = None;
        for field in args.fields.iter().flatten() {
            match value_of(field, function) {
                Ok(value) => {
                    let key = &field.key;
                    sets.push(quote_spanned!(site=> #span.set(#key, #value);));
                }
                Err(fault) => match &mut faults {
                    Some(faults) => faults.combine(fault),
                    None => faults = Some(fault),
                },
            }
        }
        faults.map_or(Ok(Self { root, args, name, sets, span }), Err)
    }

    /// Generates `let span = Tracer::span(..);` and the fields. With `changed` the variable is mutable, since later
    /// code changes the span.
    fn start(&self, plain: &str, of_kind: &str, changed: bool) -> TokenStream {
        let site = Span::mixed_site();
        let Self { root, name, sets, span, .. } = self;
        let method = Ident::new(if self.args.kind.is_some() { of_kind } else { plain }, site);
        let kind = self.args.kind.as_ref().map(|kind| quote_spanned!(site=> , #root::SpanKind::#kind));
        let start = match &self.args.tracer {
            None => quote_spanned!(site=> #root::Tracer::#method(&#root::tracer(), #name #kind)),
            Some(tracer) if gives_one_type(tracer) => {
                let borrow = quote_spanned!(at(tracer.span())=> &);
                quote_spanned!(site=> #root::Tracer::#method(#borrow #tracer, #name #kind))
            }
            // A method call, so that the branches of the expression may give tracers or references to tracers.
            Some(tracer) => quote_spanned!(site=> (#tracer).#method(#name #kind)),
        };
        let mutable = (changed || !sets.is_empty()).then(|| quote_spanned!(site=> mut));
        quote_spanned!(site=> let #mutable #span = #start; #(#sets)*)
    }

    /// Generates the body of a function whose work is in the call. The user's body is a block of its own, so that its
    /// declarations come first in it.
    fn around_call(&self, function: &Function) -> TokenStream {
        let site = Span::mixed_site();
        let start = self.start("span", "span_with_kind", self.args.err.is_some());
        let body = nested(function.braces, &function.body);
        let (Some(err), ReturnType::Type(_, returned)) = (self.args.err, &function.sig.output) else {
            return quote_spanned!(site=> #start #body);
        };
        let span = &self.span;
        let result = Ident::new("__tellane_result", site);
        let returned = without_impl(returned);
        // `return` and `?` end the closure. It is called by a function that takes `FnOnce`: the compiler does not infer
        // `FnOnce` for a closure that is called directly, which then could not return its mutable borrows.
        let failure = quote_spanned!(at(err)=> ::core::result::Result::Err(error));
        let text = quote_spanned!(at(err)=> ::std::string::ToString::to_string(error));
        quote_spanned! {site=>
            fn __tellane_once<R>(body: impl ::core::ops::FnOnce() -> R) -> R {
                body()
            }
            #start
            let #result: #returned = __tellane_once(move || -> #returned #body);
            if let #failure = &#result {
                // The message is built only for a span that is recorded.
                if #span.is_recorded() { #span.fail_with(&#text) } else { #span.fail() }
            }
            #result
        }
    }

    /// Generates the content of the async block around a function's future.
    fn around_future(
        &self,
        capture: Option<Token![move]>,
        output: Option<&Type>,
        body: &TokenStream,
    ) -> TokenStream {
        let site = Span::mixed_site();
        let start = self.start("owned", "owned_with_kind", false);
        let Self { root, span, .. } = self;
        // Errors about a future that gives no Result, or whose error has no Display, point at `err`.
        let (in_span, place) = match self.args.err {
            Some(err) => ("in_span_err", at(err)),
            None => ("in_span", site),
        };
        let in_span = Ident::new(in_span, place);
        // Gives the compiler the output type of the inner block before its body: `?` must know the type to convert to.
        let hint = output.filter(|output| !matches!(output, Type::Never(_))).map(|output| {
            let output = without_impl(output);
            quote_spanned! {site=>
                if let ::core::option::Option::Some(output) = ::core::option::Option::None::<#output> {
                    return output;
                }
            }
        });
        let inside = block(place, &quote_spanned!(site=> #hint #body));
        let future = quote_spanned!(place=> async #capture #inside);
        quote_spanned! {site=>
            #start
            #root::InSpan::#in_span(#future, #span).await
        }
    }
}

/// Returns a span at the position of the user's token, with names resolved at the definition.
fn at(word: Span) -> Span {
    Span::mixed_site().located_at(word)
}

fn value_of(field: &Field, function: &Function) -> Result<TokenStream> {
    match &field.value {
        FieldValue::Given(value) => Ok(value.to_token_stream()),
        FieldValue::Argument(name) => match function.argument(name) {
            // Borrowed: by value, the body could not use the argument any more.
            Some(Some(Type::Path(path)))
                if path.path.segments.last().is_some_and(|last| last.ident == "String") =>
            {
                Ok(quote_spanned!(at(name.span())=> &#name))
            }
            Some(_) => Ok(name.to_token_stream()),
            None => {
                let text = format!(
                    "`{}` has no argument `{name}`: give a value, `{name} = expr`",
                    function.sig.ident
                );
                Err(Error::new(name.span(), text))
            }
        },
    }
}

/// Returns `true` if `&` can be put before the expression. Errors then refer to its type rather than to a method.
fn gives_one_type(tracer: &Expr) -> bool {
    matches!(
        tracer,
        Expr::Path(_)
            | Expr::Field(_)
            | Expr::Call(_)
            | Expr::MethodCall(_)
            | Expr::Index(_)
            | Expr::Lit(_)
            | Expr::Macro(_)
            | Expr::Reference(_)
            | Expr::Unary(_)
    )
}

/// Replaces `impl Trait` by `_`: it is not allowed as a type inside a body, where the compiler infers it.
fn without_impl(returned: &Type) -> Type {
    struct Infer;
    impl VisitMut for Infer {
        fn visit_type_mut(&mut self, part: &mut Type) {
            if matches!(part, Type::ImplTrait(_)) {
                *part = Type::Infer(syn::TypeInfer { underscore_token: Default::default() });
            } else {
                visit_mut::visit_type_mut(self, part);
            }
        }
    }
    let mut returned = returned.clone();
    Infer.visit_type_mut(&mut returned);
    returned
}

#[cfg(test)]
mod tests;
