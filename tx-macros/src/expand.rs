//! The expansion. It stays small because all behaviour is in the runtime's `run`, which is compiled
//! once and can be read as ordinary Rust.

use std::borrow::Cow;

use proc_macro2::{Ident, Span, TokenStream};
use quote::{ToTokens, quote, quote_spanned};
use syn::ext::IdentExt;
use syn::spanned::Spanned;
use syn::visit_mut::{self, VisitMut};
use syn::{Error, FnArg, Pat, Path, ReturnType, Signature, Type, parse_quote};

use crate::boxed;
use crate::check::check;
use crate::function::Function;
use crate::options::{Given, Options};

pub(crate) fn transactional(args: TokenStream, item: TokenStream) -> TokenStream {
    try_expand(args, item.clone()).unwrap_or_else(|errors| fallback(errors, item))
}

fn try_expand(args: TokenStream, item: TokenStream) -> Result<TokenStream, Vec<Error>> {
    let mut errors = Vec::new();
    let options = Options::parse(args, &mut errors);
    match syn::parse2::<Function>(item) {
        Ok(function) => {
            errors.extend(check(&function, &options));
            let expansion = Expansion::new(&function, &options).filter(|_| errors.is_empty());
            expansion
                .map(|expansion| expansion.function())
                .ok_or(errors)
        }
        Err(error) => {
            errors.push(error);
            Err(errors)
        }
    }
}

/// The item stays as it was written, so that its callers have no second error.
fn fallback(errors: Vec<Error>, item: TokenStream) -> TokenStream {
    let mut tokens: TokenStream = errors.into_iter().map(Error::into_compile_error).collect();
    tokens.extend(item);
    tokens
}

