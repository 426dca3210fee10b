//! The known word that a mistyped one was probably meant to be.

/// The nearest of `known`, if it is near enough to be a likely typing mistake.
pub(crate) fn nearest<'a>(word: &str, known: &[&'a str]) -> Option<&'a str> {
    let word = plain(word);
    known
        .iter()
        .map(|candidate| (distance(&word, &plain(candidate)), *candidate))
        .filter(|(distance, candidate)| *distance <= candidate.len() / 3)
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, candidate)| candidate)
}

/// `` `a`, `b`, `c` ``
pub(crate) fn list(words: &[&str]) -> String {
    let quoted: Vec<_> = words.iter().map(|word| format!("`{word}`")).collect();
    quoted.join(", ")
}

/// `REQUIRES_NEW`, `requires_new` and `RequiresNew` are one word to the writer.
fn plain(word: &str) -> Vec<char> {
    let letters = word.chars().filter(|letter| *letter != '_');
    letters.flat_map(char::to_lowercase).collect()
}

/// How many letters are missing, left over, wrong or swapped with their neighbour.
fn distance(a: &[char], b: &[char]) -> usize {
    let mut before: Vec<usize> = Vec::new();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.iter().enumerate() {
        let mut next = vec![i + 1];
        for (j, y) in b.iter().enumerate() {
            let replaced = row[j] + usize::from(x != y);
            let mut least = replaced.min(row[j + 1] + 1).min(next[j] + 1);
            if i > 0 && j > 0 && *x == b[j - 1] && a[i - 1] == *y {
                least = least.min(before[j - 1] + 1);
            }
            next.push(least);
        }
        before = std::mem::replace(&mut row, next);
    }
    row[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    const MODES: [&str; 3] = ["Required", "RequiresNew", "Never"];

    #[test]
    fn a_typing_mistake_finds_its_word() {
        assert_eq!(nearest("Reqiured", &MODES), Some("Required"));
        assert_eq!(nearest("Nevr", &MODES), Some("Never"));
        assert_eq!(nearest("kyes", &["key", "keys", "wait"]), Some("keys"));
        assert_eq!(nearest("wiat", &["key", "keys", "wait"]), Some("wait"));
    }

    #[test]
    fn spelling_habits_of_other_languages_find_their_word() {
        assert_eq!(nearest("REQUIRES_NEW", &MODES), Some("RequiresNew"));
        assert_eq!(nearest("requires_new", &MODES), Some("RequiresNew"));
    }

    #[test]
    fn an_unrelated_word_finds_none() {
        assert_eq!(nearest("colour", &MODES), None);
        assert_eq!(nearest("", &MODES), None);
    }
}
