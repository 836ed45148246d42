//! Models that a server takes: whose, by the caller's policy and by what was accepted before.

use std::{fs, path::PathBuf, sync::Arc};

use weighbridge_manifest::{Expectation, SignedHead, TrustPolicy, VerifiedHead};
use weighbridge_publish::{SecretKey, sign_receipt};
use weighbridge_serve::{Accept, Judge, NotTaken};
use weighbridge_store::IoError;

use crate::{
    args::{Serve, Trust},
    failure::Failure,
    memory::{Kept, StateFile, Unaccepted},
    trust,
};

/// The folder into which models are taken, if the caller names one. It is made once nothing else is wrong, and `args` names it without
/// links from then on.
pub(super) fn accept(args: &mut Serve, key: Option<Arc<SecretKey>>) -> Result<Option<Accept>, Failure> {
    let (Some(folder), Some(key)) = (&mut args.accept, key) else { return Ok(None) };
    if args.tokens.is_none() && !super::is_loopback(args.listen.ip()) {
        let message = "--accept on other addresses than loopback needs --tokens: anybody could fill the disk";
        return Err(Failure::usage(message));
    }
    let trust = Trust { trust: args.trust.clone(), vkeys: args.vkeys.clone() };
    // A fault in the policy is said at once.
    let _ = policy(&trust)?;
    fs::create_dir_all(&*folder).map_err(IoError::at("create", &*folder))?;
    *folder = folder.canonicalize().map_err(IoError::at("find", &*folder))?;
    let policy = Policy { trust, accepted: folder.join(ACCEPTED) };
    let node = key.vkey().clone();
    let accept = Accept::new(folder.clone(), node, policy, move |receipt| sign_receipt(receipt, &key).ok());
    Ok(Some(accept?))
}

/// The file of accepted heads, in the folder into which models are taken.
const ACCEPTED: &str = ".heads.json";

/// The policy of the server, which is read again for each head, and the heads that were accepted.
struct Policy {
    trust: Trust,
    accepted: PathBuf,
}

fn policy(trust: &Trust) -> Result<TrustPolicy, Failure> {
    trust.policy()?.ok_or_else(|| {
        Failure::usage("--accept: whose models are taken was not said")
            .hint("name a policy by --trust FILE, or keys by --vkey")
    })
}

impl Policy {
    fn believed(&self, note: &[u8], policy: &TrustPolicy) -> Result<VerifiedHead, Failure> {
        let verify = |expected: &Expectation| {
            let signed = SignedHead::parse(note)?;
            Ok::<_, Failure>(signed.verify(policy, expected, trust::now())?)
        };
        // The name is known once the head is believed.
        let head = verify(&Expectation::any())?;
        let remembered = StateFile::open(Some(&self.accepted))?.recall(&head.head().name, policy)?;
        verify(&remembered.into_iter().fold(Expectation::any(), Expectation::remembering))
    }

    fn remember(&self, note: &[u8]) -> Result<VerifiedHead, Failure> {
        let policy = policy(&self.trust)?;
        let head = self.believed(note, &policy)?;
        let kept = StateFile::open(Some(&self.accepted))?.accept(&head, &policy);
        match kept.map_err(|why: Unaccepted| Failure::from(why))? {
            Kept::Yes { .. } => Ok(head),
            Kept::No { trouble } => Err(Failure::usage(trouble)),
        }
    }
}

impl Judge for Policy {
    fn judge(&self, note: &[u8]) -> Result<VerifiedHead, NotTaken> {
        policy(&self.trust).and_then(|policy| self.believed(note, &policy)).map_err(not_taken)
    }

    fn accept(&self, note: &[u8]) -> Result<VerifiedHead, NotTaken> {
        self.remember(note).map_err(not_taken)
    }
}

/// A reason for the sender. Where the server's own files are at fault, its log has the message, and the sender the code.
fn not_taken(failure: Failure) -> NotTaken {
    let Failure { code, message, .. } = failure;
    if code.get() < 9000 {
        return NotTaken { code, message };
    }
    tracing::error!(target: "weighbridge", code = code.get(), "heads cannot be judged: {message}");
    NotTaken { code, message: "the server cannot judge heads now".to_owned() }
}
