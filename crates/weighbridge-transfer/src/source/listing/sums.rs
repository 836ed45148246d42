//! `SHA256SUMS`, as GNU coreutils write and read it.

use weighbridge_manifest::Sha256;

use super::{Files, ListingFault, Malformed, files::hex};

/// Parses the text. Each line is a digest, a space, a space or an asterisk, and a path; or, as with `--tag`,
/// `SHA256 (PATH) = DIGEST`. A line that begins with a backslash has backslashes, line feeds and carriage returns of its
/// path escaped. Empty lines and those that begin with `#` are passed over, and so are `./` before a path and the entry of
/// the file itself.
///
/// # Errors
/// [`Malformed`].
pub(crate) fn parse(text: &[u8]) -> Result<Files<Sha256>, Malformed> {
    let text = str::from_utf8(text).map_err(|_| ListingFault::NotUtf8.at(NAME))?;
    let mut files = Files::default();
    for (number, line) in (1..).zip(text.split('\n')) {
        let line = line.strip_suffix('\r').unwrap_or(line);
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let at_line = |fault: ListingFault| fault.at(format!("line {number}"));
        let (digest, path) = entry(line).ok_or_else(|| at_line(ListingFault::Line))?;
        let digest = hex(&digest.to_ascii_lowercase()).ok_or_else(|| at_line(ListingFault::Digest))?;
        let mut path = path.as_str();
        while let Some(rest) = path.strip_prefix("./") {
            path = rest;
        }
        // A file cannot hold its own digest; this one is that of an earlier state.
        if path != NAME {
            files.add(path, Sha256(digest))?;
        }
    }
    Ok(files)
}

/// The name of the file.
pub(crate) const NAME: &str = "SHA256SUMS";

/// The digest and the path of a line.
fn entry(line: &str) -> Option<(&str, String)> {
    let line = line.trim_start_matches([' ', '\t']);
    let (line, is_escaped) = line.strip_prefix('\\').map_or((line, false), |rest| (rest, true));
    let (digest, path) = match line.strip_prefix("SHA256 (") {
        Some(tagged) => tagged.rsplit_once(") = ").map(|(path, digest)| (digest, path))?,
        None => {
            let (digest, path) = line.split_once(' ')?;
            (digest, path.strip_prefix([' ', '*'])?)
        }
    };
    Some((digest, if is_escaped { unescaped(path)? } else { path.to_owned() }))
}

fn unescaped(path: &str) -> Option<String> {
    let mut characters = path.chars();
    let mut plain = String::new();
    while let Some(c) = characters.next() {
        plain.push(match c {
            '\\' => match characters.next()? {
                '\\' => '\\',
                'n' => '\n',
                'r' => '\r',
                _ => return None,
            },
            c => c,
        });
    }
    Some(plain)
}
