//! The grammar of list filters: from tokens to a tree that knows neither columns nor types.
//!
//! A recursive descent over the part of the original's SQL grammar (temporalio/sqlparser v0.1.0 `sql.y`) that a filter
//! may use, and of what people try although it is refused: that gets the original's explanation, not a syntax error.

use std::fmt;

use super::{
    FilterError,
    lexer::{Lexer, Token},
};

/// How deep parentheses, NOT and signs may nest, as in the original's parser. Bounds the stack of all that follows.
const NESTING_MAX: usize = 200;

/// A whole filter.
#[derive(Debug, Default)]
pub(super) struct Query {
    pub condition: Option<Expr>,
    pub group_by: Vec<Expr>,
    pub order_by: Vec<Expr>,
    /// Clauses that no filter may have, by name.
    pub refused: Option<&'static str>,
}

/// A condition or a value.
#[derive(Debug)]
pub(super) enum Expr {
    And(Vec<Expr>),
    Or(Vec<Expr>),
    Not(Box<Expr>),
    Paren(Box<Expr>),
    Compare {
        left: Box<Expr>,
        operator: Operator,
        right: Box<Expr>,
    },
    Between {
        left: Box<Expr>,
        negated: bool,
        from: Box<Expr>,
        to: Box<Expr>,
    },
    IsNull {
        inner: Box<Expr>,
        negated: bool,
    },
    /// IS TRUE and its like.
    IsOther(Box<Expr>),
    Text(String),
    /// An integer or decimal fraction, as it was written, with its sign.
    Number(String),
    Hex(String),
    Null,
    Bool(bool),
    Column(String),
    Tuple(Vec<Expr>),
    Call(String),
    Sign(&'static str, Box<Expr>),
    Arithmetic,
}

/// What stands between two sides of a comparison.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Operator {
    Equal,
    NotEqual,
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
    NullSafeEqual,
    In,
    NotIn,
    Like,
    NotLike,
    Regexp,
    NotRegexp,
    StartsWith,
    NotStartsWith,
}

/// Reads a filter; `text` is trimmed.
///
/// # Errors
/// The original's text, with its positions.
pub(super) fn parse(text: &str) -> Result<Query, FilterError> {
    let lexer = Lexer::new(text);
    let has_condition = !lexer.starts_with_clause();
    let mut parser = Parser { lexer, token: Token::End, nesting: 0 };
    parser.advance();
    let mut query = Query::default();
    if has_condition {
        query.condition = Some(parser.or()?);
    }
    parser.clauses(&mut query)?;
    parser.take(&Token::Symbol(";"));
    if parser.token == Token::End { Ok(query) } else { Err(parser.error()) }
}

struct Parser<'a> {
    lexer: Lexer<'a>,
    /// The token that comes next.
    token: Token,
    nesting: usize,
}

