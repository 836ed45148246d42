//! `cargo xtask rules`: checks that code cites each rule of `spec/rules.md` and that a vector breaks it, and that the
//! code and the table have the same error codes.

use std::collections::BTreeSet;

use crate::process::{files_below, from_root, read, root};
use crate::vectors::Vector;
use crate::{Result, codes};

pub(crate) fn check() -> Result {
    let page = read(&root().join("spec/rules.md"))?;
    let rules = defined(&page);
    let sources = sources()?;
    let cited: BTreeSet<u32> = sources.iter().flat_map(|(_, source)| citations(source)).collect();
    let mut broken = BTreeSet::new();
    for vector in Vector::all()? {
        broken.extend(vector.value("rule").into_iter().flat_map(numbers));
    }
    let mut faults = Vec::new();
    for rule in &rules {
        if !cited.contains(rule) {
            faults.push(format!("rule {rule} is cited nowhere in crates/*/src"));
        }
        if !broken.contains(rule) {
            faults.push(format!("rule {rule} is broken by no vector"));
        }
    }
    let unknown = cited.union(&broken).filter(|rule| !rules.contains(rule));
    faults.extend(
        unknown.map(|rule| format!("rule {rule} is cited, and spec/rules.md has none of this number")),
    );
    println!("{} rules", rules.len());
    faults.extend(codes::faults(&sources)?);
    if faults.is_empty() { Ok(()) } else { Err(format!("\n  {}", faults.join("\n  ")).into()) }
}

/// The sources of all crates but xtask, with their paths from the root.
fn sources() -> Result<Vec<(String, String)>> {
    let mut sources = Vec::new();
    for path in files_below(&root().join("crates"))? {
        let name = from_root(&path).to_string();
        if name.contains("/src/") && name.ends_with(".rs") && !name.starts_with("crates/xtask/") {
            let source = read(&path)?;
            sources.push((name, source));
        }
    }
    Ok(sources)
}

/// The numbers of the paragraphs that begin `**Rule N. `.
fn defined(page: &str) -> BTreeSet<u32> {
    let starts = page.lines().filter_map(|line| line.strip_prefix("**Rule ")?.split_once('.'));
    starts.filter_map(|(number, _)| number.parse().ok()).collect()
}

/// The numbers in `rule 4`, `rules 1, 2 and 7`, `rules 1 to 4`.
fn citations(source: &str) -> BTreeSet<u32> {
    // A comment may wrap within a citation, so comment marks are skipped.
    let words: Vec<&str> =
        source.split_whitespace().filter(|word| !matches!(*word, "//" | "///" | "//!" | "*")).collect();
    let mut cited = BTreeSet::new();
    for (at, word) in words.iter().enumerate() {
        let word = word.trim_start_matches(|c: char| !c.is_alphabetic());
        let many = match word {
            "rule" | "Rule" => false,
            "rules" | "Rules" => true,
            _ => continue,
        };
        let mut before = None;
        let mut is_range = false;
        for word in words.iter().skip(at + 1) {
            match (*word, leading_number(word)) {
                (_, Some(number)) => {
                    cited.extend(before.filter(|_| is_range).unwrap_or(number)..=number);
                    (before, is_range) = (Some(number), false);
                    if !many || word.ends_with([')', '.', ';', ':']) {
                        break;
                    }
                }
                ("to", None) => is_range = true,
                ("and", None) => {}
                _ => break,
            }
        }
    }
    cited
}

fn leading_number(word: &str) -> Option<u32> {
    let digits = word.trim_end_matches(|c: char| c.is_ascii_punctuation());
    digits.parse().ok()
}

fn numbers(text: &str) -> Vec<u32> {
    text.split(|c: char| !c.is_ascii_digit()).filter_map(|digits| digits.parse().ok()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn citations_are_found_in_all_their_forms() {
        for (source, expected) in [
            ("/// Refused (rule 6).", &[6][..]),
            ("/// Rule 12: never.", &[12]),
            ("// (rules 1 and 12)", &[1, 12]),
            ("/// at that position (rules 1 to 4). 99 others", &[1, 2, 3, 4]),
            ("/// rules 3, 7 and\n/// 10 hold; 5 does not", &[3, 7, 10]),
            ("/// rule\n    /// 8", &[8]),
            ("T1 is no rule; rules are 13 in all", &[]),
            ("let rule = 7;", &[]),
            ("scruple 7", &[]),
        ] {
            assert_eq!(citations(source).into_iter().collect::<Vec<_>>(), expected, "{source}");
        }
    }

    #[test]
    fn rules_are_found_by_their_headings() {
        let page = "**Rule 1. One.** Text of\nrule 2.\n\n**Rule 12. Twelve.** *Why.*\n";
        assert_eq!(defined(page).into_iter().collect::<Vec<_>>(), [1, 12]);
    }
}
