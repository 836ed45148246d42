//! Paths of files and names of tensors, as lists may have them.

use alloc::sync::Arc;
use core::fmt;

use weighbridge_tree::{Coded, ErrorCode};

/// The path of a file in its model: relative, `/`-separated, safe to join to a folder on POSIX systems.
///
/// The rules are those of `spec/lists.md`. Code that creates files at these paths must create them exclusively. On
/// Windows, it must refuse further names; this type does not know the platform.
///
/// Cheap to clone. Ordered by bytes, like the lists.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct EntryPath(Arc<str>);

impl EntryPath {
    /// Checks a path.
    ///
    /// # Errors
    /// [`PathError`], the first in the order of `spec/lists.md`.
    pub fn parse(text: &str) -> Result<Self, PathError> {
        check_path(text)?;
        Ok(Self(Arc::from(text)))
    }

    /// The path as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

fn check_path(text: &str) -> Result<(), PathError> {
    if text.is_empty() || text.len() > 1_024 {
        return Err(PathError::Length { bytes: text.len() });
    }
    if text.chars().any(char::is_control) {
        return Err(PathError::Control);
    }
    if text.contains('\\') {
        return Err(PathError::Backslash);
    }
    if text.starts_with('/') {
        return Err(PathError::Absolute);
    }
    for component in text.split('/') {
        match component.as_bytes() {
            [] => return Err(PathError::EmptyComponent),
            b"." | b".." => return Err(PathError::DotComponent),
            [letter, b':', ..] if letter.is_ascii_alphabetic() => return Err(PathError::Drive),
            long if long.len() > 255 => return Err(PathError::LongComponent { bytes: long.len() }),
            git if git.eq_ignore_ascii_case(b".git") => return Err(PathError::Git),
            _ => {}
        }
    }
    if is_reserved(text) { Err(PathError::Reserved) } else { Ok(()) }
}

/// Whether the path is the metadata folder or a hub client's cache, or lies in one of them. Case is ignored, since on
/// some file systems `Weighbridge/head.note` is the signed head of the model.
fn is_reserved(path: &str) -> bool {
    let is = |component: &str, name: &str| component.eq_ignore_ascii_case(name);
    let components = || path.split('/');
    let mut pairs = components().zip(components().skip(1));
    components().next().is_some_and(|first| is(first, "weighbridge"))
        || pairs.any(|(above, below)| is(above, ".cache") && is(below, "huggingface"))
}

/// The reason why a list may not have a path.
#[non_exhaustive]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PathError {
    /// The path is empty, or longer than 1,024 bytes.
    Length {
        /// The length of the path in bytes.
        bytes: usize,
    },
    /// The path begins with `/`.
    Absolute,
    /// The path has `//`, or `/` at the end.
    EmptyComponent,
    /// A component is `.` or `..`.
    DotComponent,
    /// The path has a control character (Unicode category Cc).
    Control,
    /// The path has a `\`.
    Backslash,
    /// A component begins like a drive, such as `C:` or `c:x`.
    Drive,
    /// A component is longer than 255 bytes.
    LongComponent {
        /// The length of the component in bytes.
        bytes: usize,
    },
    /// A component is `.git`, in any case.
    Git,
    /// The path is in `weighbridge` at the top or in a `.cache/huggingface`, in any case.
    Reserved,
}

impl Coded for PathError {
    fn error_code(&self) -> ErrorCode {
        match self {
            Self::Length { .. } => ErrorCode::PATH_LENGTH,
            Self::Absolute => ErrorCode::PATH_ABSOLUTE,
            Self::EmptyComponent => ErrorCode::PATH_EMPTY_COMPONENT,
            Self::DotComponent => ErrorCode::PATH_DOT_COMPONENT,
            Self::Control => ErrorCode::PATH_CONTROL_CHARACTER,
            Self::Backslash => ErrorCode::PATH_BACKSLASH,
            Self::Drive => ErrorCode::PATH_DRIVE,
            Self::LongComponent { .. } => ErrorCode::PATH_LONG_COMPONENT,
            Self::Git => ErrorCode::PATH_GIT,
            Self::Reserved => ErrorCode::PATH_RESERVED,
        }
    }
}

