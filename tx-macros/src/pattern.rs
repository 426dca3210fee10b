//! Which of two patterns matches fewer values, as far as their spelling tells. Both are patterns of
//! one type, so two variants are the same if their last names are.

use std::collections::BTreeMap;

use quote::ToTokens;
use syn::{Member, Pat, Path};

/// What the first of two patterns is to the second.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Relation {
    Equal,
    /// The more specific one.
    Inside,
    /// The more general one.
    Around,
    /// No value matches both.
    Apart,
    /// Some values may match both, and neither is known to be the more specific.
    Crossing,
}

use Relation::{Apart, Around, Crossing, Equal, Inside};

impl Relation {
    fn and(self, other: Self) -> Self {
        match (self, other) {
            (Apart, _) | (_, Apart) => Apart,
            (Equal, one) | (one, Equal) => one,
            (one, same) if one == same => one,
            _ => Crossing,
        }
    }

    fn seen_from_the_other(self) -> Self {
        match self {
            Inside => Around,
            Around => Inside,
            same => same,
        }
    }
}

pub(crate) fn relation(first: &Pat, second: &Pat) -> Relation {
    let (first, second) = (plain(first), plain(second));
    match (first, second) {
        (Pat::Or(or), _) => of_alternatives(or.cases.iter().map(|case| relation(case, second))),
        (_, Pat::Or(_)) => relation(second, first).seen_from_the_other(),
        _ if matches_all(first) && matches_all(second) => Equal,
        _ if matches_all(first) => Around,
        _ if matches_all(second) => Inside,
        _ => of_shapes(first, second),
    }
}

/// Without what only groups, refers or names.
fn plain(pattern: &Pat) -> &Pat {
    match pattern {
        Pat::Paren(paren) => plain(&paren.pat),
        Pat::Reference(reference) => plain(&reference.pat),
        Pat::Ident(name) => match &name.subpat {
            Some((_, inner)) => plain(inner),
            None => pattern,
        },
        _ => pattern,
    }
}

/// A name in capitals is a constant or a variant.
fn matches_all(pattern: &Pat) -> bool {
    match pattern {
        Pat::Wild(_) | Pat::Rest(_) => true,
        Pat::Ident(name) => !name.ident.to_string().starts_with(char::is_uppercase),
        _ => false,
    }
}

fn of_alternatives(relations: impl Iterator<Item = Relation>) -> Relation {
    let relations: Vec<_> = relations.collect();
    let all = |wanted: &[Relation]| relations.iter().all(|it| wanted.contains(it));
    let any = |wanted: &[Relation]| relations.iter().any(|it| wanted.contains(it));
    if all(&[Apart]) {
        Apart
    } else if all(&[Inside]) {
        Inside
    } else if all(&[Inside, Equal]) {
        Equal
    } else if any(&[Around, Equal]) {
        Around
    } else {
        Crossing
    }
}

fn of_shapes(first: &Pat, second: &Pat) -> Relation {
    match (first, second) {
        (Pat::Lit(first), Pat::Lit(second)) if !same_tokens(first, second) => Apart,
        (Pat::Tuple(_), Pat::Tuple(_)) => of_fields(first, second),
        _ => match (variant(first), variant(second)) {
            (Some(one), Some(other)) if one == other => of_fields(first, second),
            (Some(_), Some(_)) => Apart,
            _ if same_tokens(first, second) => Equal,
            _ => Crossing,
        },
    }
}

fn same_tokens(first: &impl ToTokens, second: &impl ToTokens) -> bool {
    first.to_token_stream().to_string() == second.to_token_stream().to_string()
}

/// The last name of a variant or a struct.
fn variant(pattern: &Pat) -> Option<String> {
    let path: &Path = match pattern {
        Pat::Path(path) => &path.path,
        Pat::TupleStruct(tuple) => &tuple.path,
        Pat::Struct(fields) => &fields.path,
        _ => return None,
    };
    path.segments.last().map(|last| last.ident.to_string())
}

/// A field that is not mentioned matches everything.
fn of_fields(first: &Pat, second: &Pat) -> Relation {
    let arity = listed(first).max(listed(second));
    let (first, second) = (fields(first, arity), fields(second, arity));
    let names = first.keys().chain(second.keys());
    let relations = names.map(|name| match (first.get(name), second.get(name)) {
        (Some(one), Some(other)) => relation(one, other),
        (Some(one), None) if !matches_all(plain(one)) => Inside,
        (None, Some(other)) if !matches_all(plain(other)) => Around,
        _ => Equal,
    });
    relations.fold(Equal, Relation::and)
}

