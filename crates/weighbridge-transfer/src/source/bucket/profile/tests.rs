use proptest::prelude::*;

use super::{File, Profile, ProfileError, read};

/// Key, secret, session, region and endpoint, with `-` for each that is missing.
fn told(profile: &Profile) -> String {
    let or_none = |value: &Option<String>| value.clone().unwrap_or_else(|| "-".to_owned());
    let keys = profile.keys.as_ref().map_or_else(
        || "- - -".to_owned(),
        |keys| format!("{} {} {}", keys.id, keys.secret, or_none(&keys.session)),
    );
    format!("{keys} {} {}", or_none(&profile.region), or_none(&profile.endpoint))
}

fn credentials(text: &str) -> Result<Option<String>, ProfileError> {
    Ok(read(text, File::Credentials, "default")?.map(|profile| told(&profile)))
}

fn config(text: &str, name: &str) -> Result<Option<String>, ProfileError> {
    Ok(read(text, File::Config, name)?.map(|profile| told(&profile)))
}

fn is(words: &str) -> Result<Option<String>, ProfileError> {
    Ok(Some(words.to_owned()))
}

const KEYS: &str = "aws_access_key_id = ID\naws_secret_access_key = a/b+c=\n";

#[test]
fn reads_what_the_profile_has_and_nothing_of_others() {
    let all = format!(
        "\u{feff}# mine\n[other]\naws_access_key_id = X\nregion = x\n\n[default] ; this one\n{KEYS}\
         aws_session_token=T==\nregion = eu-1 # near\n; none\nendpoint_url = https://s3.example/#a;b\n\
         output = json\n[third]\nregion = y\n"
    );
    assert_eq!(credentials(&all), is("ID a/b+c= T== eu-1 https://s3.example/#a;b"));
    assert_eq!(credentials(&all.replace('\n', "\r\n")), is("ID a/b+c= T== eu-1 https://s3.example/#a;b"));
    assert_eq!(credentials("[default]\nRegion=EU\n"), is("- - - EU -"));
    assert_eq!(credentials("[default]\n"), is("- - - - -"));
    assert_eq!(credentials(""), Ok(None));
    assert_eq!(credentials("region = before any section\n[Default]\nregion = x\n"), Ok(None));
    // A section may be split into parts.
    assert_eq!(credentials("[default]\nregion=a\n[b]\n[default]\nendpoint_url=c"), is("- - - a c"));
}

#[test]
fn the_two_files_name_profiles_differently() {
    let text = "[default]\nregion = a\n[profile me]\nregion = b\n[ profile  \"my own\" ]\nregion = c\n\
                [me]\nregion = d\n[sso-session me]\nregion = e\n[services me]\nregion = f\n[profileme]\nregion = g\n";
    for (name, region) in [("default", "a"), ("me", "b"), ("my own", "c")] {
        assert_eq!(config(text, name), is(&format!("- - - {region} -")));
    }
    assert_eq!(config("[profile default]\nregion = z\n", "default"), is("- - - z -"));
    assert_eq!(config("[me]\nregion = d\n", "me"), Ok(None));
    assert_eq!(config("[sso-session me]\nregion = e\n", "me"), Ok(None));
    let of_credentials = |name| read(text, File::Credentials, name).map(|profile| profile.map(|p| told(&p)));
    assert_eq!(of_credentials("me"), is("- - - d -"));
}

#[test]
fn settings_within_settings_are_passed_over() {
    let text = format!("[default]\ns3 =\n  endpoint_url = x\n\tregion = y\n  any words\n{KEYS}# end\n");
    assert_eq!(credentials(&text), is("ID a/b+c= - - -"));
    // Before the first setting there is nothing that such a line could continue.
    assert_eq!(credentials("[default]\n  region = y\n"), is("- - - y -"));
}

#[test]
fn refuses_lines_that_tools_read_differently() {
    for (text, line) in [
        ("[default]\nword\n", 2),
        ("[default\nregion = x\n", 1),
        ("\n[default] x\n", 2),
        ("[other]\nword\n", 2),
        ("word", 1),
        // The session would be left out, and the keys be refused without it.
        ("[default]\naws_access_key_id = ID\naws_session_token: IQ==\n", 3),
        ("[default]\nregion: a=b\n", 2),
    ] {
        assert_eq!(credentials(text), Err(ProfileError::Line(line)), "{text}");
    }
    assert_eq!(credentials("[default]\nregion = a\nREGION = b\n"), Err(ProfileError::Twice("region")));
    for value in
        ["", " ", "a b", "ä", "a\u{7f}", "a\u{b}", "\u{a0}a", " # all of it", "a\n  b", &"x".repeat(20_000)]
    {
        let text = format!("[default]\naws_secret_access_key = {value}\naws_access_key_id = ID\n");
        assert_eq!(credentials(&text), Err(ProfileError::Value("aws_secret_access_key")), "{value}");
        // In another profile the fault is ignored.
        assert_eq!(credentials(&text.replace("default", "other")), Ok(None));
    }
}

#[test]
fn refuses_half_of_the_keys() {
    let (id, secret) = ("aws_access_key_id", "aws_secret_access_key");
    for (text, has, lacks) in [
        ("[default]\naws_access_key_id = a\n", id, secret),
        ("[default]\naws_secret_access_key = a\nrole_arn = x\n", secret, id),
        ("[default]\naws_session_token = a\n", "aws_session_token", id),
    ] {
        assert_eq!(credentials(text), Err(ProfileError::Half { has, lacks }));
    }
}

#[test]
fn other_ways_to_keys_are_told() {
    for (setting, way) in [
        ("sso_session = my-sso", "single sign-on (SSO)"),
        ("sso_account_id = 1", "single sign-on (SSO)"),
        ("sso_start_url = https://x", "single sign-on (SSO)"),
        ("role_arn = arn:aws:iam::1:role/x\nsource_profile = y", "assuming a role"),
        ("credential_process = /bin/x with words", "running a program"),
        ("login_session = x", "a login in a browser"),
    ] {
        for keys in ["", KEYS] {
            let profile =
                read(&format!("[me]\n{setting}\n{keys}"), File::Credentials, "me").ok().flatten().unwrap();
            assert_eq!(profile.other_way, Some(way), "{setting}");
            assert_eq!(profile.keys.is_some(), !keys.is_empty());
        }
    }
    assert!(
        read("[me]\nregion = x\n", File::Credentials, "me").is_ok_and(|me| me.unwrap().other_way.is_none())
    );
}

#[test]
fn errors_show_no_value() {
    let secret = "hunter2";
    for text in [
        format!("[default]\n{secret}\n"),
        format!("[default]\naws_access_key_id = {secret}\n"),
        format!("[default]\naws_secret_access_key = {secret} {secret}\n"),
    ] {
        let error = read(&text, File::Credentials, "default").err().unwrap();
        assert!(!format!("{error} {error:?}").contains(secret), "{error}");
    }
}

proptest! {
    #[test]
    fn any_text_is_read_or_refused(text in "([\\[\\]=#; \t\n\ra-zä\"]|default|profile |region|aws_access_key_id){0,60}") {
        for file in [File::Credentials, File::Config] {
            if let Ok(Some(profile)) = read(&text, file, "default") {
                // Each value that is read is a word of the text.
                for value in profile.region.iter().chain(&profile.endpoint) {
                    prop_assert!(!value.is_empty() && text.contains(value.as_str()));
                }
            }
        }
    }
}
