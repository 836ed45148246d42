//! Writes the vectors, and reads their form (`spec/vectors/README.md`).

use std::path::Path;

use crate::Result;
use crate::process::{command, files_below, from_root, root, run};

/// Writes all of `spec/vectors` and the worked examples of the pages. The Python reference makes both.
pub(crate) fn write() -> Result {
    run(&mut command("python3", "tests/reference/make_vectors.py"))
}

/// One scenario with its expected end.
pub(crate) struct Vector {
    /// The path below `spec/vectors`, for people.
    pub(crate) name: String,
    header: Vec<(String, String)>,
    sections: Vec<(String, Vec<u8>)>,
}

impl Vector {
    /// All vectors, sorted by path.
    pub(crate) fn all() -> Result<Vec<Self>> {
        let folder = root().join("spec/vectors");
        let is_vector = |path: &&std::path::PathBuf| path.extension().is_none_or(|e| e != "md");
        files_below(&folder)?.iter().filter(is_vector).map(|path| Self::read(&folder, path)).collect()
    }

    fn read(folder: &Path, path: &Path) -> Result<Self> {
        let name = path.strip_prefix(folder).unwrap_or(path).display().to_string();
        Self::parse(name, &std::fs::read(path)?)
            .ok_or_else(|| format!("{} does not have the form of a vector", from_root(path)).into())
    }

    fn parse(name: String, bytes: &[u8]) -> Option<Self> {
        let end = bytes.windows(2).position(|pair| pair == b"\n\n")?;
        let (top, mut rest) = (str::from_utf8(bytes.get(..end)?).ok()?, bytes.get(end + 2..)?);
        let pair = |line: &str| line.split_once(": ").map(|(key, value)| (key.to_owned(), value.to_owned()));
        let header = top.lines().map(pair).collect::<Option<_>>()?;
        let mut sections = Vec::new();
        while !rest.is_empty() {
            let end = rest.iter().position(|byte| *byte == b'\n')?;
            let title = str::from_utf8(rest.get(..end)?).ok()?.strip_prefix("--- ")?;
            let (section, length) = title.rsplit_once(' ')?;
            let (content, after) = rest.get(end + 1..)?.split_at_checked(length.parse().ok()?)?;
            rest = after.strip_prefix(b"\n")?;
            sections.push((section.to_owned(), content.to_vec()));
        }
        Some(Self { name, header, sections })
    }

    /// The value of a header line.
    pub(crate) fn value(&self, key: &str) -> Option<&str> {
        self.header.iter().find(|(k, _)| k == key).map(|(_, value)| value.as_str())
    }

    /// The value of a header line that is a number.
    pub(crate) fn number(&self, key: &str) -> Option<u64> {
        self.value(key)?.parse().ok()
    }

    /// The bytes of a section.
    pub(crate) fn section(&self, name: &str) -> Option<&[u8]> {
        self.sections().find(|(n, _)| *n == name).map(|(_, bytes)| bytes)
    }

    /// All sections, in the order of the file.
    pub(crate) fn sections(&self) -> impl Iterator<Item = (&str, &[u8])> {
        self.sections.iter().map(|(name, bytes)| (name.as_str(), bytes.as_slice()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_section_ends_where_its_length_says() {
        let file = b"test: chunk\nrule: 6\n\n--- chunk 0 7\na\n\n--- \n--- empty 0\n\n";
        let vector = Vector::parse("x".into(), file).unwrap();
        assert_eq!((vector.value("test"), vector.number("rule")), (Some("chunk"), Some(6)));
        assert_eq!(vector.section("chunk 0"), Some(&b"a\n\n--- "[..]));
        assert_eq!(vector.section("empty"), Some(&[][..]));
        for cut in 0..file.len() {
            // A vector may end between sections.
            let ends_a_section = file[..cut].ends_with(b"--- \n") || file[..cut].ends_with(b"6\n\n");
            assert_eq!(Vector::parse("x".into(), &file[..cut]).is_some(), ends_a_section, "cut to {cut}");
        }
    }
}
