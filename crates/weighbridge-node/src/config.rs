//! The configuration of a node, as `node.toml` has it (`spec/node.md`).

use std::{
    fmt,
    net::SocketAddr,
    path::{Path, PathBuf},
};

use globset::{Glob, GlobMatcher};
use serde::Deserialize;
use weighbridge_bandwidth::{Schedule, byte_size};
use weighbridge_manifest::ModelName;

/// The configuration of a node.
///
/// # Example
/// ```
/// use std::path::Path;
/// use weighbridge_node::Config;
///
/// let text = r#"
/// cache = "hub"
/// policy = "policy.toml"
///
/// [[origin]]
/// models = "org/*"
/// sources = ["https://models.example.org/{name}"]
/// "#;
/// let config = Config::parse(text, Path::new("/etc/weighbridge"))?;
/// assert_eq!(config.cache, Path::new("/etc/weighbridge/hub"));
/// let name = weighbridge_manifest::ModelName::parse("org/model")?;
/// let origin = config.origin_of(&name).ok_or("none")?;
/// assert_eq!(origin.sources_of(&name), ["https://models.example.org/org/model"]);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug)]
pub struct Config {
    /// The address at which clients ask.
    pub listen: SocketAddr,
    /// The names under which the node is reached, beside `localhost` and addresses.
    pub hosts: Vec<String>,
    /// The certificates and the secret key for TLS, in PEM.
    pub tls: Option<(PathBuf, PathBuf)>,
    /// The file of the clients that may ask; anybody may, if `None`.
    pub tokens: Option<PathBuf>,
    /// The Hugging Face cache in which models are kept.
    pub cache: PathBuf,
    /// The trust policy that decides whose models are taken.
    pub policy: PathBuf,
    /// The bytes of models that are kept; nothing is ever removed, if `None`.
    pub budget: Option<u64>,
    /// About how many bytes of memory each fetch may use.
    pub memory: u64,
    /// The rate at which the node receives, by the time of day; no limit if `None`.
    pub receive: Option<Schedule>,
    /// The rate at which the node sends, by the time of day; no limit if `None`.
    pub send: Option<Schedule>,
    origins: Vec<Origin>,
}

/// The sources of some models.
#[derive(Clone, Debug)]
pub struct Origin {
    models: GlobMatcher,
    sources: Vec<String>,
    /// A file with a token, which is sent to the sources that are asked by HTTP.
    pub token: Option<PathBuf>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct Form {
    #[serde(default = "loopback")]
    listen: SocketAddr,
    #[serde(default)]
    hosts: Vec<String>,
    cert: Option<PathBuf>,
    key: Option<PathBuf>,
    tokens: Option<PathBuf>,
    cache: PathBuf,
    policy: PathBuf,
    budget: Option<Size>,
    #[serde(default = "memory")]
    memory: u64,
    receive: Option<String>,
    send: Option<String>,
    #[serde(default)]
    origin: Vec<OriginForm>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct OriginForm {
    models: String,
    sources: Vec<String>,
    token: Option<PathBuf>,
}

/// A number of bytes, or a text that [`byte_size`] reads.
#[derive(Deserialize)]
#[serde(try_from = "SizeForm")]
struct Size(u64);

#[derive(Deserialize)]
#[serde(untagged, expecting = "a size is written like 262144, \"256KiB\" or \"1GB\"")]
enum SizeForm {
    Bytes(u64),
    Text(String),
}

impl TryFrom<SizeForm> for Size {
    type Error = String;

    fn try_from(form: SizeForm) -> Result<Self, String> {
        let size = match form {
            SizeForm::Bytes(bytes) => byte_size(&bytes.to_string()),
            SizeForm::Text(text) => byte_size(&text),
        };
        size.map(Self).map_err(|error| error.to_string())
    }
}

fn loopback() -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], 8080))
}

fn memory() -> u64 {
    128 << 20
}

/// Stands for the model's name in a source.
const NAME: &str = "{name}";