/// `self.db` in a method, the parameter `db` elsewhere. The tokens of the signature are used,
/// because a `db` of the macro's own hygiene would be another variable.
pub(crate) fn default_db(sig: &Signature) -> Option<TokenStream> {
    if let Some(receiver) = sig.receiver() {
        let this = &receiver.self_token;
        // A struct without a field `db` is reported at the attribute, where `db = ..` belongs.
        let span = Span::call_site();
        return Some(quote_spanned!(span=> #this.db));
    }
    sig.inputs.iter().find_map(|input| match input {
        FnArg::Typed(argument) => match &*argument.pat {
            Pat::Ident(name) if name.ident == "db" => Some(name.ident.to_token_stream()),
            _ => None,
        },
        FnArg::Receiver(_) => None,
    })
}

struct Expansion<'a> {
    function: &'a Function,
    options: &'a Options,
    output: &'a Type,
    default_db: Option<TokenStream>,
    /// Errors point at the return type, lints see a macro, and the body cannot name the locals.
    span: Span,
}

impl<'a> Expansion<'a> {
    fn new(function: &'a Function, options: &'a Options) -> Option<Self> {
        let output = output(&function.sig)?;
        Some(Expansion {
            function,
            options,
            output,
            default_db: default_db(&function.sig),
            span: located_at(output),
        })
    }

    // Input:
    //     #[transactional(propagation = RequiresNew)]
    //     async fn add(&self, asset: i64) -> Result<(), Error> { BODY }
    //
    // Output:
    //     async fn add(&self, asset: i64) -> Result<(), Error> {
    //         let __tx_db = Clone::clone(__private::db(&self.db));
    //         __private::run(
    //             &__tx_db,
    //             __private::options("module::add", file!(), line!())
    //                 .propagation(Propagation::RequiresNew),
    //             __private::rules(
    //                 PhantomData::<Result<(), Error>>,
    //                 |error| __private::describe!(error),
    //             ),
    //             async || {
    //                 if let Some(__tx_return) = None::<Result<(), Error>> { return __tx_return; }
    //                 { BODY }
    //             },
    //         )
    //         .await
    //     }
    fn function(&self) -> TokenStream {
        let Function {
            attrs,
            vis,
            sig,
            brace,
            body,
        } = self.function;
        let mut tokens = quote!(#(#attrs)* #vis #sig);
        let new_body = match boxed::future(body) {
            Some(future) if sig.asyncness.is_none() => self.boxed(&future),
            _ => self.scope(body),
        };
        // Without the braces of the source, rustc takes the function for generated code and no
        // longer reports it as unused.
        brace.surround(&mut tokens, |inside| inside.extend(new_body));
        tokens
    }

    // Input:
    //     Box::pin(FUTURE)
    //
    // Output:
    //     Box::pin(async move { SCOPE OF FUTURE.await })
    fn boxed(&self, future: &TokenStream) -> TokenStream {
        let scope = self.scope(&quote_spanned!(self.span=>
            ::core::future::IntoFuture::into_future(#future).await
        ));
        let wrapped = quote_spanned!(self.span=> async move { #scope });
        boxed::replace_future(&self.function.body, wrapped)
    }

    /// The body keeps its type through the branch that is never taken: a closure cannot declare
    /// one in a way that coerces, and without it `Ok(&string)` is no `Result<&str, _>`. It has a
    /// block of its own, because items inside it may shadow the names of that type; the braces are
    /// generated, or rustc would call those of the source unnecessary.
    fn scope(&self, body: &TokenStream) -> TokenStream {
        let (krate, db) = (self.krate(self.span), self.db());
        let (settings, rules) = (self.settings(), self.rules());
        let edge = edge(self.output);
        quote_spanned!(self.span=>
            #db
            #krate::__private::run(
                &__tx_db,
                #settings,
                #rules,
                async || {
                    if let ::core::option::Option::Some(__tx_return) =
                        ::core::option::Option::None::<#edge>
                    {
                        return __tx_return;
                    }
                    { #body }
                },
            )
            .await
        )
    }

    /// A clone, because the body may need all of `self` mutably. A statement, so that whatever
    /// `db = ..` locks on its way to the database is open again before the body runs.
    fn db(&self) -> TokenStream {
        let (db, span) = match &self.options.db {
            Some(db) => (db.value.to_token_stream(), located_at(&db.value)),
            None => (self.default_db.to_token_stream(), self.span),
        };
        let krate = self.krate(span);
        let name = Ident::new("__tx_db", self.span);
        quote_spanned!(span=>
            let #name = ::core::clone::Clone::clone(#krate::__private::db(&#db));
        )
    }

    fn krate(&self, span: Span) -> TokenStream {
        let given = self.options.krate.as_ref();
        let given = given.map(|krate| krate.value.to_token_stream());
        given.unwrap_or_else(|| quote_spanned!(span=> ::tx_runtime))
    }

    fn settings(&self) -> TokenStream {
        let krate = self.krate(self.span);
        let name = self.name();
        let propagation = self.mode("Propagation", self.options.propagation.as_ref());
        let isolation = self.mode("Isolation", self.options.isolation.as_ref());
        quote_spanned!(self.span=>
            #krate::__private::options(#name, ::core::file!(), ::core::line!())
                #propagation
                #isolation
        )
    }

    fn name(&self) -> TokenStream {
        if let Some(name) = &self.options.name {
            return name.value.to_token_stream();
        }
        let name = self.function.sig.ident.unraw().to_string();
        quote_spanned!(self.span=> ::core::concat!(::core::module_path!(), "::", #name))
    }

    /// A path is left as written, so that its import counts as used; a lone word is completed.
    fn mode(&self, ty: &str, given: Option<&Given<Path>>) -> Option<TokenStream> {
        let Given { key, value: path } = given?;
        let krate = self.krate(self.span);
        let setter = Ident::new(&key.to_string(), self.span);
        let ty = Ident::new(ty, self.span);
        if path.get_ident().is_some() {
            return Some(quote_spanned!(self.span=> .#setter(#krate::#ty::#path)));
        }
        Some(quote_spanned!(self.span=> .#setter(#path)))
    }

    /// The type is handed over as a value: bounds on a type written by the user are reported at its
    /// own span, and the same mistake once more at the call.
    fn rules(&self) -> TokenStream {
        let (krate, output) = (self.krate(self.span), self.output);
        let exceptions = self.options.no_rollback_for.as_ref().map(|given| {
            let pattern = &given.value;
            quote_spanned!(self.span=>
                .no_rollback_for(|error| ::core::matches!(error, #pattern))
            )
        });
        if without_impl_trait(output).is_some() {
            // `_` would stay unknown in `rules`, which is not told the type of the body.
            return quote_spanned!(self.span=> #krate::__private::Rules::unnamed() #exceptions);
        }
        quote_spanned!(self.span=>
            #krate::__private::rules(
                ::core::marker::PhantomData::<#output>,
                |error| #krate::__private::describe!(error),
            )
            #exceptions
        )
    }
}

/// What the future yields: the return type, except under `#[async_trait]`.
pub(crate) fn output(sig: &Signature) -> Option<&Type> {
    let boxed = boxed::output(sig).filter(|_| sig.asyncness.is_none());
    boxed.or(match &sig.output {
        ReturnType::Type(_, output) => Some(output),
        ReturnType::Default => None,
    })
}

fn located_at(tokens: &impl Spanned) -> Span {
    Span::mixed_site().located_at(tokens.span())
}

fn edge(output: &Type) -> Cow<'_, Type> {
    without_impl_trait(output).map_or(Cow::Borrowed(output), Cow::Owned)
}

/// The type as it can be written in a body: with `_` for each `impl Trait`, if it has any.
fn without_impl_trait(ty: &Type) -> Option<Type> {
    let mut ty = ty.clone();
    let mut eraser = ImplTraitEraser { found: false };
    eraser.visit_type_mut(&mut ty);
    eraser.found.then_some(ty)
}

struct ImplTraitEraser {
    found: bool,
}

impl VisitMut for ImplTraitEraser {
    fn visit_type_mut(&mut self, ty: &mut Type) {
        if let Type::ImplTrait(_) = ty {
            self.found = true;
            *ty = Type::Infer(parse_quote!(_));
        } else {
            visit_mut::visit_type_mut(self, ty);
        }
    }
}
