//! The function under the attribute: its parts, and the position of its future, if it has one. The body is not parsed
//! unless the function returns a future explicitly, so that no body is rejected or misread.

use proc_macro2::{Span, TokenStream};
use syn::ext::IdentExt;
use syn::parse::{Parse, ParseStream};
use syn::visit::{self, Visit};
use syn::{
    AngleBracketedGenericArguments, Attribute, Error, Expr, ExprAsync, FnArg, GenericArgument, Ident, LitStr,
    Pat, PatIdent, PathArguments, PathSegment, Result, ReturnType, Signature, Token, Type, TypeParamBound,
    Visibility, braced,
};

/// A function with a body.
pub(crate) struct Function {
    pub(crate) attrs: Vec<Attribute>,
    pub(crate) vis: Visibility,
    pub(crate) sig: Signature,
    /// The braces. Errors about the type of the body point at them.
    pub(crate) braces: Span,
    /// Inner attributes, `#![...]`, at the start of the body.
    pub(crate) inner: Vec<Attribute>,
    pub(crate) body: TokenStream,
}

/// The kind of function: sync, async, or returning a future.
pub(crate) enum FunctionKind {
    /// The work is in the call.
    Sync,
    /// An `async fn`.
    Async,
    /// The work is in a future that the call returns: the body is this expression, an async block or `Box::pin` of one.
    Returned(Box<Expr>),
}

impl Parse for Function {
    fn parse(input: ParseStream<'_>) -> Result<Self> {
        let attrs = input.call(Attribute::parse_outer)?;
        let vis = input.parse()?;
        if !starts_function(input) {
            let text = "#[observed] goes on functions and methods only: put it on each one that needs a span";
            return Err(input.error(text));
        }
        let sig: Signature = input.parse()?;
        if let Some(constant) = sig.constness {
            let text =
                "a const fn may run in the compiler, where there are no spans: remove `const` or #[observed]";
            return Err(Error::new(constant.span, text));
        }
        if input.peek(Token![;]) {
            let text = "there is no body to observe: put #[observed] on the function's implementation";
            return Err(Error::new_spanned(sig, text));
        }
        let content;
        let braces = braced!(content in input).span.join();
        let inner = content.call(Attribute::parse_inner)?;
        Ok(Self { attrs, vis, sig, braces, inner, body: content.parse()? })
    }
}

fn starts_function(input: ParseStream<'_>) -> bool {
    let ahead = input.fork();
    while ahead.peek(Token![const])
        || ahead.peek(Token![async])
        || ahead.peek(Token![unsafe])
        || ahead.peek(Token![extern])
    {
        if ahead.call(Ident::parse_any).is_err() {
            return false;
        }
        if ahead.peek(LitStr) && ahead.parse::<LitStr>().is_err() {
            return false;
        }
    }
    ahead.peek(Token![fn])
}

impl Function {
    /// Determines the kind of function. Refuses a future that is made elsewhere, since a span that only covers the
    /// making of a future would be misleading.
    pub(crate) fn kind(&self) -> Result<FunctionKind> {
        if self.sig.asyncness.is_some() {
            return Ok(FunctionKind::Async);
        }
        let ReturnType::Type(_, returned) = &self.sig.output else { return Ok(FunctionKind::Sync) };
        if let Ok(tail) = syn::parse2::<Expr>(self.body.clone())
            && future_in(&tail).is_some()
        {
            return Ok(FunctionKind::Returned(Box::new(tail)));
        }
        if output_of(returned).is_some() {
            let text = "#[observed] cannot see into this future: make the whole body `Box::pin(async move { .. })` \
                        or `async move { .. }`, or make the function an async fn";
            return Err(Error::new_spanned(returned, text));
        }
        Ok(FunctionKind::Sync)
    }

    /// Returns the argument of this name: with its type if the name is the whole argument, without if it is part of a
    /// pattern.
    pub(crate) fn argument(&self, name: &Ident) -> Option<Option<&Type>> {
        self.sig.inputs.iter().find_map(|input| {
            let FnArg::Typed(input) = input else { return None };
            match &*input.pat {
                Pat::Ident(whole) if whole.ident == *name => Some(Some(&*input.ty)),
                pattern => {
                    let mut search = Search { name, found: false };
                    search.visit_pat(pattern);
                    search.found.then_some(None)
                }
            }
        })
    }
}

struct Search<'a> {
    name: &'a Ident,
    found: bool,
}

impl<'ast> Visit<'ast> for Search<'_> {
    fn visit_pat_ident(&mut self, pattern: &'ast PatIdent) {
        self.found |= pattern.ident == *self.name;
        visit::visit_pat_ident(self, pattern);
    }
}

fn future_in(tail: &Expr) -> Option<&ExprAsync> {
    match tail {
        Expr::Async(future) => Some(future),
        Expr::Call(call) if is_box_pin(&call.func) && call.args.len() == 1 => match call.args.first() {
            Some(Expr::Async(future)) => Some(future),
            _ => None,
        },
        _ => None,
    }
}

/// Returns the async block of a [`FunctionKind::Returned`].
pub(crate) fn future_in_mut(tail: &mut Expr) -> Option<&mut Expr> {
    match tail {
        Expr::Call(call) => call.args.first_mut(),
        tail => Some(tail),
    }
}

fn is_box_pin(called: &Expr) -> bool {
    let Expr::Path(called) = called else { return false };
    let mut last = called.path.segments.iter().rev();
    last.next().is_some_and(|segment| segment.ident == "pin")
        && last.next().is_some_and(|segment| segment.ident == "Box")
}

/// Returns the output of a future's type: `R` in `Pin<Box<dyn Future<Output = R>>>`, `BoxFuture<'_, R>` and
/// `impl Future<Output = R>`. `None` if the type does not look like a future.
pub(crate) fn output_of(future: &Type) -> Option<&Type> {
    match future {
        Type::Path(path) => {
            let last = path.path.segments.last()?;
            let arguments = generics(last)?;
            let inside = arguments.args.iter().rev().find_map(|argument| match argument {
                GenericArgument::Type(inside) => Some(inside),
                _ => None,
            })?;
            match last.ident.to_string().as_str() {
                "Pin" | "Box" => output_of(inside),
                "BoxFuture" | "LocalBoxFuture" => Some(inside),
                _ => None,
            }
        }
        Type::ImplTrait(bounded) => output_among(&bounded.bounds),
        Type::TraitObject(bounded) => output_among(&bounded.bounds),
        Type::Paren(inside) => output_of(&inside.elem),
        Type::Group(inside) => output_of(&inside.elem),
        _ => None,
    }
}

fn output_among<'a>(bounds: impl IntoIterator<Item = &'a TypeParamBound>) -> Option<&'a Type> {
    bounds.into_iter().find_map(|bound| {
        let TypeParamBound::Trait(bound) = bound else { return None };
        let last = bound.path.segments.last().filter(|segment| segment.ident == "Future")?;
        generics(last)?.args.iter().find_map(|argument| match argument {
            GenericArgument::AssocType(given) if given.ident == "Output" => Some(&given.ty),
            _ => None,
        })
    })
}

fn generics(segment: &PathSegment) -> Option<&AngleBracketedGenericArguments> {
    match &segment.arguments {
        PathArguments::AngleBracketed(arguments) => Some(arguments),
        _ => None,
    }
}
