//! The series a query reads, with their places in its text.
//!
//! The tree has no positions, so they are found again among the tokens: selectors come out of the
//! tree in the order they are written, and so do their names. Where the two disagree there is no
//! position rather than a wrong one.

use std::ops::Range;

use promql_parser::label::{self, MatchOp as Op};
use promql_parser::parser::{Expr, Offset, VectorSelector};

use super::scan::{Kind, Token};

/// How a label is compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MatchOp {
    /// `=`
    Equal,
    /// `!=`
    NotEqual,
    /// `=~`
    Regex,
    /// `!~`
    NotRegex,
}

/// One comparison inside the braces of a selector.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Matcher {
    /// The label's name.
    pub label: String,
    /// The comparison.
    pub op: MatchOp,
    /// What it is compared with, unquoted.
    pub value: String,
    /// Bytes of the label's name in the query, if found.
    pub span: Option<Range<usize>>,
}

/// One series selector.
#[derive(Clone, Debug, PartialEq)]
pub struct Selector {
    /// The metric's name, written before the braces or as `__name__="…"` inside them.
    pub metric: Option<String>,
    /// The other matchers, in order.
    pub matchers: Vec<Matcher>,
    /// The window in seconds, if it is a range selector.
    pub window_s: Option<f64>,
    /// The function over a window nearest around it: `rate`, `avg_over_time`, …
    pub function: Option<String>,
    /// How far back it looks, in seconds; negative looks forward.
    pub offset_s: f64,
    /// Whether `@` ties it to a fixed time.
    pub at: bool,
    /// Bytes of the name in the query, or of the opening brace; if found.
    pub span: Option<Range<usize>>,
}

impl Selector {
    /// Whether a matcher pins `label` to one value.
    #[must_use]
    pub fn pins(&self, label: &str) -> bool {
        self.matchers.iter().any(|matcher| matcher.label == label && matcher.op == MatchOp::Equal)
    }
}

/// One function over a window, and a selector it reads.
#[derive(Clone, Debug, PartialEq)]
pub struct RangeUse {
    /// `rate`, `increase`, `max_over_time`, …
    pub function: String,
    /// The window's length.
    pub window_s: f64,
    /// Index into [`Query::selectors`](super::Query::selectors).
    pub selector: usize,
    /// Whether the window is a subquery's, so that an expression and not a series is sampled in it.
    pub subquery: bool,
}

pub(super) fn collect(expr: &Expr, query: &str, tokens: &[Token]) -> (Vec<Selector>, Vec<RangeUse>) {
    let mut found =
        Collector { places: Places { query, tokens, next: 0 }, selectors: Vec::new(), uses: Vec::new() };
    found.walk(expr, None);
    (found.selectors, found.uses)
}

struct Collector<'q> {
    places: Places<'q>,
    selectors: Vec<Selector>,
    uses: Vec<RangeUse>,
}

impl Collector<'_> {
    /// `function` is the call around `expr`, as long as nothing but a window lies between.
    fn walk(&mut self, expr: &Expr, function: Option<&str>) {
        match expr {
            Expr::VectorSelector(selector) => self.add(selector, None, None),
            Expr::MatrixSelector(matrix) => self.add(&matrix.vs, Some(matrix.range.as_secs_f64()), function),
            Expr::Subquery(subquery) => {
                let first = self.selectors.len();
                self.walk(&subquery.expr, None);
                self.sampled(first, subquery.range.as_secs_f64(), function);
            }
            Expr::Call(call) => {
                for arg in &call.args.args {
                    self.walk(arg, Some(call.func.name));
                }
            }
            Expr::Aggregate(aggregate) => {
                if let Some(param) = &aggregate.param {
                    self.walk(param, None);
                }
                self.walk(&aggregate.expr, None);
            }
            Expr::Binary(binary) => {
                self.walk(&binary.lhs, None);
                self.walk(&binary.rhs, None);
            }
            Expr::Unary(unary) => self.walk(&unary.expr, None),
            Expr::Paren(paren) => self.walk(&paren.expr, function),
            Expr::NumberLiteral(_) | Expr::StringLiteral(_) | Expr::Extension(_) => {}
        }
    }

    fn add(&mut self, selector: &VectorSelector, window_s: Option<f64>, function: Option<&str>) {
        let span = self.places.of_selector(selector.name.as_deref());
        let matchers =
            selector.matchers.matchers.iter().chain(selector.matchers.or_matchers.iter().flatten());
        let mut matchers: Vec<Matcher> = matchers.map(|matcher| self.matcher(matcher)).collect();
        let metric = metric_name(selector).map(str::to_owned);
        matchers.retain(|matcher| matcher.label != "__name__" || matcher.op != MatchOp::Equal);
        if let (Some(function), Some(window_s)) = (function, window_s) {
            self.uses.push(RangeUse {
                function: function.to_owned(),
                window_s,
                selector: self.selectors.len(),
                subquery: false,
            });
        }
        self.selectors.push(Selector {
            metric,
            matchers,
            window_s,
            function: function.map(str::to_owned),
            offset_s: offset_s(selector.offset.as_ref()),
            at: selector.at.is_some(),
            span,
        });
    }

    fn sampled(&mut self, first: usize, window_s: f64, function: Option<&str>) {
        let Some(function) = function else { return };
        for index in first..self.selectors.len() {
            self.uses.push(RangeUse {
                function: function.to_owned(),
                window_s,
                selector: index,
                subquery: true,
            });
            self.selectors[index].function.get_or_insert_with(|| function.to_owned());
        }
    }

    fn matcher(&mut self, matcher: &label::Matcher) -> Matcher {
        let op = match matcher.op {
            Op::Equal => MatchOp::Equal,
            Op::NotEqual => MatchOp::NotEqual,
            Op::Re(_) => MatchOp::Regex,
            Op::NotRe(_) => MatchOp::NotRegex,
        };
        Matcher {
            label: matcher.name.clone(),
            op,
            value: matcher.value.clone(),
            span: self.places.of_label(&matcher.name),
        }
    }
}

