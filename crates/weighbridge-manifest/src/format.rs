//! The formats of model files whose tensors are listed.

/// A format of model files whose tensors are listed. The crate `weighbridge-formats` reads its headers.
// Exhaustive on purpose: the parser of headers matches on it, so a new format does not compile without a parser.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum Format {
    /// A length, a JSON header, and the tensors' bytes: <https://github.com/huggingface/safetensors>.
    Safetensors,
    /// Key-values and tensor descriptions in binary, and the tensors' bytes: <https://github.com/ggml-org/ggml>.
    ///
    /// Versions 2 and 3, little-endian.
    Gguf,
}

impl Format {
    /// All formats, each once.
    pub const ALL: [Self; 2] = [Self::Safetensors, Self::Gguf];

    /// The format of the file at `path`, by its extension; `None` if the file is not a tensor file.
    ///
    /// The extension is compared exactly: `MODEL.SAFETENSORS` is not a tensor file, on any operating system. Lists depend
    /// on the path alone, because it is the same for everyone who has the list.
    #[must_use]
    pub fn of(path: &str) -> Option<Self> {
        let has =
            |format: &Self| path.strip_suffix(format.extension()).is_some_and(|before| before.ends_with('.'));
        Self::ALL.into_iter().find(has)
    }

    /// The part of a file's name after its last dot.
    #[must_use]
    pub fn extension(self) -> &'static str {
        match self {
            Self::Safetensors => "safetensors",
            Self::Gguf => "gguf",
        }
    }
}
