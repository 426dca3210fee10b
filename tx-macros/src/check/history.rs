//! An author of changes that there are none of.

use syn::Error;

use crate::grammar::Options;

pub(super) fn all(options: &Options) -> Option<Error> {
    let (history, _) = options.history.as_ref().zip(options.read_only.as_ref())?;
    let message = "`history` has no effect here: a function that is `read_only` changes nothing\n\
                   help: remove `history`, or `read_only`";
    Some(Error::new(history.key.span(), message))
}
