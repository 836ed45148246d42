//! The refusals of a signer, by the rules for signers of `spec/lists.md` and `spec/model-folder.md`.

use std::{
    collections::{HashMap, HashSet},
    fmt,
};

use caseless::default_case_fold_str;
use unicode_normalization::{UnicodeNormalization as _, is_nfc};
use weighbridge_manifest::{EntryPath, PathError, shown, unseen_in};
use weighbridge_store::UnfitFault;
use weighbridge_tree::{Coded, ErrorCode};

/// A file or folder in a model folder that cannot be weighed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// The file or folder, relative to the model folder, for people to read.
    pub place: String,
    /// The reason for the refusal.
    pub fault: RefusalFault,
}

/// The reason why something in a model folder cannot be weighed.
#[non_exhaustive]
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RefusalFault {
    /// The thing on disk cannot be part of a model.
    Unfit(UnfitFault),
    /// The path is not in Unicode form NFC.
    NotNfc,
    /// A component of the path has a character that people do not see, so that it could pass for another path.
    Unseen {
        /// The first such character.
        character: char,
    },
    /// Another file or folder has the same path where case does not count.
    SameInAnotherCase {
        /// The path of that other file or folder.
        other: String,
    },
    /// Windows takes the path for another path, which no list may have.
    OtherOnWindows {
        /// The path that Windows would use.
        path: String,
    },
    /// An unfinished download left this file.
    Unfinished {
        /// The program that leaves such files.
        by: &'static str,
    },
    /// An unfinished download left a file beside this one.
    BesideUnfinished {
        /// The leftover.
        leftover: String,
    },
    /// The file belongs to an operating system, not to a model.
    OfASystem {
        /// The operating system.
        by: &'static str,
    },
    /// The file is a Git LFS pointer: the file that it stands for was not downloaded.
    LfsPointer,
}

impl Refusal {
    pub(crate) fn of(path: &EntryPath, fault: RefusalFault) -> Self {
        Self { place: path.as_str().to_owned(), fault }
    }
}

impl Coded for RefusalFault {
    fn error_code(&self) -> ErrorCode {
        match self {
            Self::Unfit(fault) => fault.error_code(),
            Self::NotNfc => ErrorCode::PATH_NOT_NFC,
            Self::Unseen { .. } => ErrorCode::NAME_UNSEEN_CHARACTER,
            Self::SameInAnotherCase { .. } => ErrorCode::PATH_SAME_IN_ANOTHER_CASE,
            Self::OtherOnWindows { .. } => ErrorCode::PATH_RESERVED_ON_WINDOWS,
            Self::LfsPointer => ErrorCode::LFS_POINTER,
            Self::Unfinished { .. } | Self::BesideUnfinished { .. } => ErrorCode::DOWNLOAD_LEFTOVER,
            Self::OfASystem { .. } => ErrorCode::SYSTEM_FILE,
        }
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", shown(&self.place), self.fault)
    }
}

impl fmt::Display for RefusalFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unfit(fault) => fault.fmt(f),
            Self::NotNfc => f.write_str("the name is not in Unicode form NFC"),
            Self::Unseen { character } => {
                write!(f, "the name has a character that is not seen, U+{:04X}", u32::from(*character))
            }
            Self::SameInAnotherCase { other } => {
                write!(f, "the same as {} where case does not count", shown(other))
            }
            Self::OtherOnWindows { path } => {
                write!(f, "Windows takes it for {}, which is no part of models", shown(path))
            }
            Self::Unfinished { by } => write!(f, "left by a download that did not end ({by})"),
            Self::BesideUnfinished { leftover } => {
                write!(f, "its download did not end: {} lies beside it", shown(leftover))
            }
            Self::OfASystem { by } => write!(f, "a file that {by} keeps for itself"),
            Self::LfsPointer => f.write_str("the file is a Git LFS pointer, not the model"),
        }
    }
}

impl std::error::Error for RefusalFault {}

/// The paths that another system takes for other paths, or that people take for other names. `paths` must be sorted.
pub(crate) fn of_paths<'p>(paths: impl Iterator<Item = &'p EntryPath> + Clone) -> Vec<Refusal> {
    let mut refused = same_in_another_case(paths.clone());
    for path in paths {
        if !is_nfc(path.as_str()) {
            refused.push(Refusal::of(path, RefusalFault::NotNfc));
        }
        if let Some(taken_for) = taken_for_on_windows(path.as_str()) {
            refused.push(Refusal::of(path, RefusalFault::OtherOnWindows { path: taken_for }));
        } else if let Some(character) = path.as_str().split('/').find_map(unseen_in) {
            refused.push(Refusal::of(path, RefusalFault::Unseen { character }));
        }
    }
    refused
}

