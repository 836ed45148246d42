use std::time::Duration;

use weighbridge_transfer::{Blame, SourceState};

use super::super::Counts;
use super::{
    super::tests::{lied, status},
    *,
};

const MIB: u64 = 1 << 20;

#[test]
fn a_source_has_a_line_with_state_rate_and_blame() {
    let line = |status: &SourceStatus| source_rows("mirror", 8, Some(status), 80);
    assert_eq!(line(&status(SourceState::Idle)), "  mirror    idle");
    let active = SourceStatus { verified: 5 * MIB, rate: MIB / 2, ..status(SourceState::Active) };
    assert_eq!(line(&active), "  mirror    active     5.00 MiB; 512.00 KiB/s");
    let blame = Some((Blame::Unreachable, "connection refused".to_owned()));
    let again_in = Some(Duration::from_millis(2_100));
    let left_alone = SourceStatus { blame, again_in, rate: 7, ..status(SourceState::Waiting) };
    assert_eq!(line(&left_alone), "  mirror    waiting    again in 3 s; unreachable: connection refused");
    let set_aside = SourceStatus { blame: lied(), ..status(SourceState::SetAside) };
    assert_eq!(line(&set_aside), "  mirror    set aside  lied: chunk 3 of m.gguf does not match\\u{1b}");
}

#[test]
fn the_rate_is_that_of_the_last_seconds_and_falls_to_nothing() {
    let mut pace = Pace::of(Counts::Verified);
    let mut text = |seconds, verified| pace.text(Duration::from_secs(seconds), verified * MIB, 100 * MIB);
    assert_eq!(text(0, 10), "0 B/s");
    assert_eq!(text(1, 20), "10.00 MiB/s, 8s left");
    assert_eq!(text(5, 60), "10.00 MiB/s, 4s left");
    assert_eq!(text(6, 60), "8.00 MiB/s, 5s left");
    assert_eq!(text(8, 60), "5.71 MiB/s, 7s left");
    assert_eq!(text(10, 60), "0 B/s");
    assert_eq!(text(70, 60), "0 B/s");
    assert_eq!(text(80, 100), "all verified");
}

/// On 40 columns the state of a source was cut, and its blame was lost.
#[test]
fn on_a_narrow_terminal_states_and_blame_are_whole() {
    let name = "http://10.1.2.3:8080/models/llama";
    let blame = Some((Blame::Unreachable, "cannot be connected to: Connection refused".to_owned()));
    let again_in = Some(Duration::from_secs(3));
    let status = SourceStatus { blame, again_in, ..status(SourceState::Waiting) };
    let rows = |width| {
        let names = [name.to_owned()];
        source_rows(name, name_width(&names, width), Some(&status), width)
    };
    assert_eq!(
        rows(40),
        "  http://10…els/llama…  waiting\n".replace("http://10…els/llama…", &short(name, 22))
            + "    again in 3 s; unreachable:\n    cannot be connected to:\n    Connection refused"
    );
    for width in [20, 40, 60, 80, 100, 140, 200] {
        let rows = rows(width);
        let widest = rows.lines().map(measure_text_width).max();
        assert!(widest <= Some(width - MARGIN), "{width}: {rows}");
        let words: Vec<&str> = rows.split_whitespace().collect();
        let account = "waiting again in 3 s; unreachable: cannot be connected to: Connection refused";
        // A word may be longer than a row, and is then broken.
        assert!(words.concat().ends_with(&account.replace(' ', "")), "{width}: {rows}");
    }
    assert_eq!(rows(140).lines().count(), 1);
}

#[test]
fn a_text_is_folded_between_words_and_keeps_them_all() {
    assert_eq!(folded("one two three", "  ", 7 + 2 + MARGIN), "  one two\n  three");
    assert_eq!(folded("abcdefgh ij", " ", 4 + MARGIN), " abc\n def\n gh\n ij");
    // Characters that are two columns wide.
    assert_eq!(folded("\u{6a21}\u{578b}\u{6a21}", "", 4 + MARGIN), "\u{6a21}\u{578b}\n\u{6a21}");
    assert_eq!(folded("", "  ", 80), "  ");
}