impl Parser<'_> {
    fn advance(&mut self) -> Token {
        let next = self.lexer.next();
        std::mem::replace(&mut self.token, next)
    }

    /// Takes the next token if it is `token`.
    fn take(&mut self, token: &Token) -> bool {
        let found = self.token == *token;
        if found {
            self.advance();
        }
        found
    }

    fn keyword(&mut self, word: &'static str) -> bool {
        self.take(&Token::Keyword(word))
    }

    fn symbol(&mut self, symbol: &'static str) -> bool {
        self.take(&Token::Symbol(symbol))
    }

    fn expect(&mut self, token: &Token) -> Result<(), FilterError> {
        if self.take(token) { Ok(()) } else { Err(self.error()) }
    }

    /// The next token cannot stand here.
    fn error(&self) -> FilterError {
        self.malformed("syntax error")
    }

    fn malformed(&self, what: &str) -> FilterError {
        let position = self.lexer.position();
        let near = match self.token.shown() {
            "" => String::new(),
            token => format!(" near '{token}'"),
        };
        FilterError::malformed(format!("{what} at position {position}{near}"))
    }

    /// Runs `read` one level deeper; the token that opens the level is still the next one.
    fn nested<T>(&mut self, read: impl FnOnce(&mut Self) -> Result<T, FilterError>) -> Result<T, FilterError> {
        self.nesting += 1;
        if self.nesting >= NESTING_MAX {
            return Err(self.malformed("max nesting level reached"));
        }
        self.advance();
        let inner = read(self)?;
        self.nesting -= 1;
        Ok(inner)
    }

    fn clauses(&mut self, query: &mut Query) -> Result<(), FilterError> {
        if self.keyword("group") {
            self.expect(&Token::Keyword("by"))?;
            query.group_by = self.list(Self::or)?;
        }
        if self.keyword("having") {
            self.or()?;
            query.refused = Some("HAVING");
        }
        if self.keyword("order") {
            self.expect(&Token::Keyword("by"))?;
            query.order_by = self.list(|parser| {
                let by = parser.or()?;
                let _ = parser.keyword("asc") || parser.keyword("desc");
                Ok(by)
            })?;
        }
        if self.keyword("limit") {
            self.or()?;
            if self.symbol(",") {
                self.or()?;
            }
            query.refused = Some("LIMIT");
        }
        Ok(())
    }

    fn list(&mut self, item: impl Fn(&mut Self) -> Result<Expr, FilterError>) -> Result<Vec<Expr>, FilterError> {
        let mut items = vec![item(self)?];
        while self.symbol(",") {
            items.push(item(self)?);
        }
        Ok(items)
    }

    fn or(&mut self) -> Result<Expr, FilterError> {
        let first = self.and()?;
        let mut all = vec![first];
        while self.keyword("or") || self.symbol("||") {
            all.push(self.and()?);
        }
        Ok(single_or(all, Expr::Or))
    }

    fn and(&mut self) -> Result<Expr, FilterError> {
        let first = self.not()?;
        let mut all = vec![first];
        while self.keyword("and") || self.symbol("&&") {
            all.push(self.not()?);
        }
        Ok(single_or(all, Expr::And))
    }

    fn not(&mut self) -> Result<Expr, FilterError> {
        if self.token == Token::Keyword("not") {
            return Ok(Expr::Not(Box::new(self.nested(Self::not)?)));
        }
        let mut expr = self.condition()?;
        while self.keyword("is") {
            expr = self.is(expr)?;
        }
        Ok(expr)
    }

    fn is(&mut self, inner: Expr) -> Result<Expr, FilterError> {
        let negated = self.keyword("not");
        let inner = Box::new(inner);
        if self.keyword("null") {
            return Ok(Expr::IsNull { inner, negated });
        }
        if self.keyword("true") || self.keyword("false") {
            return Ok(Expr::IsOther(inner));
        }
        Err(self.error())
    }

    fn condition(&mut self) -> Result<Expr, FilterError> {
        let left = self.value()?;
        if let Some(operator) = comparison(&self.token) {
            self.advance();
            return self.compared(left, operator);
        }
        let negated = self.keyword("not");
        match self.token {
            Token::Keyword("in") => {
                self.advance();
                let right = Box::new(self.tuple()?);
                let operator = if negated { Operator::NotIn } else { Operator::In };
                Ok(Expr::Compare { left: Box::new(left), operator, right })
            }
            Token::Keyword("between") => {
                self.advance();
                let from = Box::new(self.value()?);
                self.expect(&Token::Keyword("and"))?;
                let to = Box::new(self.value()?);
                Ok(Expr::Between { left: Box::new(left), negated, from, to })
            }
            Token::Keyword(word) => match word_operator(word, negated) {
                Some(operator) => {
                    self.advance();
                    self.compared(left, operator)
                }
                None if negated => Err(self.error()),
                None => Ok(left),
            },
            _ if negated => Err(self.error()),
            _ => Ok(left),
        }
    }

    fn compared(&mut self, left: Expr, operator: Operator) -> Result<Expr, FilterError> {
        let right = Box::new(self.value()?);
        if matches!(operator, Operator::Like | Operator::NotLike) && self.keyword("escape") {
            self.value()?;
        }
        Ok(Expr::Compare { left: Box::new(left), operator, right })
    }

    /// The right side of IN: always a list, also of one value.
    fn tuple(&mut self) -> Result<Expr, FilterError> {
        if self.token != Token::Symbol("(") {
            return Err(self.error());
        }
        let items = self.nested(|parser| parser.list(Self::or))?;
        self.expect(&Token::Symbol(")"))?;
        Ok(Expr::Tuple(items))
    }

    fn value(&mut self) -> Result<Expr, FilterError> {
        let mut value = self.signed()?;
        while is_arithmetic(&self.token) {
            self.advance();
            self.signed()?;
            value = Expr::Arithmetic;
        }
        Ok(value)
    }

    fn signed(&mut self) -> Result<Expr, FilterError> {
        let sign = match self.token {
            Token::Symbol(sign @ ("-" | "+" | "~" | "!")) => sign,
            _ => return self.primary(),
        };
        let inner = self.nested(Self::signed)?;
        Ok(match (sign, inner) {
            ("+", Expr::Number(number)) => Expr::Number(number),
            ("-", Expr::Number(number)) => Expr::Number(match number.strip_prefix('-') {
                Some(positive) => positive.to_owned(),
                None => format!("-{number}"),
            }),
            (sign, inner) => Expr::Sign(sign, Box::new(inner)),
        })
    }

    fn primary(&mut self) -> Result<Expr, FilterError> {
        if self.token == Token::Symbol("(") {
            let mut items = self.nested(|parser| parser.list(Self::or))?;
            self.expect(&Token::Symbol(")"))?;
            return Ok(match (items.pop(), items.is_empty()) {
                (Some(only), true) => Expr::Paren(Box::new(only)),
                (last, _) => Expr::Tuple(items.into_iter().chain(last).collect()),
            });
        }
        if !starts_value(&self.token) {
            return Err(self.error());
        }
        match self.advance() {
            Token::Text(text) => Ok(Expr::Text(text)),
            Token::Integer(number) | Token::Float(number) => Ok(Expr::Number(number)),
            Token::Hex(digits) => Ok(Expr::Hex(digits)),
            Token::Name(name) => self.column_or_call(name),
            Token::Keyword("true") => Ok(Expr::Bool(true)),
            Token::Keyword("false") => Ok(Expr::Bool(false)),
            _ => Ok(Expr::Null),
        }
    }

    fn column_or_call(&mut self, mut name: String) -> Result<Expr, FilterError> {
        while self.symbol(".") {
            match self.advance() {
                Token::Name(part) => name = format!("{name}.{part}"),
                _ => return Err(self.error()),
            }
        }
        if self.token != Token::Symbol("(") {
            return Ok(Expr::Column(name.replace('`', "")));
        }
        self.nested(|parser| match parser.token {
            Token::Symbol(")") => Ok(()),
            Token::Symbol("*") => {
                parser.advance();
                Ok(())
            }
            _ => parser.list(Self::or).map(drop),
        })?;
        self.expect(&Token::Symbol(")"))?;
        Ok(Expr::Call(name))
    }
}

