//! Cuts a list filter into tokens, as the original's SQL parser does, down to the positions in its error messages.
//!
//! Follows temporalio/sqlparser v0.1.0 `token.go`. Left out are bind variables and bit strings, which no filter needs:
//! they are syntax errors here.

/// What the original puts in front of a condition before it parses it; positions in messages count from its start.
const PREFIX_WHERE: usize = "select * from table1 where ".len();
const PREFIX_CLAUSE: usize = "select * from table1 ".len();

/// One token.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Token {
    /// A name; quoted ones are never keywords.
    Name(String),
    /// A keyword, in lower case.
    Keyword(&'static str),
    /// A quoted string, its escapes resolved.
    Text(String),
    Integer(String),
    Float(String),
    /// `0x..` or `x'..'`, as it was written.
    Hex(String),
    Symbol(&'static str),
    /// A character or a literal that is not part of the language; what was read of it.
    Unknown(String),
    End,
}

/// Words with a meaning in the grammar, and those that the original's grammar reserves. None is a column's name unless
/// it is quoted.
const KEYWORDS: &[&str] = &[
    "add",
    "and",
    "as",
    "asc",
    "auto_increment",
    "between",
    "binary",
    "by",
    "case",
    "collate",
    "convert",
    "create",
    "cross",
    "current_date",
    "current_time",
    "current_timestamp",
    "database",
    "databases",
    "default",
    "delete",
    "desc",
    "describe",
    "distinct",
    "div",
    "drop",
    "else",
    "end",
    "escape",
    "exists",
    "explain",
    "false",
    "for",
    "force",
    "from",
    "group",
    "having",
    "if",
    "ignore",
    "in",
    "index",
    "inner",
    "insert",
    "interval",
    "into",
    "is",
    "join",
    "key",
    "left",
    "like",
    "limit",
    "localtime",
    "localtimestamp",
    "lock",
    "match",
    "maxvalue",
    "mod",
    "natural",
    "next",
    "not",
    "null",
    "on",
    "or",
    "order",
    "outer",
    "regexp",
    "rename",
    "replace",
    "right",
    "rlike",
    "schema",
    "select",
    "separator",
    "set",
    "show",
    "starts_with",
    "straight_join",
    "substr",
    "substring",
    "table",
    "tables",
    "then",
    "to",
    "true",
    "union",
    "unique",
    "update",
    "use",
    "using",
    "utc_date",
    "utc_time",
    "utc_timestamp",
    "values",
    "when",
    "where",
    "xor",
];

/// Symbols, longer ones first.
const SYMBOLS: &[&str] = &[
    "<=>", "&&", "||", "<>", "<<", "<=", ">=", ">>", "!=", "->", "=", ",", ";", "(", ")", "+", "*", "%", "^", "~", "&",
    "|", ".", "/", "-", "<", ">", "!",
];

/// Reads tokens one after the other.
pub(super) struct Lexer<'a> {
    text: &'a str,
    /// Where the next token starts, in bytes.
    at: usize,
    prefix: usize,
}

impl<'a> Lexer<'a> {
    /// `text` is trimmed.
    pub(super) fn new(text: &'a str) -> Lexer<'a> {
        let starts = |words: &str| text.get(..words.len()).is_some_and(|start| start.eq_ignore_ascii_case(words));
        let prefix =
            if text.is_empty() || starts("order by") || starts("group by") { PREFIX_CLAUSE } else { PREFIX_WHERE };
        Lexer { text, at: 0, prefix }
    }

    /// Whether the text starts with a clause, not with a condition.
    pub(super) fn starts_with_clause(&self) -> bool {
        self.prefix == PREFIX_CLAUSE
    }

    /// Where the original's parser says it is: it has read one character more than the token.
    pub(super) fn position(&self) -> usize {
        self.prefix + self.at + 1
    }

    /// The next token. At the end of the text it is [`Token::End`], again and again.
    pub(super) fn next(&mut self) -> Token {
        if let Some(unterminated) = self.skip_blanks() {
            return Token::Unknown(unterminated);
        }
        let rest = self.rest();
        let Some(first) = rest.chars().next() else { return Token::End };
        let second = rest.as_bytes().get(1).copied().unwrap_or(0);
        match first {
            'x' | 'X' if second == b'\'' => self.hex_string(),
            'a'..='z' | 'A'..='Z' | '_' | '@' => self.word(),
            '0'..='9' => self.number(),
            '.' if second.is_ascii_digit() => self.number(),
            '\'' | '"' => self.string(first),
            '`' => self.quoted_name(),
            _ => self.symbol(first),
        }
    }

    fn rest(&self) -> &'a str {
        &self.text[self.at..]
    }

