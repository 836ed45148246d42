//! Checks that `spec/error-codes.md` and the code have the same error codes.

use std::collections::BTreeSet;

use crate::Result;
use crate::process::{read, root};

/// The differences between the table and the code. `sources` are pairs of a path and a text.
pub(crate) fn faults(sources: &[(String, String)]) -> Result<Vec<String>> {
    let page = read(&root().join("spec/error-codes.md"))?;
    let listed = table(&page);
    let mut faults = Vec::new();
    let mut used = BTreeSet::new();
    for (path, source) in sources {
        let code = without_comments(source);
        used.extend(literals(&code));
        let returned = bodies(&code, "fn error_code").flat_map(literals);
        let unlisted: BTreeSet<u32> =
            returned.filter(|code| !listed.iter().any(|row| row.code == *code)).collect();
        faults
            .extend(unlisted.iter().map(|code| format!("{path} returns {code}, which is not in the table")));
    }
    for row in listed.iter().filter(|row| !row.is_retired && !used.contains(&row.code)) {
        faults.push(format!("code {} ({}) is used nowhere in crates/*/src", row.code, row.meaning));
    }
    println!("{} error codes in the table", listed.len());
    Ok(faults)
}

struct Row<'a> {
    code: u32,
    meaning: &'a str,
    is_retired: bool,
}

/// Parses the rows `| NNNN | meaning |`.
fn table(page: &str) -> Vec<Row<'_>> {
    let row = |line| {
        let (code, meaning) = str::strip_prefix(line, "| ")?.split_once(" | ")?;
        let code = code.parse().ok().filter(|_| code.len() == 4)?;
        let meaning = meaning.trim_end_matches(" |");
        Some(Row { code, meaning, is_retired: meaning.contains("*retired*") })
    };
    page.lines().filter_map(row).collect()
}

/// Each line up to `//`. A `//` within a string cuts off too much, but no error code stands behind one.
fn without_comments(source: &str) -> String {
    source
        .lines()
        .map(|line| line.split_once("//").map_or(line, |(code, _)| code))
        .collect::<Vec<_>>()
        .join("\n")
}

/// The integers of four digits that are not part of another number or name.
fn literals(code: &str) -> BTreeSet<u32> {
    let words = code.split(|c: char| !(c.is_ascii_alphanumeric() || c == '_'));
    words.filter(|word| word.len() == 4).filter_map(|word| word.parse().ok()).collect()
}

/// The bodies of the functions with this name, from brace to brace.
fn bodies<'a>(code: &'a str, name: &'a str) -> impl Iterator<Item = &'a str> {
    code.match_indices(name).filter_map(|(start, _)| {
        let function = code.get(start..)?;
        let mut depth = 0_u32;
        for (at, c) in function.char_indices() {
            match c {
                '{' => depth += 1,
                '}' if depth == 1 => return function.get(..at),
                '}' => depth -= 1,
                _ => {}
            }
        }
        None
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_is_read_by_its_rows() {
        let rows = table(
            "| code | meaning |\n|---|---|\n| 1101 | one |\n| 1102 | two, *retired* |\n2101 is | 3 |\n",
        );
        let rows: Vec<_> = rows.iter().map(|row| (row.code, row.meaning, row.is_retired)).collect();
        assert_eq!(rows, [(1101, "one", false), (1102, "two, *retired*", true)]);
    }

    #[test]
    fn codes_are_whole_literals_of_the_function() {
        let source = "fn other() -> u16 { 1111 }\nfn error_code(&self) -> u16 { match self { A { .. } => 2201, // 3333\n \
                      B => 2202 } }\nconst X: u64 = 0x1234 + 1_024 + 4444;";
        let code = without_comments(source);
        assert_eq!(bodies(&code, "fn error_code").flat_map(literals).collect::<Vec<_>>(), [2201, 2202]);
        assert_eq!(literals(&code).into_iter().collect::<Vec<_>>(), [1111, 2201, 2202, 4444]);
    }
}
