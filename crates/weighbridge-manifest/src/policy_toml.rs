//! Reads trust policies from TOML text.

use alloc::{format, string::String, vec::Vec};
use core::{fmt, marker::PhantomData};

use serde::{
    Deserialize, Deserializer,
    de::{Error as _, MapAccess, Visitor, value::MapAccessDeserializer},
};
use weighbridge_tree::HeadId;

use crate::{
    key::Vkey,
    policy::TrustPolicy,
    policy_error::{KeyFault, PolicyError, PublisherFault},
    publisher::{Publisher, Role, Scope, TrustedKey},
    time::Time,
    toml_1_0,
};

impl TrustPolicy {
    /// Reads a policy in the form of `spec/trust.md`: TOML 1.0 in UTF-8.
    ///
    /// # Errors
    /// [`PolicyError`], the first in the order of `spec/trust.md`. An unknown key is refused, so that a misspelled key
    /// cannot weaken the policy.
    pub fn from_toml(bytes: impl AsRef<[u8]>) -> Result<Self, PolicyError> {
        let form = Form::read(bytes.as_ref())?;
        let mut revoked = Vec::new();
        for (number, line) in (1..).zip(&form.revoked) {
            revoked.push(Vkey::parse(line).map_err(|fault| PolicyError::Revoked { number, fault })?);
        }
        let mut accepted_heads = Vec::new();
        for (number, id) in (1..).zip(&form.accepted_heads) {
            accepted_heads.push(HeadId::from_hex(id).map_err(|_| PolicyError::AcceptedHead { number })?);
        }
        let publishers = form.publisher.iter().map(|Table(form)| publisher(form));
        let policy = Self::of(publishers, revoked, accepted_heads)?;
        let Some(Table(held)) = form.held else { return Ok(policy) };
        let auditors = keys(&held.auditor).map_err(|fault| PolicyError::Held { fault })?;
        policy.with_auditors(held.threshold, auditors)
    }
}

