//! The attribute of tellane. Use it as `tellane::observed`, with tellane's feature `macros`.

mod args;
mod expand;
mod function;

use proc_macro::TokenStream;

/// A span around a function.
#[proc_macro_attribute]
pub fn observed(args: TokenStream, item: TokenStream) -> TokenStream {
    expand::expand(args.into(), item.into()).into()
}
