//! The lists of the release that is fetched: from disk if they are there, else from the sources.

use std::sync::Arc;

use weighbridge_manifest::{ListError, VerifiedFileList, VerifiedTensorList};
use weighbridge_store::{FILES, Metadata, Staged, TENSORS, read_bounded};

use super::{Run, blocking};
use crate::{
    catalog::{Case, Part, one_of},
    error::FetchError,
    event::SourceId,
    source::What,
};

impl Run {
    pub(super) async fn files(
        &self,
        case: &Case,
        staged: &Arc<Staged>,
        published: &Metadata,
        has_other: &(dyn Fn(SourceId) -> bool + Sync),
    ) -> Result<VerifiedFileList, FetchError> {
        let head = &case.head;
        let length = head.head().files.length;
        if let Some(list) = here(staged, published, FILES, length, |bytes| head.open_files(bytes).ok())? {
            return Ok(list);
        }
        let opened = |bytes: Vec<u8>| match head.open_files(&bytes) {
            Ok(list) => Ok((list, bytes)),
            Err(error) => Err(format!("{FILES}: {error}")),
        };
        let found =
            one_of(&self.board, case, &Part::whole(What::FileList { size: length }), has_other, opened)
                .await?;
        let (list, bytes) = found.ok_or_else(|| FetchError::no_source(FILES))?;
        let staged = Arc::clone(staged);
        blocking(&self.board.tasks, move || Ok(staged.write(FILES, &bytes)?)).await?;
        Ok(list)
    }

    pub(super) async fn tensors(
        &self,
        case: &Case,
        staged: &Arc<Staged>,
        published: &Metadata,
        files: &VerifiedFileList,
    ) -> Result<Option<Arc<VerifiedTensorList>>, FetchError> {
        let Some(signed) = files.tensors() else { return Ok(None) };
        let length = signed.list.length;
        let open = |bytes: &[u8]| files.open_tensors(bytes);
        if let Some(list) = here(staged, published, TENSORS, length, |bytes| open(bytes).ok())? {
            return Ok(Some(Arc::new(list)));
        }
        let opened = |bytes: Vec<u8>| match open(&bytes) {
            Ok(list) => Ok((list, bytes)),
            Err(error) => Err(wrong(TENSORS, &error)),
        };
        let found =
            one_of(&self.board, case, &Part::whole(What::TensorList { size: length }), &|_| false, opened)
                .await;
        let is_needed = self.wanted.files.is_none() || self.wanted.tensors.is_some();
        let found = match found {
            // Whether the files can be fetched without it is found out later.
            Err(FetchError::NoSource { .. }) if !is_needed => None,
            Ok(None) if is_needed => return Err(FetchError::no_source(TENSORS)),
            found => found?,
        };
        let Some((list, bytes)) = found else { return Ok(None) };
        let staged = Arc::clone(staged);
        blocking(&self.board.tasks, move || Ok(staged.write(TENSORS, &bytes)?)).await?;
        Ok(Some(Arc::new(list)))
    }
}

/// A list that is in the folder already, from this fetch or from the release that is there.
fn here<T>(
    staged: &Staged,
    published: &Metadata,
    name: &'static str,
    length: u64,
    open: impl Fn(&[u8]) -> Option<T>,
) -> Result<Option<T>, FetchError> {
    if let Some(list) = staged.read(name, length).ok().flatten().and_then(|bytes| open(&bytes)) {
        return Ok(Some(list));
    }
    let Ok(bytes) = read_bounded(&published.folder().join(name), length) else { return Ok(None) };
    let Some(list) = open(&bytes) else { return Ok(None) };
    staged.write(name, &bytes)?;
    Ok(Some(list))
}

fn wrong(name: &str, error: &ListError) -> String {
    format!("{name}: {error}")
}
