//! The page that lists what is served: plain HTML without scripts.

use std::{fmt::Write as _, sync::Arc};

use http::{HeaderName, HeaderValue, header};
use weighbridge_manifest::shown;

use crate::{
    clients::Client,
    models::Published,
    reply::{Answer, text},
};

/// The models that a client may read, or all of them where clients have no names.
pub(crate) fn of(models: &[Arc<Published>], client: Option<&Client>) -> Answer {
    let mut rows = String::new();
    for published in models {
        let release = &published.current;
        if client.is_some_and(|client| !client.may_read(release.name.name())) {
            continue;
        }
        let head = release.head();
        let name = escaped(release.name.as_str());
        let signers: Vec<String> = release.signers().iter().map(|signer| escaped(&shown(signer))).collect();
        // Writing to a string does not fail.
        let _ = write!(
            rows,
            "<tr><td>{name}</td><td>{}</td><td>{}</td><td>{}</td><td>{}</td><td><code>{}</code></td></tr>\n\
             <tr><td colspan=6><code>weighbridge fetch http://HOST/{name} -o MODEL --name {name} --vkey KEY</code></td></tr>\n",
            head.revision,
            head.files.count,
            size(head.bytes),
            signers.join(", "),
            release.id,
        );
    }
    let page = format!(
        "<!doctype html>\n<html lang=en>\n<meta charset=utf-8>\n<title>weighbridge</title>\n<style>{STYLE}</style>\n\
         <h1>Models</h1>\n<table>\n<tr><th>name</th><th>revision</th><th>files</th><th>size</th>\
         <th>names of the signing keys</th><th>head</th></tr>\n{rows}</table>\n\
         <p>Every chunk was hashed in the buffer that was sent. Nothing here says whom to trust: take the publisher's key from \
         the publisher.</p>\n</html>\n"
    );
    let mut answer = text("text/html; charset=utf-8", page);
    answer.headers.insert(
        header::CONTENT_SECURITY_POLICY,
        HeaderValue::from_static("default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'"),
    );
    answer
        .headers
        .insert(HeaderName::from_static("referrer-policy"), HeaderValue::from_static("no-referrer"));
    answer
}

const STYLE: &str = "body{font:16px/1.5 sans-serif;margin:2em;max-width:72em}table{border-collapse:collapse}\
    th,td{text-align:left;padding:.3em .8em .3em 0;vertical-align:top}tr:nth-child(2n){border-top:1px solid #ccc}\
    code{overflow-wrap:anywhere}";

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
        .replace('"', "&quot;")
        .replace('\'', "&#39;")
}

/// A size in binary units, for people.
fn size(bytes: u64) -> String {
    let mut unit = 0usize;
    let (mut whole, mut before) = (bytes, bytes);
    while whole >= 1024 && unit < UNITS.len().saturating_sub(1) {
        (before, whole) = (whole, whole / 1024);
        unit = unit.saturating_add(1);
    }
    let tenths = if unit == 0 { 0 } else { (before % 1024).saturating_mul(10) / 1024 };
    let name = UNITS.get(unit).copied().unwrap_or_default();
    if unit == 0 { format!("{whole} {name}") } else { format!("{whole}.{tenths} {name}") }
}

const UNITS: [&str; 6] = ["B", "KiB", "MiB", "GiB", "TiB", "PiB"];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_strangers_are_text_and_nothing_else() {
        assert_eq!(escaped("<b title='\"'>&"), "&lt;b title=&#39;&quot;&#39;&gt;&amp;");
    }

    #[test]
    fn sizes_are_for_people() {
        for (bytes, shown) in [
            (0, "0 B"),
            (1023, "1023 B"),
            (1024, "1.0 KiB"),
            (91_618_861, "87.3 MiB"),
            (u64::MAX, "16383.9 PiB"),
        ] {
            assert_eq!(size(bytes), shown);
        }
    }
}