impl Config {
    /// Reads a configuration. Paths in it are those of the folder `beside`, in which it lies.
    ///
    /// # Errors
    /// [`ConfigError`] names the line, or the table. An unknown key is refused.
    pub fn parse(text: &str, beside: &Path) -> Result<Self, ConfigError> {
        let form: Form = toml::from_str(text).map_err(|error| {
            let before = error.span().and_then(|span| text.get(..span.start)).unwrap_or_default();
            let line = before.matches('\n').count().saturating_add(1);
            ConfigError(format!("line {line}: {}", error.message()))
        })?;
        let refuse = |what: &str| Err(ConfigError(what.to_owned()));
        if form.origin.is_empty() {
            return refuse("there is no [[origin]]: nothing could be fetched");
        }
        let place = |path: PathBuf| beside.join(path);
        let tls = match (form.cert, form.key) {
            (Some(cert), Some(key)) => Some((place(cert), place(key))),
            (None, None) => None,
            _ => return refuse("`cert` and `key` go together"),
        };
        if let Some(host) = form.hosts.iter().find(|host| host.contains([':', '/'])) {
            return refuse(&format!("hosts: {host:?} is no name: it takes neither scheme nor port"));
        }
        // A client of a hub does not verify what it gets, and would take what somebody on the way has put there.
        if tls.is_none() && !form.listen.ip().to_canonical().is_loopback() {
            return refuse("`listen` is no address of loopback: that takes `cert` and `key`");
        }
        let schedule = |key: &str, text: Option<String>| {
            let schedule = text.map(|text| Schedule::parse(&text)).transpose();
            schedule.map_err(|error| ConfigError(format!("{key}: {error}")))
        };
        let origins = (1usize..).zip(form.origin).map(|(number, form)| {
            let refuse = |what: &str| ConfigError(format!("[[origin]] number {number}: {what}"));
            let glob = Glob::new(&form.models).map_err(|error| refuse(&format!("models: {error}")))?;
            if form.sources.is_empty() {
                return Err(refuse("sources: there is none"));
            }
            if let Some(source) = form.sources.iter().find(|source| !source.contains(NAME)) {
                return Err(refuse(&format!("sources: {source:?} does not say where {NAME} goes")));
            }
            let token = form.token.map(place);
            Ok(Origin { models: glob.compile_matcher(), sources: form.sources, token })
        });
        Ok(Self {
            origins: origins.collect::<Result<_, _>>()?,
            listen: form.listen,
            hosts: form.hosts,
            tls,
            tokens: form.tokens.map(place),
            cache: place(form.cache),
            policy: place(form.policy),
            budget: form.budget.map(|Size(bytes)| bytes),
            memory: form.memory,
            receive: schedule("receive", form.receive)?,
            send: schedule("send", form.send)?,
        })
    }

    /// The first origin that has models of this name.
    #[must_use]
    pub fn origin_of(&self, name: &ModelName) -> Option<&Origin> {
        self.origins.iter().find(|origin| origin.models.is_match(name.as_str()))
    }
}

impl Origin {
    /// The sources of a model.
    #[must_use]
    pub fn sources_of(&self, name: &ModelName) -> Vec<String> {
        self.sources.iter().map(|source| source.replace(NAME, name.as_str())).collect()
    }
}

