//! The user's own trust policy: where it is, whether it may be used, and who else could change it.

use std::{
    env, fs,
    io::{self, IsTerminal},
    path::{Path, PathBuf},
};

use weighbridge_manifest::{Sha256, TrustPolicy};
use weighbridge_store::{IoError, shown_path};
use weighbridge_tree::ErrorCode;

use crate::{UserPolicy, events::policy, failure::Failure, output::Output};

mod owned;

/// A policy that was not named on the command line.
pub(crate) struct Found {
    pub(crate) policy: TrustPolicy,
    pub(crate) path: PathBuf,
    pub(crate) text: Vec<u8>,
    origin: Origin,
}

/// The reason why a policy is in use that was not named on the command line.
#[derive(Clone, Copy)]
enum Origin {
    /// The environment names it.
    Environment,
    /// It is the user's.
    User,
}

impl Found {
    /// The policy that the environment names, or the user's. `None` if there is none, or if nobody is there to see that the
    /// user's is in use.
    ///
    /// # Errors
    /// [`Failure`]: it cannot be read, is no policy, or is the user's and somebody else could change it.
    pub(crate) fn find() -> Result<Option<Self>, Failure> {
        if let Some(path) = named_by_environment() {
            return Self::read(path, Origin::Environment).map(Some);
        }
        if !has_terminal() {
            return Ok(None);
        }
        Self::users().map_err(|failure| match failure.code {
            ErrorCode::USER_POLICY_EXPOSED => failure.hint("or name a policy: --trust FILE"),
            _ => failure,
        })
    }

    /// The user's policy. `None` if there is none, or if nobody is there to see that it is in use.
    pub(crate) fn of_terminal() -> Result<Option<UserPolicy>, Failure> {
        if !has_terminal() {
            return Ok(None);
        }
        Ok(Self::users()?.map(|found| UserPolicy { path: found.path, text: found.text }))
    }

    /// The user's policy, whoever is there to see it.
    pub(crate) fn users() -> Result<Option<Self>, Failure> {
        let Some(path) = place() else { return Ok(None) };
        // Who has no policy need not mind who could make one.
        if matches!(path.try_exists(), Ok(false)) {
            return Ok(None);
        }
        if is_there(&path)? { Self::read(path, Origin::User).map(Some) } else { Ok(None) }
    }

    fn read(path: PathBuf, origin: Origin) -> Result<Self, Failure> {
        let text = fs::read(&path).map_err(IoError::at("read", &path))?;
        let policy = TrustPolicy::from_toml(&text).map_err(|error| Failure::from(error).about(&path))?;
        Ok(Self { policy, path, text, origin })
    }

    /// The SHA-256 of the file.
    pub(crate) fn sha256(&self) -> Sha256 {
        Sha256::of(&self.text)
    }

    /// Prints which policy is in use.
    pub(crate) fn tell(&self, output: &Output) {
        let (why, from) = match self.origin {
            Origin::Environment => (format!(" ({VARIABLE})"), policy::Origin::Environment),
            Origin::User => (String::new(), policy::Origin::User),
        };
        let text = format!("policy   {}{why}, sha256 {}", shown_path(&self.path), self.sha256());
        output.result(&text, || policy::InUse {
            file: self.path.to_string_lossy(),
            sha256: self.sha256().to_string(),
            from,
        });
    }
}

/// The variable that names a policy for runs that name none.
const VARIABLE: &str = "WEIGHBRIDGE_TRUST";

fn named_by_environment() -> Option<PathBuf> {
    env::var_os(VARIABLE).filter(|path| !path.is_empty()).map(PathBuf::from)
}

/// The advice for a run that has no policy.
pub(crate) fn advice() -> String {
    match place().filter(|path| path.exists()) {
        Some(path) if !has_terminal() => format!(
            "without a terminal your policy is used only if it is named: --trust {path}, or {VARIABLE}={path}",
            path = shown_path(path)
        ),
        _ => "`weighbridge trust add` keeps a key, so that it need not be passed each time".to_owned(),
    }
}

/// Whether somebody may be there to see what a run says: any of the three standard streams is a terminal. Jobs, services
/// and tests have none.
fn has_terminal() -> bool {
    io::stdin().is_terminal() || io::stdout().is_terminal() || io::stderr().is_terminal()
}

/// The place of the user's policy, if the system has one for such files.
pub(crate) fn place() -> Option<PathBuf> {
    // The XDG Base Directory Specification has relative paths ignored.
    let set = |name| env::var_os(name).map(PathBuf::from).filter(|path| path.is_absolute());
    let folder = set("XDG_CONFIG_HOME")
        .or_else(|| set("HOME").map(|home| home.join(".config")))
        .or_else(|| set("APPDATA"))?;
    Some(folder.join("weighbridge").join("trust.toml"))
}

/// Whether there is a file, or a folder, that nobody but the user and root could have put there or changed.
///
/// # Errors
/// [`Failure`] with the path that somebody else could change.
pub(crate) fn is_there(path: &Path) -> Result<bool, Failure> {
    owned::check(path).map_err(|error| match error {
        owned::Error::Io(error) => error.into(),
        owned::Error::Exposed { at, how } => {
            let message = format!("your policy is not used: {} {how}", shown_path(&at));
            let failure = Failure::new(ErrorCode::USER_POLICY_EXPOSED, message);
            match how {
                owned::How::Writable(_) => failure.hint(format!("`chmod go-w {}`", shown_path(&at))),
                owned::How::Foreign(_) => failure,
            }
        }
    })
}
