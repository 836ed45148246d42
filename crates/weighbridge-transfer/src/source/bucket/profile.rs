//! Profiles in the files of Amazon's tools: keys, a region and an endpoint, by name.
//!
//! The reader is strict in what it takes and lenient in what it ignores. The files have settings of many tools, but
//! keys that are written in a way that tools read differently are refused.

use std::fmt;

/// The settings of a profile that are read here.
#[derive(Default, PartialEq, Eq)]
pub(crate) struct Profile {
    pub(crate) keys: Option<Keys>,
    pub(crate) region: Option<String>,
    pub(crate) endpoint: Option<String>,
    /// The other way to get keys that the profile names, in words for people.
    pub(crate) other_way: Option<&'static str>,
}

/// The keys of an account.
#[derive(PartialEq, Eq)]
pub(crate) struct Keys {
    pub(crate) id: String,
    pub(crate) secret: String,
    pub(crate) session: Option<String>,
}

/// Why a profile cannot be used. The error holds no value of the profile, since that may be a secret.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum ProfileError {
    /// A line, counted from 1, is not valid in such a file.
    Line(usize),
    /// The profile has a setting twice.
    Twice(&'static str),
    /// The value of a setting continues on further lines, is empty, or is not a single word.
    Value(&'static str),
    /// The profile has only one of two keys.
    Half {
        /// The key that it has.
        has: &'static str,
        /// The key that it lacks.
        lacks: &'static str,
    },
}

impl fmt::Display for ProfileError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Line(number) => write!(f, "line {number} is neither a section nor a setting"),
            Self::Twice(setting) => write!(f, "{setting} is there twice"),
            Self::Value(setting) => write!(f, "the value of {setting} is no single word"),
            Self::Half { has, lacks } => write!(f, "it has {has} and no {lacks}"),
        }
    }
}

impl std::error::Error for ProfileError {}

/// The file that a text comes from. The two files name profiles differently.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum File {
    /// `~/.aws/credentials`: `[name]`.
    Credentials,
    /// `~/.aws/config`: `[profile name]`, or `[default]`.
    Config,
}

/// Reads one profile of a file; `None` if the file does not have it.
///
/// # Errors
/// [`ProfileError`].
pub(crate) fn read(text: &str, file: File, name: &str) -> Result<Option<Profile>, ProfileError> {
    let mut settings = Settings::default();
    let (mut is_there, mut is_ours, mut last) = (false, false, Last::Section);
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    for (number, line) in (1..).zip(text.lines()) {
        let trimmed = line.trim_matches(SPACE);
        if trimmed.is_empty() || trimmed.starts_with(['#', ';']) {
            continue;
        }
        let is_indented = line.starts_with([' ', '\t']);
        match (is_indented, last) {
            // A continued value, or settings within a setting.
            (true, Last::Setting(None)) => continue,
            (true, Last::Setting(Some(setting))) => return Err(ProfileError::Value(setting)),
            (_, Last::Section) | (false, _) => {}
        }
        if let Some(rest) = trimmed.strip_prefix('[') {
            let (section, behind) = rest.split_once(']').ok_or(ProfileError::Line(number))?;
            let behind = behind.trim_start_matches(SPACE);
            if !behind.is_empty() && !behind.starts_with(['#', ';']) {
                return Err(ProfileError::Line(number));
            }
            is_ours = profile_of(section, file) == Some(name);
            is_there |= is_ours;
            last = Last::Section;
            continue;
        }
        let (key, value) = trimmed.split_once('=').ok_or(ProfileError::Line(number))?;
        // Other readers of this format end a key at a colon, too.
        if is_ours && key.contains(':') {
            return Err(ProfileError::Line(number));
        }
        let known = Setting::ALL
            .into_iter()
            .find(|known| key.trim_end_matches(SPACE).eq_ignore_ascii_case(known.name()));
        let known = known.filter(|_| is_ours);
        if let Some(setting) = known {
            settings.set(setting, value)?;
        }
        last = Last::Setting(known.map(Setting::name));
    }
    if is_there { settings.profile().map(Some) } else { Ok(None) }
}

