//! The derive `Label`: an enum's variants become the values of a label.

use proc_macro2::TokenStream;
use quote::quote_spanned;
use syn::ext::IdentExt;
use syn::spanned::Spanned;
use syn::{Attribute, Data, DeriveInput, Error, Fields, LitStr, Path, Result, Token, Variant};

/// Generates the implementation, or a compile error.
pub(crate) fn derive(item: TokenStream) -> TokenStream {
    syn::parse2(item).and_then(|item| implement(&item)).unwrap_or_else(Error::into_compile_error)
}

fn implement(item: &DeriveInput) -> Result<TokenStream> {
    let Data::Enum(data) = &item.data else {
        return Err(Error::new(
            item.ident.span(),
            "only an enum can be a label: it has a fixed number of values",
        ));
    };
    if data.variants.is_empty() {
        return Err(Error::new(
            item.ident.span(),
            "an enum without variants cannot be a label: add a variant",
        ));
    }
    if let Some(generic) = item.generics.params.first() {
        return Err(Error::new(
            generic.span(),
            "a label's values cannot depend on a type: remove the generic parameters",
        ));
    }
    let mut tellane: Path = syn::parse_quote_spanned!(proc_macro2::Span::mixed_site()=> ::tellane);
    for attribute in item.attrs.iter().filter(|attribute| attribute.path().is_ident("label")) {
        attribute.parse_nested_meta(|meta| {
            if !meta.path.is_ident("crate") {
                return Err(meta.error("expected `crate = path`"));
            }
            meta.input.parse::<Token![=]>()?;
            tellane = meta.input.call(Path::parse_mod_style)?;
            Ok(())
        })?;
    }
    let texts = data.variants.iter().map(text_of).collect::<Result<Vec<_>>>()?;
    for (number, text) in texts.iter().enumerate() {
        if texts[..number].iter().any(|other| other.value() == text.value()) {
            return Err(Error::new(
                text.span(),
                "two variants cannot have the same text: rename one with `#[label(rename = \"..\")]`",
            ));
        }
    }
    let (name, variants) = (&item.ident, data.variants.iter().map(|variant| &variant.ident));
    let numbers = 0..texts.len();
    Ok(quote_spanned! {proc_macro2::Span::mixed_site()=>
        impl #tellane::Label for #name {
            const VALUES: &'static [&'static str] = &[#(#texts),*];

            #[inline]
            fn index(self) -> usize {
                match self {
                    #(Self::#variants => #numbers,)*
                }
            }
        }
    })
}

/// Returns a variant's text: that of `rename`, or its name in snake case.
fn text_of(variant: &Variant) -> Result<LitStr> {
    if !matches!(variant.fields, Fields::Unit) {
        return Err(Error::new(
            variant.span(),
            "a variant with fields is more than one value: remove its fields",
        ));
    }
    let named = || LitStr::new(&snake_case(&variant.ident.unraw().to_string()), variant.ident.span());
    let renames = variant.attrs.iter().filter(|attribute| attribute.path().is_ident("label"));
    renames.map(rename).next_back().unwrap_or_else(|| Ok(named()))
}

fn rename(attribute: &Attribute) -> Result<LitStr> {
    let mut text = None;
    attribute.parse_nested_meta(|meta| {
        if !meta.path.is_ident("rename") {
            return Err(meta.error("expected `rename = \"text\"`"));
        }
        text = Some(meta.value()?.parse()?);
        Ok(())
    })?;
    text.ok_or_else(|| Error::new(attribute.span(), "expected `rename = \"text\"`"))
}

/// Converts a name to snake case: `NotFound` to `not_found`, `Http2` to `http2`, `IOError` to `io_error`.
fn snake_case(name: &str) -> String {
    let letters: Vec<char> = name.chars().collect();
    let mut text = String::new();
    for (at, letter) in letters.iter().enumerate() {
        let before = at.checked_sub(1).map(|before| letters[before]);
        let ends_capitals = letters.get(at + 1).is_some_and(|next| next.is_lowercase());
        let begins = before.is_some_and(|before| before != '_' && (!before.is_uppercase() || ends_capitals));
        if letter.is_uppercase() && begins {
            text.push('_');
        }
        text.extend(letter.to_lowercase());
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use quote::quote;

    fn derived(item: TokenStream) -> String {
        derive(item).to_string()
    }

    #[test]
    fn variants_become_texts_in_their_order() {
        let made = derived(quote! { enum Class { Fine, #[label(rename = "5xx")] Failed } });
        assert!(made.contains(r#"& ["fine" , "5xx"]"#), "{made}");
        assert!(made.contains("Self :: Failed => 1usize"), "{made}");
        let made = derived(quote! { #[label(crate = our::telemetry)] enum Class { Fine } });
        assert!(made.contains("impl our :: telemetry :: Label for Class"), "{made}");
    }

    #[test]
    fn names_become_snake_case() {
        let cases = [
            ("Get", "get"),
            ("NotFound", "not_found"),
            ("Http2", "http2"),
            ("IOError", "io_error"),
            ("A_B", "a_b"),
        ];
        for (name, text) in cases {
            assert_eq!(snake_case(name), text);
        }
    }

    #[test]
    fn invalid_labels_are_refused() {
        let complaints = [
            (quote! { struct Class; }, "only an enum"),
            (quote! { enum Class {} }, "without variants"),
            (quote! { enum Class<T> { Fine(T) } }, "depend on a type"),
            (quote! { enum Class { Fine(u8) } }, "a variant with fields"),
            (quote! { enum Class { Fine, #[label(rename = "fine")] Other } }, "the same text"),
            (quote! { enum Class { #[label(name = "x")] Fine } }, "expected `rename"),
            (quote! { #[label(krate = x)] enum Class { Fine } }, "expected `crate"),
        ];
        for (item, complaint) in complaints {
            let made = derived(item);
            assert!(made.contains("compile_error") && made.contains(complaint), "{made}");
        }
    }
}
