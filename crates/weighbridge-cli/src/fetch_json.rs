//! The events of a fetch as objects for programs.

use weighbridge_transfer::{self as transfer, Event, Here, SourceId, SourceStatus};

use crate::events::{
    self,
    fetch::{Durable, Extra, File, Naming, Progress, Source, Tensor, Verified, Waiting, Wanted},
    values::Code,
};

/// An event as an object; `None` for the head, which is printed when it is accepted.
pub(crate) fn object<'e>(event: &'e Event, names: &'e [String]) -> Option<Box<dyn events::Event + 'e>> {
    Some(match event {
        Event::Wanted { files, bytes, metadata } => {
            Box::new(Wanted { files: *files, bytes: *bytes, metadata: metadata.to_string_lossy() })
        }
        Event::Progress(progress) => Box::new(Progress::from(*progress)),
        Event::Source(status) => Box::new(source(status, names)),
        Event::Waiting(waiting) => Box::new(self::waiting(waiting, names)),
        Event::Durable { path, chunks } => {
            Box::new(Durable { file: path.as_str(), chunks: [chunks.start, chunks.end] })
        }
        Event::Tensor(tensor) => Box::new(Tensor {
            name: tensor.name.as_str(),
            file: tensor.file.as_str(),
            offset: tensor.offset,
            size: tensor.size,
        }),
        Event::Naming { files } => Box::new(Naming { files: *files }),
        Event::File { path, size } => {
            Box::new(File { path: path.as_str(), size: *size, status: Verified::Verified })
        }
        Event::Extra { path, removed, fault } => {
            let fault = fault.as_ref();
            let (code, message) = fault.map(|fault| (Code::from(fault.code), fault.message.as_str())).unzip();
            Box::new(Extra { path, removed: *removed, code, message })
        }
        _ => return None,
    })
}

/// The state of a source.
pub(crate) fn source<'e>(status: &'e SourceStatus, names: &'e [String]) -> Source<'e> {
    let (blame, why) = status.blame.as_ref().map(|(blame, why)| (blame.word(), why.as_str())).unzip();
    Source {
        source: status.source.number(),
        name: names.get(status.source.number()).map(String::as_str),
        state: status.state.word(),
        blame,
        why,
        again_in: status.again_in.map(|time| time.as_secs_f64()),
        verified: status.verified,
        rate: status.rate,
    }
}

fn waiting<'e>(waiting: &'e transfer::Waiting, names: &'e [String]) -> Waiting<'e> {
    Waiting {
        for_what: &waiting.for_what,
        chunks: waiting.chunks.as_ref().map(|run| [run.start, run.end]),
        from: waiting.from.map(SourceId::number),
        name: waiting.from.and_then(|from| names.get(from.number())).map(String::as_str),
        again_in: waiting.again_in.map(|time| time.as_secs_f64()),
        here: waiting.here.map(Here::word),
        since: waiting.since.as_secs_f64(),
    }
}

impl From<transfer::FetchProgress> for Progress {
    fn from(progress: transfer::FetchProgress) -> Self {
        let transfer::FetchProgress { received, verified, durable, wanted } = progress;
        Self { received, verified, durable, wanted }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]
mod tests {
    use std::time::Duration;

    use weighbridge_manifest::{EntryPath, TensorEntry};
    use weighbridge_transfer::{Blame, FetchProgress, SourceState, Waiting};

    use super::{object, *};

    fn said(event: &Event) -> String {
        let names = ["https://a.example/m".to_owned(), "mirror".to_owned()];
        object(event, &names).unwrap().object().to_string()
    }

    fn path() -> EntryPath {
        EntryPath::parse("unet/model.safetensors").unwrap()
    }

    /// A line of a tensor list.
    const TENSOR: &str = r#"{"tensor":"embed","file":"m.safetensors","dtype":"F32","shape":[2],"offset":16,"size":8,"blake3":"0000000000000000000000000000000000000000000000000000000000000000"}"#;

