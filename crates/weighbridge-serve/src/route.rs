//! The paths that a server answers (`spec/serving.md`): from the target of a request to what it asks for, and nothing of what is
//! there.

use std::fmt;

use weighbridge_manifest::ModelName;
use weighbridge_store::{CHUNKS, FILES, FOLDER, HEAD, TENSORS};
use weighbridge_tree::HeadId;

/// The thing that a path names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Route {
    /// The page that lists the models.
    Page,
    /// The figures of the server, for Prometheus.
    Metrics,
    /// Whether the server runs.
    Health,
    /// Whether it has a model to serve.
    Ready,
    /// A file of the release that stands.
    File(ServedName, String),
    /// Metadata of the release that stands.
    Metadata(ServedName, MetadataFile),
    /// An existence proof of what the query names.
    Proof(ServedName),
    /// The slice that the query names.
    Slice(ServedName),
    /// The challenge of an auditor, in the body of the request.
    Audit(ServedName),
    /// The ticket of the model's swarm.
    Ticket(ServedName),
    /// A model in the language of a hub; of one release, if a revision is named.
    Info(ServedName, Option<String>),
    /// The files of a release, or those of a folder in it, in the language of a hub.
    Tree(ServedName, String, String),
    /// A file, or metadata, of a named release, in the language of a hub.
    Resolve(ServedName, String, String),
    /// An upload of a release.
    Push(ServedName, HeadId, PushRoute),
}

/// The thing of an upload that a path names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PushRoute {
    /// The upload itself: offered, asked for its state, given up.
    Upload,
    /// The parts that it lacks.
    Missing,
    /// The end of it, after which the release is served.
    Publish,
    /// A list, or the layers.
    Metadata(MetadataFile),
    /// A file at a path of the model folder.
    File(String),
}

/// The name of a model that can be served: two parts, of which the first is not `api`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ServedName(ModelName);

impl ServedName {
    /// `None` for a name whose paths, or whose folder, would be those of something else, or that has other than two parts.
    #[must_use]
    pub fn of(name: ModelName) -> Option<Self> {
        let is_metadata = |part: &str| part.eq_ignore_ascii_case(FOLDER);
        let is_served = name.as_str().matches('/').count() == 1
            && name.organisation() != API
            && !name.as_str().split('/').any(is_metadata);
        is_served.then_some(Self(name))
    }

    /// The name as a head says it.
    #[must_use]
    pub fn name(&self) -> &ModelName {
        &self.0
    }

    /// The name as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        self.0.as_str()
    }
}

impl fmt::Display for ServedName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// A file of the folder `weighbridge` that is served.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MetadataFile {
    /// `head.note`
    Head,
    /// `files.jsonl`
    Files,
    /// `tensors.jsonl`
    Tensors,
    /// `chunks.layer`
    Layers,
}

impl MetadataFile {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Head, Self::Files, Self::Tensors, Self::Layers];

    /// The name in the folder `weighbridge`.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Head => HEAD,
            Self::Files => FILES,
            Self::Tensors => TENSORS,
            Self::Layers => CHUNKS,
        }
    }

    fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|file| file.name() == name)
    }

    /// The metadata file at a path of the model folder.
    #[must_use]
    pub fn at(path: &str) -> Option<Self> {
        Self::named(path.strip_prefix(FOLDER)?.strip_prefix('/')?)
    }
}

/// The first part of the hub's paths, which is no name of an organisation.
const API: &str = "api";
/// The last parts of the paths of proofs, slices, audits and tickets.
const PROOF: &str = "proof";
const SLICE: &str = "slice";
const AUDIT: &str = "audit";
const TICKET: &str = "ticket";
/// Stands between a model's name and a revision in a hub's paths of files.
const RESOLVE: &str = "resolve";