/// Reads a TOML integer, which has 64 bits with a sign; the library would accept larger ones too. A threshold too large
/// for `usize` becomes the largest `usize`, which no policy can reach.
fn threshold<'de, D: Deserializer<'de>>(deserializer: D) -> Result<usize, D::Error> {
    let threshold = i64::deserialize(deserializer)?;
    let not_negative =
        u64::try_from(threshold).map_err(|_| D::Error::custom("a threshold is not negative"))?;
    Ok(usize::try_from(not_negative).unwrap_or(usize::MAX))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct Form {
    #[serde(default)]
    revoked: Vec<String>,
    #[serde(default)]
    accepted_heads: Vec<String>,
    #[serde(default)]
    publisher: Vec<Table<PublisherForm>>,
    held: Option<Table<HeldForm>>,
}

impl Form {
    fn read(bytes: &[u8]) -> Result<Self, PolicyError> {
        let text = str::from_utf8(bytes).map_err(|error| {
            let before = bytes.get(..error.valid_up_to()).and_then(|before| str::from_utf8(before).ok());
            not_a_policy(before.unwrap_or_default(), "a byte that is not UTF-8")
        })?;
        if text.starts_with('\u{feff}') {
            // Some readers of TOML skip a byte order mark, and some refuse it.
            return Err(not_a_policy("", "it begins with a byte order mark"));
        }
        let form = toml::from_str(text).map_err(|error| {
            let before = error.span().and_then(|span| text.get(..span.start));
            not_a_policy(before.unwrap_or_default(), error.message())
        })?;
        match toml_1_0::addition(text) {
            None => Ok(form),
            Some((at, what)) => Err(not_a_policy(
                text.get(..at).unwrap_or_default(),
                &format!("{what}, which TOML 1.0 has not"),
            )),
        }
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct PublisherForm {
    scope: String,
    role: Option<String>,
    #[serde(default = "one", deserialize_with = "threshold")]
    threshold: usize,
    #[serde(default)]
    key: Vec<Table<KeyForm>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct HeldForm {
    #[serde(default = "one", deserialize_with = "threshold")]
    threshold: usize,
    #[serde(default)]
    auditor: Vec<Table<KeyForm>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct KeyForm {
    vkey: String,
    from: Option<String>,
    until: Option<String>,
}

fn one() -> usize {
    1
}

/// A value that is written as a table. By itself, serde also accepts an array for a struct, field by field.
struct Table<T>(T);

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Table<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(TableVisitor(PhantomData)).map(Self)
    }
}

struct TableVisitor<T>(PhantomData<T>);

impl<'de, T: Deserialize<'de>> Visitor<'de> for TableVisitor<T> {
    type Value = T;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a table")
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<T, A::Error> {
        T::deserialize(MapAccessDeserializer::new(map))
    }
}

fn publisher(form: &PublisherForm) -> Result<Publisher, PublisherFault> {
    let scope = Scope::parse(&form.scope).map_err(|_| PublisherFault::Scope)?;
    let role = form.role.as_deref().map_or(Some(Role::Publisher), Role::parse).ok_or(PublisherFault::Role)?;
    Ok(Publisher { scope, role, threshold: form.threshold, keys: keys(&form.key)? })
}

fn keys(forms: &[Table<KeyForm>]) -> Result<Vec<TrustedKey>, PublisherFault> {
    let numbered = (1..).zip(forms);
    let read = |(number, Table(form)): (usize, &Table<KeyForm>)| {
        key(form).map_err(|fault| PublisherFault::Key { number, fault })
    };
    numbered.map(read).collect()
}

fn key(form: &KeyForm) -> Result<TrustedKey, KeyFault> {
    let time = |text: &Option<String>| text.as_deref().map(Time::parse).transpose().map_err(KeyFault::Time);
    let vkey = Vkey::parse(&form.vkey).map_err(KeyFault::Vkey)?;
    TrustedKey { vkey, from: time(&form.from)?, until: time(&form.until)? }.with_dates_in_order()
}

/// Makes one line of the library's message, with the line number at which `before` ends and without the library's
/// drawing over several lines. The message can quote the text.
fn not_a_policy(before: &str, message: &str) -> PolicyError {
    let line = before.matches('\n').count().saturating_add(1);
    let message: String =
        message.chars().map(|c| if c.is_control() { ' ' } else { c }).take(MAX_MESSAGE).collect();
    PolicyError::Form { message: format!("line {line}: {message}") }
}

const MAX_MESSAGE: usize = 160;

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::string::ToString;
    use weighbridge_tree::Coded as _;

    const KEY: &str = "PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW";
    const HEAD: &str = "6904a71d8ea7ea2bc9582b8b42ec8323942d60c5765017b48323d19ddfaa63d0";

    /// A publisher in the form of `spec/trust.md`, with further lines for itself and for its key.
    fn publisher(scope: &str, lines: &str, key_lines: &str) -> String {
        format!(
            "[[publisher]]\nscope = \"{scope}\"\n{lines}\n[[publisher.key]]\nvkey = \"{KEY}\"\n{key_lines}\n"
        )
    }

    /// The code and text of a refusal; (0, "") if the policy is loaded.
    fn refusal(text: &str) -> (u16, String) {
        TrustPolicy::from_toml(text)
            .map_or_else(|error| (error.error_code().get(), error.to_string()), |_| (0, String::new()))
    }

    #[test]
    fn reads_what_the_page_describes() {
        let text = format!(
            "revoked = [\"{KEY}\"]\naccepted-heads = [\"{HEAD}\"]\n{}{}",
            publisher(
                "org/*",
                "threshold = 1",
                "from = \"2026-01-01T00:00:00Z\"\nuntil = \"2027-01-01T00:00:00Z\""
            ),
            publisher("*", "", ""),
        );
        let policy = TrustPolicy::from_toml(&text).unwrap();
        assert!(policy.accepts(&HeadId::from_hex(HEAD).unwrap()));
        assert!(policy.is_revoked(Vkey::parse(KEY).unwrap().public_key()));
        let name = crate::ModelName::parse("org/x").unwrap();
        let entry = policy.entries_of(&name).next().unwrap();
        assert_eq!((entry.scope.to_string().as_str(), entry.threshold), ("org/*", 1));
        assert_eq!(entry.role, Role::Publisher);
        assert_eq!(entry.keys[0].from, Time::parse("2026-01-01T00:00:00Z").ok());
        assert_eq!(entry.keys[0].until, Time::parse("2027-01-01T00:00:00Z").ok());
        let inline = format!("publisher = [{{ scope = '*', key = [{{ vkey = '{KEY}' }}] }}]");
        assert_eq!(refusal(&inline), (0, String::new()));
        assert_eq!(refusal(&format!("accepted-heads = ['{HEAD}']")), (0, String::new()));
        let both = publisher("*", "role = 'publisher'", "") + &publisher("*", "role = \"import\"", "");
        let roles: Vec<Role> =
            TrustPolicy::from_toml(both).unwrap().entries_of(&name).map(|entry| entry.role).collect();
        assert_eq!(roles, [Role::Publisher, Role::Import]);
    }

    #[test]
    fn a_key_that_is_not_known_is_refused_wherever_it_stands() {
        for text in [
            format!("ignore = []\n{}", publisher("*", "", "")),
            format!("accepted_heads = []\n{}", publisher("*", "", "")),
            format!("Revoked = []\n{}", publisher("*", "", "")),
            publisher("*", "treshold = 2", ""),
            publisher("*", "allow-expired = true", ""),
            publisher("*", "", "till = \"2027-01-01T00:00:00Z\""),
            format!("{}[policy]\n", publisher("*", "", "")),
            format!("[[publishers]]\n{}", publisher("*", "", "")),
        ] {
            assert_eq!(refusal(&text).0, 1601, "{text}");
        }
    }

    #[test]
    fn a_value_of_another_type_is_refused() {
        for text in [
            "no TOML".to_string(),
            format!("\u{feff}{}", publisher("*", "", "")),
            publisher("*", "threshold = 9223372036854775808", ""),
            "[[publisher".into(),
            format!("revoked = \"{KEY}\"\n{}", publisher("*", "", "")),
            format!("revoked = [1]\n{}", publisher("*", "", "")),
            format!("accepted-heads = {{}}\n{}", publisher("*", "", "")),
            "publisher = 1".into(),
            format!("[publisher]\nscope = '*'\nkey = [{{ vkey = '{KEY}' }}]"),
            format!("[[publisher]]\nscope = '*'\nkey = {{ vkey = '{KEY}' }}"),
            format!("[[publisher]]\nscope = '*'\nkey = ['{KEY}']"),
            format!("[[publisher]]\nkey = [{{ vkey = '{KEY}' }}]"),
            "[[publisher]]\nscope = '*'\nkey = [{}]".into(),
            publisher("*", "threshold = \"1\"", ""),
            publisher("*", "threshold = 1.0", ""),
            publisher("*", "threshold = true", ""),
            publisher("*", "role = 1", ""),
            publisher("*", "role = ['import']", ""),
            publisher("*", "threshold = -1", ""),
            publisher("*", "threshold = 1\nthreshold = 1", ""),
            publisher("*", "", "from = 2026-01-01T00:00:00Z"),
            publisher("*", "", "until = 1"),
        ] {
            assert_eq!(refusal(&text).0, 1601, "{text}");
        }
    }

    #[test]
    fn an_array_is_no_table() {
        // serde once accepted `["*", 1, []]` as a publisher: all its fields in order, without their names.
        let key = format!("['{KEY}', '2026-01-01T00:00:00Z', '2027-01-01T00:00:00Z']");
        for text in [
            format!("publisher = [['*', 1, [{key}]]]"),
            format!("publisher = [{{ scope = '*', key = [{key}] }}]"),
            format!("publisher = [['*', 1, [{{ vkey = '{KEY}' }}]]]"),
        ] {
            assert_eq!(refusal(&text).0, 1601, "{text}");
        }
    }

    #[test]
    fn each_fault_has_its_code_and_its_place() {
        let good = publisher("org/*", "", "");
        let place = |text: &str| refusal(&format!("{good}{text}"));
        for (text, code, sentence) in [
            (publisher("a/**", "", ""), 1603, "publisher 2: a scope is a model name, PREFIX/* or *"),
            (publisher("*", "threshold = 0", ""), 1604, "publisher 2: a threshold of 0 with 1 distinct keys"),
            (publisher("*", "threshold = 2", ""), 1604, "publisher 2: a threshold of 2 with 1 distinct keys"),
            (
                publisher("org/*", "role = 'publisher'", ""),
                1602,
                "publisher 2: another publisher has the same scope and role",
            ),
            (publisher("*", "role = ''", ""), 1607, "publisher 2: a role is 'publisher' or 'import'"),
            (publisher("*", "role = 'Import'", ""), 1607, "publisher 2: a role is 'publisher' or 'import'"),
            ("[[publisher]]\nscope = '*'".into(), 1605, "publisher 2: it has no keys"),
            (
                publisher("*", "", "").replace("+c7", "+c8"),
                1502,
                "publisher 2: key 1: the vkey's id is not that of its name and key",
            ),
            (
                publisher("*", "", "").replace(KEY, ""),
                1501,
                "publisher 2: key 1: a vkey is NAME+ID+KEY, as keygen writes it",
            ),
            (
                publisher("*", "", "from = \"2026-01-01\""),
                1702,
                "publisher 2: key 1: a time is written like 2026-11-20T16:31:00Z",
            ),
            (
                publisher("*", "", "from = \"2026-01-01T00:00:00Z\"\nuntil = \"2026-01-01T00:00:00Z\""),
                1606,
                "publisher 2: key 1: 'from' is not before 'until'",
            ),
        ] {
            assert_eq!(place(&text), (code, sentence.to_string()), "{text}");
        }
        for (text, code, sentence) in [
            (String::new(), 1605, "the policy trusts nobody"),
            (format!("revoked = ['{KEY}']"), 1605, "the policy trusts nobody"),
            (
                format!("revoked = ['{KEY}', 'x']\n{good}"),
                1501,
                "revoked key 2: a vkey is NAME+ID+KEY, as keygen writes it",
            ),
            (
                format!("accepted-heads = ['{}']\n{good}", HEAD.to_uppercase()),
                1703,
                "accepted head 1: a head id is 64 lower-case hexadecimal digits",
            ),
        ] {
            assert_eq!(refusal(&text), (code, sentence.to_string()), "{text}");
        }
    }

    #[test]
    fn the_first_fault_in_the_order_of_publishers_is_reported() {
        let (scope, threshold) = (publisher("a/**", "", ""), publisher("a", "threshold = 0", ""));
        assert_eq!(refusal(&format!("{threshold}{scope}")).0, 1604);
        assert_eq!(refusal(&format!("{scope}{threshold}")).0, 1603);
        let both = publisher("a/**", "threshold = 0", "from = \"\"").replace(KEY, "");
        assert_eq!(refusal(&both).0, 1603);
        assert_eq!(refusal(&both.replace("a/**", "a")).0, 1501);
        assert_eq!(refusal(&publisher("a", "threshold = 0", "from = \"\"")).0, 1702);
        assert_eq!(refusal(&format!("{both}revoke = 1")).0, 1601);
    }

    /// A policy with `held`, with further lines for it and for its auditor.
    fn held(lines: &str, key_lines: &str) -> String {
        let publisher = publisher("*", "", "");
        format!("{publisher}[held]\n{lines}\n[[held.auditor]]\nvkey = \"{KEY}\"\n{key_lines}\n")
    }

    #[test]
    fn reads_the_auditors_of_held() {
        let policy = TrustPolicy::from_toml(held("", "from = \"2026-01-01T00:00:00Z\"")).unwrap();
        let auditors = policy.auditors().unwrap();
        assert_eq!((auditors.threshold, auditors.keys.len()), (1, 1));
        assert_eq!(auditors.keys[0].vkey.to_string(), KEY);
        assert_eq!(auditors.keys[0].from, Time::parse("2026-01-01T00:00:00Z").ok());
        assert_eq!(auditors.keys[0].until, None);
        assert!(TrustPolicy::from_toml(publisher("*", "", "")).unwrap().auditors().is_none());
        assert_eq!(refusal(&held("threshold = 1", "")), (0, String::new()));
        let inline = format!("{}[held]\nauditor = [{{ vkey = '{KEY}' }}]", publisher("*", "", ""));
        assert_eq!(refusal(&inline), (0, String::new()));
    }

    #[test]
    fn each_fault_of_held_has_its_code() {
        for text in [
            held("treshold = 1", ""),
            held("key = []", ""),
            held("scope = '*'", ""),
            held("threshold = -1", ""),
            held("threshold = '1'", ""),
            held("threshold = 1.0", ""),
            held("", "till = '2027-01-01T00:00:00Z'"),
            held("", "from = 2026-01-01T00:00:00Z"),
            held("", "").replace("[held]", "[[held]]"),
            held("", "").replace("[[held.auditor]]", "[held.auditor]"),
            format!("held = 1\n{}", publisher("*", "", "")),
            format!("held = []\n{}", publisher("*", "", "")),
            format!("held = [1, [{{ vkey = '{KEY}' }}]]\n{}", publisher("*", "", "")),
            format!("{}[held]\nauditor = ['{KEY}']", publisher("*", "", "")),
        ] {
            assert_eq!(refusal(&text).0, 1601, "{text}");
        }
        for (text, code, sentence) in [
            (held("threshold = 0", ""), 1604, "held: a threshold of 0 with 1 distinct keys"),
            (held("threshold = 2", ""), 1604, "held: a threshold of 2 with 1 distinct keys"),
            (format!("{}[held]", publisher("*", "", "")), 1605, "held: it has no keys"),
            (
                held("", "from = \"2026-01-01\""),
                1702,
                "held: key 1: a time is written like 2026-11-20T16:31:00Z",
            ),
            (
                held("", "from = \"2026-01-01T00:00:00Z\"\nuntil = \"2026-01-01T00:00:00Z\""),
                1606,
                "held: key 1: 'from' is not before 'until'",
            ),
            (
                format!("{}[[held.auditor]]\nvkey = \"x\"", held("", "")),
                1501,
                "held: key 2: a vkey is NAME+ID+KEY, as keygen writes it",
            ),
        ] {
            assert_eq!(refusal(&text), (code, sentence.to_string()), "{text}");
        }
    }

    #[test]
    fn held_comes_last_and_keys_before_the_threshold() {
        let twice = format!("{}{}", publisher("*", "", ""), held("threshold = 0", ""));
        assert_eq!(refusal(&twice).0, 1602);
        assert_eq!(refusal(&held("threshold = 0", "from = ''")).0, 1702);
        // A policy with auditors alone trusts nobody's heads.
        let alone = held("", "").replacen(&publisher("*", "", ""), "", 1);
        assert_eq!(refusal(&alone), (1605, "the policy trusts nobody".into()));
    }

    #[test]
    fn what_the_reader_quotes_stays_one_bounded_line_without_controls() {
        let key = "\\u001b[31m\\n\\r".repeat(400);
        for text in [format!("\n\n\"{key}\" = 1"), format!("\n\n{} = 1", "x".repeat(5000)), "\n\n[[".into()] {
            let (code, message) = refusal(&text);
            assert_eq!(code, 1601);
            assert!(message.starts_with("not a trust policy: line 3: "), "{message:?}");
            assert!(message.len() < 250 && !message.contains(char::is_control), "{message:?}");
        }
    }
}