fn positions(pattern: &Pat) -> Vec<&Pat> {
    match pattern {
        Pat::TupleStruct(tuple) => tuple.elems.iter().collect(),
        Pat::Tuple(tuple) => tuple.elems.iter().collect(),
        _ => Vec::new(),
    }
}

/// How many fields are written out by position.
fn listed(pattern: &Pat) -> usize {
    let is_field = |field: &&&Pat| !matches!(field, Pat::Rest(_));
    positions(pattern).iter().filter(is_field).count()
}

fn fields(pattern: &Pat, arity: usize) -> BTreeMap<String, &Pat> {
    if let Pat::Struct(pattern) = pattern {
        let named = pattern.fields.iter().map(|field| {
            let name = match &field.member {
                Member::Named(name) => name.to_string(),
                Member::Unnamed(index) => index.index.to_string(),
            };
            (name, &*field.pat)
        });
        return named.collect();
    }
    let skipped = arity - listed(pattern);
    let mut index = 0;
    let mut fields = BTreeMap::new();
    for field in positions(pattern) {
        if let Pat::Rest(_) = field {
            index += skipped;
        } else {
            fields.insert(index.to_string(), field);
            index += 1;
        }
    }
    fields
}

#[cfg(test)]
mod tests {
    use syn::parse::Parser;

    use super::*;

    fn pattern(text: &str) -> Pat {
        Pat::parse_multi.parse_str(text).expect(text)
    }

    fn assert_relation(first: &str, expected: Relation, second: &str) {
        let (one, other) = (pattern(first), pattern(second));
        assert_eq!(relation(&one, &other), expected, "{first} to {second}");
        let back = expected.seen_from_the_other();
        assert_eq!(relation(&other, &one), back, "{second} to {first}");
    }

    #[test]
    fn a_variant_is_inside_what_leaves_more_open() {
        assert_relation("E::A(E2::B)", Inside, "E::A(_)");
        assert_relation("E::A(E2::B)", Inside, "E::A(..)");
        assert_relation("E::A(E2::B)", Inside, "E::A(inner)");
        assert_relation("E::A(E2::B)", Inside, "_");
        assert_relation("E::A(1, _, 3)", Inside, "E::A(1, ..)");
        assert_relation("E::A(.., 3)", Inside, "E::A(..)");
        assert_relation("E::A { x: 1, .. }", Inside, "E::A { .. }");
        assert_relation("E::A { x: 1, y: 2 }", Inside, "E::A { y: 2, .. }");
        assert_relation("E::A(E2::B | E2::C)", Inside, "E::A(_)");
        assert_relation("E::A(E2::B)", Inside, "E::A(E2::B | E2::C)");
        assert_relation("E::A(e @ E2::B)", Inside, "E::A(e @ _)");
        assert_relation("(1, 2)", Inside, "(1, _)");
    }

    #[test]
    fn one_pattern_can_be_spelled_in_many_ways() {
        assert_relation("E::A(_)", Equal, "crate::E::A(..)");
        assert_relation("E::A(1, ..)", Equal, "Self::A(1, _)");
        assert_relation("&E::A(x)", Equal, "(E::A(y))");
        assert_relation("E::A { .. }", Equal, "E::A(..)");
        assert_relation("E::A", Equal, "E::A");
        assert_relation("E::A(1..=2)", Equal, "E::A(1 ..= 2)");
        assert_relation("E::A(LIMIT)", Equal, "E::A(LIMIT)");
    }

    #[test]
    fn different_variants_and_literals_are_apart() {
        assert_relation("E::A(_)", Apart, "E::B(_)");
        assert_relation("E::A(1)", Apart, "E::A(2)");
        assert_relation("E::A(1, _)", Apart, "E::A(2, 3)");
        assert_relation("E::A(E2::B | E2::C)", Apart, "E::A(E2::D)");
    }

    #[test]
    fn what_cannot_be_told_is_crossing() {
        assert_relation("E::A(1, _)", Crossing, "E::A(_, 2)");
        assert_relation("E::A(1..=3)", Crossing, "E::A(2..=4)");
        assert_relation("E::A(LIMIT)", Crossing, "E::A(3)");
        assert_relation("E::A(E2::B | E2::C)", Crossing, "E::A(E2::C | E2::D)");
    }
}
