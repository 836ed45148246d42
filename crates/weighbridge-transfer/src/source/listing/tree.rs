//! The answers of a hub's API: about a revision, and the pages of a tree.

use serde::Deserialize;
use serde_json::Value;
use weighbridge_manifest::{ListedDigest, Sha256, shown_beginning};

use super::{Files, ListingFault, Malformed, files::hex};

/// What a hub says of a revision.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Revision {
    /// 40 hexadecimal digits, since it becomes a part of URLs.
    pub(crate) commit: String,
    pub(crate) base_models: Vec<String>,
}

impl Revision {
    /// Parses the answer about a revision. A card is an author's text, so that only what is as it should be is taken of it.
    ///
    /// # Errors
    /// [`Malformed`].
    pub(crate) fn parse(answer: &[u8]) -> Result<Self, Malformed> {
        #[derive(Deserialize)]
        struct Answer {
            sha: Option<String>,
            #[serde(rename = "cardData", default)]
            card: Value,
        }
        let answer: Answer = json(answer).map_err(|fault| fault.at(PLACE))?;
        let is_commit = |sha: &String| hex::<20>(sha).is_some();
        let commit = answer.sha.filter(is_commit).ok_or_else(|| ListingFault::Commit.at(PLACE))?;
        let base_models = match answer.card.get("base_model") {
            Some(Value::String(one)) => vec![one.clone()],
            Some(Value::Array(all)) => all.iter().filter_map(Value::as_str).map(str::to_owned).collect(),
            _ => Vec::new(),
        };
        Ok(Self { commit, base_models })
    }
}

/// The place of faults in the answer about a revision.
const PLACE: &str = "the revision";

/// An entry of a tree. What else an entry has is not looked at.
#[derive(Deserialize)]
struct Entry {
    #[serde(rename = "type")]
    kind: String,
    path: String,
    size: Option<u64>,
    oid: Option<String>,
    lfs: Option<Lfs>,
    #[serde(rename = "xetHash")]
    xet: Option<String>,
}

/// A file whose content lies beside the repository, which has only a pointer to it.
#[derive(Deserialize)]
struct Lfs {
    #[serde(alias = "sha256")]
    oid: Option<String>,
    size: Option<u64>,
    #[serde(rename = "pointerSize")]
    pointer: Option<u64>,
}

/// Parses a page of a tree, counted from 1, and adds its files with their sizes and digests.
///
/// # Errors
/// [`Malformed`].
pub(crate) fn page(
    answer: &[u8],
    number: usize,
    files: &mut Files<(u64, ListedDigest)>,
) -> Result<(), Malformed> {
    let entries: Vec<Entry> = json(answer).map_err(|fault| fault.at(format!("page {number}")))?;
    for entry in entries {
        match entry.kind.as_str() {
            "directory" => {}
            "file" => files.add(&entry.path, entry.content().map_err(|fault| fault.of(&entry.path))?)?,
            kind => return Err(ListingFault::Kind(kind.to_owned()).of(&entry.path)),
        }
    }
    Ok(())
}

impl Entry {
    /// The size and the digest of the content.
    fn content(&self) -> Result<(u64, ListedDigest), ListingFault> {
        let (size, digest) = match &self.lfs {
            Some(lfs) => {
                let (size, oid) = (lfs.size, lfs.oid.as_deref()).both()?;
                // The size beside it is that of the content or, on some hubs, of the pointer.
                if self.size.is_some_and(|said| said != size && Some(said) != lfs.pointer) {
                    return Err(ListingFault::TwoSizes);
                }
                (size, hex(oid).map(|digest| ListedDigest::Sha256(Sha256(digest))))
            }
            // The id of a pointer says nothing of the content.
            None if self.xet.is_some() => return Err(ListingFault::Incomplete),
            None => {
                let (size, oid) = (self.size, self.oid.as_deref()).both()?;
                (size, hex(oid).map(ListedDigest::GitBlob))
            }
        };
        if size >= MAX_SIZE {
            return Err(ListingFault::Size { size });
        }
        Ok((size, digest.ok_or(ListingFault::Digest)?))
    }
}

trait Both<A, B> {
    fn both(self) -> Result<(A, B), ListingFault>;
}

impl<A, B> Both<A, B> for (Option<A>, Option<B>) {
    fn both(self) -> Result<(A, B), ListingFault> {
        self.0.zip(self.1).ok_or(ListingFault::Incomplete)
    }
}

/// The target of the link to the next page, by the values of the `Link` fields of an answer (RFC 8288).
pub(crate) fn next_page<'v>(links: impl IntoIterator<Item = &'v str>) -> Option<&'v str> {
    links.into_iter().find_map(|mut rest| {
        loop {
            let (_, link) = rest.split_once('<')?;
            let (target, behind) = link.split_once('>')?;
            let end = behind.find(',').unwrap_or(behind.len());
            let (parameters, others) = behind.split_at(end);
            let is_next = |parameter: &str| {
                let (name, value) = parameter.split_once('=')?;
                let relations = value.trim().trim_matches('"');
                let is_next = |relation: &str| relation.eq_ignore_ascii_case("next");
                (name.trim().eq_ignore_ascii_case("rel") && relations.split_whitespace().any(is_next))
                    .then_some(())
            };
            if parameters.split(';').any(|parameter| is_next(parameter).is_some()) {
                return Some(target);
            }
            rest = others;
        }
    })
}

/// Parses JSON, all of which is UTF-8: the parser does not look into what it passes over.
fn json<'a, T: Deserialize<'a>>(answer: &'a [u8]) -> Result<T, ListingFault> {
    let fault = |error: &dyn std::fmt::Display| ListingFault::Json(shown_beginning(&error.to_string(), 200));
    let text = str::from_utf8(answer).map_err(|error| fault(&error))?;
    serde_json::from_str(text).map_err(|error| fault(&error))
}

/// A file of a model is shorter than this.
const MAX_SIZE: u64 = 1 << 53;