/// The kind of line that the previous line was.
#[derive(Clone, Copy)]
enum Last {
    Section,
    /// A setting, with its name if it is one that is read.
    Setting(Option<&'static str>),
}

/// The name of the profile that a section header begins.
fn profile_of(section: &str, file: File) -> Option<&str> {
    let section = section.trim_matches(SPACE);
    let name = match file {
        File::Credentials => section,
        File::Config if section == "default" => section,
        File::Config => {
            section.strip_prefix("profile").filter(|rest| rest.starts_with(SPACE))?.trim_matches(SPACE)
        }
    };
    let quoted = |quote| name.strip_prefix(quote).and_then(|name: &str| name.strip_suffix(quote));
    Some(quoted('"').or_else(|| quoted('\'')).unwrap_or(name))
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Setting {
    Id,
    Secret,
    Session,
    Region,
    Endpoint,
    SsoSession,
    SsoAccount,
    SsoStart,
    Role,
    Program,
    Login,
}

impl Setting {
    const ALL: [Self; 11] = [
        Self::Id,
        Self::Secret,
        Self::Session,
        Self::Region,
        Self::Endpoint,
        Self::SsoSession,
        Self::SsoAccount,
        Self::SsoStart,
        Self::Role,
        Self::Program,
        Self::Login,
    ];

    fn name(self) -> &'static str {
        match self {
            Self::Id => "aws_access_key_id",
            Self::Secret => "aws_secret_access_key",
            Self::Session => "aws_session_token",
            Self::Region => "region",
            Self::Endpoint => "endpoint_url",
            Self::SsoSession => "sso_session",
            Self::SsoAccount => "sso_account_id",
            Self::SsoStart => "sso_start_url",
            Self::Role => "role_arn",
            Self::Program => "credential_process",
            Self::Login => "login_session",
        }
    }

    /// The other way to get keys that this setting stands for; `None` if the setting is itself a part of keys.
    fn other_way(self) -> Option<&'static str> {
        match self {
            Self::SsoSession | Self::SsoAccount | Self::SsoStart => Some("single sign-on (SSO)"),
            Self::Role => Some("assuming a role"),
            Self::Program => Some("running a program"),
            Self::Login => Some("a login in a browser"),
            Self::Id | Self::Secret | Self::Session | Self::Region | Self::Endpoint => None,
        }
    }
}

/// The settings of one profile that were read so far.
#[derive(Default)]
struct Settings([Option<String>; Setting::ALL.len()]);

impl Settings {
    fn set(&mut self, setting: Setting, value: &str) -> Result<(), ProfileError> {
        let Some((_, place)) = Setting::ALL.iter().zip(&mut self.0).find(|(known, _)| **known == setting)
        else {
            return Ok(());
        };
        let value = uncommented(value).trim_matches(SPACE);
        if setting.other_way().is_none() {
            if value.is_empty() || value.len() > MAX_VALUE || !value.bytes().all(|b| b.is_ascii_graphic()) {
                return Err(ProfileError::Value(setting.name()));
            }
            if place.is_some() {
                return Err(ProfileError::Twice(setting.name()));
            }
        }
        *place = Some(value.to_owned());
        Ok(())
    }

    fn profile(self) -> Result<Profile, ProfileError> {
        let has = |setting: &Setting, value: &Option<String>| setting.other_way().filter(|_| value.is_some());
        let other_way = Setting::ALL.iter().zip(&self.0).find_map(|(setting, value)| has(setting, value));
        let [id, secret, session, region, endpoint, ..] = self.0;
        let half = |has: Setting, lacks: Setting| ProfileError::Half { has: has.name(), lacks: lacks.name() };
        let keys = match (id, secret, session) {
            (Some(id), Some(secret), session) => Some(Keys { id, secret, session }),
            (Some(_), None, _) => return Err(half(Setting::Id, Setting::Secret)),
            (None, Some(_), _) => return Err(half(Setting::Secret, Setting::Id)),
            (None, None, Some(_)) => return Err(half(Setting::Session, Setting::Id)),
            (None, None, None) => None,
        };
        Ok(Profile { keys, region, endpoint, other_way })
    }
}

/// A value without its trailing comment, which has space before it.
fn uncommented(value: &str) -> &str {
    let starts = [" #", "\t#", " ;", "\t;"].into_iter().filter_map(|start| value.find(start)).min();
    starts.map_or(value, |start| value.split_at(start).0)
}

/// The space characters in lines. Other Unicode space is a part of words.
const SPACE: [char; 3] = [' ', '\t', '\r'];

/// The longest value that is accepted. Session tokens have about a thousand bytes.
const MAX_VALUE: usize = 16 << 10;

#[cfg(test)]
mod tests;
