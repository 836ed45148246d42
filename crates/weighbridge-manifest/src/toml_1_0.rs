//! Limits policies to TOML 1.0. The library reads TOML 1.1, which other readers of policies refuse.

use toml_parser::{Source, lexer::TokenKind};

/// The first addition of TOML 1.1 in a text, with its byte offset; `None` if the text is TOML 1.0.
///
/// Times without seconds are not looked for: no value of a policy is a TOML time.
pub(crate) fn addition(text: &str) -> Option<(usize, &'static str)> {
    let mut open = alloc::vec::Vec::new();
    let mut before = None;
    for token in Source::new(text).lex() {
        let (kind, start) = (token.kind(), token.span().start());
        let in_table = open.last() == Some(&TokenKind::LeftCurlyBracket);
        match kind {
            TokenKind::LeftCurlyBracket | TokenKind::LeftSquareBracket => open.push(kind),
            TokenKind::RightCurlyBracket if before == Some(TokenKind::Comma) => {
                return Some((start, "a comma at the end of an inline table"));
            }
            TokenKind::RightCurlyBracket | TokenKind::RightSquareBracket => {
                open.pop();
            }
            TokenKind::Newline if in_table => return Some((start, "a line end in an inline table")),
            TokenKind::BasicString | TokenKind::MlBasicString => {
                let string = text.get(start..token.span().end()).unwrap_or_default();
                if has_new_escape(string) {
                    return Some((start, "an escape '\\e' or '\\x'"));
                }
            }
            _ => {}
        }
        if !matches!(kind, TokenKind::Whitespace | TokenKind::Newline | TokenKind::Comment) {
            before = Some(kind);
        }
    }
    None
}

fn has_new_escape(string: &str) -> bool {
    let mut chars = string.chars();
    while let Some(char) = chars.next() {
        // Skip the character after a backslash, which cannot begin another escape.
        if char == '\\' && matches!(chars.next(), Some('e' | 'x')) {
            return true;
        }
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn each_addition_of_1_1_is_found_where_it_stands() {
        for (text, at) in [
            (r#"a = "\e""#, 4),
            (r#"a = "x\x6f""#, 4),
            (r#""\x61" = 1"#, 0),
            ("a = 1\nb = \"\"\"\nx\\e\"\"\"", 10),
            ("a = {\nb = 1 }", 5),
            ("a = { b = 1\n}", 11),
            ("a = { b = 1 # c\n}", 15),
            ("a = { b = 1, }", 13),
            ("a = [{ b = [ { c = 1, } ] }]", 22),
        ] {
            assert_eq!(addition(text).map(|(at, _)| at), Some(at), "{text}");
        }
        for text in [
            r#"a = "\\e \\x \u0065 \b""#,
            r"a = '\e \x6f'",
            "a = '''\\e'''",
            "# \\e { \n",
            "a = [\n{ b = [\n1,\n] },\n]",
            "a = { b = \"\"\"\n\"\"\" }",
            "a = {}\n[b]\nc = { }\n",
            "a = ['}', \"{\"]\nb = ','",
        ] {
            assert!(toml::from_str::<toml::Table>(text).is_ok(), "{text}");
            assert_eq!(addition(text), None, "{text}");
        }
    }

    proptest! {
        #[test]
        fn no_text_is_too_strange(text in r#"([\[\]{}",#'\\ex \n=]|"""|'''){0,24}"#) {
            let _ = addition(&text);
        }
    }
}
