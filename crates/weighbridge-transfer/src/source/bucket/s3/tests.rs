use std::{
    ffi::OsString,
    fs,
    path::{Path, PathBuf},
};

use super::{Files, Profile};

const KEYS: &str = "aws_access_key_id = ID\naws_secret_access_key = S\n";

fn files(variables: &[(&str, &str)], home: Option<&Path>) -> Files {
    let value = |name: &str| variables.iter().find(|(known, _)| *known == name);
    Files::new(|name| value(name).map(|(_, value)| OsString::from(value)), home)
}

/// Reads the profile from a home folder with these two files.
fn read(variables: &[(&str, &str)], credentials: &str, config: &str) -> Result<Profile, String> {
    let home = tempfile::tempdir().unwrap();
    let folder = home.path().join(".aws");
    fs::create_dir(&folder).unwrap();
    fs::write(folder.join("credentials"), credentials).unwrap();
    fs::write(folder.join("config"), config).unwrap();
    let read = files(variables, Some(home.path())).profile();
    read.map_err(|error| error.replace(home.path().to_str().unwrap(), "~"))
}

fn id(profile: Result<Profile, String>) -> Option<String> {
    profile.unwrap().keys.map(|keys| keys.id)
}

#[test]
fn files_and_profiles_are_those_that_the_environment_names() {
    let paths = |variables: &[(&str, &str)], home: Option<&str>| {
        let files = files(variables, home.map(Path::new));
        (files.name, files.is_named, files.files.map(|place| place.path))
    };
    let path = |path: &str| Some(PathBuf::from(path));
    let usual = [path("/a-home/.aws/credentials"), path("/a-home/.aws/config")];
    assert_eq!(paths(&[], Some("/a-home")), ("default".to_owned(), false, usual.clone()));
    assert_eq!(paths(&[], None), ("default".to_owned(), false, [None, None]));
    let empty = [("AWS_PROFILE", ""), ("AWS_CONFIG_FILE", ""), ("AWS_SHARED_CREDENTIALS_FILE", "")];
    assert_eq!(paths(&empty, Some("/a-home")), ("default".to_owned(), false, usual.clone()));
    let named = [("AWS_PROFILE", "a"), ("AWS_DEFAULT_PROFILE", "b")];
    assert_eq!(paths(&named, Some("/a-home")), ("a".to_owned(), true, usual.clone()));
    assert_eq!(paths(&named[1..], Some("/a-home")), ("b".to_owned(), true, usual));
    let elsewhere = [("AWS_CONFIG_FILE", "~/c"), ("AWS_SHARED_CREDENTIALS_FILE", "/s")];
    assert_eq!(paths(&elsewhere, Some("/a-home")).2, [path("/s"), path("/a-home/c")]);
    assert_eq!(paths(&elsewhere, None).2, [path("/s"), path("~/c")]);
}

#[test]
fn both_files_make_one_profile_whose_keys_come_from_one() {
    let config = "[default]\naws_access_key_id = OF_CONFIG\naws_secret_access_key = S\naws_session_token = T\n\
                  region = r\nendpoint_url = e\n";
    let both = read(&[], &format!("[default]\n{KEYS}endpoint_url = mine\n"), config).unwrap();
    let keys = both.keys.unwrap();
    assert_eq!((keys.id.as_str(), keys.session), ("ID", None));
    assert_eq!((both.region.as_deref(), both.endpoint.as_deref()), (Some("r"), Some("mine")));
    assert_eq!(id(read(&[], "", config)), Some("OF_CONFIG".to_owned()));
    // The role was assumed, and its keys were put into the other file.
    let role = "[default]\nrole_arn = x\nregion = r\n";
    assert_eq!(id(read(&[], &format!("[default]\n{KEYS}"), role)), Some("ID".to_owned()));
    assert_eq!(
        read(&[], "", role).err().unwrap(),
        "profile `default` gets its keys by assuming a role, which is not read"
    );
}

#[test]
fn a_profile_that_is_named_has_to_be_there_and_another_need_not() {
    assert!(read(&[], "", "").is_ok_and(|profile| profile == Profile::default()));
    assert_eq!(
        id(read(&[("AWS_PROFILE", "me")], &format!("[default]\n[me]\n{KEYS}"), "")),
        Some("ID".to_owned())
    );
    assert_eq!(
        read(&[("AWS_PROFILE", "m\u{7}e")], "[default]\n", "").err().unwrap(),
        "profile `m\\u{7}e` is not in ~/.aws/credentials or ~/.aws/config"
    );
}

#[test]
fn a_file_that_cannot_be_read_is_told_if_somebody_named_it() {
    let home = tempfile::tempdir().unwrap();
    let at = |name: &str| home.path().join(name).to_str().unwrap().to_owned();
    fs::write(at("odd"), b"[default]\n\xff\n").unwrap();
    fs::write(at("line"), "[default]\nword\n").unwrap();
    let error = |path: &str| files(&[("AWS_CONFIG_FILE", path)], Some(home.path())).profile().err();
    for absent in ["/dev/null", "/no/such/file"] {
        assert_eq!(error(absent), None, "{absent}");
    }
    assert!(error(&at("")).unwrap().starts_with("cannot read "));
    assert_eq!(error(&at("odd")).unwrap(), format!("{} is no text", at("odd")));
    let line = format!("{}: profile `default`: line 2 is neither a section nor a setting", at("line"));
    assert_eq!(error(&at("line")).unwrap(), line);
    // The user did not name the file, and the machine may still give keys.
    fs::create_dir_all(home.path().join(".aws/config")).unwrap();
    assert!(files(&[], Some(home.path())).profile().is_ok());
}
