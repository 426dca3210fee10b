//! The decorated function: its signature is parsed, its body stays the tokens that were written.
//! Parsing the body would cost compile time and would refuse the half-typed code an editor sends.

use proc_macro2::{Ident, TokenStream};
use syn::ext::IdentExt;
use syn::parse::{Parse, ParseStream};
use syn::{AttrStyle, Attribute, Error, Result, Signature, Token, Visibility, braced, token};

pub(crate) struct Function {
    /// Includes the inner attributes of the body: on the closure that the body becomes they would
    /// be attributes on an expression, which is unstable.
    pub(crate) attrs: Vec<Attribute>,
    pub(crate) vis: Visibility,
    pub(crate) sig: Signature,
    pub(crate) brace: token::Brace,
    pub(crate) body: TokenStream,
}

impl Parse for Function {
    fn parse(input: ParseStream) -> Result<Self> {
        let mut attrs = input.call(Attribute::parse_outer)?;
        let vis = input.parse()?;
        refuse_other_items(input)?;
        let sig = input.parse()?;
        refuse_missing_body(input)?;
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

fn outer(mut attr: Attribute) -> Attribute {
    attr.style = AttrStyle::Outer;
    attr
}

fn refuse_other_items(input: ParseStream) -> Result<()> {
    let ahead = input.fork();
    // `unsafe` may stand before `fn`, `impl` and `trait` alike.
    ahead.parse::<Option<Token![unsafe]>>()?;
    let Ok(keyword) = ahead.call(Ident::parse_any) else {
        return Ok(());
    };
    let help = match keyword.to_string().as_str() {
        "impl" | "trait" | "mod" => "put it on each method that needs a transaction",
        "struct" | "enum" | "union" | "type" | "static" | "use" => "move it to an `async fn`",
        _ => return Ok(()),
    };
    let message = format!("`#[transactional]` can only be used on functions\nhelp: {help}");
    Err(Error::new(keyword.span(), message))
}

fn refuse_missing_body(input: ParseStream) -> Result<()> {
    if !input.peek(Token![;]) {
        return Ok(());
    }
    let message = "`#[transactional]` needs a function body\n\
                   help: put it on the method in each `impl`, not on the trait's declaration";
    Err(input.error(message))
}
