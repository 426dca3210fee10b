//! A function under one of the attributes.

use std::fmt;

use proc_macro2::{Ident, TokenStream};
use quote::ToTokens;
use syn::ext::IdentExt;
use syn::parse::{Parse, ParseStream, Parser};
use syn::{AttrStyle, Attribute, Error, Path, Result, Signature, Token, Visibility, braced, token};

use super::boxed;

/// Which attribute it is.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Attr {
    Transactional,
    Locked,
}

impl Attr {
    pub(crate) fn is(self, path: &Path) -> bool {
        let name = match self {
            Self::Transactional => "transactional",
            Self::Locked => "locked",
        };
        ends_in(path, name)
    }
}

impl fmt::Display for Attr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Transactional => "`#[transactional]`",
            Self::Locked => "`#[locked]`",
        })
    }
}

pub(crate) fn ends_in(path: &Path, name: &str) -> bool {
    path.segments.last().is_some_and(|last| last.ident == name)
}

#[derive(Clone)]
pub(crate) struct Function {
    /// Includes the inner attributes of the body: on the closure that the body becomes they would
    /// be attributes on an expression, which is unstable.
    pub(crate) attrs: Vec<Attribute>,
    pub(crate) vis: Visibility,
    pub(crate) sig: Signature,
    pub(crate) brace: token::Brace,
    pub(crate) body: TokenStream,
}

impl Function {
    pub(crate) fn parse(item: TokenStream, attr: Attr) -> Result<Function> {
        let parser = |input: ParseStream| {
            refuse_other_items(&input.fork(), attr)?;
            refuse_missing_body(&input.fork(), attr)?;
            input.parse()
        };
        parser.parse2(item)
    }

    /// Whether calling it makes a future, in a way that the attributes can wrap.
    pub(crate) fn is_async(&self) -> bool {
        self.sig.asyncness.is_some() || self.boxed_future().is_some()
    }

    /// The future of a function that `#[async_trait]` has rewritten.
    pub(crate) fn boxed_future(&self) -> Option<TokenStream> {
        boxed::output(&self.sig).filter(|_| self.sig.asyncness.is_none())?;
        boxed::future(&self.body)
    }

    pub(crate) fn under(&self, attr: Attr) -> Option<&Attribute> {
        self.attrs.iter().find(|other| attr.is(other.path()))
    }
}

impl Parse for Function {
    fn parse(input: ParseStream) -> Result<Self> {
        let mut attrs = input.call(Attribute::parse_outer)?;
        let vis = input.parse()?;
        let sig = input.parse()?;
        let content;
        let brace = braced!(content in input);
        let lifted = content.call(Attribute::parse_inner)?;
        attrs.extend(lifted.into_iter().map(outer));
        let body = content.parse()?;
        Ok(Function {
            attrs,
            vis,
            sig,
            brace,
            body,
        })
    }
}

impl ToTokens for Function {
    fn to_tokens(&self, tokens: &mut TokenStream) {
        let Function {
            attrs,
            vis,
            sig,
            brace,
            body,
        } = self;
        for attr in attrs {
            attr.to_tokens(tokens);
        }
        vis.to_tokens(tokens);
        sig.to_tokens(tokens);
        // Without the braces of the source, rustc takes the function for generated code and no
        // longer reports it as unused.
        brace.surround(tokens, |inside| inside.extend(body.clone()));
    }
}

fn outer(mut attr: Attribute) -> Attribute {
    attr.style = AttrStyle::Outer;
    attr
}

fn refuse_other_items(input: ParseStream, attr: Attr) -> Result<()> {
    input.call(Attribute::parse_outer)?;
    input.parse::<Visibility>()?;
    // `unsafe` may stand before `fn`, `impl` and `trait` alike.
    input.parse::<Option<Token![unsafe]>>()?;
    let Ok(keyword) = input.call(Ident::parse_any) else {
        return Ok(());
    };
    let help = match (keyword.to_string().as_str(), attr) {
        ("trait", Attr::Transactional) => {
            "put it on the trait's `impl` block, or on each method with a body"
        }
        ("mod", Attr::Transactional) => "put it on each function, or on the `impl` blocks",
        ("impl" | "trait" | "mod", _) => "put it on each function that needs the lock",
        ("struct" | "enum" | "union" | "type" | "static" | "use", _) => "move it to an `async fn`",
        _ => return Ok(()),
    };
    let message = format!("{attr} cannot stand on this\nhelp: {help}");
    Err(Error::new(keyword.span(), message))
}

fn refuse_missing_body(input: ParseStream, attr: Attr) -> Result<()> {
    input.call(Attribute::parse_outer)?;
    input.parse::<Visibility>()?;
    input.parse::<Signature>()?;
    if !input.peek(Token![;]) {
        return Ok(());
    }
    let message = format!(
        "{attr} needs a function body\n\
         help: put it on the method in each `impl`, not on the trait's declaration"
    );
    Err(input.error(message))
}