impl fmt::Display for PathError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Length { bytes } => write!(f, "a path has 1 to 1024 bytes, this one {bytes}"),
            Self::Absolute => f.write_str("the path is absolute"),
            Self::EmptyComponent => f.write_str("the path has an empty component"),
            Self::DotComponent => f.write_str("the path has a component '.' or '..'"),
            Self::Control => f.write_str("the path has a control character"),
            Self::Backslash => f.write_str("the path has a backslash"),
            Self::Drive => f.write_str("a component of the path looks like a drive"),
            Self::LongComponent { bytes } => {
                write!(f, "a component of a path has at most 255 bytes, this one {bytes}")
            }
            Self::Git => f.write_str("a component of the path is '.git'"),
            Self::Reserved => f.write_str("the path lies in a folder that is not part of models"),
        }
    }
}

impl core::error::Error for PathError {}

/// A tensor's name: 1 to 1,024 bytes without control characters. Never use it as a path.
///
/// Cheap to clone. Ordered by bytes, like the lists.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TensorName(Arc<str>);

impl TensorName {
    /// Checks a name.
    ///
    /// # Errors
    /// [`TensorNameError`] if the name is empty, too long, or has a control character.
    pub fn parse(text: &str) -> Result<Self, TensorNameError> {
        if text.is_empty() || text.len() > 1_024 {
            return Err(TensorNameError::Length { bytes: text.len() });
        }
        if text.chars().any(char::is_control) {
            return Err(TensorNameError::Control);
        }
        Ok(Self(Arc::from(text)))
    }

    /// The name as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// The reason why a text cannot be a tensor's name.
#[non_exhaustive]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TensorNameError {
    /// The name is empty, or longer than 1,024 bytes.
    Length {
        /// The length of the name in bytes.
        bytes: usize,
    },
    /// The name has a control character (Unicode category Cc).
    Control,
}

impl Coded for TensorNameError {
    fn error_code(&self) -> ErrorCode {
        match self {
            Self::Length { .. } => ErrorCode::TENSOR_NAME_LENGTH,
            Self::Control => ErrorCode::TENSOR_NAME_CONTROL_CHARACTER,
        }
    }
}

impl fmt::Display for TensorNameError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Length { bytes } => write!(f, "a tensor name has 1 to 1024 bytes, this one {bytes}"),
            Self::Control => f.write_str("the tensor name has a control character"),
        }
    }
}

impl core::error::Error for TensorNameError {}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::format;

    #[test]
    fn takes_what_models_use() {
        for path in [
            "a",
            ".gitattributes",
            "1_Pooling/config.json",
            "a b/ü",
            "weighbridge.md",
            ".cache/x",
            "huggingface/x",
            "a.cache/huggingface/x",
            "docs/weighbridge/x",
            "x.git",
            "ab:c",
            "1:",
        ] {
            assert!(EntryPath::parse(path).is_ok(), "{path}");
        }
    }

    #[test]
    fn refuses_each_fault_with_its_code() {
        let long = "x".repeat(256);
        let longer = format!("{}x", "abc/".repeat(256));
        for (path, code) in [
            ("", 1401),
            (longer.as_str(), 1401),
            ("/a", 1402),
            ("a//b", 1403),
            ("a/", 1403),
            ("./a", 1404),
            ("a/../b", 1404),
            ("..", 1404),
            ("a\nb", 1405),
            ("a\u{7f}", 1405),
            ("a\u{85}", 1405),
            ("a\0", 1405),
            ("a\\b", 1406),
            ("C:", 1407),
            ("a/c:x", 1407),
            ("a:b", 1407),
            (long.as_str(), 1408),
            (".git", 1409),
            ("a/.GIT/b", 1409),
            ("weighbridge", 1410),
            ("weighbridge/head.note", 1410),
            (".cache/huggingface", 1410),
            (".cache/huggingface/x", 1410),
            ("Weighbridge/head.note", 1410),
            ("a/b/.cache/huggingface", 1410),
            ("a/.cache/HuggingFace/x", 1410),
        ] {
            assert_eq!(EntryPath::parse(path).map_err(|e| e.error_code().get()), Err(code), "{path:?}");
        }
    }

    #[test]
    fn tensor_names_are_no_paths_but_have_no_controls() {
        assert!(TensorName::parse("../a\\b//\"").is_ok());
        assert!(TensorName::parse("").is_err());
        assert!(TensorName::parse(&"x".repeat(1025)).is_err());
        assert!(TensorName::parse("a\tb").is_err());
    }
}
