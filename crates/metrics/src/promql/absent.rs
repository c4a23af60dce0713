//! What a query returns while no selector matches anything.
//!
//! That is the state of a target at zero whose engines are its only source, and of every query with
//! a wrong name in it. `sum` of nothing is nothing, not zero.

use promql_parser::parser::token::{T_ADD, T_DIV, T_LAND, T_LOR, T_LUNLESS, T_MUL, T_SUB};
use promql_parser::parser::value::ValueType;
use promql_parser::parser::{BinaryExpr, Call, Expr};

/// What a query returns while no selector matches anything.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum AtZero {
    /// An empty result.
    Nothing,
    /// A value; `None` when it depends on the time or is not worth computing.
    Value(Option<f64>),
}

pub(super) fn of(expr: &Expr) -> AtZero {
    match expr {
        Expr::NumberLiteral(number) => AtZero::finite(number.val),
        Expr::StringLiteral(_) => AtZero::Value(None),
        Expr::VectorSelector(_) | Expr::MatrixSelector(_) | Expr::Extension(_) => AtZero::Nothing,
        Expr::Paren(paren) => of(&paren.expr),
        Expr::Unary(unary) => of(&unary.expr).negated(),
        Expr::Subquery(subquery) => of(&subquery.expr),
        Expr::Aggregate(aggregate) => match aggregate.op.to_string().as_str() {
            "sum" | "avg" | "min" | "max" | "topk" | "bottomk" => of(&aggregate.expr),
            _ => of(&aggregate.expr).forget(),
        },
        Expr::Call(call) => of_call(call),
        Expr::Binary(binary) => of_binary(binary),
    }
}

impl AtZero {
    fn finite(value: f64) -> AtZero {
        AtZero::Value(Some(value).filter(|value| value.is_finite()))
    }

    fn negated(self) -> AtZero {
        match self {
            AtZero::Value(Some(value)) => AtZero::Value(Some(-value)),
            other => other,
        }
    }

    fn forget(self) -> AtZero {
        match self {
            AtZero::Nothing => AtZero::Nothing,
            AtZero::Value(_) => AtZero::Value(None),
        }
    }
}

fn of_call(call: &Call) -> AtZero {
    let args = &call.args.args;
    let first = || args.first().map_or(AtZero::Value(None), |arg| of(arg));
    match call.func.name {
        "absent" | "absent_over_time" => match first() {
            AtZero::Nothing => AtZero::Value(Some(1.0)),
            AtZero::Value(_) => AtZero::Nothing,
        },
        "scalar" => match first() {
            AtZero::Nothing => AtZero::Value(None),
            value => value,
        },
        "vector" | "sort" | "sort_desc" | "label_replace" | "label_join" => first(),
        _ => {
            let empty =
                args.iter().any(|arg| arg.value_type() != ValueType::Scalar && of(arg) == AtZero::Nothing);
            if empty { AtZero::Nothing } else { AtZero::Value(None) }
        }
    }
}

fn of_binary(binary: &BinaryExpr) -> AtZero {
    use AtZero::{Nothing, Value};
    let (left, right) = (of(&binary.lhs), of(&binary.rhs));
    match binary.op.id() {
        T_LOR => return if left == Nothing { right } else { left },
        T_LAND => return if right == Nothing { Nothing } else { left },
        T_LUNLESS => return if right == Nothing { left } else { Nothing },
        _ => {}
    }
    match (left, right) {
        (Nothing, _) | (_, Nothing) => filled(binary, left, right),
        (Value(Some(a)), Value(Some(b))) => AtZero::finite(match binary.op.id() {
            T_ADD => a + b,
            T_SUB => a - b,
            T_MUL => a * b,
            T_DIV => a / b,
            _ => f64::NAN,
        }),
        _ => Value(None),
    }
}

/// `fill` gives a missing side a value, as long as the other side is there.
fn filled(binary: &BinaryExpr, left: AtZero, right: AtZero) -> AtZero {
    let fill = binary.modifier.as_ref().map(|modifier| modifier.fill_values.clone()).unwrap_or_default();
    let kept = (left == AtZero::Nothing && right != AtZero::Nothing && fill.lhs.is_some())
        || (right == AtZero::Nothing && left != AtZero::Nothing && fill.rhs.is_some());
    if kept { AtZero::Value(None) } else { AtZero::Nothing }
}
