//! Arguments of the attribute `#[observed]`. Runs in the compiler; must not accept an argument that `expand` ignores.

use proc_macro2::Span;
use syn::ext::IdentExt;
use syn::parse::{Parse, ParseStream};
use syn::punctuated::Punctuated;
use syn::{Error, Expr, Ident, LitStr, Path, Result, Token, parenthesized, token};

const KNOWN: &str = "a literal name, `name`, `tracer`, `kind`, `fields`, `err` and `crate`";
const KINDS: [&str; 5] = ["Server", "Client", "Producer", "Consumer", "Internal"];

/// The attribute's arguments, each at most once.
#[derive(Default)]
pub(crate) struct Args {
    /// The span's name; `None` for the function's name.
    pub(crate) name: Option<LitStr>,
    /// The tracer; `None` for that of the installed instance.
    pub(crate) tracer: Option<Expr>,
    /// The span's kind, one of [`KINDS`].
    pub(crate) kind: Option<Ident>,
    /// The attributes to record, in the order given; keys are distinct.
    pub(crate) fields: Option<Vec<Field>>,
    /// The position of the argument `err`, for errors.
    pub(crate) err: Option<Span>,
    /// The path of tellane.
    pub(crate) root: Option<Path>,
}

/// One attribute of the span.
pub(crate) struct Field {
    pub(crate) key: LitStr,
    pub(crate) value: FieldValue,
}

pub(crate) enum FieldValue {
    /// The expression of `key = expr`.
    Given(Box<Expr>),
    /// The function's argument of this name, for `key` alone.
    Argument(Ident),
}

impl Parse for Args {
    fn parse(input: ParseStream<'_>) -> Result<Self> {
        let mut args = Self::default();
        while !input.is_empty() {
            args.parse_argument(input)?;
            if !input.is_empty() {
                input.parse::<Token![,]>()?;
            }
        }
        Ok(args)
    }
}

impl Args {
    fn parse_argument(&mut self, input: ParseStream<'_>) -> Result<()> {
        if input.peek(LitStr) {
            let at = input.span();
            return once(&mut self.name, "the name", at, name(input)?);
        }
        let word = input
            .call(Ident::parse_any)
            .map_err(|error| Error::new(error.span(), format!("#[observed] takes {KNOWN}")))?;
        let at = word.span();
        match word.to_string().as_str() {
            "name" => once(&mut self.name, "the name", at, assigned(input, name)?),
            "tracer" => once(&mut self.tracer, "`tracer`", at, assigned(input, Expr::parse)?),
            "kind" => once(&mut self.kind, "`kind`", at, assigned(input, kind)?),
            "crate" => once(&mut self.root, "`crate`", at, assigned(input, Path::parse_mod_style)?),
            "fields" => once(&mut self.fields, "`fields`", at, fields(input)?),
            "err" if input.peek(Token![=]) || input.peek(token::Paren) => {
                Err(input.error("`err` takes no value: the error's Display becomes the span's message"))
            }
            "err" => once(&mut self.err, "`err`", at, at),
            other => Err(Error::new(at, format!("#[observed] has no argument `{other}`, only {KNOWN}"))),
        }
    }
}

fn once<T>(argument: &mut Option<T>, what: &str, at: Span, value: T) -> Result<()> {
    match argument.replace(value) {
        None => Ok(()),
        Some(_) => Err(Error::new(at, format!("{what} is given twice"))),
    }
}

fn assigned<T>(input: ParseStream<'_>, value: impl FnOnce(ParseStream<'_>) -> Result<T>) -> Result<T> {
    input.parse::<Token![=]>()?;
    value(input)
}

fn name(input: ParseStream<'_>) -> Result<LitStr> {
    let name: LitStr = input.parse().map_err(|error| {
        Error::new(error.span(), "a span's name must be a string literal, as in `name = \"order\"`")
    })?;
    if name.value().is_empty() {
        return Err(Error::new(name.span(), "a span's name cannot be empty"));
    }
    Ok(name)
}

fn kind(input: ParseStream<'_>) -> Result<Ident> {
    let path: Path = input.call(Path::parse_mod_style)?;
    match path.get_ident() {
        Some(kind) if KINDS.iter().any(|known| kind == known) => Ok(kind.clone()),
        _ => Err(Error::new_spanned(path, format!("a span's kind must be one of {}", KINDS.join(", ")))),
    }
}

fn fields(input: ParseStream<'_>) -> Result<Vec<Field>> {
    if !input.peek(token::Paren) {
        return Err(input.error("fields must be listed in parentheses: `fields(items, path = expr)`"));
    }
    let list;
    parenthesized!(list in input);
    let fields = Punctuated::<Field, Token![,]>::parse_terminated(&list)?;
    let mut faults: Option<Error> = None;
    for (at, field) in fields.iter().enumerate() {
        let key = field.key.value();
        if fields.iter().take(at).any(|earlier| earlier.key.value() == key) {
            let fault = Error::new(field.key.span(), format!("the field `{key}` is given twice"));
            match &mut faults {
                Some(faults) => faults.combine(fault),
                None => faults = Some(fault),
            }
        }
    }
    faults.map_or_else(|| Ok(fields.into_iter().collect()), Err)
}

impl Parse for Field {
    fn parse(input: ParseStream<'_>) -> Result<Self> {
        if input.peek(LitStr) {
            let key: LitStr = input.parse()?;
            if key.value().is_empty() {
                return Err(Error::new(key.span(), "a field's key cannot be empty"));
            }
            if !input.peek(Token![=]) {
                let text = format!("a key in quotes needs a value: `\"{}\" = expr`", key.value());
                return Err(Error::new(key.span(), text));
            }
            let value = FieldValue::Given(Box::new(assigned(input, Expr::parse)?));
            return Ok(Self { key, value });
        }
        let word = input.call(Ident::parse_any).map_err(|error| {
            Error::new(
                error.span(),
                "a field must be `key = expr`, `\"dotted.key\" = expr`, or the name of an argument",
            )
        })?;
        let key = LitStr::new(&word.unraw().to_string(), word.span());
        if input.peek(Token![.]) {
            return Err(input.error("a key with a dot must be in quotes: `\"dotted.key\" = expr`"));
        }
        if input.peek(Token![=]) {
            let value = FieldValue::Given(Box::new(assigned(input, Expr::parse)?));
            return Ok(Self { key, value });
        }
        if word == "self" {
            return Err(Error::new(
                word.span(),
                "`self` cannot be recorded as a whole: name a part of it, `key = self.part`",
            ));
        }
        Ok(Self { key, value: FieldValue::Argument(word) })
    }
}