    /// Skips blanks and comments. A comment without an end is what was read of it.
    fn skip_blanks(&mut self) -> Option<String> {
        loop {
            let rest = self.rest();
            let blank = rest.len() - rest.trim_start_matches([' ', '\n', '\r', '\t']).len();
            if blank > 0 {
                self.at += blank;
            } else if ["--", "#", "//"].iter().any(|opening| rest.starts_with(opening)) {
                self.at += rest.find('\n').map_or(rest.len(), |end| end + 1);
            } else if let Some(comment) = rest.strip_prefix("/*") {
                let Some(end) = comment.find("*/") else {
                    self.at = self.text.len();
                    return Some(rest.to_owned());
                };
                self.at += end + "/**/".len();
            } else {
                return None;
            }
        }
    }

    /// Takes the bytes for which `belongs` holds; they are ASCII.
    fn take_while(&mut self, belongs: impl Fn(u8) -> bool) -> &'a str {
        let rest = self.rest();
        let length = rest.bytes().take_while(|byte| belongs(*byte)).count();
        self.at += length;
        &rest[..length]
    }

    fn word(&mut self) -> Token {
        // A name that starts with two @ may hold dots and quotes: MySQL's system variables.
        let system = self.rest().starts_with("@@");
        let word = self.take_while(|byte| is_name(byte) || (system && b".'\"`".contains(&byte)));
        let lower = word.to_ascii_lowercase();
        match KEYWORDS.binary_search(&lower.as_str()) {
            // The original's lexer gives both words the same meaning, and one name.
            Ok(found) if KEYWORDS[found] == "rlike" => Token::Keyword("regexp"),
            Ok(found) => Token::Keyword(KEYWORDS[found]),
            Err(_) => Token::Name(word.to_owned()),
        }
    }

    fn number(&mut self) -> Token {
        let start = self.at;
        let is_digit = |byte: u8| byte.is_ascii_digit();
        let mut token: fn(String) -> Token = Token::Integer;
        if self.rest().starts_with("0x") || self.rest().starts_with("0X") {
            token = Token::Hex;
            self.at += 2;
            self.take_while(|byte| byte.is_ascii_hexdigit());
        } else {
            self.take_while(is_digit);
            if self.rest().starts_with('.') {
                token = Token::Float;
                self.at += 1;
                self.take_while(is_digit);
            }
            if self.rest().starts_with(['e', 'E']) {
                token = Token::Float;
                self.at += 1;
                self.at += usize::from(self.rest().starts_with(['+', '-']));
                self.take_while(is_digit);
            }
        }
        let number = self.text[start..self.at].to_owned();
        // A letter cannot follow a number at once.
        let glued = self.rest().bytes().next().is_some_and(|byte| is_name(byte) && !byte.is_ascii_digit());
        if glued { Token::Unknown(number) } else { token(number) }
    }

    fn hex_string(&mut self) -> Token {
        self.at += 2;
        let digits = self.take_while(|byte| byte.is_ascii_hexdigit()).to_owned();
        if self.rest().starts_with('\'') && digits.len().is_multiple_of(2) {
            self.at += 1;
            return Token::Hex(digits);
        }
        Token::Unknown(digits)
    }

    /// A string in either kind of quote. The quote is doubled or escaped inside.
    fn string(&mut self, quote: char) -> Token {
        let mut text = String::new();
        let mut chars = self.rest().char_indices().skip(1).peekable();
        while let Some((at, char)) = chars.next() {
            if char == '\\' {
                match chars.next() {
                    Some((_, escaped)) => text.push(unescaped(escaped)),
                    None => break,
                }
            } else if char != quote {
                text.push(char);
            } else if chars.peek().is_some_and(|(_, next)| *next == quote) {
                text.push(quote);
                chars.next();
            } else {
                self.at += at + 1;
                return Token::Text(text);
            }
        }
        self.at = self.text.len();
        Token::Unknown(text)
    }

    /// A name in backquotes, which are doubled inside.
    fn quoted_name(&mut self) -> Token {
        let mut name = String::new();
        let mut chars = self.rest().char_indices().skip(1).peekable();
        while let Some((at, char)) = chars.next() {
            if char != '`' {
                name.push(char);
            } else if chars.peek().is_some_and(|(_, next)| *next == '`') {
                name.push('`');
                chars.next();
            } else {
                self.at += at + 1;
                return if name.is_empty() { Token::Unknown(name) } else { Token::Name(name) };
            }
        }
        self.at = self.text.len();
        Token::Unknown(name)
    }

    fn symbol(&mut self, first: char) -> Token {
        match SYMBOLS.iter().find(|symbol| self.rest().starts_with(**symbol)) {
            Some(symbol) => {
                self.at += symbol.len();
                Token::Symbol(symbol)
            }
            None => {
                self.at += first.len_utf8();
                Token::Unknown(first.to_string())
            }
        }
    }
}

