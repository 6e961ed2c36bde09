//! Whether an expression could yield true or false at all.
//!
//! Only what is sure by the form alone: a value that is written out, and what an operator or function always returns. What
//! comes of a statement is known when one is judged.

use cel::common::ast::{CallExpr, Expr, IdedExpr, LiteralValue};

/// Returns what an expression always yields, where that is neither true nor false.
pub(super) fn never(part: &IdedExpr) -> Option<&'static str> {
    match &part.expr {
        Expr::Literal(literal) => literal_type(literal),
        Expr::List(_) => Some("list"),
        Expr::Map(_) => Some("map"),
        Expr::Call(call) => of_call(call),
        // `map` and `filter` yield the list that they begin with and add to.
        Expr::Comprehension(inner) => match (&inner.accu_init.expr, &inner.result.expr) {
            (Expr::List(_), Expr::Ident(name)) if *name == inner.accu_var => Some("list"),
            _ => never(&inner.result),
        },
        Expr::Unspecified | Expr::Ident(_) | Expr::Select(_) | Expr::Struct(_) => None,
    }
}

fn literal_type(literal: &LiteralValue) -> Option<&'static str> {
    match literal {
        LiteralValue::Boolean(_) => None,
        LiteralValue::Bytes(_) => Some("bytes"),
        LiteralValue::Double(_) => Some("double"),
        LiteralValue::Int(_) => Some("int"),
        LiteralValue::Null => Some("null"),
        LiteralValue::String(_) => Some("string"),
        LiteralValue::UInt(_) => Some("uint"),
    }
}

fn of_call(call: &CallExpr) -> Option<&'static str> {
    match call.func_name.as_str() {
        // What stands on either side has to be true or false as well.
        "_&&_" | "_||_" | "!_" => call.args.iter().find_map(never),
        "_?_:_" => call.args.iter().find_map(never),
        "size" | "int" => Some("int"),
        "string" => Some("string"),
        "uint" => Some("uint"),
        "double" => Some("double"),
        "bytes" => Some("bytes"),
        "type" => Some("type"),
        "_-_" | "_*_" | "_/_" | "_%_" | "-_" => Some("number"),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::super::expression::{Expression, ExpressionError, RULE_VARIABLES};

    #[test]
    fn what_can_yield_neither_true_nor_false_is_refused_when_it_is_read() {
        for (text, yields) in [
            ("1", "int"),
            ("'true'", "string"),
            ("null", "null"),
            ("1.5", "double"),
            ("1u", "uint"),
            ("b'a'", "bytes"),
            ("[true]", "list"),
            ("{'a': true}", "map"),
            ("(2)", "int"),
            ("size(dependencies)", "int"),
            ("dependencies.size()", "int"),
            ("level - 1", "number"),
            ("-level", "number"),
            ("string(level)", "string"),
            ("true && 1", "int"),
            ("!'a'", "string"),
            ("level > 1 ? true : 'no'", "string"),
            ("dependencies.map(d, d.name)", "list"),
            ("dependencies.filter(d, true)", "list"),
        ] {
            let refused = Expression::compile(text, RULE_VARIABLES);
            let Err(ExpressionError::NotBoolean { got }) = &refused else {
                panic!("{text}: {refused:?}");
            };
            assert_eq!(got, yields, "{text}");
        }
        for text in [
            "true",
            "!false",
            "level > 1",
            "level > 1 ? true : false",
            "bool('true')",
            "dyn(true)",
            "predicate.a",
            "predicate.a || size(dependencies) > 1",
            "dependencies.all(d, d.name != '')",
            "dependencies.exists_one(d, d.name == 'a')",
            "has(predicate.a)",
            "'a' in predicate",
            "predicate.a.matches('a') && 'abc'.contains('b')",
            "predicate.a[0]",
        ] {
            let compiled = Expression::compile(text, RULE_VARIABLES);
            assert!(compiled.is_ok(), "{text}: {compiled:?}");
        }
    }
}
