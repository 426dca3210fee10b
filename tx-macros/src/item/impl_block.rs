//! An `impl` block under `#[transactional]`: what stands around its functions stays as written.

use proc_macro2::{Delimiter, Group, TokenStream, TokenTree};
use quote::ToTokens;
use syn::ext::IdentExt;
use syn::parse::{Parse, ParseStream, Parser};
use syn::{Attribute, Ident, Result, Token, Visibility, token};

use super::function::{Attr, Function};
use crate::grammar::Skip;

pub(crate) struct ImplBlock {
    /// Everything in front of the braces.
    pub(crate) header: Vec<TokenTree>,
    pub(crate) braces: Group,
    pub(crate) members: Vec<Member>,
}

pub(crate) enum Member {
    Function(Box<Function>),
    Other(TokenStream),
}

impl ImplBlock {
    pub(crate) fn is_ahead(item: &TokenStream) -> bool {
        let keyword = |input: ParseStream| {
            input.call(Attribute::parse_outer)?;
            input.parse::<Option<Token![unsafe]>>()?;
            let is_impl = input.peek(Token![impl]);
            input.parse::<TokenStream>()?;
            Ok(is_impl)
        };
        keyword.parse2(item.clone()).unwrap_or(false)
    }

    pub(crate) fn parse(item: TokenStream) -> Result<ImplBlock> {
        let mut header: Vec<_> = item.into_iter().collect();
        let Some(TokenTree::Group(braces)) = header.pop() else {
            let message = "expected an `impl` block with its functions in braces";
            return Err(syn::Error::new(proc_macro2::Span::call_site(), message));
        };
        let members = members.parse2(braces.stream())?;
        Ok(ImplBlock {
            header,
            braces,
            members,
        })
    }

    /// The methods of a trait are as public as the trait.
    pub(crate) fn is_of_trait(&self) -> bool {
        self.header.windows(2).any(|pair| {
            let lifetimes = matches!(&pair[1], TokenTree::Punct(angle) if angle.as_char() == '<');
            is_word(&pair[0], "for") && !lifetimes
        })
    }

    pub(crate) fn with(&self, members: TokenStream) -> TokenStream {
        let mut braces = Group::new(Delimiter::Brace, members);
        braces.set_span(self.braces.span());
        let header = self.header.iter().cloned();
        header.chain([TokenTree::Group(braces)]).collect()
    }
}

fn is_word(token: &TokenTree, word: &str) -> bool {
    matches!(token, TokenTree::Ident(ident) if ident == word)
}

fn members(input: ParseStream) -> Result<Vec<Member>> {
    let mut members = Vec::new();
    for attr in input.call(Attribute::parse_inner)? {
        members.push(Member::Other(attr.into_token_stream()));
    }
    while !input.is_empty() {
        members.push(input.parse()?);
    }
    Ok(members)
}

impl Parse for Member {
    fn parse(input: ParseStream) -> Result<Self> {
        if is_function(&input.fork())? {
            return Ok(Member::Function(Box::new(input.parse()?)));
        }
        other(input).map(Member::Other)
    }
}

fn is_function(input: ParseStream) -> Result<bool> {
    input.call(Attribute::parse_outer)?;
    input.parse::<Visibility>()?;
    while !input.peek(Token![fn]) {
        let modifier = input.call(Ident::parse_any);
        let modifiers = ["const", "async", "unsafe", "extern"];
        if !modifier.is_ok_and(|word| modifiers.iter().any(|known| word == known)) {
            return Ok(false);
        }
        input.parse::<Option<syn::LitStr>>()?;
    }
    Ok(true)
}

/// An associated constant or type, or a macro call: up to its semicolon or its braces.
fn other(input: ParseStream) -> Result<TokenStream> {
    let mut tokens: TokenStream = Attribute::parse_outer(input)?
        .into_iter()
        .map(ToTokens::into_token_stream)
        .collect();
    let vis: Visibility = input.parse()?;
    vis.to_tokens(&mut tokens);
    let is_value = input.peek(Token![const]) || input.peek(Token![type]);
    while !input.is_empty() {
        let is_end = input.peek(Token![;]) || (!is_value && input.peek(token::Brace));
        tokens.extend([input.parse::<TokenTree>()?]);
        if is_end {
            break;
        }
    }
    Ok(tokens)
}

/// An item on which the attribute was refused, without the `#[transactional(skip)]` in it: they
/// would say that there is nothing to be exempt from.
pub(crate) fn without_skips(item: TokenStream) -> TokenStream {
    let mut tokens: Vec<_> = item.into_iter().collect();
    if let Some(TokenTree::Group(braces)) = tokens.last_mut() {
        let mut kept: Vec<TokenTree> = Vec::new();
        for token in braces.stream() {
            let follows_hash =
                matches!(kept.last(), Some(TokenTree::Punct(hash)) if hash.as_char() == '#');
            if follows_hash && is_skip(&token) {
                kept.pop();
            } else {
                kept.push(token);
            }
        }
        let mut filtered = Group::new(braces.delimiter(), kept.into_iter().collect());
        filtered.set_span(braces.span());
        *braces = filtered;
    }
    tokens.into_iter().collect()
}

fn is_skip(token: &TokenTree) -> bool {
    let attribute = |input: ParseStream| Attribute::parse_outer(input);
    let hash: TokenStream = quote::quote!(#);
    let parsed = attribute.parse2(hash.into_iter().chain([token.clone()]).collect());
    parsed.is_ok_and(|attrs| attrs.iter().any(skips))
}

/// Whether it is `#[transactional(skip)]`.
pub(crate) fn skips(attr: &Attribute) -> bool {
    Attr::Transactional.is(attr.path()) && attr.parse_args_with(Skip::parse).is_ok()
}