impl Route {
    /// Reads the path of a request: that of its target, before the `?`.
    ///
    /// Percent signs are decoded once, and what comes of it is matched exactly: there are no dot segments, no empty segments, and
    /// no other spelling of a path. `None` if the path can name nothing here, whatever is served: no answer to it depends on what
    /// is there.
    ///
    /// # Example
    /// ```
    /// use weighbridge_serve::Route;
    ///
    /// let Some(Route::File(name, path)) = Route::of("/org/model/1_Pooling/config%2Ejson") else { panic!() };
    /// assert_eq!((name.as_str(), path.as_str()), ("org/model", "1_Pooling/config.json"));
    /// assert_eq!(Route::of("/org/../etc/passwd"), None);
    /// ```
    #[must_use]
    pub fn of(path: &str) -> Option<Self> {
        let decoded = decoded(path)?;
        let path = decoded.strip_prefix('/')?;
        match path {
            "" => return Some(Self::Page),
            "metrics" => return Some(Self::Metrics),
            "healthz" => return Some(Self::Health),
            "readyz" => return Some(Self::Ready),
            _ => {}
        }
        if let Some(rest) = path.strip_prefix("api/models/") {
            return Self::of_api(rest);
        }
        if let Some(rest) = path.strip_prefix("api/push/v1/") {
            return Self::of_push(rest);
        }
        let (name, rest) = model(path)?;
        let (first, behind) = rest.split_once('/').unwrap_or((rest, ""));
        match first {
            // A file of such a path has no path of its own here: see `spec/serving.md`.
            RESOLVE => {
                let (revision, path) = behind.split_once('/')?;
                (!revision.is_empty() && is_path(path))
                    .then(|| Self::Resolve(name, revision.to_owned(), path.to_owned()))
            }
            FOLDER if behind == PROOF => Some(Self::Proof(name)),
            FOLDER if behind == SLICE => Some(Self::Slice(name)),
            FOLDER if behind == AUDIT => Some(Self::Audit(name)),
            FOLDER if behind == TICKET => Some(Self::Ticket(name)),
            FOLDER => MetadataFile::named(behind).map(|file| Self::Metadata(name, file)),
            _ => is_path(rest).then(|| Self::File(name, rest.to_owned())),
        }
    }

    /// Reads what follows `/api/models/`.
    fn of_api(path: &str) -> Option<Self> {
        let Some((name, rest)) = model(path) else {
            return Some(Self::Info(served(path)?, None));
        };
        let (first, behind) = rest.split_once('/')?;
        match first {
            "revision" if !behind.is_empty() => Some(Self::Info(name, Some(behind.to_owned()))),
            "tree" => {
                let (revision, folder) = behind.split_once('/').unwrap_or((behind, ""));
                let folder = folder.strip_suffix('/').unwrap_or(folder);
                let is_named = !revision.is_empty() && (folder.is_empty() || is_path(folder));
                is_named.then(|| Self::Tree(name, revision.to_owned(), folder.to_owned()))
            }
            _ => None,
        }
    }

    /// Reads what follows `/api/push/v1/`.
    fn of_push(path: &str) -> Option<Self> {
        let (name, rest) = model(path)?;
        let (head, rest) = rest.split_once('/').map_or((rest, None), |(head, rest)| (head, Some(rest)));
        let head = HeadId::from_hex(head).ok()?;
        let route = match rest {
            None => PushRoute::Upload,
            Some("missing") => PushRoute::Missing,
            Some("publish") => PushRoute::Publish,
            Some(rest) => {
                let (first, behind) = rest.split_once('/')?;
                match first {
                    // The head is the offer.
                    FOLDER => PushRoute::Metadata(
                        MetadataFile::named(behind).filter(|file| *file != MetadataFile::Head)?,
                    ),
                    "files" if is_path(behind) => PushRoute::File(behind.to_owned()),
                    _ => return None,
                }
            }
        };
        Some(Self::Push(name, head, route))
    }

    /// The methods that are answered, for the header `Allow`.
    #[must_use]
    pub fn allowed(&self) -> &'static str {
        match self {
            Self::Audit(_) | Self::Push(_, _, PushRoute::Publish) => "POST",
            Self::Push(_, _, PushRoute::Upload) => "DELETE, GET, HEAD, POST",
            Self::Push(_, _, PushRoute::Metadata(_) | PushRoute::File(_)) => "PUT",
            _ => "GET, HEAD",
        }
    }

    /// The kind of the route, for figures and logs.
    #[must_use]
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Page => "page",
            Self::Metrics => "metrics",
            Self::Health => "healthz",
            Self::Ready => "readyz",
            Self::File(..) => "file",
            Self::Metadata(..) => "metadata",
            Self::Proof(_) => "proof",
            Self::Slice(_) => "slice",
            Self::Audit(_) => "audit",
            Self::Ticket(_) => "ticket",
            Self::Info(..) => "info",
            Self::Tree(..) => "tree",
            Self::Resolve(..) => "resolve",
            Self::Push(..) => "push",
        }
    }

    /// The model that the route is about.
    #[must_use]
    pub fn model(&self) -> Option<&ServedName> {
        match self {
            Self::Page | Self::Metrics | Self::Health | Self::Ready => None,
            Self::File(name, _)
            | Self::Metadata(name, _)
            | Self::Proof(name)
            | Self::Slice(name)
            | Self::Audit(name)
            | Self::Ticket(name)
            | Self::Info(name, _)
            | Self::Tree(name, ..)
            | Self::Resolve(name, ..)
            | Self::Push(name, ..) => Some(name),
        }
    }

    /// Whether the route is one of a hub, whose clients verify nothing.
    #[must_use]
    pub fn is_of_hub(&self) -> bool {
        matches!(self, Self::Info(..) | Self::Tree(..) | Self::Resolve(..))
    }
}