impl Expr {
    /// The type that stands for it in the original's messages.
    pub(super) fn type_name(&self) -> &'static str {
        match self {
            Expr::And(_) => "*sqlparser.AndExpr",
            Expr::Or(_) => "*sqlparser.OrExpr",
            Expr::Not(_) => "*sqlparser.NotExpr",
            Expr::Paren(_) => "*sqlparser.ParenExpr",
            Expr::Compare { .. } => "*sqlparser.ComparisonExpr",
            Expr::Between { .. } => "*sqlparser.RangeCond",
            Expr::IsNull { .. } | Expr::IsOther(_) => "*sqlparser.IsExpr",
            Expr::Text(_) | Expr::Number(_) | Expr::Hex(_) => "*sqlparser.SQLVal",
            Expr::Null => "*sqlparser.NullVal",
            Expr::Bool(_) => "sqlparser.BoolVal",
            Expr::Column(_) => "*sqlparser.ColName",
            Expr::Tuple(_) => "sqlparser.ValTuple",
            Expr::Call(name) if is_group_concat(name) => "*sqlparser.GroupConcatExpr",
            Expr::Call(_) => "*sqlparser.FuncExpr",
            Expr::Sign(..) => "*sqlparser.UnaryExpr",
            Expr::Arithmetic => "*sqlparser.BinaryExpr",
        }
    }
}