/// The reason why a configuration is refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigError(String);

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for ConfigError {}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

    use weighbridge_bandwidth::WeekTime;

    use super::*;

    const LEAST: &str =
        "cache = 'hub'\npolicy = 'p'\n[[origin]]\nmodels = 'org/*'\nsources = ['/models/{name}']\n";

    fn refusal(text: &str) -> String {
        Config::parse(text, Path::new("/etc")).unwrap_err().to_string()
    }

    #[test]
    fn the_least_configuration_listens_on_loopback() {
        let config = Config::parse(LEAST, Path::new("/etc")).unwrap();
        assert!(config.listen.ip().is_loopback() && config.tls.is_none());
        assert_eq!((&config.receive, &config.send), (&None, &None));
        assert_eq!((config.cache, config.policy), ("/etc/hub".into(), "/etc/p".into()));
    }

    #[test]
    fn a_budget_is_a_size() {
        let budget = |text: &str| {
            let config = Config::parse(&format!("budget = {text}\n{LEAST}"), Path::new("/etc")).unwrap();
            config.budget.unwrap()
        };
        assert_eq!([budget("7"), budget("'7'"), budget("'2TiB'")], [7, 7, 2 << 40]);
        assert_eq!(Config::parse(LEAST, Path::new("/etc")).unwrap().budget, None);
    }

    #[test]
    fn the_first_origin_that_has_the_name_is_asked() {
        let more = "[[origin]]\nmodels = '*'\nsources = ['s3://models/{name}', 'https://b.example/{name}?x={name}']\n";
        let config = Config::parse(&format!("{LEAST}{more}"), Path::new("/etc")).unwrap();
        let sources = |name: &str| {
            let name = ModelName::parse(name).unwrap();
            config.origin_of(&name).map(|origin| origin.sources_of(&name))
        };
        assert_eq!(sources("org/a").unwrap(), ["/models/org/a"]);
        assert_eq!(
            sources("other/a").unwrap(),
            ["s3://models/other/a", "https://b.example/other/a?x=other/a"]
        );
    }

    #[test]
    fn each_direction_has_its_rate() {
        let text = "receive = '20MB'\nsend = 'mon-fri 08:00-18:00 1MB, else unlimited'\n";
        let config = Config::parse(&format!("{text}{LEAST}"), Path::new("/etc")).unwrap();
        let noon = WeekTime::new(0, 12, 0, 0).unwrap();
        let rates = [&config.receive, &config.send].map(|rate| rate.as_ref().unwrap().rate_at(noon));
        assert_eq!(rates, [Some(20_000_000), Some(1_000_000)]);
    }

    #[test]
    fn each_fault_names_its_place() {
        for (from, to, says) in [
            ("cache = 'hub'", "cash = 'hub'", "line 1: unknown field `cash`"),
            ("policy = 'p'", "policy = 7", "line 2: invalid type"),
            ("policy = 'p'\n", "", "missing field `policy`"),
            ("policy = 'p'", "policy = 'p", "line 2: "),
            ("models = 'org/*'", "models = 'org/['", "[[origin]] number 1: models: "),
            ("['/models/{name}']", "[]", "[[origin]] number 1: sources: there is none"),
            ("/{name}", "", "[[origin]] number 1: sources: \"/models\" does not say where {name} goes"),
            ("policy = 'p'", "policy = 'p'\ncert = 'c'", "`cert` and `key` go together"),
            ("policy = 'p'", "policy = 'p'\nlisten = '0.0.0.0:80'", "that takes `cert` and `key`"),
            ("policy = 'p'", "policy = 'p'\nlisten = 'here'", "line 3: "),
            ("policy = 'p'", "policy = 'p'\nhosts = ['a:80']", "hosts: \"a:80\" is no name"),
            ("policy = 'p'", "policy = 'p'\nmemory = -1", "line 3: "),
            ("policy = 'p'", "policy = 'p'\nreceive = 5", "line 3: invalid type"),
            ("policy = 'p'", "policy = 'p'\nreceive = '0'", "receive: a size is at least one byte"),
            ("policy = 'p'", "policy = 'p'\nsend = '8-18 1MB, else 5MB'", "send: rule 1, \"8\": a time"),
            (
                "policy = 'p'",
                "policy = 'p'\nsend = '08:00-18:00 1MB'",
                "send: the other times need a rate too",
            ),
            ("policy = 'p'", "policy = 'p'\nbudget = 0", "line 3: a size is at least one byte"),
            ("policy = 'p'", "policy = 'p'\nbudget = '5 GB'", "line 3: a size is written like"),
            ("policy = 'p'", "policy = 'p'\nbudget = -5", "line 3: a size is written like"),
        ] {
            let text = LEAST.replacen(from, to, 1);
            assert_ne!(text, LEAST, "{from}");
            assert!(refusal(&text).contains(says), "{} does not say {says}", refusal(&text));
        }
        assert!(refusal("cache = 'hub'\npolicy = 'p'\n").contains("no [[origin]]"));
    }
}
