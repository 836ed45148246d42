//! Shows untrusted text to people so that it cannot pass for another text.
//!
//! Names of files, tensors and keys come from strangers, and appear on a terminal beside a verdict. The rules are those
//! of `spec/lists.md`, "Showing names".

// This file is the only one that escapes text.
#![allow(clippy::disallowed_methods)]

use alloc::string::String;

/// Escapes a name or path for display.
///
/// # Guarantee
/// Two different texts are shown differently, and no terminal obeys a control in them. These characters are escaped, as
/// `\u{..}` or by `\` and a character:
///
/// - quotes and backslashes
/// - invisible characters ([`is_unseen`]), and all others that do not print
/// - a combining mark at the beginning of a component or after an escape
/// - a space at either end of a component or next to another space
///
/// Components are separated by `/`.
///
/// # Non-guarantee
/// Letters of two scripts may look alike; they are not escaped.
///
/// # Cost
/// One pass. The result has at most ten times the bytes of `text`.
#[must_use]
pub fn shown(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    let mut characters = text.chars().peekable();
    let mut before = '/';
    while let Some(c) = characters.next() {
        let after = characters.peek().copied().unwrap_or('/');
        let is_escaped = match c {
            ' ' => [before, after].iter().any(|beside| matches!(beside, '/' | ' ')),
            '"' | '\'' | '\\' => true,
            _ => is_unseen(c) || is_unprintable(c) || (matches!(before, '/' | ESCAPED) && is_mark(c)),
        };
        match (is_escaped, c) {
            (false, _) => shown.push(c),
            (true, ' ') => shown.push_str("\\u{20}"),
            (true, _) if is_unseen(c) && !c.is_control() => shown.extend(c.escape_unicode()),
            (true, _) => shown.extend(c.escape_debug()),
        }
        // A run of spaces is escaped as a whole: each space in it still has a space next to it.
        before = if is_escaped && c != ' ' { ESCAPED } else { c };
    }
    shown
}

/// Escapes at most `characters` characters of a text, like [`shown`], and appends `…` if the text is longer.
#[must_use]
pub fn shown_beginning(text: &str, characters: usize) -> String {
    match text.char_indices().nth(characters) {
        None => shown(text),
        Some((end, _)) => {
            let mut beginning = shown(text.get(..end).unwrap_or_default());
            beginning.push('…');
            beginning
        }
    }
}

/// Escapes a whole line that is displayed by itself. Nothing in the result steers a terminal or is invisible; quotes,
/// backslashes and spaces are not escaped.
///
/// Use this for text that people read as it was written, such as the lines of a head or of a list. Names within one of
/// our sentences go through [`shown`] instead.
#[must_use]
pub fn shown_line(line: &str) -> String {
    let mut shown = String::with_capacity(line.len());
    for c in line.chars() {
        if is_unseen(c) || is_unprintable(c) {
            shown.extend(c.escape_unicode());
        } else {
            shown.push(c);
        }
    }
    shown
}

/// Finds the first character of a name that a person would not see, or would take for a part of the text before the
/// name.
///
/// Such characters are those of [`is_unseen`], a combining mark at the beginning, and a space at either end. Signers
/// refuse tensors, keys and path components with such a character in their names (`spec/lists.md`).
#[must_use]
pub fn unseen_in(name: &str) -> Option<char> {
    let found = name.char_indices().find(|&(at, c)| {
        let is_last = || name.get(at..) == Some(" ");
        is_unseen(c) || (at == 0 && is_mark(c)) || (c == ' ' && (at == 0 || is_last()))
    });
    found.map(|(_, c)| c)
}

/// Whether a character is invisible: control characters (Cc), white space other than U+0020, Unicode's
/// `Default_Ignorable_Code_Point`, and letters and symbols that are blank.
#[must_use]
pub fn is_unseen(c: char) -> bool {
    let is_in = |table: &[(char, char)]| table.iter().any(|(first, last)| (*first..=*last).contains(&c));
    c.is_control() || (c.is_whitespace() && c != ' ') || (!c.is_ascii() && (is_in(IGNORABLE) || is_in(BLANK)))
}

/// Whether a character never prints, in any place: unassigned, private-use and format characters.
fn is_unprintable(c: char) -> bool {
    // At the beginning of a text, the library escapes marks too. After a letter, it escapes only characters that do not
    // print.
    let mut behind_a_letter = String::from('a');
    behind_a_letter.push(c);
    !c.is_ascii() && behind_a_letter.escape_debug().nth(2).is_some()
}

/// Whether a character is drawn over the one before it (`Grapheme_Extend`).
fn is_mark(c: char) -> bool {
    !c.is_ascii() && c.escape_debug().nth(1).is_some() && !is_unprintable(c)
}

/// Represents an escape before the next character. No text has this character unescaped.
const ESCAPED: char = '\0';

/// `Default_Ignorable_Code_Point` of Unicode 17, as the first and last character of each run. The runs include
/// unassigned characters, so later versions change little.
const IGNORABLE: &[(char, char)] = &[
    ('\u{ad}', '\u{ad}'),
    ('\u{34f}', '\u{34f}'),
    ('\u{61c}', '\u{61c}'),
    ('\u{115f}', '\u{1160}'),
    ('\u{17b4}', '\u{17b5}'),
    ('\u{180b}', '\u{180f}'),
    ('\u{200b}', '\u{200f}'),
    ('\u{202a}', '\u{202e}'),
    ('\u{2060}', '\u{206f}'),
    ('\u{3164}', '\u{3164}'),
    ('\u{fe00}', '\u{fe0f}'),
    ('\u{feff}', '\u{feff}'),
    ('\u{ffa0}', '\u{ffa0}'),
    ('\u{fff0}', '\u{fff8}'),
    ('\u{1bca0}', '\u{1bca3}'),
    ('\u{1d173}', '\u{1d17a}'),
    ('\u{e0000}', '\u{e0fff}'),
];

