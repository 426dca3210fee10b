//! What both attributes keep and what they put around the body: the function stays, and its body
//! becomes a closure that the runtime calls.

use proc_macro2::{Span, TokenStream};
use quote::{ToTokens, quote_spanned};
use syn::ext::IdentExt;
use syn::{LitStr, Path, Type};

use super::located_at;
use super::output::{output, writable};
use crate::grammar::Given;
use crate::item::{Function, boxed};

pub(super) struct Shell<'a> {
    pub(super) function: &'a Function,
    pub(super) output: &'a Type,
    /// Located at the return type.
    pub(super) span: Span,
    krate: Option<&'a Path>,
}

impl<'a> Shell<'a> {
    pub(super) fn new(function: &'a Function, krate: Option<&'a Given<Path>>) -> Option<Self> {
        let output = output(&function.sig)?;
        Some(Shell {
            function,
            output,
            span: located_at(output),
            krate: krate.map(|krate| &krate.value),
        })
    }

    /// The runtime's path, for tokens at `span`.
    pub(super) fn krate(&self, span: Span) -> TokenStream {
        let given = self.krate.map(ToTokens::to_token_stream);
        given.unwrap_or_else(|| quote_spanned!(span=> ::tx_runtime))
    }

    /// What errors and traces call the function.
    pub(super) fn name(&self, given: Option<&Given<LitStr>>) -> TokenStream {
        if let Some(name) = given {
            return name.value.to_token_stream();
        }
        let name = self.function.sig.ident.unraw().to_string();
        quote_spanned!(self.span=> ::core::concat!(::core::module_path!(), "::", #name))
    }

    /// The function with `scope` of its body for a body.
    ///
    /// ```text
    /// Input:   fn add<'a>(..) -> Pin<Box<dyn Future + 'a>> { Box::pin(FUTURE) }
    /// Output:  fn add<'a>(..) -> Pin<Box<dyn Future + 'a>> { Box::pin(async move { SCOPE OF FUTURE.await }) }
    /// ```
    pub(super) fn function(&self, scope: impl FnOnce(&TokenStream) -> TokenStream) -> Function {
        let body = match self.function.boxed_future() {
            None => scope(&self.function.body),
            Some(future) => {
                let scope = scope(&quote_spanned!(self.span=>
                    ::core::future::IntoFuture::into_future(#future).await
                ));
                let wrapped = quote_spanned!(self.span=> async move { #scope });
                boxed::replace_future(&self.function.body, wrapped)
            }
        };
        Function {
            body,
            ..self.function.clone()
        }
    }

    /// The body as a closure. It keeps its type through the branch that is never taken: a closure
    /// cannot declare one in a way that coerces, and without it `Ok(&string)` is no
    /// `Result<&str, _>`. It has a block of its own, because items inside it may shadow the names
    /// of that type; the braces are generated, or rustc would call those of the source unnecessary.
    pub(super) fn closure(&self, start: Option<&TokenStream>, body: &TokenStream) -> TokenStream {
        let (krate, output) = (self.krate(self.span), writable(self.output));
        quote_spanned!(self.span=>
            async || {
                if false {
                    return #krate::__private::never::<#output>();
                }
                #start
                { #body }
            }
        )
    }
}
