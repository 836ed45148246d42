//! S3: its settings come from the environment. If that has no keys, they come from a profile of Amazon's tools.

use std::{
    env,
    ffi::OsString,
    io::ErrorKind,
    path::{Path, PathBuf},
};

use object_store::aws::{AmazonS3Builder, AmazonS3ConfigKey as Key};
use weighbridge_manifest::shown;
use weighbridge_store::{read_bounded, shown_path};

use super::{
    is_true,
    profile::{self, File, Profile},
};

/// The settings for a bucket; and where keys were looked for, if none were found and only the machine itself may give
/// some.
///
/// # Errors
/// A sentence without secrets.
pub(super) fn settings() -> Result<(AmazonS3Builder, Option<String>), String> {
    let builder = of_environment();
    let has = |key| builder.get_config_value(&key).is_some();
    if has(Key::AccessKeyId)
        || has(Key::SecretAccessKey)
        || (has(Key::WebIdentityTokenFile) && has(Key::RoleArn))
        || builder.get_config_value(&Key::SkipSignature).is_some_and(|value| is_true(&value))
    {
        return Ok((builder, None));
    }
    let files = Files::of_environment();
    let Profile { keys, region, endpoint, .. } = files.profile()?;
    let others = has(Key::ContainerCredentialsRelativeUri)
        || (has(Key::ContainerCredentialsFullUri) && has(Key::ContainerAuthorizationTokenFile));
    let nowhere = || format!("not in the environment, not in profile `{}`", shown(&files.name));
    let nowhere = (keys.is_none() && !others).then(nowhere);
    // The environment takes precedence over the files.
    let region = region.filter(|_| !has(Key::Region));
    let endpoint = endpoint.filter(|_| !has(Key::Endpoint) && !has(Key::S3Endpoint));
    let (mut id, mut secret, mut session) = (None, None, None);
    if let Some(keys) = keys {
        if has(Key::Token) {
            return Err("the environment has AWS_SESSION_TOKEN, and no keys that it belongs to".to_owned());
        }
        (id, secret, session) = (Some(keys.id), Some(keys.secret), keys.session);
    }
    let settings = [
        (Key::AccessKeyId, id),
        (Key::SecretAccessKey, secret),
        (Key::Token, session),
        (Key::Region, region),
        (Key::Endpoint, endpoint),
    ];
    let set = |builder: AmazonS3Builder, (key, value)| match value {
        Some(value) => builder.with_config(key, value),
        None => builder,
    };
    Ok((settings.into_iter().fold(builder, set), nowhere))
}

/// The settings of the environment. An empty variable counts as none: `object_store` itself would sign with empty keys.
fn of_environment() -> AmazonS3Builder {
    // A variable that is no text is none of these.
    let texts =
        env::vars_os().filter_map(|(name, value)| name.into_string().ok().zip(value.into_string().ok()));
    let settings = texts.filter(|(name, value)| name.starts_with("AWS_") && !value.is_empty());
    settings.fold(AmazonS3Builder::new(), |builder, (name, value)| {
        match name.to_ascii_lowercase().parse::<Key>() {
            Ok(key) => builder.with_config(key, value),
            Err(_) => builder,
        }
    })
}

/// The files that a profile is looked for in.
struct Files {
    name: String,
    /// Whether the user named the profile.
    is_named: bool,
    /// The first file takes precedence.
    files: [Place; 2],
}

struct Place {
    file: File,
    /// The path; `None` if this user has no home folder.
    path: Option<PathBuf>,
    /// Whether the user named the path.
    is_named: bool,
}

impl Files {
    fn of_environment() -> Self {
        Self::new(|name| env::var_os(name), env::home_dir().as_deref())
    }

    fn new(variable: impl Fn(&str) -> Option<OsString>, home: Option<&Path>) -> Self {
        let set = |name| variable(name).filter(|value| !value.is_empty());
        let home = home.filter(|home| !home.as_os_str().is_empty());
        let place = |file, name, default| match set(name).map(PathBuf::from) {
            Some(path) => {
                let below = path.strip_prefix("~").ok().and_then(|rest| Some(home?.join(rest)));
                Place { file, path: Some(below.unwrap_or(path)), is_named: true }
            }
            None => Place { file, path: home.map(|home| home.join(".aws").join(default)), is_named: false },
        };
        let named = ["AWS_PROFILE", "AWS_DEFAULT_PROFILE"].into_iter().find_map(set);
        Self {
            is_named: named.is_some(),
            // A name that is not valid text is in no file.
            name: named.map_or_else(|| "default".to_owned(), |name| name.to_string_lossy().into_owned()),
            files: [
                place(File::Credentials, "AWS_SHARED_CREDENTIALS_FILE", "credentials"),
                place(File::Config, "AWS_CONFIG_FILE", "config"),
            ],
        }
    }

    /// The profile merged from both files; empty if neither has it and the user did not name it.
    fn profile(&self) -> Result<Profile, String> {
        let (mut whole, mut is_there) = (Profile::default(), false);
        for place in &self.files {
            let Some(Profile { keys, region, endpoint, other_way }) = place.read(&self.name)? else {
                continue;
            };
            is_there = true;
            // Keys stay together: those of one file are never mixed with those of the other.
            whole.keys = whole.keys.or(keys);
            whole.region = whole.region.or(region);
            whole.endpoint = whole.endpoint.or(endpoint);
            whole.other_way = whole.other_way.or(other_way);
        }
        let name = shown(&self.name);
        match whole.other_way.filter(|_| whole.keys.is_none()) {
            Some(way) => Err(format!("profile `{name}` gets its keys by {way}, which is not read")),
            None if self.is_named && !is_there => {
                let paths = self.files.iter().filter_map(|place| place.path.as_ref()).map(shown_path);
                Err(format!("profile `{name}` is not in {}", paths.collect::<Vec<_>>().join(" or ")))
            }
            None => Ok(whole),
        }
    }
}

impl Place {
    /// The profile of this name, if the file is there and has it.
    fn read(&self, name: &str) -> Result<Option<Profile>, String> {
        // Users name `/dev/null` so that no file is read.
        let Some(path) = self.path.as_ref().filter(|path| *path != Path::new("/dev/null")) else {
            return Ok(None);
        };
        let bytes = match read_bounded(path, MAX_FILE) {
            Ok(bytes) => bytes,
            Err(error) if !self.is_named || error.source.kind() == ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error.to_string()),
        };
        let text = String::from_utf8(bytes).map_err(|_| format!("{} is no text", shown_path(path)))?;
        let about = |why| format!("{}: profile `{}`: {why}", shown_path(path), shown(name));
        profile::read(&text, self.file, name).map_err(about)
    }
}

/// The largest file that is read.
const MAX_FILE: u64 = 1 << 20;

#[cfg(test)]
mod tests;
