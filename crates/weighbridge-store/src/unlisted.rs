//! Things in the folder that do not belong to the release.

use std::collections::BTreeSet;

use weighbridge_tree::{Coded, ErrorCode, FileRoot, HeadId};

use crate::{
    destination::{Destination, claimed},
    disk::FileKind,
    naming::Naming,
    partial::PARTIAL,
    quarantine::quarantined,
    site::is_hex,
    staged::{ALL, sweep},
    store_error::StoreError,
    unjudged::is_unjudged,
    walk::{UnfitFault, walk},
};

/// Something in a model folder that does not belong to the release.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Extra {
    /// The path, relative to the folder.
    pub path: String,
    /// The fault, if it is no file that could be part of a model.
    pub fault: Option<ExtraFault>,
    what: What,
}

/// The fault of something that is not listed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ExtraFault {
    /// The code of `spec/error-codes.md`.
    pub code: ErrorCode,
    /// The reason, for people.
    pub message: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum What {
    /// A file, or a link.
    File,
    /// Metadata of another release.
    Staged,
    /// A device, say, or something whose name cannot be told: it was not made by a fetch.
    Strange,
}

impl Destination {
    /// Everything that lies in the folder outside `weighbridge` and is not listed, a `.gitattributes` at the top too; in the order
    /// of paths. A folder that cannot be read is one thing in it.
    ///
    /// # Errors
    /// [`StoreError::Io`]: the folder itself cannot be read.
    pub fn unlisted(&self, listed: &dyn Fn(&str) -> bool) -> Result<Vec<Extra>, StoreError> {
        let found = walk(&self.site().place(""))?;
        let fault = |code, message: &dyn ToString| Some(ExtraFault { code, message: message.to_string() });
        let files = found.files.into_iter();
        let files = files.map(|f| Extra { path: f.path.as_str().to_owned(), fault: None, what: What::File });
        let unfit = found.unfit.into_iter().map(|unfit| {
            let what = match unfit.fault {
                UnfitFault::LinkOut { .. } | UnfitFault::LinkToFolder | UnfitFault::Broken => What::File,
                _ => What::Strange,
            };
            Extra { path: unfit.place, fault: fault(unfit.fault.error_code(), &unfit.fault), what }
        });
        let unread = found.unread.into_iter().map(|unread| {
            let fault = fault(unread.error.error_code(), &unread.error);
            Extra { path: unread.place, fault, what: What::Strange }
        });
        // The path of something strange may only look like one that is listed.
        let all = files.chain(unfit).chain(unread);
        let mut extras: Vec<_> =
            all.filter(|extra| extra.what == What::Strange || !listed(&extra.path)).collect();
        extras.sort_by(|a, b| a.path.cmp(&b.path));
        Ok(extras)
    }

    /// Everything that other fetches left unfinished, or work at: files that are not `wanted`, metadata of other heads than `head`.
    ///
    /// # Errors
    /// [`StoreError::Io`]: the folder cannot be read.
    pub fn left_over(&self, wanted: &BTreeSet<FileRoot>, head: HeadId) -> Result<Vec<Extra>, StoreError> {
        let mut extras = Vec::new();
        for name in self.site().names(PARTIAL)? {
            // No fetch goes on from bytes that were never judged.
            if quarantined(&name).is_some() || is_unjudged(&name) {
                extras.push(Extra { path: format!("{PARTIAL}/{name}"), fault: None, what: What::File });
                continue;
            }
            let root = claimed(&name).map_or(name.as_str(), |(root, _)| root);
            let is_wanted = FileRoot::from_hex(root).is_ok_and(|root| wanted.contains(&root));
            if !is_hex(root, 64) || is_wanted || HeadId::from_hex(&name).is_ok_and(|id| id == head) {
                continue;
            }
            let path = format!("{PARTIAL}/{name}");
            let what = match self.site().look(&path)? {
                Some(FileKind::File) => What::File,
                Some(FileKind::Folder) => What::Staged,
                _ => continue,
            };
            extras.push(Extra { path, fault: None, what });
        }
        extras.sort_by(|a, b| a.path.cmp(&b.path));
        Ok(extras)
    }

    /// Removes something that does not belong to the release, and the folders above it that become empty by that. Says
    /// whether it is gone: what no fetch can have made stays, and a file of the replaced release is kept for its readers.
    ///
    /// # Errors
    /// [`StoreError`]: it cannot be removed, or a folder above it has become something else.
    pub fn remove(&self, naming: &mut Naming, extra: &Extra) -> Result<bool, StoreError> {
        let site = self.site();
        match (extra.what, site.look(&extra.path)?) {
            (_, None) => return Ok(true),
            (What::File, Some(FileKind::File)) => naming.remove(&extra.path)?,
            (What::File, Some(FileKind::Link)) => site.remove_if_there(&extra.path)?,
            (What::Staged, Some(FileKind::Folder)) => {
                sweep(site, &extra.path, &ALL)?;
                return Ok(site.look(&extra.path)?.is_none());
            }
            _ => return Ok(false),
        }
        let mut folder = extra.path.as_str();
        while let Some((above, _)) = folder.rsplit_once('/') {
            folder = above;
            if folder == PARTIAL {
                break;
            }
            // There is something else in it.
            if site.disk().remove_folder(folder).is_err() {
                break;
            }
        }
        site.forget_folders();
        Ok(true)
    }
}
