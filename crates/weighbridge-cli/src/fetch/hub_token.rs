//! The token for a hub, from where Hugging Face's own clients have it, in their order.

use std::{
    env,
    ffi::{OsStr, OsString},
    path::Path,
};

use weighbridge_store::read_bounded;

use super::hub_home;

/// A token for the hub.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum HubToken {
    /// It is in the environment: somebody wants it to be used.
    Given(String),
    /// A login left it in a file. It may have expired.
    Kept(String),
}

impl HubToken {
    /// The token of this machine and user. A file that is not there, or cannot be read, is none.
    pub(super) fn of_environment() -> Option<Self> {
        find(|name| env::var_os(name), hub_home::user().as_deref(), |path| read_bounded(path, MAX_TOKEN).ok())
    }
}

fn find(
    variable: impl Fn(&str) -> Option<OsString>,
    home: Option<&Path>,
    read: impl Fn(&Path) -> Option<Vec<u8>>,
) -> Option<HubToken> {
    let given = ["HF_TOKEN", "HUGGING_FACE_HUB_TOKEN"].into_iter().find_map(|name| trimmed(&variable(name)?));
    if given.is_some() {
        return given.map(HubToken::Given);
    }
    if variable("HF_HUB_DISABLE_IMPLICIT_TOKEN").is_some_and(|value| is_true(&value)) {
        return None;
    }
    let file = hub_home::path("HF_TOKEN_PATH", &variable, home)
        .or_else(|| Some(hub_home::folder(&variable, home)?.join("token")));
    let text = String::from_utf8(read(&file?)?).ok()?;
    trimmed(OsStr::new(&text)).map(HubToken::Kept)
}

/// The text without space around it, if something is left.
fn trimmed(value: &OsStr) -> Option<String> {
    let text = value.to_str()?.trim();
    (!text.is_empty()).then(|| text.to_owned())
}

fn is_true(value: &OsStr) -> bool {
    let is = |word| value.eq_ignore_ascii_case(word);
    ["1", "ON", "YES", "TRUE"].into_iter().any(is)
}

/// Longer than any token.
const MAX_TOKEN: u64 = 16 << 10;

#[cfg(test)]
mod tests {
    use super::*;

    /// The token that is found with these variables, where each file has its own path for a token, and the file that is read.
    fn found(variables: &[(&str, &str)]) -> Option<HubToken> {
        with(variables, Some("/a-home"), |path| Some(format!("{}\n", path.to_str()?).into_bytes()))
    }

    fn with(
        variables: &[(&str, &str)],
        home: Option<&str>,
        read: impl Fn(&Path) -> Option<Vec<u8>>,
    ) -> Option<HubToken> {
        let variable = |name: &str| {
            variables.iter().find(|(known, _)| *known == name).map(|(_, value)| OsString::from(value))
        };
        find(variable, home.map(Path::new), read)
    }

    fn given(token: &str) -> Option<HubToken> {
        Some(HubToken::Given(token.to_owned()))
    }

    fn kept(token: &str) -> Option<HubToken> {
        Some(HubToken::Kept(token.to_owned()))
    }

    #[test]
    fn the_environment_goes_before_files() {
        let all = [("HF_TOKEN", " a\n"), ("HUGGING_FACE_HUB_TOKEN", "b"), ("HF_TOKEN_PATH", "/c")];
        assert_eq!(found(&all), given("a"));
        assert_eq!(found(&all[1..]), given("b"));
        assert_eq!(found(&all[2..]), kept("/c"));
        // An empty value counts as none.
        assert_eq!(found(&[("HF_TOKEN", ""), all[1]]), given("b"));
        assert_eq!(found(&[("HF_TOKEN", " \n"), ("HUGGING_FACE_HUB_TOKEN", " "), all[2]]), kept("/c"));
    }

    #[test]
    fn the_file_is_looked_for_where_clients_keep_it() {
        let all = [("HF_TOKEN_PATH", "/path/t"), ("HF_HOME", "/hf"), ("XDG_CACHE_HOME", "/cache")];
        assert_eq!(found(&all), kept("/path/t"));
        assert_eq!(found(&all[1..]), kept("/hf/token"));
        assert_eq!(found(&all[2..]), kept("/cache/huggingface/token"));
        assert_eq!(found(&[]), kept("/a-home/.cache/huggingface/token"));
        let empty = [("HF_TOKEN_PATH", ""), ("HF_HOME", ""), ("XDG_CACHE_HOME", "")];
        assert_eq!(found(&empty), kept("/a-home/.cache/huggingface/token"));
    }

    #[test]
    fn a_tilde_is_the_users_folder_where_it_is_the_first_name() {
        assert_eq!(found(&[("HF_TOKEN_PATH", "~/t")]), kept("/a-home/t"));
        assert_eq!(found(&[("HF_HOME", "~/hf")]), kept("/a-home/hf/token"));
        assert_eq!(found(&[("XDG_CACHE_HOME", "~")]), kept("/a-home/huggingface/token"));
        assert_eq!(found(&[("HF_TOKEN_PATH", "/a/~/t")]), kept("/a/~/t"));
        assert_eq!(found(&[("HF_TOKEN_PATH", "~you/t")]), kept("~you/t"));
    }

    #[test]
    fn files_are_left_alone_where_that_is_asked_for() {
        for yes in ["1", "on", "YES", "True"] {
            assert_eq!(found(&[("HF_HUB_DISABLE_IMPLICIT_TOKEN", yes)]), None, "{yes}");
            assert_eq!(found(&[("HF_HUB_DISABLE_IMPLICIT_TOKEN", yes), ("HF_TOKEN", "a")]), given("a"));
        }
        for no in ["0", "", "false", "yes please"] {
            assert!(found(&[("HF_HUB_DISABLE_IMPLICIT_TOKEN", no)]).is_some(), "{no}");
        }
    }

    #[test]
    fn a_file_without_a_token_is_none() {
        let none = |bytes: Option<&[u8]>| with(&[], Some("/a-home"), |_| bytes.map(<[u8]>::to_vec));
        for bytes in [None, Some(&b""[..]), Some(b" \n\n"), Some(b"\xff")] {
            assert_eq!(none(bytes), None, "{bytes:?}");
        }
        let read = |_: &Path| Some(b"token".to_vec());
        assert_eq!(with(&[], None, read), None, "there is no folder of the user");
        assert_eq!(with(&[("HF_TOKEN_PATH", "~/t")], None, read), kept("token"), "as it is written");
    }
}
