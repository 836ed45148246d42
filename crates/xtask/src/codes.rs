//! Checks that `spec/error-codes.md` and the code have the same error codes.

use std::collections::BTreeSet;

use crate::Result;
use crate::process::{read, root};

const CONSTANTS: &str = "crates/weighbridge-tree/src/error_code.rs";

/// The differences between the table and the code. `sources` are pairs of a path and a text.
pub(crate) fn faults(sources: &[(String, String)]) -> Result<Vec<String>> {
    let page = read(&root().join("spec/error-codes.md"))?;
    let rows = table(&page);
    let constants = all()?;
    println!("{} error codes in the table", rows.len());
    let mut faults = differences(&rows, &constants);
    let mut used = BTreeSet::new();
    for (path, source) in sources.iter().filter(|(path, _)| path != CONSTANTS && !is_test(path)) {
        let code = code_alone(source);
        let bare = literals(&code).into_iter().filter(|number| rows.iter().any(|row| row.code == *number));
        faults
            .extend(bare.map(|number| format!("{path} has {number} where a constant of ErrorCode belongs")));
        used.extend(names(&code));
    }
    let unused = constants.iter().filter(|constant| !used.contains(&constant.name));
    faults.extend(
        unused.map(|it| format!("ErrorCode::{} ({}) is used nowhere in crates/*/src", it.name, it.code)),
    );
    Ok(faults)
}

struct Row {
    code: u32,
    /// As a comment of Rust begins and ends it.
    meaning: String,
    is_retired: bool,
}

/// A constant of `ErrorCode`.
#[derive(Debug, PartialEq)]
pub(crate) struct Constant {
    pub(crate) name: String,
    pub(crate) code: u32,
    pub(crate) meaning: String,
}

/// All constants, in their order.
pub(crate) fn all() -> Result<Vec<Constant>> {
    Ok(constants(&read(&root().join(CONSTANTS))?))
}

/// Parses the rows `| NNNN | meaning |`.
fn table(page: &str) -> Vec<Row> {
    let row = |line| {
        let (code, meaning) = str::strip_prefix(line, "| ")?.strip_suffix(" |")?.split_once(" | ")?;
        let code = code.parse().ok().filter(|_| code.len() == 4)?;
        let (first, rest) = meaning.split_at_checked(1)?;
        let is_retired = meaning.contains("*retired*");
        Some(Row { code, meaning: format!("{}{rest}.", first.to_uppercase()), is_retired })
    };
    page.lines().filter_map(row).collect()
}

/// Lines `NAME = NNNN;`, each behind the comment that is its meaning.
fn constants(source: &str) -> Vec<Constant> {
    let mut meaning = Vec::new();
    let mut constants = Vec::new();
    for line in source.lines().map(str::trim) {
        if let Some(comment) = line.strip_prefix("/// ") {
            meaning.push(comment);
            continue;
        }
        let constant = line.strip_suffix(';').and_then(|line| line.split_once(" = "));
        if let Some((name, code)) = constant.and_then(|(name, code)| Some((name, code.parse().ok()?))) {
            constants.push(Constant { name: name.to_owned(), code, meaning: meaning.join(" ") });
        }
        meaning.clear();
    }
    constants
}

fn differences(rows: &[Row], constants: &[Constant]) -> Vec<String> {
    let mut faults = Vec::new();
    let standing = || rows.iter().filter(|row| !row.is_retired);
    for row in standing() {
        match constants.iter().find(|constant| constant.code == row.code) {
            None => faults.push(format!("code {} has no constant in {CONSTANTS}", row.code)),
            Some(constant) if constant.meaning != row.meaning => {
                faults.push(format!("ErrorCode::{} means \"{}\" in the table", constant.name, row.meaning));
            }
            Some(_) => {}
        }
    }
    let unlisted = constants.iter().filter(|constant| standing().all(|row| row.code != constant.code));
    faults.extend(
        unlisted.map(|it| format!("ErrorCode::{} is {}, which is not in the table", it.name, it.code)),
    );
    if faults.is_empty() && !standing().map(|row| row.code).eq(constants.iter().map(|it| it.code)) {
        faults.push(format!("the constants in {CONSTANTS} are not in the order of the table"));
    }
    faults
}