/// The metric a selector names, before or inside its braces.
pub(crate) fn metric_name(selector: &VectorSelector) -> Option<&str> {
    let inside = || {
        let mut matchers = selector.matchers.matchers.iter();
        matchers.find(|m| m.name == "__name__" && matches!(m.op, Op::Equal)).map(|m| m.value.as_str())
    };
    selector.name.as_deref().or_else(inside)
}

fn offset_s(offset: Option<&Offset>) -> f64 {
    match offset {
        None => 0.0,
        Some(Offset::Pos(back)) => back.as_secs_f64(),
        Some(Offset::Neg(ahead)) => -ahead.as_secs_f64(),
    }
}

/// Finds names among the tokens, each after the one before.
struct Places<'q> {
    query: &'q str,
    tokens: &'q [Token],
    next: usize,
}

impl Places<'_> {
    fn of_selector(&mut self, name: Option<&str>) -> Option<Range<usize>> {
        let is_it = |places: &Self, at: usize| match name {
            Some(name) => places.text(at) == name && !places.is_call(at) && !places.in_label_list(at),
            None => places.text(at) == "{" && (at == 0 || !places.is_name(at - 1)),
        };
        self.advance_to(is_it)
    }

    /// A quoted label, or `__name__` written as a bare string, is not found.
    fn of_label(&mut self, label: &str) -> Option<Range<usize>> {
        let close = (self.next..self.tokens.len()).find(|at| self.text(*at) == "}")?;
        let at =
            (self.next..close).find(|at| self.text(*at) == label && self.tokens[*at].kind == Kind::Word)?;
        self.next = at + 1;
        Some(self.tokens[at].span.clone())
    }

    fn advance_to(&mut self, is_it: impl Fn(&Self, usize) -> bool) -> Option<Range<usize>> {
        let at = (self.next..self.tokens.len()).find(|at| is_it(self, *at))?;
        self.next = at + 1;
        Some(self.tokens[at].span.clone())
    }

    fn text(&self, at: usize) -> &str {
        self.tokens.get(at).map_or("", |token| token.text(self.query))
    }

    /// A word that braces would belong to.
    fn is_name(&self, at: usize) -> bool {
        const BETWEEN: [&str; 7] = ["and", "or", "unless", "atan2", "bool", "group_left", "group_right"];
        self.tokens.get(at).is_some_and(|token| token.kind == Kind::Word)
            && !BETWEEN.iter().any(|word| self.text(at).eq_ignore_ascii_case(word))
    }

    fn is_call(&self, at: usize) -> bool {
        self.tokens.get(at).is_none_or(|token| token.kind != Kind::Word) || self.text(at + 1) == "("
    }

    /// Inside `by (…)`, `on (…)` and so on, or inside braces.
    fn in_label_list(&self, at: usize) -> bool {
        let mut depth = 0_usize;
        for before in (0..at).rev() {
            match self.text(before) {
                ")" | "}" | "]" => depth += 1,
                "(" | "[" | "{" if depth > 0 => depth -= 1,
                "{" => return true,
                "(" => {
                    let list = ["by", "without", "on", "ignoring", "group_left", "group_right"];
                    return before > 0
                        && list.iter().any(|word| self.text(before - 1).eq_ignore_ascii_case(word));
                }
                _ => {}
            }
        }
        false
    }
}