    #[test]
    fn every_event_has_its_names() {
        let progress = FetchProgress { received: 4, verified: 3, durable: 2, wanted: 9 };
        let events = [
            (
                Event::Wanted { files: 13, bytes: 99, metadata: "m/weighbridge".into() },
                r#"{"bytes":99,"event":"wanted","files":13,"metadata":"m/weighbridge"}"#,
            ),
            (
                Event::Progress(progress),
                r#"{"durable":2,"event":"progress","received":4,"verified":3,"wanted":9}"#,
            ),
            (
                Event::Durable { path: path(), chunks: 3..7 },
                r#"{"chunks":[3,7],"event":"durable","file":"unet/model.safetensors"}"#,
            ),
            (
                Event::Tensor(Box::new(TensorEntry::parse(TENSOR).unwrap())),
                r#"{"event":"tensor","file":"m.safetensors","name":"embed","offset":16,"size":8}"#,
            ),
            (Event::Naming { files: 13 }, r#"{"event":"naming","files":13}"#),
            (
                Event::File { path: path(), size: 90_868_376 },
                r#"{"event":"file","path":"unet/model.safetensors","size":90868376,"status":"verified"}"#,
            ),
            (
                Event::Extra { path: "old.bin".to_owned(), removed: true, fault: None },
                r#"{"code":null,"event":"extra","message":null,"path":"old.bin","removed":true}"#,
            ),
        ];
        for (event, expected) in events {
            assert_eq!(said(&event), expected);
        }
    }

    #[test]
    fn a_source_is_named_with_its_state_and_its_blame() {
        let status = SourceStatus {
            source: SourceId::new(1),
            state: SourceState::SetAside,
            blame: Some((Blame::Lied, "chunk 3 does not match".to_owned())),
            again_in: None,
            verified: 5,
            rate: 0,
        };
        assert_eq!(
            said(&Event::Source(status.clone())),
            r#"{"again_in":null,"blame":"lied","event":"source","name":"mirror","rate":0,"source":1,"state":"set aside","verified":5,"why":"chunk 3 does not match"}"#
        );
        let again_in = Some(Duration::from_millis(1_500));
        let status = SourceStatus {
            source: SourceId::new(0),
            state: SourceState::Waiting,
            blame: None,
            again_in,
            ..status
        };
        assert_eq!(
            said(&Event::Source(status)),
            r#"{"again_in":1.5,"blame":null,"event":"source","name":"https://a.example/m","rate":0,"source":0,"state":"waiting","verified":5,"why":null}"#
        );
    }

    #[test]
    fn what_is_waited_for_is_named_with_the_source_and_the_seconds() {
        let waiting = Waiting {
            for_what: "model.safetensors".to_owned(),
            chunks: Some(3..7),
            from: Some(SourceId::new(1)),
            again_in: None,
            here: None,
            since: Duration::from_millis(2_250),
        };
        assert_eq!(
            said(&Event::Waiting(waiting)),
            r#"{"again_in":null,"chunks":[3,7],"event":"waiting","for":"model.safetensors","from":1,"here":null,"name":"mirror","since":2.25}"#
        );
        let waiting = Waiting {
            for_what: "head.note".to_owned(),
            chunks: None,
            from: Some(SourceId::new(0)),
            again_in: Some(Duration::from_millis(1_500)),
            here: None,
            since: Duration::from_secs(3),
        };
        assert_eq!(
            said(&Event::Waiting(waiting)),
            r#"{"again_in":1.5,"chunks":null,"event":"waiting","for":"head.note","from":0,"here":null,"name":"https://a.example/m","since":3.0}"#
        );
        let waiting = Waiting {
            for_what: "model.safetensors".to_owned(),
            chunks: None,
            from: None,
            again_in: None,
            here: Some(Here::Naming),
            since: Duration::from_secs(62),
        };
        assert_eq!(
            said(&Event::Waiting(waiting)),
            r#"{"again_in":null,"chunks":null,"event":"waiting","for":"model.safetensors","from":null,"here":"naming","name":null,"since":62.0}"#
        );
    }
}