/// As the original writes expressions into messages, for those that get there.
impl fmt::Display for Expr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Expr::Text(text) => write!(f, "'{text}'"),
            Expr::Number(number) | Expr::Hex(number) => f.write_str(number),
            Expr::Null => f.write_str("null"),
            Expr::Bool(value) => value.fmt(f),
            Expr::Column(name) => f.write_str(name),
            Expr::Paren(inner) => write!(f, "({inner})"),
            Expr::Sign(sign, inner) => match **inner {
                Expr::Sign(..) => write!(f, "{sign} {inner}"),
                _ => write!(f, "{sign}{inner}"),
            },
            Expr::Call(name) => write!(f, "{name}(..)"),
            _ => f.write_str(".."),
        }
    }
}

impl Operator {
    /// As messages name it.
    pub(super) fn name(self) -> &'static str {
        match self {
            Operator::Equal => "=",
            Operator::NotEqual => "!=",
            Operator::Less => "<",
            Operator::LessOrEqual => "<=",
            Operator::Greater => ">",
            Operator::GreaterOrEqual => ">=",
            Operator::NullSafeEqual => "<=>",
            Operator::In => "in",
            Operator::NotIn => "not in",
            Operator::Like => "like",
            Operator::NotLike => "not like",
            Operator::Regexp => "regexp",
            Operator::NotRegexp => "not regexp",
            Operator::StartsWith => "starts_with",
            Operator::NotStartsWith => "not starts_with",
        }
    }
}

/// The one function the original tells from others.
pub(super) fn is_group_concat(name: &str) -> bool {
    name.eq_ignore_ascii_case("group_concat")
}

/// The only item, or all of them together.
fn single_or(mut items: Vec<Expr>, together: impl FnOnce(Vec<Expr>) -> Expr) -> Expr {
    match (items.pop(), items.is_empty()) {
        (Some(only), true) => only,
        (last, _) => together(items.into_iter().chain(last).collect()),
    }
}

fn comparison(token: &Token) -> Option<Operator> {
    let Token::Symbol(symbol) = token else { return None };
    Some(match *symbol {
        "=" => Operator::Equal,
        "!=" | "<>" => Operator::NotEqual,
        "<" => Operator::Less,
        "<=" => Operator::LessOrEqual,
        ">" => Operator::Greater,
        ">=" => Operator::GreaterOrEqual,
        "<=>" => Operator::NullSafeEqual,
        _ => return None,
    })
}

fn word_operator(word: &str, negated: bool) -> Option<Operator> {
    Some(match (word, negated) {
        ("like", false) => Operator::Like,
        ("like", true) => Operator::NotLike,
        ("regexp", false) => Operator::Regexp,
        ("regexp", true) => Operator::NotRegexp,
        ("starts_with", false) => Operator::StartsWith,
        ("starts_with", true) => Operator::NotStartsWith,
        _ => return None,
    })
}

fn is_arithmetic(token: &Token) -> bool {
    matches!(
        token,
        Token::Symbol("+" | "-" | "*" | "/" | "%" | "^" | "&" | "|" | "<<" | ">>" | "->")
            | Token::Keyword("div" | "mod")
    )
}

fn starts_value(token: &Token) -> bool {
    match token {
        Token::Text(_) | Token::Integer(_) | Token::Float(_) | Token::Hex(_) | Token::Name(_) => true,
        Token::Keyword(word) => matches!(*word, "true" | "false" | "null"),
        Token::Symbol(_) | Token::Unknown(_) | Token::End => false,
    }
}
