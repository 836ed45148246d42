//! The folders in which Hugging Face's own clients keep what they keep, by the environment.

use std::{
    env,
    ffi::{OsStr, OsString},
    path::{Path, PathBuf},
};

/// The folder of the user.
pub(super) fn user() -> Option<PathBuf> {
    env::home_dir().filter(|home| !home.as_os_str().is_empty())
}

/// The cache of this user.
pub(crate) fn cache_of_environment() -> Option<PathBuf> {
    cache(&|name| env::var_os(name), user().as_deref())
}

fn cache(variable: &dyn Fn(&str) -> Option<OsString>, home: Option<&Path>) -> Option<PathBuf> {
    let named = |name| path(name, variable, home);
    named("HF_HUB_CACHE")
        .or_else(|| named("HUGGINGFACE_HUB_CACHE"))
        .or_else(|| Some(folder(variable, home)?.join("hub")))
}

/// The folder of all clients.
pub(super) fn folder(variable: &dyn Fn(&str) -> Option<OsString>, home: Option<&Path>) -> Option<PathBuf> {
    let cache = || path("XDG_CACHE_HOME", variable, home).or_else(|| Some(home?.join(".cache")));
    path("HF_HOME", variable, home).or_else(|| Some(cache()?.join("huggingface")))
}

/// The path in a variable, unless that is empty. Its first name may be `~`, for the folder of the user, and `$NAME` or `${NAME}` in
/// it stand for other variables, as for the clients.
pub(super) fn path(
    name: &str,
    variable: &dyn Fn(&str) -> Option<OsString>,
    home: Option<&Path>,
) -> Option<PathBuf> {
    let value = variable(name).filter(|value| !value.is_empty())?;
    let value = value.to_str().map_or_else(|| value.clone(), |text| expanded(text, variable).into());
    let path = Path::new(&value);
    Some(match (path.strip_prefix("~"), home) {
        (Ok(rest), Some(home)) => home.join(rest),
        _ => path.to_owned(),
    })
}

/// The text with the values of variables in the place of their names. One that is not set stays as it is written.
fn expanded(text: &str, variable: &dyn Fn(&str) -> Option<OsString>) -> String {
    let (mut rest, mut expanded) = (text, String::new());
    while let Some((before, behind)) = rest.split_once('$') {
        expanded.push_str(before);
        let is_of_name = |c: char| c.is_ascii_alphanumeric() || c == '_';
        let (name, written) = match behind.strip_prefix('{').and_then(|inner| inner.split_once('}')) {
            Some((name, _)) => (name, name.len() + 2),
            None => {
                let name = behind.split_once(|c| !is_of_name(c)).map_or(behind, |(name, _)| name);
                (name, name.len())
            }
        };
        let value = Some(name).filter(|name| !name.is_empty()).and_then(variable);
        let (shown, left) = behind.split_at_checked(written).unwrap_or((behind, ""));
        match value.as_deref().and_then(OsStr::to_str) {
            Some(value) => expanded.push_str(value),
            None => expanded.extend(["$", shown]),
        }
        rest = left;
    }
    expanded.push_str(rest);
    expanded
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_cache_is_looked_for_where_clients_have_it() {
        let found = |variables: &[(&str, &str)], home: Option<&str>| {
            let variable = |name: &str| {
                variables.iter().find(|(known, _)| *known == name).map(|(_, value)| OsString::from(value))
            };
            cache(&variable, home.map(Path::new))
        };
        let all = [
            ("HF_HUB_CACHE", "/a"),
            ("HUGGINGFACE_HUB_CACHE", "~/b"),
            ("HF_HOME", "/c"),
            ("XDG_CACHE_HOME", "/d"),
        ];
        let expected = ["/a", "/a-home/b", "/c/hub", "/d/huggingface/hub", "/a-home/.cache/huggingface/hub"];
        for (from, expected) in expected.iter().enumerate() {
            assert_eq!(found(&all[from..], Some("/a-home")), Some(PathBuf::from(expected)));
        }
        let named = |value| found(&[("HF_HUB_CACHE", value), ("A_1", "/a"), ("B", "")], None).unwrap();
        for (value, expected) in [
            ("$A_1/x", "/a/x"),
            ("${A_1}x", "/ax"),
            ("/b$B$B", "/b"),
            ("$C/${C}/$", "$C/${C}/$"),
            ("${A_1", "${A_1"),
            ("${}$$A_1", "${}$/a"),
        ] {
            assert_eq!(named(value), PathBuf::from(expected), "{value}");
        }
        let empty = all.map(|(name, _)| (name, ""));
        assert_eq!(found(&empty, Some("/a-home")), Some(PathBuf::from(expected[4])));
        assert_eq!(found(&[], None), None);
    }
}
