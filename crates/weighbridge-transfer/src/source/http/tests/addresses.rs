use weighbridge_tree::Coded as _;

use crate::source::{SourceFactory, SourceOptions};

#[test]
fn reads_addresses_and_hides_their_secrets() {
    let name =
        |text: &str| SourceFactory::new().parse(text, &SourceOptions::default()).unwrap().name().to_owned();
    assert_eq!(name("HTTPS://user:pass@Host.example:8443/a/b/?key=1#x"), "https://host.example:8443/a/b");
    assert_eq!(name("http://[::1]:80/a b"), "http://[::1]/a%20b");
    assert_eq!(name("hf://org/name"), "hf://org/name");
    let here = tempfile::tempdir().unwrap();
    assert_eq!(name(here.path().to_str().unwrap()), here.path().to_str().unwrap());
}

#[test]
fn refuses_what_is_no_source_and_shows_no_secret_of_it() {
    for (text, said) in [
        ("http://user:secret@host:port/", "not an address of a source (http): invalid port number"),
        ("https://", "not an address of a source (https): empty host"),
        ("hf://secret/of/mine", "not an address of a source (hf): it has to be hf://org/name[@revision]"),
        ("hf://org/name@", "not an address of a source (hf): the revision is empty, or no text"),
        ("ftp://user:secret@host/", "ftp:// is no kind of source"),
        ("/no/such/folder", "neither an address nor a folder: /no/such/folder: "),
        ("", "neither an address nor a folder: : "),
    ] {
        let error = SourceFactory::new().parse(text, &SourceOptions::default()).unwrap_err();
        assert!(error.to_string().starts_with(said), "{error}");
        assert!(
            !error.to_string().contains("secret") && !format!("{error:?}").contains("secret"),
            "{error:?}"
        );
        assert_eq!(error.error_code().get(), 9001);
    }
    for text in ["hf://../name", "hf://org/na/me", "hf://org/..", "hf://org/n%61me", "hf:///name"] {
        assert!(SourceFactory::new().parse(text, &SourceOptions::default()).is_err(), "{text}");
    }
    let file = tempfile::NamedTempFile::new().unwrap();
    let error =
        SourceFactory::new().parse(file.path().to_str().unwrap(), &SourceOptions::default()).unwrap_err();
    assert!(error.to_string().ends_with(": not a folder"), "{error}");
    let options = SourceOptions { hub_endpoint: Some("file:///x".to_owned()), ..SourceOptions::default() };
    assert!(SourceFactory::new().parse("hf://org/name", &options).is_err());
    let options = SourceOptions { hub_token: Some("a\nb".to_owned()), ..SourceOptions::default() };
    assert!(SourceFactory::new().parse("hf://org/name", &options).is_err());
}

#[cfg(not(feature = "cloud"))]
#[test]
fn a_build_without_buckets_says_so() {
    let error = SourceFactory::new().parse("s3://bucket/x", &SourceOptions::default()).unwrap_err();
    assert_eq!(error.to_string(), "this build of weighbridge has no buckets");
}