fn is_test(path: &str) -> bool {
    path.contains("/tests/") || path.ends_with("/tests.rs")
}

/// The lines without strings and comments, and without the tests at the end. Strings of several lines count as code.
fn code_alone(source: &str) -> String {
    let mut code = String::new();
    for line in source.lines().take_while(|line| *line != "mod tests {") {
        let line = line.split('"').step_by(2).collect::<Vec<_>>().join("\"\"");
        code.push_str(line.split_once("//").map_or(&line, |(before, _)| before));
        code.push('\n');
    }
    code
}

fn words(code: &str) -> impl Iterator<Item = &str> {
    code.split(|c: char| !(c.is_ascii_alphanumeric() || c == '_'))
}

/// The integers of four digits that are not part of another number or name.
fn literals(code: &str) -> BTreeSet<u32> {
    words(code).filter(|word| word.len() == 4).filter_map(|word| word.parse().ok()).collect()
}

/// The bodies of the functions with this name, from brace to brace.
fn names(code: &str) -> impl Iterator<Item = String> {
    code.split("ErrorCode::").skip(1).filter_map(|rest| words(rest).next().map(str::to_owned))
}

#[cfg(test)]
mod tests {
    use super::*;

    const PAGE: &str = "| code | meaning |\n|---|---|\n| 1101 | the one |\n| 1102 | *retired*: two |\n\
                        2101 is | 3 |\n| 2101 | `a` | b |\n";
    const SOURCE: &str = "/// Not of a constant.\nfn f() {}\ncodes! {\n    // 11xx\n    /// The\n    /// one.\n    \
                          ONE = 1101;\n\n    /// `a` | b.\n    THREE = 2101;\n}\n";

    fn found(page: &str, source: &str) -> Vec<String> {
        differences(&table(page), &constants(source))
    }

    #[test]
    fn the_table_is_read_by_its_rows_and_the_constants_by_theirs() {
        let rows = table(PAGE);
        let rows: Vec<_> = rows.iter().map(|row| (row.code, row.meaning.as_str(), row.is_retired)).collect();
        assert_eq!(
            rows,
            [(1101, "The one.", false), (1102, "*retired*: two.", true), (2101, "`a` | b.", false)]
        );
        let constant = |name: &str, code, meaning: &str| Constant {
            name: name.to_owned(),
            code,
            meaning: meaning.to_owned(),
        };
        assert_eq!(
            constants(SOURCE),
            [constant("ONE", 1101, "The one."), constant("THREE", 2101, "`a` | b.")]
        );
    }

    #[test]
    fn each_difference_is_named() {
        assert_eq!(found(PAGE, SOURCE), [""; 0]);
        let missing = found(&format!("{PAGE}| 2102 | more |\n"), SOURCE);
        assert_eq!(missing, [format!("code 2102 has no constant in {CONSTANTS}")]);
        let other = found(&PAGE.replace("the one", "another"), SOURCE);
        assert_eq!(other, ["ErrorCode::ONE means \"Another.\" in the table"]);
        let retired = found(PAGE, &format!("{SOURCE}/// Two.\nTWO = 1102;\n"));
        assert_eq!(retired, ["ErrorCode::TWO is 1102, which is not in the table"]);
        let order = "/// `a` | b.\nTHREE = 2101;\n/// The one.\nONE = 1101;\n";
        assert_eq!(
            found(PAGE, order),
            [format!("the constants in {CONSTANTS} are not in the order of the table")]
        );
    }

    #[test]
    fn numbers_and_names_are_those_of_the_code_alone() {
        let source = "fn f() { ErrorCode::A_B; \"http://1111\"; 2201 } // 3333 ErrorCode::C\n\
                      const X: u64 = 0x1234 + 1_024 + 4444;\n#[cfg(test)]\nmod tests {\n    5555 }";
        let code = code_alone(source);
        assert_eq!(literals(&code).into_iter().collect::<Vec<_>>(), [2201, 4444]);
        assert_eq!(names(&code).collect::<Vec<_>>(), ["A_B"]);
    }
}