/// The name of a model at the beginning of a path, and the path behind it.
fn model(path: &str) -> Option<(ServedName, &str)> {
    let mut slashes = path.match_indices('/').map(|(at, _)| at);
    let at = slashes.nth(1)?;
    Some((served(path.get(..at)?)?, path.get(at.checked_add(1)?..)?))
}

fn served(name: &str) -> Option<ServedName> {
    ServedName::of(ModelName::parse(name).ok()?)
}

/// Whether a path may be one of a model folder. The list alone decides whether it is; this keeps the others from being looked up.
fn is_path(path: &str) -> bool {
    !path.split('/').any(|part| matches!(part, "" | "." | ".."))
}

/// Decodes percent signs once. `None` if one is not followed by two hexadecimal digits, or if the result is no text or has
/// controls in it.
fn decoded(path: &str) -> Option<String> {
    let is_escape = |at: usize| {
        let digits = path.as_bytes().get(at.saturating_add(1)..at.saturating_add(3));
        digits.is_some_and(|digits| digits.iter().all(u8::is_ascii_hexdigit))
    };
    if !path.match_indices('%').all(|(at, _)| is_escape(at)) {
        return None;
    }
    let decoded = percent_encoding::percent_decode_str(path).decode_utf8().ok()?;
    (!decoded.contains(char::is_control)).then(|| decoded.into_owned())
}

