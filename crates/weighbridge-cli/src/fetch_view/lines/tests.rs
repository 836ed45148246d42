use weighbridge_transfer::{SourceId, Waiting};

use super::super::Counts;
use super::{
    super::{
        Named,
        tests::{lied, names, status, waiting},
        waiting_line,
    },
    *,
};

const MIB: u64 = 1 << 20;

/// The line for an event that comes `seconds` after the start.
fn said(lines: &mut Lines, event: &Event, seconds: u64) -> Option<String> {
    let waiting = match event {
        Event::Waiting(waiting) => waiting_line(waiting, &names(), Named::default(), Counts::Verified),
        _ => String::new(),
    };
    let mut said = lines.lines(event, &names(), &waiting, Duration::from_secs(seconds));
    assert!(said.len() <= 1, "{said:?}");
    said.pop()
}

fn progress(verified: u64) -> Event {
    Event::Progress(FetchProgress { received: verified, verified, durable: 0, wanted: 100 * MIB })
}

#[test]
fn without_a_terminal_a_line_comes_every_half_minute() {
    let mut lines = Lines::new(Counts::Verified);
    let mut said = |event: Event, seconds| said(&mut lines, &event, seconds);
    let wanted = Event::Wanted { files: 13, bytes: 100 * MIB, metadata: "m".into() };
    assert_eq!(said(wanted, 1).unwrap(), "wanted: 13 files, 100.00 MiB");
    assert_eq!(said(progress(10 * MIB), 15), None);
    assert_eq!(
        said(progress(60 * MIB), 31).unwrap(),
        "verified 60.00 MiB of 100.00 MiB, 2.00 MiB/s, 20 s left"
    );
    assert_eq!(said(progress(61 * MIB), 32), None);
    assert_eq!(
        said(Event::Waiting(waiting(Some(SourceId::new(1)), 2)), 34).unwrap(),
        "nothing verified for 2 s: waiting for chunks 3 to 6 of m.gguf from mirror"
    );
    assert_eq!(said(Event::Waiting(waiting(Some(SourceId::new(1)), 3)), 35), None);
    assert_eq!(
        said(Event::Waiting(waiting(Some(SourceId::new(1)), 29)), 61).unwrap(),
        "verified 61.00 MiB of 100.00 MiB, 34.13 KiB/s, 1170 s left; nothing verified for 29 s: waiting for chunks \
         3 to 6 of m.gguf from mirror"
    );
    assert_eq!(said(progress(61 * MIB), 91).unwrap(), "verified 61.00 MiB of 100.00 MiB, 0 B/s");
}

#[test]
fn without_a_terminal_each_change_of_a_source_has_a_line() {
    let mut lines = Lines::new(Counts::Verified);
    let mut said = |status: SourceStatus| said(&mut lines, &Event::Source(status), 0);
    assert_eq!(said(status(SourceState::Idle)), None);
    assert_eq!(said(status(SourceState::Active)).unwrap(), "source mirror: active");
    assert_eq!(said(SourceStatus { rate: 7, verified: 8, ..status(SourceState::Active) }), None);
    assert_eq!(said(status(SourceState::Idle)), None);
    assert_eq!(said(status(SourceState::Active)), None);
    let again_in = Some(Duration::from_secs(4));
    assert_eq!(
        said(SourceStatus { again_in, ..status(SourceState::Waiting) }).unwrap(),
        "source mirror: waiting; again in 4 s"
    );
    assert_eq!(said(status(SourceState::Waiting)), None);
    assert_eq!(
        said(SourceStatus { blame: lied(), ..status(SourceState::SetAside) }).unwrap(),
        "source mirror: set aside; lied: chunk 3 of m.gguf does not match\\u{1b}"
    );
    assert_eq!(said(SourceStatus { blame: lied(), ..status(SourceState::Idle) }), None);
    let other = SourceStatus { source: SourceId::new(0), ..status(SourceState::Active) };
    assert_eq!(said(other).unwrap(), "source https://a.example/m: active");
    assert_eq!(said(SourceStatus { source: SourceId::new(2), ..status(SourceState::Active) }), None);
}

/// A source that served and refused in turns, with other numbers each time, had a new line every second and filled the
/// log of a whole night.
#[test]
fn a_source_that_comes_and_goes_is_told_once_in_half_a_minute() {
    let mut lines = Lines::new(Counts::Verified);
    let busy = |second: u64| SourceStatus {
        blame: Some((Blame::Refused, format!("answers 503, asks to wait {second} s"))),
        again_in: Some(Duration::from_secs(second)),
        ..status(SourceState::Waiting)
    };
    let told: Vec<String> = (0..60)
        .filter_map(|second| {
            let status = if second % 2 == 0 {
                busy(second)
            } else {
                SourceStatus { state: SourceState::Active, ..busy(second) }
            };
            said(&mut lines, &Event::Source(status), second)
        })
        .collect();
    assert_eq!(
        told,
        [
            "source mirror: waiting; again in 0 s; refused: answers 503, asks to wait 0 s",
            "source mirror: active; refused: answers 503, asks to wait 1 s",
            "source mirror: waiting; again in 30 s; refused: answers 503, asks to wait 30 s",
            "source mirror: active; refused: answers 503, asks to wait 31 s",
        ]
    );
    // Setting the source aside is printed at once.
    let set_aside = SourceStatus { state: SourceState::SetAside, again_in: None, ..busy(60) };
    let line = said(&mut lines, &Event::Source(set_aside), 60).unwrap();
    assert_eq!(line, "source mirror: set aside; refused: answers 503, asks to wait 60 s");
}

/// The source came back within the half minute, and the log never said that it had stopped waiting.
#[test]
fn what_was_not_told_of_a_source_is_told_when_the_half_minute_is_over() {
    let mut lines = Lines::new(Counts::Verified);
    let of = |state| Event::Source(status(state));
    assert_eq!(said(&mut lines, &of(SourceState::Active), 0).unwrap(), "source mirror: active");
    assert_eq!(said(&mut lines, &of(SourceState::Waiting), 1).unwrap(), "source mirror: waiting");
    assert_eq!(said(&mut lines, &of(SourceState::Active), 2), None);
    assert_eq!(
        said(&mut lines, &Event::Wanted { files: 1, bytes: 1, metadata: "m".into() }, 29).unwrap(),
        "wanted: 1 file, 1 B"
    );
    assert_eq!(said(&mut lines, &progress(MIB), 30).unwrap(), "source mirror: active");
    assert_eq!(said(&mut lines, &progress(2 * MIB), 31), None);
}

/// The awaited file changed each second, and each change had a line.
#[test]
fn what_is_waited_for_is_told_when_it_begins_and_every_half_minute() {
    let mut lines = Lines::new(Counts::Verified);
    let of = |seconds, here: Option<Here>| {
        let for_what = format!("model-{seconds}.safetensors");
        let from = here.is_none().then(|| usize::from(seconds % 2 == 0));
        Event::Waiting(Waiting { for_what, here, chunks: None, ..waiting(from.map(SourceId::new), seconds) })
    };
    // There are no figures before the wanted files are known.
    let told: Vec<u64> =
        (2..70).filter(|second| said(&mut lines, &of(*second, None), *second).is_some()).collect();
    assert_eq!(told, [2, 32, 62]);
    // The beginning of naming is another kind of waiting, and has a line.
    let told: Vec<u64> = (70..110)
        .filter(|second| said(&mut lines, &of(*second, Some(Here::Naming)), *second).is_some())
        .collect();
    assert_eq!(told, [70, 100]);
}