/// Characters that are blank but not ignorable: the marks around annotations, the Braille pattern without dots, the
/// invisible notehead, and the blanks and fillers of Khitan and Egyptian script.
const BLANK: &[(char, char)] = &[
    ('\u{2800}', '\u{2800}'),
    ('\u{fff9}', '\u{fffb}'),
    ('\u{13441}', '\u{13442}'),
    ('\u{16fe4}', '\u{16fe4}'),
    ('\u{1d159}', '\u{1d159}'),
];

#[cfg(test)]
mod tests {
    use super::*;
    use icu_properties::{CodePointSetData, props::DefaultIgnorableCodePoint};
    use proptest::prelude::*;

    #[test]
    fn plain_names_stay_as_they_are() {
        for name in [
            "",
            "model-00001-of-00002.safetensors",
            "1_Pooling/config.json",
            "a b/ü/模型.bin",
            "e\u{301}",
            "model.layers.0.self_attn.q_proj.weight",
        ] {
            assert_eq!(shown(name), name);
            assert_eq!(shown_line(name), name);
            assert_eq!(unseen_in(name), None, "{name}");
        }
    }

    /// `check` once printed the proof that `m<U+FE0F>odel.pkl` is absent as `absent   model.pkl`.
    #[test]
    fn no_name_passes_for_another() {
        for (name, expected) in [
            ("m\u{fe0f}odel.pkl", "m\\u{fe0f}odel.pkl"),
            ("model.pkl\u{3164}", "model.pkl\\u{3164}"),
            ("model.pkl\u{2800}", "model.pkl\\u{2800}"),
            ("model.pkl\u{a0}", "model.pkl\\u{a0}"),
            ("model.pkl ", "model.pkl\\u{20}"),
            ("a /b", "a\\u{20}/b"),
            ("a/ b", "a/\\u{20}b"),
            ("\u{301}a/\u{301}b", "\\u{301}a/\\u{301}b"),
            ("\u{200b}\u{301}", "\\u{200b}\\u{301}"),
            ("\u{202e}gnp.exe", "\\u{202e}gnp.exe"),
            ("\u{e0041}", "\\u{e0041}"),
        ] {
            assert_eq!(shown(name), expected);
            assert!(name.split('/').any(|component| unseen_in(component).is_some()), "{expected}");
        }
        for (name, expected) in [
            ("ok.bin   1 chunk", "ok.bin\\u{20}\\u{20}\\u{20}1 chunk"),
            ("it's", "it\\'s"),
            ("a\\u{fe0f}", "a\\\\u{fe0f}"),
            ("a\u{e000}", "a\\u{e000}"),
        ] {
            assert_eq!(shown(name), expected);
            assert_eq!(name.split('/').find_map(unseen_in), None, "{expected}");
        }
    }

    #[test]
    fn a_terminal_obeys_nothing() {
        assert_eq!(shown("a\n\u{1b}[31m\u{9b}1m\u{7f}"), "a\\n\\u{1b}[31m\\u{9b}1m\\u{7f}");
        assert_eq!(shown_line("\"a\\b\"  \u{1b}[2J\u{fe0f}"), "\"a\\b\"  \\u{1b}[2J\\u{fe0f}");
    }

    #[test]
    fn a_long_text_is_cut_where_it_is_said() {
        assert_eq!(shown_beginning("éééé", 4), "éééé");
        assert_eq!(shown_beginning("ééééé", 4), "éééé…");
        assert_eq!(shown_beginning("\n\n", 1), "\\n…");
    }

    #[test]
    fn every_ignorable_code_point_is_known() {
        let ignorable = CodePointSetData::new::<DefaultIgnorableCodePoint>();
        for c in '\0'..=char::MAX {
            let is_listed = IGNORABLE.iter().any(|(first, last)| (*first..=*last).contains(&c));
            assert_eq!(is_listed, ignorable.contains(c), "{:x}", u32::from(c));
        }
    }

    proptest! {
        #[test]
        fn different_texts_are_shown_differently(text in any::<String>()) {
            prop_assert_eq!(unescape(&shown(&text)), text);
        }

        #[test]
        fn nothing_shown_is_unseen(text in any::<String>()) {
            for shown in [shown(&text), shown_line(&text), shown_beginning(&text, 3)] {
                prop_assert!(!shown.chars().any(|c| is_unseen(c) || is_unprintable(c)), "{shown:?}");
                prop_assert!(!shown.chars().next().is_some_and(is_mark) || shown == shown_line(&text));
            }
        }
    }

    /// Recovers the only text with this display form.
    fn unescape(shown: &str) -> String {
        let mut rest = shown;
        let mut text = String::new();
        while let Some((plain, escape)) = rest.split_once('\\') {
            text.push_str(plain);
            if let Some((digits, after)) = escape.strip_prefix("u{").and_then(|e| e.split_once('}')) {
                text.push(u32::from_str_radix(digits, 16).ok().and_then(char::from_u32).unwrap());
                rest = after;
            } else {
                let mut characters = escape.chars();
                text.push(match characters.next().unwrap() {
                    'n' => '\n',
                    'r' => '\r',
                    't' => '\t',
                    '0' => '\0',
                    itself => itself,
                });
                rest = characters.as_str();
            }
        }
        text.push_str(rest);
        text
    }
}