impl Token {
    /// How the token shows in a message about it; empty when the original shows none.
    pub(super) fn shown(&self) -> &str {
        match self {
            Token::Name(text) | Token::Text(text) | Token::Integer(text) | Token::Float(text) => text,
            Token::Hex(text) | Token::Unknown(text) => text,
            Token::Keyword(word) => word,
            Token::Symbol(_) | Token::End => "",
        }
    }
}

/// Letters, digits, and what else names consist of.
fn is_name(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'@'
}

/// What a character after a backslash stands for.
fn unescaped(escaped: char) -> char {
    match escaped {
        '0' => '\0',
        'b' => '\u{8}',
        'n' => '\n',
        'r' => '\r',
        't' => '\t',
        'Z' => '\u{1a}',
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tokens(text: &str) -> Vec<Token> {
        let mut lexer = Lexer::new(text);
        let mut tokens = Vec::new();
        loop {
            match lexer.next() {
                Token::End => return tokens,
                token => tokens.push(token),
            }
        }
    }

    #[test]
    fn keywords_are_sorted_for_the_search() {
        assert!(KEYWORDS.is_sorted());
    }

    #[test]
    fn strings_resolve_their_escapes() {
        assert_eq!(tokens(r"'it''s'"), [Token::Text("it's".to_owned())]);
        assert_eq!(tokens(r"'it\'s \n \\ \q'"), [Token::Text("it's \n \\ q".to_owned())]);
        assert_eq!(tokens(r#""say ""hi"" 'é'""#), [Token::Text("say \"hi\" 'é'".to_owned())]);
        assert_eq!(tokens("'open"), [Token::Unknown("open".to_owned())]);
        assert_eq!(tokens(r"'open\"), [Token::Unknown("open".to_owned())]);
    }

    #[test]
    fn numbers_keep_their_spelling() {
        for (text, token) in [
            ("12", Token::Integer("12".to_owned())),
            ("1.5", Token::Float("1.5".to_owned())),
            (".5", Token::Float(".5".to_owned())),
            ("1e-3", Token::Float("1e-3".to_owned())),
            ("0xfF", Token::Hex("0xfF".to_owned())),
            ("x'61'", Token::Hex("61".to_owned())),
            ("5a", Token::Unknown("5".to_owned())),
        ] {
            assert_eq!(tokens(text)[0], token, "{text}");
        }
    }

    #[test]
    fn comments_and_blanks_are_skipped() {
        let expected = [Token::Name("A".to_owned()), Token::Symbol("=")];
        assert_eq!(tokens("A /* b */ = -- c"), expected);
        assert_eq!(tokens("# x\nA\t// y\n=#"), expected);
        assert_eq!(tokens("/* open"), [Token::Unknown("/* open".to_owned())]);
    }

    #[test]
    fn quoted_names_are_never_keywords() {
        assert_eq!(tokens("`select`"), [Token::Name("select".to_owned())]);
        assert_eq!(tokens("`a``b c`"), [Token::Name("a`b c".to_owned())]);
        assert_eq!(tokens("SELECT"), [Token::Keyword("select")]);
    }
}
