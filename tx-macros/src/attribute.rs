//! The attributes from end to end: parse, check, expand. A mistake leaves the item as it was
//! written, so that its callers have no second error and an editor goes on understanding it.

use proc_macro2::{Ident, TokenStream};
use quote::ToTokens;
use syn::Error;
use syn::parse::{ParseStream, Parser};

use crate::check::{self, Place};
use crate::expand;
use crate::grammar::{self, Locked, Options, Skip};
use crate::item::{Attr, Function, ImplBlock, Member, skips, without_skips};

pub(crate) fn transactional(args: TokenStream, item: TokenStream) -> TokenStream {
    if ImplBlock::is_ahead(&item) {
        let block = transactional_block(args, item.clone());
        return block.unwrap_or_else(|errors| refused(errors, without_skips(item)));
    }
    let function = transactional_function(args, item.clone());
    function.unwrap_or_else(|errors| refused(errors, item))
}

pub(crate) fn locked(args: TokenStream, item: TokenStream) -> TokenStream {
    let function = locked_function(args, item.clone());
    function.unwrap_or_else(|errors| refused(errors, item))
}

fn refused(errors: Vec<Error>, item: TokenStream) -> TokenStream {
    let mut tokens: TokenStream = errors.into_iter().map(Error::into_compile_error).collect();
    tokens.extend(item);
    tokens
}

fn transactional_function(args: TokenStream, item: TokenStream) -> Result<TokenStream, Vec<Error>> {
    let (options, mut errors) = options(args, Place::Function);
    let function = Function::parse(item, Attr::Transactional);
    let function = function.map_err(|error| and(&mut errors, error))?;
    errors.extend(check::transactional(&function, &options, Place::Function));
    none(errors)?;
    Ok(expand::transactional(&function, &options))
}

fn transactional_block(args: TokenStream, item: TokenStream) -> Result<TokenStream, Vec<Error>> {
    let (options, mut errors) = options(args, Place::ImplBlock);
    let mut block = ImplBlock::parse(item).map_err(|error| and(&mut errors, error))?;
    let is_of_trait = block.is_of_trait();
    let mut members = TokenStream::new();
    for member in &mut block.members {
        match member {
            Member::Function(function) if is_covered(function, is_of_trait) => {
                errors.extend(check::transactional(function, &options, Place::ImplBlock));
                members.extend(expand::transactional(function, &options));
            }
            Member::Function(function) => {
                function.attrs.retain(|attr| !skips(attr));
                function.to_tokens(&mut members);
            }
            Member::Other(tokens) => members.extend(tokens.clone()),
        }
    }
    none(errors)?;
    Ok(block.with(members))
}

fn locked_function(args: TokenStream, item: TokenStream) -> Result<TokenStream, Vec<Error>> {
    let mut errors = Vec::new();
    let locked: Locked = grammar::parse("locked", args, &mut errors);
    let function = Function::parse(item, Attr::Locked);
    let function = function.map_err(|error| and(&mut errors, error))?;
    errors.extend(check::locked(&function, &locked));
    none(errors)?;
    Ok(expand::locked(&function, &locked))
}

fn options(args: TokenStream, place: Place) -> (Options, Vec<Error>) {
    let mut errors = Vec::new();
    if let Some(error) = misplaced_skip(&args) {
        return (Options::default(), vec![error]);
    }
    let options = grammar::parse("transactional", args, &mut errors);
    errors.extend(check::options(&options, place));
    (options, errors)
}

/// Where `skip` has a meaning, the attribute of the `impl` block has removed it.
fn misplaced_skip(args: &TokenStream) -> Option<Error> {
    let skip = |input: ParseStream| {
        let word = input.fork().parse::<Ident>()?;
        Skip::parse(input)?;
        let alone = input.is_empty();
        input.parse::<TokenStream>()?;
        Ok((word, alone))
    };
    let (word, alone) = skip.parse2(args.clone()).ok()?;
    let message = if alone {
        "`skip` has no effect here: it exempts a method of an `impl` block that is itself \
         `#[transactional]`\n\
         help: remove the attribute"
    } else {
        "`skip` stands alone: a function that is exempt has no options\n\
         help: write `#[transactional(skip)]`, or remove `skip`"
    };
    Some(Error::new(word.span(), message))
}

/// What an `impl` block's attribute is the default for: every async method that is public, unless
/// it has an attribute of its own.
fn is_covered(function: &Function, is_of_trait: bool) -> bool {
    let public = is_of_trait || !matches!(function.vis, syn::Visibility::Inherited);
    public && function.is_async() && function.under(Attr::Transactional).is_none()
}

fn and(errors: &mut Vec<Error>, error: Error) -> Vec<Error> {
    errors.push(error);
    std::mem::take(errors)
}

fn none(errors: Vec<Error>) -> Result<(), Vec<Error>> {
    if errors.is_empty() {
        Ok(())
    } else {
        Err(errors)
    }
}
