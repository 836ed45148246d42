//! Digests that hubs list, computed from the bytes of a file in order.

use weighbridge_manifest::{DigestKind, ListedDigest, Sha256};

use super::ScanError;

/// A digest that is being computed.
pub(super) enum Digester {
    Sha256(Box<sha2::Sha256>),
    /// Made with the detection of collisions: SHA-1 alone is no evidence, since two contents can be made for one hash.
    GitBlob(Box<sha1_checked::Sha1>),
}

impl Digester {
    /// Begins with a file of this length in bytes.
    pub(super) fn new(kind: DigestKind, size: u64) -> Self {
        match kind {
            DigestKind::Sha256 => Self::Sha256(Box::default()),
            DigestKind::GitBlob => {
                let mut sha1 = Box::<sha1_checked::Sha1>::default();
                sha1_checked::Digest::update(&mut *sha1, format!("blob {size}\0"));
                Self::GitBlob(sha1)
            }
        }
    }

    pub(super) fn update(&mut self, bytes: &[u8]) {
        match self {
            Self::Sha256(sha256) => sha2::Digest::update(&mut **sha256, bytes),
            Self::GitBlob(sha1) => sha1_checked::Digest::update(&mut **sha1, bytes),
        }
    }

    pub(super) fn finish(self) -> Result<ListedDigest, ScanError> {
        match self {
            Self::Sha256(sha256) => Ok(ListedDigest::Sha256(Sha256(sha2::Digest::finalize(*sha256).into()))),
            Self::GitBlob(sha1) => {
                let found = sha1.try_finalize();
                match found.has_collision() {
                    true => Err(ScanError::Sha1Collision),
                    false => Ok(ListedDigest::GitBlob((*found.hash()).into())),
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The first 320 bytes of one of the two files of the first collision that was published (Stevens et al. 2017): five
    /// blocks of SHA-1, of which the last two collide.
    const COLLIDES: &str = "\
        255044462d312e330a25e2e3cfd30a0a0a312030206f626a0a3c3c2f57696474682032203020522f4865696768742033\
         203020522f547970652034203020522f537562747970652035203020522f46696c7465722036203020522f436f6c6f72\
         53706163652037203020522f4c656e6774682038203020522f42697473506572436f6d706f6e656e7420383e3e0a7374\
         7265616d0affd8fffe00245348412d3120697320646561642121212121852fec092339759c39b1a1c63c4c97e1fffe01\
         7346dc9166b67e118f029ab621b2560ff9ca67cca8c7f85ba84c79030c2b3de218f86db3a90901d5df45c14f26fedfb3\
         dc38e96ac22fe7bd728f0e45bce046d23c570feb141398bb552ef5a0a82be331fea48037b8b5d71f0e332edf93ac3500\
         eb4ddc0decc1a864790c782c76215660dd309791d06bd0af3f98cda4bc4629b1";

    #[test]
    fn bytes_that_are_made_for_a_collision_have_no_id() {
        let bytes: Vec<u8> = (0..COLLIDES.len())
            .step_by(2)
            .map(|at| u8::from_str_radix(&COLLIDES[at..at + 2], 16).unwrap())
            .collect();
        let digester = |bytes: &[u8]| {
            // The header of a blob would shift the blocks: nobody has made a collision of blobs yet.
            let mut digester = Digester::GitBlob(Box::default());
            bytes.chunks(7).for_each(|piece| digester.update(piece));
            digester.finish()
        };
        assert!(matches!(digester(&bytes), Err(ScanError::Sha1Collision)));
        let mut other = bytes;
        other[319] ^= 1;
        assert!(digester(&other).is_ok());
    }
}