/// The parameters of a query, decoded, in their order. `None` if one is malformed.
pub(crate) fn parameters(query: Option<&str>) -> Option<Vec<(String, String)>> {
    let pairs = query.unwrap_or_default().split('&').filter(|pair| !pair.is_empty());
    pairs
        .map(|pair| {
            let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
            // Forms write a space as `+`.
            Some((decoded(&key.replace('+', " "))?, decoded(&value.replace('+', " "))?))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

    use proptest::prelude::*;

    use super::*;

    fn name(text: &str) -> ServedName {
        served(text).unwrap()
    }

    #[test]
    fn paths_name_what_the_page_says() {
        let file = |path: &str| Some(Route::File(name("o/m"), path.to_owned()));
        let resolve = |revision: &str, path: &str| {
            Some(Route::Resolve(name("o/m"), revision.to_owned(), path.to_owned()))
        };
        let tree = |revision: &str, folder: &str| {
            Some(Route::Tree(name("o/m"), revision.to_owned(), folder.to_owned()))
        };
        for (path, route) in [
            ("/", Some(Route::Page)),
            ("/metrics", Some(Route::Metrics)),
            ("/healthz", Some(Route::Health)),
            ("/readyz", Some(Route::Ready)),
            ("/o/m/config.json", file("config.json")),
            ("/o/m/a/b/c", file("a/b/c")),
            ("/o/m/a%20b/%C3%A4", file("a b/ä")),
            ("/o/m/a%2Fb", file("a/b")),
            ("/o/m/100%2525", file("100%25")),
            ("/o/m/a+b", file("a+b")),
            ("/%6F/m/config.json", file("config.json")),
            ("/o/m/resolved", file("resolved")),
            ("/o/m/tree/main/x", file("tree/main/x")),
            ("/o/m/weighbridge.txt", file("weighbridge.txt")),
            ("/o/m/resolve/main/config.json", resolve("main", "config.json")),
            ("/o/m/resolve/main/resolve/main/x", resolve("main", "resolve/main/x")),
            ("/o/m/resolve/main/weighbridge/head.note", resolve("main", "weighbridge/head.note")),
            ("/o/m/weighbridge/head.note", Some(Route::Metadata(name("o/m"), MetadataFile::Head))),
            ("/o/m/weighbridge/chunks.layer", Some(Route::Metadata(name("o/m"), MetadataFile::Layers))),
            ("/o/m/weighbridge/proof", Some(Route::Proof(name("o/m")))),
            ("/o/m/weighbridge/slice", Some(Route::Slice(name("o/m")))),
            ("/o/m/weighbridge/audit", Some(Route::Audit(name("o/m")))),
            ("/o/m/weighbridge/ticket", Some(Route::Ticket(name("o/m")))),
            ("/api/models/o/m", Some(Route::Info(name("o/m"), None))),
            ("/api/models/o/m/revision/main", Some(Route::Info(name("o/m"), Some("main".to_owned())))),
            ("/api/models/o/m/tree/main", tree("main", "")),
            ("/api/models/o/m/tree/main/", tree("main", "")),
            ("/api/models/o/m/tree/main/a/b", tree("main", "a/b")),
            // The model `models/o` of an organisation that is called `api` has no paths.
            ("/api/models/config.json", None),
            ("/apis/models/config.json", Some(Route::File(name("apis/models"), "config.json".to_owned()))),
        ] {
            assert_eq!(Route::of(path), route, "{path}");
        }
    }

    #[test]
    fn paths_that_name_nothing_are_told_without_a_look() {
        for path in [
            "",
            "o/m/x",
            "*",
            "//",
            "/o",
            "/o/m",
            "/o/m/",
            "/o//x",
            "//o/m/x",
            "/o/m//x",
            "/o/m/x/",
            "/o/m/./x",
            "/o/m/../x",
            "/o/m/%2e%2e/x",
            "/o/m/..%2Fx",
            "/o/%2e%2e/x",
            "/../etc/passwd",
            "/o/m/x%",
            "/o/m/x%2",
            "/o/m/x%zz",
            "/o/m/%00",
            "/o/m/a%0Ab",
            "/o/m/%FF",
            "/o/m/%C0%AE",
            "/.o/m/x",
            "/o/m/resolve",
            "/o/m/resolve/main",
            "/o/m/resolve/main/",
            "/o/m/resolve/main/../x",
            "/o/m/resolve//x",
            "/o/m/weighbridge",
            "/o/m/weighbridge/",
            "/o/m/weighbridge/head.txt",
            "/o/m/weighbridge/lock",
            "/o/m/weighbridge/partial/x",
            "/o/m/weighbridge/kept/x",
            "/o/m/weighbridge/head.note/x",
            "/api",
            "/api/models",
            "/api/models/",
            "/api/models/o",
            "/api/models/o/m/",
            "/api/models/o/m/revision/",
            "/api/models/o/m/revision",
            "/api/models/o/m/tree",
            "/api/models/o/m/tree/",
            "/api/models/o/m/tree/main/a/../b",
            "/api/models/o/m/discussions",
            "/api/whoami-v2",
            "/API/models/o/m",
            "/metrics/",
            "/Metrics",
        ] {
            // `/API` is an organisation; its file is not there.
            let route = Route::of(path)
                .filter(|route| !matches!(route, Route::File(name, _) if name.as_str() == "API/models"));
            assert_eq!(route, None, "{path}");
        }
    }

    #[test]
    fn names_that_have_no_paths_are_not_served() {
        for text in ["model", "a/b/c", "api/models", "api/x", "org/weighbridge", "Weighbridge/x"] {
            assert_eq!(ServedName::of(ModelName::parse(text).unwrap()), None, "{text}");
        }
    }

    #[test]
    fn a_query_is_decoded_once() {
        let pair = |key: &str, value: &str| (key.to_owned(), value.to_owned());
        assert_eq!(
            parameters(Some("file=a%20b&file=c+d&tensor=x%253A&&bytes")),
            Some(vec![pair("file", "a b"), pair("file", "c d"), pair("tensor", "x%3A"), pair("bytes", "")])
        );
        assert_eq!(parameters(None), Some(vec![]));
        assert_eq!(parameters(Some("file=%zz")), None);
    }

    proptest! {
        /// Each listed path has a way to it: by its own path, or by that of the hub.
        #[test]
        fn every_path_of_a_model_can_be_asked_for(path in "[a-zé%+ ?#&.]{1,8}(/[a-z%]{1,8}){0,3}") {
            prop_assume!(is_path(&path));
            let encoded = percent_encoding::utf8_percent_encode(&path, percent_encoding::NON_ALPHANUMERIC);
            let asked = Route::of(&format!("/o/m/resolve/main/{encoded}"));
            prop_assert_eq!(asked, Some(Route::Resolve(name("o/m"), "main".to_owned(), path.clone())));
            let asked = Route::of(&format!("/o/m/{encoded}"));
            let first = path.split('/').next().unwrap();
            if first != RESOLVE && first != FOLDER {
                prop_assert_eq!(asked, Some(Route::File(name("o/m"), path)));
            }
        }

        #[test]
        fn no_path_is_read_twice(path in "(/|%2f|%25|\\.|o|m|resolve|main|api|models|x){0,12}") {
            if let Some(Route::File(_, found) | Route::Resolve(_, _, found)) = Route::of(&path) {
                prop_assert!(is_path(&found));
            }
        }
    }
}