/// Files and folders that are the same where case does not count. The content of two such folders is not reported.
fn same_in_another_case<'p>(paths: impl Iterator<Item = &'p EntryPath>) -> Vec<Refusal> {
    let mut refused = Vec::new();
    let mut known: HashMap<String, &str> = HashMap::new();
    let mut told = HashSet::new();
    for path in paths.map(EntryPath::as_str) {
        let mut folded = String::new();
        let ends = path.match_indices('/').map(|(end, _)| end).chain([path.len()]);
        for place in ends.filter_map(|end| path.get(..end)) {
            folded.push('/');
            folded.push_str(&without_case(place.rsplit('/').next().unwrap_or(place)));
            match known.get(&folded) {
                None => {
                    known.insert(folded.clone(), place);
                }
                Some(other) if *other == place => {}
                Some(other) => {
                    if told.insert(place) {
                        let fault = RefusalFault::SameInAnotherCase { other: (*other).to_owned() };
                        refused.push(Refusal { place: place.to_owned(), fault });
                    }
                    break;
                }
            }
        }
    }
    refused
}

/// A form that is equal for all texts of one canonical caseless match (Unicode, definition D145).
fn without_case(text: &str) -> String {
    let decomposed: String = text.nfd().collect();
    default_case_fold_str(&decomposed).nfd().collect()
}

/// The path that Windows takes this one for, if no list may have that path.
fn taken_for_on_windows(path: &str) -> Option<String> {
    let taken_for: Vec<&str> = path.split('/').map(component_on_windows).collect();
    let taken_for = taken_for.join("/");
    matches!(EntryPath::parse(&taken_for), Err(PathError::Git | PathError::Reserved)).then_some(taken_for)
}

fn component_on_windows(component: &str) -> &str {
    // Windows takes the text behind a colon for the name of a stream of the file.
    let name = component.split(':').next().unwrap_or(component).trim_end_matches(['.', ' ']);
    let is_number = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    let short = name.split_once('~').filter(|(_, number)| is_number(number));
    let long = |short: &str| SHORT_NAMES.iter().find(|(name, _)| name.eq_ignore_ascii_case(short));
    match short.and_then(|(short, _)| long(short)) {
        Some((_, long)) => long,
        // Windows has no name that is only dots and spaces.
        None if name.is_empty() => component,
        None => name,
    }
}

/// The beginnings of short names (up to their number) that Windows gives to long names.
const SHORT_NAMES: [(&str, &str); 4] =
    [("git", ".git"), ("weighb", "weighbridge"), ("cache", ".cache"), ("huggin", "huggingface")];

#[cfg(test)]
mod tests {
    use super::*;

    fn codes(paths: &[&str]) -> Vec<(String, u16)> {
        let paths: Vec<EntryPath> = paths.iter().map(|path| EntryPath::parse(path).unwrap()).collect();
        of_paths(paths.iter()).into_iter().map(|r| (r.place, r.fault.error_code().get())).collect()
    }

    #[test]
    fn windows_does_not_read_these_as_git_or_metadata() {
        let fine = [
            ".cache./x",
            ".git.txt",
            ".gitattributes",
            "a.git",
            "git",
            "git~",
            "git~x/y",
            "model~1.bin",
            "...",
            "x/weighbridge.",
            "x/weighb~1",
            "weighbridges",
            "cache~1/x",
            "huggingface./x",
        ];
        assert_eq!(codes(&fine), []);
    }

    #[test]
    fn what_windows_reads_as_git_or_metadata_is_refused() {
        for path in [
            ".git.",
            ".git ",
            "a/.GIT. ./b",
            ".git::$INDEX_ALLOCATION",
            ".git:x",
            "git~1",
            "a/GIT~2/config",
            "git~1.",
            "weighbridge.",
            "Weighbridge ./head.note",
            "WEIGHB~1/head.note",
            "weighbridge::$DATA",
            ".cache./huggingface",
            ".cache/HuggingFace ",
            "a/CACHE~1/huggin~1/x",
            " /.git.",
        ] {
            assert_eq!(codes(&[path]), [(path.to_owned(), 1423)]);
        }
    }

    #[test]
    fn a_folder_is_told_once_however_much_is_in_it() {
        let of =
            |paths: &[&str]| -> Vec<String> { codes(paths).into_iter().map(|(place, _)| place).collect() };
        assert_eq!(of(&["A/x", "A/y", "a/X", "a/z"]), ["a"]);
        assert_eq!(of(&["Readme", "readme/x", "readme/y"]), ["readme"]);
        assert_eq!(of(&["x/A/B", "x/A/b", "x/C"]), ["x/A/b"]);
        // Folders spelled alike are one folder.
        assert_eq!(codes(&["a/b/c", "a/b/d", "a/e"]), []);
    }
}
